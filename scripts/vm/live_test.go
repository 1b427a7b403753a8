package vm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/nbd"
	"pkgsneak/scripts/vm/wire"
)

// stick is a real drive of a flavour in a test.
type stick struct {
	flavour
	vm.Stick
	t testing.TB
	m *vm.Machine
	p *vm.Plugged
}

func newStick(t testing.TB, m *vm.Machine, f flavour) *stick {
	t.Helper()
	image := f.format(t)
	if f.start > 0 {
		image = partitioned(t, image, f.mib)
	}
	return &stick{flavour: f, Stick: vm.Stick{Image: image}, t: t, m: m}
}

// plug plugs it in and mounts it.
func (s *stick) plug(readOnly bool) {
	s.t.Helper()
	s.p = must[*vm.Plugged](s.t)(s.m.Plug(s.t.Context(), s.Stick))
	ok(s.t, s.m.Mount(s.t.Context(), wire.Mount{Device: s.device(s.t, s.m, s.p), Dir: drive,
		Type: s.kind, Options: s.options, ReadOnly: readOnly}))
}

// unplug unmounts it and takes it out.
func (s *stick) unplug() {
	s.t.Helper()
	ok(s.t, s.m.Unmount(s.t.Context(), drive))
	ok(s.t, s.p.Pull(s.t.Context()))
}

// exported runs an export to the end.
func (s *stick) exported(more ...string) report {
	s.t.Helper()
	return export(s.t, s.m, program, more...)
}

// tryCommand runs a command with --json and returns how it ended.
func tryCommand(t testing.TB, m *vm.Machine, c wire.Command) report {
	t.Helper()
	rep, err := result(must[wire.Result](t)(m.Run(t.Context(), c)))
	ok(t, err)
	return rep
}

// clientTrees is what the client has.
func clientTrees(t testing.TB, m *vm.Machine) content {
	t.Helper()
	var trees [][]wire.File
	for _, sub := range []string{"pkgdir", "distdir"} {
		trees = append(trees, must[[]wire.File](t)(m.Tree(t.Context(), clientDir+"/"+sub)))
	}
	got := received(t, trees)
	// Files that are kept for an undo are the ones before, and their names change with each import.
	maps.DeleteFunc(got, func(name string, _ [32]byte) bool {
		return strings.Contains(name, "/.pkgsneak-undo/")
	})
	return got
}

func resetClient(t testing.TB, m *vm.Machine) {
	t.Helper()
	for _, c := range freshClient() {
		ok(t, m.Copy(t.Context(), c.From, c.To))
	}
}

// imported imports the drive into a fresh client.
func imported(t testing.TB, m *vm.Machine) (report, content) {
	t.Helper()
	resetClient(t, m)
	rep := tryCommand(t, m, importCommand())
	return rep, clientTrees(t, m)
}

// expectWhole fails unless the drive verifies and gives a client exactly want.
func (s *stick) expectWhole(want content) {
	s.t.Helper()
	rep, got := imported(s.t, s.m)
	if rep.Exit != 0 || !maps.Equal(got, want) {
		s.t.Errorf("%s: import ended with %d (%s): %s", s.name, rep.Exit, rep.Error,
			difference(got, want))
	}
	if rep := tryCommand(s.t, s.m, verifyCommand()); rep.Exit != 0 {
		s.t.Errorf("%s: verify ended with %d: %s %+v", s.name, rep.Exit, rep.Error, rep.Report)
	}
}

// begin starts a command and returns when it has printed its first line.
func begin(t testing.TB, m *vm.Machine, c wire.Command) *vm.Process {
	t.Helper()
	p := must[*vm.Process](t)(m.Start(t.Context(), c))
	_, _, _, err := p.More(t.Context())
	ok(t, err)
	return p
}

// ends waits for the end of a program whose drive was pulled. Nothing may hang.
func ends(t testing.TB, p *vm.Process) (report, wire.Result) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	r := must[wire.Result](t)(p.Wait(ctx))
	rep, err := result(r)
	ok(t, err)
	return rep, r
}

// Pulled live at random moments of export and import, plugged in as another
// device, and continued to the end.
func TestLivePulls(t *testing.T) {
	for i, f := range slices.Concat(flavours, further) {
		t.Run(f.name, func(t *testing.T) {
			if !long() && !slices.Contains([]string{"vfat-4k", "exfat", "ext4"}, f.name) {
				t.Skipf("NO TIME: %s=long has it", modeVariable)
			}
			t.Parallel()
			pulls := 4
			switch {
			case long() && i < len(flavours):
				pulls = 60
			case long():
				pulls = 20
			}
			livePulls(t, f, pulls)
		})
	}
}

