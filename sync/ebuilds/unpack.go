package ebuilds

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pipeline"
)

// Access is whose a tree is and who may read it: what the tree has that it takes the place of.
type Access struct {
	UID, GID int         // -1: as this process makes it
	Dir      fs.FileMode // of directories; that of files has no x bits
}

func (a Access) file(executable bool) fs.FileMode {
	if executable {
		return a.Dir & fs.ModePerm
	}
	return a.Dir & fs.ModePerm &^ 0o111
}

// An ArchiveError reports why a packed repository is not unpacked: it is not one that pkgsneak
// packed, or not the one that the record describes.
type ArchiveError struct{ Reason string }

func (e *ArchiveError) Error() string { return e.Reason }

func archiveError(format string, args ...any) error {
	return &ArchiveError{Reason: fmt.Sprintf(format, args...)}
}

// Limits of what is unpacked beyond the sizes that the record states.
const (
	maxWindow  = 16 << 20 // bytes of zstd's memory
	entryBytes = 8 << 10  // of the archive for each entry, beside its contents
)

// unpack makes the tree of an archive in the new directory dir below into. Nothing in the archive
// is believed: the record is, whose signature was verified.
func unpack(ctx context.Context, r io.Reader, into *durable.Root, dir string, want *layout.Tree,
	a Access, tell func(files int, bytes int64)) (err error) {
	z, err := newReader(ctx, r)
	if err != nil {
		return err
	}
	defer z.Close()
	limit := limitOf(want)
	whole := &io.LimitedReader{R: z, N: limit + 1}
	u := &unpacker{into: into, at: dir, want: want, access: a, sum: newContents(), tell: tell}
	if err := u.all(ctx, tar.NewReader(whole)); err != nil {
		return err
	}
	// to the end: the signature is about all of it
	if _, err := io.Copy(io.Discard, whole); err != nil {
		return archiveFault(err)
	}
	if whole.N <= 0 {
		return archiveError("it unpacks to more than the %d bytes that its contents can take",
			limit)
	}
	if u.count != want.Count || u.bytes != want.Bytes || u.sum.digest() != want.Digest {
		return archiveError("it has %d entries of %d bytes, and is not the tree of %d entries and %d bytes that the record describes",
			u.count, u.bytes, want.Count, want.Bytes)
	}
	return nil
}

// Holds reports whether the archive of an offer has a directory. All of it is read, so that it is
// the one that was signed; nothing is unpacked.
func Holds(ctx context.Context, o Offer, dir string) (bool, error) {
	r, err := o.Open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	z, err := newReader(ctx, r)
	if err != nil {
		return false, err
	}
	defer z.Close()
	found, t := false, tar.NewReader(io.LimitReader(z, limitOf(&o.Tree)))
	for !found {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, archiveFault(err)
		}
		found = h.Typeflag == tar.TypeDir && strings.TrimSuffix(h.Name, "/") == dir
	}
	z.Close() // it reads ahead
	_, err = io.Copy(io.Discard, pipeline.Reader{Ctx: ctx, R: r})
	return found, err
}

func newReader(ctx context.Context, r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(pipeline.Reader{Ctx: ctx, R: r}, zstd.WithDecoderConcurrency(2),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow*2))
}

// limitOf is the most that the archive of a tree unpacks to, in bytes.
func limitOf(t *layout.Tree) int64 { return t.Bytes + int64(t.Count)*entryBytes + 1<<20 }

// archiveFault is the error of a reader: the medium's own stays what it is.
func archiveFault(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || isZstd(err) {
		return archiveError("it cannot be unpacked: %v", err)
	}
	return err
}

func isZstd(err error) bool {
	for _, e := range []error{zstd.ErrMagicMismatch, zstd.ErrWindowSizeExceeded,
		zstd.ErrDecoderSizeExceeded, zstd.ErrCRCMismatch,
		zstd.ErrBlockTooSmall, zstd.ErrReservedBlockType, zstd.ErrCompressedSizeTooBig,
		zstd.ErrUnexpectedBlockSize,
		zstd.ErrUnknownDictionary, zstd.ErrFrameSizeExceeded, zstd.ErrFrameSizeMismatch} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// unpacker is one archive on its way into a directory.
type unpacker struct {
	into   *durable.Root
	at     string // below into
	want   *layout.Tree
	access Access
	sum    contents
	tell   func(files int, bytes int64)

	writers *writers
	made    map[string]bool
	way     []*branch // open directories: the tree's own, and those down to the last entry
	count   int
	bytes   int64
	buf     []byte
}

func (u *unpacker) all(ctx context.Context, t *tar.Reader) (err error) {
	u.made = map[string]bool{".": true}
	if err := u.begin(); err != nil {
		return err
	}
	u.writers = newWriters(u.into)
	defer func() { // what is wrong with the archive comes before what that led to
		left, ended := u.leave(0), u.writers.end()
		err = cmp.Or(err, ended, left)
	}()
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return u.writers.flush()
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return archiveFault(err)
		}
		if err := u.entry(t, h); err != nil {
			return err
		}
	}
}

// entry checks an entry and makes it.
func (u *unpacker) entry(t *tar.Reader, h *tar.Header) error {
	if u.count++; u.count > u.want.Count {
		return archiveError("it has more than the %d entries that the record says", u.want.Count)
	}
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if err := checkEntry(name, h); err != nil {
		return err
	}
	if !u.made[path.Dir(name)] {
		return archiveError("the entry %.200q comes before its directory", h.Name)
	}
	if u.tell != nil && u.count%256 == 0 {
		u.tell(u.count, u.bytes)
	}
	above, err := u.enter(path.Dir(name))
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		u.made[name] = true
		u.sum.dir(name)
		return u.mkdir(above, name, h)
	}
	if u.bytes += h.Size; u.bytes > u.want.Bytes {
		return archiveError("its files have more than the %d bytes that the record says",
			u.want.Bytes)
	}
	return u.file(above, t, name, h)
}

