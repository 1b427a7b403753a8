package drive

import (
	"fmt"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
)

// The classes of the errors of this package, and what helps against each.

// Class is fault.NoTree.
func (unfinishedError) Class() fault.Class { return fault.NoTree }

// Class is fault.NoTree.
func (noDirectoryError) Class() fault.Class { return fault.NoTree }

// Hints tell what to do with it.
func (noDirectoryError) Hints(drive string) []string {
	return []string{fmt.Sprintf("move %s/%s away; then, on the build host: pkgsneak export %s",
		drive, layout.TreeDir, drive)}
}

// Class is fault.Gone, or fault.Failing while the device is there.
func (e *GoneError) Class() fault.Class {
	if e.Vanished {
		return fault.Gone
	}
	return fault.Failing
}

// Hints name the check of a file system that may be damaged.
func (e *GoneError) Hints(string) []string {
	if e.Check == "" {
		return nil
	}
	return []string{fmt.Sprintf("if it was pulled out before: %s; if this comes again then, do not use this drive any longer", e.Check)}
}

// Class is fault.Failing where the kernel found damage.
func (e *ReadOnlyError) Class() fault.Class {
	if e.Turned {
		return fault.Failing
	}
	return fault.Failed
}

// Hints name the command that makes the drive writable again.
func (e *ReadOnlyError) Hints(drive string) []string {
	if e.Turned {
		return []string{e.Check + ", and run the same command again"}
	}
	return []string{"mount -o remount,rw " + drive}
}

// Class is fault.Space.
func (e *SpaceError) Class() fault.Class { return fault.Space }

// Hints are about inodes: for room there is a common one.
func (e *SpaceError) Hints(drive string) []string {
	if !e.NoInodes {
		return nil
	}
	return []string{"remove files there, of whatever size, and run the same command again; df -i " +
		drive + " counts"}
}

// Class is fault.Failing.
func (e *PullDamageError) Class() fault.Class { return fault.Failing }

// Hints name the check.
func (e *PullDamageError) Hints(string) []string { return []string{e.Hint()} }

// Class is fault.Failing: what describes a generation, without which nothing can be taken; or
// fault.Permission.
func (e *DamagedError) Class() fault.Class {
	if e.Forbidden() {
		return fault.Permission
	}
	return fault.Failing
}

// MayRead is what helps where this user may not read a file of a drive. It may be root: others'
// FUSE mounts and network file systems refuse that, too.
const MayRead = "mount the drive so that this user may read it, or run it as root"

// Hints name the command that writes it again.
func (e *DamagedError) Hints(drive string) []string {
	if e.Forbidden() {
		return []string{MayRead}
	}
	return []string{fmt.Sprintf("on the build host: pkgsneak export %s writes it again; pkgsneak verify %s names what else is damaged", drive, drive)}
}

// Class is fault.Failing.
func (e *ReadBackError) Class() fault.Class { return fault.Failing }

// Hints warn of the drive.
func (e *ReadBackError) Hints(drive string) []string {
	return []string{"do not use this drive any longer; what it held before may be damaged: pkgsneak verify " + drive}
}
