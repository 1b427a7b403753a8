package drivewriter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
)

// A vfat directory that grows links a new cluster, and a pull at that moment
// makes the whole directory unreadable, with the committed files in it. So a
// directory is preallocated while nothing is committed in it, and never after. The
// other file systems need none of this.

// dirCapacity is what a vfat directory holds and can hold.
type dirCapacity struct {
	names    int64 // files and directories in it
	entries  int64 // directory entries of 32 bytes that they take
	planned  int64 // names that this session will still make
	capacity int64 // entries that the directory has without growing; -1: not known yet
	keep     bool  // it holds committed files, or directories with such
}

const entrySize = 32 // bytes

// entriesOf is the number of entries that a name takes at most.
func entriesOf(name string) int64 { return 2 + int64(len(name))/13 }

func (r *dirCapacity) add(name string) {
	r.names++
	r.entries += entriesOf(name)
}

// fits reports whether the last of several names of that length can be made
// without growing the directory. The entries of a name lie side by side, so in
// a directory from which names were removed there must be so many free ones
// that one gap between the names is long enough.
func (r *dirCapacity) fits(name string, several int64) bool {
	need := entriesOf(name)
	names, entries := r.names+several-1, r.entries+(several-1)*need
	return r.capacity-entries > (need-1)*(names+1)
}

// reserve is what a directory has capacity for beyond what is planned: so many
// names, of so many entries each.
type reserve struct{ names, entries int64 }

// wanted is the number of entries with which the names and as many as they, at
// least the reserve, fit in whatever order names come and go.
func (r *dirCapacity) wanted(more reserve) int64 {
	names := max(r.names, more.names)
	return 2 + r.entries + names*more.entries + more.entries*(r.names+names+1)
}

// reserveOf is that of a new directory. Every name of it costs time and space:
// there are as many directories as packages, and 256 buckets. A package's, and
// a bucket with one file, stay within one cluster of 4 KiB; when they are full,
// a further directory follows.
func reserveOf(dir string) reserve {
	top, rest, below := strings.Cut(dir, "/")
	switch {
	case dir == layout.PackagesDir || dir == layout.DistfilesDir:
		return reserve{512, 4} // categories, buckets, overflow directories
	case !below:
		return reserve{64, 8}
	case top == layout.DistfilesDir:
		return reserve{10, 5} // a bucket, one of 256
	case !strings.Contains(rest, "/"):
		return reserve{32, 6} // a category
	}
	return reserve{6, 8} // one package's builds
}

// directories are those of an origin: which ones are there, and on vfat what they hold and have
// capacity for.
type directories struct {
	*session
	names      *layout.Namespace
	vfat       bool                    // they are of interest
	capacities map[string]*dirCapacity // by path, on vfat
	made       map[string]bool         // those that are there
	// size tells the size of a directory in bytes; tests put their own in.
	size func(root *os.Root, dir string) (int64, error)
}

func newDirectories(s *session, names *layout.Namespace) *directories {
	t := &directories{session: s, names: names, capacities: make(map[string]*dirCapacity),
		made: make(map[string]bool)}
	t.vfat = s.d != nil && s.d.FSType().FixedDirectories()
	t.size = t.stat
	return t
}

// capacityOf returns what is known of a directory. Elsewhere than on vfat nobody
// asks, and nothing is kept.
func (t *directories) capacityOf(dir string) *dirCapacity {
	if !t.vfat {
		return &dirCapacity{capacity: -1}
	}
	r := t.capacities[dir]
	if r == nil {
		r = &dirCapacity{capacity: -1}
		t.capacities[dir] = r
	}
	return r
}

