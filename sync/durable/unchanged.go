package durable

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Stamp is what changes when a file does: whoever writes to it, or renames another one to its name,
// changes one of these. A Stamp can be kept and compared later. The device's number is the only one
// that a restart of the machine may change.
type Stamp struct {
	Device, Inode     uint64
	Size              int64 // bytes
	Modified, Changed int64 // nanoseconds since 1970: mtime and ctime
}

// StampOf returns the stamp of a status, and false for one that is not the operating system's.
func StampOf(fi fs.FileInfo) (Stamp, bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return Stamp{}, false
	}
	return Stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, true
}

// ModTime is when the contents changed last.
func (s Stamp) ModTime() time.Time { return time.Unix(0, s.Modified) }

// Unchanged reports whether two status of one path are of one regular file that has not changed in
// between.
func Unchanged(a, b fs.FileInfo) bool {
	x, ok := StampOf(a)
	y, also := StampOf(b)
	return ok && also && a.Mode().IsRegular() && b.Mode().IsRegular() && x == y
}

// ErrChanged reports that a file was written to, or replaced, while it was read.
var ErrChanged = errors.New("it changed while it was read")

// CheckUnchanged compares an open file with the status that it had when it was scanned: emerge may
// be writing to it.
func CheckUnchanged(f *os.File, scanned fs.FileInfo) error {
	now, err := f.Stat()
	if err == nil && !Unchanged(now, scanned) {
		err = ErrChanged
	}
	return err
}
