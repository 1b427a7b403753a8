package vm_test

import (
	"path/filepath"
	"testing"
	"time"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/wire"
)

// The lab itself: a drive comes, is written, is pulled and comes back, and the
// log has all that was written.
func TestPlugWritePull(t *testing.T) {
	m := boot(t)
	image, log := blank(t, 64), filepath.Join(t.TempDir(), "log")
	run(t, "mkfs.vfat", "-F", "32", "-s", "1", image)
	p := must[*vm.Plugged](t)(m.Plug(t.Context(), vm.Stick{Image: image, Log: log}))
	ok(t, m.Mount(t.Context(), wire.Mount{Device: p.Device, Dir: "/mnt", Type: "vfat"}))
	b := time.Now()
	for _, c := range []string{"true", "true", "cp /lab/pkgsneak /bin/pkgsneak", "pkgsneak --version", "pkgsneak --version", "echo hello >/mnt/hello; umount /mnt"} {
		t.Log(must[string](t)(m.Sh(t.Context(), c)))
		t.Log(c, time.Since(b))
		b = time.Now()
	}
	ok(t, p.Pull(t.Context()))
}