func livePulls(t *testing.T, f flavour, pulls int) {
	m := borrow(t)
	s := newStick(t, m, f)
	rng := rand.New(rand.NewPCG(13, uint64(len(f.name))))
	states := sequence()
	old := furnish(t, m, states[0])
	s.plug(false)
	began := time.Now()
	s.exported()
	s.unplug()
	// The runs that follow have less to do than the first export. How long they
	// take depends on what else this machine does, so pulls that come too late
	// bring the next ones forward.
	took := map[string]time.Duration{"export": time.Since(began) / 2,
		"import": time.Since(began) / 6}
	hit, done, overdue := make(map[string]int), 0, share(pullShare)
	for i := range pulls {
		if overdue() {
			t.Logf("NO TIME for %d of %d pulls", pulls-i, pulls)
			break
		}
		verb, what := "export", ""
		if i%4 == 3 {
			verb = "import"
		}
		after := time.Duration(rng.Int64N(int64(took[verb])))
		if verb == "import" {
			what = s.pullImport(old, after)
		} else {
			want := furnish(t, m, states[(i+1)%len(states)])
			what = s.pullExport(old, want, after)
			old = want
		}
		hit[verb+": "+what]++
		if what == hadEnded {
			took[verb] = took[verb] * 3 / 4
		} else {
			took[verb] = took[verb] * 8 / 7
		}
		if done++; done%10 == 0 {
			t.Logf("%s: %d pulls so far; %v", f.name, done, hit)
		}
	}
	t.Logf("%s: %d pulls, by what they hit: %v", f.name, done, hit)
}

// hadEnded is what a pull hit that came too late.
const hadEnded = "had ended"

// phase is the last one that a run with --json reported.
func phase(r wire.Result) string {
	var last string
	for line := range bytes.Lines(r.Stdout) {
		var e struct{ Event, Phase string }
		if json.Unmarshal(line, &e) == nil && e.Event == "progress" {
			last = e.Phase
		}
	}
	return last
}

// pullExport pulls the drive out of an export, looks at it, and goes on. It
// returns what the export was doing.
func (s *stick) pullExport(old, want content, after time.Duration) (hit string) {
	s.t.Helper()
	s.plug(false)
	p := begin(s.t, s.m, exportCommand(program))
	time.Sleep(after)
	ok(s.t, s.p.Pull(s.t.Context()))
	rep, r := ends(s.t, p)
	switch rep.Exit {
	case 14:
		hit = phase(r)
	case 0:
		hit = hadEnded
	default:
		s.t.Errorf("%s: an export whose drive was pulled after %v ended with %d: %s %s", s.name,
			after, r.Code, rep.Error, r.Stderr)
	}
	s.plugAgain()
	now, got := imported(s.t, s.m)
	if now.Exit != 0 || !maps.Equal(got, want) && (rep.Exit == 0 || !maps.Equal(got, old)) {
		s.t.Errorf("%s: after a pull (the export ended with %d) import ended with %d (%s) and is neither old (%s) nor new (%s)",
			s.name, rep.Exit, now.Exit, now.Error, difference(got, old), difference(got, want))
	}
	s.finish(want)
	return hit
}

// plugAgain plugs the drive in while its stale mount is still there, as a
// person does: it becomes another device.
func (s *stick) plugAgain() {
	s.t.Helper()
	stale := s.p.Device
	p := must[*vm.Plugged](s.t)(s.m.Plug(s.t.Context(), s.Stick))
	if p.Device == stale {
		s.t.Logf("%s: the drive came back as %s", s.name, stale)
	}
	ok(s.t, s.m.Unmount(s.t.Context(), drive))
	s.p = p
	ok(s.t, s.m.Mount(s.t.Context(), wire.Mount{Device: s.device(s.t, s.m, p), Dir: drive,
		Type: s.kind, Options: s.options, ReadOnly: true}))
}

// finish exports until it is done, with the repair that export asks for.
func (s *stick) finish(want content) {
	s.t.Helper()
	ok(s.t, s.m.Unmount(s.t.Context(), drive))
	r := &recording{flavour: s.flavour, t: s.t, m: s.m}
	if _, err := r.goOn(s.device(s.t, s.m, s.p), program); err != nil {
		s.t.Errorf("%s: going on after a pull: %v", s.name, err)
		said, _ := s.m.Sh(s.t.Context(), "busybox dmesg | busybox tail -n 25")
		s.t.Logf("the kernel says: %s", said)
	}
	ok(s.t, s.m.Mount(s.t.Context(), wire.Mount{Device: s.device(s.t, s.m, s.p), Dir: drive,
		Type: s.kind, Options: s.options, ReadOnly: true}))
	s.expectWhole(want)
	s.unplug()
}

