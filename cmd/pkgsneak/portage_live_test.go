package main_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pkgsneak/sync/durable"
)

// portageHostPackages are the packages that the host of TestPortage builds: every format in every
// layout. Entries of equal CPV would have no defined order in the index, so each is built once.
var portageHostPackages = []string{
	"app-misc/gate-1.gpkg.tar",
	"app-misc/hello/hello-1.0-r2-1.xpak",
	"app-text/story-1.0.gpkg.tar",
	"dev-libs/greet++-2.1_p3.tbz2",
	"virtual/words/words-0-r1-1.gpkg.tar",
}

const portageDistfile = "story-1.0+first.txt"

// portageStage is what the tests start from: a host that has built and exported once. No test
// changes it.
type portageStage struct {
	*portageWorld
	host  *portageMachine
	drive string
}

// distfiles is the origin's mirror on the drive.
func (s *portageStage) distfiles() string {
	return filepath.Join(s.drive, "pkgsneak/host/distfiles")
}

// client makes a machine that trusts the host and has imported nothing yet.
func (s *portageStage) client(t *testing.T, name, conf string) *portageMachine {
	t.Helper()
	m := s.machine(t, name, conf)
	m.trust(t, s.drive)
	return m
}

// fork makes a second build host with the packages and the installed ones of the first. It is an
// origin of its own.
func (s *portageStage) fork(t *testing.T, name, conf string) *portageMachine {
	t.Helper()
	m := s.machine(t, name, conf)
	copyTree(t, s.host.pkgdir, m.pkgdir)
	must(t, os.RemoveAll(m.root))
	must(t, os.CopyFS(m.root, os.DirFS(s.host.root)))
	return m
}

func TestPortage(t *testing.T) {
	w := newPortageWorld(t)
	host := w.machine(t, "host",
		"PORTAGE_BINHOST_HEADER_URI=\"https://nowhere.example/packages\"\nPORTAGE_BINHOST_TTL=\"86400\"\n")
	must(t, copyFile(portageTestdata(filepath.Join("mirror", portageDistfile)),
		filepath.Join(host.distdir, portageDistfile)))
	host.buildpkg(t, "xpak", "classic", "world", "dev-libs/greet++")
	host.buildpkg(t, "gpkg", "classic", "world", "app-text/story", "app-misc/gate")
	host.buildpkg(t, "gpkg", "multi-instance", "world", "virtual/words")
	// last, with the FEATURES of make.conf: they stay in the index's header
	host.buildpkg(t, "xpak", "multi-instance", "world", "app-misc/hello")
	if got := slices.Sorted(maps.Keys(packageFiles(t, host.pkgdir))); !slices.Equal(got,
		portageHostPackages) {
		t.Fatalf("the host built %q, want %q", got, portageHostPackages)
	}
	s := &portageStage{portageWorld: w, host: host, drive: w.newDrive(t, "first")}
	host.check(t, "")
	host.export(t, s.drive, "host")

	for _, test := range []struct {
		name string
		run  func(*testing.T, *portageStage)
	}{
		{"index of what a host built", testPortageIndex},
		{"index check agrees with emaint check", testPortageIndexCheck},
		{"emaint check is silent after import", testPortageImportCheck},
		{"client of another CHOST", testPortageOtherCHOST},
		{"install offline", testPortageInstall},
		{"import in the middle of an emerge", testPortageImportInMiddle},
		{"import and emerge side by side", testPortageImportBeside},
		{"quickpkg", testPortageQuickpkg},
		{"odd images", testPortageOddImages},
		{"signed packages", testPortageSigned},
		{"build that failed", testPortageFailedBuild},
		{"drive as binhost", testPortageBinhost},
		{"drive as mirror", testPortageMirror},
		{"local packages beside", testPortageLocalBeside},
		{"local build at the same path before", testPortageSamePathBefore},
		{"local build at the same path after", testPortageSamePathAfter},
		{"two origins", testPortageTwoOrigins},
		{"what import says to type next", testPortageNext},
		{"lock held by Portage", testPortageHoldsLock},
		{"lock held by pkgsneak", testPortageWaitsForLock},
		{"golden damaged packages", testPortageCorrupt},
		{"damaged packages are not carried", testPortageRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, s)
		})
	}
}

// testPortageIndex compares the index that pkgsneak makes out of packages alone with the one of
// emaint, and lets emaint judge the two repairs that are left to it.
func testPortageIndex(t *testing.T, s *portageStage) {
	m := s.machine(t, "index", "")
	copyPackages(t, s.host, m)
	m.sneak(t, 0, "index", m.pkgdir)
	m.check(t, "")
	ours := m.index(t)
	must(t, os.Remove(filepath.Join(m.pkgdir, "Packages")))
	must(t, os.Remove(filepath.Join(m.pkgdir, "Packages.gz")))
	m.run(t, nil, "emaint", "binhost", "--fix")
	sameIndex(t, ours, m.index(t))

	// An emerge that does not trust the index writes entries without hashes; emaint wants them.
	must(t, os.Remove(filepath.Join(m.pkgdir, "Packages")))
	m.emerge(t, []string{"FEATURES=-pkgdir-index-trusted"}, "--pretend", "--usepkgonly",
		"virtual/words")
	if strings.Contains(m.index(t), "MD5:") {
		t.Fatal("emerge wrote hashes; this test needs an index without them")
	}
	m.sneak(t, 0, "index", m.pkgdir)
	m.check(t, "")
	sameIndex(t, m.index(t), ours)
}

