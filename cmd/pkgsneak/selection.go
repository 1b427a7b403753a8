package main

import (
	"fmt"
	"path"
	"strings"

	"pkgsneak/sync/payload"
	"pkgsneak/sync/selection"
)

// selectionLines tell what goes on a drive that is too small, what stays here, and what would hold
// it all: a line for each client, or one where nobody is known. enough is the size of such a drive.
func selectionLines(s *selection.Plan, enough int64) []string {
	drive := ""
	if len(s.Stay) > 0 {
		drive = fmt.Sprintf("; a drive with %s free would take all", size(enough))
	}
	var unasked payload.Tally
	for _, g := range s.Groups {
		if g.Client == "" {
			unasked.Files, unasked.Bytes = unasked.Files+len(g.Files), unasked.Bytes+g.Bytes
		}
	}
	if len(s.Shares) == 0 {
		return []string{fmt.Sprintf("%s for this drive (%s), %s%s", count(unasked.Files, "file"),
			size(s.Taken), staying(len(s.Stay), s.Stay), drive)}
	}
	var lines []string
	for _, share := range s.Shares {
		what := count(share.Packages, "package")
		switch sources := count(share.Distfiles, "distfile"); {
		case share.Distfiles > 0 && share.Packages == 0:
			what = sources
		case share.Distfiles > 0:
			what += " and " + sources
		}
		line := fmt.Sprintf("%s for %s (%s)", what, share.Client, size(share.Bytes))
		if share.InTransit > 0 {
			line += fmt.Sprintf(", %d on the way on other drives", share.InTransit)
		}
		var stay []selection.Part
		for _, part := range s.Stay {
			if part.Client == share.Client {
				stay = append(stay, part)
			}
		}
		line += ", " + staying(share.Stay, stay)
		if share.Trouble != "" {
			line += "; what it needs is not known (" + share.Trouble + ")"
		}
		lines = append(lines, line)
	}
	var stay []selection.Part
	for _, part := range s.Stay {
		if part.Client == "" {
			stay = append(stay, part)
		}
	}
	if unasked.Files > 0 || len(stay) > 0 {
		lines = append(lines, fmt.Sprintf("%s for which no client has asked (%s), %s",
			count(unasked.Files, "file"), size(unasked.Bytes), staying(len(stay), stay)))
	}
	lines[len(lines)-1] += drive
	return lines
}

// staying names the largest of what stays here: "93 stay here (1.9 GiB: gcc 258 MiB, ...)".
func staying(n int, parts []selection.Part) string {
	if n == 0 {
		return "nothing stays here"
	}
	const named = 3
	var total int64
	var names []string
	for i, part := range parts {
		total = payload.Plus(total, part.Bytes)
		if i < named {
			names = append(names, path.Base(part.Name)+" "+size(part.Bytes))
		}
	}
	if len(parts) > named {
		names = append(names, "...")
	}
	verb := "stay"
	if n == 1 {
		verb = "stays"
	}
	return fmt.Sprintf("%d %s here (%s: %s)", n, verb, size(total), strings.Join(names, ", "))
}
