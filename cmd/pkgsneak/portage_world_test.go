package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The judge of what pkgsneak does is real Portage. These tests run it in a world of their own,
// below a temporary directory, without a network and without touching the system they run on, as
// root or as an ordinary user:
//
//	WORLD/repo                the ebuild repository of testdata/portage-live, read by all
//	WORLD/running             the prefix of the system that runs emerge (PORTAGE_OVERRIDE_EPREFIX): nothing is installed there
//	WORLD/bin                 names that Portage calls and a system other than Gentoo may lack
//	WORLD/NAME/etc/portage    a machine: PORTAGE_CONFIGROOT is WORLD/NAME
//	WORLD/NAME/root           its ROOT, with its own /var/db/pkg, and EPREFIX empty
//	WORLD/NAME/{pkgdir,distfiles,state,tmp,log,edb}
//
// Portage's tests of itself separate the prefix in the same way.

// portageFeatures turns off what needs privileges, users, kernels or a network that a test may not
// have, and makes every build leave a package. The features that pkgsneak has to do with stay as
// Portage ships them: compress-index, pkgdir-index-trusted, binpkg-multi-instance.
const portageFeatures = "-sandbox -usersandbox -network-sandbox -ipc-sandbox -pid-sandbox -mount-sandbox -userpriv -userfetch -usersync -news -xattr " +
	"-merge-sync -sign -strict -assume-digests -ebuild-locks -binpkg-logs -unmerge-logs -parallel-fetch -multilib-strict buildpkg"

// portageTimeout bounds one command, so that a hang is one failed test and not a lost run. On a
// machine that does much else, six small builds take longer than four minutes.
const portageTimeout = 20 * time.Minute

// portageWorld is what the machines of one test share.
type portageWorld struct {
	dir       string
	pkgsneak  string // the binary under test
	user      string // who runs Portage, instead of root and portage
	group     string
	env       []string // for every command
	pythonLib string   // where python finds Portage, if not by itself
}

// portageMachine is one computer: a build host or a client.
type portageMachine struct {
	world   *portageWorld
	dir     string
	root    string
	pkgdir  string
	distdir string
	conf    string // the end of its make.conf
}

// newPortageWorld builds the world and the binary under test, or skips the test.
func newPortageWorld(t *testing.T) *portageWorld {
	t.Helper()
	emerge, err := exec.LookPath("emerge")
	if err != nil {
		t.Skip("SKIPPED, NOTHING WAS TRIED WITH REAL PORTAGE: emerge is not in PATH")
	}
	if testing.Short() {
		t.Skip("SKIPPED, NOTHING WAS TRIED WITH REAL PORTAGE: it takes minutes, and -short was given")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	w := &portageWorld{dir: dir}
	must(t, os.CopyFS(filepath.Join(dir, "repo"), os.DirFS(portageTestdata("repo"))))
	must(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	w.lend(t, "python", "python3")
	w.lend(t, "gtar", "tar")

	config := "/usr/share/portage/config"
	if real, err := filepath.EvalSymlinks(emerge); err == nil {
		// Portage that runs from its source tree brings its own
		checkout := filepath.Dir(filepath.Dir(real))
		if _, err := os.Stat(filepath.Join(checkout, ".portage_not_installed")); err == nil {
			config, w.pythonLib = filepath.Join(checkout, "cnf"), filepath.Join(checkout, "lib")
		}
	}
	if _, err := os.Stat(filepath.Join(config, "make.globals")); err != nil {
		t.Skipf("SKIPPED, NOTHING WAS TRIED WITH REAL PORTAGE: emerge is %s, but its configuration is not in %s", emerge, config)
	}
	running := filepath.Join(dir, "running")
	must(t, os.MkdirAll(filepath.Join(running, "usr/share/portage"), 0o755))
	must(t, os.Symlink(config, filepath.Join(running, "usr/share/portage/config")))
	must(t, os.MkdirAll(filepath.Join(running, "var/db/pkg"), 0o755))

	me, err := user.Current()
	must(t, err)
	w.user, w.group = me.Username, me.Gid
	if g, err := user.LookupGroupId(me.Gid); err == nil {
		w.group = g.Name
	}
	w.env = []string{
		"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"),
		"LANG=C.UTF-8", "TERM=dumb", "NOCOLOR=true", "COLUMNS=200", "PYTHONDONTWRITEBYTECODE=1",
		"EPREFIX=", "PORTAGE_OVERRIDE_EPREFIX=" + running,
		"PORTAGE_USERNAME=" + w.user, "PORTAGE_GRPNAME=" + w.group,
	}
	w.configure(t, running, filepath.Join(dir, "repo"), "")
	w.pkgsneak = w.build(t)
	return w
}

func portageTestdata(name string) string {
	return filepath.Join("..", "..", "testdata", "portage-live", name)
}

// lend puts a name that Portage calls into the world's PATH, when the system has the program under
// another one.
func (w *portageWorld) lend(t *testing.T, name, other string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	path, err := exec.LookPath(other)
	if err != nil {
		t.Skipf("SKIPPED, NOTHING WAS TRIED WITH REAL PORTAGE: neither %s nor %s is in PATH", name,
			other)
	}
	must(t, os.Symlink(path, filepath.Join(w.dir, "bin", name)))
}

// build makes the binary as it is released: static, and outside the world's machines.
func (w *portageWorld) build(t *testing.T) string {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("SKIPPED, NOTHING WAS TRIED WITH REAL PORTAGE: go is not in PATH, and the program cannot be built")
	}
	out := filepath.Join(w.dir, "pkgsneak")
	cmd := exec.CommandContext(t.Context(), goTool, "build", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building pkgsneak: %v\n%s", err, text)
	}
	return out
}

