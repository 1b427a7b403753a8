package resolve

import "slices"

// chooser picks packages for atoms.
type chooser struct {
	*graph
	cache []cached // by atom.id
}

// cached is an answer of choose, good while its CP does not change.
type cached struct {
	p       *pkg
	known   bool
	changes int
}

// choose picks the package for an atom, nil if there is none. parent is who asks, or nil.
//
// Portage's rule is about the atom, not about the slot: of the binaries that match it the highest,
// of the installed packages that match it the highest; between the two the binary if it was built
// later, else the higher version, else the installed one. A package that is in the graph for that
// slot and matches too goes before both.
func (g *chooser) choose(a *atom, parent *pkg) *pkg {
	if g.complete {
		return g.chooseInGraph(a)
	}
	if a.id >= len(g.cache) {
		g.cache = append(g.cache, make([]cached, len(g.st.atoms)+256-len(g.cache))...)
	}
	now := g.track(a.shelf).changes
	p := g.cache[a.id].p
	if !g.cache[a.id].known || g.cache[a.id].changes != now {
		p = g.chooseHighest(a, parent)
		g.cache[a.id] = cached{p, true, now}
	}
	if p != nil && (p.visible() || g.has(p)) && !(p.installed && p.reason.counts()) {
		g.sawVisible(p)
	}
	return p
}

// sawVisible notes a package as the one of its slot that an atom without slot may mean.
func (g *chooser) sawVisible(p *pkg) {
	t := g.track(p.shelf)
	for i, q := range t.visible {
		if q.slotKey == p.slotKey {
			t.visible[i] = p
			return
		}
	}
	t.visible = append(t.visible, p)
}

func (g *chooser) masked(p *pkg) bool {
	if len(g.state.masks) == 0 {
		return false
	}
	_, found := g.state.masks[p]
	return found
}

func (g *chooser) chooseHighest(a *atom, parent *pkg) *pkg {
	if p := g.reusable(a); p != nil {
		return p
	}
	var binary, inst *pkg
	for _, p := range a.candidates {
		if p.excluded || !p.visible() {
			continue
		}
		if !g.masked(p) {
			binary = p
			break
		}
		g.passed[p] = true
	}
	if binary == nil || !g.reinstall(binary, a, parent) {
		inst = g.highestInstalled(a, binary, parent)
	}
	switch {
	case binary == nil:
		return inst
	case inst == nil, g.rebuildWanted(a, parent, binary, inst):
		return binary
	case binary.BuildTime > inst.BuildTime: // whatever the versions; a binary without a time has 0
		return binary
	case parent != nil && inst.excluded:
		return inst
	case compareVersions(binary, inst) > 0:
		return binary
	case compareVersions(binary, inst) < 0 && !inst.visible():
		return binary
	}
	return inst
}

// reusable returns the package that is in the graph for the slot which the atom leads to, if the
// atom matches it.
func (g *chooser) reusable(a *atom) *pkg {
	var highest *pkg
	for _, list := range [...][]*pkg{a.candidates, a.installed} {
		for _, p := range list {
			if g.masked(p) || !p.installed && (p.excluded || !p.visible()) {
				continue
			}
			if highest == nil || highest.less(p) {
				highest = p
			}
			in := g.inSlot(p)
			if len(in) == 0 {
				break
			}
			e := in[len(in)-1]
			if a.matches(e) && !(e.less(highest) && e.slotKey != highest.slotKey) {
				return e
			}
			break
		}
	}
	return nil
}

// highestInstalled returns the installed package for the atom. Beside a binary that can be had, one
// that the configuration does not accept any more counts as absent; without one it stays.
func (g *chooser) highestInstalled(a *atom, binary, parent *pkg) *pkg {
	for _, p := range a.installed {
		if g.masked(p) {
			continue
		}
		if binary == nil || parent != nil && p.excluded {
			return p
		}
		if !p.visible() && !g.has(p) {
			continue
		}
		identical := binary.CPV == p.CPV && binary.BuildTime == p.BuildTime
		if !identical && p.reason.counts() {
			continue
		}
		return p
	}
	return nil
}

