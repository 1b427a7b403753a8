package resolve

import (
	"slices"

	"pkgsneak/sync/depend"
)

// maxProduct bounds how many alternatives several any-of groups with common names are multiplied
// out to, maxMembers how many atoms and groups these have together. Portage has no bound.
const (
	maxProduct = 4096
	maxMembers = 1 << 16
)

// maxSearch bounds the looks at alternatives for one package.
const maxSearch = 50_000

// picked is what was chosen for the dependencies of a package.
type picked struct {
	own      []*want
	virtuals []virtPick
}

// virtPick is a virtual that was gone through, with what was chosen for it.
type virtPick struct {
	p, parent *pkg
	a         *atom
	atoms     []*want
}

// search looks for the alternatives to take for one package.
type search struct {
	g      *finder
	parent *pkg
	under  []*want // all occurrences, in order
	path   []*pkg  // virtuals being expanded
	size   int     // atoms and alternatives looked at
	simple bool    // no virtual was gone through, nothing was multiplied out
}

// selectAtoms chooses among the alternatives of a package's dependencies.
func (g *finder) selectAtoms(items []item, parent *pkg) picked {
	s := &search{g: g, parent: parent, simple: true}
	outer := g.asking
	g.asking = parent
	var chosen []*want
	if len(items) == 0 || virtualIn(items) {
		chosen = s.check(items, parent)
	} else {
		k := parent.prepared[&items[0]]
		if k == nil {
			k = new(prepared)
			k.alts, k.product = s.overlap(s.expand(items, parent, false))
			k.under = s.under
			parent.keep(&items[0], k)
		}
		s.under, s.simple = k.under, !k.product
		chosen = s.zapAll(k.alts, k.product)
	}
	g.asking = outer
	if s.simple {
		return picked{own: chosen}
	}
	return s.assign(chosen)
}

// assign tells which of the chosen atoms belong to the package itself, and which to virtuals that
// it goes through.
func (s *search) assign(chosen []*want) picked {
	in := make(map[*want]bool, 2*len(chosen))
	for _, w := range chosen {
		in[w], in[w.origin()] = true, true
	}
	type step struct {
		p, parent *pkg
		a         *atom
	}
	var out picked
	stack := []step{{p: s.parent}}
	seen := make(map[*pkg]bool)
	for len(stack) > 0 {
		st := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		seen[st.p] = true
		s.g.st.charge(1 + len(s.under)/8)
		var atoms []*want
		for _, w := range s.under {
			if w.under != st.p || !in[w] {
				continue
			}
			atoms = append(atoms, w)
			if w.virt != nil && !seen[w.virt] && w.a.matches(w.virt) {
				stack = append(stack, step{w.virt, st.p, w.a})
			}
		}
		if st.p == s.parent {
			out.own = atoms
		} else {
			out.virtuals = append(out.virtuals, virtPick{st.p, st.parent, st.a, atoms})
		}
	}
	return out
}

// virtualIn reports whether there is a virtual among items.
func virtualIn(items []item) bool {
	return slices.ContainsFunc(items, func(it item) bool {
		return it.a != nil && it.a.virtual || virtualIn(it.any) || virtualIn(it.all)
	})
}

// check is Portage's dep_check: expand the virtuals, multiply out what overlaps, choose.
func (s *search) check(items []item, under *pkg) []*want {
	alts := s.expand(items, under, false)
	alts, product := s.overlap(alts)
	s.simple = s.simple && !product
	return s.zapAll(alts, product)
}

// expand replaces the atoms of virtuals by what the virtuals need, so that virtuals cost nothing
// when alternatives are compared.
func (s *search) expand(items []item, under *pkg, inAny bool) []alt {
	var out []alt
	for _, it := range items {
		switch {
		case it.a != nil:
			out = append(out, s.expandAtom(it.a, under, inAny)...)
		case it.any != nil:
			out = append(out, alt{any: s.expand(it.any, under, true)})
		default:
			members := s.expand(it.all, under, false)
			switch {
			case len(members) == 1 && members[0].any != nil:
				out = append(out, members[0].any...)
			case len(members) == 1:
				out = append(out, members[0])
			default:
				out = append(out, alt{all: members})
			}
		}
	}
	return out
}

