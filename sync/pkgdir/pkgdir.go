// Package pkgdir is a PKGDIR: the directory with a machine's binary packages and their index. It
// finds the packages, brings the index up to date as `emaint binhost --fix` does on machines that
// have no Portage, and carries out the transaction that an import is.
//
// # What lies there
//
//	PKGDIR/
//	  Packages                       the index (sync/pkgindex)
//	  Packages.gz                    the same, gzipped, with FEATURES=compress-index
//	  .Packages.portage_lockfile     Portage's lock (sync/durable)
//	  CAT/PF.tbz2, CAT/PF.gpkg.tar   packages, classic; in All/ too (sync/binpkg)
//	  CAT/PN/PF-N.xpak, PF-N.gpkg.tar  packages, multi-instance
//	  .pkgsneak/                     complete files that wait for their names (durable.Staging)
//	  .pkgsneak-undo/                what the last import replaced or removed (durable.KeptDir)
//
// A package is a regular, non-empty file with such a name. Links, names reserved for a build (empty
// files), half-written files and everything else are left alone. A file of Portage's three
// extensions in any other place is reported and not indexed.
//
// # When a file is not read
//
// An index entry is trusted without opening the file, as by emaint, if the base name of its PATH
// is the file's, SIZE and MTIME are, and MD5 is there. When the index is going to be written, the
// entry must have a repository and a CHOST too (own or the header's). Unlike in Portage the CPV
// must fit the name as well, and an entry is trusted for one file only: a second file of that name
// elsewhere is read.
//
// Everything else is read and hashed: an entry of the same package, build, size and time keeps the
// keys that the package does not have. Entries without a file go. Files that are no packages,
// cannot be read or change while they are read are listed with the reason and not indexed; they
// never stop the rest. Of several files that Portage takes for one (pkgindex.Instance) the one that
// is indexed already stays.
//
// If all that leads to the entries that are there, and Packages.gz is as it should be, nothing is
// written, not even the lock file. Files are read before the lock is taken; under the lock
// everything is looked at again and only what has changed meanwhile is read, so that emerge never
// waits long.
//
// # The index on the disk
//
// TIMESTAMP is now, or one more than the old one if that is greater: a client with a copy takes
// only a greater one. The modification time of Packages and Packages.gz is TIMESTAMP. Packages.gz
// is written or removed according to Options.CompressIndex; without it, one that is there is
// renewed. Owner and mode are those of the old file; the group is PKGDIR's, which may read and
// write as far as it may in PKGDIR. New directories and packages get the group and its bits
// likewise. A Packages that is a symbolic link is followed inside PKGDIR; one that leads out is an
// error.
//
// # The transaction
//
// [Dir.Commit] gives staged files their names and removes others so that at every instant each
// index entry matches its file: Portage renames a package away when it does not. Under Portage's
// lock
//
//	1  the index is written without the entries of files that will be replaced or removed (if there
//	   are any),
//	2  files are removed, renamed over their predecessors, or renamed to free names, and the
//	   directories synced,
//	3  the final index is written.
//
// A directory below PKGDIR may be another file system: what goes there is copied beside its name in
// step 2, and renamed.
//
// Killed at any point, that leaves files without entries at worst; the next Commit or Reindex
// indexes them. A file is replaced or removed only if it still is the one that the caller had
// verified. A name that is taken by anything else is left alone, and the package goes to the next
// free CAT/PN/PF-N ([binpkg.FreePath]).
package pkgdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/pkgindex"
)

const (
	indexName = "Packages"
	gzSuffix  = ".gz"
	maxLinks  = 8
)

// A Dir is an open PKGDIR. Only Reindex and Commit change it, and the files of Staging.
type Dir struct {
	*durable.Store
	root *durable.Root
	// Distdir is where DISTDIR lies below PKGDIR, "." if both are one directory, and "" elsewhere.
	// A file there is no package, whatever its name: of DISTDIR only files at its top count.
	Distdir string
}

const storeName = "PKGDIR"

// Open opens the PKGDIR at path, which may be a symbolic link. Nothing inside is followed out of
// it.
func Open(path string) (*Dir, error) { return OpenWith(path, nil) }

// OpenWith is Open with a hook that is shown each change of a file, in tests.
func OpenWith(path string, hook durable.Hook) (*Dir, error) {
	store, root, err := durable.OpenStore(storeName, path, hook)
	if err != nil {
		return nil, err
	}
	return &Dir{Store: store, root: root}, nil
}

// Create opens the PKGDIR at path, and creates it first if there is none.
func Create(path string, hook durable.Hook) (*Dir, error) {
	store, root, err := durable.CreateStore(storeName, path, hook)
	if err != nil {
		return nil, err
	}
	return &Dir{Store: store, root: root}, nil
}

// Index reads the index as it is; fs.ErrNotExist if there is none.
func (d *Dir) Index() (*pkgindex.Index, error) { return d.IndexShared(nil) }

