package ebuilds

import (
	"path"
	"sync"
	"sync/atomic"
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/pipeline"
)

// A branch is a directory of a tree on its way. It is open until all that comes into it is there,
// and gets its time then.
type branch struct {
	*durable.Branch
	path  string // below the tree; "" is the tree itself
	when  time.Time
	above *branch
	uses  atomic.Int32 // by the unpacker, by files on their way, by directories that are open
}

// below is an open directory in this one.
func (b *branch) below(sub *durable.Branch, name string, when time.Time) *branch {
	b.uses.Add(1)
	s := &branch{Branch: sub, path: name, when: when, above: b}
	s.uses.Store(1)
	return s
}

// release ends one use.
func (b *branch) release() error {
	for ; b != nil && b.uses.Add(-1) == 0; b = b.above {
		closed := b.Close()
		if b.above != nil {
			if err := b.above.SetTime(path.Base(b.path), b.when); err != nil {
				return err
			}
		}
		if closed != nil {
			return closed
		}
	}
	return nil
}

// newFile is a file that was read out of an archive.
type newFile struct {
	name string // in its directory
	data []byte
	attr durable.Attr
}

// parcel is a number of files of one directory.
type parcel struct {
	into  *branch
	files []newFile
	buf   []byte // that has their contents
}

// Bounds of the memory that files take on their way to the disk.
const (
	parcelBytes = 256 << 10
	parcelFiles = 64
	maxBatched  = parcelBytes / 4 // bytes of a file; a larger one is written by the unpacker
)

// writers write small files, while the archive is read on: making a file is a handful of system
// calls, which take longer than to unpack it. Where somebody is shown each change, they are one,
// and that is the unpacker.
type writers struct {
	free  chan []byte // buffers
	queue chan *parcel
	done  sync.WaitGroup
	next  *parcel
	times map[string]time.Time // of directories that were left

	mu  sync.Mutex
	err error // the first
}

func newWriters(into *durable.Root) *writers {
	w := &writers{times: make(map[string]time.Time)}
	n := min(max(pipeline.Processors(), 2), 8)
	if durable.Hooked(into) {
		n = 0
	}
	w.free = make(chan []byte, 2*n+1)
	for range cap(w.free) {
		w.free <- make([]byte, parcelBytes)
	}
	if n == 0 {
		return w
	}
	w.queue = make(chan *parcel, cap(w.free))
	for range n {
		w.done.Go(func() {
			for p := range w.queue {
				w.write(p)
			}
		})
	}
	return w
}

// space is memory for the contents of a file that add is then given. The error is that of a file
// before it.
func (w *writers) space(into *branch, size int) ([]byte, error) {
	if p := w.next; p != nil && (p.into != into || len(p.files) == parcelFiles ||
		len(p.buf)+size > cap(p.buf)) {
		if err := w.flush(); err != nil {
			return nil, err
		}
	}
	if w.next == nil {
		into.uses.Add(1)
		w.next = &parcel{into: into, buf: (<-w.free)[:0]}
	}
	p := w.next
	p.buf = p.buf[:len(p.buf)+size]
	return p.buf[len(p.buf)-size:], nil
}

func (w *writers) add(f newFile) { w.next.files = append(w.next.files, f) }

// flush has what was added written. The error is that of files before.
func (w *writers) flush() error {
	if p := w.next; p != nil {
		if w.next = nil; w.queue == nil {
			w.write(p)
		} else {
			w.queue <- p
		}
	}
	return w.failed()
}

// end waits until all is written.
func (w *writers) end() error {
	if p := w.next; p != nil { // the archive is bad: it is all removed again
		w.next = nil
		w.fail(p.into.release())
	}
	if w.queue != nil {
		close(w.queue)
		w.done.Wait()
	}
	return w.failed()
}

// write writes the files of a parcel, unless something is wrong already.
func (w *writers) write(p *parcel) {
	for _, f := range p.files {
		if w.failed() != nil {
			break
		}
		w.fail(twice(p.into.Put(f.name, f.data, f.attr), path.Join(p.into.path, f.name)))
	}
	w.fail(p.into.release())
	w.free <- p.buf[:cap(p.buf)]
}

func (w *writers) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *writers) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
