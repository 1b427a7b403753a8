package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/volume"
)

// InTreeError reports that PKGDIR or DISTDIR lies in the tree on a drive, whose files only an
// export writes: anything else there breaks the signed list.
type InTreeError struct {
	Key string // "PKGDIR" or "DISTDIR"
	Dir string // as it was given
	At  string // the tree
}

func (e *InTreeError) Error() string {
	return fmt.Sprintf("%s %q lies in the tree %q of a drive, which only export writes",
		e.Key, e.Dir, e.At)
}

// Class is that of a wrong command line or setting.
func (e *InTreeError) Class() fault.Class { return fault.Usage }

// Hints name the flag.
func (e *InTreeError) Hints(string) []string {
	return []string{"name a directory of this machine: --" + strings.ToLower(e.Key) +
		" /var/cache/" + usualNames[e.Key]}
}

var usualNames = map[string]string{"PKGDIR": "binpkgs", "DISTDIR": "distfiles"}

// NoDirectoryError reports that PKGDIR or DISTDIR is a file.
type NoDirectoryError struct{ Key, Dir string }

func (e *NoDirectoryError) Error() string {
	return fmt.Sprintf("%s %q: not a directory", e.Key, e.Dir)
}

// Class is that of no particular error.
func (e *NoDirectoryError) Class() fault.Class { return fault.Failed }

// Hints name the flag and where else it is set.
func (e *NoDirectoryError) Hints(string) []string {
	return []string{fmt.Sprintf("set %s in make.conf, or name a directory: --%s /var/cache/%s",
		e.Key, strings.ToLower(e.Key), usualNames[e.Key])}
}

// CheckPlaces refuses a PKGDIR or DISTDIR ("": not looked at) that is a file, or that lies in the
// tree of one of the drives or of any other one, also by way of links. One that is not there yet is
// judged by where it would be.
func CheckPlaces(pkgdir, distdir string, drives ...string) error {
	for _, place := range []struct{ key, dir string }{{"PKGDIR", pkgdir}, {"DISTDIR", distdir}} {
		if place.dir == "" {
			continue
		}
		if fi, err := os.Stat(place.dir); err == nil && !fi.IsDir() {
			return &NoDirectoryError{place.key, place.dir}
		}
		if at := treeAround(place.dir, drives); at != "" {
			return &InTreeError{place.key, place.dir, at}
		}
	}
	return nil
}

// NoParentError reports that the directory is missing in which one was to be made: a name that is
// misspelt would make a tree of its own.
type NoParentError struct {
	What   string // "PKGDIR", "DISTDIR" or "the file"
	Path   string // as it was given
	Parent string
}

func (e *NoParentError) Error() string {
	return fmt.Sprintf("%s %q: there is no directory %q to make it in", e.What, e.Path, e.Parent)
}

// Class is that of no particular error.
func (e *NoParentError) Class() fault.Class { return fault.Failed }

// Hints name the command that makes it.
func (e *NoParentError) Hints(string) []string {
	return []string{"look at the spelling; if it is meant: mkdir -p " + fault.Quote(e.Parent)}
}

// CheckParent refuses a name of something new whose directory is missing.
func CheckParent(what, name string) error {
	at := filepath.Clean(name)
	if _, err := os.Lstat(at); err == nil { // it may be a link to nothing, which is told elsewhere
		return nil
	}
	if _, err := os.Stat(filepath.Dir(at)); errors.Is(err, fs.ErrNotExist) {
		return &NoParentError{What: what, Path: name, Parent: filepath.Dir(at)}
	}
	return nil
}

// CheckParents is CheckParent for a PKGDIR and a DISTDIR ("": not looked at).
func CheckParents(pkgdir, distdir string) error {
	for _, place := range []struct{ key, dir string }{{"PKGDIR", pkgdir}, {"DISTDIR", distdir}} {
		if place.dir == "" {
			continue
		}
		if err := CheckParent(place.key, place.dir); err != nil {
			return err
		}
	}
	return nil
}

// HasTree reports whether a directory is the place of a drive with a tree in it.
func HasTree(dir string) bool { return isTree(filepath.Join(dir, layout.TreeDir)) }

