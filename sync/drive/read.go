package drive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"

	"golang.org/x/sys/unix"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// bareErrno is what the kernel said, without the names around it; err where it said nothing.
func bareErrno(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// openRegular opens a file for reading if it is a regular one and no link. A
// FIFO does not block.
func (d *Mounted) openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, info, err := durable.Open(root, name)
	var errno syscall.Errno
	switch {
	case err == nil:
		return f, info, nil
	case !errors.As(err, &errno): // of another kind, or it leads out of the tree
		return nil, nil, &DamagedError{Path: name, Reason: fault.Bare(err).Error()}
	}
	return nil, nil, d.Classify("opening", name, err)
}

// ReadAll reads a small file of at most limit bytes.
func (d *Mounted) ReadAll(root *os.Root, name string, limit int64) ([]byte, error) {
	f, info, err := d.openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > limit {
		return nil, &DamagedError{Path: name, Reason: fmt.Sprintf("longer than %d bytes", limit)}
	}
	data := make([]byte, info.Size())
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !isEOF(err) {
		return nil, d.Classify("reading", name, err)
	}
	return data[:n], nil
}

// readDir reads the names of a directory that are wanted, at most limit of them; how many others
// lie there does not matter, as long as all are no more than most. Another kind of file that has
// its name, a FIFO for instance, does not block.
func (d *Mounted) readDir(root *os.Root, dir string, limit, most int,
	wanted func(fs.DirEntry) bool) ([]fs.DirEntry, error) {
	f, err := d.openDir(root, dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var entries []fs.DirEntry
	for seen := 0; seen < most; {
		some, err := f.ReadDir(1024)
		seen += len(some)
		for _, e := range some {
			if wanted(e) {
				entries = append(entries, e)
			}
			if len(entries) == limit {
				return entries, nil
			}
		}
		if len(some) == 0 {
			if err != nil && !isEOF(err) {
				return nil, d.Classify("reading the directory", dir, err)
			}
			break
		}
	}
	return entries, nil
}

func (d *Mounted) openDir(root *os.Root, dir string) (*os.File, error) {
	f, err := durable.OpenFile(root, dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	return f, d.Classify("reading the directory", dir, err)
}

// newlines is what lies behind the text of a manifest copy.
var newlines = bytes.Repeat([]byte{'\n'}, 64<<10)

// TextEnd is the offset behind the last byte of f that is not padding.
func TextEnd(f *os.File, room string) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, min(info.Size(), 64<<10))
	for end := info.Size(); end > 0; {
		at := max(0, end-int64(len(buf)))
		piece := buf[:end-at]
		if _, err := f.ReadAt(piece, at); err != nil {
			return 0, err
		}
		// Room is newlines, mostly, and a megabyte of it.
		if room[0] == '\n' && bytes.Equal(piece, newlines[:len(piece)]) {
			end = at
			continue
		}
		if text := bytes.TrimRight(piece, room); len(text) > 0 {
			return at + int64(len(text)), nil
		}
		end = at
	}
	return 0, nil
}
