package pkgdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/blake2b"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/pkgindex"
)

const (
	screen = "app-misc/screen-1.10-r100.tbz2"
	mc     = "app-misc/mc-0_pre20220101-r1.tbz2"
)

// incoming stages a golden package and returns it as an import would: with the origin's index
// entry.
func incoming(t testing.TB, d *Dir, layout, p string) Incoming {
	t.Helper()
	data, err := os.ReadFile(goldenPackage(layout, p))
	if err != nil {
		t.Fatal(err)
	}
	a := wanted(t, layout, p)
	stage(t, d, a, data)
	return a
}

func wanted(t testing.TB, layout, p string) Incoming {
	t.Helper()
	data, err := os.ReadFile(goldenPackage(layout, p))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range parseIndex(t, goldenFile(t, layout, "Packages")).Entries {
		if e.Path() == p {
			mtime, _ := e.MTime()
			return Incoming{Path: p, Size: int64(len(data)), ModTime: time.Unix(mtime, 0),
				Sum: blake2b.Sum512(data), Entry: e}
		}
	}
	t.Fatalf("%s is not in the index of %s", p, layout)
	return Incoming{}
}

// rebuilt is a golden XPAK package as another build of the same version: one byte of its image
// differs.
func rebuilt(t testing.TB, layout, p string) (Incoming, []byte) {
	t.Helper()
	data, err := os.ReadFile(goldenPackage(layout, p))
	if err != nil {
		t.Fatal(err)
	}
	data[20] ^= 1
	a := wanted(t, layout, p)
	a.ModTime = a.ModTime.Add(time.Hour)
	a.Sum = blake2b.Sum512(data)
	sums, err := digest.Reader(t.Context(), bytes.NewReader(data), digest.MD5|digest.SHA1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Entry, err = a.Entry.With("MD5", digest.Hex(sums.MD5[:]), "SHA1",
		digest.Hex(sums.SHA1[:])); err != nil {
		t.Fatal(err)
	}
	return a, data
}

func stageRebuilt(t testing.TB, d *Dir, layout, p string) (Incoming, []byte) {
	t.Helper()
	a, data := rebuilt(t, layout, p)
	stage(t, d, a, data)
	return a, data
}

func stage(t testing.TB, d *Dir, a Incoming, data []byte) {
	t.Helper()
	if err := d.Staging().Write(a.Sum, a.Size, writeAll(data)); err != nil {
		t.Fatal(err)
	}
}

func owned(t testing.TB, d *Dir, p string) *Owned {
	t.Helper()
	fi, err := d.Lstat(p)
	if err != nil {
		t.Fatal(err)
	}
	return &Owned{p, fi}
}

func commit(t testing.TB, d *Dir, c Change, o Options) *Report {
	t.Helper()
	r, err := d.Commit(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Staging().Clear(); err != nil {
		t.Fatal(err)
	}
	return r
}

func locals(r *Report) []string {
	var all []string
	for _, p := range r.Placed {
		all = append(all, p.Local)
	}
	return all
}

// steps collects what a run does.
type steps []string

func (s *steps) add(what string) { *s = append(*s, what) }

func (s steps) count(what string) (n int) {
	for _, step := range s {
		if step == what {
			n++
		}
	}
	return n
}

func TestCommitIntoAnEmptyPKGDIR(t *testing.T) {
	for _, layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			want := goldenFile(t, layout, "Packages")
			d := openDir(t, t.TempDir())
			var c Change
			for _, e := range parseIndex(t, want).Entries {
				c.Add = append(c.Add, incoming(t, d, layout, e.Path()))
			}
			var done steps
			r := commit(t, d, c, Options{Now: at(t, want), Header: headerOf(t, want), Workers: 1,
				step: done.add})
			if len(r.Placed) != len(c.Add) || len(r.Skipped)+len(r.Kept) > 0 {
				t.Errorf("report %+v", r)
			}
			if got := readFile(t, d, "Packages"); got != want {
				t.Errorf("Packages:\n%s\nwant:\n%s", got, want)
			}
			if n := done.count("write index"); n != 1 {
				t.Errorf("the index was written %d times", n)
			}
			check(t, d)
		})
	}
}

