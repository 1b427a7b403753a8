package roundtrip

import (
	"maps"
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
)

// unreadable are the ways in which the last generation of an origin is lost while its files are
// there.
var unreadable = map[string]func(t *testing.T, origin string){
	"the record is damaged": func(t *testing.T, origin string) {
		names, err := filepath.Glob(filepath.Join(origin, layout.GenerationDir, "*.json"))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		rot(t, names[0])
	},
	"the record is gone": func(t *testing.T, origin string) {
		names, _ := filepath.Glob(filepath.Join(origin, layout.GenerationDir, "*.json"))
		remove(t, names[0])
	},
	"both copies of the manifest are torn": func(t *testing.T, origin string) {
		for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
			name = filepath.Join(origin, name)
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			clear(data[300:])
			write(t, name, string(data))
		}
	},
}

// payloadOf are the files below an origin's directory that are no generation's own.
func payloadOf(t *testing.T, origin string) map[string]string {
	t.Helper()
	all := files(t, origin)
	maps.DeleteFunc(all, func(name, _ string) bool {
		_, _, payload := layout.KindOf(name)
		return !payload && name != layout.LayoutFile
	})
	return all
}

// checkDrive fails unless verify finds nothing wrong, and a new client gets all that the host has.
func checkDrive(t *testing.T, host machine.Machine, mount string) {
	t.Helper()
	v, err := inspect.Verify(t.Context(), host, inspect.VerifyOptions{Drive: mount}, nil)
	if err != nil || len(v.Origins) != 1 || v.Origins[0].Err != nil ||
		len(v.Origins[0].Bad)+len(v.Origins[0].Stale) > 0 {
		t.Fatalf("verify: %v, %+v", err, v)
	}
	client := newMachine(t, "client", epoch)
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	for _, dirs := range [][2]string{{host.PKGDIR, client.PKGDIR}, {host.DISTDIR, client.DISTDIR}} {
		want, have := files(t, dirs[0]), files(t, dirs[1])
		for name, data := range want {
			if name != "Packages" && have[name] != data {
				t.Errorf("the client's %s is not the host's", name)
			}
		}
	}
}

// A generation that cannot be read, on a drive which is fuller than half: what lies there and is as
// it should be is listed again where it is, and nothing is written twice, whatever is remembered of
// it.
func TestGenerationThatCannotBeRead(t *testing.T) {
	for name, spoil := range unreadable {
		for _, forgotten := range []bool{false, true} {
			if forgotten && name == "the record is gone" {
				continue // as with a damaged one
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				host := newMachine(t, "host", epoch)
				host.Executable = staticProgram(t)
				pack(t, host.PKGDIR, "mixed")
				random(t, filepath.Join(host.DISTDIR, "a.tgz"), 5<<20) // in two parts
				random(t, filepath.Join(host.DISTDIR, "b c.tgz"), 1000)
				write(t, filepath.Join(host.DISTDIR, "rebuilt.tgz"), "one")
				mount := filepath.Join(t.TempDir(), "stick")
				smallDisk(t, mount, "13m")
				o := exporter.ExportOptions{Drive: mount, PartSize: 3 << 20}
				mustExport(t, host, o)
				// it has another name from now on
				write(t, filepath.Join(host.DISTDIR, "rebuilt.tgz"), "two")
				mustExport(t, host, o)
				origin := filepath.Join(mount, "pkgsneak", "host")
				before := payloadOf(t, origin)
				spoil(t, origin)
				if forgotten {
					forgetDigests(t, host)
				}
				r := mustExport(t, host, o)
				if len(r.Copied)+len(r.Removed)+len(r.LeftOut) > 0 || r.Unchanged || r.Serial == 0 {
					t.Errorf("%+v", r)
				}
				if !slices.ContainsFunc(r.Notices, func(s string) bool {
					return strings.Contains(s, "cannot be read") && strings.Contains(s, "stay")
				}) {
					t.Errorf("nobody was told: %q", r.Notices)
				}
				if after := payloadOf(t, origin); !maps.Equal(after, before) {
					t.Errorf("the drive has %q, and had %q", slices.Sorted(maps.Keys(after)),
						slices.Sorted(maps.Keys(before)))
				}
				checkDrive(t, host, mount)
				if r := mustExport(t, host, o); !r.Unchanged {
					t.Errorf("the next export: %+v", r)
				}
			})
		}
	}
}

