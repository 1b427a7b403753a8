package drivewriter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
)

// padUnit is the least size of a manifest copy and of Packages, in bytes: made at the
// first export, so that they need not grow. A file that grows can read as an
// I/O error after a pull, because its size reaches the medium before its
// clusters do.
const padUnit = 1 << 20

// paddedSize is the size that a file with a text of n bytes gets: a quarter more, so that it grows
// seldom. All of it is written, and what grows is written twice.
func paddedSize(n int64) int64 {
	return max(1, (n+n/4+padUnit-1)/padUnit) * padUnit
}

// paddedCopySize is paddedSize, within what a reader takes.
func paddedCopySize(n int64) int64 {
	return max(n, min(paddedSize(n), manifest.MaxManifest))
}

// newlines is what lies behind the text of a manifest copy.
var newlines = bytes.Repeat([]byte{'\n'}, 64<<10)

// pad makes sure that the text of n bytes fits into a manifest copy without
// growing it: newlines are appended and made durable, as a change of its own,
// while the content of the copy stays readable.
func (s *session) pad(ctx context.Context, name string, n int64) error {
	size, err := s.size(name)
	if err != nil {
		return err
	}
	if size > manifest.MaxManifest { // no reader takes it, so it counts for nothing
		return s.shorten(name, paddedCopySize(n))
	}
	if size >= n && size > 0 {
		return nil
	}
	return s.extend(ctx, name, size, paddedCopySize(n))
}

// shorten cuts a file that somebody made larger than this package would.
func (s *session) shorten(name string, size int64) error {
	err := s.do("shorten", name, func() error {
		f, err := durable.OpenFile(s.root, name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Truncate(size), f.Close())
	})
	if err != nil {
		return err
	}
	return s.fsync(name)
}

// size returns the size of a file, 0 if there is none.
func (s *session) size(name string) (int64, error) {
	info, err := s.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) && s.d.Present() {
		return 0, nil
	}
	if err != nil {
		return 0, s.end("looking at", name, err)
	}
	if !info.Mode().IsRegular() {
		return 0, &drive.InTheWayError{Path: path.Join(s.dir, name)}
	}
	return info.Size(), nil
}

// extend appends newlines up to a size: syncfs first, so that the clusters are in the FAT before
// the file's own fsync. The newlines that a canceled extend has appended are made durable too; the
// padding is then less.
func (s *session) extend(ctx context.Context, name string, from, to int64) error {
	var stopped error
	err := s.do("extend", name, func() error {
		f, err := durable.OpenFile(s.root, name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if stopped, err = appendNewlines(ctx, f, from, to); err != nil {
			return err
		}
		return f.Close()
	})
	if err != nil {
		return err
	}
	if err := s.syncfs(); err != nil {
		return err
	}
	if err := s.fsync(name); err != nil {
		return err
	}
	return stopped
}

// appendNewlines leaves little dirty, so that a cancel takes effect soon.
func appendNewlines(ctx context.Context, f *os.File, from, to int64) (stopped, err error) {
	for at, sent := from, from; at < to; {
		if stopped := context.Cause(ctx); stopped != nil {
			return stopped, nil
		}
		n, err := f.WriteAt(newlines[:min(int64(len(newlines)), to-at)], at)
		if err != nil {
			return nil, err
		}
		if at += int64(n); at-sent < syncEvery {
			continue
		}
		if err := syncRange(f, sent, at-sent, rangeWait); err != nil {
			return nil, err
		}
		sent = at
	}
	return nil, nil
}

// overwrite writes text into a manifest copy in place, newlines over what is left of
// the old one, and fsyncs it. The file keeps its size: nothing is allocated
// and no name changes, so that a pull can tear the contents and nothing else.
func (s *session) overwrite(name string, fill func(io.Writer) error) error {
	var f *os.File
	err := s.do("overwrite", name, func() (err error) {
		f, err = durable.OpenFile(s.root, name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		end, err := drive.TextEnd(f, "\n")
		if err != nil {
			return err
		}
		text := &layout.Counter{W: io.NewOffsetWriter(f, 0)}
		b := bufio.NewWriterSize(text, 1<<20)
		if err := fill(b); err != nil {
			return err
		}
		if err := b.Flush(); err != nil {
			return err
		}
		_, err = appendNewlines(context.Background(), f, text.N, end)
		return err
	})
	if f != nil {
		defer f.Close()
	}
	if err != nil { // the content of the copy is unknown until the next session reads it
		return s.ended.with(err)
	}
	return s.sync("fsync", name, f.Sync)
}

// content fills with what is in memory.
func content(text []byte) func(io.Writer) error {
	return func(out io.Writer) error {
		_, err := out.Write(text)
		return err
	}
}

// derive is step 10: Packages in place. The signed list has its digest
// already; a pull here leaves it stale, which verify reports and the next
// generation renews. Nothing else reads it.
func (s *session) derive(index *pkgindex.Index) error {
	if err := s.overwrite(layout.PackagesFile, index.Write); err != nil {
		return err
	}
	if err := s.syncfs(); err != nil {
		return err
	}
	return s.fsync(layout.PackagesFile)
}
