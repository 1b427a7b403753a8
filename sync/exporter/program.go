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
)

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
	if room, err := p.drive.Space(); err != nil || room.Free < room.Need(s.size)+p.need(room, nil) {
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