// pullImport pulls the drive out of an import and goes on. It returns what the
// import was doing.
func (s *stick) pullImport(want content, after time.Duration) (hit string) {
	s.t.Helper()
	s.plug(true)
	resetClient(s.t, s.m)
	p := begin(s.t, s.m, importCommand())
	time.Sleep(after)
	ok(s.t, s.p.Pull(s.t.Context()))
	rep, r := ends(s.t, p)
	hit = hadEnded
	if rep.Exit == 14 {
		hit = phase(r)
	} else if rep.Exit != 0 {
		s.t.Errorf("%s: an import whose drive was pulled after %v ended with %d: %s %s", s.name,
			after, r.Code, rep.Error, r.Stderr)
	}
	s.plugAgain()
	if rep := tryCommand(s.t, s.m, importCommand()); rep.Exit != 0 {
		s.t.Errorf("%s: the import after it ended with %d: %s", s.name, rep.Exit, rep.Error)
	}
	if got := clientTrees(s.t, s.m); !maps.Equal(got, want) {
		s.t.Errorf("%s: it left %s", s.name, difference(got, want))
	}
	s.unplug()
	return hit
}

// find returns where in the image of a drive some bytes are.
func (s *stick) find(data []byte) int64 {
	s.t.Helper()
	image, err := os.ReadFile(s.Image)
	ok(s.t, err)
	at := bytes.Index(image, data)
	if at < 0 {
		s.t.Fatalf("%s: the image does not have what was written", s.name)
	}
	return int64(at)
}

// A bit that flips on the medium is found by verify, and import skips that file
// and takes the others.
func TestBitFlip(t *testing.T) {
	t.Parallel()
	m := borrow(t)
	for _, f := range []flavour{flavours[1], flavours[3]} {
		s, files := newStick(t, m, f), sequence()[1]
		want := furnish(t, m, files)
		s.plug(false)
		s.exported()
		s.unplug()
		victim := files[slices.IndexFunc(files, func(p payload) bool { return p.size > 100_000 })]
		at := s.find(victim.bytes()[:512])
		image, err := os.OpenFile(s.Image, os.O_RDWR, 0)
		ok(t, err)
		b := make([]byte, 1)
		image.ReadAt(b, at+70_000)
		b[0] ^= 0x10
		image.WriteAt(b, at+70_000)
		ok(t, image.Close())
		s.plug(true)
		delete(want, victim.path)
		rep, got := imported(t, m)
		if rep.Exit != 3 || !maps.Equal(got, want) {
			t.Errorf("%s: import ended with %d (%s): %s", f.name, rep.Exit, rep.Error,
				difference(got, want))
		}
		rep = tryCommand(t, m, verifyCommand())
		if rep.Exit != 3 || len(rep.Report.Origins) != 1 || len(rep.Report.Origins[0].Bad) != 1 {
			t.Errorf("%s: verify ended with %d: %+v", f.name, rep.Exit, rep.Report)
		}
		s.unplug()
	}
}

// A drive that claims to be larger than it is: nothing that was committed before
// may suffer, and nothing may be called done that is not there.
func TestFakeCapacity(t *testing.T) {
	for _, wraps := range []bool{true, false} {
		for _, f := range []flavour{flavours[1], flavours[3]} {
			name := map[bool]string{true: "wrapping ", false: "dropping "}[wraps] + f.name
			t.Run(name, func(t *testing.T) {
				if !long() && wraps != (f.kind == "vfat") {
					t.Skipf("NO TIME: %s=long has it", modeVariable)
				}
				t.Parallel()
				m := borrow(t)
				s := newStick(t, m, f)
				fake := &disk.Fake{Device: disk.NewImage(24 << 20), Claimed: f.mib << 20,
					Real: 24 << 20, Wraps: wraps}
				s.fill(fake)
				small := furnish(t, m, sequence()[0])
				s.Image, s.Socket = "", serveDevice(t, fake)
				s.plug(false)
				rep := tryCommand(t, m, exportCommand(program))
				t.Logf("a small export ended with %d: %s", rep.Exit, rep.Error)
				if rep.Exit == 0 {
					t.Errorf("a drive of 24 MiB that says %d was trusted", f.mib)
					s.expectWhole(small)
				}
				furnish(t, m, append(slices.Clone(sequence()[0]), payload{"distdir/big-1.tar",
					12 << 20, 1}, payload{"distdir/big-2.tar", 12 << 20, 2}))
				rep = tryCommand(t, m, exportCommand(program))
				t.Logf("a large export ended with %d: %s", rep.Exit, rep.Error)
				if rep.Exit != 14 {
					t.Errorf("an export of 24 MiB to a drive of 24 MiB that says %d ended with %d: %s", f.mib, rep.Exit, rep.Error)
				}
				s.unplug()
			})
		}
	}
}

