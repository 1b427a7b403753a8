package exporter

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/request"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/selection"
	"pkgsneak/sync/volume"
)

// copiesRoom is what both manifest copies and Packages take on a new drive.
const copiesRoom = 4 << 20

// copiesOn is what they take on the drive already.
func copiesOn(x *exporter, room volume.Space) int64 {
	if x.committed == nil && x.noted == 0 { // neither before this run nor by it
		return 0
	}
	return copiesBegun(x.Plan, room)
}

// copiesBegun is what they take once the writing has begun.
func copiesBegun(p *Plan, room volume.Space) (sum int64) {
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile,
		layout.PackagesFile} {
		if fi, err := p.drive.Root().Stat(p.dir + "/" + name); err == nil {
			sum += room.Need(fi.Size())
		}
	}
	return sum
}

// reserved is how much of the free space stays free: a twentieth, but no more than 64 MiB.
func reserved(free int64) int64 { return min(free/20, 64<<20) }

// fit cuts the plan down to what the drive can hold. If everything fits, nothing changes.
func fit(ctx context.Context, x *exporter) error {
	p := &x.report.Plan
	room, err := volume.SpaceAt(x.o.Drive)
	if err != nil {
		return err
	}
	trees := treesSize(x.Plan, room)
	if 2*trees > p.Free+x.freed() {
		trees = 0
	}
	if x.o.For == "" && (p.Need+trees <= p.Free+x.freed() || onlyRemoves(x.Plan)) {
		return nil
	}
	freed := x.remains.left()
	for _, it := range p.Remove {
		freed += room.Need(it.Size) + perFile
	}
	if err := vouchKnown(ctx, x); err != nil {
		return err
	}
	plan, err := choose(ctx, x, room, freed, false)
	if err != nil {
		return err
	}
	payloads := func(g selection.Group) bool { return g.Files[0].Kind != payload.Program }
	if x.committed == nil && !slices.ContainsFunc(plan.Groups, payloads) &&
		!allInTransit(plan) {
		x.own, p.Enough = x.need(room, nil), enough(x, plan.Whole)
		if x.o.For == "" {
			return nil // checkSpace reports it, once revoked keys are on the drive
		}
	}
	a := &answer{plan: plan}
	apply(a, x)
	x.answer, p.Selection, p.Enough = a, plan, enough(x, plan.Whole)
	p.Need = x.need(room, x.todo)
	return nil
}

// allInTransit reports whether the clients of a plan lack something, and all of it is on other
// drives.
func allInTransit(plan *selection.Plan) (some bool) {
	if plan == nil {
		return false
	}
	for _, s := range plan.Shares {
		if s.Stay > 0 {
			return false
		}
		some = some || s.InTransit > 0
	}
	return some
}

// choose makes a selection. freed are bytes that will be free beside those of the files that the
// drive carries and this machine still has; keep tells that these stay.
func choose(ctx context.Context, x *exporter, room volume.Space, freed int64,
	keep bool) (*selection.Plan, error) {
	in, sums, kept, err := newOffer(ctx, x, room, freed)
	if err != nil {
		return nil, err
	}
	in.Only, in.Keep = x.o.For != "", keep
	if in.Clients, err = recipients(ctx, x, sums, in.Packages); err != nil {
		return nil, err
	}
	plan, err := selection.Make(in)
	if err == nil && len(plan.Leave) > 0 && !brings(plan, x) &&
		(x.trees == nil || !x.trees.reserved) {
		in.Room = max(in.Room, kept) // nothing leaves for nothing
		plan, err = selection.Make(in)
	}
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return plan, nil
}

// brings reports whether a plan has files that are not on the drive.
func brings(plan *selection.Plan, x *exporter) bool {
	absent := make(map[payload.Key]bool, len(x.todo))
	for _, it := range x.todo {
		absent[it.Key()] = true
	}
	return slices.ContainsFunc(plan.Groups, func(g selection.Group) bool {
		return slices.ContainsFunc(g.Files, func(key payload.Key) bool { return absent[key] })
	})
}

