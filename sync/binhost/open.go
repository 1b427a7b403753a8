package binhost

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// openBeneath opens a regular file below dir for reading. No symbolic link is followed on the way below dir, not even one that stays inside: what an index lists is reached
// without, and os.Root follows links whatever flags it is given. What is no regular file is never waited for.
func openBeneath(dir, name string) (*os.File, fs.FileInfo, error) {
	f, err := openat2(dir, name)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EAGAIN) { // before Linux 5.6, in some containers, while something is renamed
		f, err = openStepwise(dir, name)
	}
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errHidden
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// openat2 leaves the walk to the kernel.
func openat2(dir, name string) (*os.File, error) {
	at, err := retry(func() (int, error) { return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(at)
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := retry(func() (int, error) { return unix.Openat2(at, name, &how) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// openStepwise looks at each part of the name first, and then whether it got what it had looked at. os.Root keeps it inside whatever happens in between.
func openStepwise(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var seen fs.FileInfo
	at := ""
	for part := range strings.SplitSeq(name, "/") {
		at = path.Join(at, part)
		if seen, err = root.Lstat(at); err != nil {
			return nil, err
		}
		if !seen.IsDir() && (at != name || !seen.Mode().IsRegular()) {
			return nil, errHidden
		}
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !os.SameFile(fi, seen) {
		f.Close()
		return nil, errors.Join(errHidden, err)
	}
	return f, nil
}
