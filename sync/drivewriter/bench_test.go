package drivewriter

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
)

// benchHost has many small packages.
func benchHost(files, size int) *host {
	h := newHost(keys()[0], "buildhost")
	for i := range files {
		h.pkg(fmt.Sprintf("cat%d/name-%d/name-%d-1.0-1.gpkg.tar", i/200, i, i),
			strings.Repeat("x", size))
	}
	return h
}

func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "drive")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// BenchmarkExport writes 1,000 packages of 4 kB to a new drive.
func BenchmarkExport(b *testing.B) {
	h := benchHost(1000, 4096)
	b.SetBytes(1000 * 4096)
	for b.Loop() {
		if err := h.export(b.Context(), benchDir(b)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoad reads a generation of 10,000 packages, as status does.
func BenchmarkLoad(b *testing.B) {
	mount, h := benchDir(b), benchHost(10_000, 1)
	if err := h.export(b.Context(), mount); err != nil {
		b.Fatal(err)
	}
	d, err := drive.Open(mount)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.ReportAllocs()
	for b.Loop() {
		g, err := d.Load("buildhost", manifest.Ring{h.key.Public()}, epoch)
		if err != nil {
			b.Fatal(err)
		}
		g.Close()
	}
}

// BenchmarkVerify reads one file of 64 MiB back.
func BenchmarkVerify(b *testing.B) {
	mount, h := benchDir(b), benchHost(1, 64<<20)
	if err := h.export(b.Context(), mount); err != nil {
		b.Fatal(err)
	}
	d, err := drive.Open(mount)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	g, err := d.Load("buildhost", manifest.Ring{h.key.Public()}, epoch)
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	b.SetBytes(64 << 20)
	for b.Loop() {
		report, err := g.Verify(b.Context(), drive.VerifyOptions{})
		if err != nil || len(report.Bad) > 0 {
			b.Fatal(report, err)
		}
	}
}