// configure writes the configuration of the machine in dir, whose ebuilds are in repo. The lines of
// conf come last in its make.conf.
func (w *portageWorld) configure(t *testing.T, dir, repo, conf string) {
	t.Helper()
	features := portageFeatures
	if os.Getuid() != 0 {
		// Portage adds it by itself, but its index shall have it whoever writes it
		features += " unprivileged"
	}
	etc := filepath.Join(dir, "etc/portage")
	must(t, os.MkdirAll(filepath.Join(etc, "repos.conf"), 0o755))
	profile := filepath.Join(etc, "make.profile")
	must(t, os.RemoveAll(profile))
	must(t, os.Symlink(filepath.Join(repo, "profiles/live"), profile))
	must(t, os.WriteFile(filepath.Join(etc, "repos.conf/gentoo.conf"),
		fmt.Appendf(nil,
			"[DEFAULT]\nmain-repo = gentoo\n\n[gentoo]\nlocation = %s\nauto-sync = no\n", repo),
		0o644))
	must(t, os.WriteFile(filepath.Join(etc, "make.conf"), fmt.Appendf(nil, `FEATURES="%s"
PKGDIR="%[2]s/pkgdir"
DISTDIR="%[2]s/distfiles"
PORTAGE_TMPDIR="%[2]s/tmp"
PORTAGE_LOGDIR="%[2]s/log"
GENTOO_MIRRORS=""
FETCHCOMMAND="false \${DISTDIR} \${FILE} \${URI}"
RESUMECOMMAND="false \${DISTDIR} \${FILE} \${URI}"
%s
`, features, dir, conf), 0o644))
}

