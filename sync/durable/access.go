package durable

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The modes of what is shared with the other programs and users of a machine, whatever the umask:
// emerge and emaint set 022 for themselves.
const (
	SharedFile fs.FileMode = 0o644
	sharedDir  fs.FileMode = 0o755
)

const specialBits = fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// Permitted drops an error of a change of owner, mode or time that means that this cannot be done
// here: by this user (EPERM, EACCES), in this user namespace, where an id is not mapped (EINVAL),
// or on this file system (EINVAL, ENOSYS, EOPNOTSUPP). The file stays as it is then, as with
// Portage, which compares first and so does not even ask in most of these cases.
func Permitted(err error) error {
	if err == nil || unsupported(err) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// SetAccess gives a file or directory the group gid (-1 leaves it) and the mode, setgid and the
// like included. Only what differs is changed, and what cannot be changed stays ([Permitted]).
func (r *Root) SetAccess(name string, gid int, mode fs.FileMode) error {
	fi, err := r.Lstat(name)
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && gid != -1 && int(st.Gid) != gid {
		if err := Permitted(r.Lchown(name, -1, gid)); err != nil {
			return err
		}
		if fi, err = r.Lstat(name); err != nil { // a change of group may clear bits
			return err
		}
	}
	if fi.Mode()&(fs.ModePerm|specialBits) == mode {
		return nil
	}
	return Permitted(r.Chmod(name, mode))
}

// setOwner gives f to uid and gid, as far as they differ and this process may; -1 leaves what is
// there.
func setOwner(f *File, uid, gid int) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		uid, gid = changed(uid, st.Uid), changed(gid, st.Gid)
	}
	if uid == -1 && gid == -1 {
		return nil
	}
	err = f.Chown(uid, gid)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EINVAL) {
		if uid != -1 && gid != -1 {
			err = f.Chown(-1, gid) // the group alone may be one of ours
		}
	}
	return Permitted(err)
}

func changed(want int, is uint32) int {
	if want == int(is) {
		return -1
	}
	return want
}

func parentOf(dir string) string { return filepath.Dir(filepath.Clean(dir)) }
