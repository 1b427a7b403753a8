package auto

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
)

// builder writes packages into a PKGDIR as emerge does: the name is reserved by an empty file, the
// package is written beside it under a name of its own, renamed to its place, and the index is
// written anew under Portage's lock.
type builder struct {
	t    *testing.T
	m    machine.Machine
	from string // golden packages
}

func (b builder) build(path string) {
	b.t.Helper()
	name := filepath.Join(b.m.PKGDIR, path)
	check(b.t, os.MkdirAll(filepath.Dir(name), 0o755))
	if f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err == nil {
		check(b.t, f.Close())
	} else if !errors.Is(err, os.ErrExist) {
		b.t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(b.from, path))
	check(b.t, err)
	temp := fmt.Sprintf("%s.%d", name, os.Getpid())
	f, err := os.Create(temp)
	check(b.t, err)
	for chunk := range slices.Chunk(data, 1000) {
		_, err := f.Write(chunk)
		check(b.t, err)
	}
	check(b.t, f.Close())
	check(b.t, os.Rename(temp, name))
	b.index()
}

func (b builder) index() {
	b.t.Helper()
	_, err := reindex.Index(b.t.Context(), b.m, reindex.IndexOptions{}, nil)
	check(b.t, err)
}

func (b builder) fetch(name string) {
	b.t.Helper()
	part := filepath.Join(b.m.DISTDIR, name+".__download__")
	check(b.t, os.WriteFile(part, []byte(name), 0o644))
	check(b.t, os.Rename(part, filepath.Join(b.m.DISTDIR, name)))
}

func (b builder) remove(path string) {
	b.t.Helper()
	check(b.t, os.Remove(filepath.Join(b.m.PKGDIR, path)))
	b.index()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contents is what the newest generation on a drive lists: each file with size and digest, and the
// catalogue without its time.
func contents(t *testing.T, m machine.Machine, dir string) string {
	t.Helper()
	d, err := drive.Open(dir)
	if errors.Is(err, drive.ErrNoTree) {
		return ""
	}
	check(t, err)
	defer d.Close()
	st, err := state.Open(t.Context(), m.StateDir, state.Options{ReadOnly: true})
	check(t, err)
	key, err := st.SigningKey()
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	check(t, err)
	g, err := d.Load(m.Hostname, manifest.Ring{key.Public()}, noon)
	if errors.Is(err, drive.ErrNoTree) {
		return ""
	}
	check(t, err)
	defer g.Close()
	var b strings.Builder
	for _, it := range slices.Concat(g.Packages(), g.Distfiles()) {
		fmt.Fprintf(&b, "%s %d %s\n", it.Path, it.Size, it.Sum)
	}
	index, err := g.Catalogue()
	check(t, err)
	index.SetTimestamp(0)
	check(t, index.Write(&b))
	return b.String()
}

// watching runs Watch until the test ends, and gives a token after each export.
func watching(t *testing.T, m machine.Machine, o WatchOptions) (exports chan error,
	stop func() error) {
	t.Helper()
	exports = make(chan error, 1000)
	o.Done = func(_ *exporter.ExportReport, err error) { exports <- err }
	if o.Quiet == 0 {
		o.Quiet = 20 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, m, o) }()
	var result error
	stopped := false
	stop = func() error {
		if !stopped {
			stopped = true
			cancel()
			result = <-ended
		}
		return result
	}
	t.Cleanup(func() { stop() })
	return exports, stop
}

// until waits for exports until the condition holds.
func until(t *testing.T, exports <-chan error, what string, holds func() bool) {
	t.Helper()
	late := time.After(2 * patience)
	for !holds() {
		select {
		case err := <-exports:
			if err != nil {
				t.Log(err)
			}
		case <-late:
			t.Fatalf("%s: it never came to that", what)
		}
	}
}

