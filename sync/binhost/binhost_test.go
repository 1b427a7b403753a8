package binhost_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pkgsneak/sync/binhost"
	"pkgsneak/sync/digest"
)

const bigPath = "app-misc/big/big-1.0-1.gpkg.tar"

// smallHost has one big package, two small ones and some distfiles.
func smallHost(t testing.TB) (h *host, big []byte) {
	h = newHost(t)
	big = random("big", 3<<20)
	h.put(t, "app-misc/big-1.0", bigPath, big, "BUILD_ID", "1")
	h.put(t, "dev-libs/greet++-2.1_p3", "dev-libs/greet++-2.1_p3.tbz2", []byte("greet"))
	h.put(t, "app-misc/old-1", "All/old-1.tbz2", []byte("old"))
	h.writeIndex(t)
	write(t, filepath.Join(h.distdir, "big-1.0.tar.xz"), []byte("source of big"))
	write(t, filepath.Join(h.distdir, "gtk+-2~rc1 50%2F.tar.bz2"), []byte("source of gtk"))
	return h, big
}

func TestFiles(t *testing.T) {
	h, big := smallHost(t)
	write(t, filepath.Join(h.distdir, "page.html"), []byte("<script>alert(1)</script>"))
	for _, prefix := range []string{"", "/funtoo"} {
		s := serve(t, h.source(), prefix, nil)
		for _, test := range []struct {
			path, kind string
			body       []byte
		}{
			{"/packages/" + bigPath, "application/vnd.gentoo.gpkg", big},
			{"/packages/dev-libs/greet++-2.1_p3.tbz2", "application/vnd.gentoo.xpak",
				[]byte("greet")},
			{"/packages/dev-libs/greet%2b%2B-2.1_p3.tbz2", "application/vnd.gentoo.xpak",
				[]byte("greet")},
			{"/packages/All/old-1.tbz2", "application/vnd.gentoo.xpak", []byte("old")},
			{"/distfiles/big-1.0.tar.xz", "application/x-xz", []byte("source of big")},
			{"/distfiles/" + bucket("big-1.0.tar.xz") + "/big-1.0.tar.xz", "application/x-xz",
				[]byte("source of big")},
			{"/distfiles/gtk+-2~rc1%2050%252F.tar.bz2", "application/x-bzip2",
				[]byte("source of gtk")},
			{"/distfiles/gtk%2B-2%7Erc1%2050%252F.tar.bz2", "application/x-bzip2",
				[]byte("source of gtk")},
			{"/distfiles/layout.conf", "text/plain; charset=utf-8",
				[]byte("[structure]\n0=filename-hash BLAKE2B 8\n1=flat\n")},
			{"/distfiles/page.html", "application/octet-stream",
				[]byte("<script>alert(1)</script>")},
		} {
			got := s.get(t, prefix+test.path)
			wantBody(t, test.path, got, 200, test.body)
			if kind := got.header.Get("Content-Type"); kind != test.kind {
				t.Errorf("%s is %q, want %q", test.path, kind, test.kind)
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff",
				"Content-Length": strconv.Itoa(len(test.body)), "Accept-Ranges": "bytes"} {
				if v := got.header.Get(name); v != want {
					t.Errorf("%s: %s is %q, want %q", test.path, name, v, want)
				}
			}
			head := s.ask(t, http.MethodHead, prefix+test.path)
			wantBody(t, "HEAD "+test.path, head, 200, nil)
			for _, name := range []string{"Content-Length", "Content-Type", "Etag",
				"Last-Modified"} {
				if head.header.Get(name) != got.header.Get(name) {
					t.Errorf("HEAD %s: %s is %q, GET says %q", test.path, name,
						head.header.Get(name), got.header.Get(name))
				}
			}
		}
		if got := s.get(t, "/"); prefix != "" &&
			(got.code != 301 || got.header.Get("Location") != "/funtoo/") {
			t.Errorf("the way to the prefix: %d %q", got.code, got.header.Get("Location"))
		}
	}
}

func bucket(name string) string {
	sum := digest.Name(name)
	return digest.Hex(sum[:1])
}

