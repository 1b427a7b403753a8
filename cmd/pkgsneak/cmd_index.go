package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/reindex"
)

func indexVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "index",
			Category:  "this machine",
			Usage:     "renew the Packages index of a PKGDIR",
			ArgsUsage: "[PKGDIR]",
			UsageText: "index [PKGDIR]\nindex --check [PKGDIR]",
			Description: "Does what \"emaint binhost --fix\" does, and with --check what its check\n" +
				"does, on machines with or without Portage and under Portage's own lock. Entries\n" +
				"that fit their files stay and the files are not read; new and changed packages are\n" +
				"read, entries without a file go. A package that cannot be read is named, and the\n" +
				"rest is indexed.",
			Flags:  flags(common, noProgress, pretend, indexing, jobs, dirs, lock),
			Action: f.action(0, 1, index),
		},
		examples: []example{
			{"pkgsneak index", "Renews the index of this machine's PKGDIR."},
			{"pkgsneak index --check /srv/binpkgs",
				"Compares another PKGDIR with its index, and changes nothing."},
		},
		results: map[string][]any{"": {indexReport{}}},
	}
}

// indexReport is what index and index --check found, in JSON. Paths are below PKGDIR.
type indexReport struct {
	PKGDIR   string `json:"pkgdir"`
	Written  bool   `json:"written"`
	Packages int    `json:"packages"` // entries
	// --check: how many of Missing, Stale and Index there are
	Wrong   int      `json:"wrong"`
	Added   []string `json:"added"`
	Renewed []string `json:"renewed"`
	Moved   []string `json:"moved"`
	Dropped []string `json:"dropped"`
	// --check: packages that are not in the index as they are
	Missing []payload.Item `json:"missing"`
	Stale   []payload.Item `json:"stale"`    // --check: entries without a package
	Index   []string       `json:"index"`    // --check: what is wrong with the index as such
	Invalid []payload.Item `json:"left_out"` // packages that cannot be indexed
	Remarks []string       `json:"notices"`  // what was odd in the old index
}

func index(c *invocation) error {
	machine, err := c.machine()
	if err != nil {
		return err
	}
	o := c.opt.index
	if len(c.args) == 1 {
		o.Named = !sameDirectory(machine.PKGDIR, c.args[0])
		machine.PKGDIR = c.args[0]
	}
	watch, done := c.watcher()
	defer done()
	if c.opt.check || c.opt.pretend {
		r, err := reindex.Check(c.ctx, machine, o, watch)
		if err != nil {
			return err
		}
		done()
		return indexText{c}.indexChecked(machine.PKGDIR, r)
	}
	r, err := reindex.Index(c.ctx, machine, o, watch)
	if err != nil {
		return err
	}
	done()
	return indexText{c}.indexed(machine.PKGDIR, r)
}

// sameDirectory reports whether both names lead to one directory.
func sameDirectory(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// indexText prints what index found and did.
type indexText struct{ *invocation }

// indexed prints what index did.
func (c indexText) indexed(dir string, r *pkgdir.Report) error {
	report := indexReport{PKGDIR: dir, Written: r.Written, Packages: r.Packages, Added: r.Added,
		Renewed: r.Renewed, Moved: r.Moved, Dropped: r.Dropped,
		Invalid: append(problems(r.Invalid), missed(r.Missed)...)}
	for _, remark := range r.Remarks {
		report.Remarks = append(report.Remarks, remark.String())
	}
	c.remarks(report.Remarks)
	for _, list := range []struct {
		mark  styled
		paths []string
	}{{green("added"), r.Added}, {yellow("renewed"), r.Renewed}, {blue("moved"), r.Moved},
		{red("dropped"), r.Dropped}} {
		for _, p := range list.paths {
			c.out.detail("    %-9s %s", list.mark, p)
		}
	}
	for _, p := range r.Ignored {
		c.out.detail("    %-9s %s: %s", blue("ignored"), p.Path, p.Reason)
	}
	if r.Written {
		c.out.say("indexed %s: %s (%d added, %d renewed, %d moved, %d dropped)", dir,
			count(r.Packages, "package"),
			len(r.Added), len(r.Renewed), len(r.Moved), len(r.Dropped))
	} else {
		c.out.say("the index of %s is up to date: %s", dir, count(r.Packages, "package"))
	}
	c.leftOut(report.Invalid)
	return c.finish(report.Invalid, report)
}

// remarks tells what was odd in the old index, so that nothing goes without a word.
func (c indexText) remarks(lines []string) {
	for i, line := range lines {
		if i == listLimit && !c.out.verbose {
			c.out.notice("    %s", "... and "+count(len(lines)-i, "remark")+" more (-v lists all)")
			return
		}
		c.out.notice("%s the old index, %s", bold("note:"), line)
	}
}

// indexChecked prints what index --check found.
func (c indexText) indexChecked(dir string, r *pkgdir.CheckReport) error {
	report := indexReport{PKGDIR: dir, Packages: r.Packages, Wrong: len(r.Missing) + len(r.Stale) +
		len(r.Index), Missing: problems(r.Missing), Stale: problems(r.Stale), Index: r.Index,
		Invalid: append(problems(r.Invalid), missed(r.Missed)...)}
	for _, remark := range r.Remarks {
		report.Remarks = append(report.Remarks, remark.String())
	}
	c.remarks(report.Remarks)
	for _, line := range r.Index {
		c.out.warn("%s", line)
	}
	for _, it := range append(append([]payload.Item{}, report.Missing...), report.Stale...) {
		c.out.alert("    %s", join(it.Path, it.Reason))
	}
	code := exitDone
	switch {
	case !r.OK():
		c.out.warn("the index of %s is wrong in %s (%s)", dir, count(report.Wrong, "place"),
			count(r.Packages, "package"))
		line := "pkgsneak index"
		if c.place != "" {
			line += " " + shellWord(c.place)
		}
		c.out.hint(line)
		if code = exitFound; c.opt.pretend && !c.opt.check {
			code = exitDone
		}
	case len(report.Invalid) > 0:
		code = exitLeftOut
	default:
		c.out.say("the index of %s is as it should be: %s", dir, count(r.Packages, "package"))
	}
	c.leftOut(report.Invalid)
	c.result(code, report)
	return outcome(code)
}

// missed are names in PKGDIR that could be taken for packages, and are none.
func missed(list []pkgdir.Missed) []payload.Item {
	var items []payload.Item
	for _, m := range list {
		items = append(items, payload.Item{Kind: payload.Package, Path: m.Path, Size: m.Size,
			Reason: m.Reason, Hint: m.Hint})
	}
	return items
}

func problems(list []pkgdir.Problem) []payload.Item {
	var items []payload.Item
	for _, p := range list {
		items = append(items, payload.Item{Kind: payload.Package, Path: p.Path, Size: p.Size,
			Reason: p.Reason})
	}
	return items
}
