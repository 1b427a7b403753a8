package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/forget"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/sandbox"
)

func forgetVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "forget",
			Category:  "export and import",
			Usage:     "take an origin off a drive",
			ArgsUsage: "ORIGIN DRIVE",
			UsageText: "forget ORIGIN DRIVE [--unsigned] [--yes]",
			Description: "Removes what an origin exported to a drive: one whose key was lost, whose\n" +
				"host is gone, or that is not wanted any more. ORIGIN is its directory below\n" +
				"DRIVE/pkgsneak, as status names it. Only what its own signed list names is\n" +
				"removed, and what a pulled export of it left; whether its key is trusted, was\n" +
				"revoked or has expired does not matter. Other files stay, and are named. If\n" +
				"nothing validly signed tells what belongs to it, nothing goes without --unsigned,\n" +
				"which removes all that has a name of pkgsneak's there. A run that was stopped, or\n" +
				"a drive that was pulled, is finished by the same command. Nothing changes on\n" +
				"clients.",
			Flags:  flags(common, noProgress, pretend, yes, unsigned),
			Action: f.action(2, 2, forgetOrigin),
		},
		writesDrive: true,
		examples: []example{
			{"pkgsneak forget --pretend oldhost /mnt/usb",
				"Shows what would be removed of an origin whose host is gone."},
			{"pkgsneak forget oldhost /mnt/usb --yes", "Removes it without a question."},
		},
		results: map[string][]any{"": {forget.Report{}}},
		goesOn:  "the same command removes the rest",
	}
}

func forgetOrigin(c *invocation) error {
	if drive.HasTree(c.args[0]) && !drive.HasTree(c.args[1]) {
		return withHint(usageErrorf("forget: %q is no drive: the origin comes first, then the drive",
			c.args[1]), "pkgsneak forget %s %s", shellWord(c.args[1]), shellWord(c.args[0]))
	}
	m := machine.Machine{Now: c.env.now, StateDir: c.stateDir()}
	o := forget.Options{Drive: c.args[1], Origin: c.args[0], Pretend: c.opt.pretend,
		Unsigned: c.opt.unsigned}
	watch, done := c.watcher()
	defer done()
	if !o.Pretend && !c.opt.yes {
		if !c.out.asks {
			look := o
			look.Pretend = true
			if _, err := forget.Forget(c.ctx, m, look, watch); err != nil {
				return err // the line with --yes would not lead on
			}
			also := ""
			if o.Unsigned {
				also = " --unsigned"
			}
			return withHint(usageErrorf("forget asks before it removes anything, and there is no terminal"),
				"pkgsneak forget %s %s%s --yes", shellWord(o.Origin), shellWord(o.Drive), also)
		}
		o.Confirm = func(r *forget.Report) (bool, error) {
			forgetText{c}.plan(r)
			return c.out.ask(c.ctx, "Remove it from the drive?")
		}
	}
	confine(c, func() sandbox.Confined { return forget.Confine(m, o) })
	r, err := forget.Forget(c.ctx, m, o, watch)
	if err != nil {
		return err
	}
	done()
	text := forgetText{c}
	if o.Confirm == nil {
		text.plan(r)
	}
	if !o.Pretend {
		c.out.say("%s %s: %s", red("removed"), bold(r.Dir), tally(r.Files, "file"))
		c.took()
	}
	text.others(r)
	code := exitDone
	if len(r.Others) > 0 {
		code = exitLeftOut
	}
	c.result(code, r)
	return outcome(code)
}

// forgetText prints what is, or would be, removed.
type forgetText struct{ *invocation }

func (c forgetText) plan(r *forget.Report) {
	c.out.say("%s on %s: %s", bold(r.Dir), r.Drive, tally(r.Files, "file"))
	switch {
	case r.Unsigned != "":
		c.out.warn("nothing validly signed tells what belongs to %s (%s): all goes that has a name of pkgsneak's there", r.Dir, r.Unsigned)
		return
	case r.Fingerprint == "" && len(r.Others) > 0:
		c.out.say("  nothing is left of it; other files lie there")
		return
	case r.Fingerprint == "":
		c.out.say("  nothing is left of it but empty directories")
		return
	}
	c.out.say("  key            %s  %s", r.Fingerprint.Grouped(), r.UserID)
	if r.Beside != "" {
		c.out.warn("the key %s signed in %s, too: what that names stays, and so does what no list names; the next forget is for it", r.Beside.Grouped(), r.Dir)
	}
	if r.Serial == 0 {
		c.out.say("  last exported  never: its first export was not finished")
	} else {
		c.out.say("  last exported  %s", when(r.Signed, c.env.now()))
	}
	if r.Own {
		c.out.warn("this machine exports it: the next export to this drive writes it all again")
	}
}

// others names what stays.
func (c forgetText) others(r *forget.Report) {
	if len(r.Others) == 0 {
		return
	}
	c.out.warn("%s: not in its list, and left there: %s", r.Dir, count(len(r.Others), "file"))
	for i, name := range r.Others {
		if i == listLimit && !c.out.verbose {
			c.out.alert("    %s", "... and "+count(len(r.Others)-i, "file")+" more (-v lists all)")
			break
		}
		c.out.alert("    %s", name)
	}
	c.out.hint(fmt.Sprintf("they are not pkgsneak's: move them out of %s, then: pkgsneak forget %s %s",
		shellWord(r.Drive+"/pkgsneak/"+r.Dir), shellWord(r.Dir), shellWord(r.Drive)))
}
