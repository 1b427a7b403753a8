package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pkgsneak/sync/clients"
)

const confinedVariable = "PKGSNEAK_TEST_CONFINED_SERVE"

// escape is what the child of TestServeConfined is given.
type escape struct {
	Root, Pkgdir, Beside, Listener string
}

// The child serves as `pkgsneak serve` does, and after a word on its standard input does what an
// attacker would who had taken it over. Each step that worked is told.
func TestConfinedServeChild(t *testing.T) {
	text := os.Getenv(confinedVariable)
	if text == "" {
		t.Skip("only as a child of TestServeConfined")
	}
	var x escape
	if err := json.Unmarshal([]byte(text), &x); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(os.Stdin)
	e := &env{stdin: strings.NewReader(""), stdout: os.Stdout, stderr: os.Stderr,
		lookup: func(string) (string, bool) { return "", false },
		now:    time.Now, hostname: "bighost", root: x.Root, version: "test",
		confines: true}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, e, []string{"serve", "-vv", "--clients", "--listen",
			"127.0.0.1:0"})
	}()
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for name, step := range x.steps() {
		if err := step(); err == nil {
			t.Errorf("%s: it worked", name)
		} else if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EXDEV) {
			t.Errorf("%s: %v, and not because it is forbidden", name, err)
		}
	}
	cancel()
	if code := <-ended; code != exitDone {
		t.Errorf("the server ended with %d", code)
	}
}

func (x escape) steps() map[string]func() error {
	write := func(name string) func() error {
		return func() error { return os.WriteFile(name, []byte("evil"), 0o644) }
	}
	read := func(name string) func() error {
		return func() error { _, err := os.ReadFile(name); return err }
	}
	served, precious := filepath.Join(x.Pkgdir, "Packages"), filepath.Join(x.Beside, "precious")
	return map[string]func() error{
		"read a file of the system": read("/etc/passwd"),
		"read a file beside":        read(precious),
		"read the signing key":      read(filepath.Join(x.Root, "var/lib/pkgsneak/signing.asc")),
		"read its own memory":       read("/proc/self/maps"),
		"list a directory beside":   func() error { _, err := os.ReadDir(x.Beside); return err },
		"change the index":          write(served),
		"empty the index":           func() error { return os.Truncate(served, 0) },
		"remove the index":          func() error { return os.Remove(served) },
		"add a package":             write(filepath.Join(x.Pkgdir, "new")),
		"make a directory": func() error {
			return os.Mkdir(filepath.Join(x.Pkgdir, "dir"), 0o755)
		},
		"make a link": func() error {
			return os.Symlink("/etc", filepath.Join(x.Pkgdir, "link"))
		},
		"move the index out": func() error {
			return os.Rename(served, filepath.Join(x.Beside, "moved"))
		},
		"write beside":                write(filepath.Join(x.Beside, "new")),
		"go through a link of a user": read(filepath.Join(x.Pkgdir, "way-out")),
		"run a program":               func() error { return runOpen("/bin/true") },
		"connect":                     func() error { return dial("tcp", x.Listener) },
		"send a datagram":             func() error { return dial("udp", x.Listener) },
	}
}

// runOpen runs a program with the files that are open: to open others is forbidden anyway.
func runOpen(name string) error {
	cmd := exec.Command(name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

func dial(network, address string) error {
	c, err := net.Dial(network, address)
	if err == nil {
		c.Close()
	}
	return err
}

// A server that was taken over reads what it serves anyway, and can do nothing else. It goes on
// serving what comes later.
func TestServeConfined(t *testing.T) {
	root, pkgdir := servingHost(t)
	beside := t.TempDir()
	for name, text := range map[string]string{filepath.Join(beside, "precious"): "precious",
		filepath.Join(root, "var/lib/pkgsneak/signing.asc"): "secret"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(beside, "precious"),
		filepath.Join(pkgdir, "way-out")); err != nil {
		t.Fatal(err)
	}
	store, err := clients.Open(filepath.Join(root, "var/lib/pkgsneak"), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Add("attic", time.Now()); err != nil {
		t.Fatal(err)
	}
	distdir := filepath.Join(root, "var/cache/distfiles") // comes later
	if err := os.RemoveAll(distdir); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(pkgdir, "Packages"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text, err := json.Marshal(escape{root, pkgdir, beside, l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}

	child := exec.Command(os.Args[0], "-test.run=^TestConfinedServeChild$", "-test.v",
		"-test.count=1", "-test.testlogfile=", "-test.gocoverdir=")
	child.Env = append(os.Environ(), confinedVariable+"="+string(text), "TMPDIR="+t.TempDir())
	word, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	out, in := io.Pipe()
	both := io.MultiWriter(&said, in)
	child.Stdout, child.Stderr = both, both // one pipe, so that nobody writes to it beside another
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- child.Wait()
		in.Close()
	}()
	url, confined := "", false
	lines := bufio.NewScanner(out)
	for (url == "" || !confined) && lines.Scan() {
		line := lines.Text()
		if _, after, ok := strings.Cut(line, " at http://"); ok && url == "" {
			url = "http://" + strings.TrimSuffix(after, "/")
		}
		confined = confined || strings.HasPrefix(line, "confined by landlock") &&
			strings.Contains(line, "no network")
		if strings.HasPrefix(line, "not confined:") ||
			strings.HasPrefix(line, "confined by landlock") && !confined {
			child.Process.Kill()
			t.Skipf("THIS KERNEL CANNOT CONFINE A SERVER, NOTHING WAS SHOWN: %s", line)
		}
	}
	go io.Copy(io.Discard, out)
	if url == "" {
		t.Fatalf("the server did not start: %v\n%s", <-ended, said.String())
	}

	if err := os.WriteFile(filepath.Join(pkgdir, "Packages.new"),
		bytes.Replace(index, []byte("TIMESTAMP: "), []byte("TIMESTAMP: 1"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(pkgdir, "Packages.new"),
		filepath.Join(pkgdir, "Packages")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(distdir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(distdir, "late.tar"), []byte("late"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/distfiles/late.tar": "late",
		"/clients/": "attic", "/packages/": "Packages", "/packages/Packages": "TIMESTAMP: 1"} {
		if code, body := fetch(t, url+path); code != 200 || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: %d with %d bytes, and %q is not in them", path, code, len(body), want)
		}
	}
	fmt.Fprintln(word)
	// The code that ends this package's tests cannot remove its temporary directory when it is
	// confined; the exit code is about that.
	if err := <-ended; !strings.Contains(said.String(), "--- PASS: TestConfinedServeChild") {
		t.Errorf("%v\n%s", err, said.String())
	}
	if now, err := os.ReadDir(beside); err != nil || len(now) != 1 {
		t.Errorf("outside is not what it was: %v, %v", now, err)
	}
}
