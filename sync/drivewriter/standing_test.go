package drivewriter

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
)

// found is an origin's directory that a test makes, and what an export may do with it.
type found struct {
	make func(t *testing.T, h *host, mount, dir string)
	// err is the export's error; "" if it goes through.
	err string
	// elsewhere: the origin has to lie in the directory with the fingerprint.
	elsewhere bool
	// gone are the files that are not there any more after the first export.
	gone []string
}

var payloadNames = []string{"packages/app-misc/foo-1.tbz2", "packages/x-y/z/z-1-2.xpak",
	"generation/77.json"}

func lay(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		writeFile(t, filepath.Join(dir, name), "left there: "+name)
	}
}

// note lays the note of the key that began an origin.
func note(t *testing.T, dir string, key *manifest.PrivateKey) {
	t.Helper()
	text, err := drive.OwnerNote(key, epoch)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, layout.OwnerFile), string(text))
}

func slots(t *testing.T, dir, current, next string) {
	t.Helper()
	writeFile(t, filepath.Join(dir, layout.ManifestFile), current)
	writeFile(t, filepath.Join(dir, layout.NextManifestFile), next)
}

// spoil changes both manifests of an origin.
func spoil(t *testing.T, dir string, edit func([]byte) []byte) {
	t.Helper()
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name), string(edit(data)))
	}
}

func torn(data []byte) []byte {
	return append(bytes.Clone(data[:400]), make([]byte, len(data)-400)...)
}

func headless(data []byte) []byte {
	data = bytes.Clone(data)
	clear(data[:512])
	return data
}

const blankText = "\n\n\n\n\n\n\n\n"

// allOf are the files of a small host where they lie if nothing is in the way, and some more.
func allOf(more ...string) []string {
	var files []string
	for key := range small().files {
		files = append(files, layout.WantedPath(key.Kind, key.Path))
	}
	return append(files, more...)
}