// testPortageIndexCheck changes a PKGDIR in the ways in which they age. Both programs have to find
// something, and after pkgsneak index neither may.
func testPortageIndexCheck(t *testing.T, s *portageStage) {
	story := "app-text/story-1.0.gpkg.tar"
	for _, damage := range []struct {
		name string
		do   func(t *testing.T, m *portageMachine)
	}{
		{"package removed", func(t *testing.T, m *portageMachine) {
			must(t, os.Remove(filepath.Join(m.pkgdir, story)))
		}},
		{"time changed", func(t *testing.T, m *portageMachine) {
			past := time.Unix(1500000000, 0)
			must(t, os.Chtimes(filepath.Join(m.pkgdir, story), past, past))
		}},
		{"package added", func(t *testing.T, m *portageMachine) {
			must(t, copyFile(filepath.Join(m.pkgdir, story),
				filepath.Join(m.pkgdir, "app-text/story/story-1.0-7.gpkg.tar")))
			now := time.Unix(1600000000, 0)
			must(t, os.Chtimes(filepath.Join(m.pkgdir, "app-text/story/story-1.0-7.gpkg.tar"), now,
				now))
		}},
		{"compressed index lost", func(t *testing.T, m *portageMachine) {
			must(t, os.Remove(filepath.Join(m.pkgdir, "Packages.gz")))
		}},
		{"no index", func(t *testing.T, m *portageMachine) {
			must(t, os.Remove(filepath.Join(m.pkgdir, "Packages")))
		}},
	} {
		m := s.machine(t, "aged-"+strings.ReplaceAll(damage.name, " ", "-"), "")
		copyTree(t, s.host.pkgdir, m.pkgdir)
		m.check(t, "")
		m.sneak(t, 0, "index", "--check", m.pkgdir)
		damage.do(t, m)
		if o := m.try(t, nil, "emaint", "binhost", "--check"); o.code == 0 {
			t.Errorf("%s: emaint finds nothing", damage.name)
		}
		m.sneak(t, 4, "index", "--check", m.pkgdir)
		m.sneak(t, 0, "index", m.pkgdir)
		m.sneak(t, 0, "index", "--check", m.pkgdir)
		m.check(t, "")
	}
}

// testPortageImportCheck imports into a bare client for each setting that decides what emaint and
// emerge expect of the index.
func testPortageImportCheck(t *testing.T, s *portageStage) {
	for i, features := range []string{"", "-compress-index", "-pkgdir-index-trusted",
		"-compress-index -pkgdir-index-trusted", "-binpkg-multi-instance"} {
		m := s.client(t, fmt.Sprintf("bare%d", i),
			fmt.Sprintf("FEATURES=\"${FEATURES} %s\"\n", features))
		m.sneak(t, 0, "import", s.drive)
		m.check(t, "")
		if got := packageFiles(t, m.pkgdir); !maps.Equal(got, packageFiles(t, s.host.pkgdir)) {
			t.Errorf("FEATURES=%q: imported %q", features, slices.Sorted(maps.Keys(got)))
		}
		_, err := os.Stat(filepath.Join(m.pkgdir, "Packages.gz"))
		if compressed := !strings.Contains(features,
			"-compress-index"); compressed != (err == nil) {
			t.Errorf("FEATURES=%q: Packages.gz: %v", features, err)
		}

		// An emerge reads the entries anew that it does not trust, and writes the index: not one
		// byte may change.
		ours := m.index(t)
		m.emerge(t, nil, "--pretend", "--usepkgonly", "app-misc/hello")
		if got := m.index(t); got != ours {
			t.Errorf("FEATURES=%q: emerge --pretend has rewritten the index:\n%s\nwas:\n%s",
				features, got, ours)
		}
		must(t, os.Remove(filepath.Join(m.pkgdir, "Packages")))
		must(t, removeIfThere(filepath.Join(m.pkgdir, "Packages.gz")))
		m.run(t, nil, "emaint", "binhost", "--fix")
		// The header of a bare client is the origin's, but FEATURES and the like come from the
		// machine that indexes.
		sameEntries(t, ours, m.index(t))
		if features == "" {
			sameIndex(t, ours, m.index(t))
		}
	}
}

