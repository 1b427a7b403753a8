package roundtrip

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/volume"
)

// largePackage is an XPAK with the metadata of a golden package and an image of the members'
// contents, too large to be looked at before it is copied.
func largePackage(t *testing.T, golden string, members ...tar.Header) []byte {
	t.Helper()
	data, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	segment := binary.BigEndian.Uint32(data[len(data)-8:])
	var image bytes.Buffer
	z, err := zstd.NewWriter(&image, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	rng := rand.New(rand.NewPCG(7, 8))
	for _, h := range members {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(noise(rng, int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return append(image.Bytes(), data[len(data)-8-int(segment):]...)
}

// A fault of a large package is found while it is copied; the package stays out of what is signed,
// and the others are carried.
func TestExportChecksLargePackagesOnTheirWay(t *testing.T) {
	const name = "app-misc/screen-1.10-r100.tbz2"
	file := tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/screen", Mode: 0o755,
		Size: 20 * pipeline.SmallSize}
	inside := tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/screen/file", Mode: 0o644}
	good := func(data []byte) []byte { return data }
	for _, tt := range []struct {
		name    string
		members []tar.Header
		change  func([]byte) []byte
		reason  string // "": carried
	}{
		{"good", []tar.Header{file}, good, ""},
		{"a name that cannot be unpacked, at the end", []tar.Header{file, inside}, good,
			"lies below the file"},
		{"a name that cannot be unpacked, at the beginning",
			[]tar.Header{{Typeflag: tar.TypeReg, Name: "./a"},
				{Typeflag: tar.TypeReg, Name: "./a/b"}, file}, good, "lies below the file"},
		{"an image that is cut", []tar.Header{file}, func(data []byte) []byte {
			return slices.Concat(data[:5*pipeline.SmallSize], data[6*pipeline.SmallSize:])
		}, "image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			host, client, drive := newMachine(t, "build", epoch), newMachine(t, "client",
				epoch), t.TempDir()
			pack(t, host.PKGDIR, "xpak-classic")
			data := tt.change(largePackage(t, filepath.Join(host.PKGDIR, name), tt.members...))
			write(t, filepath.Join(host.PKGDIR, name), string(data))
			r := mustExport(t, host, exporter.ExportOptions{Drive: drive,
				Source: volume.Medium{Readers: 4}, Medium: volume.Medium{Writers: 3}})
			trustEach(t, client, host)
			mustImport(t, client, importer.ImportOptions{Drive: drive})
			got, err := os.ReadFile(filepath.Join(client.PKGDIR, name))
			if tt.reason == "" {
				if len(r.LeftOut) > 0 || !bytes.Equal(got, data) {
					t.Errorf("left out %+v, imported %d bytes of %d: %v", r.LeftOut, len(got),
						len(data), err)
				}
				return
			}
			if len(r.LeftOut) != 1 || r.LeftOut[0].Path != name ||
				!strings.Contains(r.LeftOut[0].Reason, tt.reason) {
				t.Errorf("left out: %+v", r.LeftOut)
			}
			if err == nil || len(r.Copied) == 0 {
				t.Errorf("%d files copied; imported all the same: %v", len(r.Copied), err == nil)
			}
			for path := range files(t, drive) {
				if strings.Contains(path, "screen-1.10") {
					t.Errorf("%q was left on the drive", path)
				}
			}
		})
	}
}

func noise(rng *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}
