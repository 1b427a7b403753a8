package resolve

import (
	"slices"
	"strings"
)

// breakage is what an installed package loses by a plan.
type breakage struct {
	victim  *pkg
	culprit *pkg // the candidate that takes the place of what the victim had
	what    string
	cause   Cause
}

// endState answers what is there before a plan and after it.
type endState struct {
	st       *stock
	merged   map[*pkg]bool
	replaces map[*pkg]*pkg // installed -> the candidate in its place
}

func newEndState(s *stock) *endState {
	return &endState{st: s, merged: make(map[*pkg]bool), replaces: make(map[*pkg]*pkg)}
}

func (s *stock) endState(g *graph) *endState {
	e := newEndState(s)
	for _, p := range g.order {
		if !p.installed {
			e.add(p)
		}
	}
	return e
}

func (e *endState) add(p *pkg) {
	e.merged[p] = true
	for _, q := range p.shelf.installed {
		if q.slotKey == p.slotKey || q.CPV == p.CPV {
			e.replaces[q] = p
		}
	}
}

// stays reports whether an installed package is still there in the end.
func (e *endState) stays(p *pkg) bool { return e.replaces[p] == nil }

// satisfied reports whether an item is satisfied; before the plan with old. Blockers and
// package.provided count as satisfied.
func (e *endState) satisfied(it *item, old bool) bool {
	switch {
	case it.a != nil:
		if it.a.Block != 0 || e.st.isProvided(it.a) {
			return true
		}
		if slices.ContainsFunc(it.a.installed, func(p *pkg) bool { return old || e.stays(p) }) {
			return true
		}
		return !old && slices.ContainsFunc(it.a.candidates, func(p *pkg) bool {
			return e.merged[p]
		})
	case it.any != nil:
		return slices.ContainsFunc(it.any, func(m item) bool { return e.satisfied(&m, old) })
	}
	return !slices.ContainsFunc(it.all, func(m item) bool { return !e.satisfied(&m, old) })
}

// broken returns what a plan takes from installed packages that stay, where emerge does not look:
// the walk did not reach them, or it is a library that no dependency names. A dependency or library
// that was lacking before does not count.
func (s *stock) broken(g *graph) []breakage {
	e := s.endState(g)
	if len(e.merged) == 0 {
		return nil
	}
	var list []breakage
	for _, p := range s.all {
		if !p.installed || !e.stays(p) || g.has(p) {
			continue
		}
		if !s.charge(1) {
			return nil
		}
		s.read(p)
		for _, items := range p.deps {
			for i := range items {
				if e.touches(items[i:i+1]) && !e.satisfied(&items[i], false) &&
					e.satisfied(&items[i], true) {
					list = append(list, e.blame(p, &items[i])...)
				}
			}
		}
	}
	return append(list, s.brokenSonames(e)...)
}

// touches reports whether dependencies name something that the plan replaces.
func (e *endState) touches(items []item) bool {
	return slices.ContainsFunc(items, func(it item) bool {
		if it.a == nil {
			return e.touches(it.any) || e.touches(it.all)
		}
		return slices.ContainsFunc(it.a.installed, func(q *pkg) bool { return !e.stays(q) })
	})
}

// blame names the candidates that take away what satisfied an item.
func (e *endState) blame(victim *pkg, it *item) []breakage {
	if it.a == nil {
		var list []breakage
		for _, members := range [...][]item{it.any, it.all} {
			for i := range members {
				list = append(list, e.blame(victim, &members[i])...)
			}
		}
		return list
	}
	for _, q := range it.a.installed {
		if p := e.replaces[q]; p != nil {
			return []breakage{{victim: victim, culprit: p, what: it.a.String(), cause: Breaks}}
		}
	}
	return nil
}

// sonames yields the sonames of PROVIDES or REQUIRES, each with its ABI: "x86_64: libfoo.so.1".
func sonames(text string, yield func(string)) {
	abi := ""
	for word := range strings.FieldsSeq(text) {
		if strings.HasSuffix(word, ":") {
			abi = word + " "
			continue
		}
		yield(abi + word)
	}
}

// brokenSonames returns the libraries that merges lack, and those that they take away. A library
// that nobody here provides comes from elsewhere, and is not counted.
func (s *stock) brokenSonames(e *endState) []breakage {
	providers := s.sonameProviders()
	if len(providers) == 0 {
		return nil
	}
	there := func(p *pkg) bool { return p.installed && e.stays(p) || e.merged[p] }
	var list []breakage
	for _, p := range s.all {
		if p.Requires == "" || !there(p) {
			continue
		}
		sonames(p.Requires, func(name string) {
			known := providers[name]
			if len(known) == 0 || slices.ContainsFunc(known, there) {
				return
			}
			if !p.installed {
				list = append(list, breakage{victim: p, culprit: p, what: name, cause: LacksSoname})
				return
			}
			for _, q := range known {
				if c := e.replaces[q]; c != nil {
					list = append(list, breakage{victim: p, culprit: c, what: name,
						cause: BreaksSoname})
				}
			}
		})
	}
	return list
}

// sonameProviders lists who has which library.
func (s *stock) sonameProviders() map[string][]*pkg {
	if s.providers == nil {
		s.providers = make(map[string][]*pkg)
		for _, p := range s.all {
			sonames(p.Provides, func(name string) {
				s.providers[name] = append(s.providers[name], p)
			})
		}
	}
	return s.providers
}
