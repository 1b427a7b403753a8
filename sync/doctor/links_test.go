package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/volume"
)

func TestWithoutLinks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key    string
		on     volume.Type
		weight Weight
		what   string
	}{
		{"PKGDIR", volume.VFAT, Broken,
			`PKGDIR "/p" lies on vfat: emerge cannot write its index there (no hard links)`},
		{"PKGDIR", volume.ExFAT, Broken,
			`PKGDIR "/p" lies on exfat: emerge cannot write its index there (no hard links)`},
		{"DISTDIR", volume.ExFAT, Wrong,
			`DISTDIR "/p" lies on exfat: emerge cannot lock its downloads there (FEATURES=distlocks, no hard links)`},
		{"PKGDIR", volume.Ext4, "", ""}, {"PKGDIR", volume.Btrfs, "", ""},
		{"DISTDIR", volume.Unknown, "", ""},
	} {
		if f, ok := withoutLinks(tt.key, "/p", "x", tt.on); f.Weight != tt.weight ||
			f.What != tt.what || ok != (tt.what != "") {
			t.Errorf("%s on %s: %+v, %v", tt.key, tt.on, f, ok)
		}
	}
}

// A PKGDIR on a real file system of a USB drive, by the kernel or by FUSE.
func TestPKGDIROnAUSBDrive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount")
	}
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Skipf("SKIPPED: %s: %v: %s", name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	image, at := filepath.Join(t.TempDir(), "image"), t.TempDir()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(16 << 20); err != nil {
		t.Fatal(err)
	}
	run("mkfs.exfat", image)
	device := run("losetup", "--find", "--show", image)
	defer exec.Command("losetup", "--detach", device).Run()
	if exec.Command("mount", "-t", "exfat", device, at).Run() != nil {
		run("mount.exfat-fuse", device, at)
	}
	defer exec.Command("umount", at).Run()

	p := newPatient(t, "host-good")
	o := p.options()
	o.Machine.PKGDIR = filepath.Join(at, "packages")
	if err := os.Mkdir(o.Machine.PKGDIR, 0o755); err != nil {
		t.Fatal(err)
	}
	o.Roles = []Role{Host}
	if f := find(p.examine(o), "pkgdir"); f == nil || f.Weight != Broken ||
		!strings.Contains(f.What, "lies on exfat") {
		t.Errorf("told %+v", f)
	}
}
