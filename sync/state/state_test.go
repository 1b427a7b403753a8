package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sum1 = [64]byte{1}
	sum2 = [64]byte{2}
	host = OriginID{Key: manifest.Fingerprint(strings.Repeat("AB", 20)), Name: "bighost"}
)

func openDir(t *testing.T, dir string, o Options) *Dir {
	t.Helper()
	st, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// reopen is what the next run sees.
func reopen(t *testing.T, st *Dir) *Dir {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return openDir(t, st.dir, Options{})
}

func key(t *testing.T, name string) *manifest.PrivateKey {
	t.Helper()
	k, err := manifest.GenerateKey(name, noon)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOpenExcludes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "var", "lib", "pkgsneak")
	st := openDir(t, dir, Options{})
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("second: %v, want ErrLocked", err)
	}
	openDir(t, dir, Options{ReadOnly: true})
	reopen(t, st)
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm()&^0o755 != 0 {
		t.Errorf("directory: %v %v", fi.Mode(), err)
	}
}

func TestOpenReadOnlyWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	st := openDir(t, dir, Options{ReadOnly: true})
	if _, err := st.SigningKey(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("signing key: %v", err)
	}
	if ring, err := st.Trusted(); err != nil || len(ring) != 0 {
		t.Errorf("trusted: %v %v", ring, err)
	}
	if m, err := st.Imports(host, payload.Package); err != nil || len(m) != 0 {
		t.Errorf("imports: %v %v", m, err)
	}
	c, err := st.Cache("/pkgdir", noon)
	if err != nil || c.lost != nil {
		t.Errorf("cache: %v %v", err, c.lost)
	}
	k := key(t, "x")
	c.changed = true
	for what, err := range map[string]error{
		"SaveSigningKey": st.SaveSigningKey(k),
		"Trust":          st.Trust(k.Public()),
		"Distrust":       st.Distrust(host.Key),
		"SaveSeen":       st.SaveSeen(host, Seen{Serial: 1}),
		"RaiseTime":      st.RaiseTime(noon),
		"SaveImports":    st.saveImports(host, payload.Package, nil),
		"SaveExported":   st.SaveExported("x", Exported{}),
		"AddRun":         st.AddRun(Run{}),
		"Cache.Save":     c.Save(),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", what, err)
		}
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

func TestOpenNeedsWritableDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, fs.ErrPermission) ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
}

