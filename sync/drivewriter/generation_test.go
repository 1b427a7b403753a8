package drivewriter

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// reforge signs another list over the origin's payload, as a trusted host
// with bad intentions, or a faulty one, would.
func reforge(t *testing.T, h *host, mount string, change func(*manifest.List, *layout.Record)) {
	t.Helper()
	g := load(t, h, mount)
	list := manifest.List{Timestamp: g.Signed.Timestamp, Files: slices.Clone(g.Signed.Files),
		Ignore: g.Signed.Ignore}
	record := *g.Record
	change(&list, &record)
	text, err := record.Marshal()
	if err == nil {
		writeFile(t, filepath.Join(mount, layout.TreeDir, g.Dir,
			layout.RecordFile(g.Serial())), string(text))
		for i, f := range list.Files {
			if f.Path == layout.RecordFile(g.Serial()) {
				list.Files[i].Size, list.Files[i].Sum = int64(len(text)), digest.Bytes(text)
			}
		}
	}
	signed, err := manifest.Sign(&list, h.key, epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range []string{layout.ManifestFile, layout.NextManifestFile} {
		writeFile(t, filepath.Join(mount, layout.TreeDir, g.Dir, slot), string(signed))
	}
}

func TestListsThatAreRefused(t *testing.T) {
	t.Parallel()
	fake := func(p string) manifest.File {
		return manifest.File{Path: p, Size: 1, Sum: digest.Bytes([]byte("x"))}
	}
	for name, row := range map[string]struct {
		change func(*manifest.List, *layout.Record)
		want   string
	}{
		"second record": {func(l *manifest.List, _ *layout.Record) {
			l.Files = append(l.Files, fake("generation/7.json"))
		}, "beside that of its own time"},
		"another timestamp": {func(l *manifest.List, _ *layout.Record) {
			l.Timestamp = l.Timestamp.Add(time.Second)
		}, "record"},
		"no catalogue": {func(l *manifest.List, _ *layout.Record) {
			l.Files = slices.DeleteFunc(l.Files, func(f manifest.File) bool {
				return strings.HasSuffix(f.Path, ".zst")
			})
		}, "has no"},
		"case collision": {func(l *manifest.List, _ *layout.Record) {
			l.Files = append(l.Files, fake("packages/app-misc/FOO-1.tbz2"))
		}, "differ in case"},
		"record of another serial": {func(_ *manifest.List, r *layout.Record) {
			r.Serial++
		}, "the record is of "},
		"record of another key": {func(_ *manifest.List, r *layout.Record) {
			r.Fingerprint = keys()[2].Public().Fingerprint()
		}, "names the key"},
		"renamed file that is not listed": {func(_ *manifest.List, r *layout.Record) {
			r.Renamed = append(r.Renamed, layout.Renamed{Kind: payload.Package, Path: "a/b-1.tbz2",
				Stored: "packages/a/b/b-1-1.xpak"})
		}, "not in the list"},
		"two files for one path": {func(_ *manifest.List, r *layout.Record) {
			r.Renamed = append(r.Renamed, layout.Renamed{Kind: payload.Package,
				Path: "app-misc/foo-1.tbz2", Stored: "packages/app-misc/bar/bar-2-1.gpkg.tar"})
		}, "two files stand for"},
		"parts that do not add up": {func(_ *manifest.List, r *layout.Record) {
			r.Split = append(r.Split, layout.Split{Kind: payload.Package, Path: "a/b-1.tbz2",
				Size: 5, Stored: []string{"packages/app-misc/foo-1.tbz2"}})
		}, "add up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			mustExport(t, h, mount)
			reforge(t, h, mount, row.change)
			d, err := drive.Open(mount)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := d.Load("buildhost", h.ring(), epoch); err == nil ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want something about %q", err, row.want)
			}
		})
	}
}

