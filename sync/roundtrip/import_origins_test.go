package roundtrip

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/reindex"
)

// twoOrigins are two hosts that exported to one drive, and a client that trusts both.
func twoOrigins(t *testing.T) (a, b, client machine.Machine, mount string) {
	t.Helper()
	a, b, client, mount = newMachine(t, "a", epoch), newMachine(t, "b", epoch), newMachine(t,
		"client", epoch), t.TempDir()
	pack(t, a.PKGDIR, "xpak-classic")
	pack(t, b.PKGDIR, "gpkg-multi")
	for _, host := range []machine.Machine{a, b} {
		mustExport(t, host, exporter.ExportOptions{Drive: mount})
		trustEach(t, client, host)
	}
	return a, b, client, mount
}

// changeByte changes the last byte of the one file that a pattern below a drive's tree matches.
func changeByte(t *testing.T, mount, pattern string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(mount, "pkgsneak", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	write(t, found[0], string(data))
}

func TestOneOriginThatIsRefusedStopsNoOther(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, a, client machine.Machine, mount string)
		is   func(error) bool
	}{
		{"damaged record", func(t *testing.T, _, _ machine.Machine, mount string) {
			changeByte(t, mount, "a/generation/*.json")
		}, IsA[*drive.DamagedError]},
		{"damaged catalogue", func(t *testing.T, _, _ machine.Machine, mount string) {
			changeByte(t, mount, "a/generation/*.Packages.zst")
		}, IsA[*drive.DamagedError]},
		{"missing catalogue", func(t *testing.T, _, _ machine.Machine, mount string) {
			found, err := filepath.Glob(filepath.Join(mount,
				"pkgsneak/a/generation/*.Packages.zst"))
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			remove(t, found[0])
		}, IsA[*drive.DamagedError]},
		{"forged list", func(t *testing.T, _, _ machine.Machine, mount string) {
			for _, name := range []string{"Manifest", "Manifest.next"} {
				file := filepath.Join(mount, "pkgsneak/a", name)
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				write(t, file, string(bytes.Replace(data, []byte("DATA packages/app"),
					[]byte("DATA packages/bpp"), 1)))
			}
		}, IsA[*manifest.SignatureError]},
		{"older generation", func(t *testing.T, a, client machine.Machine, mount string) {
			newer := t.TempDir()
			if err := os.CopyFS(newer, os.DirFS(mount)); err != nil {
				t.Fatal(err)
			}
			rebuild(t, filepath.Join(a.PKGDIR, "app-misc/labhello-1.0-r2.tbz2"))
			mustExport(t, a, exporter.ExportOptions{Drive: newer})
			mustImport(t, client, importer.ImportOptions{Drive: newer, Origin: "a"})
			forgetLists(t, client)
		}, IsA[*importer.OlderError]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b, client, mount := twoOrigins(t)
			tc.harm(t, a, client, mount)
			r := mustImport(t, client, importer.ImportOptions{Drive: mount})
			if len(r.Refused) != 1 || r.Refused[0].Origin != "a" || !tc.is(r.Refused[0].Err) {
				t.Fatalf("refused: %+v", r.Refused)
			}
			// no export comes from a host that is gone
			if IsA[*drive.DamagedError](r.Refused[0].Err) {
				hints := strings.Join(fault.Hints(r.Refused[0].Err, "D"), "; ")
				if !strings.HasPrefix(r.Refused[0].Reason, `origin "a": `) ||
					!strings.Contains(hints, "pkgsneak export D") ||
					!strings.Contains(hints, "pkgsneak forget a D") {
					t.Errorf("%s; %s", r.Refused[0].Reason, hints)
				}
			}
			if len(r.Origins) != 1 || r.Origins[0].Plan.Origin != "b" ||
				len(r.Origins[0].LeftOut) > 0 {
				t.Fatalf("imported: %+v", r.Origins)
			}
			here := files(t, client.PKGDIR)
			for name, data := range files(t, b.PKGDIR) {
				if name != "Packages" && here[name] != data {
					t.Errorf("%q of the other origin is not here", name)
				}
			}
			if _, err := importer.Import(t.Context(), client,
				importer.ImportOptions{Drive: mount, Origin: "a"}, nil); err == nil || !tc.is(err) {
				t.Errorf("alone: %v", err)
			}
		})
	}
}

