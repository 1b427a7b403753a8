package roundtrip

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pkgsneak/sync/clients"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/requester"
)

// manyParts is a host with so many packages of so many bytes.
func manyParts(t *testing.T, n, size int) machine.Machine {
	t.Helper()
	host := newMachine(t, "bighost", epoch)
	for i := range n {
		xpak(t, host.PKGDIR, "app-misc", fmt.Sprintf("part%02d-2", i), "x86_64-pc-linux-gnu",
			size+i<<10)
	}
	if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	return host
}

// Packages that turn out damaged leave their room on a small drive to others: as many come along as
// if they had never been there.
func TestRoomOfDamagedPackages(t *testing.T) {
	host := manyParts(t, 14, 900<<10)
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	smallDisk(t, first, "14m")
	smallDisk(t, second, "14m")
	r := mustExport(t, host, exporter.ExportOptions{Drive: first})
	if len(r.Copied) < 4 || len(r.Copied) > 11 {
		t.Fatalf("%d of 14 packages fit", len(r.Copied))
	}
	bad := map[string]bool{}
	for _, i := range []int{0, len(r.Copied) - 1} {
		name := filepath.Join(host.PKGDIR, r.Copied[i].Path)
		bad[r.Copied[i].Path] = true
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2]++
		if err := errors.Join(os.WriteFile(name, data, 0o644),
			os.Chtimes(name, info.ModTime(), info.ModTime())); err != nil {
			t.Fatal(err)
		}
	}
	again := mustExport(t, host, exporter.ExportOptions{Drive: second})
	if len(again.LeftOut) != 2 || len(again.Copied) != len(r.Copied) {
		t.Errorf("copied %d, left out %v; %d would fit", len(again.Copied), again.LeftOut,
			len(r.Copied))
	}
	for _, it := range again.Copied {
		if bad[it.Path] {
			t.Errorf("%s came along", it.Path)
		}
	}
	client := newMachine(t, "client", epoch)
	trustEach(t, client, host)
	if o := mustImport(t, client,
		importer.ImportOptions{Drive: second}).Origins[0]; len(o.Copied) !=
		len(again.Copied) || len(o.LeftOut) > 0 {
		t.Errorf("the client got %d, left out %v", len(o.Copied), o.LeftOut)
	}
	if r := mustExport(t, host, exporter.ExportOptions{Drive: second}); len(r.Copied) > 0 {
		t.Errorf("the next export copies %v", r.Copied)
	}
}

// A small drive that is pulled while it is written has the bundles that were whole by then; the
// catalogues of the generations on the way do not push out those of which clients tell.
func TestCommitsBetweenBundles(t *testing.T) {
	host := manyParts(t, 40, 1200<<10)
	drive := filepath.Join(t.TempDir(), "drive")
	smallDisk(t, drive, "40m")
	// pulled when the last package is written
	whole, written := 0, 0
	look := host
	look.Hook = func(c durable.Change) error {
		if c.Op == "create" && strings.HasSuffix(c.Name, ".tbz2") {
			written++
		}
		return nil
	}
	rest := filepath.Join(t.TempDir(), "rest")
	smallDisk(t, rest, "40m")
	r := mustExport(t, look, exporter.ExportOptions{Drive: rest})
	if whole = len(r.Copied); whole < 20 || whole > 36 || written < whole {
		t.Fatalf("%d of 40 packages fit, %d were made", whole, written)
	}
	pulled, made := host, 0
	pulled.Hook = func(c durable.Change) error {
		if c.Op == "create" && strings.HasSuffix(c.Name, ".tbz2") {
			if made++; made >= whole {
				return syscall.EIO
			}
		}
		return nil
	}
	if _, err := exporter.Export(t.Context(), pulled, exporter.ExportOptions{Drive: drive},
		nil); err == nil {
		t.Fatal("the drive was not pulled")
	}
	client := newMachine(t, "client", epoch)
	trustEach(t, client, host)
	o := mustImport(t, client, importer.ImportOptions{Drive: drive}).Origins[0]
	if len(o.LeftOut) > 0 || len(o.Copied) < whole/2 || len(o.Copied) >= whole {
		t.Errorf("of %d packages the client got %d, left out %v", whole, len(o.Copied), o.LeftOut)
	}
	names, err := os.ReadDir(filepath.Join(host.StateDir, "catalogues"))
	if err != nil || len(names) != 2 { // one of each drive
		t.Errorf("%d catalogues are remembered, %v", len(names), err)
	}
	if _, err := clients.Look(t.Context(), host); err != nil {
		t.Error(err)
	}
}

// A build that no drive at hand carries is elsewhere, also where the client has an older one of it,
// and where the host's index does not tell which build it is.
func TestNewBuildThatIsElsewhere(t *testing.T) {
	for _, indexed := range []bool{true, false} {
		host := manyParts(t, 8, 100<<10)
		random(t, filepath.Join(host.DISTDIR, "src.tar"), 1000)
		large, small := t.TempDir(), filepath.Join(t.TempDir(), "small")
		smallDisk(t, small, "14m")
		client := newMachine(t, "client", epoch)
		mustExport(t, host, exporter.ExportOptions{Drive: large})
		trustEach(t, client, host)
		mustImport(t, client, importer.ImportOptions{Drive: large})

		xpak(t, host.PKGDIR, "app-misc", "part03-2", "x86_64-pc-linux-gnu", 30<<20)
		random(t, filepath.Join(host.DISTDIR, "src.tar"), 30<<20)
		if indexed {
			if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{},
				nil); err != nil {
				t.Fatal(err)
			}
		}
		mustExport(t, host, exporter.ExportOptions{Drive: small})
		o := mustImport(t, client, importer.ImportOptions{Drive: small}).Origins[0]
		if o.Plan.Elsewhere.Files != 2 || len(o.Copied) > 0 {
			t.Errorf("indexed %v: copied %d, elsewhere %+v", indexed, len(o.Copied),
				o.Plan.Elsewhere)
		}
	}
}

