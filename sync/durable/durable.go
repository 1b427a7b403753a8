// Package durable makes a file appear whole or not at all, and holds Portage's lock.
//
// # Files
//
// [Root.WriteFile] writes to a temporary file in the same directory, gives it its owner, mode and
// time, syncs it, renames it over the old one and syncs the directory: after a crash at any moment
// the name shows the complete old or the complete new contents. The temporary file is called
//
//	.NAME.pkgsneak-XXXXXXXXXXXXXXXX      (16 hex digits)
//
// It begins with a dot and ends with none of Portage's package extensions, so nobody takes it for a
// package. A killed process leaves it behind; [IsTemp] recognises such names, so that a package
// which holds the lock of a directory can remove them ([Root.Sweep]).
//
// [Open] opens regular files only. [Root.Place] gives a file its name, on another file system too;
// [Root.MoveNew] is a rename that never replaces anything: two programs that want the same name
// cannot destroy each other's file. [Staging] keeps complete files that wait for their names.
// [Root.SyncFiles] and [Root.SyncDir] are for those who write many files and want them on the disk
// before the next step.
//
// Each change below a [Root] is shown to its [Hook] first, in its order. With that, tests hold what
// no test of the outcome can: which file or directory was on the disk before which name was given.
//
// This is the order for a file system that keeps renames atomic (ext4, xfs, btrfs, zfs, f2fs,
// tmpfs). FAT does not; what is written to a drive has another order, and another package.
//
// # The lock
//
// [Acquire] speaks the protocol of Portage's locks.py (lockfile with wantnewlockfile, unlockfile),
// so that emerge, emaint and pkgsneak keep out of each other's way. Taking it:
//
//	1  open NAME with O_CREAT|O_RDWR, mode 0660 whatever the umask, group of the directory when new;
//	2  lock the whole file exclusively with a record lock (fcntl);
//	3  prove that NAME still is the file that was locked: the one who held it before has unlinked
//	   it. If not, begin again.
//
// Releasing it: unlink NAME while the lock is held, then close. A process that waited on the
// unlinked file notices in step 3.
//
// The record lock is an open-file-description lock (F_OFD_SETLK): it excludes the classic POSIX
// locks that Python's fcntl.lockf takes, and is excluded by them, but belongs to the descriptor, so
// two goroutines exclude each other too and closing another descriptor of the file does not drop
// it. A kernel without it (EINVAL) gets the classic one. flock(2) is another world: neither side
// sees it.
//
// On NFS a stat may be answered from the attribute cache, so step 3 makes a hard link of NAME to
// prove that the server still has it. If record locks do not exist (ENOSYS, EOPNOTSUPP) the lock is
// Portage's hard-link lock: the private name
//
//	.NAME.hardlock-HOST-PID
//
// is linked to NAME, and whoever sees exactly two links on it owns the lock; it belongs to the
// process, which must not ask twice. Locks that ran out (ENOLCK) may come back, so they are asked
// for again for a while, as by Portage without end; then the error is [ErrNoLocks].
package durable

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tempInfix  = ".pkgsneak-"
	tempDigits = 16
	bufferSize = 64 << 10
)

// Attr is how a file shall look. The zero value of Mode leaves what the umask gives (0666 less
// the umask), of ModTime the moment of writing.
type Attr struct {
	Mode fs.FileMode // permission bits only
	Add  fs.FileMode // permission bits that it has as well, whatever Mode or the umask is
	// UID and GID own the file; -1 leaves what the system gives. A change of owner or mode that
	// this process or the file system may not make is left away in silence, as Portage does.
	UID, GID int
	ModTime  time.Time // access time too
}

// WriteFile writes what fill writes to the file name below root. The name shows the old contents
// (or nothing) until everything is on the disk, then the new. On an error nothing has changed and
// no temporary file is left. name itself is replaced even when it is a symbolic link.
func (r *Root) WriteFile(name string, a Attr, fill func(io.Writer) error) error {
	temp, err := r.writeTemp(name, a, fill)
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	if err := r.Rename(temp, name); err != nil {
		r.Remove(temp)
		if fi, statErr := r.Lstat(name); statErr == nil && fi.IsDir() {
			err = ErrIrregular // the reason of the kernel tells nobody what to do
		}
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return r.SyncDir(path.Dir(name))
}

// writeTemp leaves a complete, synced file beside name and returns how it is called.
func (r *Root) writeTemp(name string, a Attr, fill func(io.Writer) error) (temp string, err error) {
	f, temp, err := r.createTemp(name, a.Mode)
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			r.Remove(temp)
		}
	}()
	w := bufio.NewWriterSize(f, bufferSize)
	if err := fill(w); err != nil {
		return temp, err
	}
	if err := w.Flush(); err != nil {
		return temp, err
	}
	if err := r.setAttr(temp, f, a); err != nil {
		return temp, err
	}
	return temp, f.Sync()
}

func (r *Root) createTemp(name string, mode fs.FileMode) (*File, string, error) {
	// A file that will have a mode of its own is nobody's business before it has it.
	perm := fs.FileMode(0o600)
	if mode == 0 {
		perm = 0o666
	}
	dir, base := path.Split(name)
	for {
		var random [tempDigits / 2]byte
		rand.Read(random[:])
		temp := dir + "." + base + tempInfix + hex.EncodeToString(random[:])
		f, err := r.Create(temp, perm)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		return f, temp, err
	}
}

