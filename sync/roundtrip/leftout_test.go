package roundtrip

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/exporter"
)

// What lies in the two directories and is not carried is named, with its reason; their own files are nobody's concern and no distfiles.
func TestNothingIsLeftOutInSilence(t *testing.T) {
	t.Parallel()
	host, path := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-multi")
	elsewhere := filepath.Join(t.TempDir(), "app-misc")
	if err := os.Rename(filepath.Join(host.PKGDIR, "app-misc"), elsewhere); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{elsewhere: filepath.Join(host.PKGDIR, "app-misc"), "/nowhere": filepath.Join(host.DISTDIR, "dead.tar"),
		"../none-1.tbz2": filepath.Join(host.PKGDIR, "app-arch/link-1.tbz2")} {
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(host.PKGDIR, "app-arch/empty-1.tbz2"), "")
	write(t, filepath.Join(host.PKGDIR, "README"), "not a package, and not taken for one\n")
	for name, text := range map[string]string{"empty.tar": "", "on-its-way.tar.__download__": "x", "good.tar": "x", "layout.conf": "[structure]\n", "Packages": "x", ".lock": "x"} {
		write(t, filepath.Join(host.DISTDIR, name), text)
	}
	r := mustExport(t, host, exporter.ExportOptions{Drive: path})
	reasons := make(map[string]string)
	for _, it := range r.LeftOut {
		reasons[it.Path] = it.Reason
	}
	for name, want := range map[string]string{"app-misc": "packages that the index lists behind it", "app-arch/link-1.tbz2": "symbolic link", "app-arch/empty-1.tbz2": "empty",
		"dead.tar": "symbolic link", "empty.tar": "empty", "on-its-way.tar.__download__": "incomplete"} {
		if !strings.Contains(reasons[name], want) {
			t.Errorf("%s: %q, want something about %q", name, reasons[name], want)
		}
		delete(reasons, name)
	}
	if len(reasons) > 0 {
		t.Errorf("left out: %v", reasons)
	}
	if got := generationOf(t, host, path).Distfiles(); len(got) != 1 || got[0].Path != "good.tar" {
		t.Errorf("carried: %v", got)
	}
}

// What one signed list cannot name is refused before anything is written: with parts of a byte each, a sparse file is too much.
func TestTooMuchForOneList(t *testing.T) {
	host := newMachine(t, "bighost", epoch)
	name := filepath.Join(host.DISTDIR, "sparse.tar")
	write(t, name, "")
	if err := os.Truncate(name, manifest.MaxFiles+1); err != nil {
		t.Fatal(err)
	}
	mount := t.TempDir()
	for _, pretend := range []bool{true, false} {
		_, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: mount, AnyDirectory: true, PartSize: 1, Pretend: pretend}, nil)
		var full *drivewriter.CapacityError
		if !errors.As(err, &full) {
			t.Fatalf("pretend %v: %v", pretend, err)
		}
	}
	if left, err := os.ReadDir(mount); err != nil || len(left) > 0 {
		t.Errorf("on the drive: %v, %v", left, err)
	}
}
