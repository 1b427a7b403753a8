package drivewriter

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// keys are made once: what they are does not matter to the tests.
var keys = sync.OnceValue(func() []*manifest.PrivateKey {
	var made []*manifest.PrivateKey
	for _, name := range []string{"one", "two", "three"} {
		key, err := manifest.GenerateKey(name, epoch.Add(-time.Hour))
		if err != nil {
			panic(err)
		}
		made = append(made, key)
	}
	return made
})

// host is a machine that exports: what it has, and how far its clock is.
type host struct {
	key     *manifest.PrivateKey
	name    string
	clock   int64
	files   map[payload.Key]string
	part    int64
	batch   int           // files between commits; 0: one commit
	tweak   func(*Writer) // before Begin
	opened  func(*Writer) // after Begin
	closing func(*Writer) // before Close
	// beside, if it is there, puts what is planned and returns what it put.
	beside func(ctx context.Context, w *Writer, planned []NewFile) []layout.Item
	// what the origin has; nil: as an older program
	tell func(items []layout.Item) (*layout.Facts, *layout.Holdings)
}

func newHost(key *manifest.PrivateKey, name string) *host {
	return &host{key: key, name: name, clock: epoch.Unix(), files: make(map[payload.Key]string)}
}

func (h *host) pkg(path, data string) {
	h.files[payload.Key{Kind: payload.Package, Path: path}] = data
}
func (h *host) dist(name, data string) {
	h.files[payload.Key{Kind: payload.Distfile, Path: name}] = data
}
func (h *host) drop(kind payload.Kind, path string) {
	delete(h.files, payload.Key{Kind: kind, Path: path})
}

func (h *host) ring() manifest.Ring { return manifest.Ring{h.key.Public()} }

// export does what exporter does: writes what the committed generation lacks.
func (h *host) export(ctx context.Context, mount string) error {
	d, err := drive.Create(mount)
	if err != nil {
		return err
	}
	defer d.Close()
	dir, held, err := d.FindOrigin(h.key.Public(), h.name, epoch)
	if err != nil {
		return err
	}
	if held != nil {
		held.Close()
	}
	w := newWriter(d, BeginOptions{Dir: dir, Name: h.name, Key: h.key, Now: epoch,
		PartSize: h.part})
	if h.tweak != nil {
		h.tweak(w)
	}
	if err := w.begin(ctx); err != nil {
		w.release()
		return err
	}
	if h.opened != nil {
		h.opened(w)
	}
	err = h.write(ctx, w)
	if h.closing != nil {
		h.closing(w)
	}
	return errors.Join(err, w.Close())
}

func (h *host) write(ctx context.Context, w *Writer) error {
	keep, todo := h.diff(w)
	var planned []NewFile
	for _, key := range todo {
		planned = append(planned, NewFile{Kind: key.Kind, Path: key.Path,
			Size: int64(len(h.files[key]))})
	}
	if err := w.Prepare(ctx, planned); err != nil {
		return err
	}
	if h.beside != nil {
		return h.commit(ctx, w, append(keep, h.beside(ctx, w, planned)...))
	}
	for i, f := range planned {
		it, err := w.Put(ctx, f, func(out io.Writer) error {
			_, err := io.WriteString(out, h.files[payload.Key{Kind: f.Kind, Path: f.Path}])
			return err
		})
		if err != nil {
			return err
		}
		keep = append(keep, it)
		if h.batch > 0 && i%h.batch == h.batch-1 {
			if err := h.commit(ctx, w, keep); err != nil {
				return err
			}
		}
	}
	return h.commit(ctx, w, keep)
}

func (h *host) diff(w *Writer) (keep []layout.Item, todo []payload.Key) {
	missing := w.Missing()
	for _, key := range slices.SortedFunc(maps.Keys(h.files), func(a, b payload.Key) int {
		return strings.Compare(a.Path, b.Path)
	}) {
		if held := w.Committed(); held != nil {
			it, ok := held.Find(key.Kind, key.Path)
			lost := slices.ContainsFunc(missing, func(m layout.Item) bool {
				return layout.CompareItems(m, it) == 0
			})
			if ok && !lost && it.Sum == sumOf(h.files[key]) {
				keep = append(keep, it)
				continue
			}
		}
		todo = append(todo, key)
	}
	return keep, todo
}

