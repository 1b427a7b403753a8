package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pkgsneak/sync/cpv"
)

// month is a host and a client over four weeks. The client keeps the ebuilds of the first day, has
// built one package itself, and types each week the lines of import.
type month struct {
	*portageWorld
	host, client         *portageMachine
	hostRepo, clientRepo string
	drive                string
}

// monthReport is what the test reads of import's last line.
type monthReport struct {
	Report struct {
		Forecast struct {
			OK     bool `json:"ok"`
			Merges []struct {
				Name string `json:"name"`
				Kind string `json:"kind"`
			} `json:"merges"`
			Exclude  []string `json:"exclude"`
			OtherUse []struct {
				Name string `json:"name"`
			} `json:"other_use"`
			Older []struct {
				Name string `json:"name"`
			} `json:"older"`
			Cannot []struct {
				Name  string `json:"name"`
				Cause string `json:"cause"`
				Other string `json:"other"`
			} `json:"cannot"`
			Line string `json:"line"`
		} `json:"forecast"`
	} `json:"result"`
}

// monthEbuild writes an ebuild whose package installs one file. body goes before its src_install.
func monthEbuild(t *testing.T, repo, name, body string) {
	t.Helper()
	c, err := cpv.Parse(name)
	must(t, err)
	file := filepath.Join(repo, c.Category, c.PN, c.PN+"-"+c.Version+".ebuild")
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	if !strings.Contains(body, "SLOT=") {
		body = "SLOT=0\n" + body
	}
	must(t, os.WriteFile(file, fmt.Appendf(nil, `EAPI=8
DESCRIPTION="One file"
HOMEPAGE="https://month.example/"
S="${WORKDIR}"
LICENSE="MIT"
KEYWORDS="amd64"
%s
src_install() {
	insinto /usr/share/%[2]s/${SLOT%%%%/*}
	newins - version <<< "${PV}"
}
`, body, c.PN), 0o644))
}

const (
	needsLib = "RDEPEND=\"dev-libs/lib:=\"\nDEPEND=\"dev-libs/lib:=\""
	// As the real glibc does: all of emerge's run ends before the first package.
	noDowngrade = "pkg_pretend() {\n\thas_version \">${CATEGORY}/${PF}\" && die \"Downgrading glibc is not supported\"\n}"
)

// week exports what the host has, imports it, types the line, and holds what came of it against
// what was told.
func (m *month) week(t *testing.T, importCode int, more ...string) *monthReport {
	t.Helper()
	o := m.client.try(t, nil, m.pkgsneak,
		slices.Concat([]string{"import", "--json", m.drive}, more)...)
	if o.code != importCode {
		t.Fatalf("import: exit %d, want %d\n%s", o.code, importCode, o.text)
	}
	m.confirmed(t)
	return m.install(t, o.text)
}

// confirmed: under the forecast's line real emerge, which doctor --portage asks, would install the
// same. The program asks as the user portage where root runs it; here it is run as somebody else.
func (m *month) confirmed(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), portageTimeout)
	defer cancel()
	var env []string
	if os.Getuid() == 0 { // whose Python another user may not be able to run
		public := filepath.Join(m.portageWorld.dir, "public-bin")
		must(t, os.MkdirAll(public, 0o755))
		if _, err := os.Lstat(filepath.Join(public, "python")); err != nil {
			must(t, os.Symlink("/usr/bin/python3", filepath.Join(public, "python")))
		}
		env = []string{"PATH=" + public + ":" + os.Getenv("PATH")}
	}
	cmd := m.client.command(ctx, env, m.pkgsneak, "doctor", "--client", "--portage", "--json")
	if os.Getuid() == 0 {
		const nobody = 65534
		must(t, os.Chmod(filepath.Dir(m.portageWorld.dir), 0o755))
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 4) {
		t.Fatalf("doctor --portage: %v\n%s", err, out)
	}
	var r struct {
		Result struct {
			Portage *struct {
				Exit      int      `json:"exit"`
				Merges    int      `json:"merges"`
				Same      int      `json:"same"`
				OnlyHere  []string `json:"only_here"`
				OnlyThere []string `json:"only_emerge"`
				Backwards []string `json:"backwards"`
				Said      []string `json:"said"`
			} `json:"portage"`
			Unknown []string `json:"unknown"`
		} `json:"result"`
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	must(t, json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	switch a := r.Result.Portage; {
	case a == nil:
		if installed := m.client.installed(t); len(installed) > 0 { // else there is no forecast
			t.Errorf("doctor --portage has no answer: %q", r.Result.Unknown)
		}
	case a.Exit == 126, a.Exit == 127:
		t.Logf("SKIPPED: doctor --portage was not tried: nobody cannot run Python (%q)", a.Said)
	case a.Exit != 0 || a.Merges == 0 || a.Same != a.Merges ||
		len(a.OnlyHere)+len(a.OnlyThere)+len(a.Backwards) > 0:
		t.Errorf("doctor --portage: emerge and the forecast differ: %+v", *a)
	default:
		t.Logf("doctor --portage: emerge would install the same %d", a.Same)
	}
}

// install types the line of an import.
func (m *month) install(t *testing.T, imported string) *monthReport {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(imported), "\n")
	r := new(monthReport)
	must(t, json.Unmarshal([]byte(lines[len(lines)-1]), r))
	f := &r.Report.Forecast
	before := m.versions(t)
	if f.Line == "" {
		t.Fatalf("import prints no line:\n%s", imported)
	}
	line := strings.Replace(f.Line, "emerge -a", "emerge --color=n -", 1)
	out := m.client.run(t, nil, "sh", "-c", line)
	after := m.versions(t)
	for slot, version := range before {
		switch now, found := after[slot]; {
		case !found:
			t.Errorf("after %s\n%s is gone\n%s", line, slot, out)
		case cpv.CompareVersions(now, version) < 0:
			t.Errorf("after %s\n%s went from %s back to %s\n%s", line, slot, version, now, out)
		}
	}
	have := m.client.installed(t)
	for _, x := range f.Merges {
		if x.Kind != "uninstall" && !slices.Contains(have, x.Name) {
			t.Errorf("after %s\n%s was said to be installed, and is not; installed: %q\n%s", line,
				x.Name, have, out)
		}
	}
	m.client.check(t, "")
	return r
}

