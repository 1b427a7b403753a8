package importer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/distdir"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
)

// applier carries out what was planned.
type applier struct {
	*operation
	keep *keeping
}

// carryOut does what was planned. On a disk that is full it leaves nothing behind: what is staged
// cannot be seen.
func (ap *applier) carryOut(ctx context.Context) (err error) {
	defer func() {
		if durable.IsFull(err) {
			err = errors.Join(err, ap.client.clearStaging())
		}
	}()
	if err := ap.createClient(ctx); err != nil {
		return err
	}
	ap.keep = newKeeping(ap.operation)
	if ap.makeRoom {
		ap.keep.giveUpOld()
	}
	for _, in := range ap.origins {
		if err := ap.apply(ctx, in); err != nil {
			return err
		}
	}
	for _, in := range ap.origins {
		if err := ap.settle(in); err != nil {
			return unsaved(err, in)
		}
	}
	if err := ap.indexOnly(ctx); err != nil {
		return err
	}
	if err := ap.client.clearStaging(); err != nil {
		return err
	}
	if ap.repos.taking() {
		if err := ap.keep.endOld(); err != nil {
			return err
		}
	}
	if err := ap.repos.bring(ctx, ap.operation, ap.keep); err != nil {
		return err
	}
	return ap.finish(ctx)
}

// apply brings in one origin: everything is staged first, then it gets its names.
func (ap *applier) apply(ctx context.Context, in *incoming) error {
	staged, err := ap.stageAll(ctx, in)
	if durable.IsFull(err) && ap.keep.giveUpOld() {
		staged, err = ap.stageAll(ctx, in)
	}
	if err != nil {
		return err
	}
	noteSubstitutes(ap.operation, in)
	if err := ap.commitPackages(ctx, in, staged); err != nil {
		return err
	}
	if err := ap.placeDistfiles(ctx, in, staged); err != nil {
		return err
	}
	for _, o := range ap.origins { // a file belongs to each that lists it
		if err := ap.saveImports(o); err != nil {
			return unsaved(err, in)
		}
	}
	return nil
}

// unsaved is the error of what is remembered of an origin whose files have their names.
func unsaved(err error, in *incoming) error {
	return state.Unsaved(err, "import: the files of origin %q are in their places", in.Plan.Origin)
}

