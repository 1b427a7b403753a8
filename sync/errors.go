package sync

import (
	"fmt"
	"strings"
	"time"

	"pkgsneak/sync/fault"
)

// ErrDeclined: the person was asked and said no.
var ErrDeclined error = fault.New(fault.Declined, "cancelled, nothing changed")

// NothingError says that neither PKGDIR nor DISTDIR holds anything that could be exported, and that the drive has no generation yet.
type NothingError struct {
	Notices []string // why that may be, and what to do
}

func (e *NothingError) Error() string { return "there is nothing to export" }

// NotMountedError says that a drive's path is no mounted drive: it lies on the file system of something else.
type NotMountedError struct {
	Drive  string // as given
	Same   string // what is on the same file system: "/" or PKGDIR
	Memory bool   // it lies on a file system in memory instead
}

func (e *NotMountedError) Error() string {
	if e.Memory {
		return fmt.Sprintf("%q is not a mounted drive: it lies on a file system in memory (tmpfs)", e.Drive)
	}
	return fmt.Sprintf("%q is not a mounted drive: it lies on the file system of %q", e.Drive, e.Same)
}

// ShrinkError says that the host lost so many files that taking it for a deletion would be reckless.
type ShrinkError struct {
	Kind          Kind
	Dir           string
	Before, After int // files on the drive and on the host
}

func (e *ShrinkError) Error() string {
	return fmt.Sprintf("%q holds %d %ss, and the drive has %d of them: not taken for a deletion", e.Dir, e.After, e.Kind, e.Before)
}

// NameTakenError says that an origin's name stands for another PKGDIR of this machine.
type NameTakenError struct {
	Name         string
	PKGDIR, Have string // the one to be exported, the one that has the name
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("origin %q exports %q, not %q", e.Name, e.Have, e.PKGDIR)
}

// OlderError says that the drive carries a generation older than the last one that was imported here.
type OlderError struct {
	Origin       string
	Serial, Have int64
}

func (e *OlderError) Error() string {
	return fmt.Sprintf("origin %q: generation %d on the drive is older than generation %d, which was imported here", e.Origin, e.Serial, e.Have)
}

// ForkError says that a generation's number was seen before with other contents: two machines sign with one key, or somebody replays.
type ForkError struct {
	Origin string
	Serial int64
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("origin %q: generation %d was seen here before with other contents", e.Origin, e.Serial)
}

// FutureError says that a generation comes from further in the future than a wrong clock explains.
type FutureError struct {
	Origin string
	Time   time.Time // of the signature or of the list, whichever is later
	Limit  time.Time
}

func (e *FutureError) Error() string {
	return fmt.Sprintf("origin %q: its generation is of %s, in the future: more than a year after the latest time that is known here", e.Origin, e.Time.UTC().Format(time.RFC3339))
}

// StaleError says that a generation was signed longer ago than the person allows.
type StaleError struct {
	Origin   string
	Age, Max time.Duration
}

func (e *StaleError) Error() string {
	const day = 24 * time.Hour
	return fmt.Sprintf("origin %q: its generation is %d days old, more than the %.4g days that are allowed", e.Origin, e.Age/day, float64(e.Max)/float64(day))
}

// RefusedError says that none of the origins on the drive was accepted, and why each was refused.
type RefusedError struct{ Refused []Refused }

func (e *RefusedError) Error() string {
	reasons := make([]string, len(e.Refused))
	for i, r := range e.Refused {
		reasons[i] = r.Reason
	}
	return strings.Join(reasons, "; ")
}

// Unwrap gives the reasons, in the order in which the origins lie on the drive.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, len(e.Refused))
	for i, r := range e.Refused {
		errs[i] = r.Err
	}
	return errs
}

// SpaceError says that there is too little room, before the first byte was written.
type SpaceError struct {
	Where      string // the directory
	Need, Free int64  // bytes; Need with what has to stay free
	Fits       Tally  // how many of the planned files would fit, smallest first
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%q has room for %d bytes, %d are needed", e.Where, e.Free, e.Need)
}

// NoOriginError says that the drive has no origin of the wanted name.
type NoOriginError struct {
	Name string
	Have []string
}

func (e *NoOriginError) Error() string { return fmt.Sprintf("the drive has no origin %q", e.Name) }

// EmptyMountError says that a drive's path is an empty directory: most likely nothing is mounted there. It wraps the error of a missing tree.
type EmptyMountError struct {
	Drive string
	Err   error
}

func (e *EmptyMountError) Error() string {
	return fmt.Sprintf("%q is empty: is the drive mounted?", e.Drive)
}

// Unwrap gives the error of the missing tree.
func (e *EmptyMountError) Unwrap() error { return e.Err }
