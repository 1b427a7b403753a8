package resolve

import "pkgsneak/sync/depend"

// maxWords bounds the words of all dependency strings, and with them the memory: each distinct
// string is read once, whoever has it. Real indexes of 2,000 packages have 30,000.
const maxWords = 1_000_000

// text is a dependency string. Packages share it: of the builds of one package most have the same.
type text struct {
	tree  depend.Node
	err   error
	fixed bool      // means the same whatever the flags of the package
	since int       // the first EAPI that has all its syntax, if it is fixed
	forms [2][]item // normal forms, if it is fixed: up to EAPI 6, and since 7
}

// parse reads a dependency string. Those that come after maxWords are not read: the budget is
// spent.
func (s *stock) parse(deps string) *text {
	if t := s.texts[deps]; t != nil {
		return t
	}
	t := new(text)
	if s.words > maxWords {
		s.spent = true
	}
	if s.spent {
		t.tree.Kind = depend.AllOf // of nothing
		return t
	}
	s.texts[deps] = t
	s.charge(1 + len(deps)/64)
	if t.tree, t.err = depend.Parse(deps, depend.Options{Atoms: true}); t.err != nil {
		return t
	}
	t.fixed = true
	t.tree.Conditions(func(*depend.Node) bool {
		t.fixed = false
		return false
	})
	t.tree.Leaves(func(n *depend.Node) bool {
		s.words++
		since, ok := n.Atom.Since()
		t.fixed = t.fixed && ok && !n.Atom.Conditional()
		t.since = max(t.since, since)
		return true
	})
	return t
}