// give puts a file of a golden layout into a PKGDIR under the same path, without an index.
func give(t *testing.T, pkgdir, layout, path string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(golden, layout, "pkgdir", path))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(pkgdir, path), string(data))
}

// settled fails the test unless another import with the same options finds nothing to do.
func settled(t *testing.T, client machine.Machine, o importer.ImportOptions) {
	t.Helper()
	before := files(t, client.PKGDIR)
	r := mustImport(t, client, o)
	if !r.Unchanged {
		t.Errorf("the next import did something: %+v", r.Origins[0])
	}
	if after := files(t, client.PKGDIR); len(after) != len(before) {
		t.Errorf("%d files after the next import, %d before", len(after), len(before))
	}
}

func TestAFileBelongsToEveryOriginThatListsIt(t *testing.T) {
	const shared = "app-misc/labhello-1.0-r2.tbz2"
	for _, tc := range []struct {
		name    string
		apart   bool // the origins are on two drives
		changes func(t *testing.T, a machine.Machine)
		beside  bool // the first origin's new build goes beside
	}{
		{"dropped", false, func(t *testing.T, a machine.Machine) {
			removePackage(t, a, shared)
			remove(t, filepath.Join(a.DISTDIR, "source.tar"))
		}, false},
		{"replaced", false, func(t *testing.T, a machine.Machine) {
			rebuild(t, filepath.Join(a.PKGDIR, shared))
			write(t, filepath.Join(a.DISTDIR, "source.tar"), "another")
		}, true},
		{"dropped, and the other drive is not here", true, func(t *testing.T, a machine.Machine) {
			removePackage(t, a, shared)
			remove(t, filepath.Join(a.DISTDIR, "source.tar"))
		}, false},
		{"replaced, and the other drive is not here", true, func(t *testing.T, a machine.Machine) {
			rebuild(t, filepath.Join(a.PKGDIR, shared))
			write(t, filepath.Join(a.DISTDIR, "source.tar"), "another")
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b, client := newMachine(t, "a", epoch), newMachine(t, "b", epoch), newMachine(t,
				"client", epoch)
			first, second := t.TempDir(), t.TempDir()
			if !tc.apart {
				second = first
			}
			for host, mount := range map[*machine.Machine]string{&a: first, &b: second} {
				pack(t, host.PKGDIR, "xpak-classic")
				write(t, filepath.Join(host.DISTDIR, "source.tar"), "the same")
				write(t, filepath.Join(host.DISTDIR, host.Hostname+".tar"), host.Hostname)
				mustExport(t, *host, exporter.ExportOptions{Drive: mount})
				trustEach(t, client, *host)
			}
			mustImport(t, client, importer.ImportOptions{Drive: first})
			mustImport(t, client, importer.ImportOptions{Drive: second})
			old := files(t, b.PKGDIR)[shared]

			tc.changes(t, a)
			mustExport(t, a, exporter.ExportOptions{Drive: first})
			r := mustImport(t, client, importer.ImportOptions{Drive: first, Prune: true})
			here := files(t, client.PKGDIR)
			if here[shared] != old || files(t, client.DISTDIR)["source.tar"] != "the same" {
				t.Error("what the other origin still lists is not here any more")
			}
			beside := here["app-misc/labhello/labhello-1.0-r2-1.xpak"]
			if (beside != "") != tc.beside || tc.beside && beside != files(t, a.PKGDIR)[shared] {
				t.Errorf("beside it lie %d bytes: %+v", len(beside), r.Origins[0].Plan)
			}
			settled(t, client, importer.ImportOptions{Drive: first, Prune: true})
			settled(t, client, importer.ImportOptions{Drive: second, Prune: true})

			removePackage(t, b, shared)
			remove(t, filepath.Join(b.DISTDIR, "source.tar"))
			mustExport(t, b, exporter.ExportOptions{Drive: second})
			mustImport(t, client, importer.ImportOptions{Drive: second, Prune: true})
			if _, ok := files(t, client.PKGDIR)[shared]; ok {
				t.Error("what no origin lists any longer was not pruned")
			}
			if tc.beside &&
				files(t, client.PKGDIR)["app-misc/labhello/labhello-1.0-r2-1.xpak"] != beside {
				t.Error("the build of the first origin is not here any more")
			}
		})
	}
}

