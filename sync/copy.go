package sync

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/pkgindex"
)

const (
	// copyBuffer is how much is read, hashed and written at a time, in bytes, and copyBuffers how many such pieces of a file are on their way at once.
	copyBuffer  = 1 << 20
	copyBuffers = 4
	// inOneGo is the size up to which a file is not worth a pipeline.
	inOneGo = copyBuffer / 2
)

// buffers are what one file at a time is copied through. They are made when they are needed: many runs copy small files only.
type buffers struct {
	small []byte
	large [][]byte
}

func (b *buffers) forSmall() []byte {
	if b.small == nil {
		b.small = make([]byte, inOneGo)
	}
	return b.small
}

func (b *buffers) forLarge() [][]byte {
	for len(b.large) < copyBuffers {
		b.large = append(b.large, make([]byte, copyBuffer))
	}
	return b.large
}

// chunk is a piece of a file on its way; err is what followed it.
type chunk struct {
	data []byte
	err  error
}

// pump copies src, of about size bytes, to dst, and hashes it on its way. Of a large file one piece is read while another is hashed and a third one is written. It returns how the reading ended, nil at
// the end of src, and the first error of dst.
func pump(dst io.Writer, src io.Reader, size int64, hash *digest.Hash, b *buffers) (readErr, writeErr error) {
	if size <= inOneGo {
		return pumpSmall(dst, src, hash, b.forSmall())
	}
	bufs := b.forLarge()
	free, full, sum := make(chan []byte, len(bufs)), make(chan chunk, len(bufs)), make(chan []byte, len(bufs)) // sending never blocks
	for _, b := range bufs {
		free <- b
	}
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		defer close(free)
		for data := range sum {
			hash.Write(data)
			free <- data[:cap(data)]
		}
	}()
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
		if _, writeErr = dst.Write(c.data); writeErr == nil {
			sum <- c.data
		}
		readErr = c.err
	}
	close(stop)
	<-read
	close(sum)
	<-hashed
	return atEnd(readErr), writeErr
}

func pumpSmall(dst io.Writer, src io.Reader, hash *digest.Hash, buf []byte) (readErr, writeErr error) {
	for readErr == nil && writeErr == nil {
		var n int
		n, readErr = io.ReadFull(src, buf)
		hash.Write(buf[:n])
		_, writeErr = dst.Write(buf[:n])
	}
	return atEnd(readErr), writeErr
}

// atEnd is an error of io.ReadFull without those that mean the end.
func atEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// source is a file of the host, opened and looked through before its turn to be copied.
type source struct {
	file  *os.File
	entry pkgindex.Entry // of a package: what its own metadata says
	known *digest.Sums   // of a package that was checked before: what it was then
	err   error
}

func (s source) drop() {
	if s.file != nil {
		s.file.Close()
	}
}

// copyAll copies the files in turn, checking some of them ahead.
func (x *exporter) copyAll(ctx context.Context, w *drive.Writer, todo []Item) error {
	workers := x.o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
		if x.o.Readers == 1 {
			workers = 1
		}
	}
	every := x.o.commitEvery
	if every == 0 {
		every = commitEvery
	}
	known := make([]*digest.Sums, len(todo))
	for i, it := range todo {
		known[i] = x.checkedBefore(it)
	}
	var uncommitted int64
	return ahead(ctx, len(todo), workers, 2*workers,
		func(ctx context.Context, i int) source { return x.openSource(ctx, todo[i], known[i]) },
		func(i int, s source) error {
			defer s.drop()
			size, err := x.copyOne(ctx, w, todo[i], s)
			if uncommitted += size; err != nil || uncommitted < every || i == len(todo)-1 {
				return err
			}
			uncommitted = 0
			return x.commit(ctx, w)
		}, source.drop)
}

// checkedBefore returns the digests of a package that was looked through by an earlier export and has not changed since, as far as its status tells; the copying makes sure of it. Else nil.
func (x *exporter) checkedBefore(it Item) *digest.Sums {
	if it.Kind != Package {
		return nil
	}
	cache, info := x.host.packages.cache, x.host.files[fileKey{it.Kind, it.Path}].info
	sums, set, ok := cache.Lookup(it.Path, info)
	if !ok || set != digest.All || cache.Approved(it.Path, info) != binpkg.Rules {
		return nil
	}
	return &sums
}