func TestSlotsThatAreNoGood(t *testing.T) {
	t.Parallel()
	other := []byte("x")
	for name, row := range map[string]struct {
		slot, next func(good []byte) []byte // nil: removed
		want       string                   // "": it loads
	}{
		"next torn":     {keep, func(b []byte) []byte { return b[:len(b)/2] }, ""},
		"next of zeros": {keep, func(b []byte) []byte { return make([]byte, len(b)) }, ""},
		"next removed":  {keep, nil, ""},
		"manifest torn": {func(b []byte) []byte { return b[100:] }, keep, ""},
		"manifest junk": {func([]byte) []byte { return other }, keep, ""},
		"zeros behind": {func(b []byte) []byte {
			return append(bytes.TrimRight(b, "\n"), 10, 0, 0, 0)
		}, nil, ""},
		"both blank": {func([]byte) []byte { return newlines }, func([]byte) []byte {
			return nil
		}, "first export was not finished"},
		"both removed": {nil, nil, "both copies of its manifest are gone"},
		"blank, next torn": {func([]byte) []byte { return newlines }, func(b []byte) []byte {
			return b[:700]
		}, "first export was not finished"},
		"both torn": {func(b []byte) []byte { return b[:700] }, func(b []byte) []byte {
			return b[:700]
		}, "no signature"},
		"one bit, and blank": {func(b []byte) []byte { return flip(b, "BLAKE2B") },
			func([]byte) []byte { return newlines }, "signature"},
		"text behind": {func(b []byte) []byte {
			return append(bytes.TrimRight(b, "\n"), "\nDATA x 1\n"...)
		}, nil, "signature"},
		"fifo, and removed": {fifo, nil, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			mustExport(t, h, mount)
			for slot, change := range map[string]func([]byte) []byte{layout.ManifestFile: row.slot,
				layout.NextManifestFile: row.next} {
				file := filepath.Join(mount, layout.TreeDir, "buildhost", slot)
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				os.Remove(file)
				if change == nil {
					continue
				}
				if changed := change(data); changed == nil && row.want == "not a regular file" {
					if err := unix.Mkfifo(file, 0o644); err != nil {
						t.Skip(err)
					}
				} else {
					writeFile(t, file, string(changed))
				}
			}
			d, err := drive.Open(mount)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			g, err := d.Load("buildhost", h.ring(), epoch)
			switch {
			case row.want == "" && err != nil:
				t.Error(err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("%v, want something about %q", err, row.want)
			case errors.Is(err, drive.ErrNoTree) != (strings.Contains(row.want, "not finished") ||
				strings.Contains(row.want, "are gone")):
				t.Errorf("%v: ErrNoTree: %t", err, errors.Is(err, drive.ErrNoTree))
			case err == nil:
				g.Close()
			}
		})
	}
}

func keep(b []byte) []byte { return b }

func fifo([]byte) []byte { return nil }

func flip(b []byte, at string) []byte {
	b = bytes.Clone(b)
	b[bytes.Index(b, []byte(at))+10] ^= 1
	return b
}

// The error of an untrusted origin is the one that import can act on.
func TestUnknownKeyComesThrough(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	writeFile(t, filepath.Join(mount, layout.TreeDir, "buildhost", layout.NextManifestFile), "torn")
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var unknown *manifest.UnknownKeyError
	if _, err := d.Load("buildhost", manifest.Ring{keys()[1].Public()},
		epoch); !errors.As(err, &unknown) ||
		!strings.HasSuffix(string(h.key.Public().Fingerprint()), unknown.Signer) {
		t.Errorf("%v", err)
	}
	if _, err := drive.Open(t.TempDir()); !errors.Is(err, drive.ErrNoTree) {
		t.Errorf("a drive without a tree: %v", err)
	}
}

func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	const name = "packages/app-misc/foo-1.tbz2"
	for what, row := range map[string]struct {
		spoil func(file string) error
		want  string
	}{
		"missing":   {os.Remove, "missing"},
		"truncated": {func(f string) error { return os.Truncate(f, 3) }, "shorter"},
		"longer":    {func(f string) error { return os.Truncate(f, 300) }, "longer"},
		"changed": {func(f string) error { return os.WriteFile(f, []byte("foo 0ne"), 0o644) },
			"not those that were signed"},
		"directory": {func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o755)) },
			"not a regular file"},
		"fifo": {func(f string) error {
			return errors.Join(os.Remove(f), unix.Mkfifo(f, 0o644))
		}, "not a regular file"},
		"link": {func(f string) error {
			return errors.Join(os.Remove(f), os.Symlink("/etc/passwd", f))
		}, "not a regular file"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			mustExport(t, h, mount)
			if err := row.spoil(filepath.Join(mount, layout.TreeDir, "buildhost",
				name)); err != nil {
				t.Fatal(err)
			}
			g := load(t, h, mount)
			it, _ := g.Find(payload.Package, "app-misc/foo-1.tbz2")
			var damaged *drive.DamagedError
			err := readItem(g, it)
			if !errors.As(err, &damaged) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("reading: %v, want something about %q", err, row.want)
			}
			report, err := g.Verify(t.Context(), drive.VerifyOptions{})
			if err != nil || len(report.Bad) != 1 || report.Bad[0].Path != name ||
				!strings.Contains(report.Bad[0].Reason, row.want) {
				t.Errorf("verify: %+v %v", report, err)
			}
		})
	}
}

