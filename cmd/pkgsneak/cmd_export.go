package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/sandbox"
	"pkgsneak/sync/selection"
	"pkgsneak/sync/volume"
)

func exportVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "export",
			Category:  "export and import",
			Usage:     "write what changed here to a drive",
			ArgsUsage: "DRIVE",
			UsageText: "export DRIVE",
			Description: "Copies the binary packages of PKGDIR and the files of DISTDIR that the\n" +
				"drive does not have yet, removes what is no longer here, and signs the result.\n" +
				"DRIVE is where the drive is mounted; everything goes below DRIVE/pkgsneak, other\n" +
				"files are not touched. If the drive is pulled, it still holds either the old or\n" +
				"the new state, complete. Files that verify found damaged on the drive are written\n" +
				"again; --repair looks for more. The ebuild repositories travel too, each packed\n" +
				"into one file. A drive that is too small gets what is needed most, with what that\n" +
				"needs: first what clients lack and wish, by the requests on the drive and those\n" +
				"before; -p shows the choice. Packages that every client has leave such a drive\n" +
				"first.",
			Flags: flags(common, noProgress, pretend, ask, kindsLeft, carriedRepos, exporting,
				anywhere, answering, acceptClock, shrink, repair, jobs, dirs, lock),
			Action: f.action(1, 1, export),
		},
		writesDrive: true,
		examples: []example{
			{"pkgsneak export --pretend /mnt/usb",
				"Shows what would be copied and removed, and does nothing."},
			{"pkgsneak export /mnt/usb && umount /mnt/usb",
				"Writes what changed; the first export makes this machine's signing key."},
		},
		results: map[string][]any{"": {exporter.ExportReport{}}},
	}
}

func export(c *invocation) error {
	machine, err := c.machine()
	if err != nil {
		return err
	}
	// named for this run: a slip of the pen would export no package
	if dir := c.opt.pkgdir; dir != "" && !c.opt.export.NoPackages {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return withHint(fmt.Errorf("export: PKGDIR %q, which --pkgdir or %s names: %w", dir,
				variable("pkgdir"), fault.Bare(err)),
				"mkdir %s, if packages are to come there; for distfiles alone: --no-packages",
				shellWord(dir))
		}
	}
	o := c.opt.export
	o.Drive, o.Source, o.Medium = c.args[0], volume.MediumOf(machine.PKGDIR),
		volume.MediumOf(c.args[0])
	o.Label = volume.LabelAt(c.args[0])
	watch, done := c.watcher()
	defer done()
	if c.opt.ask && !o.Pretend {
		if !c.out.asks {
			return noTerminal()
		}
		o.Confirm = func(p *exporter.ExportPlan) (bool, error) {
			exportText{c}.exportPlan(p)
			return c.out.askToGoOn(c.ctx, "Write this to the drive?")
		}
	}
	confine(c, func() sandbox.Confined { return exporter.Confine(machine, o) })
	report, err := exporter.Export(c.ctx, machine, o, watch)
	if err != nil {
		return err
	}
	done()
	clientsText{c}.asked(report.Asked)
	exportText{c}.exportSummary(report)
	return c.finish(left(report.Pretended, report.Plan.LeftOut, report.LeftOut), report)
}

// exportText prints what an export would do, and what it did.
type exportText struct{ *invocation }

// exportPlan prints what an export would do.
func (c exportText) exportPlan(p *exporter.ExportPlan) {
	c.out.say("%s to %s", bold(p.Origin), p.Drive)
	c.list(green("new"), withReason(p.Copy, true, "new"), true)
	repair := []string{exporter.DamagedOnDrive, exporter.MissingOnDrive}
	c.list(yellow("rebuilt"), withReason(p.Copy, false, append(repair, "new")...), true)
	c.list(yellow("repair"), withReason(p.Copy, true, repair...), true)
	c.list(blue("compare"), p.Compare, true)
	gone, leaves := apart(p.Remove)
	c.list(red("remove"), gone, true)
	c.list(yellow("leaves"), leaves, true)
	c.treesToPack(p.Trees)
	c.out.say("%s", counts([]counted{{"copy", p.Copy}, {"compare first", p.Compare},
		{"remove", gone}, {"leave behind", leaves}}, "on the drive already", p.Keep))
	if p.Need > 0 {
		c.out.say("needs %s%s, free %s", size(p.Need+p.Program+p.Packing), beside(p),
			size(p.Free))
	}
	c.selection(p)
}

// beside tells how much of what a plan needs is no payload.
func beside(p *exporter.ExportPlan) string {
	var parts []string
	if p.Program > 0 {
		parts = append(parts, size(p.Program)+" for pkgsneak itself")
	}
	if p.Packing > 0 {
		parts = append(parts, "about "+size(p.Packing)+" for ebuild repositories")
	}
	if len(parts) == 0 {
		return ""
	}
	return " (of it " + strings.Join(parts, ", ") + ")"
}

