package binhost

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
)

// openBeneath opens a regular file below dir for reading. dir has no symbolic link in it
// (filepath.EvalSymlinks), and name is plain. No link is followed on the way, not even one that
// stays inside: what an index lists is reached without, and os.Root follows links whatever flags it
// is given. A file that is not a regular one is never waited for.
func openBeneath(dir, name string) (fd int, at durable.Stamp, err error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_LARGEFILE | unix.O_NONBLOCK | unix.O_CLOEXEC |
		unix.O_NOCTTY, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	fd, err = retry(func() (int, error) { return unix.Openat2(unix.AT_FDCWD, dir+"/"+name, &how) })
	// before Linux 5.6, in some containers, while something is renamed
	if err == unix.ENOSYS || err == unix.EPERM || err == unix.EAGAIN {
		fd, err = openStepwise(dir, name)
	}
	if err != nil {
		return -1, durable.Stamp{}, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, durable.Stamp{}, errors.Join(errHidden, err)
	}
	return fd, stampOfStat(&st), nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// openStepwise looks at each part of the name first, and then whether it got what it had looked at.
// os.Root keeps it inside whatever happens in between.
func openStepwise(dir, name string) (int, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return -1, err
	}
	defer root.Close()
	var seen fs.FileInfo
	at := ""
	for part := range strings.SplitSeq(name, "/") {
		at = path.Join(at, part)
		if seen, err = root.Lstat(at); err != nil {
			return -1, err
		}
		if at != name && !seen.IsDir() || at == name && !seen.Mode().IsRegular() {
			return -1, errHidden
		}
	}
	f, err := durable.OpenFile(root, name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !os.SameFile(fi, seen) {
		return -1, errors.Join(errHidden, err)
	}
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}
