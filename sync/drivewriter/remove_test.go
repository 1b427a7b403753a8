package drivewriter

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
)

// twoOrigins makes a drive with an origin to be forgotten, in two generations, another one, and
// files of a person.
func twoOrigins(t *testing.T) (mount string, h *host) {
	t.Helper()
	mount, h = tempDir(t), small()
	mustExport(t, h, mount)
	h.pkg("app-misc/foo-1.tbz2", "rebuilt")
	mustExport(t, h, mount)
	other := newHost(keys()[1], "second")
	other.pkg("app-misc/foo-1.tbz2", "the other's")
	mustExport(t, other, mount)
	writeFile(t, filepath.Join(mount, "holiday.jpg"), "a picture")
	return mount, h
}

// remove forgets buildhost.
func remove(ctx context.Context, mount string, ring manifest.Ring,
	hook func(op, path string) error) (*Removal, error) {
	d, err := drive.Open(mount)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	r, err := PlanRemoval(ctx, d, "buildhost", ring)
	if err != nil {
		return nil, err
	}
	r.hook = hook
	return r, r.Run(ctx, nil)
}

// contents are the files below a directory, links as such, without those of buildhost if that is
// wanted.
func contents(t *testing.T, mount string, without string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(mount, func(name string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(mount, name)
		switch {
		case err != nil:
			return err
		case without != "" && rel == without:
			return fs.SkipDir
		case e.Type()&fs.ModeSymlink != 0:
			files[rel], err = os.Readlink(name)
		case e.Type().IsRegular():
			var data []byte
			data, err = os.ReadFile(name)
			files[rel] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

const removedDir = layout.TreeDir + "/buildhost"

// Wherever a removal is stopped, there is a valid origin, or a rest that the same command removes;
// and nothing else changes.
func TestRemovalStoppedAnywhere(t *testing.T) {
	t.Parallel()
	base, h := twoOrigins(t)
	kept := contents(t, base, removedDir)
	for name, spoil := range map[string]func(origin string) error{
		"whole": func(string) error { return nil },
		"manifest torn": func(o string) error {
			return os.WriteFile(filepath.Join(o, layout.ManifestFile),
				[]byte("-----BEGIN PGP"), 0o644)
		},
		"next manifest is torn": func(o string) error {
			return os.WriteFile(filepath.Join(o, layout.NextManifestFile), []byte("x\n"), 0o644)
		},
		"next manifest is blank": func(o string) error {
			return os.WriteFile(filepath.Join(o, layout.NextManifestFile), []byte("\n\n\n"), 0o644)
		},
		"record lost": func(o string) error {
			return os.RemoveAll(filepath.Join(o, layout.GenerationDir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for left := 1; ; left++ {
				mount := tempDir(t)
				if err := os.CopyFS(mount, os.DirFS(base)); err != nil {
					t.Fatal(err)
				}
				origin := filepath.Join(mount, removedDir)
				if err := spoil(origin); err != nil {
					t.Fatal(err)
				}
				c := &cutter{t: t, dir: origin, left: left}
				_, err := remove(t.Context(), mount, h.ring(), c.hook)
				if err != nil && !errors.Is(err, errCut) {
					t.Fatalf("stopped at %d: %v", left, err)
				}
				done := err == nil
				var gone *drive.NoOriginError
				if _, err := remove(t.Context(), mount, h.ring(), nil); err != nil &&
					!errors.As(err, &gone) {
					t.Fatalf("after a stop at %d, %v: %v", left, c.at, err)
				}
				if _, err := os.Lstat(origin); !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("after a stop at %d, %v: the origin is still there: %v", left, c.at,
						contents(t, origin, ""))
				}
				if have := contents(t, mount, ""); !maps.Equal(have, kept) {
					t.Fatalf("after a stop at %d, %v: something else has changed: %v", left, c.at,
						slices.Sorted(maps.Keys(have)))
				}
				os.RemoveAll(mount)
				if done {
					t.Logf("stopped at each of %d changes", left-1)
					return
				}
			}
		})
	}
}

// The valid manifest goes last, behind a sync of all that is gone before it.
func TestOrderOfARemoval(t *testing.T) {
	t.Parallel()
	mount, h := twoOrigins(t)
	if err := os.WriteFile(filepath.Join(mount, removedDir, layout.ManifestFile), []byte("torn\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	var steps []step
	if _, err := remove(t.Context(), mount, h.ring(), func(op, name string) error {
		steps = append(steps, step{op, name})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	bucket := "distfiles/" + layout.Bucket("foo-1.tar.gz")
	for i, s := range steps {
		if dir := filepath.Dir(s.name); (s.op == "unlink" || s.op == "rmdir") &&
			s.name != "buildhost" && first(steps[i:], on("fsync", dir)) < 0 {
			t.Errorf("no fsync of %q after %s %q", dir, s.op, s.name)
		}
	}
	inOrder(t, steps, []string{"file", "its directory", "syncfs", "rmdir", "above", "torn", "fsync",
		"valid", "fsync", "rmdir", "tree"},
		first(steps, on("unlink", bucket+"/foo-1.tar.gz")), first(steps,
			on("fsync", bucket)), first(steps, does("syncfs")),
		first(steps, on("rmdir", bucket)), last(steps,
			on("fsync", layout.DistfilesDir)), first(steps, on("unlink", layout.ManifestFile)),
		first(steps, on("unlink", layout.ManifestFile))+1, first(steps,
			on("unlink", layout.NextManifestFile)),
		first(steps, on("unlink", layout.NextManifestFile))+1,
		first(steps, on("rmdir", "buildhost")), first(steps, on("fsync", layout.TreeDir)))
	for _, at := range []int{first(steps, on("unlink", layout.ManifestFile)) + 1,
		first(steps, on("unlink", layout.NextManifestFile)) + 1} {
		if steps[at] != (step{"fsync", "."}) {
			t.Errorf("step %d is %v, not the fsync of the origin's directory", at, steps[at])
		}
	}
	if firstUnlink := first(steps,
		on("unlink", layout.ManifestFile)); slices.ContainsFunc(steps[firstUnlink:],
		payloadStep("unlink")) {
		t.Error("a file goes after a manifest")
	}
}

// sign puts a list of its own in both copies of the origin's manifest.
func sign(t *testing.T, origin string, key *manifest.PrivateKey, change func(*manifest.List)) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(origin, layout.ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	old, err := manifest.OpenPast(text, manifest.Ring{keys()[0].Public()})
	if err != nil {
		t.Fatal(err)
	}
	list := old.List
	change(&list)
	slices.SortFunc(list.Files, func(a, b manifest.File) int {
		return strings.Compare(a.Path, b.Path)
	})
	signed, err := manifest.Sign(&list, key, list.Timestamp)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
		if err := os.WriteFile(filepath.Join(origin, name), signed, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that is not the origin's stays, whatever lists and links have.
func TestRemovalAttacks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		spoil  func(t *testing.T, origin string)
		others []string // what stays in the origin
	}{
		{"a person's file in the origin", func(t *testing.T, o string) {
			writeFile(t, o+"/packages/app-misc/notes.txt", "mine")
		},
			[]string{"packages/app-misc/notes.txt"}},
		{"what a pulled export left", func(t *testing.T, o string) {
			writeFile(t, o+"/packages/app-misc/left-1.tbz2", "?")
			writeFile(t, o+"/generation/1772600000.json", "{")
			writeFile(t, o+"/distfiles/"+layout.Bucket("left.tar")+"/left.tar", "?")
		}, nil},
		{"a name that no layout makes, beside a leftover", func(t *testing.T, o string) {
			writeFile(t, o+"/packages/app-misc/left-1.tbz2", "?")
			writeFile(t, o+"/packages/left-1.tbz2", "mine")
		}, []string{"packages/left-1.tbz2"}},
		{"a list that names what is not of the layout", func(t *testing.T, o string) {
			writeFile(t, o+"/diary.txt", "mine")
			writeFile(t, o+"/docs/letter.txt", "mine")
			sign(t, o, keys()[0], func(l *manifest.List) {
				l.Files = append(slices.Clone(l.Files), manifest.File{Path: "diary.txt"},
					manifest.File{Path: "docs/letter.txt"})
			})
		}, []string{"diary.txt", "docs"}},
		{"a link in place of a directory", func(t *testing.T, o string) {
			if err := errors.Join(os.RemoveAll(o+"/packages"),
				os.Symlink("../second/packages", o+"/packages")); err != nil {
				t.Fatal(err)
			}
		}, []string{"packages"}},
		{"a link to a directory of the same origin", func(t *testing.T, o string) {
			if err := errors.Join(os.Rename(o+"/packages/app-misc", o+"/kept"),
				os.Symlink("../kept", o+"/packages/app-misc")); err != nil {
				t.Fatal(err)
			}
		}, []string{"kept", "packages/app-misc"}},
		{"a link in place of a file", func(t *testing.T, o string) {
			name := o + "/packages/app-misc/foo-1.tbz2"
			names, _ := filepath.Glob(o + "/packages/app-misc/foo*")
			for _, n := range names {
				os.Remove(n)
			}
			if err := os.Symlink("../../../second/packages/app-misc/foo-1.tbz2", name); err != nil {
				t.Fatal(err)
			}
		}, []string{"packages/app-misc/foo-1.tbz2"}},
		{"another spelling", func(t *testing.T, o string) {
			writeFile(t, o+"/docs/APP-MISC/foo-1.tbz2", "?")
		}, []string{"docs"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			mount, h := twoOrigins(t)
			kept := contents(t, mount, removedDir)
			origin := filepath.Join(mount, removedDir)
			test.spoil(t, origin)
			before := contents(t, origin, "")
			r, err := remove(t.Context(), mount, h.ring(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(r.Others, test.others) {
				t.Errorf("named %q, want %q", r.Others, test.others)
			}
			if have := contents(t, mount, removedDir); !maps.Equal(have, kept) {
				t.Errorf("outside of the origin: %v", slices.Sorted(maps.Keys(have)))
			}
			var left map[string]string
			if len(test.others) > 0 {
				left = contents(t, origin, "")
			} else if _, err := os.Lstat(origin); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("still there: %v", err)
			}
			for name, data := range left {
				if before[name] != data {
					t.Errorf("%q has changed", name)
				}
				if !slices.ContainsFunc(test.others, func(o string) bool {
					return name == o ||
						strings.HasPrefix(name, o+"/")
				}) {
					t.Errorf("%q is still there", name)
				}
				delete(before, name)
			}
			for name := range before {
				if slices.ContainsFunc(test.others, func(o string) bool {
					return name == o ||
						strings.HasPrefix(name, o+"/")
				}) {
					t.Errorf("%q is gone", name)
				}
			}
		})
	}
}

// An origin of which no list tells what belongs to it stays as it is.
func TestRemovalRefused(t *testing.T) {
	t.Parallel()
	spoil := func(data string) func(*testing.T, string) {
		return func(t *testing.T, o string) {
			for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
				if err := os.WriteFile(filepath.Join(o, name), []byte(data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	ring := manifest.Ring{keys()[0].Public(), keys()[1].Public()}
	for _, test := range []struct {
		name  string
		ring  manifest.Ring
		spoil func(*testing.T, string)
		want  any
	}{
		{"both torn", ring, spoil("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n"),
			new(*UnsignedError)},
		{"both blank", ring, spoil("\n\n\n\n"), new(*UnsignedError)},
		{"no manifest", ring, func(t *testing.T, o string) {
			os.Remove(o + "/" + layout.ManifestFile)
			os.Remove(o + "/" + layout.NextManifestFile)
		}, new(*UnsignedError)},
		{"signed by a key that nobody has", manifest.Ring{keys()[1].Public()},
			func(*testing.T, string) {}, new(*UnsignedError)},
		{"changed after it was signed", ring, func(t *testing.T, o string) {
			for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
				text, _ := os.ReadFile(filepath.Join(o, name))
				writeFile(t, filepath.Join(o, name), strings.Replace(string(text), "app-misc/foo",
					"app-misc/bar", 1))
			}
		}, new(*UnsignedError)},
		{"the origin is a link", ring, func(t *testing.T, o string) {
			if err := errors.Join(os.RemoveAll(o), os.Symlink("second", o)); err != nil {
				t.Fatal(err)
			}
		}, new(*drive.NoOriginError)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			mount, _ := twoOrigins(t)
			test.spoil(t, filepath.Join(mount, removedDir))
			before := contents(t, mount, "")
			_, err := remove(t.Context(), mount, test.ring, nil)
			if err == nil || !errors.As(err, test.want) {
				t.Fatalf("error %v, want %T", err, test.want)
			}
			if len(fault.Hints(err, "DRIVE")) == 0 {
				t.Errorf("%v has no hint", err)
			}
			if have := contents(t, mount, ""); !maps.Equal(have, before) {
				t.Error("something has changed")
			}
		})
	}
}

// Keys that sign no more are good for removing what they signed.
func TestRemovalByAPastKey(t *testing.T) {
	t.Parallel()
	mount, h := twoOrigins(t)
	revoked, err := h.key.Revoked(epoch)
	if err != nil {
		t.Fatal(err)
	}
	ring := manifest.Ring{revoked.Public()}
	r, err := remove(t.Context(), mount, ring, nil)
	if err != nil || r.Signer != h.key.Public().Fingerprint() || r.Name != "buildhost" ||
		len(r.Files) == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := os.Lstat(filepath.Join(mount, removedDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// If another signer's manifest lies beside the origin's, the origin's own files go, and the other's
// stay, whether its key is at hand or not; the next removal is the other's.
func TestRemovalBesideAnotherSigner(t *testing.T) {
	t.Parallel()
	const shared, own, theirs, left = "packages/app-misc/foo-1.tbz2",
		"packages/app-misc/own-1.tbz2", "packages/app-misc/theirs-1.tbz2",
		"packages/app-misc/left-1.tbz2"
	both := manifest.Ring{keys()[0].Public(), keys()[1].Public()}
	for _, test := range []struct {
		name  string
		ring  manifest.Ring
		later time.Duration // the other's
		stay  []string
	}{
		{"a key at hand", both, -time.Second, []string{layout.NextManifestFile, shared,
			left, theirs}},
		{"a key at hand, newer, of no origin of this name", both, time.Second,
			[]string{layout.NextManifestFile, shared, left, theirs}},
		{"a key that nobody has", both[:1], time.Second,
			[]string{layout.NextManifestFile, left, theirs}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			mount := tempDir(t)
			h := small()
			h.pkg(strings.TrimPrefix(own, "packages/"), "own")
			mustExport(t, h, mount)
			origin := filepath.Join(mount, removedDir)
			for _, name := range []string{theirs, left} {
				writeFile(t, filepath.Join(origin, name), "?")
			}
			text, err := os.ReadFile(filepath.Join(origin, layout.ManifestFile))
			if err != nil {
				t.Fatal(err)
			}
			sign(t, origin, keys()[1], func(l *manifest.List) {
				l.Timestamp = l.Timestamp.Add(test.later)
				serial := l.Timestamp.Unix()
				l.Files = []manifest.File{{Path: theirs}, {Path: shared},
					{Path: layout.RecordFile(serial)}, {Path: layout.CatalogueFile(serial)}}
			})
			writeFile(t, filepath.Join(origin, layout.ManifestFile), string(text))
			r, err := remove(t.Context(), mount, test.ring, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Signer != keys()[0].Public().Fingerprint() || r.Beside == "" {
				t.Errorf("signer %s beside %s", r.Signer, r.Beside)
			}
			left := slices.Sorted(maps.Keys(contents(t, origin, "")))
			if slices.Sort(test.stay); !slices.Equal(left, test.stay) ||
				!slices.Equal(r.Others, test.stay) {
				t.Errorf("left %q, named %q, want %q", left, r.Others, test.stay)
			}
			r, err = remove(t.Context(), mount, both, nil)
			if err != nil || r.Signer != keys()[1].Public().Fingerprint() || len(r.Others) > 0 {
				t.Errorf("the other's: %+v, %v", r, err)
			}
		})
	}
}

// Both copies of the manifest may be valid, of two generations: what either names goes, also under
// a name that no layout makes.
func TestRemovalOfTwoGenerations(t *testing.T) {
	t.Parallel()
	mount, h := twoOrigins(t)
	origin := filepath.Join(mount, removedDir)
	newest, err := os.ReadFile(filepath.Join(origin, layout.ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	sign(t, origin, keys()[0], func(l *manifest.List) {
		l.Timestamp = l.Timestamp.Add(-time.Second)
		serial := l.Timestamp.Unix()
		l.Files = []manifest.File{{Path: "packages/of-old"}, {Path: layout.RecordFile(serial)},
			{Path: layout.CatalogueFile(serial)}}
	})
	writeFile(t, filepath.Join(origin, layout.ManifestFile), string(newest))
	writeFile(t, filepath.Join(origin, "packages/of-old"), "listed by the older one only")
	r, err := remove(t.Context(), mount, h.ring(), nil)
	if err != nil || len(r.Others) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := os.Lstat(origin); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// Once the manifest of an origin is gone, its removal ends: what lies there under no name of the
// layout is named, and stays; under such a name it may be anybody's.
func TestRemovalWithoutManifest(t *testing.T) {
	t.Parallel()
	mount, h := twoOrigins(t)
	origin := filepath.Join(mount, removedDir)
	lay(t, origin, "packages/app-misc/diary")
	for _, when := range []string{"first", "again"} {
		r, err := remove(t.Context(), mount, h.ring(), nil)
		if err != nil || !slices.Equal(r.Others, []string{"packages/app-misc/diary"}) {
			t.Fatalf("%s: %+v, %v", when, r, err)
		}
		if left := contents(t, origin, ""); len(left) != 1 {
			t.Errorf("%s: %v", when, left)
		}
	}
	lay(t, origin, "packages/app-misc/foo-1.tbz2")
	var unsigned *UnsignedError
	if _, err := remove(t.Context(), mount, h.ring(), nil); !errors.As(err, &unsigned) {
		t.Errorf("with a package: %v", err)
	}
	for _, file := range []string{"packages/app-misc/foo-1.tbz2", "packages/app-misc/diary"} {
		if err := os.Remove(filepath.Join(origin, file)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := remove(t.Context(), mount, h.ring(), nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(origin); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the origin: %v", err)
	}
}
