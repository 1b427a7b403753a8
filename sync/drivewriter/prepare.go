package drivewriter

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/volume"
)

// Prepare does steps 4 and 5 of the order for files that will be put: the first
// export's foundation and the probe of the drive, a name for each file, and
// every directory, so that none has to be made between the payload. It may be called again; what is
// put without it is prepared by itself, at the price of a flush each.
func (w *Writer) Prepare(ctx context.Context, files []NewFile) error {
	if err := w.ended.cause(); err != nil {
		return err
	}
	if err := w.initialise(ctx, len(files)); err != nil {
		return err
	}
	if err := w.probe(ctx); err != nil {
		return err
	}
	for i, f := range files {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.places.reserve(f); err != nil {
			return err
		}
	}
	return w.places.makeDirs(ctx)
}

// initialise is step 4, for the first export: directories, both manifest copies and Packages,
// with padding, before any payload.
func (w *Writer) initialise(ctx context.Context, files int) error {
	if err := w.initOrigin(); err != nil {
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
		size int64
	}{
		{layout.ManifestFile, paddedCopySize(int64(files) * line)},
		{layout.NextManifestFile, paddedCopySize(int64(files) * line)},
		{layout.PackagesFile, paddedSize(int64(files) * entry)},
	} {
		size, err := w.size(file.name)
		if err != nil {
			return err
		}
		if size == 0 {
			if err := w.extend(ctx, file.name, 0, file.size); err != nil {
				return err
			}
			made = true
		}
	}
	if made {
		if err := w.flush(); err != nil {
			return err
		}
	}
	return noteOwner(w)
}

// noteOwner sees to it that the drive has the owner of the first export before anything of it lies
// there, so that no other key takes it for its own, and no leftover of it for somebody else's.
func noteOwner(w *Writer) error {
	if w.committed != nil || w.noted || w.as == drive.Committed || w.as == drive.Broken {
		return nil
	}
	text, err := drive.OwnerNote(w.o.Key, w.o.Now)
	if err != nil {
		return err
	}
	// somebody else's, who wrote no more than that
	for _, name := range []string{layout.OwnerFile, layout.ProbeFile} {
		if _, err := w.root.Lstat(name); err != nil || w.passed && name == layout.ProbeFile {
			continue
		}
		if err := w.remove("unlink", w.root, name); err != nil {
			return err
		}
		if err := w.fsync(layout.GenerationDir); err != nil {
			return err
		}
	}
	f, err := w.create(w.root, layout.OwnerFile, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.do("write", layout.OwnerFile, func() error {
		_, err := f.Write(text)
		return err
	}); err != nil {
		return err
	}
	w.noted = true
	return w.flush()
}

// initOrigin makes the origin's directory and those in it, with capacity for
// their names. A pulled first export may have made some of them.
func (w *Writer) initOrigin() error {
	if w.root == nil {
		if err := w.dirs.preallocateTree(); err != nil {
			return err
		}
		if err := w.mkdirTree(w.o.Dir); err != nil {
			return err
		}
		root, err := w.d.Root().OpenRoot(w.o.Dir)
		if err != nil {
			return w.end("opening", w.o.Dir, err)
		}
		w.root, w.dirs.made["."] = root, true
	}
	if err := w.dirs.preallocate("."); err != nil {
		return err
	}
	for _, dir := range layout.OriginDirs {
		if w.dirs.made[dir] {
			continue
		}
		if err := w.dirs.mkdir(dir); err != nil {
			return err
		}
		w.dirs.capacityOf(".").add(dir)
	}
	return nil
}

// Offers reports whether README.txt and the keys lie on the drive as an export would put them
// there. On a drive that is mounted read-only nothing is missed.
func Offers(d *drive.Drive, ring manifest.Ring) bool {
	for name, data := range layout.LooseFiles(ring) {
		if old, err := d.ReadAll(d.Root(), name, 1<<20); !d.ReadOnly() &&
			(err != nil || string(old) != string(data)) {
			return false
		}
	}
	return true
}

// loose writes what lies beside the origins: copies for people, which stop nothing.
func (w *Writer) loose() error {
	told := w.o.Beside
	if told == nil {
		told = func(string, error) {}
	}
	files := layout.LooseFiles(w.ring())
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if old, err := w.d.ReadAll(w.d.Root(), name, 1<<20); err == nil &&
			bytes.Equal(old, files[name]) {
			continue
		}
		var err error
		if dir := path.Dir(name); dir != "." {
			err = w.mkdirTree(dir)
		}
		if err == nil {
			err = w.writeLoose(name, files[name])
		}
		if w.ended.cause() != nil {
			return err
		}
		told(name, err)
	}
	return nil
}

// probe does nothing but on the first export to a drive: a mounted device on
// which nobody has committed anything.
func (w *Writer) probe(ctx context.Context) error {
	if w.tested && w.noted && w.committed == nil {
		w.tested = false
		space, err := w.d.Space()
		if err != nil {
			return w.end("looking at", w.o.Dir, err)
		}
		return notePassed(w, space)
	}
	if w.probed || w.o.NoReadBack || !w.isDrive() {
		return nil
	}
	w.probed = true
	if used, err := used(w.d); used || err != nil {
		return err
	}
	space, err := w.d.Space()
	if err != nil {
		return w.end("looking at", w.o.Dir, err)
	}
	err = runProbe(ctx, w.session, planProbe(spreadingOf(w.d.FSType(), kernelSince(6, 8)), space))
	if err == nil && w.committed == nil && w.noted {
		err = notePassed(w, space)
	}
	return err
}

// passedNote is the note that the probe of a drive was passed. It names the drive's size: a copy of
// the file system on a smaller one has not been probed.
func passedNote(space volume.Space) []byte {
	return fmt.Appendf(nil, "the capacity of this drive was tested: %d bytes\n", space.Total)
}

// notePassed lets a drive that has passed bear a note of it until something is committed.
func notePassed(w *Writer, space volume.Space) error {
	f, err := w.create(w.root, layout.ProbeFile, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.do("write", layout.ProbeFile, func() error {
		_, err := f.Write(passedNote(space))
		return err
	}); err != nil {
		return err
	}
	w.passed = true
	return w.flush()
}

// hasPassed reports whether the note lies there.
func hasPassed(w *Writer) bool {
	space, err := w.d.Space()
	if err != nil {
		return false
	}
	text, err := w.d.ReadAll(w.root, layout.ProbeFile, 1<<10)
	return err == nil && bytes.Equal(text, passedNote(space))
}
