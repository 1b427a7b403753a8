package resolve

import "slices"

// Kind is what happens with a package.
type Kind uint8

const (
	New       Kind = iota // nothing of the CP was installed
	NewSlot               // only other slots were
	Update                // a higher version for the slot
	Rebuild               // the same version again
	Downgrade             // a lower version for the slot
	Uninstall             // removed for a blocker
)

func (k Kind) String() string {
	return [...]string{"new", "new slot", "update", "rebuild", "downgrade", "uninstall"}[k]
}

// Merge is one thing that emerge would do.
type Merge struct {
	Kind Kind
	// Package is the candidate, or for an Uninstall the installed package; Index is its place in
	// Candidates or Installed.
	Package Package
	Index   int
	// Old is what is replaced, nil if nothing is.
	Old *Package
	For string // who needed it first: a CPV, or "@" and a set
}

// merges lists what the graph of an outcome changes, in the order in which it was found.
func (s *stock) merges(out *outcome) []Merge {
	var list []Merge
	for _, p := range out.g.order {
		if p.installed {
			continue
		}
		m := Merge{Package: *p.Package, Index: p.index, Kind: New, For: out.g.ownerName(p)}
		for _, q := range p.shelf.installed {
			if q.slotKey != p.slotKey && q.CPV != p.CPV {
				if m.Kind == New {
					m.Kind = NewSlot
				}
				continue
			}
			m.Old = q.Package
			switch c := compareVersions(p, q); {
			case c > 0:
				m.Kind = Update
			case c < 0:
				m.Kind = Downgrade
			default:
				m.Kind = Rebuild
			}
			if q.slotKey == p.slotKey {
				break
			}
		}
		list = append(list, m)
	}
	for _, u := range out.verdict.uninstall {
		list = append(list, Merge{Kind: Uninstall, Package: *u.hit.Package, Index: u.hit.index,
			For: u.owner.CPV})
	}
	return list
}

// ownerName names who needed a package first.
func (g *graph) ownerName(p *pkg) string {
	n := g.nodes[p.id]
	if n == nil {
		return ""
	}
	i := slices.IndexFunc(n.parents, func(o owner) bool { return o != owner{} })
	if i < 0 {
		return ""
	}
	if o := n.parents[i]; o.p != nil {
		return o.p.CPV
	} else {
		return "@" + o.set.name
	}
}
