package drivewriter

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
)

// splitter writes a file, or its parts one after the other.
type splitter struct {
	s          *session
	ctx        context.Context
	names      []string
	limit      int64 // bytes of a part
	keepBlocks bool  // for the read-back
	mode       fs.FileMode
	whole      *digest.Hash
	done       []written
	err        error

	file   *os.File // the part at hand
	size   int64
	window fileWindow
	part   *digest.Hash // nil if there is one name only
	blocks blockSums
}

func (s *splitter) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 && s.err == nil {
		if s.err = context.Cause(s.ctx); s.err != nil {
			break
		}
		if s.err = s.open(); s.err != nil {
			break
		}
		n := min(int64(len(p)), s.limit-s.size, syncEvery)
		if s.err = s.write(p[:n]); s.err != nil {
			break
		}
		total, p = total+int(n), p[n:]
	}
	return total, s.err
}

// open makes the next part when there is none at hand or it is full.
func (s *splitter) open() error {
	if s.file != nil && s.size < s.limit {
		return nil
	}
	if err := s.closePart(); err != nil {
		return err
	}
	if len(s.done) == len(s.names) {
		return fmt.Errorf("writing %q: it is longer than was planned", s.names[0])
	}
	f, err := s.s.create(s.s.root, s.names[len(s.done)], s.mode)
	if err != nil {
		return err
	}
	s.file, s.size, s.blocks, s.window = f, 0, blockSums{}, fileWindow{}
	if len(s.names) > 1 {
		s.part = digest.New(digest.BLAKE2B)
	}
	return nil
}

func (s *splitter) write(p []byte) error {
	name := s.names[len(s.done)]
	hashed := s.sum(p)
	err := s.s.do("write", name, func() error {
		_, err := s.file.Write(p)
		return err
	})
	hashed()
	if err != nil {
		return err
	}
	s.size += int64(len(p))
	if err := s.s.window.wrote(s.file, name, s.size, &s.window); err != nil {
		return s.s.ended.with(s.s.end("writing", name, err))
	}
	return nil
}

// teeFrom is the length of a write from which it is hashed while it is written.
const teeFrom = 64 << 10

// sum hashes what is written, and returns a function that waits for it.
func (s *splitter) sum(p []byte) (wait func()) {
	hash := func() {
		s.whole.Write(p)
		if s.part != nil {
			s.part.Write(p)
		}
		if s.keepBlocks {
			s.blocks.Write(p)
		}
	}
	if len(p) < teeFrom {
		return hash
	}
	var beside sync.WaitGroup
	beside.Go(hash)
	return beside.Wait
}

// finish closes the last part; an empty file is one too.
func (s *splitter) finish() error {
	if s.file == nil && len(s.done) == 0 {
		if err := s.open(); err != nil {
			return err
		}
	}
	return s.closePart()
}

func (s *splitter) closePart() error {
	if s.file == nil {
		return nil
	}
	f, name := s.file, s.names[len(s.done)]
	s.file = nil
	sum := s.whole.Sum().Blake2b
	if s.part != nil {
		sum = s.part.Sum().Blake2b
	}
	s.done = append(s.done, written{
		File:   manifest.File{Path: name, Size: s.size, Sum: sum},
		blocks: s.blocks.end(),
	})
	if err := s.s.window.finished(f, name, s.size, &s.window); err != nil {
		return s.s.ended.with(s.s.end("writing", name, err))
	}
	return nil
}

// giveUp returns the names of what was written, which is left to the next commit's removal.
func (s *splitter) giveUp() (written []string) {
	_ = s.window.last.wait()
	if s.file != nil {
		s.file.Close()
		written = append(written, s.names[len(s.done)])
		s.file = nil
	}
	for _, done := range s.done {
		written = append(written, done.Path)
	}
	return written
}
