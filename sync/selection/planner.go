package selection

import (
	"cmp"
	"container/heap"
	"slices"

	"pkgsneak/sync/payload"
	"pkgsneak/sync/resolve"
)

// planner makes a plan. Files have places: the packages', then the distfiles', then the extras'.
type planner struct {
	in    *Input
	files []*File
	taken []bool
	left  int64 // bytes of the room
	needs []need
	spent []int64 // bytes that each client got
	plan  *Plan

	// fair is what each client may take before the others have had as much, charged what it took of
	// that, and users how many clients need a file.
	fair    int64
	charged []int64
	users   []int64

	closures *resolve.Closures // made on first use
}

func newPlanner(in *Input) *planner {
	p := &planner{in: in, left: in.Room, spent: make([]int64, len(in.Clients)),
		charged: make([]int64, len(in.Clients)),
		plan: &Plan{Groups: []Group{}, Leave: []Leave{}, Shares: []Share{}, Stay: []Part{},
			TooLarge: []Part{}, Room: in.Room}}
	for i := range in.Packages {
		p.files = append(p.files, &in.Packages[i].File)
	}
	for i := range in.Distfiles {
		p.files = append(p.files, &in.Distfiles[i])
	}
	for i := range in.Extras {
		p.files = append(p.files, &in.Extras[i])
	}
	p.taken = make([]bool, len(p.files))
	for i, f := range p.files {
		if in.Keep && f.Held {
			p.taken[i] = true
			p.left -= f.Bytes
		}
	}
	return p
}

func (p *planner) distfile(i int) int { return len(p.in.Packages) + i }
func (p *planner) extra(i int) int    { return len(p.in.Packages) + len(p.in.Distfiles) + i }

// cost returns the bytes of the files that are not taken yet, how many they are, and whether the
// drive has all of them.
func (p *planner) cost(files []int) (bytes int64, n int, held bool) {
	held = true
	for _, f := range files {
		if !p.taken[f] {
			bytes, n, held = payload.Plus(bytes, p.files[f].Bytes), n+1, held && p.files[f].Held
		}
	}
	return bytes, n, held
}

// takeFiles takes what is not taken of some files if it fits, as one group.
func (p *planner) takeFiles(g Group, files []int) bool {
	bytes, n, _ := p.cost(files)
	if bytes > p.left {
		return false
	}
	if n == 0 {
		return true
	}
	for _, f := range files {
		if !p.taken[f] {
			p.taken[f] = true
			g.Files = append(g.Files, p.files[f].key())
		}
	}
	g.Bytes = bytes
	p.left -= bytes
	p.plan.Groups = append(p.plan.Groups, g)
	return true
}

// shareRoom divides what is left among the clients that lack something.
func (p *planner) shareRoom() {
	p.users = make([]int64, len(p.files))
	counted := make([]int, len(p.files)) // for which client at last
	clients := int64(0)
	for i := range p.needs {
		if len(p.needs[i].bundles) > 0 {
			clients++
		}
		for _, b := range p.needs[i].bundles {
			for _, f := range b.files {
				if counted[f] != i+1 {
					counted[f] = i + 1
					p.users[f]++
				}
			}
		}
	}
	p.fair = p.left / max(clients, 1)
}

// charge is the part of a bundle that one of the clients which need it answers for.
func (p *planner) charge(files []int) (bytes int64) {
	for _, f := range files {
		if !p.taken[f] {
			bytes = payload.Plus(bytes, p.files[f].Bytes/max(p.users[f], 1))
		}
	}
	return bytes
}

// takeTurns takes the bundles of one level: the client that got least takes the next. shared leaves
// for later what is beyond a client's share.
func (p *planner) takeTurns(level Level, shared bool) {
	queues := make([]*queue, len(p.needs))
	for i := range p.needs {
		queues[i] = newQueue(p, p.needs[i].bundles, level)
	}
	for {
		next := -1
		for i, q := range queues {
			if q.Len() > 0 && (next < 0 || p.spent[i] < p.spent[next]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		b := queues[next].take()
		if b == nil {
			continue
		}
		before, charge := p.left, p.charge(b.files)
		if shared && p.charged[next]+charge > p.fair {
			continue
		}
		g := Group{Level: level, Client: p.in.Clients[next].Name, For: p.name(b.lead)}
		if p.takeFiles(g, b.files) {
			p.spent[next] += before - p.left
			if shared {
				p.charged[next] += charge
			}
		}
	}
}

// queue has the bundles of a client, the best first. Bundles share packages, so that one becomes
// cheaper when another is taken: such a bundle is looked at again when its turn comes, and goes
// back if its turn has changed.
type queue struct {
	p    *planner
	list []queued
}

type queued struct {
	b      *bundle
	held   bool
	bytes  int64
	n      int
	behind int // among equals, the order of the walk
}

func newQueue(p *planner, bundles []bundle, level Level) *queue {
	q := &queue{p: p}
	for i := range bundles {
		b := &bundles[i]
		if b.level != level {
			continue
		}
		if look := q.look(b, i); look.n > 0 { // else an earlier round has taken it
			q.list = append(q.list, look)
		}
	}
	heap.Init(q)
	return q
}

func (q *queue) look(b *bundle, behind int) queued {
	bytes, n, held := q.p.cost(b.files)
	return queued{b, held, bytes, n, behind}
}

// take removes the best bundle of which anything is left and returns it; nil if it fell back, or
// there is none.
func (q *queue) take() *bundle {
	for q.Len() > 0 {
		first := heap.Pop(q).(queued)
		now := q.look(first.b, first.behind)
		switch {
		case now.n == 0: // others have taken it
			continue
		case q.Len() > 0 && less(&q.list[0], &now):
			heap.Push(q, now)
			return nil
		}
		return first.b
	}
	return nil
}

// less is the order within a level.
func less(a, b *queued) bool {
	switch {
	case a.held != b.held:
		return a.held
	case a.b.waited != b.b.waited:
		return a.b.waited > b.b.waited
	}
	// bytes a package, without division: n is at most the number of packages
	x, y := float64(a.bytes)*float64(max(b.n, 1)), float64(b.bytes)*float64(max(a.n, 1))
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.behind, b.behind)) < 0
}

