package durable

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// A Staging is a directory where complete files wait for their names. A file is called after its
// contents, so that what a killed run has left is found again and need not be copied twice:
//
//	DIR/HEX         complete, HEX are the first 32 hex digits of its BLAKE2B-512
//	DIR/HEX.part    being written; worth nothing
//
// The directory has mode 0700. A complete file has gone through its size check and whatever fill has
// checked, but it is not synced: who finds one compares its contents before he uses it, and who gives it
// its name syncs it ([SyncFiles]).
type Staging struct {
	root *os.Root
	dir  string
}

const (
	stagingDigits = 32
	partSuffix    = ".part"
)

// NewStaging returns the staging directory dir below root. It is created by Make, or by the first Write.
func NewStaging(root *os.Root, dir string) Staging { return Staging{root, dir} }

// Dir returns the directory below the root.
func (s Staging) Dir() string { return s.dir }

// Path returns where the file with that BLAKE2B-512 is staged, below the root.
func (s Staging) Path(sum [64]byte) string {
	return path.Join(s.dir, hex.EncodeToString(sum[:stagingDigits/2]))
}

// Open opens a staged file for reading; fs.ErrNotExist if there is none.
func (s Staging) Open(sum [64]byte) (*os.File, error) {
	f, _, err := Open(s.root, s.Path(sum))
	return f, err
}

// Write stages what fill writes: size bytes with that sum, which fill has checked when it returns nil.
// Fewer or more bytes are an error. The file gets the mode that the umask leaves of 0666.
func (s Staging) Write(sum [64]byte, size int64, fill func(io.Writer) error) error {
	if err := s.write(s.Path(sum), size, fill); err != nil {
		return fmt.Errorf("staging in %q: %w", path.Join(s.root.Name(), s.dir), err)
	}
	return nil
}

func (s Staging) write(name string, size int64, fill func(io.Writer) error) (err error) {
	if err := s.make(); err != nil {
		return err
	}
	part := name + partSuffix
	if err := removeIfThere(s.root, part); err != nil {
		return err
	}
	f, err := s.root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err == nil {
			err = s.root.Rename(part, name)
		}
		if err != nil {
			s.root.Remove(part)
		}
	}()
	w := &exactly{w: &steady{f: f}, left: size}
	b := bufio.NewWriterSize(w, bufferSize)
	if err := fill(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	if w.left > 0 {
		return fmt.Errorf("%d of %d bytes are missing", w.left, size)
	}
	return nil
}

// Make creates the directory. It is an error if something else has the name.
func (s Staging) Make() error {
	if err := s.make(); err != nil {
		return fmt.Errorf("staging in %q: %w", path.Join(s.root.Name(), s.dir), err)
	}
	return nil
}

func (s Staging) make() error {
	err := s.root.Mkdir(s.dir, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := s.root.Lstat(s.dir)
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%q is not a directory", s.dir)
	}
	return err
}

// Clear removes the directory and what is left in it.
func (s Staging) Clear() error {
	if err := s.root.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing %q: %w", path.Join(s.root.Name(), s.dir), err)
	}
	return nil
}

// steadyEvery is how many bytes are written before the kernel is told to begin with them, so that the sync at the end finds little left to do.
const steadyEvery = 8 << 20

// steady begins the write-back of what is written as it goes.
type steady struct {
	f           *os.File
	size, begun int64
}

func (s *steady) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	s.size += int64(n)
	if s.size-s.begun >= steadyEvery {
		// Advice: what is wrong with the disk is told by the sync.
		_ = unix.SyncFileRange(int(s.f.Fd()), s.begun, s.size-s.begun, unix.SYNC_FILE_RANGE_WRITE)
		s.begun = s.size
	}
	return n, err
}

var errTooLong = errors.New("more bytes than expected")

// exactly refuses to write more than it should.
type exactly struct {
	w    io.Writer
	left int64
}

func (e *exactly) Write(p []byte) (int, error) {
	if int64(len(p)) > e.left {
		return 0, errTooLong
	}
	n, err := e.w.Write(p)
	e.left -= int64(n)
	return n, err
}