// reinstall reports whether the package belongs to those that a lesson wants replaced, so that the
// installed one does not count.
func (g *chooser) reinstall(p *pkg, a *atom, parent *pkg) bool {
	if !g.state.replace[p.slotKey] {
		return false
	}
	return parent == nil || g.willReplace(parent, a) == nil
}

// rebuildWanted: a parent that is replaced because of a slot operator takes the newer child.
func (g *chooser) rebuildWanted(a *atom, parent, binary, inst *pkg) bool {
	return parent != nil && g.state.replace[parent.slotKey] && a.SlotOp == "=" && a.Sub == "" &&
		!inst.excluded &&
		compareVersions(binary, inst) > 0
}

// chooseInGraph picks for an atom what is in the graph, else what is installed.
func (g *chooser) chooseInGraph(a *atom) *pkg {
	list := g.end(a)
	for _, p := range slices.Backward(list) {
		if g.has(p) {
			return p
		}
	}
	if len(list) == 0 {
		return nil
	}
	return g.chooseInstalled(a)
}

func (g *chooser) chooseInstalled(a *atom) *pkg {
	if len(a.installed) == 0 {
		return nil
	}
	for _, good := range [...]func(*pkg) bool{
		func(p *pkg) bool { return p.visible() && !p.reason.counts() },
		func(p *pkg) bool { return p.visible() || g.has(p) },
	} {
		if i := slices.IndexFunc(a.installed, good); i >= 0 {
			return a.installed[i]
		}
	}
	return a.installed[0]
}

// willReplace returns the installed package that matches the atom and whose place parent itself
// takes.
func (g *chooser) willReplace(parent *pkg, a *atom) *pkg {
	if parent.cp != a.CP {
		return nil
	}
	for _, p := range a.installed {
		if p.slotKey == parent.slotKey {
			return p
		}
	}
	return nil
}

// similar returns the candidates that could be taken for an atom of the package's CP: not masked,
// not excluded, acceptable, and not the build that is installed.
func (g *chooser) similar(a *atom) []*pkg {
	var list []*pkg
	for _, p := range a.candidates {
		if g.couldTake(p) {
			list = append(list, p)
		}
	}
	return list
}

func (g *chooser) couldTake(p *pkg) bool {
	return !g.masked(p) && !p.excluded && (p.visible() || g.has(p)) && !g.isInstalled(p)
}

func (g *chooser) similarInSlot(p *pkg) []*pkg { return g.similar(g.st.slotAtom(p)) }

func (g *chooser) isInstalled(p *pkg) bool {
	if p.BuildTime == 0 {
		return false
	}
	for _, q := range p.shelf.installed {
		if q.CPV == p.CPV {
			return q.BuildTime == p.BuildTime
		}
	}
	return false
}

// upgradeAvailable reports whether a higher candidate exists in the package's slot.
func (g *chooser) upgradeAvailable(p *pkg) bool {
	return slices.ContainsFunc(g.st.slotAtom(p).candidates, func(q *pkg) bool {
		return p.less(q) &&
			g.couldTake(q)
	})
}

// downgradeWanted reports whether the slot has candidates, all of them of lower versions than the
// package. Portage's order counts the build time where it asks for lower or higher, not where it
// asks for at least or at most.
func (g *chooser) downgradeWanted(p *pkg) bool {
	any := false
	for _, q := range g.st.slotAtom(p).candidates { // highest first
		if !g.couldTake(q) {
			continue
		}
		if compareVersions(q, p) >= 0 {
			return false
		}
		any = true
	}
	return any
}

// isArgument reports whether an atom of @world means this package. One that a higher chosen package
// of another slot satisfies does not.
func (g *chooser) isArgument(p *pkg, a *atom) bool { return a.matches(p) && !g.higherSlot(p, a) }

func (g *chooser) higherSlot(p *pkg, a *atom) bool {
	return slices.ContainsFunc(g.track(p.shelf).visible, func(q *pkg) bool {
		return q.slotKey != p.slotKey && compareVersions(q, p) > 0 && a.matches(q)
	})
}
