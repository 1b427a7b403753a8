package resolve

import (
	"slices"

	"pkgsneak/sync/depend"
)

const (
	// maxRounds bounds how often the list is made longer and tried again.
	maxRounds = 100
	// maxTrials bounds how many ways out of one failure are compared.
	maxTrials = 8
	// maxTrialSteps is the work after which the first way out is taken without comparing.
	maxTrialSteps = 50_000
)

// Cause is why a candidate cannot be installed, or stays out.
type Cause uint8

const (
	Lacks        Cause = iota // nothing satisfies Atom, which it needs
	LacksUse                  // Atom is there, with other USE flags: emerge would stop
	LacksSoname               // needs the library Atom, which nobody has who will be there
	Breaks                    // Other needs Atom and would lose it
	BreaksSoname              // Other needs the library Atom and would lose it
	Conflicts                 // Other needs Atom, which another package of the slot satisfies
	Blocks                    // the blocker Atom of Other hits it, or its own hits Other
	Older                     // older than what is installed
	NotAccepted               // the machine's configuration does not accept it: Reason
)

// Refusal is a candidate that cannot be installed, or must not.
type Refusal struct {
	Package Package
	Index   int // in Candidates
	Cause   Cause
	Atom    string
	Other   string // CPV
	Reason  Reason
	// Hidden is a candidate that would satisfy Atom, were it accepted, with the reason why it is
	// not in Reason.
	Hidden *Package
	// Name is the entry of the exclude list that keeps it out, "" if emerge leaves it out by
	// itself.
	Name string
}

// excluder makes the exclude list longer until emerge would end with 0, downgrade nothing and break
// nothing.
type excluder struct {
	st       *stock
	given    []depend.Atom
	names    []string
	atoms    []depend.Atom
	refusals map[*pkg]Refusal
	order    []*pkg
	seed     map[*pkg]mask // candidates that earlier rounds found lacking, or losing a slot
	// names that came from a conflict, a blocker or USE: perhaps others made them superfluous
	soft map[string]bool
}

// name is how emerge's --exclude names a candidate: the CP, with the slot where the CP has several.
func (s *stock) name(p *pkg) string {
	sh := p.shelf
	other := func(q *pkg) bool { return q.Slot != p.Slot }
	if slices.ContainsFunc(sh.candidates, other) || slices.ContainsFunc(sh.installed, other) {
		return p.slotKey
	}
	return p.cp
}

// exclude adds a package to the list, nearly always a candidate. It reports false if it was there.
func (x *excluder) exclude(p *pkg, r Refusal) bool {
	name := x.st.name(p)
	r.Name = name
	if !p.installed {
		x.note(p, r)
	}
	if !x.st.charge(1+len(x.names)/16) || slices.Contains(x.names, name) {
		return false
	}
	a, err := depend.ParseAtom(name)
	if err != nil {
		return false
	}
	x.names = append(x.names, name)
	x.atoms = append(x.atoms, a)
	return true
}

// note keeps the first reason for a candidate; an exclusion goes before what emerge would leave out
// by itself.
func (x *excluder) note(p *pkg, r Refusal) {
	r.Package, r.Index = *p.Package, p.index
	old, found := x.refusals[p]
	if found && (old.Name != "" || r.Name == "") {
		return
	}
	if !found {
		x.order = append(x.order, p)
	}
	x.refusals[p] = r
}

func (x *excluder) predict(batch bool, limit int) outcome {
	x.st.setExclude(slices.Concat(x.given, x.atoms))
	if !batch {
		return x.st.predict(nil, limit)
	}
	out := x.st.predict(x.seed, limit)
	clear(x.seed)
	for p, m := range out.g.state.masks {
		if !p.installed && !m.built {
			x.seed[p] = m
		}
	}
	return out
}

