package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"pkgsneak/sync/auto"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
)

func autoVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "auto",
			Category:  "automatically",
			Usage:     "export to or import from a drive that was plugged in",
			ArgsUsage: "DEVICE",
			UsageText: "auto DEVICE\nauto --install [--root DIR [--packaged]]\nauto --uninstall [--root DIR]",
			Description: "udev runs this when a drive is plugged in: the drive is mounted privately, exported to or imported from as\n" +
				"PKGSNEAK_AUTO in " + confFile +
				" says, and unmounted. The result goes to the log, to logged-in users and to\n" +
				"PKGSNEAK_ON_DONE. A drive without a tree is left alone unless its label asks for\n" +
				"an export. Only USB devices, memory cards and discs count. auto never trusts a\n" +
				"new key.\n" +
				"--install installs the udev rule and the units, and asks before it replaces a file\n" +
				"that was changed here.",
			Flags: flags(slices.Concat([]flagSet{common, noProgress, autoMode, plugged, installing},
				unattended)...),
			Action: f.action(0, 1, autoDispatch),
		},
		examples: []example{
			{"pkgsneak auto --install", "Puts the udev rule, units and settings in place."},
			{"pkgsneak auto sda1",
				"Does what udev starts when the drive with the partition sda1 is plugged in."},
		},
		results: map[string][]any{"": {auto.Result{}, auto.Changes{}}},
	}
}

// workerVerb is what auto starts for each operation: itself again, with the same settings,
// confined. It gets its task on standard input.
func workerVerb(f *commandLine) verb {
	return verb{Command: &cli.Command{Name: "worker", Hidden: true,
		Flags: flags(append([]flagSet{common}, unattended...)...), Action: f.action(0,
			0, autoWorker)}}
}

func autoDispatch(c *invocation) error {
	asked, away, err := installer{c}.installs()
	switch {
	case err != nil:
		return err
	case asked:
		return installer{c}.install(auto.InstallOptions{}, away, autoRun{c}.afterInstall)
	case len(c.args) == 0:
		return c.wrongArguments(1, 1)
	}
	autoRun{c}.ignored()
	return autoDevice(c)
}

// ignored tells of settings that an export or import takes and auto does not, because they are
// decisions of a person: set in a file, they would be made each time.
func (c autoRun) ignored() {
	// what is wrong in the file has been told
	vars := c.env.variables(&printer{err: screen{w: io.Discard}})
	own := c.flags.Command.Flags
	told := map[string]bool{}
	for _, verb := range []string{"export", "import"} {
		for _, f := range c.flags.App.Command(verb).Flags {
			name := f.Names()[0]
			if slices.ContainsFunc(own, func(o cli.Flag) bool { return o.Names()[0] == name }) ||
				told[name] {
				continue
			}
			value, source := vars.get(variable(name))
			if on, err := parseBool(value); value == "" || err == nil && !on {
				continue
			}
			told[name] = true
			c.out.warn("%s sets %s, which auto ignores: --%s is for a person", source,
				variable(name), name)
		}
	}
}

func autoDevice(c *invocation) error {
	role, err := auto.ParseRole(c.opt.autoMode)
	if err != nil {
		err = &usageError{fmt.Errorf("PKGSNEAK_AUTO: %w", err)}
		return withHint(err, "%s", autoRoles(c))
	}
	// typed by a person: udev gives the kernel's name. With a role, the run finds out
	if role == auto.None && strings.Contains(c.args[0], "/") {
		fi, err := os.Stat(c.args[0])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("auto %q: %w", c.args[0], fault.Bare(err))
		case err == nil && fi.IsDir():
			return withHint(fmt.Errorf("auto %q: a directory, no device", c.args[0]),
				"pkgsneak export DRIVE and pkgsneak import DRIVE take a directory")
		case err == nil && fi.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice:
			return fmt.Errorf("auto %q: not a block device", c.args[0])
		}
	}
	machine, err := c.machine()
	if err != nil {
		return err
	}
	o := autoRun{c}.unattended()
	watch, done := c.watcher()
	defer done()
	o.Device = c.args[0]
	o.Role = role
	o.RunDir = filepath.Join(c.env.root, "/", auto.DefaultRunDir)
	o.Log = c.logger()
	o.Events = watch
	o.System = auto.Linux()
	o.Worker = autoRun{c}.worker()
	if !c.env.stderrTTY && c.env.root == "" {
		o.Users = func(lines []string) error {
			return auto.SayAll(c.ctx, o.System,
				auto.Terminals{Dev: "/dev", Utmp: "/var/run/utmp"}, lines)
		}
	}
	result, err := auto.Run(c.ctx, machine, o)
	done()
	code := autoCode(result, err, c.opt.imports.Prune)
	c.result(code, result)
	if c.ctx.Err() == nil && auto.Another(o.System, result) {
		return autoDevice(c)
	}
	return outcome(code)
}

