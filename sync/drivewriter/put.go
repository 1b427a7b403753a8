package drivewriter

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/layout"
)

// Put is step 6 for one file: fill writes its bytes, which go straight to
// their final name. The item says where they lie and what their digest is. On
// an error of fill or a canceled ctx what was written is given up; it is
// removed with the next commit, not before, because only there is the removal
// made durable before anything new is allocated.
//
// Files that were prepared may be put at the same time, by several goroutines.
// A medium with heads that move, and a cheap stick, want one after the other.
func (w *Writer) Put(ctx context.Context, f NewFile, fill func(io.Writer) error) (layout.Item, error) {
	if err := w.ended.cause(); err != nil {
		return layout.Item{}, err
	}
	key := layout.Key{Kind: f.Kind, Path: f.Path}
	names, known := w.takeReserved(key)
	if !known {
		if err := w.Prepare(ctx, []NewFile{f}); err != nil {
			return layout.Item{}, err
		}
		names, _ = w.takeReserved(key)
	}
	mode := fs.FileMode(0o644)
	if f.Kind == layout.Program {
		mode = 0o755
	}
	s := &splitter{w: w, ctx: ctx, names: names, limit: w.o.PartSize, mode: mode, whole: digest.New(digest.BLAKE2B)}
	err := fill(s)
	if err == nil {
		err = s.err // fill may have swallowed it
	}
	if err == nil {
		err = s.finish()
	}
	if err != nil {
		s.giveUp()
		return layout.Item{}, err
	}
	sums := s.whole.Sum()
	it := layout.Item{Kind: f.Kind, Path: f.Path, Size: sums.Size, Sum: sums.Blake2b}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, done := range s.done {
		w.fresh[done.Path] = done
		it.Stored = append(it.Stored, done.File)
	}
	return it, nil
}

func (w *Writer) takeReserved(key layout.Key) (names []string, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	names, known = w.reserved[key]
	delete(w.reserved, key)
	return names, known
}

// putRaw puts a file of this package's own at a path.
func (w *Writer) putRaw(ctx context.Context, name string, data []byte) (manifest.File, error) {
	s := &splitter{w: w, ctx: ctx, names: []string{name}, limit: DefaultPartSize, mode: 0o644, whole: digest.New(digest.BLAKE2B)}
	_, err := s.Write(data)
	if err == nil {
		err = s.finish()
	}
	if err != nil {
		s.giveUp()
		return manifest.File{}, err
	}
	w.names.Take(name)
	w.roomOf(layout.GenerationDir).add(name)
	w.fresh[name] = s.done[0]
	return s.done[0].File, nil
}

// markSize is the length of the pieces by which read-back finds the first
// wrong byte.
const markSize = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// splitter writes a file, or its parts one after the other.
type splitter struct {
	w     *Writer
	ctx   context.Context
	names []string
	limit int64 // bytes of a part
	mode  fs.FileMode
	whole *digest.Hash
	done  []written
	err   error

	file  *os.File // the part at hand
	size  int64
	flow  stretch
	part  *digest.Hash // nil if there is one name only
	marks marks
}

func (s *splitter) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 && s.err == nil {
		if s.err = context.Cause(s.ctx); s.err != nil {
			break
		}
		if s.err = s.open(); s.err != nil {
			break
		}
		n := min(int64(len(p)), s.limit-s.size, syncEvery)
		if s.err = s.write(p[:n]); s.err != nil {
			break
		}
		total, p = total+int(n), p[n:]
	}
	return total, s.err
}

// open makes the next part when there is none at hand or it is full.
func (s *splitter) open() error {
	if s.file != nil && s.size < s.limit {
		return nil
	}
	if err := s.closePart(); err != nil {
		return err
	}
	if len(s.done) == len(s.names) {
		return fmt.Errorf("writing %q: it is longer than was planned", s.names[0])
	}
	f, err := s.w.create(s.w.root, s.names[len(s.done)], s.mode)
	if err != nil {
		return err
	}
	s.file, s.size, s.marks, s.flow = f, 0, marks{}, stretch{}
	if len(s.names) > 1 {
		s.part = digest.New(digest.BLAKE2B)
	}
	return nil
}

func (s *splitter) write(p []byte) error {
	name := s.names[len(s.done)]
	hashed := s.sum(p)
	err := s.w.do("write", name, func() error {
		_, err := s.file.Write(p)
		return err
	})
	hashed()
	if err != nil {
		return err
	}
	s.size += int64(len(p))
	if err := s.w.flow.wrote(s.file, name, s.size, &s.flow); err != nil {
		return s.w.ended.with(s.w.end("writing", name, err))
	}
	return nil
}

// besideFrom is the length of a write from which it is hashed beside the writing.
const besideFrom = 64 << 10

// sum hashes what is written, and returns a function that waits for it.
func (s *splitter) sum(p []byte) (wait func()) {
	hash := func() {
		s.whole.Write(p)
		if s.part != nil {
			s.part.Write(p)
		}
		if !s.w.o.NoReadBack {
			s.marks.Write(p)
		}
	}
	if len(p) < besideFrom {
		return hash
	}
	var beside sync.WaitGroup
	beside.Go(hash)
	return beside.Wait
}

// finish closes the last part; an empty file is one too.
func (s *splitter) finish() error {
	if s.file == nil && len(s.done) == 0 {
		if err := s.open(); err != nil {
			return err
		}
	}
	return s.closePart()
}

func (s *splitter) closePart() error {
	if s.file == nil {
		return nil
	}
	f, name := s.file, s.names[len(s.done)]
	s.file = nil
	sum := s.whole.Sum().Blake2b
	if s.part != nil {
		sum = s.part.Sum().Blake2b
	}
	s.done = append(s.done, written{
		File:  manifest.File{Path: name, Size: s.size, Sum: sum},
		marks: s.marks.end(),
	})
	if err := s.w.flow.finished(f, name, s.size, &s.flow); err != nil {
		return s.w.ended.with(s.w.end("writing", name, err))
	}
	return nil
}

// giveUp leaves what was written to the next commit's removal.
func (s *splitter) giveUp() {
	_ = s.flow.last.wait()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.file != nil {
		s.file.Close()
		s.w.strays = append(s.w.strays, s.names[len(s.done)])
		s.file = nil
	}
	for _, done := range s.done {
		s.w.strays = append(s.w.strays, done.Path)
	}
}

// marks are the check sums of a file's pieces.
type marks struct {
	sums []uint32
	part uint32
	fill int
}

// Write never fails.
func (m *marks) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		n := min(len(p), markSize-m.fill)
		m.part = crc32.Update(m.part, castagnoli, p[:n])
		if m.fill += n; m.fill == markSize {
			m.sums, m.part, m.fill = append(m.sums, m.part), 0, 0
		}
		p = p[n:]
	}
	return all, nil
}

func (m *marks) end() []uint32 {
	if m.fill > 0 {
		m.sums, m.part, m.fill = append(m.sums, m.part), 0, 0
	}
	return m.sums
}

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
