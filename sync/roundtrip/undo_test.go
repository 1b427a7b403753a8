package roundtrip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
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
	"pkgsneak/sync/payload"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
	"pkgsneak/sync/undo"
)

func mustUndo(t *testing.T, m machine.Machine) *undo.Report {
	t.Helper()
	r, err := undo.Undo(context.Background(), m, undo.Options{}, nil)
	if err != nil {
		t.Fatalf("undo: %v", err)
	}
	return r
}

var stamped = regexp.MustCompile(`(?m)^TIMESTAMP: \d+$`)

// world is a client's directories: the files with contents and times, the index but for its
// TIMESTAMP, and the directories.
func world(t *testing.T, m machine.Machine) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for kind, dir := range map[string]string{"packages": m.PKGDIR, "distfiles": m.DISTDIR} {
		for name, text := range files(t, dir) {
			if strings.HasPrefix(name, durable.StagingDir+"/") ||
				durable.IsTemp(filepath.Base(name)) {
				continue
			}
			if strings.HasPrefix(name, "Packages") {
				text = stamped.ReplaceAllString(text, "TIMESTAMP: 0")
			} else if fi, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				text += fmt.Sprint(" ", fi.ModTime().UnixNano(), fi.Mode())
			}
			all[kind+"/"+name] = text
		}
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if err == nil && (e.Name() == durable.KeptDir || e.Name() == durable.StagingDir) {
				return fs.SkipDir
			}
			if err == nil && e.IsDir() {
				rel, _ := filepath.Rel(dir, p)
				all[kind+"/"+rel+"/"] = ""
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// differ names what is not the same in two worlds.
func differ(a, b map[string]string) (names []string) {
	for name := range a {
		if text, there := b[name]; !there {
			names = append(names, "lost "+name)
		} else if text != a[name] {
			names = append(names, "other "+name)
		}
	}
	for name := range b {
		if _, there := a[name]; !there {
			names = append(names, "more "+name)
		}
	}
	slices.Sort(names)
	return names
}

// nothingKept fails where anything is left of an undo.
func nothingKept(t *testing.T, m machine.Machine) {
	t.Helper()
	for _, dir := range []string{m.PKGDIR, m.DISTDIR} {
		if names, err := filepath.Glob(filepath.Join(dir, durable.KeptDir, "*")); err != nil ||
			len(names) > 0 {
			t.Errorf("kept: %q, %v", names, err)
		}
	}
}

// An import of anything at all, taken back, leaves all as it was: packages, distfiles, times,
// modes, directories, and the index but for its TIMESTAMP; what is remembered as the origin's, too:
// the next import does the same again.
func TestUndoOfRandomImports(t *testing.T) {
	layouts := []string{"xpak-classic", "gpkg-multi", "mixed"}
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 17))
		host, client := newMachine(t, "bighost", epoch), newMachine(t, "client", epoch)
		whole := t.TempDir()
		pack(t, whole, layouts[seed%3])
		trees := func(n int) { // some packages and distfiles change, come or go
			names := slices.Sorted(maps.Keys(files(t, whole)))
			for _, name := range names {
				if strings.HasPrefix(name, "Packages") {
					continue
				}
				to := filepath.Join(host.PKGDIR, name)
				switch r.IntN(4) {
				case 0:
					if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Fatal(err)
					}
				case 1:
					data, err := os.ReadFile(filepath.Join(whole, name))
					if err != nil {
						t.Fatal(err)
					}
					write(t, to, string(data))
					when := epoch.Add(time.Duration(r.IntN(1000)) * time.Second)
					if err := os.Chtimes(to, when, when); err != nil {
						t.Fatal(err)
					}
					if strings.HasSuffix(name, ".tbz2") && bytes.Contains(data, []byte("17953")) &&
						r.IntN(2) == 0 {
						buildAgain(t, host, name, when)
					}
				}
			}
			for i := range 6 {
				name := filepath.Join(host.DISTDIR, fmt.Sprintf("d%d.tgz", i))
				switch r.IntN(3) {
				case 0:
					os.Remove(name)
				case 1:
					write(t, name, strings.Repeat(fmt.Sprint(n, i, r.IntN(3)), 1+r.IntN(5)))
				}
			}
			write(t, filepath.Join(host.DISTDIR, "always.tgz"), fmt.Sprint("always", n))
		}
		trees(0)
		mount := t.TempDir()
		o := exporter.ExportOptions{Drive: mount, AllowShrink: true}
		mustExport(t, host, o)
		trustEach(t, client, host)
		in := importer.ImportOptions{Drive: mount, Prune: r.IntN(3) > 0, AllowShrink: true}
		mustImport(t, client, in)
		for n := range 3 {
			before := world(t, client)
			trees(n + 1)
			host.Now = func() time.Time { return epoch.Add(time.Duration(n+1) * time.Hour) }
			mustExport(t, host, o)
			first := mustImport(t, client, in)
			after := world(t, client)
			if first.Unchanged {
				continue
			}
			if first.Undo == nil || first.Undo.Problem != "" {
				t.Fatalf("seed %d, %d: %+v", seed, n, first.Undo)
			}
			done := mustUndo(t, client)
			if d := differ(before, world(t, client)); len(d) > 0 || len(done.Stays) > 0 {
				t.Fatalf("seed %d, %d: not as before: %q, stays %v", seed, n, d, done.Stays)
			}
			nothingKept(t, client)
			if c, err := reindex.Check(t.Context(), client, reindex.IndexOptions{},
				nil); err != nil || !c.OK() {
				t.Fatalf("seed %d, %d: index: %+v, %v", seed, n, c, err)
			}
			if again := mustUndo(t, client); !again.Unchanged || again.Last.IsZero() {
				t.Fatalf("seed %d, %d: undone twice: %+v", seed, n, again)
			}
			mustImport(t, client, in)
			if d := differ(after, world(t, client)); len(d) > 0 {
				t.Fatalf("seed %d, %d: imported again, it is not the same: %q", seed, n, d)
			}
		}
	}
}