// autoRoles tells the good values of PKGSNEAK_AUTO in the place of one that is none.
func autoRoles(c *invocation) string {
	if near := nearest(strings.ToLower(c.opt.autoMode), []string{string(auto.Export),
		string(auto.Import), string(auto.Both)}); near != "" {
		return "in " + confFile + ": PKGSNEAK_AUTO=" + near
	}
	return "in " + confFile + ": PKGSNEAK_AUTO=export where packages are built, import where they go to, both for both"
}

// autoRun is auto at work, or its worker.
type autoRun struct{ *invocation }

// unattended are the options that auto and its worker have in common.
func (c autoRun) unattended() auto.Options {
	o := c.opt.auto
	o.Export, o.Import, o.Asking = c.opt.export, c.opt.imports, c.opt.request
	o.Asking.Name = c.opt.export.Name // PKGSNEAK_NAME is both
	o.Encode = func(r *auto.Result) ([]byte, error) { return encodeLine(r) }
	o.Classify = func(err error) (int, []string) {
		f := classify(err, "")
		return f.code, f.hints
	}
	return o
}

// worker starts this program again, also where another version of it lies in its place by now, with
// the settings of this run. It reads the variables, too: the command line tells what undoes them.
func (c autoRun) worker() func(context.Context) *exec.Cmd {
	words := []string{"pkgsneak", "worker"}
	for _, f := range flags(unattended...) {
		d := f.(declared)
		if value := d.to(c.opt).String(); d.check(value) == nil {
			words = append(words, "--"+d.name+"="+value)
		}
	}
	words = append(words, "--state-dir="+c.stateDir())
	return func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "/proc/self/exe")
		cmd.Args = words
		return cmd
	}
}

func autoWorker(c *invocation) error {
	machine, err := c.machine()
	if err != nil {
		return err
	}
	if err := auto.Work(c.ctx, machine, (autoRun{c}).unattended(), c.env.stdin,
		c.env.stdout); err != nil {
		return outcome(classify(err, "").code)
	}
	return nil
}

// autoCode is the exit code of a run, which has been told already. prune tells that its import was
// to remove files.
func autoCode(r *auto.Result, err error, prune bool) int {
	switch {
	case r.Outcome == auto.Pulled:
		return exitGone
	case r.Outcome == auto.Interrupted:
		return exitInterrupted
	case errors.Is(err, auto.ErrNotDevice):
		return exitUsage
	case err != nil:
		return classify(err, "").code
	case r.Export != nil && len(r.Export.LeftOut) > 0:
		return exitLeftOut
	case r.Import != nil:
		return importCode(r.Import, prune)
	}
	return exitDone
}

// logger is the log of what runs without a person: standard error, with priorities where systemd's
// journal is behind it; where neither the journal nor a terminal is, syslog as well, because
// whoever started the run may have closed standard error.
func (c *invocation) logger() func(auto.Level, string) {
	journal := c.env.toJournal()
	syslog := auto.Syslog{Socket: "/dev/log", Now: c.env.now, PID: os.Getpid()}
	broken := journal || c.env.stderrTTY || c.env.root != ""
	return func(level auto.Level, text string) {
		switch {
		case level == auto.Debug && !c.out.debug:
			return
		case journal:
			c.out.alert("%s%s", raw(fmt.Sprintf("<%d>", level)), text)
		case level == auto.Info, level == auto.Debug:
			c.out.notice("%s", text)
		case level == auto.Warning:
			c.out.warn("%s", text)
		default:
			c.out.failure(failure{message: text})
		}
		if !broken {
			if err := syslog.Send(level, text); err != nil {
				broken = true
				c.out.warn("syslog: %v", err)
			}
		}
	}
}

// toJournal reports whether standard error is systemd's journal: JOURNAL_STREAM names its device
// and inode (systemd.exec(5)). Children inherit the variable, so it alone proves nothing.
func (e *env) toJournal() bool {
	f, ok := e.stderr.(*os.File)
	if !ok {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	stream, _ := e.lookup("JOURNAL_STREAM")
	return stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// afterInstall prints what to do next.
func (c autoRun) afterInstall() {
	c.out.say("Next: in %s, set PKGSNEAK_AUTO=export where packages are built, PKGSNEAK_AUTO=import where they go to; then plug a drive in", confFile)
	c.out.say("  an empty drive is taken for an export if its label is %s: mkfs.vfat -n %s /dev/sdX1", auto.DefaultLabel, auto.DefaultLabel)
	c.out.say("  a client imports only what is signed by a key that it trusts: mount the drive there once, and pkgsneak trust DRIVE")
	for _, line := range machine.AutoUses {
		c.out.say("  %s", line)
	}
	c.out.say("  log: %s; pkgsneak status lists the last runs", machine.AutoLog(c.env.root))
	c.out.say("  to export while packages are built: PKGSNEAK_WATCH, then systemctl enable --now pkgsneak-watch, or rc-update add pkgsneak-watch default")
}