func (q *queue) Len() int           { return len(q.list) }
func (q *queue) Less(i, j int) bool { return less(&q.list[i], &q.list[j]) }
func (q *queue) Swap(i, j int)      { q.list[i], q.list[j] = q.list[j], q.list[i] }
func (q *queue) Push(x any)         { q.list = append(q.list, x.(queued)) }
func (q *queue) Pop() any {
	n := len(q.list) - 1
	x := q.list[n]
	q.list = q.list[:n]
	return x
}

// closure is a package with all that it needs of the catalogue, less what is there according to
// leave. nil if it is larger than limit.
func (p *planner) closure(i int, limit int64, there func(int) bool) ([]int, error) {
	if p.closures == nil {
		var err error
		if p.closures, err = resolve.NewClosures(p.in.candidates()); err != nil {
			return nil, err
		}
	}
	var bytes int64
	list := p.closures.Of(i, func(j int) bool {
		if !p.taken[j] && !there(j) {
			bytes = payload.Plus(bytes, p.files[j].Bytes)
		}
		return bytes <= limit
	})
	return slices.DeleteFunc(list, there), nil
}

// wishesOfUnknown makes bundles of the wishes of clients of whose packages nothing is known.
func (p *planner) wishesOfUnknown() error {
	for c := range p.needs {
		client, n := &p.in.Clients[c], &p.needs[c]
		if n.known || len(client.Wishes) == 0 {
			continue
		}
		for i := range p.in.Packages {
			if client.has(i) || client.inTransit(i) ||
				!matchesAny(client.Wishes, &p.in.Packages[i].Package) {
				continue
			}
			list, err := p.closure(i, 1<<62, client.has)
			if err != nil {
				return err
			}
			if list != nil {
				n.bundles = append(n.bundles, bundle{lead: i, files: list, level: Wished,
					waited: client.waited(i)})
			}
		}
	}
	return nil
}

// wantSources makes bundles of the distfiles that clients want by name. Those of one package come
// together.
func (p *planner) wantSources() {
	places := make(map[string]int, len(p.in.Distfiles))
	for i := range p.in.Distfiles {
		places[p.in.Distfiles[i].Path] = p.distfile(i)
	}
	for i := range p.in.Clients {
		c := &p.in.Clients[i]
		for _, names := range c.Distfiles {
			var files []int
			for _, name := range names {
				if f, found := places[name]; found && !c.hasDistfile(name) {
					files = append(files, f)
				}
			}
			if len(files) > 0 {
				p.needs[i].bundles = append(p.needs[i].bundles,
					bundle{lead: files[0], files: files, level: Sources})
			}
		}
	}
}

// takeUnasked takes the packages that nobody asked for, with what they need of the catalogue; what
// is on its way to all who lack it is not written once more. Closures leave nothing out, because
// nothing is known of the machines that these are for; where all are known, each package counts
// alone.
func (p *planner) takeUnasked() error {
	if p.in.Only {
		return nil
	}
	var order []int
	for i := range p.in.Packages {
		if !p.taken[i] && !p.in.hadByAll(i) && (p.in.Packages[i].Held || !p.in.servedElsewhere(i)) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &p.in.Packages[a], &p.in.Packages[b]
		if x.Held != y.Held {
			if x.Held {
				return -1
			}
			return 1
		}
		return cmp.Compare(y.BuildTime, x.BuildTime)
	})
	there := func(i int) bool { return p.in.hadByAll(i) }
	for _, i := range order {
		if p.taken[i] || p.files[i].Bytes > p.left {
			continue
		}
		list := []int{i}
		if !p.allKnown() {
			var err error
			if list, err = p.closure(i, p.left, there); err != nil {
				return err
			}
		}
		if list != nil {
			p.takeFiles(Group{Level: Unasked, For: p.in.Packages[i].CPV}, list)
		}
	}
	return nil
}

// allKnown reports whether there are clients, and it is known of all of them what is installed
// there.
func (p *planner) allKnown() bool {
	return len(p.needs) > 0 && !slices.ContainsFunc(p.needs, func(n need) bool { return !n.known })
}

// takeDistfiles takes those that somebody may lack, smallest first.
func (p *planner) takeDistfiles() {
	if p.in.Only {
		return
	}
	var order []int
	for i := range p.in.Distfiles {
		if !p.distfileHad(p.in.Distfiles[i].Path) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &p.in.Distfiles[a], &p.in.Distfiles[b]
		if x.Held != y.Held {
			if x.Held {
				return -1
			}
			return 1
		}
		return cmp.Compare(x.Bytes, y.Bytes)
	})
	for _, i := range order {
		p.takeFiles(Group{Level: Distfiles}, []int{p.distfile(i)})
	}
}

// distfileHad reports whether every client has a distfile.
func (p *planner) distfileHad(name string) bool {
	return len(p.in.Clients) > 0 &&
		!slices.ContainsFunc(p.in.Clients, func(c Client) bool { return !c.hasDistfile(name) })
}
