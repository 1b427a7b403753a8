package durable

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func put(t *testing.T, root *os.Root, name, text string) {
	t.Helper()
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, root *os.Root, name string) string {
	t.Helper()
	b, err := root.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t *testing.T, root *os.Root, dir string) []string {
	t.Helper()
	n, err := readNames(root, dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(n)
	return n
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

var keep = Attr{UID: -1, GID: -1}

func TestWriteFile(t *testing.T) {
	long := strings.Repeat("x", 3*bufferSize+1)
	tests := []struct {
		name, path string
		before     string // "" = absent
		attr       Attr
		write      string
	}{
		{"new", "a", "", keep, "one"},
		{"replaced", "a", "older and longer", keep, "one"},
		{"below-a-directory", "dir/a", "", keep, "one"},
		{"longer-than-the-buffer", "a", "", keep, long},
		{"empty", "a", "before", keep, ""},
		{"mode-and-time", "a", "", Attr{Mode: 0o640, UID: -1, GID: -1,
			ModTime: time.Unix(1700000000, 0)}, "one"},
		{"added-bits", "a", "", Attr{Add: 0o060, UID: -1, GID: -1}, "one"},
		{"mode-and-added-bits", "a", "", Attr{Mode: 0o600, Add: 0o060, UID: -1, GID: -1}, "one"},
		{"own-ids", "a", "", Attr{UID: os.Getuid(), GID: os.Getgid()}, "one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := openRoot(t)
			put(t, root, filepath.Join(filepath.Dir(tt.path), "neighbour"), "")
			if tt.before != "" {
				put(t, root, tt.path, tt.before)
			}
			if err := Wrap(root, nil).WriteFile(tt.path, tt.attr, text(tt.write)); err != nil {
				t.Fatal(err)
			}
			if got := read(t, root, tt.path); got != tt.write {
				t.Errorf("contents: %d bytes, want %d", len(got), len(tt.write))
			}
			if got := names(t, root, filepath.Dir(tt.path)); len(got) != 2 {
				t.Errorf("directory holds %q", got)
			}
			fi, err := root.Lstat(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.attr.Mode
			if want == 0 {
				old := unix.Umask(0)
				unix.Umask(old)
				want = 0o666 &^ fs.FileMode(old)
			}
			if want |= tt.attr.Add; fi.Mode().Perm() != want {
				t.Errorf("mode %v, want %v", fi.Mode().Perm(), want)
			}
			if !tt.attr.ModTime.IsZero() && !fi.ModTime().Equal(tt.attr.ModTime) {
				t.Errorf("time %v, want %v", fi.ModTime(), tt.attr.ModTime)
			}
		})
	}
}

func TestWriteFileShowsNothingUntilComplete(t *testing.T) {
	root := openRoot(t)
	put(t, root, "a", "old")
	err := Wrap(root, nil).WriteFile("a", Attr{Mode: 0o644, UID: -1, GID: -1},
		func(w io.Writer) error {
			if _, err := w.Write(make([]byte, 2*bufferSize)); err != nil {
				return err
			}
			if got := read(t, root, "a"); got != "old" {
				t.Errorf("half written, a holds %q", got)
			}
			for _, name := range names(t, root, ".") {
				if name != "a" && !IsTemp(name) {
					t.Errorf("temporary file %q is not known as one", name)
				}
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteFileFails(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name  string
		setup func(*testing.T, *os.Root)
		path  string
		fill  func(io.Writer) error
		want  error
	}{
		{"fill-fails", nil, "a", func(w io.Writer) error {
			w.Write([]byte("half"))
			return boom
		}, boom},
		{"no-directory", nil, "none/a", text("x"), fs.ErrNotExist},
		{"name-is-a-directory", func(t *testing.T, r *os.Root) { put(t, r, "d/x", "") }, "d",
			text("x"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := openRoot(t)
			if tt.setup != nil {
				tt.setup(t, root)
			}
			put(t, root, "a", "old")
			before := names(t, root, ".")
			err := Wrap(root, nil).WriteFile(tt.path, keep, tt.fill)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if got := read(t, root, "a"); got != "old" {
				t.Errorf("a holds %q", got)
			}
			if got := names(t, root, "."); !slices.Equal(got, before) {
				t.Errorf("left behind: %q, before %q", got, before)
			}
		})
	}
}

func TestWriteFileStaysInside(t *testing.T) {
	outside := t.TempDir()
	root := openRoot(t)
	if err := os.Symlink(outside, filepath.Join(root.Name(), "out")); err != nil {
		t.Fatal(err)
	}
	if err := Wrap(root, nil).WriteFile("out/a", keep, text("x")); err == nil {
		t.Error("wrote through a link out of the directory")
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("outside: %v", left)
	}
}

func TestOpenTakesRegularFilesOnly(t *testing.T) {
	root := openRoot(t)
	put(t, root, "dir/real", "x")
	for name, target := range map[string]string{"out": "/etc/passwd", "up": "../x",
		"inside": "dir/real", "dangling": "nowhere"} {
		if err := root.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root.Name(), "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"out", "up", "inside", "dangling", "fifo", "dir", ".", "../x",
		"/etc/passwd"} {
		if f, _, err := Open(root, name); err == nil {
			f.Close()
			t.Errorf("opened %q", name)
		}
	}
	if _, _, err := Open(root, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	f, fi, err := Open(root, "dir/real")
	if err != nil || fi.Size() != 1 {
		t.Fatalf("%v", err)
	}
	f.Close()
}

func TestIsTempAndSweep(t *testing.T) {
	tests := map[string]bool{
		".Packages.pkgsneak-0123456789abcdef":  true,
		".a.b.pkgsneak-0123456789abcdef":       true,
		"Packages":                             false,
		"Packages.pkgsneak-0123456789abcdef":   false,
		".Packages.pkgsneak-0123456789abcde":   false,
		".Packages.pkgsneak-0123456789abcdeg":  false,
		".Packages.pkgsneak-0123456789abcdef0": false,
		".pkgsneak-0123456789abcdef":           false,
		"Packagesabcdefgh":                     false,
	}
	root := openRoot(t)
	var want []string
	for name, temp := range tests {
		if IsTemp(name) != temp {
			t.Errorf("IsTemp(%q) = %v", name, !temp)
		}
		put(t, root, "d/"+name, "")
		if !temp {
			want = append(want, name)
		}
	}
	if err := Wrap(root, nil).Sweep("d"); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if got := names(t, root, "d"); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
}

func TestMoveNew(t *testing.T) {
	ways := map[string]func(*Root, string, string) error{
		"rename":   (*Root).MoveNew,
		"reserved": (*Root).moveReserved,
	}
	for way, move := range ways {
		t.Run(way, func(t *testing.T) {
			t.Run("free", func(t *testing.T) {
				root := openRoot(t)
				put(t, root, "stage/x", "new")
				put(t, root, "cat/other", "")
				if err := move(Wrap(root, nil), "stage/x", "cat/a"); err != nil {
					t.Fatal(err)
				}
				if got := read(t, root, "cat/a"); got != "new" {
					t.Errorf("a holds %q", got)
				}
				if got := names(t, root, "stage"); len(got) != 0 {
					t.Errorf("stage holds %q", got)
				}
			})
			for _, taken := range []string{"file", "empty-placeholder", "directory",
				"dangling-link"} {
				t.Run("taken-by-"+taken, func(t *testing.T) {
					root := openRoot(t)
					put(t, root, "stage/x", "new")
					put(t, root, "cat/other", "")
					switch taken {
					case "file":
						put(t, root, "cat/a", "local")
					case "empty-placeholder":
						put(t, root, "cat/a", "")
					case "directory":
						root.Mkdir("cat/a", 0o755)
					case "dangling-link":
						root.Symlink("nowhere", "cat/a")
					}
					before, err := root.Lstat("cat/a")
					if err != nil {
						t.Fatal(err)
					}
					if err := move(Wrap(root, nil), "stage/x", "cat/a"); !errors.Is(err,
						fs.ErrExist) {
						t.Errorf("error %v, want exists", err)
					}
					after, err := root.Lstat("cat/a")
					if err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
						t.Errorf("what was there has changed: %v %v", after, err)
					}
					if got := read(t, root, "stage/x"); got != "new" {
						t.Errorf("stage/x holds %q", got)
					}
				})
			}
		})
	}
}

func TestSyncFiles(t *testing.T) {
	root := openRoot(t)
	var all []string
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		all = append(all, string(c))
		put(t, root, string(c), "x")
	}
	if err := Wrap(root, nil).SyncFiles(t.Context(), all); err != nil {
		t.Error(err)
	}
	if err := Wrap(root, nil).SyncFiles(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := Wrap(root, nil).SyncFiles(t.Context(), append(all, "missing")); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := unix.Mkfifo(filepath.Join(root.Name(), "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Wrap(root, nil).SyncFiles(t.Context(), []string{"fifo"}); err == nil {
		t.Error("a fifo was synced")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wrap(root, nil).SyncFiles(gone, all); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The kernel is asked, and its answer counts: it syncs no file of /proc, and reports that.
func TestSyncFilesAsksTheKernel(t *testing.T) {
	root, err := os.OpenRoot("/proc/self")
	if err != nil {
		t.Skipf("SKIPPED: there is no /proc: %v", err)
	}
	defer root.Close()
	if err := Wrap(root, nil).SyncFiles(t.Context(), []string{"status"}); !errors.Is(err,
		unix.EINVAL) {
		t.Errorf("%v, want %v", err, unix.EINVAL)
	}
}

// A directory in the place of a file is told as that, not as a rename that failed.
func TestWriteFileOverADirectory(t *testing.T) {
	dir := t.TempDir()
	root, err := OpenRoot(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.Mkdir(filepath.Join(dir, "name"), 0o755); err != nil {
		t.Fatal(err)
	}
	err = root.WriteFile("name", Attr{UID: -1, GID: -1}, func(io.Writer) error { return nil })
	if !errors.Is(err, ErrIrregular) || err.Error() != `writing "name": not a regular file` {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
