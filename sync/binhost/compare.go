package binhost

import (
	"errors"
	"fmt"
	"io"
	"os"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
)

// compared reads a file that was not compared with its digest yet, and does so on the way: from the
// first byte on, whatever is asked for. The read that would give the last byte gives an error
// instead if the file is not what was signed.
type compared struct {
	// configuration
	src  io.ReadSeeker
	name string
	size int64
	want manifest.Digest
	hash *digest.Hash
	good func() // called when the file is right

	// state
	at     int64 // where the next Read is
	hashed int64 // bytes that went through hash; src stands there
	done   bool  // compared, and right
	err    error
}

// Seek implements io.Seeker. Only what lies behind the bytes that were read so far can be read
// then, or everything once the file is known to be right.
func (c *compared) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 || offset > c.size {
		return 0, errors.New("seek outside the file")
	}
	c.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (c *compared) Read(p []byte) (int, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case c.at == c.size:
		return 0, io.EOF
	case c.done:
		return c.reread(p)
	case c.at < c.hashed:
		return 0, errors.New("read backwards in a file that is not compared yet")
	}
	if c.err = c.skip(); c.err != nil {
		return 0, c.err
	}
	n, err := c.take(p[:min(int64(len(p)), c.size-c.hashed)])
	if err != nil {
		c.err = err
		return 0, err
	}
	c.at += int64(n)
	return n, nil
}

// reread reads a file that is right.
func (c *compared) reread(p []byte) (int, error) {
	if _, err := c.src.Seek(c.at, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := c.src.Read(p[:min(int64(len(p)), c.size-c.at)])
	c.at += int64(n)
	return n, err
}

// skip reads up to where the next Read is.
func (c *compared) skip() error {
	if c.hashed == c.at {
		return nil
	}
	buf := make([]byte, 128<<10)
	for c.hashed < c.at {
		if _, err := c.take(buf[:min(int64(len(buf)), c.at-c.hashed)]); err != nil {
			return err
		}
	}
	return nil
}

// take reads and hashes, and judges at the end.
func (c *compared) take(p []byte) (int, error) {
	n, err := io.ReadAtLeast(c.src, p, 1)
	if err != nil {
		return 0, c.broken(err)
	}
	c.hash.Write(p[:n])
	c.hashed += int64(n)
	if c.hashed < c.size {
		return n, nil
	}
	if c.hash.Sum().Blake2b != c.want {
		return 0, &damagedError{c.name, "its contents are not those that were signed"}
	}
	c.done = true
	c.good()
	return n, nil
}

func (c *compared) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &damagedError{c.name, "shorter than signed"}
	}
	return fmt.Errorf("reading %q from the drive: %w", c.name, err)
}

// whole reads and compares the file, unless that is done.
func (c *compared) whole() error {
	if c.size == 0 && !c.done && c.err == nil {
		c.done = c.hash.Sum().Blake2b == c.want
		if !c.done {
			c.err = &damagedError{c.name, "its contents are not those that were signed"}
		}
	}
	if !c.done && c.err == nil {
		before := c.at
		c.at = c.size
		c.err = c.skip()
		c.at = before
	}
	return c.err
}

// parts are the opened files of an item, in order.
type parts []part

type part struct {
	file *os.File
	at   durable.Stamp
}

func (ps parts) close() error {
	var first error
	for _, p := range ps {
		if err := p.file.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (ps parts) stamps() []durable.Stamp {
	stamps := make([]durable.Stamp, len(ps))
	for i, p := range ps {
		stamps[i] = p.at
	}
	return stamps
}

// content reads the item as a whole: the file itself where there is one only.
func (ps parts) content() io.ReadSeeker {
	if len(ps) == 1 {
		return ps[0].file
	}
	j := &joined{parts: ps}
	for _, p := range ps {
		j.size += p.at.Size
	}
	return j
}

// joined reads files as if they were one.
type joined struct {
	parts parts
	size  int64
	at    int64
}

// Seek implements io.Seeker.
func (j *joined) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += j.at
	case io.SeekEnd:
		offset += j.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the file")
	}
	j.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (j *joined) Read(p []byte) (int, error) {
	from := j.at
	for _, part := range j.parts {
		if size := part.at.Size; from >= size {
			from -= size
			continue
		}
		n, err := part.file.ReadAt(p[:min(int64(len(p)), part.at.Size-from)], from)
		j.at += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	return 0, io.EOF
}
