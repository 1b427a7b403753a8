package roundtrip

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/manifest"
	"pkgsneak/sync/clients"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/requester"
)

// xpak writes a package as Portage did before GPKG: a compressed image, and its metadata behind. A
// key of more has its value instead of the usual one.
func xpak(t *testing.T, pkgdir, category, pf, chost string, size int, more ...[2]string) {
	t.Helper()
	var image bytes.Buffer
	z, err := zstd.NewWriter(&image, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "./usr/share/" + pf, Mode: 0o644,
		Size: int64(size)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(rand.New(rand.NewPCG(uint64(size), uint64(len(pf)))),
		size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var index, data []byte
	keys := [][2]string{{"CATEGORY", category}, {"PF", pf}, {"SLOT", "0"},
		{"EAPI", "8"}, {"KEYWORDS", "amd64"}, {"LICENSE", "MIT"},
		{"CHOST", chost}, {"BUILD_TIME", "1700000000"}, {"repository", "gentoo"}}
	for _, key := range more {
		keys = append(slices.DeleteFunc(keys, func(k [2]string) bool { return k[0] == key[0] }),
			key)
	}
	for _, key := range keys {
		index = binary.BigEndian.AppendUint32(index, uint32(len(key[0])))
		index = append(index, key[0]...)
		index = binary.BigEndian.AppendUint32(index, uint32(len(data)))
		index = binary.BigEndian.AppendUint32(index, uint32(len(key[1])+1))
		data = append(data, key[1]+"\n"...)
	}
	segment := binary.BigEndian.AppendUint32([]byte("XPAKPACK"), uint32(len(index)))
	segment = binary.BigEndian.AppendUint32(segment, uint32(len(data)))
	segment = append(append(append(segment, index...), data...), "XPAKSTOP"...)
	end := binary.BigEndian.AppendUint32(nil, uint32(len(segment)))
	write(t, filepath.Join(pkgdir, category, pf+".tbz2"),
		image.String()+string(segment)+string(end)+"STOP")
}

// installed is a client with one older version of each of n packages, all of them in its world.
func installed(t *testing.T, n int) machine.Machine {
	t.Helper()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("app-misc/part%02d", i))
	}
	return installedOf(t, names...)
}