// enough is the free space of a drive that would take files of so many bytes.
func enough(x *exporter, bytes int64) int64 {
	bytes += 4<<20 + 1024*perFile + int64(len(x.host.files))*perEntry
	return bytes + min(bytes/19, 64<<20)
}

// newOffer lists what could go on the drive, with the room that there is for it, the sums of the
// packages, zero where none is known, and the bytes of what the drive has and keeps.
func newOffer(ctx context.Context, x *exporter, room volume.Space,
	freed int64) (in selection.Input, sums []request.Sum, kept int64, err error) {
	copied := make(map[payload.Key]bool, len(x.todo))
	for _, it := range x.todo {
		copied[it.Key()] = true
	}
	bytes := func(size int64) int64 { return room.Need(size) + perFile }
	free := room.Free + freed
	var packages, distfiles []*sourceFile
	for key, h := range x.host.files {
		held := x.next.current[key]
		if held != nil {
			free += bytes(held.Size)
			if !copied[key] {
				kept += bytes(held.Size)
			}
		}
		switch {
		case held == nil && !copied[key]:
		case key.Kind == payload.Package:
			packages = append(packages, h)
		default:
			distfiles = append(distfiles, h)
		}
	}
	byPath := func(a, b *sourceFile) int {
		return payload.Compare(payload.Item{Path: a.Path}, payload.Item{Path: b.Path})
	}
	slices.SortFunc(packages, byPath)
	slices.SortFunc(distfiles, byPath)
	file := func(h *sourceFile) selection.File {
		return selection.File{Kind: h.Kind, Path: h.Path, Bytes: bytes(h.Size),
			Held: !copied[payload.Key{Kind: h.Kind, Path: h.Path}]}
	}
	for _, h := range packages {
		if err := context.Cause(ctx); err != nil {
			return in, nil, 0, err
		}
		p, entry := describe(x, h, !copied[payload.Key{Kind: h.Kind, Path: h.Path}])
		sum, _ := request.SumOf(entry)
		in.Packages, sums = append(in.Packages,
			selection.Package{File: file(h), Package: p}), append(sums, sum)
	}
	for _, h := range distfiles {
		in.Distfiles = append(in.Distfiles, file(h))
	}
	own := room.Need(1024*perFile) + int64(len(packages)+len(distfiles))*perEntry
	free -= own + max(0, copiesRoom-copiesOn(x, room))
	in.Room = max(0, free-reserved(free))
	if room.Free >= own { // nothing leaves for the sake of what stays free
		in.Room = max(in.Room, kept)
	}
	if need := treesSize(x.Plan, room); need > 0 && 2*need <= in.Room {
		in.Room -= need // they come after the payload, and have to find room
		x.trees.reserved = true
	}
	if program := ownProgram(x); program.Bytes > 0 && program.Bytes <= in.Room/4 {
		in.Extras = append(in.Extras, program)
	}
	return in, sums, kept, nil
}

// treesSize is about what the ebuild repositories that are to be packed will take on the drive: a
// third of what their files have, or what the archive before took. They go before packages that
// nobody asked for where the drive holds them twice over, and are left out by name where there is
// no room in the end.
func treesSize(p *Plan, room volume.Space) (sum int64) {
	if p.trees == nil {
		return 0
	}
	for _, j := range p.trees.jobs {
		if j.plan.Action != TreePack {
			continue
		}
		size := j.plan.Bytes/3 + int64(j.plan.Count)*16
		if held := p.trees.carried[j.plan.Name]; held != nil {
			it := p.next.current[payload.Key{Kind: payload.Repository, Path: held.File}]
			if it != nil {
				size = it.Size + it.Size/8
			}
		}
		sum += room.Need(size)
	}
	return sum
}