// The directory where an origin goes may have any files: one that is not known to be a leftover of
// the origin stays.
func TestWhatLiesThere(t *testing.T) {
	t.Parallel()
	stray := []string{"packages/notes.txt", "generation/7.notes", "generation/.json", "diary",
		"distfiles/ff/foo-1.tar.gz", "photos/one.jpg", "packages/Packages.gz"}
	for name, row := range map[string]found{
		"only directories": {make: func(t *testing.T, _ *host, _, dir string) {
			for _, name := range layout.OriginDirs {
				if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}},
		"files and no manifests": {make: func(t *testing.T, _ *host, _, dir string) {
			lay(t, dir, payloadNames...)
		}, elsewhere: true},
		"files and empty manifests": {make: func(t *testing.T, _ *host, _, dir string) {
			lay(t, dir, payloadNames...)
			slots(t, dir, "", "")
		}, elsewhere: true},
		"files and manifests of zeros": {make: func(t *testing.T, _ *host, _, dir string) {
			lay(t, dir, payloadNames...)
			slots(t, dir, "\x00\x00", "\x00\x00")
		}, elsewhere: true},
		"a first export that was pulled": {make: func(t *testing.T, h *host, _, dir string) {
			lay(t, dir, append(payloadNames, stray...)...)
			slots(t, dir, blankText, blankText)
			note(t, dir, h.key)
		}, gone: append([]string{layout.OwnerFile}, payloadNames...)},
		"a first export of another key that was pulled": {
			make: func(t *testing.T, _ *host, _, dir string) {
				lay(t, dir, payloadNames...)
				slots(t, dir, blankText, blankText)
				note(t, dir, keys()[1])
			}, elsewhere: true},
		"a first export of nobody that was pulled": {
			make: func(t *testing.T, _ *host, _, dir string) {
				lay(t, dir, payloadNames[:1]...)
				slots(t, dir, blankText, blankText)
			}, elsewhere: true},
		"a first export with half a note": {make: func(t *testing.T, h *host, _, dir string) {
			lay(t, dir, payloadNames[:1]...)
			slots(t, dir, blankText, blankText)
			note(t, dir, h.key)
			if err := os.Truncate(filepath.Join(dir, layout.OwnerFile), 200); err != nil {
				t.Fatal(err)
			}
		}, elsewhere: true},
		"another key's note and no payload": {make: func(t *testing.T, h *host, _, dir string) {
			slots(t, dir, blankText, blankText)
			note(t, dir, keys()[1])
		}, gone: []string{layout.OwnerFile}},
		"a first export that was pulled in its commit": {
			make: func(t *testing.T, h *host, _, dir string) {
				note(t, dir, h.key)
				lay(t, dir, append(payloadNames, stray...)...)
				slots(t, dir, blankText,
					"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nTIMESTAMP 2026\x00\x00\x00")
			}, gone: payloadNames},
		"another key's origin": {make: func(t *testing.T, h *host, mount, _ string) {
			other := small()
			other.key = keys()[1]
			mustExport(t, other, mount)
		}, elsewhere: true},
		"another key's origin, both manifests torn": {
			make: func(t *testing.T, h *host, mount, dir string) {
				other := small()
				other.key = keys()[1]
				mustExport(t, other, mount)
				spoil(t, dir, torn)
			}, elsewhere: true},
		"leftovers of a generation": {make: func(t *testing.T, h *host, mount, dir string) {
			mustExport(t, h, mount)
			lay(t, dir, append([]string{"packages/x-y/z/z-1-2.xpak",
				"generation/77.json"}, stray...)...)
		}, gone: []string{"packages/x-y/z/z-1-2.xpak", "generation/77.json"}},
		"both manifests torn": {make: func(t *testing.T, h *host, mount, dir string) {
			mustExport(t, h, mount)
			lay(t, dir, append([]string{"packages/x-y/z/z-1-2.xpak"}, stray...)...)
			spoil(t, dir, torn)
		}, gone: allOf("packages/x-y/z/z-1-2.xpak")},
		"both manifests without their beginning": {
			make: func(t *testing.T, h *host, mount, dir string) {
				mustExport(t, h, mount)
				lay(t, dir, stray...)
				spoil(t, dir, headless)
			}, gone: allOf()},
		"a bit of both manifests": {make: func(t *testing.T, h *host, mount, dir string) {
			mustExport(t, h, mount)
			lay(t, dir, stray...)
			spoil(t, dir, func(b []byte) []byte { return flip(b, "DATA") })
		}, gone: allOf()},
		"a list that this program does not read": {
			make: func(t *testing.T, h *host, mount, dir string) {
				mustExport(t, h, mount)
				reforge(t, h, mount, func(l *manifest.List, _ *layout.Record) {
					l.Files = slices.DeleteFunc(l.Files, func(f manifest.File) bool {
						return f.Path == layout.CatalogueFile(h.clock)
					})
				})
				lay(t, dir, append([]string{"packages/x-y/z/z-1-2.xpak"}, stray...)...)
			}, err: "a newer pkgsneak wrote it"},
		"such a list beside an old one": {make: func(t *testing.T, h *host, mount, dir string) {
			mustExport(t, h, mount)
			old, err := os.ReadFile(filepath.Join(dir, layout.ManifestFile))
			if err != nil {
				t.Fatal(err)
			}
			reforge(t, h, mount, func(l *manifest.List, _ *layout.Record) {
				l.Files = slices.DeleteFunc(l.Files, func(f manifest.File) bool {
					return f.Path == layout.CatalogueFile(h.clock)
				})
			})
			writeFile(t, filepath.Join(dir, layout.ManifestFile), string(old))
			lay(t, dir, "packages/x-y/z/z-1-2.xpak")
		}, err: "a newer pkgsneak wrote it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			dir := filepath.Join(mount, layout.TreeDir, "buildhost")
			row.make(t, h, mount, dir)
			before := tree(t, dir)
			err := h.export(t.Context(), mount)
			if row.err != "" {
				var newer *drive.NewerError
				if err == nil || !strings.Contains(err.Error(), row.err) ||
					!errors.As(err, &newer) {
					t.Errorf("export: %v", err)
				}
				if !maps.Equal(tree(t, dir), before) {
					t.Error("something was changed")
				}
				return
			}
			if err != nil {
				t.Fatalf("export: %v", err)
			}
			g := load(t, h, mount)
			if want := "buildhost-" +
				string(h.key.Public().Fingerprint())[:8]; row.elsewhere != (g.Dir == want) {
				t.Errorf("the origin lies in %q", g.Dir)
			}
			after := tree(t, dir)
			for file, data := range before {
				switch {
				case file == layout.ManifestFile || file == layout.NextManifestFile ||
					file == layout.PackagesFile || strings.HasPrefix(file, layout.GenerationDir):
				case slices.Contains(row.gone, file):
				case after[file] != data:
					t.Errorf("%s was touched", file)
				}
			}
			if row.elsewhere && !maps.Equal(before, after) {
				t.Error("something was changed in a directory of somebody else")
			}
			for _, file := range row.gone {
				if _, still := after[file]; still && after[file] == before[file] {
					t.Errorf("%s is still there", file)
				}
			}
			if items, err := readItems(g); err != nil || !maps.Equal(items, h.files) {
				t.Errorf("the generation: %v, %v", items, err)
			}
			mustExport(t, h, mount)
			after = tree(t, dir)
			for _, file := range stray {
				if data, was := before[file]; was && after[file] != data {
					t.Errorf("%s was touched", file)
				}
			}
			if state, err := load(t, h, mount).State(t.Context()); err != nil || !state.Whole() {
				t.Errorf("state: %+v, %v", state, err)
			}
		})
	}
}

