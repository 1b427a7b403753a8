// Package cpu holds what x86 CPUs can do: the features that Linux names, what compiler flags and
// USE flags ask of them, and which CPUs lack what. It reads text that is handed in (/proc/cpuinfo,
// CFLAGS) and opens nothing.
//
// Features are called as Linux calls them in /proc/cpuinfo. Only those are in the tables that
// change what a compiler or an ebuild does: a missing name must mean a program that ends with an
// illegal instruction, not a table that has grown old.
package cpu

import (
	"maps"
	"slices"
	"strings"
)

// Flags is what a compiler was told about the CPU.
type Flags struct {
	Native bool     // -march=native and its relatives
	Name   string   // -march=NAME (x86), -march or -mcpu=NAME elsewhere, "" for none
	Extra  []string // features of single -m flags
	Off    []string // features that -mno- flags take away
}

// The flags of GCC and Clang for single features, where they are not -mNAME with the kernel's name.
var featureFlags = map[string][]string{
	"3dnowa": {"3dnowext"}, "abm": {"abm"}, "avx512bf16": {"avx512_bf16"}, "avx512bitalg": {
		"avx512_bitalg"}, "avx512fp16": {"avx512_fp16"},
	"avx512vbmi2": {"avx512_vbmi2"}, "avx512vnni": {"avx512_vnni"}, "avx512vp2intersect": {
		"avx512_vp2intersect"},
	"avx512vpopcntdq": {"avx512_vpopcntdq"}, "bmi": {"bmi1"}, "lzcnt": {"abm"}, "pclmul": {
		"pclmulqdq"}, "rdrnd": {"rdrand"}, "sha": {"sha_ni"},
	"sse3": {"pni"}, "sse4": {"sse4_1", "sse4_2"}, "sse4.1": {"sse4_1"}, "sse4.2": {"sse4_2"},
}

// useFeatures are the flags of CPU_FLAGS_X86 where they are not the kernel's names.
var useFeatures = map[string]string{"fma3": "fma", "pclmul": "pclmulqdq", "sha": "sha_ni",
	"sse3": "pni"}

// known are all features that are judged.
var known = func() map[string]bool {
	m := map[string]bool{}
	for _, f := range strings.Fields(`3dnow 3dnowext abm aes avx avx2 avx512_bf16 avx512_bitalg avx512_fp16 avx512_vbmi2 avx512_vnni
		avx512_vp2intersect avx512_vpopcntdq avx512bw avx512cd avx512dq avx512er avx512f avx512ifma avx512pf avx512vbmi avx512vl bmi1 bmi2 cmov
		cx16 f16c fma fma4 gfni mmx mmxext movbe pclmulqdq pni popcnt rdrand sha_ni sse sse2 sse4_1 sse4_2 sse4a ssse3 tbm vaes vpclmulqdq xop`) {
		m[f] = true
	}
	return m
}()

