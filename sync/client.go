package sync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/distdir"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/ledger"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/volume"
)

// client is this machine's PKGDIR and DISTDIR, with what is remembered of the digests in them. A directory that does not exist yet is nil: everything is absent there.
type client struct {
	pkgdir    *pkgdir.Dir
	distdir   *distdir.Dir
	packages  *ledger.Cache
	distfiles *ledger.Cache
}

func (c *client) close() {
	if c.pkgdir != nil {
		c.pkgdir.Close()
	}
	if c.distdir != nil {
		c.distdir.Close()
	}
}

// openClient opens what is there. Nothing is created before the plan is made.
func (im *importer) openClient(context.Context) (err error) {
	c := &client{}
	im.client = c
	if im.wants(Package) {
		if c.pkgdir, err = pkgdir.OpenWith(im.m.PKGDIR, im.m.Hook); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if c.packages, err = im.l.Cache(im.m.PKGDIR, im.m.Now()); err != nil {
			return err
		}
	}
	if im.wants(Distfile) {
		if c.distdir, err = distdir.OpenWith(im.m.DISTDIR, im.m.Hook); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if c.distfiles, err = im.l.Cache(im.m.DISTDIR, im.m.Now()); err != nil {
			return err
		}
	}
	return nil
}

// createClient makes the directories that are missing.
func (im *importer) createClient() (err error) {
	c := im.client
	if c.pkgdir == nil && im.wants(Package) && im.any(Package) {
		if c.pkgdir, err = pkgdir.Create(im.m.PKGDIR, im.m.Hook); err != nil {
			return err
		}
	}
	if c.distdir == nil && im.wants(Distfile) && im.any(Distfile) {
		if c.distdir, err = distdir.Create(im.m.DISTDIR, im.m.Hook); err != nil {
			return err
		}
	}
	return nil
}

// any reports whether files of a kind will be brought in.
func (im *importer) any(kind Kind) bool {
	for _, in := range im.origins {
		for _, d := range in.deeds {
			if d.kind == kind {
				return true
			}
		}
	}
	return false
}

// looked is a place on the client and its status.
type looked struct {
	clientFile
	info fs.FileInfo
}

// look finds out what lies at a place. Contents are read only if their size could make them one of the wanted, and only if they are not remembered.
func (im *importer) look(ctx context.Context, kind Kind, local string, sizes ...int64) (looked, error) {
	l := looked{clientFile: clientFile{Local: local}}
	fi, err := im.client.lstat(kind, local)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	case err != nil: // a directory on the way is a link that leads out, or none; the name is too long
		return l, &leftOutError{"its place here cannot be looked at: " + reasonOf(err)}
	}
	l.Exists, l.info, l.Size = true, fi, fi.Size()
	if !fi.Mode().IsRegular() {
		return l, nil
	}
	for _, size := range sizes {
		if size == fi.Size() {
			l.Sum, err = im.digestOf(ctx, kind, local, fi)
			return l, err
		}
	}
	return l, nil
}

// reasonOf is what the kernel or os.Root said, without the operation and the path.
func reasonOf(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return err.Error()
}

func (c *client) lstat(kind Kind, local string) (fs.FileInfo, error) {
	switch {
	case kind == Package && c.pkgdir != nil:
		return c.pkgdir.Lstat(local)
	case kind == Distfile && c.distdir != nil:
		return c.distdir.Lstat(local)
	}
	return nil, fs.ErrNotExist
}

func (c *client) cache(kind Kind) *ledger.Cache {
	if kind == Package {
		return c.packages
	}
	return c.distfiles
}

// digestOf returns the BLAKE2B of a local file, from memory or by reading it.
func (im *importer) digestOf(ctx context.Context, kind Kind, local string, fi fs.FileInfo) (manifest.Digest, error) {
	cache := im.client.cache(kind)
	if sums, set, ok := cache.Lookup(local, fi); ok && set&digest.BLAKE2B != 0 {
		return sums.Blake2b, nil
	}
	im.w.Tell(Event{Phase: PhaseCheck, Path: local})
	open := im.client.distdir.OpenFile
	if kind == Package {
		open = im.client.pkgdir.OpenFile
	}
	f, now, err := open(local)
	if err != nil {
		return manifest.Digest{}, nil // what cannot be read is not known to be anybody's: it is local
	}
	defer f.Close()
	sums, err := digest.Reader(ctx, f, digest.BLAKE2B, nil)
	if ctx.Err() != nil {
		return manifest.Digest{}, context.Cause(ctx)
	}
	if err != nil || unchanged(f, now) != nil {
		return manifest.Digest{}, nil
	}
	cache.Put(local, now, sums, digest.BLAKE2B)
	return sums.Blake2b, nil
}

