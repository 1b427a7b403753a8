package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/fault"
)

// PackagesLock is the file in a PKGDIR that Portage locks while it changes the index.
const PackagesLock = ".Packages.portage_lockfile"

// ErrLocked is returned when another program kept the lock for longer than the caller would wait.
var ErrLocked error = fault.New(fault.Locked, "locked by another program")

// ErrNoLocks is returned when the kernel had no locks to give for noLocksWait: not another program,
// but mostly an NFS mount without a lock daemon. It is unix.ENOLCK too, and inside a *NoLocksError.
var ErrNoLocks = fmt.Errorf("%w: is rpc.statd running? (NFS)", unix.ENOLCK)

// A NoLocksError reports a directory whose file system has no locks to give.
type NoLocksError struct {
	Dir string
	Err error
}

func (e *NoLocksError) Error() string {
	return fmt.Sprintf("nothing can be locked in %q: %v", e.Dir, e.Err)
}

// Unwrap gives the reason.
func (e *NoLocksError) Unwrap() error { return e.Err }

// Hints tell how to get locks there.
func (e *NoLocksError) Hints(string) []string {
	return []string{fmt.Sprintf("findmnt -T %s names its file system; on NFS start rpc.statd on this machine and the server, or mount it with -o local_lock=all if no other machine uses it",
		fault.Quote(e.Dir))}
}

const (
	// noLocksWait is how long ENOLCK is taken for something that passes.
	noLocksWait = 3 * time.Second

	lockMode  = 0o660
	lockPoll  = 50 * time.Millisecond
	waitSaid  = time.Second
	linkInfix = ".hardlock-"
)

// LockOptions states how long to wait. The zero value does not wait.
type LockOptions struct {
	Wait   time.Duration // ErrLocked after this long
	OnWait func()        // called once, after one second of waiting

	// setlk replaces the record lock in tests of file systems that have none.
	setlk func(*os.File) error
	// everywhere makes the proof by hard link that only NFS needs.
	everywhere bool
}

// A Lock is held until Release.
type Lock struct {
	root *os.Root
	name string
	file *os.File // holds the record lock; nil with a hard-link lock
	link string   // the private name of a hard-link lock
}

