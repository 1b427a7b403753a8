package drivewriter

import (
	"context"
	"errors"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
)

// NewFile is a file that shall be put on the drive.
type NewFile struct {
	Kind     layout.Kind
	Path     string // the origin's: below PKGDIR, in DISTDIR, below bin
	Size     int64  // bytes
	Category string // of a package below All, whose path does not tell it; "" if not known
}

// Prepare does steps 4 and 5 of the order for files that will be put: the first
// export's foundation and the probe of the drive, a name for each file, and
// every directory, so that none has to be made between the payload. It may be called again; what is put
// without it is prepared by itself, at the price of a flush each.
func (w *Writer) Prepare(ctx context.Context, files []NewFile) error {
	if err := w.ended.cause(); err != nil {
		return err
	}
	if err := w.found(ctx, len(files)); err != nil {
		return err
	}
	if err := w.probe(ctx); err != nil {
		return err
	}
	for i, f := range files {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.reserve(f); err != nil {
			return err
		}
	}
	return w.makeDirs(ctx)
}

// found is step 4, for the first export: directories, both slots and Packages,
// with room, before any payload.
func (w *Writer) found(ctx context.Context, files int) error {
	if err := w.foundOrigin(); err != nil {
		return err
	}
	if err := w.loose(); err != nil {
		return err
	}
	const line = 320 // bytes of a line of the Manifest, generously
	const entry = 1200
	made := false
	for _, file := range []struct {
		name string
		room int64
	}{
		{layout.Slot, slotRoom(int64(files) * line)},
		{layout.NextSlot, slotRoom(int64(files) * line)},
		{layout.PackagesFile, roomFor(int64(files) * entry)},
	} {
		size, err := w.size(file.name)
		if err != nil {
			return err
		}
		if size == 0 {
			if err := w.extend(ctx, file.name, 0, file.room); err != nil {
				return err
			}
			made = true
		}
	}
	if made {
		return w.flush()
	}
	return nil
}

// foundOrigin makes the origin's directory and those in it, with room for
// their names. A pulled first export may have made some of them.
func (w *Writer) foundOrigin() error {
	if w.root == nil {
		if err := w.growTree(); err != nil {
			return err
		}
		if err := w.mkdirTree(w.o.Dir); err != nil {
			return err
		}
		root, err := w.d.Root().OpenRoot(w.o.Dir)
		if err != nil {
			return w.end("opening", w.o.Dir, err)
		}
		w.root, w.dirs["."] = root, true
	}
	if err := w.grow("."); err != nil {
		return err
	}
	for _, dir := range layout.OriginDirs {
		if w.dirs[dir] {
			continue
		}
		if err := w.mkdir(dir); err != nil {
			return err
		}
		w.roomOf(".").add(dir)
	}
	return nil
}

// Offers says whether README.txt and the keys lie on the drive as an export would put them there. On a
// drive that is mounted read-only nothing is missed.
func Offers(d *drive.Drive, ring manifest.Ring) bool {
	for name, data := range layout.LooseFiles(ring) {
		if old, err := d.ReadAll(d.Root(), name, 1<<20); !d.ReadOnly() && (err != nil || string(old) != string(data)) {
			return false
		}
	}
	return true
}

