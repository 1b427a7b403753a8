package drive

import (
	"os"
	"path"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
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
		if err := e.Lstat(l.FD); err != nil && !d.Present() {
			l.Close()
			return nil, d.Classify("looking at", path.Join(dir, e.Name()), err)
		}
	}
	return l, nil
}

func openTop(root *os.Root) (int, error) {
	f, err := durable.OpenDir(root, ".")
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}