func TestWhatWasPutBesideHasANameThatTheOriginUses(t *testing.T) {
	const plain, numbered = "app-misc/labhello-1.0-r2.tbz2",
		"app-misc/labhello/labhello-1.0-r2-1.xpak"
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	give(t, host.PKGDIR, "xpak-classic", plain)
	give(t, client.PKGDIR, "xpak-classic", plain)
	rebuild(t, filepath.Join(client.PKGDIR, plain)) // a local one has the name
	local := files(t, client.PKGDIR)[plain]
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	if files(t, client.PKGDIR)[numbered] != files(t, host.PKGDIR)[plain] {
		t.Fatal("the origin's is not beside the local one")
	}

	// The origin rebuilds it, and has a second instance whose own name is the one that was given
	// here.
	second := files(t, host.PKGDIR)[plain]
	write(t, filepath.Join(host.PKGDIR, numbered), second)
	rebuild(t, filepath.Join(host.PKGDIR, numbered))
	rebuild(t, filepath.Join(host.PKGDIR, plain))
	rebuild(t, filepath.Join(host.PKGDIR, plain))
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	r := mustImport(t, client, importer.ImportOptions{Drive: mount})
	theirs, here := files(t, host.PKGDIR), files(t, client.PKGDIR)
	want := map[string]string{plain: local, numbered: theirs[plain],
		"app-misc/labhello/labhello-1.0-r2-2.xpak": theirs[numbered]}
	for name, data := range want {
		if here[name] != data {
			t.Errorf("%q is not what it should be", name)
		}
	}
	if len(here) != len(want)+1 {
		t.Errorf("%d files with the index, want %d", len(here), len(want)+1)
	}
	places := make(map[string]string)
	for _, it := range r.Origins[0].Copied {
		places[it.Path] = it.Local
	}
	if len(places) != 2 || places[plain] != numbered ||
		places[numbered] != "app-misc/labhello/labhello-1.0-r2-2.xpak" {
		t.Errorf("reported: %v", places)
	}
	settled(t, client, importer.ImportOptions{Drive: mount})

	// A file that the origin loses is pruned under the names that it has here.
	remove(t, filepath.Join(host.PKGDIR, numbered))
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true})
	here = files(t, client.PKGDIR)
	if _, stale := here["app-misc/labhello/labhello-1.0-r2-2.xpak"]; stale ||
		here[plain] != local || here[numbered] != theirs[plain] {
		t.Error("the wrong file was pruned")
	}
}

// pruned gives a client that has all of a host's packages, of which the host then lost some.
func pruned(t *testing.T, lost ...string) (host, client machine.Machine, mount string) {
	t.Helper()
	host, client, mount = newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	for _, path := range lost {
		remove(t, filepath.Join(host.PKGDIR, path))
	}
	mustExport(t, host, exporter.ExportOptions{Drive: mount, AllowShrink: true})
	return host, client, mount
}

func TestPruneLeavesAPackageThatWasRebuiltHere(t *testing.T) {
	const gone = "app-misc/labhello-1.0-r2.tbz2"
	_, client, mount := pruned(t, gone)
	rebuild(t, filepath.Join(client.PKGDIR, gone))
	own := files(t, client.PKGDIR)[gone]
	mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true})
	if files(t, client.PKGDIR)[gone] != own {
		t.Error("the client's own build was pruned")
	}
}

func TestAnOlderGenerationPrunesNothing(t *testing.T) {
	const added = "app-misc/labhello-1.0-r2.tbz2"
	host, client, newer := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	late := files(t, host.PKGDIR)[added]
	remove(t, filepath.Join(host.PKGDIR, added))
	mustExport(t, host, exporter.ExportOptions{Drive: newer})
	older := t.TempDir()
	if err := os.CopyFS(older, os.DirFS(newer)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(host.PKGDIR, added), late)
	mustExport(t, host, exporter.ExportOptions{Drive: newer})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: newer})
	for _, allow := range []bool{false, true} {
		r := mustImport(t, client, importer.ImportOptions{Drive: older, Prune: true,
			AllowOlder: allow})
		if len(r.Origins) != 1 || !r.Origins[0].Plan.Older || len(r.Origins[0].Pruned) > 0 {
			t.Errorf("allowed %v: %+v", allow, r.Origins)
		}
		if files(t, client.PKGDIR)[added] != late {
			t.Fatal("an older generation pruned what it does not have yet")
		}
	}
	if r := mustImport(t, client, importer.ImportOptions{Drive: newer, Prune: true}); !r.Unchanged {
		t.Errorf("the newest is not all here: %+v", r.Origins[0])
	}
}

