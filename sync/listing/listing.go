// Package listing reads directories with as few system calls as there can be. Tens of thousands of
// names are looked at in each run, most of them to find that nothing has changed.
//
// A directory costs an open, two reads of names and a close; a file costs nothing but, where it is
// wanted, one call for its status. Directories are opened from the one above, by name and not
// through a link: what is below an open directory stays below it, however the names are changed
// meanwhile.
package listing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An Entry is a name in a directory. It is an fs.FileInfo; what is not known before Lstat is zero.
type Entry struct {
	name string
	st   syscall.Stat_t
}

// Name returns the name.
func (e *Entry) Name() string { return e.name }

// Size returns the size in bytes.
func (e *Entry) Size() int64 { return e.st.Size }

// ModTime returns when the contents were changed.
func (e *Entry) ModTime() time.Time { return time.Unix(e.st.Mtim.Unix()) }

// IsDir reports whether it is a directory, no link to one.
func (e *Entry) IsDir() bool { return e.st.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports whether it is a regular file, no link to one.
func (e *Entry) IsRegular() bool { return e.st.Mode&unix.S_IFMT == unix.S_IFREG }

// Sys returns a *syscall.Stat_t, as that of os.Lstat does.
func (e *Entry) Sys() any { return &e.st }

// Mode returns permissions and type: of types only regular file, directory and symbolic link are
// told apart.
func (e *Entry) Mode() fs.FileMode {
	mode := fs.FileMode(e.st.Mode & 0o777)
	switch e.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}

// TypeKnown reports whether the directory told the type, or Lstat did. Some file systems do not.
func (e *Entry) TypeKnown() bool { return e.st.Mode != 0 }

// Lstat completes the entry of an open directory. After an error, a syscall.Errno, nothing but the
// name is known.
func (e *Entry) Lstat(dir int) error {
	var st unix.Stat_t
	e.st = syscall.Stat_t{}
	if err := Retry(func() error {
		return unix.Fstatat(dir, e.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}); err != nil {
		return err
	}
	e.st = convert(&st)
	return nil
}

// Fstat returns the status of an open file, under a name. The error is a syscall.Errno.
func Fstat(fd int, name string) (*Entry, error) {
	var st unix.Stat_t
	if err := Retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, err
	}
	return &Entry{name, convert(&st)}, nil
}

func convert(st *unix.Stat_t) syscall.Stat_t {
	return syscall.Stat_t{
		Dev: st.Dev, Ino: st.Ino, Nlink: st.Nlink, Mode: st.Mode, Uid: st.Uid, Gid: st.Gid,
		Rdev: st.Rdev, Size: st.Size, Blocks: st.Blocks,
		Atim: syscall.Timespec(st.Atim), Mtim: syscall.Timespec(st.Mtim),
		Ctim: syscall.Timespec(st.Ctim),
	}
}

// Open opens a name in an open directory for reading, not through a link, and without waiting for
// the other end of a FIFO. flags are added. The error is a syscall.Errno.
func Open(dir int, name string, flags int) (fd int, err error) {
	err = Retry(func() (err error) {
		fd, err = unix.Openat(dir, name,
			flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// Retry repeats a system call that a signal has interrupted.
func Retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// A Reader reads directories one after the other. The zero value is ready.
type Reader struct{ buf []byte }

// direntsSize is how much the kernel is asked for at a time, in bytes: some hundred names.
const direntsSize = 32 << 10

// Names returns the names in an open directory, in the order of the file system, without "." and
// "..". It fails for more than limit. The type of each is known, if the file system tells it. Other
// errors are a syscall.Errno.
func (r *Reader) Names(fd, limit int) ([]*Entry, error) {
	if r.buf == nil {
		r.buf = make([]byte, direntsSize)
	}
	var found []*Entry
	for {
		var n int
		err := Retry(func() (err error) {
			n, err = unix.Getdents(fd, r.buf)
			return err
		})
		if err != nil || n == 0 {
			return found, err
		}
		if found, err = appendNames(found, r.buf[:n]); err != nil {
			return nil, err
		}
		if len(found) > limit {
			return nil, fmt.Errorf("more than %d names", limit)
		}
	}
}

// The offsets of the fields of a struct linux_dirent64 that are wanted (getdents64(2)).
const (
	direntLength = 16 // two bytes
	direntType   = 18
	direntName   = 19
)

// appendNames appends what the kernel has listed. The mode of each is its type, 0 where the file
// system does not tell it.
func appendNames(found []*Entry, dirents []byte) ([]*Entry, error) {
	for len(dirents) > 0 {
		if len(dirents) < direntName {
			return nil, unix.EIO
		}
		n := int(binary.NativeEndian.Uint16(dirents[direntLength:]))
		if n < direntName || n > len(dirents) {
			return nil, unix.EIO
		}
		name, _, _ := bytes.Cut(dirents[direntName:n], []byte{0})
		if s := string(name); s != "." && s != ".." && s != "" {
			e := &Entry{name: s}
			// DT_DIR is S_IFDIR without its twelve zero bits
			e.st.Mode = uint32(dirents[direntType]) << 12
			found = append(found, e)
		}
		dirents = dirents[n:]
	}
	return found, nil
}
