package roundtrip

import (
	"crypto/md5"
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/reindex"
)

func catalogueOf(t *testing.T, m machine.Machine, path string) map[string]pkgindex.Entry {
	t.Helper()
	index, err := generationOf(t, m, path).Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	entries := make(map[string]pkgindex.Entry)
	for _, e := range index.Entries {
		entries[e.Path()] = e
	}
	return entries
}

// A damaged byte in the catalogue on the drive is gone with the next export: the catalogue is what
// the packages have, whatever the one before it was like.
func TestDamagedCatalogueHeals(t *testing.T) {
	for name, row := range map[string]struct {
		change func(t *testing.T, host machine.Machine)
		o      exporter.ExportOptions
		mtimes bool // are the host's
	}{
		"the host's index tells it": {
			func(*testing.T, machine.Machine) {}, exporter.ExportOptions{}, true},
		"the host has no index any more": {
			func(t *testing.T, m machine.Machine) {
				remove(t, filepath.Join(m.PKGDIR, "Packages"))
			}, exporter.ExportOptions{}, true},
		"the host remembers nothing": {
			func(t *testing.T, m machine.Machine) {
				forgetDigests(t, m)
			}, exporter.ExportOptions{}, true},
		"neither": {func(t *testing.T, m machine.Machine) {
			remove(t, filepath.Join(m.PKGDIR, "Packages"))
			forgetDigests(t, m)
		}, exporter.ExportOptions{}, true},
		"the packages are not looked at": {
			func(*testing.T, machine.Machine) {}, exporter.ExportOptions{NoPackages: true}, false},
		"most are gone, and meant to be": {
			func(t *testing.T, m machine.Machine) {
				removeAll(t, filepath.Join(m.PKGDIR, "app-misc"))
			},
			exporter.ExportOptions{AllowShrink: true}, true},
		"one of them was rebuilt since then": {func(t *testing.T, m machine.Machine) {
			rebuild(t, filepath.Join(m.PKGDIR, "virtual/labvirt-0-r1.tbz2"))
		}, exporter.ExportOptions{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, client, path := newMachine(t, "host", epoch), newMachine(t, "client",
				epoch), t.TempDir()
			pack(t, host.PKGDIR, "mixed")
			mustExport(t, host, exporter.ExportOptions{Drive: path})
			before := catalogueOf(t, host, path)
			damage(t, filepath.Join(path, "pkgsneak/host",
				layout.CatalogueFile(generationOf(t, host, path).Serial())))
			row.change(t, host)
			row.o.Drive = path
			r := mustExport(t, host, row.o)
			if slices.ContainsFunc(r.LeftOut, func(it payload.Item) bool {
				return it.Reason != pkgdir.NoFile
			}) || r.Unchanged {
				t.Errorf("left out %v, unchanged %v", r.LeftOut, r.Unchanged)
			}
			after := catalogueOf(t, host, path)
			for _, it := range generationOf(t, host, path).Packages() {
				e := after[it.Path]
				if was := before[it.Path]; it.Path != "virtual/labvirt-0-r1.tbz2" &&
					sumsOf(e) != sumsOf(was) || e.IsZero() {
					t.Errorf("%q, before it %q", e, was)
				} else if same := e.Get("MTIME") == was.Get("MTIME"); row.mtimes && !same &&
					it.Path != "virtual/labvirt-0-r1.tbz2" {
					t.Errorf("%s: MTIME %s, was %s", it.Path, e.Get("MTIME"), was.Get("MTIME"))
				}
			}
			if v, err := inspect.Verify(t.Context(), host, inspect.VerifyOptions{Drive: path},
				nil); err != nil || len(v.Origins[0].Bad) > 0 {
				t.Errorf("verify: %v, %+v", err, v.Origins[0].Bad)
			}
			row.o.AllowShrink = false
			if r := mustExport(t, host, row.o); !r.Unchanged {
				t.Errorf("one more export of the same: %+v", r)
			}
			trustEach(t, client, host)
			got := mustImport(t, client, importer.ImportOptions{Drive: path})
			if want := len(generationOf(t, host, path).Packages()); got.Packages != want ||
				len(got.Origins[0].LeftOut) > 0 {
				t.Errorf("imported %d of %d, left out %v", got.Packages, want,
					got.Origins[0].LeftOut)
			}
		})
	}
}

