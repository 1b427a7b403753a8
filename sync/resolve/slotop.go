package resolve

import "slices"

// prober looks for other builds where slot operators hold something back.
type prober struct{ finder }

// slotOpCurable reports whether a package whose built slot operator nothing satisfies could be
// replaced by a build of it that is bound to something else.
func (g *prober) slotOpCurable(d *need) bool {
	parent := d.owner.p
	if parent.installed && parent.excluded {
		return false
	}
	for _, q := range g.similarInSlot(parent) {
		for _, a := range g.st.flatten(q) {
			if a.SlotOp == "=" && a.Block == 0 && a.CP == d.a.CP && g.choose(a.bare, nil) != nil {
				return true
			}
		}
	}
	return false
}

// flatten returns all atoms of a package, whatever the alternatives.
func (s *stock) flatten(p *pkg) []*atom {
	s.read(p)
	var list []*atom
	var add func([]item)
	add = func(items []item) {
		for _, it := range items {
			if it.a != nil && !slices.Contains(list, it.a) {
				list = append(list, it.a)
			}
			add(it.any)
			add(it.all)
		}
	}
	for _, items := range p.deps {
		add(items)
	}
	return list
}

// learnReplace masks a candidate, or wants another build in the place of an installed package.
func (g *prober) learnReplace(p *pkg) {
	if !p.installed {
		g.lesson.maskBuilt = append(g.lesson.maskBuilt, p)
	} else if key := g.replacementSlot(p); key != "" {
		g.lesson.replace = append(g.lesson.replace, key)
	}
	g.lesson.config, g.restart = true, true
}

// replacementSlot returns the slot that a replacement of an installed package would have: of the
// same version first.
func (g *prober) replacementSlot(p *pkg) string {
	var best *pkg
	sh := p.shelf
	for _, q := range sh.candidates {
		if g.masked(q) || q.excluded || !q.visible() || g.isInstalled(q) || q.CPV != p.CPV &&
			q.slotKey != p.slotKey {
			continue
		}
		if best == nil || best.less(q) {
			best = q
		}
	}
	if best == nil {
		return ""
	}
	return best.slotKey
}

// learnUpdate notes what has to be masked and replaced so that a parent moves to another child.
func (g *prober) learnUpdate(d *need, replacement *need) {
	child, parent := d.child, d.owner.p
	if !child.installed {
		g.lesson.maskBuilt = append(g.lesson.maskBuilt, child)
	}
	if !parent.installed {
		g.lesson.maskBuilt = append(g.lesson.maskBuilt, parent)
	} else if replacement != nil {
		g.lesson.replace = append(g.lesson.replace, replacement.owner.p.slotKey)
	} else if key := g.replacementSlot(parent); key != "" {
		g.lesson.replace = append(g.lesson.replace, key)
	}
	if child.installed {
		if key := g.replacementSlot(child); key != "" {
			g.lesson.replace = append(g.lesson.replace, key)
		}
	}
	g.lesson.config, g.restart = true, true
}

// triggerReplacements looks for packages whose built slot operators hold back an update of what
// they need, although a build of them against the update is there.
func (g *prober) triggerReplacements() {
	for _, d := range slices.Clone(g.slotDeps) {
		if !d.a.Built() || d.owner.p == nil {
			continue
		}
		if !d.wantUpdate && d.owner.p.installed {
			continue
		}
		if g.updateProbe(d) != nil {
			g.learnUpdate(d, nil)
		}
	}
}

// updateProbe looks for a build that could replace the parent of a slot operator dependency and
// would take another, higher child of the same slot. It returns the dependency as it would be, or
// nil.
func (g *prober) updateProbe(d *need) *need {
	child, parent := d.child, d.owner.p
	if child.installed && child.excluded || parent.installed && parent.excluded {
		return nil
	}
	for _, q := range g.similarInSlot(parent) {
		if q == parent || q.less(parent) && !g.downgradeWanted(parent) ||
			!g.pleasesParents(parent, q, nil) {
			continue
		}
		if p, a := g.replacementChild(d, q); p != nil {
			return &need{owner: owner{p: q}, a: a, child: p}
		}
	}
	return nil
}

