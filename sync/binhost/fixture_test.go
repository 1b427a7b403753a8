package binhost_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pkgsneak/sync/binhost"
	"pkgsneak/sync/pkgindex"
)

const firstTimestamp = 1_700_000_000

// host is a machine with PKGDIR and DISTDIR.
type host struct {
	pkgdir, distdir string
	index           *pkgindex.Index
}

func newHost(t testing.TB) *host {
	h := &host{pkgdir: filepath.Join(t.TempDir(), "pkgdir"),
		distdir: filepath.Join(t.TempDir(), "distdir"), index: &pkgindex.Index{}}
	h.index.Header.Set("CHOST", "x86_64-pc-linux-gnu")
	h.index.Header.Set("PROFILE", "default/linux/amd64/23.0")
	h.index.Header.Set("REPO", "gentoo")
	h.index.SetTimestamp(firstTimestamp)
	for _, d := range []string{h.pkgdir, h.distdir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// put makes a package file and its entry; more are keys and values of the entry.
func (h *host) put(t testing.TB, cpv, path string, data []byte, more ...string) {
	t.Helper()
	write(t, filepath.Join(h.pkgdir, path), data)
	mtime := time.Unix(firstTimestamp-3600*int64(len(h.index.Entries)), 0)
	if err := os.Chtimes(filepath.Join(h.pkgdir, path), mtime, mtime); err != nil {
		t.Fatal(err)
	}
	h.index.Entries = append(h.index.Entries, entry(t, cpv, path, data, mtime, more...))
}

func entry(t testing.TB, cpv, path string, data []byte, mtime time.Time,
	more ...string) pkgindex.Entry {
	t.Helper()
	category, pf, _ := strings.Cut(cpv, "/")
	keys := map[string]string{"CATEGORY": category, "PF": pf, "SLOT": "0"}
	for i := 0; i < len(more); i += 2 {
		keys[more[i]] = more[i+1]
	}
	e, err := pkgindex.NewEntry(func(k string) string { return keys[k] })
	if err != nil {
		t.Fatal(err)
	}
	e, err = e.With("PATH", path, "SIZE", strconv.Itoa(len(data)), "MTIME",
		strconv.FormatInt(mtime.Unix(), 10),
		"MD5", fmt.Sprintf("%x", md5.Sum(data)), "SHA1", fmt.Sprintf("%x", sha1.Sum(data)))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// writeIndex replaces Packages as Portage does.
func (h *host) writeIndex(t testing.TB) []byte {
	t.Helper()
	text, err := h.index.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	h.replaceIndex(t, text)
	return text
}

func (h *host) replaceIndex(t testing.TB, text []byte) {
	t.Helper()
	temporary := filepath.Join(h.pkgdir, "PackagesXXXXXXXX")
	write(t, temporary, text)
	if err := os.Rename(temporary, filepath.Join(h.pkgdir, "Packages")); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func random(seed string, n int) []byte {
	var key [32]byte
	copy(key[:], seed)
	data := make([]byte, n)
	rand.NewChaCha8(key).Read(data)
	return data
}

// problems collects what a server reports.
type problems struct {
	mu   sync.Mutex
	list []string
	more chan struct{} // gets one for each, as far as there is room
}

func newProblems() *problems { return &problems{more: make(chan struct{}, 1000)} }

func (p *problems) add(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, err.Error())
	select {
	case p.more <- struct{}{}:
	default:
	}
}

func (p *problems) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.list...)
}

// running is a server at work.
type running struct {
	url      string
	address  string
	handler  *binhost.Handler
	problems *problems
	stop     func() error // and wait for the end
}

// serve starts a server on a port of its own.
func serve(t testing.TB, source binhost.Source, prefix string,
	change func(*binhost.Server)) *running {
	t.Helper()
	p := newProblems()
	handler, err := binhost.NewHandler(source, binhost.Options{Prefix: prefix, Now: time.Now,
		Problem: p.add})
	if err != nil {
		t.Fatal(err)
	}
	s := &binhost.Server{Handler: handler, Problem: p.add}
	if change != nil {
		change(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	scheme := "http://"
	if s.TLS != nil {
		scheme = "https://"
	}
	return &running{scheme + l.Addr().String() + prefix, l.Addr().String(), handler, p, stop}
}

func (h *host) source() binhost.Source {
	return binhost.Machine("bighost", h.pkgdir, h.distdir, time.Now)
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// ask makes a request with a connection of its own; headers are "Name: value". A path is sent as it
// is written.
func (s *running) ask(t testing.TB, method, path string, headers ...string) answer {
	t.Helper()
	a, err := s.try(method, path, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (s *running) try(method, path string, headers ...string) (answer, error) {
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	if !strings.Contains(strings.Join(headers, "\n"), "Host: ") {
		headers = append(headers, "Host: "+s.address)
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n", method, path,
		strings.Join(headers, "\r\n")); err != nil {
		return answer{}, err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body}, err
}

func (s *running) get(t testing.TB, path string, headers ...string) answer {
	t.Helper()
	return s.ask(t, http.MethodGet, path, headers...)
}

func wantBody(t testing.TB, what string, got answer, code int, body []byte) {
	t.Helper()
	if got.code != code || !bytes.Equal(got.body, body) {
		t.Errorf("%s: %d with %d bytes, want %d with %d bytes", what, got.code, len(got.body),
			code, len(body))
	}
}
