package resolve

import "slices"

// Bundle returns what has to be installed together with a merge, as places in Merges: itself, what
// it needs that is not here, what would break without being rebuilt with it, and what replaces an
// installed package that cannot be beside it. emerge does not install by itself what only another
// merge needs: that merge comes along, and so does what it could not begin without: a package of
// the profile's sets that is not here. A bundle can be carried and installed alone.
func (r *Result) Bundle(i int) []int {
	e := newEndState(r.stock)
	in := make(map[*pkg]bool)
	open := append(slices.Clone(r.neededBySets()), r.merged[i])
	for len(open) > 0 {
		p := open[len(open)-1]
		open = open[:len(open)-1]
		if in[p] {
			continue
		}
		in[p] = true
		e.add(p)
		for _, q := range r.companions(e, p) {
			if !in[q] {
				open = append(open, q)
			}
		}
	}
	var list []int
	for j, p := range r.merged {
		if in[p] {
			list = append(list, j)
		}
	}
	return list
}

// companions returns the merges that p needs beside what is there, and those of packages that p
// would break.
func (r *Result) companions(e *endState, p *pkg) []*pkg {
	if p.installed { // an uninstall
		return nil
	}
	list := slices.Concat(r.providers(e, p), r.blockedSuccessors(e, p), r.libraries(e, p))
	if q := r.whoNeeds(p); q != nil {
		list = append(list, q)
	}
	for q, by := range e.replaces {
		if by != p {
			continue
		}
		for _, user := range r.usersOf(q.cp) {
			if next := r.successor[user]; e.stays(user) && next != nil && r.breaks(e, user) {
				list = append(list, next)
			}
		}
	}
	slices.SortFunc(list, func(p, q *pkg) int { return p.id - q.id })
	return slices.Compact(list)
}

// whoNeeds returns the merge without which emerge would not install p, nil if it would: a set or an
// installed package asks for it, or it replaces what is there.
func (r *Result) whoNeeds(p *pkg) *pkg {
	if r.needed == nil {
		r.needed = make(map[*pkg]*pkg, len(r.merged))
		byName := make(map[string]*pkg, len(r.merged))
		for _, q := range r.merged {
			if !q.installed {
				byName[q.CPV] = q
			}
		}
		for i, q := range r.merged {
			if k := r.Merges[i].Kind; k == New || k == NewSlot || !r.askedFor(q) {
				r.needed[q] = byName[r.Merges[i].For]
			}
		}
	}
	return r.needed[p]
}

// askedFor reports whether a set, or a package that is installed now, has an atom for p.
func (r *Result) askedFor(p *pkg) bool {
	if slices.ContainsFunc(p.shelf.roots, func(ra rootAtom) bool { return ra.a.matches(p) }) {
		return true
	}
	return slices.ContainsFunc(r.usersOf(p.cp), func(user *pkg) bool {
		return slices.ContainsFunc(r.stock.flatten(user), func(a *atom) bool {
			return a.CP == p.cp && a.Block == 0 && a.matches(p)
		})
	})
}

// blockedSuccessors returns the merges that replace installed packages which cannot be beside p: a
// blocker of p matches them, or theirs matches p.
func (r *Result) blockedSuccessors(e *endState, p *pkg) []*pkg {
	var list []*pkg
	add := func(q *pkg) {
		if next := r.successor[q]; next != nil && next != p && e.stays(q) {
			list = append(list, next)
		}
	}
	for _, a := range r.stock.blockersOf(p) {
		for _, q := range a.installed {
			add(q)
		}
	}
	if r.blockers == nil {
		r.blockers = make(map[string][]blocker)
		for _, q := range r.stock.all[r.stock.candidates:] {
			if r.successor[q] == nil {
				continue
			}
			for _, a := range r.stock.blockersOf(q) {
				r.blockers[a.CP] = append(r.blockers[a.CP], blocker{a, q})
			}
		}
	}
	for _, b := range r.blockers[p.cp] {
		if b.a.matches(p) {
			add(b.owner)
		}
	}
	return list
}

