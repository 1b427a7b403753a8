package pkgdir

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/pkgindex"
)

var (
	on, off = true, false
	later   = time.Date(2027, 5, 5, 12, 0, 0, 0, time.UTC)
)

// Reindex writes the index that `emaint binhost --fix` writes for a PKGDIR without one. Portage
// keeps entries of one CPV in the order in which it came upon the files, which differs between file
// systems; such entries are compared by path.
func TestReindexWritesWhatEmaintWrites(t *testing.T) {
	variants := map[string]*bool{"Packages": &off, "Packages.no-profile": &off,
		"Packages.ttl-uri": &off, "Packages.of-gz": &on}
	for _, layout := range layouts {
		for variant, compress := range variants {
			t.Run(layout+"/"+variant, func(t *testing.T) {
				want := goldenFile(t, layout, variant)
				d := layoutDir(t, layout)
				r := reindex(t, d, Options{Now: at(t, want), Header: headerOf(t, want),
					CompressIndex: compress})
				if !r.Written || len(r.Invalid) > 0 || len(r.Ignored) > 0 ||
					len(r.Added) != r.Packages {
					t.Errorf("report %+v", r)
				}
				got := readFile(t, d, "Packages")
				if byPath(t, got) != byPath(t, want) {
					t.Errorf("Packages:\n%s\nwant:\n%s", got, want)
				}
				if layout != "mixed" && got != want {
					t.Errorf("order differs:\n%s\nwant:\n%s", got, want)
				}
				if gz := exists(t, d, "Packages.gz"); gz != *compress {
					t.Errorf("Packages.gz is there: %v", gz)
				}
				if *compress {
					sameGzip(t, readFile(t, d, "Packages.gz"), got)
				}
				check(t, d)
			})
		}
	}
}

