package manifest

import (
	"fmt"
	"testing"
)

// benchList is as large as the list of a big build host.
func benchList() *List {
	const files = 30_000
	l := &List{Timestamp: signTime, Files: make([]File, files), Ignore: []string{"Manifest.next"}}
	for i := range l.Files {
		path := fmt.Sprintf("packages/app-category%02d/some-package-name%04d/some-package-name%04d-1.2.%d-r1-3.gpkg.tar", i/600, i%600, i%600, i)
		l.Files[i] = File{Path: path, Size: int64(i) * 12_345, Sum: sum(path)}
	}
	return l
}

func BenchmarkOpen(b *testing.B) {
	k := newKey(b, "origin")
	data, ring := mustSign(b, benchList(), k, signTime), Ring{k.Public()}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(data, ring, signTime); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	k, l := newKey(b, "origin"), benchList()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Sign(l, k, signTime); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshalText(b *testing.B) {
	l := benchList()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.MarshalText(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCollisions(b *testing.B) {
	l := benchList()
	paths := make([]string, len(l.Files))
	for i, f := range l.Files {
		paths[i] = f.Path
	}
	b.ReportAllocs()
	for b.Loop() {
		if same := Collisions(paths); same != nil {
			b.Fatal(same)
		}
	}
}
