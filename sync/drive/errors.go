package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"syscall"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/volume"
)

// ErrNoTree is returned where a mount point has no pkgsneak tree, or an origin
// has never committed a generation.
var ErrNoTree error = fault.New(fault.NoTree, "no pkgsneak tree there")

// unfinishedError reports that neither copy of an origin's manifest tells anything: its first
// export was pulled or canceled, or, where the files are not there any more, somebody removed them.
// It is ErrNoTree.
type unfinishedError struct{ gone bool }

func (e unfinishedError) Error() string {
	if e.gone {
		return "both copies of its manifest are gone"
	}
	return "its first export was not finished"
}

// Unfinished reports whether an origin has copies of its manifest, none of which is of use. Whether
// they ever did, the drive does not tell.
func Unfinished(err error) bool {
	var e unfinishedError
	return errors.As(err, &e) && !e.gone
}

// Is makes it ErrNoTree.
func (unfinishedError) Is(target error) bool { return target == ErrNoTree }

// noDirectoryError reports that something of a person's has the name of the tree. It is ErrNoTree.
type noDirectoryError struct{ path string }

func (e noDirectoryError) Error() string {
	return fmt.Sprintf("%q is not a directory: no pkgsneak tree there", e.path)
}

// Is makes it ErrNoTree.
func (noDirectoryError) Is(target error) bool { return target == ErrNoTree }

// GoneError reports that the drive was pulled or is failing. It ends the run:
// nothing is tried again, because the kernel reports a lost write only once.
type GoneError struct {
	Op, Path string
	Vanished bool // the device is not there any more; else it is there and fails
	// Check is the commands that repair a file system which a pull has left damaged,
	// one line; "" if the drive is not there.
	Check string
	Err   error
}