// openSource opens a file and, if it is a package, checks all of it: what would hurt Portage is not carried. One whose digests are known was checked when they were computed.
func (x *exporter) openSource(ctx context.Context, it Item, known *digest.Sums) (s source) {
	s.known = known
	h := x.host.files[fileKey{it.Kind, it.Path}]
	if s.file, s.err = x.host.dir(it.Kind).open(it.Path, h.info); s.err != nil || it.Kind != Package {
		return s
	}
	pkg, err := binpkg.Read(s.file, h.Size, it.Path)
	if err == nil && known == nil {
		err = binpkg.Check(ctx, s.file, h.Size, it.Path)
	}
	if err == nil {
		s.entry, err = pkgindex.NewEntry(pkg.Get)
	}
	s.err = err
	return s
}

// sourceError marks an error of the host's file among those of the drive.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// copyOne puts one file on the drive in one pass: read, hashed, written. A file that cannot be carried is left out and the run goes on; only the drive's errors end it.
func (x *exporter) copyOne(ctx context.Context, w *drive.Writer, it Item, s source) (int64, error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	key := fileKey{it.Kind, it.Path}
	h := x.host.files[key]
	if s.err != nil {
		x.leaveOut(it, s.err, "")
		return 0, nil
	}
	var sums digest.Sums
	put, err := w.Put(ctx, drive.NewFile{Kind: driveKind(it.Kind), Path: it.Path, Size: it.Size}, func(dst io.Writer) error {
		set := digest.Set(0)
		if it.Kind == Package && s.known == nil {
			set = indexHashes
		}
		var err error
		sums, err = pour(dst, s.file, h.info, set, x.bufs)
		return err
	})
	var mine *sourceError
	switch {
	case errors.As(err, &mine):
		x.leaveOut(it, mine.err, "")
		return 0, nil
	case err != nil:
		return 0, err
	}
	if s.known != nil {
		if put.Sum != s.known.Blake2b {
			x.leaveOut(it, errRotten, "if the file is good: touch "+filepath.Join(x.m.PKGDIR, it.Path))
			return 0, nil // not listed: the next commit removes it
		}
		sums = *s.known
	}
	if it.Kind == Package {
		entry, err := x.entryOf(h, s.entry, sums)
		if err != nil {
			x.leaveOut(it, err, x.hintIndex())
			return 0, nil // not listed: the next commit removes it
		}
		x.setEntry(it.Path, entry)
	}
	sums.Blake2b = put.Sum
	set := digest.BLAKE2B
	if it.Kind == Package {
		set = digest.All
	}
	cache := x.host.dir(it.Kind).cache
	cache.Put(it.Path, h.info, sums, set)
	if it.Kind == Package {
		cache.Approve(it.Path, h.info, binpkg.Rules)
	}
	x.current[key] = &put
	x.report.Copied = append(x.report.Copied, it)
	return it.Size, nil
}

// errRotten is about a file that changed behind the back of its file system.
var errRotten = errors.New("damaged: its contents are not what they were when it was read before, and its times say that nobody changed it")

// pour copies a file to dst and sums it on the way. Its errors are *sourceError unless they are dst's.
func pour(dst io.Writer, src *os.File, scanned fs.FileInfo, set digest.Set, bufs *buffers) (digest.Sums, error) {
	hash := digest.New(set)
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return digest.Sums{}, &sourceError{err}
	}
	size := scanned.Size()
	readErr, writeErr := pump(dst, io.LimitReader(src, size), size, hash, bufs)
	if writeErr != nil {
		return digest.Sums{}, writeErr
	}
	sums := hash.Sum()
	if readErr == nil && sums.Size != size {
		readErr = errChanged
	}
	if readErr == nil {
		readErr = unchanged(src, scanned)
	}
	if readErr != nil {
		return digest.Sums{}, &sourceError{readErr}
	}
	return sums, nil
}