// versions maps CATEGORY/PN:SLOT to the version that is installed.
func (m *month) versions(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, name := range m.client.installed(t) {
		c, err := cpv.Parse(name)
		must(t, err)
		slot, _, _ := strings.Cut(strings.TrimSpace(readFile(t,
			filepath.Join(m.client.root, "var/db/pkg", name, "SLOT"))), "/")
		all[c.Category+"/"+c.PN+":"+slot] = c.Version
	}
	return all
}

// build builds on the host.
func (m *month) build(t *testing.T, use string, names ...string) {
	t.Helper()
	args := []string{"--oneshot"}
	for _, name := range names {
		args = append(args, "="+name)
	}
	m.host.emerge(t, []string{"USE=" + use, "FEATURES=binpkg-multi-instance",
		"BINPKG_FORMAT=gpkg"}, args...)
}

// holds reports what is not installed in exactly these versions.
func (m *month) holds(t *testing.T, when string, want map[string]string) {
	t.Helper()
	got := m.versions(t)
	for slot, version := range want {
		if got[slot] != version {
			t.Errorf("%s: %s is %q, want %q; installed: %v", when, slot, got[slot], version,
				maps.All(got))
		}
	}
}

// TestPortageMonth is a month of a host and a client with real Portage: another USE, a package that
// is lost on the way, changes of a sub-slot with a package that only the client has, a new slot, a
// new glibc and an old one again, a rotation of the key, a Ctrl-C, an undo and a lost state
// directory, while the client's tree grows old. After each week the printed line ends well, nothing
// went backwards, and what was told to be installed is installed.
func TestPortageMonth(t *testing.T) {
	w := newPortageWorld(t)
	m := &month{portageWorld: w, drive: w.newDrive(t, "month")}
	m.host = w.machine(t, "month-host", "")
	m.client = w.machine(t, "month-client", "USE=\"-ssl\"\n")
	m.hostRepo, m.clientRepo = m.host.ownRepo(t), m.client.ownRepo(t)
	// the client's tree stays as it is now
	for _, repo := range []string{m.hostRepo, m.clientRepo} {
		categories := filepath.Join(repo, "profiles/categories")
		must(t, os.WriteFile(categories, []byte(readFile(t, categories)+"sys-libs\n"), 0o644))
		monthEbuild(t, repo, "sys-libs/glibc-2.38", noDowngrade)
		monthEbuild(t, repo, "dev-libs/lib-1", "SLOT=0/1")
		monthEbuild(t, repo, "app-misc/app-1", needsLib)
		monthEbuild(t, repo, "app-misc/tool-1", "IUSE=ssl")
		monthEbuild(t, repo, "app-misc/lost-1", "")
		monthEbuild(t, repo, "app-misc/mine-1", needsLib)
		monthEbuild(t, repo, "app-misc/slotted-1", "SLOT=1")
	}
	must(t, os.MkdirAll(filepath.Join(m.client.root, "var/lib/portage"), 0o755))
	must(t, os.WriteFile(filepath.Join(m.client.root, "var/lib/portage/world"),
		[]byte("app-misc/app\napp-misc/lost\napp-misc/slotted\napp-misc/tool\nsys-libs/glibc\n"),
		0o644))

	// The first day. The packages that are built here are in world from now on.
	m.build(t, "", "sys-libs/glibc-2.38", "dev-libs/lib-1", "app-misc/app-1", "app-misc/tool-1",
		"app-misc/lost-1", "app-misc/slotted-1")
	m.host.export(t, m.drive, "month")
	m.client.trust(t, m.drive)
	m.week(t, 0)
	m.client.emerge(t, []string{"FEATURES=-buildpkg"}, "app-misc/mine")
	m.holds(t, "on the first day", map[string]string{"sys-libs/glibc:0": "2.38",
		"app-misc/app:0": "1", "app-misc/mine:0": "1", "app-misc/lost:0": "1"})

	// Week 1: other flags on the host, and a package that gets lost with one that needs it.
	monthEbuild(t, m.hostRepo, "app-misc/tool-2", "IUSE=ssl")
	monthEbuild(t, m.hostRepo, "app-misc/lost-2", "")
	monthEbuild(t, m.hostRepo, "app-misc/app-2",
		"RDEPEND=\"dev-libs/lib:= >=app-misc/lost-2\"\nDEPEND=\"dev-libs/lib:=\"")
	m.build(t, "ssl", "app-misc/tool-2", "app-misc/lost-2", "app-misc/app-2")
	m.host.export(t, m.drive, "month")
	lost, err := filepath.Glob(filepath.Join(m.drive,
		"pkgsneak/month/packages/app-misc/lost/lost-2*"))
	must(t, err)
	if len(lost) != 1 {
		t.Fatalf("the drive has %q", lost)
	}
	must(t, os.Remove(lost[0]))
	r := m.week(t, 3)
	if use := r.Report.Forecast.OtherUse; len(use) != 1 || use[0].Name != "app-misc/tool-2" {
		t.Errorf("week 1: with other USE come %v", use)
	}
	m.holds(t, "week 1", map[string]string{"app-misc/tool:0": "2", "app-misc/app:0": "1",
		"app-misc/lost:0": "1"})

	// Week 2: the lost package comes after all; a new sub-slot, for which the client's own package
	// is not rebuilt; a new slot; a Ctrl-C.
	monthEbuild(t, m.hostRepo, "dev-libs/lib-2", "SLOT=0/2")
	monthEbuild(t, m.hostRepo, "app-misc/app-3", needsLib)
	monthEbuild(t, m.hostRepo, "app-misc/tool-3", "IUSE=ssl")
	monthEbuild(t, m.hostRepo, "app-misc/slotted-2", "SLOT=2")
	m.build(t, "ssl", "dev-libs/lib-2", "app-misc/app-3", "app-misc/tool-3", "app-misc/slotted-2")
	m.host.export(t, m.drive, "month", "--repair")
	m.interrupt(t)
	r = m.week(t, 0)
	m.holds(t, "week 2", map[string]string{"app-misc/tool:0": "3", "dev-libs/lib:0": "1",
		"app-misc/mine:0": "1", "app-misc/lost:0": "2", "app-misc/slotted:1": "1",
		"app-misc/slotted:2": "2"})
	m.staysFor(t, "week 2", r, "dev-libs/lib-2", "app-misc/mine-1")

	// Week 3: the client's package is built on the host as well, so that the sub-slot can move; a
	// new glibc; the key is rotated.
	monthEbuild(t, m.hostRepo, "sys-libs/glibc-2.40", noDowngrade)
	monthEbuild(t, m.hostRepo, "app-misc/app-4", needsLib+"\nRDEPEND+=\" >=sys-libs/glibc-2.40\"")
	m.build(t, "ssl", "sys-libs/glibc-2.40", "app-misc/app-4", "app-misc/mine-1")
	m.host.sneak(t, 0, "key", "rotate")
	m.host.export(t, m.drive, "month")
	m.client.sneak(t, 12, "import", m.drive)
	m.week(t, 0, "--accept-rotation")
	m.holds(t, "week 3", map[string]string{"sys-libs/glibc:0": "2.40", "dev-libs/lib:0": "2",
		"app-misc/app:0": "4", "app-misc/mine:0": "1"})

	// It is taken back, as far as that goes: glibc stays, and so does a package of which no other
	// build is here.
	m.goBack(t, "app-misc/mine-1", "sys-libs/glibc-2.40")
	m.holds(t, "taken back", map[string]string{"sys-libs/glibc:0": "2.40", "dev-libs/lib:0": "2",
		"app-misc/app:0": "3", "app-misc/mine:0": "1"})

	// Week 4: the host went back with glibc and builds everything anew; the client has lost its
	// state.
	m.host.emerge(t, nil, "--unmerge", "sys-libs/glibc")
	must(t, os.RemoveAll(filepath.Join(m.host.pkgdir, "sys-libs")))
	must(t, os.Remove(filepath.Join(m.hostRepo, "sys-libs/glibc/glibc-2.40.ebuild")))
	must(t, os.Remove(filepath.Join(m.hostRepo, "app-misc/app/app-4.ebuild")))
	monthEbuild(t, m.hostRepo, "app-misc/app-5", needsLib)
	m.build(t, "ssl", "sys-libs/glibc-2.38", "app-misc/app-5")
	m.host.sneak(t, 0, "index", m.host.pkgdir)
	m.host.export(t, m.drive, "month")
	must(t, os.RemoveAll(filepath.Join(m.client.dir, "state")))
	m.client.sneak(t, 12, "import", m.drive)
	m.client.trust(t, m.drive)
	// of the newest glibc no package is left anywhere
	must(t, os.RemoveAll(filepath.Join(m.client.pkgdir, "sys-libs")))
	m.client.sneak(t, 0, "index", m.client.pkgdir)
	r = m.week(t, 0)
	if older := r.Report.Forecast.Older; len(older) != 1 ||
		older[0].Name != "sys-libs/glibc-2.38" ||
		!slices.Contains(r.Report.Forecast.Exclude, "sys-libs/glibc") {
		t.Errorf("week 4: older are %v, excluded %q", older, r.Report.Forecast.Exclude)
	}
	m.holds(t, "week 4", map[string]string{"sys-libs/glibc:0": "2.40", "app-misc/app:0": "5",
		"app-misc/mine:0": "1", "dev-libs/lib:0": "2"})
}

