package resolve

import (
	"fmt"
	"slices"
	"strings"

	"pkgsneak/sync/depend"
)

// stock is all that there is, ordered: what is installed and what could be. It does not change
// while a graph is walked.
type stock struct {
	all        []*pkg // the candidates, then the installed packages, as they were given
	candidates int
	steps      int // looks at an alternative so far
	words      int // of dependency strings so far
	*budget
	shelves   map[string]*shelf
	slots     map[string]string // each slotKey once
	atoms     map[string]*atom
	roots     []root
	provided  map[string][]depend.Package
	texts     map[string]*text
	users     map[*shelf][]*pkg // candidates by the CPs that they need; made on first use
	providers map[string][]*pkg // by soname; made on first use
}

// shelf holds the packages of one CP, highest first: Portage looks at them in this order.
type shelf struct {
	id         int
	cp         string // packages and atoms of the shelf have the same string, not only an equal one
	candidates []*pkg
	installed  []*pkg
	roots      []rootAtom // the atoms of the sets
}

// root is one of the sets that @world consists of.
type root struct {
	name  string // "selected", "system", "profile" or that of a user's set
	atoms []*atom
}

// tolerant reports whether an atom of the set that nothing satisfies is only told. One of any other
// set ends emerge's run.
func (r *root) tolerant() bool { return r.name == "selected" }

type rootAtom struct {
	root *root
	a    *atom
}

// atom is an atom of the stock; there is one for each pair of text and text before its conditional
// USE dependencies were evaluated. Both count: a flag that the package lacks altogether is looked
// for in the latter.
type atom struct {
	depend.Atom
	id         int
	written    []depend.UseDep // before evaluation
	bare       *atom           // without USE dependencies
	shelf      *shelf
	virtual    bool
	candidates []*pkg // that match, highest first
	installed  []*pkg
}

// item is a member of a dependency string in normal form: an atom, any of several, or (below that)
// all of several.
type item struct {
	a   *atom
	any []item
	all []item
}

// want is one occurrence of an atom. Occurrences of the same atom are told apart by where they
// stand.
type want struct {
	a     *atom
	under *pkg // the package or virtual that has it
	// for the atom that stands for one version of a virtual: the atom that named the virtual
	orig *want
	virt *pkg // ... and that version
}

// origin returns the occurrence in the metadata.
func (w *want) origin() *want {
	if w.orig != nil {
		return w.orig
	}
	return w
}

// alt is an item with its virtuals expanded: one atom, any of several, or all of several.
type alt struct {
	w   *want
	any []alt
	all []alt
}

// prepared are alternatives without virtuals, expanded and multiplied out: the same in every walk.
type prepared struct {
	alts    []alt
	under   []*want
	product bool
}

// maxKept is how many alternatives a group has that is kept for the next walk. Those that were
// multiplied out have more, and would take much memory.
const maxKept = 64

func (p *pkg) keep(first *item, k *prepared) {
	if slices.ContainsFunc(k.alts, func(x alt) bool { return len(x.any) > maxKept }) {
		return
	}
	if p.prepared == nil {
		p.prepared = make(map[*item]*prepared)
	}
	p.prepared[first] = k
}

func newStock(in *Input) (*stock, error) {
	if len(in.Installed) > MaxPackages || len(in.Candidates) > MaxPackages {
		return nil, fmt.Errorf("more than %d packages", MaxPackages)
	}
	s := &stock{candidates: len(in.Candidates), shelves: make(map[string]*shelf),
		slots: make(map[string]string),
		atoms: make(map[string]*atom), texts: make(map[string]*text), budget: newBudget(in.Stop)}
	for _, group := range []struct {
		list      []Package
		installed bool
	}{{in.Candidates, false}, {in.Installed, true}} {
		for i := range group.list {
			p, err := newPkg(&group.list[i], i, len(s.all), group.installed, in.Implicit)
			if err != nil {
				return nil, err
			}
			s.add(p)
		}
	}
	for _, sh := range s.shelves {
		sh.setRanks()
		sortDown(sh.candidates)
		sortDown(sh.installed)
		sh.candidates = slices.CompactFunc(sh.candidates, func(p, q *pkg) bool {
			return p.compare(q) == 0 && p.CPV == q.CPV && p.BuildID == q.BuildID
		})
	}
	if err := s.setProvided(in.Provided); err != nil {
		return nil, err
	}
	s.judge(in.Accept)
	s.setRoots(in)
	return s, nil
}

