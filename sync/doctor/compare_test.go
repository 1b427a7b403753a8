package doctor

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
	"pkgsneak/sync/volume"
)

// xpak makes a package with an empty image.
func xpak(meta map[string]string) []byte {
	var image bytes.Buffer
	z := gzip.NewWriter(&image)
	_ = tar.NewWriter(z).Close()
	_ = z.Close()
	var index, data []byte
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		index = binary.BigEndian.AppendUint32(index, uint32(len(key)))
		index = append(index, key...)
		index = binary.BigEndian.AppendUint32(index, uint32(len(data)))
		index = binary.BigEndian.AppendUint32(index, uint32(len(meta[key])))
		data = append(data, meta[key]...)
	}
	segment := []byte("XPAKPACK")
	segment = binary.BigEndian.AppendUint32(segment, uint32(len(index)))
	segment = binary.BigEndian.AppendUint32(segment, uint32(len(data)))
	segment = append(append(append(segment, index...), data...), "XPAKSTOP"...)
	out := append(image.Bytes(), segment...)
	return append(binary.BigEndian.AppendUint32(out, uint32(len(segment))), "STOP"...)
}

// builds puts a package into PKGDIR, as if it had been built there.
func (p *patient) builds(cpv string, meta map[string]string) {
	p.t.Helper()
	category, pf, _ := strings.Cut(cpv, "/")
	all := map[string]string{"CATEGORY": category, "PF": pf, "SLOT": "0", "EAPI": "8",
		"KEYWORDS": "amd64", "LICENSE": "GPL-2", "repository": "gentoo",
		"CHOST": "x86_64-pc-linux-gnu", "BUILD_TIME": "1780000000", "USE": "amd64",
		"CFLAGS": "-march=x86-64 -O2", "CXXFLAGS": "-march=x86-64 -O2"}
	maps.Copy(all, meta)
	p.write("var/cache/binpkgs/"+cpv+".tbz2", string(xpak(all)))
}

// exports puts everything onto a drive.
func (p *patient) exports(mount string) {
	p.t.Helper()
	m := p.newMachine(nil)
	if _, err := reindex.Index(p.t.Context(), m, reindex.IndexOptions{}, nil); err != nil {
		p.t.Fatal(err)
	}
	if _, err := exporter.Export(p.t.Context(), m,
		exporter.ExportOptions{Drive: mount, AnyDirectory: true}, nil); err != nil {
		p.t.Fatal(err)
	}
}

// trustsHost trusts the key of another machine.
func (p *patient) trustsHost(host *patient) {
	p.t.Helper()
	st, err := state.Open(p.t.Context(), host.path("var/lib/pkgsneak"),
		state.Options{ReadOnly: true})
	if err != nil {
		p.t.Fatal(err)
	}
	defer st.Close()
	key, err := st.SigningKey()
	if err != nil {
		p.t.Fatal(err)
	}
	p.remember(func(st *state.Dir) error { return st.Trust(key.Public()) })
}

// pair is a host that has exported and a client that trusts it. Both have the tree name's settings,
// and lines of their own.
func pair(t *testing.T, hostLines, clientLines string,
	packages map[string]map[string]string) (client *patient, mount string) {
	t.Helper()
	host := newPatient(t, "host-good")
	host.write("etc/portage/make.conf/95-own", hostLines+"\n")
	for cpv, meta := range packages {
		host.builds(cpv, meta)
	}
	mount = t.TempDir()
	host.exports(mount)
	client = newPatient(t, "host-good")
	client.auto = "import"
	client.write("etc/portage/make.conf/95-own", clientLines+"\n")
	client.trustsHost(host)
	return client, mount
}

func (p *patient) compare(mount string) *Report {
	p.t.Helper()
	o := p.options()
	o.Drive = mount
	return p.examine(o)
}

// rows is the table, a line each.
func rows(c Comparison) []string {
	list := []string{}
	for _, d := range c.Differences {
		list = append(list, fmt.Sprintf("%s: %s | %s (%d)", d.What, d.Origin, d.Here, d.Packages))
	}
	return list
}