func removeAll(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

// forgetDigests takes from a machine what it remembers of its files.
func forgetDigests(t *testing.T, m machine.Machine) {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(m.StateDir, "digests*"))
	if len(found) == 0 {
		t.Fatal("nothing is remembered")
	}
	for _, name := range found {
		removeAll(t, name)
	}
}

// An index of an old Portage has no PATH. The catalogue does not depend on how often it was made.
func TestIndexWithoutPaths(t *testing.T) {
	t.Parallel()
	host, path := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	name := filepath.Join(host.PKGDIR, "Packages")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, line := range strings.SplitAfter(string(data), "\n") {
		if !strings.HasPrefix(line, "PATH: ") {
			kept = append(kept, line)
		}
	}
	write(t, name, strings.Join(kept, ""))
	mustExport(t, host, exporter.ExportOptions{Drive: path})
	for path, e := range catalogueOf(t, host, path) {
		if e.Get("PATH") != path {
			t.Errorf("%q", e)
		}
	}
	if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); !r.Unchanged {
		t.Errorf("a second export: %+v", r)
	}
}

// A modification time that no client could take is not carried.
func TestImpossibleTimes(t *testing.T) {
	t.Parallel()
	host, client, path := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-multi")
	var names []string
	for p := range files(t, host.PKGDIR) {
		if strings.HasSuffix(p, ".xpak") {
			names = append(names, p)
		}
	}
	for i, p := range names {
		when := []time.Time{time.Unix(-1000, 0), time.Unix(1<<32, 0), epoch}[i%3]
		if err := os.Chtimes(filepath.Join(host.PKGDIR, p), when, when); err != nil {
			t.Fatal(err)
		}
	}
	if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); len(r.LeftOut) > 0 ||
		len(r.Copied) != len(names) {
		t.Errorf("copied %v, left out %v", r.Copied, r.LeftOut)
	}
	for path, e := range catalogueOf(t, host, path) {
		if mtime, ok := e.MTime(); !ok || !pkgindex.ValidMTime(mtime) {
			t.Errorf("%s: MTIME %d", path, mtime)
		}
	}
	if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); !r.Unchanged {
		t.Errorf("a second export: %+v", r)
	}
	trustEach(t, client, host)
	if r := mustImport(t, client, importer.ImportOptions{Drive: path}); r.Packages != len(names) ||
		len(r.Origins[0].LeftOut) > 0 {
		t.Errorf("imported %d of %d: left out %v", r.Packages, len(names), r.Origins[0].LeftOut)
	}
}

// The hashes of the host's index are held against the package: SHA1 by computing it, MD5 is taken
// over with it.
func TestIndexWithOtherHashes(t *testing.T) {
	t.Parallel()
	host, path := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	name := filepath.Join(host.PKGDIR, "Packages")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(data), "\nSHA1: ")
	if !found {
		t.Fatal("the index has no SHA1")
	}
	write(t, name, before+"\nSHA1: "+strings.Repeat("0", 40)+after[40:])
	r := mustExport(t, host, exporter.ExportOptions{Drive: path})
	if len(r.LeftOut) != 1 || !strings.Contains(r.LeftOut[0].Reason,
		"not those that the index has the hashes of") {
		t.Fatalf("left out %v", r.LeftOut)
	}
	catalogue := catalogueOf(t, host, path)
	delete(catalogue, r.LeftOut[0].Path) // the origin has it, the drive has not
	if len(catalogue) == 0 {
		t.Fatal("the catalogue is empty")
	}
	for p, e := range catalogue {
		data, err := os.ReadFile(filepath.Join(host.PKGDIR, p))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%x %x", md5.Sum(data), sha1.Sum(data)); sumsOf(e) != want {
			t.Errorf("%s: %s, want %s", p, sumsOf(e), want)
		}
	}
}

// editIndex changes the first value of a key in a host's index, and returns the path of the package
// that it belongs to.
func editIndex(t *testing.T, m machine.Machine, key, value string) string {
	t.Helper()
	name := filepath.Join(m.PKGDIR, "Packages")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	header, entries, _ := strings.Cut(string(data), "\n\n")
	before, after, found := strings.Cut(entries, "\n"+key+": ")
	if !found {
		t.Fatalf("the index has no %s", key)
	}
	_, after, _ = strings.Cut(after, "\n")
	entries = before + "\n" + key + ": " + value + "\n" + after
	write(t, name, header+"\n\n"+entries)
	_, entry, _ := strings.Cut(entries[strings.LastIndex(before, "\n\n")+1:], "\nPATH: ")
	path, _, _ := strings.Cut(entry, "\n")
	return path
}

