package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
)

// commandLine is what all verbs share: where they run and where they print.
type commandLine struct {
	env   *env
	out   *printer
	verbs []verb // in the order in which help shows them

	// state, for the end of the run
	began   time.Time
	verb    string                 // with its subcommand
	place   string                 // its argument DRIVE, else the first
	places  []string               // its flags that name a directory of this machine
	writing atomic.Pointer[string] // the drive that it changes; nil: none yet
}

// invocation is one verb at work.
type invocation struct {
	*commandLine
	ctx   context.Context
	flags *cli.Context
	opt   *options
	args  []string
}

// declared is the verb of a command, which may be a subcommand of it; none if there is no such
// verb.
func (f *commandLine) declared(command string) verb {
	name, _, _ := strings.Cut(command, " ")
	for _, v := range f.verbs {
		if v.Name == name {
			return v
		}
	}
	return verb{}
}

// end reports how a run ended, to people or as the last line of JSON, and gives the exit code.
func (f *commandLine) end(ctx context.Context, err error) int {
	var code outcome
	if err == nil || errors.As(err, &code) {
		if f.out.broken == nil {
			return int(code)
		}
		err = f.out.broken
	}
	fail := classify(err, f.place)
	if ctx.Err() != nil && !unanswered(err) {
		if fault.Of(err) != fault.Interrupted {
			fail = classify(context.Canceled, f.place) // whatever broke off because of it
		}
		if hint := f.declared(f.verb).goesOn; hint != "" && len(fail.hints) == 0 {
			fail.hints = []string{hint}
		}
	}
	for i, hint := range fail.hints {
		if len(f.places) > 0 && (hint == asRoot || hint == remount) {
			fail.hints[i] += ", or with a directory of your own: " + strings.Join(f.places, ", ")
		}
	}
	fail.hints = f.out.repeated(fail.hints)
	f.out.failure(fail)
	if f.out.json {
		f.out.last(envelope{Command: f.verb, Exit: fail.code, Error: fail.message,
			Hints: fail.hints})
	}
	return fail.code
}

// action wraps what a command does: settings from variables, the number of arguments, the printer's
// mood.
func (f *commandLine) action(least, most int, do func(*invocation) error) cli.ActionFunc {
	return func(ctx *cli.Context) error {
		c := &invocation{commandLine: f, ctx: ctx.Context, flags: ctx, args: ctx.Args().Slice()}
		f.began = f.env.now()
		f.verb, f.place = strings.TrimPrefix(ctx.Command.HelpName, "pkgsneak "), c.drive()
		for _, flag := range ctx.Command.Flags {
			if name := flag.Names()[0]; slices.Contains([]string{"state-dir", "pkgdir",
				"distdir"}, name) {
				f.places = append(f.places, "--"+name)
			}
		}
		f.out.json = ctx.Bool("json")
		var err error
		vars := f.env.variables(f.out)
		if c.opt, err = read(ctx, vars); err != nil {
			return err
		}
		if !ctx.Command.Hidden {
			vars.unknown(f.out, ctx.App, f.env.names)
		}
		f.out.given = newRepeats(ctx)
		f.out.quiet, f.out.verbose, f.out.debug, f.out.json = c.opt.quiet, c.opt.verbose > 0,
			c.opt.verbose > 1, c.opt.json
		if n := len(c.args); n < least || n > most {
			return c.subcommandMeant(c.wrongArguments(least, most))
		}
		if slices.Contains(c.args, "") && !ctx.Command.Hidden {
			return withHint(usageErrorf("%s: an argument is empty: a variable that is not set?",
				c.verb), "pkgsneak %s %s", c.verb, ctx.Command.ArgsUsage)
		}
		if err := c.checkDrive(); err != nil {
			return err
		}
		if f.declared(f.verb).writesDrive && !c.opt.pretend && c.opt.request.File == "" {
			place := f.place
			f.writing.Store(&place)
		}
		err = profiled(c.opt, func() error { return do(c) })
		return c.subcommandMeant(err)
	}
}

// takes tells which values a flag of the command takes.
func (c *invocation) takes(flag string) string {
	for _, f := range c.flags.Command.Flags {
		if d, ok := f.(declared); ok && d.name == flag {
			return d.takes(d.String())
		}
	}
	return ""
}

// meansDrive takes a path into a drive's tree for the drive, and notes that.
func (c *invocation) meansDrive(place string) string {
	mount := drive.Within(place)
	if mount == "" {
		return place
	}
	c.out.notice("%s %s lies in the tree of the drive %s, which is taken", bold("note:"),
		shellWord(place), shellWord(mount))
	return mount
}

