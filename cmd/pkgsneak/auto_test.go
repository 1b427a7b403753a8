package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/auto"
	"pkgsneak/sync/importer"
)

// watchEnv is the process of a watch on a machine of its own; each line on its standard output is
// told.
func watchEnv(t *testing.T, lines chan<- string) (e *env, usb string) {
	t.Helper()
	root, usb := t.TempDir(), t.TempDir()
	if err := copyGolden("../../testdata/golden/xpak-classic",
		filepath.Join(root, "var/cache/binpkgs")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "var/cache/distfiles"), 0o755); err != nil {
		t.Fatal(err)
	}
	e = processEnv(build{version: "test"})
	e.root, e.hostname, e.executable, e.portageq = root, "host", "", nil
	e.lookup = func(string) (string, bool) { return "", false }
	e.stdin, e.stdout, e.stderr = strings.NewReader(""), lineWriter(lines), &bytes.Buffer{}
	return e, usb
}

// lineWriter gives each write away.
type lineWriter chan<- string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// A signal between two exports ends a watch as if it had been asked to: with 0.
func TestWatchEndsBySignal(t *testing.T) {
	lines := make(chan string, 100)
	e, usb := watchEnv(t, lines)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int)
	go func() {
		code <- run(ctx, e, []string{"watch", usb, "--any-directory", "--settle", "1ms"})
	}()
	if line := <-lines; !strings.HasPrefix(line, "exported host to ") {
		t.Errorf("it said %q", line)
	}
	cancel()
	if got := <-code; got != exitDone {
		t.Errorf("exit code %d, %s", got, e.stderr)
	}
}

// The worker of auto reads the variables, too, and is told what the command line undoes of them. It
// takes all that it is told.
func TestWorkerIsToldWhatIsUndone(t *testing.T) {
	c := autoRun{&invocation{commandLine: testCommandLine(t, nil), opt: newOptions()}}
	c.opt.imports.Prune = true
	words := c.worker()(t.Context()).Args
	for _, want := range []string{"--origin=all", "--pkgdir=portage", "--max-age=none",
		"--jobs=auto", "--prune=true", "--replace=false"} {
		if !slices.Contains(words, want) {
			t.Errorf("%s is not among %q", want, words)
		}
	}
	if _, err := parseArgs(newApp(testCommandLine(t, nil)), words[1:]); err != nil {
		t.Error(err)
	}
}

// The command of PKGSNEAK_ON_DONE gets what --json has as the result: an empty list is [].
func TestHookGetsLists(t *testing.T) {
	c := autoRun{&invocation{commandLine: testCommandLine(t, nil), opt: newOptions()}}
	line, err := c.unattended().Encode(&auto.Result{Import: &importer.ImportReport{}})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(line); strings.Contains(text, "null") ||
		!strings.Contains(text, `"refused":[]`) || !strings.HasSuffix(text, "}\n") {
		t.Errorf("got %q", text)
	}
}

// Standard error is the journal if JOURNAL_STREAM names that very file; the variable alone is
// inherited by everybody.
func TestJournalIsKnown(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		stream string
		want   bool
	}{{fmt.Sprintf("%d:%d", st.Dev, st.Ino), true},
		{fmt.Sprintf("%d:%d", st.Dev, st.Ino+1), false}, {"", false}} {
		e := &env{stderr: f, lookup: func(name string) (string, bool) {
			return tt.stream, name == "JOURNAL_STREAM"
		}}
		if got := e.toJournal(); got != tt.want {
			t.Errorf("%q: %t", tt.stream, got)
		}
	}
}
