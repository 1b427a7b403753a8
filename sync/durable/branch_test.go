package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A branch gives files and directories exactly what was asked for, whatever the umask, follows no
// link and leaves its directory by no name.
func TestBranch(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir, outside := t.TempDir(), t.TempDir()
	var seen []string
	root, err := OpenRoot(dir, func(c Change) error { seen = append(seen, c.String()); return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	top, err := NewBranch(root, "tree", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	sub, err := top.Mkdir("sub", 0o750)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	when := time.Unix(1777000000, 0)
	attr := Attr{Mode: 0o640, UID: -1, GID: -1, ModTime: when}
	if err := sub.Put("file", []byte("text"), attr); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, "tree/sub/file"))
	if err != nil || fi.Mode() != 0o640 || !fi.ModTime().Equal(when) || fi.Size() != 4 {
		t.Errorf("%v %v", fi, err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "tree/sub")); err != nil || fi.Mode().Perm() != 0o750 {
		t.Errorf("%v %v", fi, err)
	}
	want := "[mkdir tree chmod tree mkdir tree/sub chmod tree/sub create tree/sub/file " +
		"write tree/sub/file chmod tree/sub/file utimes tree/sub/file]"
	if fmt.Sprint(seen) != want {
		t.Errorf("shown: %v", seen)
	}
	if err := sub.Put("file", nil, attr); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "tree/link")); err != nil {
		t.Fatal(err)
	}
	if err := top.Put("link", []byte("x"), attr); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a link in the place of a file: %v", err)
	}
	if b, err := top.Open("link"); err == nil {
		b.Close()
		t.Error("a link was followed")
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/x", "a\x00b"} {
		if b, err := sub.Mkdir(name, 0o700); err == nil {
			b.Close()
			t.Errorf("a directory %q was made", name)
		}
		if b, err := sub.Open(name); err == nil {
			b.Close()
			t.Errorf("the directory %q was opened", name)
		}
		if err := sub.Put(name, nil, attr); err == nil {
			t.Errorf("a file %q was made", name)
		}
	}
}
