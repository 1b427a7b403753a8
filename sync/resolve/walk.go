package resolve

import (
	"errors"
	"slices"
)

// walker adds to a graph what a set needs, and what that needs.
type walker struct {
	prober
	stack        []*pkg     // packages whose dependencies are to be looked at, last come first
	choices      []disjunct // any-of groups and virtuals, which wait until the stack is empty
	tolerateLack bool       // note in unsatisfied what nothing satisfies, and go on
	unsatisfied  []*need
	scratch      []pair
	round        int // counts the calls of minimize
}

// disjunct is a waiting group of any-of groups and virtuals of one package.
type disjunct struct {
	p     *pkg
	items []item
}

func newWalker(st *stock, s *state) *walker {
	return &walker{prober: prober{finder{chooser: chooser{graph: newGraph(st, s)},
		looking: make(map[*pkg]bool)}}}
}

// walkRoots adds what the sets name and, from there, everything that is needed. It reports whether
// the walk came to its end.
func (g *walker) walkRoots() bool {
	for i := range g.st.roots {
		r := &g.st.roots[i]
		for _, a := range r.atoms {
			if g.st.isProvided(a) {
				continue
			}
			p := g.choose(a, nil)
			if p == nil {
				if g.excludedSomewhere(a) {
					continue
				}
				g.missing = append(g.missing, rootAtom{r, a})
				if !r.tolerant() {
					g.failed = errRoot
					return false
				}
				continue
			}
			g.addPkg(p, owner{set: r}, a)
		}
	}
	for _, key := range g.state.replaceOrder {
		if p := g.replacement(key); p != nil {
			g.addPkg(p, owner{}, nil)
		}
	}
	return g.run()
}

var errRoot = errors.New("a set of the profile or of the user names a package that is neither installed nor to be had")

// replacement returns what a lesson wants in a slot.
func (g *walker) replacement(key string) *pkg {
	if a := g.st.atoms[key]; a != nil {
		return g.choose(a, nil)
	}
	return nil
}

func (g *walker) excludedSomewhere(a *atom) bool {
	excluded := func(p *pkg) bool { return p.excluded }
	return slices.ContainsFunc(a.candidates, excluded) || slices.ContainsFunc(a.installed, excluded)
}

// run looks at the dependencies of the packages on the stack and, when it is empty, at the any-of
// groups that wait, last come first.
func (g *walker) run() bool {
	for len(g.stack) > 0 || len(g.choices) > 0 {
		if !g.st.charge(1) {
			g.failed = errTooMuch
		}
		if g.failed != nil {
			return false
		}
		if n := len(g.stack); n > 0 {
			p := g.stack[n-1]
			g.stack = g.stack[:n-1]
			if !g.addDeps(p) {
				return false
			}
			continue
		}
		n := len(g.choices)
		d := g.choices[n-1]
		g.choices = g.choices[:n-1]
		if !g.addItems(d.p, d.items) {
			return false
		}
	}
	return true
}

// addDeps looks at the dependencies of a package: plain atoms at once, any-of groups and virtuals
// later.
func (g *walker) addDeps(p *pkg) bool {
	g.st.read(p)
	for i := range p.deps {
		if p.later[i] != nil {
			g.choices = append(g.choices, disjunct{p, p.later[i]})
		}
		if p.plain[i] != nil && !g.addPicked(p, picked{own: g.notProvided(p.plain[i])}) {
			return false
		}
	}
	g.read[p] = true
	return true
}

// addItems chooses among the alternatives and adds what was chosen.
func (g *walker) addItems(p *pkg, items []item) bool {
	return g.addPicked(p, g.selectAtoms(items, p))
}

// notProvided leaves out what package.provided satisfies.
func (g *walker) notProvided(list []*want) []*want {
	if len(g.st.provided) == 0 {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(w *want) bool {
		return w.a.Block == 0 &&
			g.st.isProvided(w.a)
	})
}

func (g *walker) addPicked(p *pkg, picked picked) bool {
	var through map[*pkg]bool
	add := func(from *pkg, wants []*want) bool {
		for _, pair := range g.minimize(p, wants) {
			child, ok := g.addNeedOf(owner{p: from}, pair.w.origin().a, pair.p)
			if !ok {
				return false
			}
			if pair.w.orig != nil && child != nil {
				if through == nil {
					through = make(map[*pkg]bool)
				}
				through[child] = true
			}
		}
		return true
	}
	if !add(p, picked.own) {
		return false
	}
	for _, v := range picked.virtuals {
		if !through[v.p] {
			continue
		}
		g.addPkg(v.p, owner{p: v.parent}, v.a)
		if !add(v.p, v.atoms) {
			return false
		}
	}
	return true
}

// addNeedOf adds the package for one dependency, or notes a blocker or a lack. p is the one chosen,
// nil if there is none. It returns the package that is in the graph for it, and whether the walk
// goes on.
func (g *walker) addNeedOf(o owner, a *atom, p *pkg) (*pkg, bool) {
	if a.Block != 0 {
		g.addBlocker(a, o.p)
		return nil, true
	}
	if p == nil {
		p = g.choose(a, nil)
	}
	if p == nil {
		return nil, g.lacking(&need{owner: o, a: a})
	}
	return g.addPkg(p, o, a), true
}

