package main

import (
	"slices"
	"strings"

	"pkgsneak/sync/payload"
)

// listLimit is how many files a list of a summary names; --verbose names all, and so do --pretend
// and --ask, which are there to be read.
const listLimit = 10

// list names files, one a line, each behind a mark.
func (c *invocation) list(mark styled, items []payload.Item, all bool) {
	for i, it := range items {
		if i == listLimit && !all && !c.out.verbose {
			c.out.say("    %s", "... and "+count(len(items)-i, "file")+" more (-v lists all)")
			return
		}
		line, args := "    %-9s %s  %s", []any{mark, it.Path, size(it.Size)}
		if it.Local != "" && it.Local != it.Path {
			line, args = line+" as %s", append(args, it.Local)
		}
		c.out.say(line, args...)
	}
}

// details is list that only --verbose shows.
func (c *invocation) details(mark styled, items []payload.Item) {
	if c.out.verbose {
		c.list(mark, items, true)
	}
}

// leftOut names the files that were left out. It stays under --quiet: it is what went wrong.
func (c *invocation) leftOut(items []payload.Item) {
	if len(items) == 0 {
		return
	}
	total := payload.Count(items)
	if total.Bytes == 0 { // links, and names without a file
		c.out.warn("left out: %s", count(total.Files, "file"))
	} else {
		c.out.warn("left out: %s", tally(total, "file"))
	}
	c.reasons(items)
}

// tellRefused names the packages that an export has found to be refused, which stay on the drive.
func tellRefused(c *invocation, items []payload.Item) {
	if len(items) == 0 {
		return
	}
	c.out.warn("refused by the rules of this version, and left alone on the drive: %s",
		tally(payload.Count(items), "package"))
	c.reasons(items)
}

// reasons names files below a warning, each with its reason, and each hint once.
func (c *invocation) reasons(items []payload.Item) {
	named := 0
	for i, group := range byReason(items, c.out.verbose) {
		if i == listLimit && !c.out.verbose {
			c.out.alert("    %s", "... and "+count(len(items)-named, "file")+" more (-v lists all)")
			break
		}
		named += len(group)
		if len(group) == 1 {
			c.out.alert("    %s: %s", group[0].Path, group[0].Reason)
			continue
		}
		c.out.alert("    %s: %s (%s, ...; -v lists all)", count(len(group), string(group[0].Kind)),
			shared(group), examples(group))
	}
	var hints []string
	for _, it := range items {
		if it.Hint != "" && !slices.Contains(hints, it.Hint) {
			hints = append(hints, it.Hint)
		}
	}
	c.out.hint(hints...)
}

// namedAlone is how many files with one reason are named in a line each; of more of them one line
// gives the number and examples.
const namedAlone = 3

// byReason puts together what one line names: each file by itself, or all of a kind that have one
// reason, in the place of the first.
func byReason(items []payload.Item, alone bool) [][]payload.Item {
	type kind struct {
		kind   payload.Kind
		reason string
	}
	all := make(map[kind][]payload.Item)
	for _, it := range items {
		k := kind{it.Kind, payload.Alike(it.Reason)}
		all[k] = append(all[k], it)
	}
	var lines [][]payload.Item
	for _, it := range items {
		switch k := (kind{it.Kind, payload.Alike(it.Reason)}); {
		case alone || len(all[k]) > 0 && len(all[k]) <= namedAlone:
			lines = append(lines, []payload.Item{it})
		case len(all[k]) > 0:
			lines = append(lines, all[k])
			all[k] = nil
		}
	}
	return lines
}

// shared is the reason of several files: as it stands where they have the same one.
func shared(group []payload.Item) string {
	for _, it := range group {
		if it.Reason != group[0].Reason {
			return payload.Alike(it.Reason)
		}
	}
	return group[0].Reason
}

// examples are the first paths of a list.
func examples(items []payload.Item) string {
	var names []string
	for _, it := range items[:min(len(items), namedAlone)] {
		names = append(names, it.Path)
	}
	return strings.Join(names, ", ")
}

// counted is a list and what is done with it.
type counted struct {
	verb  string
	items []payload.Item
}

// counts is the line below a plan: what there is of each list that is not empty, and what is there
// already.
func counts(lists []counted, already string, there payload.Tally) string {
	var parts []string
	for _, l := range lists {
		if len(l.items) > 0 {
			parts = append(parts, l.verb+" "+kinds(l.items))
		}
	}
	if there.Files > 0 {
		parts = append(parts, already+" "+tally(there, "file"))
	}
	return strings.Join(parts, "; ")
}

// kinds splits a list into packages and distfiles and tallies both: "3 packages, 1.2 MiB; 1
// distfile, 30 KiB".
func kinds(items []payload.Item) string {
	var packages, distfiles payload.Tally
	for _, it := range items {
		t := &packages
		if it.Kind == payload.Distfile {
			t = &distfiles
		}
		t.Files++
		t.Bytes += it.Size
	}
	return bothKinds(packages, distfiles)
}

func bothKinds(packages, distfiles payload.Tally) string {
	switch {
	case distfiles.Files == 0:
		return tally(packages, "package")
	case packages.Files == 0:
		return tally(distfiles, "distfile")
	}
	return tally(packages, "package") + "; " + tally(distfiles, "distfile")
}

// left is the list of what a run left out, or would.
func left(pretended bool, planned, done []payload.Item) []payload.Item {
	if pretended {
		return planned
	}
	return done
}

// finish ends a verb that came to its end: the result in JSON, and the exit code that tells whether
// something was left out.
func (c *invocation) finish(leftOut []payload.Item, report any) error {
	code := exitDone
	if len(leftOut) > 0 {
		code = exitLeftOut
	}
	c.result(code, report)
	return outcome(code)
}

// noTerminal is the answer to --ask where nobody can answer.
func noTerminal() error {
	return withHint(usageErrorf("--ask needs a terminal to be answered at"),
		"--pretend shows what would be done, and asks nothing")
}
