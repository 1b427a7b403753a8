package resolve

import (
	"slices"
	"strings"
)

// Result is what can be installed, what cannot and why, and the list that makes emerge do just
// that.
type Result struct {
	// OK reports that emerge ends with 0 under Exclude. If it is false nothing that could be
	// excluded helps; Trouble is why.
	OK      bool
	Trouble string
	// GaveUp means that the search ended before it was done: it took too long, or Input.Stop asked
	// for it. OK is false then, nothing is in the lists, and Exclude holds what can be told without
	// a search: what would go backwards, and what must not come.
	GaveUp bool
	// Merges is what emerge does under Exclude, in the order in which it was found.
	Merges []Merge
	// Refusals are the candidates that cannot be installed or must not, each once, with the reason.
	Refusals []Refusal
	// Exclude are the names for --exclude: CATEGORY/PN, or CATEGORY/PN:SLOT where the package has
	// several slots here or among the candidates.
	Exclude []string
	// Missing are atoms of the sets that nothing satisfies.
	Missing []MissingRoot
	// OtherUse are merges that come with other flags than the machine sets.
	OtherUse []UseDifference
	// Unreached are installed packages that no set leads to. emerge never updates them; what would
	// break them is refused here.
	Unreached []Package

	stock     *stock
	merged    []*pkg // beside Merges
	successor map[*pkg]*pkg
	users     map[string][]*pkg
	whole     *endState            // all merges done; made on first use
	needed    map[*pkg]*pkg        // of new merges the one that needs it; made on first use
	forSets   []*pkg               // merges without which emerge ends; likewise
	require   map[string][]*pkg    // installed packages by the sonames that they require; likewise
	blockers  map[string][]blocker // by CP, those of installed packages that are replaced; likewise
}

// MissingRoot is an atom of a set that nothing satisfies.
type MissingRoot struct {
	Set  string // "selected", "system", "profile" or a user's
	Atom string
}

// UseDifference is a merge with other flags than the machine's.
type UseDifference struct {
	Merge int      // in Merges
	Flags []string // "+flag" or "-flag": as the package has it
}

// Resolve works out what can be installed. The error is one of the input: a name that is none, or
// more than the bounds allow.
func Resolve(in Input) (*Result, error) {
	s, err := newStock(&in)
	if err != nil {
		return nil, err
	}
	return s.resolve(&in), nil
}

func (s *stock) resolve(in *Input) *Result {
	x := &excluder{st: s, given: in.Exclude, refusals: make(map[*pkg]Refusal),
		seed: make(map[*pkg]mask), soft: make(map[string]bool)}
	out := x.run()
	if s.spent || out.g.failed == errTooMuch {
		return s.giveUp()
	}
	r := &Result{OK: out.ok, Exclude: x.names, stock: s, successor: make(map[*pkg]*pkg)}
	if !out.ok {
		r.Trouble = out.trouble()
	}
	r.fill(s, &out)
	x.noteRest(&out)
	for _, p := range x.order {
		r.Refusals = append(r.Refusals, x.refusals[p])
	}
	r.compareUse(in.UseOf)
	return r
}

// giveUp is the result of a search that was not done.
func (s *stock) giveUp() *Result {
	r := &Result{GaveUp: true, Trouble: errTooMuch.Error(), stock: s}
	for _, p := range s.all[:s.candidates] {
		backwards := func(q *pkg) bool {
			return q.slotKey == p.slotKey && p.BuildTime > q.BuildTime && compareVersions(p, q) < 0
		}
		if p.visible() && (p.reason.Kind != Acceptable ||
			slices.ContainsFunc(p.shelf.installed, backwards)) {
			r.Exclude = append(r.Exclude, s.name(p))
		}
	}
	slices.Sort(r.Exclude)
	r.Exclude = slices.Compact(r.Exclude)
	return r
}

