package auto

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
)

// A workerStage is the machine of a worker, and what it does beside its work. It travels in
// workerVariable.
type workerStage struct {
	Name, StateDir, PKGDIR, DISTDIR string
	Mood                            string // of those in workerMain
	Outside, Listener               string // of the mood "breaks out"
}

const workerVariable = "PKGSNEAK_TEST_WORKER"

// The test program is the worker too.
func TestMain(m *testing.M) {
	if text := os.Getenv(workerVariable); text != "" {
		os.Exit(workerMain(text))
	}
	os.Exit(m.Run())
}

// workerOf gives a worker for a machine of the tests.
func workerOf(t *testing.T, m machine.Machine, with workerStage) func(context.Context) *exec.Cmd {
	t.Helper()
	with.Name, with.StateDir, with.PKGDIR, with.DISTDIR = m.Hostname, m.StateDir,
		m.PKGDIR, m.DISTDIR
	text, err := json.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "/proc/self/exe")
		cmd.Env = append(os.Environ(), workerVariable+"="+string(text))
		return cmd
	}
}

func workerMain(text string) int {
	var s workerStage
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	settings, err := portage.Load(context.Background(),
		portage.Options{Root: filepath.Dir(s.StateDir)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	m := machine.Machine{Settings: settings, Hostname: s.Name, Now: func() time.Time {
		return noon
	}, StateDir: s.StateDir, PKGDIR: s.PKGDIR, DISTDIR: s.DISTDIR, Version: "test",
		LockWait: patience}
	switch s.Mood {
	case "dies":
		fmt.Fprintln(os.Stderr, "what it said last")
		return 7
	case "waits": // until its input ends
		event := &progress.Event{Phase: progress.PhaseScan}
		_ = json.NewEncoder(os.Stdout).Encode(answer{Event: event})
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	case "talks for ever":
		for {
			if _, err := os.Stdout.Write([]byte(`{"confined":"` + strings.Repeat("x", 1<<20) +
				`"}`)); err != nil {
				return 1
			}
		}
	case "does the other thing":
		fmt.Println(`{"export":{"plan":{"origin":"\u001b[31mevil"}}}`)
		return 0
	case "leaves out the half":
		fmt.Println(`{"import":{"origins":[{"plan":null}]}}`)
		return 0
	case "says no JSON":
		fmt.Println("<html>")
		return 0
	}
	o := Options{Export: exporter.ExportOptions{AnyDirectory: true},
		Classify: func(error) (int, []string) { return 7, []string{"what helps"} }}
	var j strings.Builder
	err = Work(context.Background(), m, o, io.TeeReader(os.Stdin, &j), os.Stdout)
	if s.Mood == "breaks out" {
		var worked []string
		for name, step := range stepsOut(s, j.String()) {
			if err := step(); !errors.Is(err, os.ErrPermission) {
				worked = append(worked, fmt.Sprintf("%s: %v", name, err))
			}
		}
		slices.Sort(worked)
		if err := os.WriteFile(filepath.Join(s.StateDir, "broke-out"),
			[]byte(strings.Join(worked, "\n")), 0o644); err != nil {
			return 98
		}
	}
	if err != nil {
		return 1
	}
	return 0
}

// stepsOut is what an attacker would do who has taken a worker over.
func stepsOut(s workerStage, line string) map[string]func() error {
	var j task
	_ = json.Unmarshal([]byte(line), &j)
	precious := filepath.Join(s.Outside, "precious")
	write := func(dir string) func() error {
		return func() error {
			return os.WriteFile(filepath.Join(dir, "evil"),
				[]byte("evil"), 0o644)
		}
	}
	steps := map[string]func() error{
		"read a file of the system": func() error {
			_, err := os.ReadFile("/etc/passwd")
			return err
		},
		"read a file beside": func() error { _, err := os.ReadFile(precious); return err },
		"overwrite beside":   func() error { return os.WriteFile(precious, nil, 0o644) },
		"remove beside":      func() error { return os.Remove(precious) },
		"write beside":       write(s.Outside),
		"mount": func() error {
			return unix.Mount("none", j.Drive, "tmpfs", 0, "")
		},
		"make a link": func() error {
			return os.Symlink("/etc", filepath.Join(s.StateDir, "link"))
		},
		"open a device": func() error {
			_, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
			return err
		},
		"run a program": func() error {
			cmd := exec.Command("/bin/true")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
			return cmd.Run()
		},
	}
	if abi, _ := ll.LandlockGetABIVersion(); abi >= 4 {
		steps["connect"] = func() error {
			var d net.Dialer
			d.SetMultipathTCP(false)
			_, err := d.Dial("tcp", s.Listener)
			return err
		}
	}
	if j.Operation == Import {
		steps["write to the drive"] = write(j.Drive)
	} else {
		steps["write to PKGDIR"], steps["write to DISTDIR"] = write(s.PKGDIR), write(s.DISTDIR)
	}
	return steps
}

// The worker of each operation does its work, and cannot do anything else.
func TestWorkerIsConfined(t *testing.T) {
	if abi, err := ll.LandlockGetABIVersion(); err != nil || abi < 2 {
		t.Skipf("THIS KERNEL HAS NO LANDLOCK THAT CAN CONFINE A WORKER (version %d, %v): not shown",
			abi, err)
	}
	for _, role := range []Role{Export, Import} {
		t.Run(string(role), func(t *testing.T) {
			s, m := newStick(t, "vfat", "PKGSNEAK"), host(t)
			if role == Import {
				h := machine.Machine{}
				s, h = carried(t, "vfat")
				m = newMachine(t, "client")
				trust(t, m, h)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			outside := t.TempDir()
			if err := os.WriteFile(filepath.Join(outside, "precious"), []byte("precious"),
				0o644); err != nil {
				t.Fatal(err)
			}
			j := &journal{}
			o := optionsOf(t, s, role, j)
			o.Worker = workerOf(t, m, workerStage{Mood: "breaks out", Outside: outside,
				Listener: l.Addr().String()})
			r, err := Run(t.Context(), m, o)
			if err != nil || r.Outcome != Done {
				t.Fatalf("%v, %+v", err, r)
			}
			if !strings.Contains(j.text(), "confined by landlock") {
				t.Errorf("logged %q", j.text())
			}
			worked, err := os.ReadFile(filepath.Join(m.StateDir, "broke-out"))
			if err != nil || len(worked) > 0 {
				t.Errorf("%v; steps out that were not forbidden:\n%s", err, worked)
			}
			if data, err := os.ReadFile(filepath.Join(outside, "precious")); err != nil ||
				string(data) != "precious" {
				t.Errorf("outside: %q, %v", data, err)
			}
		})
	}
}

// An error keeps its words, its exit code and its hints on the way through the pipe.
func TestWorkerFails(t *testing.T) {
	s, _ := carried(t, "vfat")
	c := newMachine(t, "client")
	plain := optionsOf(t, s, Import, &journal{})
	_, want := Run(t.Context(), c, plain)
	if !errors.Is(want, manifest.ErrUntrusted) {
		t.Fatal(want)
	}
	o := optionsOf(t, s, Import, &journal{})
	o.Worker = workerOf(t, c, workerStage{})
	_, err := Run(t.Context(), c, o)
	var worker *WorkerError
	if !errors.As(err, &worker) || worker.Error() != want.Error() || worker.Code != 7 ||
		worker.Class() != fault.Untrusted ||
		!slices.Equal(worker.Hints(""), []string{"what helps"}) {
		t.Errorf("%#v, want what is said without a worker: %v", err, want)
	}
}

// A worker that was taken over, or killed, does no harm to the run that started it: it ends,
// reports so, and the drive is unmounted.
func TestWorkerMisbehaves(t *testing.T) {
	for mood, want := range map[string]string{
		"dies":                 "exit status 7): what it said last",
		"says no JSON":         "the worker has failed",
		"does the other thing": "something else than what it was asked for",
		"leaves out the half":  "something else than what it was asked for",
		"talks for ever":       "the worker has failed",
	} {
		t.Run(mood, func(t *testing.T) {
			t.Parallel()
			s, h := carried(t, "vfat")
			c := newMachine(t, "client")
			trust(t, c, h)
			j := &journal{}
			o := optionsOf(t, s, Import, j)
			if mood == "talks for ever" { // its messages are dropped here
				o.Log = nil
			}
			o.Worker = workerOf(t, c, workerStage{Mood: mood})
			r, err := Run(t.Context(), c, o)
			if err == nil || !strings.Contains(err.Error(), want) || r.Outcome != Failed ||
				!r.SafeToPull {
				t.Errorf("%v, %+v", err, r)
			}
			nothingLeft(t, s, o.RunDir)
		})
	}
}

// A worker that is at work ends when the drive is pulled, and when the run is interrupted.
func TestWorkerIsStopped(t *testing.T) {
	for _, want := range []Outcome{Pulled, Interrupted} {
		t.Run(string(want), func(t *testing.T) {
			s, h := carried(t, "vfat")
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			o := optionsOf(t, s, Export, &journal{})
			o.Worker = workerOf(t, h, workerStage{Mood: "waits"})
			o.Events = func(progress.Message) {
				if want == Pulled {
					s.pull()
				} else {
					interrupt()
				}
			}
			r, err := Run(ctx, h, o)
			if err == nil || r.Outcome != want {
				t.Errorf("%v, %+v", err, r)
			}
			nothingLeft(t, s, o.RunDir)
		})
	}
}

// A worker ends when its input does: so it does not outlive a run that was killed.
func TestWorkerEndsWithItsInput(t *testing.T) {
	s, h := carried(t, "vfat")
	st, err := state.Open(t.Context(), h.StateDir, state.Options{}) // it will wait for this
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	cmd := workerOf(t, h, workerStage{})(t.Context())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cmd.Start(),
		json.NewEncoder(in).Encode(task{Export, s.dir})); err != nil {
		t.Fatal(err)
	}
	var last answer
	for d := json.NewDecoder(out); ; {
		var a answer
		if err := d.Decode(&a); err != nil {
			break
		}
		if a.Notice != "" {
			in.Close()
		}
		last = a
	}
	if err := cmd.Wait(); err == nil || last.Error == nil ||
		!strings.Contains(last.Error.Text, "canceled") {
		t.Errorf("%v, it said last: %+v", err, last)
	}
}

// The run that listens finds words for anything that a worker reports that was taken over.
func FuzzListen(f *testing.F) {
	for _, seed := range []string{
		`{"confined":"confined by landlock 7"}{"notice":"waits"}{"event":{"Phase":"copy","Done":1}}{"import":{"origins":[{"plan":{"origin":"bighost"},"copied":[{"path":"a"}]}],"next":["emerge"]}}`,
		`{"import":{"origins":[null,{"plan":null}],"refused":[{}]}}`,
		`{"export":{"plan":{"origin":"bighost"},"left_out":[{"path":"\u001b[2J","reason":"x"}]}}`,
		`{"error":{"text":"x","code":-1,"hints":["y"],"class":"gone"}}`,
		`{"error":{"class":"no class"}}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		a, err := listen(bytes.NewReader(said), func(progress.Message) {}, func(string) {})
		if err != nil {
			return
		}
		r := &runner{m: machine.Machine{Now: func() time.Time { return noon }, Hostname: "host"},
			result: &Result{Device: Device{Name: "sda1", Path: "/dev/sda1"}, Export: a.Export}}
		if isWhole(a.Import) {
			r.result.Import = a.Import
			importRun(a.Import, nil)
		}
		if a.Export != nil {
			exportRun(a.Export, nil)
		}
		var failed error
		if a.Error != nil {
			failed = a.Error
			exportRun(nil, failed)
			r.outcome(t.Context(), failed)
		}
		r.result.sentence()
		r.result.more()
		r.text(failed)
	})
}
