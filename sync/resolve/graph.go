package resolve

import "slices"

// graph is the state of one walk: which packages were chosen, for whom, and what went wrong. It is
// thrown away when a walk has to be made again with more packages masked. The types that work on it
// lie in layers: a chooser picks packages for atoms, a finder alternatives, a prober looks for
// other builds, a walker adds what they find.
type graph struct {
	st    *stock
	state *state // what earlier walks taught
	batch bool   // note each lack and go on, instead of ending the walk at the first
	final bool   // nothing may be learned any more: a lack is a failure

	complete bool     // choose only among what is in the graph or stays installed
	nodes    []*node  // by pkg.id
	spare    []node   // new ones
	order    []*pkg   // nodes in the order in which they were added
	tracks   []*track // by shelf.id
	slab     []track  // those of the shelves that there were when the walk began
	changes  int      // counts what makes cached answers stale

	slotDeps []*need // dependencies with a slot operator, in order
	blockers []*blocker
	blocked  map[*pkg]bool // packages in a blocker conflict; nil before the blockers were looked at
	read     map[*pkg]bool // dependencies were looked at

	passed   map[*pkg]bool // candidates that would have been chosen were they not masked
	lacks    []lack
	restart  bool // the walk has to be made again
	noReturn bool // ... but nothing can be learned
	lesson   lesson
	dropped  []dropping // gave way to another package in their slot
	missing  []rootAtom // world atoms that nothing satisfies
	failed   error
}

// dropping is a package that gave way to another one in its slot, and who would not have it.
type dropping struct {
	p     *pkg
	needs []ownedAtom
}

