package exporter

import (
	"context"
	"errors"
	"io"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"runtime"
)

// putProgram lays the running program on the drive, so that a bare client can import. Only a static
// binary is of use there.
func (p *Plan) putProgram(ctx context.Context, w *drivewriter.Writer, s self) error {
	if s.file == nil {
		return nil
	}
	file, size := s.file, s.size
	path := layout.BinFile(runtime.GOARCH)
	key := payload.Key{Kind: payload.Program, Path: path}
	if old, ok := p.next.current[key]; ok && old.Sum == s.sum {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	if room, err := p.drive.Space(); err != nil || room.Free < room.Need(size)+p.need(room, nil) {
		p.report.Notices = append(p.report.Notices,
			"there is no room on the drive for pkgsneak itself: a client that does not have it cannot take it from there")
		return err
	}
	put, err := w.Put(ctx, drivewriter.NewFile{Kind: payload.Program, Path: path, Size: size},
		func(dst io.Writer) error {
			if _, err := file.Seek(0, io.SeekStart); err != nil {
				return &sourceError{err}
			}
			return copyTo(ctx, dst, file, info, &pipeline.Buffers{})
		})
	var mine *sourceError
	switch {
	case errors.As(err, &mine):
		return ctxOnly(ctx)
	case err != nil:
		return err
	}
	p.next.current[key] = &put
	return nil
}
