package machine

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// An unmounted directory below /run lies on a tmpfs of its own, which is neither that of / nor
// PKGDIR's.
func TestMemoryIsNoDrive(t *testing.T) {
	for _, dir := range []string{"/dev/shm", "/run"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || uint32(st.Type) != unix.TMPFS_MAGIC {
			continue
		}
		drive, err := os.MkdirTemp(dir, "unmounted-")
		if err != nil {
			continue
		}
		defer os.Remove(drive)
		var mounted *NotMountedError
		if err := CheckMounted("export", drive, t.TempDir()); !errors.As(err,
			new(*NotMountedError)) {
			t.Errorf("%q counts as a drive: %v, %v", drive, err, mounted)
		}
		return
	}
	t.Skip("NO TMPFS CAN BE WRITTEN TO HERE")
}
