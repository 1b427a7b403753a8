package roundtrip

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/progress"
)

// A distfile that emerge is still fetching under its own name, for instance: it changes while it is
// copied, and is left out; the next export brings it.
func TestADistfileThatChangesWhileItIsCopied(t *testing.T) {
	host, mount := newMachine(t, "host", epoch), t.TempDir()
	name := filepath.Join(host.DISTDIR, "large.tar")
	write(t, name, strings.Repeat("x", 40<<20))
	touch(t, name, epoch.AddDate(0, 0, -1))
	write(t, filepath.Join(host.DISTDIR, "small.tar"), "x")
	changed := false
	r, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: mount,
		AnyDirectory: true, NoReadBack: true}, progress.OfEvents(func(e progress.Event) {
		// The third piece of a file waits until the first one has arrived and was told.
		if e.Phase == progress.PhaseCopy && e.Done > pipeline.SmallSize && !changed {
			changed = true
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("y"), 0); err != nil {
				t.Error(err)
			}
		}
	}))
	if err != nil || !changed {
		t.Fatalf("export: %v, changed: %v", err, changed)
	}
	if len(r.LeftOut) != 1 || r.LeftOut[0].Path != "large.tar" ||
		!strings.Contains(r.LeftOut[0].Reason, "changed") {
		t.Errorf("left out: %v", r.LeftOut)
	}
	if got := generationOf(t, host, mount).Distfiles(); len(got) != 1 ||
		got[0].Path != "small.tar" {
		t.Errorf("carried: %v", got)
	}
	if again := mustExport(t, host, exporter.ExportOptions{Drive: mount,
		NoReadBack: true}); len(again.Copied) != 1 || len(again.LeftOut) > 0 {
		t.Errorf("the next export copied %v and left out %v", again.Copied, again.LeftOut)
	}
}

// The bytes of a package are not those that were read before, and its times are those of a file
// that nobody wrote to it: the medium is rotting. It was looked through then and is not again, so
// that only its digest tells.
func TestAPackageThatRotsBetweenTwoDrives(t *testing.T) {
	host := newMachine(t, "host", epoch)
	pack(t, host.PKGDIR, "mixed")
	mustExport(t, host, exporter.ExportOptions{Drive: t.TempDir(), NoReadBack: true})
	const victim = "app-arch/unzip-5-r2.tbz2"
	caches, _ := filepath.Glob(filepath.Join(host.StateDir, "digests", "*"))
	edited := false
	for _, cache := range caches {
		text, err := os.ReadFile(cache)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			// what was read then had another BLAKE2B
			if f := strings.Split(line, "\t"); f[0] == victim {
				f[7] = strings.Repeat("ab", 64)
				lines[i], edited = strings.Join(f, "\t"), true
			}
		}
		write(t, cache, strings.Join(lines, "\n"))
	}
	if !edited {
		t.Fatal("the digests of the package are not remembered")
	}
	mount := t.TempDir()
	r := mustExport(t, host, exporter.ExportOptions{Drive: mount, NoReadBack: true})
	if len(r.LeftOut) != 1 || r.LeftOut[0].Path != victim ||
		!strings.Contains(r.LeftOut[0].Reason, "damaged") ||
		!strings.Contains(r.LeftOut[0].Hint, "touch ") {
		t.Errorf("left out: %+v", r.LeftOut)
	}
	for _, it := range generationOf(t, host, mount).Packages() {
		if it.Path == victim {
			t.Error("it is on the drive")
		}
	}
}

// A file behind a link in DISTDIR that is written to while it is looked at counts as unknown,
// although its bytes are the wanted ones by then.
func TestALinkedFileThatChangesWhileItIsLookedAt(t *testing.T) {
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	write(t, filepath.Join(host.DISTDIR, "a.tar"), "right")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	elsewhere := filepath.Join(t.TempDir(), "a.tar")
	write(t, elsewhere, "wrong")
	if err := errors.Join(os.Chtimes(elsewhere, epoch, epoch),
		os.Symlink(elsewhere, filepath.Join(client.DISTDIR, "a.tar"))); err != nil {
		t.Fatal(err)
	}
	watch := progress.OfEvents(func(e progress.Event) {
		if e.Phase == progress.PhaseCheck && e.Path == "a.tar" {
			write(t, elsewhere, "right")
		}
	})
	r, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: mount}, watch)
	if err != nil || len(r.Origins[0].LeftOut) != 1 {
		t.Errorf("%v, %+v", err, r.Origins[0])
	}
	if r := mustImport(t, client, importer.ImportOptions{Drive: mount}); !r.Unchanged {
		t.Errorf("the file is not taken as it is: %+v", r.Origins[0])
	}
}
