package roundtrip

import (
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/portage"
)

// A Portage without gpkg.py, as of before 3.0.31 and of forks, drops GPKG packages from its index: they are not brought in, and that is
// no part of what should have come. What is here already stays.
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
		t.Fatalf("copied %d, unusable %d, left out %v", len(o.Copied), len(o.Plan.Unusable), o.LeftOut)
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
	if r := mustImport(t, client, importer.ImportOptions{Drive: drive}); len(r.Origins[0].Copied) != len(o.Plan.Unusable) {
		t.Errorf("then copied %d, want the other %d", len(r.Origins[0].Copied), len(o.Plan.Unusable))
	}
	r = mustImport(t, old, importer.ImportOptions{Drive: drive})
	if o := r.Origins[0]; len(o.Plan.Unusable) != 0 {
		t.Errorf("unusable %v", o.Plan.Unusable)
	}
}
