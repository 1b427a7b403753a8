package drivewriter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/progress"
)

// session is the writing to one drive as far as all writers of this package share it: the lock, the
// origin's directory, and the error after which nothing can be believed any more.
type session struct {
	d    *drive.Drive
	dir  string   // of the origin, below the tree's
	root *os.Root // the origin's directory, nil before the first export made it
	lock *os.File
	// a directory that a pull left empty may have no space of its own; tests set it
	stale bool

	// one call ends before the next begins
	progress func(phase progress.Phase, path string, bytes int64)

	window writeWindow
	ended  ending

	// hook, in tests, is asked before each change of the drive.
	hook func(op, path string) error
}

// newSession begins nothing yet: takeLock does. report may be nil.
func newSession(d *drive.Drive, dir string,
	report func(phase progress.Phase, path string, bytes int64)) *session {
	s := &session{d: d, dir: dir, stale: d != nil && d.FSType().StaleDirectories()}
	s.tellTo(report)
	return s
}

// tellTo makes report the function that the progress is passed to.
func (s *session) tellTo(report func(phase progress.Phase, path string, bytes int64)) {
	if report == nil {
		report = func(progress.Phase, string, int64) {}
	}
	var telling sync.Mutex // files are written back while all else goes on
	s.progress = func(phase progress.Phase, name string, n int64) {
		telling.Lock()
		defer telling.Unlock()
		report(phase, name, n)
	}
	s.window.tell = func(name string, n int64) { s.progress(progress.PhaseCopy, name, n) }
}

// takeLock keeps a second exporter of this machine away. The lock is on the
// tree's directory, so that nothing has to be written for it.
func (s *session) takeLock() error {
	f, err := durable.OpenDir(s.d.Root(), ".")
	if err != nil {
		return s.d.Classify("opening", layout.TreeDir, err)
	}
	s.lock = f
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("writing to %q: %w", s.d.Mount(), durable.ErrLocked)
	case err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) &&
		!errors.Is(err, unix.ENOLCK):
		return s.d.Classify("locking", layout.TreeDir, err)
	}
	return nil
}

// release gives back what the session holds open. Every operation that is tried with it after that
// fails.
func (s *session) release() {
	s.window.drop()
	if s.root != nil {
		s.root.Close()
		s.root = nil
	}
	if s.lock != nil {
		// a program that is just being started has the descriptor, too, until it runs
		_ = unix.Flock(int(s.lock.Fd()), unix.LOCK_UN)
		s.lock.Close()
		s.lock = nil
	}
	s.ended.with(fmt.Errorf("writing to %q: the session has ended", s.d.Mount()))
}

// do does one change of the drive. An error of the drive ends the session.
func (s *session) do(op, name string, change func() error) error {
	if err := s.ended.cause(); err != nil {
		return err
	}
	if s.hook != nil {
		if err := s.hook(op, name); err != nil {
			return s.end(op, name, err)
		}
	}
	return s.end(op, name, change())
}

// end classifies an error, and ends the session if the drive is gone, failing or read-only.
func (s *session) end(op, name string, err error) error {
	if err == nil {
		return nil
	}
	err = s.d.Classify(op, name, err)
	var gone *drive.GoneError
	var readOnly *drive.ReadOnlyError
	if errors.As(err, &gone) || errors.As(err, &readOnly) {
		return s.ended.with(err)
	}
	return err
}

// sync does one step that makes earlier changes durable. Every error that it reports, a full drive
// too, means that something that was written before is lost: it ends the session.
func (s *session) sync(op, name string, step func() error) error {
	return s.ended.with(s.do(op, name, step))
}

// ending is the error after which nothing of a session can be believed.
type ending struct {
	mu  sync.Mutex
	err error
}

// cause returns the error, nil while the session goes on.
func (e *ending) cause() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// with ends the session with err, unless that is nil or it has ended, and returns err.
func (e *ending) with(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
	return err
}

// remove unlinks a file or an empty directory. An entry that is not there, on a drive that is, has
// been removed.
func (s *session) remove(op string, root *os.Root, name string) error {
	return s.do(op, name, func() error {
		err := root.Remove(name)
		if errors.Is(err, fs.ErrNotExist) && s.d.Present() {
			return nil
		}
		return err
	})
}

// syncDirs makes the loss of names durable: until then a new file could share
// the clusters of an old entry.
func (s *session) syncDirs(dirs []string) error {
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := s.fsync(dir); err != nil {
			return err
		}
	}
	return nil
}

// fsync makes a file or directory below the origin durable, and sends the
// drive a flush of its cache, even if it was clean.
func (s *session) fsync(name string) error {
	return s.sync("fsync", name, func() error {
		f, err := durable.OpenFile(s.root, name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		err = f.Sync()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil // a file system that cannot sync a directory needs no sync
		}
		return err
	})
}

// flush is step 7: everything to the drive, and then the cache of the drive to
// the medium. syncfs on vfat does only the first; the fsync of a clean file
// does the second.
func (s *session) flush() error {
	if err := s.window.drain(); err != nil {
		return s.ended.with(s.end("writing", s.dir, err))
	}
	if err := s.syncfs(); err != nil {
		return err
	}
	return s.fsync(layout.NextManifestFile)
}

func (s *session) syncfs() error {
	return s.sync("syncfs", s.dir, func() error {
		return unix.Syncfs(int(s.d.Top().Fd()))
	})
}

// create makes a new file for writing.
func (s *session) create(root *os.Root, name string, mode fs.FileMode) (*os.File, error) {
	var f *os.File
	err := s.do("create", name, func() (err error) {
		f, err = durable.OpenFile(root, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			err = s.d.ClassifyName("making", name, err)
		}
		return err
	})
	return f, err
}

// syncDir makes what was made or removed in a directory of the tree durable.
func (s *session) syncDir(dir string) error {
	return s.sync("fsync", dir, func() error { return durable.SyncDir(s.d.Root(), dir) })
}

// writeLoose writes a file beside the origins, unless it is there.
func (s *session) writeLoose(name string, data []byte) error {
	old, err := s.d.ReadAll(s.d.Root(), name, 1<<20)
	if err == nil && string(old) == string(data) {
		return nil
	}
	// A fifo would wait for a reader, and a link leads to another file.
	info, err := s.d.Root().Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		return &drive.InTheWayError{Path: name}
	}
	return s.do("write", name, func() error {
		f, err := durable.OpenFile(s.d.Root(), name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt(data, 0); err != nil {
			return err
		}
		if err := f.Truncate(int64(len(data))); err != nil {
			return err
		}
		return f.Close()
	})
}