// setRanks compares the versions of a shelf, once.
func (sh *shelf) setRanks() {
	all := slices.Concat(sh.candidates, sh.installed)
	slices.SortFunc(all, compareVersions)
	ranks := make([]int, len(all))
	for i, p := range all {
		ranks[i] = 1
		if i > 0 {
			ranks[i] = ranks[i-1] + min(1, compareVersions(p, all[i-1]))
		}
	}
	for i, p := range all {
		p.rank = ranks[i]
	}
}

func sortDown(list []*pkg) {
	slices.SortStableFunc(list, func(p, q *pkg) int { return q.compare(p) })
}

func (s *stock) add(p *pkg) {
	s.all = append(s.all, p)
	sh := s.shelf(p.cp)
	p.shelf = sh
	// strings that are the same one are compared without a look at their bytes
	p.cp, p.dep.CP = sh.cp, sh.cp
	if known, found := s.slots[p.slotKey]; found {
		p.slotKey = known
	} else {
		s.slots[p.slotKey] = p.slotKey
	}
	if p.installed {
		sh.installed = append(sh.installed, p)
	} else {
		sh.candidates = append(sh.candidates, p)
	}
}

func (s *stock) shelf(cp string) *shelf {
	sh := s.shelves[cp]
	if sh == nil {
		sh = &shelf{id: len(s.shelves), cp: cp}
		s.shelves[cp] = sh
	}
	return sh
}

// judge asks for each package whether it is acceptable here. A candidate whose dependencies are not
// valid never is.
func (s *stock) judge(accept func(Package, bool) Reason) {
	for _, p := range s.all {
		if accept != nil {
			if r := accept(*p.Package, p.installed); !p.installed || r.counts() {
				p.reason = r
			}
		}
		if !p.installed && p.reason.Kind == Acceptable {
			p.reason = s.check(p)
		}
	}
}

// check reads the dependencies of a candidate and refuses what Portage drops from sight without a
// word: those that do not parse, or not in the package's EAPI.
func (s *stock) check(p *pkg) Reason {
	p.read = true
	for i, deps := range p.depends() {
		if deps == "" {
			continue
		}
		t := s.parse(deps)
		if t.err != nil {
			return Reason{Invalid, t.err.Error()}
		}
		if r := validate(p, t); r.Kind != Acceptable {
			return r
		}
		p.deps[i] = s.items(t, p)
	}
	p.split()
	return Reason{}
}

func validate(p *pkg, t *text) Reason {
	reason := Reason{}
	if t.fixed && eapiAtLeast(p.EAPI, t.since) {
		return reason
	}
	tree := &t.tree
	tree.Leaves(func(n *depend.Node) bool {
		since, ok := n.Atom.Since()
		if !ok || !eapiAtLeast(p.EAPI, since) {
			reason = Reason{Invalid, "dependency " + n.Word + " in EAPI " + p.EAPI}
		}
		for _, u := range n.Atom.Use {
			if u.Suffix != "" && !p.dep.Valid(u.Flag) {
				reason = Reason{Invalid, "dependency " + n.Word + ": no flag " + u.Flag}
			}
		}
		return reason.Kind == Acceptable
	})
	tree.Conditions(func(n *depend.Node) bool {
		if !p.dep.Valid(n.Flag) {
			reason = Reason{Invalid, "condition on " + n.Flag + ", which is no flag of it"}
		}
		return reason.Kind == Acceptable
	})
	return reason
}

