package drive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"pkgsneak/sync/durable"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// openRegular opens a file for reading if it is a regular one and no link. A
// FIFO does not block.
func (d *Drive) openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, info, err := durable.Open(root, name)
	var errno syscall.Errno
	switch {
	case err == nil:
		return f, info, nil
	case !errors.As(err, &errno): // of another kind, or it leads out of the tree
		return nil, nil, &DamagedError{Path: name, Reason: bare(err).Error()}
	}
	return nil, nil, d.explain("opening", name, err)
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
