package resolve

import "slices"

// Closures works out what packages of one index need of each other, where nothing is known of the
// machine that they are for.
type Closures struct {
	stock *stock
	picks map[*pkg][]*pkg
}

// NewClosures reads an index. The error is that of Resolve.
func NewClosures(list []Package) (*Closures, error) {
	s, err := newStock(&Input{Candidates: list})
	if err != nil {
		return nil, err
	}
	return &Closures{stock: s, picks: make(map[*pkg][]*pkg)}, nil
}

// Of returns a package of the index with everything of the index that it needs to be installed on a
// machine without anything, as places in the list: itself first. A dependency that nothing there
// satisfies is left out. Of alternatives it is the first that can be had. more is asked with each
// place; if it returns false, the closure is given up and nil returned.
func (c *Closures) Of(i int, more func(int) bool) []int {
	in := map[*pkg]bool{c.stock.all[i]: true}
	var list []int
	for open := []*pkg{c.stock.all[i]}; len(open) > 0; {
		p := open[0]
		open = open[1:]
		if !more(p.index) || !c.stock.charge(1) {
			return nil
		}
		list = append(list, p.index)
		for _, q := range c.pick(p) {
			if !in[q] {
				in[q] = true
				open = append(open, q)
			}
		}
	}
	return list
}

// pick chooses for the dependencies of a package: of each the highest that matches.
func (c *Closures) pick(p *pkg) []*pkg {
	if list, known := c.picks[p]; known {
		return list
	}
	c.stock.read(p)
	var list []*pkg
	for _, items := range p.deps {
		for i := range items {
			q, _ := best(&items[i])
			list = append(list, q...)
		}
	}
	slices.SortFunc(list, func(p, q *pkg) int { return p.id - q.id })
	list = slices.Compact(list)
	c.picks[p] = list
	return list
}

// best returns the packages for an item, and whether they are all that it needs.
func best(it *item) ([]*pkg, bool) {
	switch {
	case it.a != nil:
		if it.a.Block != 0 {
			return nil, true
		}
		if i := slices.IndexFunc(it.a.candidates, func(p *pkg) bool {
			return p.reason.Kind == Acceptable
		}); i >= 0 {
			return it.a.candidates[i : i+1], true
		}
		return nil, false
	case it.any != nil:
		for i := range it.any {
			if list, ok := best(&it.any[i]); ok {
				return list, true
			}
		}
		return nil, false
	}
	var list []*pkg
	whole := true
	for i := range it.all {
		some, ok := best(&it.all[i])
		list, whole = append(list, some...), whole && ok
	}
	return list, whole
}
