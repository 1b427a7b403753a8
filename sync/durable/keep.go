package durable

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// KeptDir is where a Store keeps what a run replaced or removed, until the next one:
//
//	DIR/.pkgsneak-undo/NAME       in the Store's own directory
//	CAT/.pkgsneak-undo/NAME       of a file in CAT, where that is a file system of its own
//
// The files keep their modes, and everybody may read the directory. No NAME has an extension:
// emerge, emaint and eclean walk through all directories below PKGDIR, whatever they are called,
// and take a file for a package by its extension alone; in DISTDIR they look at regular files only.
const KeptDir = ".pkgsneak-undo"

// A Keeper keeps the files that a run is about to replace or to remove, instead of letting them go:
// by a hard link or a rename, never by a copy. Where a file cannot be kept, the Keeper keeps
// nothing from then on ([Keeper.Err]), and the run goes on as if it had none. A nil Keeper keeps
// nothing.
type Keeper struct {
	root  *Root
	names map[string]string // how a file will be called, by its name below the Store
	dirs  map[string]bool   // directories in which names have changed
	kept  map[string]bool   // directories with kept files
	err   error
}

// Keeper makes the directory for what is kept: one that is there shows later that the disk is the
// same. An error means that nothing can be kept.
func (s *Store) Keeper() (*Keeper, error) {
	k := &Keeper{root: s.root, names: map[string]string{}, dirs: map[string]bool{},
		kept: map[string]bool{}}
	if err := k.make(KeptDir); err != nil {
		return nil, err
	}
	return k, k.Sync()
}

// Expect has the file name kept as that name in KeptDir. A file that nobody expects is not kept.
func (k *Keeper) Expect(name, as string) { k.names[name] = as }

// Stop has the Keeper keep nothing more, for that reason.
func (k *Keeper) Stop(err error) {
	if k != nil && k.err == nil {
		k.err = err
	}
}

// Err reports why nothing is kept any more; nil while all is kept.
func (k *Keeper) Err() error {
	if k == nil {
		return nil
	}
	return k.err
}

// Replaced is called before a file takes the place of name. It reports whether that is free now:
// where there are no hard links, the file was moved away.
func (k *Keeper) Replaced(name string) (free bool) {
	return k.keep(name, func(as string) (bool, error) {
		err := k.root.Link(name, as)
		if err == nil || errors.Is(err, fs.ErrExist) || !noLinks(err) {
			return false, err
		}
		err = k.root.MoveNew(name, as)
		return err == nil, err
	})
}

// Remove takes the place of removing a file, and reports whether it did.
func (k *Keeper) Remove(name string) (gone bool) {
	return k.keep(name, func(as string) (bool, error) {
		err := k.root.MoveNew(name, as)
		return err == nil, err
	})
}

// noLinks reports whether a file system has no hard links, or no more for this file.
func noLinks(err error) bool {
	return unsupported(err) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK)
}

func (k *Keeper) keep(name string, by func(as string) (bool, error)) (gone bool) {
	if k == nil || k.err != nil || k.names[name] == "" {
		return false
	}
	if fi, err := k.root.Lstat(name); err != nil || !fi.Mode().IsRegular() {
		return false // the file has gone, or is a link, of which its target is remembered
	}
	for _, dir := range keptDirs(name) {
		if k.err = k.make(dir); k.err != nil {
			return false
		}
		gone, k.err = by(path.Join(dir, k.names[name]))
		switch {
		case k.err == nil:
			k.dirs[dir] = true
			return gone
		// an earlier run that was ended has kept it: what is there now came between
		case errors.Is(k.err, fs.ErrExist):
			k.err = nil
			return false
		case !errors.Is(k.err, unix.EXDEV):
			return false
		}
	}
	return false
}

// keptDirs are where a file may be kept, the first that is on its file system.
func keptDirs(name string) []string {
	if dir := path.Dir(name); dir != "." {
		return []string{KeptDir, path.Join(dir, KeptDir)}
	}
	return []string{KeptDir}
}

func (k *Keeper) make(dir string) error {
	if k.kept[dir] {
		return nil
	}
	err := k.root.Mkdir(dir, sharedDir)
	switch {
	case err == nil:
		if err := k.root.SetAccess(dir, -1, sharedDir); err != nil {
			return err
		}
		k.dirs[path.Dir(dir)] = true
	case errors.Is(err, fs.ErrExist):
		if fi, lerr := k.root.Lstat(dir); lerr != nil || !fi.IsDir() {
			return err
		}
	default:
		return err
	}
	k.kept[dir] = true
	return nil
}

// Snapshot keeps a file as it is under that name in KeptDir, where it is to be replaced as a whole
// by a rename. One that is there already stays.
func (k *Keeper) Snapshot(name, as string) {
	if k == nil || k.err != nil {
		return
	}
	as = path.Join(KeptDir, as)
	if _, err := k.root.Lstat(as); err == nil {
		return
	}
	err := k.root.Link(name, as)
	if noLinks(err) || errors.Is(err, unix.EXDEV) { // an index is small
		var temp string
		if temp, err = k.root.copyInto(name, as); err == nil {
			err = k.root.Rename(temp, as)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.err = err
		return
	}
	k.dirs[KeptDir] = true
}

// Sync puts the names of kept files on the disk.
func (k *Keeper) Sync() error {
	if k == nil || k.err != nil {
		return nil
	}
	for _, dir := range slices.Sorted(maps.Keys(k.dirs)) {
		if k.err = k.root.SyncDir(dir); k.err != nil {
			return k.err
		}
	}
	clear(k.dirs)
	return nil
}

// FreeSpace gives up what is kept where the error of an operation is that the disk is full, and
// reports whether it is worthwhile to try again.
func (k *Keeper) FreeSpace(err error) bool {
	if k == nil || k.err != nil || !IsFull(err) {
		return false
	}
	k.err = err
	for dir := range k.kept {
		if k.root.RemoveAll(dir) != nil {
			return false
		}
	}
	return true
}

// IsFull reports whether an error means that a disk, or a user's part of it, is full.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// Kept returns where a file is kept under a name of KeptDir, and its status; fs.ErrNotExist if it
// is not. file is the name below the Store that it had.
func (s *Store) Kept(file, as string) (string, fs.FileInfo, error) {
	var err error
	for _, dir := range keptDirs(file) {
		var fi fs.FileInfo
		if fi, err = s.root.Lstat(path.Join(dir, as)); err == nil {
			return path.Join(dir, as), fi, nil
		}
	}
	return "", nil, err
}

// RemoveKept removes what is kept in the Store and beside the given files, but for names that begin
// with prefix; "" keeps none, and removes the directories too.
func (s *Store) RemoveKept(files []string, prefix string) error {
	dirs := map[string]bool{}
	for _, file := range files {
		for _, dir := range keptDirs(file) {
			dirs[dir] = true
		}
	}
	dirs[KeptDir] = true
	var errs []error
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		errs = append(errs, s.removeKept(dir, prefix))
	}
	return errors.Join(errs...)
}

func (s *Store) removeKept(dir, prefix string) error {
	names, err := readNames(s.root.root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if prefix == "" {
		return s.root.RemoveAll(dir)
	}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			continue
		}
		if err := removeIfThere(s.root.RemoveAll(path.Join(dir, name))); err != nil {
			return err
		}
	}
	return nil
}