func (e *GoneError) Error() string {
	what := "the drive is failing"
	if e.Vanished {
		what = "the drive is gone, or does not answer"
	}
	return fmt.Sprintf("%s %q: %s: %v", e.Op, e.Path, what, e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }

// ReadOnlyError reports that the drive cannot be written: it was mounted
// read-only (a write-protect switch does that without a word), or the kernel
// turned it read-only because it found damage.
type ReadOnlyError struct {
	Op, Path string
	Turned   bool   // it was writable when it was opened
	Check    string // if it turned: the commands that repair the file system, one line
	Err      error
}

func (e *ReadOnlyError) Error() string {
	if e.Turned {
		return fmt.Sprintf("%s %q: the drive has turned read-only (the kernel found damage on it)",
			e.Op, e.Path)
	}
	return fmt.Sprintf("%s %q: the drive is mounted read-only", e.Op, e.Path)
}

func (e *ReadOnlyError) Unwrap() error { return e.Err }

// SpaceError reports that the drive is full. Need is 0 where the kernel reported it
// in the middle of writing.
type SpaceError struct {
	Path       string
	Need, Free int64 // bytes
	NoInodes   bool  // there may be room, but not for another file
}

func (e *SpaceError) Error() string {
	if e.NoInodes {
		return fmt.Sprintf("writing %q: no inodes left on the drive, so that no file can be made (%d bytes free)",
			e.Path, e.Free)
	}
	if e.Need == 0 {
		return fmt.Sprintf("writing %q: no space left on the drive (%d bytes free)", e.Path, e.Free)
	}
	return fmt.Sprintf("no space on the drive: %d bytes needed, %d free", e.Need, e.Free)
}

func (e *SpaceError) Unwrap() error { return syscall.ENOSPC }

// PullDamageError reports that entries are unreadable although the drive is
// there: an earlier pull left them half made. Hint names the way out.
type PullDamageError struct {
	Op, Path string
	Device   string // "/dev/sdb1"; "" if it is not known
	FS       volume.Type
	Err      error
}

func (e *PullDamageError) Error() string {
	return fmt.Sprintf("%s %q: unreadable, most likely damaged when the drive was pulled: %v", e.Op,
		e.Path, e.Err)
}

func (e *PullDamageError) Unwrap() error { return e.Err }

// Hint is the commands that repair the file system, one line.
func (e *PullDamageError) Hint() string { return e.FS.RepairHint(e.Device) }

// LimitError reports that a file is too big for the file system.
type LimitError struct {
	Path string
	Err  error
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("writing %q: too big for the drive's file system: %v", e.Path, e.Err)
}

func (e *LimitError) Unwrap() error { return e.Err }

// InTheWayError reports that something of a person's has the place of a file, or a directory, of an
// origin: it stays, and nothing was written.
type InTheWayError struct {
	Path string // below layout.TreeDir; "" for that itself
}

func (e *InTheWayError) Error() string {
	return fmt.Sprintf("writing %q: something else has its name", path.Join(layout.TreeDir, e.Path))
}

// Class is that of no particular error.
func (e *InTheWayError) Class() fault.Class { return fault.Failed }

// Hints tell what to do with it.
func (e *InTheWayError) Hints(drive string) []string {
	return []string{fmt.Sprintf("move %s/%s away, and run the same command again", drive,
		fault.Quote(path.Join(layout.TreeDir, e.Path)))}
}

// NameError reports that the drive cannot store a name.
type NameError struct {
	Path   string
	Reason string
	Err    error
}

func (e *NameError) Error() string {
	return fmt.Sprintf("the drive cannot store the name %q: %s", e.Path, e.Reason)
}

func (e *NameError) Unwrap() error { return e.Err }

// DamagedError reports that a file of a generation is not what was signed, or that this user may
// not see whether it is.
type DamagedError struct {
	Path   string // below ORIGIN, or the origin's path of an Item
	Reason string
	Err    error // the kernel's, if it was one
}

func (e *DamagedError) Error() string { return fmt.Sprintf("reading %q: %s", e.Path, e.Reason) }

func (e *DamagedError) Unwrap() error { return e.Err }

// Forbidden reports whether nothing is known of the file but that this user may not read it.
func (e *DamagedError) Forbidden() bool { return errors.Is(e.Err, fs.ErrPermission) }

// ReadBackError reports that the medium does not hold what was written to it.
type ReadBackError struct {
	Path   string
	Offset int64 // of the first wrong byte; -1 if it is not known
	Old    bool  // written and compared in an earlier generation, and wrong now
	Probe  bool  // in the probe of a drive that was never used
	Reason string
}

func (e *ReadBackError) Error() string {
	where := ""
	if e.Offset >= 0 {
		where = fmt.Sprintf(" from byte %d on", e.Offset)
	}
	cause := "the drive is failing"
	switch {
	case e.Probe:
		cause = "the drive claims more than it has"
	case e.Old:
		cause = "the drive is failing, or smaller than it says: later files destroyed earlier ones"
	}
	return fmt.Sprintf("reading back %q: %s%s; most likely %s", e.Path, e.Reason, where, cause)
}

// Failing tells the errors with which the kernel speaks of a drive that is
// pulled or dying. With EUCLEAN and EBADMSG ext4, xfs and btrfs report that they
// found damage.
func Failing(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENODEV, syscall.ENXIO,
		syscall.ESHUTDOWN,
		syscall.EREMOTEIO, syscall.ETIMEDOUT, syscall.ENOTCONN, syscall.ENOMEDIUM, syscall.ESTALE,
		syscall.EUCLEAN, syscall.EBADMSG} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// classified tells the errors that have been through Classify, which may wrap
// another's errno.
func classified(err error) bool {
	var gone *GoneError
	var readOnly *ReadOnlyError
	var space *SpaceError
	var pull *PullDamageError
	var limit *LimitError
	var name *NameError
	var damaged *DamagedError
	return errors.As(err, &gone) || errors.As(err, &readOnly) || errors.As(err, &space) ||
		errors.As(err, &pull) ||
		errors.As(err, &limit) || errors.As(err, &name) || errors.As(err, &damaged)
}

// Unanswered tells the errors that prove nothing about what lies on the drive: it is not there any
// more, or this machine had no descriptors or no memory left to look. Nothing goes on after them.
func Unanswered(err error) bool {
	var gone *GoneError
	return errors.As(err, &gone) && gone.Vanished || fault.IsExhausted(err)
}