// saysTheSame: what status tells of the origin, and import, doctor tells as well, of no package
// fewer.
func (p *patient) saysTheSame(mount string, r *Report) {
	p.t.Helper()
	m := p.newMachine(nil)
	m.CPUInfo = p.options().CPUInfo
	status, err := inspect.Status(p.t.Context(), m, inspect.StatusOptions{Drive: mount})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range status.Drive.Origins[0].Fit.Masked {
		told := map[string]bool{}
		for _, f := range r.Findings {
			for _, name := range f.Names {
				if f.Topic == m.Topic {
					name, _, _ = strings.Cut(name, " ")
					told[name] = true
				}
			}
		}
		for _, name := range m.Names {
			if !told[name] {
				p.t.Errorf("status tells %q, doctor tells %v of that topic", m, told)
			}
		}
		if m.Topic != "use" && len(told) != len(m.Names) {
			p.t.Errorf("status tells %q, doctor %v", m, told)
		}
	}
	fit := status.Drive.Origins[0].Fit
	has := func(topics ...string) bool {
		return slices.ContainsFunc(r.Findings, func(f Finding) bool {
			return slices.Contains(topics, f.Topic) && f.Weight == Broken
		})
	}
	// of a CPU doctor may tell more: it reads packages, and guesses
	if n := len(fit.Unusable); n > 0 && !has("eapi", "format", "chost", "cpu") ||
		n == 0 && fit.Unfit == "" && has("eapi", "format", "chost") {
		p.t.Errorf("status counts %v, doctor tells %+v", fit.Unusable, r.Findings)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	type meta = map[string]string
	const ssl = "amd64 elibc_glibc kernel_linux ssl"
	for _, tt := range []struct {
		name         string
		host, client string
		files        map[string]string // of the client
		packages     map[string]meta
		rows, told   []string
		fix          string // a line of it
	}{
		{name: "alike", packages: map[string]meta{"app-misc/a-1": {
			"USE": ssl + " nls", "IUSE": "ssl +nls X"}, "app-misc/b-1": {}}},
		{name: "differences that concern no package", host: `USE="qt6"`, client: `USE="kde"` +
			"\n" + `VIDEO_CARDS="nvidia"` + "\n" + `ACCEPT_LICENSE="*"` + "\n" +
			`ACCEPT_KEYWORDS="~amd64"`,
			packages: map[string]meta{"app-misc/a-1": {"USE": ssl, "IUSE": "ssl"}}},
		{name: "USE", host: `USE="-ssl qt6"`,
			packages: map[string]meta{"app-misc/a-1": {"USE": "amd64 qt6", "IUSE": "qt6 ssl"},
				"app-misc/b-1": {"IUSE": "ssl"}, "app-misc/c-1": {"USE": ssl, "IUSE": "ssl"}},
			rows: []string{"USE: qt6 | ssl (2)"}, told: []string{"wrong use"},
			fix: `USE="${USE} qt6 -ssl"`},
		{name: "USE, with --usepkgonly", host: `USE="qt6"`, client: `EMERGE_DEFAULT_OPTS="-K"`,
			packages: map[string]meta{"app-misc/a-1": {"USE": "qt6", "IUSE": "qt6"}},
			rows:     []string{"USE: qt6 |  (1)"}, told: []string{"note use"},
			fix: `USE="${USE} qt6"`},
		{name: "a flag that the ebuild has on by itself", host: `USE="qt6"`,
			packages: map[string]meta{"app-misc/a-1": {"USE": "qt6", "IUSE": "+qt6"}}},
		{name: "VIDEO_CARDS", host: `VIDEO_CARDS="nvidia intel"`,
			packages: map[string]meta{"media-libs/mesa-1": {
				"USE":  "video_cards_nvidia video_cards_intel",
				"IUSE": "video_cards_nvidia video_cards_intel video_cards_nouveau"}},
			rows: []string{"VIDEO_CARDS: nvidia | nouveau (1)"}, told: []string{"wrong use"},
			fix: `VIDEO_CARDS="intel nvidia"`},
		{name: "a target that follows the tree", host: `PYTHON_TARGETS="python3_14"`,
			packages: map[string]meta{"dev-python/x-1": {"USE": "python_targets_python3_14",
				"IUSE": "python_targets_python3_13 python_targets_python3_14"}},
			rows: []string{"PYTHON_TARGETS: python3_14 | python3_13 (1)"},
			told: []string{"wrong use"}, fix: `*/* PYTHON_TARGETS: -* python3_14`},
		{name: "package.use of the host",
			packages: map[string]meta{"app-misc/a-1": {"USE": "amd64 qt6", "IUSE": "qt6 ssl"}},
			rows:     []string{"package.use: app-misc/a-1 (qt6 -ssl) |  (1)"},
			told:     []string{"wrong use"}, fix: "=app-misc/a-1 qt6 -ssl"},
		{name: "package.use",
			files: map[string]string{"etc/portage/package.use/own": "app-misc/a -ssl\n>=app-misc/b-1 -ssl\n=app-misc/c-2 -ssl\n"},
			packages: map[string]meta{"app-misc/a-1": {"USE": ssl, "IUSE": "ssl"}, "app-misc/b-1": {
				"USE": ssl, "IUSE": "ssl"}, "app-misc/c-1": {"USE": ssl, "IUSE": "ssl"}},
			rows: []string{"package.use:  | app-misc/a-1 (here -ssl), app-misc/b-1 (here -ssl) (2)"},
			told: []string{"wrong use"}},
		{name: "KEYWORDS", host: `ACCEPT_KEYWORDS="~amd64"`,
			packages: map[string]meta{"app-misc/a-1": {"KEYWORDS": "~amd64 x86"},
				"app-misc/b-1": {}, "app-misc/live-9999": {"KEYWORDS": ""}},
			rows: []string{"ACCEPT_KEYWORDS: amd64 ~amd64 | amd64 (2)"},
			told: []string{"wrong keywords"},
			fix:  "=app-misc/a-1 ~amd64\n=app-misc/live-9999 **"},
		{name: "KEYWORDS, decided here",
			files:    map[string]string{"etc/portage/package.accept_keywords": "app-misc/a\n"},
			packages: map[string]meta{"app-misc/a-1": {"KEYWORDS": "~amd64"}}},
		{name: "LICENSE", host: `ACCEPT_LICENSE="*"`,
			packages: map[string]meta{"x11-drivers/nvidia-drivers-1": {"LICENSE": "NVIDIA-r2 MIT"},
				"app-misc/b-1": {"LICENSE": "|| ( MIT weird )"}},
			rows: []string{"ACCEPT_LICENSE: * | @FREE (1)"}, told: []string{"wrong license"},
			fix: "=x11-drivers/nvidia-drivers-1 NVIDIA-r2"},
		{name: "missing ebuilds", packages: map[string]meta{"app-misc/a-1": {}, "app-misc/b-1": {}},
			files: map[string]string{"var/db/repos/gentoo/app-misc/b/b-1.ebuild": ""},
			told:  []string{"note usepkg"}},
		{name: "another tree", packages: map[string]meta{"app-misc/a-1": {}},
			files: map[string]string{"var/db/repos/gentoo/profiles/repo_name": "own\n"},
			told:  []string{"note profile", "note repositories"}},
		{name: "package.mask", packages: map[string]meta{"app-misc/a-1": {}},
			files: map[string]string{"etc/portage/package.mask": "<app-misc/a-2\n"},
			told:  []string{"note config"}, fix: "=app-misc/a-1"},
		{name: "EAPI", packages: map[string]meta{"app-misc/a-1": {"EAPI": "9"}, "app-misc/b-1": {
			"EAPI": "8"}}, rows: []string{"EAPI: 9 | 8 (1)"}, told: []string{"broken eapi"},
			fix: "emerge -1auK sys-apps/portage"},
		{name: "CHOST", client: `CHOST="x86_64-gentoo-linux-gnu"`,
			packages: map[string]meta{"app-misc/a-1": {}},
			rows:     []string{"CHOST: x86_64-pc-linux-gnu | x86_64-gentoo-linux-gnu (1)"},
			told:     []string{"broken chost"},
			fix:      `ACCEPT_CHOSTS="x86_64-gentoo-linux-gnu x86_64-pc-linux-gnu"`},
		{name: "CHOST, accepted", client: `CHOST="x86_64-gentoo-linux-gnu"` + "\n" +
			`ACCEPT_CHOSTS="x86_64-.*-linux-gnu"`, packages: map[string]meta{"app-misc/a-1": {}}},
		{name: "CPU", packages: map[string]meta{"app-misc/a-1": {"CFLAGS": "-march=znver3 -O2"},
			"app-misc/b-1": {"USE": "cpu_flags_x86_avx cpu_flags_x86_avx2",
				"IUSE": "cpu_flags_x86_avx cpu_flags_x86_avx2"},
			"app-misc/c-1": {"CFLAGS": "-march=sandybridge",
				"USE": "cpu_flags_x86_avx2"}, "app-misc/d-1": {"CXXFLAGS": "-mavx2"}},
			rows: []string{"CPU: -march=x86-64 -mtune=generic -O2 -pipe | lacks what they need (3)"}, told: []string{"broken cpu"}},
		{name: "a newer CPU there", host: `CFLAGS="-march=native"` + "\n" +
			`CPU_FLAGS_X86="avx avx2 sse sse2"`, packages: map[string]meta{"app-misc/a-1": {
			"CFLAGS": "-march=native"}},
			rows: []string{"CPU: -march=native | lacks avx2 (1)"}, told: []string{"broken cpu"}},
		{name: "an older CPU there", host: `CFLAGS="-march=native"` + "\n" +
			`CPU_FLAGS_X86="sse sse2"`, packages: map[string]meta{"app-misc/a-1": {
			"CFLAGS": "-march=native"}},
			rows: []string{"CPU: -march=native | not known (1)"}, told: []string{"wrong cpu"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, mount := pair(t, tt.host, tt.client, tt.packages)
			for name, text := range tt.files {
				client.write(name, text)
			}
			r := client.compare(mount)
			if got := told(r); !slices.Equal(got, append([]string{}, tt.told...)) {
				t.Errorf("told %q, want %q\n%+v", got, tt.told, r.Findings)
			}
			if len(r.Origins) != 1 || !r.Origins[0].Trusted || r.Origins[0].Problem != "" {
				t.Fatalf("origins %+v", r.Origins)
			}
			if got := rows(r.Origins[0]); !slices.Equal(got, append([]string{}, tt.rows...)) {
				t.Errorf("table %q, want %q", got, tt.rows)
			}
			if n := r.Origins[0]; n.Packages != len(tt.packages) || n.Read != len(tt.packages) {
				t.Errorf("%d packages, %d read", n.Packages, n.Read)
			}
			if len(r.Unknown) > 0 {
				t.Errorf("not known: %q", r.Unknown)
			}
			client.saysTheSame(mount, r)
			if tt.fix != "" && strings.Join(r.Findings[0].Fix[0].Lines, "\n") != tt.fix {
				t.Errorf("fix %+v, want %q", r.Findings[0].Fix, tt.fix)
			}
		})
	}
}

// The same is told of what lies in PKGDIR already, with and without a drive.
func TestLocalPackagesThatPortageCannotRead(t *testing.T) {
	t.Parallel()
	client := newPatient(t, "host-good")
	client.auto = "import"
	client.builds("app-misc/new-1", map[string]string{"EAPI": "9"})
	data,
		err := os.ReadFile("../../testdata/golden/gpkg-classic/pkgdir/app-misc/labhello-1.0-r2.gpkg.tar")
	if err != nil {
		t.Fatal(err)
	}
	client.write("var/cache/binpkgs/app-misc/labhello-1.0-r2.gpkg.tar", string(data))
	if _, err := reindex.Index(t.Context(), client.newMachine(nil), reindex.IndexOptions{},
		nil); err != nil {
		t.Fatal(err)
	}
	const modules = "usr/lib/python3.13/site-packages/portage/"
	client.write(modules+"const.py", "X                        = 1\nEAPI                     = 7\n")
	if err := os.Remove(client.path(modules + "gpkg.py")); err != nil {
		t.Fatal(err)
	}
	r := client.examine(client.options())
	for topic, want := range map[string]string{"eapi": "app-misc/new-1",
		"format": "app-misc/labhello-1.0-r2"} {
		if f := find(r, topic); f == nil || f.Weight != Broken ||
			!slices.Equal(f.Names, []string{want}) || !strings.Contains(f.What, "of PKGDIR") {
			t.Errorf("%s: %+v", topic, f)
		}
	}
}

// A Portage without portage/gpkg.py cannot read GPKG packages at all: each of them is named, and no
// XPAK one.
func TestFormatThatPortageCannotRead(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		host := newPatient(t, "host-good")
		host.builds("app-misc/a-1", nil)
		data,
			err := os.ReadFile("../../testdata/golden/gpkg-classic/pkgdir/app-misc/labhello-1.0-r2.gpkg.tar")
		if err != nil {
			t.Fatal(err)
		}
		host.write("var/cache/binpkgs/app-misc/labhello-1.0-r2.gpkg.tar", string(data))
		mount := t.TempDir()
		host.exports(mount)
		client := newPatient(t, "host-good")
		client.auto = "import"
		client.trustsHost(host)
		if old {
			if err := os.Remove(client.path("usr/lib/python3.13/site-packages/portage/gpkg.py")); err != nil {
				t.Fatal(err)
			}
		}
		var names []string
		if f := find(client.compare(mount), "format"); f != nil && f.Role == Client {
			names = f.Names
		}
		if old != slices.Equal(names, []string{"app-misc/labhello-1.0-r2"}) ||
			!old && names != nil {
			t.Errorf("an old Portage: %t; told of %q", old, names)
		}
	}
}

