package pkgdir

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
)

// reopened is the Dir again, with its changes recorded.
func reopened(t *testing.T, d *Dir) (*Dir, *durabletest.Recorder) {
	t.Helper()
	rec := &durabletest.Recorder{}
	again, err := OpenWith(d.Path(), rec.Hook)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again, rec
}

// The contents that a name promises are on the disk before the name, and each index before and
// after the files it speaks of.
func TestOrderOfACommit(t *testing.T) {
	plain := indexed(t, "mixed")
	a, _ := stageRebuilt(t, plain, "xpak-classic", hello)
	a.Replaces = owned(t, plain, hello)
	b := incoming(t, plain, "xpak-classic", screen)
	c := Change{Add: []Incoming{a, b}, Remove: []Owned{*owned(t, plain, unzip1)}}
	d, rec := reopened(t, plain)
	c.Placing = func([]Placed) error {
		return rec.Hook(durable.Change{Op: "remember", Root: d.Path(), Name: "."})
	}
	commit(t, d, c, Options{Now: later, Workers: 1})

	placed := []string{d.Staging().Path(a.Sum), d.Staging().Path(b.Sum)}
	slices.Sort(placed)
	var want []string
	want = append(want, "fsync "+placed[0], "fsync "+placed[1], "remember .")
	want = append(want, indexWritten...)
	want = append(want, "unlink "+unzip1, "rename "+d.Staging().Path(a.Sum)+" "+hello,
		"rename "+d.Staging().Path(b.Sum)+" "+screen)
	dirs := []string{filepath.Dir(unzip1), filepath.Dir(hello), filepath.Dir(screen)}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		want = append(want, "fsync-dir "+dir)
	}
	want = append(want, indexWritten...)
	want = append(want, "remove-all "+durable.StagingDir)
	if got := withoutAttr(rec.Changes(d.Path())); !slices.Equal(got, want) {
		t.Errorf("changes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var indexWritten = []string{
	"create .Packages.pkgsneak-", "write .Packages.pkgsneak-", "fsync .Packages.pkgsneak-",
	"rename .Packages.pkgsneak- Packages", "fsync-dir .",
}

// withoutAttr leaves out the changes of owner, mode and time.
func withoutAttr(changes []string) []string {
	return slices.DeleteFunc(changes, func(c string) bool {
		return strings.HasPrefix(c, "chmod ") || strings.HasPrefix(c, "chown ") ||
			strings.HasPrefix(c, "utimes ")
	})
}
