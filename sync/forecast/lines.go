package forecast

import (
	"path"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/resolve"
)

// pattern is an atom of one of the files in /etc/portage: those may have wildcards in the name
// ("dev-libs/*", "*/*::overlay").
type pattern struct {
	atom         depend.Atom
	category, pn string // with wildcards; "" if the atom has none
}

// anyName stands in the place of a name with wildcards.
const anyName = "any/package"

// parsePattern reads an atom. It is false for what is none.
func parsePattern(s string) (pattern, bool) {
	name, tail := s, ""
	if i := strings.IndexAny(s, ":["); i >= 0 {
		name, tail = s[:i], s[i:]
	}
	category, pn, ok := strings.Cut(name, "/")
	if !ok || !strings.Contains(name, "*") ||
		strings.ContainsAny(category[:min(1, len(category))], "=<>~") {
		a, err := depend.ParseAtom(s)
		return pattern{atom: a}, err == nil && a.Block == 0
	}
	if strings.ContainsAny(name, `[]?\`) || len(name) > 256 {
		return pattern{}, false
	}
	a, err := depend.ParseAtom(anyName + tail)
	return pattern{atom: a, category: category, pn: pn}, err == nil
}

func (p *pattern) matches(q *depend.Package) bool {
	if p.category == "" {
		return depend.Match(&p.atom, q)
	}
	category, pn, _ := strings.Cut(q.CP, "/")
	if ok, _ := path.Match(p.category, category); !ok {
		return false
	}
	if ok, _ := path.Match(p.pn, pn); !ok {
		return false
	}
	renamed := *q
	renamed.CP = anyName
	return depend.Match(&p.atom, &renamed)
}

// lineSet finds the lines of a file that speak of a package.
type lineSet[T any] struct {
	byCP map[string][]int
	wild []int
	all  []pattern
	what []T
}

// add takes a line in; one whose atom is none is passed over, as in Portage.
func (l *lineSet[T]) add(atom string, what T) bool {
	p, ok := parsePattern(atom)
	if !ok {
		return false
	}
	n := len(l.all)
	l.all, l.what = append(l.all, p), append(l.what, what)
	if p.category != "" {
		l.wild = append(l.wild, n)
		return true
	}
	if l.byCP == nil {
		l.byCP = make(map[string][]int)
	}
	l.byCP[p.atom.CP] = append(l.byCP[p.atom.CP], n)
	return true
}

// of returns the values of the lines that match a package: those with wildcards first, as the less
// specific ones.
func (l *lineSet[T]) of(q *depend.Package) []T {
	var found []T
	for _, list := range [...][]int{l.wild, l.byCP[q.CP]} {
		for _, n := range list {
			if l.all[n].matches(q) {
				found = append(found, l.what[n])
			}
		}
	}
	return found
}

// dependPackage makes what atoms are matched against.
func dependPackage(p *resolve.Package) (depend.Package, bool) {
	c, err := cpv.Parse(p.CPV)
	if err != nil {
		return depend.Package{}, false
	}
	slot := p.Slot
	if slot == "" {
		slot = "0"
	}
	use := wordSet(p.Use)
	iuse := make(map[string]bool)
	for w := range strings.FieldsSeq(p.IUse) {
		iuse[strings.TrimLeft(w, "+-")] = true
	}
	return depend.Package{CP: c.Category + "/" + c.PN, Version: c.Version, BuildID: p.BuildID,
		Slot: slot, Sub: p.Sub, Repo: p.Repo,
		Use: func(f string) bool { return use[f] }, Valid: func(f string) bool {
			return iuse[f] || use[f]
		}}, true
}

func wordSet(s string) map[string]bool {
	set := make(map[string]bool)
	for w := range strings.FieldsSeq(s) {
		set[w] = true
	}
	return set
}
