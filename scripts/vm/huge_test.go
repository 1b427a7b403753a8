package vm_test

import (
	"testing"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/wire"
)

// A file that FAT32 cannot hold travels in parts and arrives in one piece. It
// is 4 GiB and a little of nothing, so that it takes no room anywhere.
func TestHugeFile(t *testing.T) {
	if lab(t); !long() {
		t.Skipf("A FILE OF 4 GiB TAKES MINUTES: %s=long has it", modeVariable)
	}
	m, ctx := borrow(t), t.Context()
	f := flavour{"vfat-32k", "vfat", []string{"mkfs.vfat", "-F", "32", "-s", "64"},
		9 << 10, "", 512, 0}
	s := newStick(t, m, f)
	s.Sparse = true
	furnish(t, m, sequence()[0])
	must[string](t)(m.Sh(ctx, "truncate -s 4294967301 "+hostDistdir+"/huge.tar"))
	s.plug(false)
	e := exportCommand(program)
	e.Seconds = 4 * 3600
	if rep := tryCommand(t, m, e); rep.Exit != 0 {
		t.Fatalf("export ended with %d: %s", rep.Exit, rep.Error)
	}
	parts := must[string](t)(m.Sh(ctx,
		"find "+drive+" -name 'huge.tar*' | while read f; do stat -c '%s %n' $f; done"))
	t.Logf("on the drive:\n%s", parts)
	// The client has a disk of its own for it.
	big := &stick{flavour: flavour{"ext4", "ext4", []string{"mkfs.ext4", "-q", "-F"}, 6 << 10, "",
		4096, 0}, t: t, m: m}
	big.Stick = vm.Stick{Image: big.format(t), Sparse: true}
	big.p = must[*vm.Plugged](t)(m.Plug(ctx, big.Stick))
	ok(t, m.Mount(ctx, wire.Mount{Device: big.p.Device, Dir: "/t/big", Type: "ext4"}))
	resetClient(t, m)
	must[string](t)(m.Sh(ctx,
		"mkdir /t/big/distdir; rm -r "+clientDir+"/distdir; ln -s /t/big/distdir "+clientDir+"/distdir"))
	c := importCommand()
	c.Seconds = 4 * 3600
	if rep := tryCommand(t, m, c); rep.Exit != 0 {
		t.Errorf("import ended with %d: %s", rep.Exit, rep.Error)
	}
	if size := must[string](t)(m.Sh(ctx,
		"stat -c %s /t/big/distdir/huge.tar")); size != "4294967301\n" {
		t.Errorf("it arrived with %s bytes", size)
	}
	ok(t, m.Unmount(ctx, "/t/big"))
	ok(t, big.p.Pull(ctx))
	s.unplug()
}