// testPortageOtherCHOST imports into a machine whose header names another CHOST: each entry has to
// keep its own.
func testPortageOtherCHOST(t *testing.T, s *portageStage) {
	m := s.client(t, "i686",
		"CHOST=\"i686-pc-linux-gnu\"\nACCEPT_CHOSTS=\"i686-pc-linux-gnu x86_64-pc-linux-gnu\"\n")
	m.buildpkg(t, "gpkg", "classic", "i686", "app-misc/alone")
	m.sneak(t, 0, "import", s.drive)
	m.check(t, "")
	header, _, _ := strings.Cut(m.index(t), "\n\n")
	if !strings.Contains(header, "\nCHOST: i686-pc-linux-gnu\n") {
		t.Errorf("the header lost the client's CHOST:\n%s", header)
	}
	if e := portageEntry(t, m.index(t), "CPV",
		"app-text/story-1.0"); e["CHOST"] != "x86_64-pc-linux-gnu" {
		t.Errorf("the entry has CHOST %q, its package x86_64-pc-linux-gnu", e["CHOST"])
	}
	ours := m.index(t)
	must(t, os.Remove(filepath.Join(m.pkgdir, "Packages")))
	m.run(t, nil, "emaint", "binhost", "--fix")
	sameEntries(t, ours, m.index(t))
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "app-text/story")
}

// testPortageInstall installs every format into an empty ROOT from what was imported, by the binary
// that lies on the drive.
func testPortageInstall(t *testing.T, s *portageStage) {
	m := s.client(t, "install", "")
	carried := filepath.Join(m.dir, "pkgsneak")
	must(t, copyFile(filepath.Join(s.drive, "pkgsneak/host/bin/linux-"+runtime.GOARCH+"/pkgsneak"),
		carried))
	must(t, os.Chmod(carried, 0o755))
	m.run(t, nil, carried, "import", s.drive)
	before := packageFiles(t, m.pkgdir)
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "app-misc/hello")
	if out := m.emerge(t, nil, "--oneshot", "--usepkg", "app-text/story"); !strings.Contains(out,
		"Emerging binary (1 of 1) app-text/story-1.0") {
		t.Errorf("with its ebuild at hand, the package was not used:\n%s", out)
	}
	want := []string{"app-misc/hello-1.0-r2", "app-text/story-1.0", "dev-libs/greet++-2.1_p3",
		"virtual/words-0-r1"}
	if got := m.installed(t); !slices.Equal(got, want) {
		t.Errorf("installed %q, want %q", got, want)
	}
	for path, want := range map[string]string{
		// .xpak
		"usr/bin/hi": "#!/bin/sh\necho hello world\n",
		//
		"etc/hello/hello.conf": "to=world\n",
		// .tbz2
		"usr/share/greet/words": "good morning world\n",
		// .gpkg.tar
		"usr/share/story/" + portageDistfile: readFile(t,
			portageTestdata("mirror/"+portageDistfile)),
	} {
		if got := m.content(t, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := packageFiles(t, m.pkgdir); !maps.Equal(got, before) {
		t.Errorf("PKGDIR after the install: %q", slices.Sorted(maps.Keys(got)))
	}
	m.check(t, "")
	m.check(t, "-pkgdir-index-trusted")
}

// testPortageImportInMiddle holds an emerge between two packages, imports a generation in which the
// second one was rebuilt under its old name, and lets emerge go on.
func testPortageImportInMiddle(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "middle")
	host := s.fork(t, "middle-host", "")
	host.buildpkg(t, "xpak", "classic", "first", "app-misc/gated")
	host.export(t, drive, "middle")

	m := s.machine(t, "middle", "")
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)

	reached, open := filepath.Join(m.root, "gate.reached"), filepath.Join(m.root, "gate.open")
	must(t, syscall.Mkfifo(reached, 0o600))
	must(t, syscall.Mkfifo(open, 0o600))
	emerge := m.start(t, nil, "emerge", "--color=n", "--oneshot", "--usepkgonly", "app-misc/gated")
	passGate(t, emerge, reached)

	host.buildpkg(t, "xpak", "classic", "second", "app-misc/gated", "dev-libs/greet++")
	host.buildpkg(t, "gpkg", "multi-instance", "second", "app-misc/hello", "app-misc/alone")
	must(t, os.Remove(filepath.Join(host.pkgdir, "app-text/story-1.0.gpkg.tar")))
	host.run(t, nil, "emaint", "binhost", "--fix")
	host.export(t, drive, "middle")
	m.sneak(t, 0, "import", "--prune", drive)
	if !emerge.running() {
		t.Error("emerge did not wait at the gate")
	}
	must(t, os.WriteFile(open, []byte("go on\n"), 0))
	emerge.wait(t)
	if got := m.installed(t); !slices.Equal(got, []string{"app-misc/gate-1", "app-misc/gated-1"}) {
		t.Errorf("installed %q", got)
	}
	m.check(t, "")
	must(t, os.Remove(reached))
	must(t, os.Remove(open))
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "app-misc/hello", "app-misc/gated")
	if got := m.content(t, "usr/share/gated/text"); got != "gated for second\n" {
		t.Errorf("after the import the old build was installed: %q", got)
	}
	m.check(t, "")
}

// passGate returns when emerge has come to the gate.
func passGate(t *testing.T, emerge *portageProcess, fifo string) {
	t.Helper()
	at := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(fifo)
		at <- err
	}()
	select {
	case err := <-at:
		must(t, err)
	case <-emerge.done:
		if f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close() // ends the reader above
		}
		text, _ := emerge.output()
		t.Fatalf("emerge did not come to the gate: %v\n%s", emerge.err, text)
	}
}

