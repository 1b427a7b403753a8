// Package distdir is a DISTDIR: the flat directory of source archives that Portage downloads.
//
// # What is a distfile
//
// A regular, non-empty file directly in DISTDIR whose name is none of Portage's own:
//
//	layout.conf, Packages, Packages.gz  of the directory itself, were it a mirror or a PKGDIR too
//	.anything                       locks (.NAME.portage_lockfile), .mirror-cache.json, .layout.conf.HOST
//	NAME.__download__, NAME.partial  a download on its way
//	NAME.portage_lockfile           a lock of older versions
//	NAME._checksum_failure_.RANDOM  set aside: not what a Manifest states
//	NAME.part, NAME.aria2, NAME~     another program's download on its way, an editor's copy
//
// Links are no distfiles of this directory, and a Scan names them, but for those that Portage
// makes: links to files of a directory in PORTAGE_RO_DISTDIRS (ScanLinked), which Portage has
// verified. Directories (git3-src, svn-src, .locks) are not Portage's flat store, and one whose
// name is like a distfile's is named; where layout.conf makes a mirror's tree of the directory
// (GLEP 75), the files in its folders are named, because no emerge looks there. There is no index;
// a distfile is told by its name, and accepted by its size and digests in an ebuild repository. Its
// mtime does not matter.
//
// # Bringing files in
//
// Files are staged in DISTDIR/.pkgsneak (durable.Staging) and then renamed to their names, never
// over anything unless the caller had looked at just that file and wants it replaced. As after a
// download of Portage's they have DISTDIR's group and mode 0664 at least.
package distdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/listing"
)

// MaxNames is how many names a DISTDIR may have.
const MaxNames = 4_000_000

// A Dir is an open DISTDIR. Only Place and Remove change it, and the files of Staging.
type Dir struct {
	*durable.Store
	root *durable.Root
	Keep *durable.Keeper // keeps what Place replaces and Remove removes; nil: nothing does
}

const storeName = "DISTDIR"

// Open opens the DISTDIR at path, which may be a symbolic link. Nothing inside is followed out of
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

// Create opens the DISTDIR at path, and creates it first if there is none.
func Create(path string, hook durable.Hook) (*Dir, error) {
	store, root, err := durable.CreateStore(storeName, path, hook)
	if err != nil {
		return nil, err
	}
	return &Dir{Store: store, root: root}, nil
}

// A File is a distfile.
type File struct {
	Name string
	Info fs.FileInfo
	// Dir and Path are where the file behind a link lies: the directory, as it was given to
	// ScanLinked, and the path below it. Both are "" for a file of DISTDIR's own.
	Dir, Path string
}

// A Problem is a name, and why it is not what one could take it for.
type Problem struct {
	Name   string
	Reason string
	Size   int64 // bytes of the file; 0 for what is none
}

// A Scan is what is in a DISTDIR, both lists sorted by name.
type Scan struct {
	Files   []File
	Ignored []Problem
	// Hidden are files and folders that nobody's emerge looks for, with the name of what they are:
	// hidden files that are not Portage's, and folders that are not one of its stores. They are
	// told, and not missed.
	Hidden []Problem
}

// Scan lists the distfiles.
func (d *Dir) Scan(ctx context.Context) (*Scan, error) {
	s, err := d.scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("scanning %q: %w", d.Path(), err)
	}
	return s, nil
}

// ScanLinked is Scan, and takes links to files of DISTDIR or of one of the directories for what
// they lead to.
func (d *Dir) ScanLinked(ctx context.Context, dirs []string) (*Scan, error) {
	s, err := d.Scan(ctx)
	if err == nil {
		s.followLinks(d, append(slices.Clip(dirs), d.Path()))
	}
	return s, err
}

