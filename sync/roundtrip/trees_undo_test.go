package roundtrip

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/durable/durabletest"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/state"
	"pkgsneak/sync/undo"
)

// treeClient is a client whose Portage looks for its repository where import puts it.
type treeClient struct {
	machine.Machine
	root, repos string
}

func newTreeClient(t *testing.T, host machine.Machine) *treeClient {
	t.Helper()
	c := &treeClient{Machine: newMachine(t, "client", epoch), root: t.TempDir()}
	c.repos = filepath.Join(c.root, "var/db/repos")
	write(t, filepath.Join(c.root, "etc/portage/repos.conf/all.conf"),
		"[gentoo]\nlocation = /var/db/repos/gentoo\n")
	must(t, os.MkdirAll(c.repos, 0o755))
	trustEach(t, c.Machine, host)
	return c
}

// now is the machine with its configuration as it is now.
func (c *treeClient) now(t *testing.T) machine.Machine {
	t.Helper()
	settings, err := portage.Load(t.Context(), portage.Options{Root: c.root})
	must(t, err)
	m := c.Machine
	m.Settings = settings
	return m
}

// all is what the client has: its world, and its repositories.
func (c *treeClient) all(t *testing.T) map[string]string {
	t.Helper()
	all := world(t, c.Machine)
	for name, text := range files(t, filepath.Join(c.repos, "gentoo")) {
		all["gentoo/"+name] = text
	}
	return all
}

// beside fails where anything but what is named lies beside the repositories.
func (c *treeClient) beside(t *testing.T, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(c.repos)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("in the place of the repositories: %q, want %q", names, want)
	}
}

// change is the number of the import that could be taken back.
func (c *treeClient) change(t *testing.T) string {
	t.Helper()
	st, err := state.Open(t.Context(), c.StateDir, state.Options{ReadOnly: true})
	must(t, err)
	defer st.Close()
	u, err := state.ReadUndo(st)
	must(t, err)
	if u.Change == nil {
		return ""
	}
	return u.Change.ID
}

// treeDrives are two generations of a host on a drive each: in the second a package was built
// again, one is gone, a distfile is another, and so is the repository.
func treeDrives(t *testing.T) (host machine.Machine, first, second string) {
	t.Helper()
	root := t.TempDir()
	host = withRepos(t, newMachine(t, "bighost", epoch), root, tree("1", "1777000000"))
	pack(t, host.PKGDIR, "xpak-classic")
	write(t, filepath.Join(host.DISTDIR, killedDist), "first")
	first, second = t.TempDir(), t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: first})
	buildAgain(t, host, killedReplaced, epoch.Add(time.Hour))
	must(t, os.Remove(filepath.Join(host.PKGDIR, killedPruned)))
	write(t, filepath.Join(host.DISTDIR, killedDist), "second")
	must(t, os.Remove(filepath.Join(root, "var/db/repos/gentoo/app-misc/foo/foo-1.ebuild")))
	host = withRepos(t, host, root, tree("2", "1777100000"))
	host.Now = func() time.Time { return epoch.Add(time.Hour) }
	mustExport(t, host, exporter.ExportOptions{Drive: second})
	return host, first, second
}

