package binpkg

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pkgsneak/sync/digest"
)

// packages lists the package files of a layout, by path below PKGDIR; of GPKGs
// those with this extension only.
func packages(tb testing.TB, layout, ext string) (dir string, paths []string) {
	tb.Helper()
	dir = filepath.Join(golden, layout, "pkgdir")
	for path := range indexEntries(tb, filepath.Join(golden, layout, "Packages")) {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			tb.Fatal(err)
		}
		if bytes.Contains(data, []byte("metadata.tar"+ext+"\x00")) == (ext != "") {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return dir, paths
}

// eachPackage runs do on the packages of a layout, one after the other.
func eachPackage(b *testing.B, do func(f *os.File, size int64, path string) error) {
	for _, c := range []struct{ layout, ext string }{
		{"xpak-multi", ""},
		{"gpkg-multi", ".zst"},
		{"gpkg-multi", ".gz"},
		{"gpkg-multi", ".bz2"},
		{"gpkg-multi", ".xz"},
		{"gpkg-multi", ".lz4"},
	} {
		b.Run(c.layout+c.ext, func(b *testing.B) {
			dir, paths := packages(b, c.layout, c.ext)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				path := paths[i%len(paths)]
				f, err := os.Open(filepath.Join(dir, filepath.FromSlash(path)))
				if err != nil {
					b.Fatal(err)
				}
				info, err := f.Stat()
				if err != nil {
					b.Fatal(err)
				}
				if err := do(f, info.Size(), path); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}

// BenchmarkIndex is what one package costs an index: open, Read, and the sums
// of the whole file.
func BenchmarkIndex(b *testing.B) {
	h := digest.New(digest.MD5 | digest.SHA1)
	buf := make([]byte, 256<<10)
	eachPackage(b, func(f *os.File, size int64, path string) error {
		if _, err := Read(f, size, path); err != nil {
			return err
		}
		h.Reset()
		_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, buf)
		_ = h.Sum()
		return err
	})
}

func BenchmarkRead(b *testing.B) {
	eachPackage(b, func(f *os.File, size int64, path string) error {
		_, err := Read(f, size, path)
		return err
	})
}

func BenchmarkCheck(b *testing.B) {
	eachPackage(b, func(f *os.File, size int64, path string) error {
		return check(b.Context(), f, size, path)
	})
}

func BenchmarkGet(b *testing.B) {
	dir, paths := packages(b, "gpkg-multi", ".zst")
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(paths[0])))
	if err != nil {
		b.Fatal(err)
	}
	p, err := Read(bytes.NewReader(data), int64(len(data)), paths[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, key := range keys {
			p.Get(key)
		}
	}
}
