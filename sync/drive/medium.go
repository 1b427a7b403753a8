package drive

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
)

// Reading from the medium: what was just written lies in the page cache, and
// reading it from there proves nothing. O_DIRECT goes past the cache; where a
// file system refuses it, the cache is told to forget the file, which it does
// for pages that were synced.

const (
	Alignment  = 4096 // bytes; devices ask for 512, some for 4096
	mediumRead = 1 << 20
)

// AlignedBuffer returns a buffer that O_DIRECT takes.
func AlignedBuffer() []byte {
	buf := make([]byte, mediumRead+Alignment)
	skip := (Alignment - int(uintptr(unsafe.Pointer(&buf[0]))%Alignment)) % Alignment
	return buf[skip : skip+mediumRead]
}

// Medium is a file that is read past the page cache.
type Medium struct {
	f      *os.File
	direct bool
	ended  bool
}

// OpenMedium opens a regular file. O_DIRECT is asked for afterwards, so that
// where it is refused the file need not be opened again.
func OpenMedium(root *os.Root, name string) (*Medium, error) {
	f, _, err := durable.Open(root, name)
	if err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_DIRECT); err == nil {
		return &Medium{f: f, direct: true}, nil
	}
	dropCache(f)
	return &Medium{f: f}, nil
}

// Read reads into an aligned buffer. A direct read that comes back short is
// the end of the file: the next one would be unaligned.
func (m *Medium) Read(p []byte) (int, error) {
	if m.ended {
		return 0, io.EOF
	}
	n, err := m.f.Read(p)
	if m.direct && err == nil && n%Alignment != 0 {
		m.ended = true
	}
	return n, err
}

// ReadAt reads at an offset, into an aligned buffer.
func (m *Medium) ReadAt(p []byte, off int64) (int, error) { return m.f.ReadAt(p, off) }

// Close closes the file.
func (m *Medium) Close() error { return m.f.Close() }

// dropCache makes the kernel forget the clean pages of a file, which will be
// read from end to end. It is advice; there is nothing to do about an error.
func dropCache(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
}