func readItem(g *drive.Generation, it layout.Item) error {
	r, err := g.Open(it)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// Parts that were exchanged have right digests by themselves.
func TestDamagedPart(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), newHost(keys()[0], "buildhost")
	h.part = 4
	h.dist("d", "aaaabbbbcccc")
	mustExport(t, h, mount)
	g := load(t, h, mount)
	it, _ := g.Find(payload.Distfile, "d")
	second := filepath.Join(mount, layout.TreeDir, "buildhost", it.Stored[1].Path)
	writeFile(t, second, "aaaa")
	var damaged *drive.DamagedError
	if err := readItem(g, it); !errors.As(err, &damaged) || damaged.Path != it.Stored[1].Path {
		t.Errorf("%v", err)
	}
	report, err := g.Verify(t.Context(), drive.VerifyOptions{})
	if err != nil || len(report.Bad) != 1 || report.Bad[0].Path != it.Stored[1].Path {
		t.Errorf("%+v %v", report, err)
	}
}

func TestVerifyReports(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	origin := filepath.Join(mount, layout.TreeDir, "buildhost")
	writeFile(t, filepath.Join(origin, "packages/app-misc/extra-1.tbz2"), "x")
	writeFile(t, filepath.Join(origin, "diary"), "x")
	writeFile(t, filepath.Join(origin, layout.PackagesFile), "stale")
	writeFile(t, filepath.Join(origin, layout.NextManifestFile), "torn")
	report, err := load(t, h, mount).Verify(t.Context(), drive.VerifyOptions{})
	if err != nil || len(report.Bad) > 0 {
		t.Fatalf("%+v %v", report, err)
	}
	if want := []string{"diary", "packages/app-misc/extra-1.tbz2"}; !slices.Equal(report.Undeclared,
		want) {
		t.Errorf("undeclared %q, want %q", report.Undeclared, want)
	}
	if !slices.Equal(report.Stale, []string{layout.PackagesFile}) || len(report.Copies) != 1 ||
		report.Copies[0].Name != layout.NextManifestFile {
		t.Errorf("%+v", report)
	}
	// The next export repairs all of it, and leaves what is not its own.
	h.pkg("app-misc/foo-1.tbz2", "rebuilt")
	mustExport(t, h, mount)
	report, err = load(t, h, mount).Verify(t.Context(), drive.VerifyOptions{})
	if err != nil || len(report.Bad)+len(report.Stale)+len(report.Copies) > 0 ||
		!slices.Equal(report.Undeclared, []string{"diary"}) {
		t.Errorf("afterwards: %+v %v", report, err)
	}
}

// A file that was lost on the drive is reported, and written again.
func TestMissingIsWrittenAgain(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	for _, name := range []string{"packages/app-misc/foo-1.tbz2", layout.LayoutFile,
		layout.PackagesFile} {
		if err := os.Remove(filepath.Join(mount, layout.TreeDir, "buildhost", name)); err != nil {
			t.Fatal(err)
		}
	}
	h.opened = func(w *Writer) {
		if missing := w.Missing(); len(missing) != 1 || missing[0].Path != "app-misc/foo-1.tbz2" {
			t.Errorf("missing: %v", missing)
		}
	}
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
}

// A file that has a listed name and is not the listed one counts as missing: it was cut short by a
// check of the file system, or somebody put something else there.
func TestReplacedIsWrittenAgain(t *testing.T) {
	t.Parallel()
	const pkg, dist = "packages/app-misc/foo-1.tbz2", "app-misc/foo-1.tbz2"
	for name, spoil := range map[string]func(file string) error{
		"cut short": func(file string) error { return os.Truncate(file, 3) },
		"emptied":   func(file string) error { return os.Truncate(file, 0) },
		"a symlink": func(file string) error {
			return errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file))
		},
		"a directory": func(file string) error {
			return errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "sub"), 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			mustExport(t, h, mount)
			spoiled := []string{layout.LayoutFile, pkg}
			// in the place of layout.conf it is somebody's (InTheWayError)
			if name == "a symlink" || name == "a directory" {
				spoiled = spoiled[1:]
			}
			for _, file := range spoiled {
				if err := spoil(filepath.Join(mount, layout.TreeDir, "buildhost",
					file)); err != nil {
					t.Fatal(err)
				}
			}
			state, err := load(t, h, mount).State(t.Context())
			if err != nil || !slices.Equal(state.Absent, spoiled) {
				t.Errorf("state: %+v, %v", state, err)
			}
			h.opened = func(w *Writer) {
				if missing := w.Missing(); len(missing) != 1 || missing[0].Path != dist {
					t.Errorf("missing: %v", missing)
				}
			}
			mustExport(t, h, mount)
			checkHolds(t, h, mount)
			if state, err := load(t, h, mount).State(t.Context()); err != nil || !state.Whole() {
				t.Errorf("state afterwards: %+v, %v", state, err)
			}
		})
	}
}

