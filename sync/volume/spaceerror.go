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
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%q has room for %d bytes, %d are needed", e.Where, e.Free, e.Need)
}

// Class is fault.Space.
func (e *SpaceError) Class() fault.Class { return fault.Space }
