package roundtrip

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
)

// generationOf opens what a drive has of a host.
func generationOf(t *testing.T, m machine.Machine, path string) *drive.Generation {
	t.Helper()
	st, err := state.Open(t.Context(), m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	key, err := st.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	d, err := drive.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	g, err := d.Load(m.Hostname, manifest.Ring{key.Public()}, m.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(); d.Close() })
	return g
}

// told is what a generation tells of the origin, in short.
type told struct {
	format                int
	packages, distfiles   int // that the origin has
	carried, carriedFiles int // packages and distfiles that are on the drive
	whyPackages, whyDist  string
}

func tellsOf(t *testing.T, m machine.Machine, path string) (tells told, g *drive.Generation) {
	t.Helper()
	g = generationOf(t, m, path)
	p, err := g.Stock(payload.Package)
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.Stock(payload.Distfile)
	if err != nil {
		t.Fatal(err)
	}
	if p.Complete != (p.Reason == "") || d.Complete != (d.Reason == "") {
		t.Errorf("%+v %+v", p, d)
	}
	return told{format: g.Record.Format, packages: p.Count, distfiles: d.Count,
		carried: len(g.Packages()), carriedFiles: len(g.Distfiles()),
		whyPackages: p.Reason, whyDist: d.Reason}, g
}

// The holdings that a generation records for its origin are true, whatever the drive carries of it.
func TestRecordTellsWhatTheOriginHas(t *testing.T) {
	full := func(t *testing.T) (machine.Machine, string) {
		host, drive := newMachine(t, "host", epoch), t.TempDir()
		pack(t, host.PKGDIR, "mixed")
		write(t, filepath.Join(host.DISTDIR, "a.tar"), "a\n")
		old := epoch.Add(-time.Hour) // what was written just now is not remembered
		if err := os.Chtimes(filepath.Join(host.DISTDIR, "a.tar"), old, old); err != nil {
			t.Fatal(err)
		}
		return host, drive
	}
	for name, row := range map[string]struct {
		run  func(t *testing.T, host machine.Machine, drive string)
		want told
	}{
		"everything": {func(t *testing.T, host machine.Machine, drive string) {
			mustExport(t, host, exporter.ExportOptions{Drive: drive})
		}, told{format: 1, packages: 18, distfiles: 1, carried: 18, carriedFiles: 1}},
		"no distfiles": {func(t *testing.T, host machine.Machine, drive string) {
			mustExport(t, host, exporter.ExportOptions{Drive: drive, NoDistfiles: true})
		}, told{format: 2, packages: 18, carried: 18, whyDist: exporter.ReasonNoDistfiles}},
		"no packages": {func(t *testing.T, host machine.Machine, drive string) {
			mustExport(t, host, exporter.ExportOptions{Drive: drive, NoPackages: true})
		}, told{format: 2, distfiles: 1, carriedFiles: 1, whyPackages: exporter.ReasonNoPackages}},
		"first all, then no packages": {func(t *testing.T, host machine.Machine, drive string) {
			mustExport(t, host, exporter.ExportOptions{Drive: drive})
			write(t, filepath.Join(host.DISTDIR, "b.tar"), "b\n")
			mustExport(t, host, exporter.ExportOptions{Drive: drive, NoPackages: true})
		}, told{format: 2, packages: 18, distfiles: 2, carried: 18, carriedFiles: 2,
			whyPackages: exporter.ReasonNoPackages}},
		"a damaged package": {func(t *testing.T, host machine.Machine, drive string) {
			damage(t, filepath.Join(host.PKGDIR, "app-arch/unzip-5-r2.tbz2"))
			if r := mustExport(t, host, exporter.ExportOptions{Drive: drive}); len(r.LeftOut) != 1 {
				t.Errorf("left out: %v", r.LeftOut)
			}
		}, told{format: 2, packages: 18, distfiles: 1, carried: 17, carriedFiles: 1}},
		"no DISTDIR, and never was one": {func(t *testing.T, host machine.Machine, drive string) {
			if err := os.RemoveAll(host.DISTDIR); err != nil {
				t.Fatal(err)
			}
			mustExport(t, host, exporter.ExportOptions{Drive: drive})
		}, told{format: 1, packages: 18, carried: 18}},
		"DISTDIR is empty all at once, another drive": {
			func(t *testing.T, host machine.Machine, drive string) {
				mustExport(t, host, exporter.ExportOptions{Drive: t.TempDir()})
				if err := os.Remove(filepath.Join(host.DISTDIR, "a.tar")); err != nil {
					t.Fatal(err)
				}
				for range 2 { // the first of them does not make it forget
					mustExport(t, host, exporter.ExportOptions{Drive: t.TempDir()})
				}
				mustExport(t, host, exporter.ExportOptions{Drive: drive})
			},
			told{format: 2, packages: 18, carried: 18,
				whyDist: "DISTDIR of host had 1 files and has none: not taken for a deletion (--allow-shrink)"}},
		"DISTDIR was emptied on purpose": {func(t *testing.T, host machine.Machine, drive string) {
			mustExport(t, host, exporter.ExportOptions{Drive: t.TempDir()})
			if err := os.Remove(filepath.Join(host.DISTDIR, "a.tar")); err != nil {
				t.Fatal(err)
			}
			mustExport(t, host, exporter.ExportOptions{Drive: drive, AllowShrink: true})
		}, told{format: 1, packages: 18, carried: 18}},
		"most packages are gone, another drive": {
			func(t *testing.T, host machine.Machine, drive string) {
				mustExport(t, host, exporter.ExportOptions{Drive: t.TempDir()})
				for _, dir := range []string{"app-misc", "app-arch"} {
					if err := os.RemoveAll(filepath.Join(host.PKGDIR, dir)); err != nil {
						t.Fatal(err)
					}
				}
				mustExport(t, host, exporter.ExportOptions{Drive: drive})
				// the index lists the others, and the host had them
			}, told{format: 2, packages: 18, distfiles: 1, carried: 7, carriedFiles: 1,
				whyPackages: "PKGDIR of host had 18 packages and has 7: not taken for a deletion (--allow-shrink)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, drive := full(t)
			row.run(t, host, drive)
			got, _ := tellsOf(t, host, drive)
			clean := strings.NewReplacer(`PKGDIR "`+host.PKGDIR+`"`, "PKGDIR of host",
				`DISTDIR "`+host.DISTDIR+`"`, "DISTDIR of host")
			got.whyPackages, got.whyDist = clean.Replace(got.whyPackages),
				clean.Replace(got.whyDist)
			if got != row.want {
				t.Errorf("\n%+v, want\n%+v", got, row.want)
			}
		})
	}
}

