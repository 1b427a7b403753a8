package ebuilds

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/portage"
)

// benchTree makes a repository of the size of Gentoo's: 120,000 files of about 200 MiB. The names
// and sizes are those of no real one.
func benchTree(b *testing.B) string {
	dir := b.TempDir()
	write := func(name, text string) {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	write("profiles/repo_name", "gentoo\n")
	write("metadata/layout.conf", "masters =\n")
	write("metadata/timestamp.x", "1777000000\n")
	text := func(seed, n int) string {
		var s strings.Builder
		for i := 0; s.Len() < n; i++ {
			fmt.Fprintf(&s, "line %d of %d: %x\n", i, seed, uint32(seed)*2654435761+uint32(i)*40503)
		}
		return s.String()
	}
	for p := range 20_000 {
		category, name := fmt.Sprintf("cat-%d", p%170), fmt.Sprintf("package-%d", p)
		for v := range 2 {
			write(fmt.Sprintf("%s/%s/%s-%d.ebuild", category, name, name, v), text(p*7+v, 2200))
			write(fmt.Sprintf("metadata/md5-cache/%s/%s-%d", category, name, v), text(p*11+v, 1100))
		}
		write(category+"/"+name+"/Manifest", text(p*13, 1200))
		write(category+"/"+name+"/metadata.xml", text(p, 500))
	}
	return dir
}

func BenchmarkTree(b *testing.B) {
	dir := benchTree(b)
	to := b.TempDir()
	archive := filepath.Join(to, "gentoo-1.tar.zst")
	var tree layout.Tree
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			s, err := OpenSource(b.Context(), portage.RepoIn(dir), dir)
			if err != nil {
				b.Fatal(err)
			}
			f, err := os.Create(archive)
			if err != nil {
				b.Fatal(err)
			}
			if tree, err = s.Pack(b.Context(), f, nil); err != nil {
				b.Fatal(err)
			}
			n, _ := f.Seek(0, io.SeekEnd)
			f.Close()
			s.Close()
			b.ReportMetric(float64(n)/(1<<20), "MiB-packed")
			b.ReportMetric(float64(tree.Bytes)/(1<<20), "MiB")
			b.ReportMetric(float64(tree.Count), "entries")
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			s, err := OpenSource(b.Context(), portage.RepoIn(dir), dir)
			if err != nil {
				b.Fatal(err)
			}
			s.Close()
		}
	})
	b.Run("import", func(b *testing.B) {
		for b.Loop() {
			c := clientOf(b)
			s, err := portage.Load(b.Context(), portage.Options{Root: c})
			if err != nil {
				b.Fatal(err)
			}
			notes, err := ReadNotes(b.TempDir(), nil)
			if err != nil {
				b.Fatal(err)
			}
			site := &Site{Settings: s, Notes: notes, Proc: b.TempDir()}
			offer := Offer{Name: "gentoo", Origin: "host",
				Serial: time.Now().UnixNano(), Tree: tree,
				Open: func() (io.ReadCloser, error) { return os.Open(archive) }}
			steps, err := site.Plan(b.Context(), []Offer{offer}, Options{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := site.Take(b.Context(), steps[0], nil, Options{}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func clientOf(b *testing.B) string {
	dir := b.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "var/db/repos"), 0o755); err != nil {
		b.Fatal(err)
	}
	return dir
}
