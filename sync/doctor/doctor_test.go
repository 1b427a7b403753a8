package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/state"
)

var today = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// patient is a machine of testdata/doctor in a directory of its own.
type patient struct {
	t    *testing.T
	root string
	auto string
}

func newPatient(t *testing.T, name string) *patient {
	t.Helper()
	p := &patient{t: t, root: t.TempDir()}
	for _, from := range []string{"common", name} {
		copyTree(t, "../../testdata/doctor/"+from, p.root)
	}
	for _, dir := range []string{"var/cache/binpkgs", "var/cache/distfiles", "var/lib/pkgsneak"} {
		if err := os.MkdirAll(filepath.Join(p.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// copyTree copies files, directories and links.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(dest, 0o755)
		}
		if d.Type()&os.ModeSymlink != 0 {
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(target, dest)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(dest, data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *patient) path(name string) string { return filepath.Join(p.root, name) }

func (p *patient) write(name, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(name), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// newMachine is what an operation is given of the patient.
func (p *patient) newMachine(env map[string]string) machine.Machine {
	p.t.Helper()
	s, err := portage.Load(p.t.Context(), portage.Options{Root: p.root,
		Env: func(k string) (string, bool) { v, ok := env[k]; return v, ok }})
	if err != nil {
		p.t.Fatal(err)
	}
	return machine.Machine{Settings: s, Hostname: "patient", Now: func() time.Time { return today },
		StateDir: p.path("var/lib/pkgsneak"),
		PKGDIR:   p.path(s.PKGDIR()), DISTDIR: p.path(s.DISTDIR()), Version: "test"}
}

// options are those of a run of the doctor there; how much room the machine that tests has tells
// nothing.
func (p *patient) options(roles ...Role) Options {
	p.t.Helper()
	o := Options{Machine: p.newMachine(nil), Root: p.root, Roles: roles, Auto: p.auto,
		Ignore: []string{"room"}}
	o.CPUInfo, _ = os.ReadFile(p.path("proc/cpuinfo"))
	o.Routes, _ = os.ReadFile(p.path("proc/net/route"))
	return o
}

func (p *patient) examine(o Options) *Report {
	p.t.Helper()
	r, err := Examine(p.t.Context(), o)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// remember writes to the state directory.
func (p *patient) remember(do func(*state.Dir) error) {
	p.t.Helper()
	st, err := state.Open(p.t.Context(), p.path("var/lib/pkgsneak"), state.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer st.Close()
	if err := do(st); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) signs() {
	p.t.Helper()
	p.remember(func(st *state.Dir) error { return st.SaveSigningKey(newKey(p.t)) })
}

func (p *patient) trusts() {
	p.t.Helper()
	p.remember(func(st *state.Dir) error { return st.Trust(newKey(p.t).Public()) })
}

func newKey(t *testing.T) *manifest.PrivateKey {
	t.Helper()
	k, err := manifest.GenerateKey("bighost", today.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// told is the list of findings, "weight topic" each, in order.
func told(r *Report) []string {
	list := []string{}
	for _, f := range r.Findings {
		list = append(list, string(f.Weight)+" "+f.Topic)
	}
	return list
}

func find(r *Report, topic string) *Finding {
	for i := range r.Findings {
		if r.Findings[i].Topic == topic {
			return &r.Findings[i]
		}
	}
	return nil
}

func TestMachines(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		tree   string
		roles  []Role
		signs  bool
		trusts bool
		auto   string
		want   []string
	}{
		{tree: "host-good", signs: true, auto: "export"},
		{tree: "host-good", roles: []Role{Host}, auto: "export", want: []string{"note key"}},
		{tree: "host-native", signs: true, want: []string{"broken buildpkg", "wrong march",
			"wrong cpu-flags", "wrong compress", "note auto"}},
		{tree: "host-family", signs: true, want: []string{"wrong march", "wrong cpu-flags",
			"note auto"}},
		{tree: "host-v3", signs: true, want: []string{"note march", "note auto"}},
		{tree: "host-traps", signs: true, want: []string{"broken buildpkg", "broken compress",
			"note auto"}},
		{tree: "host-page", signs: true, want: []string{"note auto"}},
		{tree: "client-good", trusts: true, want: []string{"note auto"}},
		{tree: "client-page", trusts: true, want: []string{"wrong getbinpkg", "note auto",
			"note respect-use"}},
		{tree: "client-page", roles: []Role{Client},
			want: []string{"broken trust", "wrong getbinpkg", "note auto", "note respect-use"}},
		{tree: "client-nothing", want: []string{"note role"}},
		{tree: "client-page", want: []string{"broken trust", "wrong getbinpkg", "note auto",
			"note respect-use"}},
		{tree: "client-nothing", roles: []Role{Client},
			want: []string{"broken trust", "note auto"}},
		{tree: "client-usepkg", trusts: true, want: []string{"wrong usepkg", "wrong getbinpkg",
			"note auto"}},
		{tree: "client-broken", trusts: true, want: []string{"broken config", "note auto"}},
		// both: the client's part of a good host is good
		{tree: "host-good", trusts: true, auto: "both"},
	} {
		t.Run(tt.tree, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t, tt.tree)
			p.auto = tt.auto
			if tt.signs || tt.auto == "both" {
				p.signs()
			}
			if tt.trusts {
				p.trusts()
			}
			r := p.examine(p.options(tt.roles...))
			if got := told(r); !slices.Equal(got, append([]string{}, tt.want...)) {
				t.Errorf("got %q, want %q", got, tt.want)
				for _, f := range r.Findings {
					t.Logf("%+v", f)
				}
			}
			if want := slices.ContainsFunc(tt.want, func(w string) bool {
				return !strings.HasPrefix(w, "note")
			}); r.Found() != want {
				t.Errorf("found %v, want %v", r.Found(), want)
			}
			if len(r.Unknown) > 0 {
				t.Errorf("not known: %q", r.Unknown)
			}
			for _, f := range r.Findings {
				if f.What == "" || f.Why == "" || strings.Contains(f.Why, "\n") ||
					strings.Contains(f.What, "\n") || strings.HasSuffix(f.Why, ": ") {
					t.Errorf("finding %+v does not say what and why in one line", f)
				}
				if f.Weight != Note && len(f.Fix) == 0 {
					t.Errorf("finding %q says nothing that fixes it", f.What)
				}
			}
		})
	}
}

// The lines of a finding fix it: they are put where they belong, and the finding is gone.
func TestMendsMend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		tree  string
		roles Role
		extra string // a line for make.conf
		topic string
	}{
		{"host-native", Host, "", "buildpkg"},
		{"host-native", Host, "", "march"},
		{"host-native", Host, "", "cpu-flags"},
		{"host-native", Host, "", "compress"},
		{"host-native", Host, `CFLAGS="-O2 -mavx2 -DX=\"a b\" -march=skylake"`, "march"},
		{"host-native", Host, `RUSTFLAGS="-Ctarget-cpu=znver2 -C opt-level=2"`, "march"},
		{"host-native", Host, `BINPKG_FORMAT="rpm"`, "format"},
		{"host-good", Host, `CPU_FLAGS_X86="avx2 sse2"`, "cpu-flags"},
		{"host-family", Host, "", "march"},
		{"host-traps", Host, "", "buildpkg"},
		{"host-traps", Host, "", "compress"},
		{"host-page", Host, `FEATURES="-buildpkg"`, "buildpkg"},
		{"client-page", Client, "", "getbinpkg"},
		{"client-page", Client, "", "respect-use"},
		{"client-usepkg", Client, "", "usepkg"},
		{"client-usepkg", Client, "", "getbinpkg"},
		{"client-good", Client,
			`EMERGE_DEFAULT_OPTS="-aK --binpkg-respect-use y --exclude \"a b\""`, "respect-use"},
		{"client-good", Client, `EMERGE_DEFAULT_OPTS="-avG"`, "getbinpkg"},
		{"client-good", Client, `EMERGE_DEFAULT_OPTS="-k --exclude '$X \"q\" \\\\'"`, "usepkg"},
	} {
		t.Run(tt.tree+" "+tt.topic+tt.extra, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t, tt.tree)
			if tt.extra != "" {
				p.append(p.newMachine(nil).Settings.MakeConf(), tt.extra)
			}
			before := p.examine(p.options(tt.roles))
			if find(before, tt.topic) == nil {
				t.Fatalf("%s is not found, only %q", tt.topic, told(before))
			}
			for _, f := range before.Findings {
				for _, m := range f.Fix {
					if f.Topic == tt.topic && m.File != "" {
						p.fix(m)
					}
				}
			}
			after := p.examine(p.options(tt.roles))
			if f := find(after, tt.topic); f != nil {
				t.Errorf("not fixed: %+v", *f)
			}
			if len(after.Findings) >= len(before.Findings) {
				t.Errorf("before %q, after %q", told(before), told(after))
			}
		})
	}
}

// All that is told at once can be done at once: no line undoes what another one fixed.
func TestAllMendsTogether(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		tree  string
		roles []Role
		extra string
	}{
		{"host-native", []Role{Host}, ""},
		{"host-family", []Role{Host}, ""},
		{"host-traps", []Role{Host}, `CFLAGS="-march=native"`},
		{"client-page", []Role{Client}, `EMERGE_DEFAULT_OPTS="-gk --binpkg-respect-use=n"`},
		{"client-usepkg", []Role{Client}, ""},
		{"client-usepkg", []Role{Host, Client}, `EMERGE_DEFAULT_OPTS="-GK --binpkg-respect-use y"`},
		{"client-good", []Role{Client}, `EMERGE_DEFAULT_OPTS="-k -G"`},
	} {
		p := newPatient(t, tt.tree)
		p.trusts()
		p.append(p.newMachine(nil).Settings.MakeConf(), tt.extra)
		before := p.examine(p.options(tt.roles...))
		for _, f := range before.Findings {
			for _, m := range f.Fix {
				if m.File != "" && f.Topic != "auto" {
					p.fix(m)
				}
			}
		}
		for _, f := range p.examine(p.options(tt.roles...)).Findings {
			if f.Topic != "auto" && f.Topic != "key" {
				t.Errorf("%s %s: %q, and then still %+v", tt.tree, tt.extra, told(before), f)
			}
		}
	}
}

// fix carries out a fix of a file.
func (p *patient) fix(m Fix) {
	p.t.Helper()
	data, err := os.ReadFile(p.path(m.File))
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	lines, at := strings.Split(string(data), "\n"), -1
	variable, isVariable := strings.CutPrefix(m.Do, "instead of the line that sets ")
	n, isLine := strings.CutPrefix(m.Do, "instead of line ")
	for i, line := range lines {
		if isVariable && strings.HasPrefix(line, variable+"=") || isLine && strconv.Itoa(i+1) == n {
			at = i
		}
	}
	switch {
	case at >= 0:
		p.write(m.File, strings.Join(slices.Replace(lines, at, at+1, m.Lines...), "\n"))
	case m.Do == "at the end of the file":
		p.append(m.File, m.Lines...)
	default:
		p.t.Errorf("there is nothing to %s in %s", m.Do, m.File)
	}
}

// append adds lines to a configuration file.
func (p *patient) append(name string, lines ...string) {
	p.t.Helper()
	old, err := os.ReadFile(p.path(name))
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	p.write(name, string(old)+"\n"+strings.Join(lines, "\n")+"\n")
}

func TestMendKeepsTheRest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ tree, topic, want string }{
		{"host-native", "march",
			`/etc/portage/make.conf: COMMON_FLAGS="-march=x86-64 -mtune=generic -O2 -pipe" | /etc/portage/make.conf: RUSTFLAGS=""`},
		{"host-family", "march",
			`/etc/portage/cpu.conf: CFLAGS="-march=x86-64 -mtune=generic -O2 -pipe" | /etc/portage/make.conf: CXXFLAGS="-march=x86-64 -mtune=generic -O2 -pipe"`},
		{"host-native", "cpu-flags",
			`/etc/portage/package.use/00cpu-flags: */* CPU_FLAGS_X86: -* mmx mmxext sse sse2`},
		{"host-traps", "buildpkg",
			`/etc/portage/make.conf: FEATURES="${FEATURES} buildpkg" | : quickpkg --include-config=y "*/*"`},
		{"client-page", "respect-use", `/etc/make.conf: EMERGE_DEFAULT_OPTS="--quiet-build=y"`},
		{"client-usepkg", "usepkg",
			`/etc/portage/make.conf/all: EMERGE_DEFAULT_OPTS="--jobs 2 --with-bdeps y --usepkgonly"`},
		{"client-usepkg", "getbinpkg",
			`/etc/portage/make.conf/all: FEATURES="${FEATURES} -getbinpkg" | /etc/portage/make.conf/all: EMERGE_DEFAULT_OPTS="--jobs 2 --with-bdeps y --usepkgonly"`},
	} {
		p := newPatient(t, tt.tree)
		role := Host
		if strings.HasPrefix(tt.tree, "client") {
			role = Client
		}
		f := find(p.examine(p.options(role)), tt.topic)
		if f == nil {
			t.Errorf("%s: no %s", tt.tree, tt.topic)
			continue
		}
		var got []string
		for _, m := range f.Fix {
			got = append(got, m.File+": "+strings.Join(m.Lines, " / "))
		}
		if s := strings.Join(got, " | "); s != tt.want {
			t.Errorf("%s, %s:\n%s\nwant\n%s", tt.tree, tt.topic, s, tt.want)
		}
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(*patient)
		want    []Role
	}{
		{"nothing", func(*patient) {}, []Role{}},
		{"a signing key", func(p *patient) { p.signs() }, []Role{Host}},
		{"exported before, the key is gone", func(p *patient) {
			p.remember(func(st *state.Dir) error {
				return st.SaveExported("x", state.Exported{PKGDIR: "/p", Serial: 1})
			})
		}, []Role{Host}},
		{"trusts", func(p *patient) { p.trusts() }, []Role{Client}},
		{"imported before", func(p *patient) {
			p.remember(func(st *state.Dir) error {
				return st.AddRun(state.Run{When: today, Verb: "import", Result: "done"})
			})
		}, []Role{Client}},
		{"conf.d says export", func(p *patient) { p.auto = "export" }, []Role{Host}},
		{"conf.d says import", func(p *patient) { p.auto = "import" }, []Role{Client}},
		{"conf.d says both", func(p *patient) { p.auto = "both" }, []Role{Host, Client}},
		{"signs and trusts", func(p *patient) { p.signs(); p.trusts() }, []Role{Host, Client}},
	} {
		p := newPatient(t, "client-nothing")
		tt.prepare(p)
		r := p.examine(p.options())
		if !slices.Equal(r.Roles, tt.want) || len(r.Because) == 0 && len(tt.want) > 0 {
			t.Errorf("%s: roles %q because %q, want %q", tt.name, r.Roles, r.Because, tt.want)
		}
	}
}

