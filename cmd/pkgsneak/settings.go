package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"pkgsneak/sync/doctor"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/emerge"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/progress"
)

// env is everything that a run takes from its process and its machine.
type env struct {
	stdin                          io.Reader
	stdout, stderr                 io.Writer
	stdinTTY, stdoutTTY, stderrTTY bool
	lookup                         func(key string) (string, bool) // the environment
	// of the variables of the environment that begin with PKGSNEAK_
	names    []string
	now      func() time.Time
	columns  func() int // of the terminal
	hostname string
	// path of the running program, "" if it is not known
	executable      string
	version, commit string // of the program; commit "": not known
	// the program and the machine's run; zero: not known
	built, booted time.Time
	// in front of the machine's paths; "" is the machine itself
	root      string
	portageq  portage.PortageqFunc // nil: there is none
	askEmerge doctor.AskFunc       // nil: there is no emerge
	// sees every message of an operation before it is shown; nil: nobody
	observe progress.Watcher
	// sees every change of a file on this machine first; nil outside of tests
	hook durable.Hook
	// The operation may take from this process, for ever, what it does not need.
	confines bool
	// closed by the signal after the one that ended the run's context; nil: there is none
	again <-chan struct{}
	exit  func(code int)
	// how long a run that was told to end may wait without a word; 0: as long as it takes
	impatience time.Duration
}

// processEnv is the env of a real process.
func processEnv(b build) *env {
	b = b.known()
	hostname, _ := os.Hostname()     // "" asks for --name
	executable, _ := os.Executable() // "" offers no program on the drive
	isTerminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	e := &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		stdinTTY: isTerminal(os.Stdin), stdoutTTY: isTerminal(os.Stdout),
		stderrTTY:  isTerminal(os.Stderr),
		lookup:     os.LookupEnv,
		names:      ownNames(os.Environ()),
		now:        time.Now,
		columns:    columnsBehind(os.Stderr, os.Stdout),
		hostname:   hostname,
		executable: executable,
		version:    b.version,
		commit:     b.commit,
		built:      b.time(),
		booted:     bootTime(),
		confines:   true,
		exit:       os.Exit,
		impatience: time.Second,
	}
	if program, err := exec.LookPath("portageq"); err == nil {
		e.portageq = runPortageq(program)
	}
	if program, err := exec.LookPath("emerge"); err == nil {
		e.askEmerge = func(ctx context.Context, q emerge.Question) (*emerge.Answer, error) {
			q.Program, q.Environ = program, os.Environ()
			return emerge.Ask(ctx, q)
		}
	}
	return e
}

// columnsBehind gives the width of the terminal behind the first of some files that has one, which
// may change while a run lasts.
func columnsBehind(files ...*os.File) func() int {
	return func() int {
		for _, f := range files {
			if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
				return n
			}
		}
		return 80
	}
}

// ownNames picks the names of our variables out of an environment. Those of tests are none of a
// person's.
func ownNames(environment []string) (names []string) {
	for _, line := range environment {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, ownPrefix) &&
			!strings.HasPrefix(name, ownPrefix+"TEST_") {
			names = append(names, name)
		}
	}
	return names
}

// runPortageq asks Portage itself.
func runPortageq(program string) portage.PortageqFunc {
	return func(ctx context.Context, vars ...string) (map[string]string, error) {
		out, err := exec.CommandContext(ctx, program,
			append([]string{"envvar", "-v"}, vars...)...).Output()
		if err != nil {
			return nil, fmt.Errorf("%s envvar: %w", program, err)
		}
		return portage.ParsePortageq(out)
	}
}

// build is what the linker was told of this program (-X main.version=...): of a release, and of a
// build from a tarball, which has no repository to ask.
type build struct {
	version    string // semantic, without v
	commit     string // full or cut
	commitTime string // RFC 3339
}

// known completes the linker's words with those of the module and of its repository.
func (b build) known() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	var modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.commit = cmp.Or(b.commit, s.Value)
		case "vcs.time":
			b.commitTime = cmp.Or(b.commitTime, s.Value)
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	b.commit = b.commit[:min(12, len(b.commit))]
	if v := info.Main.Version; b.version == "" && v != "(devel)" {
		b.version = strings.TrimPrefix(v, "v")
	}
	if b.version == "" {
		b.version = "devel"
		if b.commit != "" {
			b.version += "-" + b.commit + modified
		}
	}
	return b
}

// time is that of the commit that was built; zero if the build does not tell it.
func (b build) time() time.Time {
	at, _ := time.Parse(time.RFC3339, b.commitTime) // zero if it is none
	return at
}

// bootTime is when this machine was started, by the clock that it has now.
func bootTime() time.Time {
	var up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(up.Nano()))
}

// platform is what --version shows beside the version.
func platform() string { return runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH }

// colours tells whether the person wants them: NO_COLOR (no-color.org) and Portage's NOCOLOR ask
// for no, and so does a terminal that cannot.
func (e *env) colours() bool {
	if v, _ := e.lookup("NO_COLOR"); v != "" {
		return false
	}
	if v, _ := e.lookup("NOCOLOR"); v != "" {
		if no, err := parseBool(v); err != nil || no {
			return false
		}
	}
	v, _ := e.lookup("TERM")
	return v != "dumb"
}

