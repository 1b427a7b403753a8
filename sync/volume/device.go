package volume

import (
	"fmt"
	"os"
	"pkgsneak/sync/watch"
	"strings"

	"golang.org/x/sys/unix"
)

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
	mounts, err := watch.Mounts()
	if err != nil {
		return ""
	}
	for _, m := range mounts {
		var st unix.Stat_t
		if m.ID == id && unix.Stat(m.Source, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
		}
	}
	return ""
}

// NameAt returns the name, as mount(8) has it, of a file system that no drive has and that people
// try things on; "" for any other.
func NameAt(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return ""
	}
	return otherNames[uint32(st.Type)]
}

// InMemory reports whether a path lies on a file system that ends with the machine.
func InMemory(path string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	return err == nil &&
		(uint32(st.Type) == unix.TMPFS_MAGIC || uint32(st.Type) == unix.RAMFS_MAGIC)
}

var otherNames = map[uint32]string{
	unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC:  "nfs",
	unix.F2FS_SUPER_MAGIC: "f2fs", unix.SQUASHFS_MAGIC: "squashfs",
	unix.ISOFS_SUPER_MAGIC: "iso9660", fuseMagic: "fuse", 0x7366746e: "ntfs3",
	0x5346544e: "ntfs",
}

// fuseMagic is FUSE_SUPER_MAGIC of linux/magic.h: exfat-fuse, ntfs-3g and the like.
const fuseMagic = 0x65735546

// TypeAt returns the file system that an existing path lies on. Behind FUSE it is that of the block
// device, where there is one and this process may read it.
func TypeAt(path string) Type {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return Unknown
	}
	if uint32(st.Type) != fuseMagic {
		return OfMagic(uint32(st.Type))
	}
	f, err := os.Open(path)
	if err != nil {
		return Unknown
	}
	defer f.Close()
	event, err := os.ReadFile(BlockDevice(f) + "/uevent")
	if err != nil {
		return Unknown
	}
	_, name, _ := strings.Cut(string(event), "DEVNAME=")
	name, _, _ = strings.Cut(name, "\n")
	device, err := os.Open("/dev/" + name)
	if name == "" || err != nil {
		return Unknown
	}
	defer device.Close()
	found, err := Identify(device)
	if err != nil {
		return Unknown
	}
	return found.Type
}