func TestCommitReplacesInThreeSteps(t *testing.T) {
	d := indexed(t, "mixed")
	text := goldenFile(t, "mixed", "Packages")
	a, data := stageRebuilt(t, d, "xpak-classic", hello)
	a.Replaces = owned(t, d, hello)
	c := Change{Add: []Incoming{a, incoming(t, d, "xpak-classic", screen)},
		Remove: []Owned{*owned(t, d, unzip1)}}
	var done steps
	visible := func(what string) {
		done.add(what)
		if bad := mismatches(d); len(bad) > 0 {
			t.Errorf("before %q: %q", what, bad)
		}
		if !strings.HasPrefix(what, "rename ") && !strings.HasPrefix(what, "remove ") {
			return
		}
		for _, p := range []string{hello, unzip1} {
			if slices.Contains(paths(t, d), p) {
				t.Errorf("before %q: %s still is in the index", what, p)
			}
		}
	}
	r := commit(t, d, c, Options{Now: at(t, text), Workers: 1, step: visible})
	if !slices.Equal(locals(r), []string{hello, screen}) ||
		!slices.Equal(r.Removed, []string{unzip1}) {
		t.Errorf("report %+v", r)
	}
	if n := done.count("write index"); n != 2 {
		t.Errorf("the index was written %d times", n)
	}
	// Each of the two indices is newer than the one before it.
	if old := at(t, text).Unix(); r.Timestamp != old+2 {
		t.Errorf("TIMESTAMP %d, want %d", r.Timestamp, old+2)
	}
	if readFile(t, d, hello) != string(data) || !mtime(t, d, hello).Equal(a.ModTime) {
		t.Errorf("%s is not the new one", hello)
	}
	check(t, d)
}

// Names that are taken are left alone, whatever has them.
func TestCommitNeverTakesALocalName(t *testing.T) {
	const gpkg = "app-misc/labhello/labhello-1.0-r2-1.gpkg.tar"
	tests := []struct {
		name         string
		layout, path string
		taken        func(*testing.T, *Dir) // beforehand
		want         string
	}{
		{"by-nothing", "xpak-classic", hello, nil, hello},
		{"classic-by-a-package", "xpak-classic", hello,
			func(t *testing.T, d *Dir) {
				copyWithTime(t, goldenPackage("xpak-classic", hello), d,
					hello, later)
			},
			"app-misc/labhello/labhello-1.0-r2-1.xpak"},
		{"gpkg-classic-by-junk", "gpkg-classic", "app-misc/labhello-1.0-r2.gpkg.tar",
			func(t *testing.T, d *Dir) {
				writeFile(t, d, "app-misc/labhello-1.0-r2.gpkg.tar",
					"junk")
			}, gpkg},
		{"build-1-by-a-package", "gpkg-multi", gpkg,
			func(t *testing.T, d *Dir) {
				copyWithTime(t, goldenPackage("gpkg-multi", gpkg), d,
					gpkg, later)
			},
			"app-misc/labhello/labhello-1.0-r2-2.gpkg.tar"},
		{"build-1-by-emerges-placeholder", "gpkg-multi", gpkg,
			func(t *testing.T, d *Dir) { writeFile(t, d, gpkg, "") },
			"app-misc/labhello/labhello-1.0-r2-2.gpkg.tar"},
		{"builds-1-and-2-in-both-formats", "gpkg-multi", gpkg,
			func(t *testing.T, d *Dir) {
				writeFile(t, d, gpkg, "")
				writeFile(t, d, "app-misc/labhello/labhello-1.0-r2-2.xpak", "")
			}, "app-misc/labhello/labhello-1.0-r2-3.gpkg.tar"},
		{"by-a-directory", "xpak-classic", hello,
			func(t *testing.T, d *Dir) {
				writeFile(t, d, hello+"/x", "")
			}, "app-misc/labhello/labhello-1.0-r2-1.xpak"},
		{"by-a-dangling-link", "xpak-classic", hello,
			func(t *testing.T, d *Dir) {
				writeFile(t, d, "app-misc/x", "")
				if err := os.Symlink("nowhere", d.file(hello)); err != nil {
					t.Fatal(err)
				}
			}, "app-misc/labhello/labhello-1.0-r2-1.xpak"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := openDir(t, t.TempDir())
			var before fs.FileInfo
			if tt.taken != nil {
				tt.taken(t, d)
				var err error
				if before, err = d.Lstat(tt.path); err != nil {
					t.Fatal(err)
				}
			}
			var told []Placed
			c := Change{Add: []Incoming{incoming(t, d, tt.layout, tt.path)},
				Placing: func(p []Placed) error { told = p; return nil }}
			r := commit(t, d, c, Options{Now: later})
			want := []Placed{{0, tt.path, tt.want, c.Add[0].Sum, c.Add[0].ModTime}}
			if !slices.Equal(r.Placed, want) || !slices.Equal(told, want) {
				t.Errorf("placed %v, told %v, want %v", r.Placed, told, want)
			}
			if before != nil {
				if after, err := d.Lstat(tt.path); err != nil || !os.SameFile(before, after) ||
					before.Size() != after.Size() {
					t.Errorf("the local one has changed: %v", err)
				}
			}
			if data, err := os.ReadFile(goldenPackage(tt.layout, tt.path)); err != nil ||
				readFile(t, d, tt.want) != string(data) {
				t.Errorf("%s holds something else: %v", tt.want, err)
			}
			check(t, d)
		})
	}
}