// libraries returns the merges that have a library which p requires and that nothing has yet, and
// those of packages that require one which p takes away.
func (r *Result) libraries(e *endState, p *pkg) []*pkg {
	providers := r.stock.sonameProviders()
	there := func(q *pkg) bool { return q.installed && e.stays(q) || e.merged[q] }
	var list []*pkg
	sonames(p.Requires, func(name string) {
		if known := providers[name]; !slices.ContainsFunc(known, there) {
			if i := slices.IndexFunc(known, func(q *pkg) bool {
				return r.wholePlan().merged[q]
			}); i >= 0 {
				list = append(list, known[i])
			}
		}
	})
	for q, by := range e.replaces {
		if by != p || q.Provides == "" {
			continue
		}
		sonames(q.Provides, func(name string) {
			if slices.ContainsFunc(providers[name], there) {
				return
			}
			for _, user := range r.requirers(name) {
				if next := r.successor[user]; next != nil && e.stays(user) {
					list = append(list, next)
				}
			}
		})
	}
	return list
}

// requirers returns the installed packages that require a library.
func (r *Result) requirers(name string) []*pkg {
	if r.require == nil {
		r.require = make(map[string][]*pkg)
		for _, p := range r.stock.all[r.stock.candidates:] {
			sonames(p.Requires, func(name string) { r.require[name] = append(r.require[name], p) })
		}
	}
	return r.require[name]
}

// providers returns merges for the dependencies of p that nothing satisfies yet.
func (r *Result) providers(e *endState, p *pkg) []*pkg {
	r.stock.read(p)
	var list []*pkg
	for _, items := range p.deps {
		for i := range items {
			if !e.satisfied(&items[i], false) {
				list = append(list, r.fulfil(e, &items[i])...)
			}
		}
	}
	return list
}

// fulfil returns the merges of the plan that satisfy an item: of alternatives the first that they
// can.
func (r *Result) fulfil(e *endState, it *item) []*pkg {
	switch {
	case it.a != nil:
		if e.satisfied(it, false) {
			return nil
		}
		if i := slices.IndexFunc(it.a.candidates, func(p *pkg) bool {
			return r.wholePlan().merged[p]
		}); i >= 0 {
			return it.a.candidates[i : i+1]
		}
		return nil
	case it.any != nil:
		for i := range it.any {
			if r.possible(&it.any[i]) {
				return r.fulfil(e, &it.any[i])
			}
		}
		return nil
	}
	var list []*pkg
	for i := range it.all {
		list = append(list, r.fulfil(e, &it.all[i])...)
	}
	return list
}

// possible reports whether the whole plan satisfies an item.
func (r *Result) possible(it *item) bool { return r.wholePlan().satisfied(it, false) }

// wholePlan is the state with all merges done.
func (r *Result) wholePlan() *endState {
	if r.whole == nil {
		r.whole = newEndState(r.stock)
		for _, p := range r.merged {
			if !p.installed {
				r.whole.add(p)
			}
		}
	}
	return r.whole
}

// neededBySets returns the merges for the atoms that nothing here satisfies of the sets without
// which emerge ends.
func (r *Result) neededBySets() []*pkg {
	if r.forSets != nil {
		return r.forSets
	}
	r.forSets = []*pkg{}
	for i := range r.stock.roots {
		set := &r.stock.roots[i]
		for _, a := range set.atoms {
			if set.tolerant() || len(a.installed) > 0 || r.stock.isProvided(a) {
				continue
			}
			if i := slices.IndexFunc(a.candidates, func(p *pkg) bool {
				return r.wholePlan().merged[p]
			}); i >= 0 {
				r.forSets = append(r.forSets, a.candidates[i])
			}
		}
	}
	return r.forSets
}

// breaks reports whether an installed package loses something in a state.
func (r *Result) breaks(e *endState, user *pkg) bool {
	r.stock.read(user)
	for _, items := range user.deps {
		for i := range items {
			if !e.satisfied(&items[i], false) && e.satisfied(&items[i], true) {
				return true
			}
		}
	}
	return false
}

// usersOf returns the installed packages whose dependencies name a CP.
func (r *Result) usersOf(cp string) []*pkg {
	if r.users == nil {
		r.users = make(map[string][]*pkg)
		for _, p := range r.stock.all {
			if !p.installed {
				continue
			}
			for _, a := range r.stock.flatten(p) {
				if list := r.users[a.CP]; len(list) == 0 || list[len(list)-1] != p {
					r.users[a.CP] = append(list, p)
				}
			}
		}
	}
	return r.users[cp]
}
