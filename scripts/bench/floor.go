package main

import (
	"crypto/md5"
	"crypto/sha1"
	"errors"
	"fmt"
	"hash"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// floorPass makes the system calls that no index of a PKGDIR can do without, and nothing else: each
// directory is opened and its names are read, each file's status is read, and the index itself.
// With contents each package is opened and read from end to end, too, as a cold index must for its
// hashes; with sums they are computed. No name is checked, nothing is parsed or written.
func floorPass(dir string, contents, sums bool) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %q: %w", dir, err)
	}
	f := floor{contents: contents, names: make([]byte, 64<<10), data: make([]byte, 1<<20)}
	if sums {
		f.sums = []hash.Hash{md5.New(), sha1.New()}
	}
	return f.directory(fd, dir)
}

// floor is a pass on its way, with its buffers.
type floor struct {
	contents    bool
	names, data []byte
	sums        []hash.Hash // of each file that is read; nil: none
}

// directory goes through an open directory, and closes it.
func (f *floor) directory(fd int, path string) error {
	defer unix.Close(fd)
	var names []string
	for {
		n, err := unix.ReadDirent(fd, f.names)
		if err != nil {
			return fmt.Errorf("reading %q: %w", path, err)
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(f.names[:n], -1, names)
	}
	for _, name := range slices.Clip(names) {
		if err := f.entry(fd, name, path); err != nil {
			return fmt.Errorf("%q: %w", filepath.Join(path, name), err)
		}
	}
	return nil
}

// entry looks at one name. In the PKGDIRs that bench makes, what has no dot is a directory.
func (f *floor) entry(parent int, name, path string) error {
	if filepath.Ext(name) == "" && name != "Packages" {
		fd, err := unix.Openat(parent, name,
			unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			return f.directory(fd, filepath.Join(path, name))
		}
		if !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
	if !f.contents && name != "Packages" {
		var st unix.Stat_t
		return unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	return f.file(parent, name)
}

// file reads one file, and works out its sums.
func (f *floor) file(parent int, name string) error {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	for _, h := range f.sums {
		h.Reset()
	}
	for left := st.Size; left > 0; {
		n, err := unix.Read(fd, f.data)
		if err != nil || n <= 0 {
			return err
		}
		left -= int64(n)
		for _, h := range f.sums {
			h.Write(f.data[:n])
		}
	}
	for _, h := range f.sums {
		h.Sum(nil)
	}
	return nil
}
