package volume

import (
	"fmt"
	"os"
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
