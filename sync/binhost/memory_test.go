package binhost_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pkgsneak/sync/binhost"
)

// Small files are kept in memory. Anything that happens to one under its name is seen by the next
// request.
func TestKeptFileThatChanges(t *testing.T) {
	const path = "app-misc/kept/kept-1-1.xpak"
	old, other := random("old", 4096), random("other", 4096)
	for name, row := range map[string]struct {
		change func(file string) error
		code   int
		want   []byte
	}{
		"nothing": {func(string) error { return nil }, http.StatusOK, old},
		"replaced by one of the same size and time": {func(file string) error {
			fi, err := os.Stat(file)
			if err != nil {
				return err
			}
			if err := os.WriteFile(file+".new", other, 0o644); err != nil {
				return err
			}
			if err := os.Chtimes(file+".new", fi.ModTime(), fi.ModTime()); err != nil {
				return err
			}
			return os.Rename(file+".new", file)
		}, http.StatusOK, other},
		"written in place, with the same size and time": {func(file string) error {
			fi, err := os.Stat(file)
			if err != nil {
				return err
			}
			if err := os.WriteFile(file, other, 0o644); err != nil {
				return err
			}
			return os.Chtimes(file, fi.ModTime(), fi.ModTime())
		}, http.StatusOK, other},
		"shorter": {func(file string) error { return os.Truncate(file, 10) },
			http.StatusOK, old[:10]},
		"removed":                      {os.Remove, http.StatusNotFound, nil},
		"moved away, and a link to it": {moveAndLink, http.StatusNotFound, nil},
		"a directory": {func(file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Mkdir(file, 0o755)
		}, http.StatusNotFound, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.put(t, "app-misc/kept-1", path, old)
			h.writeIndex(t)
			// so that the file is old enough to be kept
			ahead := func() time.Time { return time.Now().Add(time.Hour) }
			s := serve(t, binhost.Machine("x", h.pkgdir, h.distdir, ahead), "", nil)
			for range 2 {
				wantBody(t, "before", s.get(t, "/packages/"+path), http.StatusOK, old)
			}
			before := s.get(t, "/packages/"+path)
			if err := row.change(filepath.Join(h.pkgdir, path)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				after := s.get(t, "/packages/"+path)
				if after.code != row.code || row.want != nil && !bytes.Equal(after.body, row.want) {
					t.Errorf("%d, %d bytes", after.code, len(after.body))
				}
				same := after.header.Get("Etag") == before.header.Get("Etag")
				if same != (name == "nothing") {
					t.Errorf("the ETag is the same: %v", same)
				}
			}
		})
	}
}

func moveAndLink(file string) error {
	if err := os.Rename(file, file+".moved"); err != nil {
		return err
	}
	return os.Symlink(file+".moved", file)
}

// More small files than fit into memory are right as well, also when the order in which they are
// asked for is the worst one.
func TestMoreFilesThanAreKept(t *testing.T) {
	const files = 600 // 19 MiB, and 16 are kept
	h, data := newHost(t), random("data", 32<<10)
	contents := func(i int) []byte { return append([]byte{byte(i >> 8), byte(i)}, data[2:]...) }
	for i := range files {
		h.put(t, fmt.Sprintf("app-misc/p%d-1", i), fmt.Sprintf("app-misc/p%d/p%d-1-1.xpak", i,
			i), contents(i))
	}
	h.writeIndex(t)
	ahead := func() time.Time { return time.Now().Add(time.Hour) }
	s := serve(t, binhost.Machine("x", h.pkgdir, h.distdir, ahead), "", nil)
	for _, order := range []func(int) int{func(i int) int { return i }, func(i int) int {
		return files - 1 - i
	}} {
		for n := range files {
			i := order(n)
			wantBody(t, fmt.Sprint(i), s.get(t, fmt.Sprintf("/packages/app-misc/p%d/p%d-1-1.xpak",
				i, i)), http.StatusOK, contents(i))
		}
	}
}
