package roundtrip

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/reindex"
)

// A file that lies in the two directories and is not carried is named, with its reason; their own
// files are nobody's concern and no distfiles.
func TestNothingIsLeftOutInSilence(t *testing.T) {
	t.Parallel()
	host, path := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-multi")
	elsewhere := filepath.Join(t.TempDir(), "app-misc")
	if err := os.Rename(filepath.Join(host.PKGDIR, "app-misc"), elsewhere); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{elsewhere: filepath.Join(host.PKGDIR, "app-misc"),
		"/nowhere":       filepath.Join(host.DISTDIR, "dead.tar"),
		"../none-1.tbz2": filepath.Join(host.PKGDIR, "app-arch/link-1.tbz2")} {
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(host.PKGDIR, "app-arch/empty-1.tbz2"), "")
	write(t, filepath.Join(host.PKGDIR, "README"), "not a package, and not taken for one\n")
	for name, text := range map[string]string{"empty.tar": "", "on-its-way.tar.__download__": "x",
		"good.tar": "x", "layout.conf": "[structure]\n", "Packages": "x", ".lock": "x"} {
		write(t, filepath.Join(host.DISTDIR, name), text)
	}
	r := mustExport(t, host, exporter.ExportOptions{Drive: path})
	reasons := make(map[string]string)
	for _, it := range r.LeftOut {
		reasons[it.Path] = it.Reason
	}
	for name, want := range map[string]string{"app-misc": "packages that the index lists behind it",
		"app-arch/link-1.tbz2": "symbolic link", "app-arch/empty-1.tbz2": "empty",
		"dead.tar": "symbolic link", "empty.tar": "empty",
		"on-its-way.tar.__download__": "incomplete"} {
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

// Files that one signed list cannot name are refused before anything is written: with parts of a
// byte each, a sparse file is too much.
func TestTooMuchForOneList(t *testing.T) {
	host := newMachine(t, "bighost", epoch)
	name := filepath.Join(host.DISTDIR, "sparse.tar")
	write(t, name, "")
	if err := os.Truncate(name, manifest.MaxFiles+1); err != nil {
		t.Fatal(err)
	}
	mount := t.TempDir()
	for _, pretend := range []bool{true, false} {
		_, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: mount,
			AnyDirectory: true, PartSize: 1, Pretend: pretend}, nil)
		var full *drivewriter.CapacityError
		if !errors.As(err, &full) {
			t.Fatalf("pretend %v: %v", pretend, err)
		}
	}
	if left, err := os.ReadDir(mount); err != nil || len(left) > 0 {
		t.Errorf("on the drive: %v, %v", left, err)
	}
}