// The settings that the table's lines name, once they are made, leave no difference between the two
// machines.
func TestDifferencesMend(t *testing.T) {
	t.Parallel()
	client, mount := pair(t,
		`USE="-ssl qt6"`+"\n"+`VIDEO_CARDS="nvidia"`+"\n"+`PYTHON_TARGETS="python3_14"`+"\n"+`ACCEPT_LICENSE="*"`, `CHOST="x86_64-gentoo-linux-gnu"`, map[string]map[string]string{
			"app-misc/a-1": {"USE": "qt6 video_cards_nvidia python_targets_python3_14",
				"IUSE": "qt6 ssl video_cards_nvidia video_cards_intel python_targets_python3_13 python_targets_python3_14"},
			"x11-drivers/nvidia-drivers-1": {"LICENSE": "NVIDIA-r2", "KEYWORDS": "~amd64"},
		})
	before := client.compare(mount)
	if got := told(before); !slices.Equal(got, []string{"broken chost", "wrong keywords",
		"wrong license", "wrong use", "wrong use", "wrong use"}) {
		t.Fatalf("told %q", got)
	}
	for _, f := range before.Findings {
		for _, m := range f.Fix {
			if m.File != "" {
				m.Do = strings.TrimPrefix(m.Do, "until the trees are the same: ")
				client.fix(m)
			}
		}
	}
	if after := client.compare(mount); len(after.Origins[0].Differences) > 0 ||
		find(after, "chost") != nil {
		t.Errorf("still told: %q\n%+v", rows(after.Origins[0]), after.Findings)
	}
}