// testPortageImportBeside lets imports race with installs, and with builds that write the same
// index.
func testPortageImportBeside(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "beside")
	host := s.fork(t, "beside-host", "")
	host.export(t, drive, "beside")
	m := s.machine(t, "beside", "")
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)
	for _, job := range [][]string{
		{"--usepkgonly", "app-text/story", "dev-libs/greet++"},
		{"app-misc/alone", "app-misc/gated"},
		{"--usepkgonly", "dev-libs/greet++", "app-misc/gated"},
	} {
		// further instances of the same versions
		host.run(t, nil, "quickpkg", "--include-config=y", "app-text/story", "dev-libs/greet++",
			"virtual/words")
		host.export(t, drive, "beside")
		emerge := m.start(t, nil, "emerge",
			append([]string{"--color=n", "--quiet-build=y", "--oneshot", "--nodeps"}, job...)...)
		imported := m.start(t, nil, s.pkgsneak, "import", drive)
		emerge.wait(t)
		imported.wait(t)
		m.check(t, "")
	}
	if got, want := len(packageFiles(t, m.pkgdir)), len(packageFiles(t,
		host.pkgdir))+2; got != want {
		t.Errorf("the client has %d packages, want %d: the host's and its own two builds", got,
			want)
	}
}

// testPortageQuickpkg carries packages made of what is installed.
func testPortageQuickpkg(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "quick")
	host := s.fork(t, "quick-host", "")
	must(t, os.RemoveAll(host.pkgdir))
	must(t, os.Mkdir(host.pkgdir, 0o755))
	host.run(t, []string{"BINPKG_FORMAT=xpak"}, "quickpkg", "--include-config=y", "app-misc/hello",
		"virtual/words")
	host.run(t, []string{"BINPKG_FORMAT=gpkg"}, "quickpkg", "--include-config=y", "app-misc/hello",
		"dev-libs/greet++")
	host.export(t, drive, "quick")

	m := s.machine(t, "quick", "")
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)
	m.check(t, "")
	if got, want := packageFiles(t, m.pkgdir), packageFiles(t, host.pkgdir); len(want) < 4 ||
		!maps.Equal(got, want) {
		t.Errorf("imported %q, the host has %q", slices.Sorted(maps.Keys(got)),
			slices.Sorted(maps.Keys(want)))
	}
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "app-misc/hello")
	if got := m.content(t, "etc/hello/hello.conf"); got != "to=world\n" {
		t.Errorf("etc/hello/hello.conf: %q", got)
	}
	m.check(t, "")
}

// testPortageOddImages carries images with long names, links of every kind and special bits:
// nothing that Portage installs may be refused.
func testPortageOddImages(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "odd")
	host := s.machine(t, "odd-host", "")
	ebuilds := filepath.Join(s.dir, "repo/app-misc/odd")
	must(t, copyFile(filepath.Join(ebuilds, "odd-1.ebuild"),
		filepath.Join(ebuilds, "odd-2.ebuild")))
	host.buildpkg(t, "xpak", "multi-instance", "", "=app-misc/odd-1")
	first := installedFiles(t, host.root)
	host.buildpkg(t, "gpkg", "multi-instance", "", "=app-misc/odd-2")
	host.export(t, drive, "odd")

	m := s.machine(t, "odd", "")
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)
	m.check(t, "")
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "=app-misc/odd-1")
	if got := installedFiles(t, m.root); len(got) < 15 || !maps.Equal(got, first) {
		t.Errorf(".xpak installed\n%q\nthe host has\n%q", got, first)
	}
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "=app-misc/odd-2")
	if got, want := installedFiles(t, m.root), installedFiles(t,
		host.root); !maps.Equal(got, want) {
		t.Errorf(".gpkg.tar installed\n%q\nthe host has\n%q", got, want)
	}
}

// installedFiles maps each path below ROOT that a package has installed to what it is.
func installedFiles(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, top := range []string{"usr", "var/lib/odd"} {
		must(t, filepath.WalkDir(filepath.Join(root, top),
			func(path string, d os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				fi, err := d.Info()
				if err != nil {
					return err
				}
				rel, _ := filepath.Rel(root, path)
				if target, err := os.Readlink(path); err == nil {
					all[rel] = "-> " + target
				} else {
					all[rel] = fmt.Sprintf("%v, %d links, %d bytes", fi.Mode(),
						fi.Sys().(*syscall.Stat_t).Nlink, fi.Size())
				}
				return nil
			}))
	}
	return all
}

