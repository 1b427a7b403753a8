package binpkg

import (
	"bytes"
)

// maxPath is the longest path that a file system takes, in bytes, and maxName
// its longest component.
const (
	maxPath = 4095
	maxName = 255
)

// plainPath reports whether name is a relative path that stays below where it
// starts, without empty, "." and ".." components.
func plainPath(name []byte) bool {
	if len(name) > maxPath || bytes.IndexByte(name, 0) >= 0 {
		return false
	}
	for more := true; more; {
		var part []byte
		part, name, more = bytes.Cut(name, []byte{'/'})
		switch string(part) {
		case "", ".", "..":
			return false
		}
		if len(part) > maxName {
			return false
		}
	}
	return true
}