// An import, or an undo, may end before any operation: the next undo leads to where the client was
// before.
func TestUndoEndedBeforeEachOperation(t *testing.T) {
	k := newKilled(t)
	o := importer.ImportOptions{Drive: k.second, Prune: true, Workers: 1}
	clean := k.at(t, nil)
	before := world(t, clean)
	stride := 5
	if testing.Short() {
		stride = 17
	}
	try := func(m machine.Machine, what string) {
		t.Helper()
		r, err := undo.Undo(t.Context(), m, undo.Options{}, nil)
		if err != nil {
			t.Fatalf("%s: the next undo: %v", what, err)
		}
		if d := differ(before, world(t, m)); len(d) > 0 || len(r.Stays) > 0 {
			t.Fatalf("%s: not as before: %q, stays %v", what, d, r.Stays)
		}
		rows(t, m, payload.Package, killedReplaced, killedPruned)
		rows(t, m, payload.Distfile, killedDist, killedGone)
		mustImport(t, m, importer.ImportOptions{Drive: k.third, Prune: true})
		k.check(t, m)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	rec := &durabletest.Recorder{}
	mustImport(t, k.at(t, rec.Hook), o)
	for n := 1; n <= rec.Len(); n += stride {
		m := k.at(t, durabletest.FailFrom(n, unix.EIO))
		importer.Import(context.Background(), m, o, nil)
		m.Hook = nil
		if !noted(t, m) { // nothing has happened yet
			if d := differ(before, world(t, m)); len(d) > 0 {
				t.Fatalf("import ended before operation %d (%s): changed, and not noted: %q", n,
					rec.All()[n-1], d)
			}
			continue
		}
		try(m, fmt.Sprintf("import ended before operation %d (%s)", n, rec.All()[n-1]))
	}

	imported := k.at(t, nil)
	mustImport(t, imported, o)
	k.home = filepath.Dir(imported.PKGDIR)
	rec.Reset()
	recorded := k.at(t, rec.Hook)
	adopt(t, recorded)
	after := world(t, recorded)
	mustUndo(t, recorded)
	for n := 1; n <= rec.Len(); n += stride {
		for _, next := range []string{"undo", "import"}[n%2 : n%2+1] {
			m := k.at(t, nil)
			adopt(t, m)
			m.Hook = durabletest.FailFrom(n, unix.EIO)
			undo.Undo(context.Background(), m, undo.Options{}, nil)
			m.Hook = nil
			what := fmt.Sprintf("undo ended before operation %d (%s), then %s", n,
				rec.All()[n-1], next)
			if next == "import" {
				r, err := importer.Import(t.Context(), m, o, nil)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if len(r.Origins[0].LeftOut)+len(r.Origins[0].Plan.Beside) > 0 {
					t.Fatalf("%s: %+v", what, r.Origins[0].Plan)
				}
				if d := differ(after, world(t, m)); len(d) > 0 {
					t.Fatalf("%s: not as imported: %q", what, d)
				}
			}
			try(m, what)
		}
	}
}

// noted reports whether a change of the client's own directories is noted.
func noted(t *testing.T, m machine.Machine) bool {
	t.Helper()
	st, err := state.Open(t.Context(), m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	u, err := state.ReadUndo(st)
	if err != nil {
		t.Fatal(err)
	}
	return u.Change != nil && u.Change.PKGDIR == m.PKGDIR
}

// adopt lets the note of a client that was copied speak of its own directories.
func adopt(t *testing.T, m machine.Machine) {
	t.Helper()
	st, err := state.Open(t.Context(), m.StateDir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	u, err := state.ReadUndo(st)
	if err != nil || u.Change == nil {
		t.Fatalf("%+v, %v", u, err)
	}
	u.Change.PKGDIR, u.Change.DISTDIR = m.PKGDIR, m.DISTDIR
	if err := state.SaveUndo(st, u); err != nil {
		t.Fatal(err)
	}
}

// Whatever was built, fetched, edited or removed since the import stays as it is, and is named.
func TestUndoLeavesWhatCameSince(t *testing.T) {
	k := newKilled(t)
	m := k.at(t, nil)
	mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true})
	built := "app-misc/labhello/labhello-1.0-r2-7.xpak"
	data, err := os.ReadFile(filepath.Join(m.PKGDIR, killedReplaced))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.PKGDIR, built), string(data))
	buildAgain(t, m, built, epoch.Add(3*time.Hour)) // somebody's own, under a free name
	buildAgain(t, m, killedReplaced, epoch.Add(4*time.Hour))
	buildAgain(t, m, killedReplaced, epoch.Add(4*time.Hour))
	write(t, filepath.Join(m.DISTDIR, killedDist), "edited here")
	write(t, filepath.Join(m.DISTDIR, "own.tgz"), "own")
	remove(t, filepath.Join(m.PKGDIR, killedNew))
	mine := files(t, m.PKGDIR)[killedReplaced]

	p, err := undo.Undo(t.Context(), m, undo.Options{Pretend: true}, nil)
	if err != nil || !p.Pretended || len(p.Restored) != 3 {
		t.Errorf("pretended: %+v, %v", p, err)
	}
	r := mustUndo(t, m)
	here := files(t, m.PKGDIR)
	beside := slices.DeleteFunc(slices.Clone(r.Restored), func(it payload.Item) bool {
		return it.Path != killedReplaced
	})
	if len(beside) != 1 || beside[0].Local == "" || here[beside[0].Local] == "" ||
		here[killedReplaced] != mine || here[built] == "" || here[killedPruned] == "" {
		t.Errorf("restored %+v, there is %q", r.Restored, slices.Sorted(maps.Keys(here)))
	}
	if len(r.Stays) != 1 || r.Stays[0].Path != killedDist || r.Stays[0].Reason == "" {
		t.Errorf("stays: %+v", r.Stays)
	}
	if d := files(t, m.DISTDIR); d[killedDist] != "edited here" || d["own.tgz"] != "own" ||
		d[killedGone] != "gone" {
		t.Errorf("DISTDIR: %q", d)
	}
	if c, err := reindex.Check(t.Context(), m, reindex.IndexOptions{}, nil); err != nil || !c.OK() {
		t.Errorf("index: %+v, %v", c, err)
	}
}

