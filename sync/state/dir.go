package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"pkgsneak/sync/durable"
)

// maxText bounds what is read of a state file, in bytes.
const maxText = 512 << 20

// A Dir is an open state directory.
type Dir struct {
	dir    string
	root   *durable.Root // nil: read only, and there is no such directory
	lock   *durable.Lock
	memory memory
	rows   map[importsID]map[string]Import // as they were read, until they are written
}

// Close lets the next pkgsneak in.
func (st *Dir) Close() error {
	var errs []error
	if st.lock != nil {
		errs = append(errs, st.lock.Release())
	}
	if st.root != nil {
		errs = append(errs, st.root.Close())
	}
	st.lock, st.root = nil, nil
	return errors.Join(errs...)
}

// write replaces a state file.
func (st *Dir) write(name string, mode fs.FileMode, fill func(io.Writer) error) error {
	if st.lock == nil {
		return ErrReadOnly
	}
	if dir := path.Dir(name); dir != "." {
		if err := st.root.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("writing state: %w", err)
		}
	}
	err := st.root.WriteFile(name, durable.Attr{Mode: mode, UID: -1, GID: -1}, fill)
	if err != nil {
		return fmt.Errorf("state directory %q: %w", st.dir, err)
	}
	return nil
}

func (st *Dir) writeBytes(name string, mode fs.FileMode, data []byte) error {
	return st.write(name, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// read returns a state file of at most limit bytes; absent is fs.ErrNotExist.
func (st *Dir) read(name string, limit int64) ([]byte, error) {
	if st.root == nil {
		return nil, &fs.PathError{Op: "open", Path: path.Join(st.dir, name), Err: fs.ErrNotExist}
	}
	f, fi, err := st.root.OpenRegular(name)
	if err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", st.dir, err)
	}
	defer f.Close()
	var b bytes.Buffer
	b.Grow(int(min(fi.Size(), limit)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", st.dir, err)
	}
	if int64(b.Len()) > limit {
		return nil, st.odd(name, 0, fmt.Errorf("longer than %d bytes", limit))
	}
	return b.Bytes(), nil
}

func (st *Dir) odd(name string, line int, reason error) error {
	_, err := st.root.Lstat(signingName)
	return &FileError{Path: path.Join(st.dir, name), Line: line, Err: reason,
		Exports: err == nil}
}

// names lists a directory below the state directory, sorted; an absent one is empty.
func (st *Dir) names(dir string) ([]string, error) {
	if st.root == nil {
		return nil, nil
	}
	names, err := durable.Names(st.root, dir)
	if err != nil {
		return nil, fmt.Errorf("reading state below %q: %w", st.dir, err)
	}
	for i := range names {
		names[i] = path.Join(dir, names[i])
	}
	return names, nil
}