// A host builds, fetches, rebuilds and removes while the watch exports; in the end the drive holds
// what a fresh export would.
func TestWatchEndsAsFreshExport(t *testing.T) {
	m := newMachine(t, "bighost")
	b := builder{t, m, "../../testdata/golden/gpkg-multi/pkgdir"}
	usb := t.TempDir()
	exports, stop := watching(t, m,
		WatchOptions{Export: exporter.ExportOptions{Drive: usb, AnyDirectory: true}})
	packages, err := filepath.Glob(b.from + "/*/*/*.gpkg.tar")
	check(t, err)
	if len(packages) < 6 {
		t.Fatalf("%d packages", len(packages))
	}
	for i, p := range packages[:6] {
		path, err := filepath.Rel(b.from, p)
		check(t, err)
		b.build(path)
		b.fetch(fmt.Sprintf("foo-%d.tar.xz", i))
		if i == 2 { // while the build goes on, something is on the drive already
			until(t, exports, "an export while it builds", func() bool {
				return contents(t, m, usb) != ""
			})
		}
	}
	gone, err := filepath.Rel(b.from, packages[0])
	check(t, err)
	b.remove(gone)
	check(t, os.Remove(filepath.Join(m.PKGDIR, filepath.Dir(gone))))

	fresh := t.TempDir()
	_, err = exporter.Export(t.Context(), m,
		exporter.ExportOptions{Drive: fresh, AnyDirectory: true}, nil)
	check(t, err)
	want := contents(t, m, fresh)
	until(t, exports, "the drive is as a fresh export", func() bool {
		return contents(t, m, usb) == want
	})
	if strings.Count(want, ".gpkg.tar ") != 5 || strings.Count(want, "foo-") != 6 {
		t.Errorf("the fresh export is odd:\n%s", want)
	}
	if err := stop(); err != nil {
		t.Errorf("stopped: %v", err)
	}
	r, err := inspect.Verify(t.Context(), m, inspect.VerifyOptions{Drive: usb}, nil)
	if err != nil || len(r.Origins) != 1 || r.Origins[0].Err != nil ||
		len(r.Origins[0].Bad)+len(r.Origins[0].Undeclared)+len(r.Origins[0].Stale) > 0 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

// A PKGDIR that is removed and made anew, as by a user who cleans up, is followed.
func TestWatchFollowsPKGDIR(t *testing.T) {
	m := newMachine(t, "bighost")
	check(t, os.Remove(m.PKGDIR))
	b := builder{t, m, "../../testdata/golden/gpkg-classic/pkgdir"}
	packages, err := filepath.Glob(b.from + "/*/*.gpkg.tar")
	check(t, err)
	usb := t.TempDir()
	exports, _ := watching(t, m, WatchOptions{Export: exporter.ExportOptions{Drive: usb,
		AnyDirectory: true, AllowShrink: true}})
	for n := range 2 {
		path, err := filepath.Rel(b.from, packages[n])
		check(t, err)
		b.build(path)
		until(t, exports, "the package is on the drive", func() bool {
			return strings.Contains(contents(t, m, usb), path+" ")
		})
		check(t, os.RemoveAll(m.PKGDIR))
	}
}

func TestWatchOnce(t *testing.T) {
	m := host(t)
	usb := t.TempDir()
	err := Watch(t.Context(), m, WatchOptions{Export: exporter.ExportOptions{Drive: usb,
		AnyDirectory: true}, Quiet: time.Millisecond, Once: true})
	check(t, err)
	if !strings.Contains(contents(t, m, usb), "foo-1.0.tar.xz") {
		t.Error("nothing was exported")
	}
	st, err := state.Open(t.Context(), m.StateDir, state.Options{ReadOnly: true})
	check(t, err)
	if runs := st.Runs(); len(runs) != 1 || runs[0].By != "watch" || runs[0].Verb != "export" ||
		runs[0].Files != 4 {
		t.Errorf("remembered %+v", runs)
	}
}

// A drive that comes later, goes and comes back: each time what was missed is exported.
func TestWatchDriveComesAndGoes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount")
	}
	m := newMachine(t, "bighost")
	b := builder{t, m, "../../testdata/golden/gpkg-classic/pkgdir"}
	packages, err := filepath.Glob(b.from + "/*/*.gpkg.tar")
	check(t, err)
	stick, point := t.TempDir(), t.TempDir()
	if err := unix.Mount("pkgsneak-test", stick, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("SKIPPED: mount: %v", err)
	}
	defer unix.Unmount(stick, unix.MNT_DETACH)
	j := &journal{}
	exports, _ := watching(t, m,
		WatchOptions{Export: exporter.ExportOptions{Drive: point}, Log: j.log})
	for n := range 3 {
		path, err := filepath.Rel(b.from, packages[n])
		check(t, err)
		b.build(path)
		check(t, unix.Mount(stick, point, "", unix.MS_BIND, ""))
		until(t, exports, "what was built without the drive is on it", func() bool {
			return strings.Contains(contents(t, m, point), path+" ")
		})
		// the export that found nothing new may be looking at it
		for unix.Unmount(point, 0) != nil {
			<-exports
		}
	}
	if entries, err := os.ReadDir(point); err != nil || len(entries) > 0 {
		t.Errorf("below the mount point: %v, %v", entries, err)
	}
}

// An export that cannot be is told, and tried again.
func TestWatchRetries(t *testing.T) {
	m := host(t)
	m.LockWait = time.Millisecond
	check(t, os.MkdirAll(m.StateDir, 0o755))
	st, err := state.Open(t.Context(), m.StateDir, state.Options{})
	check(t, err)
	usb := t.TempDir()
	j := &journal{}
	exports, _ := watching(t, m, WatchOptions{Export: exporter.ExportOptions{Drive: usb,
		AnyDirectory: true}, Retry: time.Millisecond, Log: j.log})
	if err := <-exports; !errors.Is(err, durable.ErrLocked) {
		t.Fatalf("while another pkgsneak is at work: %v", err)
	}
	check(t, st.Close())
	until(t, exports, "an export", func() bool { return contents(t, m, usb) != "" })
	if !strings.Contains(j.text(), "locked") {
		t.Errorf("logged %q", j.text())
	}
}
