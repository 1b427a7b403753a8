package main

import (
	"strings"
	"time"

	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
)

// treesToPack prints what an export would do with ebuild repositories.
func (c exportText) treesToPack(trees []*exporter.TreePlan) {
	for _, t := range trees {
		if t.Action != exporter.TreeKeep {
			c.out.say("    %-9s repository %s%s, %s, %s", yellow(t.Action), t.Name,
				ofDay(t.Timestamp), entries(t.Count), size(t.Bytes))
		}
	}
}

// treesPacked prints what an export did with them.
func (c exportText) treesPacked(r *exporter.ExportReport) {
	for _, t := range r.Trees {
		c.out.say("  repository     %s%s packed: %s, %s of %s", t.Name, ofDay(t.Timestamp),
			entries(t.Count), size(t.Packed), size(t.Bytes))
	}
	for _, t := range r.Plan.Trees {
		if t.Action == exporter.TreeRemove && !r.Unchanged {
			c.out.say("  repository     %s is no longer on the drive", t.Name)
		}
	}
}

// ofDay is the day of a tree, "" if that is not known.
func ofDay(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " of " + t.UTC().Format("2006-01-02")
}

// treeDay is the day of a tree and how long ago that is.
func treeDay(t, now time.Time) string {
	if t.IsZero() {
		return "an unknown day"
	}
	return t.UTC().Format("2006-01-02") + " (" + ago(t, now) + ")"
}

func entries(n int) string { return count(n, "name") }

// trees prints what an import did with the ebuild repositories, or would do.
func (c importText) trees(r *importer.ImportReport) {
	for _, t := range r.Trees {
		of := t.Name + ofDay(t.Offer().Tree.Timestamp)
		switch {
		case t.Missed():
			c.out.warn("the repository %s stays as it is: %s", of, t.Reason)
			c.out.hint(c.forDrive(t.Hints)...)
		case t.Action == ebuilds.LeftAlone:
			c.out.say("  repository     %s is left alone: %s", of, t.Reason)
			for _, hint := range c.forDrive(t.Hints) {
				c.out.say("                 %s", hint)
			}
		case t.Taken:
			c.out.say("  repository     %s is in %s now%s", of, t.Location, before(t.Before))
			c.conf(t)
		case t.Action == ebuilds.Take:
			c.out.say("  repository     %s would come to %s (%s)", of, t.Location, size(t.Bytes))
		default:
			c.out.detail("  repository     %s is here already", of)
		}
	}
}

func before(dir string) string {
	if dir == "" {
		return ""
	}
	return "; the one that was there: " + dir
}

// conf prints the line for repos.conf that a new place asks for.
func (c importText) conf(t *importer.TreeImport) {
	if t.Conf != "" {
		c.out.say("                 Portage does not look there yet: %s", t.Conf)
	}
}

// forDrive puts the drive's name into commands.
func (c importText) forDrive(hints []string) []string {
	named := make([]string, len(hints))
	for i, hint := range hints {
		named[i] = strings.ReplaceAll(hint, "pkgsneak import DRIVE",
			"pkgsneak import "+shellWord(c.args[0]))
	}
	return named
}