func TestRanges(t *testing.T) {
	h, big := smallHost(t)
	s := serve(t, h.source(), "", nil)
	whole := s.get(t, "/packages/"+bigPath)
	etag, modified := whole.header.Get("Etag"), whole.header.Get("Last-Modified")
	n := len(big)
	for _, test := range []struct {
		name    string
		headers []string
		code    int
		body    []byte
	}{
		{"the rest", []string{"Range: bytes=1000-"}, 206, big[1000:]},
		{"the middle", []string{"Range: bytes=1000-1999"}, 206, big[1000:2000]},
		{"the last bytes", []string{"Range: bytes=-7"}, 206, big[n-7:]},
		{"behind the end", []string{"Range: bytes=" + strconv.Itoa(n) + "-"}, 416, nil},
		{"overlapping the end", []string{fmt.Sprintf("Range: bytes=%d-%d", n-5, n+500)},
			206, big[n-5:]},
		{"another unit", []string{"Range: lines=1-2"}, 416, nil},
		{"resume of the same file", []string{"Range: bytes=2000000-", "If-Range: " + etag}, 206,
			big[2000000:]},
		{"resume of the same time", []string{"Range: bytes=2000000-", "If-Range: " + modified}, 206,
			big[2000000:]},
		{"resume of another file", []string{"Range: bytes=2000000-",
			`If-Range: "other"`}, 200, big},
		{"not changed, by tag", []string{"If-None-Match: " + etag}, 304, nil},
		{"not changed, by time", []string{"If-Modified-Since: " + modified}, 304, nil},
		{"changed, by tag", []string{`If-None-Match: "other"`}, 200, big},
		{"changed, by time", []string{"If-Modified-Since: Mon, 01 Jan 2001 00:00:00 GMT"}, 200,
			big},
		{"only if the same", []string{"If-Match: " + etag}, 200, big},
		{"only if the same, and it is not", []string{`If-Match: "other"`}, 412, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.get(t, "/packages/"+bigPath, test.headers...)
			if test.body == nil {
				got.body = nil
			}
			wantBody(t, test.name, got, test.code, test.body)
		})
	}
	many := s.get(t, "/packages/"+bigPath, "Range: bytes=0-9,100-109")
	if many.code != 206 || !strings.HasPrefix(many.header.Get("Content-Type"),
		"multipart/byteranges") || !bytes.Contains(many.body, big[100:110]) {
		t.Errorf("two ranges: %d %s", many.code, many.header.Get("Content-Type"))
	}
}

// Portage sends its copy's TIMESTAMP as If-Modified-Since, and takes a new index for one only if
// its TIMESTAMP is greater.
func TestIndexConditions(t *testing.T) {
	h, _ := smallHost(t)
	s := serve(t, h.source(), "", nil)
	stamp := time.Unix(firstTimestamp, 0).UTC()
	for _, name := range []string{"/packages/Packages", "/packages/Packages.gz"} {
		first := s.get(t, name)
		if got := first.header.Get("Last-Modified"); got != stamp.Format(http.TimeFormat) {
			t.Errorf("%s: Last-Modified is %q, TIMESTAMP is %q", name, got,
				stamp.Format(http.TimeFormat))
		}
		wantBody(t, name, s.get(t, name, "If-Modified-Since: "+stamp.Format(http.TimeFormat)), 304,
			nil)
		older := stamp.Add(-time.Second).Format(http.TimeFormat)
		if got := s.get(t, name, "If-Modified-Since: "+older); got.code != 200 {
			t.Errorf("%s: a copy that is a second older gets %d", name, got.code)
		}
		wantBody(t, name, s.get(t, name, "If-None-Match: "+first.header.Get("Etag")), 304, nil)
		h.index.SetTimestamp(firstTimestamp + 1)
		h.writeIndex(t)
		if got := s.get(t, name, "If-None-Match: "+first.header.Get("Etag"),
			"If-Modified-Since: "+stamp.Format(http.TimeFormat)); got.code != 200 {
			t.Errorf("%s: with a new index there, a client with the old one gets %d",
				name, got.code)
		}
		h.index.SetTimestamp(firstTimestamp)
		h.writeIndex(t)
	}
	if a, b := s.get(t, "/packages/Packages").header.Get("Etag"), s.get(t,
		"/packages/Packages.gz").header.Get("Etag"); a == b {
		t.Errorf("Packages and Packages.gz have one ETag: %s", a)
	}
}