// saveImports remembers what is an origin's here, and settles what was noted before
// (settlePending). A row that is remembered under a key or a name that the origin had before is its
// own from now on.
func (ap *applier) saveImports(in *incoming) error {
	for kind, m := range in.imports {
		if err := ap.st.Pending(in.id, kind).Settle(m); err != nil {
			return err
		}
		for _, id := range takenOver(ap.st, kind, in.id,
			append(slices.Clone(in.former), in.known)...) {
			if err := ap.st.Pending(id, kind).Settle(nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle ends the import of an origin when everything has its place: the tasks of others may have
// brought in its files.
func (ap *applier) settle(in *incoming) error {
	if err := ap.saveImports(in); err != nil {
		return err
	}
	ap.countGone(in)
	return ap.remember(in)
}

// removals are the notes of the files of a kind that will be removed.
func removals(in *incoming, kind payload.Kind, prune bool) notes {
	n := make(notes)
	for _, d := range in.prune {
		if prune && d.kind == kind {
			for _, o := range d.owners {
				n.add(o.in.id, o.path, state.Import{Local: d.local})
			}
		}
	}
	return n
}

// removed are the files of a kind that will be removed.
func (ap *applier) removed(in *incoming, kind payload.Kind) (list []placed) {
	if !ap.o.Prune {
		return nil
	}
	for _, d := range in.prune {
		if d.kind == kind {
			list = append(list, placed{task: d, at: d.local, removed: true})
		}
	}
	return list
}

// countGone tells what left the origin and stays here.
func (ap *applier) countGone(in *incoming) {
	if !ap.o.Prune {
		in.Gone = payload.Count(in.Plan.Prune)
		return
	}
	in.Gone = payload.Tally{}
	pruned := make(map[payload.Key]bool)
	for _, it := range in.Pruned {
		pruned[it.Key()] = true
	}
	for _, it := range in.Plan.Prune {
		if !pruned[it.Key()] {
			in.Gone.Add(it.Size)
		}
	}
}

// remember notes that this generation was brought in.
func (ap *applier) remember(in *incoming) error {
	signed := in.gen.Signed
	if err := ap.accept(in); err != nil {
		return err
	}
	if len(in.former) > 0 {
		if err := state.SaveRenewed(ap.st, in.id, in.former, signed.SignedAt); err != nil {
			return err
		}
	}
	return ap.st.RaiseTime(signed.SignedAt)
}

// begin comes before the first name changes for a generation: a run that ends after that leaves
// files of it, which an older generation must not replace. Entries that are remembered under
// another key are taken over first: they are not looked for once this key was seen.
func (ap *applier) begin(in *incoming) error {
	if in.known != in.id {
		if err := ap.saveImports(in); err != nil {
			return err
		}
	}
	return ap.accept(in)
}

// accept remembers the serial of a generation, and what is newer in it. The serial of an older one
// changes nothing.
func (ap *applier) accept(in *incoming) error {
	if err := ap.rememberList(in); err != nil || in.Plan.Older {
		return err
	}
	return ap.st.SaveSeen(in.id, state.Seen{Serial: in.gen.Serial(), Manifest: in.sum,
		Highest: in.gen.Signed.SignedAt})
}

// rememberList notes what the newest state of an origin lists, kind by kind, for the older drives
// that may come.
func (ap *applier) rememberList(in *incoming) error {
	before, err := state.AcceptedList(ap.st, in.id)
	if err == nil && before == nil {
		before, err = state.AcceptedList(ap.st, in.known)
	}
	if err != nil || in.Plan.Older && (before == nil || before.AsOf == nil) {
		return err
	}
	now := state.Accepted{Serial: in.gen.Serial()}
	if in.Plan.Older {
		now.Serial = before.Serial
	}
	same := before != nil && before.Serial == now.Serial
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		source := in.sources()[in.standing[kind].newest]
		if before != nil {
			had, known := before.LookedAt(kind)
			if known && had >= source.lookedAt(kind) {
				now.List(kind, before, had)
				continue
			}
		}
		list, err := listOf(&source, kind)
		if err != nil || list == nil {
			return err
		}
		now.List(kind, list, source.lookedAt(kind))
		same = false
	}
	if same {
		return nil
	}
	return state.SaveAccepted(ap.st, in.id, now)
}

// listOf is what a drive lists of a kind; nil where that cannot be read.
func listOf(s *source, kind payload.Kind) (*state.Accepted, error) {
	if kind == payload.Distfile || s.entries != nil {
		return listed(maps.Values(s.entries), s.facts), nil
	}
	catalogue, err := s.gen.Catalogue()
	var damaged *drive.DamagedError
	if errors.As(err, &damaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return listed(slices.Values(catalogue.Entries), nil), nil
}

// commitPackages gives the staged packages their names and renews the index, as one transaction.
func (ap *applier) commitPackages(ctx context.Context, in *incoming, staged []*task) error {
	if ap.client.pkgdir == nil || ap.client.blocked[payload.Package] != "" {
		return nil
	}
	change, added := ap.change(in, staged)
	if len(change.Add)+len(change.Remove) == 0 {
		return nil
	}
	change.Keep, change.Snapshot = ap.keep.keeper(payload.Package), ap.keep.change.IndexName()
	change.Placing = func(places []pkgdir.Placed) error {
		n := removals(in, payload.Package, ap.o.Prune)
		list := ap.removed(in, payload.Package)
		for _, p := range places {
			added[p.Index].note(n, p.Local)
			list = append(list, placed{task: added[p.Index], at: p.Local,
				mtime: p.ModTime.Unix()})
		}
		ap.keep.note(list)
		if err := ap.begin(in); err != nil {
			return err
		}
		return n.save(ap.st, payload.Package)
	}
	r, err := ap.client.pkgdir.Commit(ctx, change, ap.indexOptions(in.catalogue.Header))
	if err != nil {
		return err
	}
	ap.indexed(r)
	for _, p := range r.Placed {
		d := added[p.Index]
		d.place(p.Local)
		ap.cachePlaced(payload.Package, p.Local, d.item.Sum)
		in.Copied = append(in.Copied, payload.Item{Kind: payload.Package, Path: d.path,
			Size: d.item.Size, Local: elsewhere(p.Local, d.path)})
	}
	for _, p := range r.Skipped {
		added[p.Index].leaveOut(p.Reason, "")
	}
	in.pruned(payload.Package, r.Removed)
	return nil
}

// change puts the packages' part of the plan into PKGDIR's terms, and returns the task of each
// package to be added.
func (ap *applier) change(in *incoming, staged []*task) (pkgdir.Change, []*task) {
	var c pkgdir.Change
	var added []*task
	for _, d := range staged {
		if d.kind != payload.Package {
			continue
		}
		var older *pkgdir.Owned
		if d.seen != nil {
			older = &pkgdir.Owned{Path: d.local, Verified: d.seen}
		}
		mtime, _ := d.entry.MTime()
		c.Add = append(c.Add, pkgdir.Incoming{Path: d.local, Size: d.item.Size,
			ModTime: time.Unix(mtime, 0), Sum: d.item.Sum, Entry: d.entry, Replaces: older})
		added = append(added, d)
	}
	if ap.o.Prune {
		for _, d := range in.prune {
			if d.kind == payload.Package {
				c.Remove = append(c.Remove, pkgdir.Owned{Path: d.local, Verified: d.seen})
			}
		}
	}
	return c, added
}

// indexOptions are those of a transaction. A fresh index gets the origin's header, without what is
// the origin's alone; its CHOST is this machine's, if that is known.
func (ap *applier) indexOptions(origin pkgindex.Header) pkgdir.Options {
	o := reindex.Writing(ap.m, ap.w)
	o.Workers = ap.o.Workers
	o.Header = func(h pkgindex.Header) pkgindex.Header {
		if len(h.Keys()) > 0 {
			return h
		}
		h = pkgindex.FreshHeader(origin)
		if chost, known := ap.m.Settings.CHOST(); known {
			h.Set("CHOST", chost)
		}
		return h
	}
	return o
}

func (ap *applier) indexed(r *pkgdir.Report) {
	ap.report.Packages = r.Packages
	ap.report.Indexed = ap.report.Indexed || r.Written
	ap.noteRemarks(r.Remarks)
	const most = 3
	for i, p := range r.Invalid {
		if i == most {
			ap.note("%d further files in PKGDIR are not indexed: pkgsneak index --check -v names them", len(r.Invalid)-most)
			break
		}
		ap.note("%q in PKGDIR is not indexed: %s", p.Path, p.Reason)
	}
}

// noteRemarks tells what was dropped from the index that was here. The rest of what is odd in it is
// for "pkgsneak index".
func (ap *applier) noteRemarks(remarks []pkgindex.Remark) {
	const most = 3
	said := 0
	for _, r := range remarks {
		if !r.Dropped {
			continue
		}
		if said++; said > most {
			ap.note("the index that was in PKGDIR: more of the like")
			return
		}
		ap.note("the index that was in PKGDIR: %s", r)
	}
}

// indexOnly brings the index up to date where no package was brought in: a run that was killed may
// have left it behind its files.
func (ap *applier) indexOnly(ctx context.Context) error {
	if ap.client.pkgdir == nil || ap.client.blocked[payload.Package] != "" ||
		ap.report.Packages > 0 {
		return nil
	}
	var header pkgindex.Header
	for _, in := range ap.origins {
		if in.catalogue != nil {
			header = in.catalogue.Header
		}
	}
	r, err := ap.client.pkgdir.Reindex(ctx, ap.indexOptions(header))
	if err != nil {
		return err
	}
	ap.indexed(r)
	return nil
}

// cachePlaced remembers the digest of a file that was brought in: it was computed on its way.
func (ap *applier) cachePlaced(kind payload.Kind, local string, sum manifest.Digest) {
	if fi, err := ap.client.lstat(kind, local); err == nil {
		ap.client.cache(kind).Put(local, fi, digest.Sums{Blake2b: sum}, digest.BLAKE2B)
	}
}

// finish saves what was learned and finds out what to tell.
func (ap *applier) finish(ctx context.Context) error {
	for _, c := range []*state.Cache{ap.client.packages, ap.client.distfiles} {
		if c == nil {
			continue
		}
		if err := c.Save(); err != nil {
			return unsaved(err, ap.origins[0])
		}
	}
	ap.report.Unchanged = !ap.report.Indexed
	for _, in := range ap.origins {
		if len(in.Copied)+len(in.Pruned) > 0 {
			ap.report.Unchanged = false
		}
	}
	if ap.repos.taking() {
		ap.report.Unchanged = false
	}
	ap.advise(ctx)
	if err := ap.keep.finish(); err != nil {
		return err
	}
	return unsaved(ap.history(), ap.origins[0])
}

// placeDistfiles gives the staged distfiles their names, and removes those that left the origin if
// that is wanted.
func (ap *applier) placeDistfiles(ctx context.Context, in *incoming, staged []*task) error {
	if ap.client.distdir == nil || ap.client.blocked[payload.Distfile] != "" {
		return nil
	}
	var files []distdir.Incoming
	byName := make(map[string]*task)
	for _, d := range staged {
		if d.kind == payload.Distfile {
			files = append(files, distdir.Incoming{Name: d.local, Size: d.item.Size,
				Sum: d.item.Sum, ModTime: in.gen.Signed.Timestamp, Replaces: d.seen})
			byName[d.local] = d
		}
	}
	n := removals(in, payload.Distfile, ap.o.Prune)
	for _, d := range byName {
		d.note(n, d.local)
	}
	list := ap.removed(in, payload.Distfile)
	for _, d := range byName {
		list = append(list, placed{task: d, at: d.local,
			mtime: in.gen.Signed.Timestamp.Unix()})
	}
	if len(list) > 0 {
		ap.client.distdir.Keep = ap.keep.keeper(payload.Distfile)
		ap.keep.note(list)
		if err := ap.begin(in); err != nil {
			return err
		}
	}
	if err := n.save(ap.st, payload.Distfile); err != nil {
		return err
	}
	r, err := ap.client.distdir.Place(ctx, files)
	if err != nil {
		return err
	}
	for _, name := range r.Placed {
		d := byName[name]
		d.place(d.local)
		ap.cachePlaced(payload.Distfile, d.local, d.item.Sum)
		in.Copied = append(in.Copied, payload.Item{Kind: payload.Distfile, Path: d.path,
			Size: d.item.Size})
	}
	for _, p := range r.Skipped {
		byName[p.Name].leaveOut(p.Reason, "")
	}
	return ap.pruneDistfiles(in)
}

func (ap *applier) pruneDistfiles(in *incoming) error {
	if !ap.o.Prune {
		return nil
	}
	var gone []string
	for _, d := range in.prune {
		if d.kind != payload.Distfile {
			continue
		}
		removed, err := ap.client.distdir.Remove(d.local, d.seen)
		if err != nil {
			return err
		}
		if removed {
			gone = append(gone, d.local)
		}
	}
	in.pruned(payload.Distfile, gone)
	return ap.client.distdir.Sync() // before the state forgets them
}
