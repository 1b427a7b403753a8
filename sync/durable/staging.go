package durable

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"syscall"

	"pkgsneak/sync/pipeline"
)

// A Staging is a directory where complete files wait for their names. A file is called after its
// contents, so that what a killed run has left is found again and need not be copied twice:
//
//	DIR/HEX         complete, HEX are the first 32 hex digits of its BLAKE2B-512
//	DIR/HEX.part    being written; worth nothing
//
// The directory has mode 0700. A complete file has gone through its size check and whatever fill
// has checked, but it is not synced: who finds one compares its contents before he uses it, and who
// gives it its name syncs it ([Root.SyncFiles]).
type Staging struct {
	root *Root
	dir  string
}

const (
	stagingDigits = 32
	partSuffix    = ".part"
)

// newStaging returns the staging directory dir below root. It is created by Make, or by the first
// Write.
func newStaging(root *Root, dir string) Staging { return Staging{root, dir} }

// Path returns where the file with that BLAKE2B-512 is staged, below the root.
func (s Staging) Path(sum [64]byte) string {
	return path.Join(s.dir, StagedName(sum))
}

// Open opens a staged file for reading; fs.ErrNotExist if there is none.
func (s Staging) Open(sum [64]byte) (*os.File, error) {
	f, _, err := s.root.OpenRegular(s.Path(sum))
	return f, err
}

// Write stages what fill writes: size bytes with that sum, which fill has checked when it returns
// nil. Fewer or more bytes are an error. The file is its owner's alone until whoever gives it its
// name gives it a mode.
func (s Staging) Write(sum [64]byte, size int64, fill func(io.Writer) error) error {
	if err := s.write(s.Path(sum), size, fill); err != nil {
		return fmt.Errorf("staging in %q: %w", path.Join(s.root.Name(), s.dir), err)
	}
	return nil
}

func (s Staging) write(name string, size int64, fill func(io.Writer) error) error {
	if err := s.make(); err != nil {
		return err
	}
	part := name + partSuffix
	err := s.root.writeNew(part, func(w io.Writer) error {
		x := &exactly{w: w, left: size}
		if err := fill(x); err != nil {
			return err
		}
		if x.left > 0 {
			return fmt.Errorf("%d of %d bytes are missing", x.left, size)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.root.Rename(part, name); err != nil {
		s.root.Remove(part)
		return err
	}
	return nil
}

// Copy makes another staged file of one that is there, for contents that go to several names: the
// n-th. It returns where that lies, below the root.
func (s Staging) Copy(ctx context.Context, sum [64]byte, n int) (string, error) {
	to := s.Path(sum) + "-" + strconv.Itoa(n)
	if err := s.copy(ctx, s.Path(sum), to); err != nil {
		return "", fmt.Errorf("staging in %q: %w", path.Join(s.root.Name(), s.dir), err)
	}
	return to, nil
}

func (s Staging) copy(ctx context.Context, from, to string) (err error) {
	src, _, err := s.root.OpenRegular(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return s.root.writeNew(to, func(w io.Writer) error {
		_, err := io.Copy(w, pipeline.Reader{Ctx: ctx, R: src})
		return err
	})
}

// writeNew writes a file that nobody uses before it is complete, over whatever a killed run has
// left of it.
func (r *Root) writeNew(name string, fill func(io.Writer) error) (err error) {
	if err := removeIfThere(r.Remove(name)); err != nil {
		return err
	}
	f, err := r.Create(name, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			r.Remove(name)
		}
	}()
	s := &steady{f: f}
	b := bufio.NewWriterSize(s, bufferSize)
	if err := fill(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	s.end()
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

// A Staged file lies in the directory, whole or not.
type Staged struct {
	Name      string
	Size      int64 // bytes
	Allocated int64 // bytes that its blocks take on the disk
}

// List returns what lies in the directory; nothing if there is none.
func (s Staging) List() ([]Staged, error) {
	names, err := readNames(s.root.root, s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("staging in %q: %w", path.Join(s.root.Name(), s.dir), err)
	}
	var all []Staged
	for _, name := range names {
		fi, err := s.root.Lstat(path.Join(s.dir, name))
		if err != nil {
			continue // gone since
		}
		st := Staged{Name: name, Size: fi.Size(), Allocated: fi.Size()}
		if sys, ok := fi.Sys().(*syscall.Stat_t); ok {
			st.Allocated = sys.Blocks * 512
		}
		all = append(all, st)
	}
	return all, nil
}

// StagedName is the name of the whole file with that BLAKE2B-512.
func StagedName(sum [64]byte) string { return hex.EncodeToString(sum[:stagingDigits/2]) }

// Remove removes a file of List.
func (s Staging) Remove(f Staged) error {
	if err := removeIfThere(s.root.RemoveAll(path.Join(s.dir, f.Name))); err != nil {
		return fmt.Errorf("staging in %q: %w", path.Join(s.root.Name(), s.dir), err)
	}
	return nil
}

// Clear removes the directory and what is left in it.
func (s Staging) Clear() error {
	if _, err := s.root.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := s.root.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing %q: %w", path.Join(s.root.Name(), s.dir), err)
	}
	return nil
}

const (
	// steadyEvery is how many bytes are written before the kernel is told to begin with them, so
	// that the sync at the end finds little left to do.
	steadyEvery = 8 << 20
	// steadyLast is how many it takes for the end of a file: the kernel gathers smaller ones.
	steadyLast = 256 << 10
)

// steady begins the write-back of what is written as it goes.
type steady struct {
	f           *File
	size, begun int64
}

func (s *steady) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	s.size += int64(n)
	s.begin(steadyEvery)
	return n, err
}

// end is for when nothing more comes.
func (s *steady) end() { s.begin(steadyLast) }

// begin begins with what was not begun yet, if there is enough of it.
func (s *steady) begin(enough int64) {
	if s.size-s.begun >= enough {
		s.f.beginWriteBack(s.begun, s.size)
		s.begun = s.size
	}
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
