package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/distdir"
	"pkgsneak/sync/ledger"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/reindex"
)

// carryOut does what was planned. On a disk that is full it leaves nothing behind: what is staged cannot be seen.
func (im *importer) carryOut(ctx context.Context) (err error) {
	defer func() {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = errors.Join(err, im.client.clearStaging())
		}
	}()
	if err := im.createClient(ctx); err != nil {
		return err
	}
	for _, in := range im.origins {
		if err := im.apply(ctx, in); err != nil {
			return err
		}
	}
	for _, in := range im.origins {
		if err := im.settle(in); err != nil {
			return err
		}
	}
	if err := im.indexOnly(ctx); err != nil {
		return err
	}
	if err := im.client.clearStaging(); err != nil {
		return err
	}
	return im.finish()
}

// apply brings in one origin: everything is staged first, then it gets its names.
func (im *importer) apply(ctx context.Context, in *incoming) error {
	staged, err := im.stageAll(ctx, in)
	if err != nil {
		return err
	}
	noteSubstitutes(im, in)
	if err := im.commitPackages(ctx, in, staged); err != nil {
		return err
	}
	if err := im.placeDistfiles(ctx, in, staged); err != nil {
		return err
	}
	for _, o := range im.origins { // a file belongs to each that lists it
		if err := im.saveImports(o); err != nil {
			return err
		}
	}
	return nil
}