// With its record gone, a generation cannot be kept; the export starts anew
// and does not touch a listed name.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	serial := h.clock
	writeFile(t, filepath.Join(mount, layout.TreeDir, "buildhost", layout.RecordFile(serial)), "{}")
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var damaged *drive.DamagedError
	if _, err := d.Load("buildhost", h.ring(), epoch); !errors.As(err, &damaged) ||
		damaged.Path != layout.RecordFile(serial) {
		t.Errorf("load: %v", err)
	}
	mustExport(t, h, mount)
	checkHolds(t, h, mount)
}

func TestHostileCatalogue(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		packed func(t *testing.T) []byte
		size   int64
		want   string
	}{
		"no zstd": {func(*testing.T) []byte {
			return []byte("PACKAGES: 0\n\n")
		}, 13, "magic"},
		"bomb": {func(t *testing.T) []byte { return pack(t, make([]byte, 64<<20)) }, 10,
			"longer than the record says"},
		"shorter": {func(t *testing.T) []byte { return pack(t, []byte("VERSION: 0\n\n")) },
			100, "the record says"},
		"huge, by name": {func(t *testing.T) []byte { return pack(t, []byte("VERSION: 0\n\n")) },
			1 << 50, "the record says"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			mustExport(t, h, mount)
			packed := row.packed(t)
			name := layout.CatalogueFile(h.clock)
			writeFile(t, filepath.Join(mount, layout.TreeDir, "buildhost", name), string(packed))
			reforge(t, h, mount, func(l *manifest.List, r *layout.Record) {
				r.Counts.CatalogueBytes = row.size
				for i := range l.Files {
					if l.Files[i].Path == name {
						l.Files[i].Size, l.Files[i].Sum = int64(len(packed)), digest.Bytes(packed)
					}
				}
			})
			index, err := load(t, h, mount).Catalogue()
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v %v, want something about %q", index, err, row.want)
			}
		})
	}
}

func pack(t *testing.T, plain []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(plain, nil)
}

// gpg and gemato judge the tree, with the padding behind the signature.
func TestTreeWithoutPkgsneak(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	h.dist("with blank.tar", "x")
	h.pkg("app-misc/foo/foo-1-1.xpak", "y")
	mustExport(t, h, mount)
	h.pkg("app-misc/foo/foo-1-1.xpak", "z")
	mustExport(t, h, mount)
	key := filepath.Join(mount, layout.TreeDir, layout.KeyFile(h.key.Public().Fingerprint()))
	origin := filepath.Join(mount, layout.TreeDir, "buildhost")

	t.Run("gpg", func(t *testing.T) {
		home := t.TempDir()
		run(t, "gpg", "--batch", "--homedir", home, "--import", key)
		for _, slot := range []string{layout.ManifestFile, layout.NextManifestFile} {
			run(t, "gpg", "--batch", "--homedir", home, "--verify", filepath.Join(origin, slot))
		}
	})
	t.Run("gemato", func(t *testing.T) {
		run(t, "gemato", "verify", "-R", "-K", key, "-s", origin)
	})
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
}

// The catalogue of real Portage comes back as it was, but for its TIMESTAMP.
func TestGoldenCatalogue(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("../../testdata/golden/*/Packages")
	if err != nil || len(found) == 0 {
		found, _ = filepath.Glob("../../testdata/golden/*/*/Packages")
	}
	for _, name := range found {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		index, err := pkgindex.Read(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		mount, h := tempDir(t), newHost(keys()[0], "golden")
		d, err := drive.Create(mount)
		if err != nil {
			t.Fatal(err)
		}
		w, err := Begin(t.Context(), d, BeginOptions{Dir: h.name, Name: h.name,
			Key: h.key, Now: epoch})
		if err != nil {
			t.Fatal(err)
		}
		g, err := w.Commit(t.Context(), Contents{Serial: epoch.Unix(), At: epoch, Catalogue: index,
			Record: layout.Record{Created: epoch}})
		if err != nil {
			t.Fatal(err)
		}
		again, err := g.Catalogue()
		if err != nil {
			t.Fatal(err)
		}
		index.SetTimestamp(epoch.Unix())
		want, err1 := index.MarshalText()
		if got, err2 := again.MarshalText(); err1 != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %v, or not the same:\n%s\n%s", name, err1, err2, got, want)
		}
		if at, _ := again.Timestamp(); at != epoch.Unix() {
			t.Errorf("%s: TIMESTAMP %d", name, at)
		}
		if err := errors.Join(w.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}
