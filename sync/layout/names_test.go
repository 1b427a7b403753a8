package layout

import (
	"strings"
	"testing"

	"pkgsneak/sync/binpkg"
)

func TestNameFault(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"gcc-13.2.1_p20240210-r1-3.gpkg.tar": true, "lablib++-2.1_p3.tbz2": true,
		"with blank": true, "console.tar": true, "com": true,
		"com10": true, "a~1": false, "LONGNA~1.TAR": false, "long-name-rc~1.tar.gz": true,
		"debian_1.0~rc1.orig.tar.gz": true,
		"":                           false,
		".":                          false, "..": false, ".hidden": false, "dot.": false,
		"blank ": false, " blank": false,
		"a:b": false, "a?b": false, "a*b": false, `a"b`: false, "a<b": false, "a>b": false,
		"a|b": false, `a\b`: false, "a/b": false,
		"a\x00b": false, "a\nb": false, "a\x7fb": false, "é": false, "\xff": false,
		"con": false, "CON": false, "Con.txt": false, "nul.tar.gz": false, "aux .x": false,
		"com1": false, "LPT9.log": false, "prn": false,
		strings.Repeat("x", 255): true, strings.Repeat("x", 256): false,
	} {
		if got := nameFault(name); (got == "") != good {
			t.Errorf("%q: %q", name, got)
		}
	}
}

// A package whose name is taken follows the rule of PKGDIR: the build number after
// its own, free in both formats. Below All the category has to be known.
func TestOtherPackage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, category, want, also string }{
		{"app-misc/foo-1.0-r2.tbz2", "", "packages/app-misc/foo/foo-1.0-r2-7.xpak",
			"packages/app-misc/foo/foo-1.0-r2-7.gpkg.tar"},
		{"app-misc/foo-1.0.gpkg.tar", "", "packages/app-misc/foo/foo-1.0-7.gpkg.tar",
			"packages/app-misc/foo/foo-1.0-7.xpak"},
		{"app-misc/foo/foo-1.0-3.gpkg.tar", "", "packages/app-misc/foo/foo-1.0-10.gpkg.tar",
			"packages/app-misc/foo/foo-1.0-10.xpak"},
		{"app-misc/foo/foo-1.0-3.xpak", "", "packages/app-misc/foo/foo-1.0-10.xpak",
			"packages/app-misc/foo/foo-1.0-10.gpkg.tar"},
		{"x11/font-misc/font-misc-1.1-1.xpak", "", "packages/x11/font-misc/font-misc-1.1-8.xpak",
			"packages/x11/font-misc/font-misc-1.1-8.gpkg.tar"},
		{"All/foo-1.0.tbz2", "app-misc", "packages/app-misc/foo/foo-1.0-7.xpak",
			"packages/app-misc/foo/foo-1.0-7.gpkg.tar"},
		{"All/foo-1.0.tbz2", "", "packages/All/foo-1.0-7.tbz2", ""},
		{"app-misc/no-package.txt", "", "packages/app-misc/no-package.txt-7", ""},
		{"app-misc/a:b-1.tbz2", "", "packages/app-misc/a_b-1-7.tbz2", ""},
		{"app-misc/aux/aux-1-1.xpak", "", "packages/app-misc/_aux/aux-1-1-7.xpak", ""},
	} {
		got, also := otherPackage(tt.name, tt.category, 7)
		if got != tt.want || strings.Join(also, " ") != tt.also {
			t.Errorf("%q: %q and %q, want %q and %q", tt.name, got, also, tt.want, tt.also)
		}
		if reason := PathFault(got); reason != "" {
			t.Errorf("%q: %s", got, reason)
		}
		if n, err := binpkg.ParseName(strings.TrimPrefix(got, "packages/")); tt.also != "" &&
			(err != nil || n.InAll) {
			t.Errorf("%q: no name that Portage takes: %v", got, err)
		}
	}
}

func TestOriginNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"buildhost": "buildhost", "host.example.org": "host.example.org", "My Host": "My_Host",
		"höst": "h_st", "../../etc": "etc",
		"keys": "keys_", "Clients": "Clients_", "con": "", strings.Repeat("x",
			300): strings.Repeat("x", 64),
		"": "", "...": "", "///": "", "äö": "",
	} {
		got, err := OriginName(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "keys", "KEYS", "readme.txt", "clients",
		"a\nb", strings.Repeat("x", 74)} {
		if CheckOriginName(name) == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestFoldName(t *testing.T) {
	t.Parallel()
	for _, same := range [][2]string{{"foo", "FOO"}, {"ÄÖÜ", "äöü"}, {"k", "K"},
		{"s", "ſ"}, {"ǅ", "ǆ"}} {
		if FoldName(same[0]) != FoldName(same[1]) {
			t.Errorf("%q and %q are two", same[0], same[1])
		}
	}
	if FoldName("foo") == FoldName("föo") {
		t.Error("foo and föo are one")
	}
}
