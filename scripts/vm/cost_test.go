package vm_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/wire"
)

// The cost of the order of writes, and of the read-back, against cp and sync of
// the same files on the same drive, which has them half as fast again when it is
// read. A used drive has the first tenth of the files from an earlier export,
// and pkgsneak itself; a new one has nothing.
//
//	PKGSNEAK_VM=long go test -run '^$' -bench Cost -benchtime 1x -timeout 6h ./scripts/vm
//	PKGSNEAK_VM=short go test -run '^$' -bench 'Cost/small/vfat/20/used' -benchtime 1x ./scripts/vm
//
// Where the processor is emulated (no KVM), the drives are slowed down by as much as it is slower
// at BLAKE2B than the machine's own (the metric slower): pkgsneak, which checks and hashes what cp
// only copies, would seem slow beside a drive that stands for one of several hundred MB/s. The
// packages are fewer by then, and all of it takes hours nevertheless. bytes/cp and writes/cp are
// what the drive itself was asked for.
//
// The metrics: cp-s, export-s and readback-s are seconds of cp and sync, of an export without
// read-back, and what it takes longer with it; reread-s is that of reading the same bytes again.
func BenchmarkCost(b *testing.B) {
	for _, load := range []struct {
		name  string
		files func(share float64) []payload
	}{
		{"small", func(float64) []payload { return many(3000, func(int) int { return 5000 }) }},
		{"large", func(share float64) []payload { return many(100, usual(100, share*(512<<20))) }},
	} {
		b.Run(load.name, func(b *testing.B) {
			m := boot(b, func(c *vm.Config) { c.Memory = 2560 })
			b.Cleanup(m.Close)
			settle(b, m)
			guest, share := must[float64](b)(m.Speed(b.Context())), 1.0
			slower := max(1, wire.Speed(time.Now)/guest)
			if slower > 2 {
				share = 1.0 / 8
			}
			stock(b, m, load.files(share))
			for _, f := range []flavour{flavours[1], flavours[3]} {
				f.mib = 2048
				for _, speed := range []int64{20, 100} {
					for _, used := range []bool{true, false} {
						state := map[bool]string{true: "used", false: "new"}[used]
						b.Run(fmt.Sprintf("%s/%d/%s", f.kind, speed, state),
							func(b *testing.B) {
								compareCost(b, costs{m: m, flavour: f, used: used,
									speed: float64(speed) * 1e6 / slower})
								b.ReportMetric(slower, "slower")
							})
					}
				}
			}
		})
	}
}

func compareCost(b *testing.B, c costs) {
	c.b = b
	for b.Loop() {
		copied, moved, again := c.copy()
		bare, ours := c.export("--no-read-back")
		full, _ := c.export()
		b.ReportMetric(copied, "cp-s")
		b.ReportMetric(bare, "export-s")
		b.ReportMetric(full-bare, "readback-s")
		b.ReportMetric(again, "reread-s")
		b.ReportMetric(bare/copied, "export/cp")
		b.ReportMetric((full-bare)/again, "readback/reread")
		b.ReportMetric(float64(ours.WrittenBytes)/float64(moved.WrittenBytes), "bytes/cp")
		b.ReportMetric(float64(ours.Writes)/float64(moved.Writes), "writes/cp")
		b.ReportMetric(float64(ours.Flushes), "flushes")
		b.ReportMetric(0, "ns/op")
	}
}

// many are n packages in a dozen of categories.
func many(n int, size func(i int) int) []payload {
	var files []payload
	for i := range n {
		files = append(files, payload{fmt.Sprintf("pkgdir/cat-%c/package-with-a-name-%d.tbz2",
			'a'+i%12, i), size(i), uint64(i)})
	}
	return files
}

// usual are sizes as in real PKGDIRs, which add up to total: most files are small, most bytes are
// in large ones.
func usual(n int, total float64) func(i int) int {
	r, sizes, sum := rand.New(rand.NewPCG(5, 0)), make([]float64, n), 0.0
	for i := range sizes {
		sizes[i] = math.Exp(1.7 * r.NormFloat64())
		sum += sizes[i]
	}
	return func(i int) int { return int(sizes[i] / sum * total) }
}