// The bytes of the import that somebody has put there since, or before an import that was ended
// came to them, are that person's own.
func TestUndoLeavesTheSameBytesOfOthers(t *testing.T) {
	k := newKilled(t)
	m := k.at(t, nil)
	mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true})
	own := filepath.Join(m.PKGDIR, killedNew)
	data, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, own)
	write(t, own, string(data))
	r := mustUndo(t, m)
	if len(r.Stays) != 1 || r.Stays[0].Path != killedNew || files(t, m.PKGDIR)[killedNew] == "" {
		t.Errorf("stays: %+v", r.Stays)
	}
	if c, err := reindex.Check(t.Context(), m, reindex.IndexOptions{}, nil); err != nil || !c.OK() {
		t.Errorf("index: %+v, %v", c, err)
	}
	st, err := state.Open(t.Context(), m.StateDir, state.Options{ReadOnly: true})
	must(t, err)
	defer st.Close()
	for _, id := range st.Importers(payload.Package) {
		rows, err := st.Imports(id, payload.Package)
		must(t, err)
		for name, row := range rows {
			if row.Local == killedNew {
				t.Errorf("%s is still an origin's, as %s", killedNew, name)
			}
		}
	}
}

// The generation that was taken back is not brought in again by a run of nobody's; by a person it
// is, with a word.
func TestUndoneGenerationAndAuto(t *testing.T) {
	k := newKilled(t)
	m := k.at(t, nil)
	before := world(t, m)
	mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true})
	mustUndo(t, m)
	m.Unattended = true
	if r := mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true}); !r.Unchanged ||
		r.Undone != 1 || !slices.ContainsFunc(r.Notices, func(s string) bool {
		return strings.Contains(s, "passed over")
	}) {
		t.Errorf("%+v", r)
	}
	if d := differ(before, world(t, m)); len(d) > 0 {
		t.Errorf("changed: %q", d)
	}
	m.Unattended = false
	r := mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true})
	if r.Unchanged || !slices.ContainsFunc(r.Notices, func(s string) bool {
		return strings.Contains(s, "taken back here")
	}) {
		t.Errorf("by hand: %+v", r)
	}
	mustUndo(t, m)
	m.Unattended = true
	if r := mustImport(t, m, importer.ImportOptions{Drive: k.third, Prune: true}); r.Unchanged ||
		r.Undone != 0 {
		t.Errorf("a newer generation: %+v", r)
	}
	k.check(t, m)
}

