package pkgdir

import (
	"bytes"
	"context"
	"io"
	"os"
	"path"

	"pkgsneak/sync/pipeline"
)

// dropCopies takes those files out of Misplaced that are the same package as one that was found, by
// its file name: further links of it, or copies with the same bytes. To Portage both are one
// package, which it finds where it belongs.
func (s *Scan) dropCopies(ctx context.Context, d *Dir) error {
	if len(s.Misplaced) == 0 {
		return nil
	}
	type alike struct {
		base string
		size int64
	}
	found := make(map[alike][]string)
	for _, f := range s.Files {
		k := alike{path.Base(f.Path), f.Info.Size()}
		found[k] = append(found[k], f.Path)
	}
	var rest []Problem
	for _, p := range s.Misplaced {
		of := ""
		for _, name := range found[alike{path.Base(p.Path), p.Size}] {
			switch same, err := d.sameContents(ctx, p.Path, name); {
			case err != nil:
				return err
			case same:
				of = name
			}
		}
		if of == "" {
			rest = append(rest, p)
			continue
		}
		p.Reason = "the same package as " + of
		s.Copies = append(s.Copies, p)
	}
	s.Misplaced = rest
	return nil
}

// sameContents compares two files. One that cannot be read is not the same as another; the error is
// ctx's.
func (d *Dir) sameContents(ctx context.Context, a, b string) (bool, error) {
	x, infoX, err := d.root.OpenRegular(a)
	if err != nil {
		return false, nil
	}
	defer x.Close()
	y, infoY, err := d.root.OpenRegular(b)
	if err != nil {
		return false, nil
	}
	defer y.Close()
	if os.SameFile(infoX, infoY) {
		return true, nil
	}
	bufX, bufY := make([]byte, compareSize), make([]byte, compareSize)
	for {
		n, errX := io.ReadFull(pipeline.Reader{Ctx: ctx, R: x}, bufX)
		m, errY := io.ReadFull(y, bufY)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case pipeline.AtEnd(errX) != nil, pipeline.AtEnd(errY) != nil,
			!bytes.Equal(bufX[:n], bufY[:m]):
			return false, nil
		case errX != nil:
			return true, nil
		}
	}
}

// compareSize is how many bytes of two files are compared at a time.
const compareSize = 256 << 10