// machine makes a computer whose make.conf ends with the lines of conf.
func (w *portageWorld) machine(t *testing.T, name, conf string) *portageMachine {
	t.Helper()
	dir := filepath.Join(w.dir, name)
	m := &portageMachine{world: w, dir: dir, root: filepath.Join(dir, "root"),
		pkgdir: filepath.Join(dir, "pkgdir"), distdir: filepath.Join(dir, "distfiles"), conf: conf}
	for _, d := range []string{"root/var/db/pkg", "pkgdir", "distfiles", "tmp", "log", "edb"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	w.configure(t, dir, filepath.Join(w.dir, "repo"), conf)
	return m
}

// ownRepo gives the machine an ebuild repository of its own, which it returns.
func (m *portageMachine) ownRepo(t *testing.T) string {
	t.Helper()
	repo := filepath.Join(m.dir, "repo")
	must(t, os.CopyFS(repo, os.DirFS(portageTestdata("repo"))))
	m.world.configure(t, m.dir, repo, m.conf)
	return repo
}

// newDrive makes a directory that stands for a mounted drive.
func (w *portageWorld) newDrive(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(w.dir, "drives", name)
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

// portageOutcome is how a command ended and all its output.
type portageOutcome struct {
	code int
	text string
}

// command prepares a program that runs on this machine; env wins over everything else.
func (m *portageMachine) command(ctx context.Context, env []string, name string,
	args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	for _, v := range m.world.env {
		if dirs, ok := strings.CutPrefix(v, "PATH="); ok && !strings.Contains(name, "/") {
			cmd = exec.CommandContext(ctx, lookIn(dirs, name), args...)
		}
	}
	cmd.Dir = m.dir
	cmd.Env = slices.Concat(m.world.env, []string{
		"HOME=" + m.dir, "ROOT=" + m.root, "SYSROOT=" + m.root, "PORTAGE_CONFIGROOT=" +
			m.dir, "PORTAGE_DEPCACHEDIR=" + filepath.Join(m.dir, "edb"),
		"EMERGE_LOG_DIR=" + filepath.Join(m.dir, "log"), "PKGSNEAK_STATE_DIR=" +
			filepath.Join(m.dir, "state"),
	}, env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // emerge has children
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// lookIn finds a program in a list of directories.
func lookIn(dirs, name string) string {
	for _, d := range filepath.SplitList(dirs) {
		if fi, err := os.Stat(filepath.Join(d, name)); err == nil && fi.Mode().IsRegular() &&
			fi.Mode()&0o111 != 0 {
			return filepath.Join(d, name)
		}
	}
	return name
}

// try runs a program to its end.
func (m *portageMachine) try(t *testing.T, env []string, name string,
	args ...string) portageOutcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), portageTimeout)
	defer cancel()
	cmd := m.command(ctx, env, name, args...)
	text, err := cmd.CombinedOutput()
	o := portageOutcome{text: string(text)}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		t.Fatalf("%s %q: not done after %v\n%s", name, args, portageTimeout, text)
	case errors.As(err, &exit):
		o.code = exit.ExitCode()
	default:
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return o
}

// run is try for a program that has to succeed.
func (m *portageMachine) run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	o := m.try(t, env, name, args...)
	if o.code != 0 {
		t.Fatalf("%s %q: exit %d\n%s", name, args, o.code, o.text)
	}
	return o.text
}

// emerge runs emerge, which has to succeed.
func (m *portageMachine) emerge(t *testing.T, env []string, args ...string) string {
	t.Helper()
	return m.run(t, env, "emerge", slices.Concat([]string{"--color=n", "--quiet-build=y"}, args)...)
}

// buildpkg builds packages on this machine. Their contents hold greeting, so that two builds of one
// version differ.
func (m *portageMachine) buildpkg(t *testing.T, format, layout, greeting string, atoms ...string) {
	t.Helper()
	features := "binpkg-multi-instance"
	if layout == "classic" {
		features = "-binpkg-multi-instance"
	}
	env := []string{"FEATURES=" + features, "BINPKG_FORMAT=" + format, "HELLO_TO=" + greeting}
	m.emerge(t, env, append([]string{"--oneshot"}, atoms...)...)
}

// sneak runs pkgsneak, which has to end with the given exit code.
func (m *portageMachine) sneak(t *testing.T, code int, args ...string) string {
	t.Helper()
	o := m.try(t, nil, m.world.pkgsneak, args...)
	if o.code != code {
		t.Fatalf("pkgsneak %q: exit %d, want %d\n%s", args, o.code, code, o.text)
	}
	return o.text
}

// export brings the machine's packages and distfiles to a drive, as the origin name.
func (m *portageMachine) export(t *testing.T, drive, name string, args ...string) string {
	t.Helper()
	return m.sneak(t, 0, slices.Concat([]string{"export", drive, "--any-directory", "--name",
		name}, args)...)
}

// trust enrols every key that the drive offers.
func (m *portageMachine) trust(t *testing.T, drive string) {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(drive, "pkgsneak/keys/*.asc"))
	must(t, err)
	if len(keys) == 0 {
		t.Fatalf("no key on the drive %s", drive)
	}
	for _, k := range keys {
		m.sneak(t, 0, "trust", "--fingerprint", strings.TrimSuffix(filepath.Base(k), ".asc"), k)
	}
}

// check asks real emaint whether index and files agree. It must print nothing.
func (m *portageMachine) check(t *testing.T, features string) {
	t.Helper()
	var env []string
	if features != "" {
		env = append(env, "FEATURES="+features)
	}
	if o := m.try(t, env, "emaint", "binhost", "--check"); o.code != 0 ||
		strings.TrimSpace(o.text) != "" {
		t.Errorf("emaint binhost --check with FEATURES=%q: exit %d, says:\n%s\nin PKGDIR: %q\nPackages:\n%s",
			features, o.code, o.text, slices.Sorted(maps.Keys(fileTree(t, m.pkgdir))), readFile(t,
				filepath.Join(m.pkgdir, "Packages")))
	}
	m.undisturbed(t)
}