// An import with --prune that replaced a repository, too, is taken back as a whole; and it is so
// where it, or its undo, ended before any operation, whether the import is run again before or not.
func TestUndoOfPackagesAndTrees(t *testing.T) {
	host, first, second := treeDrives(t)
	o := importer.ImportOptions{Drive: second, Prune: true, Workers: 1}
	begin := func(t *testing.T) *treeClient {
		c := newTreeClient(t, host)
		mustImport(t, c.now(t), importer.ImportOptions{Drive: first})
		return c
	}
	c := begin(t)
	before := c.all(t)
	back := func(c *treeClient, what string) {
		t.Helper()
		r := mustUndo(t, c.now(t))
		if d := differ(before, c.all(t)); len(d) > 0 || len(r.Stays) > 0 {
			t.Fatalf("%s: not as before: %q, stays %v", what, d, r.Stays)
		}
		c.beside(t, "gentoo")
		nothingKept(t, c.Machine)
		if r := mustUndo(t, c.now(t)); !r.Unchanged {
			t.Fatalf("%s: undone twice: %+v", what, r)
		}
	}
	rec := &durabletest.Recorder{}
	recorded := c.now(t)
	recorded.Hook = rec.Hook
	mustImport(t, recorded, o)
	after := c.all(t)
	c.beside(t, ".gentoo.pkgsneak-undo", "gentoo")
	back(c, "at its end")
	mustImport(t, c.now(t), o)
	if d := differ(after, c.all(t)); len(d) > 0 {
		t.Fatalf("imported again, it is not the same: %q", d)
	}
	back(c, "at its end, again")

	stride := 9
	if testing.Short() {
		stride = 41
	}
	for n := 1; n <= rec.Len(); n += stride {
		what := fmt.Sprintf("import ended before operation %d (%s)", n, rec.All()[n-1])
		c := begin(t)
		had := c.change(t)
		m := c.now(t)
		m.Hook = durabletest.FailFrom(n, unix.EIO)
		importer.Import(context.Background(), m, o, nil)
		if c.change(t) == had { // nothing has happened yet
			if d := differ(before, c.all(t)); len(d) > 0 {
				t.Fatalf("%s: changed, and not noted: %q", what, d)
			}
			continue
		}
		if n%2 == 0 {
			what += ", then import"
			mustImport(t, c.now(t), o)
			if d := differ(after, c.all(t)); len(d) > 0 {
				t.Fatalf("%s: not as imported: %q", what, d)
			}
		}
		back(c, what)
	}

	c = begin(t)
	mustImport(t, c.now(t), o)
	rec.Reset()
	recorded = c.now(t)
	recorded.Hook = rec.Hook
	mustUndo(t, recorded)
	for n := 1; n <= rec.Len(); n += stride {
		what := fmt.Sprintf("undo ended before operation %d (%s)", n, rec.All()[n-1])
		c := begin(t)
		mustImport(t, c.now(t), o)
		m := c.now(t)
		m.Hook = durabletest.FailFrom(n, unix.EIO)
		undo.Undo(context.Background(), m, undo.Options{}, nil)
		if n%2 == 0 {
			what += ", then import"
			mustImport(t, c.now(t), o)
			if d := differ(after, c.all(t)); len(d) > 0 {
				t.Fatalf("%s: not as imported: %q", what, d)
			}
			c.beside(t, ".gentoo.pkgsneak-undo", "gentoo")
		}
		back(c, what)
	}
}

// An import that ended after a repository had its place, and that one from a newer drive goes on
// with, is taken back with it: to before the first of them, wherever the second ended.
func TestNewerDriveGoesOnWithAnEndedImport(t *testing.T) {
	host, first, second := treeDrives(t)
	third := t.TempDir()
	repos, err := host.Settings.Repos()
	must(t, err)
	write(t, filepath.Join(host.Settings.HostPath(repos[0].Location), "metadata/timestamp.x"),
		"1777200000\n")
	write(t, filepath.Join(host.DISTDIR, killedDist), "third")
	host.Now = func() time.Time { return epoch.Add(2 * time.Hour) }
	mustExport(t, host, exporter.ExportOptions{Drive: third})
	older := importer.ImportOptions{Drive: second, Prune: true, Workers: 1}
	newer := importer.ImportOptions{Drive: third, Prune: true, Workers: 1}

	rec := &durabletest.Recorder{}
	number := func(op durable.Op, to string) (n int) { // of the last of these
		for i, c := range rec.All() {
			if c.Op == op && c.To == to {
				n = i + 1
			}
		}
		return n
	}
	c := newTreeClient(t, host)
	mustImport(t, c.now(t), importer.ImportOptions{Drive: first})
	before := c.all(t)
	recorded := c.now(t)
	recorded.Hook = rec.Hook
	mustImport(t, recorded, older)
	exchanged := number(durable.OpRename, ".gentoo.pkgsneak-undo") - 2
	last := number(durable.OpRename, "undo") // it is at its end then
	mustImport(t, c.now(t), newer)
	after := c.all(t)

	// ended is a client on which the import of the second drive ended before an operation.
	ended := func(n int) *treeClient {
		c := newTreeClient(t, host)
		mustImport(t, c.now(t), importer.ImportOptions{Drive: first})
		m := c.now(t)
		m.Hook = durabletest.FailFrom(n, unix.EIO)
		importer.Import(context.Background(), m, older, nil)
		if text := c.all(t)["gentoo/metadata/timestamp.x"]; text != "1777100000\n" {
			t.Fatalf("the repository has not its place yet: %q", text)
		}
		return c
	}
	back := func(c *treeClient, what string) {
		t.Helper()
		r := mustUndo(t, c.now(t))
		if d := differ(before, c.all(t)); len(d) > 0 || len(r.Stays) > 0 {
			t.Fatalf("%s: not as before: %q, stays %v", what, d, r.Stays)
		}
		c.beside(t, "gentoo")
		nothingKept(t, c.Machine)
	}
	for _, n := range []int{exchanged + 1, (exchanged + last) / 2, last} {
		c := ended(n)
		mustImport(t, c.now(t), newer)
		what := fmt.Sprintf("the first ended before operation %d of %d", n, last)
		if d := differ(after, c.all(t)); len(d) > 0 {
			t.Fatalf("%s: not as imported: %q", what, d)
		}
		c.beside(t, ".gentoo.pkgsneak-undo", "gentoo")
		back(c, what)
	}
	rec.Reset()
	c = ended(exchanged + 1)
	recorded = c.now(t)
	recorded.Hook = rec.Hook
	mustImport(t, recorded, newer)
	stride := 2
	if testing.Short() {
		stride = 7
	}
	noted := number(durable.OpRename, "repositories")
	for n := noted - 30; n <= noted+2; n += stride {
		c := ended(exchanged + 1)
		m := c.now(t)
		m.Hook = durabletest.FailFrom(n, unix.EIO)
		importer.Import(context.Background(), m, newer, nil)
		what := fmt.Sprintf("both ended, the second before operation %d (%s)", n, rec.All()[n-1])
		if n%4 < 2 {
			what += ", then import"
			mustImport(t, c.now(t), newer)
		}
		back(c, what)
	}
}

