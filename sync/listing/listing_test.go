package listing

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// opened opens a directory in which everything could be made.
func opened(t *testing.T, dir string, made ...error) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err := errors.Join(append(made, err)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// The entries that are listed are those that os gives for a directory, whatever lies in it.
func TestNamesAgreeWithOS(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 { // more than one call returns
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%04d", i)), make([]byte, i%7),
			0o640); err != nil {
			t.Fatal(err)
		}
	}
	f := opened(t, dir, os.Mkdir(filepath.Join(dir, "dir"), 0o750),
		os.Symlink("dir", filepath.Join(dir, "link")), unix.Mkfifo(filepath.Join(dir,
			"fifo"), 0o600))
	var r Reader
	found, err := r.Names(int(f.Fd()), 3003)
	if err != nil || len(found) != 3003 {
		t.Fatalf("%d names, %v", len(found), err)
	}
	for _, e := range found {
		want, err := os.Lstat(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.TypeKnown() && (e.IsDir() != want.IsDir() ||
			e.IsRegular() != want.Mode().IsRegular()) {
			t.Errorf("%s: before its status is known: directory %v, regular %v", e.Name(),
				e.IsDir(), e.IsRegular())
		}
		if err := e.Lstat(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
		odd := want.Mode()&fs.ModeType&^(fs.ModeDir|fs.ModeSymlink) != 0
		if e.Size() != want.Size() || !e.ModTime().Equal(want.ModTime()) ||
			e.Mode().Perm() != want.Mode().Perm() ||
			!odd && e.Mode().Type() != want.Mode().Type() || odd && e.IsRegular() {
			t.Errorf("%s: %v %d, os says %v %d", e.Name(), e.Mode(), e.Size(),
				want.Mode(), want.Size())
		}
	}
}

func TestWhatIsNotEntered(t *testing.T) {
	dir := t.TempDir()
	f := opened(t, dir, os.Mkdir(filepath.Join(dir, "dir"), 0o755),
		os.Symlink("dir", filepath.Join(dir, "link")), os.WriteFile(filepath.Join(dir,
			"file"), nil, 0o644))
	for name, want := range map[string]error{"dir": nil, "link": unix.ENOTDIR, "file": unix.ENOTDIR,
		"absent": fs.ErrNotExist} {
		fd, err := Open(int(f.Fd()), name, unix.O_DIRECTORY)
		if err == nil {
			unix.Close(fd)
		}
		if !errors.Is(err, want) && !(name == "link" && errors.Is(err, unix.ELOOP)) {
			t.Errorf("%s: %v, not %v", name, err, want)
		}
	}
	var r Reader
	if found, err := r.Names(int(f.Fd()), 2); err == nil {
		t.Errorf("%d names are not more than 2", len(found))
	}
	gone := Entry{name: "absent"}
	if err := gone.Lstat(int(f.Fd())); !errors.Is(err, fs.ErrNotExist) || gone.TypeKnown() {
		t.Errorf("absent: %v", err)
	}
}
