package roundtrip

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
)

// killed is a client that has imported a first generation, and three drives: the second generation,
// which is interrupted, and the third, in which everything that the second brought is another build
// again.
type killed struct {
	client        machine.Machine
	home          string // the directory of the client as it is before the second import
	second, third string // drives
	want          map[string]string
}

const (
	killedReplaced = "app-misc/labhello-1.0-r2.tbz2"
	killedPruned   = "app-misc/mc-0_pre20220101-r1.tbz2"
	killedNew      = "dev-libs/lablib++-2.1_p3.tbz2"
	killedDist     = "hello-2.10.tar.gz"
	killedGone     = "gone-1.tar.gz"
)

// buildAgain is rebuild with a time of its own.
func buildAgain(t *testing.T, m machine.Machine, p string, when time.Time) {
	t.Helper()
	name := filepath.Join(m.PKGDIR, p)
	rebuild(t, name)
	if err := os.Chtimes(name, when, when); err != nil {
		t.Fatal(err)
	}
}

func newKilled(t *testing.T) *killed {
	return newKilledAfter(t, func(machine.Machine, *killed) {})
}

// newKilledAfter is newKilled where something happens between the first drive and the second.
func newKilledAfter(t *testing.T, first func(host machine.Machine, k *killed)) *killed {
	t.Helper()
	host := newMachine(t, "bighost", epoch)
	whole := filepath.Join(t.TempDir(), "whole")
	pack(t, whole, "xpak-classic")
	take := func(p string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(host.PKGDIR, p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(whole, p), filepath.Join(host.PKGDIR, p)); err != nil {
			t.Fatal(err)
		}
	}
	take(killedReplaced)
	take(killedPruned)
	write(t, filepath.Join(host.DISTDIR, killedDist), "first")
	write(t, filepath.Join(host.DISTDIR, killedGone), "gone")
	export := func() string {
		t.Helper()
		drive := t.TempDir()
		mustExport(t, host, exporter.ExportOptions{Drive: drive, AllowShrink: true})
		return drive
	}
	drive := export()
	k := &killed{client: newMachine(t, "client", epoch)}
	k.home = filepath.Dir(k.client.PKGDIR)
	trustEach(t, k.client, host)
	mustImport(t, k.client, importer.ImportOptions{Drive: drive})
	first(host, k)

	take(killedNew)
	buildAgain(t, host, killedReplaced, epoch.Add(time.Hour))
	if err := os.Remove(filepath.Join(host.PKGDIR, killedPruned)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(host.DISTDIR, killedDist), "second")
	if err := os.Remove(filepath.Join(host.DISTDIR, killedGone)); err != nil {
		t.Fatal(err)
	}
	k.second = export()
	buildAgain(t, host, killedReplaced, epoch.Add(2*time.Hour))
	buildAgain(t, host, killedNew, epoch.Add(2*time.Hour))
	write(t, filepath.Join(host.DISTDIR, killedDist), "third!")
	k.third = export()
	k.want = files(t, host.PKGDIR)
	maps.DeleteFunc(k.want, func(name, _ string) bool {
		return strings.HasPrefix(name, "Packages")
	})
	return k
}

// at is the client in a fresh copy.
func (k *killed) at(t *testing.T, hook durable.Hook) machine.Machine {
	t.Helper()
	home := filepath.Join(t.TempDir(), "client")
	if err := copyTree(k.home, home); err != nil {
		t.Fatal(err)
	}
	m := k.client
	m.StateDir, m.PKGDIR, m.DISTDIR = filepath.Join(home, "state"), filepath.Join(home,
		"packages"), filepath.Join(home, "distfiles")
	m.Hook = hook
	return m
}

// A run may end before any operation, and the origin's files stay the origin's: the next generation
// replaces them in place, what left the origin is pruned, and the state has no row too many.
func TestImportEndedBeforeEachOperation(t *testing.T) {
	k := newKilled(t)
	rec := &durabletest.Recorder{}
	mustImport(t, k.at(t, rec.Hook), importer.ImportOptions{Drive: k.second,
		Prune: true, Workers: 1})
	total := rec.Len()
	if total < 60 {
		t.Fatalf("only %d operations", total)
	}
	stride := 1
	if testing.Short() {
		stride = 7
	}
	for n := 1; n <= total; n += stride {
		m := k.at(t, durabletest.FailFrom(n, unix.EIO))
		_, err := importer.Import(context.Background(), m, importer.ImportOptions{Drive: k.second,
			Prune: true, Workers: 1}, nil)
		// the last ones remove what is not needed any more
		if !errors.Is(err, unix.EIO) && n < total-5 {
			t.Errorf("ended before operation %d (%s): %v", n, rec.All()[n-1], err)
		}
		m.Hook = nil
		r, err := importer.Import(context.Background(), m, importer.ImportOptions{Drive: k.third,
			Prune: true}, nil)
		if err != nil {
			t.Errorf("operation %d (%s): the next import: %v", n, rec.All()[n-1], err)
			continue
		}
		if o := r.Origins[0]; len(o.LeftOut)+len(o.Plan.Beside) > 0 {
			t.Errorf("operation %d (%s): left out %v, beside %v", n, rec.All()[n-1], o.LeftOut,
				o.Plan.Beside)
		}
		k.check(t, m)
		if t.Failed() {
			t.Fatalf("operation %d: %s", n, rec.All()[n-1])
		}
	}
}

