package exporter

import (
	"strconv"
	"strings"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/cpu"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
)

// builder is this machine, as the one that may have built a package.
type builder struct {
	cpu string // what its CPU can, as Linux names it; "" if that is not known
	now int64  // Unix seconds
}

func newBuilder(m machine.Machine) builder {
	return builder{strings.Join(cpu.Judged(cpu.Read(m.CPUInfo)), " "), m.Now().Unix()}
}

// buildAge is how old a package may be, in seconds, to be taken for one that was built on this very
// CPU.
const buildAge = 24 * 60 * 60

// native returns what "-march=native" meant for a package: this CPU, where the package was built a
// short while ago. An older one may have been built elsewhere, or before the CPU was another.
func (b builder) native(p *binpkg.Package, f *layout.Flags) string {
	when, err := strconv.ParseInt(p.Get("BUILD_TIME"), 10, 64)
	if f == nil || err != nil || when > b.now+buildAge || when < b.now-buildAge {
		return ""
	}
	if n := cpu.PackageNeeds(f.CFLAGS, f.CXXFLAGS, f.RUSTFLAGS, "", nil); !n.Native {
		return ""
	}
	return b.cpu
}

// factsOf is what a package states of itself.
func factsOf(path string, p *binpkg.Package, rules int, by builder) *layout.PackageFacts {
	f := &layout.PackageFacts{Path: path, Rules: rules, Flags: layout.MakeFlags(p.Get("CFLAGS"),
		p.Get("CXXFLAGS"), p.Get("RUSTFLAGS"), p.Get("USE"))}
	if n, err := strconv.ParseUint(p.Get("SIZE"), 10, 63); err == nil {
		f.Installed = int64(n)
	}
	if native := by.native(p, f.Flags); native != "" {
		f.Flags.Native = native
	}
	return f
}
