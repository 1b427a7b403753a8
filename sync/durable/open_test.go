package durable

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/fault"
)

// A sparse file of more than 2 GiB, as a 32-bit program meets it: scripts/test runs this for 386.
func TestLargeFilesAreOpened(t *testing.T) {
	t.Parallel()
	const size = 2<<30 + 5
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "large"), size); err != nil {
		t.Skipf("NO FILE OF THIS SIZE CAN BE MADE HERE: %v", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, info, err := Open(root, "large")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if info.Size() != size {
		t.Errorf("%d bytes, expected %d", info.Size(), int64(size))
	}
	if f, err = OpenFile(root, "large", os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := f.WriteAt([]byte("end"), size-3); n != 3 || err != nil {
		t.Errorf("writing at the end: %d bytes, %v", n, err)
	}
}

// Something else in the place of a directory is named before anything is done, and what the hint
// names leads out. A link that stays inside and leads to a directory is as good as that.
func TestDirectoriesBelowARoot(t *testing.T) {
	for what, put := range map[string]func(name string) error{
		"a file":           func(name string) error { return os.WriteFile(name, nil, 0o644) },
		"a dangling link":  func(name string) error { return os.Symlink("nowhere", name) },
		"a link out of it": func(name string) error { return os.Symlink("/", name) },
		"a link to a file": func(name string) error {
			return errors.Join(os.WriteFile(name+".txt", nil, 0o644), os.Symlink("b.txt", name))
		},
	} {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o755),
			os.Symlink("a", filepath.Join(dir, "c")), put(filepath.Join(dir, "b"))); err != nil {
			t.Fatal(err)
		}
		open := func() error {
			root, err := OpenRoot(dir, nil, "absent", "a", "b", "c")
			if err != nil {
				return err
			}
			return root.Close()
		}
		var none *NoDirectoryError
		if err := open(); !errors.As(err, &none) || none.Path != filepath.Join(dir, "b") {
			t.Fatalf("%s: %v", what, err)
		}
		hint := fault.Hints(none, "")[0]
		move, _, _ := strings.Cut(hint, ", and")
		if out, err := exec.Command("sh", "-c", move).CombinedOutput(); err != nil {
			t.Fatalf("%s: %q: %v: %s", what, move, err, out)
		}
		if err := open(); err != nil {
			t.Errorf("%s: after %q: %v", what, move, err)
		}
	}
}
