package pkgdir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/pkgindex"
)

// readSize is how much is read at a time. A smaller package is read once, for metadata and digests.
const readSize = 256 << 10

// errChanged is the reason for a file that somebody writes to.
var errChanged = errors.New("changed while it was read")

// Describe reads a package as it was found by Scan, and returns its index entry with PATH, SIZE, MTIME,
// MD5 and SHA1, and the sums of set as well. The error is a *binpkg.InvalidError or *pkgindex.ValueError
// for a file that is no package to Portage.
func (d *Dir) Describe(ctx context.Context, f File, set digest.Set) (pkgindex.Entry, digest.Sums, error) {
	return newReader(d, set).describe(ctx, f)
}

// reader describes one package after the other.
type reader struct {
	dir  *Dir
	set  digest.Set
	hash *digest.Hash
	buf  []byte
}

func newReader(d *Dir, set digest.Set) *reader {
	set |= digest.MD5 | digest.SHA1
	return &reader{dir: d, set: set, hash: digest.New(set), buf: make([]byte, readSize)}
}

func (r *reader) describe(ctx context.Context, f File) (pkgindex.Entry, digest.Sums, error) {
	if ctx.Err() != nil {
		return pkgindex.Entry{}, digest.Sums{}, context.Cause(ctx)
	}
	file, fi, err := r.dir.OpenFile(f.Path)
	if err != nil {
		return pkgindex.Entry{}, digest.Sums{}, err
	}
	defer file.Close()
	if !sameStatus(fi, f.Info) {
		return pkgindex.Entry{}, digest.Sums{}, errChanged
	}
	p, sums, err := r.read(ctx, file, f)
	if now, statErr := file.Stat(); statErr == nil && !sameStatus(now, fi) {
		err = errChanged
	}
	if err != nil {
		return pkgindex.Entry{}, digest.Sums{}, err
	}
	e, err := pkgindex.NewEntry(p.Get)
	if err == nil {
		e, err = withFile(e, f.Path, fi, sums)
	}
	return e, sums, err
}

// read takes metadata and sums out of an open file.
func (r *reader) read(ctx context.Context, file *os.File, f File) (*binpkg.Package, digest.Sums, error) {
	size := f.Info.Size()
	if size > int64(len(r.buf)) {
		return r.readLarge(ctx, file, f)
	}
	data := r.buf[:size]
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, digest.Sums{}, err
	}
	p, err := binpkg.Read(bytes.NewReader(data), size, f.Path)
	if err != nil {
		return nil, digest.Sums{}, err
	}
	r.hash.Reset()
	r.hash.Write(data)
	return p, r.hash.Sum(), nil
}

func (r *reader) readLarge(ctx context.Context, file *os.File, f File) (*binpkg.Package, digest.Sums, error) {
	p, err := binpkg.Read(file, f.Info.Size(), f.Path)
	if err != nil {
		return nil, digest.Sums{}, err
	}
	sums, err := digest.Reader(ctx, file, r.set, r.buf)
	if err == nil && sums.Size != f.Info.Size() {
		err = errChanged
	}
	return p, sums, err
}

// withFile adds to an entry what only the file knows.
func withFile(e pkgindex.Entry, path string, fi fs.FileInfo, sums digest.Sums) (pkgindex.Entry, error) {
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
	info  fs.FileInfo // when it was found
	entry pkgindex.Entry
	err   error
}

// describeAll reads files that are not in known, or have changed since, and adds them to it. Only the end
// of ctx is an error.
func (d *Dir) describeAll(ctx context.Context, files []File, known map[string]described, o Options) error {
	var todo []File
	for _, f := range files {
		if k, ok := known[f.Path]; !ok || !sameStatus(k.info, f.Info) {
			todo = append(todo, f)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	type result struct {
		file File
		described
	}
	work := make(chan File)
	results := make(chan result)
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	for range min(workers, len(todo)) {
		go func() {
			r := newReader(d, 0)
			for f := range work {
				e, _, err := r.describe(ctx, f)
				results <- result{f, described{f.Info, e, err}}
			}
		}()
	}
	go func() {
		defer close(work)
		for _, f := range todo {
			work <- f
		}
	}()
	for range todo {
		r := <-results
		known[r.file.Path] = r.described
		if o.Progress != nil {
			o.Progress(r.file.Path, r.file.Info.Size())
		}
	}
	return context.Cause(ctx)
}
