package machine

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/volume"
)

// CheckMounted refuses a drive that is only a directory: an unmounted /mnt/usb would fill the root
// disk, and its tree would vanish below the next mount. PKGDIR may be absent: then only the root
// file system counts. A directory of a file system in memory is no drive either: below /run, where
// drives are mounted, an unmounted one lies on such.
func CheckMounted(verb, drive, pkgdir string) error {
	d, err := device(drive)
	if err != nil {
		return fmt.Errorf("%s %q: %w", verb, drive, err)
	}
	if above, err := device(drive + "/.."); volume.InMemory(drive) && err == nil && above == d {
		return &NotMountedError{Drive: drive, Memory: true}
	}
	for _, other := range []string{"/", pkgdir} {
		if o, err := device(other); err == nil && o == d {
			return &NotMountedError{Drive: drive, Same: other}
		}
	}
	return nil
}

// MountPoint returns the directory on which the file system of a path is mounted, which umount
// takes.
func MountPoint(path string) (string, error) {
	at, err := realPath(path)
	if err != nil {
		return "", fmt.Errorf("looking for the mount point of %q: %w", path, err)
	}
	for at != "/" && !IsMountPoint(at) {
		at = filepath.Dir(at)
	}
	return at, nil
}

// IsMountPoint reports whether a directory is the top of a mount. A kernel before 5.8 does not tell
// that; there it is the top of another file system than the one around it.
func IsMountPoint(dir string) bool {
	var stx unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, 0, &stx); err == nil &&
		stx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	}
	at, err := device(dir)
	above, errAbove := device(dir + "/..")
	return err == nil && errAbove == nil && at != above
}

// device returns the number of the file system that path lies on.
func device(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return uint64(st.Dev), nil
}

// NeedDirectory gives an error that tells what is wrong with a path that ought to be a directory;
// a *NotDirectoryError where it is something else.
func NeedDirectory(verb, path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%s %q: %w", verb, path, err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s %w", verb, &NotDirectoryError{path})
	}
	return nil
}
