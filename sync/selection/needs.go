package selection

import (
	"slices"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/resolve"
)

// bundle is what has to come together, as places in the planner's list of files.
type bundle struct {
	lead   int
	files  []int // without what the client has
	level  Level
	waited int
}

// need is what one client lacks.
type need struct {
	bundles []bundle
	transit []int // packages that it needs and another drive carries
	known   bool
	trouble string
}

// needsOf works out what a client's next emerge would install and does not find there.
func needsOf(in *Input, client int) (need, error) {
	c := &in.Clients[client]
	if c.Machine == nil {
		return need{}, nil
	}
	m := c.Machine()
	if m == nil {
		return need{}, nil
	}
	machine := *m
	machine.Candidates = in.candidates()
	machine.World = slices.Concat(machine.World, c.Wishes)
	waits := false // packages wait for a newer Portage
	if accept := machine.Accept; accept != nil {
		machine.Accept = func(p resolve.Package, installed bool) resolve.Reason {
			r := accept(p, installed)
			waits = waits || !installed && r.Kind == resolve.Unreadable
			return r
		}
	}
	r, err := resolve.Resolve(machine)
	if err != nil {
		return need{}, err
	}
	if !r.OK {
		return need{trouble: r.Trouble}, nil
	}
	n := need{known: true}
	var closing map[string]bool
	if c.Closing != nil {
		closing = c.Closing(r.Merges)
	}
	shared := make(map[int]int) // in how many bundles a package is
	for i := range r.Merges {
		m := &r.Merges[i]
		if m.Kind == resolve.Uninstall || c.has(m.Index) {
			continue
		}
		if c.inTransit(m.Index) && !in.Packages[m.Index].Held {
			n.transit = append(n.transit, m.Index)
			continue
		}
		b := bundle{lead: m.Index, level: levelOf(c, closing, m), waited: c.waited(m.Index)}
		for _, j := range r.Bundle(i) {
			if x := &r.Merges[j]; x.Kind != resolve.Uninstall && !c.has(x.Index) {
				b.files = append(b.files, x.Index)
				shared[x.Index]++
			}
		}
		n.bundles = append(n.bundles, b)
	}
	for i := range n.bundles {
		if b := &n.bundles[i]; enables(in.Packages[b.lead].CPV, waits, shared[b.lead] > 1) {
			b.level = Enabling
		}
	}
	return n, nil
}

// levelOf is the place of a merge in the order, but for what enables others.
func levelOf(c *Client, closing map[string]bool, m *resolve.Merge) Level {
	switch {
	case matchesAny(c.Wishes, &m.Package):
		return Wished
	case closing[m.Package.CPV]:
		return Security
	}
	return Updates
}

// enables reports whether a package makes others possible.
func enables(name string, waits, shared bool) bool {
	c, err := cpv.Parse(name)
	if err != nil {
		return false
	}
	switch c.Category + "/" + c.PN {
	case "app-portage/pkgsneak":
		return true
	case "sys-apps/portage":
		return waits
	case "sys-libs/glibc", "sys-libs/musl":
		return shared
	}
	return false
}

// matchesAny reports whether one of the atoms matches a package.
func matchesAny(atoms []depend.Atom, p *resolve.Package) bool {
	return slices.ContainsFunc(atoms, func(a depend.Atom) bool { return p.MatchedBy(&a) })
}
