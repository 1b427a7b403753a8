package resolve

import (
	"slices"

	"pkgsneak/sync/depend"
)

// maxArrangements bounds the ways to pick one package of each conflict. With more than four
// conflicts emerge looks at one way only.
const maxArrangements = 1024

// useWouldSettle reports whether the slot conflicts that remain could be settled by other USE flags
// alone. Then emerge ends at once and asks for them, although walking again might have found a way:
// the flags of binaries cannot be changed.
func (g *graph) useWouldSettle() bool {
	all := g.conflicts()
	if len(all) == 0 {
		return false
	}
	rival := make(map[*pkg]bool)
	for i, c := range all {
		c = slices.Clone(c)
		slices.SortStableFunc(c, func(p, q *pkg) int { // installed ones last
			switch {
			case p.installed == q.installed:
				return 0
			case p.installed:
				return 1
			}
			return -1
		})
		all[i] = c
		for _, p := range c {
			rival[p] = true
		}
	}
	pick := make([]int, len(all))
	for range maxArrangements {
		if g.arrangementNeedsUse(all, pick, rival) {
			return true
		}
		if len(all) > 4 || !nextPick(all, pick) {
			return false
		}
	}
	return false
}

func nextPick(all [][]*pkg, pick []int) bool {
	for i := len(pick) - 1; i >= 0; i-- {
		if pick[i]++; pick[i] < len(all[i]) {
			return true
		}
		pick[i] = 0
	}
	return false
}

// arrangementNeedsUse reports whether the picked packages satisfy everybody but for USE flags that
// they have.
func (g *graph) arrangementNeedsUse(all [][]*pkg, pick []int, rival map[*pkg]bool) bool {
	picked := make(map[*pkg]bool)
	for i, c := range all {
		picked[c[pick[i]]] = true
	}
	changes := false
	for i, c := range all {
		p := c[pick[i]]
		if p.installed && slices.ContainsFunc(c, func(q *pkg) bool {
			return q != p &&
				useWithin(p) != useWithin(q)
		}) {
			return false
		}
		flags := make(map[string]bool)
		var kept []*atom
		for _, q := range c {
			for _, oa := range g.needsOf(q) {
				if parent := oa.owner.p; parent != nil && rival[parent] && !picked[parent] {
					continue
				}
				kept = append(kept, oa.a)
				if !oa.a.matches(p) && !g.wishFlags(oa.a, p, flags) {
					return false
				}
			}
		}
		changes = changes || len(flags) > 0
		changed := p.dep
		changed.Use = func(flag string) bool {
			if on, found := flags[flag]; found {
				return on
			}
			return p.uses(flag)
		}
		if slices.ContainsFunc(kept, func(a *atom) bool {
			return !depend.Match(&a.Atom, &changed)
		}) {
			return false
		}
	}
	return changes
}

// wishFlags notes the flags that an atom wants of a package otherwise. It reports false where flags
// do not help.
func (g *graph) wishFlags(a *atom, p *pkg, flags map[string]bool) bool {
	if p.installed || !a.bare.matches(p) || !depend.Requires(a.written, &p.dep) {
		return false
	}
	for _, u := range a.Use {
		want := u.Prefix != "-"
		// emerge looks at flags without a default only
		if u.Default != "" || p.uses(u.Flag) == want {
			continue
		}
		if before, found := flags[u.Flag]; found && before != want {
			return false
		}
		flags[u.Flag] = want
	}
	return true
}
