package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/volume"
)

// lockClient holds a lock in a directory from before the plan to the end.
func lockClient(ctx context.Context, op *operation, kind payload.Kind) error {
	c := op.client
	store, other := c.store(kind), c.store(payload.Package)
	if op.o.Pretend || store == nil || c.blocked[kind] != "" {
		return nil
	}
	if kind == payload.Package {
		other = nil
	}
	l, err := durable.LockStore(ctx, store, other, durable.LockOptions{Wait: op.m.LockWait,
		OnWait: func() {
			op.w.Notice(fmt.Sprintf("waiting for another pkgsneak to end, which brings files into %q",
				store.Path()))
		}})
	if l != nil {
		c.locks[kind] = l
	}
	return err
}

// openClient opens what is there, and keeps other imports out of it. Nothing is created before the
// plan is made.
func (im *importer) openClient(ctx context.Context) (err error) {
	c := &client{locks: make(map[payload.Kind]*durable.Lock),
		blocked: make(map[payload.Kind]string), links: im.m.DISTDIR, w: im.w}
	im.client = c
	if im.wants(payload.Package) {
		c.pkgdir, err = pkgdir.OpenWith(im.m.PKGDIR, im.m.Hook)
		if err := im.block(payload.Package, err); err != nil {
			return err
		}
		if c.pkgdir != nil {
			if err := c.pkgdir.Ready(); err != nil {
				return err
			}
			c.pkgdir.Distdir, _ = machine.DistdirIn(im.m.PKGDIR, im.m.DISTDIR)
			if both := machine.Overlap(im.m.PKGDIR, im.m.DISTDIR); both != "" {
				im.note("%s", both)
			}
		}
		if err := lockClient(ctx, im.operation, payload.Package); err != nil {
			return err
		}
		if c.packages, err = im.st.Cache(im.m.PKGDIR, im.m.Now()); err != nil {
			return err
		}
	}
	if im.wants(payload.Distfile) {
		c.distdir, err = distdir.OpenWith(im.m.DISTDIR, im.m.Hook)
		if err := im.block(payload.Distfile, err); err != nil {
			return err
		}
		if err := lockClient(ctx, im.operation, payload.Distfile); err != nil {
			return err
		}
		if c.distfiles, err = im.st.Cache(im.m.DISTDIR, im.m.Now()); err != nil {
			return err
		}
	}
	return nil
}

// block notes why nothing can be brought into the directory of a kind, which was opened with err:
// the other kind goes on without it. It returns the error where there is no other kind to go on
// with.
func (im *importer) block(kind payload.Kind, err error) error {
	c, other := im.client, payload.Package
	if kind == payload.Package {
		other = payload.Distfile
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		c.blocked[kind] = unwritable(im.dirOf(kind), im.o.Pretend)
	case !im.wants(other) || c.blocked[other] != "":
		return err
	default:
		c.blocked[kind] = fault.Text(err)
	}
	return nil
}

// createClient makes the directories that are missing.
func (op *operation) createClient(ctx context.Context) (err error) {
	c := op.client
	if c.pkgdir == nil && op.wants(payload.Package) && op.any(payload.Package) {
		if c.pkgdir, err = pkgdir.Create(op.m.PKGDIR, op.m.Hook); err != nil {
			return err
		}
		if err := lockClient(ctx, op, payload.Package); err != nil {
			return err
		}
	}
	if c.distdir == nil && op.wants(payload.Distfile) && op.any(payload.Distfile) {
		if c.distdir, err = distdir.Create(op.m.DISTDIR, op.m.Hook); err != nil {
			return err
		}
		if err := lockClient(ctx, op, payload.Distfile); err != nil {
			return err
		}
	}
	return nil
}

// any reports whether files of a kind will be brought in.
func (op *operation) any(kind payload.Kind) bool {
	for _, in := range op.origins {
		for _, d := range in.tasks {
			if d.kind == kind {
				return true
			}
		}
	}
	return false
}

// readCatalogue makes the origin's entries ready for another machine's index: CHOST and REPO stand
// in each, because its header may differ.
func (im *importer) readCatalogue(in *incoming) (err error) {
	if in.catalogue, err = in.gen.Catalogue(); err != nil {
		return err
	}
	in.entries = make(map[string]pkgindex.Entry, len(in.catalogue.Entries))
	for _, e := range in.catalogue.Entries {
		in.entries[e.Path()] = pkgindex.Rebase(e, in.catalogue.Header, pkgindex.Header{})
	}
	in.Plan.NotCarried = max(0, len(in.entries)-len(in.gen.Packages()))
	return nil
}

// checkSpace compares what is needed with the free space (spaceCheck), before the first byte is
// written.
func (im *importer) checkSpace() error {
	c := spaceCheck{pretend: im.o.Pretend}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if im.wants(kind) && im.client.blocked[kind] == "" {
			c.stores = append(c.stores, spaceStore{kind, im.dirOf(kind), im.client.store(kind)})
		}
	}
	var todo []payload.Item
	for _, in := range im.origins {
		in.Plan.Need = 0
		for _, d := range in.tasks {
			in.Plan.Need = payload.Plus(in.Plan.Need, d.item.Size)
			c.files = append(c.files, spaceFile{d.kind, d.local, d.item.Size, d.item.Sum})
			todo = append(todo, payload.Item{Size: d.item.Size})
		}
	}
	if giveUp, err := c.fitsWithout(im.m, im.undo, im.repos.old()); err != nil {
		return err
	} else if giveUp {
		im.makeRoom = true
		return nil
	}
	short, err := c.run()
	if err != nil || short == nil {
		return err
	}
	return fmt.Errorf("import: %w", &volume.SpaceError{Where: short.where, Need: short.need,
		Free: short.free, Fits: payload.Fitting(todo, short.free)})
}

func (op *operation) dirOf(kind payload.Kind) string {
	if kind == payload.Package {
		return op.m.PKGDIR
	}
	return op.m.DISTDIR
}