// lacking decides about a dependency that nothing satisfies. Portage masks who has it and walks
// again, unless only USE flags are in the way: then the run is over, because the user is asked to
// change them.
func (g *walker) lacking(d *need) bool {
	if g.complete && g.tolerateLack {
		g.unsatisfied = append(g.unsatisfied, d)
		return true
	}
	parent := d.owner.p
	if g.final || parent == nil {
		g.lacks = append(g.lacks, lack{need: d})
		return false
	}
	if !g.masked(parent) && d.a.Built() && g.slotOpCurable(d) {
		g.learnReplace(parent)
		return true
	}
	if parent.installed && g.masked(parent) && len(d.a.candidates)+len(d.a.installed) == 0 {
		return true // it was so before
	}
	if g.choose(d.a.bare, nil) != nil {
		g.lacks = append(g.lacks, lack{need: d, use: true})
		return g.batch
	}
	if !g.batch && g.givenUp(d.a) {
		g.noReturn = true
		return false
	}
	g.lacks = append(g.lacks, lack{need: d})
	g.lesson.missing = append(g.lesson.missing, d)
	g.restart = true
	return g.batch
}

// givenUp reports whether the atom matches a package that was masked after a slot conflict although
// all its users were content.
func (g *walker) givenUp(a *atom) bool {
	for p, m := range g.state.masks {
		if m.conflict && !m.missing && !m.built && len(m.atoms) == 0 && a.matches(p) {
			return true
		}
	}
	return false
}

// addPkg adds a package to the graph for a dependency, or takes the one that is there for its slot.
// It returns which; nil where the owner itself takes the place of the package.
func (g *walker) addPkg(p *pkg, o owner, a *atom) *pkg {
	known := g.has(p)
	if in := g.inSlot(p); len(in) > 0 {
		e := in[0]
		fits := p.CPV == e.CPV
		if p != e && a != nil {
			fits = a.matches(e)
		}
		switch {
		case fits:
			if p != e {
				p, known = e, true
			}
		case p.installed && o.p != nil && p.slotKey == o.p.slotKey:
			return nil
		}
	}
	if !known {
		g.trackPkg(p)
	}
	if o.p != p {
		g.connect(p, o)
		if a != nil && o != (owner{}) {
			g.addNeed(p, o, a)
		}
	} else if !known {
		g.connect(p, owner{})
	}
	if len(p.shelf.roots) > 0 {
		for i := range p.shelf.roots {
			ra := &p.shelf.roots[i]
			if g.isArgument(p, ra.a) {
				g.connect(p, owner{set: ra.root})
				g.addNeed(p, owner{set: ra.root}, ra.a)
			}
		}
	}
	if a != nil && a.SlotOp == "=" {
		g.slotDeps = append(g.slotDeps, &need{owner: o, a: a, child: p, wantUpdate: !g.complete})
	}
	if !known {
		g.stack = append(g.stack, p)
	}
	return p
}

// pair is an atom and the package chosen for it.
type pair struct {
	w *want
	p *pkg
}

// minimize chooses for several atoms at once and leaves out packages that others make superfluous:
// two atoms that bound a version from both sides mean one package.
func (g *walker) minimize(parent *pkg, wants []*want) []pair {
	out := make([]pair, 0, len(wants))
	chosen := g.scratch[:0]
	defer func() { g.scratch = chosen }()
	g.round++
	several := false
	g.st.charge(len(wants))
	for _, w := range wants {
		var p *pkg
		if w.a.Block == 0 {
			p = g.choose(w.a, parent)
		}
		if p == nil {
			out = append(out, pair{w: w})
			continue
		}
		t := g.track(p.shelf)
		several = several || t.round == g.round
		t.round = g.round
		chosen = append(chosen, pair{w, p})
	}
	if !several {
		return append(out, chosen...)
	}
	done := make(map[*shelf]bool)
	for i, pr := range chosen {
		if done[pr.p.shelf] {
			continue
		}
		done[pr.p.shelf] = true
		same := []pair{pr}
		for _, other := range chosen[i+1:] {
			if other.p.shelf == pr.p.shelf {
				same = append(same, other)
			}
		}
		out = append(out, g.minimizeOne(same)...)
	}
	return out
}

func (g *walker) minimizeOne(pairs []pair) []pair {
	var pkgs []*pkg
	g.st.charge(len(pairs) * len(pairs) / 8)
	for _, pr := range pairs {
		if !slices.Contains(pkgs, pr.p) {
			pkgs = append(pkgs, pr.p)
		}
	}
	if len(pkgs) < 2 {
		return pairs
	}
	// Installed ones go first, lower ones first.
	slices.SortStableFunc(pkgs, func(p, q *pkg) int {
		if p.installed != q.installed {
			if p.installed {
				return -1
			}
			return 1
		}
		return p.compare(q)
	})
	fit := make([][]*pkg, len(pairs)) // the packages that satisfy each atom
	for i, pr := range pairs {
		for _, p := range pkgs {
			if p == pr.p || pr.w.a.matches(p) {
				fit[i] = append(fit[i], p)
			}
		}
	}
	for _, p := range pkgs {
		needed := slices.ContainsFunc(fit, func(list []*pkg) bool {
			return len(list) == 1 &&
				list[0] == p
		})
		if needed {
			continue
		}
		for i := range fit {
			fit[i] = slices.DeleteFunc(fit[i], func(q *pkg) bool { return q == p })
		}
	}
	var bound, conflict, normal []pair
	for i, pr := range pairs {
		best := fit[i][0]
		for _, p := range fit[i][1:] {
			if best.less(p) {
				best = p
			}
		}
		pr.p = best
		switch {
		case pr.w.a.Built():
			bound = append(bound, pr)
		case g.wouldConflict(fit[i], pr.w.a):
			conflict = append(conflict, pr)
		default:
			normal = append(normal, pr)
		}
	}
	return slices.Concat(bound, conflict, normal)
}

func (g *walker) wouldConflict(list []*pkg, a *atom) bool {
	return slices.ContainsFunc(list, func(p *pkg) bool {
		in := g.inSlot(p)
		return len(in) > 0 && in[0] != p && !a.matches(in[0])
	})
}