func (h *host) commit(ctx context.Context, w *Writer, items []layout.Item) error {
	h.clock++
	c := Contents{Serial: max(h.clock, w.Last()+1), At: epoch, Items: items, Catalogue: h.index(),
		Record: layout.Record{Created: epoch, Tool: "test", CHOST: "x86_64-pc-linux-gnu"}}
	if h.tell != nil {
		c.Facts, c.Record.Has = h.tell(items)
	}
	_, err := w.Commit(ctx, c)
	return err
}

// index is the origin's index, of small entries.
func (h *host) index() *pkgindex.Index {
	var b strings.Builder
	fmt.Fprintf(&b,
		"CHOST: x86_64-pc-linux-gnu\nTIMESTAMP: 1\nTTL: 60\nURI: http://example.org/\nVERSION: 0\n\n")
	for _, key := range slices.SortedFunc(maps.Keys(h.files), func(a, b payload.Key) int {
		return strings.Compare(a.Path, b.Path)
	}) {
		name, err := binpkg.ParseName(key.Path)
		if key.Kind != payload.Package || err != nil {
			continue
		}
		category, pf := name.Category, name.PF
		data := []byte(h.files[key])
		fmt.Fprintf(&b,
			"CPV: %s/%s\nKEYWORDS: amd64\nMD5: %x\nPATH: %s\nSHA1: %x\nSIZE: %d\nMTIME: 1700000000\nREPO: gentoo\n\n",
			category, pf, md5.Sum(data), key.Path, sha1.Sum(data), len(data))
	}
	index, err := pkgindex.Read(strings.NewReader(b.String()))
	if err != nil {
		panic(err)
	}
	return index
}

func sumOf(data string) manifest.Digest {
	return digest.Bytes([]byte(data))
}

func mustExport(t *testing.T, h *host, mount string) {
	t.Helper()
	if err := h.export(t.Context(), mount); err != nil {
		t.Fatalf("export: %v", err)
	}
}

