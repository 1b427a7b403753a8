package forecast

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/cpu"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/resolve"
)

// Candidate is a binary package that is here, or that an import would bring.
type Candidate struct {
	Entry pkgindex.Entry // with CHOST and REPO in it
	// Facts are the origin's of it; the zero value is nothing.
	Facts layout.PackageFacts
}

func (c *Candidate) pkg() resolve.Package {
	p := resolve.FromKeys(c.Entry.Get)
	p.Installed = c.Facts.Installed
	return p
}

// GateOptions states what is let in all the same.
type GateOptions struct {
	AnyCPU     bool // packages for another CPU
	AnyArch    bool // packages for another machine
	RespectUse bool // packages with other USE than this machine sets stay out
}

// Judge makes the judgements of one machine, for one goroutine at a time.
type Judge struct {
	m       *Machine
	a       *acceptance
	o       GateOptions
	byFlags map[needsKey]cpu.Needs // most packages of an origin were built with the same flags
}

// NewJudge returns what judges packages for a machine.
func NewJudge(m *Machine, o GateOptions) *Judge {
	return &Judge{m: m, a: newAcceptance(m), o: o, byFlags: make(map[needsKey]cpu.Needs)}
}

// Origin reports why none of the packages of an origin with this ARCH and CHOST can be used here,
// "" if that is not so.
func (j *Judge) Origin(arch, chost string) string {
	if j.o.AnyArch {
		return ""
	}
	theirs, ours := arch, j.m.ARCH
	if theirs == "" || ours == "" {
		theirs, ours = ArchOf(chost), ArchOf(j.m.CHOST)
	}
	if theirs != "" && ours != "" && theirs != ours && !j.hostAccepted(chost) {
		return fmt.Sprintf("its packages are for %s, this machine is %s", theirs, ours)
	}
	if chost != "" && !j.a.acceptsHost(chost) {
		return fmt.Sprintf("its packages are for the CHOST %s, this machine has %s",
			chost, j.m.CHOST)
	}
	return ""
}

// hostAccepted reports whether the machine's owner named a foreign CHOST in ACCEPT_CHOSTS.
func (j *Judge) hostAccepted(chost string) bool {
	return chost != "" && chost != j.m.CHOST && j.a.hosts != nil && j.a.hosts.MatchString(chost)
}

// ArchOf is the architecture of a CHOST, in Portage's words; "" if there is none.
func ArchOf(chost string) string {
	switch name, _, _ := strings.Cut(chost, "-"); {
	case name == "x86_64":
		return "amd64"
	case len(name) == 4 && name[0] == 'i' && strings.HasSuffix(name, "86"):
		return "x86"
	case name == "aarch64":
		return "arm64"
	default:
		return name
	}
}

// Package reports why a package can never be used on this machine as it is: its CPU, its machine,
// its Portage. The zero value is: it can. A mask of the configuration can be taken away, and is not
// judged here.
func (j *Judge) Package(c *Candidate) resolve.Reason {
	if r := j.Readable(c); r.Kind != resolve.Acceptable {
		return r
	}
	if chost := c.Entry.Get("CHOST"); !j.o.AnyArch && !j.a.acceptsHost(chost) {
		return resolve.Reason{Kind: resolve.Machine, Text: chost}
	}
	if j.o.AnyCPU || j.m.CPU == nil || j.m.ARCH != "" && j.m.ARCH != "amd64" && j.m.ARCH != "x86" {
		return resolve.Reason{}
	}
	if missing := cpu.Lacks(j.needs(c).Hard, j.m.CPU); len(missing) > 0 {
		return resolve.Reason{Kind: resolve.CPU, Text: strings.Join(missing, " ")}
	}
	return resolve.Reason{}
}

// KindNames counts by the names of kinds for programs, nil if nothing is counted.
func KindNames(counts map[resolve.ReasonKind]int) map[string]int {
	var named map[string]int
	for k, n := range counts {
		if n > 0 {
			if named == nil {
				named = make(map[string]int)
			}
			named[kindNames[k]] = n
		}
	}
	return named
}

