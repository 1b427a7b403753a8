package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/sandbox"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

func importVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "import",
			Category:  "export and import",
			Usage:     "bring what a drive carries to this machine",
			ArgsUsage: "DRIVE [DRIVE...]",
			UsageText: "import DRIVE [DRIVE...]",
			Description: "Verifies the drive's signed list against the keys that are trusted here,\n" +
				"copies into PKGDIR and DISTDIR what is missing, and renews the Packages index.\n" +
				"Local packages are never overwritten or removed: where one has the name, the\n" +
				"origin's package goes beside it. Nothing is written to the drive. The last lines\n" +
				"say what to type next. An ebuild repository comes if import brought the one here,\n" +
				"if there is none, or with --adopt-repo. With several drives the newest state of\n" +
				"each origin counts; what is damaged on its drive comes from another one.",
			Flags: flags(common, noProgress, pretend, ask, kindsLeft, carriedRepos, takingRepos,
				oneOrigin, importing, fitting, excluding, shrink, older, guards,
				accepting, acceptClock,
				jobs, dirs, lock),
			Action: f.action(1, maxDrives, importDrive),
		},
		examples: []example{
			{"pkgsneak import /mnt/usb",
				"Takes what is missing here; the last lines say what to type next."},
			{"pkgsneak import --prune --ask /mnt/blue /mnt/red",
				"Takes the newest of two drives, removes what its origin no longer has, and asks before."},
		},
		results: map[string][]any{"": {importer.ImportReport{}}},
		goesOn:  "what is complete stays: the same command goes on from there",
	}
}

// maxDrives is how many drives one import takes.
const maxDrives = 16

func importDrive(c *invocation) error {
	machine, err := c.machine()
	if err != nil {
		return err
	}
	o := c.opt.imports
	o.Drive, o.Further, o.Source = c.args[0], c.args[1:], volume.MediumOf(c.args[0])
	if o.ExcludeFile, err = excludeFile(o.ExcludeFile, c.args...); err != nil {
		return err
	}
	if c.out.asks {
		o.ConfirmRotation = importText{c}.confirmRotation
	}
	watch, done := c.watcher()
	defer done()
	if c.opt.ask && !o.Pretend {
		if !c.out.asks {
			return noTerminal()
		}
		o.Confirm = func(plans []*importer.ImportPlan) (bool, error) {
			for _, p := range plans {
				importText{c}.importPlan(p)
			}
			return c.out.askToGoOn(c.ctx, "Bring this to this machine?")
		}
	}
	confine(c, func() sandbox.Confined { return importer.Confine(machine, o) })
	report, err := importer.Import(c.ctx, machine, o, watch)
	if err != nil {
		return err
	}
	done()
	for i := range report.Refused {
		r := &report.Refused[i]
		f := classify(r.Err, r.Drive)
		r.Code, r.Hints = f.code, c.out.repeated(f.hints)
	}
	importText{c}.importSummary(report)
	code := importCode(report, c.opt.imports.Prune)
	c.result(code, report)
	return outcome(code)
}

// unfit reports whether a drive has packages and this machine can use none of them.
func unfit(report *importer.ImportReport) bool {
	unusable := false
	for _, o := range report.Origins {
		if len(o.Copied)+len(o.Pruned)+o.Plan.Present.Files > 0 ||
			len(o.Plan.Copy)+len(o.Plan.Replace)+len(o.Plan.Beside) > 0 {
			return false
		}
		unusable = unusable || len(o.Plan.Unusable) > 0
	}
	return unusable
}

// importCode is the exit code of an import that came to its end: the worst of what happened to its
// origins. prune tells that files were to be removed.
func importCode(report *importer.ImportReport, prune bool) int {
	code := exitDone
	for _, r := range report.Refused {
		if fault.Of(r.Err) != fault.Unfit { // told; it is no part of what should have come
			code = worse(code, r.Code)
		}
	}
	if unfit(report) {
		code = worse(code, exitLeftOut)
	}
	if slices.ContainsFunc(report.Trees, (*importer.TreeImport).Missed) {
		code = worse(code, exitLeftOut)
	}
	for _, o := range report.Origins {
		if len(o.LeftOut) > 0 || prune && heldBack(o) {
			code = worse(code, exitLeftOut)
		}
	}
	return code
}

