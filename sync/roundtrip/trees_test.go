package roundtrip

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/undo"
)

// withRepos gives a machine a root directory with ebuild repositories: files by their path below
// /var/db/repos.
func withRepos(t *testing.T, m machine.Machine, root string,
	files map[string]string) machine.Machine {
	t.Helper()
	conf := "[DEFAULT]\nmain-repo = gentoo\n"
	for name, text := range files {
		write(t, filepath.Join(root, "var/db/repos", name), text)
		repo, _, _ := strings.Cut(name, "/")
		if !strings.Contains(conf, "["+repo+"]") {
			conf += "[" + repo + "]\nlocation = /var/db/repos/" + repo + "\n"
		}
	}
	write(t, filepath.Join(root, "etc/portage/repos.conf/all.conf"), conf)
	settings, err := portage.Load(t.Context(), portage.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	m.Settings = settings
	return m
}

func tree(version string, stamp string) map[string]string {
	return map[string]string{
		"gentoo/profiles/repo_name":                      "gentoo\n",
		"gentoo/metadata/layout.conf":                    "masters =\n",
		"gentoo/metadata/timestamp.x":                    stamp + "\n",
		"gentoo/metadata/md5-cache/app-misc/foo-1":       "x\n",
		"gentoo/app-misc/foo/foo-" + version + ".ebuild": "EAPI=8\n",
	}
}

// The ebuild repositories travel: packed once, taken where there is none, renewed, and left alone
// where they are the user's.
func TestTreesTravel(t *testing.T) {
	when := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	drive := t.TempDir()
	hostRoot, clientRoot := t.TempDir(), t.TempDir()
	host := withRepos(t, newMachine(t, "host", when), hostRoot, tree("1", "1777000000"))
	pack(t, host.PKGDIR, "xpak-classic")
	out := mustExport(t, host, exporter.ExportOptions{Drive: drive})
	if len(out.Trees) != 1 || len(out.LeftOut) != 0 {
		t.Fatalf("%+v", out)
	}
	if again := mustExport(t, host, exporter.ExportOptions{Drive: drive}); !again.Unchanged {
		t.Fatalf("nothing had changed: %+v", again.Plan.Trees)
	}
	client := withRepos(t, newMachine(t, "client", when), clientRoot, nil)
	trustEach(t, client, host)
	repo := filepath.Join(clientRoot, "var/db/repos/gentoo")
	if p := mustImport(t, client, importer.ImportOptions{Drive: drive,
		Pretend: true}); p.Trees[0].Action != ebuilds.Take || p.Trees[0].Taken {
		t.Fatalf("%+v", p.Trees[0])
	}
	r := mustImport(t, client, importer.ImportOptions{Drive: drive})
	if len(r.Trees) != 1 || !r.Trees[0].Taken || r.Unchanged ||
		!strings.Contains(r.Trees[0].Conf, "repos.conf/gentoo.conf") {
		t.Fatalf("%+v", r.Trees[0])
	}
	sameFiles(t, repo, filepath.Join(hostRoot, "var/db/repos/gentoo"))
	if again := mustImport(t, client, importer.ImportOptions{Drive: drive}); !again.Unchanged ||
		again.Trees[0].Action != ebuilds.Unchanged {
		t.Fatalf("%+v", again.Trees[0])
	}

	// The host's moves on; the packages do not.
	must(t, os.Remove(filepath.Join(hostRoot, "var/db/repos/gentoo/app-misc/foo/foo-1.ebuild")))
	host = withRepos(t, host, hostRoot, tree("2", "1777100000"))
	if out := mustExport(t, host, exporter.ExportOptions{Drive: drive}); len(out.Trees) != 1 ||
		len(out.Copied) != 0 {
		t.Fatalf("%+v", out)
	}
	archives, err := os.ReadDir(filepath.Join(drive, "pkgsneak/host/repos"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("the old archive is on the drive still: %v %v", archives, err)
	}
	if report, err := inspect.Verify(t.Context(), host, inspect.VerifyOptions{Drive: drive},
		nil); err != nil || len(report.Origins[0].Bad)+len(report.Origins[0].Undeclared) > 0 {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	// the same files, which are written again
	client = withRepos(t, client, clientRoot, tree("1", "1777000000"))
	if r := mustImport(t, client, importer.ImportOptions{Drive: drive}); !r.Trees[0].Taken {
		t.Fatalf("%+v", r.Trees[0])
	}
	sameFiles(t, repo, filepath.Join(hostRoot, "var/db/repos/gentoo"))

	// A tree that is changed here is the user's; --repos none does not look.
	write(t, filepath.Join(repo, "mine"), "x")
	host = withRepos(t, host, hostRoot, tree("3", "1777200000"))
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	if r := mustImport(t, client, importer.ImportOptions{Drive: drive,
		Repos: importer.NoRepos}); len(r.Trees) != 0 {
		t.Fatalf("%+v", r.Trees)
	}
	if r := mustImport(t, client,
		importer.ImportOptions{Drive: drive}); r.Trees[0].Action != ebuilds.LeftAlone ||
		r.Trees[0].Missed() {
		t.Fatalf("%+v", r.Trees[0])
	}
	r = mustImport(t, client, importer.ImportOptions{Drive: drive, AdoptRepos: "gentoo",
		ReposOnly: true})
	if !r.Trees[0].Taken || r.Trees[0].Before != repo+".before-pkgsneak" {
		t.Fatalf("%+v", r.Trees[0])
	}
	if files(t, repo+".before-pkgsneak")["mine"] != "x" {
		t.Error("the user's file is gone")
	}
	if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: drive,
		AdoptRepos: "kit"}, nil); err == nil || !strings.Contains(err.Error(), `"kit"`) {
		t.Errorf("a name that nothing has: %v", err)
	}

	// Without the tree, and of one that is damaged on the drive.
	if out := mustExport(t, host, exporter.ExportOptions{Drive: drive,
		Repos: exporter.NoRepos}); out.Unchanged ||
		out.Plan.Trees[0].Action != exporter.TreeRemove {
		t.Fatalf("%+v", out)
	}
	if r := mustImport(t, client, importer.ImportOptions{Drive: drive}); len(r.Trees) != 0 {
		t.Fatalf("%+v", r.Trees)
	}
	mustExport(t, host, exporter.ExportOptions{Drive: drive, Repos: "gentoo"})
	archives, _ = os.ReadDir(filepath.Join(drive, "pkgsneak/host/repos"))
	damaged := filepath.Join(drive, "pkgsneak/host/repos", archives[0].Name())
	data, err := os.ReadFile(damaged)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(damaged, data, 0o644))
	client = withRepos(t, newMachine(t, "other", when), t.TempDir(), nil)
	trustEach(t, client, host)
	if r := mustImport(t, client, importer.ImportOptions{Drive: drive}); !r.Trees[0].Missed() ||
		len(r.Origins[0].LeftOut) > 0 {
		t.Fatalf("%+v", r.Trees[0])
	}
	if out := mustExport(t, host, exporter.ExportOptions{Drive: drive,
		Repair: true}); len(out.Trees) != 1 {
		t.Fatalf("%+v", out.Plan)
	}
	if r := mustImport(t, client, importer.ImportOptions{Drive: drive}); !r.Trees[0].Taken {
		t.Fatalf("%+v", r.Trees[0])
	}
}

