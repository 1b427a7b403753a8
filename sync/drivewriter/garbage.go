package drivewriter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/listing"
	"pkgsneak/sync/progress"
)

// collectGarbage is step 3: what N does not list under a name of the layout was left by a pulled
// run, and may share clusters with anything; so may what an unfinished request left. Only when it
// is gone, from the medium too, may anything be allocated. Everything else stays for good, and is
// named: an entry that is never removed frees nobody's clusters.
func (w *Writer) collectGarbage(ctx context.Context) error {
	if err := collectClientGarbage(w.d, w.session); err != nil {
		return err
	}
	if w.root == nil {
		w.remember()
		return nil
	}
	w.progress(progress.PhaseScan, "", 0)
	t := garbage{w: w, ctx: ctx, listed: make(map[string]int64), needed: make(map[string]bool),
		seen: make(map[string]bool)}
	for name, f := range w.listed {
		t.listed[layout.FoldName(name)] = f.Size
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			t.needed[layout.FoldName(dir)] = true
		}
	}
	if _, err := t.walk(nil, "", ".", 0); err != nil {
		return err
	}
	for name := range w.listed {
		if !t.seen[layout.FoldName(name)] {
			w.absent = append(w.absent, name)
		}
	}
	slices.Sort(w.absent)
	w.remember()
	return nil
}

type garbage struct {
	w      *Writer
	ctx    context.Context
	listed map[string]int64 // sizes by folded path: on FAT another spelling is the same file
	needed map[string]bool  // folded directories
	seen   map[string]bool
	dirs   listing.Reader
}

// walk removes what is not listed below dir, which is name below the level
// above, makes that durable, and reports whether dir is empty then.
func (t *garbage) walk(above *drive.Level, name, dir string, depth int) (empty bool, err error) {
	if err := context.Cause(t.ctx); err != nil {
		return false, err
	}
	if depth > drive.MaxDepth {
		return false, fmt.Errorf("reading the directory %q: too deep", dir)
	}
	w := t.w
	w.dirs.made[dir] = true
	l, err := w.d.Enter(&t.dirs, w.root, above, name, dir, true)
	if err != nil {
		return false, w.d.PullDamage("reading the directory", dir, err)
	}
	defer l.Close()
	empty, lost := true, false
	for _, entry := range l.Entries {
		removed, err := t.visit(l, path.Join(dir, entry.Name()), entry, depth)
		if err != nil {
			return false, err
		}
		empty, lost = empty && removed, lost || removed
		if !removed && w.dirs.vfat {
			w.dirs.capacityOf(dir).add(entry.Name())
		}
	}
	if !lost {
		return empty, nil
	}
	return empty, w.d.PullDamage("removing from", dir, w.fsync(dir))
}

// visit looks at one entry. A listed entry that is no file of the listed size stays until a
// generation without it is committed, but counts as absent.
func (t *garbage) visit(l *drive.Level, name string, entry *listing.Entry,
	depth int) (removed bool, err error) {
	w, key := t.w, layout.FoldName(name)
	if entry.IsDir() {
		empty, err := t.walk(l, entry.Name(), name, depth+1)
		if err != nil || !empty || t.needed[key] || !t.removable(name) ||
			!w.as.HasLeftovers() && w.as != drive.Empty {
			return false, err
		}
		delete(w.dirs.made, name)
		return true, w.d.PullDamage("removing", name, w.remove("rmdir", w.root, name))
	}
	if want, ok := t.listed[key]; ok {
		t.seen[key] = entry.IsRegular() && entry.Size() == want
		return false, nil
	}
	switch {
	case name == layout.ManifestFile || name == layout.NextManifestFile ||
		name == layout.PackagesFile:
		return false, nil
	case name == layout.OwnerFile && w.as == drive.Begun:
		w.noted = drive.OwnerOf(w.d, w.o.Dir, w.ring()) != "" // till something is committed
		if w.noted {
			return false, nil
		}
	case name == layout.ProbeFile && w.as == drive.Begun && hasPassed(w):
		w.probed, w.passed = true, true
		return false, nil
	case layout.MadeHere(name) && w.as.HasLeftovers():
	default:
		t.stay(name)
		return false, nil
	}
	if err := w.remove("unlink", w.root, name); err != nil {
		return true, w.d.PullDamage("removing", name, err)
	}
	if w.o.Leftover != nil {
		w.o.Leftover(name)
	}
	return true, nil
}

// removable tells the directories that go when they are empty: those that the layout makes and that
// need not last, and those in the place of a file of ours, or below it.
func (t *garbage) removable(dir string) bool {
	if layout.MadeDir(dir) {
		return !layout.Lasting(dir) || t.isStale(dir)
	}
	for at := dir; at != "."; at = path.Dir(at) {
		if _, listed := t.listed[layout.FoldName(at)]; listed || layout.MadeHere(at) {
			return true
		}
	}
	return false
}

