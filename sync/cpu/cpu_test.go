package cpu

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestParseFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flags   string
		generic bool // for amd64
		native  bool
		needs   string // some of what it needs
	}{
		{"", true, false, ""},
		{"-O2 -pipe", true, false, ""},
		{"-mtune=native -O2", true, false, ""},
		{"-mtune=generic -march=x86-64 -mfpmath=sse -m64 -mcmodel=large", true, false, ""},
		{"-march=native", false, true, ""},
		{"-march=native -march=x86-64", true, false, ""},
		{"-march=haswell", false, false, "avx2 bmi2 fma movbe pclmulqdq"},
		{"-march=znver4", false, false, "avx512vl avx512_vnni sha_ni sse4a vaes"},
		{"-march=k8", false, false, "3dnow 3dnowext"},
		{"-march=haswell -mno-avx2 -mno-fma", false, false, "avx bmi2"},
		{"-O2 -msse4.2 -mavx512vnni -msse3 -mlzcnt", false, false, "abm avx512_vnni pni sse4_2"},
		{"-mcpu=i486", true, false, ""}, // tunes, on x86
		{"-C target-cpu=native", false, true, ""},
		{"-C opt-level=3 -Ctarget-cpu=skylake", false, false, "avx2"},
	} {
		c := ParseFlags(tt.flags, true)
		needs, ok := c.Needs()
		if c.Generic("amd64") != tt.generic || c.Native != tt.native || !ok {
			t.Errorf("%q: %+v, generic %v", tt.flags, c, c.Generic("amd64"))
		}
		for _, f := range strings.Fields(tt.needs) {
			if !slices.Contains(needs, f) {
				t.Errorf("%q needs %q, not %q", tt.flags, needs, f)
			}
		}
		if slices.Contains(needs, "fma") && strings.Contains(tt.flags, "-mno-fma") ||
			tt.needs == "" && len(needs) > 0 {
			t.Errorf("%q needs %q", tt.flags, needs)
		}
	}
	if _, ok := ParseFlags("-march=quantum9", true).Needs(); ok {
		t.Error("an unknown CPU is known")
	}
	if c := ParseFlags("-mcpu=cortex-a72 -march=armv8-a", false); c.Name != "armv8-a" ||
		c.Generic("arm64") {
		t.Errorf("arm: %+v", c)
	}
}

// The levels are the psABI's, as Linux names the features (arch/x86/Kconfig.cpu, glibc's x86-64-v*
// and /proc/cpuinfo).
func TestLevels(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"x86-64-v2": "cmov cx16 mmx pni popcnt sse sse2 sse4_1 sse4_2 ssse3",
		"x86-64-v3": "abm avx avx2 bmi1 bmi2 cmov cx16 f16c fma mmx movbe pni popcnt sse sse2 sse4_1 sse4_2 ssse3",
	} {
		set, ok := MarchFeatures(name)
		var got []string
		for f := range set {
			got = append(got, f)
		}
		if slices.Sort(got); !ok || strings.Join(got, " ") != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, text := range marchText {
		for _, w := range strings.Fields(text) {
			if _, isName := marchText[w]; !known[w] && !isName {
				t.Errorf("%s: %q is neither a feature nor a name", name, w)
			}
		}
		if set, _ := MarchFeatures(name); len(set) > 0 && LackedBy([]string{"avx2"}) == "" {
			t.Errorf("%s", name)
		}
	}
}

// A CPU runs what is built for it.
func TestOwnFamilyRuns(t *testing.T) {
	t.Parallel()
	cpuinfo, err := os.ReadFile("../../testdata/doctor/common/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	have := Read(cpuinfo)
	for flags, want := range map[string]string{
		"-march=sandybridge": "", "-march=x86-64-v2 -maes": "", "-march=core2": "",
		"-march=ivybridge": "f16c",
		"-march=x86-64-v3": "abm avx2 bmi1 bmi2 f16c fma movbe",
		"-march=amdfam10":  "3dnow 3dnowext abm sse4a",
	} {
		needs, _ := ParseFlags(flags, true).Needs()
		if got := strings.Join(Lacks(needs, have), " "); got != want {
			t.Errorf("%s lacks %q, want %q", flags, got, want)
		}
	}
	if got := Lacks(FromUse(strings.Fields("mmx mmxext sse3 fma3 avx pclmul whatever")),
		have); !slices.Equal(got, []string{"fma"}) {
		t.Errorf("CPU_FLAGS_X86 lack %q", got)
	}
	if Read([]byte("processor : 0\nFeatures : fp asimd\n")) != nil || Read(nil) != nil {
		t.Error("a CPU without flags has some")
	}
	two := Read([]byte("flags\t\t: sse avx\n\nflags\t\t: sse\n"))
	if two["avx"] || !two["sse"] {
		t.Errorf("two different CPUs have in common %v", two)
	}
}
