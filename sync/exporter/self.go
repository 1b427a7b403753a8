package exporter

import (
	"context"
	"debug/elf"
	"os"
	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
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
	if err != nil || statErr != nil ||
		slices.ContainsFunc(e.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		f.Close()
		return nil, 0
	}
	return f, fi.Size()
}
