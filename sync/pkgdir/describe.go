package pkgdir

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/listing"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
)

const (
	// readSize is how much is read at a time, in bytes. A smaller package is read once, for
	// metadata and digests.
	readSize = 1 << 20
	// A batch is what a worker takes at a time: so many packages, or so many bytes. Handing over
	// each for itself would cost as much as reading a small one.
	batchFiles = 64
	batchBytes = 4 << 20
)

// errChanged is the reason for a file that somebody writes to.
var errChanged = errors.New("changed while it was read")

// reader describes one package after the other.
type reader struct {
	dir  *Dir
	set  digest.Set
	hash *digest.Hash
	buf  []byte
	top  *os.File          // the PKGDIR, open while small packages are read
	step func(what string) // Options.step
}

func newReader(d *Dir, set digest.Set) *reader {
	set |= digest.MD5 | digest.SHA1
	return &reader{dir: d, set: set, hash: digest.New(set), buf: make([]byte, readSize)}
}

func (r *reader) close() {
	if r.top != nil {
		r.top.Close()
	}
}

// describe reads a package as Scan found it, and returns its index entry with PATH, SIZE, MTIME,
// MD5 and SHA1, and the sums of the reader's set. The error is a *binpkg.InvalidError or a
// *pkgindex.ValueError for a file that is no package to Portage.
func (r *reader) describe(ctx context.Context, f File) (pkgindex.Entry, digest.Sums, error) {
	if ctx.Err() != nil {
		return pkgindex.Entry{}, digest.Sums{}, context.Cause(ctx)
	}
	read := r.readLarge
	if f.Info.Size() <= int64(len(r.buf)) {
		read = r.readSmall
	}
	p, sums, err := read(ctx, f)
	if err != nil {
		return pkgindex.Entry{}, digest.Sums{}, err
	}
	e, err := pkgindex.NewEntry(p.Get)
	if err == nil {
		e, err = withFile(e, f.Path, f.Info, sums)
	}
	return e, sums, err
}

// readSmall reads a package once and takes everything from memory. Ten thousand of them are common,
// so it spends five system calls on each.
func (r *reader) readSmall(_ context.Context, f File) (*binpkg.Package, digest.Sums, error) {
	data, err := r.load(f)
	if err != nil {
		return nil, digest.Sums{}, err
	}
	p, err := binpkg.Read(bytes.NewReader(data), f.Info.Size(), f.Path)
	if err != nil {
		return nil, digest.Sums{}, err
	}
	r.hash.Reset()
	r.hash.Write(data)
	return p, r.hash.Sum(), nil
}

// load returns the contents of a file that is as it was found.
func (r *reader) load(f File) ([]byte, error) {
	failed := func(op string, err error) error {
		return &fs.PathError{Op: op, Path: f.Path, Err: err}
	}
	fd, err := r.open(f.Path)
	if err != nil {
		return nil, failed("open", err)
	}
	defer unix.Close(fd)
	data := r.buf[:f.Info.Size()]
	for done := 0; done < len(data); {
		var n int
		err := listing.Retry(func() (err error) {
			n, err = unix.Read(fd, data[done:])
			return err
		})
		if err != nil {
			return nil, failed("read", err)
		}
		if n == 0 {
			return nil, errChanged
		}
		done += n
	}
	r.done(f)
	return data, unchanged(fd, f)
}

// done is called when a file was read, and before its status is compared.
func (r *reader) done(f File) {
	if r.step != nil {
		r.step("read " + f.Path)
	}
}

// open opens a file below PKGDIR, not through any link: in one system call where the kernel is
// Linux 5.6 or newer and lets us, directory by directory elsewhere.
func (r *reader) open(path string) (int, error) {
	if !fs.ValidPath(path) {
		return -1, unix.EINVAL
	}
	if r.top == nil {
		top, err := r.dir.root.Open(".")
		if err != nil {
			return -1, err
		}
		r.top = top
	}
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_LARGEFILE | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	var fd int
	err := listing.Retry(func() (err error) {
		fd, err = unix.Openat2(int(r.top.Fd()), path, &how)
		return err
	})
	switch err {
	// an old kernel, a sandbox without it, a rename on the way
	case unix.ENOSYS, unix.EPERM, unix.EAGAIN:
		return walkTo(int(r.top.Fd()), path)
	}
	return fd, err
}