// importText prints what an import would do, and what it did.
type importText struct{ *invocation }

// confirmRotation asks whether a new key is to be trusted that the old one introduces.
func (c importText) confirmRotation(r *trust.Refusal) (bool, error) {
	c.out.say("%s signs with a new key. The key that is trusted here introduced it.",
		bold(r.Origin))
	c.out.say("%s  %s", bold("trusted"), r.Signer.Introducer.Grouped())
	c.out.say("%s      %s", bold("new"), r.Signer.Key.Grouped())
	c.out.say("%s  %s", bold("user id"), r.Signer.UserID)
	c.out.notice("Compare it with the fingerprint that \"pkgsneak key\" shows on the build host.")
	return c.out.ask(c.ctx, "Trust the new key instead of the old one?")
}

// origin names the origin of a plan, with its directory where another origin has that of its name.
func origin(p *importer.ImportPlan) styled {
	if p.Dir == p.Origin {
		return bold(p.Origin)
	}
	return bold(p.Origin + " (" + p.Dir + ")")
}

// signed tells when a generation was signed, and how long ago that is if it is long.
func (c importText) signed(p *importer.ImportPlan) string {
	const day = 24 * 60 * 60
	if p.Age < 2*day {
		return c.generation(p.Serial)
	}
	return fmt.Sprintf("%s, %d days old", c.generation(p.Serial), p.Age/day)
}

// importPlan prints what an import would do for one origin.
func (c importText) importPlan(p *importer.ImportPlan) {
	c.out.say("%s, generation %s", origin(p), c.signed(p))
	c.list(green("new"), p.Copy, true)
	c.list(yellow("renew"), p.Replace, true)
	c.list(blue("beside"), p.Beside, true)
	prune := "remove"
	if !c.opt.imports.Prune {
		prune = "keep"
	}
	c.list(red(prune), p.Prune, true)
	c.out.say("%s", counts([]counted{{"copy", p.Copy}, {"renew", p.Replace},
		{"put beside local ones", p.Beside}, {prune, p.Prune}},
		"here already", p.Present))
	if p.Need > 0 {
		c.out.say("needs %s", size(p.Need))
	}
}

// importSummary prints what an import did.
func (c importText) importSummary(r *importer.ImportReport) {
	for _, o := range r.Origins {
		switch {
		case r.Pretended && !r.Unchanged:
			c.importPlan(o.Plan)
		case r.Unchanged && len(o.LeftOut) == 0 && o.Plan.Donor:
			c.out.say("nothing to do: what the newest state of %s lists of this older one, generation %s, is here (%s)", origin(o.Plan), c.signed(o.Plan), tally(o.Plan.Present, "file"))
		case r.Unchanged && len(o.LeftOut) == 0 && o.Plan.Elsewhere.Files > 0:
			c.out.say("nothing to do: what is at hand of %s, generation %s, is here (%s)",
				origin(o.Plan), c.signed(o.Plan), tally(o.Plan.Present, "file"))
		case r.Unchanged && len(o.LeftOut) == 0:
			c.out.say("nothing to do: all of %s, generation %s, is here (%s)", origin(o.Plan),
				c.signed(o.Plan), tally(o.Plan.Present, "file"))
		default:
			c.importedOrigin(o)
		}
		c.gone(o)
		c.drives(o.Plan)
	}
	c.trees(r)
	if !r.Pretended && !r.Unchanged {
		c.took()
	}
	c.undone(r.Undo)
	if r.Indexed {
		c.out.say("the index has %s now", count(r.Packages, "package"))
	}
	if r.Unwanted > 0 {
		c.out.say("%s here that nobody wants (pkgsneak trust list): passed over",
			count(r.Unwanted, "origin"))
	}
	told := map[string]bool{}
	for _, refused := range r.Refused {
		if told[refused.Reason] {
			continue // on another drive, too
		}
		told[refused.Reason] = true
		c.out.warn("%s", refused.Reason)
		c.out.hint(refused.Hints...)
	}
	for _, o := range r.Origins {
		c.leftOut(o.LeftOut)
		c.unusable(o.Plan)
	}
	for _, n := range r.Notices {
		c.out.notice("%s %s", bold("note:"), n)
	}
	if r.Outlook != nil {
		tellOutlook(c.out, r.Outlook, forecast.TextOptions{File: r.ExcludeFile,
			Drive: c.args[0]})
	}
}

