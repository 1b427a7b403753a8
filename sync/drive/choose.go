package drive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
)

// NoOriginError reports that the drive has no origin of the wanted name.
type NoOriginError struct {
	Name string
	Have []string
}

func (e *NoOriginError) Error() string { return fmt.Sprintf("the drive has no origin %q", e.Name) }

// Class is that of no particular error.
func (e *NoOriginError) Class() fault.Class { return fault.Failed }

// Hints name the origins that are there.
func (e *NoOriginError) Hints(string) []string {
	if len(e.Have) == 0 {
		return nil
	}
	return []string{"the drive has " + strings.Join(e.Have, ", ")}
}

// EmptyMountError reports that a drive's path is an empty directory: most likely nothing is mounted
// there. It wraps the error of a missing tree.
type EmptyMountError struct {
	Drive string
	Err   error
}

func (e *EmptyMountError) Error() string {
	return fmt.Sprintf("%q is empty: is the drive mounted?", e.Drive)
}

// Unwrap gives the error of the missing tree.
func (e *EmptyMountError) Unwrap() error { return e.Err }

// Class is fault.NoTree.
func (e *EmptyMountError) Class() fault.Class { return fault.NoTree }

// Hints name what is missing.
func (e *EmptyMountError) Hints(string) []string { return []string{"mount the drive first"} }

// OpenFor opens a tree for reading and reports what was being done when there is none.
func OpenFor(verb, mount string) (*Drive, error) {
	if err := machine.NeedDirectory(verb, mount); err != nil {
		return nil, err
	}
	d, err := Open(mount)
	if err != nil {
		return nil, NotMounted(mount, err)
	}
	return d, nil
}

// NotMounted returns the error of opening a tree as an *EmptyMountError where there is none because
// the directory is empty, any other as it is.
func NotMounted(mount string, err error) error {
	if empty, _ := emptyDir(mount); empty && errors.Is(err, ErrNoTree) {
		return &EmptyMountError{Drive: mount, Err: err}
	}
	return err
}

// Within returns the mount point of the tree that a directory is, or that it or a file lies in, as
// an absolute path; "" if it lies in none. People complete DRIVE/pkgsneak with the tab key: as a
// mount point it would get a tree in the tree. A mount point that has a tree of its own is none of
// that, whatever its name.
func Within(dir string) string {
	if info, err := os.Stat(filepath.Join(dir, layout.TreeDir)); err == nil && info.IsDir() {
		return ""
	}
	at, err := filepath.Abs(dir)
	info, statErr := os.Stat(dir)
	switch {
	case err != nil || statErr != nil:
		return ""
	case info.Mode().IsRegular():
		at = filepath.Dir(at)
	case !info.IsDir():
		return ""
	}
	for ; at != filepath.Dir(at); at = filepath.Dir(at) {
		if filepath.Base(at) == layout.TreeDir && isTree(at) {
			return filepath.Dir(at)
		}
	}
	return ""
}

// isTree reports whether a directory has what every export lays beside the origins.
func isTree(dir string) bool {
	readme, err := os.Lstat(filepath.Join(dir, layout.ReadmeFile))
	keys, keysErr := os.Lstat(filepath.Join(dir, layout.KeysDir))
	return err == nil && keysErr == nil && readme.Mode().IsRegular() && keys.IsDir()
}

// emptyDir reports whether a directory has no entries: most likely nothing is mounted there.
func emptyDir(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.ReadDir(1)
	if err == nil {
		return false, nil
	}
	return errors.Is(err, io.EOF), nil
}

// Choose returns the origins to work on: the one of the given name (its directory, or the origin's
// name within it), or all.
func Choose(have []string, name string) ([]string, error) {
	if name == "" {
		return have, nil
	}
	for _, h := range have {
		if h == name {
			return []string{h}, nil
		}
	}
	return nil, &NoOriginError{Name: name, Have: have}
}