// blocker is an atom that must not match, and the package that has it.
type blocker struct {
	a     *atom
	owner *pkg
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

// track is what the graph has of one CP. Packages in the graph cover installed ones of the same
// slot or the same version.
type track struct {
	added    []*pkg
	replaced []*pkg  // of the installed ones
	visible  []*pkg  // what was chosen, the last one of each slot
	changes  int     // counts what makes cached answers about the CP stale
	round    int     // the last call of minimize that met the CP
	first    [3]*pkg // room for one of each list: nearly all have no more
}

// need is a dependency on its way: an atom, who has it, and the package that was chosen for it, if
// there is one yet.
type need struct {
	owner      owner
	a          *atom
	child      *pkg
	wantUpdate bool // chosen while updates were still looked for
}

// lack is a dependency that nothing satisfies.
type lack struct {
	need *need
	use  bool // the package is there, with other flags
}

func newGraph(st *stock, s *state) *graph {
	return &graph{st: st, state: s, nodes: make([]*node, len(st.all)), tracks: make([]*track,
		len(st.shelves)), read: make(map[*pkg]bool), passed: make(map[*pkg]bool)}
}

func (g *graph) track(sh *shelf) *track {
	if sh.id >= len(g.tracks) { // a CP that only atoms name
		g.tracks = append(g.tracks, make([]*track, len(g.st.shelves)-len(g.tracks))...)
	}
	t := g.tracks[sh.id]
	if t == nil {
		t = g.newTrack(sh.id)
		g.tracks[sh.id] = t
	}
	return t
}

func (g *graph) newTrack(id int) *track {
	if g.slab == nil {
		g.slab = make([]track, len(g.st.shelves))
	}
	t := new(track)
	if id < len(g.slab) {
		t = &g.slab[id]
	}
	t.added, t.replaced, t.visible = t.first[0:0:1], t.first[1:1:2], t.first[2:2:3]
	return t
}

// trackPkg notes that a package was chosen.
func (g *graph) trackPkg(p *pkg) {
	t := g.track(p.shelf)
	if slices.Contains(t.added, p) {
		return
	}
	t.added = append(t.added, p)
	g.cover(p.shelf, t)
}

// cover notes which installed packages the chosen ones replace.
func (g *graph) cover(sh *shelf, t *track) {
	t.replaced = t.replaced[:0]
	for _, q := range sh.installed {
		if slices.ContainsFunc(t.added, func(p *pkg) bool {
			return p.slotKey == q.slotKey ||
				p.CPV == q.CPV
		}) {
			t.replaced = append(t.replaced, q)
		}
	}
	t.changes++
	g.changes++
}

// forgetAll makes all cached answers stale.
func (g *graph) forgetAll() {
	g.changes++
	for _, t := range g.tracks {
		if t != nil {
			t.changes++
		}
	}
}

// inSlot returns the chosen packages of a slot, lowest first.
func (g *graph) inSlot(p *pkg) []*pkg {
	t := g.track(p.shelf)
	switch len(t.added) {
	case 0:
		return nil
	case 1:
		if t.added[0].slotKey == p.slotKey {
			return t.added[:1:1]
		}
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
		slices.SortStableFunc(list, compareVersions)
	}
}

// stays reports whether an installed package is still there in the state that the graph leads to.
func (g *graph) stays(p *pkg) bool { return !slices.Contains(g.track(p.shelf).replaced, p) }

// end returns the packages that match an atom in the state that the graph leads to, lowest version
// first.
func (g *graph) end(a *atom) []*pkg {
	var list []*pkg
	for _, p := range g.track(a.shelf).added {
		if a.matches(p) {
			list = append(list, p)
		}
	}
	for _, p := range a.installed {
		if g.stays(p) {
			list = append(list, p)
		}
	}
	sortUp(list)
	return list
}

// endHas reports whether end returns any.
func (g *graph) endHas(a *atom) bool {
	return slices.ContainsFunc(g.track(a.shelf).added, a.matches) ||
		slices.ContainsFunc(a.installed, g.stays)
}

// hasFor reports whether a package in the graph matches an atom.
func (g *graph) hasFor(a *atom) bool {
	return slices.ContainsFunc(g.track(a.shelf).added, func(p *pkg) bool {
		return g.has(p) &&
			a.matches(p)
	})
}

// endSlot returns the packages of a slot in the state that the graph leads to, lowest version
// first.
func (g *graph) endSlot(p *pkg) []*pkg {
	list := g.inSlot(p)
	if len(list) > 0 {
		return list
	}
	for _, q := range p.shelf.installed {
		if q.slotKey == p.slotKey && g.stays(q) {
			list = append(list, q)
		}
	}
	return list
}

func (g *graph) has(p *pkg) bool { return g.nodes[p.id] != nil }

// connect adds a package to the graph for an owner.
func (g *graph) connect(p *pkg, o owner) {
	n := g.nodes[p.id]
	if n == nil {
		n = g.newNode()
		g.nodes[p.id] = n
		g.order = append(g.order, p)
	}
	if o == (owner{}) || recent(n.parents, o) {
		return
	}
	n.parents = append(n.parents, o)
	if o.p != nil {
		if m := g.nodes[o.p.id]; m != nil {
			m.children = append(m.children, p)
		}
	}
}

// newNode returns a node with room for a few entries: most nodes have no more, and there are many.
func (g *graph) newNode() *node {
	const few = 4
	if len(g.spare) == 0 {
		const block = 128
		g.spare = make([]node, block)
		parents, needs, children := make([]owner, few*block), make([]ownedAtom,
			few*block), make([]*pkg, few*block)
		for i := range g.spare {
			from, to := few*i, few*(i+1)
			g.spare[i] = node{parents[from:from:to], needs[from:from:to], children[from:from:to]}
		}
	}
	n := &g.spare[0]
	g.spare = g.spare[1:]
	return n
}

// recent reports whether x is among the last entries: what one package needs is added in one go, so
// that most duplicates are found, and the others do no harm.
func recent[T comparable](list []T, x T) bool {
	return slices.Contains(list[max(0, len(list)-16):], x)
}

func (g *graph) addNeed(p *pkg, o owner, a *atom) {
	if n := g.nodes[p.id]; n != nil && !recent(n.needs, ownedAtom{o, a}) {
		n.needs = append(n.needs, ownedAtom{o, a})
	}
}

// needsOf returns who needs a package, and by which atoms.
func (g *graph) needsOf(p *pkg) []ownedAtom {
	if n := g.nodes[p.id]; n != nil {
		return n.needs
	}
	return nil
}

// conflicts returns the slots that more than one package was chosen for, each in the order in which
// they came.
func (g *graph) conflicts() [][]*pkg {
	var all [][]*pkg
	seen := map[string]bool{}
	for _, p := range g.order {
		t := g.track(p.shelf)
		if len(t.added) < 2 || seen[p.slotKey] {
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
	n := g.nodes[p.id]
	if n == nil {
		return
	}
	g.nodes[p.id] = nil
	g.order = slices.DeleteFunc(g.order, func(q *pkg) bool { return q == p })
	for _, o := range n.parents {
		if o.p == nil {
			continue
		}
		if m := g.nodes[o.p.id]; m != nil {
			m.children = slices.DeleteFunc(m.children, func(q *pkg) bool { return q == p })
		}
	}
	t := g.track(p.shelf)
	t.added = slices.DeleteFunc(t.added, func(q *pkg) bool { return q == p })
	g.cover(p.shelf, t)
	g.slotDeps = slices.DeleteFunc(g.slotDeps, func(d *need) bool { return d.child == p })
	g.blockers = slices.DeleteFunc(g.blockers, func(b *blocker) bool { return b.owner == p })
	for _, child := range n.children {
		m := g.nodes[child.id]
		if m == nil || child == p {
			continue
		}
		m.parents = slices.DeleteFunc(m.parents, func(o owner) bool { return o.p == p })
		m.needs = slices.DeleteFunc(m.needs, func(oa ownedAtom) bool { return oa.owner.p == p })
	}
	for _, child := range n.children {
		if m := g.nodes[child.id]; m != nil && child != p && len(m.parents) == 0 {
			g.remove(child)
		}
	}
	g.forgetAll()
}