func byPath(t *testing.T, text string) string {
	x := parseIndex(t, text)
	slices.SortFunc(x.Entries, func(a, b pkgindex.Entry) int {
		return strings.Compare(a.Path(), b.Path())
	})
	out, err := x.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func sameGzip(t *testing.T, packed, plain string) {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || string(text) != plain {
		t.Errorf("Packages.gz holds something else: %v", err)
	}
	if want, _ := parseIndex(t, plain).Timestamp(); z.ModTime.Unix() != want || z.Name != "" {
		t.Errorf("gzip header: time %v, name %q", z.ModTime.Unix(), z.Name)
	}
}

// The index of a plain emerge has no digests; emaint completes it in its order.
func TestReindexCompletesAnIndexWithoutDigests(t *testing.T) {
	for _, layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			want := goldenFile(t, layout, "Packages")
			d := layoutDir(t, layout)
			writeFile(t, d, "Packages", goldenFile(t, layout, "Packages.emerge-p-untrusted"))
			r := reindex(t, d, Options{Now: at(t, want), Header: headerOf(t, want),
				CompressIndex: &off})
			got := readFile(t, d, "Packages")
			stamped := parseIndex(t, got)
			stamped.SetTimestamp(at(t, want).Unix()) // may have had to be greater than the old one
			text, err := stamped.MarshalText()
			if err != nil || string(text) != want {
				t.Errorf("Packages:\n%s\nwant:\n%s\n%v", got, want, err)
			}
			if len(r.Renewed) != r.Packages || len(r.Added)+len(r.Dropped)+len(r.Moved) > 0 {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func TestReindexWithNothingToDoWritesNothing(t *testing.T) {
	for _, layout := range layouts {
		t.Run(layout, func(t *testing.T) {
			d := layoutDir(t, layout)
			writeFile(t, d, "Packages", goldenFile(t, layout, "Packages"))
			before, err := os.Lstat(d.file("Packages"))
			if err != nil {
				t.Fatal(err)
			}
			o := Options{
				Now: later, Header: headerOf(t, goldenFile(t, layout, "Packages.no-profile")),
				Progress: func(path string, _ int64) { t.Errorf("%s was read", path) },
				step:     noChange(t),
			}
			if r := reindex(t, d, o); r.Written || r.Packages == 0 {
				t.Errorf("report %+v", r)
			}
			if after, err := os.Lstat(d.file("Packages")); err != nil ||
				!os.SameFile(before, after) {
				t.Errorf("Packages is another file: %v", err)
			}
			// Reading everything again comes to the same.
			o.Rebuild, o.Progress = true, nil
			if r := reindex(t, d, o); r.Written || len(r.Renewed) > 0 {
				t.Errorf("rebuild: report %+v", r)
			}
		})
	}
}

// noChange fails when something is going to be changed.
func noChange(t *testing.T) func(string) {
	return func(what string) {
		if !strings.HasPrefix(what, "read ") {
			t.Errorf("step %s", what)
		}
	}
}

const (
	hello   = "app-misc/labhello-1.0-r2.tbz2"
	unzip1  = "app-arch/unzip/unzip-4.19.325-r2-1.xpak"
	unzip2  = "app-arch/unzip/unzip-4.19.325-r2-2.xpak"
	virt    = "virtual/labvirt-0-r1.tbz2"
	gpkgVim = "app-editors/vim/vim-2.3.1-1.gpkg.tar"
)

// Each test changes the indexed "mixed" layout.
func TestReindexFollowsTheFiles(t *testing.T) {
	all := layoutPaths(t, "mixed")
	without := func(gone ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(p string) bool {
			return slices.Contains(gone, p)
		})
	}
	with := func(list []string, more ...string) []string {
		list = slices.Concat(list, more)
		slices.Sort(list)
		return list
	}
	tests := []struct {
		name   string
		change func(*testing.T, *Dir)
		want   []string // paths in the index
		report Report   // lists only
	}{
		{"removed", func(t *testing.T, d *Dir) { remove(t, d, hello) },
			without(hello), Report{Dropped: []string{hello}}},
		// emaint overlooks this one, because another build of the same version is there.
		{"one-build-of-two-removed", func(t *testing.T, d *Dir) { remove(t, d, unzip1) },
			without(unzip1), Report{Dropped: []string{unzip1}}},
		{"touched", func(t *testing.T, d *Dir) { touch(t, d, hello, later) },
			all, Report{Renewed: []string{hello}}},
		{"rebuilt-under-its-name", func(t *testing.T, d *Dir) {
			copyWithTime(t, goldenPackage("xpak-classic", hello), d, hello, later)
		},
			all, Report{Renewed: []string{hello}}},
		{"new", func(t *testing.T, d *Dir) {
			copyWithTime(t, goldenPackage("xpak-classic", "app-misc/screen-1.10-r100.tbz2"), d,
				"app-misc/screen-1.10-r100.tbz2", later)
		}, with(all, "app-misc/screen-1.10-r100.tbz2"),
			Report{Added: []string{"app-misc/screen-1.10-r100.tbz2"}}},
		{"moved-to-All", func(t *testing.T, d *Dir) {
			rename(t, d, hello, "All/labhello-1.0-r2.tbz2")
		},
			with(without(hello), "All/labhello-1.0-r2.tbz2"),
			Report{Moved: []string{"All/labhello-1.0-r2.tbz2"}, Dropped: nil}},
		{"moved-to-another-category", func(t *testing.T, d *Dir) {
			rename(t, d, hello, "sys-apps/labhello-1.0-r2.tbz2")
		},
			without(hello), Report{Dropped: []string{hello},
				Invalid: []Problem{{Path: "sys-apps/labhello-1.0-r2.tbz2"}}}},
		{"moved-out-of-the-layout", func(t *testing.T, d *Dir) {
			rename(t, d, hello, "a/b/c/labhello-1.0-r2.tbz2")
		},
			without(hello), Report{Dropped: []string{hello},
				Invalid: []Problem{{Path: "a/b/c/labhello-1.0-r2.tbz2"}}}},
		{"same-base-name-in-two-places", func(t *testing.T, d *Dir) {
			copyWithTime(t, d.file(hello), d, "All/labhello-1.0-r2.tbz2", mtime(t, d, hello))
		}, all, Report{Ignored: []Problem{{Path: "All/labhello-1.0-r2.tbz2"}}}},
		{"same-base-name-size-and-time-and-other-bytes", func(t *testing.T, d *Dir) {
			writeOther(t, d, hello, "All/labhello-1.0-r2.tbz2")
		}, all, Report{Invalid: []Problem{{Path: "All/labhello-1.0-r2.tbz2"}}}},
		{"moved-to-All-and-replaced", func(t *testing.T, d *Dir) {
			rename(t, d, hello, "All/labhello-1.0-r2.tbz2")
			copyWithTime(t, d.file("All/labhello-1.0-r2.tbz2"), d, hello, later)
		}, with(all, "All/labhello-1.0-r2.tbz2"),
			Report{Renewed: []string{hello}, Moved: []string{"All/labhello-1.0-r2.tbz2"}}},
		{"same-base-name-other-time", func(t *testing.T, d *Dir) {
			copyWithTime(t, d.file(hello), d, "All/labhello-1.0-r2.tbz2", later)
		}, with(all, "All/labhello-1.0-r2.tbz2"),
			Report{Added: []string{"All/labhello-1.0-r2.tbz2"}}},
		{"copied-as-a-new-build", func(t *testing.T, d *Dir) {
			copyWithTime(t, d.file(unzip1), d, "app-arch/unzip/unzip-4.19.325-r2-7.xpak", later)
		}, with(all, "app-arch/unzip/unzip-4.19.325-r2-7.xpak"),
			Report{Added: []string{"app-arch/unzip/unzip-4.19.325-r2-7.xpak"}}},
		{"linked-in-All", func(t *testing.T, d *Dir) {
			writeFile(t, d, "All/x", "")
			if err := os.Symlink("../"+hello, d.file("All/labhello-1.0-r2.tbz2")); err != nil {
				t.Fatal(err)
			}
		}, all, Report{Ignored: []Problem{{Path: "All/labhello-1.0-r2.tbz2"}, {Path: "All/x"}}}},
		{"linked-directory", func(t *testing.T, d *Dir) {
			if err := os.Symlink("app-arch", d.file("app-copy")); err != nil {
				t.Fatal(err)
			}
		}, all, Report{Ignored: []Problem{{Path: "app-copy"}}}},
		{"name-reserved-by-emerge", func(t *testing.T, d *Dir) {
			writeFile(t, d, "app-arch/unzip/unzip-4.19.325-r2-3.xpak", "")
		},
			all, Report{Ignored: []Problem{{Path: "app-arch/unzip/unzip-4.19.325-r2-3.xpak"}}}},
		{"emptied", func(t *testing.T, d *Dir) { writeFile(t, d, hello, "") },
			without(hello), Report{Dropped: []string{hello}, Ignored: []Problem{{Path: hello}}}},
		{"half-written-and-set-aside", func(t *testing.T, d *Dir) {
			for _, name := range []string{"app-misc/x-1.tbz2.partial",
				"app-misc/x-1.tbz2._checksum_failure_.abcd", "app-misc/x-1.tbz2abcdefgh.123",
				"app-misc/README"} {
				writeFile(t, d, name, "x")
			}
			for _, name := range []string{"Packagesabcdefgh", ".__portage_test_write__",
				"app-misc/.x-1.tbz2.partial.portage_lockfile"} {
				writeFile(t, d, name, "x")
			}
		}, all, Report{Ignored: []Problem{{Path: "app-misc/README"},
			{Path: "app-misc/x-1.tbz2._checksum_failure_.abcd"},
			{Path: "app-misc/x-1.tbz2.partial"}, {Path: "app-misc/x-1.tbz2abcdefgh.123"}}}},
		{"truncated", func(t *testing.T, d *Dir) { truncate(t, d, hello) },
			without(hello), Report{Dropped: []string{hello}, Invalid: []Problem{{Path: hello}}}},
		{"gpkg-truncated", func(t *testing.T, d *Dir) { truncate(t, d, gpkgVim) },
			without(gpkgVim), Report{Dropped: []string{gpkgVim},
				Invalid: []Problem{{Path: gpkgVim}}}},
		{"misnamed", func(t *testing.T, d *Dir) {
			writeFile(t, d, "app-misc/x.tbz2", "x")
			writeFile(t, d, "app-misc/x-1.xpak", "x")
			writeFile(t, d, "x-1.tbz2", "x")
		}, all, Report{Invalid: []Problem{{Path: "app-misc/x-1.xpak"}, {Path: "app-misc/x.tbz2"},
			{Path: "x-1.tbz2"}}}},
		{"fifo", func(t *testing.T, d *Dir) {
			if err := syscall.Mkfifo(d.file("app-misc/x-1.tbz2"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, all, Report{Ignored: []Problem{{Path: "app-misc/x-1.tbz2"}}}},
		{"all-removed", func(t *testing.T, d *Dir) {
			for _, p := range all {
				remove(t, d, p)
			}
		}, nil, Report{Dropped: all}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := indexed(t, "mixed")
			tt.change(t, d)
			old := readFile(t, d, "Packages")
			r := reindex(t, d, Options{Now: later})
			if got := paths(t, d); !slices.Equal(got, tt.want) {
				t.Errorf("index has %q, want %q", got, tt.want)
			}
			for name, lists := range map[string][2][]string{
				"added": {r.Added, tt.report.Added}, "renewed": {
					r.Renewed, tt.report.Renewed}, "moved": {r.Moved, tt.report.Moved},
				"invalid": {problemPaths(r.Invalid), problemPaths(tt.report.Invalid)}, "ignored": {
					problemPaths(r.Ignored), problemPaths(tt.report.Ignored)},
			} {
				if !slices.Equal(lists[0], lists[1]) {
					t.Errorf("%s: %q, want %q", name, lists[0], lists[1])
				}
			}
			if tt.name != "moved-to-All" && !slices.Equal(r.Dropped, tt.report.Dropped) {
				t.Errorf("dropped: %q, want %q", r.Dropped, tt.report.Dropped)
			}
			for _, p := range slices.Concat(r.Invalid, r.Ignored) {
				if p.Reason == "" || strings.Contains(p.Reason, d.Path()) {
					t.Errorf("%s: reason %q", p.Path, p.Reason)
				}
			}
			changes := len(r.Added) + len(r.Renewed) + len(r.Moved) + len(r.Dropped)
			if r.Written != (changes > 0) || r.Written != (readFile(t, d, "Packages") != old) {
				t.Errorf("written: %v, with %d changes", r.Written, changes)
			}
			check(t, d)
			if again := reindex(t, d, Options{Now: later.Add(time.Hour)}); again.Written {
				t.Errorf("written again: %+v", again)
			}
		})
	}
}

func indexed(t testing.TB, layout string) *Dir {
	t.Helper()
	d := layoutDir(t, layout)
	writeFile(t, d, "Packages", goldenFile(t, layout, "Packages"))
	return d
}

func layoutPaths(t testing.TB, layout string) []string {
	t.Helper()
	var all []string
	for _, e := range parseIndex(t, goldenFile(t, layout, "Packages")).Entries {
		all = append(all, e.Path())
	}
	slices.Sort(all)
	return all
}

func goldenPackage(layout, p string) string { return filepath.Join(golden, layout, "pkgdir", p) }

func touch(t testing.TB, d *Dir, p string, when time.Time) {
	t.Helper()
	if err := os.Chtimes(d.file(p), when, when); err != nil {
		t.Fatal(err)
	}
}

func rename(t testing.TB, d *Dir, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.file(to)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(d.file(from), d.file(to)); err != nil {
		t.Fatal(err)
	}
}

func truncate(t testing.TB, d *Dir, p string) {
	t.Helper()
	if err := os.Truncate(d.file(p), 1000); err != nil {
		t.Fatal(err)
	}
}

// Reindex keeps the values that the package does not have, and a key that Portage keeps but no
// longer takes from packages.
func TestReindexKeepsWhatOnlyTheEntryKnows(t *testing.T) {
	d := indexed(t, "xpak-classic")
	old := goldenFile(t, "xpak-classic", "Packages")
	writeFile(t, d, "Packages", strings.Replace(old, "CPV: app-misc/labhello-1.0-r2\n",
		"CPV: app-misc/labhello-1.0-r2\nDESC: says hello\n", 1))
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"unchanged", Options{}, "says hello"},
		{"rebuild", Options{Rebuild: true}, ""},
	} {
		reindex(t, d, c.o)
		x, err := d.Index()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(x.Entries, func(e pkgindex.Entry) bool { return e.Path() == hello })
		if got := x.Entries[i].Get("DESC"); got != c.want {
			t.Errorf("%s: DESC %q", c.name, got)
		}
	}
	// Without MD5 the package is read again; what else was in the entry stays.
	x := parseIndex(t, strings.Replace(old, "CPV: app-misc/labhello-1.0-r2\n",
		"CPV: app-misc/labhello-1.0-r2\nDESC: says hello\n", 1))
	for i, e := range x.Entries {
		if e.Path() == hello {
			var err error
			if x.Entries[i], err = e.With("MD5", "", "SHA1", ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := x.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, d, "Packages", string(text))
	reindex(t, d, Options{})
	if got := readFile(t, d, "Packages"); !strings.Contains(got, "\nDESC: says hello\n") {
		t.Error("DESC was lost")
	}
	check(t, d)
}

// emaint stops with a traceback for some of these and indexes nothing.
func TestReindexOfDamagedPackages(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join(golden, "corrupt", "*", "portage.json"))
	if err != nil || len(cases) < 40 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, c := range cases {
		name := filepath.Base(filepath.Dir(c))
		t.Run(name, func(t *testing.T) {
			d := indexed(t, "gpkg-classic")
			src := filepath.Dir(c)
			var damaged string
			err := filepath.WalkDir(src, func(p string, e os.DirEntry, err error) error {
				if err == nil && (strings.HasSuffix(p, ".tar") || strings.HasSuffix(p, ".tbz2")) {
					damaged, err = filepath.Rel(src, p)
					copyWithTime(t, p, d, damaged, time.Unix(1700000000, 0))
				}
				return err
			})
			if err != nil || damaged == "" {
				t.Fatalf("no package: %v", err)
			}
			good := layoutPaths(t, "gpkg-classic")
			r := reindex(t, d, Options{Now: later})
			left := append(problemPaths(r.Invalid), problemPaths(r.Ignored)...)
			switch got := paths(t, d); {
			case slices.Contains(left, damaged):
				if !slices.Equal(got, good) {
					t.Errorf("index has %q", got)
				}
			case !slices.Contains(got, damaged) || len(got) != len(good)+1:
				t.Errorf("index has %q", got)
			}
			check(t, d)
		})
	}
}

func TestReindexReportsUnreadableFiles(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root can read everything")
	}
	d := layoutDir(t, "xpak-classic")
	if err := os.Chmod(d.file(hello), 0); err != nil {
		t.Fatal(err)
	}
	r := reindex(t, d, Options{})
	if len(r.Invalid) != 1 || r.Invalid[0].Path != hello ||
		!strings.Contains(r.Invalid[0].Reason, "permission denied") {
		t.Errorf("invalid: %v", r.Invalid)
	}
}

// A directory that cannot be read must not look like one whose packages were deleted.
func TestReindexStopsAtUnreadableDirectories(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root can read everything")
	}
	d := indexed(t, "xpak-classic")
	if err := os.Chmod(d.file("app-misc"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(d.file("app-misc"), 0o755)
	if _, err := d.Reindex(t.Context(), Options{}); err == nil {
		t.Error("indexed")
	}
	if got := readFile(t, d, "Packages"); got != goldenFile(t, "xpak-classic", "Packages") {
		t.Error("the index was changed")
	}
}

// A file that somebody writes to is reported; a later run indexes it.
func TestReindexReportsFilesThatChange(t *testing.T) {
	for name, grow := range map[string]int{"small": 0, "large": readSize} {
		t.Run(name, func(t *testing.T) {
			d := indexed(t, "xpak-classic")
			enlarge(t, d, mc, grow)
			once := false
			r := reindex(t, d, Options{Now: later, Workers: 1, step: func(what string) {
				if what == "read "+mc {
					touch(t, d, mc, later.Add(time.Hour))
					once = true
				}
			}})
			if !once || !slices.Equal(problemPaths(r.Invalid), []string{mc}) ||
				!strings.Contains(r.Invalid[0].Reason, "changed") {
				t.Errorf("invalid: %v", r.Invalid)
			}
			if slices.Contains(paths(t, d), mc) {
				t.Error("it is in the index")
			}
			if r = reindex(t, d, Options{Now: later}); !slices.Equal(r.Added, []string{mc}) {
				t.Errorf("afterwards: %+v", r)
			}
			check(t, d)
		})
	}
	t.Run("before-it-is-read", func(t *testing.T) {
		d := indexed(t, "xpak-classic")
		s, err := d.Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Files {
			touch(t, d, f.Path, later)
			r := newReader(d, 0)
			if _, _, err := r.describe(t.Context(), f); !errors.Is(err, errChanged) {
				t.Errorf("%s: error %v", f.Path, err)
			}
			r.close()
		}
	})
}

// enlarge puts bytes before a package: it is found from its end.
func enlarge(t *testing.T, d *Dir, p string, by int) {
	t.Helper()
	writeFile(t, d, p, strings.Repeat("x", by)+readFile(t, d, p))
	touch(t, d, p, later)
}

// A package that does not fit into the buffer is read in another way.
func TestReindexOfLargePackages(t *testing.T) {
	d := indexed(t, "xpak-classic")
	size := len(readFile(t, d, hello))
	for p, by := range map[string]int{hello: readSize - size,
		mc: readSize + 1 - len(readFile(t, d, mc)), screen: 3 * readSize} {
		enlarge(t, d, p, by)
	}
	if r := reindex(t, d, Options{Now: later}); len(r.Renewed) != 3 {
		t.Errorf("report %+v", r)
	}
	check(t, d)
}

// The index that emerge wrote between our first look and the lock is not lost.
func TestReindexLooksAgainUnderTheLock(t *testing.T) {
	d := indexed(t, "xpak-classic")
	const fresh = mc
	touch(t, d, hello, later)
	read := map[string]int{}
	o := Options{
		Now: later, LockWait: time.Minute,
		Progress: func(path string, _ int64) {
			if read[path]++; path == hello && read[hello] == 1 {
				touch(t, d, fresh, later)
				remove(t, d, "app-editors/nano-1.9-r2.tbz2")
			}
		},
	}
	r := reindex(t, d, o)
	if want := []string{hello, fresh}; !slices.Equal(r.Renewed, want) {
		t.Errorf("renewed %q, want %q", r.Renewed, want)
	}
	if read[hello] != 1 || read[fresh] != 1 {
		t.Errorf("read %v", read)
	}
	check(t, d)
}

func TestReindexWaitsForTheLock(t *testing.T) {
	d := layoutDir(t, "xpak-classic")
	lock, err := d.root.Acquire(t.Context(), durable.PackagesLock, durable.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Reindex(t.Context(), Options{}); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("error %v, want ErrLocked", err)
	}
	if exists(t, d, "Packages") {
		t.Error("the index was written without the lock")
	}
	o := Options{LockWait: time.Minute, OnWait: func() { lock.Release() }}
	if r := reindex(t, d, o); !r.Written {
		t.Errorf("report %+v", r)
	}
}

func TestReindexEndsWithItsContext(t *testing.T) {
	d := layoutDir(t, "xpak-classic")
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := d.Reindex(ctx, Options{Workers: 1, Progress: func(string, int64) { cancel(why) }})
	if !errors.Is(err, why) || exists(t, d, "Packages") {
		t.Errorf("error %v", err)
	}
}

func TestTimestamp(t *testing.T) {
	tests := []struct {
		name      string
		old       string // TIMESTAMP of the old index; "" for no index
		now, want int64
	}{
		{"first", "", 1800000000, 1800000000},
		{"clock-ahead", "1795334481", 1800000000, 1800000000},
		{"same-second", "1800000000", 1800000000, 1800000001},
		{"clock-behind", "1795334481", 0, 1795334482},
		{"odd", "yesterday", 1800000000, 1800000000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := layoutDir(t, "xpak-classic")
			if tt.old != "" {
				writeFile(t, d, "Packages", "TIMESTAMP: "+tt.old+"\nVERSION: 0\n\n")
			}
			r := reindex(t, d, Options{Now: time.Unix(tt.now, 0), CompressIndex: &on})
			if r.Timestamp != tt.want {
				t.Errorf("report: %d, want %d", r.Timestamp, tt.want)
			}
			if x, err := d.Index(); err != nil || x.Header.Get("TIMESTAMP") != time.Unix(tt.want,
				0).Format("") && r.Timestamp != tt.want {
				t.Errorf("index: %v", err)
			}
			for _, name := range []string{"Packages", "Packages.gz"} {
				if got := mtime(t, d, name); !got.Equal(time.Unix(tt.want, 0)) {
					t.Errorf("%s: time %d, want %d", name, got.Unix(), tt.want)
				}
			}
		})
	}
}

func TestHeaderIsKept(t *testing.T) {
	d := indexed(t, "xpak-classic")
	text := strings.Replace(readFile(t, d, "Packages"), "\n\n", "\nZOO: of unknown keys\n\n", 1)
	text = strings.Replace(text, "CHOST: x86_64-pc-linux-gnu", "CHOST: i686-pc-linux-gnu", 1)
	writeFile(t, d, "Packages", text)
	touch(t, d, hello, later)
	if r := reindex(t, d, Options{}); !r.Written {
		t.Fatalf("report %+v", r)
	}
	x, err := d.Index()
	if err != nil {
		t.Fatal(err)
	}
	want := parseIndex(t, text).Header
	for _, key := range want.Keys() {
		if got := x.Header.Get(key); key != "TIMESTAMP" && got != want.Get(key) {
			t.Errorf("%s: %q, want %q", key, got, want.Get(key))
		}
	}
	for _, e := range x.Entries {
		// A package that was read has x86_64, the others were elided against the header.
		read := e.Path() == hello || e.Get("REPO") == ""
		if chost := e.Get("CHOST"); (chost == "x86_64-pc-linux-gnu") != read {
			t.Errorf("%s: CHOST %q", e.Path(), chost)
		}
	}
}

// To Portage these are no index at all.
func TestReindexOfAnIndexThatPortageDoesNotRead(t *testing.T) {
	for name, version := range map[string]string{"newer": "VERSION: 1\n", "none": "",
		"odd": "VERSION: x\n"} {
		t.Run(name, func(t *testing.T) {
			d := layoutDir(t, "xpak-classic")
			writeFile(t, d, "Packages", strings.Replace(goldenFile(t, "xpak-classic", "Packages"),
				"VERSION: 0\n", version, 1))
			c, err := d.Check(t.Context(), Options{})
			if err != nil || c.OK() || len(c.Index) == 0 {
				t.Errorf("check %+v, %v", c, err)
			}
			r := reindex(t, d, Options{})
			if !r.Written || len(r.Added) != 12 {
				t.Errorf("report %+v", r)
			}
			check(t, d)
		})
	}
}

func TestCompressedIndex(t *testing.T) {
	tests := []struct {
		name     string
		there    string // "", "fresh" or "old"
		compress *bool
		check    string // check's verdict on it
		written  bool
		gz       bool // there in the end
	}{
		{"wanted-absent", "", &on, "missing index file: Packages.gz", true, true},
		{"wanted-fresh", "fresh", &on, "", false, true},
		{"wanted-old", "old", &on, "is not equal to compressed index timestamp", true, true},
		{"unwanted-absent", "", &off, "", false, false},
		{"unwanted-fresh", "fresh", &off, "'compress-index' feature is disabled", true, false},
		{"unwanted-old", "old", &off, "'compress-index' feature is disabled", true, false},
		{"unknown-absent", "", nil, "", false, false},
		{"unknown-fresh", "fresh", nil, "", false, true},
		{"unknown-old", "old", nil, "is not equal to compressed index timestamp", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := indexed(t, "xpak-classic")
			touch(t, d, "Packages", at(t, readFile(t, d, "Packages")))
			if tt.there != "" {
				writeFile(t, d, "Packages.gz", goldenFile(t, "xpak-classic", "Packages.gz"))
				when := mtime(t, d, "Packages")
				if tt.there == "old" {
					when = when.Add(-time.Hour)
				}
				touch(t, d, "Packages.gz", when)
			}
			o := Options{Now: later, CompressIndex: tt.compress}
			c, err := d.Check(t.Context(), o)
			if err != nil || c.OK() != (tt.check == "") ||
				!strings.Contains(strings.Join(c.Index, "\n"), tt.check) {
				t.Errorf("check %+v, %v", c, err)
			}
			if r := reindex(t, d, o); r.Written != tt.written {
				t.Errorf("written: %v", r.Written)
			}
			if got := exists(t, d, "Packages.gz"); got != tt.gz {
				t.Errorf("Packages.gz is there: %v", got)
			}
			if tt.gz && tt.written {
				sameGzip(t, readFile(t, d, "Packages.gz"), readFile(t, d, "Packages"))
			}
			check(t, d)
		})
	}
}

func TestCheckSaysWhatEmaintWould(t *testing.T) {
	d := layoutDir(t, "xpak-classic")
	c, err := d.Check(t.Context(), Options{CompressIndex: &on})
	if err != nil || len(c.Missing) != 12 || len(c.Index) != 2 {
		t.Errorf("no index: %+v, %v", c, err)
	}
	if exists(t, d, "Packages") {
		t.Error("check wrote an index")
	}
	writeFile(t, d, "Packages", goldenFile(t, "xpak-classic", "Packages"))
	touch(t, d, hello, later)
	remove(t, d, "app-editors/nano-1.9-r2.tbz2")
	writeFile(t, d, "app-misc/broken-1.tbz2", "x")
	c, err = d.Check(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for what, lists := range map[string][2][]string{
		"missing": {problemPaths(c.Missing), {hello}},
		"stale":   {problemPaths(c.Stale), {"app-editors/nano-1.9-r2.tbz2"}},
		"invalid": {problemPaths(c.Invalid), {"app-misc/broken-1.tbz2"}},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("%s: %q, want %q", what, lists[0], lists[1])
		}
	}
}

func TestIndexThatIsALink(t *testing.T) {
	tests := []struct {
		name   string
		target func(*Dir) string
		where  string // of the index then; "" for an error
	}{
		{"beside", func(*Dir) string { return "index.txt" }, "index.txt"},
		{"in-a-directory", func(*Dir) string { return "meta/Packages" }, "meta/Packages"},
		{"absolute-inside", func(d *Dir) string { return d.file("meta/Packages") },
			"meta/Packages"},
		{"outside", func(*Dir) string { return "../Packages" }, ""},
		{"absolute-outside", func(*Dir) string { return "/etc/Packages" }, ""},
		{"loop", func(*Dir) string { return "Packages" }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := layoutDir(t, "xpak-classic")
			writeFile(t, d, "meta/README", "")
			if err := os.Symlink(tt.target(d), d.file("Packages")); err != nil {
				t.Fatal(err)
			}
			for range 2 { // a link to nothing, then to a file
				_, err := d.Reindex(t.Context(), Options{Now: later})
				if (err != nil) != (tt.where == "") {
					t.Fatalf("error %v", err)
				}
				if fi, err := os.Lstat(d.file("Packages")); err != nil ||
					fi.Mode()&os.ModeSymlink == 0 {
					t.Errorf("the link is gone: %v", err)
				}
				if tt.where == "" {
					return
				}
				if fi, err := os.Lstat(d.file(tt.where)); err != nil || !fi.Mode().IsRegular() {
					t.Errorf("%s: %v", tt.where, err)
				}
				touch(t, d, hello, later)
			}
			check(t, d)
		})
	}
}

