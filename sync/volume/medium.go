package volume

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/pipeline"
)

// A Medium is how a medium is best used.
type Medium struct {
	Readers int // how many large files are read at a time; 0 counts as two
	Writers int // how many large files are written at a time; 0 counts as one
}

const (
	// manyWriters is how many files are written at a time where nothing turns: some wait for the
	// disk while the others are hashed, and a few are enough for any disk.
	manyWriters = 4
	// maxReaders bounds how many are read, and readersEach is how many of them there are for a
	// processor: while some wait for the disk, the others keep it busy.
	maxReaders  = 16
	readersEach = 4
)

// unknownMedium is one of which nothing is known: two files are read, so that one is opened while
// the other is read.
var unknownMedium = Medium{2, 1}

// MediumOf tells what path lies on, or will, as far as the kernel tells (sysfs). A disk that turns
// gets one file at a time, because its heads would go to and fro. From what can be taken out, and
// from what is not known, two are read, and one is written: a stick writes one stream best.
// Anything else gets as many as keep the processors busy while some wait for it.
func MediumOf(path string) Medium {
	f, err := os.OpenFile(Existing(path), unix.O_PATH, 0)
	if err != nil {
		return unknownMedium
	}
	defer f.Close()
	return mediumOf(BlockDevice(f))
}

// mediumOf is MediumOf for the entry of a block device in sysfs.
func mediumOf(entry string) Medium {
	dir, err := filepath.EvalSymlinks(entry)
	if err != nil || entry == "" {
		return unknownMedium
	}
	// a mapping (LUKS, LVM, RAID) is as its parts are
	if below, _ := filepath.Glob(dir + "/slaves/*"); len(below) > 0 {
		m := mediumOf(below[0])
		for _, part := range below[1:] {
			other := mediumOf(part)
			m = Medium{min(m.Readers, other.Readers), min(m.Writers, other.Writers)}
		}
		return m
	}
	if _, err := os.Stat(dir + "/partition"); err == nil {
		dir = filepath.Dir(dir) // it stands at the whole device
	}
	is := func(name string) (yes, known bool) {
		text, err := os.ReadFile(dir + "/" + name)
		return strings.TrimSpace(string(text)) == "1", err == nil
	}
	turns, known := is("queue/rotational")
	removable, _ := is("removable")
	switch {
	// USB sticks claim to turn, and so do the bridges of USB disks; no stick minds two readers
	case !known || removable || strings.Contains(dir, "/usb"):
		return unknownMedium
	// a virtual disk claims to turn, whatever it lies on
	case turns && !strings.Contains(dir, "/virtio"):
		return Medium{1, 1}
	}
	procs := max(2, pipeline.Processors())
	return Medium{min(readersEach*procs, maxReaders), manyWriters}
}
