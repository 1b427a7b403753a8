package binhost

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Options states how a handler serves.
type Options struct {
	Prefix string // in front of every path, "/funtoo"; "" is none
	Now    func() time.Time
	Access func(Access) // is passed each answer; may be nil; called from many goroutines
	// is passed what concerns the operator: damaged files, a drive that went away; may be nil
	Problem func(error)
	// Clients reports on the machines that import from this one; nil: there is no such page. It is
	// called from one goroutine at a time.
	Clients func(context.Context) (*ClientReport, error)
}

// Access is the entry of an access log for one answer.
type Access struct {
	When      time.Time
	Remote    string // address without port
	Method    string
	URI       string // as it was asked for
	Proto     string
	Status    int
	Bytes     int64 // of the body that were sent
	Took      time.Duration
	Referer   string
	UserAgent string
}

// maxPages is how many pages are made at a time. A page costs milliseconds; files are not counted.
const maxPages = 16

// Handler answers requests for what a source has.
type Handler struct {
	// configuration
	source Source
	o      Options

	// state
	pages       chan struct{}
	clientsPage clientsPage
}

// NewHandler returns a handler. It is safe for use by many goroutines.
func NewHandler(source Source, o Options) (*Handler, error) {
	if p := o.Prefix; p != "" {
		o.Prefix = "/" + strings.Trim(p, "/")
		if o.Prefix == "/" {
			o.Prefix = ""
		} else if !plain(o.Prefix[1:]) || strings.ContainsAny(o.Prefix, "?#%\\\"'<> ") {
			return nil, fmt.Errorf("prefix %q is no plain path", p)
		}
	}
	return &Handler{source: source, o: o, pages: make(chan struct{}, maxPages)}, nil
}

// securityPolicy lets a page show itself, and nothing else.
const securityPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// noSniff tells browsers to believe Content-Type.
var noSniff = []string{"nosniff"}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := &meter{ResponseWriter: w}
	began := h.o.Now()
	defer func() {
		if h.o.Access != nil {
			h.o.Access(access(m, r, began, h.o.Now()))
		}
	}()
	m.Header()["X-Content-Type-Options"] = noSniff
	if err := h.answer(m, r); err != nil {
		h.fail(m, r, err)
	}
}

// statusError is an answer that is no success.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// redirect is a path that should have been asked for.
type redirect struct{ to string }

func (e *redirect) Error() string { return "see " + e.to }

func (h *Handler) answer(w *meter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.Header().Set("Connection", "close") // whatever it wanted to send is not read
		return &statusError{http.StatusMethodNotAllowed, "only GET and HEAD are answered here"}
	}
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		// the server would wait for the rest
		http.NewResponseController(w).SetReadDeadline(h.o.Now())
		return &statusError{http.StatusBadRequest, "a request here has no body"}
	}
	p, err := h.below(r.URL.Path)
	if err != nil {
		return err
	}
	switch p {
	case "style.css", "icon.svg":
		return asset(w, r, p)
	case "robots.txt":
		_, err := io.WriteString(w, "User-agent: *\nDisallow: /\n")
		return err
	case clientsDir, clientsDir + "/":
		if h.o.Clients != nil {
			return h.clients(w, r, p)
		}
	}
	err = h.route(w, r, h.source.site(ofNow(p)), p)
	if err != nil && notThere(err) { // it may have come just now
		err = h.route(w, r, h.source.site(true), p)
	}
	return err
}

// ofNow tells the paths whose answers are about this moment: pages and indices.
func ofNow(p string) bool {
	return p == "" || strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/"+indexName) ||
		strings.HasSuffix(p, "/"+gzipName)
}

// below cuts the prefix off a path. A path that is not written in the one plain way is not there:
// no empty names, no dots.
func (h *Handler) below(p string) (string, error) {
	rest, ok := strings.CutPrefix(p, h.o.Prefix)
	switch {
	case p == "/" && h.o.Prefix != "", ok && rest == "":
		return "", &redirect{h.o.Prefix + "/"}
	case !ok || rest[0] != '/':
		return "", fs.ErrNotExist
	}
	rest = rest[1:]
	if rest != "" && !plain(strings.TrimSuffix(rest, "/")) {
		return "", fs.ErrNotExist
	}
	return rest, nil
}

// route finds what a path below the prefix is.
func (h *Handler) route(w *meter, r *http.Request, s *site, p string) error {
	t, rest := s.tree(strings.TrimSuffix(p, "/"))
	switch {
	case t == nil && p == "":
		return h.page(w, r, func() (*page, error) { return h.overview(s) })
	case t == nil && s.away:
		return &awayError{errors.New(s.trouble)}
	case t == nil:
		return fs.ErrNotExist
	case rest == "":
		if p != "" && !strings.HasSuffix(p, "/") {
			return &redirect{h.href(p) + "/"}
		}
		return h.page(w, r, func() (*page, error) {
			return h.start(r, place{site: s, tree: t, base: strings.TrimSuffix(p, "/")})
		})
	}
	base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(p, "/"), rest), "/")
	kind, name, _ := strings.Cut(rest, "/")
	var sh shelf
	switch kind {
	case packagesDir:
		sh = t.packages
	case distfilesDir:
		sh = t.distfiles
	}
	if sh == nil {
		return fs.ErrNotExist
	}
	return h.shelf(w, r, place{s, t, base, sh, kind, name, strings.HasSuffix(p, "/")})
}

