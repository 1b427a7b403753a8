package sync

import (
	"fmt"
	"strings"

	"pkgsneak/sync/fault"
)

// The classes of the errors of this package, and what helps against each.

// Class is that of a machine that has nothing to export.
func (e *NothingError) Class() fault.Class { return fault.Nothing }

// Hints are the reasons, with what to do.
func (e *NothingError) Hints(string) []string { return e.Notices }

// Class is that of no particular error.
func (e *NotMountedError) Class() fault.Class { return fault.Failed }

// Hints name the two ways out.
func (e *NotMountedError) Hints(string) []string {
	return []string{"mount the drive first, or write into this directory with --any-directory"}
}

// Class is that of no particular error.
func (e *ShrinkError) Class() fault.Class { return fault.Failed }

// Hints name the directory to look at.
func (e *ShrinkError) Hints(string) []string {
	return []string{fmt.Sprintf("look at %s; if the files are meant to be gone: --allow-shrink", fault.Quote(e.Dir))}
}

// Class is that of no particular error.
func (e *NameTakenError) Class() fault.Class { return fault.Failed }

// Hints name the flag.
func (e *NameTakenError) Hints(drive string) []string {
	return []string{fmt.Sprintf("give this PKGDIR a name of its own: pkgsneak export %s --name NAME", drive)}
}

// Class is fault.Older.
func (e *OlderError) Class() fault.Class { return fault.Older }

// Hints name the flag.
func (e *OlderError) Hints(drive string) []string {
	return []string{fmt.Sprintf("if it is meant, this once: pkgsneak import %s --allow-older", drive)}
}

// Class is fault.Untrusted.
func (e *ForkError) Class() fault.Class { return fault.Untrusted }

// Hints name what to look for.
func (e *ForkError) Hints(string) []string {
	return []string{"find out who else signs with this key; a new export from the build host gets a new number"}
}

// Class is fault.Untrusted.
func (e *FutureError) Class() fault.Class { return fault.Untrusted }

// Hints name the flag.
func (e *FutureError) Hints(drive string) []string {
	return []string{fmt.Sprintf("if this machine's clock is wrong, set it; if the generation is known to be good: pkgsneak import %s --accept-future", drive)}
}

// Class is fault.Older.
func (e *StaleError) Class() fault.Class { return fault.Older }

// Hints name the two ways out.
func (e *StaleError) Hints(string) []string {
	return []string{"export again on the build host; to import it all the same, leave --max-age out"}
}

// Class is fault.Space.
func (e *SpaceError) Class() fault.Class { return fault.Space }

// Class is that of no particular error.
func (e *NoOriginError) Class() fault.Class { return fault.Failed }

// Hints name the origins that are there.
func (e *NoOriginError) Hints(string) []string {
	if len(e.Have) == 0 {
		return nil
	}
	return []string{"the drive has " + strings.Join(e.Have, ", ")}
}

// Class is fault.NoTree.
func (e *EmptyMountError) Class() fault.Class { return fault.NoTree }

// Hints say what is missing.
func (e *EmptyMountError) Hints(string) []string { return []string{"mount the drive first"} }
