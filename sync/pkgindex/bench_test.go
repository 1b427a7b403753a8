package pkgindex

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// largeIndex returns an index of n entries that are as long as real ones.
func largeIndex(t testing.TB, n, entrySize int) []byte {
	t.Helper()
	x := mustRead(t, readFile(t, golden+"gpkg-multi/Packages"))
	model := x.Entries[0]
	x.Entries = nil
	pad := strings.Repeat("dev-libs/glib:2 ", max(0, entrySize-len(model.text))/16) +
		"sys-libs/zlib"
	for i := range n {
		name := fmt.Sprintf("package%05d-1.%d", i/3, i%3)
		e, err := model.With("CPV", "app-misc/"+name, "PATH", "app-misc/"+name+".gpkg.tar",
			"RDEPEND", pad)
		if err != nil {
			t.Fatal(err)
		}
		x.Entries = append(x.Entries, e)
	}
	return []byte(mustWrite(t, x))
}

func TestReadIsFrugal(t *testing.T) {
	const n = 50_000
	text := largeIndex(t, n, 1000)
	var x *Index
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x = mustRead(t, text)
	runtime.ReadMemStats(&after)
	if perEntry := float64(after.Mallocs-before.Mallocs) / n; perEntry > 2 {
		t.Errorf("%.1f allocations for an entry", perEntry)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 100<<20 {
		t.Errorf("%d entries take %d bytes", len(x.Entries), held)
	}
	runtime.KeepAlive(x)
}

func BenchmarkRead(b *testing.B) {
	text := largeIndex(b, 10_000, 640)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	text := largeIndex(b, 10_000, 640)
	x := mustRead(b, text)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := x.Write(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGzip(b *testing.B) {
	text := largeIndex(b, 10_000, 640)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := WriteGzip(io.Discard, plainText(text), 1_700_000_000); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewEntry(b *testing.B) {
	var metadata goldenPackage
	for _, g := range goldenPackages(b, "gpkg-multi") {
		if len(g.metadata["RDEPEND"]) > len(metadata.metadata["RDEPEND"]) {
			metadata = g
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		metadata.entry(b, true)
	}
}
