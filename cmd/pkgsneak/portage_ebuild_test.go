package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The ebuild of scripts/gentoo is built by real Portage out of the tarballs of a release, without a
// network, and merged. STAND-INS take the place of Gentoo's eclasses
// (testdata/portage-live/eclass): what those do beyond the calls is not tried. The release is made
// here, or has been made by scripts/release in the directory that PKGSNEAK_RELEASE names.
func TestPortageEbuild(t *testing.T) {
	w := newPortageWorld(t)
	m := w.machine(t, "gentoo", "")
	repo := m.ownRepo(t)
	must(t, os.CopyFS(filepath.Join(repo, "eclass"), os.DirFS(portageTestdata("eclass"))))
	for _, license := range []string{"Apache-2.0", "BSD", "BSD-2"} {
		must(t, os.WriteFile(filepath.Join(repo, "licenses", license), []byte(license+"\n"), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(repo, "profiles/categories"),
		[]byte(readFile(t, filepath.Join(repo, "profiles/categories"))+"app-portage\n"), 0o644))
	// Build dependencies are looked for on the system that runs emerge.
	profile := filepath.Join(w.dir, "running/etc/portage/profile")
	must(t, os.MkdirAll(profile, 0o755))
	must(t, os.WriteFile(filepath.Join(profile, "package.provided"),
		[]byte("dev-lang/go-1.99\n"), 0o644))

	version, overlay := "1.2.3", filepath.Join(m.dir, "overlay")
	release := os.Getenv("PKGSNEAK_RELEASE")
	if release == "" {
		must(t, os.CopyFS(overlay, os.DirFS("../../scripts/gentoo")))
		releaseTarballs(t, m.distdir, "pkgsneak-"+version)
	} else {
		version = unpackRelease(t, release, overlay, m.distdir)
	}
	ebuild := filepath.Join(overlay, "app-portage/pkgsneak/pkgsneak-"+version+".ebuild")
	if release == "" {
		must(t, os.Rename(filepath.Join(filepath.Dir(ebuild), "pkgsneak-9999.ebuild"), ebuild))
	}
	must(t, os.WriteFile(filepath.Join(m.dir, "etc/portage/repos.conf/pkgsneak.conf"),
		fmt.Appendf(nil, "[pkgsneak]\nlocation = %s\nauto-sync = no\n", overlay), 0o644))
	must(t, os.WriteFile(filepath.Join(m.dir, "etc/portage/package.accept_keywords"),
		[]byte("app-portage/pkgsneak ~amd64 **\n"), 0o644))

	goTool, err := exec.LookPath("go")
	must(t, err)
	cache, err := exec.Command(goTool, "env", "GOCACHE").Output()
	must(t, err)
	env := []string{"PREROOTPATH=" + filepath.Dir(goTool), "ACCEPT_LICENSE=*", "PKGSNEAK_GOCACHE=" +
		strings.TrimSpace(string(cache))}
	if release == "" {
		m.run(t, env, "ebuild", ebuild, "manifest")
	}
	// Nothing is downloaded: a person is told which files are wanted.
	nofetch, _ := m.command(t.Context(), env, "ebuild", ebuild, "nofetch").CombinedOutput()
	for _, want := range []string{"pkgsneak-" + version + ".tar.xz",
		"pkgsneak-" + version + "-vendor.tar.xz", "DISTDIR"} {
		if !bytes.Contains(nofetch, []byte(want)) {
			t.Errorf("%q is not named:\n%s", want, nofetch)
		}
	}
	// It compiles everything from the start, for which portageTimeout is short.
	ctx, cancel := context.WithTimeout(t.Context(), 6*portageTimeout)
	defer cancel()
	build := m.command(ctx, env, "emerge", "--color=n", "--oneshot", "--buildpkg",
		"=app-portage/pkgsneak-"+version)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	// The program is the one of this version, and is static: an export puts it on the drive.
	program := filepath.Join(m.root, "usr/bin/pkgsneak")
	said, err := exec.Command(program, "--version").Output()
	must(t, err)
	if !strings.HasPrefix(string(said), "pkgsneak "+version+" (") {
		t.Errorf("--version says %q", said)
	}
	if data, err := os.ReadFile(program); err != nil || bytes.Contains(data, []byte("/ld-linux")) {
		t.Errorf("the program wants a loader, or cannot be read (%v)", err)
	}

	// auto and serve install the same for packagers as the ebuild.
	image := filepath.Join(m.dir, "image")
	m.sneak(t, 0, "auto", "--install", "--root", image, "--packaged")
	m.sneak(t, 0, "serve", "--install", "--root", image, "--packaged")
	files := 0
	must(t, fs.WalkDir(os.DirFS(image), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		want, _, _ := strings.Cut(readFile(t, filepath.Join(image, name)), "# pkgsneak-sum: ")
		if have := readFile(t, filepath.Join(m.root, name)); have != want {
			t.Errorf("%s differs from what --packaged installs", name)
		}
		return nil
	}))
	if files < 8 {
		t.Errorf("--packaged installs %d files", files)
	}
	for _, name := range []string{
		"usr/share/man/man1/pkgsneak.1*", "usr/share/man/man1/pkgsneak-export.1*",
		"usr/share/man/man5/pkgsneak.5*", "usr/share/man/man7/pkgsneak.7*",
		"usr/share/bash-completion/completions/pkgsneak", "usr/share/zsh/site-functions/_pkgsneak",
		"usr/share/fish/vendor_completions.d/pkgsneak.fish",
		"usr/share/doc/pkgsneak-" + version + "/security.md*",
		"usr/share/doc/pkgsneak-" + version + "/schema/import.json",
	} {
		if found, err := filepath.Glob(filepath.Join(m.root, name)); err != nil || len(found) != 1 {
			t.Errorf("%s: %q, %v", name, found, err)
		}
	}
	if packages, err := filepath.Glob(filepath.Join(m.pkgdir,
		"app-portage/pkgsneak*")); err != nil || len(packages) == 0 {
		t.Errorf("no binary package: %q, %v", packages, err)
	}
}