// hopeless adds to masks the candidates of which some plain dependency cannot be satisfied by
// anything that emerge would take, and, as it goes on from there, those that need them. It is what
// walk after walk would find out.
func (s *stock) hopeless(masks map[*pkg]mask) {
	free := func(p *pkg) bool {
		_, masked := masks[p]
		return !masked && !p.excluded && p.visible()
	}
	gone := func(a *atom) bool {
		return len(a.installed) == 0 &&
			!slices.ContainsFunc(a.candidates, free)
	}
	for open := s.all[:s.candidates]; len(open) > 0; {
		var next []*pkg
		for _, p := range open {
			if !s.charge(1) {
				return
			}
			if !free(p) {
				continue
			}
			if a := s.lackOf(p, gone); a != nil {
				masks[p] = mask{missing: true, lack: &need{owner: owner{p: p}, a: a}}
				next = append(next, s.usersOf(p.shelf)...)
			}
		}
		slices.SortFunc(next, func(p, q *pkg) int { return p.id - q.id })
		open = slices.Compact(next)
	}
}

// usersOf returns the candidates that name a CP in a plain dependency.
func (s *stock) usersOf(sh *shelf) []*pkg {
	if s.users == nil {
		s.users = make(map[*shelf][]*pkg)
		for _, p := range s.all[:s.candidates] {
			for _, wants := range p.plain {
				for _, w := range wants {
					if list := s.users[w.a.shelf]; len(list) == 0 || list[len(list)-1] != p {
						s.users[w.a.shelf] = append(list, p)
					}
				}
			}
		}
	}
	return s.users[sh]
}

// lackOf returns a plain dependency that is gone, USE aside.
func (s *stock) lackOf(p *pkg, gone func(*atom) bool) *atom {
	for _, items := range p.deps {
		for _, it := range items {
			if it.a != nil && it.a.Block == 0 && !it.a.virtual && gone(it.a) && gone(it.a.bare) &&
				!s.isProvided(it.a) {
				return it.a
			}
		}
	}
	return nil
}

func (s *stock) setProvided(list []string) error {
	s.provided = make(map[string][]depend.Package)
	for _, text := range list {
		p, err := newPkg(&Package{CPV: text}, 0, 0, true, nil)
		if err != nil {
			return fmt.Errorf("package.provided: %w", err)
		}
		s.provided[p.cp] = append(s.provided[p.cp], depend.Package{CP: p.cp, Version: p.version})
	}
	return nil
}

// isProvided reports whether package.provided satisfies an atom. It has neither slots nor USE:
// atoms that ask for them are not asked.
func (s *stock) isProvided(a *atom) bool {
	bare := a.Atom
	bare.Slot, bare.Sub, bare.Use, bare.Repo = "", "", nil, ""
	for i := range s.provided[a.CP] {
		if depend.Match(&bare, &s.provided[a.CP][i]) {
			return true
		}
	}
	return false
}

// setRoots orders the sets as emerge walks them: @system, @selected with the user's sets, @profile;
// atoms by their text.
func (s *stock) setRoots(in *Input) {
	names := make([]string, 0, len(in.Sets))
	for name := range in.Sets {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names)
	s.roots = make([]root, 0, 3+len(names))
	s.addRoot("system", in.System)
	s.addRoot("selected", in.World)
	for _, name := range names {
		s.addRoot(name, in.Sets[name])
	}
	s.addRoot("profile", in.Profile)
	for i := range s.roots {
		for _, a := range s.roots[i].atoms {
			a.shelf.roots = append(a.shelf.roots, rootAtom{&s.roots[i], a})
		}
	}
}

func (s *stock) addRoot(name string, atoms []depend.Atom) {
	r := root{name: name}
	for _, a := range atoms {
		r.atoms = append(r.atoms, s.intern(&a, &a))
	}
	slices.SortStableFunc(r.atoms, func(a, b *atom) int {
		return strings.Compare(a.String(), b.String())
	})
	s.roots = append(s.roots, r)
}

// setExclude sets what emerge gets as --exclude.
func (s *stock) setExclude(list []depend.Atom) {
	byCP := make(map[string][]*depend.Atom, len(list))
	for i := range list {
		byCP[list[i].CP] = append(byCP[list[i].CP], &list[i])
	}
	for _, p := range s.all {
		p.excluded = slices.ContainsFunc(byCP[p.cp], func(a *depend.Atom) bool {
			return depend.Match(a, &p.dep)
		})
	}
}