// testPortageSigned carries a package that Portage has signed, to a client that wants packages
// signed.
func testPortageSigned(t *testing.T, s *portageStage) {
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Skip("SKIPPED, NOTHING WAS TRIED WITH SIGNED PACKAGES: gpg is not in PATH")
	}
	drive, home := s.newDrive(t, "signed"), filepath.Join(s.dir, "gpg")
	must(t, os.Mkdir(home, 0o700))
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	conf := fmt.Sprintf(`GPG_VERIFY_USER_DROP="%s"
GPG_VERIFY_GROUP_DROP="%s"
BINPKG_GPG_VERIFY_GPG_HOME="%s"
BINPKG_GPG_VERIFY_BASE_COMMAND="%s --verify --batch --no-tty --no-auto-check-trustdb --status-fd 2 [PORTAGE_CONFIG] [SIGNATURE]"
`, s.user, s.group, home, gpg)
	host := s.machine(t, "signed-host", conf)
	host.run(t, nil, gpg, "--homedir", home, "--batch", "--quiet", "--passphrase", "",
		"--quick-generate-key", "Build Host <host@example.org>", "ed25519", "sign", "never")
	listed := host.run(t, nil, gpg, "--homedir", home, "--with-colons", "--list-keys")
	fingerprint := regexp.MustCompile(`(?m)^fpr:*([0-9A-F]{40}):`).FindStringSubmatch(listed)
	if fingerprint == nil {
		t.Fatalf("no fingerprint in\n%s", listed)
	}
	sign := []string{
		"FEATURES=binpkg-signing", "BINPKG_FORMAT=gpkg", "BINPKG_GPG_SIGNING_GPG_HOME=" +
			home, "BINPKG_GPG_SIGNING_KEY=0x" + fingerprint[1],
		"BINPKG_GPG_SIGNING_BASE_COMMAND=" + gpg + " --sign --armor [PORTAGE_CONFIG]",
	}
	host.emerge(t, sign, "--oneshot", "--buildpkgonly", "app-misc/alone")
	host.export(t, drive, "signed")

	m := s.machine(t, "signed", conf)
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)
	m.check(t, "")
	got := packageFiles(t, m.pkgdir)
	if want := packageFiles(t, host.pkgdir); len(want) != 1 || !maps.Equal(got, want) {
		t.Errorf("imported %q, the host has %q", slices.Sorted(maps.Keys(got)),
			slices.Sorted(maps.Keys(want)))
	}
	for name, data := range got {
		if !strings.Contains(data, "/image.tar.zst.sig\x00") {
			t.Errorf("%s is not signed", name)
		}
	}
	m.emerge(t, []string{"FEATURES=binpkg-request-signature"}, "--oneshot", "--usepkgonly",
		"app-misc/alone")
}

// testPortageFailedBuild exports a PKGDIR in which Portage has reserved a name for a package that
// never came.
func testPortageFailedBuild(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "failed")
	host := s.fork(t, "failed-host", "")
	o := host.try(t, []string{"BINPKG_FORMAT=gpkg", "BINPKG_COMPRESS_FLAGS_ZSTD=--no-such-flag"},
		"emerge", "--color=n", "--quiet-build=y", "--oneshot", "app-misc/alone")
	if o.code == 0 {
		t.Fatal("the build did not fail")
	}
	placeholder := filepath.Join(host.pkgdir, "app-misc/alone/alone-3-1.gpkg.tar")
	if fi, err := os.Stat(placeholder); err != nil || fi.Size() != 0 {
		t.Fatalf("this test needs the name that Portage reserves before it packs: %v\n%s", err,
			o.text)
	}
	told := host.sneak(t, 3, "export", drive, "--any-directory", "--name", "failed")
	if want := "app-misc/alone/alone-3-1.gpkg.tar: an empty file: a name reserved for a build"; !strings.Contains(
		told, want) {
		t.Errorf("export does not name the build that failed:\n%s", told)
	}
	m := s.machine(t, "failed", "")
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)
	m.check(t, "")
	if got := slices.Sorted(maps.Keys(packageFiles(t, m.pkgdir))); !slices.Equal(got,
		portageHostPackages) {
		t.Errorf("imported %q, want %q", got, portageHostPackages)
	}
}

// testPortageBinhost installs from the drive without pkgsneak, twice, for Portage keeps a copy of
// the index it saw first.
func testPortageBinhost(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "binhost")
	host := s.fork(t, "binhost-host",
		"PORTAGE_BINHOST_HEADER_URI=\"https://nowhere.example/packages\"\nPORTAGE_BINHOST_TTL=\"86400\"\n")
	host.run(t, nil, "emaint", "binhost", "--fix")
	host.export(t, drive, "binhost")
	packages := filepath.Join(drive, "pkgsneak/binhost/packages")

	m := s.machine(t, "binhost", "")
	byPath := []string{"PORTAGE_BINHOST=" + packages}
	m.emerge(t, byPath, "--oneshot", "--getbinpkgonly", "app-misc/hello")
	want := []string{"app-misc/hello-1.0-r2", "dev-libs/greet++-2.1_p3", "virtual/words-0-r1"}
	if got := m.installed(t); !slices.Equal(got, want) {
		t.Errorf("installed %q, want %q", got, want)
	}
	m.check(t, "")

	host.buildpkg(t, "gpkg", "multi-instance", "second", "app-misc/hello")
	host.export(t, drive, "binhost")
	m.emerge(t, byPath, "--oneshot", "--getbinpkgonly", "app-misc/hello")
	if got := m.content(t, "usr/bin/hi"); got != "#!/bin/sh\necho hello second\n" {
		t.Errorf("the new generation's package was not taken: %q", got)
	}
	m.check(t, "")

	byURL := s.machine(t, "binhost-url", "")
	byURL.emerge(t, []string{"PORTAGE_BINHOST=file://" + packages}, "--oneshot", "--usepkg",
		"--getbinpkg", "app-text/story")
	if got := slices.Sorted(maps.Keys(packageFiles(t, byURL.pkgdir))); len(got) != 1 ||
		!strings.HasPrefix(got[0], "app-text/story/story-1.0") {
		t.Errorf("fetched %q", got)
	}
	byURL.check(t, "")

	// The way of today's handbook. Its packages have a directory of their own.
	repos := s.machine(t, "binhost-repos", "")
	must(t, os.WriteFile(filepath.Join(repos.dir, "etc/portage/binrepos.conf"),
		fmt.Appendf(nil,
			"[usb]\nsync-uri = file://%s\nlocation = %s/usb\nverify-signature = false\npriority = 1\n", packages, repos.dir), 0o644))
	repos.emerge(t, nil, "--oneshot", "--getbinpkgonly", "app-text/story")
	if got := repos.content(t, "usr/share/story/"+portageDistfile); got == "" {
		t.Error("nothing was installed")
	}
}

