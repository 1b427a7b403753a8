package vm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/disk"
	"pkgsneak/scripts/vm/wire"
)

// The lab itself: a drive comes, is written, is pulled and comes back, and the
// log has all that was written.
func TestPlugWritePull(t *testing.T) {
	m := borrow(t)
	image, log := blank(t, 64), filepath.Join(t.TempDir(), "log")
	run(t, "mkfs.vfat", "-F", "32", "-s", "1", image)
	p := must[*vm.Plugged](t)(m.Plug(t.Context(), vm.Stick{Image: image, Log: log}))
	ok(t, m.Mount(t.Context(), wire.Mount{Device: p.Device, Dir: "/mnt", Type: "vfat"}))
	must[string](t)(m.Sh(t.Context(), "echo hello >/mnt/hello; umount /mnt"))
	ok(t, p.Pull(t.Context()))
	if disks := must[[]string](t)(m.Disks(t.Context())); len(disks) > 0 {
		t.Errorf("after the pull the guest has %q", disks)
	}
	f, err := os.Open(log)
	ok(t, err)
	defer f.Close()
	writes := must[disk.Log](t)(disk.ReadLog(f))
	if !slices.ContainsFunc(writes, func(e disk.Entry) bool {
		return bytes.Contains(e.Data, []byte("hello\n"))
	}) {
		t.Errorf("the log of %d entries does not have what was written", len(writes))
	}
	// Plugged in again it is another device with the same contents.
	p = must[*vm.Plugged](t)(m.Plug(t.Context(), vm.Stick{Image: image, ReadOnly: true}))
	ok(t, m.Mount(t.Context(), wire.Mount{Device: p.Device, Dir: "/mnt", Type: "vfat",
		ReadOnly: true}))
	if got := must[[]byte](t)(m.Get(t.Context(), "/mnt/hello")); string(got) != "hello\n" {
		t.Errorf("the drive has %q", got)
	}
	ok(t, m.Unmount(t.Context(), "/mnt"))
	ok(t, p.Pull(t.Context()))
}
