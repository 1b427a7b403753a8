package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for the kernel before it fails.
const patience = 30 * time.Second

func begin(t *testing.T, trees ...Tree) *Dirs {
	t.Helper()
	d, err := NewDirs(trees...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	wait(t, d)
	return d
}

// wait waits for a change.
func wait(t *testing.T, d *Dirs) {
	t.Helper()
	select {
	case <-d.Changed():
	case err := <-d.Failed():
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("no change was told")
	}
}

func drain(d *Dirs) {
	select {
	case <-d.Changed():
	default:
	}
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// until waits for changes until the condition holds.
func until(t *testing.T, d *Dirs, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-d.Changed():
		case err := <-d.Failed():
			t.Fatal(err)
		case <-deadline:
			t.Fatalf("%s: it never came to that", what)
		}
	}
}

func TestDirsTell(t *testing.T) {
	tests := []struct {
		name   string
		before func(t *testing.T, root string)
		do     func(t *testing.T, root string)
	}{
		{"a file in the root", nil, func(t *testing.T, root string) { write(t, root+"/Packages") }},
		{"a file in a directory", func(t *testing.T, root string) { mkdir(t, root+"/app-misc") },
			func(t *testing.T, root string) { write(t, root+"/app-misc/a-1.tbz2") }},
		{"a new directory", nil, func(t *testing.T, root string) { mkdir(t, root+"/app-misc") }},
		{"a file renamed to its name", func(t *testing.T, root string) {
			mkdir(t, root+"/app-misc")
			write(t, root+"/app-misc/tmp")
		},
			func(t *testing.T, root string) {
				rename(t, root+"/app-misc/tmp", root+"/app-misc/a-1.tbz2")
			}},
		{"a removed file", func(t *testing.T, root string) {
			mkdir(t, root+"/app-misc")
			write(t, root+"/app-misc/a-1.tbz2")
		},
			func(t *testing.T, root string) { remove(t, root+"/app-misc/a-1.tbz2") }},
		{"a removed directory", func(t *testing.T, root string) { mkdir(t, root+"/app-misc") },
			func(t *testing.T, root string) { remove(t, root+"/app-misc") }},
		{"the root removed", nil, func(t *testing.T, root string) { remove(t, root) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := mkdir(t, t.TempDir()+"/binpkgs")
			if tt.before != nil {
				tt.before(t, root)
			}
			d := begin(t, Tree{Path: root, Counts: func(base string) bool { return base != "tmp" }})
			drain(d)
			tt.do(t, root)
			wait(t, d)
		})
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// A change is told in a directory that came, moved or was replaced after the beginning: the watch
// is where the directory is.
func TestDirsFollow(t *testing.T) {
	tests := []struct {
		name  string
		do    func(t *testing.T, root string)
		in    string // where a file appears afterwards
		count int    // of watches afterwards
	}{
		{"nested new directories", func(t *testing.T, root string) {
			mkdir(t, root+"/a/b/c")
		}, "a/b/c", 4},
		{"a directory moved within", func(t *testing.T, root string) {
			mkdir(t, root+"/a/b")
			rename(t, root+"/a", root+"/z")
		}, "z/b", 3},
		{"a directory moved in", func(t *testing.T, root string) {
			other := mkdir(t, filepath.Dir(root)+"/other/b")
			rename(t, filepath.Dir(other), root+"/a")
		}, "a/b", 3},
		{"a directory removed and made again", func(t *testing.T, root string) {
			mkdir(t, root+"/a")
			remove(t, root+"/a")
			mkdir(t, root+"/a")
		}, "a", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := mkdir(t, t.TempDir()+"/binpkgs")
			d := begin(t, Tree{Path: root})
			tt.do(t, root)
			until(t, d, "the watches", func() bool { return int(d.count.Load()) == tt.count })
			// The count can be right for a moment before a rename was taken, so the file is written
			// until it is told.
			drain(d)
			for n := 0; ; n++ {
				write(t, filepath.Join(root, tt.in, fmt.Sprint(n)))
				select {
				case <-d.Changed():
					return
				case <-time.After(time.Second):
				}
				if n == 30 {
					t.Fatal("a file in it was not told")
				}
			}
		})
	}
}

// A moved directory's own subdirectories stay watched under their new names: a directory that is
// made there is found.
func TestDirsFollowBelowMoved(t *testing.T) {
	root := mkdir(t, t.TempDir()+"/binpkgs")
	mkdir(t, root+"/a/b")
	d := begin(t, Tree{Path: root})
	rename(t, root+"/a", root+"/z")
	mkdir(t, root+"/z/b/c")
	until(t, d, "the watches", func() bool { return int(d.count.Load()) == 4 })
	remove(t, root+"/z/b/c")
	until(t, d, "the watches", func() bool { return int(d.count.Load()) == 3 })
}

func TestDirsRootComesLater(t *testing.T) {
	top := t.TempDir()
	root := top + "/var/cache/binpkgs"
	d := begin(t, Tree{Path: root})
	mkdir(t, root)
	until(t, d, "the root is watched", func() bool { return int(d.count.Load()) >= 2 })
	drain(d)
	mkdir(t, root+"/app-misc")
	wait(t, d)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	mkdir(t, root)
	drain(d)
	mkdir(t, root+"/app-misc")
	wait(t, d)
}

// A change that does not count is not told: one of a file of another name, in a flat tree's
// subdirectory, or of what a program keeps in a hidden directory.
func TestDirsSilent(t *testing.T) {
	tests := []struct {
		name string
		flat bool
		do   func(t *testing.T, root string)
	}{
		{"a temporary file", false, func(t *testing.T, root string) {
			write(t, root+"/x.tbz2.1234")
			remove(t, root+"/x.tbz2.1234")
		}},
		{"a new directory in a flat tree", true, func(t *testing.T, root string) {
			mkdir(t, root+"/git3-src")
		}},
		{"in a directory of a flat tree", true, func(t *testing.T, root string) {
			write(t, root+"/git3-src-old/Packages")
		}},
		{"a hidden directory", false, func(t *testing.T, root string) {
			mkdir(t, root+"/.pkgsneak")
			write(t, root+"/.pkgsneak/a")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			if tt.flat {
				mkdir(t, root+"/git3-src-old")
			}
			last := make(chan struct{})
			d := begin(t, Tree{Path: root, Flat: tt.flat, Counts: func(base string) bool {
				if base == "last" {
					close(last)
				}
				return false
			}})
			drain(d)
			tt.do(t, root)
			mkfifo(t, root+"/last") // one event, after all others
			<-last
			select {
			case <-d.Changed():
				t.Fatal("it was told")
			default:
			}
		})
	}
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDirsRootIsLink(t *testing.T) {
	top := t.TempDir()
	mkdir(t, top+"/real")
	if err := os.Symlink("real", top+"/link"); err != nil {
		t.Fatal(err)
	}
	d := begin(t, Tree{Path: top + "/link"})
	drain(d)
	write(t, top+"/link/Packages")
	wait(t, d)
}

// After lost events everything is looked through again.
func TestDirsOverflow(t *testing.T) {
	root := t.TempDir()
	d := begin(t, Tree{Path: root})
	mkdir(t, root+"/a/b")
	until(t, d, "the watches", func() bool { return int(d.count.Load()) == 3 })
	drain(d)
	touch(d.lost) // what fsnotify's ErrEventOverflow does
	wait(t, d)
	until(t, d, "the watches", func() bool { return int(d.count.Load()) == 3 })
	drain(d)
	write(t, root+"/a/b/file")
	wait(t, d)
}

// The kernel's real queue overflows while nobody reads.
func TestDirsRealOverflow(t *testing.T) {
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	var most int
	if _, err := fmt.Sscan(string(limit), &most); err != nil || most > 1<<17 {
		t.Skipf("SKIPPED: a queue of %s events is too long to be filled",
			strings.TrimSpace(string(limit)))
	}
	root := mkdir(t, t.TempDir()+"/binpkgs")
	hold, held := make(chan struct{}), make(chan struct{})
	first := true
	d := begin(t, Tree{Path: root, Counts: func(base string) bool {
		if base == "hold" && first {
			first = false
			close(held)
			<-hold
		}
		return false
	}})
	drain(d)
	write(t, root+"/hold")
	<-held
	for i := range most + 5000 { // two names in turn: the kernel merges equal neighbours
		if err := os.Chmod(root+"/hold", 0o600|os.FileMode(i&1)); err != nil {
			t.Fatal(err)
		}
		if i&1 == 0 {
			if err := os.Truncate(root+"/hold", int64(i&2)); err != nil {
				t.Fatal(err)
			}
		}
	}
	mkdir(t, root+"/lost/with/the/overflow")
	close(hold)
	until(t, d, "what was lost is found", func() bool { return int(d.count.Load()) == 5 })
}

func TestDirsMountedOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount")
	}
	root := t.TempDir()
	mkdir(t, root+"/below")
	d := begin(t, Tree{Path: root})
	if err := unix.Mount("pkgsneak-test", root, "tmpfs", 0, ""); err != nil {
		t.Skipf("SKIPPED: mount: %v", err)
	}
	defer unix.Unmount(root, unix.MNT_DETACH)
	drain(d)
	d.Check()
	wait(t, d)
	until(t, d, "only the new root", func() bool { return int(d.count.Load()) == 1 })
	drain(d)
	write(t, root+"/Packages")
	wait(t, d)
}

