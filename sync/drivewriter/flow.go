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

// flow bounds what is written but not on its way. A large file is sent off while
// it goes on, and waits for the piece before the last. Ends of files and small
// files are sent off together, and the next ones wait for them, so that the
// drive gets them in one go.
type flow struct {
	tell func(name string, n int64) // that so many bytes arrived

	sending sync.Mutex // held by who sends a batch or waits for one
	last    sending    // of the batch before

	mu    sync.Mutex // guards what is below
	batch []pendingFile
	bytes int64
}

// stretch is how far a large file is on its way.
type stretch struct {
	sent    int64   // bytes that are sent off
	last    sending // of the last piece
	settled int64   // bytes that arrived; the sending's own while it is under way
}

// sending is something that is sent off beside the writing. The zero value is
// nothing.
type sending struct{ ended chan error }

func (s *sending) begin(f func() error) {
	ended := make(chan error, 1)
	s.ended = ended
	go func() { ended <- f() }()
}

// wait waits for its end. Later calls have nothing to wait for.
func (s *sending) wait() error {
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
	rangeWait  = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
)

// wrote sends each full piece of a file off, and waits for the piece before it
// when the next one is full: asking for the write-back may take as long as that.
func (q *flow) wrote(f *os.File, name string, size int64, s *stretch) error {
	if size-s.sent < syncEvery {
		return nil
	}
	if err := s.last.wait(); err != nil {
		return err
	}
	from := s.sent
	s.sent = size
	s.last.begin(func() error {
		if err := syncRange(f, from, size-from, rangeStart); err != nil {
			return err
		}
		return q.settle(f, name, from, s)
	})
	return nil
}

// settle waits until a file is on the drive up to an offset.
func (q *flow) settle(f *os.File, name string, to int64, s *stretch) error {
	if to <= s.settled {
		return nil
	}
	if err := syncRange(f, s.settled, to-s.settled, rangeWait); err != nil {
		return err
	}
	q.tell(name, to-s.settled)
	s.settled = to
	return nil
}

// finished takes a file that is written to its end, and closes it later. An
// error may be about any file that was finished before.
func (q *flow) finished(f *os.File, name string, size int64, s *stretch) error {
	if err := s.last.wait(); err != nil {
		return errors.Join(err, f.Close())
	}
	q.mu.Lock()
	q.batch = append(q.batch, pendingFile{f, name, s.settled, size})
	q.bytes += size - s.settled
	enough := q.bytes >= syncEvery || len(q.batch) >= maxOpen
	q.mu.Unlock()
	if !enough {
		return nil
	}
	return q.send()
}

// send sends off what is finished, once the batch before has arrived.
func (q *flow) send() error {
	q.sending.Lock()
	defer q.sending.Unlock()
	if err := q.last.wait(); err != nil {
		return err
	}
	batch := q.take()
	q.last.begin(func() error { return q.settleAll(batch) })
	return nil
}

// drain waits until everything that is finished has arrived.
func (q *flow) drain() error {
	q.sending.Lock()
	defer q.sending.Unlock()
	if err := q.last.wait(); err != nil {
		return err
	}
	return q.settleAll(q.take())
}

func (q *flow) take() []pendingFile {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.batch
	q.batch, q.bytes = nil, 0
	return batch
}

// settleAll asks for all of a batch, then waits for each file, and closes it.
func (q *flow) settleAll(batch []pendingFile) error {
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
func (q *flow) drop() {
	q.sending.Lock()
	defer q.sending.Unlock()
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
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}
