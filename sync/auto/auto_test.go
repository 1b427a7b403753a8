package auto

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
	"pkgsneak/sync/volume"
	"pkgsneak/sync/watch"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func newMachine(t *testing.T, name string) machine.Machine {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	settings, err := portage.Load(t.Context(), portage.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m := machine.Machine{Settings: settings, Hostname: name, Now: func() time.Time { return noon },
		StateDir: filepath.Join(dir, "state"),
		PKGDIR:   filepath.Join(dir, "packages"), DISTDIR: filepath.Join(dir,
			"distfiles"), Version: "test", LockWait: patience}
	for _, d := range []string{m.PKGDIR, m.DISTDIR} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// host is a machine with something to export.
func host(t *testing.T) machine.Machine {
	t.Helper()
	m := newMachine(t, "bighost")
	if err := os.CopyFS(filepath.Join(m.PKGDIR, "app-misc"),
		os.DirFS("../../testdata/golden/xpak-classic/pkgdir/app-misc")); err != nil {
		t.Fatal(err)
	}
	if _, err := reindex.Index(t.Context(), m, reindex.IndexOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.DISTDIR, "foo-1.0.tar.xz"), []byte("distfile"),
		0o644); err != nil {
		t.Fatal(err)
	}
	return m
}

// carried is a stick with an export of a host.
func carried(t *testing.T, fstype string) (*stick, machine.Machine) {
	t.Helper()
	s, h := newStick(t, fstype, "DATA"), host(t)
	if _, err := exporter.Export(t.Context(), h,
		exporter.ExportOptions{Drive: s.dir, AnyDirectory: true}, nil); err != nil {
		t.Fatal(err)
	}
	return s, h
}

func trust(t *testing.T, client, host machine.Machine) {
	t.Helper()
	h, err := state.Open(t.Context(), host.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	key, err := h.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := state.Open(t.Context(), client.StateDir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Trust(key.Public()), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// optionsOf are those of a run on the stick.
func optionsOf(t *testing.T, s *stick, role Role, j *journal) Options {
	t.Helper()
	return Options{Device: "sda1", Role: role, RunDir: filepath.Join(t.TempDir(), "run"),
		Export: exporter.ExportOptions{AnyDirectory: true},
		Log:    j.log, Users: j.say, Hook: "hook", System: s.system(), Classify: func(error) (int,
			[]string) {
			return 7, []string{"what helps"}
		}}
}

// tree lists what lies on a stick, with contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		b.WriteString(p + " " + fi.ModTime().String() + " " + string(data) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// nothingLeft checks that a run left neither a mount nor a lock nor a mount point.
func nothingLeft(t *testing.T, s *stick, runDir string) {
	t.Helper()
	if len(s.mounted) > 0 {
		t.Errorf("still mounted: %v", s.mounted)
	}
	entries, err := os.ReadDir(runDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left behind: %s", e.Name())
	}
}

func TestRun(t *testing.T) {
	empty := func(fstype, label string) func(*testing.T) (*stick, machine.Machine) {
		return func(t *testing.T) (*stick, machine.Machine) {
			s := newStick(t, fstype, label)
			if err := os.WriteFile(filepath.Join(s.dir, "photo.jpg"), []byte("a user's own"),
				0o644); err != nil {
				t.Fatal(err)
			}
			return s, host(t)
		}
	}
	onHost := func(fstype string) func(*testing.T) (*stick, machine.Machine) {
		return func(t *testing.T) (*stick, machine.Machine) { return carried(t, fstype) }
	}
	onClient := func(fstype string) func(*testing.T) (*stick, machine.Machine) {
		return func(t *testing.T) (*stick, machine.Machine) {
			s, h := carried(t, fstype)
			c := newMachine(t, "client")
			trust(t, c, h)
			return s, c
		}
	}
	changed := func(with func(*stick), make func(*testing.T) (*stick,
		machine.Machine)) func(*testing.T) (*stick, machine.Machine) {
		return func(t *testing.T) (*stick, machine.Machine) {
			s, m := make(t)
			with(s)
			return s, m
		}
	}
	mounted := watch.Mount{Device: "8:1", Root: "/", Type: "vfat", Source: "/dev/sda1"}
	borrowed := func(ro bool) func(*stick) {
		return func(s *stick) {
			m := mounted
			m.Point, m.ReadOnly = s.dir, ro
			s.others = append(s.others, m)
		}
	}
	tests := []struct {
		name    string
		make    func(*testing.T) (*stick, machine.Machine)
		role    Role
		outcome Outcome
		actions string
		says    string // to the users; "": nothing, and no hook
		logs    string
	}{
		{"no role", onHost("vfat"), None, NoRole, "", "", "PKGSNEAK_AUTO is not set"},
		{"another file system", empty("ntfs", ""), Export, Ignored, "", "",
			"left alone: no file system"},
		{"a foreign stick", empty("vfat", "HOLIDAY"), Export, Ignored, "mount ro; unmount", "",
			`its label is not "PKGSNEAK"`},
		{"a foreign stick with a journal", empty("ext4", "HOLIDAY"), Export, Ignored,
			"mount ro,noload; unmount", "", "left alone"},
		{"a foreign stick on a client", empty("vfat", "HOLIDAY"), Import, Ignored,
			"mount ro; unmount", "", "left alone"},
		{"a labelled stick on a client", empty("vfat", "PKGSNEAK"), Import, Ignored,
			"mount ro; unmount; hook", "nothing was exported to it yet", ""},
		{"adopted by its label", empty("vfat", "PKGSNEAK"), Export, Done,
			"mount ro; unmount; fsck.vfat -a /dev/sda1; mount rw; unmount; hook",
			`drive "PKGSNEAK" (sda1): exported 4 files as "bighost"; it can be pulled now`,
			"export to drive"},
		{"adopted, with a journal", empty("ext4", "PKGSNEAK"), Export, Done,
			"mount ro,noload; unmount; mount rw; unmount; hook", "exported 4 files", ""},
		{"nothing new to export", onHost("vfat"), Export, Unchanged,
			"mount ro; unmount; fsck.vfat -a /dev/sda1; mount rw; unmount; hook",
			`drive "DATA" (sda1): nothing has changed since the last export as "bighost"; it can be pulled now`, ""},
		{"fsck repairs", changed(func(s *stick) { s.programs["fsck.vfat"] = 1 }, onHost("vfat")),
			Export, Unchanged,
			"mount ro; unmount; fsck.vfat -a /dev/sda1; fsck.vfat -a /dev/sda1; mount rw; unmount; hook",
			"pulled now",
			"fsck.vfat repaired /dev/sda1: said by fsck.vfat"},
		{"the second fsck fails", changed(func(s *stick) {
			s.programs["fsck.vfat"], s.again = 1, 4
		}, onHost("vfat")), Export, Unchanged,
			"mount ro; unmount; fsck.vfat -a /dev/sda1; fsck.vfat -a /dev/sda1; mount rw; unmount; hook",
			"pulled now",
			"fsck.vfat ended with 4: said again by fsck.vfat"},
		{"no fsck", changed(func(s *stick) { s.programs = nil }, onHost("vfat")), Export, Unchanged,
			"mount ro; unmount; mount rw; unmount; hook", "pulled now",
			"fsck.vfat is not installed"},
		{"import", onClient("vfat"), Import, Done, "mount ro; unmount; hook",
			`imported 4 files of "bighost"; it can be pulled now`, "import from drive"},
		{"import with a journal", onClient("ext4"), Import, Done,
			"mount ro,noload; unmount; mount ro; unmount; hook",
			`imported 4 files of "bighost"`, ""},
		{"import from btrfs", onClient("btrfs"), Import, Done,
			"mount ro,rescue=nologreplay; unmount; mount ro; unmount; hook",
			`imported 4 files of "bighost"`, ""},
		{"import from btrfs, by an older kernel",
			changed(func(s *stick) { s.old = true }, onClient("btrfs")), Import, Done,
			"mount ro,nologreplay; unmount; mount ro; unmount; hook",
			`imported 4 files of "bighost"`, ""},
		{"import says what is next", onClient("vfat"), Import, Done, "mount ro; unmount; hook",
			"next: emerge ", ""},
		{"both", onHost("vfat"), Both, Unchanged,
			"mount ro; unmount; fsck.vfat -a /dev/sda1; mount rw; unmount; mount ro; unmount; hook",
			"nothing has changed", ""},
		{"both, with nothing to export", onClient("vfat"), Both, Done,
			"mount ro; unmount; fsck.vfat -a /dev/sda1; mount rw; unmount; mount ro; unmount; hook",
			"imported 4 files", ""},
		{"mounted by another program", changed(borrowed(false), onHost("vfat")), Export, Unchanged,
			"hook", "it is still mounted on", ""},
		{"mounted read-only by another program, import", changed(borrowed(true), onClient("vfat")),
			Import, Done, "hook", "imported 4 files", ""},
		{"somebody mounts it at the same moment", changed(func(s *stick) {
			m := mounted
			m.Point = s.dir
			s.faster = &m
		}, onHost("vfat")), Export, Unchanged, "hook", "it is still mounted on", ""},
		{"only a part of it is mounted", changed(func(s *stick) {
			m := mounted
			m.Point, m.Root = "/mnt", "/sub"
			s.others = append(s.others, m)
		}, onClient("vfat")), Import, Done, "mount ro; unmount; hook",
			"it is still in use: do not pull it yet", ""},
		{"busy for a moment", changed(func(s *stick) { s.busy = 3 }, onClient("vfat")), Import,
			Done, "mount ro; unmount; hook", "pulled now", ""},
		{"busy for long", changed(func(s *stick) { s.busy = 1000 }, onClient("vfat")), Import, Done,
			"mount ro; detach; hook", "", ""},
		{"plugged in while the machine starts", changed(func(s *stick) { s.booting = 5 },
			onClient("vfat")), Import, Done, "mount ro; unmount; hook", "pulled now",
			"waiting for the machine"},
		{"a hook that fails", changed(func(s *stick) { s.programs["hook"] = 7 }, onClient("vfat")),
			Import, Done, "mount ro; unmount; hook", "imported",
			"PKGSNEAK_ON_DONE: it ended with 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, m := tt.make(t)
			before := tree(t, s.dir)
			j := &journal{}
			o := optionsOf(t, s, tt.role, j)
			o.Worker = workerOf(t, m, workerStage{})
			r, err := Run(t.Context(), m, o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Outcome != tt.outcome {
				t.Errorf("outcome %q, want %q", r.Outcome, tt.outcome)
			}
			if got := s.history(); got != tt.actions {
				t.Errorf("did %q, want %q", got, tt.actions)
			}
			if !strings.Contains(j.told(), tt.says) || tt.says == "" && j.told() != "" &&
				!strings.Contains(tt.actions, "hook") {
				t.Errorf("told the users %q, want %q", j.told(), tt.says)
			}
			if !strings.Contains(j.text(), tt.logs) {
				t.Errorf("logged %q, want %q", j.text(), tt.logs)
			}
			if tt.outcome != Done && tree(t, s.dir) != before {
				t.Error("the stick was changed")
			}
			nothingLeft(t, s, o.RunDir)
		})
	}
}

// The hook gets the result, with the report.
func TestRunHookGetsResult(t *testing.T) {
	s := newStick(t, "vfat", "PKGSNEAK")
	r, err := Run(t.Context(), host(t), optionsOf(t, s, Export, &journal{}))
	if err != nil {
		t.Fatal(err)
	}
	var got Result
	if err := json.Unmarshal(s.stdin, &got); err != nil {
		t.Fatalf("%v: %q", err, s.stdin)
	}
	if got.Outcome != Done || got.Host != "bighost" || got.Device.Path != "/dev/sda1" ||
		got.FS != (volume.Superblock{Type: volume.VFAT, Label: "PKGSNEAK"}) || !got.SafeToPull ||
		got.Message != r.Message || len(got.Export.Copied) != 4 || got.Role != Export {
		t.Errorf("got %+v", got)
	}
}

// The hook gets the line of whoever encodes it.
func TestRunHookGetsEncodedLine(t *testing.T) {
	s := newStick(t, "vfat", "PKGSNEAK")
	o := optionsOf(t, s, Export, &journal{})
	o.Encode = func(r *Result) ([]byte, error) { return []byte(string(r.Outcome) + "\n"), nil }
	if _, err := Run(t.Context(), host(t), o); err != nil {
		t.Fatal(err)
	}
	if string(s.stdin) != "done\n" {
		t.Errorf("got %q", s.stdin)
	}
}

// The machine remembers automatic runs, so that status can show them.
func TestRunIsRemembered(t *testing.T) {
	s, h := newStick(t, "vfat", "PKGSNEAK"), host(t)
	if _, err := Run(t.Context(), h, optionsOf(t, s, Export, &journal{})); err != nil {
		t.Fatal(err)
	}
	c := newMachine(t, "client")
	if _, err := Run(t.Context(), c, optionsOf(t, s, Import, &journal{})); !errors.Is(err,
		manifest.ErrUntrusted) {
		t.Fatalf("import from an unknown key: %v", err)
	}
	for _, tt := range []struct {
		m            machine.Machine
		verb, result string
		files        int
	}{{h, "export", "done", 4}, {c, "import", "is not trusted", 0}} {
		st, err := state.Open(t.Context(), tt.m.StateDir, state.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		runs := st.Runs()
		if len(runs) == 0 {
			t.Fatalf("no run is remembered on %s", tt.m.Hostname)
		}
		run := runs[len(runs)-1]
		if run.By != "auto" || run.Verb != tt.verb || run.Drive != `"PKGSNEAK" (sda1)` ||
			run.Files != tt.files || !strings.Contains(run.Result, tt.result) {
			t.Errorf("remembered %+v, want %+v", run, tt)
		}
	}
}

// An unknown key is refused, reported, and not made known.
func TestRunNeverTrusts(t *testing.T) {
	s, _ := carried(t, "vfat")
	c := newMachine(t, "client")
	j := &journal{}
	r, err := Run(t.Context(), c, optionsOf(t, s, Import, j))
	if !errors.Is(err, manifest.ErrUntrusted) {
		t.Fatalf("got %v", err)
	}
	if r.Outcome != Failed || !r.SafeToPull {
		t.Errorf("result %+v", r)
	}
	if !strings.Contains(j.told(), "bighost") || !strings.Contains(j.told(), "hint: what helps") {
		t.Errorf("told %q", j.told())
	}
	if entries, _ := os.ReadDir(c.PKGDIR); len(entries) > 0 {
		t.Errorf("in PKGDIR: %v", entries)
	}
	st, err := state.Open(t.Context(), c.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if ring, err := st.Trusted(); err != nil || len(ring) > 0 {
		t.Errorf("trusted now: %v, %v", ring, err)
	}
}

func TestRunFails(t *testing.T) {
	tests := []struct {
		name    string
		with    func(*stick)
		role    Role
		actions string
		want    string
	}{
		{"write-protected", func(s *stick) { s.protected = true }, Export,
			"mount ro; unmount; fsck.vfat -a /dev/sda1; hook", "write-protect switch"},
		{"mounted read-only by another program", func(s *stick) {
			s.others = []watch.Mount{{Device: "8:1", Root: "/", Point: s.dir, ReadOnly: true}}
		}, Export, "hook", "mounted read-only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, h := carried(t, "vfat")
			tt.with(s)
			before := tree(t, s.dir)
			j := &journal{}
			o := optionsOf(t, s, tt.role, j)
			r, err := Run(t.Context(), h, o)
			if err == nil || r.Outcome != Failed || !strings.Contains(j.told(), tt.want) {
				t.Errorf("got %v, outcome %q, told %q", err, r.Outcome, j.told())
			}
			if got := s.history(); got != tt.actions {
				t.Errorf("did %q, want %q", got, tt.actions)
			}
			if tree(t, s.dir) != before {
				t.Error("the stick was changed")
			}
			nothingLeft(t, s, o.RunDir)
		})
	}
}

// blocked is an operation that lasts until its ctx ends.
func blocked(begun chan<- struct{}) *operations {
	return &operations{
		export: func(ctx context.Context, _ machine.Machine, _ exporter.ExportOptions,
			_ progress.Watcher) (*exporter.ExportReport, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return nil, errors.New("write: input/output error") // as the kernel has it
		},
	}
}

func TestRunPulledInTheMiddle(t *testing.T) {
	s, h := carried(t, "vfat")
	j := &journal{}
	o := optionsOf(t, s, Export, j)
	begun := make(chan struct{})
	o.operations = blocked(begun)
	go func() {
		<-begun
		s.pull()
	}()
	r, err := Run(t.Context(), h, o)
	var gone *drive.GoneError
	if !errors.As(err, &gone) || r.Outcome != Pulled || r.SafeToPull {
		t.Fatalf("got %v, %+v", err, r)
	}
	if got := s.history(); got != "mount ro; unmount; fsck.vfat -a /dev/sda1; mount rw; detach; hook" {
		t.Errorf("did %q", got)
	}
	if !strings.Contains(j.told(), "it was pulled before the end") {
		t.Errorf("told %q", j.told())
	}
	nothingLeft(t, s, o.RunDir)
}

// A signal ends a run, and the drive is unmounted.
func TestRunInterrupted(t *testing.T) {
	s, h := carried(t, "vfat")
	o := optionsOf(t, s, Export, &journal{})
	begun := make(chan struct{})
	o.operations = blocked(begun)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	r, err := Run(ctx, h, o)
	if !errors.Is(err, context.Canceled) || r.Outcome != Interrupted || !r.SafeToPull {
		t.Fatalf("got %v, %+v", err, r)
	}
	nothingLeft(t, s, o.RunDir)
}

func TestRunDeviceIsNotThere(t *testing.T) {
	s := newStick(t, "vfat", "PKGSNEAK")
	s.gone = true
	r, err := Run(t.Context(), host(t), optionsOf(t, s, Export, &journal{}))
	var gone *drive.GoneError
	if !errors.As(err, &gone) || r.Outcome != Pulled || s.history() != "" {
		t.Errorf("got %v, %+v, did %q", err, r, s.history())
	}
}

// A second event for the same plug ends at once; a second drive waits for its turn, and gets it;
// one that is pulled while it waits gives up.
func TestRunsOnOneMachine(t *testing.T) {
	first, h := carried(t, "vfat")
	runDir := filepath.Join(t.TempDir(), "run")
	begun := make(chan struct{})
	o := optionsOf(t, first, Export, &journal{})
	o.RunDir, o.operations = runDir, blocked(begun)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx, h, o)
	}()
	<-begun

	again := optionsOf(t, first, Export, &journal{})
	again.RunDir = runDir
	if r, err := Run(t.Context(), h, again); err != nil || r.Outcome != Busy {
		t.Errorf("the same plug again: %v, %q", err, r.Outcome)
	}

	waits := func(plug string) (*stick, Options, *journal) {
		s, _ := carried(t, "vfat")
		s.dev.Name, s.dev.Path, s.dev.Number, s.dev.Plug = "sdb1", "/dev/sdb1", "8:17", plug
		j := &journal{}
		o := optionsOf(t, s, Export, j)
		o.Device, o.RunDir = "sdb1", runDir
		return s, o, j
	}
	pulled, po, _ := waits("host1 8")
	pulled.pull()
	pulled.gone = false // found, and gone at the first look
	po.System.Present = func(Device) bool { return false }
	if r, err := Run(t.Context(), h, po); err == nil || r.Outcome != Pulled ||
		pulled.history() != "" {
		t.Errorf("pulled while it waits: %v, %q, did %q", err, r.Outcome, pulled.history())
	}

	second, so, j := waits("host1 9")
	o2 := so
	waiting := make(chan struct{})
	o2.Log = func(l Level, text string) {
		j.log(l, text)
		if strings.Contains(text, "waiting for the run on another drive") {
			close(waiting)
		}
	}
	result := make(chan *Result)
	go func() {
		r, err := Run(t.Context(), h, o2)
		if err != nil {
			t.Error(err)
		}
		result <- r
	}()
	<-waiting
	cancel()
	<-ended
	if r := <-result; r.Outcome != Done && r.Outcome != Unchanged {
		t.Errorf("the second drive: %q, did %q", r.Outcome, second.history())
	}
}

// The next drive in the same socket is another one; the same drive, no drive, and one that was
// never there are none.
func TestAnother(t *testing.T) {
	t.Parallel()
	first := Device{Name: "sda1", Plug: "host0 7"}
	for _, tt := range []struct {
		name string
		was  Device
		now  Device
		err  error
		want bool
	}{
		{"the same", first, first, nil, false},
		{"the next", first, Device{Name: "sda1", Plug: "host1 8"}, nil, true},
		{"none", first, Device{}, fs.ErrNotExist, false},
		{"there was none", Device{Name: "sda1"}, first, nil, false},
	} {
		sys := System{Find: func(string) (Device, error) { return tt.now, tt.err }}
		if got := Another(sys, &Result{Device: tt.was}); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// A mount that a killed run has left is taken away before the next run begins.
func TestRunSweeps(t *testing.T) {
	s, h := carried(t, "vfat")
	o := optionsOf(t, s, Export, &journal{})
	s.others = []watch.Mount{{Device: "8:49", Root: "/", Point: filepath.Join(o.RunDir, "sdd1")},
		{Device: "8:50", Root: "/", Point: "/mnt/other"}}
	if _, err := Run(t.Context(), h, o); err != nil {
		t.Fatal(err)
	}
	if got := s.history(); !strings.HasPrefix(got, "detach; mount ro") || len(s.others) != 1 {
		t.Errorf("did %q, mounted %v", got, s.others)
	}
}

func TestRunLeavesText(t *testing.T) {
	s, h := carried(t, "vfat")
	c := newMachine(t, "client")
	trust(t, c, h)
	o := optionsOf(t, s, Import, &journal{})
	o.ResultFile = true
	if _, err := Run(t.Context(), c, o); err != nil {
		t.Fatal(err)
	}
	if got := s.history(); got != "mount ro; unmount; fsck.vfat -a /dev/sda1; mount rw; unmount; hook" {
		t.Errorf("did %q", got)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "pkgsneak/RESULT-client.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"pkgsneak on client, 2026-03-01 12:00:00 UTC\n",
		`imported 4 files of "bighost"`, "next: emerge "} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the text has no %q: %q", want, text)
		}
	}
	if r, err := inspect.Verify(t.Context(), c, inspect.VerifyOptions{Drive: s.dir},
		nil); err != nil || len(r.Origins) != 1 || len(r.Origins[0].Undeclared) > 0 ||
		r.Origins[0].Err != nil {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

// A run without a person names the packages that are refused and stay on the drive, as one with a
// person does.
func TestRefusedPackagesAreTold(t *testing.T) {
	e := &exporter.ExportReport{Unchanged: true, Refused: []payload.Item{{Kind: payload.Package,
		Path: "a/b-1.xpak", Reason: "no image"}}}
	r := &runner{m: newMachine(t, "host"), result: &Result{Export: e}}
	for _, unchanged := range []bool{true, false} {
		e.Unchanged = unchanged
		if s := exportWords(e); !strings.HasSuffix(s, ", 1 package here is refused") {
			t.Errorf("got %q", s)
		}
		if s := r.text(nil); !strings.HasSuffix(s, "on the drive:\n\"a/b-1.xpak\": no image\n") {
			t.Errorf("got %q", s)
		}
	}
	e.Refused = nil
	if s := r.text(nil); strings.Contains(s, "refused") {
		t.Errorf("got %q", s)
	}
}

func TestParseRole(t *testing.T) {
	for text, want := range map[string]Role{"": None, "export": Export, " Import\n": Import,
		"BOTH": Both} {
		if got, err := ParseRole(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := ParseRole("yes"); err == nil {
		t.Error("yes is a role")
	}
}

// A mounted drive is never checked: not one that another program has mounted meanwhile, and not one
// that was only detached. While a drive is checked nobody can mount it.
func TestOnlyWhatIsHeldIsChecked(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		prepare func(*stick)
		want    string
	}{
		"held":     {func(*stick) {}, "fsck.vfat -a /dev/sda1"},
		"detached": {func(s *stick) { s.detached = true }, ""},
		"faster": {func(s *stick) {
			s.others = []watch.Mount{{Point: "/media/x", Device: "99:99"}}
		}, ""},
		"alone itself": {func(s *stick) { s.selfish = true },
			"fsck.vfat in vain; fsck.vfat -a /dev/sda1"},
	} {
		s, _ := carried(t, "vfat")
		row.prepare(s)
		at := &station{sys: s.system(), dev: s.dev, fstype: volume.VFAT, dir: t.TempDir(),
			note: func(Level, string, ...any) {}}
		if err := at.check(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := s.history(); got != row.want {
			t.Errorf("%s: did %q, expected %q", name, got, row.want)
		}
		if s.held {
			t.Errorf("%s: the device is still held", name)
		}
	}
}

// After an import the client asks, with a mount of its own for writing; without one the import
// stays done.
func TestRunRequests(t *testing.T) {
	s, h := carried(t, "vfat")
	c := newMachine(t, "client")
	trust(t, c, h)
	o := optionsOf(t, s, Import, &journal{})
	o.Request, o.Asking.Minimal = true, true
	r, err := Run(t.Context(), c, o)
	if err != nil || r.Outcome != Done || r.Request == nil || !r.Request.NewKey ||
		len(r.Request.Record.Receipts) != 1 || !r.Request.Record.Minimal {
		t.Fatalf("got %v, %+v", err, r)
	}
	if got := s.history(); got != "mount ro; unmount; fsck.vfat -a /dev/sda1; mount rw; unmount; hook" {
		t.Errorf("did %q", got)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "pkgsneak", "clients", "client",
		"Manifest")); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s, o.RunDir)

	// what is damaged is told for wherever a person mounts the drive
	for _, name := range []string{"Manifest", "Manifest.next"} {
		file := filepath.Join(s.dir, "pkgsneak", "clients", "client", name)
		text, err := os.ReadFile(file)
		if err == nil {
			text = bytes.Replace(text, []byte("DATA g"), []byte("DATA h"), 1)
			err = os.WriteFile(file, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var notices []string
	o = optionsOf(t, s, Import, &journal{})
	o.Request = true
	o.Events = func(m progress.Message) {
		if n, ok := m.(progress.Notice); ok {
			notices = append(notices, string(n))
		}
	}
	if r, err := Run(t.Context(), c, o); err != nil || r.Request == nil || len(notices) != 1 ||
		!strings.HasSuffix(notices[0], ": rm -r DRIVE/pkgsneak/clients/client, then pkgsneak request DRIVE") {
		t.Errorf("got %v, %+v, %q", err, r, notices)
	}

	leftover := filepath.Join(s.dir, "pkgsneak", "bighost", "packages", "app-misc", "half-1.tbz2")
	if err := os.MkdirAll(filepath.Dir(leftover), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(leftover, []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "pkgsneak", "clients")); err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	o = optionsOf(t, s, Import, j)
	o.Request = true
	o.Classify = func(err error) (int, []string) { return 14, fault.Hints(err, "DRIVE") }
	if r, err := Run(t.Context(), c, o); err != nil || r.Outcome != Unchanged || r.Request != nil {
		t.Errorf("beside a leftover: got %v, %+v", err, r)
	}
	if text := j.text(); !strings.Contains(text, "what this machine lacks is not on the drive: ") ||
		!strings.Contains(text, "; on the machine that exports to this drive: pkgsneak export DRIVE ") {
		t.Errorf("logged %q", text)
	}
}

// A disc is imported from, also by a machine that does both, and nobody tries to write to it. A
// machine that only exports leaves it alone.
func TestRunDisc(t *testing.T) {
	s, h := carried(t, "iso9660")
	c := newMachine(t, "client")
	trust(t, c, h)
	j := &journal{}
	o := optionsOf(t, s, Both, j)
	o.Request, o.ResultFile = true, true
	r, err := Run(t.Context(), c, o)
	if err != nil || r.Outcome != Done || r.Import == nil || r.Import.Unchanged ||
		r.Export != nil || r.Request != nil {
		t.Errorf("got %v, %+v", err, r)
	}
	if got := s.history(); strings.Contains(got, "rw") {
		t.Errorf("did %q", got)
	}
	if !strings.Contains(j.text(), "pkgsneak status --receipt") {
		t.Errorf("logged %q", j.text())
	}
	r, err = Run(t.Context(), h, optionsOf(t, s, Export, &journal{}))
	if err != nil || r.Outcome != Ignored {
		t.Errorf("on a machine that exports: %v, %+v", err, r)
	}
	if got := s.history(); strings.Contains(got, "rw") {
		t.Errorf("did %q", got)
	}
}
