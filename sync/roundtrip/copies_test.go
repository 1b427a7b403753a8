package roundtrip

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/reindex"
)

// Copies of packages where Portage does not look are read once and remembered. However many they
// are, PKGDIR has lost nothing when they are gone.
func TestCopiesAreRemembered(t *testing.T) {
	host := newMachine(t, "bighost", epoch)
	pack(t, host.PKGDIR, "gpkg-multi")
	packages := files(t, host.PKGDIR)
	places := []string{"", "All", "old-a", "old-b"}
	for name, text := range packages {
		for _, place := range places {
			if to := filepath.Join(host.PKGDIR, place, filepath.Base(name)); strings.Contains(name,
				"/") {
				write(t, to, text)
				touch(t, to, epoch.Add(-time.Hour))
			}
		}
	}
	mount := t.TempDir()
	r := mustExport(t, host, exporter.ExportOptions{Drive: mount})
	copies := len(r.Plan.Duplicates)
	if copies < 2*len(r.Copied) {
		t.Fatalf("%d copies of %d packages", copies, len(r.Copied))
	}
	remembered := func() (n int) {
		for _, text := range stateFiles(t, host) {
			if head, _, _ := strings.Cut(text, "\n"); strings.HasSuffix(head, "/.copies") {
				n += strings.Count(text, "\n") - 2
			}
		}
		return n
	}
	if n := remembered(); n < copies {
		t.Errorf("%d of %d copies are remembered", n, copies)
	}
	if n := indexedCopies(t, host); n != copies {
		t.Errorf("index finds %d of %d copies", n, copies)
	}
	forgeCopies(t, host) // only who reads them sees that they are the same
	if n := indexedCopies(t, host); n != 0 {
		t.Errorf("index reads %d copies that are remembered", n)
	}
	for name := range packages {
		for _, place := range places {
			if strings.Contains(name, "/") {
				err := os.Remove(filepath.Join(host.PKGDIR, place, filepath.Base(name)))
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	host.Now = func() time.Time { return epoch.Add(time.Hour) }
	r = mustExport(t, host, exporter.ExportOptions{Drive: mount})
	if !r.Unchanged || len(r.Plan.LeftOut)+len(r.Plan.Remove)+len(r.Plan.Duplicates) > 0 {
		t.Errorf("without the copies: %+v", r.Plan)
	}
	if n := remembered(); n > 0 {
		t.Errorf("%d copies that are gone are remembered", n)
	}
}

// indexedCopies is how many copies an index finds.
func indexedCopies(t *testing.T, m machine.Machine) (n int) {
	t.Helper()
	r, err := reindex.Index(t.Context(), m, reindex.IndexOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Ignored {
		if strings.HasPrefix(p.Reason, "the same package as ") {
			n++
		}
	}
	return n
}

// forgeCopies gives the copies that a host remembers other digests.
func forgeCopies(t *testing.T, m machine.Machine) {
	t.Helper()
	for name, text := range stateFiles(t, m) {
		lines := strings.Split(text, "\n")
		if !strings.HasSuffix(lines[0], "/.copies") {
			continue
		}
		for i, line := range lines {
			if f := strings.Split(line, "\t"); len(f) == 9 {
				f[7] = strings.Repeat("ab", 64)
				lines[i] = strings.Join(f, "\t")
			}
		}
		write(t, filepath.Join(m.StateDir, name), strings.Join(lines, "\n"))
	}
}