func TestCommitKeepsWhatSomebodyChanged(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *Dir) // after it was compared
		kept   bool
		want   string // where the package goes
	}{
		{"touched", func(t *testing.T, d *Dir) { touch(t, d, hello, later) }, true,
			"app-misc/labhello/labhello-1.0-r2-2.xpak"},
		{"replaced-by-the-same-bytes", func(t *testing.T, d *Dir) {
			copyWithTime(t, d.file(hello), d, "app-misc/new", mtime(t, d, hello))
			rename(t, d, "app-misc/new", hello)
		}, true, "app-misc/labhello/labhello-1.0-r2-2.xpak"},
		{"gone", func(t *testing.T, d *Dir) { remove(t, d, hello) }, false, hello},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := indexed(t, "mixed") // with a gpkg as build 1
			a, _ := stageRebuilt(t, d, "xpak-classic", hello)
			a.Replaces = owned(t, d, hello)
			tt.change(t, d)
			r := commit(t, d, Change{Add: []Incoming{a}}, Options{Now: later})
			if !slices.Equal(locals(r), []string{tt.want}) || (len(r.Kept) == 1) != tt.kept {
				t.Errorf("report %+v", r)
			}
			check(t, d)

			d = indexed(t, "mixed")
			o := owned(t, d, hello)
			tt.change(t, d)
			r = commit(t, d, Change{Remove: []Owned{*o}}, Options{Now: later})
			if len(r.Removed) != 0 || (len(r.Kept) == 1) != tt.kept ||
				exists(t, d, hello) != tt.kept {
				t.Errorf("remove: report %+v", r)
			}
			check(t, d)
		})
	}
	t.Run("never-verified", func(t *testing.T) {
		d := indexed(t, "mixed")
		r := commit(t, d, Change{Remove: []Owned{{Path: hello}}}, Options{Now: later})
		if len(r.Kept) != 1 || !exists(t, d, hello) {
			t.Errorf("report %+v", r)
		}
	})
}

// The origin moved on to the multi-instance layout: the old file goes, the new one has another
// name.
func TestCommitReplacesAFileOfAnotherName(t *testing.T) {
	d := indexed(t, "mixed")
	a := incoming(t, d, "xpak-multi", "app-misc/labhello/labhello-1.0-r2-1.xpak")
	a.Replaces = owned(t, d, hello)
	r := commit(t, d, Change{Add: []Incoming{a}}, Options{Now: later})
	if !slices.Equal(locals(r), []string{a.Path}) || exists(t, d, hello) || len(r.Removed) != 0 {
		t.Errorf("report %+v", r)
	}
	check(t, d)
}

func TestCommitSkipsWhatPortageWouldNotFind(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*testing.T, *Dir)
		path  string
	}{
		{"category-is-a-link", func(t *testing.T, d *Dir) {
			writeFile(t, d, "elsewhere/x", "")
			if err := os.Symlink("elsewhere", d.file("app-misc")); err != nil {
				t.Fatal(err)
			}
		}, screen},
		{"category-is-a-file", func(t *testing.T, d *Dir) {
			writeFile(t, d, "app-misc", "")
		}, screen},
		{"no-package-name", nil, "app-misc/screen.tbz2"},
		{"name-of-another", nil, "app-misc/tmux-1.10-r100.tbz2"},
		{"category-of-another", nil, "sys-apps/screen-1.10-r100.tbz2"},
		{"out-of-PKGDIR", nil, "../screen-1.10-r100.tbz2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := openDir(t, t.TempDir())
			if tt.setup != nil {
				tt.setup(t, d)
			}
			a := incoming(t, d, "xpak-classic", screen)
			a.Path = tt.path
			r := commit(t, d, Change{Add: []Incoming{a}}, Options{Now: later})
			if len(r.Placed) != 0 || !slices.Equal([]string{r.Skipped[0].Path},
				[]string{tt.path}) || r.Skipped[0].Reason == "" {
				t.Errorf("report %+v", r)
			}
			check(t, d)
		})
	}
}

