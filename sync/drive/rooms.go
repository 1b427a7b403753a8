package drive

import (
	"fmt"
	"path"
	"strings"
)

// A vfat directory that grows links a new cluster, and a pull at that moment
// makes the whole directory unreadable, with the committed files in it. So a
// directory is grown while nothing is committed in it, and never after. The
// other file systems need none of this.

// room is what a vfat directory holds.
type room struct {
	names    int64 // files and directories in it
	slots    int64 // directory entries of 32 bytes that they take
	planned  int64 // names that this session will still make
	capacity int64 // entries that the directory has without growing; -1: not known yet
	keep     bool  // it holds committed files, or directories with such
}

const (
	entrySize = 32 // bytes
	// A name of NAME_MAX takes 21 entries: one of its own and one for each 13
	// characters.
	longestName = 255
	// reservedSlots is what a name that comes later is expected to take.
	reservedSlots = 8
)

// slotsOf is the number of entries that a name takes at most.
func slotsOf(name string) int64 { return 2 + int64(len(name))/13 }

func (r *room) add(name string) {
	r.names++
	r.slots += slotsOf(name)
}

// fits says whether a name can be made without growing the directory. The
// entries of a name lie side by side, so that in a directory from which names
// were removed the free ones count only if a gap must be long enough.
func (r *room) fits(name string) bool {
	need := slotsOf(name)
	return r.capacity-r.slots > (need-1)*(r.names+1)
}

// wanted is the number of entries with which names and a reserve fit, in
// whatever order names come and go.
func (r *room) wanted(reserve int64) int64 {
	return 2 + r.slots + reserve*reservedSlots + reservedSlots*(r.names+reserve+1)
}

// reserveOf is how many more names than planned a new directory gets room for.
func reserveOf(dir string) int64 {
	switch strings.Count(dir, "/") {
	case 0:
		if dir == PackagesDir || dir == DistfilesDir {
			return 512 // categories, buckets, overflow directories
		}
		return 64
	case 1:
		return 64 // a category, a bucket
	}
	return 16 // one package's builds
}

func (w *Writer) roomOf(dir string) *room {
	r := w.rooms[dir]
	if r == nil {
		r = &room{capacity: -1}
		w.rooms[dir] = r
	}
	return r
}

// roomsCommitted marks the directories that must not grow any more.
func (w *Writer) roomsCommitted() {
	for name := range w.listed {
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			r := w.roomOf(dir)
			if r.keep {
				break
			}
			r.keep = true
			if dir == "." {
				break
			}
		}
	}
}

// statDir tells the size of a directory, which on vfat is that of its clusters.
func (w *Writer) statDir(dir string) (int64, error) {
	info, err := w.root.Lstat(dir)
	if err != nil {
		return 0, w.d.explain("looking at", dir, err)
	}
	return info.Size(), nil
}

// canHold says whether a path can be made without growing a directory that
// holds committed files.
func (w *Writer) canHold(file string) (bool, error) {
	if !w.vfat {
		return true, nil
	}
	for p := file; p != "."; p = path.Dir(p) {
		dir := path.Dir(p)
		r := w.rooms[dir]
		if r == nil || !r.keep || p != file && w.names.hasDir(p) {
			continue
		}
		if r.capacity < 0 {
			size, err := w.dirSize(dir)
			if err != nil {
				return false, err
			}
			r.capacity = size/entrySize - 2
		}
		if !r.fits(path.Base(p)) {
			return false, nil
		}
	}
	return true, nil
}

// account counts the names that a path adds to its directories.
func (w *Writer) account(file string) {
	for p := file; p != "."; p = path.Dir(p) {
		if p != file && w.names.hasDir(p) {
			return
		}
		r := w.roomOf(path.Dir(p))
		r.add(path.Base(p))
		r.planned++
	}
}

// maxPlaceholders bounds the growing of one directory: 21 entries each.
const maxPlaceholders = 20_000

// grow gives a directory without committed files the room that it needs, with
// placeholders of the longest names, which are removed again.
func (w *Writer) grow(dir string) error {
	r := w.roomOf(dir)
	if !w.vfat || r.keep {
		return nil
	}
	want := r.wanted(reserveOf(dir))
	made := 0
	defer func() { r.planned = 0 }()
	for ; made < maxPlaceholders; made++ {
		size, err := w.dirSize(dir)
		if err != nil {
			return err
		}
		if r.capacity = size/entrySize - 2; r.capacity >= want {
			break
		}
		f, err := w.create(placeholder(dir, made), 0o644)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return w.end("growing", dir, err)
		}
	}
	for i := range made {
		if err := w.remove("unlink", placeholder(dir, i)); err != nil {
			return err
		}
	}
	return nil
}

func placeholder(dir string, i int) string {
	name := fmt.Sprintf("room-%05d-", i)
	return path.Join(dir, name+strings.Repeat("x", longestName-len(name)))
}

// drop counts a name that was removed.
func (r *room) drop(name string) {
	r.names--
	r.slots -= slotsOf(name)
}
