package resolve

import "slices"

// graph is the state of one walk: which packages were chosen, for whom, and what went wrong. It is thrown away when a walk has to
// be made again with more packages masked.
type graph struct {
	st    *stock
	state *state // what earlier walks taught
	batch bool   // note each lack and go on, instead of ending the walk at the first
	final bool   // nothing may be learned any more: a lack is a failure

	complete     bool // choose only among what is in the graph or stays installed
	tolerateLack bool // ... and note what nothing satisfies
	unsatisfied  []*need
	nodes        map[*pkg]*node
	order        []*pkg // nodes in the order in which they were added
	tracked      map[string]*track
	visibles     map[string][]*pkg // by CP: the packages that were chosen, the last one of each slot

	stack    []*pkg     // packages whose dependencies are to be looked at, last come first
	choices  []disjunct // any-of groups and virtuals, which wait until the stack is empty
	blockers []*blocker
	blocked  map[*pkg]bool // packages in a blocker conflict; nil before the blockers were looked at
	slotDeps []*need       // dependencies with a slot operator, in order
	read     map[*pkg]bool // dependencies were looked at

	chosen  map[string]map[*atom]choice // cache of choose, by CP
	virtual virtualState
	steps   *int // work done; shared by all walks of one resolution

	lacks    []lack
	restart  bool // the walk has to be made again
	noReturn bool // ... but nothing can be learned
	lesson   lesson
	dropped  []dropping // gave way to another package in their slot
	missing  []rootAtom // world atoms that nothing satisfies
	failed   error
}

// node is a package in the graph.
type node struct {
	parents  []owner // without duplicates
	needs    []ownedAtom
	children []*pkg
}

// owner is who needs a package: another package, or a set.
type owner struct {
	p   *pkg
	set *root
}

type ownedAtom struct {
	owner owner
	a     *atom
}

// track is what the graph has of one CP. Packages in the graph cover installed ones of the same slot or the same version.
type track struct {
	added    []*pkg
	replaced map[*pkg]bool // of the installed ones
}

// need is a dependency on its way: an atom, who has it, and the package that was chosen for it, if there is one yet.
type need struct {
	owner      owner
	a          *atom
	child      *pkg
	wantUpdate bool // chosen while updates were still looked for
}

// disjunct is a waiting group of any-of groups and virtuals of one package.
type disjunct struct {
	p     *pkg
	items []item
}

type lack struct {
	need *need
	use  bool // the package is there, with other flags
}

func newGraph(st *stock, s *state, steps *int) *graph {
	return &graph{
		st: st, state: s, steps: steps,
		nodes: make(map[*pkg]*node), tracked: make(map[string]*track), visibles: make(map[string][]*pkg),
		read: make(map[*pkg]bool), chosen: make(map[string]map[*atom]choice), virtual: newVirtualState(),
	}
}

func (g *graph) track(cp string) *track {
	t := g.tracked[cp]
	if t == nil {
		t = &track{replaced: make(map[*pkg]bool)}
		g.tracked[cp] = t
	}
	return t
}

// trackPkg notes that a package was chosen.
func (g *graph) trackPkg(p *pkg) {
	t := g.track(p.cp)
	if slices.Contains(t.added, p) {
		return
	}
	t.added = append(t.added, p)
	g.cover(p.cp, t)
	g.forget(p.cp)
}

// cover notes which installed packages the chosen ones replace.
func (g *graph) cover(cp string, t *track) {
	clear(t.replaced)
	for _, q := range g.st.shelf(cp).installed {
		if slices.ContainsFunc(t.added, func(p *pkg) bool { return p.slotKey == q.slotKey || p.CPV == q.CPV }) {
			t.replaced[q] = true
		}
	}
}

// forget drops what was cached about a CP, and what the search through alternatives cached altogether.
func (g *graph) forget(cp string) {
	delete(g.chosen, cp)
	g.virtual.forget()
}

func (g *graph) forgetAll() {
	clear(g.chosen)
	g.virtual.forget()
}

// inSlot returns the chosen packages of a slot, lowest first.
func (g *graph) inSlot(p *pkg) []*pkg {
	t := g.tracked[p.cp]
	if t == nil {
		return nil
	}
	var list []*pkg
	for _, q := range t.added {
		if q.slotKey == p.slotKey {
			list = append(list, q)
		}
	}
	sortUp(list)
	return list
}