// place is a path within a shelf.
type place struct {
	site  *site
	tree  *tree
	base  string // of the tree, below the prefix: "" or the origin's name
	shelf shelf
	kind  string // packagesDir or distfilesDir
	name  string // below it, without a slash at the end; "" is the top
	slash bool
}

// shelf answers with a file or a listing.
func (h *Handler) shelf(w *meter, r *http.Request, p place) error {
	if p.name != "" && !p.slash {
		f, err := p.shelf.open(p.name)
		if err == nil {
			defer f.close()
			return send(w, r, f)
		}
		if !notThere(err) {
			return err
		}
	}
	if !p.slash { // the links of a listing are below it
		if _, err := p.shelf.list(p.name); err != nil {
			return err
		}
		return &redirect{h.href(strings.TrimPrefix(r.URL.Path, h.o.Prefix+"/")) + "/"}
	}
	return h.page(w, r, func() (*page, error) {
		items, err := p.shelf.list(p.name)
		if err != nil {
			return nil, err
		}
		return h.listing(r, p, items)
	})
}

// page makes a page when it is its turn, and sends it when that is over: a client that takes its
// time keeps nobody else from a page.
func (h *Handler) page(w *meter, r *http.Request, make func() (*page, error)) error {
	p, err := h.inTurn(r, make)
	if err != nil {
		return err
	}
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", securityPolicy)
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cache-Control", "no-cache")
	head.Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(p.code)
	if r.Method != http.MethodHead {
		w.Write(p.body) // a client that went away is no error
	}
	return nil
}

func (h *Handler) inTurn(r *http.Request, make func() (*page, error)) (*page, error) {
	select {
	case h.pages <- struct{}{}:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	defer func() { <-h.pages }()
	return make()
}

// href is the address of a path below the prefix.
func (h *Handler) href(p string) string {
	return h.o.Prefix + "/" + (&url.URL{Path: "/" + p}).EscapedPath()[1:]
}

// fail answers with an error; where the answer has begun, it ends there, and the client sees that
// it is short.
func (h *Handler) fail(w *meter, r *http.Request, err error) {
	var (
		status  *statusError
		to      *redirect
		away    *awayError
		damaged *damagedError
	)
	code, text := http.StatusInternalServerError, "this cannot be read at the moment"
	switch {
	case errors.As(err, &to):
		http.Redirect(w, r, to.to, http.StatusMovedPermanently)
		return
	case errors.As(err, &status):
		code, text = status.code, status.text
	case errors.As(err, &away):
		code, text = http.StatusServiceUnavailable, "the drive is not there"
		w.Header().Set("Retry-After", "10")
	case errors.As(err, &damaged):
		text = damaged.Error()
		h.problem(err)
	case notThere(err):
		code, text = http.StatusNotFound, "there is nothing here"
	case errors.Is(err, fs.ErrPermission):
		code, text = http.StatusForbidden, "this server may not read that file"
		h.problem(err)
	default:
		h.problem(err)
	}
	if w.status != 0 {
		return
	}
	h.errorPage(w, r, code, text)
}

func (h *Handler) problem(err error) {
	if h.o.Problem != nil {
		h.o.Problem(err)
	}
}

// address is how the client got here: scheme, host and prefix. The host is the one that the client
// sent; one that could not be typed into a configuration is not repeated.
func (h *Handler) address(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			strings.ContainsRune("-._:[]", c)
	}
	if host == "" || len(host) > 255 ||
		strings.IndexFunc(host, func(c rune) bool { return !plain(c) }) >= 0 {
		host = "HOST"
	}
	return scheme + "://" + host + h.o.Prefix
}

// meter counts what goes out. It keeps the way to sendfile open.
type meter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (m *meter) WriteHeader(code int) {
	if m.status == 0 {
		m.status = code
	}
	m.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (m *meter) Write(p []byte) (int, error) {
	if m.status == 0 {
		m.status = http.StatusOK
	}
	n, err := m.ResponseWriter.Write(p)
	m.bytes += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom, by which net/http lets the kernel copy a file to a connection.
// Everything else is copied here.
func (m *meter) ReadFrom(src io.Reader) (int64, error) {
	if m.status == 0 {
		m.status = http.StatusOK
	}
	if limited, ok := src.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			n, err := io.Copy(m.ResponseWriter, src)
			m.bytes += n
			return n, err
		}
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{m}, src, buf[:smallRead])
}

// Unwrap is for http.ResponseController.
func (m *meter) Unwrap() http.ResponseWriter { return m.ResponseWriter }

func access(m *meter, r *http.Request, began, ended time.Time) Access {
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	return Access{When: began, Remote: remote, Method: r.Method, URI: r.RequestURI, Proto: r.Proto,
		Status: m.status, Bytes: m.bytes,
		Took: ended.Sub(began), Referer: r.Referer(), UserAgent: r.UserAgent()}
}

// TLS is the configuration for a certificate: HTTP/1.1 only, as in the package comment.
func TLS(certFile, keyFile string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}}, nil
}
