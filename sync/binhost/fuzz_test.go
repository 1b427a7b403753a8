package binhost_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"pkgsneak/sync/binhost"
)

// For any path that is asked for, the answer is a file of the trees, a page, a way to one, or no.
func FuzzPath(f *testing.F) {
	h := newHost(f)
	h.put(f, "app-misc/a-1", "app-misc/a-1.tbz2", []byte("package"))
	h.writeIndex(f)
	write(f, filepath.Join(h.distdir, "d.tar"), []byte("distfile"))
	for _, hidden := range []string{"secret", "pkgdir/.hidden", "pkgdir/app-misc/b-1.tbz2"} {
		write(f, filepath.Join(filepath.Dir(h.pkgdir), hidden), []byte("S3CRET"))
	}
	handler, err := binhost.NewHandler(h.source(), binhost.Options{Prefix: "/p", Now: time.Now,
		Problem: func(err error) { f.Error(err) }})
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range []string{"/", "/p", "/p/", "/p/packages", "/p/packages/",
		"/p/packages/Packages", "/p/packages/Packages.gz", "/p/packages/app-misc/a-1.tbz2",
		"/p/packages/app-misc/a-1.tbz2/",
		"/p/packages/../secret", "/p//", "/p/.", "/p/./packages/", "/p/packages/.hidden",
		"/p/distfiles/d.tar", "/p/distfiles/00/d.tar", "/p/distfiles/layout.conf", "/px", "*",
		"", "/p/style.css",
		"/p/packages/app-misc/\x00", "/p/packages/\xff/", "/p/distfiles/%2e%2e"} {
		f.Add(path, "q=a&sort=-size&page=2&category=x", "bytes=1-")
	}
	f.Fuzz(func(t *testing.T, path, query, ranges string) {
		w := httptest.NewRecorder()
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query},
			Header: http.Header{"Range": {ranges}, "Accept": {
				"text/html"}}, Proto: "HTTP/1.1", Host: "h"}
		handler.ServeHTTP(w, r)
		switch w.Code {
		case 200, 206, 301, 404, 416:
		default:
			t.Errorf("%q: %d", path, w.Code)
		}
		if bytes.Contains(w.Body.Bytes(), []byte("S3CRET")) {
			t.Errorf("%q gives what is hidden", path)
		}
		if to := w.Header().Get("Location"); w.Code == 301 && (len(to) < 3 || to[:3] != "/p/") {
			t.Errorf("%q leads to %q", path, to)
		}
	})
}