// A PKGDIR of 20,000 packages is watched with one watch for each directory.
func TestDirsLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: 20,000 files")
	}
	top := t.TempDir()
	root, file := mkdir(t, top+"/binpkgs"), top+"/file"
	write(t, file)
	dirs := 1
	for c := range 100 {
		category := mkdir(t, fmt.Sprintf("%s/cat-%d", root, c))
		dirs++
		for p := range 20 {
			pn := mkdir(t, fmt.Sprintf("%s/pn%d", category, p))
			dirs++
			for v := range 10 {
				if err := os.Link(file, fmt.Sprintf("%s/pn%d-%d-1.gpkg.tar", pn, p,
					v)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	d, err := NewDirs(Tree{Path: root})
	var limit *LimitError
	if errors.As(err, &limit) {
		t.Skipf("SKIPPED: this machine allows too few watches: %v", limit)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if int(d.count.Load()) != dirs {
		t.Errorf("%d watches, want one for each of the %d directories", int(d.count.Load()), dirs)
	}
	wait(t, d)
	write(t, root+"/cat-99/pn19/pn19-9-1.gpkg.tar")
	wait(t, d)
}

func TestLimitErrorNamesSysctl(t *testing.T) {
	watches := &LimitError{Sysctl: maxWatches, Have: 8192, Path: "/var/cache/binpkgs/x",
		Err: unix.ENOSPC}
	if got := watches.Error(); !strings.Contains(got, "fs.inotify.max_user_watches") ||
		!strings.Contains(got, "8192") {
		t.Errorf("error %q", got)
	}
	if got := watches.Hints("")[0]; !strings.HasPrefix(got, "sysctl -w fs.inotify.max_user_watches=") {
		t.Errorf("hint %q", got)
	}
	instances := &LimitError{Sysctl: maxInstances, Err: unix.EMFILE}
	if got := instances.Hints("")[0]; !strings.HasPrefix(got,
		"sysctl -w fs.inotify.max_user_instances=") {
		t.Errorf("hint %q", got)
	}
	if !errors.Is(watches, unix.ENOSPC) {
		t.Error("the kernel's error is lost")
	}
}
