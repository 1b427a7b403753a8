package binhost

import (
	"bytes"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"

	"pkgsneak/sync/binpkg"
)

// types are the types of what is served as a file. A browser must not run any of it, so none is
// HTML or SVG, and everything else is bytes.
var types = []struct{ suffix, kind string }{
	{"/Packages", "text/plain; charset=utf-8"},
	{"/Packages.gz", "application/gzip"},
	{"/layout.conf", "text/plain; charset=utf-8"},
	{".gz", "application/gzip"},
	{".tgz", "application/gzip"},
	{".bz2", "application/x-bzip2"},
	{".xz", "application/x-xz"},
	{".txz", "application/x-xz"},
	{".zst", "application/zstd"},
	{".lz", "application/lzip"},
	{".tar", "application/x-tar"},
	{".zip", "application/zip"},
	{".patch", "text/plain; charset=utf-8"},
	{".diff", "text/plain; charset=utf-8"},
	{".txt", "text/plain; charset=utf-8"},
	{".asc", "application/pgp-signature"},
	{".sig", "application/pgp-signature"},
}

func typeOf(name string) string {
	if format, ok := binpkg.FormatOf(path.Base(name)); ok {
		return format.MediaType()
	}
	name = "/" + path.Base(name)
	for _, t := range types {
		if strings.HasSuffix(name, t.suffix) {
			return t.kind
		}
	}
	return "application/octet-stream"
}

// send answers with a file. http.ServeContent understands conditions and ranges, and gives an
// *os.File to the kernel.
func send(w http.ResponseWriter, r *http.Request, f *file) error {
	if f.check != nil && r.Method == http.MethodGet && partly(r.Header.Get("Range")) {
		if err := f.check(); err != nil {
			return err
		}
		if _, err := f.content.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	h := w.Header()
	h.Set("Content-Type", typeOf(f.name))
	h.Set("Etag", f.etag)
	if f.small {
		defer hold(w, r)()
	}
	if conditional(r.Header) {
		http.ServeContent(w, r, "", f.modified, f.content)
	} else {
		whole(w, r, f)
	}
	if f.failed != nil {
		return f.failed()
	}
	return nil
}

// conditional tells whether a request asks for something else than the whole file in any case.
func conditional(h http.Header) bool {
	for _, key := range [...]string{"Range", "If-Modified-Since", "If-None-Match", "If-Match",
		"If-Unmodified-Since", "If-Range"} {
		if _, ok := h[key]; ok {
			return true
		}
	}
	return false
}

// bytesUnit tells clients that ranges are understood.
var bytesUnit = []string{"bytes"}

// whole sends a file from its beginning to its end, with the header that http.ServeContent would
// have made; it needs half the time of that.
func whole(w http.ResponseWriter, r *http.Request, f *file) {
	h := w.Header()
	if !f.modified.IsZero() {
		h["Last-Modified"] = []string{f.modified.UTC().Format(http.TimeFormat)}
	}
	h["Accept-Ranges"] = bytesUnit
	h["Content-Length"] = []string{strconv.FormatInt(f.size, 10)}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	// A client that went away is no error; f.failed has the others.
	if memory, ok := f.content.(*bytes.Reader); ok {
		memory.WriteTo(w)
	} else {
		io.CopyN(w, f.content, f.size)
	}
}

// partly tells whether a Range header asks for anything that does not go to the end of the file.
func partly(header string) bool {
	if header == "" {
		return false
	}
	from, ok := strings.CutPrefix(header, "bytes=")
	from, open := strings.CutSuffix(from, "-")
	return !ok || !open || from == "" || strings.Trim(from, "0123456789") != ""
}