// The features that the levels of the psABI and the families have; a name in capitals is another
// line.
var marchText = map[string]string{
	"i386": "", "i486": "", "i586": "", "pentium": "", "pentiumpro": "cmov", "i686": "cmov",
	"pentium-mmx": "mmx", "winchip-c6": "mmx", "k6": "mmx", "k6-2": "mmx 3dnow",
	"k6-3": "mmx 3dnow", "geode": "mmx 3dnow 3dnowext cmov",
	"pentium2": "cmov mmx", "pentium3": "pentium2 sse", "pentium3m": "pentium3",
	"pentium-m": "pentium3 sse2", "pentium4": "pentium3 sse2",
	"pentium4m": "pentium4", "prescott": "pentium4 pni", "athlon": "cmov mmx 3dnow 3dnowext",
	"athlon-tbird": "athlon", "athlon-4": "athlon sse",
	"athlon-xp": "athlon sse", "athlon-mp": "athlon sse",
	"x86-64": "cmov mmx sse sse2", "x86-64-v2": "x86-64 pni ssse3 sse4_1 sse4_2 popcnt cx16",
	"x86-64-v3": "x86-64-v2 avx avx2 bmi1 bmi2 f16c fma abm movbe",
	"x86-64-v4": "x86-64-v3 avx512f avx512bw avx512cd avx512dq avx512vl",
	"nocona":    "x86-64 pni cx16", "core2": "nocona ssse3", "nehalem": "x86-64-v2",
	"corei7": "nehalem", "westmere": "nehalem pclmulqdq",
	"sandybridge": "westmere avx", "corei7-avx": "sandybridge", "ivybridge": "sandybridge f16c",
	"core-avx-i": "ivybridge",
	"haswell":    "ivybridge x86-64-v3", "core-avx2": "haswell", "broadwell": "haswell",
	"skylake":        "broadwell aes",
	"skylake-avx512": "skylake x86-64-v4", "skx": "skylake-avx512",
	"cascadelake": "skylake-avx512 avx512_vnni", "cooperlake": "cascadelake avx512_bf16",
	"cannonlake":     "skylake x86-64-v4 avx512vbmi avx512ifma sha_ni",
	"icelake-client": "cannonlake avx512_vbmi2 avx512_bitalg avx512_vpopcntdq avx512_vnni gfni vaes vpclmulqdq",
	"icelake-server": "icelake-client", "tigerlake": "icelake-client",
	"rocketlake": "icelake-client", "sapphirerapids": "icelake-server avx512_bf16 avx512_fp16",
	"emeraldrapids": "sapphirerapids", "graniterapids": "sapphirerapids",
	"graniterapids-d": "sapphirerapids", "diamondrapids": "sapphirerapids",
	"alderlake": "skylake sha_ni gfni vaes vpclmulqdq", "raptorlake": "alderlake",
	"meteorlake": "alderlake", "gracemont": "alderlake",
	"sierraforest": "alderlake", "grandridge": "alderlake", "clearwaterforest": "alderlake",
	"arrowlake": "alderlake", "arrowlake-s": "alderlake",
	"lunarlake": "alderlake", "pantherlake": "alderlake",
	"bonnell": "nocona ssse3 movbe", "atom": "bonnell", "silvermont": "bonnell x86-64-v2 pclmulqdq",
	"slm": "silvermont", "goldmont": "silvermont aes sha_ni",
	"goldmont-plus": "goldmont", "tremont": "goldmont gfni",
	"knl": "broadwell avx512f avx512cd avx512er avx512pf", "knm": "knl avx512_vpopcntdq",
	"k8": "x86-64 3dnow 3dnowext", "opteron": "k8", "athlon64": "k8", "athlon-fx": "k8",
	"k8-sse3": "k8 pni", "opteron-sse3": "k8-sse3",
	"athlon64-sse3": "k8-sse3", "amdfam10": "k8-sse3 sse4a abm popcnt cx16",
	"barcelona": "amdfam10",
	"btver1":    "core2 sse4a abm popcnt",
	"btver2":    "btver1 x86-64-v2 aes pclmulqdq avx f16c bmi1 movbe",
	"bdver1":    "x86-64-v2 sse4a abm aes pclmulqdq avx fma4 xop",
	"bdver2":    "bdver1 tbm f16c fma bmi1", "bdver3": "bdver2",
	"bdver4": "bdver3 avx2 bmi2 movbe",
	"znver1": "x86-64-v3 aes pclmulqdq sha_ni sse4a", "znver2": "znver1",
	"znver3": "znver2 vaes vpclmulqdq",
	"znver4": "znver3 x86-64-v4 avx512ifma avx512vbmi avx512_vbmi2 avx512_vnni avx512_bf16 avx512_bitalg avx512_vpopcntdq gfni", "znver5": "znver4 avx512_vp2intersect",
	"lujiazui": "x86-64-v2 aes pclmulqdq f16c bmi1 bmi2 movbe",
	"yongfeng": "x86-64-v3 aes pclmulqdq", "eden-x2": "x86-64 pni", "nano": "x86-64 pni ssse3",
	"nano-1000": "nano", "nano-2000": "nano", "nano-3000": "nano sse4_1", "nano-x2": "nano-3000",
	"nano-x4": "nano-3000", "c3": "mmx 3dnow",
	"c3-2": "cmov mmx sse", "c7": "c3-2 sse2 pni", "samuel-2": "c3", "nehemiah": "c3-2",
	"esther": "c7",
}