// run makes the list. The outcome is the last prediction.
func (x *excluder) run() outcome {
	var out outcome
	for range maxRounds {
		out = x.predict(true, maxTries)
		if out.ok && !x.guard(&out) || !out.ok && !x.cure(&out) {
			break
		}
		if out.ok {
			x.excludeLosers(&out)
		}
	}
	if !out.ok {
		return out
	}
	return x.confirm(out)
}

// confirm adds what only lacks, so that emerge need not find that out walk by walk, and holds the
// list against the exact prediction.
func (x *excluder) confirm(out outcome) outcome {
	x.excludeLosers(&out)
	slots := mergedSlots(&out)
	for _, p := range sortedLacks(out.seen) {
		if p.installed {
			continue
		}
		r := x.lackRefusal(out.seen[p])
		if slots[x.st.name(p)] {
			x.note(p, r)
		} else {
			x.exclude(p, r)
		}
	}
	for range maxRounds {
		exact := x.predict(false, maxTries)
		if exact.ok && !x.guard(&exact) {
			return x.prune(exact)
		}
		changed := exact.ok
		if !exact.ok {
			changed = x.cure(&exact)
			for _, p := range sortedLacks(exact.seen) {
				if !changed && !p.installed {
					changed = x.exclude(p, x.lackRefusal(exact.seen[p]))
				}
			}
		}
		out = exact
		if !changed {
			break
		}
	}
	return out
}

// excludeLosers adds the candidates that were masked for a slot conflict, where nothing else comes
// to their slot: emerge would have to find that out by walking again, as often as it may.
func (x *excluder) excludeLosers(out *outcome) {
	slots := mergedSlots(out)
	var losers []*pkg
	for p, m := range out.g.state.masks {
		if m.conflict && !p.installed && !slots[x.st.name(p)] {
			losers = append(losers, p)
		}
	}
	slices.SortFunc(losers, func(p, q *pkg) int { return p.id - q.id })
	for _, p := range losers {
		r := Refusal{Cause: Conflicts}
		if atoms := out.g.state.masks[p].atoms; len(atoms) > 0 {
			r.Atom, r.Other = atoms[0].a.String(), ownerText(atoms[0].owner)
		}
		x.excludeSoft(way{p, r})
	}
}

func sortedLacks(seen map[*pkg]*need) []*pkg {
	list := make([]*pkg, 0, len(seen))
	for p := range seen {
		list = append(list, p)
	}
	slices.SortFunc(list, func(p, q *pkg) int { return p.id - q.id })
	return list
}

// mergedSlots returns the names under which something is merged.
func mergedSlots(out *outcome) map[string]bool {
	slots := make(map[string]bool)
	for _, p := range out.g.order {
		if !p.installed {
			slots[p.slotKey], slots[p.cp] = true, true
		}
	}
	return slots
}

func (x *excluder) lackRefusal(d *need) Refusal {
	r := Refusal{Cause: Lacks, Atom: d.a.String()}
	for _, p := range d.a.candidates {
		if p.reason.hides(false) {
			r.Hidden, r.Reason = p.Package, p.reason
			break
		}
	}
	return r
}

// guard excludes what emerge would do and we do not: downgrades, what the configuration refuses
// without Portage seeing it, what breaks an installed package that emerge does not look at, what
// lacks a library. It reports whether the list got longer.
func (x *excluder) guard(out *outcome) bool {
	longer := false
	for _, p := range out.g.order {
		if p.installed {
			continue
		}
		if p.reason.Kind != Acceptable {
			longer = x.exclude(p, Refusal{Cause: NotAccepted, Reason: p.reason}) || longer
		}
		for _, q := range p.shelf.installed {
			if q.slotKey == p.slotKey && compareVersions(p, q) < 0 {
				longer = x.exclude(p, Refusal{Cause: Older, Other: q.CPV}) || longer
			}
		}
	}
	if longer {
		return true
	}
	for _, u := range out.verdict.uninstall {
		culprit := u.owner
		if culprit == u.hit {
			culprit = out.g.hitBy(u)
		}
		if culprit != nil && !culprit.installed {
			longer = x.exclude(culprit, Refusal{Cause: Blocks, Atom: u.a.String(),
				Other: u.hit.CPV}) || longer
		}
	}
	for _, b := range x.st.broken(out.g.graph) {
		longer = x.exclude(b.culprit, Refusal{Cause: b.cause, Atom: b.what, Other: b.victim.CPV}) ||
			longer
	}
	return longer
}

