package forecast

import (
	"fmt"
	"strings"
	"time"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
)

// Mismatch is one way in which packages do not fit this machine's configuration. Import tells it in
// a line, doctor with the lines that change it; Topic is doctor's.
type Mismatch struct {
	Topic string   `json:"topic"`
	Text  string   `json:"text"` // behind a number of packages: "masked here by KEYWORDS"
	Names []string `json:"packages"`
}

// String is the mismatch in one line.
func (m *Mismatch) String() string {
	return fmt.Sprintf("%s %s (%s)", plural(len(m.Names), "package"), m.Text,
		few(m.Names, 2, func(s string) string { return s }))
}

// Keyword returns the keyword that would have to be accepted for a package, "" if one is accepted.
func (j *Judge) Keyword(c *Candidate) string {
	p := c.pkg()
	q, ok := dependPackage(&p)
	if !ok || j.a.noProfile {
		return ""
	}
	return j.a.missingKeyword(p.Keywords, &q)
}

// Licenses returns the licenses of a package that are not accepted.
func (j *Judge) Licenses(c *Candidate) []string {
	p := c.pkg()
	q, ok := dependPackage(&p)
	if !ok || j.a.noProfile {
		return nil
	}
	return strings.Fields(j.a.missingLicenses(p.License, &q))
}

// OtherUse returns the flags in which a package differs from what this machine sets: "+flag" or
// "-flag" as the package has it.
func (j *Judge) OtherUse(c *Candidate) []string { return j.a.otherUse(c.pkg()) }

// OwnUse returns the lines of package.use on this machine for a package's flags.
func (j *Judge) OwnUse(c *Candidate) map[string]bool {
	p := c.pkg()
	said := map[string]bool{}
	if q, ok := dependPackage(&p); ok {
		for _, words := range j.a.use.of(&q) {
			for _, w := range words {
				flag, off := strings.CutPrefix(w, "-")
				said[strings.TrimPrefix(flag, "+")] = !off
			}
		}
	}
	return said
}

// AcceptsHost reports whether ACCEPT_CHOSTS, or the machine's own CHOST, lets packages of a CHOST
// in.
func (j *Judge) AcceptsHost(chost string) bool { return j.a.acceptsHost(chost) }

// Mismatches tells how packages do not fit this machine's configuration. A package that can never
// be used here (Judge.Package) is told elsewhere.
func (j *Judge) Mismatches(list []Candidate) []Mismatch {
	keywords := Mismatch{Topic: "keywords", Text: "masked here by KEYWORDS"}
	licenses := Mismatch{Topic: "license", Text: "masked here by LICENSE"}
	masks := Mismatch{Topic: "config", Text: "masked here by package.mask"}
	use := Mismatch{Topic: "use", Text: "built with other USE than this machine sets"}
	ebuilds := Mismatch{Topic: "usepkg",
		Text: "without an ebuild in the trees of this machine: --usepkg ignores them, --usepkgonly does not"}
	hasEbuild, usable := j.ebuilds(), 0
	for i := range list {
		c := &list[i]
		if j.Package(c).Kind != resolve.Acceptable {
			continue
		}
		usable++
		p := c.pkg()
		q, ok := dependPackage(&p)
		if ok && !j.a.noProfile {
			if j.a.missingKeyword(p.Keywords, &q) != "" {
				keywords.Names = append(keywords.Names, p.CPV)
			}
			if j.a.missingLicenses(p.License, &q) != "" {
				licenses.Names = append(licenses.Names, p.CPV)
			}
		}
		if ok && len(j.a.mask.of(&q)) > 0 && len(j.a.unmask.of(&q)) == 0 {
			masks.Names = append(masks.Names, p.CPV)
		}
		if len(j.a.otherUse(p)) > 0 {
			use.Names = append(use.Names, p.CPV)
		}
		if !hasEbuild(p.CPV) {
			ebuilds.Names = append(ebuilds.Names, p.CPV)
		}
	}
	if len(ebuilds.Names) == usable {
		ebuilds.Names = nil // a tree of profiles alone: nobody compiles here
	}
	var found []Mismatch
	for _, m := range []Mismatch{keywords, licenses, masks, use, ebuilds} {
		if len(m.Names) > 0 {
			found = append(found, m)
		}
	}
	return found
}

// ebuilds tells of a package whether a repository here has its ebuild; of every one, where there is
// no repository.
func (j *Judge) ebuilds() func(name string) bool {
	var repos []portage.Repo
	if j.m.settings != nil {
		repos, _ = j.m.settings.Repos()
	}
	return func(name string) bool {
		c, err := cpv.Parse(name)
		if err != nil || len(repos) == 0 {
			return true
		}
		for i := range repos {
			if repos[i].HasEbuild(c.Category, c.PN, c.PF) {
				return true
			}
		}
		return false
	}
}

// Trees compares the ebuild repositories of an origin with those of this machine, a line for each
// that differs.
func Trees(here []portage.Repo, origin string, theirs []layout.Repository) []string {
	var lines []string
	if len(here) == 0 {
		return nil
	}
next:
	for _, t := range theirs {
		for _, ours := range here {
			if ours.Name != t.Name {
				continue
			}
			if (t.Revision == "" || t.Revision != ours.Revision) && !t.Timestamp.IsZero() &&
				!ours.Timestamp.IsZero() && !ours.Timestamp.Equal(t.Timestamp) {
				lines = append(lines,
					fmt.Sprintf("repository %q is %s here than on origin %q (%s against %s)",
						t.Name, olderBy(ours.Timestamp, t.Timestamp), origin,
						ours.Timestamp.UTC().Format(time.DateOnly),
						t.Timestamp.UTC().Format(time.DateOnly)))
			}
			continue next
		}
		lines = append(lines, fmt.Sprintf("origin %q has the repository %q, this machine has not",
			origin, t.Name))
	}
	return lines
}

// olderBy counts how many days lie between two trees.
func olderBy(ours, theirs time.Time) string {
	word, d := "newer", ours.Sub(theirs)
	if d < 0 {
		word, d = "older", -d
	}
	if days := int(d.Hours() / 24); days > 1 {
		return fmt.Sprintf("%d days %s", days, word)
	}
	return fmt.Sprintf("%d hours %s", int(d.Hours()), word)
}
