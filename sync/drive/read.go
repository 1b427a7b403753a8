package drive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// openRegular opens a file for reading if it is a regular one and no link. A
// FIFO does not block. (That both looks see the same inode is not asked for:
// vfat makes inode numbers up, and what is read is compared anyway.)
func (d *Drive) openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, nil, d.explain("opening", name, err)
	}
	if !before.Mode().IsRegular() {
		return nil, nil, &DamagedError{Path: name, Reason: "not a regular file"}
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, d.explain("opening", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, d.explain("opening", name, err)
	}
	if !info.Mode().IsRegular() {
		f.Close()
		return nil, nil, &DamagedError{Path: name, Reason: "not a regular file"}
	}
	return f, info, nil
}

// readAll reads a small file of at most limit bytes.
func (d *Drive) readAll(root *os.Root, name string, limit int64) ([]byte, error) {
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
		return nil, d.explain("reading", name, err)
	}
	return data[:n], nil
}
