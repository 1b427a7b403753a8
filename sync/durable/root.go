package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/fault"
)

// A Change is one operation on files, as a [Hook] is shown it.
type Change struct {
	Op   Op
	Root string // the directory as it was opened
	Name string // below Root
	To   string // below Root: the new name of a rename or link
	Size int64  // bytes of a write, the new size of a truncate
}

// String is the change without the root and its numbers: "rename a b", "fsync a".
func (c Change) String() string {
	s := string(c.Op) + " " + c.Name
	if c.To != "" {
		s += " " + c.To
	}
	return s
}

// Op tells what a Change does.
type Op string

// The operations. The words are those of the system calls; SyncDir is an fsync of a directory,
// Syncfs that of a whole file system.
const (
	OpCreate    Op = "create"
	OpWrite     Op = "write"
	OpFsync     Op = "fsync"
	OpSyncDir   Op = "fsync-dir"
	OpSyncfs    Op = "syncfs"
	OpRename    Op = "rename"
	OpExchange  Op = "exchange"
	OpLink      Op = "link"
	OpUnlink    Op = "unlink"
	OpRemoveAll Op = "remove-all"
	OpMkdir     Op = "mkdir"
	OpChmod     Op = "chmod"
	OpChown     Op = "chown"
	OpUtimes    Op = "utimes"
)

// A Hook is called before each operation that changes something, in the order in which they are
// made, by the goroutine that makes them. An error takes the place of the operation. It is for
// tests: they compare what was done with a list, let a single operation fail, or end the process
// before it.
type Hook func(Change) error

// A NoDirectoryError reports that something else has the place of a directory of pkgsneak's.
type NoDirectoryError struct{ Path string }

func (e *NoDirectoryError) Error() string { return fmt.Sprintf("%q is no directory", e.Path) }

// Hints tell what to do with it: it may be somebody's.
func (e *NoDirectoryError) Hints(string) []string {
	return []string{fmt.Sprintf("mv %s %s.away, and run the same command again",
		fault.Quote(e.Path), fault.Quote(e.Path))}
}

// A Root is a directory outside of which nothing is touched (os.Root), whose every change goes
// through a Hook.
type Root struct {
	root *os.Root
	hook Hook
}

// OpenRoot opens the directory, which may be a symbolic link. hook may be nil. Names below it that
// are those of directories may be absent; where one of them has something else, the error is a
// *NoDirectoryError.
func OpenRoot(dir string, hook Hook, below ...string) (*Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range below {
		if !mayBeDir(root, name) {
			root.Close()
			return nil, &NoDirectoryError{filepath.Join(dir, name)}
		}
	}
	return Wrap(root, hook), nil
}

// Names lists a directory below a root, sorted; one that is absent has no names.
func Names(r *Root, dir string) ([]string, error) {
	names, err := readNames(r.root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	slices.Sort(names)
	return names, err
}

// mayBeDir reports whether a name is that of a directory, or of nothing yet. Other errors than
// about the name come again where it is used.
func mayBeDir(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if info, err = root.Stat(name); err != nil {
			return false
		}
	}
	return err != nil || info.IsDir()
}

// Wrap makes a Root of an open directory; Close closes that.
func Wrap(root *os.Root, hook Hook) *Root { return &Root{root, hook} }

// before asks the hook.
func (r *Root) before(c Change) error {
	if r.hook == nil {
		return nil
	}
	c.Root = r.root.Name()
	if err := r.hook(c); err != nil {
		return &fs.PathError{Op: string(c.Op), Path: c.Name, Err: err}
	}
	return nil
}

// Name returns the path that was opened.
func (r *Root) Name() string { return r.root.Name() }

// Close closes the directory.
func (r *Root) Close() error { return r.root.Close() }

