package pipeline

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// bufferSize is how much is read, hashed and written at a time, in bytes, and bufferCount how
	// many such pieces of a file are in flight at once.
	bufferSize  = 256 << 10
	bufferCount = 4

	// SmallSize is the size in bytes up to which a file is copied through one buffer, without
	// goroutines.
	SmallSize = bufferSize
)

// Buffers are the memory through which one file at a time is copied. They are made when they are
// needed: many runs copy small files only. The zero value is ready.
type Buffers struct {
	small []byte
	large [][]byte
}

// Small returns SmallSize bytes.
func (b *Buffers) Small() []byte {
	if b.small == nil {
		b.small = make([]byte, SmallSize)
	}
	return b.small
}

func (b *Buffers) pieces() [][]byte {
	for len(b.large) < bufferCount {
		b.large = append(b.large, make([]byte, bufferSize))
	}
	return b.large
}

// chunk is a part of a file; err is what followed it.
type chunk struct {
	data []byte
	err  error
}

// Copy copies src, of about size bytes, to dst, and passes each piece to every tee, whose errors do
// not count. Of a large file one piece is read while others are written and hashed. It returns how
// the reading ended, nil at the end of src, and the first error of dst.
func Copy(dst io.Writer, src io.Reader, size int64, b *Buffers, tees ...io.Writer) (readErr,
	writeErr error) {
	if size <= SmallSize {
		return copySmall(dst, src, b.Small(), tees)
	}
	bufs := b.pieces()
	free, full := make(chan []byte, len(bufs)), make(chan chunk, len(bufs)) // sending never blocks
	for _, b := range bufs {
		free <- b
	}
	queues, wait := fanOut(tees, len(bufs), free)
	read := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(read)
		for {
			select {
			case <-stop:
				return
			case b := <-free:
				n, err := io.ReadFull(src, b)
				full <- chunk{b[:n], err}
				if err != nil {
					return
				}
			}
		}
	}()
	for readErr == nil && writeErr == nil {
		c := <-full
		p := &piece{data: c.data}
		p.users.Store(int32(len(queues)) + 1)
		for _, queue := range queues {
			queue <- p
		}
		_, writeErr = dst.Write(c.data)
		p.done(free)
		readErr = c.err
	}
	close(stop)
	<-read
	wait()
	return AtEnd(readErr), writeErr
}

// piece is a chunk that several writers share. Its buffer is free when all of them are done.
type piece struct {
	data  []byte
	users atomic.Int32
}

func (p *piece) done(free chan<- []byte) {
	if p.users.Add(-1) == 0 {
		free <- p.data[:cap(p.data)]
	}
}

// fanOut gives each writer a goroutine and a queue of up to depth pieces; wait ends them.
func fanOut(writers []io.Writer, depth int, free chan<- []byte) (queues []chan *piece,
	wait func()) {
	var group sync.WaitGroup
	for _, w := range writers {
		queue := make(chan *piece, depth)
		queues = append(queues, queue)
		group.Go(func() {
			for p := range queue {
				w.Write(p.data)
				p.done(free)
			}
		})
	}
	return queues, func() {
		for _, queue := range queues {
			close(queue)
		}
		group.Wait()
	}
}

func copySmall(dst io.Writer, src io.Reader, buf []byte, tees []io.Writer) (readErr,
	writeErr error) {
	for readErr == nil && writeErr == nil {
		var n int
		n, readErr = io.ReadFull(src, buf)
		for _, w := range tees {
			w.Write(buf[:n])
		}
		_, writeErr = dst.Write(buf[:n])
	}
	return AtEnd(readErr), writeErr
}

// AtEnd returns an error of io.ReadFull, or nil where it only means the end.
func AtEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// Reader reads from R, asks Ctx before each read, and reports the bytes of each to Tell, if that is
// not nil.
type Reader struct {
	Ctx  context.Context
	R    io.Reader
	Tell func(n int64)
}

// Read implements io.Reader.
func (r Reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.Ctx); err != nil {
		return 0, err
	}
	n, err := r.R.Read(p)
	if n > 0 && r.Tell != nil {
		r.Tell(int64(n))
	}
	return n, err
}
