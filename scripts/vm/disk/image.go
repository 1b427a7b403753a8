package disk

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// blockSize is the unit in which an image remembers.
const blockSize = 4096

// Image is the contents of a drive, zero where nothing was written. A child
// shows what its parent holds and keeps its own writes to itself; the parent
// must not be written any more. It is safe for use by several goroutines.
type Image struct {
	parent *Image
	size   int64

	mu     sync.RWMutex
	blocks map[int64]*[blockSize]byte
}

// NewImage returns a blank image of so many bytes.
func NewImage(size int64) *Image {
	return &Image{size: size, blocks: make(map[int64]*[blockSize]byte)}
}

// Child returns an image that begins as this one.
func (m *Image) Child() *Image {
	return &Image{parent: m, size: m.size, blocks: make(map[int64]*[blockSize]byte)}
}

// Size is the size in bytes.
func (m *Image) Size() int64 { return m.size }

// Flush does nothing: an image is memory.
func (m *Image) Flush() error { return nil }

var zeros [blockSize]byte

// find returns a block, which must not be changed.
func (m *Image) find(n int64) *[blockSize]byte {
	for ; m != nil; m = m.parent {
		m.mu.RLock()
		b := m.blocks[n]
		m.mu.RUnlock()
		if b != nil {
			return b
		}
	}
	return &zeros
}

func (m *Image) check(n int, off int64) error {
	if off < 0 || off > m.size || int64(n) > m.size-off {
		return fmt.Errorf("%d bytes at %d of a drive of %d", n, off, m.size)
	}
	return nil
}

// ReadAt reads whole ranges within the image.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := m.check(len(p), off); err != nil {
		return 0, err
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		n += copy(p[n:], m.find(at / blockSize)[at%blockSize:])
	}
	return len(p), nil
}

// WriteAt writes whole ranges within the image.
func (m *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := m.check(len(p), off); err != nil {
		return 0, err
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		b := m.own(at / blockSize)
		m.mu.Lock()
		n += copy(b[at%blockSize:], p[n:])
		m.mu.Unlock()
	}
	return len(p), nil
}

// own returns a block of this image's own.
func (m *Image) own(n int64) *[blockSize]byte {
	m.mu.RLock()
	b := m.blocks[n]
	m.mu.RUnlock()
	if b == nil {
		c := *m.find(n)
		b = &c
		m.mu.Lock()
		m.blocks[n] = b
		m.mu.Unlock()
	}
	return b
}

// Apply writes those entries of a log that reached the medium in a state.
func (m *Image) Apply(l Log, s State) error { return m.apply(l, 0, s) }

func (m *Image) apply(l Log, from int, s State) error {
	if s.Prefix < from || s.Prefix > len(l) {
		return fmt.Errorf("a prefix of %d of a log of %d entries, from %d", s.Prefix, len(l), from)
	}
	lost := make(map[int]bool, len(s.Lost))
	for _, i := range s.Lost {
		lost[i] = true
	}
	for i := from; i < s.Prefix; i++ {
		e := l[i]
		if !e.writes() || e.Flags&Mark != 0 || lost[i] {
			continue
		}
		data := e.Data
		if s.Kept > 0 && i == s.Prefix-1 {
			data = data[:min(int64(len(data)), s.Kept)]
		}
		if _, err := m.WriteAt(data, e.Offset); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return nil
}

// Dump returns the log that makes an image out of nothing: the blocks of src
// that are not blank, in runs.
func Dump(src io.ReaderAt, size int64) (Log, error) {
	const run = 64 * blockSize
	var l Log
	buf := make([]byte, run)
	for off := int64(0); off < size; off += run {
		n := min(run, size-off)
		if _, err := src.ReadAt(buf[:n], off); err != nil && err != io.EOF {
			return nil, fmt.Errorf("reading the image: %w", err)
		}
		for at := int64(0); at < n; at += blockSize {
			b := buf[at:min(at+blockSize, n)]
			if bytes.Equal(b, zeros[:len(b)]) {
				continue
			}
			l = append(l, Entry{Offset: off + at, Data: bytes.Clone(b)})
		}
	}
	return l, nil
}

// Replayer makes images of states. States of one log that come in the order of
// their prefixes share what they have in common.
type Replayer struct {
	base *Image
	log  Log

	at    int // entries in front
	front *Image
}

// NewReplayer returns a replayer of a log that was recorded on top of base.
func NewReplayer(base *Image, l Log) *Replayer { return &Replayer{base: base, log: l} }

// Image returns the image of a state, for the caller to write to.
func (r *Replayer) Image(s State) (*Image, error) {
	safe := s.first()
	if r.front == nil || safe < r.at {
		r.front, r.at = r.base.Child(), 0
	}
	if safe > len(r.log) {
		return nil, fmt.Errorf("a prefix of %d of a log of %d entries", safe, len(r.log))
	}
	if err := r.front.apply(r.log, r.at, State{Prefix: safe}); err != nil {
		return nil, err
	}
	r.at = safe
	m := r.front.Child()
	return m, m.apply(r.log, safe, s)
}