// A PKGDIR with a group of its own, as portage:portage 2775.
func TestIndexHasPKGDIRsGroupAndModes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can give files away")
	}
	const user, group = 4320, 4321
	tests := []struct {
		name    string
		pkgdir  os.FileMode
		old     os.FileMode // of Packages, owned by user; 0: there is none
		want    os.FileMode
		wantUID uint32
	}{
		{"new", 0o755, 0, 0o644, 0},
		{"new-group-may-write", 0o775 | os.ModeSetgid, 0, 0o664, 0},
		{"owner-and-mode-are-kept", 0o755, 0o640, 0o640, user},
		{"group-bits-are-added", 0o775, 0o604, 0o664, user},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			old := syscall.Umask(0o022)
			defer syscall.Umask(old)
			d := layoutDir(t, "xpak-classic")
			if err := errors.Join(os.Chown(d.Path(), -1, group),
				os.Chmod(d.Path(), tt.pkgdir)); err != nil {
				t.Fatal(err)
			}
			if tt.old != 0 {
				writeFile(t, d, "Packages", "VERSION: 0\n\n")
				if err := errors.Join(os.Chown(d.file("Packages"), user, 0),
					os.Chmod(d.file("Packages"), tt.old)); err != nil {
					t.Fatal(err)
				}
			}
			reindex(t, d, Options{CompressIndex: &on})
			for name, uid := range map[string]uint32{"Packages": tt.wantUID, "Packages.gz": 0} {
				fi, err := os.Lstat(d.file(name))
				if err != nil {
					t.Fatal(err)
				}
				st := fi.Sys().(*syscall.Stat_t)
				if st.Gid != group || st.Uid != uid || name == "Packages" && fi.Mode() != tt.want {
					t.Errorf("%s: %v, owner %d:%d", name, fi.Mode(), st.Uid, st.Gid)
				}
			}
		})
	}
}

