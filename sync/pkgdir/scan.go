package pkgdir

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/listing"
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
	Size   int64 // bytes of the file; 0 where there is none, or it was not looked at
}

// A Scan is what one walk through a PKGDIR found. The lists are disjoint and sorted by path.
type Scan struct {
	Files []File
	// Misplaced files end like packages, but their name or place is none that Portage indexes.
	Misplaced []Problem
	// Copies are those of them that are the same package as one of Files, which the reason names,
	// once FindCopies has looked.
	Copies []Problem
	// Ignored are the other names: reserved for a build, links, half-written, set aside by Portage,
	// foreign.
	Ignored []Problem
	// Leftover reports that a run which was killed left a temporary file of the index.
	Leftover bool
}

// Scan walks through the PKGDIR. Linked directories are not followed (neither does Portage), what
// Portage itself keeps beside the packages (Packages, Packages.gz, locks) is passed over.
func (d *Dir) Scan(ctx context.Context) (*Scan, error) {
	top, err := d.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("scanning %q: %w", d.Path(), err)
	}
	defer top.Close()
	w := walk{scan: &Scan{}, distdir: d.Distdir}
	if err := w.list(ctx, int(top.Fd()), ".", 0); err != nil {
		return nil, fmt.Errorf("scanning %q: %w", d.Path(), err)
	}
	return w.scan, nil
}

func sortProblems(p []Problem) {
	slices.SortFunc(p, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
}

// walk is a Scan on its way. Multi-instance PKGDIRs have a directory for each package, and all of
// it is looked at twice when the index is written.
type walk struct {
	scan *Scan
	// distdir is as in a Dir.
	distdir string
	names   int
	dirs    listing.Reader
}

// enter lists the directory that has a name in an open one. It is not entered through a link, so
// that nothing leads out.
func (w *walk) enter(ctx context.Context, parent int, name, dir string, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%q lies more than %d directories deep", dir, MaxDepth)
	}
	fd, err := listing.Open(parent, name, unix.O_DIRECTORY)
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
		p := fi.Name()
		if dir != "." {
			p = dir + "/" + p
		}
		switch {
		case depth == 0 && isOwn(fi.Name()), fi.Name() == durable.KeptDir:
		case depth == 0 && durable.IsTemp(fi.Name()):
			w.scan.Leftover = true
		case p == w.distdir, w.distdir == "." && depth == 0 && !fi.IsDir():
		case fi.IsDir():
			if binpkg.HasPackageSuffix(fi.Name()) {
				w.scan.Ignored = append(w.scan.Ignored, Problem{Path: p, Reason: "a directory"})
			}
			if err := w.enter(ctx, fd, fi.Name(), p, depth+1); err != nil {
				return err
			}
		default:
			w.visit(p, fi)
		}
	}
	return nil
}

func (w *walk) visit(p string, fi *listing.Entry) {
	ignored := ""
	switch {
	case !binpkg.HasPackageSuffix(fi.Name()):
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
			w.scan.Misplaced = append(w.scan.Misplaced, Problem{Path: p, Reason: reasonOf(err),
				Size: fi.Size()})
			return
		}
		w.scan.Files = append(w.scan.Files, File{p, fi, name})
	}
	if ignored != "" {
		w.scan.Ignored = append(w.scan.Ignored, Problem{Path: p, Reason: ignored, Size: sizeOf(fi)})
	}
}

// sizeOf is the size of a file that has contents of its own, else 0: that of a link means nothing.
func sizeOf(fi *listing.Entry) int64 {
	if fi.IsRegular() {
		return fi.Size()
	}
	return 0
}

// read returns the names in an open directory, in the order in which a walk comes to the paths that
// begin with them. Those that may be packages have their whole status, the others their type.
func (w *walk) read(fd int, dir string) ([]*listing.Entry, error) {
	failed := func(op string, err error) error { return &fs.PathError{Op: op, Path: dir, Err: err} }
	all, err := w.dirs.Names(fd, MaxNames)
	if err != nil {
		return nil, failed("list", err)
	}
	found, dirs := all[:0], false
	for _, e := range all {
		if !e.TypeKnown() || !e.IsDir() && (binpkg.HasPackageSuffix(e.Name()) ||
			isSetAside(e.Name()) || binpkg.LikePackage(e.Name())) {
			switch err := e.Lstat(fd); err {
			case nil:
			case unix.ENOENT: // gone since
				continue
			default:
				return nil, &fs.PathError{Op: "lstat", Path: path.Join(dir, e.Name()), Err: err}
			}
		}
		found, dirs = append(found, e), dirs || e.IsDir()
	}
	order := func(a, b *listing.Entry) int { return strings.Compare(a.Name(), b.Name()) }
	if dirs {
		order = func(a, b *listing.Entry) int { return strings.Compare(key(a), key(b)) }
	}
	slices.SortFunc(found, order)
	return found, nil
}

// key is the name as it stands in the paths below it.
func key(e *listing.Entry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// isOwn reports whether a name at the top belongs to the index, to pkgsneak or to the file system
// itself: lost+found may be read by root alone.
func isOwn(name string) bool {
	return name == indexName || name == indexName+gzSuffix || name == durable.StagingDir ||
		name == "lost+found"
}

// otherEnding is the reason of a file that nobody takes for a package because of its name alone.
const otherEnding = "a package's name ends in .tbz2, .xpak or .gpkg.tar, and this one does not"

// foreign tells what a name is that does not end like a package; "" for locks and temporary files
// of the index, which are nobody's concern.
func foreign(fi *listing.Entry) string {
	name := fi.Name()
	switch {
	case durable.IsTemp(name), durable.IsStoreLock(name):
		return ""
	case strings.HasSuffix(name, ".portage_lockfile"),
		strings.Contains(name, ".portage_lockfile.hardlock-"):
		return ""
	case strings.HasPrefix(name, indexName), strings.HasPrefix(name, "."+indexName),
		name == ".__portage_test_write__":
		return ""
	case strings.Contains(name, setAside):
		return "set aside by Portage: its contents were not what the index said"
	case strings.HasSuffix(name, unfinished):
		return "an incomplete download"
	case binpkg.IsPartial(name):
		return "a package being written"
	case fi.Mode()&fs.ModeSymlink != 0:
		return "a symbolic link"
	case binpkg.LikePackage(name):
		return otherEnding
	}
	return "not a package"
}