// An import without an undo, and one that changes nothing.
func TestImportWithoutUndo(t *testing.T) {
	k := newKilled(t)
	m := k.at(t, nil)
	mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true})
	if r := mustImport(t, m, importer.ImportOptions{Drive: k.second, Prune: true}); !r.Unchanged ||
		r.Undo != nil {
		t.Errorf("%+v", r.Undo)
	}
	if r, err := undo.Undo(t.Context(), m, undo.Options{Pretend: true}, nil); err != nil ||
		r.Unchanged {
		t.Errorf("an import that changed nothing has taken the undo away: %+v, %v", r, err)
	}
	r := mustImport(t, m, importer.ImportOptions{Drive: k.third, Prune: true, NoUndo: true})
	if r.Undo == nil || r.Undo.Problem == "" {
		t.Errorf("%+v", r.Undo)
	}
	nothingKept(t, m)
	if r := mustUndo(t, m); !r.Unchanged {
		t.Errorf("%+v", r)
	}
	k.check(t, m)
}

// Where there are no hard links, files are moved away; where a directory is another file system,
// they are kept there; and where nothing can be kept at all, the import goes on without.
func TestKeepingWithoutLinks(t *testing.T) {
	k := newKilled(t)
	o := importer.ImportOptions{Drive: k.second, Prune: true}
	for _, errno := range []unix.Errno{unix.EPERM, unix.EOPNOTSUPP, unix.EMLINK} {
		m := k.at(t, func(c durable.Change) error {
			if c.Op == durable.OpLink {
				return errno
			}
			return nil
		})
		before := world(t, m)
		mustImport(t, m, o)
		mustUndo(t, m)
		if d := differ(before, world(t, m)); len(d) > 0 {
			t.Errorf("%v: not as before: %q", errno, d)
		}
	}

	m := k.at(t, nil)
	home := filepath.Join(m.PKGDIR, "app-misc")
	there := files(t, home)
	smallDisk(t, home, "8m")
	for name, text := range there {
		write(t, filepath.Join(home, name), text)
		if err := os.Chtimes(filepath.Join(home, name), epoch, epoch); err != nil {
			t.Fatal(err)
		}
	}
	mustImport(t, m, importer.ImportOptions{Drive: k.second})
	before := world(t, m)
	mustImport(t, m, importer.ImportOptions{Drive: k.third, Prune: true})
	if names, _ := filepath.Glob(filepath.Join(home, durable.KeptDir, "*")); len(names) == 0 {
		t.Error("nothing is kept on the other file system")
	}
	if c, err := reindex.Check(t.Context(), m, reindex.IndexOptions{}, nil); err != nil || !c.OK() {
		t.Errorf("index: %+v, %v", c, err)
	}
	mustUndo(t, m)
	if d := differ(before, world(t, m)); len(d) > 0 {
		t.Errorf("another file system: not as before: %q", d)
	}
	if _, err := os.Lstat(filepath.Join(home, durable.KeptDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("kept on the other file system: %v", err)
	}

	for _, errno := range []unix.Errno{unix.EACCES, unix.ENOSPC} {
		m := k.at(t, func(c durable.Change) error {
			if strings.HasPrefix(c.To, durable.KeptDir) ||
				strings.HasPrefix(c.Name, durable.KeptDir) && c.Op == durable.OpMkdir &&
					errno == unix.ENOSPC {
				return errno
			}
			return nil
		})
		if r := mustImport(t, m, o); r.Undo == nil || r.Undo.Problem == "" {
			t.Errorf("%v: %+v", errno, r.Undo)
		}
		if r := mustUndo(t, m); !r.Unchanged {
			t.Errorf("%v: %+v", errno, r)
		}
		mustImport(t, m, importer.ImportOptions{Drive: k.third, Prune: true})
		k.check(t, m)
	}
}

// The kept files go first where its room is needed, are never the reason for a failure, and stay
// where its room would not help.
func TestKeptGivesWay(t *testing.T) {
	host, client := newMachine(t, "bighost", epoch), newMachine(t, "client", epoch)
	disk := filepath.Join(t.TempDir(), "disk")
	smallDisk(t, disk, "4m")
	client.DISTDIR = filepath.Join(disk, "distfiles")
	mount := t.TempDir()
	trusted := false
	hour := 0
	step := func(sizes map[string]int, o importer.ImportOptions) (*importer.ImportReport, error) {
		t.Helper()
		for name, size := range sizes {
			random(t, filepath.Join(host.DISTDIR, name), size)
		}
		hour++
		host.Now = func() time.Time { return epoch.Add(time.Duration(hour) * time.Hour) }
		mustExport(t, host, exporter.ExportOptions{Drive: mount})
		if !trusted {
			trustEach(t, client, host)
			trusted = true
		}
		o.Drive, o.NoPackages = mount, true
		return importer.Import(context.Background(), client, o, nil)
	}
	const mib = 1 << 20
	if _, err := step(map[string]int{"a.tgz": mib}, importer.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := step(map[string]int{"a.tgz": mib + 1}, importer.ImportOptions{})
	if err != nil || r.Undo.Kept.Bytes != mib {
		t.Fatalf("%+v, %v", r, err)
	}
	// Two are there, a third does not fit beside them: 15, and what is kept stays.
	if _, err := step(map[string]int{"huge.tgz": 5 * mib}, importer.ImportOptions{}); err == nil {
		t.Fatal("more than the disk has came in")
	}
	if p, err := undo.Undo(t.Context(), client, undo.Options{Pretend: true}, nil); err != nil ||
		p.Unchanged {
		t.Errorf("what would not have helped was given up: %+v, %v", p, err)
	}
	remove(t, filepath.Join(host.DISTDIR, "huge.tgz"))
	p, err := step(map[string]int{"b.tgz": 2*mib + mib/2}, importer.ImportOptions{Pretend: true})
	if err != nil {
		t.Errorf("pretended: %v", err)
	}
	if r, err = step(nil, importer.ImportOptions{}); err != nil ||
		!slices.ContainsFunc(r.Notices, func(s string) bool {
			return strings.Contains(s, "cannot be taken back")
		}) {
		t.Fatalf("%+v, %v", r, err)
	}
	_ = p
	before := files(t, client.DISTDIR)
	if len(before) != 2 {
		t.Errorf("%d files", len(before))
	}
	mustUndo(t, client)
	if got := files(t, client.DISTDIR); len(got) != 1 || len(got["a.tgz"]) != mib+1 {
		t.Errorf("%d files", len(got))
	}
}

// Files of two origins, of which one is both's, and two drives in one import.
func TestUndoOfTwoOrigins(t *testing.T) {
	a, b, client := newMachine(t, "a", epoch), newMachine(t, "b", epoch), newMachine(t,
		"client", epoch)
	first, second := t.TempDir(), t.TempDir()
	for i, host := range []machine.Machine{a, b} {
		pack(t, host.PKGDIR, "xpak-classic")
		write(t, filepath.Join(host.DISTDIR, "shared.tgz"), "shared")
		write(t, filepath.Join(host.DISTDIR, host.Hostname+".tgz"), host.Hostname)
		mustExport(t, host, exporter.ExportOptions{Drive: []string{first, second}[i]})
		trustEach(t, client, host)
	}
	o := importer.ImportOptions{Drive: first, Further: []string{second}, Prune: true}
	start := world(t, client)
	mustImport(t, client, o)
	one := world(t, client)
	r := mustUndo(t, client)
	if len(r.Origins) != 2 || len(r.Drives) != 2 {
		t.Errorf("%+v", r)
	}
	got := world(t, client)
	delete(got, "packages/Packages") // there was none; now it has no package
	if d := differ(start, got); len(d) > 0 {
		t.Errorf("not as before: %q", d)
	}
	mustImport(t, client, o)
	if d := differ(one, world(t, client)); len(d) > 0 {
		t.Errorf("imported again: %q", d)
	}
	for i, host := range []machine.Machine{a, b} {
		buildAgain(t, host, killedReplaced, epoch.Add(time.Duration(i+1)*time.Hour))
		write(t, filepath.Join(host.DISTDIR, "shared.tgz"), "shared, later")
		remove(t, filepath.Join(host.PKGDIR, killedPruned))
		mustExport(t, host, exporter.ExportOptions{Drive: []string{first, second}[i]})
	}
	mustImport(t, client, o)
	mustUndo(t, client)
	if d := differ(one, world(t, client)); len(d) > 0 {
		t.Errorf("not as before: %q", d)
	}
	if r := mustImport(t, client, o); len(r.Origins[0].LeftOut)+len(r.Origins[1].LeftOut) > 0 {
		t.Errorf("left out: %+v %+v", r.Origins[0].LeftOut, r.Origins[1].LeftOut)
	}
}