// sortUp orders by version alone and keeps the order of equals, as Portage's tracker does.
func sortUp(list []*pkg) {
	if len(list) > 1 {
		slices.SortStableFunc(list, func(p, q *pkg) int { return compareVersions(p, q) })
	}
}

// end returns the packages that match an atom in the state that the graph leads to, lowest version first.
func (g *graph) end(a *atom) []*pkg {
	t := g.tracked[a.CP]
	var list []*pkg
	if t != nil {
		for _, p := range t.added {
			if a.matches(p) {
				list = append(list, p)
			}
		}
	}
	for _, p := range a.installed {
		if t == nil || !t.replaced[p] {
			list = append(list, p)
		}
	}
	sortUp(list)
	return list
}

// endSlot returns the packages of a slot in the state that the graph leads to, lowest version first.
func (g *graph) endSlot(p *pkg) []*pkg {
	list := g.inSlot(p)
	if len(list) > 0 {
		return list
	}
	t := g.tracked[p.cp]
	for _, q := range g.st.shelf(p.cp).installed {
		if q.slotKey == p.slotKey && (t == nil || !t.replaced[q]) {
			list = append(list, q)
		}
	}
	return list
}

func (g *graph) has(p *pkg) bool { return g.nodes[p] != nil }

// connect adds a package to the graph for an owner.
func (g *graph) connect(p *pkg, o owner) *node {
	n := g.nodes[p]
	if n == nil {
		n = new(node)
		g.nodes[p] = n
		g.order = append(g.order, p)
	}
	if o != (owner{}) && !slices.Contains(n.parents, o) {
		n.parents = append(n.parents, o)
		if o.p != nil {
			if m := g.nodes[o.p]; m != nil && !slices.Contains(m.children, p) {
				m.children = append(m.children, p)
			}
		}
	}
	return n
}

func (g *graph) addNeed(p *pkg, o owner, a *atom) {
	n := g.nodes[p]
	if n != nil && !slices.Contains(n.needs, ownedAtom{o, a}) {
		n.needs = append(n.needs, ownedAtom{o, a})
	}
}

// needsOf returns who needs a package, and by which atoms.
func (g *graph) needsOf(p *pkg) []ownedAtom {
	if n := g.nodes[p]; n != nil {
		return n.needs
	}
	return nil
}

// conflicts returns the slots that more than one package was chosen for, each in the order in which they came.
func (g *graph) conflicts() [][]*pkg {
	var all [][]*pkg
	seen := make(map[string]bool)
	for _, p := range g.order {
		t := g.tracked[p.cp]
		if t == nil || len(t.added) < 2 || seen[p.slotKey] {
			continue
		}
		seen[p.slotKey] = true
		var list []*pkg
		for _, q := range t.added {
			if q.slotKey == p.slotKey {
				list = append(list, q)
			}
		}
		if len(list) > 1 {
			all = append(all, list)
		}
	}
	return all
}

// remove takes a package out of the graph, with all that nobody else needs.
func (g *graph) remove(p *pkg) {
	n := g.nodes[p]
	if n == nil {
		return
	}
	delete(g.nodes, p)
	g.order = slices.DeleteFunc(g.order, func(q *pkg) bool { return q == p })
	for _, o := range n.parents {
		if m := g.nodes[o.p]; o.p != nil && m != nil {
			m.children = slices.DeleteFunc(m.children, func(q *pkg) bool { return q == p })
		}
	}
	if t := g.tracked[p.cp]; t != nil {
		t.added = slices.DeleteFunc(t.added, func(q *pkg) bool { return q == p })
		g.cover(p.cp, t)
	}
	g.slotDeps = slices.DeleteFunc(g.slotDeps, func(d *need) bool { return d.child == p })
	g.blockers = slices.DeleteFunc(g.blockers, func(b *blocker) bool { return b.owner == p })
	for _, child := range n.children {
		m := g.nodes[child]
		if m == nil || child == p {
			continue
		}
		m.parents = slices.DeleteFunc(m.parents, func(o owner) bool { return o.p == p })
		m.needs = slices.DeleteFunc(m.needs, func(oa ownedAtom) bool { return oa.owner.p == p })
	}
	for _, child := range n.children {
		if m := g.nodes[child]; m != nil && child != p && len(m.parents) == 0 {
			g.remove(child)
		}
	}
	g.forgetAll()
}
