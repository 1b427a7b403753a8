package pkgdir

import (
	"bytes"
	"context"
	"io"
	"os"
	"path"

	"pkgsneak/sync/pipeline"
)

const (
	// compareSize is how many bytes of two files are compared at a time.
	compareSize = 256 << 10
	// maxCompared is with how many packages of its name and size a misplaced file is compared.
	maxCompared = 16
)

// FindCopies takes those files out of Misplaced that are the same package as one that was found, by
// its file name: further links of it, or copies with the same bytes. To Portage both are one
// package, which it finds where it belongs. Copies are read each time, so that only those ask who
// report what is left out. The error is ctx's.
func (d *Dir) FindCopies(ctx context.Context, s *Scan) error {
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
		if len(found[k]) < maxCompared {
			found[k] = append(found[k], f.Path)
		}
	}
	var c comparer
	var rest []Problem
next:
	for _, p := range s.Misplaced {
		for _, name := range found[alike{path.Base(p.Path), p.Size}] {
			same, err := c.same(ctx, d, p.Path, name)
			if err != nil {
				return err
			}
			if same {
				p.Reason = "the same package as " + name
				s.Copies = append(s.Copies, p)
				continue next
			}
		}
		rest = append(rest, p)
	}
	s.Misplaced = rest
	return nil
}

// comparer has the memory through which files are compared.
type comparer struct{ a, b []byte }

// same compares the contents of two files. One that cannot be read is not the same as another; the
// error is ctx's.
func (c *comparer) same(ctx context.Context, d *Dir, a, b string) (bool, error) {
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
	if c.a == nil {
		c.a, c.b = make([]byte, compareSize), make([]byte, compareSize)
	}
	for {
		n, errX := io.ReadFull(pipeline.Reader{Ctx: ctx, R: x}, c.a)
		m, errY := io.ReadFull(y, c.b)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case pipeline.AtEnd(errX) != nil, pipeline.AtEnd(errY) != nil,
			!bytes.Equal(c.a[:n], c.b[:m]):
			return false, nil
		case errX != nil:
			return true, nil
		}
	}
}
