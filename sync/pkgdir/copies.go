package pkgdir

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/state"
)

const (
	// compareSize is how many bytes of two files are compared at a time.
	compareSize = 256 << 10
	// maxCompared is with how many packages of its name and size a misplaced file is compared.
	maxCompared = 16
)

// Sums remembers digests of files in PKGDIR while they stay as they are: a *state.Cache.
type Sums interface {
	Lookup(name string, fi fs.FileInfo) (digest.Sums, digest.Set, bool)
	Put(name string, fi fs.FileInfo, sums digest.Sums, set digest.Set)
}

// Copies are the digests of copies, beside those of a cache of PKGDIR. They have a cache of their
// own: PKGDIR's has nothing but what is carried, and what is missing there was deleted.
type Copies struct{ carried, copies *state.Cache }

// RememberedCopies opens them for the PKGDIR at dir.
func RememberedCopies(st *state.Dir, dir string, carried *state.Cache,
	now time.Time) (*Copies, error) {
	copies, err := st.Cache(dir+"/.copies", now)
	return &Copies{carried, copies}, err
}

// Lookup implements Sums.
func (c *Copies) Lookup(name string, fi fs.FileInfo) (digest.Sums, digest.Set, bool) {
	if sums, set, ok := c.carried.Lookup(name, fi); ok && set&digest.BLAKE2B != 0 {
		return sums, set, ok
	}
	return c.copies.Lookup(name, fi)
}

// Put implements Sums.
func (c *Copies) Put(name string, fi fs.FileInfo, sums digest.Sums, set digest.Set) {
	c.copies.Put(name, fi, sums, set)
}

// Save writes what was put.
func (c *Copies) Save() error { return c.copies.Save() }

// FindCopies takes those files out of Misplaced that are the same package as one that was found, by
// its file name: further links of it, or copies with the same bytes. To Portage both are one
// package, which it finds where it belongs. Where remembered is nil, copies are read each time, so
// that only those ask who report what is left out. The error is ctx's.
func (d *Dir) FindCopies(ctx context.Context, s *Scan, remembered Sums) error {
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
	c := comparer{remembered: remembered}
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

// comparer compares files.
type comparer struct {
	remembered Sums // nil: nothing is
	a, b       []byte
}

// compared is one of two files.
type compared struct {
	name string
	file *os.File
	info fs.FileInfo
	sums digest.Sums
	set  digest.Set // that are remembered of it
}

func (c *comparer) open(d *Dir, name string) (*compared, error) {
	file, info, err := d.root.OpenRegular(name)
	if err != nil {
		return nil, err
	}
	f := &compared{name: name, file: file, info: info}
	if c.remembered != nil {
		if sums, set, ok := c.remembered.Lookup(name, info); ok {
			f.sums, f.set = sums, set
		}
	}
	return f, nil
}

// same compares the contents of two files. One that cannot be read is not the same as another; the
// error is ctx's.
func (c *comparer) same(ctx context.Context, d *Dir, a, b string) (bool, error) {
	x, err := c.open(d, a)
	if err != nil {
		return false, nil
	}
	defer x.file.Close()
	y, err := c.open(d, b)
	if err != nil {
		return false, nil
	}
	defer y.file.Close()
	switch {
	case os.SameFile(x.info, y.info):
		return true, nil
	case x.set&y.set&digest.BLAKE2B != 0:
		return x.sums.Blake2b == y.sums.Blake2b, nil
	}
	return c.read(ctx, x, y)
}

// read compares two files byte by byte. The digest of what is the same is remembered.
func (c *comparer) read(ctx context.Context, x, y *compared) (bool, error) {
	if c.a == nil {
		c.a, c.b = make([]byte, compareSize), make([]byte, compareSize)
	}
	hash := digest.New(digest.BLAKE2B)
	for {
		n, errX := io.ReadFull(pipeline.Reader{Ctx: ctx, R: x.file}, c.a)
		m, errY := io.ReadFull(y.file, c.b)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case pipeline.AtEnd(errX) != nil, pipeline.AtEnd(errY) != nil,
			!bytes.Equal(c.a[:n], c.b[:m]):
			return false, nil
		}
		if c.remembered != nil {
			hash.Write(c.a[:n])
		}
		if errX != nil {
			c.remember(x, hash.Sum().Blake2b)
			c.remember(y, hash.Sum().Blake2b)
			return true, nil
		}
	}
}

// remember puts a digest into the memory, beside what that has of the file.
func (c *comparer) remember(f *compared, sum digest.Blake2b) {
	if c.remembered == nil || f.set&digest.BLAKE2B != 0 ||
		durable.CheckUnchanged(f.file, f.info) != nil {
		return
	}
	f.sums.Size, f.sums.Blake2b = f.info.Size(), sum
	c.remembered.Put(f.name, f.info, f.sums, f.set|digest.BLAKE2B)
}
