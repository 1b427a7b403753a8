package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"pkgsneak/manifest"
	"pkgsneak/sync/auto"
	pkgdrive "pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/volume"
)

// The exit codes. They are part of the command line: scripts and the units of auto read them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitLeftOut     = 3
	exitFound       = 4
	exitNoTree      = 10
	exitLocked      = 11
	exitUntrusted   = 12
	exitOlder       = 13
	exitGone        = 14
	exitSpace       = 15
	exitInterrupted = 130
)

// exitMeanings are the meanings in --help and the manual pages.
var exitMeanings = []struct {
	code int
	text string
}{
	{exitDone, "done, nothing left out"},
	{exitFailed, "failed"},
	{exitUsage, "wrong usage"},
	{exitLeftOut, "done, but some files were left out or are damaged"},
	{exitFound, "doctor or index --check found something"},
	{exitNoTree, "no pkgsneak tree there"},
	{exitLocked, "locked by another program"},
	{exitUntrusted, "not trusted, also by the answer to a question; or wrong signature"},
	{exitOlder, "older than what is here"},
	{exitGone, "drive gone or failing"},
	{exitSpace, "not enough space"},
	{exitInterrupted, "interrupted, or cancelled at another question, as with emerge --ask"},
}

// failure is an error as a person and a script get to see it.
type failure struct {
	code    int
	message string
	hints   []string
}

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Class is fault.Usage.
func (e *usageError) Class() fault.Class { return fault.Usage }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// hintError is an error with the command that helps.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// outcome ends a run whose summary has told everything with an exit code.
type outcome int

func (o outcome) Error() string { return fmt.Sprintf("exit code %d", int(o)) }

// worstFirst orders the exit codes where several origins end with one each: a script has to see the
// first of them.
var worstFirst = [...]int{exitInterrupted, exitGone, exitSpace, exitFailed, exitUsage,
	exitUntrusted, exitOlder, exitLocked, exitNoTree,
	exitFound, exitLeftOut, exitDone}

// worse returns the one of two exit codes that comes first in worstFirst.
func worse(a, b int) int {
	for _, code := range worstFirst {
		if a == code || b == code {
			return code
		}
	}
	return exitFailed
}

// classifyRefused is classify for an import that accepted no origin: the worst reason decides, the
// hints of all are shown.
func classifyRefused(refused []importer.Refused, message, place string) failure {
	f := failure{code: exitDone, message: message}
	for _, r := range refused {
		one := classify(r.Err, cmp.Or(r.Drive, place))
		f.code = worse(f.code, one.code)
		for _, h := range one.hints {
			if !slices.Contains(f.hints, h) {
				f.hints = append(f.hints, h)
			}
		}
	}
	return f
}

// answers is the table from the class of an error to its exit code and to what a person reads: the
// message, where the error's own is not enough, and what helps, where the error has no hint of its
// own. In a hint DRIVE stands for the drive.
var answers = map[fault.Class]struct {
	code    int
	message func(error) string
	hint    string
}{
	fault.Failed:  {code: exitFailed},
	fault.Usage:   {code: exitUsage},
	fault.Nothing: {code: exitFailed},
	fault.NoTree:  {code: exitNoTree, hint: "on the build host: pkgsneak export DRIVE"},
	fault.Locked: {code: exitLocked,
		hint: "wait for the other program, or wait longer for it: --lock-wait 1h"},
	fault.Untrusted: {code: exitUntrusted},
	fault.Older:     {code: exitOlder},
	fault.Gone: {code: exitGone,
		hint: "plug it in, mount it and run the same command again"},
	fault.Failing: {code: exitGone},
	fault.Space: {code: exitSpace, message: spaceMessage,
		hint: "free some space there, and run the same command again; where df shows some, inodes " +
			"are used up (df -i): remove some files"},
	fault.Permission: {code: exitFailed},
	fault.Exhausted: {code: exitFailed,
		hint: "ulimit -n 1024, or end other programs, and run the same command again"},
	fault.Unfit:       {code: exitLeftOut},
	fault.LeftOut:     {code: exitLeftOut},
	fault.Declined:    {code: exitInterrupted},
	fault.Interrupted: {code: exitInterrupted, message: interrupted},
}

