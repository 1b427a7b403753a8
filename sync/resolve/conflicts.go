package resolve

import (
	"fmt"
	"slices"
)

// solveConflicts settles slots for which several packages were chosen: those that somebody outside
// needs stay, and what one of them can stand in for goes. Slots that a lesson wants replaced are
// left alone.
func (g *walker) solveConflicts() bool {
	var conflicts [][]*pkg
	for _, c := range g.conflicts() {
		if !g.state.replace[c[0].slotKey] {
			conflicts = append(conflicts, c)
		}
	}
	if len(conflicts) == 0 {
		return true
	}
	s := newSettlement(g, conflicts)
	forced := s.force()
	var drop []*pkg
	for _, c := range conflicts {
		for _, p := range c {
			if !forced[p] {
				drop = append(drop, p)
			}
		}
	}
	again := s.againAfter(drop, forced)
	for _, p := range drop {
		g.dropped = append(g.dropped, dropping{p: p,
			needs: slices.Clone(g.rivalNeeds(p, conflicts))})
		g.remove(p)
	}
	for _, p := range again {
		if g.has(p) {
			g.stack = append(g.stack, p)
		}
	}
	return g.run()
}

// rivalNeeds returns the needs of the other packages in the slot that p does not satisfy.
func (g *walker) rivalNeeds(p *pkg, conflicts [][]*pkg) []ownedAtom {
	var list []ownedAtom
	for _, c := range conflicts {
		if !slices.Contains(c, p) {
			continue
		}
		for _, q := range c {
			for _, oa := range g.needsOf(q) {
				if q != p && !oa.a.matches(p) {
					list = append(list, oa)
				}
			}
		}
	}
	return list
}

// settlement is a graph of who needs which of the rivals. nil stands for everybody outside of the
// conflicts.
type settlement struct {
	g         *walker
	rivals    map[*pkg]bool
	indirect  map[*pkg]bool // needed only by rivals
	edges     map[*pkg][]edge
	together  map[*pkg]bool // rivals of which none satisfies some need: all stay
	conflicts [][]*pkg
}

// edge leads to one package, or to several of which one is enough.
type edge struct {
	key  string
	pkgs []*pkg
}

func newSettlement(g *walker, conflicts [][]*pkg) *settlement {
	s := &settlement{g: g, rivals: make(map[*pkg]bool), indirect: make(map[*pkg]bool),
		edges:    make(map[*pkg][]edge),
		together: make(map[*pkg]bool), conflicts: conflicts}
	for _, c := range conflicts {
		for _, p := range c {
			s.rivals[p] = true
		}
	}
	s.findIndirect()
	for _, c := range conflicts {
		var needs []ownedAtom
		for _, p := range c {
			if n := len(g.needsOf(p)); !g.st.charge(n * (n + len(needs)) / 16) {
				return s
			}
			for _, oa := range g.needsOf(p) {
				if !slices.Contains(needs, oa) {
					needs = append(needs, oa)
				}
			}
		}
		for _, oa := range needs {
			var matched []*pkg
			for _, p := range c {
				if oa.a.matches(p) {
					matched = append(matched, p)
				}
			}
			if len(matched) == 0 {
				for _, p := range c {
					s.together[p] = true
				}
				continue
			}
			s.connect(s.inside(oa.owner.p), matched)
		}
	}
	for _, p := range g.order {
		if s.indirect[p] {
			for _, oa := range g.needsOf(p) {
				s.connect(s.inside(oa.owner.p), []*pkg{p})
			}
		}
	}
	return s
}

// inside returns p, or nil where it is not part of the conflicts.
func (s *settlement) inside(p *pkg) *pkg {
	if s.rivals[p] || s.indirect[p] {
		return p
	}
	return nil
}

func (s *settlement) connect(from *pkg, to []*pkg) {
	e := edge{pkgs: to}
	for _, p := range to {
		e.key += fmt.Sprintf("%d,", p.id)
	}
	if !slices.ContainsFunc(s.edges[from], func(f edge) bool { return f.key == e.key }) {
		s.edges[from] = append(s.edges[from], e)
	}
}

func (s *settlement) findIndirect() {
	var open []*pkg
	for _, c := range s.conflicts {
		for _, p := range c {
			if n := s.g.nodes[p.id]; n != nil {
				open = append(open, n.children...)
			}
		}
	}
	for len(open) > 0 {
		p := open[len(open)-1]
		open = open[:len(open)-1]
		if s.rivals[p] || s.indirect[p] {
			continue
		}
		outside := slices.ContainsFunc(s.g.needsOf(p), func(oa ownedAtom) bool {
			return s.inside(oa.owner.p) == nil
		})
		if outside {
			continue
		}
		s.indirect[p] = true
		open = append(open, s.g.nodes[p.id].children...)
	}
}