// isStale tells the directories that would last, and that a pull may have left without space of
// their own: those that were not there when something was committed. FAT looks for the chain of a
// directory, so that such a one is damage there.
func (t *garbage) isStale(dir string) bool {
	return strings.Contains(dir, "/") && (t.w.stale || t.w.dirs.vfat && t.w.committed == nil)
}

// stay keeps a file that is not of this generation: nothing gets its name.
func (t *garbage) stay(name string) {
	w := t.w
	w.others = append(w.others, name)
	if w.o.Foreign != nil && !(w.as == drive.Broken && layout.MadeHere(name)) {
		w.o.Foreign(name)
	}
}

// outlived are the files that nobody could tell the list of, once a generation has replaced them.
// They count as others no longer.
func outlived(w *Writer) (names []string) {
	if w.as != drive.Broken || w.committed == nil || len(w.uncommitted)+len(w.places.reserved) > 0 {
		return nil
	}
	w.others = slices.DeleteFunc(w.others, func(name string) bool {
		_, listed := w.listed[name]
		if !listed && layout.MadeHere(name) {
			names = append(names, name)
		}
		return listed || layout.MadeHere(name)
	})
	return names
}

// On FAT a name may be on the medium and its clusters free there: a pull can leave it so until the
// next flush. While nothing is committed in an origin that is true of all that is in it, the files
// that a first export begins with among them. The next file gets those clusters; then the copies of
// the manifest are overwritten in place, and the note of the owner is removed, and the file is
// damaged. So a first export that goes on with one that was pulled begins anew.

// beginAnew removes what a pulled first export began with, when its other leftovers are gone. The
// owner's note goes first: without it, and without files, the directory is anybody's.
func beginAnew(w *Writer) error {
	fat := w.dirs.vfat || w.stale
	switch {
	case !fat || w.committed != nil:
		return nil
	case w.root == nil:
		return removeLoose(w)
	case w.as != drive.Begun && w.as != drive.Empty:
		return nil
	}
	for _, file := range []string{layout.ProbeFile, layout.OwnerFile, layout.PackagesFile,
		layout.NextManifestFile, layout.ManifestFile} {
		if _, err := w.root.Lstat(file); errors.Is(err, fs.ErrNotExist) && w.d.Present() {
			continue
		}
		if err := w.remove("unlink", w.root, file); err != nil {
			return w.d.PullDamage("removing", file, err)
		}
		if dir := path.Dir(file); dir != "." {
			if err := w.fsync(dir); err != nil {
				return w.d.PullDamage("removing from", dir, err)
			}
		}
	}
	w.tested, w.noted, w.passed = w.passed, false, false
	for _, dir := range append(slices.Clone(layout.OriginDirs), ".") {
		if err := removeIfEmpty(w, dir); err != nil {
			return w.d.PullDamage("removing", path.Join(w.o.Dir, dir), err)
		}
	}
	w.remember()
	return removeLoose(w)
}

// removeLoose removes what the pulled export has put beside the origins: the keys unless another
// origin was signed with one of them, README.txt while there is no other origin.
func removeLoose(w *Writer) error {
	origins, err := w.d.Origins()
	if err != nil {
		return w.d.PullDamage("reading", layout.TreeDir, err)
	}
	others, own := 0, false
	for _, dir := range origins {
		if dir != w.o.Dir {
			best, _ := w.d.PastCopies(dir, w.ring())
			others, own = others+1, own || best.Signed != nil
		}
	}
	var dirs []string
	for name := range layout.LooseFiles(w.ring()) {
		_, err := w.d.Root().Lstat(name)
		if err != nil || name == layout.ReadmeFile && others > 0 || own {
			continue
		}
		if err := w.remove("unlink", w.d.Root(), name); err != nil {
			return w.d.PullDamage("removing", name, err)
		}
		dirs = append(dirs, path.Dir(name))
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := w.syncDir(dir); err != nil {
			return w.d.PullDamage("removing from", dir, err)
		}
	}
	return nil
}

// removeIfEmpty removes a directory of the origin, or the origin's, and makes that durable. One
// with somebody's files stays.
func removeIfEmpty(w *Writer, dir string) error {
	if dir != "." && !w.dirs.made[dir] {
		return nil
	}
	if err := w.fsync(dir); err != nil {
		return err
	}
	var err error
	if dir == "." {
		err = w.remove("rmdir", w.d.Root(), w.o.Dir)
	} else {
		err = w.remove("rmdir", w.root, dir)
	}
	switch {
	case errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST):
		return nil
	case err != nil:
		return err
	case dir != ".":
		delete(w.dirs.made, dir)
		delete(w.dirs.capacities, dir)
		return w.fsync(".")
	}
	w.root.Close()
	w.root = nil
	clear(w.dirs.made)
	clear(w.dirs.capacities)
	return w.syncDir(".")
}