// emerge reserves names without holding the lock.
func TestCommitWhenANameIsTakenAtTheLastMoment(t *testing.T) {
	d := openDir(t, t.TempDir())
	const first, second = "app-misc/labhello/labhello-1.0-r2-1.xpak",
		"app-misc/labhello/labhello-1.0-r2-2.xpak"
	var told [][]Placed
	c := Change{
		Add:     []Incoming{incoming(t, d, "xpak-multi", first)},
		Placing: func(p []Placed) error { told = append(told, p); return nil },
	}
	r := commit(t, d, c, Options{Now: later, step: func(what string) {
		if what == "rename "+first {
			writeFile(t, d, first, "")
		}
	}})
	if !slices.Equal(locals(r), []string{second}) || len(told) != 2 || told[1][0].Local != second {
		t.Errorf("report %+v, told %v", r, told)
	}
	if readFile(t, d, first) != "" {
		t.Error("the reserved name was overwritten")
	}
	check(t, d)
}

func TestCommitOfTwoThatWantOneName(t *testing.T) {
	d := openDir(t, t.TempDir())
	a := incoming(t, d, "xpak-classic", hello)
	b, _ := stageRebuilt(t, d, "xpak-classic", hello)
	told := 0
	c := Change{Add: []Incoming{a, b}, Placing: func(p []Placed) error { told++; return nil }}
	r := commit(t, d, c, Options{Now: later})
	if want := []string{hello, "app-misc/labhello/labhello-1.0-r2-1.xpak"}; !slices.Equal(locals(r),
		want) || told != 1 {
		t.Errorf("placed %q, want %q; told %d times", locals(r), want, told)
	}
	check(t, d)
}

func TestCommitThatFailsEarlyChangesNothing(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name   string
		change func(*testing.T, *Dir, *Change)
		want   error
	}{
		{"placing-fails", func(_ *testing.T, _ *Dir, c *Change) {
			c.Placing = func([]Placed) error { return boom }
		}, boom},
		{"not-staged", func(t *testing.T, d *Dir, _ *Change) {
			if err := d.Staging().Clear(); err != nil {
				t.Fatal(err)
			}
		}, fs.ErrNotExist},
		{"staged-with-another-size", func(_ *testing.T, _ *Dir, c *Change) {
			c.Add[0].Size++
		}, nil},
		{"locked", func(t *testing.T, d *Dir, _ *Change) {
			lock, err := d.root.Acquire(t.Context(), durable.PackagesLock, durable.LockOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { lock.Release() })
		}, durable.ErrLocked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := indexed(t, "mixed")
			a, _ := stageRebuilt(t, d, "xpak-classic", hello)
			a.Replaces = owned(t, d, hello)
			c := Change{Add: []Incoming{a}, Remove: []Owned{*owned(t, d, unzip1)}}
			tt.change(t, d, &c)
			_, err := d.Commit(t.Context(), c, Options{Now: later, step: func(what string) {
				if !strings.HasPrefix(what, "prepare ") && !strings.HasPrefix(what, "read ") {
					t.Errorf("step %s", what)
				}
			}})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if readFile(t, d, "Packages") != goldenFile(t, "mixed", "Packages") {
				t.Error("the index has changed")
			}
			if bad := mismatches(d); len(bad) > 0 {
				t.Errorf("entries that do not match: %q", bad)
			}
		})
	}
}

