package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/volume"
)

// noProgramRoom is told where the program does not travel along for want of room.
const noProgramRoom = "there is no room on the drive for pkgsneak itself: a client that does not have it cannot take it from there"

// measureExtras finds out what the run will write beside the payload, for a plan that is shown: the
// ebuild repositories and the program, in the order in which they come. Neither ends an export for
// want of room.
func measureExtras(ctx context.Context, p *Plan) error {
	room, err := volume.SpaceAt(p.o.Drive)
	if err != nil {
		return err
	}
	shown := &p.report.Plan
	left := shown.Free - shown.Need
	if left < 0 { // what goes is removed first
		left = max(left+p.freed(), 0)
	}
	tell := func(notice string) {
		if p.o.Pretend { // else the run tells what came of it
			p.report.Notices = append(p.report.Notices, notice)
		}
	}
	if about := treesSize(p, room); about > left {
		tell(fmt.Sprintf("there may be no room on the drive for the ebuild repositories: packed they take about %s, and %s are left for them",
			fault.Size(about), fault.Size(left)))
	} else {
		shown.Packing, left = about, left-about
	}
	size, err := programNeed(ctx, p, room)
	switch {
	case err != nil:
		return err
	case size > left:
		tell(noProgramRoom)
	default:
		shown.Program = size
	}
	return nil
}

// programNeed is what the running program takes on the drive, 0 if it is none that is of use there,
// or there already.
func programNeed(ctx context.Context, p *Plan, room volume.Space) (int64, error) {
	s := openStatic(p.m.Executable)
	if s.file == nil {
		return 0, nil
	}
	s.file.Close()
	key := payload.Key{Kind: payload.Program, Path: layout.BinFile(runtime.GOARCH)}
	if held := p.next.current[key]; held != nil && held.Size == s.size {
		running, err := readSelf(ctx, p.m.Executable)
		if running.file != nil {
			running.file.Close()
		}
		if err != nil || running.sum == held.Sum {
			return 0, err
		}
	}
	return room.Need(s.size), nil
}

// ownNeed is what the generation's own files still take once the writing has begun: what was
// allocated for them is not free any more.
func (p *Plan) ownNeed(room volume.Space) int64 {
	need := p.need(room, nil)
	if p.committed == nil && p.remains == nil {
		need -= min(copiesRoom, copiesBegun(p, room))
	}
	return need
}

// putProgram lays the running program on the drive, unless it is there, so that a bare client can
// import. Only a static binary is of use there.
func (p *Plan) putProgram(ctx context.Context, w *drivewriter.Writer, s self) error {
	if s.file == nil {
		return nil
	}
	path := layout.BinFile(runtime.GOARCH)
	key := payload.Key{Kind: payload.Program, Path: path}
	if old, ok := p.next.current[key]; ok && old.Sum == s.sum {
		return nil
	}
	room, err := p.drive.Space()
	if err != nil || room.Free < room.Need(s.size)+p.ownNeed(room) {
		p.report.Notices = append(p.report.Notices, noProgramRoom)
		return err
	}
	var source error
	put, err := w.Put(ctx, drivewriter.NewFile{Kind: payload.Program, Path: path, Size: s.size},
		func(dst io.Writer) (err error) {
			source, err = pipeline.Copy(dst, pipeline.Reader{Ctx: ctx, R: s.contents()}, s.size,
				&pipeline.Buffers{})
			return errors.Join(source, err)
		})
	switch {
	case source != nil:
		return ctxOnly(ctx)
	case err != nil:
		return err
	case put.Sum != s.sum: // it was changed meanwhile
		return nil
	}
	p.next.current[key] = &put
	p.report.Plan.Program = room.Need(s.size)
	return nil
}
