package selection

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pkgsneak/sync/resolve"
)

// prefix is a client as real Portage sees it, below a folder that it takes for its prefix: the
// installed packages, a profile, and a PKGDIR with nothing but an index, which is enough for
// emerge -p.
type prefix struct{ emerge, root string }

func newPrefix(t *testing.T, emerge string, w *world) *prefix {
	t.Helper()
	p := &prefix{emerge, t.TempDir()}
	const profile = "var/db/repos/gentoo/profiles/"
	var categories []string
	for c := 'a'; c < 'a'+20; c++ {
		categories = append(categories, "cat-"+string(c))
	}
	var roots []string
	for _, a := range w.roots {
		roots = append(roots, a.CP)
	}
	for name, text := range map[string]string{
		profile + "repo_name":                      "gentoo",
		profile + "arch.list":                      "amd64",
		profile + "categories":                     strings.Join(categories, "\n"),
		profile + "eapi":                           "8",
		"var/db/repos/gentoo/metadata/layout.conf": "masters =\nthin-manifests = true\nprofile-formats = portage-2",
		profile + "default/eapi":                   "8",
		profile + "default/packages":               "",
		profile +
			"default/make.defaults": "ARCH=amd64\nACCEPT_KEYWORDS=amd64\nACCEPT_PROPERTIES=*\nACCEPT_RESTRICT=*\nACCEPT_LICENSE=*\n" +
			"CHOST=x86_64-pc-linux-gnu\nELIBC=glibc\nKERNEL=linux\nUSERLAND=GNU\nUSE_EXPAND=\"ELIBC KERNEL USERLAND\"\nUSE_EXPAND_IMPLICIT=\"ARCH ELIBC KERNEL USERLAND\"",
		"etc/portage/repos.conf": "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = " + p.root +
			"/var/db/repos/gentoo\nauto-sync = no",
		"etc/portage/make.conf": fmt.Sprintf("FEATURES=\"-sandbox -usersandbox -network-sandbox -ipc-sandbox -pid-sandbox -news\"\nPKGDIR=%q\nDISTDIR=%q\nPORTAGE_TMPDIR=%q",
			p.root+"/pkgs", p.root+"/dist", p.root+"/tmp"),
		"var/lib/portage/world": strings.Join(roots, "\n"), "dist/.keep": "", "tmp/.keep": "",
		"var/cache/edb/dep/.keep": "",
	} {
		p.write(t, name, text)
	}
	for i := range w.installed {
		x := &w.installed[i]
		category, pf, _ := strings.Cut(x.CPV, "/")
		dir := "var/db/pkg/" + x.CPV + "/"
		for key, text := range keysOf(x) {
			p.write(t, dir+strings.Replace(key, "REPO", "repository", 1), text)
		}
		p.write(t, dir+"CATEGORY", category)
		p.write(t, dir+"PF", pf)
		p.write(t, dir+"COUNTER", "1")
		p.write(t, dir+"CONTENTS", "")
	}
	config := "/usr/share/portage/config"
	if beside := filepath.Join(filepath.Dir(emerge), "../cnf"); exists(beside) {
		config = beside
	}
	for name, target := range map[string]string{"usr/share/portage/config": config,
		"etc/portage/make.profile": filepath.Join(p.root, profile, "default")} {
		name = filepath.Join(p.root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(name, "make.globals"))
	return err == nil
}

// keysOf is a package in Portage's words.
func keysOf(x *resolve.Package) map[string]string {
	return map[string]string{"SLOT": x.Slot + "/" + x.Sub, "EAPI": x.EAPI, "RDEPEND": x.RDepend,
		"BUILD_TIME": fmt.Sprint(x.BuildTime), "KEYWORDS": "amd64", "LICENSE": "MIT",
		"REPO": "gentoo", "CHOST": "x86_64-pc-linux-gnu", "USE": "amd64 elibc_glibc kernel_linux"}
}

func (p *prefix) write(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join(p.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

var mergeLine = regexp.MustCompile(`(?m)^\[binary[^\]]*\] (\S+)`)

// merges returns what emerge would install if these were all packages that had arrived.
func (p *prefix) merges(t *testing.T, arrived []resolve.Package) map[string]bool {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b,
		"ARCH: amd64\nCHOST: x86_64-pc-linux-gnu\nPACKAGES: %d\nTIMESTAMP: 1800000000\nVERSION: 0\n",
		len(arrived))
	for i := range arrived {
		x := &arrived[i]
		fmt.Fprintf(&b,
			"\nCPV: %s\nSIZE: 20480\nMD5: 0123456789abcdef0123456789abcdef\nPATH: %[1]s.tbz2\nMTIME: 1700000000\n",
			x.CPV)
		for key, text := range keysOf(x) {
			if text != "" {
				fmt.Fprintf(&b, "%s: %s\n", key, text)
			}
		}
	}
	p.write(t, "pkgs/Packages", b.String())
	cmd := exec.CommandContext(t.Context(), p.emerge, "--color=n", "--nospinner", "-puDK",
		"--rebuilt-binaries-timestamp=0", "--dynamic-deps=n", "@world")
	cmd.Env = append(os.Environ(), "PORTAGE_OVERRIDE_EPREFIX="+p.root, "COLUMNS=200",
		"NOCOLOR=true", "LANG=C.UTF-8", "EMERGE_DEFAULT_OPTS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("emerge: %v\n%.2000s", err, out)
	}
	merged := make(map[string]bool)
	for _, f := range mergeLine.FindAllStringSubmatch(string(out), -1) {
		name, _, _ := strings.Cut(f[1], "::")
		name, _, _ = strings.Cut(name, ":")
		merged[name] = true
	}
	return merged
}

// TestMergedByEmerge: what a small drive carries of a large update, real emerge installs without
// the rest: at most one package travels in vain.
func TestMergedByEmerge(t *testing.T) {
	emerge, err := exec.LookPath("emerge")
	if err != nil {
		t.Skip("NOBODY HAS MERGED WHAT SMALL DRIVES CARRY: there is no emerge in PATH")
	}
	w := makeWorld(3)
	lacks, p := w.lacks(t), newPrefix(t, emerge, w)
	for _, room := range []int64{50, 200, 600, 1200} {
		plan, err := Make(w.input(room*mib, w.client("attic")))
		if err != nil {
			t.Fatal(err)
		}
		carried, want := carriedBy(plan), w.reference(lacks, room*mib)
		var arrived []resolve.Package
		for _, x := range w.catalogue {
			if carried[x.CPV] {
				arrived = append(arrived, x)
			}
		}
		merged, vain := p.merges(t, arrived), 0
		for name := range carried {
			if !merged[name] {
				vain++
			}
		}
		t.Logf("%4d MiB: carried %d of %d, reference %d, merged by emerge %d, in vain %d", room,
			len(carried), len(lacks), len(want), len(merged), vain)
		if vain > 1 || len(carried)*100 < len(want)*95 {
			t.Errorf("%d MiB: %d travel in vain, %d for %d of the reference", room, vain,
				len(carried), len(want))
		}
	}
}
