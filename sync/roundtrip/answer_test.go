package roundtrip

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/clients"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/request"
	"pkgsneak/sync/requester"
	"pkgsneak/sync/selection"
)

// asks lets a client ask on a drive, and the host accept it.
func asks(t *testing.T, client, host machine.Machine, drive string) {
	t.Helper()
	trustEach(t, client, host)
	asked, err := requester.Request(t.Context(), client,
		requester.Options{Drive: drive, AnyDirectory: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	accept(t, host, filepath.Join(drive, layout.TreeDir, layout.ClientsDir, asked.Dir))
}

// order is what a plan carries, and at which level: level:package+package ...
func order(s *selection.Plan) string {
	if s == nil {
		return "no plan"
	}
	var list []string
	for _, g := range s.Groups {
		var names []string
		for _, f := range g.Files {
			name, _, _ := strings.Cut(filepath.Base(f.Path), "-2.")
			names = append(names, name)
		}
		list = append(list, g.Level.String()+":"+strings.Join(names, "+"))
	}
	return strings.Join(list, " ")
}

// The exporter feeds the selection so that the program of the clients comes first, however large;
// then the update that closes an advisory of the host's repository; then the one that waited most
// trips, counted from when it was built and without those that carried it; then the smallest. A
// package that the client has refused for good, because its CPU does not run it, is in no plan.
func TestOrderOfAnswers(t *testing.T) {
	files := tree("1", "1777000000")
	files["gentoo/metadata/glsa/glsa-202604-01.xml"] = `<glsa id="202604-01"><title>x</title>
<affected><package name="app-misc/unsafe" auto="yes" arch="*"><unaffected range="ge">2</unaffected>
<vulnerable range="lt">2</vulnerable></package></affected></glsa>`
	host := withRepos(t, newMachine(t, "bighost", epoch), t.TempDir(), files)
	client := installedOf(t, "app-misc/small", "app-misc/waits", "app-misc/carried",
		"app-misc/unsafe", "app-misc/heavy", "app-portage/pkgsneak")
	client.CPUInfo = []byte("flags\t\t: fpu mmx sse sse2 ssse3\n")
	at := epoch
	now := func() time.Time { at = at.Add(time.Minute); return at }
	host.Now, client.Now = now, now
	red, blue := t.TempDir(), t.TempDir()
	o := exporter.ExportOptions{Drive: red, Repos: exporter.NoRepos, AllowShrink: true}

	build := func(name string, size int, more ...[2]string) {
		t.Helper()
		category, pn := filepath.Split(name)
		xpak(t, host.PKGDIR, filepath.Clean(category), pn+"-2", "x86_64-pc-linux-gnu", size,
			more...)
		if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	build("app-misc/carried", 20_000)
	mustExport(t, host, o) // a trip that carries what it waits for
	asks(t, client, host, red)
	build("app-misc/waits", 30_000) // its BUILD_TIME is before the trip
	today := [2]string{"BUILD_TIME", fmt.Sprint(at.Add(time.Hour).Unix())}
	build("app-misc/small", 10_000, today)
	build("app-misc/unsafe", 40_000, today)
	build("app-misc/heavy", 1_000, today, [2]string{"CFLAGS", "-O2 -mavx"})
	build("app-portage/pkgsneak", 50_000, today)

	o.For, o.Again, o.Pretend = "attic", true, true
	const want = "enabling:pkgsneak security:unsafe updates:waits updates:small updates:carried"
	if got := order(mustExport(t, host, o).Plan.Selection); !strings.Contains(got,
		"updates:heavy") {
		t.Errorf("before the client has seen what it cannot use: %s", got)
	}
	// the client has seen what it refuses in a catalogue
	mustExport(t, host, exporter.ExportOptions{Drive: blue, Repos: exporter.NoRepos})
	asks(t, client, host, blue)
	o.Drive = t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: blue, Repos: exporter.NoRepos})
	if got := order(mustExport(t, host, o).Plan.Selection); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The program for bare clients comes along on a drive that cannot hold everything, before any
// package: the plan has set its place aside.
func TestProgramOnASmallDrive(t *testing.T) {
	host := manyParts(t, 14, 900<<10)
	host.Executable = staticProgram(t)
	if err := os.Truncate(host.Executable, 1600<<10); err != nil { // more than what stays free
		t.Fatal(err)
	}
	drive := filepath.Join(t.TempDir(), "drive")
	smallDisk(t, drive, "14m")
	r := mustExport(t, host, exporter.ExportOptions{Drive: drive})
	if got := order(r.Plan.Selection); len(r.Copied) < 3 ||
		!strings.HasPrefix(got, "enabling:pkgsneak unasked:part") {
		t.Errorf("copied %d: %s", len(r.Copied), got)
	}
	bins, err := filepath.Glob(filepath.Join(drive, layout.TreeDir, "bighost/bin/*/*"))
	if err != nil || len(bins) != 1 {
		t.Errorf("the drive has the programs %q, %v", bins, err)
	}
	if len(r.Notices) > 0 {
		t.Errorf("%q", r.Notices)
	}
}

// A plan counts the program that travels along, as the run that follows it does; one that has no
// room is told by both.
func TestPlanCountsTheProgram(t *testing.T) {
	const length = 1600 << 10
	host := manyParts(t, 3, 900<<10)
	host.Executable = staticProgram(t)
	if err := os.Truncate(host.Executable, length); err != nil {
		t.Fatal(err)
	}
	drive := t.TempDir()
	compared := func(want int64, notices int) {
		t.Helper()
		plan := mustExport(t, host, exporter.ExportOptions{Drive: drive, Pretend: true})
		run := mustExport(t, host, exporter.ExportOptions{Drive: drive, NoReadBack: true})
		if plan.Plan.Program != want || run.Plan.Program != want {
			t.Errorf("the plan counts %d bytes of the program, the run %d, want %d",
				plan.Plan.Program, run.Plan.Program, want)
		}
		if len(plan.Notices) != notices || !slices.Equal(plan.Notices, run.Notices) {
			t.Errorf("the plan tells %q, the run %q", plan.Notices, run.Notices)
		}
	}
	compared(length, 0)
	random(t, filepath.Join(host.DISTDIR, "more.tgz"), 5000)
	compared(0, 0) // it is there
	f, err := os.OpenFile(host.Executable, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("another build of as many bytes"), length/2)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	random(t, filepath.Join(host.DISTDIR, "more-2.tgz"), 5000)
	compared(length, 0)

	drive = filepath.Join(t.TempDir(), "small")
	smallDisk(t, drive, "10500k")
	compared(0, 1)
	drive = filepath.Join(t.TempDir(), "asked")
	smallDisk(t, drive, "10500k")
	asked := mustExport(t, host, exporter.ExportOptions{Drive: drive, NoReadBack: true,
		Confirm: func(*exporter.ExportPlan) (bool, error) { return true, nil }})
	if len(asked.Notices) != 1 {
		t.Errorf("whoever was asked is told %q", asked.Notices)
	}
}

// A request that an export kept has the list of what is installed for the next reader.
func TestKeptRequests(t *testing.T) {
	host, client, drive := manyParts(t, 1, 1000), installed(t, 1), t.TempDir()
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	asks(t, client, host, drive)
	list := filepath.Join(drive, layout.TreeDir, layout.ClientsDir, "attic/generation",
		"1.Packages.zst")
	blank := func() bool {
		data, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Trim(string(data), "\n") == ""
	}
	for _, keep := range []bool{true, false} {
		r := mustExport(t, host, exporter.ExportOptions{Drive: drive, KeepRequests: keep})
		if blank() == keep || len(r.Asked) != 1 || r.Asked[0].Taken == keep {
			t.Errorf("kept: %v; the list is blank: %v, %+v", keep, blank(), r.Asked)
		}
	}
}

// A receipt that was typed stands for all that its generation carried, but for the packages that
// the client's request has refused for good.
func TestTypedReceiptOfWhatIsRefused(t *testing.T) {
	host, client, drive := manyParts(t, 2, 1000), installed(t, 3), t.TempDir()
	xpak(t, host.PKGDIR, "app-misc", "part02-2", "x86_64-pc-linux-gnu", 1000,
		[2]string{"CFLAGS", "-O2 -mavx"})
	if _, err := reindex.Index(t.Context(), host, reindex.IndexOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	client.CPUInfo = []byte("flags\t\t: fpu mmx sse sse2 ssse3\n")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	asks(t, client, host, drive)
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	store, err := clients.Open(host.StateDir, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	drives, err := store.Drives()
	if err != nil || len(drives) != 1 {
		t.Fatalf("%v, %v", drives, err)
	}
	code := request.Code{Client: request.ClientTag("attic")}
	if _, err := hex.Decode(code.Manifest[:], []byte(drives[0].Manifest[:8])); err != nil {
		t.Fatal(err)
	}
	c, err := store.Find("attic")
	if err != nil || c == nil {
		t.Fatal(err)
	}
	if _, err := store.TakeCode(c, code, host.Now()); err != nil {
		t.Fatal(err)
	}
	r, err := clients.Look(t.Context(), host)
	if err != nil || len(r.Clients) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if e := r.Clients[0]; e.Has != 2 || e.Refused.Files != 1 || e.Lacks.Files != 0 {
		t.Errorf("has %d, refused %d, lacks %d", e.Has, e.Refused.Files, e.Lacks.Files)
	}
}
