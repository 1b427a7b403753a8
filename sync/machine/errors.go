package machine

import (
	"fmt"
	"syscall"

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

// NotDirectoryError reports that the path of a drive is that of a file.
type NotDirectoryError struct{ Drive string }

func (e *NotDirectoryError) Error() string {
	return fmt.Sprintf("%q: %v", e.Drive, syscall.ENOTDIR)
}

// Unwrap gives syscall.ENOTDIR.
func (e *NotDirectoryError) Unwrap() error { return syscall.ENOTDIR }

// Hints tell what is wanted.
func (e *NotDirectoryError) Hints(string) []string {
	return []string{fault.Quote(e.Drive) + " is a file; DRIVE is the directory where a drive is mounted"}
}