// fill writes the formatted image of the stick to a device.
func (s *stick) fill(d disk.Device) {
	s.t.Helper()
	f, err := os.Open(s.Image)
	ok(s.t, err)
	defer f.Close()
	for _, e := range must[disk.Log](s.t)(disk.Dump(f, s.mib<<20)) {
		must[int](s.t)(d.WriteAt(e.Data, e.Offset))
	}
}

// serveDevice serves a device on a socket until the test ends.
func serveDevice(t testing.TB, d disk.Device) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd") // the path of a socket has to be short
	ok(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if nbd.Handshake(conn, d.Size()) == nil {
					_ = nbd.Serve(conn, d) // the client may leave in any way
				}
			}()
		}
	}()
	return socket
}

// At 3 MB/s the progress reports what is on the drive, not what is in memory, and
// it moves.
func TestSlowStick(t *testing.T) {
	t.Parallel()
	m := borrow(t)
	f := flavours[1]
	f.mib = 192
	s := newStick(t, m, f)
	s.WriteBytes, s.ReadBytes = 3e6, 6e6
	want := furnish(t, m, []payload{{"distdir/big-1.tar", 26 << 20, 1},
		{"distdir/big-2.tar", 4 << 20, 2}})
	s.plug(false)
	before := must[vm.Moved](t)(s.p.Moved(t.Context())).WrittenBytes
	p := must[*vm.Process](t)(m.Start(t.Context(), exportCommand(program)))
	var lines []byte
	seen := make(map[int64]bool)
	for ended := false; !ended; {
		out, end, r, err := p.More(t.Context())
		ok(t, err)
		if ended = end; end && r.Code != 0 {
			t.Errorf("export ended with %d: %s", r.Code, r.Stderr)
		}
		written := must[vm.Moved](t)(s.p.Moved(t.Context())).WrittenBytes - before
		lines = append(lines, out...)
		for {
			line, rest, complete := bytes.Cut(lines, []byte("\n"))
			if !complete {
				break
			}
			lines = rest
			var e struct {
				Event, Phase string
				Done, Total  int64
			}
			ok(t, json.Unmarshal(line, &e))
			if e.Event != "progress" || e.Phase != "copy" {
				continue
			}
			seen[e.Done] = true
			if e.Done > written {
				t.Errorf("the progress says %d bytes when the drive had taken %d", e.Done, written)
			}
			if e.Total > 0 && e.Done > e.Total {
				t.Errorf("the progress says %d of %d bytes", e.Done, e.Total)
			}
		}
	}
	if len(seen) < 3 {
		t.Errorf("the progress said only %v", seen)
	}
	s.expectWhole(want)
	s.cancel(want)
	s.unplug()
}

// cancel interrupts an export in the middle: what the drive takes after that is
// no more than what may be dirty, and the old generation stays.
func (s *stick) cancel(want content) {
	s.t.Helper()
	ctx := s.t.Context()
	const large, mayFollow = 60 << 20, 24 << 20
	furnish(s.t, s.m, []payload{{"distdir/big-1.tar", 26 << 20, 1},
		{"distdir/big-2.tar", 4 << 20, 2}, {"distdir/big-3.tar", large, 3}})
	written := func() int64 { return must[vm.Moved](s.t)(s.p.Moved(ctx)).WrittenBytes }
	before := written()
	p := must[*vm.Process](s.t)(s.m.Start(ctx, exportCommand(program)))
	for written()-before < 9<<20 {
		if _, ended, r, err := p.More(ctx); err != nil || ended {
			s.t.Fatalf("export ended before it was canceled, with %d: %s (%v)", r.Code,
				r.Stderr, err)
		}
	}
	before = written()
	ok(s.t, p.Signal(ctx, int(syscall.SIGINT)))
	began := time.Now()
	r := must[wire.Result](s.t)(p.Wait(ctx))
	if more := written() - before; r.Code != 130 || more > mayFollow {
		s.t.Errorf("a canceled export ended with %d, %d bytes later: %s", r.Code, more, r.Stderr)
	}
	s.t.Logf("a canceled export ended after %.1f s", time.Since(began).Seconds())
	s.expectWhole(want)
}