// Acquire takes the lock that the file name below root stands for, in Portage's way. It returns
// ErrLocked after o.Wait, and the cause of ctx when that ends first.
func Acquire(ctx context.Context, root *os.Root, name string, o LockOptions) (*Lock, error) {
	l, err := acquire(ctx, root, name, o)
	if errors.Is(err, ErrNoLocks) || errors.Is(err, errNeither) {
		return nil, &NoLocksError{Dir: path.Join(root.Name(), path.Dir(name)), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("locking %q: %w", path.Join(root.Name(), name), err)
	}
	return l, nil
}

// Acquire is [Acquire] below the root. A lock is no change of anything that lasts; the hook is not
// asked.
func (r *Root) Acquire(ctx context.Context, name string, o LockOptions) (*Lock, error) {
	return Acquire(ctx, r.root, name, o)
}

func acquire(ctx context.Context, root *os.Root, name string, o LockOptions) (*Lock, error) {
	if o.setlk == nil {
		o.setlk = setlk
	}
	giveUp := time.NewTimer(o.Wait)
	defer giveUp.Stop()
	say := time.NewTimer(waitSaid)
	defer say.Stop()
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	var noLocks <-chan time.Time // since the kernel answers ENOLCK
	for {
		l, err := tryLock(root, name, o)
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, errRemoved) && ctx.Err() == nil:
			continue
		case errors.Is(err, errRemoved):
			return nil, context.Cause(ctx)
		case !errors.Is(err, errHeld) && !errors.Is(err, ErrNoLocks):
			return nil, err
		}
		failed := ErrLocked
		if errors.Is(err, ErrNoLocks) {
			if failed = ErrNoLocks; noLocks == nil {
				noLocks = time.After(noLocksWait)
			}
		} else {
			noLocks = nil
		}
		if o.Wait <= 0 {
			return nil, failed
		}
		for waiting := true; waiting; {
			select {
			case <-poll.C:
				waiting = false
			case <-say.C:
				if o.OnWait != nil && noLocks == nil { // else there is nobody to wait for
					o.OnWait()
				}
			case <-noLocks:
				return nil, ErrNoLocks
			case <-giveUp.C:
				return nil, failed
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
}

var (
	errNeither = errors.New("the file system has neither record locks nor hard links")
	errHeld    = errors.New("held")
	errRemoved = errors.New("removed by the one who held it")
)

// tryLock is one round: errHeld if somebody has the lock, errRemoved if the round must be repeated.
func tryLock(root *os.Root, name string, o LockOptions) (*Lock, error) {
	f, err := openLock(root, name)
	if err != nil {
		return nil, err
	}
	if err := o.setlk(f); err != nil {
		f.Close()
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return nil, errHeld
		case errors.Is(err, unix.ENOLCK):
			return nil, ErrNoLocks
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
			return tryLink(root, name)
		}
		return nil, err
	}
	same, err := stillThere(root, name, f, o.everywhere || onNFS(f))
	if err != nil || !same {
		f.Close()
		if err == nil {
			err = errRemoved
		}
		return nil, err
	}
	return &Lock{root: root, name: name, file: f}, nil
}

// openLock opens the lock file. A new one gets its mode in spite of the umask, and the group of its
// directory, so that a member of that group can lock as well.
func openLock(root *os.Root, name string) (*os.File, error) {
	const flags = os.O_RDWR | unix.O_NONBLOCK
	for {
		f, err := OpenFile(root, name, flags|os.O_CREATE|os.O_EXCL, lockMode)
		if err == nil {
			if st, err := root.Stat(path.Dir(name)); err == nil {
				if fi, err := f.Stat(); err == nil && groupOf(fi) != groupOf(st) {
					f.Chown(-1, groupOf(st)) // as far as permitted, like the mode
				}
			}
			f.Chmod(lockMode)
			return f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		fi, err := root.Lstat(name)
		if err == nil && !fi.Mode().IsRegular() {
			// os.Root follows links inside, and a lock on their target is not the one on the name.
			return nil, ErrIrregular
		}
		if err == nil {
			f, err = OpenFile(root, name, flags, 0)
		}
		if !errors.Is(err, fs.ErrNotExist) { // else unlinked since: try again
			return f, err
		}
	}
}

func groupOf(fi fs.FileInfo) int {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int(st.Gid)
	}
	return -1
}

// setlk tries to lock the whole file, without waiting.
func setlk(f *os.File) error {
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	err := fcntlLock(f, unix.F_OFD_SETLK, whole)
	if errors.Is(err, unix.EINVAL) {
		err = fcntlLock(f, unix.F_SETLK, whole)
	}
	return err
}

func fcntlLock(f *os.File, cmd int, lk unix.Flock_t) error {
	for {
		err := unix.FcntlFlock(f.Fd(), cmd, &lk)
		if err != unix.EINTR {
			return err
		}
	}
}

// stillThere reports whether name is the file f. byLink proves it with a hard link, where stat may
// answer from a cache.
func stillThere(root *os.Root, name string, f *os.File, byLink bool) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	if byLink {
		link := linkName(name)
		if err := removeIfThere(root.Remove(link)); err != nil {
			return false, err
		}
		defer root.Remove(link)
		switch err := root.Link(name, link); {
		case errors.Is(err, fs.ErrNotExist):
			return false, nil
		// another one in this process makes the proof for a later file
		case errors.Is(err, fs.ErrExist):
			return false, nil
		case err == nil:
			name = link
		case !unsupported(err) && !errors.Is(err, unix.EPERM):
			return false, err
		}
	}
	now, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, now), err
}

func onNFS(f *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && int64(st.Type) == unix.NFS_SUPER_MAGIC
}

// linkName is Portage's private name for this process.
func linkName(name string) string {
	host := "localhost"
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		host = unix.ByteSliceToString(uts.Nodename[:])
	}
	dir, base := path.Split(name)
	return dir + "." + base + linkInfix + host + "-" + strconv.Itoa(os.Getpid())
}

// tryLink is one round of the hard-link lock. The lock file exists.
func tryLink(root *os.Root, name string) (*Lock, error) {
	link := linkName(name)
	if err := removeIfThere(root.Remove(link)); err != nil {
		return nil, err
	}
	if err := root.Link(name, link); errors.Is(err, fs.ErrNotExist) {
		return nil, errRemoved
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", errNeither, err)
	}
	if !linkIsMine(root, name, link) {
		root.Remove(link)
		return nil, errHeld
	}
	return &Lock{root: root, name: name, link: link}, nil
}

// linkIsMine reports whether name and link are the only two names of one file.
func linkIsMine(root *os.Root, name, link string) bool {
	a, err := root.Lstat(name)
	if err != nil {
		return false
	}
	b, err := root.Lstat(link)
	if err != nil || !os.SameFile(a, b) {
		return false
	}
	st, ok := a.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 2
}

// removeIfThere takes an absent file for one that was removed.
func removeIfThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Release gives the lock back. The lock file is unlinked while the lock is held, unless its name
// belongs to another file by now.
func (l *Lock) Release() error {
	if l.file == nil {
		return l.releaseLink()
	}
	same, err := stillThere(l.root, l.name, l.file, false)
	if err == nil && same {
		err = removeIfThere(l.root.Remove(l.name))
	}
	return errors.Join(err, l.file.Close())
}

func (l *Lock) releaseLink() error {
	if linkIsMine(l.root, l.name, l.link) {
		if err := removeIfThere(l.root.Remove(l.name)); err != nil {
			return err
		}
	}
	return removeIfThere(l.root.Remove(l.link))
}