// walkTo opens the file at a path below an open directory, one directory after the other.
func walkTo(top int, path string) (int, error) {
	dir, base := top, path
	for {
		name, rest, more := strings.Cut(base, "/")
		flags := 0
		if more {
			flags = unix.O_DIRECTORY
		}
		fd, err := listing.Open(dir, name, flags)
		if dir != top {
			unix.Close(dir)
		}
		if err != nil || !more {
			return fd, err
		}
		dir, base = fd, rest
	}
}

func unchanged(fd int, f File) error {
	now, err := listing.Fstat(fd, f.Path)
	if err != nil {
		return &fs.PathError{Op: "stat", Path: f.Path, Err: err}
	}
	if !durable.Unchanged(now, f.Info) {
		return errChanged
	}
	return nil
}

// readLarge reads a package twice: what the metadata needs, and everything.
func (r *reader) readLarge(ctx context.Context, f File) (*binpkg.Package, digest.Sums, error) {
	file, fi, err := r.dir.OpenFile(f.Path)
	if err != nil {
		return nil, digest.Sums{}, err
	}
	defer file.Close()
	if !durable.Unchanged(fi, f.Info) {
		return nil, digest.Sums{}, errChanged
	}
	p, err := binpkg.Read(file, fi.Size(), f.Path)
	var sums digest.Sums
	if err == nil {
		sums, err = digest.Reader(ctx, file, r.set, r.buf)
	}
	r.done(f)
	if now, statErr := file.Stat(); statErr == nil && !durable.Unchanged(now, fi) || err == nil &&
		sums.Size != fi.Size() {
		err = errChanged
	}
	return p, sums, err
}

// withFile adds to an entry what stands in the file only.
func withFile(e pkgindex.Entry, path string, fi fs.FileInfo,
	sums digest.Sums) (pkgindex.Entry, error) {
	return e.With(
		"PATH", path,
		"SIZE", strconv.FormatInt(fi.Size(), 10),
		"MTIME", strconv.FormatInt(fi.ModTime().Unix(), 10),
		"MD5", digest.Hex(sums.MD5[:]),
		"SHA1", digest.Hex(sums.SHA1[:]),
	)
}

// described is what reading a file has led to.
type described struct {
	path  string
	info  fs.FileInfo // when it was found
	entry pkgindex.Entry
	key   pkgindex.Instance
	err   error
}

// describeAll reads files that are not in known, or have changed since, and adds them to it. Only
// the end of ctx is an error.
func (d *Dir) describeAll(ctx context.Context, files []File, known map[string]described,
	o Options) error {
	var todo []File
	for _, f := range files {
		if k, ok := known[f.Path]; !ok || !durable.Unchanged(k.info, f.Info) {
			todo = append(todo, f)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	workers := o.Workers
	if workers <= 0 {
		workers = pipeline.Processors()
	}
	batches := batch(todo)
	work := make(chan []File, len(batches))
	for _, b := range batches {
		work <- b
	}
	close(work)
	results := make(chan []described)
	for range min(workers, len(batches)) {
		go func() {
			r := newReader(d, 0)
			r.step = o.step
			defer r.close()
			for b := range work {
				results <- r.describeBatch(ctx, b)
			}
		}()
	}
	for range batches {
		for _, k := range <-results {
			known[k.path] = k
			if o.Progress != nil {
				o.Progress(k.path, k.info.Size())
			}
		}
	}
	return context.Cause(ctx)
}

// batch puts files together for the workers, the large ones first, each for itself.
func batch(files []File) [][]File {
	var batches [][]File
	var small []File
	var bytes int64
	for _, i := range pipeline.LargeFirst(len(files),
		func(i int) int64 { return files[i].Info.Size() }) {
		f := files[i]
		if f.Info.Size() >= pipeline.LargeSize {
			batches = append(batches, []File{f})
			continue
		}
		small, bytes = append(small, f), bytes+f.Info.Size()
		if len(small) == batchFiles || bytes >= batchBytes {
			batches, small, bytes = append(batches, small), nil, 0
		}
	}
	if len(small) > 0 {
		batches = append(batches, small)
	}
	return batches
}

func (r *reader) describeBatch(ctx context.Context, files []File) []described {
	all := make([]described, len(files))
	for i, f := range files {
		e, _, err := r.describe(ctx, f)
		all[i] = described{f.Path, f.Info, e, pkgindex.InstanceKey(e), err}
	}
	return all
}
