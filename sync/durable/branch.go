package durable

import (
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Branch is an open directory below a Root, for trees of very many small files: what is made in
// it is named relative to it, where a Root walks down the whole path for every system call. Names
// have no slash in them and nothing is followed, so that nothing outside can be reached. Several
// goroutines may use one at the same time; the hook is called by each.
type Branch struct {
	root *Root
	path string // below root
	fd   int
	// The umask, or an access list, took something from the mode with which it was made: so it does
	// from the modes of what is made in it.
	masked bool
}

// Hooked reports whether somebody is shown the changes of a root, in the order in which they are
// made: it is for one goroutine then.
func Hooked(r *Root) bool { return r.hook != nil }

// NewBranch makes a directory of exactly that mode and opens it.
func NewBranch(r *Root, name string, mode fs.FileMode) (*Branch, error) {
	above, err := OpenDir(r.root, path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	b := &Branch{root: r, path: path.Dir(name), fd: int(above.Fd())}
	return b.Mkdir(path.Base(name), mode)
}

// Mkdir makes a directory of exactly that mode and opens it.
func (b *Branch) Mkdir(name string, mode fs.FileMode) (*Branch, error) {
	if err := b.before(OpMkdir, name, 0); err != nil {
		return nil, err
	}
	if err := retry(func() error {
		return unix.Mkdirat(b.fd, name, uint32(mode.Perm()))
	}); err != nil {
		return nil, b.error("mkdir", name, err)
	}
	sub, err := b.Open(name)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = retry(func() error { return unix.Fstat(sub.fd, &st) }); err == nil &&
		st.Mode&0o7777 != uint32(mode.Perm()) {
		sub.masked = true
		if err = b.before(OpChmod, name, 0); err == nil {
			err = retry(func() error { return unix.Fchmod(sub.fd, uint32(mode.Perm())) })
		}
	}
	if err != nil {
		sub.Close()
		return nil, b.error("chmod", name, err)
	}
	return sub, nil
}

// Open opens a directory that was made before.
func (b *Branch) Open(name string) (*Branch, error) {
	if !plain(name) {
		return nil, b.error("open", name, fs.ErrInvalid)
	}
	sub := &Branch{root: b.root, path: b.path + "/" + name, masked: b.masked}
	err := retry(func() (err error) {
		sub.fd, err = unix.Openat(b.fd, name,
			unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, b.error("open", name, err)
	}
	return sub, nil
}

// Put makes a new file with these contents and Mode, UID, GID and ModTime; fs.ErrExist if anything
// has the name. It does not sync the file.
func (b *Branch) Put(name string, data []byte, a Attr) error {
	if !plain(name) {
		return b.error("create", name, fs.ErrInvalid)
	}
	if err := b.before(OpCreate, name, 0); err != nil {
		return err
	}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(b.fd, name,
			unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC,
			uint32(a.Mode.Perm()))
		return err
	})
	if err != nil {
		return b.error("create", name, err)
	}
	err = b.fill(fd, name, data, a)
	if closed := unix.Close(fd); err == nil && closed != nil && closed != unix.EINTR {
		err = b.error("close", name, closed)
	}
	if err != nil {
		return err
	}
	return b.SetTime(name, a.ModTime)
}

// fill writes a new file.
func (b *Branch) fill(fd int, name string, data []byte, a Attr) error {
	if len(data) > 0 {
		if err := b.before(OpWrite, name, int64(len(data))); err != nil {
			return err
		}
	}
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return b.error("write", name, err)
		}
		data = data[n:]
	}
	if b.masked {
		if err := b.before(OpChmod, name, 0); err != nil {
			return err
		}
		if err := retry(func() error {
			return unix.Fchmod(fd, uint32(a.Mode.Perm()))
		}); err != nil {
			return b.error("chmod", name, err)
		}
	}
	if a.UID < 0 && a.GID < 0 {
		return nil
	}
	if err := b.before(OpChown, name, 0); err != nil {
		return err
	}
	return Permitted(b.error("chown", name, unix.Fchown(fd, a.UID, a.GID)))
}

// Chown changes the owner of the directory; -1 leaves what is there. That this cannot be done is no
// error ([Permitted]).
func (b *Branch) Chown(uid, gid int) error {
	if err := b.root.before(Change{Op: OpChown, Name: b.path}); err != nil {
		return err
	}
	return Permitted(b.error("chown", "", unix.Fchown(b.fd, uid, gid)))
}

// SetTime changes the times of what has a name in the directory, of a link itself.
func (b *Branch) SetTime(name string, t time.Time) error {
	if err := b.before(OpUtimes, name, 0); err != nil {
		return err
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return b.error("utimes", name, err)
	}
	return b.error("utimes", name, retry(func() error {
		return unix.UtimesNanoAt(b.fd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// Close closes the directory.
func (b *Branch) Close() error { return b.error("close", "", unix.Close(b.fd)) }

// before shows a change to the hook.
func (b *Branch) before(op Op, name string, size int64) error {
	if !plain(name) {
		return b.error(string(op), name, fs.ErrInvalid)
	}
	if b.root.hook == nil {
		return nil
	}
	return b.root.before(Change{Op: op, Name: path.Join(b.path, name), Size: size})
}

func (b *Branch) error(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path.Join(b.path, name), Err: err}
}

func plain(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