func gunzip(t testing.TB, packed []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// Packages.gz is always of the generation that Packages is of, whatever lies in PKGDIR under that
// name.
func TestStaleGzip(t *testing.T) {
	h, _ := smallHost(t)
	write(t, filepath.Join(h.pkgdir, "Packages.gz"), []byte("of yesterday"))
	s := serve(t, h.source(), "", nil)
	plain, err := os.ReadFile(filepath.Join(h.pkgdir, "Packages"))
	if err != nil {
		t.Fatal(err)
	}
	wantBody(t, "Packages", s.get(t, "/packages/Packages"), 200, plain)
	if got := gunzip(t, s.get(t, "/packages/Packages.gz").body); !bytes.Equal(got, plain) {
		t.Errorf("Packages.gz unpacks to %d bytes, Packages has %d", len(got), len(plain))
	}
}

// While the index is replaced again and again, each answer is one whole generation: Packages
// is the plain text of Packages.gz, byte for byte, for each TIMESTAMP.
func TestIndexReplacedWhileServing(t *testing.T) {
	h, _ := smallHost(t)
	s := serve(t, h.source(), "", nil)
	generations := map[string]bool{}
	for i := range 60 {
		h.index.SetTimestamp(int64(firstTimestamp + i))
		h.put(t, fmt.Sprintf("app-new/p%d-1", i), fmt.Sprintf("app-new/p%d-1.tbz2", i),
			random("p", 50))
		text, err := h.index.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		generations[string(text)] = true
	}
	texts := make([]string, 0, len(generations))
	for text := range generations {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	h.replaceIndex(t, []byte(texts[0]))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, text := range texts {
			h.replaceIndex(t, []byte(text))
		}
	}()
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			for {
				got, err := s.try(http.MethodGet,
					[]string{"/packages/Packages", "/packages/Packages.gz"}[i%2])
				if err != nil || got.code != 200 {
					t.Errorf("%d, %v", got.code, err)
					return
				}
				text := got.body
				if i%2 == 1 {
					text = gunzip(t, text)
				}
				if !generations[string(text)] {
					t.Errorf("an answer of %d bytes is no generation", len(text))
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	readers.Wait()
	last := s.get(t, "/packages/Packages")
	wantBody(t, "after the last one", last, 200, []byte(texts[len(texts)-1]))
	if got := s.problems.all(); len(got) > 0 {
		t.Errorf("problems: %q", got)
	}
}

// A file that appears or is replaced is served at once, and a client that reads the old one reads
// it to its end.
func TestFilesReplacedWhileServing(t *testing.T) {
	h := newHost(t)
	first, second := random("first", 8<<20), random("second", 8<<20)
	h.put(t, "app-misc/a-1", "app-misc/a-1.tbz2", first)
	h.writeIndex(t)
	s := serve(t, h.source(), "", nil)
	res, err := http.Get(s.url + "/packages/app-misc/a-1.tbz2")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(res.Body, head); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(h.pkgdir, "new"), second)
	old, err := os.Stat(filepath.Join(h.pkgdir, "app-misc/a-1.tbz2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(h.pkgdir, "new"), old.ModTime(), old.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(h.pkgdir, "new"),
		filepath.Join(h.pkgdir, "app-misc/a-1.tbz2")); err != nil {
		t.Fatal(err)
	}
	now := s.get(t, "/packages/app-misc/a-1.tbz2", "Range: bytes=0-",
		"If-Range: "+res.Header.Get("Etag"))
	wantBody(t, "the new file, of the same size and time, when the old one's tag is shown",
		now, 200, second)
	rest, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(append(head, rest...), first) {
		t.Errorf("the reader of the old file got %d bytes, %v", len(head)+len(rest), err)
	}

	if got := s.get(t, "/packages/app-misc/b-1.tbz2"); got.code != 404 {
		t.Errorf("a package before it is built: %d", got.code)
	}
	h.put(t, "app-misc/b-1", "app-misc/b-1.tbz2", []byte("b"))
	h.writeIndex(t)
	wantBody(t, "a package that was built", s.get(t, "/packages/app-misc/b-1.tbz2"),
		200, []byte("b"))
	if got := s.get(t, "/distfiles/d.tar"); got.code != 404 {
		t.Errorf("a distfile before it is fetched: %d", got.code)
	}
	write(t, filepath.Join(h.distdir, "d.tar"), []byte("d"))
	wantBody(t, "a distfile that was fetched", s.get(t, "/distfiles/d.tar"), 200, []byte("d"))
	if err := os.Remove(filepath.Join(h.distdir, "d.tar")); err != nil {
		t.Fatal(err)
	}
	if got := s.get(t, "/distfiles/d.tar"); got.code != 404 {
		t.Errorf("a distfile that is gone: %d", got.code)
	}
}

// A machine whose PKGDIR has no index, or none that can be read, reports it, and serves one as soon
// as it is there.
func TestNoIndex(t *testing.T) {
	h := newHost(t)
	s := serve(t, h.source(), "", nil)
	if got := s.get(t, "/packages/Packages"); got.code != 404 {
		t.Errorf("no index: %d", got.code)
	}
	if got := s.get(t, "/"); got.code != 200 ||
		!bytes.Contains(got.body, []byte("pkgsneak index")) {
		t.Errorf("no index: the page says %d\n%s", got.code, got.body)
	}
	h.put(t, "app-misc/a-1", "app-misc/a-1.tbz2", []byte("a"))
	text := h.writeIndex(t)
	wantBody(t, "the first index", s.get(t, "/packages/Packages"), 200, text)
	h.replaceIndex(t, bytes.Repeat([]byte("x"), 3<<20)) // a line longer than any
	wantBody(t, "when it cannot be read, the one before", s.get(t, "/packages/Packages"), 200, text)
	if got := s.get(t, "/"); !bytes.Contains(got.body, []byte("class=\"notice\"")) {
		t.Errorf("the page does not say that the index cannot be read:\n%s", got.body)
	}
}

// Nothing outside the trees can be had, by whatever name, and nothing inside that is not meant for
// others.
func TestTraversal(t *testing.T) {
	h, _ := smallHost(t)
	secret := filepath.Join(filepath.Dir(h.pkgdir), "secret")
	write(t, secret, []byte("secret"))
	for _, name := range []string{".pkgsneak/abc", ".Packages.portage_lockfile",
		"app-misc/.hidden.tbz2", "app-misc/not-indexed-1.tbz2",
		"app-misc/big/big-2.0-1.gpkg.tar.partial",
		"app-misc/big/big-1.0-1.gpkg.tar._checksum_failure_.x", "PackagesABCDEFGH"} {
		write(t, filepath.Join(h.pkgdir, name), []byte("secret"))
	}
	for _, name := range []string{".pkgsneak/abc", ".big.portage_lockfile", "d.tar.__download__",
		"d.tar._checksum_failure_.x", "git3-src/x", "d.tar.portage_lockfile"} {
		write(t, filepath.Join(h.distdir, name), []byte("secret"))
	}
	links := map[string]string{"app-misc/link-1.tbz2": secret,
		"app-misc/inside-1.tbz2": filepath.Base(bigPath), "linkdir": filepath.Dir(secret),
		"app-misc/dot-1.tbz2": "../.pkgsneak/abc"}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(h.pkgdir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(h.distdir, "link.tar")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(h.pkgdir, "app-misc/fifo-1.tbz2"), 0o644); err != nil {
		t.Fatal(err)
	}
	// An index that names them all.
	for i, path := range []string{"app-misc/link-1.tbz2", "app-misc/inside-1.tbz2",
		"linkdir/secret", "app-misc/dot-1.tbz2", "app-misc/fifo-1.tbz2", ".pkgsneak/abc",
		"app-misc/.hidden.tbz2"} {
		h.index.Entries = append(h.index.Entries, entry(t, fmt.Sprintf("app-misc/evil%d-1", i),
			path, []byte("secret"), time.Unix(firstTimestamp, 0)))
	}
	text := h.writeIndex(t)
	text = bytes.Replace(text, []byte("PATH: linkdir/secret"), []byte("PATH: ../secret"), 1)
	s := serve(t, h.source(), "", nil)
	var paths []string
	for _, tree := range []string{"/packages", "/distfiles", "", "/packages/app-misc",
		"/packages/app-misc/big"} {
		for _, up := range []string{"/../secret", "/%2e%2e/secret", "/%2E%2e%2fsecret",
			"/..%2fsecret", "/..%5csecret", "/%252e%252e/secret", "//secret", "/./secret",
			"/../../../../../../etc/passwd",
			"/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/%c0%ae%c0%ae/secret",
			"/..;/secret", "/secret%00.tbz2", "/%00", secret, "/" + secret,
			"/.pkgsneak/abc", "/.pkgsneak/", "/%2epkgsneak/abc", "/.Packages.portage_lockfile",
			"/.hidden.tbz2", "/not-indexed-1.tbz2", "/link-1.tbz2", "/inside-1.tbz2",
			"/dot-1.tbz2",
			"/linkdir/secret", "/fifo-1.tbz2", "/link.tar", "/big-2.0-1.gpkg.tar.partial",
			"/big-1.0-1.gpkg.tar._checksum_failure_.x", "/PackagesABCDEFGH",
			"/d.tar.__download__", "/d.tar._checksum_failure_.x", "/git3-src/x", "/git3-src/",
			"/d.tar.portage_lockfile", "/.big.portage_lockfile", "/" + strings.Repeat("a/",
				3000), "/" + strings.Repeat("a", 5000)} {
			paths = append(paths, tree+up, tree+up+"/")
		}
	}
	for _, index := range [][]byte{text, h.writeIndex(t)} {
		h.replaceIndex(t, index)
		for _, path := range paths {
			got, err := s.try(http.MethodGet, path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if got.code != 404 && got.code != 400 || bytes.Contains(got.body, []byte("secret")) &&
				!bytes.Contains([]byte(path), []byte("secret")) ||
				bytes.Contains(got.body, []byte("root:")) {
				t.Errorf("%s: %d %.100q", path, got.code, got.body)
			}
		}
	}
	for _, page := range []string{"/packages/", "/packages/app-misc/", "/distfiles/"} {
		got := s.get(t, page)
		for _, hidden := range []string{"pkgsneak/", "hidden", "lockfile", "partial",
			"checksum_failure", "PackagesABC", "__download__", "git3", "not-indexed", "link.tar"} {
			if bytes.Contains(got.body, []byte("href=\""+page+hidden)) ||
				bytes.Contains(got.body, []byte(hidden+"\"")) {
				t.Errorf("%s lists %q", page, hidden)
			}
		}
	}
}

func TestMethods(t *testing.T) {
	h, _ := smallHost(t)
	s := serve(t, h.source(), "", nil)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE",
		"PROPFIND", "MKCOL"} {
		if got := s.ask(t, method, "/packages/Packages"); got.code != 405 ||
			got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow: %q", method, got.code, got.header.Get("Allow"))
		}
	}
	// A body that never comes holds nobody.
	c := dial(t, s.address)
	fmt.Fprintf(c, "GET /packages/Packages HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	answer, err := io.ReadAll(c)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
		t.Errorf("a GET with a body: %.60q, %v", answer, err)
	}
}

// Nothing of the texts of packages and requests is more than text in a page.
func TestHostileMetadata(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	h := newHost(t)
	put := func(cpv, path string, more ...string) {
		write(t, filepath.Join(h.pkgdir, path), []byte("x"))
		h.index.Entries = append(h.index.Entries,
			entry(t, cpv, path, []byte("x"), time.Unix(firstTimestamp, 0), more...))
	}
	put("app-misc/a-1", "app-misc/javascript:alert(1).tbz2", "SLOT", evil, "repository", evil,
		"USE", evil+" on \u202egnp.exe", "IUSE", evil+" on \u202egnp.exe")
	put("app-misc/b-1", `app-misc/"onmouseover="alert(1)" x=".tbz2`)
	many := strings.TrimSpace(strings.Repeat("flag"+strings.Repeat("y", 90)+" ", 10_000))
	put("app-misc/c-1", "app-misc/c-1.tbz2", "USE", many, "IUSE", many, "SLOT",
		strings.Repeat("9", 100_000))
	put("app-misc/d-1", evil+"/d-1.tbz2", "BUILD_TIME", "99999999999999999")
	e, err := h.index.Entries[0].With("CPV", "app-misc/e-1", "PATH", "app-misc/e-1.tbz2", "SIZE",
		"-5", "MTIME", "-99999999999", "BUILD_TIME", "x")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(h.pkgdir, "app-misc/e-1.tbz2"), []byte("x"))
	h.index.Entries = append(h.index.Entries, e)
	h.index.Header.Set("CHOST", evil)
	h.index.Header.Set("PROFILE", evil+"\u202e")
	h.writeIndex(t)
	write(t, filepath.Join(h.distdir, `"><img src=x onerror=alert(1)>.tar`), []byte("x"))
	write(t, filepath.Join(h.distdir, "javascript:alert(1)"), []byte("x"))
	write(t, filepath.Join(h.distdir, "bad\xff\xfe\u202etar"), []byte("x"))
	s := serve(t, binhost.Machine(evil, h.pkgdir, h.distdir, time.Now), "", nil)
	for _, path := range []string{"/", "/packages/", "/packages/app-misc/", "/distfiles/",
		"/?q=" + escape(evil), "/?category=" + escape(evil), "/?sort=" +
			escape(evil), "/?sort=size&page=" + escape(evil),
		"/?page=-1", "/?page=99999999999999999999", "/?page=922337203685477580", "/distfiles/?q=" +
			escape(evil) + "&sort=-date", "/?q=%ff%fe&category=%00", "/" + escape(evil)} {
		got := s.get(t, path, "Accept: text/html", "Host: x';$(id)")
		if got.code != 200 && got.code != 404 {
			t.Errorf("%s: %d", path, got.code)
		}
		for _, bad := range []string{"<script", "<img src=x", "<b>", "onerror=alert(1)>", "\u202e",
			"href=\"javascript:", `"onmouseover`, "$(id)"} {
			if bytes.Contains(got.body, []byte(bad)) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		if csp := got.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp,
			"default-src 'none'; style-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: the policy is %q", path, csp)
		}
		if len(got.body) > 200_000 {
			t.Errorf("%s has %d bytes", path, len(got.body))
		}
	}
	if rows := bytes.Count(s.get(t, "/").body, []byte(`<td class="name">`)); rows != 5 {
		t.Errorf("the start page shows %d of 5 packages", rows)
	}
	// Every link of a listing leads to the file.
	for _, name := range []string{"javascript:alert(1)", `"><img src=x onerror=alert(1)>.tar`,
		"bad\xff\xfe\u202etar"} {
		wantBody(t, name, s.get(t, "/distfiles/"+escape(name)), 200, []byte("x"))
	}
	listing := s.get(t, "/distfiles/").body
	if n := bytes.Count(listing, []byte(`class="file" href="/distfiles/`)); n != 3 {
		t.Errorf("the listing has %d links to files of /distfiles/:\n%s", n, listing)
	}
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func TestPages(t *testing.T) {
	h := newHost(t)
	for i := range 450 {
		h.put(t, fmt.Sprintf("cat-%d/pkg%03d-1.%d", i%3, i, i),
			fmt.Sprintf("cat-%d/pkg%03d/pkg%03d-1.%d-2.xpak", i%3, i, i, i), random("x",
				10+i), "BUILD_ID", "2")
	}
	for _, v := range []string{"1.9", "1.10", "1.10-r1"} {
		h.put(t, "app-misc/many-"+v, "app-misc/many-"+v+".tbz2", []byte(v))
	}
	h.writeIndex(t)
	s := serve(t, h.source(), "", nil)
	rows := func(path string) []string {
		var names []string
		for _, part := range strings.Split(string(s.get(t, path).body), `<td class="name">`)[1:] {
			_, after, _ := strings.Cut(part, `href="`)
			href, _, _ := strings.Cut(after, `"`)
			names = append(names, href)
		}
		return names
	}
	first := rows("/")
	if len(first) != binhost.PageRows || first[0] != "/packages/app-misc/many-1.10-r1.tbz2" ||
		first[2] != "/packages/app-misc/many-1.9.tbz2" {
		t.Errorf("the first page has %d rows, beginning with %q", len(first), first[:3])
	}
	if last := rows("/?page=5"); len(last) != 53 {
		t.Errorf("the last page has %d rows", len(last))
	}
	if got := rows("/?q=PKG0+cat-1&sort=-size"); len(got) != 33 ||
		!strings.Contains(got[0], "pkg097") {
		t.Errorf("a search, the largest first: %d rows, %q", len(got), got)
	}
	if got := rows("/?category=cat-2&sort=built&page=1"); len(got) != 100 ||
		!strings.Contains(got[0], "pkg449") {
		t.Errorf("a category, the oldest first: %d rows", len(got))
	}
	if got := rows("/packages/cat-0/?sort=-name&page=1"); len(got) != 101 ||
		got[1] != "/packages/cat-0/pkg447/" {
		t.Errorf("a listing backwards: %d rows, %q", len(got), got[:2])
	}
	if got := rows("/packages/app-misc/"); !slices.Equal(got,
		[]string{"/packages/", "/packages/app-misc/many-1.10-r1.tbz2",
			"/packages/app-misc/many-1.10.tbz2", "/packages/app-misc/many-1.9.tbz2"}) {
		t.Errorf("a listing: %q", got)
	}
	page := string(s.get(t, "/", "Host: bighost.lan:8080").body)
	for _, want := range []string{"sync-uri = http://bighost.lan:8080/packages",
		`GENTOO_MIRRORS=&#34;http://bighost.lan:8080 ${GENTOO_MIRRORS}&#34;`, "453 packages",
		"2023-11-14 22:13 UTC"} {
		if !strings.Contains(page, want) &&
			!strings.Contains(page, strings.ReplaceAll(want, "&#34;", `"`)) {
			t.Errorf("the start page does not say %q", want)
		}
	}
	if got := s.get(t, "/packages"); got.code != 301 || got.header.Get("Location") != "/packages/" {
		t.Errorf("a directory without its slash: %d %q", got.code, got.header.Get("Location"))
	}
	if got := s.get(t, "/style.css"); got.code != 200 ||
		got.header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("the style: %d", got.code)
	}
}

