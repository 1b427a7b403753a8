package roundtrip

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/machine"
)

// A host that lost its memory and kept its key begins no second origin beside its own without being
// told to. A PKGDIR beside one that is remembered is not asked anything.
func TestForgottenOrigins(t *testing.T) {
	t.Parallel()
	host, path := newMachine(t, "host", epoch), t.TempDir()
	chroot := host
	chroot.PKGDIR, chroot.DISTDIR = t.TempDir(), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	pack(t, chroot.PKGDIR, "gpkg-multi")
	export := func(m machine.Machine, name string) (*exporter.ExportReport, error) {
		return exporter.Export(t.Context(), m, exporter.ExportOptions{Drive: path,
			AnyDirectory: true, Name: name, NoReadBack: true}, nil)
	}
	forget := func() { remove(t, filepath.Join(host.StateDir, "memory")) }
	asked := func(m machine.Machine, origins ...string) {
		t.Helper()
		_, err := export(m, "")
		var e *exporter.ForgottenError
		if !errors.As(err, &e) || !slices.Equal(e.Origins, origins) ||
			(e.Name == "") != slices.Contains(origins, "host") {
			t.Errorf("%v, want to be asked about %q", err, origins)
		}
	}
	must := func(m machine.Machine, name, origin string) {
		t.Helper()
		r, err := export(m, name)
		if err != nil || r.Plan.Origin != origin {
			t.Fatalf("export as %q: %q, %v", name, r.Plan.Origin, err)
		}
	}

	must(host, "o", "o")
	must(host, "", "o")
	forget()
	asked(host, "o")
	must(host, "o", "o") // goes on with it
	must(host, "", "o")
	must(chroot, "", "host") // o is remembered to be another PKGDIR's
	must(chroot, "", "host")
	forget()
	asked(host, "host", "o")
	asked(chroot, "host", "o")
	must(host, "o", "o")
	must(chroot, "", "host") // the only one that is left has the host's name
	forget()
	must(host, "beside", "beside")
	if got := len(serials(t, path, "o")); got != 1 {
		t.Errorf("o has %d generations", got)
	}
}
