package selection

import (
	"cmp"
	"slices"

	"pkgsneak/sync/payload"
)

// The reasons for which a file leaves the drive.
const (
	HadByAll  = "every client has it"
	HadByOne  = "the client that the drive is for has it" // what others have nobody has looked at
	Displaced = "it makes room for what is needed more"
)

// leave lets what was not chosen stay as long as it fits: what every client has goes first, the
// oldest and largest of it; what somebody lacks goes last.
func (p *planner) leave() {
	var held []int
	for i, f := range p.files {
		if f.Held && !p.taken[i] {
			held = append(held, i)
		}
	}
	slices.SortStableFunc(held, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.keepRank(a), p.keepRank(b)),
			cmp.Compare(p.built(b), p.built(a)), cmp.Compare(p.files[a].Bytes, p.files[b].Bytes))
	})
	for _, i := range held {
		f := p.files[i]
		if f.Bytes <= p.left {
			p.left -= f.Bytes
			p.taken[i] = true
			continue
		}
		reason := Displaced
		switch {
		case p.had(i) && p.in.Only:
			reason = HadByOne
		case p.had(i):
			reason = HadByAll
		}
		p.plan.Leave = append(p.plan.Leave, Leave{Key: f.key(), Bytes: f.Bytes, Reason: reason})
	}
	slices.Reverse(p.plan.Leave)
}

// keepRank is lower for what stays longer.
func (p *planner) keepRank(i int) int {
	if p.had(i) {
		return 1
	}
	return 0
}

func (p *planner) had(i int) bool {
	if i < len(p.in.Packages) {
		return p.in.hadByAll(i)
	}
	return p.files[i].Kind == payload.Distfile && p.distfileHad(p.files[i].Path)
}

func (p *planner) built(i int) int64 {
	if i < len(p.in.Packages) {
		return p.in.Packages[i].BuildTime
	}
	return 0
}

// account tells what each client gets, what stays, and what would hold it all.
func (p *planner) account() {
	wanted := make([]bool, len(p.files))
	for i := range p.needs {
		p.plan.Shares = append(p.plan.Shares, p.share(i, wanted))
	}
	asked := slices.Clone(wanted) // what of that stays is told with its client
	for i := range p.in.Extras {
		wanted[p.extra(i)] = true
	}
	if !p.in.Only {
		for i := range p.files {
			wanted[i] = wanted[i] || !p.had(i)
		}
	}
	for i, f := range p.files {
		if !wanted[i] {
			continue
		}
		p.plan.Whole = payload.Plus(p.plan.Whole, f.Bytes)
		if asked[i] || p.taken[i] {
			continue
		}
		part := Part{Name: p.name(i), Bytes: f.Bytes}
		p.plan.Stay = append(p.plan.Stay, part)
		if f.Bytes > p.in.Room {
			p.plan.TooLarge = append(p.plan.TooLarge, part)
		}
	}
	largest := func(a, b Part) int { return cmp.Compare(b.Bytes, a.Bytes) }
	slices.SortStableFunc(p.plan.Stay, largest)
	slices.SortStableFunc(p.plan.TooLarge, largest)
	p.plan.Taken = p.in.Room - p.left
}

// share counts what a client gets and what not, and marks the files of all that it needs.
func (p *planner) share(i int, wanted []bool) Share {
	n, name := &p.needs[i], p.in.Clients[i].Name
	s := Share{Client: name, Trouble: n.trouble}
	for _, b := range n.bundles {
		f := p.files[b.lead]
		var whole int64
		for _, file := range b.files {
			wanted[file] = true
			whole = payload.Plus(whole, p.files[file].Bytes)
		}
		if whole > p.in.Room {
			p.plan.TooLarge = append(p.plan.TooLarge, Part{name, p.name(b.lead), whole})
		}
		if b.level == Sources {
			p.shareSources(&s, &b)
			continue
		}
		if p.taken[b.lead] {
			s.Packages++
			s.Bytes = payload.Plus(s.Bytes, f.Bytes)
			continue
		}
		s.Stay++
		s.StayBytes = payload.Plus(s.StayBytes, f.Bytes)
		p.plan.Stay = append(p.plan.Stay, Part{name, p.name(b.lead), f.Bytes})
	}
	for _, j := range n.transit {
		if !p.taken[j] {
			s.InTransit++
		}
	}
	return s
}

// shareSources counts the distfiles of one bundle.
func (p *planner) shareSources(s *Share, b *bundle) {
	for _, i := range b.files {
		f := p.files[i]
		if p.taken[i] {
			s.Distfiles++
			s.Bytes = payload.Plus(s.Bytes, f.Bytes)
			continue
		}
		s.Stay++
		s.StayBytes = payload.Plus(s.StayBytes, f.Bytes)
		p.plan.Stay = append(p.plan.Stay, Part{s.Client, p.name(i), f.Bytes})
	}
}

func (p *planner) name(i int) string {
	if i < len(p.in.Packages) {
		return p.in.Packages[i].CPV
	}
	return p.files[i].Path
}