// Files of somebody else are named, all of them and nothing else.
func TestOthersFilesAreNamed(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	dir := filepath.Join(mount, layout.TreeDir, "buildhost")
	others := []string{"bin/linux-amd64/notes", "diary", "distfiles/00/00/x",
		"packages/app-arch/deep/deeper/z-1-1.xpak", "packages/app-arch/mine.tbz2",
		"packages/app-misc/README", "packages/photos/b.xpak"}
	left := []string{"generation/7.json", "packages/app-misc/old-1.tbz2",
		"packages/app-misc/old/old-1-1.xpak"}
	lay(t, dir, append(left, others...)...)
	empty := filepath.Join(dir, "packages/app-misc/mine/empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	if state, err := load(t, h, mount).State(t.Context()); err != nil ||
		!slices.Equal(sorted(state.Others), others) || !state.Leftover {
		t.Errorf("state: %+v, %v", state, err)
	}
	var named, removed []string
	h.tweak = func(w *Writer) {
		w.o.Foreign = func(name string) { named = append(named, name) }
		w.o.Leftover = func(name string) { removed = append(removed, name) }
	}
	mustExport(t, h, mount)
	if !slices.Equal(sorted(named), others) || !slices.Equal(sorted(removed), left) {
		t.Errorf("named: %q, removed: %q", named, removed)
	}
	for _, file := range append(others, "packages/app-misc/mine/empty") {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// A key that cannot sign fails before anything is removed or made.
func TestKeyIsTriedFirst(t *testing.T) {
	t.Parallel()
	fresh, err := manifest.GenerateKey("four", epoch.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := fresh.Revoked(epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, begun := range []bool{false, true} {
		mount, h := tempDir(t), small()
		h.key = fresh
		dir := filepath.Join(mount, layout.TreeDir, "buildhost")
		if begun {
			mustExport(t, h, mount)
			lay(t, dir, "packages/x-y/z-1.tbz2")
		} else {
			lay(t, dir, payloadNames...)
			slots(t, dir, blankText, blankText)
		}
		before := tree(t, mount)
		h.key = revoked
		var key *manifest.KeyError
		if err := h.export(t.Context(), mount); !errors.As(err, &key) {
			t.Errorf("export: %v", err)
		}
		if !maps.Equal(tree(t, mount), before) {
			t.Error("something was changed")
		}
	}
}

// A clock so late that no signature has a place for it is told before anything is removed; so is a
// serial that this machine remembers.
func TestSerialIsTriedFirst(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	dir := filepath.Join(mount, layout.TreeDir, "buildhost")
	lay(t, dir, "packages/x-y/z-1.tbz2")
	before := tree(t, mount)
	h.tweak = func(w *Writer) { w.o.Last = 1 << 32 }
	var key *manifest.KeyError
	if err := h.export(t.Context(), mount); !errors.As(err, &key) {
		t.Errorf("export: %v", err)
	}
	if !maps.Equal(tree(t, mount), before) {
		t.Error("something was changed")
	}
}

// If both manifests are torn, nobody can tell what is listed: wherever the export is cut off that
// goes on there, either all that lay there is there with its bytes, or the new generation is whole;
// and the next export goes through and leaves no trace.
func TestCutOffInABrokenOrigin(t *testing.T) {
	t.Parallel()
	base, old := tempDir(t), small()
	mustExport(t, old, base)
	dir := filepath.Join(base, removedDir)
	spoil(t, dir, torn)
	before := contents(t, dir, "")
	for left := 1; ; left += 3 { // all of them take long, and were tried
		mount, h := tempDir(t), small()
		h.clock = old.clock
		h.pkg("app-misc/foo-1.tbz2", "rebuilt")
		if err := os.CopyFS(mount, os.DirFS(base)); err != nil {
			t.Fatal(err)
		}
		origin := filepath.Join(mount, removedDir)
		c := &cutter{t: t, dir: origin, left: left}
		h.tweak = func(w *Writer) { w.hook = c.hook }
		err := h.export(t.Context(), mount)
		h.tweak = nil
		if err == nil {
			checkHolds(t, h, mount)
			t.Logf("cut at every third of %d changes", left-1)
			return
		}
		if !errors.Is(err, errCut) {
			t.Fatalf("cut at %d: %v", left, err)
		}
		if d, err := drive.Open(mount); err != nil {
			t.Fatal(err)
		} else if g, err := d.Load("buildhost", h.ring(), epoch); err == nil {
			if got, err := readItems(g); err != nil || !maps.Equal(got, h.files) {
				t.Fatalf("cut at %d %v: %v, %v", left, c.at, slices.Collect(maps.Keys(got)), err)
			}
			g.Close()
			d.Close()
		} else {
			d.Close()
			now := contents(t, origin, "")
			for name, data := range before {
				if strings.HasPrefix(name, layout.PackagesDir+"/app") ||
					strings.HasPrefix(name, layout.GenerationDir+"/") ||
					strings.HasPrefix(name, layout.DistfilesDir+"/") {
					if now[name] != data {
						t.Fatalf("cut at %d %v: %q is gone before there is a generation",
							left, c.at, name)
					}
				}
			}
		}
		mustExport(t, h, mount)
		checkHolds(t, h, mount)
		os.RemoveAll(mount)
	}
}