// testPortageMirror fetches an ebuild's distfile from the drive in the two ways that Portage has,
// and finds the imported one.
func testPortageMirror(t *testing.T, s *portageStage) {
	want := readFile(t, portageTestdata(filepath.Join("mirror", portageDistfile)))
	fetch := []string{"--fetchonly", "--nodeps", "app-text/story"}
	for _, from := range []string{"GENTOO_MIRRORS", "PORTAGE_RO_DISTDIRS"} {
		m := s.machine(t, "mirror-"+from, "")
		if o := m.try(t, nil, "emerge", fetch...); o.code == 0 {
			t.Fatalf("the distfile came from somewhere else:\n%s", o.text)
		}
		m.emerge(t, []string{from + "=" + s.distfiles()}, fetch...)
		if got := readFile(t, filepath.Join(m.distdir, portageDistfile)); got != want {
			t.Errorf("%s: fetched %q", from, got)
		}
		fi, err := os.Lstat(filepath.Join(m.distdir, portageDistfile))
		must(t, err)
		if link := fi.Mode()&os.ModeSymlink != 0; link != (from == "PORTAGE_RO_DISTDIRS") {
			t.Errorf("%s: mode %v", from, fi.Mode())
		}
	}
	m := s.client(t, "mirror-import", "")
	m.sneak(t, 0, "import", s.drive)
	m.emerge(t, nil, fetch...)
	for name := range fileTree(t, m.distdir) {
		if strings.Contains(name, "_checksum_failure_") {
			t.Errorf("Portage renamed a distfile away: %s", name)
		}
	}
}

// testPortageLocalBeside keeps what the client has built itself, with an index and without one.
func testPortageLocalBeside(t *testing.T, s *portageStage) {
	for _, indexed := range []bool{true, false} {
		m := s.client(t, fmt.Sprintf("local-%v", indexed), "")
		m.buildpkg(t, "xpak", "multi-instance", "client", "app-misc/alone")
		if !indexed {
			must(t, os.Remove(filepath.Join(m.pkgdir, "Packages")))
			must(t, os.Remove(filepath.Join(m.pkgdir, "Packages.gz")))
		}
		local := packageFiles(t, m.pkgdir)
		m.sneak(t, 0, "import", s.drive)
		m.check(t, "")
		m.check(t, "-pkgdir-index-trusted")
		maps.Copy(local, packageFiles(t, s.host.pkgdir))
		if got := packageFiles(t, m.pkgdir); !maps.Equal(got, local) {
			t.Errorf("PKGDIR holds %q", slices.Sorted(maps.Keys(got)))
		}
		m.emerge(t, nil, "--oneshot", "--usepkgonly", "app-misc/alone", "app-text/story")

		ours := m.index(t)
		must(t, os.Remove(filepath.Join(m.pkgdir, "Packages")))
		m.run(t, nil, "emaint", "binhost", "--fix")
		sameEntries(t, ours, m.index(t))
	}
}

// testPortageSamePathBefore imports into a PKGDIR whose own builds have the origin's names, classic
// and multi-instance.
func testPortageSamePathBefore(t *testing.T, s *portageStage) {
	m := s.client(t, "same-before", "")
	m.buildpkg(t, "xpak", "classic", "client", "dev-libs/greet++")
	m.buildpkg(t, "gpkg", "multi-instance", "client", "virtual/words")
	m.buildpkg(t, "xpak", "multi-instance", "client", "app-misc/hello")
	local := packageFiles(t, m.pkgdir)
	m.sneak(t, 0, "import", s.drive)
	m.check(t, "")
	m.check(t, "-pkgdir-index-trusted")
	got := packageFiles(t, m.pkgdir)
	for name, want := range local {
		if got[name] != want {
			t.Errorf("the client's own %s was touched", name)
		}
	}
	for name, want := range packageFiles(t, s.host.pkgdir) {
		if !slices.Contains(slices.Collect(maps.Values(got)), want) {
			t.Errorf("the host's %s was not imported", name)
		}
	}
	if len(got) != len(local)+len(portageHostPackages) {
		t.Errorf("PKGDIR holds %q", slices.Sorted(maps.Keys(got)))
	}

	m.sneak(t, 0, "import", s.drive)
	if again := packageFiles(t, m.pkgdir); !maps.Equal(again, got) {
		t.Errorf("the second import changed PKGDIR to %q", slices.Sorted(maps.Keys(again)))
	}
	// The client's builds are the newer ones.
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "app-misc/hello")
	if got := m.content(t, "etc/hello/hello.conf"); got != "to=client\n" {
		t.Errorf("emerge took the older build: %q", got)
	}
	m.check(t, "")
	m.undisturbed(t)
}

