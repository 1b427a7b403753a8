package pkgdir

import (
	"os"
	"testing"
)

// PKGSNEAK_BENCH_PKGDIR names a PKGDIR with many packages, which these only read. Without it a
// small one is measured.
func benchDir(b *testing.B) *Dir {
	b.Helper()
	if path := os.Getenv("PKGSNEAK_BENCH_PKGDIR"); path != "" {
		return openDir(b, path)
	}
	return layoutDir(b, "mixed")
}

func BenchmarkSurvey(b *testing.B) {
	d := benchDir(b)
	for b.Loop() {
		s, err := d.survey(b.Context(), doubtfulToo)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(s.scan.Files)), "packages")
	}
}

func BenchmarkScan(b *testing.B) {
	d := benchDir(b)
	for b.Loop() {
		if _, err := d.Scan(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDescribe reads and hashes every package, as for an index that is made anew.
func BenchmarkDescribe(b *testing.B) {
	d := benchDir(b)
	for b.Loop() {
		s, err := d.look(b.Context(), nothing, map[string]described{}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(s.todo)), "packages")
	}
}
