package drive

import (
	"context"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/listing"
)

// maxEntries is how many names of a directory of an origin are read.
const maxEntries = 1_000_000

// MaxDepth bounds the walk; this package writes four levels.
const MaxDepth = 32

// Level is an open directory of an origin, with what is in it.
type Level struct {
	FD      int
	Entries []*listing.Entry
}

// Close closes the directory.
func (l *Level) Close() { unix.Close(l.FD) }

// Enter opens a directory and reads the names in it with their types, and the status of regular
// files if that is wanted: name below the level above, or the origin itself without one. dir is its
// path, for errors. A name of which the drive tells nothing has neither.
func (d *Mounted) Enter(r *listing.Reader, root *os.Root, above *Level, name, dir string,
	status bool) (*Level, error) {
	l := &Level{}
	var err error
	if above != nil {
		l.FD, err = listing.Open(above.FD, name, unix.O_DIRECTORY)
	} else {
		l.FD, err = openTop(root)
	}
	if err != nil {
		return nil, d.Classify("reading the directory", dir, err)
	}
	if l.Entries, err = r.Names(l.FD, maxEntries); err != nil {
		l.Close()
		return nil, d.Classify("reading the directory", dir, err)
	}
	for _, e := range l.Entries {
		if e.TypeKnown() && !(status && e.IsRegular()) {
			continue
		}
		// An inode or entry lies beside those of its neighbours.
		if err := e.Lstat(l.FD); err != nil && (fault.IsExhausted(err) || !d.Present()) {
			l.Close()
			return nil, d.Classify("looking at", path.Join(dir, e.Name()), err)
		}
	}
	return l, nil
}

// Walk goes through the directories of an origin to look at what is there: each name comes before
// what is below it, in the order of the file system. A directory is entered from the one above
// (Enter), so the walk cannot leave the origin, and none is below MaxDepth. Those who remove names,
// from the bottom up, and sync each directory that lost one, go from Level to Level themselves.
type Walk struct {
	Drive  *Mounted
	Root   *os.Root // the origin's directory
	Status bool     // the status of regular files is wanted
	// Visit is passed each name. Its error ends the walk; with fs.SkipDir a directory is not
	// entered, and fs.SkipAll is the end of a walk without an error.
	Visit func(f Found) error
	// Unreadable is passed each directory that cannot be read. Its error ends the walk; nil passes
	// the directory over.
	Unreadable func(dir string, err error) error

	dirs listing.Reader
}

// Found is a name on a walk.
type Found struct {
	*listing.Entry
	Path string // below the origin
	// Below: it is a directory that is entered next. One that lies too deep is none.
	Below bool
}

// Run walks. The error is ctx's, or that of a function.
func (w *Walk) Run(ctx context.Context) error {
	err := w.through(ctx, nil, ".", 0)
	if err == fs.SkipAll {
		return nil
	}
	return err
}

func (w *Walk) through(ctx context.Context, above *Level, dir string, depth int) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	l, err := w.Drive.Enter(&w.dirs, w.Root, above, path.Base(dir), dir, w.Status)
	if err != nil {
		return w.Unreadable(dir, err)
	}
	defer l.Close()
	for _, e := range l.Entries {
		f := Found{e, path.Join(dir, e.Name()), e.IsDir() && depth < MaxDepth}
		err := w.Visit(f)
		if err == nil && f.Below {
			err = w.through(ctx, l, f.Path, depth+1)
		}
		if err != nil && err != fs.SkipDir {
			return err
		}
	}
	return nil
}

// unlessVanished passes over what cannot be read on a drive that is there.
func unlessVanished(_ string, err error) error {
	if Unanswered(err) {
		return err
	}
	return nil
}

func openTop(root *os.Root) (int, error) {
	f, err := durable.OpenDir(root, ".")
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}
