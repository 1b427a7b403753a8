package ebuilds

import (
	"archive/tar"
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

// Access says whose a tree is and who may read it: what the tree has that it takes the place of.
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

// An ArchiveError says why a packed repository is not unpacked: it is not one that pkgsneak packed,
// or not the one that the record describes.
type ArchiveError struct{ Reason string }

func (e *ArchiveError) Error() string { return e.Reason }

func archiveError(format string, args ...any) error {
	return &ArchiveError{Reason: fmt.Sprintf(format, args...)}
}

// Limits of what is unpacked beyond the sizes that the record says.
const (
	maxWindow  = 16 << 20 // bytes of zstd's memory
	entryBytes = 8 << 10  // of the archive for each entry, beside its contents
)

// unpack makes the tree of an archive in the new directory dir below into. Nothing in the archive
// is believed: the record is, whose signature was verified.
func unpack(ctx context.Context, r io.Reader, into *durable.Root, dir string, want *layout.Tree,
	a Access, tell func(files int, bytes int64)) (err error) {
	z, err := zstd.NewReader(pipeline.Reader{Ctx: ctx, R: r}, zstd.WithDecoderConcurrency(2),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow*2))
	if err != nil {
		return err
	}
	defer z.Close()
	limit := want.Bytes + int64(want.Count)*entryBytes + 1<<20
	whole := &io.LimitedReader{R: z, N: limit + 1}
	u := &unpacker{into: into, at: dir, want: want, access: a, sum: newContents(), tell: tell}
	if err := u.mkdir(""); err != nil {
		return err
	}
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
	return u.setTimes()
}

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

	dirs  []tar.Header
	made  map[string]bool
	count int
	bytes int64
	buf   []byte
}

func (u *unpacker) all(ctx context.Context, t *tar.Reader) error {
	u.made = map[string]bool{".": true}
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
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
	if h.Typeflag == tar.TypeDir {
		u.made[name] = true
		u.dirs = append(u.dirs, tar.Header{Name: name, ModTime: h.ModTime})
		u.sum.dir(name)
		return u.taken(h, u.mkdir(name))
	}
	if u.bytes += h.Size; u.bytes > u.want.Bytes {
		return archiveError("its files have more than the %d bytes that the record says",
			u.want.Bytes)
	}
	return u.taken(h, u.file(t, name, h))
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

// taken says of a name that is there twice that the archive is bad.
func (u *unpacker) taken(h *tar.Header, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return archiveError("the entry %.200q is there twice", h.Name)
	}
	return err
}

func (u *unpacker) place(name string) string { return path.Join(u.at, name) }

func (u *unpacker) mkdir(name string) error {
	at := u.place(name)
	if err := u.into.Mkdir(at, 0o700); err != nil {
		return err
	}
	if err := u.into.Chmod(at, u.access.Dir); err != nil {
		return err
	}
	if u.access.UID < 0 && u.access.GID < 0 {
		return nil
	}
	return durable.Permitted(u.into.Lchown(at, u.access.UID, u.access.GID))
}

// file writes one file. Its digest is computed on the way.
func (u *unpacker) file(t io.Reader, name string, h *tar.Header) (err error) {
	executable := h.Mode&0o100 != 0
	f, err := u.into.Create(u.place(name), 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if u.buf == nil {
		u.buf = make([]byte, 256<<10)
	}
	sum, err := copySum(f, t, h.Size, u.buf)
	if err != nil {
		return err
	}
	u.sum.file(name, executable, h.Size, sum)
	if err := f.Chmod(u.access.file(executable)); err != nil {
		return err
	}
	if u.access.UID >= 0 || u.access.GID >= 0 {
		if err := durable.Permitted(f.Chown(u.access.UID, u.access.GID)); err != nil {
			return err
		}
	}
	if err := u.into.Chtimes(u.place(name), h.ModTime, h.ModTime); err != nil {
		return err
	}
	if u.tell != nil && u.count%256 == 0 {
		u.tell(u.count, u.bytes)
	}
	return nil
}

// copySum copies size bytes and returns their digest.
func copySum(f io.Writer, t io.Reader, size int64, buf []byte) (digest.Blake2b, error) {
	if size <= int64(len(buf)) {
		data := buf[:size]
		if _, err := io.ReadFull(t, data); err != nil {
			return digest.Blake2b{}, archiveFault(err)
		}
		if size > 0 {
			if _, err := f.Write(data); err != nil {
				return digest.Blake2b{}, err
			}
		}
		return digest.Bytes(data), nil
	}
	hash := digest.New(digest.BLAKE2B)
	for left := size; left > 0; {
		data := buf[:min(left, int64(len(buf)))]
		if _, err := io.ReadFull(t, data); err != nil {
			return digest.Blake2b{}, archiveFault(err)
		}
		hash.Write(data)
		if _, err := f.Write(data); err != nil {
			return digest.Blake2b{}, err
		}
		left -= int64(len(data))
	}
	return hash.Sum().Blake2b, nil
}

// setTimes gives the directories their times, after everything in them was made.
func (u *unpacker) setTimes() error {
	for _, h := range u.dirs {
		if err := u.into.Chtimes(u.place(h.Name), h.ModTime, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}
