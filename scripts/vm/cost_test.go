package vm_test

import (
	"fmt"
	"strings"
	"testing"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/wire"
)

// The cost of durability and of the read-back, against cp and sync of the same
// files on the same drive of 20 MB/s (read 30). The processor is emulated: only
// the ratios say something, and they are worse than on a real one.
//
//	PKGSNEAK_VM=short go test -run '^$' -bench Cost -benchtime 1x ./scripts/vm
func BenchmarkCost(b *testing.B) {
	for _, load := range []struct {
		name  string
		files []payload
	}{
		{"300-small", many(300, 10_000)},
		{"3-large", []payload{{"distdir/a.tar", 16 << 20, 1}, {"distdir/b.tar", 16 << 20, 2},
			{"distdir/c.tar", 16 << 20, 3}}},
	} {
		for _, f := range []flavour{flavours[1], flavours[3], flavours[4]} {
			b.Run(load.name+"/"+f.name, func(b *testing.B) {
				m := borrow(b)
				for b.Loop() {
					copied := cost(b, m, f, load.files, copyScript)
					bare := cost(b, m, f, load.files, exportCommand(program, "--no-read-back"))
					full := cost(b, m, f, load.files, exportCommand(program))
					b.ReportMetric(copied, "cp-s")
					b.ReportMetric(bare, "export-s")
					b.ReportMetric(full, "export+readback-s")
					b.ReportMetric(bare/copied, "export/cp")
					b.ReportMetric(full/copied, "export+readback/cp")
				}
			})
		}
	}
}

// many are packages of about so many bytes in a dozen of categories.
func many(n, size int) []payload {
	var files []payload
	for i := range n {
		files = append(files, payload{fmt.Sprintf("pkgdir/cat-%c/package-with-a-name-%d.tbz2",
			'a'+i%12, i), size, uint64(i)})
	}
	return files
}

var copyScript = wire.Command{Argv: []string{"/bin/sh", "-ec", "cp -r " + hostPkgdir + " " +
	hostDistdir + " " + drive + "; sync"}}

// cost is the seconds that a command takes on a fresh drive.
func cost(b *testing.B, m *vm.Machine, f flavour, files []payload, c wire.Command) float64 {
	b.Helper()
	f.mib = 256
	s := newStick(b, m, f)
	s.WriteBytes, s.ReadBytes = 20e6, 30e6
	must[string](b)(m.Sh(b.Context(), "rm -rf "+hostState+"; mkdir -p "+hostState))
	furnish(b, m, files)
	s.plug(false)
	r := must[wire.Result](b)(m.Run(b.Context(), c))
	if r.Code != 0 {
		b.Fatalf("%s ended with %d: %s", strings.Join(c.Argv, " "), r.Code, r.Stderr)
	}
	s.unplug()
	return float64(r.Millis) / 1000
}
