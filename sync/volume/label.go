package volume

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// byLabel has a link to each device that has a file system with a label. udev writes what is not
// plain in a label as \xNN.
const byLabel = "/dev/disk/by-label"

// LabelAt returns the label of the file system that is mounted at path, as udev has it; "" if there
// is none, or no udev.
func LabelAt(path string) string { return labelAt(byLabel, path) }

func labelAt(links, path string) string {
	var at, device unix.Stat_t
	if unix.Stat(path, &at) != nil {
		return ""
	}
	entries, err := os.ReadDir(links)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if unix.Stat(filepath.Join(links, e.Name()), &device) == nil &&
			device.Mode&unix.S_IFMT == unix.S_IFBLK && device.Rdev == at.Dev {
			return unescapeLabel(e.Name())
		}
	}
	return ""
}

// unescapeLabel undoes udev's \xNN.
func unescapeLabel(name string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(name, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n, err := uint64(0), error(nil)
		if len(after) < 2 {
			b.WriteString(`\x`)
		} else if n, err = strconv.ParseUint(after[:2], 16, 8); err != nil {
			b.WriteString(`\x`)
		} else {
			b.WriteByte(byte(n))
			after = after[2:]
		}
		name = after
	}
}
