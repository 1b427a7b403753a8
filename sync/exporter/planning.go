package exporter

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// plan finds out what is to be done, and refuses what must not be.
func (x *exporter) plan(ctx context.Context) error {
	fit := func(ctx context.Context) error { return fit(ctx, x) }
	asked := func(ctx context.Context) error { return readRequests(ctx, x) }
	rest := func(ctx context.Context) error { return describeRest(ctx, x) }
	renew := func(ctx context.Context) error { return renewChecks(ctx, x) }
	for _, step := range []func(context.Context) error{x.identify, x.openDrive, asked, x.scan,
		x.checkClock, x.compareAll, x.compareTrees, fit, rest, x.guard, renew} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (x *exporter) scan(ctx context.Context) (err error) {
	x.w.Tell(progress.Event{Phase: progress.PhaseScan, Path: x.m.PKGDIR})
	x.host, err = scanForRemains(ctx, x)
	if err != nil {
		return err
	}
	x.report.Notices = append(x.report.Notices, x.host.notices...)
	if !x.o.NoPackages {
		x.report.Notices = append(x.report.Notices, x.host.thin(x.m)...)
	}
	return nil
}

// formerKeys are the keys that this machine signed with before, where its origin had other names
// then: a client that trusts one of them sees by it that the origin of that key has gone on.
func formerKeys(x *exporter) []manifest.Fingerprint {
	var keys []manifest.Fingerprint
	for _, key := range x.past {
		if len(x.next.record.Formerly) > 0 && len(keys) < layout.MaxFormerly {
			keys = append(keys, key.Fingerprint())
		}
	}
	return keys
}

// checkClock looks at the clock before anything depends on it, and describes the origin.
func (x *exporter) checkClock(context.Context) error {
	var notes []string
	x.next.record, notes = describeOrigin(x.m.Settings, x.m.Version, x.m.Now())
	x.report.Notices = append(x.report.Notices, notes...)
	former, err := state.FormerNames(x.st, x.name)
	if err != nil {
		return err
	}
	x.next.record.Formerly = former[:min(len(former), layout.MaxFormerly)]
	x.next.record.FormerKeys = formerKeys(x)
	if err := errors.Join(noteFormer(x), noteNamesakes(x)); err != nil {
		return err
	}
	if x.o.AcceptClock {
		return nil
	}
	var key *manifest.PublicKey
	if x.key != nil {
		key = x.key.Public()
	}
	var last time.Time
	if e, ok := x.st.Exported(x.name); ok {
		last = time.Unix(e.Serial, 0)
	}
	newest := last
	if x.committed != nil {
		newest = trust.Latest(newest, time.Unix(x.committed.Serial(), 0))
	}
	if err := checkAhead(x.m, x.name, newest); err != nil {
		return err
	}
	return checkClock(x.m.Now(), evidenceOf(x.m, x.st, x.committed, x.host,
		x.next.record.Repositories), key, last)
}

// compareAll compares host and drive and makes what the next commit lists out of what the drive
// holds.
func (x *exporter) compareAll(ctx context.Context) error {
	x.chooseHeader()
	if err := reuseRemains(ctx, x); err != nil {
		return err
	}
	held := x.committedFiles()
	p := &x.report.Plan
	p.Copy, p.Compare, p.Remove = []payload.Item{}, []payload.Item{}, []payload.Item{}
	p.LeftOut, p.Duplicates = append([]payload.Item{}, x.host.leftOut...), x.host.duplicates
	taken := x.findTaken()
	for _, s := range planExport(x.host.list(), held) {
		key := payload.Key{Kind: s.Item.Kind, Path: s.Item.Path}
		h := x.host.files[key]
		switch {
		case s.Action == Remove && taken[key].Path != "": // named below
		case s.Action == Remove:
			p.Remove = append(p.Remove, s.Item)
		case h.odd != "" && s.Action != Keep:
			s.Item.Reason, s.Item.Hint = "damaged, or the index is stale: "+h.odd, x.hintIndex()
			p.LeftOut = append(p.LeftOut, s.Item)
		case s.Action == Copy:
			p.Copy = append(p.Copy, s.Item)
		case s.Action == Compare:
			p.Compare = append(p.Compare, s.Item)
		default:
			x.keep(ctx, s.Item, h)
		}
	}
	if !x.o.NoPackages { // else nobody looked whether they are gone
		x.next.vouched(x.host.files, taken)
	}
	x.leaveTaken(taken)
	x.next.stock = newStock(x.host, x.m, x.o, x.told, x.next.entries)
	x.next.stock.addTaken(taken)
	x.next.stock.lastLooked(x.committed, x.o)
	if x.o.Pretend {
		x.next.changed = x.next.changed || len(x.next.undescribed()) > 0
	} else if err := x.compare(ctx); err != nil {
		return err
	}
	if err := findDamage(ctx, x); err != nil {
		return err
	}
	x.todo = append(slices.Clip(p.Copy), p.Compare...)
	if !x.o.Pretend {
		if err := healCatalogue(ctx, x); err != nil {
			return err
		}
		if err := x.next.stock.complete(ctx, x.host, x.next.unknown(x.host.files),
			x.o.looking()); err != nil {
			return err
		}
	}
	return x.measure()
}

// keep leaves a file on the drive as it is.
func (p *Plan) keep(ctx context.Context, it payload.Item, h *sourceFile) {
	p.report.Kept.Add(it.Size)
	if p.next.disputes(it, h) {
		if p.o.Pretend { // a plan reads no package
			p.next.changed = true
		} else {
			p.next.setEntry(it.Path, decide(ctx, p, h))
		}
		return
	}
	p.next.keep(it, h)
}

// committedFiles lists what the drive holds of the kinds that are looked at, and takes everything
// it holds as the beginning of the next generation.
func (x *exporter) committedFiles() []DriveFile {
	if x.committed == nil {
		return keptRemains(x.next)
	}
	var files []DriveFile
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		items := x.committed.Items(kind)
		files = slices.Grow(files, len(items))
		for i := range items {
			it := &items[i]
			x.next.current[payload.Key{Kind: kind, Path: it.Path}] = it
			if kind == payload.Package && x.o.NoPackages || kind == payload.Distfile &&
				x.o.NoDistfiles {
				x.report.Kept.Add(it.Size)
				continue
			}
			files = append(files, DriveFile{Kind: kind, Path: it.Path, Size: it.Size, Sum: it.Sum,
				Index: indexSums(x.next.entries[it.Path])})
		}
	}
	programs := x.committed.Programs()
	for i := range programs {
		x.next.current[payload.Key{Kind: payload.Program, Path: programs[i].Path}] = &programs[i]
	}
	return files
}

