package distdir

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/blake2b"
)

var when = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openDir(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func (d *Dir) file(name string) string { return filepath.Join(d.Path(), name) }

func write(t *testing.T, d *Dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.file(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.file(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, d *Dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(d.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func lstat(t *testing.T, d *Dir, name string) fs.FileInfo {
	t.Helper()
	fi, err := d.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// incoming stages a file.
func incoming(t *testing.T, d *Dir, name, text string) Incoming {
	t.Helper()
	f := Incoming{Name: name, Size: int64(len(text)), Sum: blake2b.Sum512([]byte(text)),
		ModTime: when}
	err := d.Staging().Write(f.Sum, f.Size, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func place(t *testing.T, d *Dir, files ...Incoming) *Report {
	t.Helper()
	r, err := d.Place(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestScanTellsDistfilesFromTheRest(t *testing.T) {
	d := openDir(t)
	files := []string{"hello-2.10.tar.gz", "font:weird name?.zip", "Makefile", "x.tbz2"}
	for _, name := range files {
		write(t, d, name, "x")
	}
	for _, name := range []string{
		"layout.conf", "Packages", "Packages.gz", ".hello-2.10.tar.gz.portage_lockfile",
		".mirror-cache.json", ".layout.conf.distfiles.gentoo.org", ".locks/x",
		"old.portage_lockfile",
		"git3-src/repo/HEAD", ".pkgsneak/0123",
	} {
		write(t, d, name, "x")
	}
	write(t, d, "hello-2.11.tar.gz.__download__", "x")
	write(t, d, "a.partial", "x")
	write(t, d, "hello-2.9.tar.gz._checksum_failure_.abcdef", "x")
	write(t, d, "empty.tar.gz", "")
	if err := os.Symlink("/mnt/usb/other.tar.gz", d.file("other.tar.gz")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(d.file("pipe.tar.gz"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := d.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got, ignored []string
	for _, f := range s.Files {
		got = append(got, f.Name)
		if f.Info.Size() != 1 {
			t.Errorf("%s: size %d", f.Name, f.Info.Size())
		}
	}
	slices.Sort(files)
	if !slices.Equal(got, files) {
		t.Errorf("files %q, want %q", got, files)
	}
	for _, p := range s.Ignored {
		ignored = append(ignored, p.Name)
		if p.Reason == "" {
			t.Errorf("%s: no reason", p.Name)
		}
	}
	want := []string{"a.partial", "empty.tar.gz", "hello-2.11.tar.gz.__download__",
		"hello-2.9.tar.gz._checksum_failure_.abcdef", "other.tar.gz", "pipe.tar.gz"}
	if !slices.Equal(ignored, want) {
		t.Errorf("ignored %q, want %q", ignored, want)
	}
	// A file that Scan lists can be brought in, one that it does not list by its name cannot.
	for _, name := range slices.Concat(files, []string{"empty.tar.gz", "other.tar.gz",
		"pipe.tar.gz"}) {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	d := openDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Scan(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPlace(t *testing.T) {
	const name = "hello-2.10.tar.gz"
	tests := []struct {
		name    string
		before  func(*testing.T, *Dir) // what has the name already
		seen    bool                   // the caller compared it, and wants it replaced
		changed func(*testing.T, *Dir) // after that
		placed  bool
	}{
		{name: "free", placed: true},
		{name: "taken-by-a-file", before: old},
		{name: "taken-by-a-link", before: func(t *testing.T, d *Dir) {
			if err := os.Symlink("/mnt/usb/hello", d.file(name)); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "taken-by-a-directory", before: func(t *testing.T, d *Dir) {
			write(t, d, name+"/x", "")
		}},
		{name: "taken-by-an-empty-file", before: func(t *testing.T, d *Dir) {
			write(t, d, name, "")
		}},
		{name: "replaced", before: old, seen: true, placed: true},
		{name: "replaced-but-changed-since", before: old, seen: true,
			changed: func(t *testing.T, d *Dir) { write(t, d, name, "newer") }},
		{name: "replaced-but-gone-since", before: old, seen: true, placed: true,
			changed: func(t *testing.T, d *Dir) {
				if err := os.Remove(d.file(name)); err != nil {
					t.Fatal(err)
				}
			}},
		{name: "replaced-but-a-directory-now", before: old, seen: true,
			changed: func(t *testing.T, d *Dir) {
				if err := os.Remove(d.file(name)); err != nil {
					t.Fatal(err)
				}
				write(t, d, name+"/x", "")
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := openDir(t)
			f := incoming(t, d, name, "new")
			if tt.before != nil {
				tt.before(t, d)
			}
			if tt.seen {
				f.Replaces = lstat(t, d, name)
			}
			if tt.changed != nil {
				tt.changed(t, d)
			}
			var before fs.FileInfo
			if fi, err := d.Lstat(name); err == nil {
				before = fi
			}
			r := place(t, d, f)
			switch {
			case !tt.placed:
				if len(r.Placed) != 0 || len(r.Skipped) != 1 || r.Skipped[0].Name != name ||
					r.Skipped[0].Reason == "" {
					t.Errorf("report %+v", r)
				}
				if after := lstat(t, d, name); !os.SameFile(before, after) ||
					before.Size() != after.Size() {
					t.Error("what had the name has changed")
				}
			case !slices.Equal(r.Placed, []string{name}) || read(t, d, name) != "new" ||
				!lstat(t, d, name).ModTime().Equal(when):
				t.Errorf("report %+v", r)
			}
			if err := d.Staging().Clear(); err != nil {
				t.Error(err)
			}
		})
	}
}

func old(t *testing.T, d *Dir) { write(t, d, "hello-2.10.tar.gz", "old") }

// One archive may have two names.
func TestPlaceOfDuplicates(t *testing.T) {
	d := openDir(t)
	a := incoming(t, d, "a.tar.gz", "same")
	b := a
	b.Name = "b.tar.gz"
	if r := place(t, d, a, b); !slices.Equal(r.Placed, []string{"a.tar.gz", "b.tar.gz"}) {
		t.Errorf("report %+v", r)
	}
	if read(t, d, "a.tar.gz") != "same" || read(t, d, "b.tar.gz") != "same" {
		t.Error("contents differ")
	}
}

func TestPlaceGivesPortagesModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	d := openDir(t)
	gid := os.Getgid()
	if os.Geteuid() == 0 {
		gid = 4321
	}
	if err := os.Chown(d.Path(), -1, gid); err != nil {
		t.Fatal(err)
	}
	place(t, d, incoming(t, d, "a.tar.gz", "x"))
	fi := lstat(t, d, "a.tar.gz")
	if fi.Mode() != 0o664 || int(fi.Sys().(*syscall.Stat_t).Gid) != gid {
		t.Errorf("%v of group %d", fi.Mode(), fi.Sys().(*syscall.Stat_t).Gid)
	}
}

func TestPlaceRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, name := range []string{
		"", "a/b", "../a", ".", "..", ".a.portage_lockfile", "a.portage_lockfile", "a.__download__",
		"a._checksum_failure_.b", "a\x00b", long,
	} {
		if err := CheckName(name); err == nil {
			t.Errorf("%q is a name", name)
		}
		d := openDir(t)
		f := incoming(t, d, name, "x")
		if r, err := d.Place(t.Context(), []Incoming{f}); err == nil {
			t.Errorf("%q was placed: %+v", name, r)
		}
	}
	d := openDir(t)
	f := incoming(t, d, "a.tar.gz", "x")
	f.Size++
	if _, err := d.Place(t.Context(), []Incoming{f}); err == nil {
		t.Error("a file of another size was placed")
	}
	f.Sum[0]++
	if _, err := d.Place(t.Context(), []Incoming{f}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not staged: %v", err)
	}
}

func TestRemove(t *testing.T) {
	d := openDir(t)
	old(t, d)
	const name = "hello-2.10.tar.gz"
	seen := lstat(t, d, name)
	if err := os.Chtimes(d.file(name), when, when); err != nil {
		t.Fatal(err)
	}
	if removed, err := d.Remove(name, seen); removed || err != nil {
		t.Errorf("changed since: %v %v", removed, err)
	}
	if removed, err := d.Remove(name, lstat(t, d, name)); !removed || err != nil {
		t.Errorf("unchanged: %v %v", removed, err)
	}
	if removed, err := d.Remove(name, seen); removed || err != nil {
		t.Errorf("gone: %v %v", removed, err)
	}
}

func TestOpenIsAWall(t *testing.T) {
	d := openDir(t)
	for name, target := range map[string]string{"out": "/etc/passwd", "up": "../x",
		"inside": "real"} {
		if err := os.Symlink(target, d.file(name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, d, "real", "x")
	for _, name := range []string{"out", "up", "inside", "/etc/passwd", "../x", "."} {
		if f, _, err := d.OpenFile(name); err == nil {
			f.Close()
			t.Errorf("opened %q", name)
		}
	}
	f, fi, err := d.OpenFile("real")
	if err != nil || fi.Size() != 1 {
		t.Fatalf("%v", err)
	}
	f.Close()
}

func TestCreate(t *testing.T) {
	d, err := Create(filepath.Join(t.TempDir(), "var", "cache", "distfiles"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if s, err := d.Scan(t.Context()); err != nil || len(s.Files)+len(s.Ignored) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := d.Staging().Open([64]byte{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("staged: %v", err)
	}
}