// loose writes what lies beside the origins.
func (w *Writer) loose() error {
	if err := w.mkdirTree(layout.KeysDir); err != nil {
		return err
	}
	files := layout.LooseFiles(w.ring())
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.writeLoose(name, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// mkdirTree makes a directory beside the origins, unless it is there.
func (w *Writer) mkdirTree(dir string) error {
	if info, err := w.d.Root().Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	return w.do("mkdir", dir, func() error { return w.d.Root().Mkdir(dir, 0o755) })
}

func (w *Writer) writeLoose(name string, data []byte) error {
	old, err := w.d.ReadAll(w.d.Root(), name, 1<<20)
	if err == nil && string(old) == string(data) {
		return nil
	}
	return w.do("write", name, func() error {
		f, err := durable.OpenFile(w.d.Root(), name, os.O_WRONLY|os.O_CREATE, 0o644)
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

// reserve gives a file its stored names.
func (w *Writer) reserve(f NewFile) error {
	key := layout.Key{Kind: f.Kind, Path: f.Path}
	if reason := layout.OriginPathFault(f.Kind, f.Path); reason != "" {
		return &drive.NameError{Path: f.Path, Reason: reason, Err: errors.ErrUnsupported}
	}
	if _, known := w.reserved[key]; known {
		return nil
	}
	stored, err := w.choose(f)
	if err != nil {
		return err
	}
	for _, name := range stored {
		w.account(name)
		w.names.Take(name)
	}
	w.reserved[key] = stored
	return nil
}

// Bounds of the search for a name.
const (
	maxOverflow = 99
	maxTries    = 10_000
)

// choose finds the first free name of a file, or names of its parts.
func (w *Writer) choose(f NewFile) ([]string, error) {
	wanted := layout.WantedPath(f.Kind, f.Path)
	own := layout.PathFault(wanted) == "" && !strings.HasSuffix(wanted, layout.RenamedSuffix)
	for overflow := 1; overflow <= maxOverflow; overflow++ {
		for n := range maxTries {
			candidate, also := wanted, ""
			if n > 0 {
				candidate, also = layout.OtherPath(f.Kind, f.Path, f.Category, n)
			} else if !own {
				continue
			}
			if overflow > 1 {
				candidate, also = layout.OverflowPath(candidate, overflow), layout.OverflowPath(also, overflow)
			}
			stored, where := w.parts(candidate, f.Size)
			if where == layout.Taken || w.names.Has(also) {
				continue
			}
			if where == layout.Blocked {
				break
			}
			ok, err := w.canHoldAll(stored)
			if err != nil {
				return nil, err
			}
			if ok {
				return stored, nil
			}
			break // the directory is full
		}
	}
	return nil, &drive.NameError{Path: f.Path, Reason: "no free name was found for it", Err: errors.ErrUnsupported}
}

// parts returns the names for a file of that size at a path, if all are free.
func (w *Writer) parts(stored string, size int64) ([]string, layout.Place) {
	count := int((max(size, 1) + w.o.PartSize - 1) / w.o.PartSize)
	if count == 1 {
		name, where := w.names.Look(stored)
		return []string{name}, where
	}
	names := make([]string, count)
	for i := range names {
		name, where := w.names.Look(layout.PartPath(stored, i, count))
		if where != layout.Vacant {
			return nil, where
		}
		names[i] = name
	}
	return names, layout.Vacant
}

func (w *Writer) canHoldAll(stored []string) (bool, error) {
	for i, name := range stored {
		if ok, err := w.canHold(name, int64(i)+1); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// makeDirs is step 5: all new directories, grown on vfat, then everything to
// the medium. A directory that is pulled half made is unreadable, so none may
// be half made when payload follows.
func (w *Writer) makeDirs(ctx context.Context) error {
	need := make(map[string]bool)
	for _, stored := range w.reserved {
		for _, name := range stored {
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				need[dir] = true
			}
		}
	}
	for _, dir := range layout.OriginDirs {
		need[dir] = true
	}
	dirs := make([]string, 0, len(need))
	for dir := range need {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs) // a directory comes before what is in it
	changed := false
	for _, dir := range dirs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		made, err := w.makeDir(dir)
		if err != nil {
			return err
		}
		changed = changed || made
	}
	if !changed {
		return nil
	}
	w.o.Progress(Preparing, "", 0)
	return w.flush()
}

func (w *Writer) makeDir(dir string) (made bool, err error) {
	r := w.roomOf(dir)
	if w.dirs[dir] && (r.keep || r.planned == 0 && r.capacity >= 0 || !w.vfat) {
		return false, nil
	}
	if err := w.mkdir(dir); err != nil {
		return false, err
	}
	return true, w.grow(dir)
}
