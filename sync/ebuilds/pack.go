package ebuilds

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/listing"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/portage"
)

// Source is a repository of the host, open to be packed.
type Source struct {
	repo portage.Repo
	root *os.Root
	seen *survey
}

// OpenSource walks through a repository. It reads names and status, no file.
func OpenSource(ctx context.Context, r portage.Repo, dir string) (*Source, error) {
	if reason := layout.CheckRepoName(r.Name); reason != "" {
		return nil, fmt.Errorf("the repository %q: %s", r.Name, reason)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	seen, err := walk(ctx, root, false)
	if err != nil {
		root.Close()
		return nil, err
	}
	return &Source{repo: r, root: root, seen: seen}, nil
}

// Close closes the repository.
func (s *Source) Close() error { return s.root.Close() }

// Seal is a digest of the names and the status of all that would be packed: as long as it is the
// same, so is the tree.
func (s *Source) Seal() string { return s.seen.seal }

// LeftOut names what lies in the repository and cannot be carried, each with its reason.
func (s *Source) LeftOut() []string { return s.seen.left }

// Bytes is what all files have together.
func (s *Source) Bytes() int64 { return s.seen.bytes }

// Files is how many files there are.
func (s *Source) Files() int { return s.seen.files() }

// Count is how many files and directories there are.
func (s *Source) Count() int { return len(s.seen.entries) }

// Digest reads the repository and returns the digest that Pack would give.
func (s *Source) Digest(ctx context.Context, tell func(files int, bytes int64)) (string, error) {
	t, err := s.copyTo(ctx, nil, tell)
	return t.Digest, err
}

// Pack writes the repository as a tar archive, compressed with zstd, and returns its entry in the
// record, but for the name of its file. The same tree gives the same bytes. tell is passed what
// was packed; it may be nil.
func (s *Source) Pack(ctx context.Context, w io.Writer,
	tell func(files int, bytes int64)) (layout.Tree, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(4<<20))
	if err != nil {
		return layout.Tree{}, err
	}
	t := tar.NewWriter(z)
	tree, err := s.copyTo(ctx, t, tell)
	if err := errors.Join(err, t.Close(), z.Close()); err != nil {
		return layout.Tree{}, fmt.Errorf("packing the repository %q: %w", s.repo.Name, err)
	}
	return tree, nil
}

// batch is how many files are read by one worker in a row: mostly those of one directory.
const batch = 64

// copyTo reads everything in its order, and writes it to t if that is not nil.
func (s *Source) copyTo(ctx context.Context, t *tar.Writer,
	tell func(files int, bytes int64)) (layout.Tree, error) {
	tree := layout.Tree{Bytes: s.seen.bytes, Count: len(s.seen.entries), Revision: s.repo.Revision,
		Timestamp: s.repo.Timestamp,
		HasCache:  s.repo.HasCache()}
	for _, master := range s.repo.Masters() {
		if layout.CheckRepoName(master) == "" {
			tree.Masters = append(tree.Masters, master)
		}
	}
	at := s.repo.Timestamp
	if at.Unix() <= 0 {
		at = time.Unix(s.seen.newest(), 0)
	}
	p := packer{source: s, tar: t, sum: newContents(),
		at: at.UTC().Truncate(time.Second), tell: tell}
	n := (len(s.seen.entries) + batch - 1) / batch
	err := pipeline.Ordered(ctx, n, pipeline.Processors()+1, pipeline.Window/8,
		func(ctx context.Context, i int) []loaded { return s.load(ctx, i*batch) },
		func(i int, files []loaded) error { return p.write(ctx, i*batch, files) },
		func([]loaded) {})
	tree.Digest, tree.EAPI = p.sum.digest(), highestEAPI(p.eapis)
	return tree, err
}

// loaded is a file that was read.
type loaded struct {
	data []byte
	sum  digest.Blake2b
	err  error
}

// load reads the files of a batch, but for large ones.
func (s *Source) load(ctx context.Context, from int) []loaded {
	entries := s.seen.entries[from:min(from+batch, len(s.seen.entries))]
	files := make([]loaded, len(entries))
	d := opened{root: s.root}
	defer d.close()
	var buf []byte
	for i := range entries {
		e := &entries[i]
		if e.isDir() || e.st.Size > pipeline.SmallSize {
			continue
		}
		if files[i].err = ctx.Err(); files[i].err == nil {
			files[i].data, buf, files[i].err = d.read(e, buf)
			files[i].sum = digest.Bytes(files[i].data)
		}
	}
	return files
}

// opened is a tree with the directory in it that was used last: to open a file by its whole path
// takes several system calls for each part of it.
type opened struct {
	root *os.Root
	path string
	dir  *os.File
}

func (d *opened) close() {
	if d.dir != nil {
		d.dir.Close()
		d.dir = nil
	}
}

// open opens a file of a survey; another one than was seen is errChanged.
func (d *opened) open(e *entry) (*os.File, error) {
	if e.link {
		f, fi, err := openBehind(d.root, e.path)
		if err == nil && !e.isStill(fi.Size(), fi.ModTime().UnixNano()) {
			f.Close()
			err = e.changed()
		}
		return f, err
	}
	fd, err := d.descriptor(e)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), e.path), nil
}

