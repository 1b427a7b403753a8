package forecast

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A package that lacks and could be compiled is told with the line that does it: by the ebuilds of
// the repositories here, what this machine accepts of them, and the distfiles that are here.
func TestCompile(t *testing.T) {
	const tree = "var/db/repos/gentoo/"
	files := map[string]string{}
	add := func(name, keywords, uris string) {
		category, pf, _ := strings.Cut(name, "/")
		pn := pf[:strings.LastIndex(pf, "-")]
		files[tree+category+"/"+pn+"/"+pf+".ebuild"] = "EAPI=8\n"
		files[tree+"metadata/md5-cache/"+name] = "EAPI=8\nSLOT=0\nLICENSE=GPL-2\nKEYWORDS=" +
			keywords + "\nIUSE=+doc ssl\nSRC_URI=" + uris + "\n"
	}
	add("gnome-extra/server-2", "amd64", "https://x/server-2.tar.xz")
	add("gnome-extra/server-3", "amd64",
		"https://x/server-3.tar.xz doc? ( https://x/1 -> doc-1.pdf ) !doc? ( https://x/plain )")
	add("gnome-extra/server-4", "~amd64", "https://x/server-4.tar.xz")
	add("app-misc/later-1", "amd64", "https://x/later-1.tar.xz ssl? ( https://x/ssl.patch )")
	files[tree+"app-misc/bare/bare-1.ebuild"] = "EAPI=8\n" // the cache does not tell of it
	distdir := t.TempDir()
	for _, name := range []string{"server-3.tar.xz", "doc-1.pdf"} {
		if err := os.WriteFile(filepath.Join(distdir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := small([]string{"app-misc/shell", "app-misc/later", "app-misc/bare"},
		[]map[string]any{pk("app-misc/shell-1")},
		[]map[string]any{pk("app-misc/shell-2", "RDEPEND=>=gnome-extra/server-3")})
	look := func(_ *Machine, in *Input) { in.Distdir = distdir }
	f, _ := make1(t, v, files, look)
	text := strings.Join(f.Lines(TextOptions{}), "\n")
	for _, want := range []string{
		"1 package of what lacks can be compiled here, ebuilds and distfiles are here (gnome-extra/server-3):\n  emerge -auDNk @world",
		"1 package of what lacks could be compiled, if distfiles were here (app-misc/later-1: later-1.tar.xz, ssl.patch)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
	d := f.Document("")
	if len(d.Compile) != 2 || d.Compiles != "emerge -auDNk @world" ||
		d.Compile[0].For != ">=gnome-extra/server-3" {
		t.Errorf("%+v", d.Compile)
	}
	// With a tree that is older than what is installed the line would go back.
	old := *v
	old.Installed = append(old.Installed, pk("app-misc/moved-3"))
	old.World = append(old.World, "app-misc/moved")
	add("app-misc/moved-2", "amd64", "")
	f, _ = make1(t, &old, files, look)
	if line, _, _ := f.compiles(); line != "" || !slices.Equal(f.CompileBack,
		[]string{"app-misc/moved-3"}) || f.Document("").Compiles != "" ||
		!strings.Contains(strings.Join(f.Lines(TextOptions{}), "\n"),
			"would go back with 1 package") {
		t.Errorf("%q, back %q", line, f.CompileBack)
	}
	add("app-misc/moved-3", "amd64", "")
	f, _ = make1(t, &old, files, look)
	if line, _, _ := f.compiles(); line == "" {
		t.Errorf("no line, back %q", f.CompileBack)
	}
	if err := os.Remove(filepath.Join(distdir, "doc-1.pdf")); err != nil {
		t.Fatal(err)
	}
	f, _ = make1(t, v, files, look)
	if line, _, without := f.compiles(); line != "" || len(without) != 2 {
		t.Errorf("%q %+v", line, without)
	}
}