// The disk fails in the middle: what is there is indexed, the error is told.
func TestCommitThatFailsLateLeavesATrueIndex(t *testing.T) {
	d := indexed(t, "mixed")
	b := incoming(t, d, "xpak-classic", screen)
	a, _ := stageRebuilt(t, d, "xpak-classic", hello)
	a.Replaces = owned(t, d, hello)
	c := Change{Add: []Incoming{b, a}}
	_, err := d.Commit(t.Context(), c, Options{Now: later, step: func(what string) {
		if what == "rename "+screen {
			remove(t, d, d.Staging().Path(a.Sum))
		}
	}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if err := d.Staging().Clear(); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(goldenPackage("mixed", hello))
	if err != nil || readFile(t, d, hello) != string(want) {
		t.Errorf("the old package is not there: %v", err)
	}
	if !slices.Contains(paths(t, d), screen) {
		t.Errorf("%s was placed, and is not in the index", screen)
	}
	check(t, d)
}

func TestCommitStopsAtItsContextBeforeItChangesAnything(t *testing.T) {
	d := indexed(t, "mixed")
	a, _ := stageRebuilt(t, d, "xpak-classic", hello)
	a.Replaces = owned(t, d, hello)
	ctx, cancel := context.WithCancel(t.Context())
	c := Change{Add: []Incoming{a}, Placing: func([]Placed) error { cancel(); return nil }}
	if _, err := d.Commit(ctx, c, Options{Now: later}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if readFile(t, d, "Packages") != goldenFile(t, "mixed", "Packages") {
		t.Error("the index has changed")
	}
}

// One file at two paths is staged once.
func TestCommitOfTwins(t *testing.T) {
	d := openDir(t, t.TempDir())
	a := incoming(t, d, "xpak-classic", hello)
	b := a
	b.Path, b.ModTime = "All/labhello-1.0-r2.tbz2", later
	r := commit(t, d, Change{Add: []Incoming{a, b}}, Options{Now: later})
	if !slices.Equal(locals(r), []string{a.Path, b.Path}) ||
		readFile(t, d, a.Path) != readFile(t, d, b.Path) {
		t.Errorf("report %+v", r)
	}
	check(t, d)
}

// All/ tells no category; the entry does.
func TestCommitOfATakenNameInAll(t *testing.T) {
	d := openDir(t, t.TempDir())
	a := incoming(t, d, "xpak-classic", hello)
	a.Path = "All/labhello-1.0-r2.tbz2"
	writeFile(t, d, a.Path, "junk")
	r := commit(t, d, Change{Add: []Incoming{a}}, Options{Now: later})
	if !slices.Equal(locals(r), []string{"app-misc/labhello/labhello-1.0-r2-1.xpak"}) {
		t.Errorf("report %+v", r)
	}
	check(t, d)
}

// quickpkg repeats version, build and size: with the same time as well, Portage would look up the
// digests of one for the other.
func TestCommitTellsEqualInstancesApart(t *testing.T) {
	d := indexed(t, "xpak-classic")
	a, data := rebuilt(t, "xpak-classic", hello)
	a.ModTime = mtime(t, d, hello).Truncate(time.Second)
	stage(t, d, a, data)
	r := commit(t, d, Change{Add: []Incoming{a}}, Options{Now: later})
	x, err := d.Index()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[pkgindex.Instance]bool{}
	for _, e := range x.Entries {
		if key := pkgindex.InstanceKey(e); seen[key] {
			t.Errorf("%s is one of two that Portage cannot tell apart", e.Path())
		} else {
			seen[key] = true
		}
	}
	local := r.Placed[0].Local
	if got := mtime(t, d, local); !got.Equal(a.ModTime.Add(time.Second)) {
		t.Errorf("%s: time %v, want a second after %v", local, got, a.ModTime)
	}
}

// Local packages of a client that never had an index would vanish behind one that lists only the
// new.
func TestCommitIndexesLocalPackagesToo(t *testing.T) {
	d := layoutDir(t, "mixed")
	remove(t, d, virt)
	r := commit(t, d, Change{Add: []Incoming{incoming(t, d, "xpak-classic", screen)}},
		Options{Now: later})
	if r.Packages != 18 || len(r.Added) != 17 {
		t.Errorf("report %+v", r)
	}
	check(t, d)
}

func TestCommitOfNothingIsAReindex(t *testing.T) {
	d := indexed(t, "mixed")
	r := commit(t, d, Change{}, Options{Now: later, step: noChange(t)})
	if r.Written || r.Packages != 18 {
		t.Errorf("report %+v", r)
	}
}

// Portage's _file_permissions and _ensure_dir.
func TestCommitGivesPortagesModes(t *testing.T) {
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	tests := []struct {
		pkgdir, file, dir os.FileMode
	}{
		{0o755, 0o644, 0o755},
		{0o775, 0o664, 0o775},
		{0o775 | os.ModeSetgid, 0o664, 0o775 | os.ModeSetgid},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.pkgdir), func(t *testing.T) {
			d := openDir(t, t.TempDir())
			gid := os.Getgid()
			if os.Geteuid() == 0 {
				gid = 4321
			}
			if err := errors.Join(os.Chown(d.Path(), -1, gid),
				os.Chmod(d.Path(), tt.pkgdir)); err != nil {
				t.Fatal(err)
			}
			p := "app-misc/labhello/labhello-1.0-r2-1.xpak"
			commit(t, d, Change{Add: []Incoming{incoming(t, d, "xpak-multi", p)}},
				Options{Now: later})
			for name, mode := range map[string]os.FileMode{p: tt.file, filepath.Dir(p): tt.dir,
				"app-misc": tt.dir, "Packages": tt.file} {
				fi, err := os.Lstat(d.file(name))
				if err != nil {
					t.Fatal(err)
				}
				if got := fi.Mode() &^ os.ModeDir; got != mode ||
					int(fi.Sys().(*syscall.Stat_t).Gid) != gid {
					t.Errorf("%s: %v of group %d, want %v of %d", name, got,
						fi.Sys().(*syscall.Stat_t).Gid, mode, gid)
				}
			}
		})
	}
}