// descriptor opens a file that is no link.
func (d *opened) descriptor(e *entry) (int, error) {
	dir, name := path.Split(e.path)
	if d.dir == nil || d.path != dir {
		d.close()
		sub, err := durable.OpenDir(d.root, path.Clean(dir))
		if err != nil {
			return -1, err
		}
		d.dir, d.path = sub, dir
	}
	fd, err := listing.Open(int(d.dir.Fd()), name, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: e.path, Err: err}
	}
	is, err := listing.Fstat(fd, name)
	if err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "stat", Path: e.path, Err: err}
	}
	if !is.IsRegular() || !e.isStill(is.Size(), is.ModTime().UnixNano()) {
		unix.Close(fd)
		return -1, e.changed()
	}
	return fd, nil
}

// isStill reports whether a file is what was seen when the tree was walked through.
func (e *entry) isStill(size, mtime int64) bool {
	return size == e.st.Size && mtime == e.st.Mtim.Nano()
}

func (e *entry) changed() error { return fmt.Errorf("%q: %w", e.path, errChanged) }

// openBehind opens the file of the same tree to which a link leads.
func openBehind(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := durable.OpenFile(root, name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%q: %w", name, errChanged)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// read reads a small file into memory that it takes from buf; what is left of that comes back.
func (d *opened) read(e *entry, buf []byte) (data, rest []byte, err error) {
	size := int(e.st.Size)
	if size > cap(buf)-len(buf) {
		buf = make([]byte, 0, max(size, loadBytes))
	}
	data = buf[len(buf) : len(buf)+size : len(buf)+size]
	rest = buf[:len(buf)+size]
	if e.link {
		f, err := d.open(e)
		if err != nil {
			return nil, rest, err
		}
		defer f.Close()
		if _, err := io.ReadFull(f, data); err != nil {
			return nil, rest, e.changed()
		}
		return data, rest, nil
	}
	fd, err := d.descriptor(e)
	if err != nil {
		return nil, rest, err
	}
	defer unix.Close(fd)
	for n := 0; n < size; {
		more := 0
		err := listing.Retry(func() (err error) {
			more, err = unix.Read(fd, data[n:])
			return err
		})
		switch {
		case err != nil:
			return nil, rest, &fs.PathError{Op: "read", Path: e.path, Err: err}
		case more == 0:
			return nil, rest, e.changed()
		}
		n += more
	}
	return data, rest, nil
}

// loadBytes is how much memory is taken at once for small files.
const loadBytes = 64 << 10

// packer writes what was read.
type packer struct {
	source *Source
	tar    *tar.Writer // nil: only the digest is wanted
	sum    contents
	at     time.Time
	tell   func(files int, bytes int64)
	eapis  []string

	files int
	bytes int64
}

// write appends a batch.
func (p *packer) write(ctx context.Context, from int, files []loaded) error {
	for i := range files {
		e, f := &p.source.seen.entries[from+i], &files[i]
		err := f.err
		switch {
		case err != nil:
		case e.isDir():
			p.sum.dir(e.path)
			err = p.header(e)
		case f.data == nil && e.st.Size > 0:
			err = p.large(ctx, e)
		default:
			p.sum.file(e.path, e.executable(), e.st.Size, f.sum)
			if path.Base(e.path) == "eapi" && strings.HasPrefix(e.path, "profiles/") {
				p.eapis = append(p.eapis, string(f.data))
			}
			if err = p.header(e); err == nil && p.tar != nil {
				_, err = p.tar.Write(f.data)
			}
		}
		if err != nil {
			return err
		}
		if !e.isDir() {
			p.files, p.bytes = p.files+1, p.bytes+e.st.Size
		}
	}
	if p.tell != nil {
		p.tell(p.files, p.bytes)
	}
	return nil
}

// large copies a file that is not read ahead.
func (p *packer) large(ctx context.Context, e *entry) error {
	d := opened{root: p.source.root}
	defer d.close()
	f, err := d.open(e)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.header(e); err != nil {
		return err
	}
	hash := digest.New(digest.BLAKE2B)
	w := io.Writer(hash)
	if p.tar != nil {
		w = io.MultiWriter(hash, p.tar)
	}
	n, err := io.Copy(w, io.LimitReader(pipeline.Reader{Ctx: ctx, R: f}, e.st.Size))
	if err == nil && n != e.st.Size {
		err = fmt.Errorf("%q: %w", e.path, errChanged)
	}
	p.sum.file(e.path, e.executable(), e.st.Size, hash.Sum().Blake2b)
	return err
}

// header begins an entry of the archive: owner 0, one time for all.
func (p *packer) header(e *entry) error {
	if p.tar == nil {
		return nil
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.path, Size: e.st.Size, Mode: 0o644,
		ModTime: p.at}
	switch {
	case e.isDir():
		h.Typeflag, h.Name, h.Size, h.Mode = tar.TypeDir, e.path+"/", 0, 0o755
	case e.executable():
		h.Mode = 0o755
	}
	return p.tar.WriteHeader(h)
}
