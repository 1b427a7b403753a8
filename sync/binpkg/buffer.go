package binpkg

import (
	"sync"
)

// buffers holds what the metadata of one package is read into. Buffers that a
// large package made large are not kept.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

type buffer struct{ b []byte }

const keepBuffer = 1 << 20

func (b *buffer) of(n int) []byte {
	if cap(b.b) < n {
		b.b = make([]byte, n)
	}
	return b.b[:n]
}

func (b *buffer) free() {
	if cap(b.b) <= keepBuffer {
		buffers.Put(b)
	}
}