// setAttr changes the owner first: a change of owner may clear mode bits.
func (r *Root) setAttr(name string, f *File, a Attr) error {
	if err := setOwner(f, a.UID, a.GID); err != nil {
		return err
	}
	if a.Mode|a.Add != 0 {
		if err := Permitted(chmod(f, a.Mode.Perm(), a.Add.Perm())); err != nil {
			return err
		}
	}
	if !a.ModTime.IsZero() {
		return r.Chtimes(name, a.ModTime, a.ModTime)
	}
	return nil
}

// chmod gives f the bits of mode (0: those it has) and of add.
func chmod(f *File, mode, add fs.FileMode) error {
	if mode == 0 {
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		mode = fi.Mode().Perm()
	}
	return f.Chmod(mode | add)
}

// ErrIrregular reports that what has the name of a file is none: a directory, a link, a device.
var ErrIrregular = errors.New("not a regular file")

// Open opens a regular file below root for reading and returns its status. Anything else that may
// have the name is an error: a symbolic link (os.Root would follow it inside), a directory, a
// device, a fifo.
func Open(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	irregular := &fs.PathError{Op: "open", Path: name, Err: ErrIrregular}
	before, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, irregular
	}
	f, err := OpenFile(root, name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = irregular
	}
	// A file that was renamed over the name is as good as its predecessor; one behind a link is
	// not.
	if err == nil && !os.SameFile(before, fi) {
		if now, lerr := root.Lstat(name); lerr != nil || !os.SameFile(now, fi) {
			err = irregular
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// IsTemp reports whether base is the name of a temporary file of Root.WriteFile.
func IsTemp(base string) bool {
	if !strings.HasPrefix(base, ".") {
		return false
	}
	i := strings.LastIndex(base, tempInfix)
	if i <= 1 || len(base)-i-len(tempInfix) != tempDigits {
		return false
	}
	_, err := hex.DecodeString(base[i+len(tempInfix):])
	return err == nil
}

// Sweep removes the temporary files that killed runs of WriteFile left in the directory dir. The
// caller holds the lock under which they are written.
func (r *Root) Sweep(dir string) error {
	names, err := readNames(r.root, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !IsTemp(name) {
			continue
		}
		if err := r.Remove(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a leftover: %w", err)
		}
	}
	return nil
}

func readNames(root *os.Root, dir string) ([]string, error) {
	f, err := OpenDir(root, dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// MoveNew renames oldname to newname, both below root, and never replaces anything: it returns an
// error that is fs.ErrExist if newname is taken. It does not sync; the directories are the
// caller's.
func (r *Root) MoveNew(oldname, newname string) error {
	if err := r.before(Change{Op: OpRename, Name: oldname, To: newname}); err != nil {
		return err
	}
	err := renameNoReplace(r.root, oldname, newname)
	if err == nil || !unsupported(err) {
		return err
	}
	// ErrExist comes from link(2) itself, which is atomic.
	err = r.Link(oldname, newname)
	if err == nil {
		return r.Remove(oldname)
	}
	if !unsupported(err) && !errors.Is(err, unix.EPERM) {
		return err
	}
	return r.moveReserved(oldname, newname)
}

// moveReserved is for file systems that have neither RENAME_NOREPLACE nor hard links: the name is
// reserved with an empty file as emerge does, and then replaced.
func (r *Root) moveReserved(oldname, newname string) error {
	f, err := r.Create(newname, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := r.Rename(oldname, newname); err != nil {
		r.Remove(newname)
		return err
	}
	return nil
}

func renameNoReplace(root *os.Root, oldname, newname string) error {
	from, err := OpenDir(root, path.Dir(oldname))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := OpenDir(root, path.Dir(newname))
	if err != nil {
		return err
	}
	defer to.Close()
	err = unix.Renameat2(int(from.Fd()), path.Base(oldname), int(to.Fd()), path.Base(newname),
		unix.RENAME_NOREPLACE)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

// unsupported reports whether the kernel or the file system does not have the call.
func unsupported(err error) bool {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// SyncDir puts the names in a directory on the disk. A file system that cannot sync a directory
// needs no sync.
func SyncDir(root *os.Root, dir string) error {
	f, err := OpenDir(root, dir)
	if err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !unsupported(err) {
		return fmt.Errorf("syncing directory: %w", err)
	}
	return nil
}

// manySyncs is from how many fsyncs on the whole file system is asked first: each of them would be
// a commit of its journal, and is next to nothing where there is nothing left to write.
const manySyncs = 64

// PrepareSyncs makes n fsyncs that follow cheap. It promises nothing: they do, and they report what
// could not be written.
func PrepareSyncs(r *Root, n int) {
	if n >= manySyncs {
		_ = Syncfs(r)
	}
}

// syncWorkers fsyncs at a time let a journalling file system put many files into one commit.
const syncWorkers = 16

// SyncFiles puts the contents of the named files below root on the disk. Many small files cost a
// fraction of what one fsync after the other costs. It returns the first error.
func (r *Root) SyncFiles(ctx context.Context, names []string) error {
	PrepareSyncs(r, len(names))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan string)
	done := make(chan struct{})
	workers := min(syncWorkers, len(names))
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for name := range work {
				if err := r.syncFile(name); err != nil {
					cancel(err)
				}
			}
		}()
	}
	feed(ctx, work, names)
	for range workers {
		<-done
	}
	return context.Cause(ctx)
}

func feed(ctx context.Context, work chan<- string, names []string) {
	defer close(work)
	for _, name := range names {
		select {
		case work <- name:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Root) syncFile(name string) error {
	f, _, err := r.OpenRegular(name)
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	defer f.Close()
	if err := r.before(Change{Op: OpFsync, Name: name}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing %q: %w", name, err)
	}
	return nil
}