// driveAt is the place of the argument that is DRIVE by the command's form, else of the first.
func (c *invocation) driveAt() int {
	return max(0, slices.Index(strings.Fields(c.flags.Command.ArgsUsage), "DRIVE"))
}

// drive is the argument that is DRIVE by the command's form, else the first; "" without it.
func (c *invocation) drive() string {
	if at := c.driveAt(); at < len(c.args) {
		return c.args[at]
	}
	return ""
}

// checkDrive refuses a device where the place is meant on which it is mounted, and a run that has
// nothing to do.
func (c *invocation) checkDrive() error {
	if c.opt.export.NoPackages && c.opt.export.NoDistfiles {
		err := usageErrorf("--no-packages and --no-distfiles together are not taken")
		if c.flags.Command.Name == "import" {
			return withHint(err, "ebuild repositories alone: --repos-only")
		}
		return err
	}
	if c.opt.imports.ReposOnly && c.opt.imports.Repos == importer.NoRepos {
		return usageErrorf("--repos-only and --repos none together leave nothing to do")
	}
	if len(c.args) == 0 || !strings.Contains(c.flags.Command.ArgsUsage, "DRIVE") {
		return nil
	}
	for i := c.driveAt(); i < len(c.args); i++ { // an origin's name before it is none
		if info, err := os.Stat(c.args[i]); err == nil && info.Mode().IsRegular() &&
			strings.Contains(c.flags.Command.ArgsUsage, "FILE") {
			continue // a key that lies in the tree
		}
		c.args[i] = c.meansDrive(c.args[i])
	}
	c.place = c.drive()
	// before anything makes that directory
	if err := drive.CheckState(c.stateDir(), c.args[c.driveAt():]...); err != nil {
		return fmt.Errorf("%s: %w", c.verb, err)
	}
	info, err := os.Stat(c.drive())
	if err != nil || info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return nil
	}
	line := slices.Clone(c.args)
	for i, word := range line {
		if line[i] = shellWord(word); word == c.drive() {
			line[i] = "/mnt/usb"
		}
	}
	return withHint(usageErrorf("%q is a device; DRIVE is the directory where it is mounted",
		c.drive()),
		"mount %s /mnt/usb && pkgsneak %s %s", shellWord(c.drive()), c.verb,
		strings.Join(line, " "))
}

// otherWords are words that other programs have for our subcommands.
var otherWords = map[string]string{"rm": "remove", "del": "remove", "delete": "remove",
	"ls": "list", "gen": "generate", "new": "generate", "print": "show"}

// subcommandMeant adds the hint to a failure whose argument is no file, and nearly a subcommand:
// trust rm.
func (c *invocation) subcommandMeant(err error) error {
	if len(c.args) == 0 || strings.Contains(c.args[0], "/") ||
		!(errors.Is(err, fs.ErrNotExist) || fault.Of(err) == fault.Usage) {
		return err
	}
	var names []string
	for _, sub := range c.flags.Command.Subcommands {
		names = append(names, sub.Name)
	}
	word := c.args[0]
	if other := otherWords[word]; slices.Contains(names, other) {
		word = other
	}
	near := nearest(word, names)
	if near == "" && len(names) > 0 && !strings.Contains(c.flags.Command.ArgsUsage, "DRIVE") {
		return withHint(usageErrorf("%s has no command %q", c.verb, c.args[0]), "pkgsneak %s %s",
			c.verb, c.flags.Command.ArgsUsage)
	}
	if near == "" || near == c.args[0] {
		return err
	}
	line := []string{"pkgsneak", c.verb, near}
	for _, arg := range c.args[1:] {
		line = append(line, shellWord(arg))
	}
	return withHint(usageErrorf("%s has no command %q", c.verb, c.args[0]), "%s",
		strings.Join(line, " "))
}

func (c *invocation) wrongArguments(least, most int) error {
	line := "pkgsneak " + c.verb
	if u := c.flags.Command.ArgsUsage; u != "" {
		line += " " + u
	}
	switch n := len(c.args); {
	case n < least:
		words := strings.Fields(c.flags.Command.ArgsUsage)
		return withHint(usageErrorf("%s: %s is missing", c.verb,
			strings.Join(words[n:least], " ")), "%s", line)
	case most == 0:
		return withHint(usageErrorf("%s takes no argument, and %q is one", c.verb,
			c.args[0]), "%s", line)
	default:
		return withHint(usageErrorf("%s: %q is one argument too many", c.verb,
			c.args[most]), "%s", line)
	}
}

// took tells how long a run lasted, where that is a second at least.
func (c *invocation) took() {
	if d := c.env.now().Sub(c.began); d >= time.Second {
		c.out.say("  took           %s", lasting(d))
	}
}