// chooseHeader takes the header of the catalogue from the host's index, or from its settings where
// there is no index.
func (x *exporter) chooseHeader() {
	defer func() { x.next.rebase() }()
	var notes []string
	defer func() {
		x.next.header, notes = writable(x.next.header)
		x.report.Notices = append(x.report.Notices, notes...)
	}()
	switch {
	case x.host.header != nil:
		x.next.header = x.host.header.Clone()
	case x.o.NoPackages && x.next.before != nil:
		x.next.header = x.next.before.Clone()
	default:
		x.next.header = pkgindex.UpdateHeader(pkgindex.Header{}, x.m.Settings.Get,
			x.m.Settings.ProfileName())
	}
}

// compare reads the files of which the drive has one of the same name and size, and moves them to
// where they belong in the plan.
func (x *exporter) compare(ctx context.Context) error {
	p := &x.report.Plan
	total := payload.Count(p.Compare)
	var done payload.Tally
	for _, it := range p.Compare {
		x.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: it.Path, Done: done.Bytes,
			Total: total.Bytes, Files: done.Files, FilesTotal: total.Files})
		key := it.Key()
		h := x.host.files[key]
		sums, err := x.host.dir(it.Kind).sum(ctx, it.Path, h.info)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			it.Reason = fault.Text(err)
			p.LeftOut = append(p.LeftOut, it)
		case manifest.Digest(sums.Blake2b) == x.next.current[key].Sum:
			x.keep(ctx, it, h)
		default:
			it.Reason = "rebuilt"
			p.Copy = append(p.Copy, it)
		}
		done.Add(it.Size)
	}
	p.Compare = []payload.Item{}
	return nil
}