func TestOriginsThatAreNotBelieved(t *testing.T) {
	t.Parallel()
	client, mount := pair(t, "", "",
		map[string]map[string]string{"app-misc/a-1": {"KEYWORDS": "~amd64"}})
	stranger := newPatient(t, "client-good")
	r := stranger.compare(mount)
	if f := find(r, "trust"); f == nil || f.Weight != Broken ||
		!slices.Equal(r.Roles, []Role{Client}) {
		t.Errorf("a stranger is told %q", told(r))
	}
	if len(r.Origins) != 1 || r.Origins[0].Trusted || len(r.Origins[0].Differences) != 1 {
		t.Errorf("an origin that is not trusted yet is compared too: %+v", r.Origins)
	}

	slots, err := filepath.Glob(filepath.Join(mount, layout.TreeDir, "*", "Manifest*"))
	if err != nil || len(slots) != 2 {
		t.Fatalf("%q, %v", slots, err)
	}
	for _, slot := range slots {
		data, err := os.ReadFile(slot)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(slot, bytes.Replace(data, []byte("DATA "), []byte("DATA x"), 1),
			0o644); err != nil {
			t.Fatal(err)
		}
	}
	r = client.compare(mount)
	if f := find(r, "drive"); f == nil || f.Weight != Broken || r.Origins[0].Problem == "" {
		t.Errorf("a broken signature: %q, %+v", told(r), r.Origins)
	}
	o := client.options()
	o.Drive = t.TempDir()
	if _, err := Examine(t.Context(), o); !errors.Is(err, drive.ErrNoTree) {
		t.Errorf("an empty drive: %v", err)
	}
}

