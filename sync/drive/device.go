package drive

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// FSType is the kind of file system on a drive. Unknown is treated as one that
// keeps what it was told, in the order of writes for all.
type FSType uint8

// The kinds that are told apart. Only VFAT changes what is done.
const (
	Unknown FSType = iota
	VFAT
	ExFAT
	Ext
	Btrfs
	XFS
)

// String returns the name as mount(8) knows it.
func (t FSType) String() string {
	names := [...]string{"unknown", "vfat", "exfat", "ext4", "btrfs", "xfs"}
	if int(t) < len(names) {
		return names[t]
	}
	return names[Unknown]
}

// exfatMagic is EXFAT_SUPER_MAGIC of linux/magic.h.
const exfatMagic = 0x2011bab0

func fsType(magic uint32) FSType {
	switch magic {
	case unix.MSDOS_SUPER_MAGIC:
		return VFAT
	case exfatMagic:
		return ExFAT
	case unix.EXT4_SUPER_MAGIC:
		return Ext
	case unix.BTRFS_SUPER_MAGIC:
		return Btrfs
	case unix.XFS_SUPER_MAGIC:
		return XFS
	}
	return Unknown
}

// Space is the room on a drive.
type Space struct {
	Free    int64 // bytes that this user may still write
	Total   int64 // bytes of the file system
	Cluster int64 // bytes; a file takes whole clusters
}

// Need is what files of these sizes take on the drive, whole clusters each.
func (s Space) Need(sizes ...int64) int64 {
	var sum int64
	for _, size := range sizes {
		sum += s.round(size)
	}
	return sum
}

func (s Space) round(size int64) int64 {
	if s.Cluster <= 1 || size <= 0 {
		return max(size, 0)
	}
	return (size + s.Cluster - 1) / s.Cluster * s.Cluster
}

// Space asks the drive for its room. On vfat the first call after mounting
// counts the whole FAT and can take a second.
func (d *Drive) Space() (Space, error) {
	st, err := d.statfs()
	if err != nil {
		return Space{}, err
	}
	unit := int64(st.Frsize)
	if unit <= 0 {
		unit = int64(st.Bsize)
	}
	return Space{Free: int64(st.Bavail) * unit, Total: int64(st.Blocks) * unit, Cluster: unit}, nil
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

// BlockDevice returns the entry in sysfs ("/sys/dev/block/8:17") of the block
// device that the mount of an open file is on, "" if it is on none.
func BlockDevice(f *os.File) string {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return ""
	}
	dev := uint64(st.Dev)
	number := fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
	if unix.Major(dev) == 0 {
		if number = mountedDevice(f); number == "" {
			return ""
		}
	}
	entry := "/sys/dev/block/" + number
	if _, err := os.Lstat(entry); err != nil {
		return ""
	}
	return entry
}

// mountedDevice is for the file systems that have numbers of their own, as
// btrfs one for each subvolume: the source of the mount tells the device
// (fdinfo and mountinfo of proc(5)).
func mountedDevice(f *os.File) string {
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(info), "mnt_id:")
	id, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[0] != id {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(fields[len(fields)-2], &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
		}
	}
	return ""
}
