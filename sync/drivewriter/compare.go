package drivewriter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
)

// Step 8 of the order, and what it needs before: a drive that is smaller than
// it says destroys earlier files while later ones read back right. So a sample
// of the old files is read before anything is written, and what was right then
// is read again before the commit. A file of the sample that is wrong at
// the beginning is no sign of that; it has to be written again.

// readOnce reads the origin's file through a function that gets a reader of
// the medium.
func (w *Writer) readOnce(name string, read func(io.Reader) error) error {
	f, err := drive.OpenMedium(w.root, name)
	if err != nil {
		return w.d.Explain("reading back", name, err)
	}
	defer f.Close()
	return w.d.Explain("reading back", name, read(f))
}

// compare is step 8: every new file and a sample of the old ones are read from
// the medium. A drive that is smaller than it says destroys earlier files
// while later ones read back right.
func (w *Writer) compare(ctx context.Context, signed *manifest.Signed) error {
	if w.o.NoReadBack {
		return nil
	}
	names := make([]string, 0, len(w.fresh))
	for name := range w.fresh {
		names = append(names, name)
	}
	slices.Sort(names)
	buf := drive.AlignedBuffer()
	for _, name := range names {
		if err := w.compareFile(ctx, w.fresh[name], false, buf); err != nil {
			return w.lostIfWrong(err)
		}
	}
	for _, f := range w.sample(slices.Sorted(maps.Keys(w.proven))) {
		if _, stays := signed.Find(f.Path); !stays {
			continue
		}
		if err := w.compareFile(ctx, written{File: f}, true, buf); err != nil {
			return w.lostIfWrong(err)
		}
	}
	return nil
}

// lostIfWrong ends the session if the medium was found wrong or could not be
// read; a canceled comparison ends nothing.
func (w *Writer) lostIfWrong(err error) error {
	var wrong *drive.ReadBackError
	var gone *drive.GoneError
	if errors.As(err, &wrong) || errors.As(err, &gone) {
		return w.ended.with(err)
	}
	return err
}

// proveLayout compares layout.conf, which is small and without which Portage finds no distfile on
// the drive. A changed one is written again.
func (w *Writer) proveLayout(ctx context.Context) error {
	if w.held == nil {
		return nil
	}
	right, err := w.held.Matches(ctx, layout.LayoutFile)
	if at, absent := slices.BinarySearch(w.absent, layout.LayoutFile); err == nil && !right && !absent {
		w.absent = slices.Insert(w.absent, at, layout.LayoutFile)
	}
	return err
}

// prove reads a sample of the held generation's files.
func (w *Writer) prove(ctx context.Context) error {
	if err := w.proveLayout(ctx); err != nil || w.held == nil || w.o.NoReadBack {
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
			w.proven[f.Path] = true
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
	sampleFile  = 16 << 20 // a larger file says no more
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

func (w *Writer) compareFile(ctx context.Context, want written, old bool, buf []byte) error {
	hash := digest.New(digest.BLAKE2B)
	var got marks
	err := w.readOnce(want.Path, func(r io.Reader) error {
		for {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			n, err := r.Read(buf)
			hash.Write(buf[:n])
			got.Write(buf[:n])
			w.o.Progress(Comparing, want.Path, int64(n))
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	sums := hash.Sum()
	switch {
	case sums.Size != want.Size:
		return &drive.ReadBackError{Path: want.Path, Offset: min(sums.Size, want.Size), Old: old,
			Reason: "it has " + strconv.FormatInt(sums.Size, 10) + " bytes instead of " + strconv.FormatInt(want.Size, 10)}
	case sums.Blake2b != want.Sum:
		return &drive.ReadBackError{Path: want.Path, Offset: firstWrong(want.marks, got.end()), Old: old,
			Reason: "the medium has other bytes than were written"}
	}
	return nil
}

// firstWrong finds the first piece that differs.
func firstWrong(want, got []uint32) int64 {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return int64(i) * markSize
		}
	}
	return -1
}

// compareSlots reads what the commit wrote in place once more from the medium.
func (w *Writer) compareSlots(files *generationFiles) error {
	if w.o.NoReadBack {
		return nil
	}
	for _, own := range []struct {
		name string
		text []byte
	}{{layout.Slot, files.text}, {layout.NextSlot, files.text}} {
		want := padded{text: own.text}
		err := w.readOnce(own.name, func(r io.Reader) error {
			_, err := io.CopyBuffer(&want, r, drive.AlignedBuffer())
			return err
		})
		if err != nil {
			return w.lostIfWrong(err)
		}
		if offset := want.wrong(); offset >= 0 {
			return w.ended.with(&drive.ReadBackError{Path: own.name, Offset: offset, Reason: "the medium has other bytes than were written"})
		}
	}
	return w.lostIfWrong(w.compareFile(context.Background(), files.packages, false, drive.AlignedBuffer()))
}

// padded compares what is written to it with a text that newlines follow.
type padded struct {
	text  []byte
	at    int64
	fault int64 // 1 more than the offset of the first wrong byte, 0 for none
}

func (c *padded) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && c.fault == 0; {
		want := newlines
		if c.at < int64(len(c.text)) {
			want = c.text[c.at:]
		}
		n := min(len(rest), len(want))
		if !bytes.Equal(rest[:n], want[:n]) {
			for rest[0] == want[0] {
				c.at, rest, want = c.at+1, rest[1:], want[1:]
			}
			c.fault = c.at + 1
			break
		}
		c.at, rest = c.at+int64(n), rest[n:]
	}
	return len(p), nil
}

// wrong returns the offset of the first wrong or missing byte, -1 if there is none.
func (c *padded) wrong() int64 {
	switch {
	case c.fault > 0:
		return c.fault - 1
	case c.at < int64(len(c.text)):
		return c.at
	}
	return -1
}