// measure fills in the figures of the plan.
func (x *exporter) measure() error {
	room, err := volume.SpaceAt(x.o.Drive)
	if err != nil {
		return err
	}
	p := &x.report.Plan
	p.Keep, p.Free = x.report.Kept, room.Free
	p.Need = x.need(room, x.todo)
	x.report.LeftOut = slices.Clone(p.LeftOut)
	return nil
}

// tryKey signs as the commit will, so that a plan fails where the export would.
func tryKey(x *exporter) error {
	if x.key == nil {
		return nil
	}
	e, _ := x.st.Exported(x.name)
	last := e.Serial
	if x.committed != nil {
		last = max(last, x.committed.Serial())
	}
	if err := drivewriter.CheckKey(x.key, x.now, last); err != nil {
		return &KeyEndedError{Key: x.key.Public().Fingerprint(),
			File: filepath.Join(x.m.StateDir, "signing.asc"), Err: err}
	}
	return nil
}

// guard refuses to take a disaster for a deletion.
func (x *exporter) guard(context.Context) error {
	p := &x.report.Plan
	if err := tryKey(x); err != nil {
		return err
	}
	if x.committed == nil && len(x.todo)+len(x.next.current) == 0 && !x.trees.packs() {
		return fmt.Errorf("export: %w", &NothingError{Notices: x.report.Notices,
			For: x.o.For, InTransit: allInTransit(x.report.Plan.Selection)})
	}
	if err := drivewriter.CheckCapacity(filesAfter(x.next.current, x.todo, p.Remove),
		x.o.PartSize); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := checkCatalogue(x); err != nil {
		return err
	}
	if x.o.AllowShrink {
		return nil
	}
	if before, after := countOnDrive(x,
		payload.Package), x.host.count(payload.Package); !x.o.NoPackages &&
		payload.Shrunk(before, after) {
		return &ShrinkError{Kind: payload.Package, Dir: p.PKGDIR, Before: before, After: after}
	}
	if before := countOnDrive(x, payload.Distfile); !x.o.NoDistfiles && before > 0 &&
		x.host.count(payload.Distfile) == 0 {
		return &ShrinkError{Kind: payload.Distfile, Dir: p.DISTDIR, Before: before}
	}
	return nil
}

// unchanged reports whether the drive has already what the next generation would list, and lacks
// nothing: a pull, or somebody who deleted files there, may have left something to repair.
func (p *Plan) unchanged() (bool, error) {
	if p.committed == nil {
		return false, nil
	}
	if len(p.todo)+len(p.report.Plan.Remove)+len(p.broken.files) > 0 || p.trees.changed ||
		!p.sameKey() || !p.next.matches(p.told, p.committed.Record.Has) {
		p.enough()
		p.state()
		return false, nil
	}
	state, err := p.state()
	// Manifest.next alone is wrong: only a commit writes it. Manifest alone is repaired before
	// anything is written
	torn := !state.BothCopies && p.committed.File == layout.ManifestFile
	p.stale = p.stale || torn || !state.Packages || len(state.Own) > 0
	if p.stale || !state.Whole() || err != nil || !p.hidden &&
		!drivewriter.Offers(p.drive, append(manifest.Ring{p.key.Public()}, p.past...)) {
		return false, err
	}
	p.report.Notices = append(p.report.Notices, foreignNotice(p.dir, state.Others)...)
	return true, nil
}
