package doctor

import (
	"strings"
	"testing"

	"pkgsneak/sync/portage"
)

func TestAssignIsReadBack(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "a b", `--exclude 'a b' "c"`, `$HOME ${X} $(x)`,
		`back\slash \\ \$ end`, "ünïcode", `'`, `*/*`, `a'b"c$d\e`} {
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
		{"--usepkg-exclude 'a b' --keep-going", false, false, false,
			"--usepkg-exclude 'a b' --keep-going"},
		{`--exclude "x y"  --getbinpkg`, false, false, true, "--exclude 'x y' --getbinpkg"},
	} {
		o := parseOpts(tt.opts)
		if o.on(optUsepkg) != tt.k || o.on(optUsepkgOnly) != tt.K || o.on(optGetbinpkg) != tt.g {
			t.Errorf("%q: k %v, K %v, g %v", tt.opts, o.on(optUsepkg), o.on(optUsepkgOnly),
				o.on(optGetbinpkg))
		}
		if got := o.without(optUsepkg).String(); got != tt.without {
			t.Errorf("%q without usepkg: %q, want %q", tt.opts, got, tt.without)
		}
	}
	if v, ok := parseOpts("--binpkg-respect-use n").value(optRespect); v != "n" || !ok {
		t.Errorf("--binpkg-respect-use n: %q", v)
	}
}