func sameFiles(t *testing.T, dir, want string) {
	t.Helper()
	a, b := files(t, dir), files(t, want)
	for name, text := range b {
		if a[name] != text {
			t.Errorf("%s: %s has %q, want %q", dir, name, a[name], text)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s has %d files, want %d", dir, len(a), len(b))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The import that brings a tree tells what is in it: advisories that close, ebuilds that could be
// compiled, and nothing of the tree that was there before.
func TestForecastStandsOnTheNewTree(t *testing.T) {
	when := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	drive, clientRoot := t.TempDir(), t.TempDir()
	files := tree("1", "1777000000")
	files["gentoo/metadata/glsa/glsa-202604-07.xml"] = `<?xml version="1.0"?>
<glsa id="202604-07"><title>x</title><affected><package name="app-misc/labhello" auto="yes" arch="*">
<unaffected range="ge">1.0</unaffected><vulnerable range="lt">1.0</vulnerable></package></affected></glsa>`
	files["gentoo/app-misc/wanted/wanted-3.ebuild"] = "EAPI=8\n"
	files["gentoo/metadata/md5-cache/app-misc/wanted-3"] = "EAPI=8\nSLOT=0\nKEYWORDS=amd64\n"
	host := withRepos(t, newMachine(t, "host", when), t.TempDir(), files)
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	bareRoot := t.TempDir()
	for _, root := range []string{clientRoot, bareRoot} {
		for name, text := range map[string]string{"SLOT": "0", "EAPI": "8", "KEYWORDS": "amd64",
			"BUILD_TIME": "1600000000", "repository": "gentoo"} {
			write(t, filepath.Join(root, "var/db/pkg/app-misc/labhello-0.9", name), text+"\n")
		}
		write(t, filepath.Join(root, "var/lib/portage/world"),
			"app-misc/labhello\napp-misc/wanted\n")
	}
	bare := withRepos(t, newMachine(t, "bare", when), bareRoot, nil)
	trustEach(t, bare, host)
	for _, pretend := range []bool{true, false} { // in the first the tree is on the drive only
		r := mustImport(t, bare, importer.ImportOptions{Drive: drive, Pretend: pretend})
		if f := r.Outlook; f == nil || len(f.Security) != 1 || f.Security[0].ID != "202604-07" {
			t.Errorf("no tree here, pretended %v: %+v, %+v", pretend, r.Trees[0], r.Outlook)
		}
	}
	old := tree("0", "1770000000")
	old["gentoo/profiles/package.mask"] = "app-misc/labhello\n"
	client := withRepos(t, newMachine(t, "client", when), clientRoot, old)
	trustEach(t, client, host)
	r := mustImport(t, client, importer.ImportOptions{Drive: drive, AdoptRepos: "gentoo"})
	if !r.Trees[0].Taken {
		t.Fatalf("%+v", r.Trees[0])
	}
	if f := r.Outlook; f == nil || len(f.Security) != 1 || f.Security[0].ID != "202604-07" ||
		len(f.Compile) != 1 || f.Compile[0].Name != "app-misc/wanted-3" {
		t.Fatalf("%+v", r.Outlook)
	}
	for _, notice := range r.Notices {
		if strings.Contains(notice, "older here than on origin") {
			t.Errorf("of the tree before: %s", notice)
		}
	}
}

// Where the newest packages were built from another state of the repository than the one that
// travels, an export reports it; where they were not, it does not.
func TestTreeOfThePackages(t *testing.T) {
	when := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	const built, later = "1111111111111111111111111111111111111111",
		"2222222222222222222222222222222222222222"
	for _, now := range []string{built, later} {
		files := tree("1", "1777000000")
		files["gentoo/metadata/timestamp.commit"] = now + " 1777000000 2026-04-24T03:06:40Z\n"
		host := withRepos(t, newMachine(t, "host", when), t.TempDir(), files)
		pack(t, host.PKGDIR, "xpak-classic")
		index := filepath.Join(host.PKGDIR, "Packages")
		data, err := os.ReadFile(index)
		must(t, err)
		must(t, os.WriteFile(index, append([]byte("REPO_REVISIONS: {\"gentoo\": \""+built+"\"}\n"),
			data...), 0o644))
		r := mustExport(t, host, exporter.ExportOptions{Drive: t.TempDir()})
		told := strings.Contains(strings.Join(r.Notices, "\n"),
			"another one than the newest packages")
		if told != (now == later) {
			t.Errorf("%s: %q", now, r.Notices)
		}
	}
}

// A repository that came alone and was taken back does not come by itself again; a person may bring
// it.
func TestUndoneTreeAndAuto(t *testing.T) {
	when := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	drive, hostRoot, clientRoot := t.TempDir(), t.TempDir(), t.TempDir()
	host := withRepos(t, newMachine(t, "host", when), hostRoot, tree("1", "1777000000"))
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	client := withRepos(t, newMachine(t, "client", when), clientRoot, nil)
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: drive})
	repo := filepath.Join(clientRoot, "var/db/repos/gentoo")
	must(t, os.WriteFile(filepath.Join(clientRoot, "etc/portage/repos.conf/all.conf"),
		[]byte("[gentoo]\nlocation = /var/db/repos/gentoo\n"), 0o644))
	settings, err := portage.Load(t.Context(), portage.Options{Root: clientRoot})
	must(t, err)
	client.Settings = settings
	must(t, os.Remove(filepath.Join(hostRoot, "var/db/repos/gentoo/app-misc/foo/foo-1.ebuild")))
	host = withRepos(t, host, hostRoot, tree("2", "1777100000"))
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	if r := mustImport(t, client, importer.ImportOptions{Drive: drive}); !r.Trees[0].Taken {
		t.Fatalf("%+v", r.Trees[0])
	}
	if r, err := undo.Undo(t.Context(), client, undo.Options{}, nil); err != nil ||
		len(r.Repositories) != 1 || r.Repositories[0].Reason != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	auto := client
	auto.Unattended = true
	if r := mustImport(t, auto, importer.ImportOptions{Drive: drive}); r.Undone != 1 ||
		len(r.Trees) != 0 {
		t.Errorf("by itself: %d passed over, %+v", r.Undone, r.Trees)
	}
	if _, err := os.Stat(filepath.Join(repo, "app-misc/foo/foo-1.ebuild")); err != nil {
		t.Error(err)
	}
	if r := mustImport(t, client, importer.ImportOptions{Drive: drive}); !r.Trees[0].Taken {
		t.Errorf("by hand: %+v", r.Trees[0])
	}
}