// check holds a client against the third generation.
func (k *killed) check(t *testing.T, m machine.Machine) {
	t.Helper()
	k.checkFiles(t, m)
	rows(t, m, payload.Package, killedReplaced, killedNew)
	rows(t, m, payload.Distfile, killedDist)
}

func (k *killed) checkFiles(t *testing.T, m machine.Machine) {
	t.Helper()
	got := files(t, m.PKGDIR)
	maps.DeleteFunc(got, func(name, _ string) bool { return strings.HasPrefix(name, "Packages") })
	if !maps.Equal(got, k.want) {
		t.Errorf("PKGDIR holds %q", slices.Sorted(maps.Keys(got)))
	}
	if got := files(t, m.DISTDIR); !maps.Equal(got, map[string]string{killedDist: "third!"}) {
		t.Errorf("DISTDIR holds %q", got)
	}
	if r, err := reindex.Check(t.Context(), m, reindex.IndexOptions{}, nil); err != nil || !r.OK() {
		t.Errorf("index: %+v, %v", r, err)
	}
}

// rows compares the state with what has to be in it: nothing more, and nothing unsettled.
func rows(t *testing.T, m machine.Machine, kind payload.Kind, want ...string) {
	t.Helper()
	st, err := state.Open(t.Context(), m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ring, err := st.Trusted()
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]state.Import)
	for _, key := range ring { // under one of them
		id := state.OriginID{Key: key.Fingerprint(), Name: "bighost"}
		list, err := st.Imports(id, kind)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(have, list)
		if pending, err := st.Pending(id, kind).Rows(); err != nil || len(pending) > 0 {
			t.Errorf("unsettled: %v, %v", pending, err)
		}
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(have)); !slices.Equal(got, want) {
		t.Errorf("the state has %q, want %q", got, want)
	}
	for path, i := range have {
		if i.Local != path {
			t.Errorf("the state has %q at %q", path, i.Local)
		}
	}
}

// A file that was removed is durably gone before the state forgets it, and one that was placed is
// remembered as placed at once.
func TestOrderOfForgetting(t *testing.T) {
	k := newKilled(t)
	rec := &durabletest.Recorder{}
	m := k.at(t, rec.Hook)
	mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true, Workers: 1})
	rows(t, m, payload.Package, killedReplaced, killedNew)
	rows(t, m, payload.Distfile, killedDist)
	after := func(root, what string, from int) int {
		t.Helper()
		for i, c := range rec.All() {
			if i > from && c.Root == root && strings.Contains(c.String(), what) {
				return i
			}
		}
		t.Fatalf("no %q in %q after operation %d of %q", what, root, from, rec.All())
		return -1
	}
	for _, kind := range []struct{ dir, gone, holds, table string }{
		{m.PKGDIR, killedPruned, filepath.Dir(killedPruned), "packages"},
		{m.DISTDIR, killedGone, ".", "distfiles"},
	} {
		noted := after(m.StateDir, "fsync-dir pending", after(m.StateDir, "rename pending/", -1))
		if kind.table == "distfiles" {
			noted = after(m.StateDir, "fsync-dir pending",
				after(m.StateDir, "distfiles.pkgsneak-", -1))
		}
		removed := after(kind.dir, "rename "+kind.gone, -1) // to what is kept
		if noted > removed {
			t.Errorf("%s: removed before it was noted", kind.table)
		}
		synced := after(kind.dir, "fsync-dir "+kind.holds, removed)
		var saved int
		for i, c := range rec.All() {
			if c.Root == m.StateDir && c.Op == durable.OpRename &&
				strings.HasPrefix(c.To, "imports/") && strings.HasSuffix(c.To, kind.table) {
				saved = i
			}
		}
		if saved < synced {
			t.Errorf("%s: the state forgot at %d, the directory was synced at %d", kind.table,
				saved, synced)
		}
	}
}

// A run that ended after a file had its name has begun with its generation: a drive with an older
// one does not take its file back (it gives what the newer one lists), and the drive that it was
// itself goes on.
func TestOlderDriveAfterARunThatEnded(t *testing.T) {
	for name, k := range map[string]*killed{
		"one key": newKilled(t),
		"the key of the second drive took the place of the first one's": newKilledAfter(t,
			func(host machine.Machine, k *killed) {
				st, old := withKey(t, host)
				next, err := manifest.GenerateKey("the next", epoch)
				if err == nil {
					next, err = next.IntroducedBy(old, epoch)
				}
				if err == nil {
					err = st.ReplaceSigningKey(next)
				}
				if err = errors.Join(err, st.Close()); err != nil {
					t.Fatal(err)
				}
				trustEach(t, k.client, host) // by hand, and the old one stays
			}),
	} {
		t.Run(name, func(t *testing.T) { olderAfterAnEnd(t, k) })
	}
}

