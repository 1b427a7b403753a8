package sync

import (
	"io"
	stdsync "sync"
)

// A tap lets a package be checked while it is copied: it is the io.ReaderAt of the check, and takes what the copy has just read. What lies behind that, which is little, comes from the file once more.
// One goroutine writes to it, another one reads.
type tap struct {
	file   io.ReaderAt
	pieces chan []byte   // from Write; closed at the end of the copy
	taken  chan struct{} // one for each piece that the reader is done with
	closed chan struct{} // the reader wants no more
	ending stdsync.Once

	// The reader's own.
	at    int64  // offset of piece
	piece []byte // at hand
	held  bool   // piece has to be given back
	ended bool
}

func newTap(file io.ReaderAt) *tap {
	return &tap{file: file, pieces: make(chan []byte), taken: make(chan struct{}), closed: make(chan struct{})}
}

// Write hands a piece to the reader, and returns when that is done with it. It never fails.
func (t *tap) Write(p []byte) (int, error) {
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

// end tells the reader that nothing more will be written.
func (t *tap) end() { close(t.pieces) }

// close ends the reading. No piece is looked at after it.
func (t *tap) close() { t.ending.Do(func() { close(t.closed) }) }

// ReadAt implements io.ReaderAt for one goroutine. What was not written yet is waited for.
func (t *tap) ReadAt(p []byte, off int64) (int, error) {
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
func (t *tap) next() bool {
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