// An import that ended while it deleted the repository that the one before had replaced: an undo
// leads to before the one or to before the other, with packages and repository alike.
func TestUndoAfterAnEndBetweenTwoImports(t *testing.T) {
	host, first, second := treeDrives(t)
	third := t.TempDir()
	write(t, filepath.Join(host.DISTDIR, killedDist), "third")
	host.Now = func() time.Time { return epoch.Add(2 * time.Hour) }
	mustExport(t, host, exporter.ExportOptions{Drive: third})
	begin := func() *treeClient {
		c := newTreeClient(t, host)
		mustImport(t, c.now(t), importer.ImportOptions{Drive: first})
		return c
	}
	o := importer.ImportOptions{Drive: second, Prune: true}
	c := begin()
	before := c.all(t)
	mustImport(t, c.now(t), o)
	between := c.all(t)
	o.Drive, o.Workers = third, 1
	rec := &durabletest.Recorder{}
	recorded := c.now(t)
	recorded.Hook = rec.Hook
	mustImport(t, recorded, o)
	deleted := slices.IndexFunc(rec.All(), func(c durable.Change) bool {
		return c.Op == durable.OpRemoveAll && c.Name == ".gentoo.pkgsneak-undo"
	}) + 1
	if deleted == 0 {
		t.Fatal("what was kept is not deleted")
	}
	stride := 3
	if testing.Short() {
		stride = 7
	}
	seen := make(map[bool]int)
	for n := max(1, deleted-24); n <= deleted+3; n += stride {
		c := begin()
		o := o
		o.Drive = second
		mustImport(t, c.now(t), o)
		m := c.now(t)
		m.Hook = durabletest.FailFrom(n, unix.EIO)
		o.Drive = third
		importer.Import(context.Background(), m, o, nil)
		mustUndo(t, c.now(t))
		now := c.all(t)
		far := len(differ(before, now)) == 0
		if d := differ(between, now); !far && len(d) > 0 {
			t.Fatalf("ended before operation %d (%s): neither as before the one import nor as before the other: %q",
				n, rec.All()[n-1], d)
		}
		seen[far]++
		c.beside(t, "gentoo")
	}
	if len(seen) != 2 {
		t.Errorf("an undo leads to before the one import only: %v", seen)
	}
}