func TestOwnDriveIsNotCompared(t *testing.T) {
	t.Parallel()
	host := newPatient(t, "host-good")
	host.auto = "export"
	host.builds("app-misc/a-1", map[string]string{"KEYWORDS": "~amd64"})
	mount := t.TempDir()
	host.exports(mount)
	if r := host.compare(mount); r.Found() || len(r.Origins) != 1 || !r.Origins[0].Mine {
		t.Errorf("%q, %+v", told(r), r.Origins)
	}
}

// Of many packages some are read, and --deep reads all.
func TestDeep(t *testing.T) {
	t.Parallel()
	packages := map[string]map[string]string{}
	for i := range Sampled + 50 {
		packages[fmt.Sprintf("app-misc/p%d-1", i)] = map[string]string{"CFLAGS": "-march=haswell"}
	}
	client, mount := pair(t, "", "", packages)
	o := client.options()
	o.Drive = mount
	r := client.examine(o)
	if c := r.Origins[0]; c.Read != Sampled || len(r.Unknown) != 1 ||
		len(find(r, "cpu").Names) != Sampled {
		t.Errorf("read %d, not known %q", c.Read, r.Unknown)
	}
	var last progress.Event
	o.Deep, o.Watch = true, progress.OfEvents(func(e progress.Event) { last = e })
	r = client.examine(o)
	if c := r.Origins[0]; c.Read != len(packages) || len(r.Unknown) != 0 ||
		len(find(r, "cpu").Names) != len(packages) || last.FilesTotal != len(packages) {
		t.Errorf("read %d, not known %q, last event %+v", c.Read, r.Unknown, last)
	}
}

