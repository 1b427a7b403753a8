package drivewriter

import (
	"context"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/progress"
)

// Commit does steps 7 to 11 and returns the new generation, which is then the
// committed one. If an error comes with a generation, it is committed, and what was
// left undone (Manifest, Packages, removals) the next Begin does.
//
// A canceled ctx is looked at until the first manifest copy is written, and again
// between the removals of step 11, of which there may be many. A Commit that
// failed before needs another serial when it is tried again.
// The generation is open until the next Commit or Close.
func (w *Writer) Commit(ctx context.Context, c Contents) (*drive.Generation, error) {
	if err := w.ended.cause(); err != nil {
		return nil, err
	}
	if err := w.Prepare(ctx, nil); err != nil {
		return nil, err
	}
	files, err := w.compose(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := w.padAll(ctx, files); err != nil {
		return nil, err
	}
	w.progress(progress.PhaseFlush, "", 0)
	if err := w.flush(); err != nil {
		return nil, err
	}
	if err := w.compare(ctx, files.signed); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := w.commit(files); err != nil {
		return nil, err
	}
	return w.committed, w.after(ctx, files)
}

// padAll lets Packages and Manifest.next grow where they are outgrown, as
// long as nothing depends on them, and sees to it that Manifest can after the
// commit.
func (w *Writer) padAll(ctx context.Context, files *generationFiles) error {
	need := int64(len(files.text))
	if err := w.pad(ctx, layout.NextManifestFile, need); err != nil {
		return err
	}
	size, err := w.size(layout.PackagesFile)
	if err != nil {
		return err
	}
	switch wanted := files.packages.Size; {
	case size < wanted:
		err = w.extend(ctx, layout.PackagesFile, size, wanted)
	case size > wanted:
		err = w.shorten(layout.PackagesFile, wanted)
	}
	if err != nil {
		return err
	}
	if size, err = w.size(layout.ManifestFile); err != nil || size >= need {
		return err
	}
	space, err := w.d.Space()
	if err != nil {
		return w.end("looking at", w.o.Dir, err)
	}
	if more := paddedCopySize(need) - size; space.Free < more {
		return &drive.SpaceError{Path: layout.ManifestFile, Need: more, Free: space.Free}
	}
	return nil
}

// commit is step 9: Manifest.next in place, and its fsync is the commit. From
// then on the session stands on the new generation.
func (w *Writer) commit(files *generationFiles) error {
	w.progress(progress.PhaseCommit, "", 0)
	if err := w.overwrite(layout.NextManifestFile, content(files.text)); err != nil {
		return err
	}
	gen, err := drive.NewGeneration(w.d, drive.Generation{Dir: w.o.Dir, Signed: files.signed,
		Record: files.record, Sum: digest.Bytes(files.text),
		File: layout.NextManifestFile, Other: drive.CopyState{Name: layout.ManifestFile,
			Serial: w.serial}}, files.items)
	if err != nil {
		return w.end("opening", w.o.Dir, err)
	}
	if w.committed != nil {
		w.committed.Close()
	}
	w.committed = gen
	w.serial = files.serial
	return nil
}

// after is what follows the commit: Manifest likewise, step 10, step 11, and
// the last look at the manifest copies.
func (w *Writer) after(ctx context.Context, files *generationFiles) error {
	if err := w.pad(context.WithoutCancel(ctx), layout.ManifestFile,
		int64(len(files.text))); err != nil {
		return w.ended.with(err)
	}
	if err := w.overwrite(layout.ManifestFile, content(files.text)); err != nil {
		return err
	}
	w.committed.Other.Serial = files.serial
	if err := w.derive(files.index); err != nil {
		return err
	}
	if err := w.discard(ctx, files.signed); err != nil {
		return err
	}
	if w.o.NoReadBack {
		return nil
	}
	return w.compareCopies(files.text, files.packages)
}

// discard is step 11: what only the old generation listed, and what was given
// up, goes.
func (w *Writer) discard(ctx context.Context, signed *manifest.Signed) error {
	gone := w.orphans
	for name := range w.listed {
		if _, ok := signed.Find(name); !ok {
			gone = append(gone, name)
		}
	}
	for name := range w.uncommitted {
		if _, ok := signed.Find(name); !ok {
			gone = append(gone, name)
		}
	}
	clear(w.listed)
	for _, f := range signed.Files {
		w.listed[f.Path] = f
		if _, ok := w.uncommitted[f.Path]; ok && !w.o.NoReadBack {
			w.checked[f.Path] = true
		}
	}
	clear(w.uncommitted)
	gone = append(gone, outlived(w)...)
	if w.noted { // the list tells the owner now
		gone, w.noted = append(gone, layout.OwnerFile), false
	}
	if w.passed {
		gone, w.passed = append(gone, layout.ProbeFile), false
	}
	w.orphans, w.absent = nil, nil
	if err := w.unlinkAll(ctx, gone); err != nil {
		return err
	}
	w.remember()
	return nil
}
