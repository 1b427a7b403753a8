package drivewriter

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// syncEvery is how many bytes may be dirty before the drive is made to take
	// them: progress is then what reached it, and a cancel takes effect soon.
	syncEvery = 8 << 20
	// maxOpen is how many finished files wait for that together.
	maxOpen = 128
)

// writeWindow bounds what is written but not written back. The write-back of a large file is
// started while it goes on, and waits for the piece before the last. Ends of files and small files
// are started together, and the next ones wait for them, so that the drive gets them in one go.
type writeWindow struct {
	tell func(name string, n int64) // that so many bytes arrived

	order sync.Mutex // held by who starts a batch or waits for one
	last  inFlight   // of the batch before

	mu    sync.Mutex // guards what is below
	batch []pendingFile
	bytes int64
}

// fileWindow is how far a large file is on its way.
type fileWindow struct {
	started int64    // bytes whose write-back was started
	last    inFlight // of the last piece
	written int64    // bytes that arrived; the goroutine's own while it is under way
}

// inFlight is something that is written back while the writing goes on. The zero value is
// nothing.
type inFlight struct{ ended chan error }

func (s *inFlight) begin(f func() error) {
	ended := make(chan error, 1)
	s.ended = ended
	go func() { ended <- f() }()
}

// wait waits for its end. Later calls have nothing to wait for.
func (s *inFlight) wait() error {
	if s.ended == nil {
		return nil
	}
	err := <-s.ended
	s.ended = nil
	return err
}

// pendingFile is a file that is written to its end, and closed when that has
// arrived.
type pendingFile struct {
	f        *os.File
	name     string
	from, to int64 // what was not waited for yet
}

const (
	rangeStart = unix.SYNC_FILE_RANGE_WRITE
	rangeWait  = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE |
		unix.SYNC_FILE_RANGE_WAIT_AFTER
)

// wrote starts the write-back of each full piece of a file, and waits for the piece before it
// when the next one is full: asking for the write-back may take as long as that.
func (q *writeWindow) wrote(f *os.File, name string, size int64, s *fileWindow) error {
	if size-s.started < syncEvery {
		return nil
	}
	if err := s.last.wait(); err != nil {
		return err
	}
	from := s.started
	s.started = size
	s.last.begin(func() error {
		if err := syncRange(f, from, size-from, rangeStart); err != nil {
			return err
		}
		return q.await(f, name, from, s)
	})
	return nil
}

// await waits until a file is on the drive up to an offset.
func (q *writeWindow) await(f *os.File, name string, to int64, s *fileWindow) error {
	if to <= s.written {
		return nil
	}
	if err := syncRange(f, s.written, to-s.written, rangeWait); err != nil {
		return err
	}
	q.tell(name, to-s.written)
	s.written = to
	return nil
}

// finished takes a file that is written to its end, and closes it later. An
// error may be about any file that was finished before.
func (q *writeWindow) finished(f *os.File, name string, size int64, s *fileWindow) error {
	if err := s.last.wait(); err != nil {
		return errors.Join(err, f.Close())
	}
	q.mu.Lock()
	q.batch = append(q.batch, pendingFile{f, name, s.written, size})
	q.bytes += size - s.written
	enough := q.bytes >= syncEvery || len(q.batch) >= maxOpen
	q.mu.Unlock()
	if !enough {
		return nil
	}
	return q.startBatch()
}

// startBatch starts the write-back of what is finished, once the batch before has arrived.
func (q *writeWindow) startBatch() error {
	q.order.Lock()
	defer q.order.Unlock()
	if err := q.last.wait(); err != nil {
		return err
	}
	batch := q.take()
	q.last.begin(func() error { return q.awaitAll(batch) })
	return nil
}

// drain waits until everything that is finished has arrived.
func (q *writeWindow) drain() error {
	q.order.Lock()
	defer q.order.Unlock()
	if err := q.last.wait(); err != nil {
		return err
	}
	return q.awaitAll(q.take())
}

func (q *writeWindow) take() []pendingFile {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.batch
	q.batch, q.bytes = nil, 0
	return batch
}

// awaitAll asks for all of a batch, then waits for each file, and closes it.
func (q *writeWindow) awaitAll(batch []pendingFile) error {
	var errs []error
	for _, p := range batch {
		errs = append(errs, syncRange(p.f, p.from, p.to-p.from, rangeStart))
	}
	for _, p := range batch {
		err := errors.Join(syncRange(p.f, p.from, p.to-p.from, rangeWait), p.f.Close())
		if err == nil {
			q.tell(p.name, p.to-p.from)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// drop closes what is finished, for the end of a session.
func (q *writeWindow) drop() {
	q.order.Lock()
	defer q.order.Unlock()
	_ = q.last.wait()
	for _, p := range q.take() {
		p.f.Close()
	}
}

// syncRange is sync_file_range where the file system has it. It does not make
// anything durable; the flush does.
func syncRange(f *os.File, from, n int64, flags int) error {
	if n == 0 {
		return nil // it would mean "to the end"
	}
	err := unix.SyncFileRange(int(f.Fd()), from, n, flags)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESPIPE) ||
		errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}