// intern returns the stock's atom for an evaluated atom and the one it was made from.
func (s *stock) intern(a, written *depend.Atom) *atom {
	key := a.String()
	if w := written.String(); w != key {
		key += "\x00" + w
	}
	if known := s.atoms[key]; known != nil {
		return known
	}
	n := &atom{Atom: *a, id: len(s.atoms), written: written.Use, shelf: s.shelf(a.CP),
		virtual: strings.HasPrefix(a.CP, "virtual/")}
	n.CP = n.shelf.cp
	s.atoms[key] = n
	if !s.charge(1 + len(n.shelf.candidates) + len(n.shelf.installed)) {
		n.bare = n
		return n
	}
	for _, p := range n.shelf.candidates {
		if n.matches(p) {
			n.candidates = append(n.candidates, p)
		}
	}
	for _, p := range n.shelf.installed {
		if n.matches(p) {
			n.installed = append(n.installed, p)
		}
	}
	n.bare = n
	if n.written != nil {
		bare := a.WithoutUse()
		n.bare = s.intern(&bare, &bare)
	}
	return n
}

// matches reports whether the atom matches a package, whatever is chosen.
func (a *atom) matches(p *pkg) bool {
	return depend.Match(&a.Atom, &p.dep) && (a.written == nil || depend.Requires(a.written, &p.dep))
}

// read parses the dependencies of a package. A string that does not parse (of an installed package:
// others are not acceptable) counts as empty, as in Portage.
func (s *stock) read(p *pkg) {
	if p.read {
		return
	}
	p.read = true
	for i, deps := range p.depends() {
		if deps == "" {
			continue
		}
		if t := s.parse(deps); t.err == nil {
			p.deps[i] = s.items(t, p)
		}
	}
	p.split()
}

// split separates the plain atoms of a package from the any-of groups and virtuals.
func (p *pkg) split() {
	for i, items := range p.deps {
		wants := make([]want, 0, len(items))
		for _, it := range items {
			if it.a == nil || it.a.virtual {
				p.later[i] = append(p.later[i], it)
			} else {
				wants = append(wants, want{a: it.a, under: p})
			}
		}
		for j := range wants {
			p.plain[i] = append(p.plain[i], &wants[j])
		}
	}
}

// items puts the members of a group into normal form for a package with its flags.
func (s *stock) items(t *text, p *pkg) []item {
	strict := eapiAtLeast(p.EAPI, 7)
	if !t.fixed {
		return s.convert(t.tree.Reduce(p.uses, strict), pairUp(&t.tree, p.uses))
	}
	form := &t.forms[0]
	if strict {
		form = &t.forms[1]
	}
	if *form == nil {
		*form = s.convert(t.tree.Reduce(p.uses, strict), nil)
	}
	return *form
}

// pairUp notes, for each atom that evaluation changes, how it was written.
func pairUp(n *depend.Node, use func(string) bool) map[string]*depend.Atom {
	var pairs map[string]*depend.Atom
	n.Leaves(func(leaf *depend.Node) bool {
		if leaf.Atom.Conditional() {
			if pairs == nil {
				pairs = make(map[string]*depend.Atom)
			}
			pairs[leaf.Atom.Evaluate(use).String()] = leaf.Atom
		}
		return true
	})
	return pairs
}

func (s *stock) convert(nodes []depend.Node, pairs map[string]*depend.Atom) []item {
	items := make([]item, 0, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		switch n.Kind {
		case depend.Leaf:
			written := n.Atom
			if pairs != nil && pairs[n.Word] != nil {
				written = pairs[n.Word]
			}
			items = append(items, item{a: s.intern(n.Atom, written)})
		case depend.AnyOf:
			items = append(items, item{any: s.convert(n.Nodes, pairs)})
		default:
			items = append(items, item{all: s.convert(n.Nodes, pairs)})
		}
	}
	return items
}

// slotAtom returns the atom for the slot of a package.
func (s *stock) slotAtom(p *pkg) *atom {
	if p.slotAtom == nil {
		a, _ := depend.ParseAtom(p.slotKey) // newPkg tried it
		p.slotAtom = s.intern(&a, &a)
	}
	return p.slotAtom
}
