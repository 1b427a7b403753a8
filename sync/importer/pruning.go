package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
)

// prune finds what came from the origins and has left them. A file that was changed here since is
// local; one that anybody else wants only ceases to be this origin's. While an origin cannot be
// read nothing is removed: it may have what another one has given up. Of an older generation, and
// of one that does not list all that its origin has, nothing is concluded.
func (p *placements) prune(ctx context.Context) error {
	if p.blocked != "" {
		return nil
	}
	removed := make(map[string]*task)
	for _, in := range p.im.origins {
		if err := p.pruneOrigin(ctx, in, removed); err != nil {
			return err
		}
	}
	return nil
}

// pruneOrigin removes what came from an origin that has it no longer, and forgets the rows of files
// that are gone here.
func (p *placements) pruneOrigin(ctx context.Context, in *incoming,
	removed map[string]*task) error {
	rows, stock := in.imports[p.kind], in.stock[p.kind]
	gone := p.gone(rows)
	here := len(rows) - len(gone)
	if !payload.Shrunk(len(rows), here) {
		for name := range gone {
			delete(rows, name)
		}
	}
	if in.Plan.Older && in.standing[p.kind].older {
		p.holdAll(in, rows, gone, stock)
		return nil
	}
	var tasks []*task
	var left payload.Tally // see heldBack
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		row := rows[name]
		if stock.Has(name) && !p.obsolete[owner{in, name}] {
			continue
		}
		if !stock.Complete {
			if !gone[name] {
				left.Add(row.Size)
			}
			continue
		}
		l, err := p.im.client.lookUp(ctx, p.kind, row.Local, row.Size)
		switch {
		case isLeftOut(err): // what cannot be looked at may be there another time
			continue
		case err != nil:
			return err
		// nor what cannot be read
		case l.Exists && l.Size == row.Size && l.Sum == manifest.Digest{}:
			continue
		// this origin's until the other file has its place
		case p.taken[row.Local] != nil && !l.isLink() && l.Sum == row.Sum:
			continue
		case !l.Exists, l.isLink(), l.Sum != row.Sum, p.taken[row.Local] != nil,
			p.wanted(l, owner{in, name}):
			delete(rows, name)
			continue
		}
		tasks = append(tasks, &task{kind: p.kind, path: name, local: row.Local,
			item: layout.Item{Size: row.Size}, seen: l.info, owners: []owner{{in, name}}})
	}
	if held := p.heldBack(in, tasks, left, here); held != nil {
		in.Plan.Held = append(in.Plan.Held, *held)
	} else {
		p.remove(in, tasks, removed)
	}
	return nil
}

// heldBack is why the files of an origin that could go do not, nil if they go. left are those of
// which this drive cannot tell whether they have left the origin, and here is how many came from it
// and are there.
func (p *placements) heldBack(in *incoming, tasks []*task, left payload.Tally, here int) *Held {
	switch {
	case left.Files > 0:
		return &Held{Kind: p.kind, Tally: left, Reason: in.stock[p.kind].Reason}
	case len(tasks) > 0 && unread(p.im) != "":
		return &Held{Kind: p.kind, Tally: tallyOf(tasks),
			Reason: fmt.Sprintf("origin %q cannot be read, and may have them", unread(p.im)),
			Hint: fmt.Sprintf("pkgsneak import %s --prune --origin %s", fault.Quote(p.im.o.Drive),
				fault.Quote(in.Plan.Dir))}
	case p.kind == payload.Package && payload.Shrunk(here, here-len(tasks)) && !p.im.o.AllowShrink:
		return &Held{Kind: p.kind, Tally: tallyOf(tasks),
			Reason: fmt.Sprintf("they are %d of the %d that came from it", len(tasks), here),
			Hint:   "pkgsneak import " + fault.Quote(p.im.o.Drive) + " --prune --allow-shrink"}
	}
	return nil
}

func tallyOf(tasks []*task) (t payload.Tally) {
	for _, d := range tasks {
		t.Add(d.item.Size)
	}
	return t
}

// gone are the rows whose files are neither here any more nor brought in by the plan: somebody
// removed them. If most are gone at once, the directory is rather not mounted, and they stay the
// origin's.
func (p *placements) gone(rows map[string]state.Import) map[string]bool {
	gone := make(map[string]bool)
	for name, row := range rows {
		if p.kept[row.Local] || p.taken[row.Local] != nil {
			continue
		}
		if _, err := p.im.client.lstat(p.kind, row.Local); errors.Is(err, fs.ErrNotExist) {
			gone[name] = true
		}
	}
	return gone
}

// holdAll notes that an older generation removes nothing: what it does not have may be newer than
// it is.
func (p *placements) holdAll(in *incoming, rows map[string]state.Import, gone map[string]bool,
	stock *drive.Stock) {
	h := Held{Kind: p.kind,
		Reason: fmt.Sprintf("this drive's state is older than that of %s, which was imported here",
			fault.Serial(cmp.Or(in.standing[p.kind].remembered, in.seen.Serial)))}
	for name, row := range rows {
		if !stock.Has(name) && !gone[name] {
			h.Tally.Add(row.Size)
		}
	}
	if h.Tally.Files > 0 {
		in.Plan.Held = append(in.Plan.Held, h)
	}
}

// remove puts what shall be pruned on the list of an origin. A file that two origins had, and
// neither has now, is removed once.
func (p *placements) remove(in *incoming, tasks []*task, removed map[string]*task) {
	for _, d := range tasks {
		if first := removed[d.local]; first != nil {
			first.owners = append(first.owners, d.owners...)
			continue
		}
		removed[d.local] = d
		in.Plan.Prune = append(in.Plan.Prune, payload.Item{Kind: p.kind, Path: d.path,
			Size: d.item.Size, Local: elsewhere(d.local, d.path), Reason: "gone from the origin"})
		in.prune = append(in.prune, d)
	}
}