// saveImports remembers what is an origin's here, and settles what was noted before (settlePending). What is remembered under a key or a name that it had before is its own from now on.
func (im *importer) saveImports(in *incoming) error {
	for kind, m := range in.imports {
		if err := im.l.Pending(in.id, ledgerKind(kind)).Settle(m); err != nil {
			return err
		}
		for _, id := range takenOver(im.l, ledgerKind(kind), in.id, append(slices.Clone(in.former), in.known)...) {
			if err := im.l.Pending(id, ledgerKind(kind)).Settle(nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle ends the import of an origin when everything has its place: the tasks of others may have brought in its files.
func (im *importer) settle(in *incoming) error {
	if err := im.saveImports(in); err != nil {
		return err
	}
	im.countGone(in)
	return im.remember(in)
}

// place notes where a file lies now, for every origin that lists it.
func (d *deed) place(local string) {
	for _, o := range d.owners {
		o.in.imports[d.kind][o.path] = ledger.Import{Local: local, Size: d.item.Size, Sum: d.item.Sum}
	}
}

// note notes where a file is about to lie, for every origin that lists it.
func (d *deed) note(n notes, local string) {
	for _, o := range d.owners {
		n.add(o.in.id, o.path, ledger.Import{Local: local, Size: d.item.Size, Sum: d.item.Sum})
	}
}

// removals are the notes of the files of a kind that will be removed.
func removals(in *incoming, kind payload.Kind, prune bool) notes {
	n := make(notes)
	for _, d := range in.prune {
		if prune && d.kind == kind {
			for _, o := range d.owners {
				n.add(o.in.id, o.path, ledger.Import{Local: d.local})
			}
		}
	}
	return n
}

// settlePending settles what a run had noted that ended between its steps.
func settlePending(ctx context.Context, im *importer, in *incoming) error {
	for kind, mine := range in.imports {
		if !im.client.has(kind) {
			continue // the directory may only not be mounted
		}
		for _, id := range append(slices.Clone(in.former), in.known, in.id) {
			pending := im.l.Pending(id, ledgerKind(kind))
			rows, err := pending.Rows()
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				continue
			}
			err = settleRows(rows, mine, func(p ledger.Import) (lies, error) {
				l, err := im.look(ctx, kind, p.Local, p.Size)
				if isLeftOut(err) {
					return lies{unknown: true}, nil
				}
				return lies{exists: l.Exists, sum: l.Sum}, err
			})
			if err == nil && !im.o.Pretend {
				err = pending.Settle(mine)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// leaveOut notes that a file did not come, for every origin that lists it. hint is the command that helps, "" for none.
func (d *deed) leaveOut(reason, hint string) {
	for i, o := range d.owners {
		if i > 0 {
			o.in.Plan.Present.Files--
			o.in.Plan.Present.Bytes -= d.item.Size
		}
		o.in.LeftOut = append(o.in.LeftOut, payload.Item{Kind: d.kind, Path: o.path, Size: d.item.Size, Reason: reason, Hint: hint})
	}
}

// countGone tells what left the origin and stays here.
func (im *importer) countGone(in *incoming) {
	if !im.o.Prune {
		in.Gone = payload.Count(in.Plan.Prune)
		return
	}
	in.Gone = payload.Tally{}
	pruned := make(map[payload.Key]bool)
	for _, it := range in.Pruned {
		pruned[payload.Key{Kind: it.Kind, Path: it.Path}] = true
	}
	for _, it := range in.Plan.Prune {
		if !pruned[payload.Key{Kind: it.Kind, Path: it.Path}] {
			in.Gone.Add(it.Size)
		}
	}
}

// remember notes that this generation was accepted. An older one changes nothing.
func (im *importer) remember(in *incoming) error {
	signed := in.gen.Signed
	if !in.Plan.Older {
		if err := im.l.SaveSeen(in.id, ledger.Seen{Serial: in.gen.Serial(), Manifest: in.sum, Highest: signed.SignedAt}); err != nil {
			return err
		}
	}
	if len(in.former) > 0 {
		if err := ledger.SaveRenewed(im.l, in.id, in.former, signed.SignedAt); err != nil {
			return err
		}
	}
	return im.l.RaiseTime(signed.SignedAt)
}

// leftOutError is the reason why one file is not brought in, while the rest is.
type leftOutError struct {
	reason string
	hint   string // the command that helps, "" for none
}

func (e *leftOutError) Error() string { return e.reason }

func isLeftOut(err error) bool {
	var reason *leftOutError
	return errors.As(err, &reason)
}

// commitPackages gives the staged packages their names and renews the index, as one transaction.
func (im *importer) commitPackages(ctx context.Context, in *incoming, staged []*deed) error {
	if im.client.pkgdir == nil {
		return nil
	}
	change, added := im.change(in, staged)
	if len(change.Add)+len(change.Remove) == 0 {
		return nil
	}
	change.Placing = func(places []pkgdir.Placed) error {
		n := removals(in, payload.Package, im.o.Prune)
		for _, p := range places {
			added[p.Index].note(n, p.Local)
		}
		return n.save(im.l, ledger.Packages)
	}
	r, err := im.client.pkgdir.Commit(ctx, change, im.indexOptions(in.catalogue.Header))
	if err != nil {
		return err
	}
	im.indexed(r)
	for _, p := range r.Placed {
		d := added[p.Index]
		d.place(p.Local)
		im.cachePlaced(payload.Package, p.Local, d.item.Sum)
		in.Copied = append(in.Copied, payload.Item{Kind: payload.Package, Path: d.path, Size: d.item.Size, Local: elsewhere(p.Local, d.path)})
	}
	for _, p := range r.Skipped {
		added[p.Index].leaveOut(p.Reason, "")
	}
	in.pruned(payload.Package, r.Removed)
	return nil
}

// pruned notes that the files at these paths here were removed.
func (in *incoming) pruned(kind payload.Kind, removed []string) {
	gone := make(map[string]bool, len(removed))
	for _, local := range removed {
		gone[local] = true
	}
	for _, d := range in.prune {
		if d.kind != kind || !gone[d.local] {
			continue
		}
		in.Pruned = append(in.Pruned, payload.Item{Kind: kind, Path: d.path, Size: in.imports[kind][d.path].Size, Local: elsewhere(d.local, d.path)})
		for _, o := range d.owners {
			delete(o.in.imports[kind], o.path)
		}
	}
}

// change puts the packages' part of the plan into PKGDIR's terms, and returns the deed of each package to be added.
func (im *importer) change(in *incoming, staged []*deed) (pkgdir.Change, []*deed) {
	var c pkgdir.Change
	var added []*deed
	for _, d := range staged {
		if d.kind != payload.Package {
			continue
		}
		var older *pkgdir.Owned
		if d.seen != nil {
			older = &pkgdir.Owned{Path: d.local, Verified: d.seen}
		}
		mtime, _ := d.entry.MTime()
		c.Add = append(c.Add, pkgdir.Incoming{Path: d.local, Size: d.item.Size, ModTime: time.Unix(mtime, 0), Sum: d.item.Sum, Entry: d.entry, Replaces: older})
		added = append(added, d)
	}
	if im.o.Prune {
		for _, d := range in.prune {
			if d.kind == payload.Package {
				c.Remove = append(c.Remove, pkgdir.Owned{Path: d.local, Verified: d.seen})
			}
		}
	}
	return c, added
}

// indexOptions are those of a transaction. A fresh index gets the origin's header, without what is the origin's alone; its CHOST is this machine's, if that is known.
func (im *importer) indexOptions(origin pkgindex.Header) pkgdir.Options {
	o := reindex.Writing(im.m, im.w)
	o.Workers = im.o.Workers
	o.Header = func(h pkgindex.Header) pkgindex.Header {
		if len(h.Keys()) > 0 {
			return h
		}
		h = pkgindex.FreshHeader(origin)
		if chost, known := im.m.Settings.CHOST(); known {
			h.Set("CHOST", chost)
		}
		return h
	}
	return o
}

func (im *importer) indexed(r *pkgdir.Report) {
	im.report.Packages = r.Packages
	im.report.Indexed = im.report.Indexed || r.Written
	im.noteRemarks(r.Remarks)
	for _, p := range r.Invalid {
		im.report.Notices = append(im.report.Notices, fmt.Sprintf("%q in PKGDIR is not indexed: %s", p.Path, p.Reason))
	}
}

// noteRemarks says what was dropped from the index that was here. The rest of what is odd in it is for "pkgsneak index".
func (im *importer) noteRemarks(remarks []pkgindex.Remark) {
	const most = 3
	said := 0
	for _, r := range remarks {
		if !r.Dropped {
			continue
		}
		if said++; said > most {
			im.note("the index that was in PKGDIR: more of the like")
			return
		}
		im.note("the index that was in PKGDIR: %s", r)
	}
}

// indexOnly brings the index up to date where no package was brought in: a run that was killed may have left it behind its files.
func (im *importer) indexOnly(ctx context.Context) error {
	if im.client.pkgdir == nil || im.report.Packages > 0 {
		return nil
	}
	var header pkgindex.Header
	for _, in := range im.origins {
		if in.catalogue != nil {
			header = in.catalogue.Header
		}
	}
	r, err := im.client.pkgdir.Reindex(ctx, im.indexOptions(header))
	if err != nil {
		return err
	}
	im.indexed(r)
	return nil
}

// cachePlaced remembers the digest of a file that was brought in: it was computed on its way.
func (im *importer) cachePlaced(kind payload.Kind, local string, sum manifest.Digest) {
	if fi, err := im.client.lstat(kind, local); err == nil {
		im.client.cache(kind).Put(local, fi, digest.Sums{Blake2b: sum}, digest.BLAKE2B)
	}
}

// finish saves what was learned and finds out what to say.
func (im *importer) finish() error {
	for _, c := range []*ledger.Cache{im.client.packages, im.client.distfiles} {
		if c == nil {
			continue
		}
		if err := c.Save(); err != nil {
			return err
		}
	}
	im.report.Unchanged = !im.report.Indexed
	for _, in := range im.origins {
		if len(in.Copied)+len(in.Pruned) > 0 {
			im.report.Unchanged = false
		}
	}
	im.advise()
	return im.history()
}

// placeDistfiles gives the staged distfiles their names, and removes those that left the origin if that is wanted.
func (im *importer) placeDistfiles(ctx context.Context, in *incoming, staged []*deed) error {
	if im.client.distdir == nil || im.blocked != "" {
		return nil
	}
	var files []distdir.Incoming
	byName := make(map[string]*deed)
	for _, d := range staged {
		if d.kind == payload.Distfile {
			files = append(files, distdir.Incoming{Name: d.local, Size: d.item.Size, Sum: d.item.Sum, ModTime: in.gen.Signed.Timestamp, Replaces: d.seen})
			byName[d.local] = d
		}
	}
	n := removals(in, payload.Distfile, im.o.Prune)
	for _, d := range byName {
		d.note(n, d.local)
	}
	if err := n.save(im.l, ledger.Distfiles); err != nil {
		return err
	}
	r, err := im.client.distdir.Place(ctx, files)
	if err != nil {
		return err
	}
	for _, name := range r.Placed {
		d := byName[name]
		d.place(d.local)
		im.cachePlaced(payload.Distfile, d.local, d.item.Sum)
		in.Copied = append(in.Copied, payload.Item{Kind: payload.Distfile, Path: d.path, Size: d.item.Size})
	}
	for _, p := range r.Skipped {
		byName[p.Name].leaveOut(p.Reason, "")
	}
	return im.pruneDistfiles(in)
}

func (im *importer) pruneDistfiles(in *incoming) error {
	if !im.o.Prune {
		return nil
	}
	var gone []string
	for _, d := range in.prune {
		if d.kind != payload.Distfile {
			continue
		}
		removed, err := im.client.distdir.Remove(d.local, d.seen)
		if err != nil {
			return err
		}
		if removed {
			gone = append(gone, d.local)
		}
	}
	in.pruned(payload.Distfile, gone)
	return im.client.distdir.Sync() // before the ledger forgets them
}
