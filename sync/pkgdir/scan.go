package pkgdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/binpkg"
)

const (
	// MaxDepth is how many directories deep a PKGDIR is walked. Packages lie at most two deep.
	MaxDepth = 16
	// MaxNames is how many names a PKGDIR may have in all.
	MaxNames = 4_000_000
)

// A File is a package file: regular, not empty, with a name and place that Portage accepts.
type File struct {
	Path string // below PKGDIR, with slashes
	Info fs.FileInfo
	Name binpkg.Name
}

// A Problem is a file, and why it is not what one could take it for.
type Problem struct {
	Path   string
	Reason string
}

// A Scan is what one walk through a PKGDIR found. The lists are disjoint and sorted by path.
type Scan struct {
	Files []File
	// Misplaced files end like packages, but their name or place is none that Portage indexes.
	Misplaced []Problem
	// Ignored are the other names: reserved for a build, links, half-written, set aside by Portage, foreign.
	Ignored []Problem
}

// Scan walks through the PKGDIR. Linked directories are not followed (neither does Portage), what
// Portage itself keeps beside the packages (Packages, Packages.gz, locks) is passed over.
func (d *Dir) Scan(ctx context.Context) (*Scan, error) {
	w := walk{dir: d, scan: &Scan{}}
	if err := w.enter(ctx, ".", 0); err != nil {
		return nil, fmt.Errorf("scanning %q: %w", d.path, err)
	}
	return w.scan, nil
}

func sortProblems(p []Problem) {
	slices.SortFunc(p, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
}

type walk struct {
	dir   *Dir
	scan  *Scan
	names int
}

func (w *walk) enter(ctx context.Context, dir string, depth int) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if depth > MaxDepth {
		return fmt.Errorf("%q lies more than %d directories deep", dir, MaxDepth)
	}
	f, err := w.dir.root.Open(dir)
	if depth > 0 && errors.Is(err, fs.ErrNotExist) { // gone since
		return nil
	}
	if err != nil {
		return err // what cannot be read is not taken for deleted
	}
	defer f.Close()
	found, err := readDir(f)
	if err != nil {
		return err
	}
	if w.names += len(found); w.names > MaxNames {
		return fmt.Errorf("more than %d names", MaxNames)
	}
	for i := range found {
		fi := &found[i]
		p := fi.name
		if dir != "." {
			p = dir + "/" + p
		}
		switch {
		case depth == 0 && isOwn(fi.name):
		case fi.IsDir():
			if err := w.enter(ctx, p, depth+1); err != nil {
				return err
			}
		default:
			w.visit(p, fi)
		}
	}
	return nil
}

func (w *walk) visit(p string, fi *info) {
	ignored := ""
	switch {
	case !binpkg.HasPackageSuffix(fi.name):
		ignored = foreign(fi)
	case fi.Mode()&fs.ModeSymlink != 0:
		ignored = "a symbolic link"
	case !fi.Mode().IsRegular():
		ignored = "not a regular file"
	case fi.Size() == 0:
		ignored = "an empty file: a name reserved for a build"
	default:
		name, err := binpkg.ParseName(p)
		if err != nil {
			w.scan.Misplaced = append(w.scan.Misplaced, Problem{p, reasonOf(err)})
			return
		}
		w.scan.Files = append(w.scan.Files, File{p, fi, name})
	}
	if ignored != "" {
		w.scan.Ignored = append(w.scan.Ignored, Problem{p, ignored})
	}
}

// readDir returns the status of all names in an open directory, in the order in which a walk comes to the
// paths that begin with them. One system call for each name, which has no slash: nothing can lead out.
func readDir(dir *os.File) ([]info, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	found := make([]info, 0, len(names))
	dirs := false
	for _, name := range names {
		fi, err := lstatAt(dir, name)
		if err == unix.ENOENT { // gone since
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "lstat", Path: path.Join(dir.Name(), name), Err: err}
		}
		found = append(found, fi)
		dirs = dirs || fi.IsDir()
	}
	if dirs {
		slices.SortFunc(found, func(a, b info) int { return strings.Compare(a.key(), b.key()) })
	}
	return found, nil
}

// key is the name as it stands in the paths below it.
func (i *info) key() string {
	if i.IsDir() {
		return i.name + "/"
	}
	return i.name
}

// isOwn reports whether a name at the top belongs to the index, or to pkgsneak.
func isOwn(name string) bool {
	return name == indexName || name == indexName+gzSuffix || name == stagingDir
}

// foreign says what a name is that does not end like a package; "" for locks and temporary files of
// the index, which are nobody's concern.
func foreign(fi *info) string {
	name := fi.name
	switch {
	case strings.HasSuffix(name, ".portage_lockfile"), strings.Contains(name, ".portage_lockfile.hardlock-"):
		return ""
	case strings.HasPrefix(name, indexName), strings.HasPrefix(name, "."+indexName), name == ".__portage_test_write__":
		return ""
	case strings.Contains(name, "._checksum_failure_."):
		return "set aside by Portage: its contents were not what the index said"
	case strings.HasSuffix(name, ".partial"):
		return "an incomplete download"
	case isBeingBuilt(name):
		return "a package being written"
	case fi.Mode()&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "not a package"
}

// isBeingBuilt knows emerge's name for a package that is not complete: NAME.tbz2XXXXXXXX.PID.
func isBeingBuilt(name string) bool {
	stem, pid := name[:len(name)-len(path.Ext(name))], path.Ext(name)
	if len(pid) < 2 || strings.Trim(pid[1:], "0123456789") != "" {
		return false
	}
	for _, ext := range []string{".tbz2", ".xpak", ".gpkg.tar"} {
		if strings.Contains(stem, ext) {
			return true
		}
	}
	return false
}

func lstatAt(dir *os.File, name string) (info, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return newInfo(name, &st), err
}

// again repeats a system call that a signal has interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func newInfo(name string, st *unix.Stat_t) info {
	return info{name, syscall.Stat_t{
		Dev: st.Dev, Ino: st.Ino, Nlink: st.Nlink, Mode: st.Mode, Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev, Size: st.Size,
		Atim: syscall.Timespec(st.Atim), Mtim: syscall.Timespec(st.Mtim), Ctim: syscall.Timespec(st.Ctim),
	}}
}

// info is a file's status as os.Lstat tells it.
type info struct {
	name string
	st   syscall.Stat_t
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.st.Size }
func (i *info) ModTime() time.Time { return time.Unix(i.st.Mtim.Unix()) }
func (i *info) IsDir() bool        { return i.Mode().IsDir() }
func (i *info) Sys() any           { return &i.st }

func (i *info) Mode() fs.FileMode {
	mode := fs.FileMode(i.st.Mode & 0o777)
	switch i.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}

// sameStatus reports whether two status of one path are of one file that has not changed in between.
func sameStatus(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, also := b.Sys().(*syscall.Stat_t)
	return ok && also && a.Mode().IsRegular() && b.Mode().IsRegular() &&
		x.Ino == y.Ino && x.Dev == y.Dev && x.Size == y.Size && x.Mtim == y.Mtim && x.Ctim == y.Ctim
}
