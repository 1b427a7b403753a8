package doctor

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"pkgsneak/sync/cpu"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/portage"
)

// hostRules look at the settings of a machine that makes packages which others can use.
type hostRules struct {
	*facts
	*findings
}

func (e *hostRules) check() {
	e.buildpkg()
	e.march()
	e.hostCPUFlags()
	e.format()
	e.signing()
	e.key()
	judgeAuto(e.facts, e.findings)
}

func (e *hostRules) buildpkg() {
	on, known := e.s.HasFeature("buildpkg")
	if on || !known && len(e.s.Files) == 0 || e.opts.on(optBuildpkg) {
		return
	}
	e.tell(Finding{Topic: "buildpkg", Weight: Broken, Role: Host, What: "FEATURES has no buildpkg",
		Why: "emerge throws away what it compiled, and there is nothing new to export",
		Fix: []Fix{inConf(e.s, "FEATURES", add("FEATURES", "buildpkg")),
			{Do: "and once, for what is installed already: run",
				Lines: []string{`quickpkg --include-config=y "*/*"`}}}})
}

// The variables that tell compilers for which CPU to build.
var flagVariables = []string{"COMMON_FLAGS", "CFLAGS", "CXXFLAGS", "FFLAGS", "FCFLAGS", "RUSTFLAGS"}

// march looks for compiler flags that tie packages to a CPU.
func (e *hostRules) march() {
	arch := architecture(e.s)
	x86 := arch == "amd64" || arch == "x86"
	var specific []Finding
	for _, key := range flagVariables {
		value := e.s.Get(key)
		if key != "COMMON_FLAGS" && value != "" && value == e.s.Get("COMMON_FLAGS") {
			continue // it has ${COMMON_FLAGS}
		}
		c := cpu.ParseFlags(value, x86)
		if key == "COMMON_FLAGS" && !e.usesCommonFlags() {
			continue
		}
		if f, ok := e.judgeFlags(key, value, c, arch); ok {
			specific = append(specific, f)
		}
	}
	for i, f := range specific {
		if i > 0 && f.Weight == specific[0].Weight && f.Why == specific[0].Why {
			specific[0].Fix = append(specific[0].Fix, f.Fix...)
			specific[0].What += "; " + f.What
			continue
		}
		if i > 0 {
			e.tell(f)
		}
	}
	if len(specific) > 0 {
		e.tell(specific[0])
	}
}

// usesCommonFlags tells whether COMMON_FLAGS, which only make.conf itself has, is the value of one
// of the real variables.
func (e *hostRules) usesCommonFlags() bool {
	common := e.s.Get("COMMON_FLAGS")
	return common != "" && (e.s.Get("CFLAGS") == common || e.s.Get("CXXFLAGS") == common)
}

// judgeFlags reports whether packages that are built with these flags run on other CPUs of the
// architecture.
func (e *hostRules) judgeFlags(key, value string, c cpu.Flags, arch string) (Finding, bool) {
	x86 := arch == "amd64" || arch == "x86"
	f := Finding{Topic: "march", Weight: Wrong, Role: Host}
	needs, isKnown := c.Needs()
	switch {
	case c.Native:
		f.What = key + " has -march=native"
		if key == "RUSTFLAGS" {
			f.What = key + " has target-cpu=native"
		}
		f.Why = "packages run on this very CPU and its like only; elsewhere they end with \"Illegal instruction\", and a glibc or python like that can leave the machine unusable"
	case x86 && c.Generic(arch):
		return f, false
	case x86 && len(needs) == 0 && isKnown:
		return f, false
	case x86 && c.Level():
		f.Weight, f.What = Note, fmt.Sprintf("%s is for %s", key, c.Name)
		f.Why = "made for sharing, but cannot run on: " + cpu.LackedBy(needs)
	case x86 && isKnown:
		f.What = fmt.Sprintf("%s is for one family of CPUs (%s)", key, strings.Join(c.Said(), " "))
		f.Why = "packages cannot run on: " + cpu.LackedBy(needs)
	case x86:
		f.What = fmt.Sprintf("%s is for one family of CPUs (%s)", key, strings.Join(c.Said(), " "))
		f.Why = "packages may not run on any other"
	case c.Name == "" || strings.HasPrefix(c.Name, "armv") || strings.HasPrefix(c.Name, "rv"):
		return f, false // a level of the architecture
	default:
		f.What = fmt.Sprintf("%s is for one CPU (%s)", key, c.Name)
		f.Why = "packages may not run on others of the same architecture"
	}
	f.Fix = []Fix{inConf(e.s, key, assign(key, generic(key, value, arch)))}
	if f.Weight == Note {
		f.Fix = nil
	}
	return f, true
}

