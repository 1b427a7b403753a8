package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

type full struct{ err error }

func (e *full) Error() string           { return "too many watches" }
func (e *full) Unwrap() error           { return e.err }
func (e *full) Class() Class            { return Failed }
func (e *full) Hints(d string) []string { return []string{"raise the limit; " + d} }

type foreign struct{}

func (foreign) Error() string { return "bad signature" }
func (foreign) Class() string { return "untrusted" }

var errBusy = New(Locked, "busy")

func TestOf(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want Class
	}{
		{"no class", errors.New("x"), Failed},
		{"sentinel below others", fmt.Errorf("a: %w", fmt.Errorf("b: %w", errBusy)), Locked},
		{"the outermost class counts", fmt.Errorf("x: %w", &full{syscall.ENOSPC}), Failed},
		{"class above a class", &full{errBusy}, Failed},
		{"one of several", errors.Join(errors.New("x"), fmt.Errorf("y: %w", errBusy)), Locked},
		{"a class as a word", fmt.Errorf("x: %w", foreign{}), Untrusted},
		{"a class before an errno", errors.Join(syscall.ENOSPC, errBusy), Locked},
		{"disk full", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, Space},
		{"quota", &fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}, Space},
		{"forbidden", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, Permission},
		{"cancelled", fmt.Errorf("x: %w", context.Canceled), Interrupted},
		{"none", nil, Failed},
	}
	for _, tt := range tests {
		if got := Of(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if !slices.Contains(Classes, Of(tt.err)) {
			t.Errorf("%s: the class is not listed", tt.name)
		}
	}
	if !errors.Is(fmt.Errorf("x: %w", errBusy), errBusy) ||
		errors.Is(New(Locked, "busy"), errBusy) {
		t.Error("a sentinel is itself, and nothing else is")
	}
}

func TestHints(t *testing.T) {
	err := fmt.Errorf("x: %w", errors.Join(errors.New("y"), &full{syscall.ENOSPC}))
	if got := Hints(err, "/mnt/usb"); !slices.Equal(got, []string{"raise the limit; /mnt/usb"}) {
		t.Errorf("%q", got)
	}
	if got := Hints(errors.New("x"), "/mnt/usb"); got != nil {
		t.Errorf("%q from an error that has no hint", got)
	}
}

func TestText(t *testing.T) {
	missing := &fs.PathError{Op: "stat", Path: "usb", Err: fs.ErrNotExist}
	tests := []struct {
		err  error
		want string
	}{
		{errors.New("x"), "x"},
		{missing, `stat "usb": file does not exist`},
		{fmt.Errorf("export to %q: %w", "usb", missing), `export to "usb": file does not exist`},
		{fmt.Errorf("export to %q: %w", "usb2", missing),
			`export to "usb2": stat "usb": file does not exist`},
		{fmt.Errorf("look: %w", &fs.PathError{Op: "openat", Path: "a\x1bb", Err: syscall.EACCES}),
			`look: open "a\x1bb": permission denied`},
		{fmt.Errorf("move %q: %w", "a", &os.LinkError{Op: "renameat", Old: "a", New: "b",
			Err: syscall.EXDEV}), `move "a": rename "a" "b": invalid cross-device link`},
		{errors.Join(fmt.Errorf("a: %w", missing), errors.New("b")),
			`a: stat "usb": file does not exist; b`},
		{fmt.Errorf("read %q: %w", "usb", &fs.PathError{Op: "open", Path: "usb", Err: missing}),
			`read "usb": file does not exist`},
	}
	for _, tt := range tests {
		if got := Text(tt.err); got != tt.want {
			t.Errorf("%q\nis  %s\nnot %s", tt.err, got, tt.want)
		}
	}
}

func TestBare(t *testing.T) {
	missing := &fs.PathError{Op: "open", Path: "a", Err: fs.ErrNotExist}
	plain := errors.New("x")
	for _, tt := range []struct{ err, want error }{
		{missing, fs.ErrNotExist}, {fmt.Errorf("read: %w", missing), fs.ErrNotExist},
		{plain, plain}, {nil, nil},
	} {
		if got := Bare(tt.err); got != tt.want {
			t.Errorf("Bare(%v) is %v, want %v", tt.err, got, tt.want)
		}
	}
}

var quoted = []string{"/mnt/usb", "a b", "it's", "-x", "", "tab\there", "line\nbreak", "bell\a'\\",
	"\x1b[31m", "bad\xffbyte1", "ümlaut", "\u202egpj", "$(rm -rf /)", "a\u00a0b"}

// A shell reads back what was quoted.
func TestQuoteIsReadByShells(t *testing.T) {
	for _, shell := range []string{"bash", "zsh"} {
		program, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("NOT TRIED WITH %s: %v", shell, err)
			continue
		}
		for _, s := range quoted {
			out, err := exec.Command(program, "-c", "printf %s "+Quote(s)).Output()
			if err != nil || !bytes.Equal(out, []byte(s)) {
				t.Errorf("%s reads %s as %q, want %q: %v", shell, Quote(s), out, s, err)
			}
		}
	}
}

func TestQuote(t *testing.T) {
	for s, want := range map[string]string{"/mnt/usb-1": "/mnt/usb-1", "a b": "'a b'",
		"it's": `'it'\''s'`, "-x": "'-x'", "": "''", "a\nb": `$'a\012b'`, "\x1b1": `$'\0331'`} {
		if got := Quote(s); got != want {
			t.Errorf("%q is quoted as %s, want %s", s, got, want)
		}
	}
}

// Nothing that is quoted can harm a terminal.
func FuzzQuote(f *testing.F) {
	for _, s := range quoted {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := Quote(s)
		if strings.ContainsFunc(q, func(r rune) bool {
			return r < 0x20 || r >= 0x7f && r < 0xa0 ||
				r == 0xfffd || r == 0x202e
		}) {
			t.Errorf("%q is quoted as %q", s, q)
		}
	})
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 9: "9 B", 1023: "1023 B", 1024: "1.0 KiB",
		7474: "7.3 KiB", 10188: "9.9 KiB", 10189: "10 KiB", 300 << 10: "300 KiB",
		1<<20 - 1: "1024 KiB", 19 << 20: "19 MiB", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB",
		-2048: "-2.0 KiB", math.MinInt64: "-8.0 EiB"} {
		if got := Size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