func TestPruneGoesByWhatTheOriginHas(t *testing.T) {
	host, client, _ := pruned(t)
	before := len(files(t, client.PKGDIR))
	small := t.TempDir()
	write(t, filepath.Join(host.DISTDIR, "new.tar"), "new")
	mustExport(t, host, exporter.ExportOptions{Drive: small, NoPackages: true})
	r := mustImport(t, client, importer.ImportOptions{Drive: small, Prune: true, AllowShrink: true})
	if held := r.Origins[0].Plan.Held; len(held) != 1 || held[0].Tally.Files != before-1 ||
		!strings.Contains(held[0].Reason, "--no-packages") || held[0].Hint != "" {
		t.Errorf("held: %+v", held)
	}
	if len(files(t, client.PKGDIR)) != before || len(r.Origins[0].Pruned) > 0 {
		t.Errorf("a drive that carries no packages pruned them: %+v", r.Origins[0].Pruned)
	}
	if r.Origins[0].Gone.Files > 0 {
		t.Errorf("%d files are said to have left the origin", r.Origins[0].Gone.Files)
	}
}

func TestPruneOfMoreThanHalfHasToBeAllowed(t *testing.T) {
	entries, err := filepath.Glob(golden + "xpak-classic/pkgdir/*/*.tbz2")
	if err != nil {
		t.Fatal(err)
	}
	var lost []string
	for _, e := range entries[:len(entries)/2+1] {
		rel, _ := filepath.Rel(golden+"xpak-classic/pkgdir", e)
		lost = append(lost, rel)
	}
	_, client, mount := pruned(t, lost...)
	r := mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true})
	if held := r.Origins[0].Plan.Held; len(held) != 1 || held[0].Tally.Files != len(lost) ||
		held[0].Hint == "" || len(r.Origins[0].Pruned) > 0 {
		t.Errorf("held %+v, pruned %v", held, r.Origins[0].Pruned)
	}
	if n := len(files(t, client.PKGDIR)); n != len(entries)+1 {
		t.Fatalf("%d files, want all and the index", n)
	}
	r = mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true, AllowShrink: true})
	if len(r.Origins[0].Pruned) != len(lost) || r.Origins[0].Gone.Files > 0 {
		t.Errorf("pruned %v", r.Origins[0].Pruned)
	}
	settled(t, client, importer.ImportOptions{Drive: mount, Prune: true})
}

func TestADISTDIRThatCannotBeWrittenStopsNoPackages(t *testing.T) {
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	write(t, filepath.Join(host.DISTDIR, "here.tar"), "here")
	write(t, filepath.Join(host.DISTDIR, "new.tar"), "new")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	write(t, filepath.Join(client.DISTDIR, "here.tar"), "here")
	if err := unix.Mount(client.DISTDIR, client.DISTDIR, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(client.DISTDIR, unix.MNT_DETACH) })
	if err := unix.Mount("", client.DISTDIR, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY,
		""); err != nil {
		t.Fatal(err)
	}
	for _, pretend := range []bool{true, false} {
		r := mustImport(t, client, importer.ImportOptions{Drive: mount,
			Pretend: pretend, Prune: true})
		o := r.Origins[0]
		if len(o.LeftOut) != 1 || o.LeftOut[0].Path != "new.tar" ||
			!strings.Contains(o.LeftOut[0].Reason, "cannot be written") ||
			o.Plan.Present.Files != 1 {
			t.Errorf("pretend %v: left out %+v, present %+v", pretend, o.LeftOut, o.Plan.Present)
		}
		if !pretend && r.Packages != 12 {
			t.Errorf("%d packages in the index", r.Packages)
		}
	}
}

