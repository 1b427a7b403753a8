package pkgdir

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

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
	r := newReader(d, set)
	defer r.close()
	return r.describe(ctx, f)
}

// reader describes one package after the other.
type reader struct {
	dir  *Dir
	set  digest.Set
	hash *digest.Hash
	buf  []byte
	// at is the open directory of the last small package: the next one mostly lies beside it.
	at     *os.File
	atPath string
	step   func(what string) // Options.step
}

func newReader(d *Dir, set digest.Set) *reader {
	set |= digest.MD5 | digest.SHA1
	return &reader{dir: d, set: set, hash: digest.New(set), buf: make([]byte, readSize)}
}

func (r *reader) close() {
	if r.at != nil {
		r.at.Close()
	}
}

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

// readSmall reads a package once and takes everything from memory. Ten thousand of them are common, so
// it spends five system calls on each.
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
	dir, base := path.Split(f.Path)
	if err := r.enter(path.Clean(dir)); err != nil {
		return nil, err
	}
	failed := func(op string, err error) error { return &fs.PathError{Op: op, Path: f.Path, Err: err} }
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Openat(int(r.at.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, failed("open", err)
	}
	defer unix.Close(fd)
	if err := unchanged(fd, f); err != nil {
		return nil, err
	}
	data := r.buf[:f.Info.Size()]
	for done := 0; done < len(data); {
		var n int
		err := again(func() (err error) {
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

// enter opens the directory that the next files lie in.
func (r *reader) enter(dir string) error {
	if r.at != nil && r.atPath == dir {
		return nil
	}
	at, err := r.dir.root.Open(dir)
	if err != nil {
		return err
	}
	r.close()
	r.at, r.atPath = at, dir
	return nil
}

func unchanged(fd int, f File) error {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return &fs.PathError{Op: "stat", Path: f.Path, Err: err}
	}
	if now := newInfo(f.Path, &st); !sameStatus(&now, f.Info) {
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
	if !sameStatus(fi, f.Info) {
		return nil, digest.Sums{}, errChanged
	}
	p, err := binpkg.Read(file, fi.Size(), f.Path)
	var sums digest.Sums
	if err == nil {
		sums, err = digest.Reader(ctx, file, r.set, r.buf)
	}
	r.done(f)
	if now, statErr := file.Stat(); statErr == nil && !sameStatus(now, fi) || err == nil && sums.Size != fi.Size() {
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
	key   pkgindex.Instance
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
			r.step = o.step
			defer r.close()
			for f := range work {
				e, _, err := r.describe(ctx, f)
				results <- result{f, described{f.Info, e, pkgindex.InstanceKey(e), err}}
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