// open opens the tree until the test ends.
func open(t *testing.T, mount string) *drive.Drive {
	t.Helper()
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// load opens what a client would see.
func load(t *testing.T, h *host, mount string) *drive.Generation {
	t.Helper()
	_, g, err := open(t, mount).FindOrigin(h.key.Public(), h.name, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if g == nil {
		t.Fatal("no generation of the host on the drive")
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// readItems returns every item of a generation with its contents.
func readItems(g *drive.Generation) (map[payload.Key]string, error) {
	got := make(map[payload.Key]string)
	for _, it := range g.All() {
		r, err := g.Open(it)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return nil, err
		}
		got[it.Key()] = string(data)
	}
	return got, nil
}

// checkHolds fails unless the drive has exactly the host's files.
func checkHolds(t *testing.T, h *host, mount string) *drive.Generation {
	t.Helper()
	g := load(t, h, mount)
	got, err := readItems(g)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, h.files) {
		t.Fatalf("the drive holds %v, want %v", slices.Collect(maps.Keys(got)),
			slices.Collect(maps.Keys(h.files)))
	}
	report, err := g.Verify(t.Context(), drive.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Bad)+len(report.Stale)+len(report.Undeclared)+len(report.Unreadable)+
		len(report.Copies) > 0 {
		t.Fatalf("verify: %+v", report)
	}
	return g
}

// tree is every file below a directory with its contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		name, _ := filepath.Rel(dir, p)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func small() *host {
	h := newHost(keys()[0], "buildhost")
	h.pkg("app-misc/foo-1.tbz2", "foo one")
	h.pkg("app-misc/bar/bar-2-1.gpkg.tar", "bar two")
	h.dist("foo-1.tar.gz", "source of foo")
	h.files[payload.Key{Kind: payload.Program, Path: layout.BinFile("amd64")}] = "the program"
	return h
}

func TestFirstAndSecondExport(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	g := checkHolds(t, h, mount)
	if g.Dir != "buildhost" || g.Record.Origin != "buildhost" || g.Record.Counts.Packages != 2 ||
		g.Record.Counts.Distfiles != 1 {
		t.Errorf("record %+v in %q", g.Record, g.Dir)
	}
	if g.Serial() != h.clock || g.Signed.Timestamp.Unix() != h.clock {
		t.Errorf("serial %d, want %d", g.Serial(), h.clock)
	}
	for name, want := range map[string]string{
		"packages/app-misc/foo-1.tbz2":                                 "foo one",
		"packages/app-misc/bar/bar-2-1.gpkg.tar":                       "bar two",
		"distfiles/" + layout.Bucket("foo-1.tar.gz") + "/foo-1.tar.gz": "source of foo",
		"distfiles/layout.conf":                                        "[structure]\n0=filename-hash BLAKE2B 8\n",
		"bin/linux-amd64/pkgsneak":                                     "the program",
	} {
		if data, err := os.ReadFile(filepath.Join(mount, layout.TreeDir, "buildhost",
			name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if info, err := os.Stat(filepath.Join(mount, layout.TreeDir, "buildhost",
		"bin/linux-amd64/pkgsneak")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("the program cannot be run: %v %v", info, err)
	}

	h.pkg("app-misc/foo-1.tbz2", "foo rebuilt")
	h.pkg("app-misc/new-1.tbz2", "new")
	h.drop(payload.Package, "app-misc/bar/bar-2-1.gpkg.tar")
	mustExport(t, h, mount)
	g = checkHolds(t, h, mount)
	it, _ := g.Find(payload.Package, "app-misc/foo-1.tbz2")
	if want := "packages/app-misc/foo/foo-1-1.xpak"; it.Stored[0].Path != want {
		t.Errorf("rebuilt package lies at %q, want %q", it.Stored[0].Path, want)
	}
	after := tree(t, filepath.Join(mount, layout.TreeDir, "buildhost"))
	for _, gone := range []string{"packages/app-misc/foo-1.tbz2",
		"packages/app-misc/bar/bar-2-1.gpkg.tar"} {
		if _, there := after[gone]; there {
			t.Errorf("%s is still there", gone)
		}
	}
	if _, err := os.Stat(filepath.Join(mount, layout.TreeDir,
		"buildhost/packages/app-misc/bar")); err == nil {
		t.Error("an emptied package directory is still there")
	}
	// The name is free again, and the first one that is free is taken.
	h.pkg("app-misc/foo-1.tbz2", "foo rebuilt again")
	mustExport(t, h, mount)
	g = checkHolds(t, h, mount)
	if it, _ := g.Find(payload.Package,
		"app-misc/foo-1.tbz2"); it.Stored[0].Path != "packages/app-misc/foo-1.tbz2" {
		t.Errorf("rebuilt again it lies at %q", it.Stored[0].Path)
	}
}

// The index that Portage reads must have the packages where they lie, no URI and no TTL.
func TestDerivedIndex(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	h.part = 16
	h.pkg("app-misc/big-1.tbz2", strings.Repeat("big ", 100))
	mustExport(t, h, mount)
	h.pkg("app-misc/foo-1.tbz2", "foo rebuilt")
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
	data, err := os.ReadFile(filepath.Join(mount, layout.TreeDir, "buildhost", layout.PackagesFile))
	if err != nil {
		t.Fatal(err)
	}
	index, err := pkgindex.Read(bytes.NewReader(data))
	if err != nil || len(index.Remarks) > 0 {
		t.Fatalf("%v", err)
	}
	if index.Header.Get("URI")+index.Header.Get("TTL") != "" ||
		index.Header.Get("TIMESTAMP") != strconv.FormatInt(h.clock, 10) {
		t.Errorf("header %v %v", index.Header.Keys(), index.Header.Get("TIMESTAMP"))
	}
	var paths []string
	for _, e := range index.Entries {
		paths = append(paths, e.Path())
		file, err := os.ReadFile(filepath.Join(mount, layout.TreeDir, "buildhost",
			layout.PackagesDir, e.Path()))
		if sum, _ := e.MD5(); err != nil || md5.Sum(file) != sum {
			t.Errorf("%s: digest of its entry is not that of the file: %v", e.Path(), err)
		}
	}
	if want := []string{"app-misc/bar/bar-2-1.gpkg.tar",
		"app-misc/foo/foo-1-1.xpak"}; !slices.Equal(paths, want) {
		t.Errorf("paths %q, want %q (a package in parts cannot be fetched)", paths, want)
	}
	catalogue, err := load(t, h, mount).Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	if len(catalogue.Entries) != 3 || catalogue.Header.Get("URI") == "" {
		t.Errorf("the catalogue has %d entries, header %v", len(catalogue.Entries),
			catalogue.Header.Keys())
	}
}

func TestNamesThatDrivesCannotStore(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), newHost(keys()[0], "buildhost")
	long := strings.Repeat("x", 255)
	for i, name := range []string{"plain.tar.gz", "PLAIN.tar.gz", "a:b?.tar", "ends.", " blank",
		"aux", "CON.tar.gz", "nul.1",
		"ünïcode.tar", "bad\xff\xfeutf8", "back\\slash", "new\nline", "\x7fdel", "LONGNA~1.TAR",
		".hidden", long, long[:254] + "y", "x.1.pkgsneak"} {
		h.dist(name, fmt.Sprintf("distfile %d", i))
	}
	h.pkg("app-misc/Foo/Foo-1-1.xpak", "upper")
	h.pkg("app-misc/foo/foo-1-1.xpak", "lower")
	h.pkg("app-misc/con/con-1-1.gpkg.tar", "con")
	h.pkg("packages/foo-1.tbz2", "a category like the index")
	mustExport(t, h, mount)
	g := checkHolds(t, h, mount)
	folded := make(map[string]string)
	for _, f := range g.Signed.Files {
		if reason := layout.PathFault(f.Path); reason != "" {
			t.Errorf("%q: %s", f.Path, reason)
		}
		if twin, ok := folded[layout.FoldName(f.Path)]; ok {
			t.Errorf("%q and %q are one file on FAT", twin, f.Path)
		}
		folded[layout.FoldName(f.Path)] = f.Path
	}
	for _, it := range g.Distfiles() {
		parts := strings.Split(it.Stored[0].Path, "/")
		if parts[1] != layout.Bucket(parts[2]) {
			t.Errorf("%q lies in a bucket that is not its own", it.Stored[0].Path)
		}
	}
	// The same drive once more gives nothing new to write.
	before := g.Serial()
	mustExport(t, h, mount)
	if again := checkHolds(t, h, mount); again.Serial() == before {
		t.Error("no new generation")
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), newHost(keys()[0], "buildhost")
	h.part = 10
	for _, n := range []int{0, 1, 9, 10, 11, 20, 21, 2000} {
		h.dist(fmt.Sprintf("d%d", n), strings.Repeat("0123456789", 200)[:n])
	}
	h.pkg("a-b/c-1.tbz2", strings.Repeat("p", 25))
	mustExport(t, h, mount)
	g := checkHolds(t, h, mount)
	for _, it := range g.All() {
		for i, f := range it.Stored {
			if f.Size > 10 {
				t.Errorf("%s has %d bytes", f.Path, f.Size)
			}
			if len(it.Stored) > 1 && binpkg.HasPackageSuffix(f.Path) {
				t.Errorf("%s looks like a package", f.Path)
			}
			if len(it.Stored) > 1 && i+1 < len(it.Stored) && f.Path > it.Stored[i+1].Path {
				t.Errorf("%s does not sort before the next part", f.Path)
			}
		}
	}
	if it, _ := g.Find(payload.Distfile, "d10"); len(it.Stored) != 1 {
		t.Errorf("a file of exactly the limit has %d parts", len(it.Stored))
	}
	if it, _ := g.Find(payload.Distfile, "d2000"); len(it.Stored) != 200 ||
		it.Stored[199].Path[len(it.Stored[199].Path)-8:] != ".part200" {
		t.Errorf("parts of d2000: %d", len(it.Stored))
	}
}

// One session may commit several times, and each is a whole generation.
func TestCommitsAsItGoes(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), newHost(keys()[0], "buildhost")
	for i := range 7 {
		h.pkg(fmt.Sprintf("app-misc/p%d-1.tbz2", i), fmt.Sprintf("package %d", i))
	}
	h.batch = 2
	commits := 0
	h.tweak = func(w *Writer) {
		w.hook = func(op, name string) error {
			if op == "overwrite" && name == layout.NextManifestFile {
				commits++
			}
			return nil
		}
	}
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
	if commits != 4 {
		t.Errorf("%d commits, want 4", commits)
	}
}

func TestOthersFilesAreNotTouched(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	others := map[string]string{
		"photos/one.jpg":                    "x",
		layout.TreeDir + "/notes.txt":       "y",
		layout.TreeDir + "/clients/a/state": "z",
		layout.TreeDir + "/buildhost/diary": "a directory of that name that is no origin",
	}
	for name, data := range others {
		writeFile(t, filepath.Join(mount, name), data)
	}
	mustExport(t, h, mount)
	h.pkg("app-misc/foo-1.tbz2", "changed")
	mustExport(t, h, mount)
	g := checkHolds(t, h, mount)
	if want := "buildhost-" + string(h.key.Public().Fingerprint())[:8]; g.Dir != want {
		t.Errorf("origin lies in %q, want %q", g.Dir, want)
	}
	got := tree(t, mount)
	for name, data := range others {
		if got[name] != data {
			t.Errorf("%s was touched: %q", name, got[name])
		}
	}
}

func TestSeveralOrigins(t *testing.T) {
	t.Parallel()
	mount := tempDir(t)
	one, two := small(), small()
	two.key = keys()[1]
	two.pkg("app-misc/foo-1.tbz2", "foo of two")
	cross := small() // the same key with another PKGDIR
	cross.name = "cross"
	cross.files = map[payload.Key]string{{Kind: payload.Package, Path: "a-b/c-1.tbz2"}: "c"}
	for range 2 {
		for _, h := range []*host{one, two, cross} {
			h.pkg("x-y/z-1.tbz2", fmt.Sprint(h.clock))
			mustExport(t, h, mount)
		}
	}
	dirs := make(map[string]bool)
	for _, h := range []*host{one, two, cross} {
		dirs[checkHolds(t, h, mount).Dir] = true
	}
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Origins()
	if err != nil || len(names) != 3 || len(dirs) != 3 {
		t.Errorf("origins %q, %v", names, err)
	}
	// A renamed directory is found again by its key and record.
	if err := os.Rename(filepath.Join(mount, layout.TreeDir, "cross"),
		filepath.Join(mount, layout.TreeDir, "moved")); err != nil {
		t.Fatal(err)
	}
	mustExport(t, cross, mount)
	if g := checkHolds(t, cross, mount); g.Dir != "moved" {
		t.Errorf("after renaming it lies in %q", g.Dir)
	}
	offered, err := d.Keys()
	if err != nil || len(offered) != 2 {
		t.Fatalf("keys %v %v", offered, err)
	}
	for _, o := range offered {
		if o.Err != nil || layout.KeyFile(o.Key.Fingerprint()) != o.Path {
			t.Errorf("%+v", o)
		}
	}
}

// A manifest copy and Packages that are outgrown get more padding, and stay whole.
func TestOutgrownSlots(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	before, err := os.Stat(filepath.Join(mount, layout.TreeDir, "buildhost", layout.ManifestFile))
	if err != nil || before.Size() != padUnit {
		t.Fatalf("%v %v", before, err)
	}
	// The files become those that an earlier first export with less padding would have left.
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile,
		layout.PackagesFile} {
		file := filepath.Join(mount, layout.TreeDir, "buildhost", name)
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.Truncate(file, int64(len(bytes.TrimRight(data, "\n"))+2))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		h.pkg(fmt.Sprintf("app-misc/p/p-%d-1.xpak", i), fmt.Sprint(i))
	}
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile,
		layout.PackagesFile} {
		info, err := os.Stat(filepath.Join(mount, layout.TreeDir, "buildhost", name))
		if err != nil || info.Size() != padUnit {
			t.Errorf("%s did not grow: %v %v", name, info, err)
		}
	}
	// It shrinks again, and what was behind it is newlines.
	clear(h.files)
	h.pkg("a-b/c-1.tbz2", "c")
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
	data, err := os.ReadFile(filepath.Join(mount, layout.TreeDir, "buildhost", layout.ManifestFile))
	if err != nil || len(bytes.TrimRight(data, "\n")) > 3_000 {
		t.Errorf("%d bytes of text in the slot, %v", len(bytes.TrimRight(data, "\n")), err)
	}
}