// apart tells what is gone from this machine from what only leaves the drive.
func apart(removed []payload.Item) (gone, leaves []payload.Item) {
	return withReason(removed, true, exporter.Gone), withReason(removed, false, exporter.Gone)
}

// selection prints what a drive that is too small gets, and what not.
func (c exportText) selection(p *exporter.ExportPlan) {
	s := p.Selection
	if s == nil {
		return
	}
	for _, line := range selectionLines(s, p.Enough) {
		c.out.say("%s", line)
	}
	for _, t := range s.TooLarge[:min(len(s.TooLarge), listLimit)] {
		c.out.say("  %s is larger than this drive with what it needs: %s", t.Name, size(t.Bytes))
	}
	if n := len(s.TooLarge) - listLimit; n > 0 {
		c.out.say("  and so are %s more", count(n, "package"))
	}
}

// withReason keeps the items that have one of the reasons, or those that have another one.
func withReason(items []payload.Item, have bool, reasons ...string) []payload.Item {
	var kept []payload.Item
	for _, it := range items {
		if slices.Contains(reasons, it.Reason) == have {
			kept = append(kept, it)
		}
	}
	return kept
}

// exportSummary prints what an export did.
func (c exportText) exportSummary(r *exporter.ExportReport) {
	p := &r.Plan
	if r.NewKey {
		c.out.say("made the key that signs this machine's exports: %s", grouped(p.Fingerprint))
	}
	switch {
	case r.Unchanged:
		defer c.selection(p)
		written := ": nothing was written"
		switch {
		case len(r.Renewed) > 0:
			written = ": only written again: " + strings.Join(r.Renewed, ", ")
		case len(r.Leftovers) > 0:
			written = ""
		}
		c.out.say("nothing changed in %s since generation %s%s", bold(p.Origin),
			c.generation(r.Serial), written)
		c.leftovers(r)
		c.out.say("  the drive has  %s", tally(r.Kept, "file"))
	case r.Pretended:
		c.exportPlan(p)
	default:
		c.out.say("%s %s to %s", green("exported"), bold(p.Origin), p.Drive)
		c.details(green("copied"), r.Copied)
		gone, leaves := apart(r.Removed)
		c.details(red("removed"), gone)
		c.details(yellow("left"), leaves)
		for _, it := range p.Duplicates {
			c.out.detail("    %-9s %s: %s", blue("once"), it.Path, it.Reason)
		}
		c.leftovers(r)
		c.out.say("  copied         %s", kinds(r.Copied))
		if len(gone) > 0 {
			c.out.say("  removed        %s no longer on this machine", kinds(gone))
		}
		for _, reason := range []string{selection.HadByAll, selection.HadByOne,
			selection.Displaced, exporter.Outdated} {
			if items := withReason(leaves, true, reason); len(items) > 0 {
				c.out.say("  off the drive  %s: %s", kinds(items), reason)
			}
		}
		if r.Kept.Files > 0 {
			c.out.say("  kept           %s", tally(r.Kept, "file"))
		}
		c.treesPacked(r)
		c.out.say("  generation     %s%s", c.generation(r.Serial), readBack(r))
		c.took()
		c.selection(p)
	}
	c.leftOut(left(r.Pretended, p.LeftOut, r.LeftOut))
	tellRefused(c.invocation, r.Refused)
	for _, n := range r.Notices {
		c.out.notice("%s %s", bold("note:"), n)
	}
	if !r.Pretended {
		c.out.say("Next: %son the client: pkgsneak import %s", unmount(p), shellWord(p.Drive))
	}
}

// unmount is the part of a line to type that unmounts a plan's drive; "" where that is an ordinary
// directory.
func unmount(p *exporter.ExportPlan) string {
	mount := p.Drive
	if !machine.IsMountPoint(p.Drive) {
		if machine.CheckMounted("export", p.Drive, p.PKGDIR) != nil {
			return ""
		}
		at, err := machine.MountPoint(p.Drive)
		if err != nil {
			return ""
		}
		mount = at
	}
	return "umount " + shellWord(mount) + ", and "
}

// leftovers prints what was removed of an export that was interrupted.
func (c exportText) leftovers(r *exporter.ExportReport) {
	if len(r.Leftovers) == 0 {
		return
	}
	for _, file := range r.Leftovers {
		c.out.detail("    %-9s %s", red("leftover"), file)
	}
	c.out.say("  cleaned up     %s of earlier exports that no list names any more",
		count(len(r.Leftovers), "file"))
}

func readBack(r *exporter.ExportReport) string {
	if r.ReadBack {
		return ", compared with what was written"
	}
	return ""
}

// generation is a generation's number, which is the time it was made.
func (c *invocation) generation(serial int64) string {
	made, now := time.Unix(serial, 0), c.env.now()
	text := fault.Time(made)
	if made.After(now) {
		return text // a clock that is behind; how far means nothing
	}
	return text + " (" + ago(made, now) + ")"
}