// ownProgram is the running program as a file for the drive; without bytes if it is none that is of
// use there.
func ownProgram(x *exporter) selection.File {
	s := openStatic(x.m.Executable)
	if s.file == nil {
		return selection.File{}
	}
	s.file.Close()
	key := payload.Key{Kind: payload.Program, Path: layout.BinFile(runtime.GOARCH)}
	held := x.next.current[key]
	return selection.File{Kind: payload.Program, Path: key.Path, Bytes: s.size + perFile,
		Held: held != nil && held.Size == s.size}
}

// describe is a package as the evaluator wants it: as the host's index has it, or the catalogue on
// the drive where that holds this very file, or the package itself.
func describe(x *exporter, h *sourceFile, held bool) (resolve.Package, pkgindex.Entry) {
	entry := h.entry
	if entry.IsZero() && held {
		entry = x.next.entries[h.Path]
	}
	if entry.IsZero() {
		entry = readEntry(x.host, h)
	} else {
		header := x.next.header
		if x.host.header != nil {
			header = *x.host.header
		}
		entry = pkgindex.Rebase(entry, header, pkgindex.Header{})
	}
	p := resolve.FromKeys(entry.Get)
	if p.CPV == "" {
		if name, err := binpkg.ParseName(h.Path); err == nil {
			p.CPV = name.Category + "/" + name.PF
		}
	}
	p.Size = h.Size
	return p, entry
}

// readEntry reads what a package states of itself; nothing where it cannot be read, which is told
// when it is copied.
func readEntry(s *source, h *sourceFile) pkgindex.Entry {
	file, err := s.packages.open(h.Path, h.info)
	if err != nil {
		return pkgindex.Entry{}
	}
	defer file.Close()
	entry, _ := ownEntry(file, h.Size, h.Path)
	return entry
}

// apply makes the plan of an export that of the selection.
func apply(a *answer, x *exporter) {
	a.group, a.leaves = make(map[payload.Key]int), make(map[payload.Key]bool)
	todo := make(map[payload.Key]payload.Item, len(x.todo))
	for _, it := range x.todo {
		todo[it.Key()] = it
	}
	chosen := a.take(todo)
	for _, it := range x.todo {
		if _, ok := todo[it.Key()]; ok {
			a.stays = append(a.stays, it)
		}
	}
	p := &x.report.Plan
	for key := range todo {
		if old := x.next.current[key]; old != nil {
			p.Remove = append(p.Remove, payload.Item{Kind: key.Kind, Path: key.Path, Size: old.Size,
				Reason: Outdated})
		}
	}
	for _, l := range a.plan.Leave {
		old := x.next.current[l.Key]
		if old == nil {
			continue // it is the older build of what stays here, which is gone by now
		}
		a.leaves[l.Key] = true
		p.Remove = append(p.Remove, payload.Item{Kind: l.Kind, Path: l.Path, Size: old.Size,
			Reason: l.Reason})
		x.report.Kept.Files--
		x.report.Kept.Bytes -= old.Size
	}
	payload.Sort(p.Remove)
	stays := func(it payload.Item) bool { _, ok := todo[it.Key()]; return ok }
	p.Copy, p.Compare, p.Keep = slices.DeleteFunc(p.Copy, stays), slices.DeleteFunc(p.Compare,
		stays), x.report.Kept
	x.todo = chosen
}

// take moves what the plan has chosen out of todo, in the order of the plan.
func (a *answer) take(todo map[payload.Key]payload.Item) (chosen []payload.Item) {
	for i, g := range a.plan.Groups {
		for _, key := range g.Files {
			if it, ok := todo[key]; ok {
				chosen = append(chosen, it)
				a.group[key] = i
				delete(todo, key)
			}
		}
	}
	return chosen
}

// Outdated is why a file leaves the drive whose successor has no room there.
const Outdated = "it is not what this machine has by now, which does not fit"
