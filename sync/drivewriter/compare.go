package drivewriter

import (
	"context"
	"errors"
	"maps"
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pipeline"
)

// compare is step 8: every new file and a sample of the old ones are read from
// the medium. A drive that is smaller than it claims destroys earlier files
// while later ones read back right.
func (w *Writer) compare(ctx context.Context, signed *manifest.Signed) error {
	if w.o.NoReadBack {
		return nil
	}
	names := make([]string, 0, len(w.uncommitted))
	for name := range w.uncommitted {
		names = append(names, name)
	}
	slices.Sort(names)
	buf := drive.AlignedBuffer()
	if err := compareNew(ctx, w, names, buf); err != nil {
		return w.lostIfWrong(err)
	}
	for _, f := range w.sample(slices.Sorted(maps.Keys(w.checked))) {
		if _, stays := signed.Find(f.Path); !stays {
			continue
		}
		if err := w.compareFile(ctx, written{File: f}, true, buf); err != nil {
			return w.lostIfWrong(err)
		}
	}
	return nil
}

// sideBySide is how many small files are compared at the same time: one is opened and hashed while
// the drive, which does one thing at a time, reads the other.
const sideBySide = 2

// compareNew compares files that were written since the last commit: small ones side by side, then
// the others, one after the other, for the sake of drives with heads that move.
func compareNew(ctx context.Context, w *Writer, names []string, buf []byte) error {
	var small, large []string
	for _, name := range names {
		if w.uncommitted[name].Size < int64(len(buf)/2) {
			small = append(small, name)
		} else {
			large = append(large, name)
		}
	}
	bufs := make(chan []byte, sideBySide)
	bufs <- buf
	for range sideBySide - 1 {
		bufs <- drive.AlignedBuffer()
	}
	err := pipeline.Ordered(ctx, len(small), sideBySide, pipeline.Window,
		func(ctx context.Context, i int) error {
			buf := <-bufs
			defer func() { bufs <- buf }()
			return w.compareFile(ctx, w.uncommitted[small[i]], false, buf)
		}, func(_ int, err error) error { return err }, func(error) {})
	for i := 0; i < len(large) && err == nil; i++ {
		err = w.compareFile(ctx, w.uncommitted[large[i]], false, buf)
	}
	return err
}

// checkLayout compares layout.conf, which is small and without which Portage finds no distfile on
// the drive. A changed one is written again.
func (w *Writer) checkLayout() error {
	at, absent := slices.BinarySearch(w.absent, layout.LayoutFile)
	want, listed := w.listed[layout.LayoutFile]
	if absent || !listed && !slices.Contains(w.others, layout.LayoutFile) {
		return nil
	}
	data, err := w.d.ReadAll(w.root, layout.LayoutFile, 1<<10)
	if drive.Unanswered(err) {
		return err
	}
	if !listed { // as of now the only file that can be kept of a list that cannot be read
		want = manifest.File{Path: layout.LayoutFile, Size: int64(len(layout.Layout)),
			Sum: digest.Bytes([]byte(layout.Layout))}
		w.listed[layout.LayoutFile] = want
	}
	if err != nil || digest.Bytes(data) != want.Sum {
		w.absent = slices.Insert(w.absent, at, layout.LayoutFile)
	}
	return nil
}

// spotCheck reads a sample of the committed generation's files.
func (w *Writer) spotCheck(ctx context.Context) error {
	if err := w.checkLayout(); err != nil || w.committed == nil || w.o.NoReadBack {
		return err
	}
	var names []string
	for name := range w.listed {
		_, absent := slices.BinarySearch(w.absent, name)
		if _, _, payload := layout.KindOf(name); payload && !absent {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	buf := drive.AlignedBuffer()
	for _, f := range w.sample(names) {
		err := w.compareFile(ctx, written{File: f}, true, buf)
		var wrong *drive.ReadBackError
		var gone *drive.GoneError
		switch {
		case err == nil:
			w.checked[f.Path] = true
		case errors.As(err, &wrong), errors.As(err, &gone) && !gone.Vanished:
			// Nothing was written yet that could be lost: the session goes on.
			w.absent = append(w.absent, f.Path)
		default:
			return err
		}
	}
	slices.Sort(w.absent)
	return nil
}

// Bounds of a sample.
const (
	sampleFiles = 64
	sampleBytes = 64 << 20
	sampleFile  = 16 << 20 // a larger file proves no more
)

// sample chooses listed files at even distances, others in each generation.
func (w *Writer) sample(names []string) []manifest.File {
	step := max(1, len(names)/sampleFiles)
	var chosen []manifest.File
	var sum int64
	for i := int(w.serial % int64(step)); i < len(names) && len(chosen) < sampleFiles; i += step {
		f, listed := w.listed[names[i]]
		if !listed || f.Size > sampleFile || sum+f.Size > sampleBytes {
			continue
		}
		sum += f.Size
		chosen = append(chosen, f)
	}
	return chosen
}
