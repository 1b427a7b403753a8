package volume

import (
	"fmt"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

// SpaceError reports that there is too little space, before the first byte was written.
type SpaceError struct {
	Where      string        // the directory
	Need, Free int64         // bytes; Need with what has to stay free
	Fits       payload.Tally // how many of the planned files would fit, smallest first
	// Own is how many bytes lists and signatures take on a drive that carries only what it has room
	// for, and Whole the free space with which everything goes. 0: parts of it are of no use there.
	Own, Whole int64
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%q has room for %d bytes, %d are needed", e.Where, e.Free, e.Need)
}

// Class is fault.Space.
func (e *SpaceError) Class() fault.Class { return fault.Space }