// A drive behind its switch is read-only, and can be imported from.
func TestWriteProtected(t *testing.T) {
	t.Parallel()
	m := borrow(t)
	s := newStick(t, m, flavours[1])
	want := furnish(t, m, sequence()[0])
	s.plug(false)
	s.exported()
	s.unplug()
	s.ReadOnly = true
	s.plug(true)
	furnish(t, m, sequence()[1])
	rep := tryCommand(t, m, exportCommand(program))
	if rep.Exit != 1 || !strings.Contains(rep.Error, "read-only") {
		t.Errorf("export ended with %d: %s", rep.Exit, rep.Error)
	}
	s.expectWhole(want)
	s.unplug()
}

// A full drive keeps what it has, and that is told before and while it is written.
func TestFullDrive(t *testing.T) {
	t.Parallel()
	m := borrow(t)
	for _, f := range []flavour{flavours[0], flavours[3], flavours[4]} {
		s := newStick(t, m, f)
		want := furnish(t, m, sequence()[0])
		s.plug(false)
		s.exported()
		// Foreign files leave 2 MiB, then less than a cluster.
		for _, leave := range []int{2048, 0} {
			script := fmt.Sprintf(`free=$(df -k %[1]s | { read x; read a b c d e; echo $d; }); dd if=/dev/zero of=%[1]s/filler%[2]d bs=1024 count=$((free - %[2]d)) 2>/dev/null || true; sync`, drive, leave)
			must[string](t)(m.Sh(t.Context(), script))
			furnish(t, m, append(slices.Clone(sequence()[0]),
				payload{"distdir/too-big.tar", 8 << 20, 99}))
			rep := tryCommand(t, m, exportCommand(program))
			if rep.Exit != 15 {
				t.Errorf("%s with %d KiB free: export ended with %d: %s", f.name, leave,
					rep.Exit, rep.Error)
			}
			s.expectWhole(want)
		}
		s.unplug()
	}
}

// Names that FAT cannot tell apart or has no room for arrive as they were.
func TestNames(t *testing.T) {
	t.Parallel()
	m := borrow(t)
	for _, f := range []flavour{flavours[1], flavours[3]} {
		s := newStick(t, m, f)
		want := furnish(t, m, []payload{
			{"distdir/Foo-1.0.tar.gz", 3000, 1}, {"distdir/foo-1.0.tar.gz", 3100, 2},
			{"distdir/FOO-1.0.TAR.GZ", 3200, 3},
			{"distdir/" + strings.Repeat("long", 60) + ".tar.gz", 1000, 4},
			{"distdir/colon:question?.tgz", 900, 5}, {"distdir/aux.txt", 800, 6},
			{"pkgdir/dev-perl/XML-Parser-2.tbz2", 4000, 7},
			{"pkgdir/dev-perl/xml-parser-2.tbz2", 4100, 8},
			{"pkgdir/app-misc/" + strings.Repeat("very-long-", 18) + "name-1.0.tbz2", 4200, 9},
		})
		s.plug(false)
		s.exported()
		s.unplug()
		s.plug(true)
		s.expectWhole(want)
		s.unplug()
	}
}

// A drive whose sectors cannot be written: nothing is called done, the old
// generation stays.
func TestFailingSectors(t *testing.T) {
	t.Parallel()
	m := borrow(t)
	for _, f := range []flavour{flavours[1], flavours[4]} {
		s := newStick(t, m, f)
		states := sequence()
		want := furnish(t, m, states[0])
		s.plug(false)
		s.exported()
		s.unplug()
		// The new list goes where the signed list is: that sector fails.
		slot := s.find([]byte("-----BEGIN PGP SIGNED MESSAGE-----")) / 512
		s.Faults = []vm.Fault{{Sector: slot, Write: true}}
		s.plug(false)
		furnish(t, m, states[1])
		rep := tryCommand(t, m, exportCommand(program))
		if rep.Exit != 14 {
			t.Errorf("%s: export to a drive with a bad sector ended with %d: %s", f.name,
				rep.Exit, rep.Error)
		}
		ok(t, s.m.Unmount(t.Context(), drive))
		ok(t, s.p.Pull(t.Context()))
		s.Faults = nil
		s.plug(true)
		now, got := imported(t, m)
		if now.Exit != 0 || !maps.Equal(got, want) && !maps.Equal(got, wantOf(states[1])) {
			t.Errorf("%s: after it import ended with %d (%s): %s", f.name, now.Exit, now.Error,
				difference(got, want))
		}
		s.unplug()
	}
}

// wantOf is what a client has of files.
func wantOf(files []payload) content {
	c := make(content)
	for _, f := range files {
		c[f.path] = sum(f.bytes())
	}
	return c
}