func TestSigningKeyIsMadeOnce(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	if _, err := st.SigningKey(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no key yet: %v", err)
	}
	k := key(t, "bighost")
	if err := st.SaveSigningKey(k); err != nil {
		t.Fatal(err)
	}
	if err := st.SaveSigningKey(key(t, "second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second key: %v, want exists", err)
	}
	st = reopen(t, st)
	got, err := st.SigningKey()
	if err != nil || got.Public().Fingerprint() != k.Public().Fingerprint() {
		t.Errorf("key %v, %v", got, err)
	}
	fi, err := os.Stat(filepath.Join(st.dir, "signing.asc"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(st.dir, "signing.asc"), []byte("junk"),
		0o600); err != nil {
		t.Fatal(err)
	}
	var odd *FileError
	if _, err := st.SigningKey(); !errors.As(err, &odd) ||
		!strings.HasSuffix(odd.Path, "signing.asc") {
		t.Errorf("damaged key: %v", err)
	}
}

func TestTrust(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	a, b := key(t, "a").Public(), key(t, "b").Public()
	for _, k := range []*manifest.PublicKey{a, b, a} {
		if err := st.Trust(k); err != nil {
			t.Fatal(err)
		}
	}
	trusted := filepath.Join(st.dir, "trusted")
	// The administrator's own copy, an editor's backup and a hidden file.
	for _, name := range []string{"from-bighost.asc", "a.asc~", ".hidden.asc"} {
		data := []byte("junk")
		if name == "from-bighost.asc" {
			data = a.Armor()
		}
		if err := os.WriteFile(filepath.Join(trusted, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	st = reopen(t, st)
	want := []manifest.Fingerprint{a.Fingerprint(), b.Fingerprint()}
	slices.Sort(want)
	if got := fingerprints(t, st); !slices.Equal(got, want) {
		t.Errorf("trusted %v, want %v", got, want)
	}
	if err := st.Distrust(a.Fingerprint()); err != nil {
		t.Fatal(err)
	}
	if got := fingerprints(t, st); !slices.Equal(got, []manifest.Fingerprint{b.Fingerprint()}) {
		t.Errorf("after Distrust: %v", got)
	}
	if err := st.Distrust(a.Fingerprint()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("twice: %v", err)
	}
	if err := os.WriteFile(filepath.Join(trusted, "bad.asc"), []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	var odd *FileError
	if _, err := st.Trusted(); !errors.As(err, &odd) || !strings.HasSuffix(odd.Path, "bad.asc") {
		t.Errorf("damaged key: %v", err)
	}
}

func fingerprints(t *testing.T, st *Dir) []manifest.Fingerprint {
	t.Helper()
	ring, err := st.Trusted()
	if err != nil {
		t.Fatal(err)
	}
	var fprs []manifest.Fingerprint
	for _, k := range ring {
		fprs = append(fprs, k.Fingerprint())
	}
	slices.Sort(fprs)
	return fprs
}

func TestSeen(t *testing.T) {
	steps := []struct {
		name    string
		save    Seen
		want    Seen
		wantErr bool
	}{
		{"first", Seen{100, sum1, noon}, Seen{100, sum1, noon}, false},
		{"same-again", Seen{100, sum1, noon}, Seen{100, sum1, noon}, false},
		{"same-serial-other-contents", Seen{100, sum2, noon}, Seen{100, sum1, noon}, true},
		{"newer", Seen{200, sum2, noon.Add(time.Hour)},
			Seen{200, sum2, noon.Add(time.Hour)}, false},
		{"older-never-lowers", Seen{100, sum1, noon}, Seen{200, sum2, noon.Add(time.Hour)}, false},
		{"older-serial-later-time", Seen{150, sum1, noon.Add(2 * time.Hour)},
			Seen{200, sum2, noon.Add(2 * time.Hour)}, false},
		{"newer-serial-earlier-time", Seen{300, sum1, noon},
			Seen{300, sum1, noon.Add(2 * time.Hour)}, false},
	}
	st := openDir(t, t.TempDir(), Options{})
	for _, s := range steps {
		err := st.SaveSeen(host, s.save)
		if (err != nil) != s.wantErr {
			t.Errorf("%s: error %v", s.name, err)
		}
		st = reopen(t, st)
		if got, ok := st.Seen(host); !ok || got != s.want {
			t.Errorf("%s: %v, want %v", s.name, got, s.want)
		}
	}
	if got := st.HighestTime(); !got.Equal(noon.Add(2 * time.Hour)) {
		t.Errorf("highest time %v", got)
	}
	for _, id := range []OriginID{{host.Key, "other"},
		{manifest.Fingerprint(strings.Repeat("CD", 20)), host.Name}} {
		if got, ok := st.Seen(id); ok {
			t.Errorf("%v was never seen, but: %v", id, got)
		}
	}
}

func TestRaiseTime(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	for _, at := range []time.Time{noon, noon.Add(-time.Hour), time.Unix(0, 0)} {
		if err := st.RaiseTime(at); err != nil {
			t.Fatal(err)
		}
		if st = reopen(t, st); !st.HighestTime().Equal(noon) {
			t.Errorf("highest time %v", st.HighestTime())
		}
	}
}

func TestExported(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	if _, ok := st.Exported("bighost"); ok {
		t.Error("exported before anything was")
	}
	for _, e := range []Exported{{"/var/cache/binpkgs", 200}, {"/moved", 100}} {
		if err := st.SaveExported("bighost", e); err != nil {
			t.Fatal(err)
		}
	}
	st = reopen(t, st)
	if got, ok := st.Exported("bighost"); !ok || got != (Exported{"/moved", 200}) {
		t.Errorf("exported %v: the serial must not fall", got)
	}
	if got := st.Origins(); !slices.Equal(got, []string{"bighost"}) {
		t.Errorf("origins %q", got)
	}
}

func TestRunsKeepsTheLast(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	var all []Run
	for i := range MaxRuns + 3 {
		r := Run{When: noon.Add(time.Duration(i) * time.Minute), Verb: "import", Origin: "a\nb<&>",
			Drive: "/mnt/usb", Result: "done", Serial: int64(i), Files: i, Bytes: 1 << 40}
		all = append(all, r)
		if err := st.AddRun(r); err != nil {
			t.Fatal(err)
		}
	}
	if got := reopen(t, st).Runs(); !reflect.DeepEqual(got, all[3:]) {
		t.Errorf("%d runs, first %v, want %d from %v", len(got), got[0], MaxRuns, all[3])
	}
}

func TestImports(t *testing.T) {
	maps := map[string]map[string]Import{
		"empty": {},
		"one":   {"a/b-1.tbz2": {"a/b-1.tbz2", 12, sum1}},
		"renamed": {"a/b-1.tbz2": {"a/b/b-1-2.xpak", 12, sum1}, "a/b/b-1-1.xpak": {
			"a/b/b-1-1.xpak", 1 << 40, sum2}},
		"odd-names": {"tab\tnew\nline\\\r": {"\\t", 0, sum1}, "end": {"end\t1", 1, sum1},
			"end\t1": {"é", 1, sum2}},
		"no-utf8": {"\xff\xfe": {"\xff", 3, sum2}},
		"similar": {"a": {"a", 1, sum1}, "a b": {"b", 1, sum1}, "a/b": {"c", 1, sum1},
			"A": {"d", 1, sum1}},
		"zero-digest": {"a": {"a", 1, [64]byte{}}},
	}
	for name, m := range maps {
		t.Run(name, func(t *testing.T) {
			st := openDir(t, t.TempDir(), Options{})
			if err := st.saveImports(host, payload.Package, m); err != nil {
				t.Fatal(err)
			}
			st = reopen(t, st)
			got, err := st.Imports(host, payload.Package)
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Errorf("%v, %v; want %v", got, err, m)
			}
			if other, err := st.Imports(host, payload.Distfile); err != nil || len(other) != 0 {
				t.Errorf("distfiles: %v %v", other, err)
			}
		})
	}
}

// Rows that are as they were read are not written again: a run that changes nothing has nothing to
// wait for. Those that the caller has changed are, and those that are not there any more.
func TestImportsThatStay(t *testing.T) {
	dir := t.TempDir()
	old, next := replaced(t, dir)
	id := OriginID{old.Fingerprint(), "host"}
	file := filepath.Join(dir, importsFile(importsID{id, payload.Package}))
	st := openDir(t, dir, Options{})
	rows, err := st.Imports(id, payload.Package)
	before, lerr := os.Lstat(file)
	if err = errors.Join(err, lerr, st.saveImports(id, payload.Package, rows)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Lstat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("written again, %v", err)
	}
	check := func(what string) {
		t.Helper()
		if err := st.saveImports(id, payload.Package, rows); err != nil {
			t.Fatal(err)
		}
		st = reopen(t, st)
		got, err := st.Imports(id, payload.Package)
		if err != nil || len(got) == 0 || !reflect.DeepEqual(got, rows) {
			t.Errorf("%s: %v, %v; want %v", what, got, err, rows)
		}
	}
	delete(rows, "a/a-1.tbz2")
	check("changed by the caller")
	if err := Replace(st, old.Fingerprint(), next, noon); err != nil {
		t.Fatal(err)
	}
	check("taken away by a key that replaced another")
}

func TestImportsRefusesNonsense(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	for name, m := range map[string]map[string]Import{
		"no-name":       {"": {"a", 1, sum1}},
		"no-local-name": {"a": {"", 1, sum1}},
		"negative":      {"a": {"a", -1, sum1}},
	} {
		if err := st.saveImports(host, payload.Package, m); err == nil {
			t.Errorf("%s: saved", name)
		}
	}
}

func TestImportsOfOddOrigins(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	names := []string{"a", "A", "a.b", "../../etc/passwd", "", ".", "a b", "a%20b", "ä",
		strings.Repeat("x", 300), strings.Repeat("x", 301), "a.packages"}
	for i, name := range names {
		m := map[string]Import{"p": {"p", int64(i), sum1}}
		if err := st.saveImports(OriginID{host.Key, name}, payload.Package, m); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	st = reopen(t, st)
	for i, name := range names {
		m, err := st.Imports(OriginID{host.Key, name}, payload.Package)
		if err != nil || m["p"].Size != int64(i) {
			t.Errorf("%q: %v %v", name, m, err)
		}
	}
	files, err := os.ReadDir(filepath.Join(st.dir, importsDir))
	if err != nil || len(files) != len(names) {
		t.Errorf("%d files for %d origins: %v", len(files), len(names), err)
	}
}

// Each damage must be told, with the file's name, and leave the file as it is.
func TestDamagedState(t *testing.T) {
	const memory, imports = "memory", "imports/"
	tests := []struct {
		name   string
		file   string
		damage func(string) string // "" removes the file
	}{
		{"memory-lost", memory, func(string) string { return "" }},
		{"memory-emptied", memory, func(string) string { return "\n" }},
		{"memory-zeros", memory, func(s string) string { return strings.Repeat("\x00", len(s)) }},
		{"memory-without-end", memory, func(s string) string {
			return s[:strings.LastIndex(s, `{"end"`)]
		}},
		{"memory-cut-in-a-line", memory, func(s string) string { return s[:len(s)/2] }},
		{"memory-line-lost", memory, func(s string) string { return cutLine(s, 1) }},
		{"memory-first-line-lost", memory, func(s string) string { return cutLine(s, 0) }},
		{"memory-newer-version", memory, func(s string) string {
			return strings.Replace(s, `"version":1`, `"version":2`, 1)
		}},
		{"memory-other-format", memory, func(s string) string {
			return strings.Replace(s, "pkgsneak memory", "shopping list", 1)
		}},
		{"memory-unknown-key", memory, func(s string) string {
			return strings.Replace(s, `{"highest"`, `{"lowest"`, 1)
		}},
		{"memory-twice-the-same", memory, func(s string) string { return s + s }},
		{"memory-short-sum", memory, func(s string) string {
			return strings.Replace(s, `"manifest":"01`, `"manifest":"`, 1)
		}},
		{"memory-file-elsewhere", memory, func(s string) string {
			return strings.Replace(s, `"imports/`, `"../imports/`, 1)
		}},
		{"imports-lost", imports, func(string) string { return "" }},
		{"imports-emptied", imports, func(string) string { return "\n" }},
		{"imports-cut", imports, func(s string) string { return s[:len(s)/2] }},
		{"imports-without-end", imports, func(s string) string {
			return s[:strings.LastIndex(s, "end\t")]
		}},
		{"imports-row-lost", imports, func(s string) string { return cutLine(s, 1) }},
		{"imports-of-another", imports, func(s string) string {
			return strings.Replace(s, "bighost", "smallhost", 1)
		}},
		{"imports-row-twice", imports, func(s string) string {
			row := strings.SplitAfter(s, "\n")[1]
			return strings.Replace(strings.Replace(s, row, row+row, 1), "end\t2", "end\t3", 1)
		}},
		{"imports-upper-case-sum", imports, func(s string) string {
			return strings.Replace(s, "00", "0A", 1)
		}},
		{"imports-bad-escape", imports, func(s string) string {
			return strings.Replace(s, "\na", "\n\\a", 1)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := openDir(t, t.TempDir(), Options{})
			if err := st.SaveSeen(host, Seen{100, sum1, noon}); err != nil {
				t.Fatal(err)
			}
			if err := st.saveImports(host, payload.Package, map[string]Import{"a": {"a", 1, sum1},
				"b": {"b", 1, sum2}}); err != nil {
				t.Fatal(err)
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			file := tt.file
			if file == imports {
				file = importsFile(importsID{host, payload.Package})
			}
			file = filepath.Join(st.dir, file)
			damaged := damage(t, file, tt.damage)
			for _, o := range []Options{{}, {ReadOnly: true}} {
				err := openAndReadImports(t, st.dir, o)
				var odd *FileError
				if !errors.As(err, &odd) || odd.Path != file {
					t.Errorf("error %v, want one about %q", err, file)
				}
			}
			if now, _ := os.ReadFile(file); string(now) != damaged {
				t.Errorf("the damaged file was changed to %q", now)
			}
		})
	}
}

func openAndReadImports(t *testing.T, dir string, o Options) error {
	st, err := Open(t.Context(), dir, o)
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = st.Imports(host, payload.Package)
	return err
}

func damage(t *testing.T, file string, f func(string) string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := f(string(b))
	if damaged == string(b) {
		t.Fatal("the test damages nothing")
	}
	err = os.Remove(file)
	if damaged != "" {
		err = os.WriteFile(file, []byte(damaged), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return damaged
}

func cutLine(s string, n int) string {
	return strings.Join(slices.Delete(strings.SplitAfter(s, "\n"), n, n+1), "")
}

// A first run that is killed between its files must not leave something that looks like a loss.
func TestKilledBetweenImportsAndMemory(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	if err := st.ensureMemory(); err != nil { // saveImports, up to its last write
		t.Fatal(err)
	}
	id := importsID{host, payload.Package}
	if err := st.write(importsFile(id), 0o644, func(w io.Writer) error {
		return writeImports(w, importsTable(id), nil)
	}); err != nil {
		t.Fatal(err)
	}
	st = reopen(t, st)
	if m, err := st.Imports(host, payload.Package); err != nil || len(m) != 0 {
		t.Errorf("imports %v, %v", m, err)
	}
	m := map[string]Import{"a": {"a", 1, sum1}}
	if err := st.saveImports(host, payload.Package, m); err != nil {
		t.Fatal(err)
	}
	if got, err := reopen(t, st).Imports(host, payload.Package); err != nil ||
		!reflect.DeepEqual(got, m) {
		t.Errorf("imports %v, %v", got, err)
	}
}

// saveImports on a new state never has imports without a memory: seen from the first write on.
func TestMemoryComesBeforeImports(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	// A directory where the file should go makes the write of the imports fail.
	if err := os.MkdirAll(filepath.Join(st.dir, importsFile(importsID{host, payload.Package}), "x"),
		0o755); err != nil {
		t.Fatal(err)
	}
	if err := st.saveImports(host, payload.Package, nil); err == nil {
		t.Fatal("saved")
	}
	if _, err := os.Lstat(filepath.Join(st.dir, memoryName)); err != nil {
		t.Errorf("no memory when the imports were written: %v", err)
	}
}

func TestUnreadableState(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "memory"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Options{}); err == nil ||
		!strings.Contains(err.Error(), "memory") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left after the error: %v", left)
	}
}

func TestOpenSweepsLeftovers(t *testing.T) {
	dir := t.TempDir()
	var leftovers []string
	for _, below := range []string{".", digestsDir, refusedDir} {
		leftover := filepath.Join(dir, below, ".half.pkgsneak-0123456789abcdef")
		if err := os.MkdirAll(filepath.Dir(leftover), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(leftover, []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
		leftovers = append(leftovers, leftover)
	}
	openDir(t, dir, Options{ReadOnly: true})
	for _, leftover := range leftovers {
		if _, err := os.Lstat(leftover); err != nil {
			t.Errorf("removed without the lock: %v", err)
		}
	}
	openDir(t, dir, Options{})
	for _, leftover := range leftovers {
		if _, err := os.Lstat(leftover); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("leftover %s: %v", leftover, err)
		}
	}
}

// The examples in the package comment.
func TestFormat(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	steps := []error{
		st.SaveSeen(host, Seen{1772366400, sum1, noon}),
		st.saveImports(host, payload.Package,
			map[string]Import{"a/b-1.tbz2": {"a/b/b-1-2.xpak", 12, sum2}}),
		st.SaveExported("bighost", Exported{"/var/cache/binpkgs", 1772366400}),
		st.AddRun(Run{noon, "import", "auto", "bighost", "/mnt/usb", "done", 1772366400, 3, 12345}),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("0", 126)
	want := map[string]string{
		"memory": fmt.Sprintf(`{"format":{"name":"pkgsneak memory","version":1}}
{"highest":"2026-03-01T12:00:00Z"}
{"seen":{"key":"%[1]s","name":"bighost","serial":1772366400,"manifest":"01%[2]s","highest":"2026-03-01T12:00:00Z"}}
{"imports":{"key":"%[1]s","name":"bighost","kind":"packages","file":"imports/%[1]s.bighost.packages"}}
{"exported":{"name":"bighost","pkgdir":"/var/cache/binpkgs","serial":1772366400}}
{"run":{"when":"2026-03-01T12:00:00Z","verb":"import","by":"auto","origin":"bighost","drive":"/mnt/usb","result":"done","serial":1772366400,"files":3,"bytes":12345}}
{"end":6}
`, host.Key, zeros),
		"imports/" + string(host.Key) + ".bighost.packages": fmt.Sprintf(
			"pkgsneak imports 1\t%s\tbighost\tpackages\na/b-1.tbz2\ta/b/b-1-2.xpak\t12\t02%s\nend\t1\n", host.Key, zeros),
	}
	for file, text := range want {
		got, err := os.ReadFile(filepath.Join(st.dir, file))
		if err != nil || string(got) != text {
			t.Errorf("%s:\n%s\nwant\n%s\n%v", file, got, text, err)
		}
	}
}

func TestSigningKeyThatChanges(t *testing.T) {
	st := openDir(t, t.TempDir(), Options{})
	old, next := key(t, "old"), key(t, "next")
	if err := st.ReplaceSigningKey(next); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replacing none: %v", err)
	}
	if err := st.SaveSigningKey(old); err != nil {
		t.Fatal(err)
	}
	if err := st.RenewSigningKey(next); !errors.Is(err, fs.ErrExist) {
		t.Errorf("renewing with another key: %v", err)
	}
	if err := st.RenewSigningKey(old); err != nil {
		t.Error(err)
	}
	if err := st.ReplaceSigningKey(next); err != nil {
		t.Fatal(err)
	}
	now, err := st.SigningKey()
	if err != nil || now.Public().Fingerprint() != next.Public().Fingerprint() {
		t.Errorf("the signing key is %v, %v", now, err)
	}
	retired, err := st.Retired()
	if err != nil || len(retired) != 1 ||
		retired[0].Public().Fingerprint() != old.Public().Fingerprint() {
		t.Errorf("retired: %v, %v", retired, err)
	}
}

func TestHintsLeadOutOfALostFile(t *testing.T) {
	key := (&FileError{Path: "/var/lib/pkgsneak/" + signingName}).Hints("DRIVE")
	if len(key) != 2 || !strings.Contains(key[1], "mv /var/lib/pkgsneak/signing.asc ") {
		t.Errorf("a key that cannot be read: %q", key)
	}
	memory := (&FileError{Path: "/var/lib/pkgsneak/" + memoryName, Exports: true}).Hints("DRIVE")
	if len(memory) != 3 || !strings.Contains(memory[2], "export DRIVE --name ") {
		t.Errorf("a host's memory: %q", memory)
	}
	dir := filepath.Join(t.TempDir(), "state")
	st := openDir(t, dir, Options{})
	if err := st.saveImports(host, payload.Package,
		map[string]Import{"a/b-1.tbz2": {Local: "a/b-1.tbz2", Size: 1}}); err != nil {
		t.Fatal(err)
	}
	st.Close()
	for _, lost := range []string{importsFile(importsID{host, payload.Package}), memoryName} {
		if err := os.Remove(filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), dir, Options{})
		if lost == memoryName && err == nil {
			continue // nothing shows any longer that there was one
		}
		var odd *FileError
		if !errors.As(err, &odd) {
			t.Fatalf("%s: %v", lost, err)
		}
		hints := strings.Join(odd.Hints("DRIVE"), "\n")
		if odd.Exports || strings.Contains(hints, "forgotten") {
			t.Errorf("nothing is exported here, and: %q", hints)
		}
		_, command, ok := strings.Cut(hints, "rm -rf ")
		command, _, also := strings.Cut(command, ";")
		if !ok || !also {
			t.Fatalf("%s: hints %q", lost, hints)
		}
		for _, name := range strings.Fields(command) {
			if err := os.RemoveAll(name); err != nil || filepath.Dir(name) != dir {
				t.Errorf("%s: %q is removed: %v", lost, name, err)
			}
		}
		again, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Errorf("%s: after what the hint says: %v", lost, err)
			continue
		}
		if err := again.saveImports(host, payload.Package, nil); err != nil {
			t.Error(err)
		}
		again.Close()
	}
}

// Whoever has no copy of a file that is damaged gets a command, and that leads out.
func TestHintsLeadOutWithoutACopy(t *testing.T) {
	read := map[string]func(*Dir) error{
		clientKeyName: func(st *Dir) error {
			_, err := ClientKey(st)
			return err
		},
		decisionsName: func(st *Dir) error {
			_, err := Decisions(st)
			return err
		},
		renewedName: func(st *Dir) error {
			_, err := Renewals(st)
			return err
		},
		replacingName: func(st *Dir) error {
			_, err := replacing(st)
			return err
		},
		pendingFile(importsID{host, payload.Package}): func(st *Dir) error {
			_, err := st.Pending(host, payload.Package).Rows()
			return err
		},
		retiredDir + "/" + strings.Repeat("A", 40) + keySuffix: func(st *Dir) error {
			_, err := st.Retired()
			return err
		},
		trustedDir + "/" + strings.Repeat("A", 40) + keySuffix: func(st *Dir) error {
			_, err := st.Trusted()
			return err
		},
	}
	dir := filepath.Join(t.TempDir(), "state")
	st := openDir(t, dir, Options{})
	defer st.Close()
	for name, read := range read {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("damaged\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		hints := strings.Join(fault.Hints(read(st), "DRIVE"), "\n")
		_, command, ok := strings.Cut(hints, "without one: ")
		word := strings.Fields(strings.NewReplacer(";", " ; ", ",", " ; ").Replace(command))
		switch {
		case ok && word[0] == "rm" && word[2] == ";":
			ok = word[1] == file && os.Remove(file) == nil
		case ok && word[0] == "mv" && word[3] == ";":
			ok = word[1] == file && os.Rename(file, word[2]) == nil
		default:
			ok = false
		}
		if !ok {
			t.Errorf("%s: hints %q", name, hints)
		} else if err := read(st); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: after what the hint says: %v", name, err)
		}
	}
}

// A state directory that cannot be locked is named, with a place where it could be.
func TestUnlockable(t *testing.T) {
	if err := unlockable(durable.ErrLocked); err != durable.ErrLocked {
		t.Errorf("another program's lock: %v", err)
	}
	err := unlockable(fmt.Errorf("x: %w", &durable.NoLocksError{Dir: "/nfs/state",
		Err: durable.ErrNoLocks}))
	hints := strings.Join(fault.Hints(err, ""), "\n")
	for _, want := range []string{"/nfs/state/. DIR", "--state-dir DIR", "local_lock=all"} {
		if !strings.Contains(hints, want) {
			t.Errorf("no %q in %s", want, hints)
		}
	}
	if !errors.Is(err, durable.ErrNoLocks) || !strings.Contains(err.Error(), `"/nfs/state"`) {
		t.Errorf("%v", err)
	}
}

// Each directory of the state directory may have something else in its place, and is named then.
func TestSomethingElseInPlaceOfADirectory(t *testing.T) {
	for _, name := range directories {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, readOnly := range []bool{false, true} {
			_, err := Open(t.Context(), dir, Options{ReadOnly: readOnly})
			var none *durable.NoDirectoryError
			if !errors.As(err, &none) || none.Path != filepath.Join(dir, name) {
				t.Errorf("%s, read-only %v: %v", name, readOnly, err)
			}
		}
	}
}
