package exporter

import (
	"context"
	"errors"
	"io"
	"runtime"

	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/volume"
)

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
		p.report.Notices = append(p.report.Notices,
			"there is no room on the drive for pkgsneak itself: a client that does not have it cannot take it from there")
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
	return nil
}
