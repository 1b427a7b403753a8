package roundtrip

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
)

// orders are all orders of three drives.
var orders = [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// threeDrives exports a host three times, each time to another drive; it gets new files before
// each, and the second and third drive are too small for all.
func threeDrives(t *testing.T) (host machine.Machine, drives []string) {
	t.Helper()
	host = newMachine(t, "bighost", epoch)
	for i, name := range []string{"a", "b", "c"} {
		drive := filepath.Join(t.TempDir(), name)
		smallDisk(t, drive, "9m")
		drives = append(drives, drive)
		// Of four files the drive holds two or three; the smallest go first, and the sizes turn.
		for k := range 3 {
			size := 700<<10 + (k+3-i)%3*100<<10
			random(t, filepath.Join(host.DISTDIR, fmt.Sprintf("part-%d-%d.tgz", i, k)), size)
		}
		pack(t, host.PKGDIR, []string{"xpak-classic", "xpak-multi", "gpkg-multi"}[i])
		host.Now = func() time.Time { return epoch.Add(time.Duration(i) * time.Hour) }
		if r := mustExport(t, host, exporter.ExportOptions{Drive: drive}); i > 0 &&
			r.Plan.Selection == nil {
			t.Fatalf("drive %d carries everything", i)
		} else {
			t.Logf("drive %d: %d files, free %d, needs %d", i, len(r.Copied),
				r.Plan.Free, r.Plan.Need)
		}
	}
	return host, drives
}

// Three drives of one origin, of which none carries everything, are imported in all six orders, one
// by one: the clients end equal, and so does one that has them all at once.
func TestDrivesInAnyOrder(t *testing.T) {
	host, drives := threeDrives(t)
	var want map[string]string
	check := func(name string, client machine.Machine) {
		t.Helper()
		got := files(t, client.DISTDIR)
		for path, text := range files(t, client.PKGDIR) {
			if path != "Packages" {
				got["packages/"+path] = text
			}
		}
		if want == nil {
			want = got
			if len(want) < 8 {
				t.Errorf("only %d files came", len(want))
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d files, %d after the first order", name, len(got), len(want))
		}
		for path, text := range want {
			if got[path] != text {
				t.Errorf("%s: %s differs", name, path)
			}
		}
	}
	for _, order := range orders {
		client := newMachine(t, "client", epoch)
		trustEach(t, client, host)
		for _, i := range order {
			r := mustImport(t, client, importer.ImportOptions{Drive: drives[i], Prune: true})
			if len(r.Origins[0].LeftOut)+len(r.Refused) > 0 {
				t.Errorf("%v: drive %d: %+v", order, i, r.Origins[0].LeftOut)
			}
		}
		check(fmt.Sprint(order), client)
	}
	all := newMachine(t, "client", epoch)
	trustEach(t, all, host)
	mustImport(t, all, importer.ImportOptions{Drive: drives[1],
		Further: []string{drives[0], drives[2]}})
	check("at once", all)
}

// Of an older drive comes only what the newest state lists: no build that was replaced, no file
// that was given up, no distfile whose name has other contents here. The remembered serial stays.
func TestDonorIsSuperseded(t *testing.T) {
	host := newMachine(t, "bighost", epoch)
	pack(t, host.PKGDIR, "xpak-classic")
	pack(t, host.PKGDIR, "gpkg-multi")
	for _, name := range []string{"stays.tgz", "goes.tgz", "changes.tgz", "local.tgz"} {
		write(t, filepath.Join(host.DISTDIR, name), name)
	}
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	for _, dir := range []string{first, second} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustExport(t, host, exporter.ExportOptions{Drive: first})
	if err := os.Remove(filepath.Join(host.DISTDIR, "goes.tgz")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(host.DISTDIR, "changes.tgz"), "changed, and longer")
	host.Now = func() time.Time { return epoch.Add(time.Hour) }
	mustExport(t, host, exporter.ExportOptions{Drive: second})

	client := newMachine(t, "client", epoch)
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: second})
	before := files(t, client.PKGDIR)
	// as if that drive had not carried them
	for _, name := range []string{"stays.tgz", "changes.tgz", "local.tgz"} {
		if err := os.Remove(filepath.Join(client.DISTDIR, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(client.DISTDIR, "local.tgz"), "mine")
	r := mustImport(t, client, importer.ImportOptions{Drive: first})
	p := r.Origins[0].Plan
	got := files(t, client.DISTDIR)
	if len(got) != 2 || got["stays.tgz"] != "stays.tgz" || got["local.tgz"] != "mine" || !p.Donor ||
		p.Superseded.Files != 3 {
		t.Errorf("has %d files, superseded %+v, donor %v", len(got), p.Superseded, p.Donor)
	}
	if after := files(t, client.PKGDIR); len(after) != len(before) {
		t.Errorf("packages: %d, were %d", len(after), len(before))
	}
	again := mustImport(t, client, importer.ImportOptions{Drive: second})
	if again.Origins[0].Plan.Older || len(again.Origins[0].Copied) != 1 {
		t.Errorf("the newest drive afterwards: %+v", again.Origins[0].Plan)
	}

	// Nothing of it is listed any more, and something would change: that is refused.
	for _, name := range []string{"stays.tgz", "local.tgz"} {
		if err := os.Remove(filepath.Join(host.DISTDIR, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path := range files(t, host.PKGDIR) {
		if err := os.Remove(filepath.Join(host.PKGDIR, path)); err != nil {
			t.Fatal(err)
		}
	}
	host.Now = func() time.Time { return epoch.Add(2 * time.Hour) }
	mustExport(t, host, exporter.ExportOptions{Drive: second, AllowShrink: true})
	mustImport(t, client, importer.ImportOptions{Drive: second, Prune: true, AllowShrink: true})
	_, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: first}, nil)
	var older *importer.OlderError
	if !errors.As(err, &older) {
		t.Errorf("nothing of it is listed: %v", err)
	}
}
