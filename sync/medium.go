package sync

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Medium says how a medium is best used.
type Medium struct {
	Readers int // how many large files are read at a time; 0 counts as two
	Writers int // how many large files are written at a time; 0 counts as one
}

// maxWriters bounds how many files are written at a time: a few are enough for any disk.
const maxWriters = 4

// MediumOf tells what path lies on, or will, as far as the kernel (sysfs) says. A disk that turns gets one file at a time, because its heads would go to and fro. From what can be taken out, and from what is
// not known, two are read, so that one is opened while the other is read, and one is written: a stick writes one stream best. Anything else
// gets as many as keep the processors busy while some wait for it.
func MediumOf(path string) Medium {
	var st unix.Stat_t
	if err := unix.Stat(existing(path), &st); err != nil {
		return Medium{2, 1}
	}
	dev := uint64(st.Dev)
	return mediumOf("/sys", unix.Major(dev), unix.Minor(dev))
}

// mediumOf is MediumOf for a device number, with sysfs at root.
func mediumOf(root string, major, minor uint32) Medium {
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("%s/dev/block/%d:%d", root, major, minor))
	if err != nil {
		return Medium{2, 1}
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
	case removable || strings.Contains(dir, "/usb"): // USB sticks say that they turn, and so do the bridges of USB disks; no stick minds two readers
		return Medium{2, 1}
	case !known:
		return Medium{2, 1}
	case turns && !strings.Contains(dir, "/virtio"): // a virtual disk says that it turns, whatever it lies on
		return Medium{1, 1}
	}
	procs := max(2, runtime.GOMAXPROCS(0))
	return Medium{2 * procs, min(procs, maxWriters)}
}