// classify turns an error into what a person reads and a script sees. place is the argument of the
// command line (a drive, mostly), for the hints.
func classify(err error, place string) failure {
	var refused *importer.RefusedError
	if errors.As(err, &refused) && len(refused.Refused) > 0 {
		return classifyRefused(refused.Refused, fault.Text(err), place)
	}
	f := failure{code: exitFailed, message: fault.Text(err)}
	var worker *auto.WorkerError
	if errors.As(err, &worker) { // explained where it came from
		f.code, f.hints = worker.Code, worker.Help
		return f
	}
	drive, class := "DRIVE", fault.Of(err)
	if place != "" {
		drive = fault.Quote(place)
	}
	var space *volume.SpaceError
	row := answers[class]
	f.code = row.code
	if row.message != nil {
		f.message = row.message(err)
	}
	above := ""
	if class == fault.NoTree && place != "" {
		above = pkgdrive.TreeAbove(place)
	}
	switch f.hints = fault.Hints(err, drive); {
	case above != "":
		f.hints = []string{"its drive " + shellWord(above) + " has a tree: name that in place of " +
			drive}
	case len(f.hints) > 0:
	case class == fault.Untrusted:
		f.hints = keyHints(err, drive)
	case class == fault.Permission && os.Geteuid() != 0:
		f.hints = []string{asRoot}
	case errors.Is(err, syscall.EROFS):
		f.hints = []string{remount}
	case errors.As(err, &space) && space.Own > 0:
		f.hints = []string{fmt.Sprintf("take a drive with more than %s free, the space of lists and signatures, for what is needed most, or with %s for everything",
			size(space.Own), size(space.Whole))}
	case space != nil:
		f.hints = []string{"free some space there, or leave something out (--no-distfiles), and run the same command again"}
	case errors.Is(err, durable.ErrIrregular), errors.Is(err, syscall.EISDIR):
		f.hints = []string{"something else has the place of a file of pkgsneak's: move it away, and run the same command again"}
	case errors.Is(err, fs.ErrNotExist) && place != "" && isAbsent(place):
		f.hints = []string{"look at the spelling of " + drive + "; what lies on a drive is there when that is mounted"}
	case row.hint != "":
		f.hints = []string{strings.ReplaceAll(row.hint, "DRIVE", drive)}
	}
	var own *hintError
	if errors.As(err, &own) {
		f.hints = append([]string{own.hint}, f.hints...)
	}
	return f
}

// isAbsent reports whether nothing has a name, or a link that leads to nothing.
func isAbsent(name string) bool {
	_, err := os.Stat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// asRoot helps against what the system forbids to an ordinary user; commandLine.end names the
// flags that the command has.
const asRoot = "run it as root"

// remount helps where the file system of a directory of this machine cannot be written;
// commandLine.end names the flags.
const remount = "mount that file system read-write"

func interrupted(error) string { return "interrupted" }

// spaceMessage tells how much is missing, in sizes that people read and in bytes.
func spaceMessage(err error) string {
	var before *volume.SpaceError
	if !errors.As(err, &before) {
		return fault.Text(err)
	}
	message := fmt.Sprintf("not enough space in %q: %s needed, %s free; %s would fit", before.Where,
		exactSize(before.Need), exactSize(before.Free), tally(before.Fits, "file"))
	var room *exporter.CrowdedError
	if errors.As(err, &room) {
		if n := room.Reclaimable(); n > 0 {
			message += fmt.Sprintf("; %s could be reclaimed", exactSize(n))
		}
		message += room.Told()
	}
	return message
}

// keyHints are what helps against a key that package manifest refused.
func keyHints(err error, drive string) []string {
	var unknown *manifest.UnknownKeyError
	var state *manifest.KeyError
	switch {
	case errors.As(err, &unknown):
		return []string{fmt.Sprintf("compare the fingerprint with \"pkgsneak key\" on the build host, then: pkgsneak trust %s", drive)}
	case errors.As(err, &state):
		return []string{fmt.Sprintf("if this machine's clock is right, on the build host: pkgsneak key rotate, and export again; or, if its key was renewed: pkgsneak trust %s --fingerprint %s", drive, state.Fingerprint)}
	}
	return nil
}

// exactSize is a size for people who have to make room: rounded and exact.
func exactSize(n int64) string {
	if n < 1024 {
		return size(n)
	}
	return fmt.Sprintf("%s (%d bytes)", size(n), n)
}

// shellWord quotes a name so that it can be typed into a shell.
func shellWord(s string) string {
	if s == "" {
		return "DRIVE"
	}
	return fault.Quote(s)
}