// installedOf is installed, with packages by name.
func installedOf(t *testing.T, names ...string) machine.Machine {
	t.Helper()
	m := newMachine(t, "attic", epoch)
	root := t.TempDir()
	write(t, filepath.Join(root, "etc/portage/make.conf"),
		"ARCH=amd64\nCHOST=x86_64-pc-linux-gnu\nACCEPT_KEYWORDS=amd64\nACCEPT_LICENSE=*\n")
	var world strings.Builder
	for _, name := range names {
		dir := filepath.Join(root, "var/db/pkg", name+"-1")
		for key, value := range map[string]string{"SLOT": "0", "EAPI": "8", "KEYWORDS": "amd64",
			"BUILD_TIME": "1600000000", "repository": "gentoo"} {
			write(t, filepath.Join(dir, key), value+"\n")
		}
		world.WriteString(name + "\n")
	}
	write(t, filepath.Join(root, "var/lib/portage/world"), world.String())
	settings, err := portage.Load(t.Context(), portage.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	m.Settings = settings
	return m
}

// accept lets a host obey the client whose requests lie in a directory.
func accept(t *testing.T, host machine.Machine, dir string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, layout.ClientKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := manifest.ReadPublicKey(data)
	if err != nil {
		t.Fatal(err)
	}
	store, err := clients.Open(host.StateDir, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Accept(key, filepath.Base(dir), host.Now()); err != nil {
		t.Fatal(err)
	}
}

// A client lacks more than a drive holds. It asks, and two small drives that travel one after the
// other bring all of it, nothing twice: what is on its way on one is not written to the other.
func TestLoopWithTwoSmallDrives(t *testing.T) {
	const packages = 12
	host, client := newMachine(t, "bighost", epoch), installed(t, packages)
	for i := range packages {
		xpak(t, host.PKGDIR, "app-misc", fmt.Sprintf("part%02d-2", i), "x86_64-pc-linux-gnu",
			900<<10+i<<10)
	}
	xpak(t, host.PKGDIR, "app-misc", "alien-1", "aarch64-unknown-linux-gnu", 1000)
	if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	red, blue := filepath.Join(t.TempDir(), "red"), filepath.Join(t.TempDir(), "blue")
	smallDisk(t, red, "14m")
	smallDisk(t, blue, "14m")
	at := epoch
	now := func() time.Time { at = at.Add(time.Minute); return at }
	host.Now, client.Now = now, now

	// The first trip carries a request only: the host has exported something, so that there is a
	// key.
	write(t, filepath.Join(host.DISTDIR, "first.tar"), "first")
	mustExport(t, host, exporter.ExportOptions{Drive: red, NoPackages: true})
	trustEach(t, client, host)
	asked, err := requester.Request(t.Context(), client, requester.Options{Drive: red}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := mustExport(t, host, exporter.ExportOptions{Drive: red,
		NoPackages: true}); len(r.Asked) != 1 || r.Asked[0].State != clients.Unknown {
		t.Fatalf("the host read %+v", r.Asked)
	}
	accept(t, host, filepath.Join(red, layout.TreeDir, layout.ClientsDir, asked.Dir))

	// what is only shown goes by that request, too, and remembers nothing
	before := files(t, host.StateDir)
	shown := mustExport(t, host, exporter.ExportOptions{Drive: red, Pretend: true}).Plan.Selection
	if after := files(t, host.StateDir); !maps.Equal(before, after) {
		t.Error("a plan that was only shown changed the state")
	}
	first := mustExport(t, host, exporter.ExportOptions{Drive: red})
	if s := first.Plan.Selection; shown == nil || s == nil || len(shown.Shares) != 1 ||
		shown.Shares[0] != s.Shares[0] || s.Shares[0].Packages == 0 {
		t.Errorf("shown %+v, done %+v", shown, s)
	}
	second := mustExport(t, host, exporter.ExportOptions{Drive: blue})
	twice, parts := map[string]bool{}, 0
	for _, it := range first.Copied {
		if twice[it.Path] = true; strings.Contains(it.Path, "/part") {
			parts++
		}
	}
	if parts < 4 || parts > packages-4 {
		t.Fatalf("the first drive got %d packages", parts)
	}
	for _, it := range second.Copied {
		if twice[it.Path] {
			t.Errorf("%s travels on both drives", it.Path)
		}
	}
	if share := second.Plan.Selection.Shares; len(share) != 1 ||
		share[0].Packages != packages-parts || share[0].InTransit != parts || share[0].Stay != 0 {
		t.Errorf("the second drive: %+v", share)
	}
	report, err := clients.Look(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	if e := report.Clients[0]; e.Has != 0 || e.Lacks.Files != packages+1 || e.Waiting.Files != 0 ||
		len(e.Transit) != 2 {
		t.Errorf("the host knows of the client: %+v", e)
	}

	// A third one has nothing to bring as long as both are on their way, unless that is wanted.
	green := filepath.Join(t.TempDir(), "green")
	smallDisk(t, green, "14m")
	for _, again := range []bool{false, true} {
		r := mustExport(t, host,
			exporter.ExportOptions{Drive: green, Pretend: true, Again: again})
		if s := r.Plan.Selection.Shares[0]; again != (s.Packages > 0) ||
			again == (s.InTransit == packages) {
			t.Errorf("a third drive, again %v: %+v", again, s)
		}
	}

	// the later one comes first, and tells what the other one has
	o := mustImport(t, client, importer.ImportOptions{Drive: blue}).Origins[0]
	if on := o.Plan.OnDrives; len(on) != 1 || on[0].Label != "red" || on[0].Files < parts {
		t.Errorf("on other drives: %+v", on)
	}
	mustImport(t, client, importer.ImportOptions{Drive: red})
	if got := files(t, client.PKGDIR); len(got) != packages+1 {
		t.Errorf("the client has %d files", len(got))
	}
	if _, err := requester.Request(t.Context(), client, requester.Options{Drive: blue},
		nil); err != nil {
		t.Fatal(err)
	}
	mustExport(t, host, exporter.ExportOptions{Drive: blue})
	if report, err = clients.Look(t.Context(), host); err != nil ||
		report.Clients[0].Has != packages || report.Clients[0].Lacks.Files != 0 ||
		report.Clients[0].Refused.Files != 1 {
		t.Errorf("after both drives: %+v, %v", report.Clients[0], err)
	}
}

// A further drive, where all that a client needs is on its way on others, is no drive without room.
func TestDriveWithNothingToBring(t *testing.T) {
	const packages = 12
	host, client := manyParts(t, packages, 900<<10), installed(t, packages)
	at := epoch
	now := func() time.Time { at = at.Add(time.Minute); return at }
	host.Now, client.Now = now, now
	large, third := t.TempDir(), filepath.Join(t.TempDir(), "third")
	smallDisk(t, third, "9m")
	write(t, filepath.Join(host.DISTDIR, "first.tar"), "first")
	mustExport(t, host, exporter.ExportOptions{Drive: large, NoPackages: true})
	remove(t, filepath.Join(host.DISTDIR, "first.tar"))
	trustEach(t, client, host)
	asked, err := requester.Request(t.Context(), client,
		requester.Options{Drive: large, AnyDirectory: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	accept(t, host, filepath.Join(large, layout.TreeDir, layout.ClientsDir, asked.Dir))
	mustExport(t, host, exporter.ExportOptions{Drive: large, AllowShrink: true})
	for _, pretend := range []bool{true, false} {
		o := exporter.ExportOptions{Drive: third, AnyDirectory: true, Pretend: pretend}
		_, err := exporter.Export(t.Context(), host, o, nil)
		var nothing *exporter.NothingError
		if !errors.As(err, &nothing) || !nothing.InTransit ||
			!strings.Contains(nothing.Hints(third)[0], "--again") {
			t.Errorf("pretended %v: %v", pretend, err)
		}
		o.Again = true
		if r, err := exporter.Export(t.Context(), host, o, nil); err != nil ||
			len(r.Plan.Copy) == 0 {
			t.Errorf("again, pretended %v: %v", pretend, err)
		}
	}
}