// unpackRelease puts the parts of a release where a person is told to, and returns its version.
func unpackRelease(t *testing.T, release, overlay, distdir string) string {
	t.Helper()
	packed, err := filepath.Glob(filepath.Join(release, "pkgsneak-*-gentoo.tar.xz"))
	if err != nil || len(packed) != 1 {
		t.Fatalf("PKGSNEAK_RELEASE=%q: overlays %q, %v", release, packed, err)
	}
	name := strings.TrimSuffix(filepath.Base(packed[0]), "-gentoo.tar.xz")
	must(t, os.MkdirAll(overlay, 0o755))
	untar := exec.Command("tar", "-xJf", packed[0], "-C", overlay, "--strip-components=1")
	if out, err := untar.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, tarball := range []string{name + ".tar.xz", name + "-vendor.tar.xz"} {
		must(t, os.WriteFile(filepath.Join(distdir, tarball),
			[]byte(readFile(t, filepath.Join(release, tarball))), 0o644))
	}
	return strings.TrimPrefix(name, "pkgsneak-")
}

// releaseTarballs makes the two tarballs that the ebuild unpacks, as scripts/release does, of the
// files that are here.
func releaseTarballs(t *testing.T, dir, name string) {
	t.Helper()
	tree := filepath.Join(t.TempDir(), name)
	for _, part := range []string{"cmd", "manifest", "scripts", "sync", "go.mod", "go.sum",
		"README.md", "CHANGELOG.md", "LICENSE"} {
		from, to := filepath.Join("..", "..", part), filepath.Join(tree, part)
		if fi, err := os.Stat(from); err == nil && fi.IsDir() {
			must(t, os.CopyFS(to, os.DirFS(from)))
			continue
		}
		must(t, os.WriteFile(to, []byte(readFile(t, from)), 0o644))
	}
	in := func(dir, program string, args ...string) {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "XZ_OPT=-0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, out)
		}
	}
	in(filepath.Dir(tree), "tar", "-cJf", filepath.Join(dir, name+".tar.xz"), name)
	in(tree, "go", "mod", "vendor")
	in(filepath.Dir(tree), "tar", "-cJf", filepath.Join(dir, name+"-vendor.tar.xz"), name+"/vendor")
}
