package ebuilds

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
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

// Packing a tree, and taking it on a client that has none and on one that has the one before. The
// peers are tar and zstd of this machine, which verify nothing and exchange nothing. TMPDIR must
// not be on an ext4 without a journal: inodes of files that were deleted in the last minute make
// each new one dear there.
func BenchmarkTree(b *testing.B) {
	dir, to := benchTree(b), b.TempDir()
	archive := filepath.Join(to, "gentoo-1.tar.zst")
	var tree, next layout.Tree
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			cost := measure(b)
			var n int64
			tree, n = packBench(b, dir, archive)
			cost()
			b.ReportMetric(float64(n)/(1<<20), "MiB-packed")
			b.ReportMetric(float64(tree.Bytes)/(1<<20), "MiB")
			b.ReportMetric(float64(tree.Count), "entries")
		}
	})
	peer := filepath.Join(to, "peer.tar.zst")
	b.Run("pack/peer", func(b *testing.B) {
		shell(b, `tar -C "$1" --sort=name -cf - . | zstd -q -f -3 -T2 -o "$2"`, dir, peer)
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
	stamp := filepath.Join(dir, "metadata/timestamp.x")
	if err := os.WriteFile(stamp, []byte("1777100000\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	later := filepath.Join(to, "gentoo-2.tar.zst")
	next, _ = packBench(b, dir, later)
	c := clientOf(b)
	settings, err := portage.Load(b.Context(), portage.Options{Root: c})
	if err != nil {
		b.Fatal(err)
	}
	notes, err := ReadNotes(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	site := &Site{Settings: settings, Notes: notes, Proc: b.TempDir()}
	for _, one := range []struct {
		name, archive string
		tree          layout.Tree
	}{{"import/first", archive, tree}, {"import/next", later, next}} {
		b.Run(one.name, func(b *testing.B) {
			if b.N > 1 {
				b.Skip("a client has a first tree once: -benchtime 1x")
			}
			cost := measure(b)
			offer := Offer{Name: "gentoo", Origin: "host", Serial: time.Now().Unix(),
				Tree: one.tree,
				Open: func() (io.ReadCloser, error) { return os.Open(one.archive) }}
			steps, err := site.Plan(b.Context(), []Offer{offer}, Options{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := site.Take(b.Context(), steps[0], nil, Options{}, nil); err != nil {
				b.Fatal(err)
			}
			cost()
		})
	}
	b.Run("import/peer", func(b *testing.B) {
		shell(b, `zstd -q -dc "$1" | tar -C "$2" -xf - && sync -f "$2"`, peer, b.TempDir())
	})
	b.Run("deletion", func(b *testing.B) {
		if err := site.DropKept(); err != nil {
			b.Fatal(err)
		}
	})
}

// packBench packs a repository into a file of some length.
func packBench(b *testing.B, dir, to string) (layout.Tree, int64) {
	s, err := OpenSource(b.Context(), portage.RepoIn(dir), dir)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	f, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	tree, err := s.Pack(b.Context(), f, nil)
	if err != nil {
		b.Fatal(err)
	}
	n, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		b.Fatal(err)
	}
	return tree, n
}

// measure returns what reports the processor time and the highest memory since.
func measure(b *testing.B) (report func()) {
	runtime.GC()
	debug.FreeOSMemory()
	// the highest memory counts anew
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200)
	before := processor(b)
	return func() {
		b.ReportMetric((processor(b) - before).Seconds(), "cpu-s")
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			b.Fatal(err)
		}
		_, text, _ := strings.Cut(string(status), "VmHWM:")
		var kib int
		if _, err := fmt.Sscan(text, &kib); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(kib)/1024, "MiB-memory")
	}
}

func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// shell runs the peers.
func shell(b *testing.B, script string, args ...string) {
	for _, name := range []string{"tar", "zstd"} {
		if _, err := exec.LookPath(name); err != nil {
			b.Skipf("SKIPPED: %s is not in PATH: nothing to compare with", name)
		}
	}
	cmd := exec.CommandContext(b.Context(), "bash", append([]string{"-o", "pipefail", "-c", script,
		"bash"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	spent := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	b.ReportMetric(spent.Seconds(), "cpu-s")
}

func clientOf(b *testing.B) string {
	dir := b.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "var/db/repos"), 0o755); err != nil {
		b.Fatal(err)
	}
	conf := filepath.Join(dir, "etc/portage/repos.conf")
	if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil {
		b.Fatal(err)
	}
	text := "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = /var/db/repos/gentoo\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}