func (s *search) expandAtom(a *atom, under *pkg, inAny bool) []alt {
	w := &want{a: a, under: under}
	if !a.virtual || a.Block != 0 || len(s.path) > depend.MaxDepth || !s.step() {
		return s.note(w)
	}
	matches := s.g.available(a.bare)
	var choices []alt
	for _, p := range slices.Backward(matches) {
		if !p.virtual || slices.Contains(s.path, p) {
			continue
		}
		stands := &want{a: s.g.st.versionAtom(p, a, under.uses), under: under, orig: w, virt: p}
		s.simple = false
		s.under = append(s.under, stands)
		if len(choices) == 0 {
			s.under = append(s.under, w)
		}
		s.path = append(s.path, p)
		s.g.st.read(p)
		chosen := s.check(p.deps[0], p)
		s.path = s.path[:len(s.path)-1]
		members := make([]alt, 0, len(chosen)+1)
		for _, c := range chosen {
			members = append(members, alt{w: c})
		}
		choices = append(choices, alt{all: append(members, alt{w: stands})})
	}
	switch {
	case len(choices) == 0:
		return s.note(w)
	case inAny:
		return choices
	case len(choices) == 1:
		return choices[0].all
	}
	return []alt{{any: choices}}
}

// step counts a look at an alternative, and reports false where there were too many.
func (s *search) step() bool {
	s.size++
	s.g.st.steps++
	if !s.g.st.charge(1) || s.size > maxSearch {
		s.g.failed = errTooMuch
		return false
	}
	return true
}

func (s *search) note(w *want) []alt {
	s.under = append(s.under, w)
	return []alt{{w: w}}
}

// versionAtom returns the atom that stands for one version of a virtual: its version, with the USE
// dependencies of the atom that named the virtual.
func (s *stock) versionAtom(p *pkg, named *atom, use func(string) bool) *atom {
	text := "=" + p.CPV
	for i, u := range named.written {
		if i == 0 {
			text += "["
		} else {
			text += ","
		}
		text += u.String()
	}
	if len(named.written) > 0 {
		text += "]"
	}
	a, err := depend.ParseAtom(text)
	if err != nil {
		return named
	}
	evaluated := a.Evaluate(use)
	return s.intern(&evaluated, &a)
}

// zapAll chooses for a list of which all is needed. An alternative that package.provided satisfies
// is left out.
func (s *search) zapAll(list []alt, product bool) []*want {
	var out []*want
	if !s.g.st.charge(1 + len(list)/8) {
		return nil
	}
	for i := range list {
		switch x := &list[i]; {
		case x.any != nil:
			out = append(out, s.zapAny(x.any, product)...)
		case x.all != nil:
			out = append(out, s.zapAll(x.all, product)...)
		case x.w != nil && !s.satisfied(x):
			out = append(out, x.w)
		}
	}
	return out
}

// satisfied reports whether package.provided satisfies an alternative.
func (s *search) satisfied(x *alt) bool {
	switch {
	case len(s.g.st.provided) == 0:
		return false
	case x.w != nil:
		return x.w.a.Block == 0 && s.g.st.isProvided(x.w.a)
	case x.any != nil:
		return slices.ContainsFunc(x.any, func(y alt) bool { return s.satisfied(&y) })
	}
	return !slices.ContainsFunc(x.all, func(y alt) bool { return !s.satisfied(&y) })
}

// option is one alternative of an any-of group, judged.
type option struct {
	wants          []*want
	single         [1]*want
	slots          []slotPick
	names          []*pkg // the highest package for each CP
	available      bool
	useSatisfied   bool
	downgrade      bool
	installedSlots bool
	inGraph        bool
	newSlots       int
	update         bool
	bin            int
}