func TestPrefix(t *testing.T) {
	h := newHost(t)
	for _, bad := range []string{"/a/../b", "/a b", "//x//y", "/a?b", "/.", `/"`} {
		if _, err := binhost.NewHandler(h.source(), binhost.Options{Prefix: bad}); err == nil {
			t.Errorf("the prefix %q is taken", bad)
		}
	}
}

// A download that broke off goes on with wget -c, also over files that were rewritten in between.
func TestWgetContinue(t *testing.T) {
	wget, err := exec.LookPath("wget")
	if err != nil {
		t.Skip("SKIPPED, NOTHING WAS RESUMED: wget is not in PATH")
	}
	h, big := smallHost(t)
	var log []binhost.Access
	handler, err := binhost.NewHandler(h.source(), binhost.Options{Prefix: "/funtoo", Now: time.Now,
		Access: func(a binhost.Access) { log = append(log, a) }})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, h.source(), "/funtoo", func(s *binhost.Server) { s.Handler = handler })
	dir := t.TempDir()
	name := filepath.Join(dir, filepath.Base(bigPath))
	write(t, name, big[:1_234_567])
	cmd := exec.Command(wget, "-c", "--no-verbose", "--tries=1", "--no-proxy",
		s.url+"/packages/"+bigPath)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	got, readErr := os.ReadFile(name)
	if err != nil || readErr != nil || !bytes.Equal(got, big) {
		t.Errorf("wget -c: %v, %v, %d bytes of %d\n%s", err, readErr, len(got), len(big), out)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if len(log) != 1 || log[0].Status != 206 || log[0].Bytes != int64(len(big)-1_234_567) {
		t.Errorf("wget did not ask for the rest: %+v\n%s", log, out)
	}
}

func TestAccess(t *testing.T) {
	h, big := smallHost(t)
	var mu sync.Mutex
	var log []binhost.Access
	var clock atomic.Int64
	handler, err := binhost.NewHandler(h.source(), binhost.Options{Now: func() time.Time {
		return time.Unix(clock.Add(1), 0)
	}, Access: func(a binhost.Access) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, a)
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, h.source(), "", func(s *binhost.Server) { s.Handler = handler })
	s.get(t, "/packages/"+bigPath+"?x=%22", "User-Agent: \"test\"")
	s.ask(t, "HEAD", "/packages/"+bigPath)
	s.get(t, "/nothing")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		uri    string
		status int
		bytes  int64
	}{{"/packages/" + bigPath + "?x=%22", 200, int64(len(big))}, {"/packages/" + bigPath, 200, 0},
		{"/nothing", 404, 22}}
	if len(log) != len(want) {
		t.Fatalf("the log is %+v", log)
	}
	for i, w := range want {
		if a := log[i]; a.URI != w.uri || a.Status != w.status || a.Bytes != w.bytes ||
			a.Remote != "127.0.0.1" || a.Took <= 0 {
			t.Errorf("the log has %+v, want %+v", a, w)
		}
	}
}

func ctxEnd(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