// Readable judges what the installed Portage can read: its EAPI, and whether it has GPKG.
func (j *Judge) Readable(c *Candidate) resolve.Reason {
	if format, _ := binpkg.FormatOf(path.Base(c.Entry.Path())); j.m.NoGPKG &&
		format == binpkg.GPKG {
		return resolve.Reason{Kind: resolve.Unreadable, Text: "the format GPKG"}
	}
	eapi := c.Entry.Get("EAPI")
	if n, ok := number(eapi); j.m.EAPI > 0 && (!ok || n > j.m.EAPI) {
		return resolve.Reason{Kind: resolve.Unreadable, Text: "EAPI " + eapi}
	}
	return resolve.Reason{}
}

func number(s string) (n int, ok bool) {
	if s == "" || len(s) > 6 {
		return 0, s == ""
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// needsKey is what decides on which processors a package runs.
type needsKey struct {
	flags layout.Flags
	use   string // words of CPU_FLAGS_X86
}

// maxNeeds bounds what is remembered; then it is begun anew.
const maxNeeds = 1000

func (j *Judge) needs(c *Candidate) cpu.Needs {
	key := needsKey{use: cpuUse(c.Entry)}
	if c.Facts.Flags != nil {
		key.flags = *c.Facts.Flags
	}
	n, known := j.byFlags[key]
	if !known {
		f := &key.flags
		n = cpu.PackageNeeds(f.CFLAGS, f.CXXFLAGS, f.RUSTFLAGS, key.use, strings.Fields(f.Native))
		if len(j.byFlags) >= maxNeeds {
			clear(j.byFlags)
		}
		j.byFlags[key] = n
	}
	return n
}

// cpuUse returns the words of CPU_FLAGS_X86 that mean something to a package.
func cpuUse(e pkgindex.Entry) string {
	const prefix = "cpu_flags_"
	use := e.Get("USE")
	if !strings.Contains(use, prefix) {
		return ""
	}
	iuse := map[string]bool{}
	for w := range strings.FieldsSeq(e.Get("IUSE")) {
		iuse[strings.TrimLeft(w, "+-")] = true
	}
	var words []string
	for w := range strings.FieldsSeq(use) {
		if strings.HasPrefix(w, prefix) && iuse[w] {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// splitUsr reports that a candidate was built for the other layout of /usr than this machine has,
// "" if none was.
func splitUsr(m *Machine, list []Candidate) string {
	if !m.SplitUsr && !m.MergedUsr {
		return ""
	}
	split, merged := 0, 0
	for i := range list {
		e := list[i].Entry
		if !slices.ContainsFunc(strings.Fields(e.Get("IUSE")), func(w string) bool {
			return strings.TrimLeft(w, "+-") == "split-usr"
		}) {
			continue
		}
		if slices.Contains(strings.Fields(e.Get("USE")), "split-usr") {
			split++
		} else {
			merged++
		}
	}
	switch {
	case m.SplitUsr && merged > split:
		return "the packages are built for a system where /bin, /sbin and /lib are links into /usr; here they are directories: " +
			"run merge-usr (sys-apps/merge-usr) before anything else is installed"
	case m.MergedUsr && split > merged:
		return "the packages are built for a system where /bin, /sbin and /lib are directories; here they are links into /usr, " +
			"and there is no way back: let the build host use this machine's profile"
	}
	return ""
}

// KindName is the kind of a reason for programs.
func KindName(k resolve.ReasonKind) string { return kindNames[k] }

// kindNames are the kinds of reasons for programs.
var kindNames = map[resolve.ReasonKind]string{resolve.Keyword: "keyword",
	resolve.License: "license", resolve.Mask: "mask", resolve.Machine: "machine",
	resolve.Unreadable: "portage", resolve.Invalid: "invalid", resolve.CPU: "cpu",
	resolve.OtherUse: "use"}
