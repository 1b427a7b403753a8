package layout

import "io"

// capped fails where an io.LimitReader would end in silence.
type capped struct {
	r    io.Reader
	left int64
	why  error // of what is longer
}

func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	if int64(n) > c.left {
		return 0, c.why
	}
	c.left -= int64(n)
	return n, err
}

// Counter counts what it passes on.
type Counter struct {
	W io.Writer
	N int64
}

func (c *Counter) Write(p []byte) (int, error) {
	n, err := c.W.Write(p)
	c.N += int64(n)
	return n, err
}