// undisturbed reports a package that Portage renamed away because it did not match its entry.
func (m *portageMachine) undisturbed(t *testing.T) {
	t.Helper()
	for name := range fileTree(t, m.pkgdir) {
		if strings.Contains(name, "_checksum_failure_") {
			t.Errorf("Portage renamed a package away: %s", name)
		}
	}
}

// installed reports what is installed on the machine, as CAT/PF.
func (m *portageMachine) installed(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(m.root, "var/db/pkg/*/*"))
	must(t, err)
	for i, d := range dirs {
		dirs[i] = filepath.Join(filepath.Base(filepath.Dir(d)), filepath.Base(d))
	}
	return dirs
}

// content is an installed file's text.
func (m *portageMachine) content(t *testing.T, path string) string {
	t.Helper()
	return readFile(t, filepath.Join(m.root, path))
}

// index is the text of the machine's Packages.
func (m *portageMachine) index(t *testing.T) string {
	t.Helper()
	return readFile(t, filepath.Join(m.pkgdir, "Packages"))
}

// portageEntry is the block of an index whose line `key: value` is given, as a map; a test fails
// without one.
func portageEntry(t *testing.T, index, key, value string) map[string]string {
	t.Helper()
	for _, b := range strings.Split(index, "\n\n")[1:] {
		e := make(map[string]string)
		for _, line := range strings.Split(b, "\n") {
			k, v, _ := strings.Cut(line, ": ")
			e[k] = v
		}
		if e[key] == value {
			return e
		}
	}
	t.Fatalf("no entry with %s: %s in\n%s", key, value, index)
	return nil
}

// fileTree maps the path of each regular file below dir to its contents.
func fileTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Portage's temporary files come and go
		}
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(b)
		return err
	}))
	return files
}

// packageFiles is fileTree without the index and everything else that is no package.
func packageFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := fileTree(t, dir)
	maps.DeleteFunc(files, func(name, _ string) bool {
		return !slices.ContainsFunc([]string{".tbz2", ".xpak", ".gpkg.tar"}, func(ext string) bool {
			return strings.HasSuffix(name, ext)
		})
	})
	return files
}

// copyTree copies regular files with their times.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		return copyFile(path, filepath.Join(to, rel))
	}))
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	fi, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		return err
	}
	return os.Chtimes(to, fi.ModTime(), fi.ModTime())
}

// portageProcess is a program that runs beside the test.
type portageProcess struct {
	cmd  *exec.Cmd
	name string
	in   io.WriteCloser
	done chan struct{} // closed when it has ended
	err  error

	mu   sync.Mutex
	text bytes.Buffer
	said chan struct{} // renewed with each write
}

// start begins a program; the test ends it if it does not end by itself.
func (m *portageMachine) start(t *testing.T, env []string, name string,
	args ...string) *portageProcess {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), portageTimeout)
	p := &portageProcess{cmd: m.command(ctx, env, name, args...), name: name,
		done: make(chan struct{}), said: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	var err error
	p.in, err = p.cmd.StdinPipe()
	must(t, err)
	must(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		cancel()
		close(p.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.done
	})
	return p
}

// Write collects the program's output.
func (p *portageProcess) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.said)
	p.said = make(chan struct{})
	return p.text.Write(b)
}

func (p *portageProcess) output() (text string, more <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String(), p.said
}

// waitFor returns when the program has printed one of the words; it must not end before.
func (p *portageProcess) waitFor(t *testing.T, words ...string) {
	t.Helper()
	for {
		text, more := p.output()
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) }) {
			return
		}
		select {
		case <-more:
		case <-p.done:
			t.Fatalf("%s ended (%v) without saying one of %q:\n%s", p.name, p.err, words, text)
		}
	}
}

// wait returns the program's output; it has to succeed.
func (p *portageProcess) wait(t *testing.T) string {
	t.Helper()
	<-p.done
	text, _ := p.output()
	if p.err != nil {
		t.Fatalf("%s: %v\n%s", p.name, p.err, text)
	}
	return text
}

// running tells whether the program has not ended yet.
func (p *portageProcess) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}
