package resolve

import (
	"slices"
	"strings"

	"pkgsneak/sync/depend"
)

// verdict is what the blockers lead to.
type verdict struct {
	unsolved  []blockage
	uninstall []blockage // what is removed, for whom
}

// blockage is a blocker that hits a package.
type blockage struct {
	a     *atom
	owner *pkg
	hit   *pkg
}

// addBlocker notes a blocker. Packages that only lead to a slot conflict do not block.
func (g *graph) addBlocker(a *atom, p *pkg) {
	if p == nil {
		return
	}
	if in := g.inConflict(p); in > 0 {
		return
	}
	b := &blocker{a, p}
	g.st.charge(len(g.blockers) / 8)
	if !slices.ContainsFunc(g.blockers, func(c *blocker) bool { return *c == *b }) {
		g.blockers = append(g.blockers, b)
	}
}

// inConflict returns the place of a package among those that were chosen for its slot, in the order
// in which they came.
func (g *graph) inConflict(p *pkg) int {
	place := 0
	for _, q := range g.track(p.shelf).added {
		if q == p {
			return place
		}
		if q.slotKey == p.slotKey {
			place++
		}
	}
	return 0
}

func (g *graph) inBlockerConflict(p *pkg) bool {
	if g.blocked == nil {
		g.judgeBlockers()
	}
	g.st.charge(len(g.blockers) / 8)
	return g.blocked[p] || slices.ContainsFunc(g.blockers, func(b *blocker) bool {
		return b.owner == p
	})
}

// judgeBlockers decides about each blocker of the graph and of all installed packages. One that
// hits a package which stays is unsolved if anybody needs that package; else the package is
// removed.
func (g *graph) judgeBlockers() verdict {
	g.blocked = make(map[*pkg]bool)
	all := slices.Clone(g.blockers)
	for _, p := range g.st.all {
		if p.installed && !g.read[p] {
			for _, a := range g.st.blockersOf(p) {
				all = append(all, &blocker{a, p})
			}
		}
	}
	var v verdict
	for _, b := range all {
		g.judgeBlocker(b, &v)
	}
	return v
}

func (g *graph) judgeBlocker(b *blocker, v *verdict) {
	strong := b.a.Block == depend.StrongBlock
	if !g.st.charge(1 + len(v.uninstall)/8) {
		return
	}
	unsolved := (*pkg)(nil)
	var remove []*pkg
	if !b.owner.installed {
		for _, p := range b.a.installed {
			if p.slotKey != b.owner.slotKey || strong {
				g.blocked[p] = true
				remove = append(remove, p)
			}
		}
	}
	for _, p := range g.end(b.a) {
		switch {
		case p.slotKey == b.owner.slotKey && !strong || b.owner.installed && p.installed:
			continue
		case !b.owner.installed && p.installed:
			remove = append(remove, p)
		case b.owner.installed:
			remove = append(remove, b.owner)
		default:
			unsolved = p
		}
		g.blocked[p] = true
	}
	hit := func(p *pkg) blockage {
		if p == b.owner {
			if end := g.end(b.a); len(end) > 0 {
				return blockage{b.a, b.owner, end[0]}
			}
		}
		return blockage{b.a, b.owner, p}
	}
	for _, p := range remove {
		if n := g.nodes[p.id]; unsolved == nil && n != nil && len(n.parents) > 0 {
			unsolved = p
		}
	}
	if unsolved != nil {
		v.unsolved = append(v.unsolved, hit(unsolved))
		return
	}
	for _, p := range remove {
		switch {
		// replaced in this run
		case slices.ContainsFunc(g.inSlot(p), func(q *pkg) bool { return !q.installed }):
		case g.has(p) || strong || !eapiAtLeast(b.owner.EAPI, 2) && g.isSystem(p):
			v.unsolved = append(v.unsolved, hit(p))
		case !slices.ContainsFunc(v.uninstall, func(u blockage) bool { return u.hit == p }):
			v.uninstall = append(v.uninstall, blockage{b.a, b.owner, p})
		}
	}
}

// isSystem reports whether an atom of @system matches the package: Portage never removes that for a
// blocker of an old EAPI.
func (g *graph) isSystem(p *pkg) bool {
	return slices.ContainsFunc(p.shelf.roots, func(ra rootAtom) bool {
		return ra.root.name == "system" && ra.a.matches(p)
	})
}

// blockersOf returns the blockers of an installed package that no walk has read.
func (s *stock) blockersOf(p *pkg) []*atom {
	if !strings.Contains(p.RDepend, "!") && !strings.Contains(p.PDepend, "!") &&
		!strings.Contains(p.IDepend, "!") {
		return nil
	}
	s.read(p)
	var list []*atom
	for _, items := range p.deps {
		for _, it := range items {
			if it.a != nil && it.a.Block != 0 &&
				len(it.a.shelf.candidates)+len(it.a.shelf.installed) > 0 {
				list = append(list, it.a)
			}
		}
	}
	return list
}
