package drive

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"pkgsneak/sync/volume"

	"golang.org/x/sys/unix"
)

// The kinds of file system, and the space on one, which package volume has.
type (
	FSType = volume.Type
	Space  = volume.Space
)

// Space asks the drive for its room. On vfat the first call after mounting
// counts the whole FAT and can take a second.
func (d *Drive) Space() (Space, error) {
	st, err := d.statfs()
	if err != nil {
		return Space{}, err
	}
	return volume.SpaceOf(&st), nil
}

func (d *Drive) statfs() (unix.Statfs_t, error) {
	var st unix.Statfs_t
	err := unix.Fstatfs(int(d.top.Fd()), &st)
	if err != nil {
		err = fmt.Errorf("asking for the room of %q: %w", d.mount, err)
	}
	return st, err
}

// present says whether the drive is still there: its device is in sysfs, and
// the slot that could be read before can be read from the medium again (the
// first errors come before the kernel has taken the device out of sysfs). A
// drive without a device of its own (a directory on tmpfs, overlay, a network
// file system) is there while it answers.
func (d *Drive) present() bool {
	if d.sysfs == "" {
		_, err := d.statfs()
		return err == nil
	}
	if _, err := os.Lstat(d.sysfs); err != nil {
		return false
	}
	if d.witness == nil {
		return true
	}
	_, err := d.witness.ReadAt(alignedBuffer()[:alignment], 0)
	return !failing(err)
}

// callWitness opens a slot for later questions whether the drive is there.
func (d *Drive) callWitness(origin string) {
	if d.witness != nil || d.sysfs == "" {
		return
	}
	m, err := openMedium(d.root, path.Join(origin, Slot))
	if err != nil {
		return
	}
	if _, err := m.f.ReadAt(alignedBuffer()[:alignment], 0); err != nil || !m.direct {
		m.Close()
		return
	}
	d.witness = m.f
}

// Device is the path of the drive's block device ("/dev/sdb1"), "" if it has
// none or is gone.
func (d *Drive) Device() string {
	if d.sysfs == "" {
		return ""
	}
	target, err := os.Readlink(d.sysfs)
	if err != nil {
		return ""
	}
	return "/dev/" + filepath.Base(target)
}
