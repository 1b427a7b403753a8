package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// storeLock is held by the one pkgsneak that stages files in a Store.
const storeLock = ".pkgsneak.lock"

// IsStoreLock reports whether base is the name of that lock, or of what stands for it on file
// systems without record locks.
func IsStoreLock(base string) bool {
	return base == storeLock || strings.HasPrefix(base, "."+storeLock+linkInfix)
}

// StagingDir is where files are staged in a Store.
const StagingDir = ".pkgsneak"

// A Store is a directory with payload files, a PKGDIR or a DISTDIR: what can be read there, and
// where files wait for their names.
type Store struct {
	path string
	root *Root
}

// OpenStore opens the directory at path, which may be a symbolic link; what is how messages call
// it. The caller that opens the Store may change it through the Root.
func OpenStore(what, path string, hook Hook) (*Store, *Root, error) {
	root, err := OpenRoot(path, hook)
	if errors.Is(err, fs.ErrNotExist) {
		if target, linkErr := os.Readlink(path); linkErr == nil {
			return nil, nil, fmt.Errorf("opening %s: %w", what, &DanglingError{path, target})
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", what, err)
	}
	return &Store{path, root}, root, nil
}

// CreateStore is OpenStore, and makes the directory first if there is none, with mode 0755 whatever
// the umask.
func CreateStore(what, path string, hook Hook) (*Store, *Root, error) {
	s, root, err := OpenStore(what, path, hook)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, root, err
	}
	if err := makeShared(path); err != nil {
		return nil, nil, fmt.Errorf("creating %s: %w", what, err)
	}
	return OpenStore(what, path, hook)
}

// makeShared makes a directory and those above it that are missing, for everybody to read.
func makeShared(path string) error {
	var missing []string
	for dir := path; ; dir = parentOf(dir) {
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) ||
			dir == parentOf(dir) {
			break
		}
		missing = append(missing, dir)
	}
	if err := os.MkdirAll(path, sharedDir); err != nil {
		return err
	}
	for _, dir := range missing {
		if err := Permitted(os.Chmod(dir, sharedDir)); err != nil {
			return err
		}
	}
	return nil
}

// A DanglingError reports that a directory's path is a symbolic link to what is not there: most
// likely a disk that is not mounted. Nothing is made in its place.
type DanglingError struct{ Path, Target string }

func (e *DanglingError) Error() string {
	return fmt.Sprintf("%q is a link to %q, which is not there: is its disk mounted?",
		e.Path, e.Target)
}

// Path returns what the Store was opened as.
func (s *Store) Path() string { return s.path }

// Close closes the directory.
func (s *Store) Close() error { return s.root.Close() }

// Staging returns where files are staged. The holder of the Lock clears it when a run is done.
func (s *Store) Staging() Staging { return newStaging(s.root, StagingDir) }

// Lock keeps every other pkgsneak from staging and placing files there, whatever its state
// directory.
func (s *Store) Lock(ctx context.Context, o LockOptions) (*Lock, error) {
	return s.root.Acquire(ctx, storeLock, o)
}

// Lstat returns the status of a name below the directory.
func (s *Store) Lstat(name string) (fs.FileInfo, error) { return s.root.Lstat(name) }

// OpenFile opens a regular file for reading, not reached through a link.
func (s *Store) OpenFile(name string) (*os.File, fs.FileInfo, error) {
	return s.root.OpenRegular(name)
}
