package distdir

import (
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/durable/durabletest"
)

// A file has its contents on the disk before its name, and the name is there when Place returns.
func TestOrderOfPlaceAndRemove(t *testing.T) {
	plain := openDir(t)
	write(t, plain, "gone-1.tar.gz", "gone")
	f := incoming(t, plain, "hello-2.10.tar.gz", "hello")
	rec := &durabletest.Recorder{}
	d, err := OpenWith(plain.Path(), rec.Hook)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	place(t, d, f)
	if _, err := d.Remove("gone-1.tar.gz", lstat(t, d, "gone-1.tar.gz")); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	staged := d.Staging().Path(f.Sum)
	want := []string{
		"fsync " + staged, "rename " + staged + " " + f.Name, "fsync-dir .",
		"unlink gone-1.tar.gz", "fsync-dir .",
	}
	got := slices.DeleteFunc(rec.Changes(d.Path()), func(c string) bool {
		return strings.HasPrefix(c, "ch") || strings.HasPrefix(c, "utimes ")
	})
	if !slices.Equal(got, want) {
		t.Errorf("changes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
