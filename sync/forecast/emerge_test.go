package forecast

import (
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var mergeLine = regexp.MustCompile(`(?m)^\[(binary|uninstall)([^\]]*)\] (\S+)`)

// merged reads what emerge -p lists, sorted, and which of that goes backwards.
func merged(out string) (names, down []string) {
	for _, f := range mergeLine.FindAllStringSubmatch(out, -1) {
		name, _, _ := strings.Cut(f[3], "::")
		names = append(names, name)
		if strings.Contains(f[2], "D") {
			down = append(down, name)
		}
	}
	slices.Sort(names)
	return names, down
}

func needEmerge(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("emerge"); err != nil {
		t.Skip("there is no emerge in PATH: the printed line is not tried")
	}
}

// TestPrintedLine: the line that is printed, run as it is with -p in the place of -a: emerge ends
// with 0, nothing goes backwards, and it installs what was told.
func TestPrintedLine(t *testing.T) {
	needEmerge(t)
	every, n, ran, asSaid := 6, 0, 0, 0
	if os.Getenv("PKGSNEAK_ALL_VECTORS") != "" {
		every = 1
	}
	for _, v := range readVectors(t) {
		_, broken := v.Config["profile-missing"]
		if broken || len(v.Ebuilds) > 0 {
			continue
		}
		root := t.TempDir()
		m := v.machine(root)
		list := m.write(t, v.Packages)
		f, err := Make(m.read(t), Input{Candidates: list})
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if len(f.Exclude) == 0 || f.Line("") == "" {
			continue
		}
		if n++; n%every != 0 {
			continue
		}
		file := ""
		if n%(2*every) == 0 {
			file = filepath.Join(root, "exclude 1")
			if err := os.WriteFile(file, f.excludeFile(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		rc, out := emergeLine(t, m, f.Line(file), strings.Join(strings.Fields(v.Options)[2:], " "))
		names, down := merged(out)
		if ran++; rc != 0 || len(down) > 0 {
			t.Errorf("%s: %s\nends with %d, backwards %q\n%s", v.Name, f.Line(file), rc, down, out)
			continue
		}
		var said []string
		for _, x := range f.Merges {
			said = append(said, strings.TrimSuffix(x.Name+"-"+x.Build, "-"))
		}
		if slices.Sort(said); slices.Equal(said, names) {
			asSaid++
		} else {
			t.Logf("%s: emerge installs %q, said were %q", v.Name, names, said)
		}
	}
	t.Logf("%d lines run with real emerge, on %d machines it installs exactly what was said", ran,
		asSaid)
	if ran == 0 || asSaid*100 < ran*90 {
		t.Error("emerge installs something else than was said")
	}
}

// long makes a machine on which more than MostNames packages would go backwards, one of them glibc.
func long() *vector {
	v := &vector{Config: map[string]any{"ACCEPT_KEYWORDS": "amd64", "CHOST": "x86_64-pc-linux-gnu",
		"ACCEPT_LICENSE": "*"}, Options: "-puDK x --dynamic-deps=n"}
	add := func(name, have, comes string) {
		v.World = append(v.World, name)
		for _, p := range []struct {
			list    *[]map[string]any
			version string
			when    float64
		}{{&v.Installed, have, 1700000000}, {&v.Packages, comes, 1700000060}} {
			*p.list = append(*p.list, map[string]any{"CPV": name + "-" + p.version, "SLOT": "0",
				"EAPI": "8", "BUILD_TIME": p.when, "KEYWORDS": "amd64", "LICENSE": "GPL-2",
				"REPO": "gentoo", "USE": "amd64 elibc_glibc kernel_linux"})
		}
	}
	for i := range MostNames + 5 {
		add(fmt.Sprintf("app-misc/old%d", i), "2", "1")
	}
	add("sys-libs/glibc", "2.40", "2.38")
	add("app-misc/new", "1", "2")
	return v
}

// A list of more than MostNames names lies in a file; without the file the line fails instead of
// excluding nothing.
func TestPrintedLineWithFile(t *testing.T) {
	needEmerge(t)
	v := long()
	m := v.machine(t.TempDir())
	list := m.write(t, v.Packages)
	f, err := Make(m.read(t), Input{Candidates: list})
	if err != nil {
		t.Fatal(err)
	}
	if !f.NeedsFile() || len(f.Older) != MostNames+6 {
		t.Fatalf("%d names excluded, %d older", len(f.Exclude), len(f.Older))
	}
	file := filepath.Join(m.root, "exclude-7")
	if rc, out := emergeLine(t, m, f.Line(file), ""); rc == 0 || strings.Contains(out, "[binary") {
		t.Errorf("without the file: rc %d\n%s", rc, out)
	}
	if err := os.WriteFile(file, f.excludeFile(), 0o644); err != nil {
		t.Fatal(err)
	}
	rc, out := emergeLine(t, m, f.Line(file), "--dynamic-deps=n")
	if names, down := merged(out); rc != 0 || len(down) > 0 ||
		!slices.Equal(names, []string{"app-misc/new-2"}) {
		t.Errorf("rc %d, merges %q, backwards %q\n%s", rc, names, down, out)
	}
	// The line that used to be printed takes glibc backwards: the fact that all this is for.
	if _, out := emergeLine(t, m, "emerge -auDK --dynamic-deps=n @world",
		""); !strings.Contains(out, "sys-libs/glibc-2.38") {
		t.Errorf("the old line does no harm any more:\n%s", out)
	}
}

// The line of an undo names the builds that are here again: emerge goes back to them and to nothing
// else, a sub-slot with those that need it. An update of @world takes back whatever is newer here
// than in PKGDIR, glibc too.
func TestLineThatGoesBack(t *testing.T) {
	needEmerge(t)
	v := &vector{Config: map[string]any{"ACCEPT_KEYWORDS": "amd64", "CHOST": "x86_64-pc-linux-gnu",
		"ACCEPT_LICENSE": "*"}, Options: "-puDK x --dynamic-deps=n"}
	add := func(list *[]map[string]any, name, slot, needs string, when float64) {
		*list = append(*list, map[string]any{"CPV": name, "SLOT": slot, "EAPI": "8",
			"BUILD_TIME": when, "KEYWORDS": "amd64", "LICENSE": "GPL-2",
			"REPO": "gentoo", "USE": "amd64 elibc_glibc kernel_linux", "RDEPEND": needs})
	}
	v.World = []string{"app-misc/app", "app-misc/mine", "app-misc/same", "sys-libs/glibc"}
	const before, since = 1700000000, 1700000060
	add(&v.Installed, "app-misc/app-2", "0", "dev-libs/lib:0/2=", since)
	add(&v.Installed, "dev-libs/lib-2", "0/2", "", since)
	add(&v.Installed, "app-misc/same-1", "0", "", since) // built anew by the host
	add(&v.Installed, "app-misc/mine-3", "0", "", since) // never in an import
	add(&v.Installed, "sys-libs/glibc-2.40", "2.2", "", since)
	add(&v.Packages, "app-misc/app-1", "0", "dev-libs/lib:0/1=", before)
	add(&v.Packages, "dev-libs/lib-1", "0/1", "", before)
	add(&v.Packages, "app-misc/same-1", "0", "", before)
	add(&v.Packages, "app-misc/mine-1", "0", "", before)
	add(&v.Packages, "sys-libs/glibc-2.38", "2.2", "", before)
	m := v.machine(t.TempDir())
	m.write(t, v.Packages)
	want := []string{"app-misc/app-1", "app-misc/same-1", "dev-libs/lib-1"}
	rc, out := emergeLine(t, m, "emerge -a1K =app-misc/app-1 =app-misc/same-1 =dev-libs/lib-1",
		"--dynamic-deps=n")
	if names, _ := merged(out); rc != 0 || !slices.Equal(names, want) {
		t.Errorf("rc %d, merges %q, want %q\n%s", rc, names, want, out)
	}
	if names, _ := merged(func() string {
		_, out := emergeLine(t, m, "emerge -auDK --dynamic-deps=n @world",
			"")
		return out
	}()); !slices.Contains(names, "app-misc/mine-1") ||
		!slices.Contains(names, "sys-libs/glibc-2.38") {
		t.Errorf("an update of @world takes back %q only", names)
	}
}

// The line that compiles, run with -p in the place of -a: emerge ends with 0, compiles what was
// said, takes what is there as a package, and goes back with nothing. Where it would, it is not
// printed: emerge then does go back.
func TestLineThatCompiles(t *testing.T) {
	needEmerge(t)
	ebuild := func(name string) map[string]any {
		return pk(name, "IUSE=", "SRC_URI=")
	}
	v := small([]string{"app-misc/shell", "app-misc/good", "app-misc/mine"},
		[]map[string]any{pk("app-misc/shell-1"), pk("app-misc/good-1"), pk("app-misc/mine-3")},
		[]map[string]any{pk("app-misc/shell-2", "RDEPEND=>=gnome-extra/server-3"),
			pk("app-misc/good-2")})
	v.Ebuilds = []map[string]any{ebuild("app-misc/shell-2"), ebuild("app-misc/good-2"),
		ebuild("gnome-extra/server-3"), ebuild("app-misc/mine-3")}
	v.Ebuilds[0]["RDEPEND"] = ">=gnome-extra/server-3"
	for _, older := range []bool{false, true} {
		if older {
			v.Ebuilds[3] = ebuild("app-misc/mine-2")
		}
		f, m := make1(t, v, cachedEbuilds(v.Ebuilds), func(_ *Machine, in *Input) {
			in.Distdir = t.TempDir()
		})
		line, ready, _ := f.compiles()
		if len(ready) != 1 || ready[0].Name != "gnome-extra/server-3" || (line == "") != older {
			t.Fatalf("older %v: %q, %+v", older, line, ready)
		}
		if older {
			line = emergeCompiles + " @world"
		}
		rc, out := emergeLine(t, m, line, "")
		for _, want := range []string{"[ebuild  N     ] gnome-extra/server-3",
			"[binary     U  ] app-misc/shell-2", "[binary     U  ] app-misc/good-2"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q", want)
			}
		}
		if back := strings.Contains(out, "UD ]"); rc != 0 || back != older {
			t.Errorf("older %v: rc %d\n%s", older, rc, out)
		}
	}
}

// cachedEbuilds are the files of ebuilds in ::gentoo, with what its cache tells of them.
func cachedEbuilds(list []map[string]any) map[string]string {
	const tree = "var/db/repos/gentoo/"
	files := map[string]string{}
	for _, p := range list {
		name := value(p, "CPV")
		category, pf, _ := strings.Cut(name, "/")
		pn := strings.TrimSuffix(pf, "-"+versionOf(pf))
		text := "EAPI=8\nDESCRIPTION=\"x\"\n"
		cache := "DEFINED_PHASES=-\nDESCRIPTION=x\nEAPI=8\n"
		for _, key := range []string{"SLOT", "KEYWORDS", "LICENSE", "RDEPEND"} {
			if val := value(p, key); val != "" {
				text += key + "=\"" + val + "\"\n"
				cache += key + "=" + val + "\n"
			}
		}
		files[tree+category+"/"+pn+"/"+pf+".ebuild"] = text
		files[tree+"metadata/md5-cache/"+name] = cache + fmt.Sprintf("_md5_=%x\n",
			md5.Sum([]byte(text)))
	}
	return files
}
