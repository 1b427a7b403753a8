package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/cpu"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
)

// Sampled is how many packages of a drive are read for their CFLAGS without Options.Deep: a few
// seconds on a slow drive, and nearly sure to meet what a host does to all of them.
const Sampled = 100

// cpuUse returns the words of CPU_FLAGS_X86 with which a package was built and that mean something
// to it.
func cpuUse(entry pkgindex.Entry) []string {
	const prefix = "cpu_flags_x86_"
	iuse := map[string]bool{}
	for _, w := range strings.Fields(entry.Get("IUSE")) {
		iuse[strings.TrimLeft(w, "+-")] = true
	}
	var words []string
	for _, flag := range strings.Fields(entry.Get("USE")) {
		if w, ok := strings.CutPrefix(flag, prefix); ok && iuse[flag] {
			words = append(words, w)
		}
	}
	return words
}

// cpu names the packages that need another CPU than this one.
func (x *comparer) cpu(ctx context.Context) error {
	arch := architecture(x.s)
	if arch != "amd64" && arch != "x86" || len(x.entries) == 0 {
		return nil
	}
	if x.have == nil {
		x.unknown("this machine's CPU: /proc/cpuinfo does not tell")
		return nil
	}
	t := &cpuTally{have: x.have, reasons: map[string][]string{}}
	for _, entry := range x.entries {
		t.needs(entry.CPV(), cpu.FromUse(cpuUse(entry)), "CPU_FLAGS_X86")
	}
	if err := x.readFlags(ctx, t); err != nil {
		return err
	}
	x.tellCPU(t)
	return nil
}

// cpuTally collects what packages need and this CPU has not.
type cpuTally struct {
	have    map[string]bool
	reasons map[string][]string // CPV -> what it needs
	native  []string            // built with -march=native
	odd     []string            // for a CPU whose name is not known here
}

func (t *cpuTally) needs(name string, features []string, why string) {
	if missing := cpu.Lacks(features, t.have); len(missing) > 0 {
		t.reasons[name] = append(t.reasons[name],
			fmt.Sprintf("%s: %s", why, strings.Join(missing, " ")))
	}
}

// flags judges the compiler flags of one package.
func (t *cpuTally) flags(p *binpkg.Package) {
	name := p.Category + "/" + p.PF
	seen := map[string]bool{}
	for _, key := range []string{"CFLAGS", "CXXFLAGS"} {
		c := cpu.ParseFlags(p.Get(key), true)
		features, ok := c.Needs()
		why := strings.Join(c.Said(), " ")
		switch {
		case seen[why]:
			continue
		case c.Native:
			t.native = append(t.native, name)
		case !ok:
			t.odd = append(t.odd, name+" ("+why+")")
		}
		seen[why] = true
		t.needs(name, features, why)
		if c.Native {
			return
		}
	}
}

// readFlags reads the metadata of packages on the drive.
func (x *comparer) readFlags(ctx context.Context, t *cpuTally) error {
	items := x.gen.Packages()
	if n := len(items); n > Sampled && !x.o.Deep {
		var some []layout.Item
		for i := range Sampled {
			some = append(some, items[i*n/Sampled])
		}
		items = some
		x.unknown("CFLAGS of %d of %d packages of origin %q: --deep reads them all", n-Sampled,
			n, x.c.Origin)
	}
	root, err := os.OpenRoot(filepath.Join(x.o.Drive, layout.TreeDir, x.gen.Dir))
	if err != nil {
		return err
	}
	defer root.Close()
	bad := 0
	for i, it := range items {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if x.o.Watch != nil {
			x.o.Watch(progress.Event{Phase: progress.PhaseScan, Path: it.Path, Files: i,
				FilesTotal: len(items)})
		}
		p, err := readStored(root, it)
		if err != nil {
			bad++
			continue
		}
		x.c.Read++
		t.flags(p)
	}
	if bad > 0 {
		x.unknown("%s of origin %q cannot be read: pkgsneak verify %s", plural(bad, "package"),
			x.c.Origin, x.driveWord())
	}
	return nil
}

