package roundtrip

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// newMachine makes a computer with directories of its own, whose clock stands at when.
func newMachine(t *testing.T, name string, when time.Time) machine.Machine {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	settings, err := portage.Load(t.Context(), portage.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m := machine.Machine{Settings: settings, Hostname: name, Now: func() time.Time { return when },
		StateDir: filepath.Join(dir, "state"),
		PKGDIR:   filepath.Join(dir, "packages"), DISTDIR: filepath.Join(dir,
			"distfiles"), Version: "test", LockWait: time.Minute, Proc: t.TempDir()}
	for _, d := range []string{m.StateDir, m.PKGDIR, m.DISTDIR} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

const golden = "../../testdata/golden/"

// pack puts the packages and the index of a golden layout into a PKGDIR, with the times that the
// index has.
func pack(t *testing.T, pkgdir, layout string) {
	t.Helper()
	if err := os.CopyFS(pkgdir, os.DirFS(golden+layout+"/pkgdir")); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(golden + layout + "/Packages")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(pkgdir, "Packages"), string(index))
	f, err := os.Open(golden + layout + "/FILES.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		cols := strings.Split(s.Text(), "\t")
		if strings.HasPrefix(cols[0], "#") {
			continue
		}
		sec, err := strconv.ParseInt(cols[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(pkgdir, cols[0]), time.Unix(sec, 0),
			time.Unix(sec, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// trustEach lets a client trust the key of a host.
func trustEach(t *testing.T, client, host machine.Machine) {
	t.Helper()
	h, err := state.Open(t.Context(), host.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	key, err := h.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := state.Open(t.Context(), client.StateDir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Trust(key.Public()); err != nil {
		t.Fatal(err)
	}
}

func mustExport(t *testing.T, m machine.Machine, o exporter.ExportOptions) *exporter.ExportReport {
	t.Helper()
	o.AnyDirectory = true
	r, err := exporter.Export(context.Background(), m, o, nil)
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	return r
}

func mustImport(t *testing.T, m machine.Machine, o importer.ImportOptions) *importer.ImportReport {
	t.Helper()
	r, err := importer.Import(context.Background(), m, o, nil)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	return r
}

// files lists the regular files below dir, with their contents, but for what is kept for an undo.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == durable.KeptDir {
			return fs.SkipDir
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		m[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestJourneyOfEachLayout(t *testing.T) {
	for _, layout := range []string{"xpak-classic", "xpak-multi", "gpkg-classic",
		"gpkg-multi", "mixed"} {
		t.Run(layout, func(t *testing.T) {
			host, client, drive := newMachine(t, "host", epoch), newMachine(t, "client",
				epoch), t.TempDir()
			pack(t, host.PKGDIR, layout)
			write(t, filepath.Join(host.DISTDIR, "source-1.0.tar.gz"), "a distfile\n")
			out := mustExport(t, host, exporter.ExportOptions{Drive: drive})
			if len(out.LeftOut) > 0 || out.Unchanged {
				t.Fatalf("export left out %v", out.LeftOut)
			}
			trustEach(t, client, host)
			in := mustImport(t, client, importer.ImportOptions{Drive: drive})
			if n := in.Packages; n != len(out.Copied)-1 {
				t.Errorf("%d packages in the index, %d were exported", n, len(out.Copied)-1)
			}
			theirs, ours := files(t, host.PKGDIR), files(t, client.PKGDIR)
			for name, data := range theirs {
				if name != "Packages" && ours[name] != data {
					t.Errorf("%q is not the same here", name)
				}
			}
			if len(ours) != len(theirs) {
				t.Errorf("%d files here, %d there", len(ours), len(theirs))
			}
			if got := files(t, client.DISTDIR)["source-1.0.tar.gz"]; got != "a distfile\n" {
				t.Errorf("distfile %q", got)
			}
			again := mustExport(t, host, exporter.ExportOptions{Drive: drive})
			if !again.Unchanged || again.Written != 0 || again.Serial != out.Serial {
				t.Errorf("second export: %+v", again)
			}
			if in := mustImport(t, client, importer.ImportOptions{Drive: drive}); !in.Unchanged {
				t.Errorf("second import: %+v", in)
			}
		})
	}
}

// serials lists the generations that the tree on a drive has records of.
func serials(t *testing.T, drive, origin string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(drive, "pkgsneak", origin, "generation", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestExportCommitsAsItGoes(t *testing.T) {
	host, client, drive := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "mixed")
	ctx, cancel := context.WithCancel(t.Context())
	commits := 0
	_, err := exporter.Export(ctx, host, exporter.ExportOptions{Drive: drive, AnyDirectory: true,
		CommitEvery: 20_000}, progress.OfEvents(func(e progress.Event) {
		if e.Phase == progress.PhaseCommit {
			commits++
		}
		// the run is cut off after some generations were committed
		if commits > 1 && e.Phase == progress.PhaseCopy {
			cancel()
		}
	}))
	if err == nil {
		t.Fatal("the export was not cut off")
	}
	trustEach(t, client, host)
	before := mustImport(t, client, importer.ImportOptions{Drive: drive})
	if n := len(before.Origins[0].Copied); n == 0 || n >= 18 {
		t.Fatalf("%d packages were committed before the run was cut off, want some of 18", n)
	}
	if len(before.Origins[0].LeftOut) > 0 {
		t.Errorf("left out: %v", before.Origins[0].LeftOut)
	}
	rest := mustExport(t, host, exporter.ExportOptions{Drive: drive})
	if got := len(rest.Copied) + len(before.Origins[0].Copied); got != 18 {
		t.Errorf("%d packages were copied in both runs, want each of 18 once", got)
	}
	if after := mustImport(t, client, importer.ImportOptions{Drive: drive}); after.Packages != 18 {
		t.Errorf("%d packages in the index", after.Packages)
	}
	if len(serials(t, drive, "host")) != 1 {
		t.Errorf("records of older generations are left: %v", serials(t, drive, "host"))
	}
}

func TestExportRestoresWhatIsMissingOnTheDrive(t *testing.T) {
	host, drive := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-multi")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	lost := filepath.Join(drive, "pkgsneak/host/packages/app-misc/mc/mc-2.3.1-r10-1.xpak")
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(host.DISTDIR, "new.tar"), "so that there is something to do\n")
	r := mustExport(t, host, exporter.ExportOptions{Drive: drive})
	if len(r.Copied) != 2 {
		t.Errorf("copied %v, want the missing package and the distfile", r.Copied)
	}
	if v, err := inspect.Verify(t.Context(), host, inspect.VerifyOptions{Drive: drive},
		nil); err != nil || len(v.Origins[0].Bad) > 0 {
		t.Errorf("verify: %v, %+v", err, v.Origins[0].Bad)
	}
}

// A kind that is switched off has no directory; files of the other kind are looked at all the same.
func TestImportOfOneKindLooksAtWhatIsThere(t *testing.T) {
	host, client, drive := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	for _, m := range []machine.Machine{host, client} {
		pack(t, m.PKGDIR, "xpak-multi")
		write(t, filepath.Join(m.DISTDIR, "a.tar"), "a\n")
	}
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	trustEach(t, client, host)
	for _, o := range []importer.ImportOptions{{Drive: drive, NoDistfiles: true},
		{Drive: drive, NoPackages: true}} {
		if r := mustImport(t, client, o); len(r.Origins[0].Copied) != 0 ||
			len(r.Origins[0].LeftOut) != 0 {
			t.Errorf("copied %v, left out %v", r.Origins[0].Copied, r.Origins[0].LeftOut)
		}
	}
}

// A file that is damaged or missing on the drive and of a kind that is switched off is no longer
// carried: that is told.
func TestExportNamesWhatItCannotRestore(t *testing.T) {
	host, drive := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-multi")
	write(t, filepath.Join(host.DISTDIR, "a.tar"), "a\n")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	const lost = "app-misc/mc/mc-2.3.1-r10-1.xpak"
	if err := os.Remove(filepath.Join(drive, "pkgsneak/host/packages", lost)); err != nil {
		t.Fatal(err)
	}
	planned := mustExport(t, host, exporter.ExportOptions{Drive: drive, NoPackages: true,
		Pretend: true})
	r := mustExport(t, host, exporter.ExportOptions{Drive: drive, NoPackages: true})
	if len(r.LeftOut) != 1 || r.LeftOut[0].Path != lost ||
		r.LeftOut[0].Hint != "pkgsneak export "+drive {
		t.Errorf("left out %+v, want %q", r.LeftOut, lost)
	}
	samePlan(t, planned, r)
	if r := mustExport(t, host, exporter.ExportOptions{Drive: drive}); len(r.Copied) != 1 ||
		len(r.LeftOut) != 0 {
		t.Errorf("copied %v, left out %v", r.Copied, r.LeftOut)
	}
}

// samePlan fails unless --pretend showed the plan that the run was made by, and carried out.
func samePlan(t *testing.T, pretended, run *exporter.ExportReport) {
	t.Helper()
	a, b := pretended.Plan, run.Plan
	for _, it := range a.Compare { // --pretend reads no contents; here they are what they were
		a.Keep.Add(it.Size)
	}
	if !reflect.DeepEqual(a.Copy, b.Copy) || !reflect.DeepEqual(a.Remove, b.Remove) ||
		!reflect.DeepEqual(a.LeftOut, b.LeftOut) || a.Keep != b.Keep {
		t.Errorf("planned to copy %v, to remove %v, to leave out %v, to keep %v; the run: %v, %v, %v, %v",
			a.Copy, a.Remove, a.LeftOut, a.Keep, b.Copy, b.Remove, b.LeftOut, b.Keep)
	}
	if len(a.Copy) != len(run.Copied) || len(a.Remove) != len(run.Removed) || a.Keep != run.Kept {
		t.Errorf("planned %d files to copy, %d to remove, %v to keep; the run copied %v, removed %v, kept %v",
			len(a.Copy), len(a.Remove), a.Keep, run.Copied, run.Removed, run.Kept)
	}
}

// Files that are gone from the drive are in the plan before it is shown, with the others.
func TestExportPlansWhatTheDriveLost(t *testing.T) {
	host, drive := newMachine(t, "host", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-multi")
	for _, name := range []string{"gone.tar", "short.tar", "left.tar", "stays.tar"} {
		write(t, filepath.Join(host.DISTDIR, name), name)
	}
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	tree := filepath.Join(drive, "pkgsneak/host/distfiles")
	for _, name := range []string{"gone.tar", "left.tar"} { // the latter is to be removed as well
		if err := os.Remove(filepath.Join(tree, layout.Bucket(name), name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(tree, layout.Bucket("short.tar"), "short.tar"), "s")
	if err := os.Remove(filepath.Join(host.DISTDIR, "left.tar")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(host.DISTDIR, "new.tar"), "new")
	planned := mustExport(t, host, exporter.ExportOptions{Drive: drive, Pretend: true})
	run := mustExport(t, host, exporter.ExportOptions{Drive: drive})
	samePlan(t, planned, run)
	missing := 0
	for _, it := range planned.Plan.Copy {
		if it.Reason == exporter.MissingOnDrive {
			missing++
		}
	}
	if missing != 2 || len(planned.Plan.Copy) != 3 || len(planned.Plan.Remove) != 1 {
		t.Errorf("planned to copy %v, to remove %v", planned.Plan.Copy, planned.Plan.Remove)
	}
	if r := mustExport(t, host, exporter.ExportOptions{Drive: drive}); !r.Unchanged {
		t.Errorf("once more: copied %v", r.Copied)
	}
}

func TestExportGuards(t *testing.T) {
	host, drive := newMachine(t, "host", epoch), t.TempDir()
	if _, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: drive},
		nil); !IsA[*machine.NotMountedError](err) {
		t.Errorf("a directory on the disk of /: %v", err)
	}
	if _, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: drive,
		AnyDirectory: true}, nil); !IsA[*exporter.NothingError](err) {
		t.Errorf("nothing to export: %v", err)
	}
	pack(t, host.PKGDIR, "xpak-multi")
	write(t, filepath.Join(host.DISTDIR, "a.tar"), "a\n")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})

	other := host
	other.PKGDIR = t.TempDir()
	if _, err := exporter.Export(t.Context(), other, exporter.ExportOptions{Drive: drive,
		AnyDirectory: true, Name: "host"}, nil); !IsA[*exporter.NameTakenError](err) {
		t.Errorf("another PKGDIR under the same name: %v", err)
	}

	full := files(t, filepath.Join(drive, "pkgsneak"))
	if err := os.RemoveAll(filepath.Join(host.PKGDIR, "app-misc")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(host.PKGDIR, "app-arch")); err != nil {
		t.Fatal(err)
	}
	if _, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: drive,
		AnyDirectory: true}, nil); !IsA[*exporter.ShrinkError](err) {
		t.Errorf("most packages gone: %v", err)
	}
	if err := os.Remove(filepath.Join(host.DISTDIR, "a.tar")); err != nil {
		t.Fatal(err)
	}
	if _, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: drive,
		AnyDirectory: true, NoPackages: true}, nil); !IsA[*exporter.ShrinkError](err) {
		t.Errorf("all distfiles gone: %v", err)
	}
	if got := files(t, filepath.Join(drive, "pkgsneak")); len(got) != len(full) {
		t.Errorf("a refused export changed the drive: %d files, had %d", len(got), len(full))
	}
	r := mustExport(t, host, exporter.ExportOptions{Drive: drive, AllowShrink: true})
	if len(r.Removed) != 8 {
		t.Errorf("removed %v", r.Removed)
	}
}

func IsA[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func TestImportOfTwoOriginsWithOnePath(t *testing.T) {
	a, b, client, drive := newMachine(t, "a", epoch), newMachine(t, "b", epoch), newMachine(t,
		"client", epoch), t.TempDir()
	const shared = "app-misc/labhello-1.0-r2.tbz2"
	pack(t, a.PKGDIR, "xpak-classic")
	pack(t, b.PKGDIR, "xpak-classic")
	rebuild(t, filepath.Join(b.PKGDIR, shared))
	for _, host := range []machine.Machine{a, b} {
		mustExport(t, host, exporter.ExportOptions{Drive: drive})
		trustEach(t, client, host)
	}
	r := mustImport(t, client, importer.ImportOptions{Drive: drive})
	if r.Packages != 13 {
		t.Errorf("%d packages, want the 12 that are the same and a second %s", r.Packages, shared)
	}
	ours := files(t, client.PKGDIR)
	if ours[shared] != files(t, a.PKGDIR)[shared] {
		t.Errorf("%q is not the first origin's", shared)
	}
	if ours["app-misc/labhello/labhello-1.0-r2-1.xpak"] != files(t, b.PKGDIR)[shared] {
		t.Errorf("the second origin's %q is not beside it", shared)
	}
	if again := mustImport(t, client, importer.ImportOptions{Drive: drive}); !again.Unchanged {
		t.Errorf("the second import did something: %+v %+v", again.Origins[0], again.Origins[1])
	}
}

// rebuild gives an XPAK package another build time and a new mtime.
func rebuild(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.LastIndex(data, []byte("17953"))
	if i < 0 {
		t.Fatalf("%s: no build time", name)
	}
	data[i+9]++
	if data[i+9] > '9' {
		data[i+9] = '0'
	}
	write(t, name, string(data))
}

// forgetLists makes a client forget what the newest states list that it has imported: then an older
// drive is refused as a whole.
func forgetLists(t *testing.T, m machine.Machine) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(m.StateDir, "accepted")); err != nil {
		t.Fatal(err)
	}
}

func TestImportRefuses(t *testing.T) {
	host, client, drive := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	_, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: drive}, nil)
	if !IsA[*trust.Refusal](err) || !errors.Is(err, manifest.ErrUntrusted) {
		t.Errorf("unknown key: %v", err)
	}
	trustEach(t, client, host)
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(drive)); err != nil {
		t.Fatal(err)
	}
	mustImport(t, client, importer.ImportOptions{Drive: drive})

	rebuild(t, filepath.Join(host.PKGDIR, "app-misc/labhello-1.0-r2.tbz2"))
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	mustImport(t, client, importer.ImportOptions{Drive: drive})
	before := files(t, client.PKGDIR)
	if r := mustImport(t, client, importer.ImportOptions{Drive: old}); !r.Unchanged ||
		r.Origins[0].Plan.Superseded.Files != 1 {
		t.Errorf("older generation: %+v", r.Origins[0].Plan)
	}
	forgetLists(t, client)
	if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: old},
		nil); !IsA[*importer.OlderError](err) {
		t.Errorf("older generation: %v", err)
	}
	mustImport(t, client, importer.ImportOptions{Drive: old, AllowOlder: true})
	if after := files(t,
		client.PKGDIR); after["app-misc/labhello-1.0-r2.tbz2"] == before["app-misc/labhello-1.0-r2.tbz2"] {
		t.Error("an older generation that was allowed brought nothing in")
	}
	// The other way round the newer one is still known as the newest.
	if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: drive},
		nil); err != nil {
		t.Errorf("the newest generation after an older one: %v", err)
	}

	// A second machine with the same key and clock signs something else under the same number.
	twin, fork := newMachine(t, "host", epoch), t.TempDir()
	if err := os.CopyFS(twin.StateDir, os.DirFS(host.StateDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(twin.StateDir, "memory")); err != nil {
		t.Fatal(err)
	}
	pack(t, twin.PKGDIR, "gpkg-multi")
	mustExport(t, twin, exporter.ExportOptions{Drive: fork})
	write(t, filepath.Join(twin.DISTDIR, "x"), "x")
	mustExport(t, twin, exporter.ExportOptions{Drive: fork})
	if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: fork},
		nil); !IsA[*importer.ForkError](err) {
		t.Errorf("same serial with other contents: %v", err)
	}
}