// One of the files is another one by now, and fits only in the place of what goes. Of a kind that
// is switched off stays what the host has.
func TestGenerationThatCannotBeReadAndChanges(t *testing.T) {
	for name, spoil := range unreadable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := newMachine(t, "host", epoch)
			pack(t, host.PKGDIR, "mixed")
			random(t, filepath.Join(host.DISTDIR, "a.tgz"), 5<<20)
			random(t, filepath.Join(host.DISTDIR, "b.tgz"), 1<<20)
			mount := filepath.Join(t.TempDir(), "stick")
			smallDisk(t, mount, "14m")
			o := exporter.ExportOptions{Drive: mount}
			mustExport(t, host, o)
			origin := filepath.Join(mount, "pkgsneak", "host")
			before := payloadOf(t, origin)
			spoil(t, origin)
			off := o
			off.NoDistfiles, off.NoPackages = true, false
			if r := mustExport(t, host, off); len(r.Copied)+len(r.Removed) > 0 {
				t.Errorf("%+v", r)
			}
			if after := payloadOf(t, origin); !maps.Equal(after, before) {
				t.Errorf("with --no-distfiles the drive has %q, and had %q",
					slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
			}
			checkDrive(t, host, mount)

			spoil(t, origin)
			random(t, filepath.Join(host.DISTDIR, "a.tgz"), 5<<20+1)
			when := epoch.Add(time.Hour)
			host.Now = func() time.Time { return when }
			r := mustExport(t, host, o)
			if len(r.Copied) != 1 || r.Copied[0].Path != "a.tgz" {
				t.Errorf("%+v", r.Copied)
			}
			after := payloadOf(t, origin)
			for name := range before {
				if _, ok := after[name]; !ok {
					t.Errorf("%s is not there any more", name)
				}
			}
			if len(after) != len(before) {
				t.Errorf("the drive has %q, and had %q", slices.Sorted(maps.Keys(after)),
					slices.Sorted(maps.Keys(before)))
			}
			checkDrive(t, host, mount)

			// A PKGDIR that is not mounted is no deletion here either.
			spoil(t, origin)
			before = payloadOf(t, origin)
			for name := range files(t, host.PKGDIR) {
				remove(t, filepath.Join(host.PKGDIR, name))
			}
			o.AnyDirectory = true
			if r, err := exporter.Export(t.Context(), host, o,
				nil); !IsA[*exporter.ShrinkError](err) {
				t.Errorf("%v, %+v", err, r)
			}
			if after := payloadOf(t, origin); !maps.Equal(after, before) {
				t.Error("something is gone")
			}
		})
	}
}

// While an origin cannot be read, nothing is pruned that another one has given up: it may have it.
// One whose signer is not believed holds nothing back.
func TestPruneBesideAnUnreadableOrigin(t *testing.T) {
	gone := map[string]func(t *testing.T,
		origin string){"both copies of the manifest are gone": func(t *testing.T, origin string) {
		remove(t, filepath.Join(origin, layout.ManifestFile))
		remove(t, filepath.Join(origin, layout.NextManifestFile))
	}}
	maps.Copy(gone, unreadable)
	for name, spoil := range gone {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, client, mount := newMachine(t, "a", epoch), newMachine(t, "b",
				epoch), newMachine(t, "client", epoch), t.TempDir()
			write(t, filepath.Join(a.DISTDIR, "stays.tgz"), "a's")
			write(t, filepath.Join(a.DISTDIR, "moves.tgz"), "a's, then b's")
			write(t, filepath.Join(b.DISTDIR, "own.tgz"), "b's")
			for _, m := range []machine.Machine{a, b} {
				mustExport(t, m, exporter.ExportOptions{Drive: mount})
				trustEach(t, client, m)
			}
			mustImport(t, client, importer.ImportOptions{Drive: mount})
			remove(t, filepath.Join(a.DISTDIR, "moves.tgz"))
			write(t, filepath.Join(b.DISTDIR, "moves.tgz"), "a's, then b's")
			for _, m := range []machine.Machine{a, b} {
				mustExport(t, m, exporter.ExportOptions{Drive: mount})
			}
			spoil(t, filepath.Join(mount, "pkgsneak", "b"))
			o := importer.ImportOptions{Drive: mount, Prune: true}
			r := mustImport(t, client, o)
			if len(r.Refused) != 1 || len(r.Origins) != 1 || len(r.Origins[0].Pruned) > 0 {
				t.Fatalf("%+v", r)
			}
			if h := r.Origins[0].Plan.Held; len(h) != 1 || h[0].Tally.Files != 1 ||
				!strings.Contains(h[0].Reason, `"b" cannot be read`) || h[0].Hint == "" {
				t.Errorf("held: %+v", h)
			}
			if have := files(t, client.DISTDIR); have["moves.tgz"] == "" {
				t.Errorf("the client has %q", slices.Sorted(maps.Keys(have)))
			}

			never := newMachine(t, "never", epoch)
			trustEach(t, never, a)
			mustImport(t, never, importer.ImportOptions{Drive: mount, Origin: "a"})
			write(t, filepath.Join(b.DISTDIR, "again.tgz"), "so that it is written again")
			mustExport(t, b, exporter.ExportOptions{Drive: mount})
			remove(t, filepath.Join(a.DISTDIR, "stays.tgz"))
			write(t, filepath.Join(a.DISTDIR, "new.tgz"), "a's")
			mustExport(t, a, exporter.ExportOptions{Drive: mount})
			r = mustImport(t, client, o)
			if have := files(t, client.DISTDIR); have["moves.tgz"] == "" ||
				have["stays.tgz"] != "" {
				t.Errorf("the client has %q, %+v", slices.Sorted(maps.Keys(have)),
					r.Origins[0].Plan.Held)
			}
			mustImport(t, never, o) // b's key is not trusted there
			if have := files(t, never.DISTDIR); have["stays.tgz"] != "" || have["new.tgz"] == "" {
				t.Errorf("the client of a alone has %q", slices.Sorted(maps.Keys(have)))
			}
		})
	}
}
