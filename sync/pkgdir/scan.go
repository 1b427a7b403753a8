package pkgdir

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
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
	top, err := d.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("scanning %q: %w", d.path, err)
	}
	defer top.Close()
	w := walk{scan: &Scan{}, buf: make([]byte, direntsSize)}
	if err := w.list(ctx, int(top.Fd()), ".", 0); err != nil {
		return nil, fmt.Errorf("scanning %q: %w", d.path, err)
	}
	return w.scan, nil
}

func sortProblems(p []Problem) {
	slices.SortFunc(p, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
}

// walk is a Scan on its way. Multi-instance PKGDIRs have a directory for each package, and all of it is looked at
// twice when the index is written, so that a directory costs four system calls, and each file in it one.
type walk struct {
	scan  *Scan
	names int
	buf   []byte
}

// direntsSize is how much the kernel is asked for at a time, in bytes: some hundred names.
const direntsSize = 32 << 10

// enter lists the directory that has a name in an open one. It is not entered through a link, so that nothing leads out.
func (w *walk) enter(ctx context.Context, parent int, name, dir string, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%q lies more than %d directories deep", dir, MaxDepth)
	}
	fd, err := openAt(parent, name, unix.O_DIRECTORY)
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP: // gone since
		return nil
	default: // what cannot be read is not taken for deleted
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return w.list(ctx, fd, dir, depth)
}

func (w *walk) list(ctx context.Context, fd int, dir string, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	found, err := w.read(fd, dir)
	if err != nil {
		return err
	}
	if w.names += len(found); w.names > MaxNames {
		return fmt.Errorf("more than %d names", MaxNames)
	}
	for _, fi := range found {
		p := fi.name
		if dir != "." {
			p = dir + "/" + p
		}
		switch {
		case depth == 0 && isOwn(fi.name):
		case fi.IsDir():
			if err := w.enter(ctx, fd, fi.name, p, depth+1); err != nil {
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

// read returns the names in an open directory, in the order in which a walk comes to the paths that begin with them. Those that may be
// packages have their whole status, the others their type.
func (w *walk) read(fd int, dir string) ([]*info, error) {
	failed := func(op string, err error) error { return &fs.PathError{Op: op, Path: dir, Err: err} }
	var found []*info
	dirs := false
	for {
		var n int
		err := again(func() (err error) {
			n, err = unix.Getdents(fd, w.buf)
			return err
		})
		if err != nil {
			return nil, failed("list", err)
		}
		if n == 0 {
			break
		}
		if found, err = appendNames(found, w.buf[:n]); err != nil {
			return nil, failed("list", err)
		}
	}
	gone := func(fi *info) bool { return fi.name == "" }
	for _, fi := range found {
		if fi.st.Mode == 0 || binpkg.HasPackageSuffix(fi.name) && !fi.IsDir() {
			switch err := fi.lstat(fd); err {
			case nil:
			case unix.ENOENT:
				fi.name = ""
			default:
				return nil, &fs.PathError{Op: "lstat", Path: path.Join(dir, fi.name), Err: err}
			}
		}
		dirs = dirs || fi.IsDir()
	}
	found = slices.DeleteFunc(found, gone)
	order := func(a, b *info) int { return strings.Compare(a.name, b.name) }
	if dirs {
		order = func(a, b *info) int { return strings.Compare(a.key(), b.key()) }
	}
	slices.SortFunc(found, order)
	return found, nil
}

// Where a struct linux_dirent64 has what is wanted of it (getdents64(2)).
const (
	direntLength = 16 // two bytes
	direntType   = 18
	direntName   = 19
)

// appendNames appends what the kernel has listed. The mode of each is its type, 0 where the file system does not tell it.
func appendNames(found []*info, dirents []byte) ([]*info, error) {
	for len(dirents) > 0 {
		if len(dirents) < direntName {
			return nil, unix.EIO
		}
		n := int(binary.NativeEndian.Uint16(dirents[direntLength:]))
		if n < direntName || n > len(dirents) {
			return nil, unix.EIO
		}
		name, _, _ := bytes.Cut(dirents[direntName:n], []byte{0})
		if s := string(name); s != "." && s != ".." && s != "" {
			fi := &info{name: s}
			fi.st.Mode = uint32(dirents[direntType]) << 12 // DT_DIR is S_IFDIR without its twelve zero bits
			found = append(found, fi)
		}
		dirents = dirents[n:]
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

// openAt opens a name in an open directory for reading, not through a link, and without waiting for the other end of a FIFO.
func openAt(dir int, name string, flags int) (fd int, err error) {
	err = again(func() (err error) {
		fd, err = unix.Openat(dir, name, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// lstat completes the status of a name in an open directory.
func (i *info) lstat(dir int) error {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstatat(dir, i.name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return err
	}
	*i = newInfo(i.name, &st)
	return nil
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
