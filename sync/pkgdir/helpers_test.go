package pkgdir

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/pkgindex"
)

const golden = "../../testdata/golden"

var layouts = []string{"xpak-classic", "xpak-multi", "gpkg-classic", "gpkg-multi", "mixed"}

func openDir(t testing.TB, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// layoutDir copies the PKGDIR of a golden layout, with the times that the vectors were made with.
func layoutDir(t testing.TB, layout string) *Dir {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(golden, layout, "pkgdir"))); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(golden, layout, "FILES.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if strings.HasPrefix(fields[0], "#") {
			continue
		}
		mtime, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		// A fraction of a second, to see that it is cut off.
		when := time.Unix(mtime, 987654321)
		if err := os.Chtimes(filepath.Join(dir, fields[0]), when, when); err != nil {
			t.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return openDir(t, dir)
}

func goldenFile(t testing.TB, layout, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(golden, layout, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parseIndex(t testing.TB, text string) *pkgindex.Index {
	t.Helper()
	x, err := pkgindex.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// headerOf is a machine whose settings give the header of a golden index.
func headerOf(t testing.TB, text string) func(pkgindex.Header) pkgindex.Header {
	want := parseIndex(t, text).Header
	return func(h pkgindex.Header) pkgindex.Header {
		for _, key := range h.Keys() {
			h.Delete(key)
		}
		for _, key := range want.Keys() {
			h.Set(key, want.Get(key))
		}
		return h
	}
}

// at is the time that gives an index the TIMESTAMP of another.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	unix, ok := parseIndex(t, text).Timestamp()
	if !ok {
		t.Fatal("no TIMESTAMP")
	}
	return time.Unix(unix, 0)
}

func (d *Dir) file(name string) string { return filepath.Join(d.Path(), name) }

func readFile(t testing.TB, d *Dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(d.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t testing.TB, d *Dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.file(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.file(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, d *Dir, name string) {
	t.Helper()
	if err := os.Remove(d.file(name)); err != nil {
		t.Fatal(err)
	}
}

// copyWithTime copies a file inside or into the PKGDIR.
func copyWithTime(t testing.TB, from string, d *Dir, to string, mtime time.Time) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, d, to, string(b))
	if err := os.Chtimes(d.file(to), mtime, mtime); err != nil {
		t.Fatal(err)
	}
}

func mtime(t testing.TB, d *Dir, name string) time.Time {
	t.Helper()
	fi, err := os.Lstat(d.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return fi.ModTime()
}

func exists(t testing.TB, d *Dir, name string) bool {
	t.Helper()
	_, err := os.Lstat(d.file(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func reindex(t testing.TB, d *Dir, o Options) *Report {
	t.Helper()
	r, err := d.Reindex(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// paths are those of the index on the disk, sorted.
func paths(t testing.TB, d *Dir) []string {
	t.Helper()
	x, err := d.Index()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range x.Entries {
		all = append(all, e.Path())
	}
	slices.Sort(all)
	return all
}

func problemPaths(problems []Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Path)
	}
	return all
}

// mismatches lists the index entries that do not match their file, as Portage would find when it
// installs: each of them costs the user a package.
func mismatches(d *Dir) []string {
	x, err := d.Index()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []string{err.Error()}
	}
	var bad []string
	for _, e := range x.Entries {
		b, err := os.ReadFile(d.file(e.Path()))
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		fi, err := os.Lstat(d.file(e.Path()))
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		sum := md5.Sum(b)
		size, _ := e.Size()
		mtime, _ := e.MTime()
		if size != int64(len(b)) || e.Get("MD5") != hex.EncodeToString(sum[:]) ||
			mtime != fi.ModTime().Unix() {
			bad = append(bad, e.Path()+" does not match its entry")
		}
	}
	return bad
}

// check is that real Portage would be content: no entry lies, and nothing is missing.
func check(t testing.TB, d *Dir) {
	t.Helper()
	if bad := mismatches(d); len(bad) > 0 {
		t.Errorf("entries that do not match: %q", bad)
	}
	r, err := d.Check(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Errorf("check finds: %+v", r)
	}
	for _, name := range []string{".Packages.portage_lockfile", durable.StagingDir} {
		if exists(t, d, name) {
			t.Errorf("%s was left behind", name)
		}
	}
}

// writeOther writes a package with the metadata, size and time of another one, and other contents.
func writeOther(t testing.TB, d *Dir, from, to string) {
	t.Helper()
	b, err := os.ReadFile(d.file(from))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/4] ^= 1
	writeFile(t, d, to, string(b))
	if at := mtime(t, d, from); os.Chtimes(d.file(to), at, at) != nil {
		t.Fatal("the time cannot be set")
	}
}