func (d *Dir) scan(ctx context.Context) (*Scan, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var r listing.Reader
	names, err := r.Names(int(f.Fd()), MaxNames)
	if err != nil {
		return nil, err
	}
	s := &Scan{}
	var dirs []string
	for i, e := range names {
		if i%4096 == 4095 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := s.add(int(f.Fd()), e); err != nil {
			return nil, err
		}
		if e.IsDir() {
			dirs = append(dirs, e.Name())
		}
	}
	if err := s.addFolders(ctx, d, int(f.Fd()), dirs); err != nil {
		return nil, err
	}
	slices.SortFunc(s.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Ignored, func(a, b Problem) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

func (s *Scan) add(dir int, e *listing.Entry) error {
	reason := foreignName(e.Name())
	if reason == "" {
		reason = otherProgram(e.Name())
	}
	if s.addHidden(e) {
		return nil
	}
	if reason == "" || !e.TypeKnown() {
		switch err := e.Lstat(dir); {
		case errors.Is(err, fs.ErrNotExist): // gone since
			return nil
		case err != nil:
			return &fs.PathError{Op: "lstat", Path: e.Name(), Err: err}
		}
	}
	switch {
	case e.IsDir() && !likeFile(e.Name()):
		return nil // nobody's concern
	case reason != "":
	case e.Mode()&fs.ModeSymlink != 0:
		reason = Link
	case e.IsDir():
		reason = "a directory"
	case !e.IsRegular():
		reason = "not a regular file"
	case e.Size() == 0:
		reason = emptyFile
	default:
		s.Files = append(s.Files, File{Name: e.Name(), Info: e})
		return nil
	}
	if reason != own {
		s.Ignored = append(s.Ignored, problem(dir, e, reason))
	}
	return nil
}

// problem names a file that is no distfile, with its size.
func problem(dir int, e *listing.Entry, reason string) Problem {
	p := Problem{Name: e.Name(), Reason: reason}
	if e.Size() == 0 && reason != emptyFile { // the name alone was enough
		if e.Lstat(dir) != nil {
			return p
		}
	}
	if e.IsRegular() {
		p.Size = e.Size()
	}
	return p
}

// addHidden takes in what is told and not missed.
func (s *Scan) addHidden(e *listing.Entry) bool {
	name := e.Name()
	switch {
	case !e.TypeKnown():
		return false
	case e.IsDir() && !strings.HasPrefix(name, ".") && !likeFile(name) && !isBucket(name) &&
		!slices.ContainsFunc(stores, func(end string) bool { return strings.HasSuffix(name, end) }):
		s.Hidden = append(s.Hidden, Problem{Name: name, Reason: Folder})
	case !e.IsDir() && strings.HasPrefix(name, ".") && !isPortages(name):
		s.Hidden = append(s.Hidden, Problem{Name: name, Reason: HiddenFile})
	default:
		return false
	}
	return true
}

// The reasons in Scan.Hidden.
const (
	Folder     = "folder"
	HiddenFile = "hidden file"
)

// stores end the names of folders in which eclasses keep the repositories of live ebuilds, and
// others.
var stores = []string{"-src", "-cache", "go-mod", "cargo", "egit", "lost+found"}

// isPortages reports whether a hidden name is Portage's, or of the file system (a silly rename of
// NFS).
func isPortages(name string) bool {
	return strings.HasSuffix(name, ".portage_lockfile") ||
		strings.Contains(name, ".portage_lockfile.hardlock-") || durable.IsTemp(name) ||
		durable.IsStoreLock(name) ||
		slices.ContainsFunc([]string{".layout.conf.", ".mirror-cache", ".__portage_test_write__",
			".keep", ".nfs", ".fuse_hidden", ".pkgsneak", ".Packages"},
			func(begin string) bool { return strings.HasPrefix(name, begin) })
}

// otherProgram is the fault of a name that is not Portage's: such a file may be on its way, and is
// no distfile.
func otherProgram(name string) string {
	switch {
	case strings.HasSuffix(name, "~"):
		return "an editor's copy"
	case slices.ContainsFunc([]string{".part", ".aria2", ".crdownload"}, func(end string) bool {
		return strings.HasSuffix(name, end)
	}):
		return "an incomplete download"
	}
	return ""
}

// own marks what is nobody's concern.
const own = "Portage's own"

// Link is the reason of a symbolic link that was not followed.
const Link = "a symbolic link"

const emptyFile = "an empty file"

// ownNames are files that belong to the directory itself: of a mirror (GLEP 75), and of a PKGDIR
// that is the same directory.
var ownNames = []string{"layout.conf", "Packages", "Packages.gz"}

// foreignName is what the name alone shows.
func foreignName(name string) string {
	switch {
	case strings.HasPrefix(name, "."), strings.HasSuffix(name, ".portage_lockfile"),
		slices.Contains(ownNames, name):
		return own
	case strings.Contains(name, setAside):
		return "set aside by Portage: its contents were not what a Manifest says"
	case slices.ContainsFunc(unfinished, func(end string) bool {
		return strings.HasSuffix(name, end)
	}):
		return "an incomplete download"
	}
	return ""
}

// likeFile reports whether a directory has a name like a distfile's: those of Portage's stores have
// no dot.
func likeFile(name string) bool { return strings.Contains(name, ".") && foreignName(name) == "" }

// MeantBy returns the distfile whose place a name of Portage's has taken: that of a download on its
// way, or of a file that was set aside. Any other name means itself.
func MeantBy(name string) string {
	name, _, _ = strings.Cut(name, setAside)
	for _, end := range unfinished {
		name = strings.TrimSuffix(name, end)
	}
	return name
}

const setAside = "._checksum_failure_."

// unfinished end the names of downloads on their way.
var unfinished = []string{".__download__", ".partial"}

// CheckName returns an error if no distfile can have the name.
func CheckName(name string) error {
	switch {
	case name == "", strings.ContainsAny(name, "/\x00"), foreignName(name) != "":
		return fmt.Errorf("%q is no name of a distfile", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%q is no name of a distfile: it has control characters", name)
	case len(name) > 255:
		return fmt.Errorf("%q is too long for a name", name)
	}
	return nil
}

// An Incoming file is staged and will get its name.
type Incoming struct {
	Name    string
	Size    int64     // bytes
	Sum     [64]byte  // BLAKE2B-512, under which it is staged
	ModTime time.Time // the file will have it; zero leaves the time of staging
	// Replaces is the file or the symbolic link that may be replaced, as the caller has seen it;
	// nil: the name has to be free.
	Replaces fs.FileInfo
	// Kept is where the file lies below DISTDIR that was there before and is put back as it is
	// (durable.KeptDir); "" for a staged one.
	Kept string
}

// A Report is what Place did: each Incoming is in one of the lists.
type Report struct {
	Placed  []string
	Skipped []Problem // the name was taken, or the file there has changed since the caller looked
}

// Place gives staged files their names.
func (d *Dir) Place(ctx context.Context, files []Incoming) (*Report, error) {
	r, err := d.place(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("changing %q: %w", d.Path(), err)
	}
	return r, nil
}

func (d *Dir) place(ctx context.Context, files []Incoming) (*Report, error) {
	r := &Report{}
	if len(files) == 0 {
		return r, nil
	}
	dir, err := d.root.Stat(".")
	if err != nil {
		return nil, err
	}
	gid := int(dir.Sys().(*syscall.Stat_t).Gid)
	staged, err := d.stagedNames(ctx, files)
	if err != nil {
		return nil, err
	}
	var fresh []string
	for i, f := range files {
		if f.Kept != "" {
			continue
		}
		fresh = append(fresh, staged[i])
		if err := d.prepare(staged[i], f, gid); err != nil {
			return nil, fmt.Errorf("preparing %q: %w", f.Name, err)
		}
	}
	if err := d.root.SyncFiles(ctx, fresh); err != nil {
		return nil, err
	}
	for i, f := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		reason, err := d.move(staged[i], f)
		if err != nil {
			return nil, fmt.Errorf("placing %q: %w", f.Name, err)
		}
		if reason != "" {
			r.Skipped = append(r.Skipped, Problem{Name: f.Name, Reason: reason, Size: f.Size})
			continue
		}
		r.Placed = append(r.Placed, f.Name)
	}
	d.Keep.Sync() // what cannot be kept for certain is no reason to end
	return r, d.root.SyncDir(".")
}

// stagedNames returns where each file is staged. Of contents that go to several names a copy is
// made for each.
func (d *Dir) stagedNames(ctx context.Context, files []Incoming) ([]string, error) {
	names := make([]string, len(files))
	used := make(map[string]bool)
	for i, f := range files {
		if f.Kept != "" {
			names[i] = f.Kept
			continue
		}
		name := d.Staging().Path(f.Sum)
		if used[name] {
			var err error
			if name, err = d.Staging().Copy(ctx, f.Sum, i); err != nil {
				return nil, err
			}
		}
		used[name] = true
		names[i] = name
	}
	return names, nil
}

// prepare gives a staged file what Portage gives a download: the directory's group, readable and
// writable for it.
func (d *Dir) prepare(name string, f Incoming, gid int) error {
	if err := CheckName(f.Name); err != nil {
		return err
	}
	fi, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() != f.Size {
		return fmt.Errorf("staged are %d bytes instead of %d", fi.Size(), f.Size)
	}
	if err := d.root.SetAccess(name, gid, 0o664); err != nil {
		return err
	}
	if f.ModTime.IsZero() {
		return nil
	}
	return d.root.Chtimes(name, f.ModTime, f.ModTime)
}

// move renames one file and reports why not, if it does not.
func (d *Dir) move(staged string, f Incoming) (reason string, err error) {
	if f.Replaces != nil {
		now, err := d.root.Lstat(f.Name)
		switch {
		case err == nil && !durable.Unchanged(now, f.Replaces) && !sameLink(now, f.Replaces):
			return "the file that has its name changed since it was compared", nil
		case err == nil && !d.Keep.Replaced(f.Name):
			return "", d.root.Place(staged, f.Name, true)
		case err == nil: // moved away
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	err = d.root.Place(staged, f.Name, false)
	if errors.Is(err, fs.ErrExist) {
		return "another file has its name", nil
	}
	return "", err
}

// sameLink reports whether both are one symbolic link, unchanged.
func sameLink(a, b fs.FileInfo) bool {
	const link = fs.ModeSymlink
	return a.Mode()&link != 0 && b.Mode()&link != 0 && os.SameFile(a, b) &&
		a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// Sync makes the removal of files durable.
func (d *Dir) Sync() error {
	d.Keep.Sync()
	return d.root.SyncDir(".")
}

// Remove removes a file that is still the one the caller has seen, and reports whether it did. It
// is durable after Sync.
func (d *Dir) Remove(name string, seen fs.FileInfo) (bool, error) {
	now, err := d.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("removing from %q: %w", d.Path(), err)
	case !durable.Unchanged(now, seen):
		return false, nil
	}
	if d.Keep.Remove(name) {
		return true, nil
	}
	if err := d.root.Remove(name); err != nil {
		return false, fmt.Errorf("removing from %q: %w", d.Path(), err)
	}
	return true, nil
}