// testPortageSamePathAfter builds under the names of imported packages: Portage overwrites a
// classic one and takes the next number of a multi-instance one.
func testPortageSamePathAfter(t *testing.T, s *portageStage) {
	m := s.client(t, "same-after", "")
	m.sneak(t, 0, "import", s.drive)
	m.buildpkg(t, "xpak", "classic", "client", "dev-libs/greet++")
	m.buildpkg(t, "xpak", "multi-instance", "client", "app-misc/hello")
	m.check(t, "")
	built := packageFiles(t, m.pkgdir)
	classic := "dev-libs/greet++-2.1_p3.tbz2"
	if built[classic] == packageFiles(t, s.host.pkgdir)[classic] {
		t.Fatalf("the build did not replace %s", classic)
	}

	m.sneak(t, 0, "import", s.drive)
	m.check(t, "")
	got := packageFiles(t, m.pkgdir)
	for name, want := range built {
		if got[name] != want {
			t.Errorf("%s was touched by the second import", name)
		}
	}
	if again := packageFiles(t,
		s.host.pkgdir)[classic]; got["dev-libs/greet++/greet++-2.1_p3-1.xpak"] != again {
		t.Errorf("the host's build is not beside the client's: %q", slices.Sorted(maps.Keys(got)))
	}
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "app-misc/hello")
	if got := m.content(t, "usr/share/greet/words"); got != "good morning client\n" {
		t.Errorf("emerge took the older build: %q", got)
	}
	m.check(t, "")
	m.undisturbed(t)
}

// testPortageTwoOrigins imports the builds of two hosts that have the same names, from one drive.
func testPortageTwoOrigins(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "two")
	one, two := s.fork(t, "two-one", ""), s.fork(t, "two-two", "")
	two.buildpkg(t, "xpak", "classic", "two", "dev-libs/greet++")
	one.export(t, drive, "one")
	two.export(t, drive, "two")

	m := s.machine(t, "two", "")
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)
	m.check(t, "")
	m.check(t, "-pkgdir-index-trusted")
	got := packageFiles(t, m.pkgdir)
	if len(got) != len(portageHostPackages)+1 {
		t.Errorf("the hosts differ in one package; the client has %q",
			slices.Sorted(maps.Keys(got)))
	}
	m.emerge(t, nil, "--oneshot", "--usepkgonly", "dev-libs/greet++")
	if got := m.content(t, "usr/share/greet/words"); got != "good morning two\n" {
		t.Errorf("emerge took the older build: %q", got)
	}
	m.sneak(t, 0, "import", drive)
	if again := packageFiles(t, m.pkgdir); !maps.Equal(again, got) {
		t.Errorf("the second import changed PKGDIR to %q", slices.Sorted(maps.Keys(again)))
	}
	m.check(t, "")
}

// testPortageNext types the lines of import, after a generation with a rebuild and with a version
// of which the client has no ebuild.
func testPortageNext(t *testing.T, s *portageStage) {
	drive := s.newDrive(t, "next")
	host := s.fork(t, "next-host", "")
	alone := filepath.Join(host.ownRepo(t), "app-misc/alone")
	host.buildpkg(t, "gpkg", "multi-instance", "first", "app-misc/alone")
	host.export(t, drive, "next")
	m := s.machine(t, "next", "")
	m.trust(t, drive)
	m.sneak(t, 0, "import", drive)
	m.emerge(t, nil, "--usepkgonly", "app-misc/alone", "app-misc/hello")

	must(t, copyFile(filepath.Join(alone, "alone-3.ebuild"),
		filepath.Join(alone, "alone-4.ebuild")))
	host.buildpkg(t, "xpak", "multi-instance", "second", "app-misc/alone", "app-misc/hello")
	host.export(t, drive, "next")
	out := m.sneak(t, 0, "import", drive)
	commands := regexp.MustCompile(`(?m)^(?:Next|or): +emerge -a(.*)$`).FindAllStringSubmatch(out,
		-1)
	if len(commands) == 0 {
		t.Fatalf("import does not say what to type:\n%s", out)
	}
	for i, c := range commands {
		m.run(t, nil, "sh", "-c", "emerge --color=n -"+c[1])
		if i == 0 && (!slices.Contains(m.installed(t), "app-misc/alone-4") ||
			m.content(t, "usr/bin/hi") != "#!/bin/sh\necho hello second\n") {
			t.Errorf("after emerge -%s: installed %q, of the first build of hello", c[1],
				m.installed(t))
		}
	}
	m.check(t, "")
}

// portageLockScript holds the lock of a PKGDIR as Portage does, until its input ends.
const portageLockScript = `
import sys
from portage.locks import lockfile, unlockfile
lock = lockfile(sys.argv[1], wantnewlockfile=1)
print("held", flush=True)
sys.stdin.read()
unlockfile(lock)
`