// Slots and an index that somebody blew up do not stay so: no reader would
// take them, and no writer could hold them in memory.
func TestBlownUp(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	for name, size := range map[string]int64{layout.NextManifestFile: manifest.MaxManifest + 1,
		layout.PackagesFile: 8 << 30} {
		if err := os.Truncate(filepath.Join(mount, layout.TreeDir, "buildhost", name),
			size); err != nil {
			t.Skip(err)
		}
	}
	h.pkg("app-misc/foo-1.tbz2", "rebuilt")
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
}

func TestBeginRefuses(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var unknown *manifest.UnknownKeyError
	options := BeginOptions{Dir: "buildhost", Name: "buildhost", Key: keys()[1], Now: epoch}
	if _, err := Begin(t.Context(), d, options); !errors.As(err, &unknown) {
		t.Errorf("another key's origin: %v", err)
	}
	options.Key, options.Name = h.key, "other"
	if _, err := Begin(t.Context(), d, options); err == nil ||
		!strings.Contains(err.Error(), `belongs to the origin "buildhost"`) {
		t.Errorf("another name's origin: %v", err)
	}
	options.Name = "buildhost"
	w, err := Begin(t.Context(), d, options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), Contents{Serial: w.Last(), At: epoch,
		Catalogue: h.index()}); err == nil {
		t.Error("a serial that is not higher was committed")
	}
	if _, err := w.Commit(t.Context(), Contents{Serial: w.Last() + 1, At: epoch,
		Catalogue: h.index(),
		Items: []layout.Item{{Kind: payload.Package, Path: "a-b/c-1.tbz2",
			Stored: []manifest.File{{Path: "packages/a-b/c-1.tbz2"}}}}}); err == nil {
		t.Error("an item that nobody wrote was committed")
	}
	if _, err := Begin(t.Context(), d, options); err == nil {
		t.Error("two sessions at once")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	checkHolds(t, h, mount)
}