// hitBy returns the candidate that an installed package's blocker matches.
func (g *graph) hitBy(u blockage) *pkg {
	for _, p := range g.end(u.a) {
		if !p.installed {
			return p
		}
	}
	return nil
}

// way is a way out of a failure: a candidate to exclude, and why.
type way struct {
	p *pkg
	r Refusal
}

// cure excludes what makes emerge fail. emerge names one culprit, and often not the real one; here
// each way out is tried and the one that leaves most to install is taken. It reports whether there
// was any.
func (x *excluder) cure(out *outcome) bool {
	if out.g.failed == errTooMuch || x.st.spent {
		return false
	}
	var ways []way
	for _, l := range out.g.lacks {
		if l.use {
			ways = append(ways, x.useWays(l.need)...)
		}
	}
	if len(ways) > 0 { // each of them is a culprit of its own
		longer := false
		for _, w := range ways {
			longer = x.excludeSoft(w) || longer
		}
		if longer {
			return true
		}
	}
	ways = x.rootWays(out)
	for _, b := range out.verdict.unsolved {
		ways = append(ways, blockerWays(b)...)
	}
	for _, c := range out.g.conflicts() {
		ways = append(ways, out.g.conflictWays(c)...)
	}
	if w, found := x.bestWay(ways); found {
		return x.excludeSoft(w)
	}
	for _, p := range sortedLacks(out.seen) {
		if !p.installed && x.exclude(p, x.lackRefusal(out.seen[p])) {
			return true
		}
	}
	return false
}

func (x *excluder) excludeSoft(w way) bool {
	if !x.exclude(w.p, w.r) {
		return false
	}
	x.soft[x.st.name(w.p)] = true
	return true
}

// useWays returns the ways out of a dependency that is there with other flags: exclude who has it,
// or, if that is installed, what hides the installed package which satisfied it.
func (x *excluder) useWays(d *need) []way {
	parent := d.owner.p
	if parent == nil {
		return nil
	}
	r := Refusal{Cause: LacksUse, Atom: d.a.String()}
	if !parent.installed {
		return []way{{parent, r}}
	}
	var ways []way
	for _, p := range d.a.bare.candidates {
		ways = append(ways, way{p, Refusal{Cause: Breaks, Atom: d.a.String(), Other: parent.CPV}})
	}
	return ways
}

// rootWays returns the ways out where an atom of a set that has to be satisfied is not: if a
// package matches it, be it one that cannot be installed or an installed one that lacks something,
// excluding that makes emerge pass over the atom.
func (x *excluder) rootWays(out *outcome) []way {
	var ways []way
	for _, ra := range out.g.missing {
		if ra.root.tolerant() {
			continue
		}
		for _, p := range slices.Concat(ra.a.candidates, ra.a.installed) {
			ways = append(ways, way{p, Refusal{Cause: Lacks, Atom: ra.a.String(),
				Other: "@" + ra.root.name}})
		}
	}
	return ways
}

func blockerWays(b blockage) []way {
	var ways []way
	if !b.owner.installed {
		ways = append(ways, way{b.owner, Refusal{Cause: Blocks, Atom: b.a.String(),
			Other: b.hit.CPV}})
	}
	if !b.hit.installed {
		ways = append(ways, way{b.hit, Refusal{Cause: Blocks, Atom: b.a.String(),
			Other: b.owner.CPV}})
	}
	return ways
}

