package resolve

import "slices"

// Bundle returns what has to be installed together with a merge, as places in Merges: itself, what
// it needs that is not here, and what would break without being rebuilt with it. A bundle can be
// carried and installed alone.
func (r *Result) Bundle(i int) []int {
	e := newEndState(r.stock)
	in := make(map[*pkg]bool)
	open := []*pkg{r.merged[i]}
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
	list := slices.Clone(r.providers(e, p))
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
		r.possible(it)
		if i := slices.IndexFunc(it.a.candidates, func(p *pkg) bool { return r.whole.merged[p] }); i >= 0 {
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
func (r *Result) possible(it *item) bool {
	if r.whole == nil {
		r.whole = newEndState(r.stock)
		for _, p := range r.merged {
			if !p.installed {
				r.whole.add(p)
			}
		}
	}
	return r.whole.satisfied(it, false)
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
