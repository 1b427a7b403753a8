package drive

import (
	"path"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/listing"
	"pkgsneak/sync/volume"
)

const (
	// maxClosed is how many closed directories are named at a time: more fit into no line.
	maxClosed = 4
	// maxFailed is how often a drive may fail that is asked for them: a dying one takes its time.
	maxFailed = 8
)

// closedDirs returns the directories of the tree that the kernel does not enter, because they have
// no cluster or a free one: a pull came between the name of a new directory and the table. They are
// called as fsck.vfat calls them, which can take them off, when it has left them so.
func (d *Mounted) closedDirs() []string {
	if d.top == nil || d.fs != volume.VFAT {
		return nil
	}
	var found []string
	var dirs listing.Reader
	failed := 0
	var enter func(above int, name, short string, depth int)
	enter = func(above int, name, short string, depth int) {
		fd, err := listing.Open(above, name, unix.O_DIRECTORY)
		if err != nil {
			if failed++; err == unix.EIO && len(found) < maxClosed {
				found = append(found, short)
			}
			return
		}
		defer unix.Close(fd)
		entries, err := dirs.Names(fd, maxEntries)
		if err != nil {
			failed++
		}
		if err != nil || depth == MaxDepth {
			return
		}
		again, err := listing.Open(fd, ".", unix.O_DIRECTORY)
		if err != nil {
			return
		}
		defer unix.Close(again)
		names := volume.ShortNames(again)
		for _, e := range entries {
			if e.IsDir() && names[e.Name()] != "" && failed < maxFailed {
				enter(fd, e.Name(), path.Join(short, names[e.Name()]), depth+1)
			}
		}
	}
	enter(int(d.top.Fd()), layout.TreeDir, "PKGSNEAK", 0)
	return found
}
