package durable

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Place gives the staged, synced file from the name to, which must be free (fs.ErrExist), or is
// replaced with replace. If the name lies on another file system (EXDEV: something is mounted below
// the directory, or a union of several disks is), a copy is made beside the name, with owner,
// group, mode and time, synced, and renamed. The directories are synced by the caller.
func (r *Root) Place(from, to string, replace bool) error {
	err := r.move(from, to, replace)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	if err := r.sweepOf(to); err != nil {
		return err
	}
	temp, err := r.copyInto(from, to)
	if err != nil {
		return err
	}
	if err := r.move(temp, to, replace); err != nil {
		r.Remove(temp)
		return err
	}
	return r.Remove(from)
}

func (r *Root) move(from, to string, replace bool) error {
	if replace {
		return r.Rename(from, to)
	}
	return r.MoveNew(from, to)
}

// sweepOf removes what killed runs left of their copies for one name.
func (r *Root) sweepOf(name string) error {
	dir, base := path.Split(name)
	names, err := readNames(r.root, path.Clean("./"+dir))
	if err != nil {
		return err
	}
	for _, n := range names {
		if IsTemp(n) && strings.HasPrefix(n, "."+base+tempInfix) {
			if err := removeIfThere(r.Remove(path.Join(dir, n))); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyInto leaves a complete, synced copy of a file in the directory of another name, and returns
// how it is called.
func (r *Root) copyInto(from, to string) (temp string, err error) {
	src, fi, err := r.OpenRegular(from)
	if err != nil {
		return "", err
	}
	defer src.Close()
	dst, temp, err := r.createTemp(to, fi.Mode().Perm())
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, dst.Close())
		if err != nil {
			r.Remove(temp)
		}
	}()
	b := bufio.NewWriterSize(&steady{f: dst}, bufferSize)
	if _, err := io.Copy(b, src); err != nil {
		return temp, err
	}
	if err := b.Flush(); err != nil {
		return temp, err
	}
	if err := r.setAttr(temp, dst, attrOf(fi)); err != nil {
		return temp, err
	}
	return temp, dst.Sync()
}

func attrOf(fi fs.FileInfo) Attr {
	a := Attr{UID: -1, GID: -1, Mode: fi.Mode().Perm(), ModTime: fi.ModTime()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		a.UID, a.GID = int(st.Uid), int(st.Gid)
	}
	return a
}
