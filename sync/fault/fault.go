// Package fault sorts errors into classes: the few answers that a person, a script and a run
// without a person can give to one. An error type has its class itself, with a method
//
//	Class() fault.Class
//
// and, where a command helps, which one:
//
//	Hints(drive string) []string
//
// drive is what the person called the drive, quoted for a shell, or "DRIVE". Of finds the class of
// a chain of errors: the outermost error that has one decides, because it was made where most was
// known. So a full table of the kernel's watches is no full disk, although ENOSPC is inside. Below
// them the errors of the standard library have a class of their own: a cancelled context, a full
// disk or quota, a refused permission, too many open files.
//
// Package manifest imports nothing of ours: its errors have a method Class() string with one of the
// words below.
//
// The exit codes and the words for a person belong to the command line, which has one table from
// class to both.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Class is what an error means to the one who has to do something about it. Its text is part of the
// protocol between a run of auto and its worker.
type Class string

// The classes.
const (
	Failed      Class = "failed"      // nothing more is known
	Usage       Class = "usage"       // a command line that makes no sense
	Nothing     Class = "nothing"     // there is nothing to export
	NoTree      Class = "no-tree"     // no tree where one was looked for
	Locked      Class = "locked"      // another program holds the lock
	Untrusted   Class = "untrusted"   // a signature, or who made it
	Older       Class = "older"       // older than what is here, or than what is allowed
	Gone        Class = "gone"        // the drive is not there any more
	Failing     Class = "failing"     // the drive is there, and does not hold what it should
	Space       Class = "space"       // no space, or a quota
	Permission  Class = "permission"  // the system forbids it to this user
	Exhausted   Class = "exhausted"   // no descriptors or no memory left here to look
	Unfit       Class = "unfit"       // of no use to this machine
	LeftOut     Class = "left-out"    // should have come, and did not
	Declined    Class = "declined"    // a person was asked, and said no
	Interrupted Class = "interrupted" // a signal
)

// Classes are all of them.
var Classes = []Class{Failed, Usage, Nothing, NoTree, Locked, Untrusted, Older, Gone, Failing,
	Space, Permission, Exhausted, Unfit, LeftOut, Declined, Interrupted}

// Error is an error without fields that has a class: what errors.New is to others.
type Error struct {
	class Class
	text  string
}

// New makes an error to be compared with by errors.Is.
func New(class Class, text string) *Error { return &Error{class, text} }

func (e *Error) Error() string { return e.text }

// Class gives the class of the error.
func (e *Error) Class() Class { return e.class }

// Of gives the class of an error, Failed where nothing in its chain has one.
func Of(err error) Class {
	var class Class
	walk(err, func(e error) bool {
		switch e := e.(type) {
		case interface{ Class() Class }:
			class = e.Class()
		case interface{ Class() string }:
			class = Class(e.Class())
		}
		return class != ""
	})
	switch {
	case class != "":
		return class
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Space
	case errors.Is(err, fs.ErrPermission):
		return Permission
	case IsExhausted(err):
		return Exhausted
	}
	return Failed
}

// IsExhausted reports whether this process or this machine had no descriptors or no memory left:
// what was asked for was not looked at, and nothing is known of it.
func IsExhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOMEM)
}

// Hints gives what helps against an error, from the outermost error that has hints.
func Hints(err error, drive string) (hints []string) {
	walk(err, func(e error) bool {
		if h, ok := e.(interface{ Hints(string) []string }); ok {
			hints = h.Hints(drive)
		}
		return len(hints) > 0
	})
	return hints
}

// walk visits an error and those inside it, from the outside in, until found tells that it is
// enough.
func walk(err error, found func(error) bool) bool {
	if err == nil {
		return false
	}
	if found(err) {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return walk(e.Unwrap(), found)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if walk(inner, found) {
				return true
			}
		}
	}
	return false
}

// Quote writes a name so that it can be typed into a shell, and pasted from a terminal: one that
// holds what is not printable comes as $'...', which bash, zsh, ksh, busybox and POSIX of 2024
// read.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("/._-+,:@%=", r)
	}
	switch {
	case s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0:
		return s
	case utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) || r == utf8.RuneError
	}) < 0:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\'' || r == '\\':
			b.WriteString(`\` + s[:n])
		case unicode.IsPrint(r) && r != utf8.RuneError:
			b.WriteString(s[:n])
		default: // octal has an end, which \x does not have everywhere
			for _, c := range []byte(s[:n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		}
		s = s[n:]
	}
	return b.String() + "'"
}