// slotPick is the package that an option brings for a slot, and the atoms that lead there.
type slotPick struct {
	p     *pkg
	atoms []*atom
}

// The bins of an any-of group, best first.
const (
	binPreferred = iota // in the graph, or every name installed
	binNew
	binUseInGraph
	binUseInstalled
	binUseNew
	binOtherInstalled
	binOtherSome
	binOtherName
	binOther
	bins
)

// zapAny chooses one alternative. Each goes into a bin; the first of the first bin counts. Within a
// bin the written order holds, except that an alternative moves before one with slots that are not
// installed, with lower versions of the same names, or that is not wholly in the graph.
func (s *search) zapAny(list []alt, product bool) []*want {
	for i := range list {
		if s.satisfied(&list[i]) {
			return nil
		}
	}
	mark := s.g.optionsUsed
	defer func() { s.g.optionsUsed = mark }()
	options := make([]*option, len(list))
	for i := range list {
		o := s.g.newOption()
		if list[i].w != nil {
			o.single[0] = list[i].w
			o.wants = o.single[:]
		} else {
			o.wants = s.zapAll(list[i:i+1], product)
		}
		s.judge(o)
		options[i] = o
	}
	slices.SortStableFunc(options, func(o, e *option) int { return o.bin - e.bin })
	for from := 0; from < len(options); {
		to := from + 1
		for to < len(options) && options[to].bin == options[from].bin {
			to++
		}
		if n := to - from; s.g.st.charge(n * n / 8) {
			promote(options[from:to], product)
		}
		from = to
	}
	for _, o := range options {
		if o.available {
			return o.wants
		}
	}
	return options[0].wants
}

// newOption returns an empty option. The caller that takes it gives it back by setting optionsUsed
// as it was.
func (g *finder) newOption() *option {
	if g.optionsUsed == len(g.options) {
		g.options = append(g.options, new(option))
	}
	o := g.options[g.optionsUsed]
	g.optionsUsed++
	*o = option{slots: o.slots[:0], names: o.names[:0]}
	return o
}

// judge fills in what is known of an option and finds its bin.
func (s *search) judge(o *option) {
	g := s.g
	o.available, o.useSatisfied = true, true
	for _, w := range o.wants {
		if w.a.Block != 0 {
			continue
		}
		g.st.steps++
		if !g.st.charge(1) || !s.judgeAtom(o, w.a) {
			o.available, o.useSatisfied = false, false
			break
		}
	}
	for _, pick := range o.slots {
		p := pick.p
		o.update = o.update || s.parent != nil && !p.excluded && !g.complete
		if !p.virtual && len(g.endSlot(p)) == 0 {
			o.newSlots++
		}
	}
	if !o.available {
		o.bin = s.binUnavailable(o)
		return
	}
	allInstalled := s.allInstalled(o)
	o.installedSlots = allInstalled && !slices.ContainsFunc(o.slots, func(pick slotPick) bool {
		return !pick.p.virtual && !g.slotInstalled(pick.p)
	})
	if o.downgrade {
		o.bin = binOther
		return
	}
	o.inGraph = s.allInGraph(o)
	switch {
	case o.useSatisfied && (o.inGraph || allInstalled):
		o.bin = binPreferred
	case o.useSatisfied:
		o.bin = binNew
	case o.inGraph:
		o.bin = binUseInGraph
	case o.installedSlots:
		o.bin = binUseInstalled
	default:
		o.bin = binUseNew
	}
}