func TestKeysAndClock(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "host-good")
	p.auto = "export"
	p.remember(func(st *state.Dir) error {
		return st.SaveExported("big", state.Exported{PKGDIR: "/p", Serial: 1})
	})
	if got := told(p.examine(p.options())); !slices.Equal(got, []string{"broken key"}) {
		t.Errorf("a host that lost its key: %q", got)
	}
	p.signs()
	if err := os.Chmod(p.path("var/lib/pkgsneak/signing.asc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := told(p.examine(p.options())); !slices.Equal(got, []string{"wrong key"}) {
		t.Errorf("a key that others can read: %q", got)
	}

	p = newPatient(t, "client-good")
	p.auto = "import"
	p.write("etc/udev/rules.d/90-pkgsneak.rules", "# a rule\n")
	p.trusts()
	o := p.options()
	o.Machine.Now = func() time.Time { return time.Unix(4000, 0) }
	if got := told(p.examine(o)); !slices.Equal(got, []string{"wrong clock"}) {
		t.Errorf("a clock in 1970: %q", got)
	}
	p.remember(func(st *state.Dir) error { return st.RaiseTime(today.Add(48 * time.Hour)) })
	r := p.examine(p.options())
	if f := find(r, "clock"); f == nil || !strings.Contains(f.What, "2026-11-03 12:00") {
		t.Errorf("a clock behind a signature: %+v", r.Findings)
	}
	p.write("var/lib/pkgsneak/memory", "not that\n")
	if f := find(p.examine(p.options(Client)), "state"); f == nil || f.Weight != Broken {
		t.Error("a damaged memory is not told")
	}
}