// conflictWays returns the ways out of a slot conflict: exclude the slot, or one of the candidates
// that need something of it.
func (g *graph) conflictWays(c []*pkg) []way {
	var ways []way
	var needs []ownedAtom
	for _, p := range c {
		needs = append(needs, g.needsOf(p)...)
	}
	for _, p := range c {
		if p.installed {
			continue
		}
		r := Refusal{Cause: Conflicts}
		for _, oa := range needs {
			if !oa.a.matches(p) {
				r.Atom, r.Other = oa.a.String(), ownerText(oa.owner)
			}
		}
		ways = append(ways, way{p, r})
	}
	for _, oa := range needs {
		p := oa.owner.p
		if p == nil || p.installed {
			continue
		}
		for _, q := range c {
			if !oa.a.matches(q) {
				ways = append(ways, way{p, Refusal{Cause: Conflicts, Atom: oa.a.String(),
					Other: q.CPV}})
				break
			}
		}
	}
	return ways
}

func ownerText(o owner) string {
	if o.p != nil {
		return o.p.CPV
	}
	if o.set != nil {
		return "@" + o.set.name
	}
	return ""
}

// bestWay tries the ways out and returns the one that leaves most to install; if none leads out at
// once, the first.
func (x *excluder) bestWay(ways []way) (way, bool) {
	var open []way
	for _, w := range ways {
		name := x.st.name(w.p)
		if !slices.Contains(x.names, name) &&
			!slices.ContainsFunc(open, func(o way) bool { return x.st.name(o.p) == name }) {
			open = append(open, w)
		}
	}
	if len(open) == 0 {
		return way{}, false
	}
	best, most := open[0], -1
	if len(open) == 1 || x.st.steps > maxTrialSteps {
		return best, true
	}
	for _, w := range open[:min(len(open), maxTrials)] {
		a, err := depend.ParseAtom(x.st.name(w.p))
		if err != nil {
			continue
		}
		x.st.setExclude(slices.Concat(x.given, x.atoms, []depend.Atom{a}))
		out := x.st.predict(x.seed, maxTries)
		if n := gain(&out); out.ok && n > most {
			best, most = w, n
		}
	}
	return best, true
}

// gain counts what an outcome installs, downgrades aside.
func gain(out *outcome) int {
	n := 0
	for _, p := range out.g.order {
		if p.installed {
			continue
		}
		lower := slices.ContainsFunc(p.shelf.installed, func(q *pkg) bool {
			return q.slotKey == p.slotKey && compareVersions(p, q) < 0
		})
		if !lower {
			n++
		}
	}
	return n
}

// prune takes names back that turned out to be superfluous: without them emerge would end well,
// too, and install no less.
func (x *excluder) prune(out outcome) outcome {
	trials := 0
	for _, name := range slices.Clone(x.names) {
		if !x.soft[name] || trials >= maxTrials || x.st.spent || x.st.steps > maxTrialSteps {
			continue
		}
		trials++
		names, atoms, refusals, order := slices.Clone(x.names), slices.Clone(x.atoms),
			cloneRefusals(x.refusals), slices.Clone(x.order)
		i := slices.Index(x.names, name)
		x.names, x.atoms = slices.Delete(x.names, i, i+1), slices.Delete(x.atoms, i, i+1)
		again := x.predict(false, maxTries)
		if again.ok && !x.guard(&again) && gain(&again) >= gain(&out) {
			for p, r := range x.refusals {
				if r.Name == name {
					r.Name = ""
					x.refusals[p] = r
				}
			}
			out = again
			continue
		}
		x.names, x.atoms, x.refusals, x.order = names, atoms, refusals, order
	}
	x.st.setExclude(slices.Concat(x.given, x.atoms))
	return out
}

func cloneRefusals(m map[*pkg]Refusal) map[*pkg]Refusal {
	c := make(map[*pkg]Refusal, len(m))
	for p, r := range m {
		c[p] = r
	}
	return c
}
