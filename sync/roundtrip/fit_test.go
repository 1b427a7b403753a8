package roundtrip

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/resolve"
)

// A Portage without gpkg.py, as of before 3.0.31 and of forks, drops GPKG packages from its index:
// they are not brought in, and that is no part of what should have come. A package that is here
// already stays.
func TestImportTakesWhatPortageReads(t *testing.T) {
	host, client, drive := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "mixed")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	trustEach(t, client, host)
	root := t.TempDir()
	write(t, filepath.Join(root, "usr/lib/python3.9/site-packages/portage/const.py"), "EAPI = 7\n")
	settings, err := portage.Load(t.Context(), portage.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	old := client
	old.Settings = settings
	r := mustImport(t, old, importer.ImportOptions{Drive: drive})
	o := r.Origins[0]
	if len(o.LeftOut) > 0 || len(o.Plan.Unusable) == 0 || len(o.Copied) == 0 {
		t.Fatalf("copied %d, unusable %d, left out %v", len(o.Copied),
			len(o.Plan.Unusable), o.LeftOut)
	}
	for _, it := range o.Plan.Unusable {
		if !strings.Contains(it.Reason, "the Portage installed here cannot read") {
			t.Errorf("%+v", it)
		}
	}
	for _, it := range o.Copied {
		if strings.HasSuffix(it.Path, ".gpkg.tar") {
			t.Errorf("%q was brought in", it.Path)
		}
	}
	// With a newer Portage the rest comes, and going back changes nothing that is here.
	if r := mustImport(t, client,
		importer.ImportOptions{Drive: drive}); len(r.Origins[0].Copied) != len(o.Plan.Unusable) {
		t.Errorf("then copied %d, want the other %d", len(r.Origins[0].Copied),
			len(o.Plan.Unusable))
	}
	r = mustImport(t, old, importer.ImportOptions{Drive: drive})
	if o := r.Origins[0]; len(o.Plan.Unusable) != 0 {
		t.Errorf("unusable %v", o.Plan.Unusable)
	}
}

// A package whose own CFLAGS ask for more than this CPU has is not brought in, and status tells how
// many there are; on a CPU that has it, or with --any-cpu, it comes. A CPU of which nothing is
// known refuses nothing.
func TestImportTakesWhatTheCPURuns(t *testing.T) {
	host, client, drive := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	const heavy = "app-misc/labhello-1.0-r2.tbz2"
	file := filepath.Join(host.PKGDIR, heavy)
	data, err := os.ReadFile(file)
	if err != nil || bytes.Count(data, []byte("-O2 -pipe")) == 0 {
		t.Fatalf("%s has no CFLAGS to change: %v", heavy, err)
	}
	write(t, file, string(bytes.ReplaceAll(data, []byte("-O2 -pipe"), []byte("-O2 -mavx"))))
	if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	trustEach(t, client, host)
	small, large := []byte("flags\t\t: fpu mmx sse sse2 ssse3\n"),
		[]byte("flags\t\t: fpu mmx sse sse2 ssse3 sse4_1 sse4_2 popcnt xsave avx pni\n")

	client.CPUInfo = small
	st, err := inspect.Status(t.Context(), client, inspect.StatusOptions{Drive: drive})
	if err != nil || len(st.Drive.Origins) != 1 || st.Drive.Origins[0].Unusable["cpu"] != 1 ||
		st.Drive.Origins[0].Err != nil {
		t.Fatalf("status says %+v, %v", st.Drive, err)
	}
	r := mustImport(t, client, importer.ImportOptions{Drive: drive})
	o := r.Origins[0]
	if len(o.LeftOut) > 0 || len(o.Plan.Unusable) != 1 || o.Plan.Unusable[0].Path != heavy ||
		o.Plan.UnusableKinds[resolve.CPU] != 1 ||
		!strings.Contains(o.Plan.Unusable[0].Reason, "avx") {
		t.Fatalf("unusable %+v, left out %+v", o.Plan.Unusable, o.LeftOut)
	}
	if _, err := os.Stat(filepath.Join(client.PKGDIR, heavy)); err == nil {
		t.Error("it was brought in")
	}
	if len(o.Copied) == 0 {
		t.Error("nothing else came")
	}
	client.CPUInfo = large
	if st, err := inspect.Status(t.Context(), client,
		inspect.StatusOptions{Drive: drive}); err != nil || st.Drive.Origins[0].Unusable != nil {
		t.Errorf("status says %+v, %v", st.Drive, err)
	}
	if r := mustImport(t, client,
		importer.ImportOptions{Drive: drive}); len(r.Origins[0].Copied) != 1 ||
		r.Origins[0].Copied[0].Path != heavy {
		t.Errorf("on a CPU that has it %+v is copied", r.Origins[0].Copied)
	}
	for name, other := range map[string]struct {
		cpu []byte
		any bool
	}{"--any-cpu": {small, true}, "unknown CPU": {nil, false}} {
		m := newMachine(t, strings.ReplaceAll(name, " ", "-"), epoch)
		m.CPUInfo = other.cpu
		trustEach(t, m, host)
		if r := mustImport(t, m, importer.ImportOptions{Drive: drive,
			AnyCPU: other.any}); len(r.Origins[0].Plan.Unusable) != 0 {
			t.Errorf("%s: unusable %+v", name, r.Origins[0].Plan.Unusable)
		}
	}
}
