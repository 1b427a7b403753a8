package drivewriter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

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

// A directory that somebody keeps beside the origins is there after an export, too, with its time.
// In between it was made again, before all else: a pull may have left it without space of its own.
func TestEmptyDirectoriesOfOthersStay(t *testing.T) {
	mount := t.TempDir()
	tree := filepath.Join(mount, layout.TreeDir)
	h := newHost(keys()[0], "host")
	h.pkg("app-misc/a-1.tbz2", "package")
	if err := h.export(context.Background(), mount); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1700000000, 0)
	theirs := []string{"Photos 2025", "another-host"}
	for _, dir := range theirs {
		if err := errors.Join(os.Mkdir(filepath.Join(tree, dir), 0o755),
			os.Chtimes(filepath.Join(tree, dir), when, when)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(tree, layout.ClientsDir), 0o755); err != nil {
		t.Fatal(err)
	}
	var ops []string
	h.tweak = func(w *Writer) {
		w.stale = true
		w.hook = func(op, name string) error {
			if op == "mkdir" || op == "rmdir" || op == "create" {
				ops = append(ops, op+" "+name)
			}
			return nil
		}
	}
	h.pkg("app-misc/b-1.tbz2", "another")
	if err := h.export(context.Background(), mount); err != nil {
		t.Fatal(err)
	}
	want := []string{"rmdir Photos 2025", "rmdir another-host", "rmdir clients",
		"mkdir Photos 2025", "mkdir another-host"}
	slices.Sort(ops[:min(3, len(ops))])
	if len(ops) < len(want) || !slices.Equal(ops[:len(want)], want) {
		t.Errorf("%q\nwant %q", ops, want)
	}
	for _, dir := range theirs {
		info, err := os.Stat(filepath.Join(tree, dir))
		if err != nil || !info.ModTime().Equal(when) {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(tree, layout.ClientsDir)); err == nil {
		t.Error("an empty directory of pkgsneak's own stays")
	}
}