// Names that a hostile origin chose never get into lines that a person pastes.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	client, mount := pair(t, `USE="good"`, "", map[string]map[string]string{
		"app-misc/a-1": {"USE": "good x$(id) `id`", "IUSE": "good x$(id) `id`",
			"LICENSE": "$(id) a;b", "KEYWORDS": "~amd64;id"}})
	r := client.compare(mount)
	for _, f := range r.Findings {
		for _, m := range f.Fix {
			if text := strings.Join(m.Lines, "\n"); strings.ContainsAny(text, "`;") ||
				strings.Contains(text, "$(") {
				t.Errorf("%s: %q", f.Topic, m.Lines)
			}
		}
	}
}

func TestIndexAndPKGDIR(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "client-good")
	p.auto = "import"
	p.write("etc/udev/rules.d/90-pkgsneak.rules", "# rule\n")
	p.trusts()
	check := func(what string, want ...string) *Report {
		t.Helper()
		r := p.examine(p.options())
		if got := told(r); !slices.Equal(got, append([]string{}, want...)) {
			t.Errorf("%s: %q, want %q\n%+v", what, got, want, r.Findings)
		}
		return r
	}
	check("empty")
	p.builds("app-misc/a-1", nil)
	check("no index", "broken index")
	index := func() {
		if _, err := reindex.Index(t.Context(), p.newMachine(nil), reindex.IndexOptions{},
			nil); err != nil {
			t.Fatal(err)
		}
	}
	index()
	check("indexed")
	p.builds("app-misc/b-1", nil)
	check("one more", "broken index")
	p.append("etc/portage/make.conf", `FEATURES="-pkgdir-index-trusted"`)
	check("one more, and emerge looks itself", "wrong index")
	index()
	p.write("var/cache/binpkgs/app-misc/odd-1.tbz2", "no package\n")
	check("what no index can have")
	if err := os.Remove(p.path("var/cache/binpkgs/app-misc/a-1.tbz2")); err != nil {
		t.Fatal(err)
	}
	check("one is gone", "wrong index")
	index()
	if err := os.Remove(p.path("var/cache/binpkgs/Packages.gz")); err != nil {
		t.Fatal(err)
	}
	check("Packages.gz is missing", "note index")
	p.write("var/cache/binpkgs/Packages.gz", "old")
	check("Packages.gz is another one", "wrong index")
	index()
	p.builds("app-misc/cpu-1", map[string]string{"USE": "cpu_flags_x86_avx2",
		"IUSE": "cpu_flags_x86_avx2"})
	p.builds("app-misc/i686-1", map[string]string{"CHOST": "i686-pc-linux-gnu"})
	index()
	check("for other machines", "broken chost", "wrong cpu")
	p.write("var/cache/binpkgs/Packages", "TIMESTAMP: 1\nVERSION: 1\n\n")
	check("an index of the future", "wrong index")
	if err := os.RemoveAll(p.path("var/cache/binpkgs")); err != nil {
		t.Fatal(err)
	}
	check("no PKGDIR yet")
	p.write("var/cache/binpkgs", "a file")
	check("PKGDIR is a file", "broken pkgdir")
	if err := os.Remove(p.path("var/cache/binpkgs")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/srv/not-mounted", p.path("var/cache/binpkgs")); err != nil {
		t.Fatal(err)
	}
	check("PKGDIR is a link to nowhere", "broken pkgdir")
}