// force returns what has to stay: first all that only one package can serve, then, one by one, the
// first of those that several can.
func (s *settlement) force() map[*pkg]bool {
	forced := make(map[*pkg]bool)
	for p := range s.together {
		forced[p] = true
	}
	explored := make(map[string]bool)
	open := []*pkg{nil}
	var several []edge
	for len(open) > 0 {
		for len(open) > 0 {
			p := open[len(open)-1]
			open = open[:len(open)-1]
			for _, e := range s.edges[p] {
				if explored[e.key] {
					continue
				}
				explored[e.key] = true
				if len(e.pkgs) > 1 {
					several = append(several, e)
					continue
				}
				forced[e.pkgs[0]] = true
				open = append(open, e.pkgs[0])
			}
		}
		for len(several) > 0 && len(open) == 0 {
			e := several[len(several)-1]
			several = several[:len(several)-1]
			if !slices.ContainsFunc(e.pkgs, func(p *pkg) bool { return forced[p] }) {
				forced[e.pkgs[0]] = true
				open = append(open, e.pkgs[0])
			}
		}
	}
	s.closeOver(forced)
	return forced
}

// closeOver adds what the forced packages need for themselves.
func (s *settlement) closeOver(forced map[*pkg]bool) {
	var open []*pkg
	for p := range forced {
		open = append(open, p)
	}
	for len(open) > 0 {
		p := open[len(open)-1]
		open = open[:len(open)-1]
		for _, e := range s.edges[p] {
			if len(e.pkgs) == 1 && !forced[e.pkgs[0]] {
				forced[e.pkgs[0]] = true
				open = append(open, e.pkgs[0])
			}
		}
	}
}

// againAfter returns the packages whose dependencies have to be looked at again once the dropped
// ones are gone.
func (s *settlement) againAfter(drop []*pkg, forced map[*pkg]bool) []*pkg {
	var list []*pkg
	add := func(p *pkg) {
		if p != nil && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	for _, p := range drop {
		for _, oa := range s.g.needsOf(p) {
			if !slices.Contains(drop, oa.owner.p) {
				add(oa.owner.p)
			}
		}
	}
	for _, p := range s.g.order {
		if forced[p] {
			add(p)
		}
	}
	return list
}

// learnConflict decides what to mask for a slot that could not be settled: a build of the parent
// that is bound to another of the rivals, if there is one; else each of the rivals in turn.
func (g *walker) learnConflict(c []*pkg) {
	var needs []ownedAtom
	for _, p := range c {
		if n := len(g.needsOf(p)); !g.st.charge(n * (n + len(needs)) / 8) {
			return
		}
		for _, oa := range g.needsOf(p) {
			if !slices.Contains(needs, oa) {
				needs = append(needs, oa)
			}
		}
	}
	misses := make(map[ownedAtom][]*pkg) // the rivals that do not satisfy a need
	var order []ownedAtom
	var losers []*pkg
	for _, p := range c {
		all := true
		for _, oa := range needs {
			switch {
			case slices.Contains(g.needsOf(p), oa):
			case oa.a.matches(p):
				g.addNeed(p, oa.owner, oa.a)
			default:
				if misses[oa] == nil {
					order = append(order, oa)
				}
				misses[oa] = append(misses[oa], p)
				all = false
			}
		}
		if !all {
			losers = append(losers, p)
		}
	}
	if len(losers) == 0 || g.final {
		return
	}
	var remaining []*pkg
	for _, p := range losers {
		if !g.rebuildInstead(c, order, misses) {
			remaining = append(remaining, p)
		} else {
			g.lesson.config = true
		}
	}
	if len(remaining) > 0 {
		g.learnMasks(remaining, needs)
	}
}

// rebuildInstead reports whether a parent could be exchanged for a build that agrees with another
// rival, and learns it.
func (g *walker) rebuildInstead(c []*pkg, order []ownedAtom, misses map[ownedAtom][]*pkg) bool {
	found := false
	for _, oa := range order {
		if oa.owner.p == nil || !oa.a.Built() {
			continue
		}
		for _, other := range c {
			if slices.Contains(misses[oa], other) {
				continue
			}
			d := &need{owner: oa.owner, a: oa.a, child: other}
			if n := g.updateProbe(d); n != nil {
				g.learnUpdate(d, n)
				found = true
			}
		}
	}
	return found
}

// learnMasks orders the ways out: the last one is tried first. It is the rival that fails most
// needs, lower versions before higher.
func (g *walker) learnMasks(losers []*pkg, needs []ownedAtom) {
	if first := g.inSlot(losers[0]); len(first) > 0 && !slices.Contains(losers, first[0]) {
		losers = append(losers, first[0])
	}
	slices.SortStableFunc(losers, func(p, q *pkg) int { return q.compare(p) })
	var choices []maskChoice
	for _, p := range losers {
		var failed []ownedAtom
		for _, oa := range needs {
			if !slices.Contains(g.needsOf(p), oa) {
				failed = append(failed, oa)
			}
		}
		var choice maskChoice
		if len(failed) > 0 {
			for _, q := range g.similarInSlot(p) {
				if slices.Contains(losers, q) {
					continue
				}
				var same []ownedAtom
				for _, oa := range failed {
					if !oa.a.matches(q) {
						same = append(same, oa)
					}
				}
				if len(same) > 0 {
					choice = append(choice, masking{q, same})
				}
			}
		}
		choices = append(choices, append(choice, masking{p, failed}))
	}
	slices.SortStableFunc(choices, func(a, b maskChoice) int {
		return len(a[len(a)-1].atoms) - len(b[len(b)-1].atoms)
	})
	g.lesson.conflicts = append(g.lesson.conflicts, choices)
	g.restart = true
}