func TestReindexSweepsLeftovers(t *testing.T) {
	d := layoutDir(t, "xpak-classic")
	const leftover = ".Packages.pkgsneak-0123456789abcdef"
	writeFile(t, d, leftover, "half")
	for _, state := range []string{"stale", "current"} {
		reindex(t, d, Options{})
		if exists(t, d, leftover) {
			t.Errorf("%s index: a killed run's temporary file is still there", state)
		}
		writeFile(t, d, leftover, "half")
	}
}

// A leftover is no reason to fail where nothing can be written and the index is as it should be.
func TestReindexPassesOverLeftovers(t *testing.T) {
	d := layoutDir(t, "xpak-classic")
	reindex(t, d, Options{})
	const leftover = ".Packages.pkgsneak-0123456789abcdef"
	writeFile(t, d, leftover, "half")
	if os.Geteuid() == 0 {
		if err := unix.Mount(d.Path(), d.Path(), "", unix.MS_BIND, ""); err != nil {
			t.Skipf("SKIPPED: nothing can be mounted here: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(d.Path(), unix.MNT_DETACH) })
		if err := unix.Mount("", d.Path(), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY,
			""); err != nil {
			t.Fatal(err)
		}
	} else {
		if err := os.Chmod(d.Path(), 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(d.Path(), 0o755) })
	}
	d = openDir(t, d.Path())
	if r := reindex(t, d, Options{}); r.Written || r.Packages != 12 || !exists(t, d, leftover) {
		t.Errorf("report %+v", r)
	}
	if _, err := d.Reindex(t.Context(), Options{Rebuild: true}); err != nil {
		t.Errorf("rebuilding what is right: %v", err)
	}
}

func TestOpenIsAWall(t *testing.T) {
	d := layoutDir(t, "xpak-classic")
	if err := os.Symlink("/etc", d.file("out")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"out/passwd", "../x", "/etc/passwd", "app-misc"} {
		if f, _, err := d.OpenFile(name); err == nil {
			f.Close()
			t.Errorf("opened %q", name)
		}
	}
	link := filepath.Join(t.TempDir(), "binpkgs")
	if err := os.Symlink(d.Path(), link); err != nil {
		t.Fatal(err)
	}
	if r := reindex(t, openDir(t, link), Options{}); r.Packages != 12 {
		t.Errorf("through a link: %+v", r)
	}
}

func TestCreate(t *testing.T) {
	d, err := Create(filepath.Join(t.TempDir(), "var", "cache", "binpkgs"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if r := reindex(t, d, Options{Now: later}); !r.Written || r.Packages != 0 {
		t.Errorf("report %+v", r)
	}
	want := "PACKAGES: 0\nTIMESTAMP: 1809518400\nVERSION: 0\n\n"
	if got := readFile(t, d, "Packages"); !bytes.Equal([]byte(got), []byte(want)) {
		t.Errorf("Packages %q, want %q", got, want)
	}
}

// If the kernel has no openat2, a path is opened directory by directory, and no link on it is
// followed either.
func TestOpenWithoutOpenat2(t *testing.T) {
	top := t.TempDir()
	if err := os.MkdirAll(filepath.Join(top, "cat/pn"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "cat/file", "cat/pn/file"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "plain", "cat/link": "file",
		"linked": "cat", "cat/linked": "pn"} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	d := openDir(t, top)
	r := newReader(d, 0)
	defer r.close()
	dir, err := os.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, name := range []string{"plain", "cat/file", "cat/pn/file", "link", "cat/link",
		"linked/file", "cat/linked/file", "absent", "absent/file", "plain/file", "../x"} {
		want := []string{"plain", "cat/file", "cat/pn/file"}
		for how, open := range map[string]func() (int, error){
			"openat2":  func() (int, error) { return r.open(name) },
			"stepwise": func() (int, error) { return walkTo(int(dir.Fd()), name) },
		} {
			fd, err := open()
			if err == nil {
				data := make([]byte, 100)
				n, _ := unix.Read(fd, data)
				unix.Close(fd)
				if string(data[:n]) != name {
					t.Errorf("%s: %q has the contents %q", how, name, data[:n])
				}
			}
			if (err == nil) != slices.Contains(want, name) {
				t.Errorf("%s: opening %q: %v", how, name, err)
			}
		}
	}
}

func TestLostAndFoundIsTheFileSystemsOwn(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "lost+found/app-misc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lost+found/app-misc/foo-1.tbz2"), []byte("x"),
		0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := d.Scan(t.Context())
	if err != nil || len(s.Files)+len(s.Misplaced)+len(s.Ignored) > 0 {
		t.Errorf("%+v, %v: below it nothing is looked at, which often only root may", s, err)
	}
}
