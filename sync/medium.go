package sync

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Readers returns how many large files are best read at a time from the medium that path lies on, as far as the kernel (sysfs) tells: one from a disk that turns, because its heads would go to and fro;
// two from what can be taken out and from what is not known, so that one is opened while the other is read; and as many as there are processors from anything else.
func Readers(path string) int {
	var st unix.Stat_t
	if err := unix.Stat(existing(path), &st); err != nil {
		return 2
	}
	dev := uint64(st.Dev)
	return readers("/sys", unix.Major(dev), unix.Minor(dev))
}

// readers is Readers for a device number, with sysfs at root.
func readers(root string, major, minor uint32) int {
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("%s/dev/block/%d:%d", root, major, minor))
	if err != nil {
		return 2
	}
	if _, err := os.Stat(dir + "/partition"); err == nil {
		dir = filepath.Dir(dir) // the whole device knows
	}
	is := func(name string) (yes, known bool) {
		text, err := os.ReadFile(dir + "/" + name)
		return strings.TrimSpace(string(text)) == "1", err == nil
	}
	turns, known := is("queue/rotational")
	removable, _ := is("removable")
	switch {
	case removable || strings.Contains(dir, "/usb"): // USB sticks say that they turn, and so do the bridges of USB disks; no stick minds two
		return 2
	case !known:
		return 2
	case turns && !strings.Contains(dir, "/virtio"): // a virtual disk says that it turns, whatever it lies on
		return 1
	}
	return max(2, runtime.GOMAXPROCS(0))
}