// IndexShared is Index with entries shared as pkgindex.ReadLocal shares them.
func (d *Dir) IndexShared(known func(path string) pkgindex.Entry) (*pkgindex.Index, error) {
	name, err := d.indexFile(indexName)
	if err != nil {
		return nil, err
	}
	return d.readIndex(name, known)
}

func (d *Dir) readIndex(name string,
	known func(path string) pkgindex.Entry) (*pkgindex.Index, error) {
	f, _, err := d.OpenFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the index of %q: %w", d.Path(), err)
	}
	defer f.Close()
	x, err := pkgindex.ReadLocal(f, known)
	if err != nil {
		return nil, fmt.Errorf("reading the index %q: %w", path.Join(d.Path(), name), err)
	}
	return x, nil
}

// indexFile follows the symbolic links that Packages or Packages.gz may be, as Portage does, and
// returns the name of the file below PKGDIR.
func (d *Dir) indexFile(name string) (string, error) {
	start := name
	for range maxLinks {
		fi, err := d.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", fmt.Errorf("following %q: %w", path.Join(d.Path(), start), err)
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			return name, nil
		}
		target, err := d.root.Readlink(name)
		if err != nil {
			return "", fmt.Errorf("following %q: %w", path.Join(d.Path(), start), err)
		}
		next, inside := d.inside(path.Dir(name), target)
		if !inside {
			return "", &OutwardIndexError{Path: path.Join(d.Path(), start), Target: target}
		}
		name = next
	}
	return "", fmt.Errorf("following %q: too many symbolic links", path.Join(d.Path(), start))
}

// An OutwardIndexError reports that Packages or Packages.gz is a symbolic link that leads out of
// PKGDIR.
type OutwardIndexError struct {
	Path   string // of the link
	Target string // as in the link
}

func (e *OutwardIndexError) Error() string {
	return fmt.Sprintf("the index %q is a symbolic link that leads out of PKGDIR, to %q",
		e.Path, e.Target)
}

// Hints are the commands that put the index in the place of the link.
func (e *OutwardIndexError) Hints(string) []string {
	dir, link := filepath.Dir(e.Path), fault.Quote(e.Path)
	target := e.Target
	if !filepath.IsAbs(target) {
		target = filepath.Join(dir, target)
	}
	if fi, err := os.Stat(target); err == nil && fi.Mode().IsRegular() {
		return []string{"the file itself in the place of the link: cp --remove-destination " +
			fault.Quote(target) + " " + link}
	}
	return []string{"an index of its own in the place of the link: rm " + link +
		" && pkgsneak index " + fault.Quote(dir)}
}

// inside returns where the target of a link in dir lies below PKGDIR, if it does. Whether
// directories on the way lead out is for os.Root to see.
func (d *Dir) inside(dir, target string) (string, bool) {
	if !path.IsAbs(target) {
		p := path.Join(dir, target)
		return p, p != ".." && !strings.HasPrefix(p, "../")
	}
	top, err := filepath.Abs(d.Path())
	if err != nil {
		return "", false
	}
	if p, ok := strings.CutPrefix(path.Clean(target), top+"/"); ok {
		return p, true
	}
	if top, err = filepath.EvalSymlinks(top); err != nil {
		return "", false
	}
	return strings.CutPrefix(path.Clean(target), top+"/")
}

// access is what Portage takes over from PKGDIR to what it creates there.
type access struct {
	gid  int
	mode fs.FileMode // of PKGDIR, with setgid
}

const (
	groupFile = 0o060 // may read and write files as far as PKGDIR
	groupDir  = 0o070
)

func (d *Dir) access() (access, error) {
	fi, err := d.root.Stat(".")
	if err != nil {
		return access{}, fmt.Errorf("looking at %q: %w", d.Path(), err)
	}
	return access{gid: int(statOf(fi).Gid), mode: fi.Mode()}, nil
}

func statOf(fi fs.FileInfo) *syscall.Stat_t { return fi.Sys().(*syscall.Stat_t) }

// file is the mode of a file that is new, dir that of a directory: as Portage makes them, and for
// PKGDIR's group the bits that it has there.
func (a access) file() fs.FileMode { return durable.SharedFile | a.mode&groupFile }
func (a access) dir() fs.FileMode  { return 0o755 | a.mode&(groupDir|fs.ModeSetgid) }

// reasonOf is an error as a Problem tells it: without the path, which stands beside it.
func reasonOf(err error) string {
	var invalid *binpkg.InvalidError
	var value *pkgindex.ValueError
	var pathErr *fs.PathError
	switch {
	case errors.As(err, &invalid):
		return invalid.Reason
	case errors.As(err, &value):
		return value.Error()
	case errors.As(err, &pathErr):
		return "cannot be read: " + pathErr.Err.Error()
	}
	return err.Error()
}