// judgeAtom finds the package that an atom of the option would bring, USE aside, and reports
// whether there is one.
func (s *search) judgeAtom(o *option, a *atom) bool {
	g := s.g
	var replacing *pkg
	if s.parent != nil {
		replacing = g.willReplace(s.parent, a)
	}
	list := g.available(a.bare)
	if len(list) == 0 && replacing != nil {
		list = []*pkg{replacing}
	}
	if len(list) == 0 {
		return false
	}
	p := list[len(list)-1]
	if replacing == nil {
		end := g.endSlot(p)
		if len(end) > 1 && p.less(end[len(end)-1]) && !g.downgradeWanted(p) {
			o.downgrade = true
		}
	}
	if a.bare != a && len(a.Use) > 0 {
		if withUse := g.available(a); len(withUse) > 0 {
			p = withUse[len(withUse)-1]
		} else {
			o.useSatisfied = false
		}
	}
	if replacing == nil {
		in := g.available(g.st.slotAtom(p))
		if len(in) > 0 {
			highest := in[len(in)-1]
			if p.less(highest) && !g.downgradeWanted(p) && (highest.installed || g.has(highest)) {
				o.downgrade = true
			}
		}
	}
	o.take(p, a)
	return true
}

// take notes the package that an atom brings. Of several for one CP the highest counts, unless only
// another one satisfies all atoms.
func (o *option) take(p *pkg, a *atom) {
	i := slices.IndexFunc(o.slots, func(pick slotPick) bool { return pick.p.slotKey == p.slotKey })
	if i < 0 {
		i = len(o.slots)
		if i < cap(o.slots) {
			o.slots = o.slots[:i+1]
			o.slots[i].atoms = o.slots[i].atoms[:0]
		} else {
			o.slots = append(o.slots, slotPick{})
		}
	}
	o.slots[i].p = p
	o.slots[i].atoms = append(o.slots[i].atoms, a)
	n := slices.IndexFunc(o.names, func(q *pkg) bool { return q.cp == p.cp })
	if n < 0 {
		o.names = append(o.names, p)
		return
	}
	highest := o.names[n]
	matchesAll := func(q *pkg) bool {
		return !slices.ContainsFunc(o.slots[i].atoms, func(b *atom) bool { return !b.matches(q) })
	}
	current, previous := false, false
	if highest.slotKey == p.slotKey {
		current, previous = matchesAll(p), matchesAll(highest)
		if previous && !current {
			return
		}
	}
	if compareVersions(p, highest) > 0 || current && !previous {
		o.names[n] = p
	}
}

func (s *search) binUnavailable(o *option) int {
	all, some, name := true, false, false
	for _, w := range o.wants {
		if w.a.Block != 0 {
			continue
		}
		if s.g.installedFor(w.a) {
			some = true
		} else {
			all = false
		}
		name = name || s.g.nameInstalled(w.a.shelf)
	}
	switch {
	case all:
		o.installedSlots = true
		return binOtherInstalled
	case some:
		return binOtherSome
	case name:
		return binOtherName
	}
	return binOther
}

// allInstalled reports whether of each name something is installed, in any version. Virtuals cost
// nothing.
func (s *search) allInstalled(o *option) bool {
	for _, w := range o.wants {
		if w.a.Block == 0 && !w.a.virtual && !s.g.nameInstalled(w.a.shelf) {
			return false
		}
	}
	return true
}

func (s *search) allInGraph(o *option) bool {
	for _, w := range o.wants {
		if w.a.Block == 0 && !w.a.virtual && !s.g.hasFor(w.a) {
			return false
		}
	}
	return true
}

// promote orders the options of one bin.
func promote(list []*option, product bool) {
	if len(list) < 2 {
		return
	}
	if product {
		slices.SortStableFunc(list, func(a, b *option) int { return a.newSlots - b.newSlots })
	}
	for i := 1; i < len(list); i++ {
		for j := range i {
			if list[i].before(list[j]) {
				o := list[i]
				copy(list[j+1:i+1], list[j:i])
				list[j] = o
				break
			}
		}
	}
}

// before reports whether an option moves before one that is written earlier.
func (o *option) before(e *option) bool {
	if o.installedSlots && !e.installedSlots && !e.update {
		return true
	}
	up, down := false, false
	for _, p := range o.names {
		for _, q := range e.names {
			if p.cp == q.cp {
				c := compareVersions(p, q)
				up, down = up || c > 0, down || c < 0
			}
		}
	}
	return up && !down || o.inGraph && !e.inGraph && (up || !down)
}