// checkEntry refuses what packing never writes.
func checkEntry(name string, h *tar.Header) error {
	top, _, _ := strings.Cut(name, "/")
	switch reason := nameFault(name); {
	case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir:
		return archiveError("the entry %.200q is neither a file nor a directory", h.Name)
	case reason != "":
		return archiveError("the entry %.200q: %s", h.Name, reason)
	case path.IsAbs(name) || slices.Contains(notCarried, top):
		return archiveError("the entry %.200q is none of a repository that is carried", h.Name)
	case strings.Count(name, "/") > maxDepth:
		return archiveError("the entry %.200q lies in more than %d directories", h.Name, maxDepth)
	case h.Size < 0 || h.Size > maxFile || h.Typeflag == tar.TypeDir && h.Size != 0:
		return archiveError("the entry %.200q has %d bytes", h.Name, h.Size)
	}
	return nil
}

// begin makes the tree's own directory.
func (u *unpacker) begin() error {
	b, err := durable.NewBranch(u.into, u.at, u.access.Dir)
	if err != nil {
		return err
	}
	u.way = []*branch{{Branch: b}}
	u.way[0].uses.Store(1)
	return b.Chown(u.access.UID, u.access.GID)
}

// mkdir makes a directory and goes into it.
func (u *unpacker) mkdir(above *branch, name string, h *tar.Header) error {
	b, err := above.Mkdir(path.Base(name), u.access.Dir)
	if err != nil {
		return twice(err, name)
	}
	u.way = append(u.way, above.below(b, name, h.ModTime))
	if u.access.UID < 0 && u.access.GID < 0 {
		return nil
	}
	return b.Chown(u.access.UID, u.access.GID)
}

// enter makes a directory that was made before the last one of the way.
func (u *unpacker) enter(name string) (*branch, error) {
	if name == "." {
		name = ""
	}
	keep := len(u.way)
	for keep > 1 && !within(name, u.way[keep-1].path) {
		keep--
	}
	if err := u.leave(keep); err != nil {
		return nil, err
	}
	for {
		last := u.way[len(u.way)-1]
		if last.path == name {
			return last, nil
		}
		// an archive that is not in our order comes back to a directory
		rest := strings.TrimPrefix(strings.TrimPrefix(name, last.path), "/")
		next, _, _ := strings.Cut(rest, "/")
		b, err := last.Open(next)
		if err != nil {
			return nil, err
		}
		at := path.Join(last.path, next)
		u.way = append(u.way, last.below(b, at, u.writers.times[at]))
	}
}

// leave closes the directories of the way beyond the first n. They stay open for what is on its way
// to them.
func (u *unpacker) leave(n int) (err error) {
	for len(u.way) > n {
		last := u.way[len(u.way)-1]
		u.way = u.way[:len(u.way)-1]
		u.writers.times[last.path] = last.when
		err = errors.Join(err, last.release())
	}
	return err
}

// within reports whether a path is a directory or lies in it.
func within(name, dir string) bool {
	return dir == "" || name == dir ||
		strings.HasPrefix(name, dir) && name[len(dir)] == '/'
}

// twice is the error of a name that is there already: the archive is bad.
func twice(err error, name string) error {
	if errors.Is(err, fs.ErrExist) {
		return archiveError("the entry %.200q is there twice", name)
	}
	return err
}

// file reads one file of the archive, computes its digest and has it written. One that is large is
// written here.
func (u *unpacker) file(above *branch, t io.Reader, name string, h *tar.Header) error {
	executable := h.Mode&0o100 != 0
	a := durable.Attr{Mode: u.access.file(executable), UID: u.access.UID, GID: u.access.GID,
		ModTime: h.ModTime}
	if h.Size <= maxBatched {
		data, err := u.writers.space(above, int(h.Size))
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(t, data); err != nil {
			return archiveFault(err)
		}
		u.sum.file(name, executable, h.Size, digest.Bytes(data))
		u.writers.add(newFile{path.Base(name), data, a})
		return nil
	}
	sum, err := u.large(t, name, h.Size, a)
	if err != nil {
		return twice(err, name)
	}
	u.sum.file(name, executable, h.Size, sum)
	return above.SetTime(path.Base(name), h.ModTime)
}

// large writes a file that is not held in memory.
func (u *unpacker) large(t io.Reader, name string, size int64,
	a durable.Attr) (sum digest.Blake2b, err error) {
	f, err := u.into.Create(path.Join(u.at, name), 0o600)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if u.buf == nil {
		u.buf = make([]byte, 256<<10)
	}
	hash := digest.New(digest.BLAKE2B)
	for left := size; left > 0; {
		data := u.buf[:min(left, int64(len(u.buf)))]
		if _, err := io.ReadFull(t, data); err != nil {
			return sum, archiveFault(err)
		}
		hash.Write(data)
		if _, err := f.Write(data); err != nil {
			return sum, err
		}
		left -= int64(len(data))
	}
	if err := f.Chmod(a.Mode); err != nil {
		return sum, err
	}
	if a.UID >= 0 || a.GID >= 0 {
		err = durable.Permitted(f.Chown(a.UID, a.GID))
	}
	return hash.Sum().Blake2b, err
}
