package drive

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pkgsneak/sync/layout"
)

// However many directories a drive has, and names in each of them, what is looked at has an end.
func TestSearchForOriginsHasAnEnd(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	d, err := Create(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	tree := filepath.Join(mount, layout.TreeDir)
	write := func(name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(tree, "copy", layout.ManifestFile))
	write(filepath.Join(tree, "record", layout.GenerationDir, "7.json"))
	for n := range 3_000 {
		write(filepath.Join(tree, "crowd", layout.GenerationDir, fmt.Sprint("a", n)))
	}
	dirs := make(map[string]fs.DirEntry)
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		dirs[e.Name()] = e
	}
	for _, c := range []struct {
		dirs, names int
		look        []string
		finds       string
	}{
		{9, maxEntries, []string{"crowd", "crowd", "copy", "record"}, "[false false true true]"},
		{2, maxEntries, []string{"crowd", "copy", "copy"}, "[false true false]"},
		{9, 2_000, []string{"crowd", "crowd", "record", "copy"}, "[false false false true]"},
	} {
		s := originSearch{d: d, dirs: c.dirs, names: c.names}
		var finds []bool
		for _, name := range c.look {
			finds = append(finds, s.finds(dirs[name]))
		}
		if fmt.Sprint(finds) != c.finds {
			t.Errorf("%v of %d directories and %d names: %v, not %s", c.look, c.dirs, c.names,
				finds, c.finds)
		}
		if s.names < -2*1024 {
			t.Errorf("%v: %d names too many were read", c.look, -s.names)
		}
	}
}
