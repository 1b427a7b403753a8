package roundtrip

import (
	"path/filepath"
	"testing"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
)

// Names on Linux are bytes: distfiles, and a DISTDIR, whose names are not UTF-8 come to a client as
// any others do, and the import can be taken back.
func TestUndoOfNamesThatAreNotUTF8(t *testing.T) {
	host, client := newMachine(t, "bighost", epoch), newMachine(t, "client", epoch)
	client.DISTDIR = filepath.Join(t.TempDir(), "dist\xe9")
	pack(t, client.PKGDIR, "xpak-classic")
	fresh, replaced := "caf\xe9-1.tar.gz", "caf\xe9-2.tar.gz"
	write(t, filepath.Join(host.DISTDIR, replaced), "two")
	write(t, filepath.Join(client.DISTDIR, "mine.tar.gz"), "three")
	mount := t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	empty := world(t, client)
	for i, change := range []func(){
		func() {},
		func() {
			write(t, filepath.Join(host.DISTDIR, fresh), "one")
			write(t, filepath.Join(host.DISTDIR, replaced), "another two")
			host.Now = func() time.Time { return epoch.Add(time.Hour) }
			mustExport(t, host, exporter.ExportOptions{Drive: mount})
		},
	} {
		change()
		before := world(t, client)
		r := mustImport(t, client, importer.ImportOptions{Drive: mount})
		if r.Undo == nil || r.Undo.Problem != "" {
			t.Fatalf("import %d cannot be taken back: %+v", i, r.Undo)
		}
		after := world(t, client)
		if len(differ(before, after)) != i+1 {
			t.Fatalf("import %d: %q", i, differ(before, after))
		}
		mustUndo(t, client)
		if d := differ(before, world(t, client)); len(d) > 0 {
			t.Errorf("after the undo of import %d: %q", i, d)
		}
		nothingKept(t, client)
		mustImport(t, client, importer.ImportOptions{Drive: mount})
		if d := differ(after, world(t, client)); len(d) > 0 {
			t.Errorf("import %d, again: %q", i, d)
		}
	}
	if d := differ(empty, world(t, client)); len(d) != 2 {
		t.Errorf("in the end: %q", d)
	}
}
