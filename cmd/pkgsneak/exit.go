package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"pkgsneak/manifest"
	"pkgsneak/sync"
	"pkgsneak/sync/auto"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/trust"
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

// exitMeanings is what --help and the README say.
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
	{exitUntrusted, "not trusted, or wrong signature"},
	{exitOlder, "older than what is here"},
	{exitGone, "drive gone or failing"},
	{exitSpace, "not enough space"},
	{exitInterrupted, "interrupted"},
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

// outcome ends a run that has said everything in its summary with an exit code.
type outcome int

func (o outcome) Error() string { return fmt.Sprintf("exit code %d", int(o)) }

// worstFirst orders the exit codes where several origins end with one each: a script has to see the first of them.
var worstFirst = [...]int{exitInterrupted, exitGone, exitSpace, exitFailed, exitUsage, exitUntrusted, exitOlder, exitLocked, exitNoTree,
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

// explainRefused is explain for an import that accepted no origin: the worst reason decides, the hints of all are shown.
func explainRefused(refused []sync.Refused, message, place string) failure {
	f := failure{code: exitDone, message: message}
	for _, r := range refused {
		one := explain(r.Err, place)
		f.code = worse(f.code, one.code)
		for _, h := range one.hints {
			if !slices.Contains(f.hints, h) {
				f.hints = append(f.hints, h)
			}
		}
	}
	return f
}

// explain is the one switch from an error to what a person reads and a script sees. place is the argument of the command line (a drive, mostly), for the hints.
func explain(err error, place string) failure {
	var refused *sync.RefusedError
	if errors.As(err, &refused) && len(refused.Refused) > 0 {
		return explainRefused(refused.Refused, err.Error(), place)
	}
	f := failure{code: exitFailed, message: err.Error()}
	hint := func(format string, args ...any) { f.hints = append(f.hints, fmt.Sprintf(format, args...)) }
	var (
		usage     *usageError
		nothing   *sync.NothingError
		mounted   *sync.NotMountedError
		shrink    *sync.ShrinkError
		taken     *sync.NameTakenError
		older     *sync.OlderError
		fork      *sync.ForkError
		future    *sync.FutureError
		stale     *sync.StaleError
		refusal   *trust.Refusal
		noOrigin  *sync.NoOriginError
		empty     *sync.EmptyMountError
		space     *sync.SpaceError
		driveFull *drive.SpaceError
		gone      *drive.GoneError
		readOnly  *drive.ReadOnlyError
		pulled    *drive.PullDamageError
		readBack  *drive.ReadBackError
		damaged   *drive.DamagedError
		unknown   *manifest.UnknownKeyError
		keyState  *manifest.KeyError
		worker    *auto.WorkerError
	)
	switch {
	case errors.As(err, &worker): // explained where it came from
		f.code, f.hints = worker.Code, worker.Hints
	case errors.As(err, &usage):
		f.code = exitUsage
	case errors.Is(err, context.Canceled):
		f.code, f.message = exitInterrupted, "interrupted"
		hint("what is complete stays: the same command goes on from there")
	case errors.Is(err, sync.ErrDeclined):
		f.code = exitInterrupted
	case errors.As(err, &nothing):
		f.hints = append(f.hints, nothing.Notices...)
	case errors.As(err, &mounted):
		hint("mount the drive first, or write into this directory with --any-directory")
	case errors.As(err, &shrink):
		hint("look at %s; if the files are meant to be gone: --allow-shrink", shellWord(shrink.Dir))
	case errors.As(err, &taken):
		hint("give this PKGDIR a name of its own: pkgsneak export %s --name NAME", shellWord(place))
	case errors.As(err, &older):
		f.code = exitOlder
		hint("if it is meant, this once: pkgsneak import %s --allow-older", shellWord(place))
	case errors.As(err, &fork):
		f.code = exitUntrusted
		hint("find out who else signs with this key; a new export from the build host gets a new number")
	case errors.As(err, &future):
		f.code = exitUntrusted
		hint("if this machine's clock is wrong, set it; if the generation is known to be good: pkgsneak import %s --accept-future", shellWord(place))
	case errors.As(err, &stale):
		f.code = exitOlder
		hint("export again on the build host; to take it all the same, leave --max-age out")
	case errors.As(err, &refusal):
		f.code = exitUntrusted
		hint("%s", refusal.Hint(shellWord(place)))
	case errors.As(err, &noOrigin):
		hint("the drive has %s", strings.Join(noOrigin.Have, ", "))
	case errors.As(err, &space):
		f.code = exitSpace
		f.message = fmt.Sprintf("not enough space in %q: %s needed, %s free", space.Where, exactSize(space.Need), exactSize(space.Free))
		hint("%s would fit", tally(space.Fits, "file"))
	case errors.As(err, &driveFull):
		f.code = exitSpace
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		f.code = exitSpace
	case errors.As(err, &pulled):
		f.code = exitGone
		hint("%s", pulled.Hint())
	case errors.As(err, &gone) && gone.Check != "":
		f.code = exitGone
		hint("if it was pulled out before: %s; if this comes again then, do not use this drive any longer", gone.Check)
	case errors.As(err, &gone):
		f.code = exitGone
		hint("plug it in, mount it and run the same command again: what is complete stays")
	case errors.As(err, &readBack):
		f.code = exitGone
		hint("do not use this drive any longer; what it held before may be damaged: pkgsneak verify %s", shellWord(place))
	case errors.As(err, &damaged): // what describes a generation: without it nothing can be taken
		f.code = exitGone
		hint("on the build host: pkgsneak export %s writes it again; pkgsneak verify says what else is damaged", shellWord(place))
	case errors.As(err, &readOnly) && readOnly.Turned:
		f.code = exitGone
		hint("%s, and run the same command again", readOnly.Check)
	case errors.As(err, &readOnly):
		hint("mount -o remount,rw %s", shellWord(place))
	case errors.Is(err, durable.ErrLocked):
		f.code = exitLocked
		hint("wait for the other program, or wait longer for it: --lock-wait 1h")
	case errors.As(err, &empty):
		f.code = exitNoTree
		hint("mount the drive first")
	case errors.Is(err, drive.ErrNoTree):
		f.code = exitNoTree
		hint("on the build host: pkgsneak export %s", shellWord(place))
	case errors.As(err, &unknown):
		f.code = exitUntrusted
		hint("compare the fingerprint with \"pkgsneak key\" on the build host, then: pkgsneak trust %s", shellWord(place))
	case errors.As(err, &keyState):
		f.code = exitUntrusted
		hint("on the build host: pkgsneak key rotate, and export again; or, if its key was renewed: pkgsneak trust %s --fingerprint %s", shellWord(place), keyState.Fingerprint)
	case errors.Is(err, manifest.ErrUntrusted):
		f.code = exitUntrusted
	case errors.Is(err, fs.ErrPermission):
		hint("as root, or with a --state-dir, --pkgdir and --distdir of your own")
	}
	var own *hintError
	if errors.As(err, &own) {
		f.hints = append([]string{own.hint}, f.hints...)
	}
	return f
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
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@%=", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
