package resolve

import (
	"maps"
	"slices"
)

// maxTries is how often emerge walks again (--backtrack), and maxMasks how many masks deep.
const (
	maxTries = 20
	maxMasks = 10
)

// state is what earlier walks taught: candidates that must not be chosen, and slots in which
// another build is wanted.
type state struct {
	masks        map[*pkg]mask
	replace      map[string]bool
	replaceOrder []string
	steps        int
	depth        int
	terminal     bool // holds no masks for lacks or conflicts
}

// mask is why a package must not be chosen.
type mask struct {
	missing  bool        // it needs what is not there
	lack     *need       // ... namely this
	built    bool        // another build is wanted
	conflict bool        // it lost a slot
	atoms    []ownedAtom // the needs it does not satisfy there
}

// maskChoice is one way out of a conflict: packages to mask, and the needs each of them does not
// satisfy.
type maskChoice []masking

type masking struct {
	p     *pkg
	atoms []ownedAtom
}

// lesson is what one walk taught.
type lesson struct {
	missing   []*need
	conflicts [][]maskChoice
	config    bool
	maskBuilt []*pkg
	replace   []string
}

func newState() *state {
	return &state{masks: make(map[*pkg]mask), replace: make(map[string]bool), terminal: true}
}

func (s *state) clone() *state {
	c := *s
	c.masks, c.replace, c.replaceOrder = maps.Clone(s.masks), maps.Clone(s.replace),
		slices.Clone(s.replaceOrder)
	c.depth++
	return &c
}

func (s *state) equal(t *state) bool {
	return maps.Equal(s.replace, t.replace) &&
		maps.EqualFunc(s.masks, t.masks, func(a, b mask) bool {
			return a.missing == b.missing && a.built == b.built && a.conflict == b.conflict &&
				sameAtoms(a.atoms, b.atoms)
		})
}

func sameAtoms(a, b []ownedAtom) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}

// valid refuses a state in which a package is masked because of parents that are all masked
// themselves.
func (s *state) valid() bool {
	for _, m := range s.masks {
		if s.unfounded(m) {
			return false
		}
	}
	return true
}

// unfounded reports whether a mask was put for the needs of packages that are all masked by now.
func (s *state) unfounded(m mask) bool {
	if m.missing || m.built || len(m.atoms) == 0 {
		return false
	}
	return !slices.ContainsFunc(m.atoms, func(oa ownedAtom) bool {
		if oa.owner.p == nil {
			return true
		}
		_, masked := s.masks[oa.owner.p]
		return !masked
	})
}

// tree is the tree of states that are tried, depth first.
type tree struct {
	open    []*state
	all     []*state
	current *state
}

func newTree(masks map[*pkg]mask) *tree {
	t := &tree{}
	s := newState()
	maps.Copy(s.masks, masks)
	t.open, t.all = []*state{s}, []*state{s}
	return t
}

func (t *tree) add(s *state, open bool) {
	if !s.valid() || s.steps > maxMasks || slices.ContainsFunc(t.all, s.equal) {
		return
	}
	if open {
		t.open = append(t.open, s)
	}
	t.all = append(t.all, s)
}

func (t *tree) next() *state {
	n := len(t.open) - 1
	t.current = t.open[n]
	t.open = t.open[:n]
	return t.current
}

// addFounded adds a state without its unfounded masks; with them if that state was tried already.
func (t *tree) addFounded(s *state) {
	c := s.clone()
	maps.DeleteFunc(c.masks, func(_ *pkg, m mask) bool { return s.unfounded(m) })
	if slices.ContainsFunc(t.all, c.equal) {
		c = s
	}
	if !slices.ContainsFunc(t.all, c.equal) {
		t.open, t.all = append(t.open, c), append(t.all, c)
	}
}

// learn adds the states that a walk's lesson leads to.
func (t *tree) learn(l *lesson, batch bool) {
	if l.config {
		s := t.current.clone()
		for _, p := range l.maskBuilt {
			m := s.masks[p]
			m.built = true
			s.masks[p] = m
		}
		for _, key := range l.replace {
			if !s.replace[key] {
				s.replace[key] = true
				s.replaceOrder = append(s.replaceOrder, key)
			}
		}
		t.add(s, len(l.conflicts)+len(l.missing) == 0)
		t.current = s
	}
	switch {
	case len(l.conflicts) > 0 && batch:
		s := t.current.clone()
		s.terminal = false
		for _, choices := range l.conflicts {
			s.take(lastCandidate(choices))
		}
		t.addFounded(s)
	case len(l.conflicts) > 0:
		for _, choice := range l.conflicts[0] {
			s := t.current.clone()
			s.terminal = false
			s.steps++
			s.take(choice)
			t.add(s, true)
		}
	case len(l.missing) > 0:
		s := t.current.clone()
		s.terminal = false
		if !batch {
			s.steps++
		}
		for _, d := range l.missing {
			m := s.masks[d.owner.p]
			if !m.missing {
				m.missing, m.lack = true, d
			}
			s.masks[d.owner.p] = m
		}
		if batch {
			t.addFounded(s)
		} else {
			t.add(s, true)
		}
	}
}

// lastCandidate returns the first way out, in emerge's order, that masks a candidate: whatever an
// installed package is masked for, who needs it falls with it.
func lastCandidate(choices []maskChoice) maskChoice {
	for _, c := range slices.Backward(choices) {
		if !c[len(c)-1].p.installed {
			return c
		}
	}
	return choices[len(choices)-1]
}

// take masks what one way out of a conflict masks.
func (s *state) take(choice maskChoice) {
	for _, mk := range choice {
		m := s.masks[mk.p]
		m.conflict, m.atoms = true, mk.atoms
		s.masks[mk.p] = m
	}
}

// best returns the deepest state without masks for lacks or conflicts.
func (t *tree) best() *state {
	best := t.all[0]
	for _, s := range t.all {
		if s.terminal && s.depth > best.depth {
			best = s
		}
	}
	return best
}
