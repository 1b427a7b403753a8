package drivewriter

import (
	"context"
	"fmt"
	"path"
	"slices"

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
		if err != nil || !empty || t.needed[key] || !t.removable(name) || !w.as.HasLeftovers() {
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
		return !layout.Lasting(dir)
	}
	for at := dir; at != "."; at = path.Dir(at) {
		if _, listed := t.listed[layout.FoldName(at)]; listed || layout.MadeHere(at) {
			return true
		}
	}
	return false
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