func TestTrustedKeysThatAreNoMore(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "client-good")
	p.auto = "import"
	p.write("etc/udev/rules.d/90-pkgsneak.rules", "# a rule\n")
	for _, name := range []string{"ed25519-revoked", "ed25519-expiry"} {
		data, err := os.ReadFile("../../manifest/testdata/keys/" + name + ".asc")
		if err != nil {
			t.Fatal(err)
		}
		p.write("var/lib/pkgsneak/trusted/"+name+".asc", string(data))
	}
	later := func() *Report {
		o := p.options()
		o.Machine.Now = func() time.Time { return today.AddDate(30, 0, 0) }
		return p.examine(o)
	}
	if got := told(later()); !slices.Equal(got, []string{"broken trust", "broken trust"}) {
		t.Errorf("only keys that are no more: %q", got)
	}
	p.trusts()
	if got := told(later()); !slices.Equal(got, []string{"wrong trust", "wrong trust"}) {
		t.Errorf("a good one beside them: %q", got)
	}
}

func TestAutomaticRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		auto, rule string
		want       []string
	}{
		{"import", "# rule\n", []string{}},
		{"", "# rule\n", []string{"wrong auto"}},
		{"import", "", []string{"wrong auto"}},
		{"", "", []string{"note auto"}},
		{"exprot", "# rule\n", []string{"wrong auto"}},
	} {
		p := newPatient(t, "client-good")
		p.trusts()
		p.auto = tt.auto
		if tt.rule != "" {
			p.write("usr/lib/udev/rules.d/90-pkgsneak.rules", tt.rule)
		}
		if got := told(p.examine(p.options())); !slices.Equal(got, tt.want) {
			t.Errorf("PKGSNEAK_AUTO=%q, rule %q: %q", tt.auto, tt.rule, got)
		}
		p.write("etc/udev/rules.d/90-pkgsneak.rules", "")
		if r := p.examine(p.options()); tt.auto == "import" && find(r, "auto") == nil {
			t.Error("a rule that an empty one in /etc switches off is taken for one")
		}
	}
}

