package binhost_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pkgsneak/sync/binhost"
	"pkgsneak/sync/pkgindex"
)

// Every file that Packages lists can be fetched: entries without a file, and those behind a link,
// which is not followed, are not listed.
func TestListedIsServed(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.put(t, "app-misc/here-1", "app-misc/here-1.tbz2", []byte("here"))
	h.put(t, "app-misc/soon-1", "app-misc/soon-1.tbz2", []byte("soon"))
	h.put(t, "dev-libs/linked-1", "dev-libs/linked-1.tbz2", []byte("linked"))
	h.put(t, "app-misc/gone-1", "app-misc/gone-1.tbz2", []byte("gone"))
	elsewhere := filepath.Join(t.TempDir(), "dev-libs")
	for _, err := range []error{os.Remove(filepath.Join(h.pkgdir, "app-misc/gone-1.tbz2")),
		os.Rename(filepath.Join(h.pkgdir, "dev-libs"), elsewhere), os.Symlink(elsewhere,
			filepath.Join(h.pkgdir, "dev-libs"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h.writeIndex(t)
	s := serve(t, h.source(), "", nil)
	listed := func() (names []string) {
		t.Helper()
		got := s.get(t, "/packages/Packages")
		x, err := pkgindex.Read(bytes.NewReader(got.body))
		if err != nil {
			t.Fatal(err)
		}
		if n := x.Header.Get("PACKAGES"); len(x.Entries) > 9 ||
			n != string(rune('0'+len(x.Entries))) {
			t.Errorf("PACKAGES: %s of %d entries", n, len(x.Entries))
		}
		for _, e := range x.Entries {
			names = append(names, e.CPV())
			if got := s.get(t, "/packages/"+e.Path()); got.code != 200 {
				t.Errorf("%s is listed, and answered with %d", e.Path(), got.code)
			}
		}
		return names
	}
	if got, want := listed(), []string{"app-misc/here-1",
		"app-misc/soon-1"}; !slices.Equal(got, want) {
		t.Errorf("listed: %q, want %q", got, want)
	}
	if err := os.Remove(filepath.Join(h.pkgdir, "app-misc/soon-1.tbz2")); err != nil {
		t.Fatal(err)
	}
	if got := s.get(t, "/packages/app-misc/soon-1.tbz2"); got.code != 404 {
		t.Errorf("a file that is gone: %d", got.code)
	}
	if got, want := listed(), []string{"app-misc/here-1"}; !slices.Equal(got, want) {
		t.Errorf("after a 404 listed: %q, want %q", got, want)
	}
}

// Links that Portage makes of what lies in PORTAGE_RO_DISTDIRS are served as they are exported,
// others are not.
func TestLinkedDistfiles(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ro, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(ro, "deep/one.tar"), []byte("one"))
	write(t, filepath.Join(other, "two.tar"), []byte("two"))
	write(t, filepath.Join(h.distdir, "three.tar"), []byte("three"))
	for link, target := range map[string]string{"uno.tar": ro + "/deep/one.tar",
		"two.tar": other + "/two.tar"} {
		if err := os.Symlink(target, filepath.Join(h.distdir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, binhost.Machine("x", h.pkgdir, h.distdir, time.Now, ro), "", nil)
	wantBody(t, "a link into PORTAGE_RO_DISTDIRS", s.get(t, "/distfiles/uno.tar"), 200,
		[]byte("one"))
	wantBody(t, "a file", s.get(t, "/distfiles/three.tar"), 200, []byte("three"))
	if got := s.get(t, "/distfiles/two.tar"); got.code != 404 {
		t.Errorf("a link to anywhere: %d", got.code)
	}
	if got := s.get(t, "/distfiles/").body; !bytes.Contains(got, []byte("uno.tar")) ||
		bytes.Contains(got, []byte("two.tar")) {
		t.Errorf("the list has another set of files:\n%s", got)
	}
	left := binhost.LeftOut(t.Context(), h.pkgdir, h.distdir, ro)
	if len(left) != 1 || left[0].Path != "two.tar" || left[0].Hint == "" {
		t.Errorf("left out: %+v", left)
	}
}