// A wrong MD5 in the host's index is taken over, and goes from each drive when the index is right
// again.
func TestIndexWithAWrongMD5(t *testing.T) {
	t.Parallel()
	host, first, second := newMachine(t, "host", epoch), t.TempDir(), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	name := editIndex(t, host, "MD5", strings.Repeat("0", 32))
	mustExport(t, host, exporter.ExportOptions{Drive: first})
	if md5 := catalogueOf(t, host, first)[name].Get("MD5"); strings.Trim(md5, "0") != "" {
		t.Fatalf("MD5 %s: this test has nothing to test", md5)
	}
	client, looking := newMachine(t, "client", epoch), importer.ImportOptions{Drive: first,
		Check: true}
	trustEach(t, client, host)
	left := mustImport(t, client, looking).Origins[0].LeftOut
	if len(left) != 1 || left[0].Path != name ||
		!strings.Contains(left[0].Hint, "pkgsneak index --rebuild, and pkgsneak export") {
		t.Errorf("an import that looks leaves out %v", left)
	}
	if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{Rebuild: true},
		nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(host.PKGDIR, name))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x %x", md5.Sum(data), sha1.Sum(data))
	for _, path := range []string{second, first} {
		if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); len(r.LeftOut) > 0 {
			t.Errorf("left out %v", r.LeftOut)
		}
		if got := sumsOf(catalogueOf(t, host, path)[name]); got != want {
			t.Errorf("the catalogue has %s, the package %s", got, want)
		}
		if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); !r.Unchanged {
			t.Errorf("one more export copied %v", r.Copied)
		}
	}
	if left := mustImport(t, client, looking).Origins[0].LeftOut; len(left) > 0 {
		t.Errorf("then it leaves out %v", left)
	}
}

// An index that takes a package for another one is not believed: the package is left out, until the
// command in the hint was run.
func TestIndexOfAnotherPackage(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{"SLOT": "9", "BUILD_ID": "77",
		"CPV": "app-misc/another-1", "SHA1": strings.Repeat("0", 40)} {
		host, path := newMachine(t, "host", epoch), t.TempDir()
		pack(t, host.PKGDIR, "xpak-multi")
		name := editIndex(t, host, key, value)
		r := mustExport(t, host, exporter.ExportOptions{Drive: path})
		if len(r.LeftOut) != 1 || r.LeftOut[0].Path != name ||
			!strings.Contains(r.LeftOut[0].Hint, "pkgsneak index --rebuild") {
			t.Errorf("%s: left out %v", key, r.LeftOut)
		}
		if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{Rebuild: true},
			nil); err != nil {
			t.Fatal(err)
		}
		r = mustExport(t, host, exporter.ExportOptions{Drive: path})
		if len(r.LeftOut) > 0 || len(r.Copied) != 1 {
			t.Errorf("%s: then copied %v, left out %v", key, r.Copied, r.LeftOut)
		}
	}
}

// An index that is wrong about a package which is on the drive already does not get into the
// catalogue.
func TestIndexThatBecomesWrong(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{"SLOT": "9", "BUILD_ID": "77",
		"SHA1": strings.Repeat("0", 40), "MD5": strings.Repeat("0", 32)} {
		host, path := newMachine(t, "host", epoch), t.TempDir()
		pack(t, host.PKGDIR, "xpak-multi")
		mustExport(t, host, exporter.ExportOptions{Drive: path})
		before := catalogueOf(t, host, path)
		name := editIndex(t, host, key, value)
		r := mustExport(t, host, exporter.ExportOptions{Drive: path})
		if len(r.LeftOut)+len(r.Removed) > 0 {
			t.Errorf("%s: left out %v, removed %v", key, r.LeftOut, r.Removed)
		}
		was, is := before[name], catalogueOf(t, host, path)[name]
		if is.Get(key) != was.Get(key) {
			t.Errorf("%s: the catalogue has %q, the package %q", key, is.Get(key), was.Get(key))
		}
		if !r.Unchanged {
			t.Errorf("%s: a generation was written, with the entry %v", key, is)
		}
	}
}

// sumsOf are the hashes that an entry has.
func sumsOf(e pkgindex.Entry) string { return e.Get("MD5") + " " + e.Get("SHA1") }
