package drivewriter

import (
	"context"
	"errors"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/progress"
)

// unlinkAll removes files and the package directories that they leave empty,
// and syncs each directory that lost a name, also if ctx ends it early: what is
// left then the next Begin removes.
func (w *Writer) unlinkAll(ctx context.Context, names []string) error {
	slices.Sort(names)
	used := w.usedDirs()
	lost := make(map[string]bool)
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		if info, err := w.root.Lstat(name); err == nil && info.IsDir() { // a person's: it stays
			keepOther(w, name)
			continue
		}
		if err := w.remove("unlink", w.root, name); err != nil {
			return err
		}
		dir := path.Dir(name)
		lost[dir] = true
		w.dirs.capacityOf(dir).drop(path.Base(name))
	}
	dirs := make([]string, 0, len(lost))
	for dir := range lost {
		dirs = append(dirs, dir)
	}
	for _, dir := range slices.Sorted(slices.Values(dirs)) { // each waits for the drive
		w.progress(progress.PhaseRemove, dir, 0)
		if err := w.fsync(dir); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return w.removeEmpty(dirs, used)
}

// keepOther leaves what has the place of a file of ours, and names it.
func keepOther(w *Writer, name string) {
	w.others = append(w.others, name)
	if w.o.Foreign != nil {
		w.o.Foreign(name)
	}
}

// usedDirs are the directories with files that are listed, new or planned.
func (w *Writer) usedDirs() map[string]bool {
	used := make(map[string]bool)
	mark := func(name string) {
		for dir := path.Dir(name); dir != "." && !used[dir]; dir = path.Dir(dir) {
			used[dir] = true
		}
	}
	for name := range w.listed {
		mark(name)
	}
	for name := range w.uncommitted {
		mark(name)
	}
	for _, stored := range w.places.reserved {
		for _, name := range stored {
			mark(name)
		}
	}
	return used
}

// removeEmpty removes those of dirs that nothing uses, except the lasting
// ones, and syncs the directories above.
func (w *Writer) removeEmpty(dirs []string, used map[string]bool) error {
	var above []string
	for _, dir := range dirs {
		if used[dir] || layout.Lasting(dir) || !w.dirs.made[dir] {
			continue
		}
		err := w.remove("rmdir", w.root, dir)
		if errors.Is(err, unix.ENOTEMPTY) {
			continue
		}
		if err != nil {
			return err
		}
		delete(w.dirs.made, dir)
		delete(w.dirs.capacities, dir)
		w.dirs.capacityOf(path.Dir(dir)).drop(path.Base(dir))
		above = append(above, path.Dir(dir))
	}
	return w.syncDirs(above)
}