// The directory of one kind cannot be opened or written: the files of the other come in all the
// same.
func TestADirectoryOfOneKindStopsNotTheOther(t *testing.T) {
	host, mount := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	write(t, filepath.Join(host.DISTDIR, "new.tar"), "new")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	readOnly := func(t *testing.T, dir string) {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("nothing can be mounted here: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY,
			""); err != nil {
			t.Fatal(err)
		}
	}
	aLink := func(t *testing.T, dir string) {
		remove(t, dir)
		if err := os.Symlink("nowhere", dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, harm := range map[string]func(*testing.T, string){"read-only": readOnly,
		"a dangling link": aLink} {
		for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
			t.Run(fmt.Sprint(kind, " ", name), func(t *testing.T) {
				client := newMachine(t, "client", epoch)
				trustEach(t, client, host)
				dir, left, copied := client.PKGDIR, 12, 1
				if kind == payload.Distfile {
					dir, left, copied = client.DISTDIR, 1, 12
				}
				harm(t, dir)
				for _, pretend := range []bool{true, false} {
					o := mustImport(t, client, importer.ImportOptions{Drive: mount,
						Pretend: pretend, Prune: true}).Origins[0]
					if len(o.LeftOut) != left || o.LeftOut[0].Kind != kind ||
						!strings.HasSuffix(o.LeftOut[0].Hint, fmt.Sprintf("--no-%ss", kind)) ||
						!pretend && len(o.Copied) != copied {
						t.Errorf("pretend %v: left out %+v, copied %v", pretend,
							o.LeftOut, o.Copied)
					}
				}
			})
		}
	}
}

// A file in the place of PKGDIR or DISTDIR is a wrong setting, and reported before anything is
// copied.
func TestAFileInThePlaceOfADirectory(t *testing.T) {
	t.Parallel()
	host, mount := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	write(t, filepath.Join(host.DISTDIR, "new.tar"), "new")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		client := newMachine(t, "client", epoch)
		trustEach(t, client, host)
		dir, other := client.PKGDIR, client.DISTDIR
		if kind == payload.Distfile {
			dir, other = other, dir
		}
		remove(t, dir)
		write(t, dir, "a file")
		var file *drive.NoDirectoryError
		if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: mount},
			nil); !errors.As(err, &file) || file.Dir != dir {
			t.Errorf("%s: %v", kind, err)
		}
		if got := files(t, other); len(got) > 0 {
			t.Errorf("%s: copied %v", kind, got)
		}
		leave := importer.ImportOptions{Drive: mount, NoPackages: kind == payload.Package,
			NoDistfiles: kind == payload.Distfile}
		if r := mustImport(t, client, leave); len(r.Origins[0].Copied) == 0 {
			t.Errorf("%s: without it nothing comes", kind)
		}
	}
}

func TestTwoOriginsBesideOneLocalPackage(t *testing.T) {
	const plain = "app-misc/labhello-1.0-r2.tbz2"
	a, b, client, mount := newMachine(t, "a", epoch), newMachine(t, "b", epoch), newMachine(t,
		"client", epoch), t.TempDir()
	give(t, client.PKGDIR, "xpak-classic", plain)
	for _, host := range []machine.Machine{a, b} {
		give(t, host.PKGDIR, "xpak-classic", plain)
		rebuild(t, filepath.Join(host.PKGDIR, plain))
	}
	rebuild(t, filepath.Join(b.PKGDIR, plain))
	local := files(t, client.PKGDIR)[plain]
	for _, host := range []machine.Machine{a, b} {
		mustExport(t, host, exporter.ExportOptions{Drive: mount})
		trustEach(t, client, host)
	}
	planned := mustImport(t, client, importer.ImportOptions{Drive: mount, Pretend: true})
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	here := files(t, client.PKGDIR)
	for i, host := range []machine.Machine{a, b} {
		place := planned.Origins[i].Plan.Beside[0].Local
		if here[place] != files(t, host.PKGDIR)[plain] {
			t.Errorf("%s's package is not at %q, as planned", host.Hostname, place)
		}
	}
	if here[plain] != local || len(here) != 4 {
		t.Errorf("%d files, want three packages and the index", len(here))
	}
	settled(t, client, importer.ImportOptions{Drive: mount, Prune: true})
}

