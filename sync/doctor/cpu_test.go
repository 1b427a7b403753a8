package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/portage"
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
		c := parseFlags(tt.flags, true)
		needs, ok := c.needs()
		if c.generic("amd64") != tt.generic || c.native != tt.native || !ok {
			t.Errorf("%q: %+v, generic %v", tt.flags, c, c.generic("amd64"))
		}
		for _, f := range strings.Fields(tt.needs) {
			if !slices.Contains(needs, f) {
				t.Errorf("%q needs %q, not %q", tt.flags, needs, f)
			}
		}
		if slices.Contains(needs, "fma") && strings.Contains(tt.flags, "-mno-fma") || tt.needs == "" && len(needs) > 0 {
			t.Errorf("%q needs %q", tt.flags, needs)
		}
	}
	if _, ok := parseFlags("-march=quantum9", true).needs(); ok {
		t.Error("an unknown CPU is known")
	}
	if c := parseFlags("-mcpu=cortex-a72 -march=armv8-a", false); c.name != "armv8-a" || c.generic("arm64") {
		t.Errorf("arm: %+v", c)
	}
}

// The levels are the psABI's, as Linux names the features (arch/x86/Kconfig.cpu, glibc's x86-64-v* and /proc/cpuinfo).
func TestLevels(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"x86-64-v2": "cmov cx16 mmx pni popcnt sse sse2 sse4_1 sse4_2 ssse3",
		"x86-64-v3": "abm avx avx2 bmi1 bmi2 cmov cx16 f16c fma mmx movbe pni popcnt sse sse2 sse4_1 sse4_2 ssse3",
	} {
		set, ok := marchFeatures(name)
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
		if set, _ := marchFeatures(name); len(set) > 0 && whoLacks([]string{"avx2"}) == "" {
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
	have := cpuFlags(cpuinfo)
	for flags, want := range map[string]string{
		"-march=sandybridge": "", "-march=x86-64-v2 -maes": "", "-march=core2": "", "-march=ivybridge": "f16c",
		"-march=x86-64-v3": "abm avx2 bmi1 bmi2 f16c fma movbe", "-march=amdfam10": "3dnow 3dnowext abm sse4a",
	} {
		needs, _ := parseFlags(flags, true).needs()
		if got := strings.Join(lacks(needs, have), " "); got != want {
			t.Errorf("%s lacks %q, want %q", flags, got, want)
		}
	}
	if got := lacks(fromUse(strings.Fields("mmx mmxext sse3 fma3 avx pclmul whatever")), have); !slices.Equal(got, []string{"fma"}) {
		t.Errorf("CPU_FLAGS_X86 lack %q", got)
	}
	if cpuFlags([]byte("processor : 0\nFeatures : fp asimd\n")) != nil || cpuFlags(nil) != nil {
		t.Error("a CPU without flags has some")
	}
	two := cpuFlags([]byte("flags\t\t: sse avx\n\nflags\t\t: sse\n"))
	if two["avx"] || !two["sse"] {
		t.Errorf("two different CPUs have in common %v", two)
	}
}

func TestAssignIsReadBack(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "a b", `--exclude 'a b' "c"`, `$HOME ${X} $(x)`, `back\slash \\ \$ end`, "ünïcode", `'`, `*/*`, `a'b"c$d\e`} {
		line := assign("KEY", value)
		got, problems := portage.ParseConf([]byte(line+"\n"), "x", portage.ConfOptions{})
		if len(got) != 1 || len(problems) > 0 || got[0].Value != value {
			t.Errorf("%q becomes %s, which is read as %+v, %v", value, line, got, problems)
		}
	}
}

func FuzzAssign(f *testing.F) {
	f.Add(`--exclude 'a b' "c" $X \\`)
	f.Add(`\'$0`)
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.Join(strings.Fields(strings.ToValidUTF8(value, "?")), " ")
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0xfeff }) {
			t.Skip()
		}
		got, _ := portage.ParseConf([]byte(assign("KEY", value)+"\n"), "x", portage.ConfOptions{})
		if len(got) != 1 || got[0].Value != value {
			t.Errorf("%q becomes %s, which is read as %+v", value, assign("KEY", value), got)
		}
	})
}

func TestEmergeOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		opts    string
		k, K, g bool
		without string // usepkg
	}{
		{"", false, false, false, ""},
		{"-avk", true, false, false, "-av"},
		{"--usepkg", true, false, false, ""},
		{"--usepkg=n", false, false, false, ""},
		{"--usepkg n --jobs 3", false, false, false, "--jobs 3"},
		{"-k n -K", false, true, false, "-K"},
		{"-k y --ask", true, false, false, "--ask"},
		{"-gK --keep-going", false, true, true, "-gK --keep-going"},
		{"--usepkg --usepkg=n", false, false, false, ""},
		{"--usepkg-exclude 'a b' --keep-going", false, false, false, "--usepkg-exclude 'a b' --keep-going"},
		{`--exclude "x y"  --getbinpkg`, false, false, true, "--exclude 'x y' --getbinpkg"},
	} {
		o := parseOpts(tt.opts)
		if o.on(optUsepkg) != tt.k || o.on(optUsepkgOnly) != tt.K || o.on(optGetbinpkg) != tt.g {
			t.Errorf("%q: k %v, K %v, g %v", tt.opts, o.on(optUsepkg), o.on(optUsepkgOnly), o.on(optGetbinpkg))
		}
		if got := o.without(optUsepkg).String(); got != tt.without {
			t.Errorf("%q without usepkg: %q, want %q", tt.opts, got, tt.without)
		}
	}
	if v, ok := parseOpts("--binpkg-respect-use n").value(optRespect); v != "n" || !ok {
		t.Errorf("--binpkg-respect-use n: %q", v)
	}
}

func TestAtoms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		atom string
		want answer
	}{
		{"dev-libs/foo", yes}, {"dev-libs/*", yes}, {"*/*", yes}, {"*/foo", yes}, {"dev-libs/fo", no}, {"=dev-libs/foo-1.2", yes},
		{"=dev-libs/foo-1.3", no}, {">=dev-libs/foo-1", maybe}, {"~dev-libs/foo-1.2", maybe}, {"=dev-libs/foo-1*", maybe}, {"dev-libs/foo:2", maybe},
		{"dev-libs/foo::gentoo", maybe}, {"<app-misc/foo-9", no}, {"dev-libs/foo[bar]", yes}, {"[", no}, {"=", no}, {"", no},
	} {
		if got := atomMatches(tt.atom, "dev-libs/foo-1.2"); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.atom, got, tt.want)
		}
	}
}

// The rules are LicenseManager's and KeywordsManager's of Portage 3.0.82.
func TestMasks(t *testing.T) {
	t.Parallel()
	groups := map[string][]string{"FREE": {"@GPL", "MIT"}, "GPL": {"GPL-2", "GPL-3", "@FREE"}}
	for _, tt := range []struct{ license, accept, masked string }{
		{"GPL-2", "* -@EULA", ""},
		{"GPL-2 MIT", "-* @FREE", ""},
		{"GPL-2 x", "-* @FREE", "x"},
		{"|| ( x GPL-3 )", "-* @FREE", ""},
		{"|| ( x ( y MIT ) )", "-* @FREE", "x y"},
		{"|| ( x ( GPL-2 MIT ) ) z", "-* @FREE", "z"},
		{"MIT", "@FREE -@FREE", "MIT"},
		{"", "-*", ""},
		{"|| ( )", "-*", ""},
		{"a ) b (", "-* a", ""}, // what is no LICENSE does no harm
	} {
		if got := strings.Join(maskedLicenses(tt.license, expandLicenses(strings.Fields(tt.accept), groups)), " "); got != tt.masked {
			t.Errorf("%q with %q: masked %q, want %q", tt.license, tt.accept, got, tt.masked)
		}
	}
	for _, tt := range []struct {
		keywords, accept string
		want             bool
	}{
		{"amd64 ~arm64", "amd64", true}, {"~amd64", "amd64", false}, {"~amd64", "amd64 ~amd64", true}, {"", "amd64 ~amd64", false}, {"", "**", true},
		{"~x86", "~*", true}, {"x86", "*", true}, {"~x86", "*", false}, {"-* ~x86", "amd64", false}, {"*", "amd64", true},
	} {
		if got := keywordsAccepted(strings.Fields(tt.keywords), strings.Fields(tt.accept)); got != tt.want {
			t.Errorf("%q with %q: %v", tt.keywords, tt.accept, got)
		}
	}
}