// goBack takes the last import back and types the line, which installs the builds that it names and
// nothing else. stay are those that are told to stay installed.
func (m *month) goBack(t *testing.T, stay ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(m.client.sneak(t, 0, "undo", "--json")), "\n")
	var r struct {
		Result struct {
			Back struct {
				Line   string   `json:"line"`
				Names  []string `json:"names"`
				Cannot []struct {
					Name string `json:"name"`
				} `json:"cannot"`
			} `json:"back"`
		} `json:"result"`
	}
	must(t, json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	m.client.check(t, "")
	back := r.Result.Back
	var names []string
	for _, x := range back.Cannot {
		names = append(names, x.Name)
	}
	if slices.Sort(names); !slices.Equal(names, stay) {
		t.Errorf("said to stay installed: %q, want %q", names, stay)
	}
	want := m.versions(t)
	for _, atom := range back.Names {
		c, err := cpv.Parse(strings.TrimPrefix(atom, "="))
		must(t, err)
		want[c.Category+"/"+c.PN+":0"] = c.Version
	}
	out := m.client.run(t, nil, "sh", "-c",
		strings.Replace(back.Line, "emerge -a", "emerge --color=n -", 1))
	if after := m.versions(t); !maps.Equal(after, want) {
		t.Errorf("after %s\nthere is %v, want %v\n%s", back.Line, after, want, out)
	}
}