// A canceled export leaves the old generation and no leftovers.
func TestCancel(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	before := tree(t, mount)
	changed := small()
	changed.clock = h.clock
	changed.dist("large", strings.Repeat("0123456789abcdef", 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	changed.tweak = func(w *Writer) {
		w.hook = func(op, name string) error {
			if op == "write" && strings.HasSuffix(name, "large") {
				cancel()
			}
			return nil
		}
	}
	if err := changed.export(ctx, mount); !errors.Is(err, context.Canceled) {
		t.Fatalf("export: %v", err)
	}
	if after := tree(t, mount); !maps.Equal(before, after) {
		t.Error("a canceled export changed the drive")
	}
	checkHolds(t, h, mount)
}

// An export that is canceled while it removes what is old has committed. The
// next one removes the rest.
func TestCancelAfterTheCommit(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	for _, name := range []string{"app-misc/foo-1.tbz2", "app-misc/bar/bar-2-1.gpkg.tar"} {
		delete(h.files, payload.Key{Kind: payload.Package, Path: name})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var synced []string
	h.tweak = func(w *Writer) {
		w.hook = func(op, name string) error {
			if op == "unlink" && strings.HasPrefix(name, layout.PackagesDir) {
				cancel()
			}
			if op == "fsync" && ctx.Err() != nil {
				synced = append(synced, name)
			}
			return nil
		}
	}
	if err := h.export(ctx, mount); !errors.Is(err, context.Canceled) {
		t.Fatalf("export: %v", err)
	}
	if want := []string{layout.GenerationDir, layout.PackagesDir +
		"/app-misc/bar"}; !slices.Equal(synced, want) {
		t.Errorf("synced after the removal: %q, want those that lost a name, %q", synced, want)
	}
	h.tweak = nil
	state, err := load(t, h, mount).State(t.Context())
	if err != nil || !state.BothCopies || !state.Packages || !state.Leftover ||
		len(state.Absent) > 0 {
		t.Errorf("state: %+v, %v", state, err)
	}
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
}

// A source that turns out bad in the middle leaves nothing in the generation,
// and the session goes on.
func TestFailingSource(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	broken := errors.New("source is damaged")
	h.opened = func(w *Writer) {
		_, err := w.Put(t.Context(), NewFile{Kind: payload.Package, Path: "app-misc/bad-1.tbz2",
			Size: 100}, func(out io.Writer) error {
			io.WriteString(out, "some of it")
			return broken
		})
		if !errors.Is(err, broken) {
			t.Errorf("put: %v", err)
		}
	}
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
}

// tempDir is in memory where that is possible: these tests are about what is
// done, not about how a disk takes it.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "drive")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func writeFile(t *testing.T, name, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}
