package resolve

import (
	"slices"

	"pkgsneak/sync/depend"
)

// finder chooses among alternatives, and remembers what it found while the graph does not change.
type finder struct {
	chooser
	known   []lookup      // answers of available, by atom.id
	deps    map[*pkg]bool // answers of depsVisible, good for depsAt
	depsAt  int
	looking map[*pkg]bool // virtuals whose dependencies are being looked at
	asking  *pkg          // the package whose alternatives are being chosen

	options     []*option // for use again
	optionsUsed int
}

// lookup is an answer of available.
type lookup struct {
	list    []*pkg
	changes int // of the graph, plus one; 0 is no answer
}

// available returns the packages that an alternative with this atom could count on, lowest first:
// the one that choose would pick, unless it would bring a slot conflict. While the graph is
// completed it is what the end state has.
func (g *finder) available(a *atom) []*pkg {
	if g.complete {
		return g.end(a)
	}
	if a.id >= len(g.known) {
		g.known = append(g.known, make([]lookup, len(g.st.atoms)+256-len(g.known))...)
	}
	if k := g.known[a.id]; k.changes == g.changes+1 {
		return k.list
	}
	list := g.lookUp(a)
	g.known[a.id] = lookup{list, g.changes + 1}
	return list
}

func (g *finder) lookUp(a *atom) []*pkg {
	g.st.steps++
	g.st.charge(1)
	p := g.choose(a, nil)
	if p == nil {
		return nil
	}
	if g.usable(p, a, true, true) {
		return p.alone[:]
	}
	if a.Sub != "" || !p.virtual {
		return nil
	}
	return g.otherSlots(a, p)
}

// otherSlots looks for versions of a virtual in all its slots and sub-slots: one of them may be
// satisfied already.
func (g *finder) otherSlots(a *atom, first *pkg) []*pkg {
	type slot struct{ slot, sub string }
	open := []slot{{first.Slot, first.Sub}}
	for _, list := range [...][]*pkg{a.candidates, a.installed} {
		for _, p := range list {
			if s := (slot{p.Slot, p.Sub}); !slices.Contains(open, s) {
				open = append(open, s)
			}
		}
	}
	var out []*pkg
	done := make(map[slot]bool)
	for _, s := range open {
		p := g.chooseWithin(a, func(q *pkg) bool { return q.Slot == s.slot && q.Sub == s.sub })
		if p == nil {
			continue
		}
		if !g.usable(p, a, false, true) {
			better := p
			for _, q := range g.virtualUpdates(a) {
				if q.Slot == s.slot && !done[slot{q.Slot, q.Sub}] && better.less(q) {
					better = q
				}
			}
			if better == p {
				continue
			}
			p = better
		}
		done[slot{p.Slot, p.Sub}] = true
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, (*pkg).compare)
	return out
}

// chooseWithin is choose for an atom with a further condition.
func (g *finder) chooseWithin(a *atom, fits func(*pkg) bool) *pkg {
	narrow := *a
	narrow.candidates, narrow.installed = nil, nil
	for _, p := range a.candidates {
		if fits(p) {
			narrow.candidates = append(narrow.candidates, p)
		}
	}
	for _, p := range a.installed {
		if fits(p) {
			narrow.installed = append(narrow.installed, p)
		}
	}
	return g.chooseHighest(&narrow, nil)
}

// usable reports whether a package may stand for an atom in an alternative.
func (g *finder) usable(p *pkg, a *atom, avoidConflict, probe bool) bool {
	if p.installed && (g.state.replace[p.slotKey] && !p.excluded || p.reason.counts() ||
		!(p.visible() || g.has(p))) {
		return false
	}
	if p.virtual {
		if !g.depsVisible(p) {
			return false
		}
		if probe && slices.ContainsFunc(g.virtualUpdates(a), p.less) {
			return false
		}
	}
	if !avoidConflict {
		return true
	}
	in := g.inSlot(p)
	if len(in) == 0 {
		highest := g.choose(g.st.slotAtom(p), nil)
		return highest == nil || !p.less(highest) || !a.matches(highest)
	}
	e := in[len(in)-1]
	return e == p || !a.matches(e)
}

// virtualUpdates returns the candidates for a virtual that could be taken now.
func (g *finder) virtualUpdates(a *atom) []*pkg {
	if g.asking == nil {
		return nil
	}
	var list []*pkg
	for _, p := range g.similar(a) {
		if p.virtual && g.depsVisible(p) && g.usable(p, a, false, false) {
			list = append(list, p)
		}
	}
	return list
}

// depsVisible reports whether all that a virtual needs could be had. A circle of virtuals is none
// that could.
func (g *finder) depsVisible(p *pkg) bool {
	if g.deps == nil || g.depsAt != g.changes {
		g.deps, g.depsAt = make(map[*pkg]bool), g.changes
	}
	if known, found := g.deps[p]; found {
		return known
	}
	if g.looking[p] {
		return false
	}
	g.looking[p] = true
	ok := g.lookAtDeps(p)
	delete(g.looking, p)
	g.deps[p] = ok
	return ok
}

func (g *finder) lookAtDeps(p *pkg) bool {
	if !g.st.charge(1) || len(g.looking) > depend.MaxDepth {
		return false
	}
	g.st.read(p)
	picked := g.selectAtoms(p.deps[0], p)
	usable := func(w *want) bool {
		if w.a.Block != 0 {
			return true
		}
		q := g.choose(w.a.bare, nil)
		return q != nil && (q.visible() || g.has(q))
	}
	all := func(list []*want) bool {
		return !slices.ContainsFunc(list, func(w *want) bool { return !usable(w) })
	}
	if !all(picked.own) {
		return false
	}
	for _, v := range picked.virtuals {
		if !all(v.atoms) {
			return false
		}
	}
	return true
}

// installedFor reports whether an installed package satisfies an atom; while the graph is
// completed, one of the end state.
func (g *finder) installedFor(a *atom) bool {
	if g.complete {
		return g.endHas(a)
	}
	return len(a.installed) > 0
}

func (g *finder) nameInstalled(sh *shelf) bool {
	if g.complete {
		return len(g.track(sh).added) > 0 || len(sh.installed) > 0
	}
	return len(sh.installed) > 0
}

func (g *finder) slotInstalled(p *pkg) bool {
	if g.complete {
		return len(g.endSlot(p)) > 0
	}
	return slices.ContainsFunc(p.shelf.installed, func(q *pkg) bool {
		return q.slotKey == p.slotKey
	})
}