// genericName is the CPU for which all machines of an architecture can share packages; "" is the
// compiler's own choice.
var genericName = map[string]string{"amd64": "x86-64", "x86": "i686", "arm64": "armv8-a"}

// generic returns flags without what ties them to a CPU, for any CPU of the architecture.
func generic(key, value, arch string) string {
	x86 := arch == "amd64" || arch == "x86"
	words := strings.Fields(value)
	var rest []string
	for i, w := range words {
		_, rust := cpu.RustCPU(words, i)
		one := cpu.ParseFlags(w, x86)
		switch {
		case rust:
			if words[i] == strings.TrimPrefix(words[i], "-C") { // "-C" stands alone before it
				rest = rest[:len(rest)-1]
			}
		case strings.HasPrefix(w, "-march="), strings.HasPrefix(w, "-mcpu="),
			len(one.Extra)+len(one.Off) > 0, w == "-mtune=native":
		default:
			rest = append(rest, w)
		}
	}
	if name := genericName[arch]; name != "" && key != "RUSTFLAGS" {
		rest = append([]string{"-march=" + name}, rest...)
		if arch == "amd64" && !slices.ContainsFunc(rest, func(w string) bool {
			return strings.HasPrefix(w, "-mtune=")
		}) {
			rest = slices.Insert(rest, 1, "-mtune=generic")
		}
	}
	return strings.Join(rest, " ")
}

// hostCPUFlags looks for CPU_FLAGS_X86 beyond what CFLAGS promise: ebuilds build whole files for
// them.
func (e *hostRules) hostCPUFlags() {
	arch := architecture(e.s)
	if arch != "amd64" && arch != "x86" {
		return
	}
	c := cpu.ParseFlags(e.s.Get("CFLAGS"), true)
	promised, _ := cpu.MarchFeatures("x86-64")
	// a family that is told above promises nothing to others
	if more, ok := c.Needs(); ok && c.Level() {
		for _, f := range more {
			promised[f] = true
		}
	}
	promised["mmxext"] = true // part of sse
	var beyond, keep, needs []string
	for _, flag := range strings.Fields(e.s.Get("CPU_FLAGS_X86")) {
		feature := cpu.FromUse([]string{flag})
		if len(feature) > 0 && !promised[feature[0]] {
			beyond, needs = append(beyond, flag), append(needs, feature...)
		} else {
			keep = append(keep, flag)
		}
	}
	if len(beyond) == 0 {
		return
	}
	e.tell(Finding{Topic: "cpu-flags", Weight: Wrong, Role: Host,
		What: "CPU_FLAGS_X86 has more than CFLAGS promise: " + strings.Join(beyond, " "),
		Why: "ebuilds turn these into code for that CPU; it cannot run on: " +
			cpu.LackedBy(needs), Fix: []Fix{cpuFlagsFix(e.s, keep)}})
}

// cpuFlagsFix reports where CPU_FLAGS_X86 is to be changed: in make.conf if it is set there, which
// wins, else in the line of package.use that sets it.
func cpuFlagsFix(s *portage.Settings, words []string) Fix {
	const key = "CPU_FLAGS_X86"
	line := "*/* " + key + ": -* " + strings.Join(words, " ")
	lines, _ := s.PackageLines("package.use")
	for _, l := range slices.Backward(lines) {
		if s.InMakeConf(s.Sources[key]) {
			break
		}
		if l.Atom == "*/*" && slices.ContainsFunc(l.Words, func(w string) bool {
			return strings.HasPrefix(strings.TrimPrefix(w, "-"), "cpu_flags_x86_")
		}) {
			return Fix{Do: fmt.Sprintf("instead of line %d", l.Line), File: l.Path,
				Lines: []string{line}}
		}
	}
	return inConf(s, key, assign(key, strings.Join(words, " ")))
}