// The emerge line excludes what would go backwards, and nothing here offers to compile over it.
func TestEmergeLines(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "client-good")
	lines := func() string {
		var l []string
		for _, c := range p.examine(p.options(Client)).Emerge {
			l = append(l, c.Line)
		}
		return strings.Join(l, " | ")
	}
	if got := lines(); got != "" {
		t.Errorf("no package lies here, and the line is %s", got)
	}
	p.builds("app-misc/a-1", nil)
	if _, err := reindex.Index(t.Context(), p.newMachine(nil), reindex.IndexOptions{},
		nil); err != nil {
		t.Fatal(err)
	}
	if got := lines(); got != "emerge -auDK --rebuilt-binaries-timestamp=0 --ignore-default-opts @world" {
		t.Errorf("got %s", got)
	}
}

func TestBinhosts(t *testing.T) {
	t.Parallel()
	host := newPatient(t, "host-good")
	host.builds("app-misc/a-1", nil)
	mount := t.TempDir()
	host.exports(mount)
	origin := mount + "/pkgsneak/patient/packages"
	for _, tt := range []struct {
		name, conf, binrepos string
		want                 []string
	}{
		{"a drive that is used by hand", `PORTAGE_BINHOST="` + origin + `"`,
			"[DEFAULT]\nverify-signature = no\n", nil},
		{"no binhost at all", `FEATURES="getbinpkg"`, "# none\n", []string{"wrong getbinpkg"}},
		{"a drive that is not mounted", `PORTAGE_BINHOST="file:///mnt/nothing"` + "\n" +
			`FEATURES="getbinpkg"`, "# none\n", []string{"wrong binhost"}},
		{"a drive that is not mounted and not used", `PORTAGE_BINHOST="file:///mnt/nothing"`,
			"# none\n", nil},
		{"the drive itself", `PORTAGE_BINHOST="` + mount + `"`, "# none\n",
			[]string{"wrong binhost"}},
		{"a section that verifies by default", "", "[usb]\nsync-uri = file://" + origin + "\n",
			[]string{"wrong verify-signature"}},
		{"a section that does not", "", "[usb]\nsync-uri = file://" + origin +
			"\nverify-signature = false\n", nil},
		{"another one verifies", "",
			"[gentoo]\nsync-uri = https://distfiles.gentoo.org/x\n[usb]\nsync-uri = file://" +
				origin + "\nverify-signature = false\n", []string{"wrong verify-signature"}},
		{"frozen", "", "[usb]\nsync-uri = file://" + origin +
			"\nverify-signature = false\nfrozen = yes\n", []string{"wrong binhost"}},
		{"a question mark", `PORTAGE_BINHOST="/mnt/what?"`, "# none\n", []string{"wrong binhost"}},
		{"what no parser takes", "", "[usb\n", []string{"broken config"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t, "client-nothing")
			p.auto = "import"
			p.write("etc/udev/rules.d/90-pkgsneak.rules", "# rule\n")
			p.trusts()
			p.write("etc/portage/make.conf", tt.conf+"\n")
			p.write("etc/portage/binrepos.conf", tt.binrepos)
			o := p.options()
			o.Root = p.root
			if strings.Contains(tt.conf+tt.binrepos, origin) || strings.Contains(tt.conf, mount) {
				// The drive lies outside of the machine's root: inside, at the same path.
				if err := os.MkdirAll(filepath.Dir(p.path(mount)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(p.path(mount), os.DirFS(mount)); err != nil {
					t.Fatal(err)
				}
			}
			r := p.examine(o)
			if got := told(r); !slices.Equal(got, append([]string{}, tt.want...)) {
				t.Errorf("told %q, want %q\n%+v", got, tt.want, r.Findings)
			}
		})
	}
}

func TestFreeSpace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		free, total int64 // MiB
		want        Weight
	}{
		{500_000, 1_000_000, ""}, {1024, 1_000_000, ""}, {1023, 1_000_000, Wrong},
		{63, 1_000_000, Broken}, {200, 2048, ""}, {100, 2048, Wrong}, {0, 0, Broken},
	} {
		if got := judgeSpace(tt.free<<20, tt.total<<20); got != tt.want {
			t.Errorf("%d of %d MiB: %q, want %q", tt.free, tt.total, got, tt.want)
		}
	}
	p := newPatient(t, "client-good")
	if got := volume.Existing(p.path("a/b/c")); got != p.root {
		t.Errorf("existing: %q", got)
	}
}