// replacementChild returns the highest child on which all atoms of a replacement for the parent
// agree.
func (g *prober) replacementChild(d *need, q *pkg) (*pkg, *atom) {
	var selected map[*atom]bool
	isSelected := func(a *atom) bool {
		if selected == nil {
			selected = g.selectedAtoms(q)
		}
		return selected[a]
	}
	type found struct {
		p *pkg
		a *atom
	}
	var all [][]found
	for _, a := range g.st.flatten(q) {
		if a.Block != 0 || a.CP != d.child.cp || a.Slot != "" && a.MatchSlot(&d.child.dep) {
			continue
		}
		var list []found
		for _, p := range g.similar(a.bare) {
			if !g.betterChild(d, p) {
				continue
			}
			insignificant := d.owner.p.installed && d.child.installed &&
				compareVersions(d.owner.p, q) >= 0 && d.child.CPV == p.CPV
			if insignificant {
				continue
			}
			if !isSelected(a) {
				break
			}
			if g.pleasesParents(d.child, p, q) {
				list = append(list, found{p, a})
			}
		}
		if !isSelected(a) {
			continue
		}
		all = append(all, list)
	}
	var best found
	if len(all) == 0 {
		return nil, nil
	}
	for _, list := range all {
		for _, f := range list {
			everywhere := !slices.ContainsFunc(all, func(other []found) bool {
				return !slices.ContainsFunc(other, func(o found) bool { return o.p == f.p })
			})
			if everywhere && (best.p == nil || best.p.less(f.p)) {
				best = f
			}
		}
	}
	return best.p, best.a
}

// betterChild reports whether p is a child that a rebuild of the parent would be worth.
func (g *prober) betterChild(d *need, p *pkg) bool {
	child := d.child
	return p.Slot == child.Slot && p.Sub != child.Sub &&
		(!p.less(child) || g.downgradeWanted(child))
}

func (g *prober) selectedAtoms(p *pkg) map[*atom]bool {
	g.st.read(p)
	set := make(map[*atom]bool)
	for _, items := range p.deps {
		for _, w := range g.selectAtoms(items, p).own {
			set[w.a] = true
		}
	}
	return set
}

// pleasesParents reports whether a candidate would do for all who need a package of the graph,
// except for those who would be replaced themselves, or may be.
func (g *prober) pleasesParents(existing, candidate, replacement *pkg) bool {
	bound := make(map[*pkg]bool)
	if !g.st.charge(1 + len(g.needsOf(existing))) {
		return false
	}
	for _, oa := range g.needsOf(existing) {
		if oa.a.Built() {
			bound[oa.owner.p] = true
		}
	}
	for _, oa := range g.needsOf(existing) {
		a, parent := oa.a, oa.owner.p
		if parent != nil {
			if bound[parent] && a.Built() {
				a = g.st.unbound(a)
			}
			if replacement != nil && (replacement.slotKey == parent.slotKey ||
				replacement.CPV == parent.CPV) ||
				g.rivals(parent) || !parent.excluded && g.mayGo(parent, existing) {
				continue
			}
		}
		if !a.matches(candidate) {
			return false
		}
	}
	return true
}

// unbound returns the atom without the slot that it was bound to.
func (s *stock) unbound(a *atom) *atom {
	u := a.Atom.Unbound()
	w := u
	w.Use = a.written
	if n := s.atoms[u.String()]; n != nil {
		return n
	}
	return s.intern(&u, &w)
}

// rivals reports whether another package is in the graph, or stays, for the slot or the version of
// p.
func (g *prober) rivals(p *pkg) bool {
	other := func(q *pkg) bool { return q != p && (q.slotKey == p.slotKey || q.CPV == p.CPV) }
	if slices.ContainsFunc(g.track(p.shelf).added, other) {
		return true
	}
	return slices.ContainsFunc(p.shelf.installed, func(q *pkg) bool {
		return other(q) && g.stays(q)
	})
}

// mayGo reports whether a parent may be replaced or removed, so that its needs do not count.
func (g *prober) mayGo(parent, existing *pkg) bool {
	if g.upgradeAvailable(parent) || parent.installed && g.inBlockerConflict(parent) {
		return true
	}
	n := g.nodes[existing.id]
	return n != nil && slices.Contains(n.children, parent)
}