// planPackages compares the packages of a generation with the client's PKGDIR.
func (im *importer) planPackages(ctx context.Context, in *incoming) error {
	for _, it := range in.gen.Packages() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		entry, ok := in.entries[it.Path]
		err := checkEntry(entry, ok, it.Size)
		if err == nil {
			err = im.planPackage(ctx, in, deed{item: it, kind: Package, path: it.Path, entry: entry})
		}
		if err := in.plannedWithout(Package, it, err); err != nil {
			return err
		}
	}
	return im.planPrune(ctx, in, Package, func(path string) bool { _, ok := in.entries[path]; return ok })
}

// checkEntry refuses an entry that cannot be the package's: what the index says is what Portage compares the file with.
func checkEntry(e pkgindex.Entry, ok bool, signed int64) error {
	const lastSecond = 1<<32 - 1 // as OpenPGP; no file system that holds a PKGDIR has fewer than half of it
	size, known := e.Size()
	mtime, hasTime := e.MTime()
	switch {
	case !ok:
		return &leftOutError{"the catalogue has no entry for it"}
	case !known || size != signed:
		return &leftOutError{"the catalogue gives another size"}
	case hasTime && (mtime < 0 || mtime > lastSecond):
		return &leftOutError{fmt.Sprintf("the catalogue gives the impossible MTIME %d", mtime)}
	}
	return nil
}

// plannedWithout puts a file that cannot be brought in on its list. Another error than such a reason ends the run.
func (in *incoming) plannedWithout(kind Kind, it drive.Item, err error) error {
	var reason *leftOutError
	if !errors.As(err, &reason) {
		return err
	}
	in.Plan.LeftOut = append(in.Plan.LeftOut, Item{Kind: kind, Path: it.Path, Size: it.Size, Reason: reason.reason})
	return nil
}

// readCatalogue makes the origin's entries ready for another machine's index: CHOST and REPO stand in each, because its header may say something else.
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

// planPackage decides about one package. It is looked for where it was put the last time, and then where the origin has it.
func (im *importer) planPackage(ctx context.Context, in *incoming, d deed) error {
	item := Item{Kind: Package, Path: d.path, Size: d.item.Size}
	before, known := in.imports[Package][d.path]
	places := []string{d.path}
	if known && before.Local != d.path {
		places = []string{before.Local, d.path}
	}
	state := absent
	for _, place := range places {
		l, err := im.look(ctx, Package, place, d.item.Size, before.Size)
		if err != nil {
			return err
		}
		delivered := manifest.Digest{}
		if known && before.Local == place {
			delivered = before.Sum
		}
		switch state = judge(l.clientFile, d.item.Sum, delivered); state {
		case present:
			in.Plan.Present.Add(d.item.Size)
			if known && before.Local == place {
				in.imports[Package][d.path] = ledger.Import{Local: place, Size: d.item.Size, Sum: d.item.Sum}
			}
			return nil
		case outdated:
			d.local, d.owned = place, &pkgdir.Owned{Path: place, Verified: l.info}
			item.Reason, item.Local = "rebuilt by the origin", elsewhere(place, d.path)
			in.Plan.Replace = append(in.Plan.Replace, item)
			in.deeds = append(in.deeds, d)
			return nil
		}
	}
	d.local = d.path
	if state == occupied {
		item.Reason = "a local file has its name"
		in.Plan.Beside = append(in.Plan.Beside, item)
	} else {
		in.Plan.Copy = append(in.Plan.Copy, item)
	}
	in.deeds = append(in.deeds, d)
	return nil
}

// elsewhere returns local if it is not the path that one would expect.
func elsewhere(local, path string) string {
	if local == path {
		return ""
	}
	return local
}