// staysFor: import has told that a package cannot be installed because it would break another one.
func (m *month) staysFor(t *testing.T, when string, r *monthReport, name, victim string) {
	t.Helper()
	for _, l := range r.Report.Forecast.Cannot {
		if l.Name == name && l.Cause == "breaks" && l.Other == victim {
			return
		}
	}
	t.Errorf("%s: it is not told that %s would break %s: %+v", when, name, victim,
		r.Report.Forecast.Cannot)
}

// interrupt presses Ctrl-C in an import: while it waits for the lock that Portage holds.
func (m *month) interrupt(t *testing.T) {
	t.Helper()
	portage := m.client.start(t, []string{"PYTHONPATH=" + m.pythonLib}, "python", "-c",
		portageLockScript, filepath.Join(m.client.pkgdir, "Packages"))
	portage.waitFor(t, "held")
	waiting := m.client.start(t, nil, m.pkgsneak, "import", m.drive)
	waiting.waitFor(t, "lock")
	must(t, waiting.cmd.Process.Signal(syscall.SIGINT))
	<-waiting.done
	if code := waiting.cmd.ProcessState.ExitCode(); code != 130 {
		text, _ := waiting.output()
		t.Errorf("an interrupted import ends with %d\n%s", code, text)
	}
	must(t, portage.in.Close())
	portage.wait(t)
}