// The origin rebuilds a package that was put beside a local one, and the local one has the very
// bytes of the new build: the old build goes with --prune, and only it.
func TestRebuildThatIsHereAlready(t *testing.T) {
	const plain = "app-misc/labhello-1.0-r2.tbz2"
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	give(t, host.PKGDIR, "xpak-classic", plain)
	give(t, client.PKGDIR, "xpak-classic", plain)
	rebuild(t, filepath.Join(client.PKGDIR, plain))
	local := files(t, client.PKGDIR)[plain]
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	if n := len(files(t, client.PKGDIR)); n != 3 {
		t.Fatalf("%d files, want two packages and the index", n)
	}
	rebuild(t, filepath.Join(host.PKGDIR, plain))
	if files(t, host.PKGDIR)[plain] != local {
		t.Fatal("the builds differ")
	}
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	r := mustImport(t, client, importer.ImportOptions{Drive: mount, AllowShrink: true})
	if n := len(files(t, client.PKGDIR)); n != 3 || len(r.Origins[0].Plan.Prune) != 1 {
		t.Errorf("%d files, to be pruned: %+v", n, r.Origins[0].Plan.Prune)
	}
	mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true, AllowShrink: true})
	if here := files(t, client.PKGDIR); len(here) != 2 || here[plain] != local {
		t.Errorf("has %d files", len(here))
	}
	settled(t, client, importer.ImportOptions{Drive: mount, Prune: true})
}

// A package that somebody removed here is forgotten by the next import that does not bring it
// again, and counts nowhere; where nearly all are gone at once the directory is rather not mounted,
// and what came from the origin stays its.
func TestRowsOfFilesThatAreGone(t *testing.T) {
	host, client, mount := newMachine(t, "bighost", epoch), newMachine(t, "client",
		epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	var left []string
	for path := range files(t, client.PKGDIR) {
		if strings.HasSuffix(path, ".tbz2") {
			left = append(left, path)
		}
	}
	slices.Sort(left)
	lost := left[0]
	remove(t, filepath.Join(client.PKGDIR, lost))
	left = left[1:]
	small := t.TempDir()
	for i, step := range []func(){func() {}, func() {
		if err := errors.Join(os.Rename(client.PKGDIR, client.PKGDIR+".away"),
			os.Mkdir(client.PKGDIR, 0o755)); err != nil {
			t.Fatal(err)
		}
	}} {
		step()
		write(t, filepath.Join(host.DISTDIR, strings.Repeat("n", i+1)+".tar"), "new")
		mustExport(t, host, exporter.ExportOptions{Drive: small, NoPackages: true})
		r := mustImport(t, client, importer.ImportOptions{Drive: small})
		rows(t, client, payload.Package, left...)
		held := r.Origins[0].Plan.Held
		if i == 0 && (len(held) != 1 || held[0].Tally.Files != len(left)) ||
			i == 1 && len(held) > 0 {
			t.Errorf("held: %+v, of %d that are left", held, len(left))
		}
	}
	if err := errors.Join(os.RemoveAll(client.PKGDIR),
		os.Rename(client.PKGDIR+".away", client.PKGDIR)); err != nil {
		t.Fatal(err)
	}
	for _, path := range append(left[:len(left)-1:len(left)-1], lost) {
		remove(t, filepath.Join(host.PKGDIR, path))
	}
	mustExport(t, host, exporter.ExportOptions{Drive: mount, AllowShrink: true})
	if r := mustImport(t, client, importer.ImportOptions{Drive: mount,
		Prune: true}); len(r.Origins[0].Plan.Held) != 1 {
		t.Errorf("more than half of what is here was pruned: %+v", r.Origins[0].Pruned)
	}
	mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true, AllowShrink: true})
	rows(t, client, payload.Package, left[len(left)-1])
}

