package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/portage"
)

// leftOut tells what an export of this machine leaves out, in the words of the export.
func (e *commonRules) leftOut(ctx context.Context, missed []pkgdir.Missed) error {
	t := newLeftOutTally()
	if e.is(Host) {
		for _, m := range missed {
			if !m.Link || m.Listed == 0 { // told by itself
				t.add("PKGDIR", m.Path, m.Reason, "")
			}
		}
		d, err := distdir.Open(e.m.DISTDIR)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			e.unknown("DISTDIR: %v", err)
		default:
			defer d.Close()
			scan, err := d.ScanLinked(ctx, portage.ReadOnlyDistdirs(e.s))
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			if err != nil {
				e.unknown("DISTDIR: %v", err)
				break
			}
			below, _ := machine.DistdirIn(e.m.DISTDIR, e.m.PKGDIR)
			if text := scan.HiddenText(below); text != "" {
				e.tell(Finding{Topic: "left-out", Weight: Note, Role: Host, What: text,
					Why: "an export says so, too, and ends with 0"})
			}
			for _, m := range scan.Missed(e.m.DISTDIR) {
				t.add("DISTDIR", m.Name, m.Reason, m.Hint)
			}
		}
	}
	t.tell(e)
	return nil
}

// unreadable tells of files with a package's name that are none, which an export leaves out as
// well. missed are told already.
func (e *commonRules) unreadable(invalid []pkgdir.Problem, missed []pkgdir.Missed) {
	if !e.is(Host) {
		return
	}
	t := newLeftOutTally()
	for _, p := range invalid {
		if !slices.ContainsFunc(missed, func(m pkgdir.Missed) bool { return m.Path == p.Path }) {
			t.add("PKGDIR", p.Path, p.Reason, "")
		}
	}
	t.tell(e)
}

// leftOutTally puts together what one sentence tells.
type leftOutTally struct {
	names, hints map[string][]string
	reasons      map[string]string // the first of each kind
	differ       map[string]bool   // the kinds of which there are several
}

func newLeftOutTally() *leftOutTally {
	return &leftOutTally{hints: map[string][]string{}, names: map[string][]string{},
		reasons: map[string]string{}, differ: map[string]bool{}}
}

// tell makes a finding of each sentence.
func (t *leftOutTally) tell(e *commonRules) {
	for _, what := range slices.Sorted(maps.Keys(t.names)) {
		names, hints := t.names[what], t.hints[what]
		if reason := t.reasons[what]; !t.differ[what] {
			dir, _, _ := strings.Cut(what, ": ")
			what = dir + ": " + strings.ReplaceAll(reason, "%", "%%")
		}
		f := Finding{Topic: "left-out", Weight: Wrong, Role: Host,
			What: fmt.Sprintf(what, plural(len(names), "file")),
			Why:  "an export leaves that out, and ends with 3", Names: names}
		for _, hint := range hints {
			f.Fix = append(f.Fix, Fix{Do: hint, Lines: []string{}})
		}
		e.tell(f)
	}
}

// add takes a file in. A file that the index lists in vain is left to the findings about the index.
func (t *leftOutTally) add(dir, name, reason, hint string) {
	if reason == pkgdir.NoFile {
		return
	}
	what := "%s in " + dir + ": " + strings.ReplaceAll(payload.Alike(reason), "%", "%%")
	if first, ok := t.reasons[what]; ok && first != reason {
		t.differ[what] = true
	} else if !ok {
		t.reasons[what] = reason
	}
	t.names[what] = append(t.names[what], name)
	if hint != "" && !slices.Contains(t.hints[what], hint) {
		t.hints[what] = append(t.hints[what], hint)
	}
}

// behindLinks tells of each link in PKGDIR behind which the index lists packages, and returns the
// links' paths.
func (e *commonRules) behindLinks(missed []pkgdir.Missed) (links []string) {
	for _, m := range missed {
		if !m.Link || m.Listed == 0 {
			continue
		}
		links = append(links, m.Path+"/")
		f := Finding{Topic: "index", Weight: Wrong, What: fmt.Sprintf("%q in PKGDIR is %s",
			m.Path, m.Reason),
			Why: "emerge finds what is behind it as long as it trusts the index; emaint and pkgsneak index drop it, export and import pass it over"}
		if hint, lines, ok := strings.Cut(m.Hint, ": "); ok {
			f.Fix = []Fix{{Do: hint + ": run", Lines: strings.Split(lines, " && ")}}
		}
		e.tell(f)
	}
	return links
}

// withoutLinked takes the paths behind links out of a list.
func withoutLinked(paths, links []string) []string {
	return slices.DeleteFunc(paths, func(p string) bool {
		return slices.ContainsFunc(links, func(link string) bool {
			return strings.HasPrefix(p, link)
		})
	})
}
