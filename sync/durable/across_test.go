package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
)

// otherDisk answers renames out of a directory as the kernel does where the target is another file
// system.
func otherDisk(dir string) durable.Hook {
	return func(c durable.Change) error {
		if (c.Op == durable.OpRename || c.Op == durable.OpLink) && filepath.Dir(c.Name) == dir {
			return unix.EXDEV
		}
		return nil
	}
}

func TestPlaceOnAnotherFileSystem(t *testing.T) {
	when := time.Unix(1700000000, 0)
	for _, replace := range []bool{false, true} {
		dir := t.TempDir()
		for name, text := range map[string]string{"stage/x": "new",
			"cat/.a.pkgsneak-0123456789abcdef": "torn",
			"cat/.b.pkgsneak-0123456789abcdef": "of another"} {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(filepath.Join(dir, "stage/x"), when, when); err != nil {
			t.Fatal(err)
		}
		if replace {
			if err := os.WriteFile(filepath.Join(dir, "cat/a"), []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		rec := (&durabletest.Recorder{}).Then(otherDisk("stage"))
		root, err := durable.OpenRoot(dir, rec.Hook)
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Place("stage/x", "cat/a", replace); err != nil {
			t.Fatal(err)
		}
		sameOrder(t, rec.Changes(dir), []string{
			"rename stage/x cat/a", "unlink cat/.a.pkgsneak-",
			"create cat/.a.pkgsneak-", "write cat/.a.pkgsneak-", "chmod cat/.a.pkgsneak-",
			"utimes cat/.a.pkgsneak-", "fsync cat/.a.pkgsneak-",
			"rename cat/.a.pkgsneak- cat/a", "unlink stage/x",
		})
		data, err := os.ReadFile(filepath.Join(dir, "cat/a"))
		fi, statErr := os.Stat(filepath.Join(dir, "cat/a"))
		if err != nil || statErr != nil || string(data) != "new" || fi.Mode().Perm() != 0o640 ||
			!fi.ModTime().Equal(when) {
			t.Errorf("placed %q, %v, %v, %v", data, fi, err, statErr)
		}
		// A name that is taken stays, and nothing is left beside it.
		if err := os.WriteFile(filepath.Join(dir, "stage/x"), []byte("newer"), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := root.Place("stage/x", "cat/a", false); !errors.Is(err, fs.ErrExist) {
			t.Errorf("taken: %v", err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "cat/.a.*")); err != nil || len(left) > 0 {
			t.Errorf("left %q, %v", left, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "stage/x")); err != nil {
			t.Error(err)
		}
		root.Close()
	}
}
