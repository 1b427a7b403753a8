package volume

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Only where something is free is it the inodes that a drive lacks.
func TestNoInodes(t *testing.T) {
	for _, c := range []struct {
		st   unix.Statfs_t
		none bool
	}{
		{unix.Statfs_t{Bavail: 7, Files: 9, Ffree: 1}, false},
		{unix.Statfs_t{Bavail: 7, Files: 9}, true},
		{unix.Statfs_t{Bavail: 7}, false},
		{unix.Statfs_t{Files: 9}, false},
	} {
		if got := SpaceOf(&c.st).NoInodes; got != c.none {
			t.Errorf("%d blocks, %d of %d inodes: %v", c.st.Bavail, c.st.Ffree, c.st.Files, got)
		}
	}
}