// testPortageHoldsLock lets pkgsneak meet a locked PKGDIR: it gives up when told to, and waits
// otherwise.
func testPortageHoldsLock(t *testing.T, s *portageStage) {
	m := s.client(t, "locked", "")
	hold := func() *portageProcess {
		p := m.start(t, []string{"PYTHONPATH=" + s.pythonLib}, "python", "-c", portageLockScript,
			filepath.Join(m.pkgdir, "Packages"))
		p.waitFor(t, "held")
		return p
	}
	portage := hold()
	m.sneak(t, 11, "import", "--lock-wait", "100ms", s.drive)
	if got := fileTree(t, m.pkgdir)["Packages"]; got != "" {
		t.Errorf("the index was written without the lock:\n%s", got)
	}
	waiting := m.start(t, nil, s.pkgsneak, "import", s.drive)
	waiting.waitFor(t, "lock")
	must(t, portage.in.Close())
	portage.wait(t)
	waiting.wait(t)
	m.check(t, "")

	must(t, os.Remove(filepath.Join(m.pkgdir, "app-text/story-1.0.gpkg.tar")))
	portage = hold()
	m.sneak(t, 11, "index", "--lock-wait", "100ms", m.pkgdir)
	waiting = m.start(t, nil, s.pkgsneak, "index", m.pkgdir)
	waiting.waitFor(t, "lock")
	must(t, portage.in.Close())
	waiting.wait(t)
	m.check(t, "")
	if left, _ := filepath.Glob(filepath.Join(m.pkgdir,
		".Packages.portage_lockfile*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// testPortageWaitsForLock lets Portage meet a PKGDIR that pkgsneak has locked.
func testPortageWaitsForLock(t *testing.T, s *portageStage) {
	m := s.machine(t, "locking", "")
	copyPackages(t, s.host, m)
	root, err := os.OpenRoot(m.pkgdir)
	must(t, err)
	defer root.Close()
	lock, err := durable.Acquire(t.Context(), root, durable.PackagesLock, durable.LockOptions{})
	must(t, err)
	emaint := m.start(t, nil, "emaint", "binhost", "--fix")
	emaint.waitFor(t, "waiting for lock")
	if _, err := root.Stat("Packages"); err == nil {
		t.Error("emaint wrote the index under our lock")
	}
	must(t, lock.Release())
	emaint.wait(t)
	m.check(t, "")
}

// copyPackages gives a machine the packages of another one, without an index.
func copyPackages(t *testing.T, from, to *portageMachine) {
	t.Helper()
	for name := range packageFiles(t, from.pkgdir) {
		must(t, copyFile(filepath.Join(from.pkgdir, name), filepath.Join(to.pkgdir, name)))
	}
}

var portageTimestamp = regexp.MustCompile(`(?m)^TIMESTAMP: [0-9]+$`)

// sameIndex compares two indices byte for byte, but for the time at which they were written.
func sameIndex(t *testing.T, ours, portages string) {
	t.Helper()
	ours, portages = portageTimestamp.ReplaceAllString(ours,
		"TIMESTAMP: -"), portageTimestamp.ReplaceAllString(portages, "TIMESTAMP: -")
	if ours != portages {
		t.Errorf("the index differs:\n%s", lineDiff(ours, portages))
	}
}

// sameEntries compares the entries of two indices, each with the CHOST that the header gives it.
// Entries of one CPV have no order.
func sameEntries(t *testing.T, ours, portages string) {
	t.Helper()
	entries := func(index string) string {
		header, rest, _ := strings.Cut(index, "\n\n")
		blocks := strings.Split(strings.TrimSuffix(rest, "\n\n"), "\n\n")
		chost := regexp.MustCompile(`(?m)^CHOST: .*$`).FindString(header)
		for i, b := range blocks {
			lines := strings.Split(b, "\n")
			if chost != "" && !strings.Contains(b, "\nCHOST: ") &&
				!strings.HasPrefix(b, "CHOST: ") {
				lines = append(lines, chost)
				slices.Sort(lines)
			} else {
				slices.Sort(lines)
			}
			blocks[i] = strings.Join(lines, "\n")
		}
		slices.SortFunc(blocks, func(a, b string) int { return cmp.Compare(a, b) })
		return strings.Join(blocks, "\n\n")
	}
	if o, p := entries(ours), entries(portages); o != p {
		t.Errorf("the entries differ:\n%s", lineDiff(o, p))
	}
}

// lineDiff lists the lines that only one of two texts has.
func lineDiff(ours, portages string) string {
	a, b := strings.Split(ours, "\n"), strings.Split(portages, "\n")
	var out strings.Builder
	for _, l := range a {
		if !slices.Contains(b, l) {
			fmt.Fprintf(&out, "ours:      %s\n", l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			fmt.Fprintf(&out, "Portage's: %s\n", l)
		}
	}
	if out.Len() == 0 {
		fmt.Fprintf(&out, "the same lines in another order; ours:\n%s\nPortage's:\n%s\n",
			ours, portages)
	}
	return out.String()
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