// planDistfiles compares the distfiles of a generation with the client's DISTDIR, which is flat.
func (im *importer) planDistfiles(ctx context.Context, in *incoming) error {
	for _, it := range in.gen.Distfiles() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := im.planDistfile(ctx, in, deed{item: it, kind: Distfile, path: it.Path, local: it.Path})
		if err := in.plannedWithout(Distfile, it, err); err != nil {
			return err
		}
	}
	return im.planPrune(ctx, in, Distfile, func(path string) bool { _, ok := in.gen.Find(driveKind(Distfile), path); return ok })
}

func (im *importer) planDistfile(ctx context.Context, in *incoming, d deed) error {
	if err := distdir.CheckName(d.path); err != nil {
		return &leftOutError{err.Error()}
	}
	item := Item{Kind: Distfile, Path: d.path, Size: d.item.Size}
	before, known := in.imports[Distfile][d.path]
	l, err := im.look(ctx, Distfile, d.local, d.item.Size, before.Size)
	if err != nil {
		return err
	}
	switch judge(l.clientFile, d.item.Sum, before.Sum) {
	case present:
		in.Plan.Present.Add(d.item.Size)
		if known {
			in.imports[Distfile][d.path] = ledger.Import{Local: d.local, Size: d.item.Size, Sum: d.item.Sum}
		}
		return nil
	case absent:
		in.Plan.Copy = append(in.Plan.Copy, item)
	case outdated:
		d.over, item.Reason = l.info, "changed by the origin"
		in.Plan.Replace = append(in.Plan.Replace, item)
	default:
		if !im.o.Replace || !l.info.Mode().IsRegular() {
			item.Reason, item.Hint = "a local file with other contents has its name", "pkgsneak import --replace"
			in.Plan.LeftOut = append(in.Plan.LeftOut, item)
			return nil
		}
		d.over, item.Reason = l.info, "a local file with other contents is replaced"
		in.Plan.Replace = append(in.Plan.Replace, item)
	}
	in.deeds = append(in.deeds, d)
	return nil
}

// planPrune finds what came from the origin and has left it. A file that was changed here since is local and does not count; an older generation says nothing about what is gone.
func (im *importer) planPrune(ctx context.Context, in *incoming, kind Kind, has func(path string) bool) error {
	if in.Plan.Older {
		return nil
	}
	for path, before := range in.imports[kind] {
		if has(path) {
			continue
		}
		l, err := im.look(ctx, kind, before.Local, before.Size)
		if isLeftOut(err) {
			continue // it is not where it was put
		}
		if err != nil {
			return err
		}
		if !l.Exists || l.Sum != manifest.Digest(before.Sum) {
			continue
		}
		in.Plan.Prune = append(in.Plan.Prune, Item{Kind: kind, Path: path, Size: before.Size, Local: elsewhere(before.Local, path), Reason: "gone from the origin"})
		in.prune = append(in.prune, deed{kind: kind, path: path, local: before.Local, owned: &pkgdir.Owned{Path: before.Local, Verified: l.info}})
	}
	sortItems(in.Plan.Prune)
	return nil
}

// checkSpace compares what will be staged with the room there is, before the first byte is written.
func (im *importer) checkSpace() error {
	needs := make(map[string]int64)
	var todo []Item
	for _, in := range im.origins {
		in.Plan.Need = 0
		for _, d := range in.deeds {
			in.Plan.Need = plus(in.Plan.Need, d.item.Size)
			todo = append(todo, Item{Size: d.item.Size})
			needs[im.dirOf(d.kind)] = plus(needs[im.dirOf(d.kind)], d.item.Size)
		}
	}
	if dp, err1 := device(volume.Existing(im.m.PKGDIR)); err1 == nil {
		if dd, err2 := device(volume.Existing(im.m.DISTDIR)); err2 == nil && dp == dd && im.m.PKGDIR != im.m.DISTDIR {
			needs[im.m.PKGDIR] = plus(needs[im.m.PKGDIR], needs[im.m.DISTDIR])
			delete(needs, im.m.DISTDIR)
		}
	}
	for dir, need := range needs {
		room, err := volume.SpaceAt(volume.Existing(dir))
		if err != nil {
			return err
		}
		if need > room.Free {
			return fmt.Errorf("import: %w", &SpaceError{Where: dir, Need: need, Free: room.Free, Fits: fitting(todo, room.Free)})
		}
	}
	return nil
}

func (im *importer) dirOf(kind Kind) string {
	if kind == Package {
		return im.m.PKGDIR
	}
	return im.m.DISTDIR
}