// A repository that the import before the last one replaced is no part of its undo, whether the
// drive carries repositories or not, and whether they are wanted or not.
func TestUndoIsOfTheLastImportOnly(t *testing.T) {
	host, first, second := treeDrives(t)
	write(t, filepath.Join(host.DISTDIR, "third.tgz"), "third")
	host.Now = func() time.Time { return epoch.Add(2 * time.Hour) }
	third, without := t.TempDir(), t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: third})
	mustExport(t, host, exporter.ExportOptions{Drive: without, Repos: exporter.NoRepos})
	for name, o := range map[string]importer.ImportOptions{
		"the same repository":          {Drive: third},
		"--repos none":                 {Drive: third, Repos: importer.NoRepos},
		"a drive without repositories": {Drive: without},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTreeClient(t, host)
			mustImport(t, c.now(t), importer.ImportOptions{Drive: first})
			mustImport(t, c.now(t), importer.ImportOptions{Drive: second})
			before := c.all(t)
			if r := mustImport(t, c.now(t), o); r.Undo == nil || r.Undo.Problem != "" {
				t.Fatalf("%+v", r.Undo)
			}
			c.beside(t, "gentoo")
			if r := mustUndo(t, c.now(t)); len(r.Repositories) > 0 {
				t.Errorf("%+v", r.Repositories)
			}
			if d := differ(before, c.all(t)); len(d) > 0 {
				t.Errorf("not as before: %q", d)
			}
		})
	}
}

// A repository that was replaced, and is kept for the undo, goes first where its room is needed,
// and stays where that would not help; what the same import keeps gives way to a repository.
func TestKeptTreesGiveWay(t *testing.T) {
	const mib = 1 << 20
	root := t.TempDir()
	host := newMachine(t, "bighost", epoch)
	drive, hour := t.TempDir(), 0
	export := func(treeSize int) {
		t.Helper()
		hour++
		must(t, os.RemoveAll(filepath.Join(root, "var/db/repos")))
		random(t, filepath.Join(root, "var/db/repos/gentoo/files/big"), treeSize)
		host = withRepos(t, host, root, tree("1", fmt.Sprint(1777000000+hour)))
		host.Now = func() time.Time { return epoch.Add(time.Duration(hour) * time.Hour) }
		mustExport(t, host, exporter.ExportOptions{Drive: drive})
	}
	export(2 * mib)
	c := newTreeClient(t, host)
	disk := filepath.Join(c.root, "disk")
	smallDisk(t, disk, "8m")
	c.DISTDIR, c.repos = filepath.Join(disk, "distfiles"), filepath.Join(disk, "repos")
	write(t, filepath.Join(c.root, "etc/portage/repos.conf/all.conf"),
		"[gentoo]\nlocation = /disk/repos/gentoo\n")
	must(t, os.MkdirAll(c.repos, 0o755))
	o := importer.ImportOptions{Drive: drive, NoPackages: true}
	given := func(r *importer.ImportReport) bool {
		return slices.ContainsFunc(r.Notices, func(s string) bool {
			return strings.Contains(s, "cannot be taken back")
		})
	}
	mustImport(t, c.now(t), o)
	export(2*mib + 1)
	mustImport(t, c.now(t), o)
	c.beside(t, ".gentoo.pkgsneak-undo", "gentoo")

	// A file that does not fit without it either: 15, and it stays.
	random(t, filepath.Join(host.DISTDIR, "huge.tgz"), 9*mib)
	export(2*mib + 1)
	if _, err := importer.Import(t.Context(), c.now(t), o, nil); err == nil {
		t.Fatal("more than the disk has came in")
	}
	c.beside(t, ".gentoo.pkgsneak-undo", "gentoo")

	// A distfile that does.
	remove(t, filepath.Join(host.DISTDIR, "huge.tgz"))
	random(t, filepath.Join(host.DISTDIR, "a.tgz"), 4*mib)
	export(2*mib + 1)
	pretended := o
	pretended.Pretend = true
	mustImport(t, c.now(t), pretended)
	c.beside(t, ".gentoo.pkgsneak-undo", "gentoo")
	if r := mustImport(t, c.now(t), o); !given(r) {
		t.Errorf("%q", r.Notices)
	}
	c.beside(t, "gentoo")

	// The next one replaces the distfile, and its repository has no room beside what is kept of
	// that.
	mustUndo(t, c.now(t))
	random(t, filepath.Join(host.DISTDIR, "a.tgz"), mib)
	export(2*mib + 1)
	mustImport(t, c.now(t), o)
	random(t, filepath.Join(host.DISTDIR, "a.tgz"), mib+1)
	export(4 * mib)
	r := mustImport(t, c.now(t), importer.ImportOptions{Drive: drive, NoPackages: true,
		Replace: true})
	if !r.Trees[0].Taken || r.Undo == nil || !strings.Contains(r.Undo.Problem, "gentoo") {
		t.Errorf("%+v, undo %+v", r.Trees[0], r.Undo)
	}
	c.beside(t, "gentoo")
	if r := mustUndo(t, c.now(t)); !r.Unchanged {
		t.Errorf("%+v", r)
	}
}

