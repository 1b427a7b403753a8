package roundtrip

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
)

// manyDistfiles gives a host n distfiles, in MiB from 1 KiB less than one on: a drive of a few MiB
// holds some of them.
func manyDistfiles(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		random(t, filepath.Join(dir, fmt.Sprintf("file-%02d.tgz", i)), 1<<20-1024*(n-i))
	}
}

// A drive that cannot hold everything carries some of it and lists all of it: the export ends well,
// the next one finds nothing to do, and a client takes what is there and prunes nothing of the
// rest.
func TestDriveTooSmall(t *testing.T) {
	host, client := newMachine(t, "bighost", epoch), newMachine(t, "client", epoch)
	mount := filepath.Join(t.TempDir(), "stick")
	smallDisk(t, mount, "14m")
	manyDistfiles(t, host.DISTDIR, 12)
	o := exporter.ExportOptions{Drive: mount, AnyDirectory: true}

	o.Pretend = true
	planned := mustExport(t, host, o)
	o.Pretend = false
	r := mustExport(t, host, o)
	s := r.Plan.Selection
	if s == nil || len(r.Copied) < 4 || len(r.Copied) > 8 || len(s.Stay) != 12-len(r.Copied) ||
		len(r.LeftOut) > 0 || r.Plan.Enough < 18<<20 || r.Plan.Enough > 24<<20 {
		t.Fatalf("copied %d, left out %v, selection %+v, enough %d", len(r.Copied), r.LeftOut, s,
			r.Plan.Enough)
	}
	if len(planned.Plan.Copy) != len(r.Copied) {
		t.Errorf("planned %d, copied %d", len(planned.Plan.Copy), len(r.Copied))
	}
	if again := mustExport(t, host, o); !again.Unchanged || again.Plan.Selection == nil {
		t.Errorf("the second export: %+v", again)
	}

	trustEach(t, client, host)
	large := filepath.Join(t.TempDir(), "large")
	if err := os.Mkdir(large, 0o755); err != nil {
		t.Fatal(err)
	}
	mustExport(t, host, exporter.ExportOptions{Drive: large})
	mustImport(t, client, importer.ImportOptions{Drive: large})
	before := files(t, client.DISTDIR)
	in := mustImport(t, client, importer.ImportOptions{Drive: mount, Prune: true})
	if got := files(t, client.DISTDIR); len(got) != len(before) || len(before) != 12 ||
		len(in.Origins[0].LeftOut) > 0 {
		t.Errorf("before %d, after %d, %+v", len(before), len(got), in.Origins[0])
	}

	// A file that was carried goes from the host, and one has other contents: others take their
	// room.
	if err := os.Remove(filepath.Join(host.DISTDIR, "file-00.tgz")); err != nil {
		t.Fatal(err)
	}
	random(t, filepath.Join(host.DISTDIR, "file-01.tgz"), 5<<20)
	r = mustExport(t, host, o)
	var reasons []string
	for _, it := range r.Removed {
		reasons = append(reasons, it.Path+": "+it.Reason)
	}
	if len(r.Removed) != 2 || r.Removed[0].Reason != exporter.Gone ||
		r.Removed[1].Reason != exporter.Outdated || len(r.Copied) != 2 {
		t.Errorf("copied %v, removed %q", r.Copied, reasons)
	}
	fresh := newMachine(t, "fresh", epoch)
	trustEach(t, fresh, host)
	mustImport(t, fresh, importer.ImportOptions{Drive: mount})
	for name, text := range files(t, fresh.DISTDIR) {
		if want, err := os.ReadFile(filepath.Join(host.DISTDIR, name)); err != nil ||
			string(want) != text {
			t.Errorf("%s is not the host's: %v", name, err)
		}
	}
}

// A repository has its place on a drive that cannot hold everything: some payload stays away for
// it, as planned. One that would take more than half of the drive is named as left out.
func TestDriveTooSmallForTreeAndPayload(t *testing.T) {
	noise := func(seed byte, n int) string { // which zstd makes no smaller than to three quarters
		data := make([]byte, n)
		rand.NewChaCha8([32]byte{seed}).Read(data)
		return base64.StdEncoding.EncodeToString(data)
	}
	copied := make(map[string]int)
	for repos, size := range map[string]int{"": 9 << 20, exporter.NoRepos: 0} {
		files := tree("1", "1777000000")
		files["gentoo/eclass/large.eclass"] = strings.Repeat("x", size)
		host := withRepos(t, newMachine(t, "bighost", epoch), t.TempDir(), files)
		mount := filepath.Join(t.TempDir(), "stick")
		smallDisk(t, mount, "14m")
		manyDistfiles(t, host.DISTDIR, 12)
		r := mustExport(t, host,
			exporter.ExportOptions{Drive: mount, AnyDirectory: true, Repos: repos})
		copied[repos] = len(r.Copied)
	}
	if copied[""] >= copied[exporter.NoRepos] {
		t.Errorf("nothing was set aside: %v files", copied)
	}
	for size, left := range map[int]bool{1 << 20: false, 20 << 20: true} {
		files := tree("1", "1777000000")
		for i := range size >> 19 {
			files[fmt.Sprintf("gentoo/eclass/%d.eclass", i)] = noise(byte(i), 3<<17)
		}
		host := withRepos(t, newMachine(t, "bighost", epoch), t.TempDir(), files)
		mount := filepath.Join(t.TempDir(), "stick")
		smallDisk(t, mount, "14m")
		manyDistfiles(t, host.DISTDIR, 12)
		r := mustExport(t, host, exporter.ExportOptions{Drive: mount, AnyDirectory: true})
		if (len(r.Trees) == 0) != left || (len(r.LeftOut) == 1) != left ||
			left && (r.LeftOut[0].Path != "gentoo" ||
				!strings.Contains(r.LeftOut[0].Reason, "no room on the drive")) ||
			len(r.Copied) < 4 || r.Plan.Selection == nil {
			t.Errorf("%d bytes: trees %v, left out %+v, copied %d", size, r.Trees, r.LeftOut,
				len(r.Copied))
		}
	}
}

// A drive that cannot hold anything is an error, before the first byte.
func TestDriveTooSmallForAnything(t *testing.T) {
	host := newMachine(t, "bighost", epoch)
	mount := filepath.Join(t.TempDir(), "stick")
	smallDisk(t, mount, "8m")
	random(t, filepath.Join(host.DISTDIR, "a.tgz"), 5<<20)
	_, err := exporter.Export(t.Context(), host,
		exporter.ExportOptions{Drive: mount, AnyDirectory: true}, nil)
	if fault.Of(err) != fault.Space {
		t.Errorf("%v", err)
	}
	if got := files(t, mount); len(got) > 0 {
		t.Errorf("something was written: %d files", len(got))
	}
}