// committed marks the directories that must not grow any more.
func (t *directories) committed(listed map[string]manifest.File) {
	if !t.vfat {
		return
	}
	for name := range listed {
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			r := t.capacityOf(dir)
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

// stat tells the size of a directory, which on vfat is that of its clusters.
func (t *directories) stat(root *os.Root, dir string) (int64, error) {
	info, err := root.Stat(dir)
	if err != nil {
		return 0, t.end("looking at", dir, err)
	}
	return info.Size(), nil
}

// canHold reports whether a path can be made without growing a directory that
// holds committed files.
func (t *directories) canHold(file string, several int64) (bool, error) {
	if !t.vfat {
		return true, nil
	}
	for p := file; p != "."; p = path.Dir(p) {
		dir := path.Dir(p)
		r := t.capacities[dir]
		if r == nil || !r.keep || p != file && t.names.HasDir(p) {
			continue
		}
		if r.capacity < 0 {
			size, err := t.size(t.root, dir)
			if err != nil {
				return false, err
			}
			r.capacity = size/entrySize - 2
		}
		if !r.fits(path.Base(p), several) {
			return false, nil
		}
	}
	return true, nil
}

// account counts the names that a path adds to its directories.
func (t *directories) account(file string) {
	if !t.vfat {
		return
	}
	for p := file; p != "."; p = path.Dir(p) {
		if p != file && t.names.HasDir(p) {
			return
		}
		r := t.capacityOf(path.Dir(p))
		r.add(path.Base(p))
		r.planned++
	}
}

// maxPlaceholders bounds the preallocation of one directory.
const maxPlaceholders = 20_000

// preallocate gives a directory without committed files the capacity that it needs.
func (t *directories) preallocate(dir string) error {
	r := t.capacityOf(dir)
	if !t.vfat || r.keep {
		return nil
	}
	r.planned = 0
	capacity, err := t.extendTo(t.root, dir, r.wanted(reserveOf(dir)))
	r.capacity = capacity
	return err
}

// preallocateTree is preallocate for the tree's directory, while no origin is in it.
func (t *directories) preallocateTree() error {
	if !t.vfat {
		return nil
	}
	origins, err := t.d.Origins()
	if err != nil || len(origins) > 0 {
		return err
	}
	_, err = t.extendTo(t.d.Root(), ".", (&dirCapacity{}).wanted(reserve{64, 8}))
	return err
}

// extendTo makes placeholders of the longest names until a directory has capacity
// for so many entries, and removes them again.
func (t *directories) extendTo(root *os.Root, dir string, want int64) (capacity int64, err error) {
	made := 0
	for ; made < maxPlaceholders; made++ {
		if int64(made)*layout.PlaceholderEntries >= capacity { // it cannot have grown before
			size, err := t.size(root, dir)
			if err != nil {
				return 0, err
			}
			capacity = size/entrySize - 2
		}
		if capacity >= want {
			break
		}
		f, err := t.create(root, layout.Placeholder(dir, made), 0o644)
		if err != nil {
			return 0, err
		}
		if err := f.Close(); err != nil {
			return 0, t.end("growing", dir, err)
		}
	}
	for i := range made {
		if err := t.remove("unlink", root, layout.Placeholder(dir, i)); err != nil {
			return 0, err
		}
	}
	return capacity, nil
}

// drop counts a name that was removed.
func (r *dirCapacity) drop(name string) {
	r.names--
	r.entries -= entriesOf(name)
}

// mkdir makes a directory below the origin.
func (t *directories) mkdir(dir string) error {
	if t.made[dir] {
		return nil
	}
	err := t.do("mkdir", dir, func() error {
		err := t.root.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) {
			return mustBeDir(t.session, dir)
		}
		if err != nil {
			return t.d.ClassifyName("making", dir, err)
		}
		return nil
	})
	if err == nil {
		t.made[dir] = true
	}
	return err
}

// mustBeDir fails if something else than a directory has the name.
func mustBeDir(s *session, dir string) error {
	info, err := s.root.Lstat(dir)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("making the directory %q: a file that is not pkgsneak's has this name: move it away", path.Join(s.dir, dir))
	}
	return err
}

// make makes a directory and preallocates it, unless that has been done.
func (t *directories) make(dir string) (made bool, err error) {
	r := t.capacityOf(dir)
	if t.made[dir] && (r.keep || r.planned == 0 && r.capacity >= 0 || !t.vfat) {
		return false, nil
	}
	if err := t.mkdir(dir); err != nil {
		return false, err
	}
	return true, t.preallocate(dir)
}