// A rebuild that does not fit stays here, and that is told, also where a client has the build
// before and the host's index does not have the new one.
func TestRebuildThatStays(t *testing.T) {
	host := manyParts(t, 4, 100<<10)
	client := newMachine(t, "client", epoch)
	small := filepath.Join(t.TempDir(), "small")
	smallDisk(t, small, "14m")
	mustExport(t, host, exporter.ExportOptions{Drive: small})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: small})
	asked, err := requester.Request(t.Context(), client, requester.Options{Drive: small}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mustExport(t, host, exporter.ExportOptions{Drive: small})
	accept(t, host, filepath.Join(small, layout.TreeDir, layout.ClientsDir, asked.Dir))

	xpak(t, host.PKGDIR, "app-misc", "part03-2", "x86_64-pc-linux-gnu", 30<<20)
	later := time.Now().Add(time.Minute) // the entry is not about this file
	if err := os.Chtimes(filepath.Join(host.PKGDIR, "app-misc/part03-2.tbz2"), later,
		later); err != nil {
		t.Fatal(err)
	}
	r := mustExport(t, host, exporter.ExportOptions{Drive: small})
	s := r.Plan.Selection
	if s == nil || len(s.Shares) != 1 || len(s.Stay) != 1 ||
		!strings.Contains(s.Stay[0].Name, "part03") {
		t.Errorf("%+v, left out %+v", s, r.LeftOut)
	}
}

// Of a package that a drive has no room for, and that the host's index does not have, the catalogue
// has the entry that the package itself makes: a client takes it from another drive. Nothing of it
// depends on the catalogue before, and it changes with the package alone.
func TestWhatStaysIsInTheCatalogue(t *testing.T) {
	host := manyParts(t, 4, 100<<10)
	xpak(t, host.PKGDIR, "app-misc", "large-2", "x86_64-pc-linux-gnu", 30<<20)
	remove(t, filepath.Join(host.PKGDIR, "Packages"))
	const large = "app-misc/large-2.tbz2"
	old := epoch.Add(-time.Hour) // what was written just now is not remembered
	if err := os.Chtimes(filepath.Join(host.PKGDIR, large), old, old); err != nil {
		t.Fatal(err)
	}
	whole, small := t.TempDir(), filepath.Join(t.TempDir(), "small")
	smallDisk(t, small, "14m")
	mustExport(t, host, exporter.ExportOptions{Drive: small})
	first := catalogueOf(t, host, small)
	if r := mustExport(t, host, exporter.ExportOptions{Drive: small}); !r.Unchanged {
		t.Errorf("one more export of the same: %+v", r)
	}
	mustExport(t, host, exporter.ExportOptions{Drive: whole})
	if want := catalogueOf(t, host, whole)[large]; want.IsZero() || first[large] != want ||
		len(first) != 5 {
		t.Errorf("of %d entries, the small drive's is\n%q, the other's\n%q", len(first),
			first[large], want)
	}
	write(t, filepath.Join(host.PKGDIR, "app-misc/part00-2.tbz2"), "no package")
	later := host.Now
	host.Now = func() time.Time { return later().Add(time.Hour) }
	mustExport(t, host, exporter.ExportOptions{Drive: small}) // the newest state

	client := newMachine(t, "client", epoch)
	trustEach(t, client, host)
	if o := mustImport(t, client, importer.ImportOptions{Drive: small}).Origins[0]; len(
		o.Copied) != 4 || o.Plan.Elsewhere.Files != 1 {
		t.Errorf("copied %v, elsewhere %+v", o.Copied, o.Plan.Elsewhere)
	}
	if o := mustImport(t, client, importer.ImportOptions{Drive: whole}).Origins[0]; len(
		o.Copied) != 1 || o.Copied[0].Path != large || o.Plan.Superseded.Files > 0 {
		t.Errorf("copied %v, superseded %+v", o.Copied, o.Plan.Superseded)
	}

	xpak(t, host.PKGDIR, "app-misc", "large-2", "x86_64-pc-linux-gnu", 31<<20)
	mustExport(t, host, exporter.ExportOptions{Drive: small})
	if e := catalogueOf(t, host, small)[large]; e.IsZero() || e == first[large] {
		t.Errorf("after a rebuild the entry is %q", e)
	}
	write(t, filepath.Join(host.PKGDIR, large), strings.Repeat("no package", 3<<20))
	mustExport(t, host, exporter.ExportOptions{Drive: small})
	if e := catalogueOf(t, host, small)[large]; !e.IsZero() {
		t.Errorf("of what is no package the entry is %q", e)
	}
}