// confFile is the file of variables that OpenRC, the systemd units and a run by hand have in
// common.
const confFile = "/etc/conf.d/pkgsneak"

// maxConf is far more than anybody writes into confFile.
const maxConf = 1 << 20

// variables are the PKGSNEAK_* variables: those of the environment above those of confFile.
type variables struct {
	env  func(string) (string, bool)
	conf map[string]string
}

// get gives the value of a variable and where it comes from; an empty value counts as none.
func (v variables) get(name string) (value, source string) {
	if value, _ := v.env(name); value != "" {
		return value, "environment"
	}
	return v.conf[name], confFile
}

// variables reads confFile. An error in the file is told, and does not end the run.
func (e *env) variables(p *printer) variables {
	v := variables{env: e.lookup}
	f, err := os.Open(filepath.Join(e.root, "/", confFile))
	if errors.Is(err, fs.ErrNotExist) {
		return v
	}
	if err != nil {
		p.warn("%v", err)
		return v
	}
	defer f.Close()
	conf, problems, err := portage.ParseAssignments(io.LimitReader(f, maxConf), confFile)
	if err != nil {
		p.warn("%v", err)
	}
	for _, problem := range problems {
		p.warn("%v", problem)
	}
	v.conf = conf
	return v
}

// unknown warns of variables of ours that no flag has: a name that is spelled wrong sets nothing,
// and nobody would be told.
func (v variables) unknown(p *printer, app *cli.App, inEnvironment []string) {
	var known []string
	typed := make(map[string]string)
	for _, c := range app.Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range leaf.Flags {
				if d, ok := f.(declared); ok && d.typed {
					typed[variable(d.name)] = d.String()
					continue
				}
				known = append(known, variable(f.Names()[0]))
			}
		}
	}
	tell := func(name, source string) {
		if !strings.HasPrefix(name, ownPrefix) || slices.Contains(known, name) {
			return
		}
		if flag := typed[name]; flag != "" {
			p.warn("%s sets %s, which is not looked at: %s counts on the command line only",
				source, name, flag)
			return
		}
		p.warn("%s sets %s, which means nothing to pkgsneak", source, name)
		if near := nearest(name, slices.Clone(known)); near != "" {
			p.hint(meant(near))
		}
	}
	for _, name := range inEnvironment {
		if value, set := v.env(name); value != "" || !set {
			tell(name, "the environment")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.conf)) {
		tell(name, confFile)
	}
}

func (c *invocation) stateDir() string {
	if dir := c.opt.stateDir; dir != "" {
		return dir
	}
	return filepath.Join(c.env.root, "/", stateDir)
}

// machine reads the settings of the machine that an operation needs.
func (c *invocation) machine() (machine.Machine, error) {
	settings, err := c.settings()
	if err != nil {
		return machine.Machine{}, err
	}
	return machine.Machine{
		Settings:    settings,
		Hostname:    c.env.hostname,
		Now:         c.env.now,
		StateDir:    c.stateDir(),
		PKGDIR:      c.dir(c.opt.pkgdir, settings.PKGDIR),
		DISTDIR:     c.dir(c.opt.distdir, settings.DISTDIR),
		NamedPKGDIR: c.opt.pkgdir != "", NamedDISTDIR: c.opt.distdir != "",
		Executable: c.env.executable,
		Version:    c.env.version,
		Built:      c.env.built,
		CPUInfo:    c.proc("cpuinfo"),
		Booted:     c.env.booted,
		LockWait:   c.opt.lockWait,
		Hook:       c.env.hook,
	}, nil
}

// dir is the flag's directory, else that of Portage's configuration.
func (c *invocation) dir(given string, configured func() string) string {
	if given != "" {
		return filepath.Clean(given)
	}
	return filepath.Join(c.env.root, configured())
}

// settings reads Portage's configuration. The files are read first, in milliseconds; portageq needs
// a second of Python, so it is asked only where the files leave open what matters (no profile that
// could be read, an error in them), or when --portageq asks for it.
func (c *invocation) settings() (*portage.Settings, error) {
	o := portage.Options{Root: c.env.root, Env: c.env.lookup, Portageq: c.env.portageq,
		UsePortageq: c.opt.portageq}
	s, err := portage.Load(c.ctx, o)
	if err != nil {
		return nil, err
	}
	if c.env.portageq != nil && !o.UsePortageq && unclear(s) {
		o.UsePortageq = true
		if s, err = portage.Load(c.ctx, o); err != nil {
			return nil, err
		}
	}
	for _, problem := range s.Problems {
		if problem.Fatal {
			c.out.warn("%v", problem)
		} else if c.out.verbose {
			c.out.notice("%v", problem)
		}
	}
	return s, nil
}

func unclear(s *portage.Settings) bool {
	_, known := s.Features()
	if !known || s.Profile == "" {
		return true
	}
	for _, p := range s.Problems {
		if p.Fatal {
			return true
		}
	}
	return false
}

// maxProc is far more than one of the files of /proc that are read here has.
const maxProc = 8 << 20

// proc reads a file of /proc; nil where it cannot be read.
func (c *invocation) proc(name string) []byte {
	f, err := os.Open(filepath.Join(c.env.root, "/proc", name))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.out.warn("%v", err)
		}
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProc))
	if err != nil {
		c.out.warn("%v", err)
		return nil
	}
	return data
}