// TreeAbove returns the drive with a tree on whose file system a directory without one lies, ""
// if there is none.
func TreeAbove(dir string) string {
	if info, err := os.Stat(filepath.Join(dir, layout.TreeDir)); err == nil && info.IsDir() {
		return ""
	}
	at, err := filepath.Abs(dir)
	if err == nil {
		at, err = filepath.EvalSymlinks(at)
	}
	if err != nil {
		return ""
	}
	for at != "/" && !machine.IsMountPoint(at) {
		if at = filepath.Dir(at); HasTree(at) {
			return at
		}
	}
	return ""
}

// SecondTreeError reports that a directory, which was to get a tree, lies on a drive that has one.
type SecondTreeError struct {
	Verb  string // export or request
	Dir   string // as it was given
	Drive string
}

func (e *SecondTreeError) Error() string {
	return fmt.Sprintf("%s %q: it lies on the drive %q, which has a tree", e.Verb, e.Dir, e.Drive)
}

// Class is that of no particular error.
func (e *SecondTreeError) Class() fault.Class { return fault.Failed }

// Hints name the drive, and the flag.
func (e *SecondTreeError) Hints(string) []string {
	return []string{
		fmt.Sprintf("pkgsneak %s %s", e.Verb, fault.Quote(e.Drive)),
		fmt.Sprintf("if a second tree is meant: pkgsneak %s %s --any-directory", e.Verb,
			fault.Quote(e.Dir)),
	}
}

// CheckDrive refuses a directory for writing that is no mounted drive, and one on a drive that has
// its tree elsewhere.
func CheckDrive(verb, dir, pkgdir string) error {
	if above := TreeAbove(dir); above != "" {
		return &SecondTreeError{verb, dir, above}
	}
	return machine.CheckMounted(verb, dir, pkgdir)
}

// OnDriveError reports that the state directory lies on the drive: the signing key would travel
// with what it signs.
type OnDriveError struct{ Dir, Drive string }

func (e *OnDriveError) Error() string {
	return fmt.Sprintf("the state directory %q is on the drive %q: the signing key would travel with what it signs",
		e.Dir, e.Drive)
}

// Class is that of a wrong command line or setting.
func (e *OnDriveError) Class() fault.Class { return fault.Usage }

// Hints name the usual place.
func (e *OnDriveError) Hints(string) []string {
	return []string{"on this machine: --state-dir /var/lib/pkgsneak, or nothing at all"}
}

// CheckState refuses a state directory on one of the drives. A directory that stands for a drive
// and lies on the file system of / is none: all of the machine may be below it.
func CheckState(dir string, drives ...string) error {
	root, err := deviceOf("/")
	if err != nil {
		return nil
	}
	at, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	there := volume.Existing(at)
	real, err := filepath.EvalSymlinks(there)
	if err != nil {
		return nil
	}
	for _, d := range drives {
		mount, err := filepath.Abs(d)
		if err == nil {
			mount, err = filepath.EvalSymlinks(mount)
		}
		if err != nil || real != mount && !strings.HasPrefix(real, mount+"/") {
			continue
		}
		on, err := deviceOf(real)
		under, err2 := deviceOf(mount)
		above, err3 := deviceOf(filepath.Dir(mount))
		own := errors.Join(err, err2, err3) == nil && on == under && on != root
		if treeAround(dir, drives) != "" || own && (above != under || HasTree(mount)) {
			return &OnDriveError{dir, d}
		}
	}
	return nil
}

// deviceOf is the file system on which a path lies.
func deviceOf(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return uint64(st.Dev), err
}

// treeAround returns the tree in which a directory lies, or would lie, "" if there is none.
func treeAround(dir string, drives []string) string {
	at, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	there := volume.Existing(at)
	real, err := filepath.EvalSymlinks(there)
	if err != nil {
		return ""
	}
	real = filepath.Join(real, strings.TrimPrefix(at, there))
	for _, d := range drives {
		mount, err := filepath.Abs(d)
		if err == nil {
			mount, err = filepath.EvalSymlinks(mount)
		}
		tree := filepath.Join(mount, layout.TreeDir)
		if err == nil && (real == tree || strings.HasPrefix(real, tree+"/")) {
			return tree
		}
	}
	for ; real != filepath.Dir(real); real = filepath.Dir(real) {
		if filepath.Base(real) == layout.TreeDir && isTree(real) {
			return real
		}
	}
	return ""
}