func olderAfterAnEnd(t *testing.T, k *killed) {
	for _, last := range []string{killedReplaced, killedDist} {
		var named atomic.Bool // several files are on their way
		m := k.at(t, func(c durable.Change) error {
			if named.Load() {
				return unix.EIO
			}
			if c.Op == durable.OpRename && c.To == last {
				named.Store(true)
			}
			return nil
		})
		if _, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: k.third},
			nil); !errors.Is(err, unix.EIO) {
			t.Fatalf("ended after %q: %v", last, err)
		}
		m.Hook = nil
		pkgs, dists := files(t, m.PKGDIR)[killedReplaced], files(t, m.DISTDIR)[killedDist]
		if last == killedReplaced && pkgs != k.want[last] || last == killedDist &&
			dists != "third!" {
			t.Fatalf("ended after %q: it is not there", last)
		}
		r, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: k.second}, nil)
		if err != nil || !r.Origins[0].Plan.Donor || r.Origins[0].Plan.Superseded.Files == 0 {
			t.Errorf("ended after %q, an older drive: %v", last, err)
		}
		if files(t, m.PKGDIR)[killedReplaced] != pkgs || files(t, m.DISTDIR)[killedDist] != dists {
			t.Errorf("ended after %q: the older drive replaced something", last)
		}
		mustImport(t, m, importer.ImportOptions{Drive: k.third, Prune: true})
		k.check(t, m)
	}
}

// Two state directories, one PKGDIR and one DISTDIR: the second import waits for the first, or
// gives up as "locked".
func TestOneImportPerDirectory(t *testing.T) {
	k := newKilled(t)
	m := k.at(t, nil)
	for _, kind := range []string{"PKGDIR", "DISTDIR"} {
		store, root, err := durable.OpenStore(kind, map[string]string{"PKGDIR": m.PKGDIR,
			"DISTDIR": m.DISTDIR}[kind], nil)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		held, err := store.Lock(t.Context(), durable.LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m.LockWait = 0
		if _, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: k.second},
			nil); !errors.Is(err, durable.ErrLocked) {
			t.Errorf("%s locked: %v", kind, err)
		}
		if r, err := importer.Import(t.Context(), m, importer.ImportOptions{Drive: k.second,
			Pretend: true}, nil); err != nil || !r.Pretended {
			t.Errorf("%s locked, pretended: %v", kind, err)
		}
		if err := held.Release(); err != nil {
			t.Fatal(err)
		}
	}
	m.LockWait = time.Minute
	other := k.at(t, nil)
	other.PKGDIR, other.DISTDIR = m.PKGDIR, m.DISTDIR
	errs := make(chan error, 2)
	for _, m := range []machine.Machine{m, other} {
		go func() {
			_, err := importer.Import(context.Background(), m,
				importer.ImportOptions{Drive: k.third, Prune: true}, nil)
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	k.checkFiles(t, m) // each state has what its own run did
}

// A file that two origins list comes in with the task of the first, and is the second's, too. The
// note of that is settled before the second notes what it brings itself: a run that is ended there
// forgets nothing.
func TestSharedFileOfARunThatEnded(t *testing.T) {
	a, b, client, mount := newMachine(t, "a", epoch), newMachine(t, "b", epoch), newMachine(t,
		"client", epoch), t.TempDir()
	for _, host := range []machine.Machine{a, b} {
		write(t, filepath.Join(host.DISTDIR, "shared.tar"), "shared")
		write(t, filepath.Join(host.DISTDIR, "only-"+host.Hostname+".tar"), "of "+host.Hostname)
		mustExport(t, host, exporter.ExportOptions{Drive: mount})
		trustEach(t, client, host)
	}
	client.Hook = func(c durable.Change) error {
		if c.Op == durable.OpRename && c.To == "only-b.tar" {
			return unix.EIO
		}
		return nil
	}
	if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: mount},
		nil); !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	client.Hook = nil
	st, err := state.Open(t.Context(), client.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ring, err := st.Trusted()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range ring {
		name := strings.TrimPrefix(key.UserID(), "pkgsneak on ")
		id := state.OriginID{Key: key.Fingerprint(), Name: name}
		have, err := st.Imports(id, payload.Distfile)
		if err != nil {
			t.Fatal(err)
		}
		pending, err := st.Pending(id, payload.Distfile).Rows()
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(have, pending)
		if got, want := slices.Sorted(maps.Keys(have)), []string{"only-" + name + ".tar",
			"shared.tar"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q is remembered or noted, want %q", name, got, want)
		}
	}
}
