package drivewriter

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"pkgsneak/sync/layout"
)

// emptyDirs are the directories below a drive's tree that have nothing in them.
func emptyDirs(t *testing.T, mount string) (dirs []string) {
	t.Helper()
	tree := filepath.Join(mount, layout.TreeDir)
	err := filepath.Walk(tree, func(p string, info os.FileInfo, err error) error {
		if err != nil || !info.IsDir() || p == tree {
			return err
		}
		entries, err := os.ReadDir(p)
		if len(entries) == 0 {
			dirs = append(dirs, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// filesBelow are the files below a drive's tree.
func filesBelow(t *testing.T, mount string) (files []string) {
	t.Helper()
	err := filepath.Walk(filepath.Join(mount, layout.TreeDir),
		func(p string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				files = append(files, p)
			}
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Where a directory that a pull left empty may have no space of its own, it is gone before anything
// is made: of a first export, of which no file stays either, and of one that brings a category.
func TestEmptyDirectoriesGoFirst(t *testing.T) {
	for at := 1; ; at += 1 + at/12 {
		mount, n := t.TempDir(), 0
		h := newHost(keys()[0], "host")
		h.tweak = func(w *Writer) {
			w.stale = true
			w.hook = func(string, string) error {
				if n++; n >= at {
					return syscall.EIO
				}
				return nil
			}
		}
		h.pkg("app-misc/a-1.tbz2", "package")
		err := h.export(context.Background(), mount)
		if err == nil {
			n = 0
			h.pkg("dev-libs/b-1.tbz2", "another")
			if err = h.export(context.Background(), mount); err == nil {
				return
			}
		}
		left := emptyDirs(t, mount)
		next, _ := os.ReadFile(filepath.Join(mount, layout.TreeDir, "host",
			layout.NextManifestFile))
		committed := bytes.Contains(next, []byte("-----END PGP SIGNATURE-----"))
		if committed {
			left = slices.DeleteFunc(left, func(dir string) bool {
				return slices.Contains(layout.OriginDirs, filepath.Base(dir))
			})
		} else {
			left = append(left, filesBelow(t, mount)...)
		}
		h.pkg("sys-apps/c-1.tbz2", "a third")
		h.tweak = func(w *Writer) {
			w.stale = true
			w.hook = func(op, name string) error {
				if op != "mkdir" && op != "create" && op != "extend" {
					return nil
				}
				for _, file := range left {
					if _, err := os.Lstat(file); err == nil {
						return fmt.Errorf("%s %s while %s is there", op, name, file)
					}
				}
				left = nil
				return nil
			}
		}
		if err := h.export(context.Background(), mount); err != nil {
			t.Fatalf("stopped before operation %d: the next export: %v", at, err)
		}
	}
}
