package machine

import (
	"pkgsneak/sync/fault"
)

// The classes of the errors of this package, and what helps against each.

// Class is that of no particular error.
func (e *NotMountedError) Class() fault.Class { return fault.Failed }

// Hints name the two ways out.
func (e *NotMountedError) Hints(string) []string {
	return []string{"mount the drive first, or write into this directory with --any-directory"}
}
