package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/sandbox"
	"pkgsneak/sync/undo"
)

func undoVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "undo",
			Category:  "export and import",
			Usage:     "take the last import back",
			UsageText: "undo",
			Description: "PKGDIR, DISTDIR and ebuild repositories are as they were before the last\n" +
				"import that changed anything: what it replaced or removed is put back, what it\n" +
				"brought goes, and the index is made anew. Files that were built, fetched or edited\n" +
				"since stay, and are named. Trust, revocations and the highest generation stay as\n" +
				"they are; auto does not bring in again what was taken back, an import by hand may.\n" +
				"Nothing is installed or removed: the last line is what to type for that. Replaced\n" +
				"files are kept until the next import that changes anything, or until their space\n" +
				"is needed.",
			Flags:  flags(common, noProgress, pretend, ask, dirs, lock),
			Action: f.action(0, 0, undoImport),
		},
		examples: []example{
			{"pkgsneak undo -p",
				"Shows what would be put back and removed, and the line with which emerge goes back."},
			{"pkgsneak undo", "Takes the last import back."},
		},
		results: map[string][]any{"": {undo.Report{}}},
		goesOn:  "the same command takes the rest back",
	}
}

func undoImport(c *invocation) error {
	m, err := c.machine()
	if err != nil {
		return err
	}
	o := undo.Options{Pretend: c.opt.pretend}
	watch, done := c.watcher()
	defer done()
	text := undoText{c}
	if c.opt.ask && !o.Pretend {
		if !c.out.asks {
			return noTerminal()
		}
		o.Confirm = func(r *undo.Report) (bool, error) {
			text.plan(r)
			return c.out.askToGoOn(c.ctx, "Take this import back?")
		}
	}
	confine(c, func() sandbox.Confined { return undo.Confine(m, o) })
	r, err := undo.Undo(c.ctx, m, o, watch)
	if err != nil {
		return err
	}
	done()
	text.summary(r)
	code := exitDone
	if len(r.Stays) > 0 || slices.ContainsFunc(r.Repositories, func(x undo.Repository) bool {
		return x.Reason != ""
	}) {
		code = exitLeftOut
	}
	c.result(code, r)
	return outcome(code)
}

// undoText prints what an undo would do, or did.
type undoText struct{ *invocation }

// of names which import it is.
func (c undoText) of(r *undo.Report) string {
	var names []string
	for _, o := range r.Origins {
		names = append(names, o.Name)
	}
	if r.Imported.IsZero() {
		return "the last import, which brought ebuild repositories alone"
	}
	s := "the import of " + when(r.Imported, c.env.now())
	if len(names) > 0 {
		s += " from " + strings.Join(names, ", ")
	}
	if r.Ended {
		s += ", which did not come to its end"
	}
	return s
}

func (c undoText) plan(r *undo.Report) {
	c.out.say("%s", c.of(r))
	c.list(green("restore"), r.Restored, true)
	c.list(red("remove"), r.Removed, true)
	c.list(yellow("stays"), r.Stays, true)
	c.out.say("restore %s, remove %s, leave %s as they are", kinds(r.Restored), kinds(r.Removed),
		count(len(r.Stays), "file"))
	for _, x := range r.Repositories {
		c.out.say("the repository %s goes back to what it was before (%s)", x.Name, x.Location)
	}
}

func (c undoText) summary(r *undo.Report) {
	switch {
	case r.Unchanged && !r.Last.IsZero():
		c.out.say("nothing to undo: the last import was taken back %s", when(r.Last, c.env.now()))
		return
	case r.Unchanged:
		c.out.say("nothing to undo: no import is remembered that changed anything")
		return
	case r.Pretended:
		c.plan(r)
	case r.Imported.IsZero(): // what became of the repositories is told below
		c.took()
	default:
		c.out.say("%s %s", green("taken back:"), c.of(r))
		c.details(green("restored"), r.Restored)
		c.details(red("removed"), r.Removed)
		c.out.say("  restored       %s", kinds(r.Restored))
		c.out.say("  removed        %s that it had brought", kinds(r.Removed))
		if beside := elsewhere(r.Restored); len(beside) > 0 {
			c.out.say("  beside what has its name since:")
			c.list(blue("restored"), beside, false)
		}
		c.took()
	}
	if r.Packages > 0 {
		c.out.say("the index has %s now", count(r.Packages, "package"))
	}
	if len(r.Stays) > 0 {
		c.out.warn("not as before the import: %s", count(len(r.Stays), "file"))
		for i, it := range r.Stays {
			if i == listLimit && !c.out.verbose {
				c.out.alert("    %s", "... and "+count(len(r.Stays)-i,
					"file")+" more (-v lists all)")
				break
			}
			c.out.alert("    %s: %s", it.Path, it.Reason)
		}
	}
	for _, x := range r.Repositories {
		switch {
		case x.Reason != "":
			c.out.warn("the repository %s stays as it is: %s", x.Name, x.Reason)
			c.out.hint(x.Hints...)
		case r.Pretended: // told
		default:
			c.out.say("the repository %s is what it was before (%s)", x.Name, x.Location)
		}
	}
	for _, it := range r.Removed {
		if it.Hint != "" {
			c.out.notice("%s %s: %s; again: %s", bold("note:"), it.Path, it.Reason, it.Hint)
		}
	}
	for _, n := range r.Notices {
		c.out.notice("%s %s", bold("note:"), n)
	}
	c.back(r.Back)
}

// back prints what emerge has to do.
func (c undoText) back(b *undo.Back) {
	if b == nil {
		return
	}
	for i, x := range b.Only {
		if i == listLimit && !c.out.verbose {
			c.out.say("  %s", "... and "+count(len(b.Only)-i, "package")+" more (-v lists all)")
			break
		}
		c.out.say("stays installed: %s: %s", x.Name, x.Reason)
	}
	if b.Line == "" {
		if len(b.Only) == 0 {
			c.out.say("nothing of it is installed: emerge has nothing to do")
		}
		return
	}
	c.out.say("%s of it can go back; configuration and databases that the new versions changed stay as they are", count(len(b.Names), "installed package"))
	c.out.say("Next: %s", b.Line)
}