func TestIgnoredTopics(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "host-native")
	o := p.options(Host)
	o.Ignore = append(o.Ignore, "march", "cpu-flags", "buildpkg", "compress")
	r := p.examine(o)
	if r.Found() || r.Ignored != 4 {
		t.Errorf("%q, %d ignored", told(r), r.Ignored)
	}
}

func TestNetworkDecidesAboutGetbinpkg(t *testing.T) {
	t.Parallel()
	const (
		head     = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
		lan      = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
		otherLAN = "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
		world    = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
		zero     = "00000000000000000000000000000000"
		world6   = zero + " 00 " + zero +
			" 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"
		none6 = zero + " 00 " + zero + " 00 " + zero +
			" ffffffff 00000001 00000000 00200200 lo\n"
		link6 = "fe800000000000000000000000000000 40 " + zero + " 00 " + zero +
			" 00000100 00000001 00000000 00000001 eth0\n"
		page  = "http://192.168.1.10/funtoo/packages"
		named = "https://host.example/packages"
	)
	for _, tt := range []struct {
		name, route, route6, uri string
		want                     answer
	}{
		{"no route at all", head, "", page, no},
		{"no route at all", head, link6, named, no},
		{"the binhost's network", head + lan, "", page, yes},
		{"another network", head + otherLAN, "", page, no},
		{"a name, and only a local network", head + lan, "", named, maybe},
		{"a name, and a route to the world", head + lan + world, "", named, yes},
		{"a route to the world", head + world, "", page, yes},
		{"the kernel's unreachable route", head, none6, page, no},
		{"a name, and a route to the world of IPv6", head, world6, named, yes},
		{"IPv4, and a route to the world of IPv6 only", head, world6, page, no},
		{"this machine", head, "", "http://127.0.0.1:8080/packages", yes},
	} {
		p := newPatient(t, "client-page")
		o := p.options(Client)
		o.Routes, o.Routes6 = []byte(tt.route), []byte(tt.route6)
		if got := readNetwork(o.Routes, o.Routes6).reaches(tt.uri); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if got := find(p.examine(o), "getbinpkg") != nil; tt.uri == page && got != (tt.want == no) {
			t.Errorf("%s: told %v", tt.name, got)
		}
	}
	p := newPatient(t, "client-page")
	o := p.options(Client)
	o.Routes = nil
	if r := p.examine(o); find(r, "getbinpkg") != nil || len(r.Unknown) != 1 {
		t.Errorf("without /proc/net/route: %q, %q", told(r), r.Unknown)
	}
}

// Every finding's topic can be explained, and the topics are sorted into the order of findings by
// their place.
func TestTopics(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, topic := range Topics() {
		if seen[topic.Name] || topic.Title == "" || strings.TrimSpace(topic.Text) == "" {
			t.Errorf("topic %q", topic.Name)
		}
		seen[topic.Name] = true
		for line := range strings.Lines(topic.Text) {
			if len(line) > 130 {
				t.Errorf("%s: %q is long", topic.Name, line)
			}
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(data), `Topic: "`) {
			if topic, _, _ := strings.Cut(part, `"`); i > 0 &&
				!strings.HasSuffix(name, "_test.go") && !seen[topic] {
				t.Errorf("%s: topic %q cannot be explained", name, topic)
			}
		}
	}
	if _, ok := LookUpTopic("nonsense"); ok {
		t.Error("nonsense is explained")
	}
}
