package state

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
)

// ErrReadOnly is returned by everything that writes when the state was opened with
// Options.ReadOnly.
var ErrReadOnly = errors.New("the state directory was opened for reading only")

// A FileError reports which state file cannot be used and why. The file is left as it is.
type FileError struct {
	Path string
	Line int // 0: the file as a whole
	Err  error
	// Exports is set where the machine has a key that signs exports.
	Exports bool
}

func (e *FileError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("state file %q, line %d: %v", e.Path, e.Line, e.Err)
	}
	return fmt.Sprintf("state file %q: %v", e.Path, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// Hints gives the way out: a copy, or to begin anew without what the file held.
func (e *FileError) Hints(string) []string {
	if hints := fault.NewerHints(e.Err); hints != nil {
		return hints
	}
	const copied = "bring it back from a copy of the state directory"
	dir, name := path.Split(e.Path)
	state, below := path.Split(strings.TrimSuffix(dir, "/"))
	switch {
	case name == memoryName:
		below, state = "", dir
		fallthrough
	case below == importsDir:
		hints := []string{copied,
			fmt.Sprintf("without one: rm -rf %s %s; the keys stay, what was imported before counts as this machine's own from then on, and the next drive may be older than the last one was",
				fault.Quote(state+memoryName), fault.Quote(state+importsDir))}
		if e.Exports {
			hints = append(hints,
				"the names and numbers of the exports of this machine are forgotten with it; where a drive has them, the next export names them: pkgsneak export DRIVE --name ORIGIN goes on with one")
		}
		return hints
	case below == trustedDir:
		return []string{copied,
			fmt.Sprintf("without one: rm %s, and \"pkgsneak trust\" the key again",
				fault.Quote(e.Path))}
	case below == pendingDir:
		return []string{copied,
			fmt.Sprintf("without one: rm %s; what an import that was killed had just replaced may count as this machine's own from then on",
				fault.Quote(e.Path))}
	case below == retiredDir:
		return []string{copied,
			fmt.Sprintf("without one: mv %s %s.damaged; a drive on which nothing newer than what that key signed lies is somebody else's to this machine from then on",
				fault.Quote(e.Path), fault.Quote(e.Path))}
	case name == clientKeyName:
		return []string{copied,
			fmt.Sprintf("without one: mv %s %s.damaged; the next request makes a new key, and on the host it has to be accepted anew: pkgsneak clients accept NAME", fault.Quote(e.Path), fault.Quote(e.Path))}
	case name == decisionsName:
		return []string{copied,
			fmt.Sprintf("without one: rm %s; nothing becomes trusted by that, and keys that were refused count as unknown again",
				fault.Quote(e.Path))}
	case name == replacingName:
		return []string{copied,
			fmt.Sprintf("without one: rm %s; the next import asks again whether the new key may take the place of the old one",
				fault.Quote(e.Path))}
	case name == renewedName:
		return []string{copied,
			fmt.Sprintf("without one: rm %s; an origin that goes on under another name counts as a new one from then on",
				fault.Quote(e.Path))}
	case name == undoName:
		return []string{fmt.Sprintf("the last import cannot be taken back then: rm %s",
			fault.Quote(e.Path))}
	case name == signingName:
		return []string{copied,
			fmt.Sprintf("without one: mv %s %s.damaged; the next export makes a new key, and says what to do about the drives and clients of the old one", fault.Quote(e.Path), fault.Quote(e.Path))}
	}
	return []string{copied}
}

// UnlockableError reports a state directory on a file system that has no locks, NFS for instance:
// it belongs on a disk of this machine.
type UnlockableError struct{ *durable.NoLocksError }

// unlockable makes an *UnlockableError of the error of a lock that nobody holds.
func unlockable(err error) error {
	var none *durable.NoLocksError
	if errors.As(err, &none) {
		return &UnlockableError{none}
	}
	return err
}

func (e *UnlockableError) Error() string { return "state directory: " + e.NoLocksError.Error() }

// Unwrap gives the error of the directory.
func (e *UnlockableError) Unwrap() error { return e.NoLocksError }

// Hints name another place, and how to get locks in this one.
func (e *UnlockableError) Hints(drive string) []string {
	return append([]string{fmt.Sprintf("keep it on a local disk: mkdir DIR && cp -a %s DIR, then --state-dir DIR or PKGSNEAK_STATE_DIR=DIR in /etc/conf.d/pkgsneak",
		fault.Quote(e.Dir+"/."))}, e.NoLocksError.Hints(drive)...)
}

// UnsavedError reports that something is done for good, and that this machine could not write down
// what it has to remember of it: its state directory is full, or cannot be written any more.
type UnsavedError struct {
	Done string
	Err  error
}

// Unsaved is err as an UnsavedError, nil for nil.
func Unsaved(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &UnsavedError{fmt.Sprintf(format, args...), err}
}

func (e *UnsavedError) Error() string {
	return fmt.Sprintf("%s; what is remembered of that here could not be saved: %v", e.Done, e.Err)
}

// Unwrap gives the error of the state directory.
func (e *UnsavedError) Unwrap() error { return e.Err }

// Hints tell that the same command goes on from there.
func (e *UnsavedError) Hints(string) []string {
	return []string{"make room in the state directory, or make it writable, and run the same command again: what is done is not done twice"}
}
