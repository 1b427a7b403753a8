package forecast

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/cpu"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
)

// pk is a package of a small machine: "CPV" and then KEY=VALUE.
func pk(name string, more ...string) map[string]any {
	p := map[string]any{"CPV": name, "SLOT": "0", "EAPI": "8", "BUILD_TIME": 1700000000.0,
		"KEYWORDS": "amd64", "LICENSE": "GPL-2", "REPO": "gentoo", "USE": "amd64"}
	for _, m := range more {
		key, val, _ := strings.Cut(m, "=")
		p[key] = val
	}
	return p
}

func small(world []string, installed, packages []map[string]any) *vector {
	for _, p := range packages {
		if p["BUILD_TIME"] == 1700000000.0 {
			p["BUILD_TIME"] = 1700000060.0
		}
	}
	return &vector{World: world, Installed: installed, Packages: packages,
		Config: map[string]any{"ACCEPT_KEYWORDS": "amd64", "CHOST": "x86_64-pc-linux-gnu",
			"ACCEPT_LICENSE": "* -@EULA", "USE": "ssl",
			"license_groups": map[string]any{"EULA": "nonfree"}}}
}

func make1(t *testing.T, v *vector, files map[string]string,
	change func(*Machine, *Input)) (*Forecast, *machine) {
	t.Helper()
	m := v.machine(t.TempDir())
	for name, text := range files {
		m.files[name] = text
	}
	in := Input{Candidates: m.write(t, v.Packages)}
	read := m.read(t)
	if change != nil {
		change(read, &in)
	}
	f, err := Make(read, in)
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

// The example of the manual: each kind of line once.
func TestLines(t *testing.T) {
	v := small([]string{"app-misc/good", "app-misc/again", "app-misc/shell", "app-misc/key",
		"app-misc/user", "app-misc/down", "app-misc/eula", "app-misc/mask", "app-misc/flag"},
		[]map[string]any{pk("app-misc/good-1", "SIZE=1000"), pk("app-misc/again-1", "SIZE=50"),
			pk("app-misc/shell-1"), pk("app-misc/key-1"), pk("app-misc/user-1",
				"RDEPEND=dev-libs/lib:0/1="),
			pk("dev-libs/lib-1", "SLOT=0/1"), pk("app-misc/down-2"), pk("app-misc/eula-1"),
			pk("app-misc/mask-1"), pk("app-misc/flag-1", "IUSE=ssl", "USE=amd64 ssl")},
		[]map[string]any{pk("app-misc/good-2", "RDEPEND=dev-libs/new"), pk("dev-libs/new-1"),
			pk("app-misc/again-1"), pk("app-misc/shell-2", "RDEPEND=>=gnome-extra/server-3"),
			pk("app-misc/key-2", "KEYWORDS=~amd64"), pk("dev-libs/lib-2",
				"SLOT=0/2"), pk("app-misc/down-1"), pk("app-misc/eula-2", "LICENSE=nonfree"),
			pk("app-misc/mask-2"),
			pk("app-misc/flag-2", "IUSE=ssl", "USE=amd64")})
	sizes := map[string]int64{"app-misc/good-2": 5000, "dev-libs/new-1": 100,
		"app-misc/again-1": 60}
	f, m := make1(t, v, map[string]string{"etc/portage/package.mask": "=app-misc/mask-2\n",
		"etc/portage/package.accept_keywords/zz":               "#\n",
		"var/lib/gentoo/news/news-gentoo.unread":               "one\n",
		"var/db/repos/gentoo/metadata/glsa/glsa-202611-07.xml": advisoryText},
		func(_ *Machine, in *Input) {
			for i := range in.Candidates {
				in.Candidates[i].Facts.Installed = sizes[in.Candidates[i].Entry.CPV()]
			}
		})
	text := strings.Join(f.Lines(TextOptions{Drive: "/mnt/usb", Size: func(n int64) string {
		return fmt.Sprintf("%dB", n)
	}}), "\n")
	text = strings.ReplaceAll(text, m.root, "")
	for _, want := range []string{
		"4 packages can be installed now: 2 updates, 1 rebuild, 1 new (download 0, on disk +4110B and 1 of unknown size). 1 security fix: GLSA 202611-07",
		"app-misc/shell-2   needs >=gnome-extra/server-3, which the host has not built",
		"app-misc/key-2     is masked here by ~amd64:   echo '=app-misc/key-2 ~amd64' >>/etc/portage/package.accept_keywords/pkgsneak",
		"app-misc/eula-2    is masked here by its license nonfree:   echo '=app-misc/eula-2 nonfree' >>/etc/portage/package.license",
		"app-misc/mask-2    is masked here by package.mask (=app-misc/mask-2):   echo '=app-misc/mask-2' >>/etc/portage/package.unmask",
		"dev-libs/lib-2     breaks app-misc/user-1, which needs dev-libs/lib:0/1= and was not rebuilt",
		"1 is older than what is installed and stays out (app-misc/down-1 for 2)",
		"1 comes with other USE than this machine sets (app-misc/flag-2 -ssl)",
		"1 unread news item: eselect news read",
		`Next: emerge -auDK --rebuilt-binaries-timestamp=0 --exclude "`,
		"pkgsneak request /mnt/usb",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
	if !slices.Contains(f.Exclude, "app-misc/down") || slices.Contains(f.Exclude, "app-misc/good") {
		t.Errorf("excluded %q", f.Exclude)
	}
	if _, err := json.Marshal(f.Document("")); err != nil {
		t.Error(err)
	}
}

// A library whose sub-slot moves gives way because of a package that was built here: it is named.
func TestHolderOfAConflict(t *testing.T) {
	v := small([]string{"app-misc/app", "app-misc/mine"},
		[]map[string]any{pk("app-misc/app-1", "RDEPEND=dev-libs/lib:0/1="),
			pk("dev-libs/lib-1", "SLOT=0/1"), pk("app-misc/mine-1", "RDEPEND=dev-libs/lib:0/1=")},
		[]map[string]any{pk("dev-libs/lib-2", "SLOT=0/2"),
			pk("app-misc/app-3", "RDEPEND=dev-libs/lib:0/2=")})
	f, _ := make1(t, v, nil, nil)
	for _, l := range f.Cannot {
		if l.Name == "dev-libs/lib-2" && l.Cause == "breaks" && l.Other == "app-misc/mine-1" &&
			l.Atom == "dev-libs/lib:0/1=" {
			return
		}
	}
	t.Errorf("not told for whom it gives way: %+v", f.Cannot)
}

const advisoryText = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE glsa SYSTEM "http://www.gentoo.org/dtd/glsa.dtd">
<glsa id="202611-07"><title>good: Execution
  of code</title><affected>
<package name="app-misc/good" auto="yes" arch="*"><unaffected range="ge">1.5</unaffected><vulnerable range="lt">1.5</vulnerable></package>
</affected></glsa>`

// A package that the host has built and this drive does not carry is another lack than one that
// nobody has built.
func TestElsewhere(t *testing.T) {
	v := small([]string{"a-b/c"}, []map[string]any{pk("a-b/c-1")},
		[]map[string]any{pk("a-b/c-2", "RDEPEND=>=x-y/z-2")})
	f, _ := make1(t, v, nil, func(_ *Machine, in *Input) {
		x, err := pkgindex.Read(strings.NewReader(indexText([]map[string]any{pk("x-y/z-3")})))
		if err != nil {
			t.Fatal(err)
		}
		in.Elsewhere = x.Entries
	})
	if len(f.Cannot) != 1 || !strings.Contains(f.Cannot[0].Why,
		"which the host has and this drive has not") {
		t.Errorf("%+v", f.Cannot)
	}
}

func TestRespectUse(t *testing.T) {
	v := small([]string{"a-b/c", "a-b/d", "a-b/e"}, []map[string]any{pk("a-b/c-1"), pk("a-b/d-1"),
		pk("a-b/e-1")},
		[]map[string]any{pk("a-b/c-2", "IUSE=ssl", "USE=amd64"), pk("a-b/d-2", "IUSE=+x doc",
			"USE=amd64 x"), pk("a-b/e-2", "IUSE=gtk", "USE=amd64 gtk")})
	v.Config["package.use"] = []any{"a-b/e gtk"}
	f, _ := make1(t, v, nil, func(_ *Machine, in *Input) { in.RespectUse = true })
	if len(f.Merges) != 2 || !slices.Equal(f.Exclude, []string{"a-b/c"}) || len(f.Cannot) != 1 ||
		f.Cannot[0].Cause != "other-use" {
		t.Errorf("merges %+v, excluded %q, cannot %+v", f.Merges, f.Exclude, f.Cannot)
	}
}

func TestGates(t *testing.T) {
	v := small([]string{"a-b/c", "a-b/d", "a-b/e"}, []map[string]any{pk("a-b/c-1"), pk("a-b/d-1"),
		pk("a-b/e-1"), pk("sys-apps/portage-3.0.30")},
		[]map[string]any{pk("a-b/c-2"), pk("a-b/d-2", "EAPI=9", "BUILD_ID=1"),
			pk("a-b/e-2", "CHOST=aarch64-unknown-linux-gnu"), pk("sys-apps/portage-3.0.77")})
	v.World = append(v.World, "sys-apps/portage")
	flags := func(in *Input) {
		in.Candidates[0].Facts.Flags = &layout.Flags{CFLAGS: "-march=haswell"}
	}
	f, _ := make1(t, v, nil, func(m *Machine, in *Input) {
		m.EAPI, m.NoGPKG, m.CPU = 8, true, cpu.Read([]byte("flags: sse sse2 pni ssse3\n"))
		flags(in)
	})
	if f.Unusable[resolve.CPU] != 1 || f.Unusable[resolve.Unreadable] != 1 ||
		f.Unusable[resolve.Machine] != 1 || len(f.Merges) != 1 {
		t.Errorf("unusable %v, merges %+v", f.Unusable, f.Merges)
	}
	if !slices.Contains(f.Exclude, "a-b/c") {
		t.Errorf("emerge does not see what the CPU lacks; excluded are %q", f.Exclude)
	}
	if len(f.Before) == 0 || f.Before[0].Line != "emerge -1auDK sys-apps/portage" {
		t.Errorf("before: %+v", f.Before)
	}
	if text := UnusableText(f.Unusable); !strings.HasPrefix(text,
		"3 packages cannot be used by this machine: ") {
		t.Error(text)
	}
	f, _ = make1(t, v, nil, func(m *Machine, in *Input) {
		m.EAPI, m.CPU, in.AnyCPU = 9, map[string]bool{}, true
		flags(in)
	})
	if f.Unusable[resolve.CPU] != 0 || len(f.Merges) != 3 {
		t.Errorf("with --any-cpu: unusable %v, merges %+v", f.Unusable, f.Merges)
	}
}

func TestOriginGate(t *testing.T) {
	for _, tt := range []struct {
		arch, chost, accept string
		refused             bool
	}{
		{"amd64", "x86_64-pc-linux-gnu", "", false}, {"arm64", "aarch64-unknown-linux-gnu", "",
			true}, {"", "aarch64-unknown-linux-gnu", "", true},
		{"amd64", "x86_64-gentoo-linux-musl", "", true}, {"", "", "", false},
		{"x86", "i686-pc-linux-gnu", "x86_64-pc-linux-gnu i686-pc-linux-gnu", false},
		{"amd64", "", "", false},
	} {
		v := small(nil, nil, nil)
		if tt.accept != "" {
			v.Config["ACCEPT_CHOSTS"] = tt.accept
		}
		m := v.machine(t.TempDir())
		m.write(t, nil)
		read := m.read(t)
		if why := NewJudge(read, GateOptions{}).Origin(tt.arch,
			tt.chost); (why != "") != tt.refused {
			t.Errorf("%+v: %q", tt, why)
		}
		if why := NewJudge(read, GateOptions{AnyArch: true}).Origin(tt.arch, tt.chost); why != "" {
			t.Errorf("%+v with --any-arch: %q", tt, why)
		}
	}
}

func TestSpaceAndSettings(t *testing.T) {
	v := small([]string{"a-b/c"}, []map[string]any{pk("a-b/c-1", "SIZE=10", "USE=amd64 split-usr",
		"IUSE=split-usr")}, []map[string]any{pk("a-b/c-2", "IUSE=split-usr", "USE=amd64")})
	f, _ := make1(t, v, map[string]string{"bin/sh": ""}, func(m *Machine, in *Input) {
		m.RootFree, m.TmpFree, m.SignedOnly, m.DefaultOpts = 1<<20, 1<<20, true,
			"--ask --verbose --newuse -j4"
		in.Candidates[0].Facts.Installed = 1 << 30
	})
	text := strings.Join(f.Lines(TextOptions{}), "\n")
	for _, want := range []string{"merge-usr", "binpkg-request-signature",
		"too little room on the file system of /usr", "too little room in PORTAGE_TMPDIR",
		"--ignore-default-opts"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for opts, want := range map[string]bool{"": false,
		"-av --jobs=4 --load-average 3.5 --keep-going y": false, "--newuse": true, "-uDN": true,
		"--binpkg-respect-use=y": true, "--exclude 'a b'": true} {
		if ChangesPlan(opts) != want {
			t.Errorf("%q changes the plan: %v", opts, !want)
		}
	}
}

// Foreign text never becomes part of a line to paste.
func TestNoForeignTextInLines(t *testing.T) {
	v := small([]string{"a-b/c", "a-b/d"}, []map[string]any{pk("a-b/c-1"), pk("a-b/d-1")},
		[]map[string]any{pk("a-b/c-2", "LICENSE=GPL-2'$(reboot)'"),
			pk("a-b/d-2", "KEYWORDS=~amd64';reboot")})
	v.Config["ACCEPT_LICENSE"] = "-* MIT"
	f, _ := make1(t, v, nil, nil)
	for _, l := range f.Cannot {
		if strings.Contains(l.Line, "reboot") {
			t.Errorf("%+v", l)
		}
	}
}

// TestSpeed reports how long a forecast takes for a large machine; nothing fails by the clock.
func TestSpeed(t *testing.T) {
	v := small(nil, nil, nil)
	for i := range 1808 {
		dep := ""
		if i > 0 {
			dep = fmt.Sprintf("RDEPEND=>=cat-%d/p%d-1 || ( cat-0/p0 cat-1/p1 )", (i/2)%30, i/2)
		}
		v.Installed = append(v.Installed, pk(fmt.Sprintf("cat-%d/p%d-1", i%30, i), dep,
			"IUSE=ssl doc"))
		v.World = append(v.World, fmt.Sprintf("cat-%d/p%d", i%30, i))
	}
	for i := range 2111 {
		dep := ""
		if i > 0 {
			dep = fmt.Sprintf("RDEPEND=>=cat-%d/p%d-1 || ( cat-0/p0 cat-1/p1 )", (i/2)%30, i/2)
		}
		v.Packages = append(v.Packages, pk(fmt.Sprintf("cat-%d/p%d-2", i%30, i), dep,
			"IUSE=ssl doc", "BUILD_TIME=1700000060"))
	}
	m := v.machine(t.TempDir())
	list := m.write(t, v.Packages)
	start := time.Now()
	read := m.read(t)
	half := time.Since(start)
	f, err := Make(read, Input{Candidates: list})
	if err != nil || len(f.Merges) != 1808 {
		t.Fatalf("%v: %d merges, %s", err, len(f.Merges), f.Trouble)
	}
	t.Logf("reading %d installed packages %v, %d candidates %v", len(read.Installed), half,
		len(list), time.Since(start)-half)
}

func TestAdvisories(t *testing.T) {
	for _, tt := range []struct {
		ranges, old, new, arch string
		closes                 bool
	}{
		{`<unaffected range="ge">2</unaffected><vulnerable range="lt">2</vulnerable>`, "1",
			"2", "*", true},
		{`<unaffected range="ge">3</unaffected><vulnerable range="lt">3</vulnerable>`, "1",
			"2", "*", false},
		{`<unaffected range="ge">2</unaffected><vulnerable range="lt">2</vulnerable>`, "2",
			"3", "*", false},
		{`<unaffected range="rge">1.2-r3</unaffected><vulnerable range="le">1.2-r9</vulnerable>`,
			"1.2-r1", "1.2-r4", "*", true},
		{`<unaffected range="ge">2</unaffected><vulnerable range="lt">2</vulnerable>`, "1", "2",
			"ppc sparc", false},
		{`<unaffected range="ge" slot="1">2</unaffected><vulnerable range="lt" slot="1">2</vulnerable>`, "1", "2", "*", false},
		{`<vulnerable range="eq">1*</vulnerable>`, "1.5", "2", "amd64 x86", true},
		{`<vulnerable range="lt">1*</vulnerable>`, "0.5", "2", "*", false},
	} {
		xml := `<glsa><affected><package name="a-b/c" arch="` + tt.arch + `">` + tt.ranges +
			`</package></affected></glsa>`
		f, _ := make1(t, small([]string{"a-b/c"}, []map[string]any{pk("a-b/c-" + tt.old)},
			[]map[string]any{pk("a-b/c-" + tt.new)}),
			map[string]string{"var/db/repos/gentoo/metadata/glsa/glsa-1.xml": xml}, nil)
		if got := len(f.Security) == 1; got != tt.closes {
			t.Errorf("%+v: %+v", tt, f.Security)
		}
	}
}

func FuzzAdvisory(f *testing.F) {
	f.Add([]byte(advisoryText))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><glsa><title>&b;</title></glsa>`))
	old, _ := dependPackage(&resolve.Package{CPV: "app-misc/good-1"})
	changes := map[string][]change{"app-misc/good": {{old, old}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		namesOne(data, changes)
		a, closes := closed("x", data, changes, "amd64")
		if closes && len(a.Packages) == 0 || closes { // the same version cannot close anything
			t.Errorf("%+v", a)
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"*/*", "dev-libs/*::x", "*/foo:2", ">=a-b/c-1*", "=a-b/c-1.2*",
		"a*b/c*", "[", "a/b[c]", "*/*[x]", "*a/\\"} {
		f.Add(s, "a-b/c-1")
	}
	f.Fuzz(func(t *testing.T, atom, name string) {
		q, ok := dependPackage(&resolve.Package{CPV: name, Slot: "0"})
		p, is := parsePattern(atom)
		if is && ok {
			p.matches(&q)
		}
		if ok {
			if every, is := parsePattern("*/*"); !is || !every.matches(&q) {
				t.Errorf("*/* does not match %q", name)
			}
		}
	})
}

func TestPatterns(t *testing.T) {
	q, _ := dependPackage(&resolve.Package{CPV: "dev-libs/foo-1.2-r1", Slot: "2", Repo: "over",
		IUse: "+ssl", Use: "ssl"})
	for atom, want := range map[string]bool{"dev-libs/foo": true, "*/*": true, "*/foo": true,
		"dev-*/f*": true, "dev-libs/*:2": true, "dev-libs/*:1": false, "*/*::over": true,
		"*/*::gentoo": false, ">=dev-libs/foo-1.2": true, "<dev-libs/foo-1.2": false,
		"~dev-libs/foo-1.2": true, "=dev-libs/foo-1*": true, "dev-libs/foo[ssl]": true,
		"dev-libs/foo[-ssl]": false,
		"":                   false, "foo": false, "!dev-libs/foo": false} {
		p, ok := parsePattern(atom)
		if got := ok && p.matches(&q); got != want {
			t.Errorf("%q: %v", atom, got)
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
		if got := strings.Join(portage.MissingLicenses(tt.license,
			portage.ExpandLicenses(strings.Fields(tt.accept), groups)), " "); got != tt.masked {
			t.Errorf("%q with %q: masked %q, want %q", tt.license, tt.accept, got, tt.masked)
		}
	}
	for _, tt := range []struct {
		keywords, accept string
		want             bool
	}{
		{"amd64 ~arm64", "amd64", true}, {"~amd64", "amd64", false},
		{"~amd64", "amd64 ~amd64", true}, {"", "amd64 ~amd64", false}, {"", "**", true},
		{"~x86", "~*", true}, {"x86", "*", true}, {"~x86", "*", false},
		{"-* ~x86", "amd64", false}, {"*", "amd64", true},
	} {
		if got := portage.KeywordsAccepted(strings.Fields(tt.keywords),
			strings.Fields(tt.accept)); got != tt.want {
			t.Errorf("%q with %q: %v", tt.keywords, tt.accept, got)
		}
	}
}
