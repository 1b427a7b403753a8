package volume

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Space is the space of a file system.
type Space struct {
	Free    int64 // bytes that this user may still write
	Total   int64 // bytes of the file system
	Cluster int64 // bytes; a file takes whole clusters
	// NoInodes: no further file can be made, although something is free. Where inodes are made as
	// they are needed nobody counts them (vfat, btrfs), or there are as many as what is free has
	// space for (xfs, zfs), and none on a full one.
	NoInodes bool
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

// SpaceOf returns the space that statfs(2) reported.
func SpaceOf(st *unix.Statfs_t) Space {
	unit := int64(st.Frsize)
	if unit <= 0 {
		unit = int64(st.Bsize)
	}
	return Space{Free: int64(st.Bavail) * unit, Total: int64(st.Blocks) * unit, Cluster: unit,
		NoInodes: st.Files > 0 && st.Ffree == 0 && st.Bavail > 0}
}

// SpaceAt asks the file system of path for its space.
func SpaceAt(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, fmt.Errorf("asking for the free space of %q: %w", path, err)
	}
	return SpaceOf(&st), nil
}

// Existing returns the deepest directory on the way to path that is there: a new directory will lie
// on its file system.
func Existing(path string) string {
	for path = filepath.Clean(path); path != "/" && path != "."; path = filepath.Dir(path) {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return path
}
