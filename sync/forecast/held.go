package forecast

import (
	"slices"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/resolve"
)

// maxHeld bounds the candidates for which somebody is looked for who holds them back.
const maxHeld = 500

// end is a package that is there when emerge is done, with its dependencies.
type end struct {
	p    resolve.Package
	text string
}

// held tells of candidates that emerge leaves alone without a word although they are newer than
// what is installed: somebody who stays needs the older one.
func (f *Forecast) held(m *Machine, r *resolve.Result, list []resolve.Package,
	judge func(*resolve.Package) bool) {
	told := make(map[string]bool)
	for i := range r.Refusals {
		told[r.Refusals[i].Package.CPV] = true
	}
	ends, gone := m.endState(r)
	for _, x := range ends {
		told[x.p.CPV] = true
	}
	f.nameHolders(m, r, ends, gone)
	idle := make(map[string]bool)
	for i := range r.Unreached {
		idle[r.Unreached[i].CPV] = true
	}
	shelves := make(map[string][]*resolve.Package)
	for i := range list {
		if c, err := cpv.Parse(list[i].CPV); err == nil {
			shelves[c.Category+"/"+c.PN] = append(shelves[c.Category+"/"+c.PN], &list[i])
		}
	}
	n := 0
	for _, old := range m.Installed {
		if gone[old.CPV] || idle[old.CPV] || n >= maxHeld {
			continue
		}
		best := newest(&old, shelves, judge)
		if best == nil || told[best.CPV] {
			continue
		}
		n++
		if who, atom := holder(r, ends, &old, best); who != "" {
			f.Cannot = append(f.Cannot, breaks(best.CPV, who, atom))
		}
	}
}

// breaks is the lack of a candidate that would take from a package what it needs.
func breaks(name, who, atom string) Lack {
	return Lack{Name: name, Cause: "breaks", Atom: atom, Other: who,
		Why: "breaks " + who + ", which needs " + atom + " and was not rebuilt"}
}

// nameHolders finds out for whom a candidate gives way: mostly an installed package that was not
// built anew.
func (f *Forecast) nameHolders(m *Machine, r *resolve.Result, ends []end, gone map[string]bool) {
	for i := range r.Refusals {
		x := &r.Refusals[i]
		at := slices.IndexFunc(f.Cannot, func(l Lack) bool {
			return l.Name == x.Package.CPV && l.Cause == "conflicts"
		})
		if x.Cause != resolve.Conflicts || at < 0 {
			continue
		}
		c, err := cpv.Parse(x.Package.CPV)
		if err != nil {
			continue
		}
		for j := range m.Installed {
			old := &m.Installed[j]
			o, err := cpv.Parse(old.CPV)
			if err != nil || o.Category != c.Category || o.PN != c.PN ||
				old.Slot != x.Package.Slot || gone[old.CPV] {
				continue
			}
			if who, atom := holder(r, ends, old, &x.Package); who != "" {
				f.Cannot[at] = breaks(x.Package.CPV, who, atom)
			}
		}
	}
}

// endState lists the packages that are there in the end, and the installed ones that are replaced
// or removed.
func (m *Machine) endState(r *resolve.Result) (ends []end, gone map[string]bool) {
	gone = make(map[string]bool)
	add := func(p resolve.Package) {
		ends = append(ends, end{p, p.RDepend + " " + p.PDepend + " " + p.IDepend})
	}
	for i := range r.Merges {
		x := &r.Merges[i]
		if x.Old != nil {
			gone[x.Old.CPV] = true
		}
		if x.Kind == resolve.Uninstall {
			gone[x.Package.CPV] = true
			continue
		}
		add(x.Package)
	}
	for _, p := range m.Installed {
		if !gone[p.CPV] {
			add(p)
		}
	}
	return ends, gone
}

// newest returns the highest acceptable candidate for the slot of an installed package, nil if none
// is higher than that.
func newest(old *resolve.Package, shelves map[string][]*resolve.Package,
	judge func(*resolve.Package) bool) *resolve.Package {
	o, err := cpv.Parse(old.CPV)
	if err != nil {
		return nil
	}
	var best *resolve.Package
	version := o.Version
	for _, p := range shelves[o.Category+"/"+o.PN] {
		if p.Slot != old.Slot {
			continue
		}
		c, err := cpv.Parse(p.CPV)
		if err == nil && cpv.CompareVersions(c.Version, version) > 0 && judge(p) {
			best, version = p, c.Version
		}
	}
	return best
}

// holder returns a package of the end whose atom the old one satisfies and the new one does not: if
// there are several, one of which nothing was refused, for the others give way along with the new.
func holder(r *resolve.Result, ends []end, old, new *resolve.Package) (who, atom string) {
	a, ok := dependPackage(old)
	b, ok2 := dependPackage(new)
	if !ok || !ok2 {
		return "", ""
	}
	for i := range ends {
		x := &ends[i]
		if x.p.CPV == old.CPV || !strings.Contains(x.text, a.CP) {
			continue
		}
		for w := range strings.FieldsSeq(x.text) {
			if !strings.Contains(w, a.CP) {
				continue
			}
			d, err := depend.ParseAtom(w)
			if err != nil || d.Block != 0 || !depend.Match(&d, &a) || depend.Match(&d, &b) {
				continue
			}
			if !refused(r, &x.p) {
				return x.p.CPV, w
			}
			if who == "" {
				who, atom = x.p.CPV, w
			}
		}
	}
	return who, atom
}

// refused reports whether a candidate for the slot of a package was refused.
func refused(r *resolve.Result, p *resolve.Package) bool {
	c, err := cpv.Parse(p.CPV)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(r.Refusals, func(x resolve.Refusal) bool {
		d, err := cpv.Parse(x.Package.CPV)
		return err == nil && d.Category == c.Category && d.PN == c.PN && x.Package.Slot == p.Slot
	})
}