// The guest's copies of the files: those that a used drive has already, and the others.
const (
	stockBefore = "/t/before"
	stockRest   = "/t/rest"
)

// stock brings the files into the guest, once: later they are linked.
func stock(b *testing.B, m *vm.Machine, files []payload) {
	b.Helper()
	n := len(files) / 10
	for dir, part := range map[string][]payload{stockBefore: files[:n], stockRest: files[n:]} {
		furnish(b, m, part)
		must[string](b)(m.Sh(b.Context(), "mv "+hostPkgdir+" "+dir))
	}
}

// costs are measured on one kind of drive.
type costs struct {
	b *testing.B
	m *vm.Machine
	flavour
	speed float64 // bytes a second when it is written
	used  bool
}

// drive is a formatted drive that is plugged in at its speed, in the state in which the measured
// command finds it. The host has what that is to copy; all tells that it still has the earlier
// files, too.
func (c costs) drive(all bool) *stick {
	c.b.Helper()
	sh := func(script string) { must[string](c.b)(c.m.Sh(c.b.Context(), script)) }
	s := newStick(c.b, c.m, c.flavour)
	sh("rm -rf " + hostState + " " + hostPkgdir + " " + hostDistdir + "; mkdir -p " + hostState +
		" " + hostPkgdir + " " + hostDistdir)
	if c.used {
		sh("cp -rl " + stockBefore + "/. " + hostPkgdir)
		s.plug(false)
		c.run(named(exportCommand(program, "--no-read-back")))
		s.unplug()
		if !all {
			sh("rm -rf " + hostPkgdir + "; mkdir " + hostPkgdir)
		}
	}
	sh("cp -rl " + stockRest + "/. " + hostPkgdir)
	s.WriteBytes, s.ReadBytes = int64(c.speed), int64(c.speed*1.5)
	s.plug(false)
	sh("sync; echo 3 >/proc/sys/vm/drop_caches; cat " + program + " >/dev/null")
	return s
}

// named lets a program put itself on the drive.
func named(c wire.Command) wire.Command {
	c.Unnamed = false
	return c
}

func (c costs) run(command wire.Command) (seconds float64) {
	c.b.Helper()
	r := must[wire.Result](c.b)(c.m.Run(c.b.Context(), command))
	if r.Code != 0 {
		c.b.Fatalf("%s ended with %d: %s%s", strings.Join(command.Argv, " "), r.Code, r.Stdout,
			r.Stderr)
	}
	return float64(r.Millis) / 1000
}

// export measures an export, and what it asked the drive for.
func (c costs) export(more ...string) (seconds float64, moved vm.Moved) {
	c.b.Helper()
	s := c.drive(true)
	seconds, moved = c.measure(s, named(exportCommand(program, more...)))
	s.unplug()
	return seconds, moved
}

// copy measures cp and sync, and reading the copies again.
func (c costs) copy() (seconds float64, moved vm.Moved, again float64) {
	c.b.Helper()
	s := c.drive(false)
	script := func(text string) wire.Command {
		return wire.Command{Argv: []string{"/bin/sh", "-ec", text}}
	}
	seconds, moved = c.measure(s, script("mkdir "+drive+"/copy; cp -r "+hostPkgdir+" "+drive+
		"/copy; sync"))
	must[string](c.b)(c.m.Sh(c.b.Context(), "echo 3 >/proc/sys/vm/drop_caches"))
	again, _ = c.measure(s, script("cp -r "+drive+"/copy /t/again"))
	must[string](c.b)(c.m.Sh(c.b.Context(), "rm -rf /t/again"))
	s.unplug()
	return seconds, moved, again
}

func (c costs) measure(s *stick, command wire.Command) (seconds float64, moved vm.Moved) {
	c.b.Helper()
	before := must[vm.Moved](c.b)(s.p.Moved(c.b.Context()))
	seconds = c.run(command)
	moved = must[vm.Moved](c.b)(s.p.Moved(c.b.Context()))
	moved.WrittenBytes -= before.WrittenBytes
	moved.Writes -= before.Writes
	moved.Flushes -= before.Flushes
	return seconds, moved
}