// damage turns a bit in the middle of a file, and leaves its times as they are.
func damage(t *testing.T, name string) {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 1
	write(t, name, string(data))
	if err := os.Chtimes(name, fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// A run that is cut off after some generations tells all that the origin has, in the last of them.
func TestRecordOfAnIntermediateGeneration(t *testing.T) {
	t.Parallel()
	for _, indexed := range []bool{true, false} {
		host, path := newMachine(t, "host", epoch), t.TempDir()
		pack(t, host.PKGDIR, "mixed")
		if !indexed {
			remove(t, filepath.Join(host.PKGDIR, "Packages"))
		}
		ctx, cancel := context.WithCancel(t.Context())
		commits := 0
		_, err := exporter.Export(ctx, host, exporter.ExportOptions{Drive: path, AnyDirectory: true,
			CommitEvery: 20_000}, progress.OfEvents(func(e progress.Event) {
			if e.Phase == progress.PhaseCommit {
				commits++
			}
			if commits > 1 && e.Phase == progress.PhaseCopy {
				cancel()
			}
		}))
		cancel()
		if err == nil {
			t.Fatal("the export was not cut off")
		}
		got, g := tellsOf(t, host, path)
		if got.format != 2 || got.packages != 18 || got.carried == 0 || got.carried == 18 ||
			got.whyPackages+got.whyDist != "" {
			t.Errorf("%+v", got)
		}
		s, _ := g.Stock(payload.Package)
		if !s.Has("app-arch/unzip-5-r2.tbz2") || s.Has("app-misc/none-1.tbz2") {
			t.Errorf("%+v", s)
		}
	}
}

// The facts are those of the packages themselves.
func TestFactsOfPackages(t *testing.T) {
	t.Parallel()
	host, path := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "mixed")
	mustExport(t, host, exporter.ExportOptions{Drive: path})
	check := func() {
		t.Helper()
		g := generationOf(t, host, path)
		facts, err := g.Facts()
		if err != nil || len(facts.Packages) != 18 {
			t.Fatalf("%v %+v", err, facts)
		}
		for _, p := range facts.Packages {
			data, err := os.ReadFile(filepath.Join(host.PKGDIR, p.Path))
			if err != nil {
				t.Fatal(err)
			}
			pkg, err := binpkg.Read(bytes.NewReader(data), int64(len(data)), p.Path)
			if err != nil {
				t.Fatal(err)
			}
			flags := layout.MakeFlags(pkg.Get("CFLAGS"), pkg.Get("CXXFLAGS"), pkg.Get("RUSTFLAGS"),
				pkg.Get("USE"))
			if p.Rules != binpkg.Rules || (p.Flags == nil) != (flags == nil) || flags != nil &&
				*flags != *p.Flags {
				t.Errorf("%+v", p)
			}
		}
		if !slices.ContainsFunc(facts.Packages, func(p layout.PackageFacts) bool {
			return p.Flags != nil && p.Flags.CFLAGS != ""
		}) {
			t.Error("no package has flags")
		}
	}
	check()
	if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); !r.Unchanged {
		t.Error("a second export of the same writes a generation")
	}
	write(t, filepath.Join(host.DISTDIR, "new.tar"), "new\n")
	if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); len(r.Copied) != 1 {
		t.Errorf("copied %v", r.Copied)
	}
	check() // of what was not read this time too
}

// Facts that are damaged on the drive stop neither packages nor distfiles: the packages are looked
// through here, and nothing is pruned.
func TestDamagedFactsStopNothing(t *testing.T) {
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	facts, err := filepath.Glob(filepath.Join(mount, "pkgsneak/host/generation/*.facts.zst"))
	if err != nil || len(facts) != 1 {
		t.Fatal(facts, err)
	}
	damage(t, facts[0])
	r := mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true})
	if len(r.Origins) != 1 || len(r.Origins[0].LeftOut) > 0 ||
		r.Packages != len(r.Origins[0].Copied) || r.Packages == 0 {
		t.Errorf("%+v", r.Origins)
	}
}