// Two drives take turns, and one of them goes without a kind: what it carries of that kind is of
// the last export that looked, and replaces nothing that came later.
func TestAKindThatWasNotLookedAtReplacesNothingNewer(t *testing.T) {
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		t.Run(string(kind), func(t *testing.T) {
			host, client, first, second := newMachine(t, "h", epoch), newMachine(t, "c",
				epoch), t.TempDir(), t.TempDir()
			pack(t, host.PKGDIR, "xpak-classic")
			name, newer := filepath.Join(host.DISTDIR,
				"a.tar"), filepath.Join(client.DISTDIR, "a.tar")
			write(t, name, "old")
			o := exporter.ExportOptions{Drive: second, NoDistfiles: true}
			if kind == payload.Package {
				name, newer = filepath.Join(host.PKGDIR, "app-misc/labhello-1.0-r2.tbz2"),
					filepath.Join(client.PKGDIR, "app-misc/labhello-1.0-r2.tbz2")
				o = exporter.ExportOptions{Drive: second, NoPackages: true}
			}
			mustExport(t, host, exporter.ExportOptions{Drive: second})
			trustEach(t, client, host)
			mustImport(t, client, importer.ImportOptions{Drive: second})
			if kind == payload.Package {
				rebuild(t, name)
			} else {
				write(t, name, "rebuilt")
			}
			mustExport(t, host, exporter.ExportOptions{Drive: first})
			mustImport(t, client, importer.ImportOptions{Drive: first})
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 { // the second one was not looked at either
				// which is a reason for a generation
				write(t, filepath.Join(host.DISTDIR, "another.tar"), rand.Text())
				mustExport(t, host, o)
				// Without its lists the client cannot tell which state of a kind is the newer one.
				forgot := round == 1
				if forgot {
					if err := os.RemoveAll(filepath.Join(client.StateDir, "accepted")); err != nil {
						t.Fatal(err)
					}
				}
				r := mustImport(t, client, importer.ImportOptions{Drive: second})
				if got, err := os.ReadFile(newer); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("what came with a newer generation was replaced (%v)", err)
				}
				left := r.Origins[0].LeftOut
				if !forgot && len(left) == 0 {
					continue
				}
				if len(left) != 1 ||
					!strings.Contains(left[0].Reason, "may be newer") ||
					!strings.Contains(left[0].Hint,
						fmt.Sprintf("without --no-%ss: pkgsneak export", kind)) {
					t.Errorf("left out: %+v", left)
				}
			}
			mustExport(t, host, exporter.ExportOptions{Drive: second})
			if r := mustImport(t, client,
				importer.ImportOptions{Drive: second}); len(r.Origins[0].Plan.Replace) > 0 ||
				len(r.Origins[0].LeftOut) > 0 {
				t.Errorf("looked at again: %+v, %+v", r.Origins[0].Plan.Replace,
					r.Origins[0].LeftOut)
			}
		})
	}
}

// A distfile of one origin takes the place of another's that has left that one, in the run that
// prunes; before it the reason tells it.
func TestADistfileInThePlaceOfOneThatIsPruned(t *testing.T) {
	a, b, client, mount := twoOrigins(t)
	name := "f1.tar"
	write(t, filepath.Join(a.DISTDIR, name), "the one")
	write(t, filepath.Join(a.DISTDIR, "f2.tar"), "stays")
	write(t, filepath.Join(b.DISTDIR, name), "the other")
	write(t, filepath.Join(b.DISTDIR, "f3.tar"), "stays")
	mustExport(t, a, exporter.ExportOptions{Drive: mount})
	mustExport(t, b, exporter.ExportOptions{Drive: mount})
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	remove(t, filepath.Join(a.DISTDIR, name))
	mustExport(t, a, exporter.ExportOptions{Drive: mount})
	r := mustImport(t, client, importer.ImportOptions{Drive: mount})
	if left := r.Origins[1].LeftOut; len(left) != 1 ||
		!strings.HasSuffix(left[0].Hint, "--prune") || files(t, client.DISTDIR)[name] != "the one" {
		t.Errorf("without --prune: %+v", left)
	}
	r = mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true})
	if left := r.Origins[1].LeftOut; len(left) != 0 ||
		files(t, client.DISTDIR)[name] != "the other" {
		t.Errorf("with --prune: %+v", left)
	}
	settled(t, client, importer.ImportOptions{Drive: mount, Prune: true})
	remove(t, filepath.Join(b.DISTDIR, name))
	mustExport(t, b, exporter.ExportOptions{Drive: mount})
	if r := mustImport(t, client, importer.ImportOptions{Drive: mount,
		Prune: true}); len(r.Origins[1].Pruned) != 1 {
		t.Errorf("it is not the other's: %+v", r.Origins[1])
	}
}

// removePackage removes a package as eclean-pkg does: the index is renewed.
func removePackage(t *testing.T, m machine.Machine, name string) {
	t.Helper()
	remove(t, filepath.Join(m.PKGDIR, name))
	if _, err := reindex.Index(t.Context(), m, reindex.IndexOptions{}, nil); err != nil {
		t.Fatal(err)
	}
}