// A file that is left out under a name that the origin had is no deletion: the drive keeps its
// copy, and no client is told to prune its own, not even by a drive that never had the file.
func TestWhatIsLeftOutIsNoDeletion(t *testing.T) {
	t.Parallel()
	host, client, path := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	names := []string{"dir.tar", "download.tar", "empty.tar", "fifo.tar", "link.tar", "removed.tar",
		"setaside.tar", "stays.tar"}
	old := epoch.Add(-time.Hour) // what was written just now is not remembered
	for _, name := range names {
		write(t, filepath.Join(host.DISTDIR, name), name)
		if err := os.Chtimes(filepath.Join(host.DISTDIR, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	mustExport(t, host, exporter.ExportOptions{Drive: path})
	packages := generationOf(t, host, path).Packages()
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: path})

	at := func(name string) string { return filepath.Join(host.DISTDIR, name) }
	emptied, piped, gone := packages[0].Path, packages[1].Path, packages[2].Path
	write(t, at("empty.tar"), "")
	write(t, filepath.Join(host.PKGDIR, emptied), "")
	for _, name := range []string{at("dir.tar"), at("fifo.tar"), at("link.tar"), at("removed.tar"),
		filepath.Join(host.PKGDIR, piped), filepath.Join(host.PKGDIR,
			gone), filepath.Join(host.PKGDIR, "Packages")} {
		remove(t, name)
	}
	for from, to := range map[string]string{"download.tar": "download.tar.__download__",
		"setaside.tar": "setaside.tar._checksum_failure_.ab12"} {
		if err := os.Rename(at(from), at(to)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(at("dir.tar"), 0o755), os.Symlink("/nowhere", at("link.tar")),
		syscall.Mkfifo(at("fifo.tar"), 0o600), syscall.Mkfifo(filepath.Join(host.PKGDIR, piped),
			0o600)); err != nil {
		t.Fatal(err)
	}

	for _, fresh := range []bool{false, true} {
		if fresh {
			path = t.TempDir()
		}
		r := mustExport(t, host, exporter.ExportOptions{Drive: path})
		left := make(map[string]bool)
		for _, it := range r.LeftOut {
			left[it.Path] = it.Reason != ""
		}
		for _, name := range []string{"dir.tar", "empty.tar", "fifo.tar", "link.tar",
			emptied, piped} {
			if !left[name] {
				t.Errorf("fresh drive %t: %s is not among what was left out: %v", fresh,
					name, r.LeftOut)
			}
		}
		var removed []string
		for _, it := range r.Removed {
			removed = append(removed, it.Path)
		}
		if want := []string{gone, "removed.tar"}; !fresh && !slices.Equal(removed, want) {
			t.Errorf("removed from the drive: %q, want %q", removed, want)
		}
		mustImport(t, client, importer.ImportOptions{Drive: path, Prune: true})
		for _, name := range names {
			_, err := os.Stat(filepath.Join(client.DISTDIR, name))
			if there := err == nil; there != (name != "removed.tar") {
				t.Errorf("fresh drive %t: the client's %s is there: %t", fresh, name, there)
			}
		}
		for _, name := range []string{emptied, piped} {
			if _, err := os.Stat(filepath.Join(client.PKGDIR, name)); err != nil {
				t.Errorf("fresh drive %t: %v", fresh, err)
			}
		}
		if r := mustExport(t, host, exporter.ExportOptions{Drive: path}); !r.Unchanged {
			t.Errorf("fresh drive %t: the same again is a new generation: %v %v", fresh,
				r.Copied, r.Removed)
		}
	}
}

// A package that PKGDIR's index lists and of which there is no file was lost, as far as anybody can
// tell: nothing is removed for it. It is gone when the index does not list it any more, or when an
// export is told so.
func TestAnEntryWithoutAFileIsNoDeletion(t *testing.T) {
	t.Parallel()
	for _, meant := range []exporter.ExportOptions{{}, {AllowShrink: true}} {
		host, client := newMachine(t, "host", epoch), newMachine(t, "client", epoch)
		pack(t, host.PKGDIR, "xpak-classic")
		index := func() {
			if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		index()
		path := t.TempDir()
		mustExport(t, host, exporter.ExportOptions{Drive: path})
		trustEach(t, client, host)
		mustImport(t, client, importer.ImportOptions{Drive: path})
		lost := generationOf(t, host, path).Packages()[0].Path
		here := func() bool {
			_, err := os.Stat(filepath.Join(client.PKGDIR, lost))
			return err == nil
		}
		remove(t, filepath.Join(host.PKGDIR, lost))
		fresh := t.TempDir()
		for _, at := range []string{path, fresh} {
			r := mustExport(t, host, exporter.ExportOptions{Drive: at})
			if len(r.LeftOut) != 1 || r.LeftOut[0].Path != lost || len(r.Removed) > 0 ||
				!strings.Contains(r.LeftOut[0].Hint, "pkgsneak index ") || at == path &&
				!strings.Contains(r.LeftOut[0].Hint, "keeps its copies") {
				t.Errorf("left out %+v, removed %v", r.LeftOut, r.Removed)
			}
			stock, err := generationOf(t, host, at).Stock(payload.Package)
			if err != nil || !stock.Complete || !stock.Has(lost) {
				t.Errorf("the origin has %+v, %v", stock, err)
			}
			mustImport(t, client, importer.ImportOptions{Drive: at, Prune: true})
			if !here() {
				t.Fatalf("the client's %s is gone", lost)
			}
		}
		if catalogueOf(t, host, path)[lost].IsZero() {
			t.Error("the catalogue has not got it")
		}
		if meant.Drive = path; !meant.AllowShrink {
			index()
		}
		if r := mustExport(t, host, meant); len(r.Removed) != 1 {
			t.Errorf("removed %v, left out %+v", r.Removed, r.LeftOut)
		}
		mustImport(t, client, importer.ImportOptions{Drive: path, Prune: true})
		if here() {
			t.Errorf("the client still has %s", lost)
		}
	}
}
