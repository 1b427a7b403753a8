package cpu

import (
	"strings"
	"testing"
)

func TestPackageNeeds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cflags, cxxflags, rustflags, use, native string
		hard, soft                               string
	}{
		{"-O2 -pipe -march=x86-64", "", "", "ssl cpu_flags_x86_sse2", "", "", ""},
		{"-march=x86-64-v2", "", "", "", "", "pni popcnt sse4_1 sse4_2 ssse3", "cx16"},
		{"-O2", "-O2 -mavx2", "", "", "", "avx2", ""},
		{"-O2", "", "-C target-cpu=haswell", "", "",
			"abm avx avx2 bmi1 bmi2 f16c fma movbe pni popcnt sse4_1 sse4_2 ssse3",
			"cx16 pclmulqdq"},
		{"-O2", "", "", "cpu_flags_x86_avx512f cpu_flags_x86_aes cpu_flags_x86_sse3", "",
			"avx512f pni", "aes"},
		{"-march=native", "", "", "", "avx2 aes sse2 whatever", "avx2", "aes"},
		{"-march=native", "", "", "", "", "", ""},
		// the host's CPU proves nothing about a package that is for all
		{"-O2", "", "", "", "avx2", "", ""},
	} {
		n := PackageNeeds(tt.cflags, tt.cxxflags, tt.rustflags, tt.use, strings.Fields(tt.native))
		if h, s := strings.Join(n.Hard, " "), strings.Join(n.Soft, " "); h != tt.hard ||
			s != tt.soft {
			t.Errorf("%+v: hard %q, soft %q", tt, h, s)
		}
		if n.Native != strings.Contains(tt.cflags, "native") {
			t.Errorf("%+v: native %v", tt, n.Native)
		}
	}
	if n := PackageNeeds("-march=quantum9", "-march=quantum9", "", "", nil); strings.Join(n.Odd,
		" ") != "quantum9" {
		t.Errorf("an unknown CPU: %+v", n)
	}
	if got := strings.Join(Judged(map[string]bool{"avx2": true, "fpu": true, "aes": true}),
		" "); got != "aes avx2" {
		t.Errorf("judged: %q", got)
	}
}