// fill takes over what the last walk found.
func (r *Result) fill(s *stock, out *outcome) {
	for _, ra := range out.g.missing {
		r.Missing = append(r.Missing, MissingRoot{ra.root.name, ra.a.String()})
	}
	for _, p := range s.all {
		if p.installed && !out.g.has(p) && len(out.g.inSlot(p)) == 0 {
			r.Unreached = append(r.Unreached, *p.Package)
		}
	}
	if !out.ok {
		return
	}
	r.Merges = s.merges(out)
	for _, m := range r.Merges {
		list := s.all[:s.candidates]
		if m.Kind == Uninstall {
			list = s.all[s.candidates:]
		}
		r.merged = append(r.merged, list[m.Index])
	}
	for _, p := range r.merged {
		if p.installed {
			continue
		}
		for _, q := range p.shelf.installed {
			if q.slotKey == p.slotKey || q.CPV == p.CPV {
				r.successor[q] = p
			}
		}
	}
}

// trouble tells why an outcome is not ok.
func (o *outcome) trouble() string {
	g := o.g
	switch {
	case g.failed != nil:
		text := g.failed.Error()
		if n := len(g.missing); g.failed == errRoot && n > 0 {
			text += ": " + g.missing[n-1].a.String() + " in @" + g.missing[n-1].root.name
		}
		return text
	case len(o.verdict.unsolved) > 0:
		b := o.verdict.unsolved[0]
		return b.owner.CPV + " has the blocker " + b.a.String() + ", which hits " + b.hit.CPV
	case len(o.left) > 0:
		return "several packages are needed in the slot " + o.left[0][0].slotKey
	case len(g.lacks) > 0:
		l := g.lacks[len(g.lacks)-1]
		return ownerText(l.need.owner) + " needs " + l.need.a.String()
	}
	return "emerge finds no way"
}

// noteRest adds what emerge leaves out by itself: losers of a slot, and candidates that the
// configuration does not accept although they would be newer than what is there in the end.
func (x *excluder) noteRest(out *outcome) {
	for _, d := range out.g.dropped {
		if d.p.installed {
			continue
		}
		r := Refusal{Cause: Conflicts}
		if len(d.needs) > 0 {
			r.Atom, r.Other = d.needs[0].a.String(), ownerText(d.needs[0].owner)
		}
		x.note(d.p, r)
	}
	for _, p := range x.st.all[:x.st.candidates] {
		if p.reason.counts() && x.newer(out.g.graph, p) {
			x.note(p, Refusal{Cause: NotAccepted, Reason: p.reason})
		}
	}
}

// newer reports whether a candidate is newer than what its slot has in the end, and the walk
// reached that.
func (x *excluder) newer(g *graph, p *pkg) bool {
	end := g.endSlot(p)
	if len(end) == 0 {
		return false
	}
	last := end[len(end)-1]
	return g.has(last) && compareVersions(p, last) > 0
}

// compareUse finds the merges with other flags than the machine sets or, where that is not known,
// than the replaced package had.
func (r *Result) compareUse(useOf func(Package) func(string) bool) {
	for i, p := range r.merged {
		if p.installed {
			continue
		}
		var want func(string) bool
		known := func(string) bool { return true }
		if useOf != nil {
			want = useOf(*p.Package)
		} else if old := r.Merges[i].Old; old != nil {
			want = func(flag string) bool { return hasWord(old.Use, flag, false) }
			known = func(flag string) bool { return hasWord(old.IUse, flag, true) }
		}
		if want == nil {
			continue
		}
		var flags []string
		for flag := range strings.FieldsSeq(p.IUse) {
			flag = strings.TrimLeft(flag, "+-")
			switch on := p.uses(flag); {
			case !known(flag) || on == want(flag):
			case on:
				flags = append(flags, "+"+flag)
			default:
				flags = append(flags, "-"+flag)
			}
		}
		if flags != nil {
			r.OtherUse = append(r.OtherUse, UseDifference{i, flags})
		}
	}
}