// MarchFeatures returns what code for -march=name may use.
func MarchFeatures(name string) (map[string]bool, bool) {
	text, ok := marchText[name]
	if !ok {
		return nil, false
	}
	set := map[string]bool{}
	for _, w := range strings.Fields(text) {
		if known[w] {
			set[w] = true
			continue
		}
		more, _ := MarchFeatures(w)
		maps.Copy(set, more)
	}
	return set, true
}

// ParseFlags finds what CFLAGS and their relatives state about the CPU. x86 tells how to read
// -mcpu, which only tunes there.
func ParseFlags(flags string, x86 bool) Flags {
	var c Flags
	words := strings.Fields(flags)
	for i, w := range words {
		if rust, ok := RustCPU(words, i); ok {
			c.set(rust)
			continue
		}
		switch {
		case strings.HasPrefix(w, "-march="):
			c.set(w[len("-march="):])
		case strings.HasPrefix(w, "-mcpu=") && !x86:
			c.set(w[len("-mcpu="):])
		case strings.HasPrefix(w, "-mno-") && x86:
			c.Off = append(c.Off, features(w[len("-mno-"):])...)
		case strings.HasPrefix(w, "-m") && x86:
			c.Extra = append(c.Extra, features(w[len("-m"):])...)
		}
	}
	return c
}

// RustCPU reads -C target-cpu=NAME and -Ctarget-cpu=NAME of RUSTFLAGS.
func RustCPU(words []string, i int) (string, bool) {
	w := strings.TrimPrefix(words[i], "-C")
	if w == words[i] && (i == 0 || words[i-1] != "-C") {
		return "", false
	}
	return strings.CutPrefix(w, "target-cpu=")
}

func (c *Flags) set(name string) {
	c.Native, c.Name = name == "native", name
	if c.Native || name == "generic" {
		c.Name = ""
	}
}

// features gives the kernel's names for one -m flag.
func features(flag string) []string {
	if f, ok := featureFlags[flag]; ok {
		return f
	}
	if known[flag] {
		return []string{flag}
	}
	return nil
}

// Needs is what x86 code built with these flags may use beyond what every 64-bit CPU has, sorted.
// ok is false where the name is unknown.
func (c Flags) Needs() (list []string, ok bool) {
	set, ok := map[string]bool{}, true
	if c.Name != "" {
		if set, ok = MarchFeatures(c.Name); !ok {
			set = map[string]bool{}
		}
	}
	for _, f := range c.Extra {
		set[f] = true
	}
	for _, f := range c.Off {
		delete(set, f)
	}
	base, _ := MarchFeatures("x86-64")
	for f := range base {
		delete(set, f)
	}
	return slices.Sorted(maps.Keys(set)), ok
}

// Level tells whether the flags answer no more than one of the psABI's levels, which are made for
// sharing.
func (c Flags) Level() bool {
	set, ok := MarchFeatures(c.Name)
	beyond := slices.ContainsFunc(c.Extra, func(f string) bool { return !set[f] })
	return ok && strings.HasPrefix(c.Name, "x86-64-v") && !beyond
}

// Generic x86 names run on every CPU of their architecture.
func (c Flags) Generic(arch string) bool {
	if c.Native || len(c.Extra) > 0 {
		return false
	}
	if arch == "x86" {
		switch c.Name {
		case "i386", "i486", "i586", "i686", "pentium", "pentiumpro":
			return true
		}
	}
	return c.Name == "" || c.Name == "x86-64"
}

