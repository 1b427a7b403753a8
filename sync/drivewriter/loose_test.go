package drivewriter

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
)

// Something that is no file is not opened where a copy for people lies: a fifo would wait for ever,
// and behind a link is another file.
func TestLooseFileHasAnIrregularPlace(t *testing.T) {
	mount := t.TempDir()
	tree := filepath.Join(mount, layout.TreeDir)
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	d := open(t, mount)
	s := newSession(d, layout.KeysDir, nil)
	place := filepath.Join(tree, layout.ReadmeFile)
	for name, put := range map[string]func() error{
		"a fifo": func() error { return unix.Mkfifo(place, 0o644) },
		"a link": func() error { return os.Symlink("other", place) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		var way *drive.InTheWayError
		if err := s.writeLoose(layout.ReadmeFile, []byte("x")); !errors.As(err, &way) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(place); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(tree, "other")); err == nil {
		t.Error("a link was followed")
	}
	if err := s.writeLoose(layout.ReadmeFile, []byte("x")); err != nil {
		t.Error(err)
	}
}
