package binhost_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/binhost"
	"pkgsneak/sync/payload"
)

// The page of clients is there where it is wanted, has a bounded number of them, and whatever a
// client sends is shown as text.
func TestClientsPage(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e`
	hostile := strings.ReplaceAll(evil, `\u202e`, "\u202e")
	h := newHost(t)
	h.put(t, "app-misc/a-1", "app-misc/a-1.tbz2", []byte("a"))
	h.writeIndex(t)
	if s := serve(t, h.source(), "", nil); s.get(t, "/clients/").code != 404 ||
		bytes.Contains(s.get(t, "/").body, []byte("/clients/")) {
		t.Error("there is a page of clients that nobody wanted")
	}
	asked := time.Unix(firstTimestamp, 0)
	report := &binhost.ClientReport{Packages: 2111, Problems: []string{hostile},
		Offered: []binhost.ClientOffer{{Name: hostile, Fingerprint: hostile, Seen: asked}},
		Build:   []binhost.ClientBuild{{Line: hostile, Use: hostile}}}
	for i := range 1000 {
		report.Clients = append(report.Clients, binhost.ClientEntry{Name: fmt.Sprint("client-", i),
			Fingerprint: hostile, Asked: asked, Behind: 3, Has: 2031,
			Lacks:    payload.Tally{Files: 80, Bytes: 412 << 20},
			Waiting:  payload.Tally{Files: 18, Bytes: 1},
			Transit:  []binhost.ClientTransit{{Label: hostile, Since: asked}},
			NotBuilt: make([]string, 4096), Failed: []string{hostile}, Unread: []string{hostile}})
	}
	report.Clients[0].Name, report.Clients[0].NotBuilt = hostile, []string{hostile}
	made, fail := 0, error(nil)
	handler, err := binhost.NewHandler(h.source(), binhost.Options{Prefix: "/funtoo",
		Now: time.Now, Clients: func(context.Context) (*binhost.ClientReport, error) {
			made++
			return report, fail
		}})
	if err != nil {
		t.Fatal(err)
	}
	s := serveHandler(t, handler)
	if got := s.get(t, "/funtoo/clients"); got.code != 301 ||
		got.header.Get("Location") != "/funtoo/clients/" {
		t.Errorf("without a slash: %d %q", got.code, got.header.Get("Location"))
	}
	if !bytes.Contains(s.get(t, "/funtoo/").body, []byte(`href="/funtoo/clients/"`)) {
		t.Error("the start page does not lead there")
	}
	first := s.get(t, "/funtoo/clients/")
	for _, want := range []string{"2,031 <small>of 2,111 packages", "80 packages, 412 MiB",
		"2023-11-14 22:13 UTC, 3 generations behind", "page=2", "client-99", "and 4046 more"} {
		if !bytes.Contains(first.body, []byte(want)) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if n := bytes.Count(first.body, []byte("<h2>")); n != binhost.PageRows+2 {
		t.Errorf("the page has %d headings", n)
	}
	for _, page := range []string{"", "?page=10", "?page=-1", "?page=%22%3E%3Cscript",
		"?page=999999"} {
		got := s.get(t, "/funtoo/clients/"+page)
		for _, bad := range []string{"<script", "<img src=x", "onerror=alert(1)>", "\u202e"} {
			if bytes.Contains(got.body, []byte(bad)) {
				t.Errorf("%s has %q", page, bad)
			}
		}
		if csp := got.header.Get("Content-Security-Policy"); got.code != 200 ||
			!strings.HasPrefix(csp, "default-src 'none'; style-src 'self'") ||
			strings.Contains(csp, "unsafe") || len(got.body) > 1<<20 {
			t.Errorf("%s: %d, %d bytes, the policy is %q", page, got.code, len(got.body), csp)
		}
	}
	if made != 1 {
		t.Errorf("the report was made %d times", made)
	}
	fail = errors.New("nothing can be read: " + hostile)
	handler, err = binhost.NewHandler(h.source(), binhost.Options{Now: time.Now,
		Clients: func(context.Context) (*binhost.ClientReport, error) { return nil, fail }})
	if err != nil {
		t.Fatal(err)
	}
	if got := serveHandler(t, handler).get(t, "/clients/"); got.code != 500 ||
		bytes.Contains(got.body, []byte("<script")) ||
		!bytes.Contains(got.body, []byte("nothing can be read")) {
		t.Errorf("a failure: %d %.300s", got.code, got.body)
	}
}

// serveHandler serves with a handler of its own.
func serveHandler(t *testing.T, handler *binhost.Handler) *running {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return &running{s.URL, s.Listener.Addr().String(), handler, newProblems(), nil}
}
