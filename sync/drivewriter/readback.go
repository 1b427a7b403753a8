package drivewriter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"sync"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/progress"
)

// Step 8 of the order, and what it needs before: a drive that is smaller than
// it claims destroys earlier files while later ones read back right. So a sample
// of the old files is read before anything is written, and what was right then
// is read again before the commit. A file of the sample that is wrong at
// the beginning is no sign of that; it has to be written again.

// readOnce reads the origin's file through a function that gets a reader of
// the medium.
func (s *session) readOnce(name string, read func(io.Reader) error) error {
	f, err := drive.OpenMedium(s.root, name)
	if err != nil {
		return s.d.Classify("reading back", name, err)
	}
	defer f.Close()
	return s.d.Classify("reading back", name, read(f))
}

// lostIfWrong ends the session if the medium was found wrong or could not be
// read; a canceled comparison ends nothing.
func (s *session) lostIfWrong(err error) error {
	var wrong *drive.ReadBackError
	var gone *drive.GoneError
	if errors.As(err, &wrong) || errors.As(err, &gone) {
		return s.ended.with(err)
	}
	return err
}

// compareFile reads a file from the medium and compares it. old tells that an earlier generation
// had it. One half of buf, which is an aligned one, is hashed while the other is read.
func (s *session) compareFile(ctx context.Context, want written, old bool, buf []byte) error {
	hash := digest.New(digest.BLAKE2B)
	var got blockSums
	halves := [2][]byte{buf[:len(buf)/2], buf[len(buf)/2:]}
	err := s.readOnce(want.Path, func(r io.Reader) error {
		var hashing sync.WaitGroup // of a piece, while the next one is read
		defer hashing.Wait()
		for i := 0; ; i++ {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			n, err := r.Read(halves[i%2])
			hashing.Wait()
			take := func(piece []byte) {
				hash.Write(piece)
				got.Write(piece)
			}
			if piece := halves[i%2][:n]; n < teeFrom {
				take(piece)
			} else {
				hashing.Go(func() { take(piece) })
			}
			s.progress(progress.PhaseReadBack, want.Path, int64(n))
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
			Reason: "it has " + strconv.FormatInt(sums.Size, 10) + " bytes instead of " +
				strconv.FormatInt(want.Size, 10)}
	case sums.Blake2b != want.Sum:
		return &drive.ReadBackError{Path: want.Path,
			Offset: firstWrong(want.blocks, got.end()), Old: old,
			Reason: "the medium has other bytes than were written"}
	}
	return nil
}

// firstWrong finds the first piece that differs.
func firstWrong(want, got []uint32) int64 {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return int64(i) * blockSize
		}
	}
	return -1
}

// compareCopies reads what the commit wrote in place once more from the medium.
func (s *session) compareCopies(listed []byte, packages written) error {
	for _, own := range []struct {
		name string
		text []byte
	}{{layout.ManifestFile, listed}, {layout.NextManifestFile, listed}} {
		want := padded{text: own.text}
		err := s.readOnce(own.name, func(r io.Reader) error {
			_, err := io.CopyBuffer(&want, r, drive.AlignedBuffer())
			return err
		})
		if err != nil {
			return s.lostIfWrong(err)
		}
		if offset := want.wrong(); offset >= 0 {
			return s.ended.with(&drive.ReadBackError{Path: own.name, Offset: offset,
				Reason: "the medium has other bytes than were written"})
		}
	}
	return s.lostIfWrong(s.compareFile(context.Background(), packages, false,
		drive.AlignedBuffer()))
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
