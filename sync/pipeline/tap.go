package pipeline

import (
	"io"
	"sync"
)

// A Tap lets a file be parsed while it is copied: it is the io.ReaderAt of the parser and is fed
// with the bytes that the copy has just read. Bytes before those, which are few, come from the file
// once more. One goroutine writes to it, another one reads.
type Tap struct {
	file   io.ReaderAt
	pieces chan []byte   // from Write; closed at the end of the copy
	taken  chan struct{} // one for each piece that the reader is done with
	closed chan struct{} // the reader wants no more
	ending sync.Once

	// The reader's own.
	at    int64  // offset of piece
	piece []byte // at hand
	held  bool   // piece has to be given back
	ended bool
}

// NewTap returns a tap of a file that is read from its start.
func NewTap(file io.ReaderAt) *Tap {
	return &Tap{file: file, pieces: make(chan []byte), taken: make(chan struct{}),
		closed: make(chan struct{})}
}

// Write hands a piece to the reader, and returns when that is done with it. It never fails.
func (t *Tap) Write(p []byte) (int, error) {
	select {
	case t.pieces <- p:
	case <-t.closed:
		return len(p), nil
	}
	select {
	case <-t.taken:
	case <-t.closed:
	}
	return len(p), nil
}

// End tells that nothing more will be written.
func (t *Tap) End() { close(t.pieces) }

// Close ends the reading. No piece is looked at after it.
func (t *Tap) Close() { t.ending.Do(func() { close(t.closed) }) }

// ReadAt implements io.ReaderAt for one goroutine. Bytes that were not written yet are waited for.
func (t *Tap) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		from := off + int64(n)
		for from >= t.at+int64(len(t.piece)) && t.next() {
		}
		if from < t.at || from >= t.at+int64(len(t.piece)) {
			more, err := t.file.ReadAt(p[n:], from)
			return n + more, err
		}
		n += copy(p[n:], t.piece[from-t.at:])
	}
	return n, nil
}

// next gives the piece at hand back and takes the one behind it. It returns false at the end.
func (t *Tap) next() bool {
	t.at += int64(len(t.piece))
	t.piece = nil
	if t.held {
		t.taken <- struct{}{}
		t.held = false
	}
	if t.ended {
		return false
	}
	p, more := <-t.pieces
	if !more {
		t.ended = true
		return false
	}
	t.piece, t.held = p, true
	return true
}
