package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/manifest"
	"pkgsneak/sync/clients"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/trust"
)

func verifyVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "verify",
			Category:  "export and import",
			Usage:     "read a drive from end to end and compare it with what was signed",
			ArgsUsage: "DRIVE",
			UsageText: "verify DRIVE",
			Description: "Checks the signature and every file that it lists, and names the files\n" +
				"that are damaged or missing, and those that are not in the signed list. Nothing is\n" +
				"written to the drive. The files of an origin whose key is not trusted here are\n" +
				"compared with the key that lies on the drive, and reported as not trusted.",
			Flags:  flags(common, noProgress, oneOrigin, jobs),
			Action: f.action(1, 1, verify),
		},
		examples: []example{
			{"pkgsneak verify /mnt/usb",
				"Reads every file, and names those that are damaged, missing or not in the signed list."},
			{"pkgsneak verify --origin bighost --json /mnt/usb",
				"Reads what one origin exported, for a script."},
		},
		results: map[string][]any{"": {inspect.VerifyReport{}}},
	}
}

func verify(c *invocation) error {
	machine := machine.Machine{Now: c.env.now, StateDir: c.stateDir()}
	o := c.opt.verify
	o.Drive = c.args[0]
	watch, done := c.watcher()
	defer done()
	r, err := inspect.Verify(c.ctx, machine, o, watch)
	if err != nil {
		return err
	}
	done()
	if len(r.Origins)+len(r.Requests) == 0 {
		return fmt.Errorf("verify %q: nothing was exported to it yet: %w", c.args[0],
			drive.ErrNoTree)
	}
	code := exitDone
	for _, o := range r.Origins {
		code = worse(code, verifyText{c}.verified(o))
	}
	for i := range r.Requests {
		code = worse(code, verifyText{c}.request(&r.Requests[i]))
	}
	c.result(code, r)
	return outcome(code)
}

// verifyText prints what reading a drive has shown.
type verifyText struct{ *invocation }

// verified prints what reading one origin has shown, and gives its exit code: 0 only if everything
// in it is what was signed.
func (c verifyText) verified(o *inspect.OriginVerify) int {
	if o.PassedOver {
		c.out.say("%s: not wanted here (pkgsneak trust list): passed over", bold(o.Dir))
		return exitDone
	}
	if o.Files.Files > 0 {
		c.out.say("%s: read %s, generation %s", bold(o.Dir), tally(o.Files, "file"),
			c.generation(o.Serial))
	}
	damaged := c.findings(o)
	switch {
	case o.Err != nil:
		f := classify(o.Err, c.place)
		c.out.warn("%s", o.Problem)
		c.out.hint(f.hints...)
		return f.code
	case damaged:
		return exitLeftOut
	}
	c.out.say("  all %s match the signature of %s", count(o.Files.Files, "file"), o.UserID)
	return exitDone
}

// findings names what is not as it was signed. A file whose name is taken has a way out of its
// own: an export would not write that file.
func (c verifyText) findings(o *inspect.OriginVerify) bool {
	found := false
	list := func(what string, items []payload.Item) {
		if len(items) == 0 {
			return
		}
		found = true
		c.out.warn("%s: %s: %s", o.Dir, what, count(len(items), "file"))
		for _, it := range items {
			c.out.alert("    %s", join(it.Path, it.Reason))
		}
	}
	taken := func(name string) bool { return slices.Contains(o.InTheWay, name) }
	place := shellWord(c.args[0])
	list("something else has the name of a file", named(o.InTheWay))
	for _, name := range o.InTheWay {
		c.out.hint("move " + shellWord(filepath.Join(c.args[0], layout.TreeDir, o.Dir, name)) +
			" away; then, on the build host: pkgsneak export " + place + " --repair")
	}
	bad := slices.DeleteFunc(o.Damaged(), func(it payload.Item) bool {
		return taken(it.Path)
	})
	list("damaged or missing", bad)
	if len(bad) > 0 {
		c.out.hint("on the build host: pkgsneak export " + place + " --repair; " +
			trust.Abandoned(o.Dir, place))
	}
	if list("not readable by this user", o.Forbidden()); len(o.Forbidden()) > 0 {
		c.out.hint(drive.MayRead)
	}
	list("unreadable directories", o.Unreadable)
	list("not in the signed list", named(o.Undeclared))
	list("of an older generation, which the next export renews",
		named(slices.DeleteFunc(slices.Clone(o.Stale), taken)))
	list("not valid, and the other one is; the next export renews it",
		named(slices.DeleteFunc(slices.Clone(o.Copies), func(problem string) bool {
			name, _, _ := strings.Cut(problem, ":")
			return taken(name)
		})))
	return found
}

// request prints what lies there of a client. One that was never finished is nobody's, and no
// damage.
func (c verifyText) request(l *clients.Lying) int {
	where := bold("clients/" + l.Dir)
	switch l.State {
	case clients.Whole:
		c.out.say("%s: the request of %s, whole", where, c.generation(l.Serial))
	case clients.Taken:
		c.out.say("%s: the request of %s, taken: a host has read it and blanked the installed packages",
			where, c.generation(l.Serial))
	case clients.NeverWritten:
		c.out.notice("%s %s", bold("note:"), l.Problem)
		c.out.hint(fault.Hints(l.Err, shellWord(c.args[0]))...)
	default:
		c.out.warn("%s", l.Problem)
		c.out.hint(fault.Hints(l.Err, shellWord(c.args[0]))...)
		return exitLeftOut
	}
	return exitDone
}

func join(path, reason string) string {
	if reason == "" {
		return path
	}
	return path + ": " + reason
}

func named(paths []string) []payload.Item {
	var items []payload.Item
	for _, p := range paths {
		items = append(items, payload.Item{Path: p})
	}
	return items
}

// isUnknownKey tells a signature by a key that is not trusted here from one that is wrong.
func isUnknownKey(err error) bool {
	var unknown *manifest.UnknownKeyError
	return errors.As(err, &unknown)
}