func TestImportWithAClockThatIsBehind(t *testing.T) {
	host, client, drive := newMachine(t, "host", epoch), newMachine(t, "client",
		time.Unix(0, 0)), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	trustEach(t, client, host)
	r := mustImport(t, client, importer.ImportOptions{Drive: drive})
	if r.Packages != 12 || len(r.Notices) == 0 || !strings.Contains(r.Notices[0], "1970-01-01") ||
		!strings.Contains(r.Notices[0], "2026-05-01") {
		t.Errorf("%d packages, notices %q", r.Packages, r.Notices)
	}
}

func TestExportMendsADriveAlthoughNothingChanged(t *testing.T) {
	for _, tc := range []struct {
		name       string
		harm       func(t *testing.T, origin string)
		generation bool // a new one is needed
	}{
		{"a file was deleted", func(t *testing.T, origin string) {
			remove(t, filepath.Join(origin, "packages/app-misc/labhello-1.0-r2.tbz2"))
		}, true},
		{"Packages is of another generation", func(t *testing.T, origin string) {
			write(t, filepath.Join(origin, "packages/Packages"), "TIMESTAMP: 1\nVERSION: 0\n\n")
		}, true},
		{"the second slot was not written", func(t *testing.T, origin string) {
			write(t, filepath.Join(origin, "Manifest"), "\n")
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host, drive := newMachine(t, "host", epoch), t.TempDir()
			pack(t, host.PKGDIR, "xpak-classic")
			first := mustExport(t, host, exporter.ExportOptions{Drive: drive})
			tc.harm(t, filepath.Join(drive, "pkgsneak/host"))
			r := mustExport(t, host, exporter.ExportOptions{Drive: drive})
			if (r.Serial != first.Serial) != tc.generation {
				t.Errorf("generation %d after %d", r.Serial, first.Serial)
			}
			v, err := inspect.Verify(t.Context(), host, inspect.VerifyOptions{Drive: drive}, nil)
			if err != nil ||
				len(v.Origins[0].Bad)+len(v.Origins[0].Stale)+len(v.Origins[0].Copies) > 0 {
				t.Errorf("verify: %v %+v", err, v.Origins[0])
			}
			if again := mustExport(t, host,
				exporter.ExportOptions{Drive: drive}); !again.Unchanged ||
				again.Serial != r.Serial {
				t.Errorf("the drive is not whole: %+v", again)
			}
		})
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}
