package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// server is `pkgsneak serve` at work in this process.
type server struct {
	url  string
	stop func() (code int, stdout, stderr string)
}

// startServe runs serve on a port that the system chooses, and waits until it prints where it
// listens.
func startServe(t *testing.T, root string, words ...string) *server {
	t.Helper()
	out, in := io.Pipe()
	var stderr bytes.Buffer
	e := &env{stdin: strings.NewReader(""), stdout: in, stderr: &stderr,
		lookup: func(string) (string, bool) { return "", false },
		now:    time.Now, hostname: "bighost", root: root, version: "test"}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, e, append([]string{"serve", "--listen", "127.0.0.1:0"}, words...))
		in.Close()
	}()
	r := bufio.NewReader(out)
	first, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("serve ended with %d: %s", <-ended, stderr.String())
	}
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(first)
	if url == "" {
		t.Fatalf("serve says %q", first)
	}
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(r)
		rest <- first + string(text)
	}()
	done := false
	s := &server{url: url, stop: func() (int, string, string) {
		done = true
		cancel()
		code := <-ended
		return code, <-rest, stderr.String()
	}}
	t.Cleanup(func() {
		if !done {
			s.stop()
		}
	})
	return s
}

// servingHost is a machine of the stories.
func servingHost(t *testing.T) (root, pkgdir string) {
	root = t.TempDir()
	pkgdir = filepath.Join(root, "var/cache/binpkgs")
	for _, dir := range []string{"etc/portage", "var/cache/distfiles"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyGolden("../../testdata/golden/mixed", pkgdir); err != nil {
		t.Fatal(err)
	}
	if err := copyFileTo("../../testdata/golden/mixed/Packages", filepath.Join(pkgdir, "Packages"),
		time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "var/cache/distfiles/a.tar"), []byte("a"),
		0o644); err != nil {
		t.Fatal(err)
	}
	return root, pkgdir
}

func fetch(t *testing.T, url string) (int, []byte) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

func TestServe(t *testing.T) {
	root, pkgdir := servingHost(t)
	s := startServe(t, root, "--prefix", "funtoo")
	want, err := os.ReadFile(filepath.Join(pkgdir, "Packages"))
	if err != nil {
		t.Fatal(err)
	}
	if code, got := fetch(t, s.url+"/funtoo/packages/Packages"); code != 200 ||
		!bytes.Equal(got, want) {
		t.Errorf("Packages: %d, %d bytes of %d", code, len(got), len(want))
	}
	if code, got := fetch(t, s.url+"/funtoo/distfiles/a.tar"); code != 200 || string(got) != "a" {
		t.Errorf("a distfile: %d %q", code, got)
	}
	if code, got := fetch(t, s.url+"/funtoo/"); code != 200 ||
		!bytes.Contains(got, []byte("bighost")) {
		t.Errorf("the start page: %d", code)
	}
	fetch(t, s.url+"/\"%1b[31m")
	code, stdout, stderr := s.stop()
	if code != exitDone {
		t.Errorf("after a stop that was asked for the exit code is %d\n%s", code, stderr)
	}
	for _, line := range []string{
		`(?m)^serving .*/var/cache/binpkgs and .*/var/cache/distfiles at http://127\.0\.0\.1:\d+/funtoo$`,
		`(?m)^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /funtoo/distfiles/a\.tar HTTP/1\.1" 200 1 "-" "Go-http-client/1\.1"$`,
		`(?m)"GET /%22%1B%5B31m HTTP/1\.1" 404 22 `,
	} {
		if !regexp.MustCompile(line).MatchString(stdout) {
			t.Errorf("no line is %s:\n%s", line, stdout)
		}
	}
}

func TestServeJSON(t *testing.T) {
	root, _ := servingHost(t)
	s := startServe(t, root, "--json")
	fetch(t, s.url+"/packages/Packages")
	code, stdout, _ := s.stop()
	var events []string
	for line := range strings.Lines(stdout) {
		var e struct {
			Event    string
			Status   int
			Pkgsneak int
			Exit     int
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if err := checkSchema([]byte(line)); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if e.Event == "access" && e.Status != 200 || e.Pkgsneak != 0 && e.Exit != 0 {
			t.Errorf("%s", line)
		}
		events = append(events, e.Event)
	}
	if got := strings.Join(events,
		" "); got != "listening access " /* and the envelope, which has none */ ||
		code != exitDone {
		t.Errorf("events %q, exit %d", got, code)
	}
}
