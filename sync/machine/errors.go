package machine

import (
	"fmt"

	"pkgsneak/sync/fault"
)

// NotMountedError reports that a drive's path is no mounted drive: it lies on the file system of
// something else.
type NotMountedError struct {
	Drive  string // as given
	Same   string // what is on the same file system: "/" or PKGDIR
	Memory bool   // it lies on a file system in memory instead
}

func (e *NotMountedError) Error() string {
	if e.Memory {
		return fmt.Sprintf("%q is not a mounted drive: it lies on a file system in memory (tmpfs)",
			e.Drive)
	}
	return fmt.Sprintf("%q is not a mounted drive: it lies on the file system of %q",
		e.Drive, e.Same)
}

// Class is that of no particular error.
func (e *NotMountedError) Class() fault.Class { return fault.Failed }

// Hints name the two ways out.
func (e *NotMountedError) Hints(string) []string {
	return []string{"mount the drive first, or write into this directory with --any-directory"}
}
