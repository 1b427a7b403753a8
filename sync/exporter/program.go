package exporter

import (
	"context"
	"debug/elf"
	"errors"
	"io"
	"os"
	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"runtime"
	"slices"
)

// self is the running program, if it is one that is of use on a drive.
type self struct {
	file *os.File // nil: it is not
	size int64
	sum  manifest.Digest
}

// readSelf opens and hashes the running program. One that cannot be read is not offered.
func readSelf(ctx context.Context, path string) (s self, _ error) {
	if s.file, s.size = openStatic(path); s.file == nil {
		return s, nil
	}
	sums, err := digest.Reader(ctx, s.file, digest.BLAKE2B, nil)
	if err != nil {
		s.file.Close()
		return self{}, ctxOnly(ctx)
	}
	s.sum = sums.Blake2b
	return s, nil
}

// putProgram lays the running program on the drive, so that a bare client can import. Only a static binary is of use there.
func (p *Plan) putProgram(ctx context.Context, w *drivewriter.Writer, s self) error {
	if s.file == nil {
		return nil
	}
	file, size := s.file, s.size
	path := layout.BinFile(runtime.GOARCH)
	key := payload.Key{Kind: program, Path: path}
	if old, ok := p.next.current[key]; ok && old.Sum == s.sum {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	if room, err := p.drive.Space(); err != nil || room.Free < room.Need(size)+p.need(room, nil) {
		p.report.Notices = append(p.report.Notices, "there is no room on the drive for pkgsneak itself: a client that does not have it cannot take it from there")
		return err
	}
	put, err := w.Put(ctx, drivewriter.NewFile{Kind: layout.Program, Path: path, Size: size}, func(dst io.Writer) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return &sourceError{err}
		}
		return pour(ctx, dst, file, info, &pipeline.Buffers{})
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

func ctxOnly(ctx context.Context) error { return context.Cause(ctx) }

// openStatic opens a program if it is one that runs anywhere: an ELF file without an interpreter.
func openStatic(path string) (*os.File, int64) {
	if path == "" {
		return nil, 0
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0
	}
	e, err := elf.NewFile(f)
	fi, statErr := f.Stat()
	if err != nil || statErr != nil || slices.ContainsFunc(e.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		f.Close()
		return nil, 0
	}
	return f, fi.Size()
}