// Open opens a file or directory for reading, as os.Root does. Files of others are opened with
// OpenRegular.
func (r *Root) Open(name string) (*os.File, error) {
	return OpenFile(r.root, name, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// OpenRegular is [Open].
func (r *Root) OpenRegular(name string) (*os.File, fs.FileInfo, error) { return Open(r.root, name) }

// Lstat returns the status of a name, of a link itself.
func (r *Root) Lstat(name string) (fs.FileInfo, error) { return r.root.Lstat(name) }

// Stat returns the status of what a name stands for.
func (r *Root) Stat(name string) (fs.FileInfo, error) { return r.root.Stat(name) }

// Readlink returns where a link leads.
func (r *Root) Readlink(name string) (string, error) { return r.root.Readlink(name) }

// Create makes a new file for reading and writing, with perm less the umask; fs.ErrExist if the
// name is taken by anything.
func (r *Root) Create(name string, perm fs.FileMode) (*File, error) {
	if err := r.before(Change{Op: OpCreate, Name: name}); err != nil {
		return nil, err
	}
	f, err := OpenFile(r.root, name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	return &File{f, name, r}, nil
}

// Mkdir makes a directory, with perm less the umask.
func (r *Root) Mkdir(name string, perm fs.FileMode) error {
	if err := r.before(Change{Op: OpMkdir, Name: name}); err != nil {
		return err
	}
	return r.root.Mkdir(name, perm)
}

// MkdirAll makes a directory and those above it.
func (r *Root) MkdirAll(name string, perm fs.FileMode) error {
	if fi, err := r.root.Stat(name); err == nil && fi.IsDir() {
		return nil
	}
	if err := r.before(Change{Op: OpMkdir, Name: name}); err != nil {
		return err
	}
	return r.root.MkdirAll(name, perm)
}

// Remove unlinks a file, or removes an empty directory.
func (r *Root) Remove(name string) error {
	if err := r.before(Change{Op: OpUnlink, Name: name}); err != nil {
		return err
	}
	return r.root.Remove(name)
}

// RemoveAll removes a directory with what is in it.
func (r *Root) RemoveAll(name string) error {
	if err := r.before(Change{Op: OpRemoveAll, Name: name}); err != nil {
		return err
	}
	return r.root.RemoveAll(name)
}

// Rename gives a file another name, and replaces the file that has it.
func (r *Root) Rename(from, to string) error {
	if err := r.before(Change{Op: OpRename, Name: from, To: to}); err != nil {
		return err
	}
	return r.root.Rename(from, to)
}

// Exchange lets two names in the directory of a root change places, in one step
// (renameat2 with RENAME_EXCHANGE). The error is one of [NoExchange] where the file system cannot.
func Exchange(r *Root, a, b string) error {
	for _, name := range []string{a, b} {
		if !filepath.IsLocal(name) || filepath.Base(name) != name || name == "." {
			return &fs.PathError{Op: string(OpExchange), Path: name, Err: fs.ErrInvalid}
		}
	}
	if err := r.before(Change{Op: OpExchange, Name: a, To: b}); err != nil {
		return err
	}
	d, err := OpenDir(r.root, ".")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Renameat2(int(d.Fd()), a, int(d.Fd()), b, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: string(OpExchange), Old: a, New: b, Err: err}
	}
	return nil
}

// NoExchange reports whether an error of Exchange means that two directories cannot change places
// here: the file system cannot do it at all, or they lie on two of them.
func NoExchange(err error) bool {
	for _, e := range []error{unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EXDEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Syncfs puts the whole file system of the root on the disk.
func Syncfs(r *Root) error {
	if err := r.before(Change{Op: OpSyncfs, Name: "."}); err != nil {
		return err
	}
	d, err := OpenDir(r.root, ".")
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// Link gives a file a further name; fs.ErrExist if that is taken.
func (r *Root) Link(from, to string) error {
	if err := r.before(Change{Op: OpLink, Name: from, To: to}); err != nil {
		return err
	}
	return r.root.Link(from, to)
}

// Chmod changes the mode of a file; links are followed.
func (r *Root) Chmod(name string, mode fs.FileMode) error {
	if err := r.before(Change{Op: OpChmod, Name: name}); err != nil {
		return err
	}
	return r.root.Chmod(name, mode)
}

// Lchown changes the owner of a file, of a link itself; -1 leaves what is there.
func (r *Root) Lchown(name string, uid, gid int) error {
	if err := r.before(Change{Op: OpChown, Name: name}); err != nil {
		return err
	}
	return r.root.Lchown(name, uid, gid)
}

// Chtimes changes the times of a file.
func (r *Root) Chtimes(name string, atime, mtime time.Time) error {
	if err := r.before(Change{Op: OpUtimes, Name: name}); err != nil {
		return err
	}
	return r.root.Chtimes(name, atime, mtime)
}

// SyncDir makes the names in the directory dir durable: what was created, renamed or removed there.
// File systems that cannot sync a directory need no sync.
func (r *Root) SyncDir(dir string) error {
	if err := r.before(Change{Op: OpSyncDir, Name: dir}); err != nil {
		return err
	}
	return SyncDir(r.root, dir)
}

// A File is one that is being written below a Root. It is for one goroutine.
type File struct {
	f    *os.File
	name string
	root *Root
}

// Write appends to the file.
func (f *File) Write(p []byte) (int, error) {
	if err := f.root.before(Change{Op: OpWrite, Name: f.name, Size: int64(len(p))}); err != nil {
		return 0, err
	}
	return f.f.Write(p)
}

// Sync puts the contents on the disk.
func (f *File) Sync() error {
	if err := f.root.before(Change{Op: OpFsync, Name: f.name}); err != nil {
		return err
	}
	return f.f.Sync()
}

// Chmod changes the mode.
func (f *File) Chmod(mode fs.FileMode) error {
	if err := f.root.before(Change{Op: OpChmod, Name: f.name}); err != nil {
		return err
	}
	return f.f.Chmod(mode)
}

// Chown changes the owner; -1 leaves what is there.
func (f *File) Chown(uid, gid int) error {
	if err := f.root.before(Change{Op: OpChown, Name: f.name}); err != nil {
		return err
	}
	return f.f.Chown(uid, gid)
}

// Stat returns the status of the file.
func (f *File) Stat() (fs.FileInfo, error) { return f.f.Stat() }

// Close closes the file, and does not sync it.
func (f *File) Close() error { return f.f.Close() }

// beginWriteBack tells the kernel to begin with what was written between two offsets. It is advice:
// what is wrong with the disk is told by Sync.
func (f *File) beginWriteBack(from, to int64) {
	_ = unix.SyncFileRange(int(f.f.Fd()), from, to-from, unix.SYNC_FILE_RANGE_WRITE)
}
