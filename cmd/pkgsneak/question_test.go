package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
)

// terminal is a pseudo terminal: the side of the person, and the device for the program.
type terminal struct {
	person *os.File
	device string

	mu   sync.Mutex
	seen bytes.Buffer
	news chan struct{} // something was printed, or the terminal is gone
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo terminal (%v), so no question was interrupted", err)
	}
	person := os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return &terminal{person: person, device: fmt.Sprintf("/dev/pts/%d", n),
		news: make(chan struct{}, 1)}
}

// start runs the program with this terminal as its own, and waits until it has asked something.
func (term *terminal) start(t *testing.T, root string, words ...string) *exec.Cmd {
	t.Helper()
	device, err := os.OpenFile(term.device, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: self, Args: append([]string{"pkgsneak"}, words...), Stdin: device,
		Stdout: device, Stderr: device,
		Env: append(os.Environ(), "STORY_ROOT="+root, "STORY_NAME=client", "NO_COLOR=1",
			"TERM=xterm", "PKGSNEAK_ANY_DIRECTORY=yes"),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := term.person.Read(buf)
			term.mu.Lock()
			term.seen.Write(buf[:n])
			term.mu.Unlock()
			select {
			case term.news <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	patience := time.After(30 * time.Second)
	for !strings.Contains(strings.ToLower(term.text()), "[y/n] ") {
		select {
		case <-term.news:
		case <-patience:
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("no question after half a minute: %q", term.text())
		}
	}
	return cmd
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen.String()
}

// Every question ends at once on Ctrl-C, at the end of the input and when the terminal is closed;
// what is typed after it counts no more, and nothing is changed.
func TestQuestionsInterrupted(t *testing.T) {
	dir := t.TempDir()
	client, usb, old := filepath.Join(dir, "client"), filepath.Join(dir,
		"usb"), filepath.Join(dir, "old.asc")
	host := filepath.Join(dir, "host")
	for _, d := range []string{client + "/etc/portage", host + "/etc/portage",
		host + "/var/cache/distfiles", usb} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(host+"/var/cache/distfiles/a.tar", []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	plain := func(root string, words ...string) string {
		t.Helper()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := &exec.Cmd{Path: self, Args: append([]string{"pkgsneak"}, words...),
			Env: append(os.Environ(), "STORY_ROOT="+root, "STORY_NAME=host",
				"PKGSNEAK_ANY_DIRECTORY=yes")}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("pkgsneak %q: %v %s", words, err, out)
		}
		return string(out)
	}
	plain(host, "export", usb)
	if err := os.WriteFile(old, []byte(plain(host, "key", "--armor")), 0o644); err != nil {
		t.Fatal(err)
	}
	plain(host, "key", "rotate")
	plain(host, "export", usb)
	rotated := filepath.Join(dir, "rotated")
	for _, d := range []string{"/etc/portage", "/var/cache"} {
		if err := os.MkdirAll(rotated+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	plain(rotated, "trust", old, "--fingerprint", fingerprintOf(t, old))

	const ctrlC, ctrlD, hangUp = "\x03", "\x04", ""
	questions := []struct {
		name  string
		root  string
		words []string
	}{
		{"trust", client, []string{"trust", usb}},
		{"trust of a successor", rotated, []string{"trust", usb}},
		{"trust --never", client, []string{"trust", usb, "--never"}},
		{"import of a rotation", rotated, []string{"import", usb}},
		{"export --ask", host, []string{"export", filepath.Join(dir, "usb2"), "--ask"}},
	}
	if err := os.MkdirAll(filepath.Join(dir, "usb2"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		for how, keys := range map[string]string{"Ctrl-C": ctrlC + "y\n", "end of input": ctrlD,
			"terminal closed": hangUp} {
			t.Run(q.name+"/"+how, func(t *testing.T) {
				before := listed(t, dir)
				term := newTerminal(t)
				cmd := term.start(t, q.root, q.words...)
				if keys == hangUp {
					term.person.Close()
				} else if _, err := io.WriteString(term.person, keys); err != nil {
					t.Fatal(err)
				}
				err := cmd.Wait()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
					t.Errorf("%v, want exit code 130; printed %q", err, term.text())
				}
				if after := listed(t, dir); after != before {
					t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
				}
			})
		}
	}
}

func fingerprintOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	k, err := manifest.ReadPublicKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return string(k.Fingerprint())
}

// listed is every file below dir with its contents, but for the lock of a state directory.
func listed(t *testing.T, dir string) string {
	t.Helper()
	files, err := treeOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range files {
		if filepath.Base(f.path) != "lock" && !strings.Contains(f.path, "/digests") {
			fmt.Fprintf(&b, "%s %s\n", f.path, f.sum)
		}
	}
	return b.String()
}