// undone prints how the import is taken back.
func (c importText) undone(u *importer.UndoNote) {
	switch {
	case u == nil:
	case u.Problem != "":
		c.out.say("  undo           not possible: %s", u.Problem)
	case u.Kept.Files == 0:
		c.out.say("  undo           pkgsneak undo takes it back")
	default:
		c.out.say("  undo           pkgsneak undo takes it back; %s kept for that until the next import", tally(u.Kept, "file"))
	}
}

// drives prints what the drives do not have of an origin, or have of it that is outdated.
func (c importText) drives(p *importer.ImportPlan) {
	if p.Superseded.Files > 0 {
		c.out.say("  superseded     %s of an older state, which the newest one of %s does not list; --allow-older takes it", tally(p.Superseded, "file"), p.Origin)
	}
	rest := p.Elsewhere.Files
	for _, d := range p.OnDrives {
		rest -= d.Files
		c.out.say("  elsewhere      %s on the drive %s", count(d.Files, "more package"), d.Label)
	}
	if rest > 0 {
		c.out.say("  elsewhere      %s that %s has", count(rest, "more file"), p.Origin)
	}
}

// unusable prints in one line what this machine can never use; the names with --verbose.
func (c importText) unusable(p *importer.ImportPlan) {
	if text := forecast.UnusableText(p.UnusableKinds); text != "" {
		c.out.say("  not taken      %s", text)
		if c.out.verbose {
			c.list(yellow("unfit"), p.Unusable, false)
		}
	}
}

// importedOrigin prints what was done for one origin.
func (c importText) importedOrigin(o *importer.OriginImport) {
	c.out.say("%s %s, generation %s", green("imported"), origin(o.Plan), c.signed(o.Plan))
	c.details(green("copied"), o.Copied)
	c.details(red("removed"), o.Pruned)
	c.out.say("  copied         %s", kinds(o.Copied))
	if o.Plan.Present.Files > 0 {
		c.out.say("  already here   %s", tally(o.Plan.Present, "file"))
	}
	if len(o.Pruned) > 0 {
		c.out.say("  removed        %s that the origin no longer has", kinds(o.Pruned))
	}
	if beside := elsewhere(o.Copied); len(beside) > 0 {
		c.out.say("  beside local packages of the same name:")
		c.list(blue("copied"), beside, false)
	}
}

// elsewhere are the files that got another name than the origin's.
func elsewhere(items []payload.Item) []payload.Item {
	var moved []payload.Item
	for _, it := range items {
		if it.Local != "" && it.Local != it.Path {
			moved = append(moved, it)
		}
	}
	return moved
}

// gone prints what an origin no longer has and this machine still has, and what is not removed
// although that was wanted.
func (c importText) gone(o *importer.OriginImport) {
	if o.Gone.Files > 0 {
		c.out.say("  still here     %s that %s no longer has; --prune removes them",
			tally(o.Gone, "file"), o.Plan.Origin)
	}
	for _, h := range o.Plan.Held {
		switch files := tally(h.Tally, string(h.Kind)); {
		// it was asked for, and a person has to decide: not under --quiet either
		case h.Hint != "" && c.opt.imports.Prune:
			c.out.warn("not removed: %s that %s no longer has: %s", files, o.Plan.Origin, h.Reason)
			c.out.hint(h.Hint)
		case h.Hint != "":
			c.out.say("  still here     %s that %s no longer has: %s; %s removes them", files,
				o.Plan.Origin, h.Reason, h.Hint)
		case c.opt.imports.Prune:
			c.out.say("  not removed    %s from %s: %s, so it is not known whether it still has them", files, o.Plan.Origin, h.Reason)
		}
	}
}

// heldBack reports whether a person has to decide before what he wants removed is removed.
func heldBack(o *importer.OriginImport) bool {
	return slices.ContainsFunc(o.Plan.Held, func(h importer.Held) bool { return h.Hint != "" })
}