// Lacks returns which of the features a CPU does not have.
func Lacks(needs []string, have map[string]bool) []string {
	var missing []string
	for _, f := range needs {
		if !have[f] && !(f == "mmxext" && have["sse"]) {
			missing = append(missing, f)
		}
	}
	return missing
}

// Read reads /proc/cpuinfo: the features that all CPUs have in common. nil means that it does not
// tell (not x86, or no such file).
func Read(cpuinfo []byte) map[string]bool {
	var common map[string]bool
	for line := range strings.SplitSeq(string(cpuinfo), "\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) != "flags" {
			continue
		}
		set := map[string]bool{}
		for _, f := range strings.Fields(value) {
			if common == nil || common[f] {
				set[f] = true
			}
		}
		common = set
	}
	return common
}

// FromUse turns flags of CPU_FLAGS_X86 ("avx2 fma3") into features; what is not known is left out.
func FromUse(flags []string) []string {
	var list []string
	for _, f := range flags {
		if name, ok := useFeatures[f]; ok {
			f = name
		}
		if known[f] {
			list = append(list, f)
		}
	}
	return list
}

// LackedBy reports which CPUs cannot run code that uses the features, "" if all 64-bit ones can.
func LackedBy(needs []string) string {
	has := func(names ...string) bool {
		return slices.ContainsFunc(needs, func(f string) bool { return slices.Contains(names, f) })
	}
	var who []string
	avx512 := slices.ContainsFunc(needs, func(f string) bool {
		return strings.HasPrefix(f, "avx512")
	})
	switch {
	case avx512:
		who = append(who,
			"desktop and laptop CPUs of Intel since Alder Lake (2021), most before, and AMD before Zen 4 (2022)")
	case has("vaes", "vpclmulqdq", "gfni"):
		who = append(who, "Intel before Ice Lake (2019), AMD before Zen 3 (2020)")
	case has("avx2", "bmi2"):
		who = append(who,
			"Intel before Haswell (2013), its Pentium and Celeron until about 2020, Atoms before Gracemont (2021), AMD before Excavator (2015)")
	case has("fma", "f16c", "bmi1", "avx"):
		who = append(who,
			"Intel before Sandy Bridge to Haswell (2011-2013), its Pentium, Celeron and Atom of those years, AMD before Bulldozer and Jaguar (2011-2013)")
	case has("aes", "pclmulqdq", "movbe"):
		who = append(who,
			"Intel before Westmere to Haswell (2010-2013), AMD before Bulldozer and Jaguar (2011-2013)")
	case has("sse4_1", "sse4_2", "popcnt"):
		who = append(who,
			"Intel before Nehalem (2008), Atoms before Silvermont (2013), AMD before Bulldozer and Jaguar (2011-2013)")
	case has("ssse3"):
		who = append(who, "Intel before Core 2 (2006), AMD before Bobcat and Bulldozer (2011)")
	case has("pni", "cx16", "abm"):
		who = append(who, "the first 64-bit CPUs of Intel and AMD (2003-2005)")
	}
	if has("sha_ni") {
		who = append(who, "Intel Core before Ice Lake (2019), AMD before Zen (2017)")
	}
	if has("3dnow", "3dnowext") {
		who = append(who, "every Intel, and AMD since Bobcat and Bulldozer (2011)")
	}
	if has("fma4", "xop", "tbm") {
		who = append(who, "every Intel, and AMD since Zen (2017)")
	}
	if has("sse4a") && !has("3dnow", "fma4") {
		who = append(who, "every Intel")
	}
	return strings.Join(who, "; ")
}

// Said is how the flags were written.
func (c Flags) Said() []string {
	var w []string
	if c.Name != "" {
		w = append(w, "-march="+c.Name)
	}
	return append(w, c.Extra...)
}