// A host that has built nothing gives its repository all the same, and a client that has nothing
// takes it; the way back leads to no repository.
func TestTreesTravelAlone(t *testing.T) {
	root, drive := t.TempDir(), t.TempDir()
	host := withRepos(t, newMachine(t, "host", epoch), root, tree("1", "1777000000"))
	must(t, os.Remove(host.PKGDIR))
	must(t, os.Remove(host.DISTDIR))
	if r := mustExport(t, host, exporter.ExportOptions{Drive: drive,
		Pretend: true}); len(r.Plan.Trees) != 1 {
		t.Fatalf("%+v", r.Plan)
	}
	if r := mustExport(t, host, exporter.ExportOptions{Drive: drive}); len(r.Trees) != 1 ||
		len(r.LeftOut) > 0 {
		t.Fatalf("%+v", r)
	}
	if r := mustExport(t, host, exporter.ExportOptions{Drive: drive}); !r.Unchanged {
		t.Fatalf("once more: %+v", r.Plan)
	}
	c := newTreeClient(t, host)
	must(t, os.Remove(c.PKGDIR))
	must(t, os.Remove(c.DISTDIR))
	if r := mustImport(t, c.now(t), importer.ImportOptions{Drive: drive}); !r.Trees[0].Taken {
		t.Fatalf("%+v", r.Trees[0])
	}
	sameFiles(t, filepath.Join(c.repos, "gentoo"), filepath.Join(root, "var/db/repos/gentoo"))
	if r := mustImport(t, c.now(t), importer.ImportOptions{Drive: drive}); !r.Unchanged {
		t.Fatalf("once more: %+v", r)
	}
	if r := mustUndo(t, c.now(t)); len(r.Repositories) != 1 || r.Repositories[0].Reason != "" {
		t.Fatalf("%+v", r)
	}
	c.beside(t)
}

// While Portage runs, packages come and the repository waits, unpacked; the line that is told
// brings it. An undo while Portage runs takes the packages back, and the line that is told the
// rest.
func TestTreesWaitForPortage(t *testing.T) {
	host, first, second := treeDrives(t)
	c := newTreeClient(t, host)
	mustImport(t, c.now(t), importer.ImportOptions{Drive: first})
	before := c.all(t)
	emerge := filepath.Join(c.Proc, "4711/comm")
	write(t, emerge, "emerge\n")
	r := mustImport(t, c.now(t), importer.ImportOptions{Drive: second, Prune: true})
	if x := r.Trees[0]; !x.Waiting || !x.Missed() || len(r.Origins[0].Copied) == 0 ||
		!slices.Equal(x.Hints, []string{
			"when it has ended: pkgsneak import DRIVE --repos-only"}) {
		t.Fatalf("%+v", x)
	}
	if text := c.all(t)["gentoo/metadata/timestamp.x"]; text != "1777000000\n" {
		t.Errorf("the repository has changed under emerge: %q", text)
	}
	must(t, os.RemoveAll(filepath.Dir(emerge)))
	if r := mustImport(t, c.now(t), importer.ImportOptions{Drive: second,
		ReposOnly: true}); !r.Trees[0].Taken {
		t.Fatalf("%+v", r.Trees[0])
	}

	c = newTreeClient(t, host)
	mustImport(t, c.now(t), importer.ImportOptions{Drive: first})
	mustImport(t, c.now(t), importer.ImportOptions{Drive: second, Prune: true})
	write(t, filepath.Join(c.Proc, "4711/comm"), "emerge\n")
	u := mustUndo(t, c.now(t))
	if x := u.Repositories[0]; x.Reason == "" || !slices.Equal(x.Hints, []string{
		"when it has ended: pkgsneak undo"}) || len(u.Restored) == 0 {
		t.Fatalf("%+v", u)
	}
	must(t, os.RemoveAll(filepath.Join(c.Proc, "4711")))
	mustUndo(t, c.now(t))
	if d := differ(before, c.all(t)); len(d) > 0 {
		t.Errorf("not as before: %q", d)
	}
}
