package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wgetEnv lets Portage fetch with wget from this machine, and from nowhere else.
func wgetEnv(t *testing.T, more ...string) []string {
	t.Helper()
	if _, err := exec.LookPath("wget"); err != nil {
		t.Skip("SKIPPED, REAL PORTAGE HAS FETCHED NOTHING FROM THE SERVER: wget is not in PATH")
	}
	return append([]string{
		`FETCHCOMMAND=wget --no-proxy -t 1 -T 60 -O "${DISTDIR}/${FILE}" "${URI}"`,
		`RESUMECOMMAND=wget --no-proxy -c -t 1 -T 60 -O "${DISTDIR}/${FILE}" "${URI}"`,
		"no_proxy=127.0.0.1", "http_proxy=", "https_proxy=",
	}, more...)
}

// serve starts the server on a machine, and returns its address.
func (m *portageMachine) serve(t *testing.T, args ...string) (*portageProcess, string) {
	t.Helper()
	p := m.start(t, nil, m.world.pkgsneak,
		append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.waitFor(t, "serving ")
	text, _ := p.output()
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+\S*`).FindString(text)
	if url == "" {
		t.Fatalf("serve says %q", text)
	}
	return p, strings.TrimSuffix(url, "/")
}

// TestPortageServe installs from the server with real Portage: from a build host's PKGDIR and
// DISTDIR, and from a drive.
func TestPortageServe(t *testing.T) {
	env := wgetEnv(t)
	w := newPortageWorld(t)
	host := w.machine(t, "host", "")
	must(t, copyFile(portageTestdata(filepath.Join("mirror", portageDistfile)),
		filepath.Join(host.distdir, portageDistfile)))
	host.buildpkg(t, "gpkg", "multi-instance", "world", "virtual/words")
	host.buildpkg(t, "xpak", "classic", "world", "dev-libs/greet++")
	host.buildpkg(t, "xpak", "multi-instance", "world", "app-misc/hello")
	server, url := host.serve(t, "--prefix", "/funtoo")
	binhost := append(env, "PORTAGE_BINHOST="+url+"/packages")

	m := w.machine(t, "client", "")
	m.emerge(t, binhost, "--oneshot", "--getbinpkgonly", "app-misc/hello")
	want := []string{"app-misc/hello-1.0-r2", "dev-libs/greet++-2.1_p3", "virtual/words-0-r1"}
	if got := m.installed(t); !slices.Equal(got, want) {
		t.Errorf("installed %q, want %q", got, want)
	}
	m.check(t, "")

	// Nothing new: Portage asks with the time of its copy, and is told that it has not changed.
	m.emerge(t, binhost, "--pretend", "--oneshot", "--getbinpkgonly", "app-misc/hello")
	server.waitFor(t, `Packages.gz HTTP/1.1" 304 `, `Packages HTTP/1.1" 304 `)

	// The host builds while it serves.
	host.buildpkg(t, "gpkg", "multi-instance", "second", "app-misc/hello")
	m.emerge(t, binhost, "--oneshot", "--getbinpkgonly", "app-misc/hello")
	if got := m.content(t, "usr/bin/hi"); got != "#!/bin/sh\necho hello second\n" {
		t.Errorf("the new package was not taken: %q", got)
	}
	m.check(t, "")

	t.Run("binrepos.conf as the page says", func(t *testing.T) {
		repos := w.machine(t, "repos", "")
		must(t, os.WriteFile(filepath.Join(repos.dir, "etc/portage/binrepos.conf"),
			fmt.Appendf(nil,
				"[host]\nsync-uri = %s/packages\npriority = 10\nverify-signature = false\nlocation = %s/host\n", url, repos.dir), 0o644))
		repos.emerge(t, env, "--oneshot", "--getbinpkgonly", "virtual/words")
		if got := repos.installed(t); !slices.Equal(got, want[2:]) {
			t.Errorf("installed %q, want %q", got, want[2:])
		}
	})
	t.Run("mirror", func(t *testing.T) {
		mirror := w.machine(t, "mirror", "")
		mirror.emerge(t, append(env, "GENTOO_MIRRORS="+url), "--fetchonly", "--nodeps",
			"app-text/story")
		if got, want := readFile(t, filepath.Join(mirror.distdir, portageDistfile)), readFile(t,
			portageTestdata(filepath.Join("mirror", portageDistfile))); got != want {
			t.Errorf("fetched %q, want %q", got, want)
		}
		server.waitFor(t, "/funtoo/distfiles/layout.conf ")
	})
	t.Run("drive", func(t *testing.T) {
		drive := w.newDrive(t, "served")
		host.export(t, drive, "buildhost")
		between := w.machine(t, "between", "")
		between.sneak(t, exitUntrusted, "serve", drive, "--listen", "127.0.0.1:0")
		between.trust(t, drive)
		_, url := between.serve(t, drive)
		far := w.machine(t, "far", "")
		far.emerge(t, append(env, "PORTAGE_BINHOST="+url+"/buildhost/packages"), "--oneshot",
			"--getbinpkgonly", "app-misc/hello")
		if got := far.installed(t); !slices.Equal(got, want) {
			t.Errorf("installed %q, want %q", got, want)
		}
		if got := far.content(t, "usr/bin/hi"); got != "#!/bin/sh\necho hello second\n" {
			t.Errorf("not the newest package: %q", got)
		}
		far.check(t, "")
		far.emerge(t, append(env, "GENTOO_MIRRORS="+url), "--fetchonly", "--nodeps",
			"app-text/story")
	})
}

const exitUntrusted = 12