// format looks for packages that this machine makes and others cannot read.
func (e *hostRules) format() {
	format := e.s.Get("BINPKG_FORMAT")
	compress, set := e.s.Lookup("BINPKG_COMPRESS")
	switch format {
	case "", "gpkg", "xpak":
	default:
		e.tell(Finding{Topic: "format", Weight: Broken, Role: Host,
			What: fmt.Sprintf("BINPKG_FORMAT=%q is no format",
				format),
			Why: "Portage knows gpkg and xpak, and makes no package with anything else",
			Fix: []Fix{inConf(e.s, "BINPKG_FORMAT", assign("BINPKG_FORMAT", "gpkg"))}})
	}
	f := Finding{Topic: "compress", Role: Host,
		Fix: []Fix{inConf(e.s, "BINPKG_COMPRESS", assign("BINPKG_COMPRESS", "zstd"))}}
	isGPKG := format == "gpkg"
	switch {
	case !set:
		return
	case (compress == "" || compress == "none") && isGPKG:
		f.Weight, f.What = Broken, fmt.Sprintf("BINPKG_COMPRESS=%q with BINPKG_FORMAT=gpkg",
			compress)
		f.Why = "a machine with another BINPKG_COMPRESS cannot read such packages, and one of them ends the indexing of all; they are not exported"
	case (compress == "lzip" || compress == "lzop") && isGPKG:
		f.Weight, f.What = Broken, fmt.Sprintf("BINPKG_COMPRESS=%q with BINPKG_FORMAT=gpkg",
			compress)
		f.Why = "pkgsneak cannot read such packages and does not export them; clients need " +
			compress + " to read even what is in them"
	case compress == "lz4" || compress == "lzip" || compress == "lzop":
		f.Weight, f.What = Wrong, fmt.Sprintf("BINPKG_COMPRESS=%q", compress)
		f.Why = "every client must have app-arch/" + compress +
			" before its first package; it is not part of @system"
	case compress == "" || compress == "none" ||
		slices.Contains([]string{"bzip2", "gzip", "xz", "zstd"}, compress):
		return
	default:
		f.Weight, f.What, f.Why = Broken, fmt.Sprintf("BINPKG_COMPRESS=%q is no compression",
			compress), "Portage knows bzip2, gzip, lz4, lzip, lzop, xz and zstd"
	}
	e.tell(f)
}

func (e *hostRules) signing() {
	if on, _ := e.s.HasFeature("binpkg-signing"); on {
		e.tell(Finding{Topic: "signing", Weight: Note, Role: Host,
			What: "FEATURES has binpkg-signing",
			Why:  "emerge refuses a signed package where the signer's key is not in /etc/portage/gnupg; pkgsneak's own signature is another one",
			Fix: []Fix{{Do: "on each client, if it has no such key: at the end of make.conf",
				File: "", Lines: []string{add("FEATURES", "binpkg-ignore-signature")}}}})
	}
}

// key looks for the key with which exports are signed.
func (e *hostRules) key() {
	if e.st == nil {
		return
	}
	names := e.st.Origins()
	if e.own != nil {
		if err := e.own.Check(e.now); err != nil {
			e.tell(Finding{Topic: "key", Weight: Broken, Role: Host,
				What: fmt.Sprintf("the signing key: %v",
					err), Why: "no client takes an export that is signed with it",
				Fix: []Fix{run("pkgsneak key --help")}})
		}
	}
	path := e.m.StateDir + "/signing.asc"
	switch fi, err := os.Lstat(path); {
	case !e.hasKey && len(names) > 0:
		e.tell(Finding{Topic: "key", Weight: Broken, Role: Host,
			What: fmt.Sprintf("this machine has exported as %s, and its signing key is gone",
				some(names)),
			Why: "the next export makes another key, which no client trusts; a copy of the old one spares a walk to each of them", Fix: []Fix{run("pkgsneak key import FILE")}})
	case !e.hasKey:
		e.tell(Finding{Topic: "key", Weight: Note, Role: Host, What: "there is no signing key yet",
			Why: "the first export makes one", Fix: []Fix{run("pkgsneak key generate")}})
	case err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0:
		e.tell(Finding{Topic: "key", Weight: Wrong, Role: Host,
			What: fmt.Sprintf("the signing key can be read by others (mode %04o)",
				fi.Mode().Perm()),
			Why: "whoever reads it can sign packages that all clients install",
			Fix: []Fix{run("chmod 600 " + fault.Quote(path))}})
	}
}