// readStored reads the metadata of a package as it lies on the drive.
func readStored(root *os.Root, it layout.Item) (*binpkg.Package, error) {
	var r joined
	defer r.close()
	for _, part := range it.Stored {
		f, err := durable.OpenFile(root, filepath.FromSlash(part.Path),
			os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		r.parts = append(r.parts, storedPart{f, part.Size})
		if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() != part.Size {
			return nil, errors.Join(err, fs.ErrInvalid)
		}
	}
	return binpkg.Read(&r, it.Size, it.Path)
}

// joined is a file that lies in parts.
type joined struct{ parts []storedPart }

type storedPart struct {
	f    *os.File
	size int64
}

func (j *joined) close() {
	for _, p := range j.parts {
		p.f.Close()
	}
}

// ReadAt reads across the parts.
func (j *joined) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	for _, p := range j.parts {
		if off >= p.size {
			off -= p.size
			continue
		}
		k := int(min(int64(len(b)-n), p.size-off))
		m, err := p.f.ReadAt(b[n:n+k], off)
		n += m
		if m < k {
			return n, err
		}
		if off = 0; n == len(b) {
			return n, nil
		}
	}
	return n, io.EOF
}

func (x *comparer) tellCPU(t *cpuTally) {
	if len(t.reasons) > 0 {
		var names []string
		for name, why := range t.reasons {
			names = append(names, name+" ("+strings.Join(why, "; ")+")")
		}
		slices.Sort(names)
		x.differ(Difference{What: "CPU", Origin: x.gen.Record.CFLAGS, Here: "lacks what they need",
			Packages: len(names)}, Finding{Topic: "cpu", Weight: Broken, Role: Client,
			What: x.ofOrigin(names, "built for a CPU with more than this one has"),
			Why:  "they end with \"Illegal instruction\"; glibc or python can leave the machine unusable", Names: names, Fix: []Fix{otherCPU()}})
	}
	if len(t.odd) > 0 {
		x.unknown("whether %s of origin %q run on this CPU: %s", plural(len(t.odd), "package"),
			x.c.Origin, some(t.odd))
	}
	x.tellNative(t)
}

// tellNative judges packages that were built for the origin's own CPU by what the origin states of
// it.
func (x *comparer) tellNative(t *cpuTally) {
	if len(t.native) == 0 {
		return
	}
	f := Finding{Topic: "cpu", Weight: Wrong, Role: Client,
		What: x.ofOrigin(t.native, "built with -march=native, for the build host's own CPU"),
		Why:  "whether they run on this one is not written anywhere", Names: t.native,
		Fix: []Fix{otherCPU()}}
	theirs := cpu.FromUse(strings.Fields(x.header.Get("CPU_FLAGS_X86")))
	if len(theirs) == 0 {
		for _, flag := range strings.Fields(x.header.Get("USE")) {
			if w, ok := strings.CutPrefix(flag, "cpu_flags_x86_"); ok {
				theirs = append(theirs, cpu.FromUse([]string{w})...)
			}
		}
	}
	here := "not known"
	if missing := cpu.Lacks(theirs, x.have); len(missing) > 0 {
		here = "lacks " + strings.Join(missing, " ")
		f.Weight, f.Why = Broken, "that CPU has what this one has not: "+strings.Join(missing,
			" ")+"; programs end with \"Illegal instruction\""
	}
	x.differ(Difference{What: "CPU", Origin: "-march=native", Here: here,
		Packages: len(t.native)}, f)
}

func otherCPU() Fix {
	return Fix{Do: "on the build host, then build them again: in make.conf",
		Lines: []string{`CFLAGS="-march=x86-64 -mtune=generic -O2 -pipe"`,
			`CPU_FLAGS_X86="mmx mmxext sse sse2"`}}
}
