package auto

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/sync/machine"
	"pkgsneak/sync/watch"
)

// loop makes a block device of an image. Only root can, and only where the kernel has loop devices
// and the file system.
func loop(t *testing.T, fstype, file string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount")
	}
	exec.Command("modprobe", "-q", fstype).Run() // where it is a module; the list below decides
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(known), "\t"+fstype+"\n") {
		t.Skipf("SKIPPED: this kernel has no %s", fstype)
	}
	out, err := exec.Command(tool(t, "losetup"), "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { run(t, tool(t, "losetup"), "--detach", device) })
	return device
}

func mkfs(fstype, label string) []string {
	switch fstype {
	case "vfat":
		return []string{"mkfs.vfat", "-F32", "-n", label}
	case "exfat", "ext4", "xfs", "btrfs":
		return []string{"mkfs." + fstype, "-L", label}
	}
	return nil
}

func sizeOf(fstype string) int64 {
	return map[string]int64{"xfs": 300, "btrfs": 128}[fstype] + 64
}

// Real file systems on real block devices: a labelled drive is filled and emptied without a hand on
// the keyboard, and nothing stays mounted.
func TestRealDevices(t *testing.T) {
	for _, fstype := range []string{"vfat", "exfat", "ext4", "xfs", "btrfs"} {
		t.Run(fstype, func(t *testing.T) {
			file := image(t, sizeOf(fstype), mkfs(fstype, "PKGSNEAK")...)
			device := loop(t, fstype, file)
			h, c := host(t), newMachine(t, "client")
			runDir := filepath.Join(t.TempDir(), "run")
			plug := func(m machine.Machine, role Role) *Result {
				t.Helper()
				j := &journal{}
				r, err := Run(t.Context(), m, Options{Device: device, Role: role, RunDir: runDir,
					Log: j.log, Users: j.say, System: Linux(), Worker: workerOf(t, m,
						workerStage{})})
				if err != nil {
					t.Fatalf("%s: %v\n%s", role, err, j.text())
				}
				if !r.SafeToPull {
					t.Errorf("%s: not safe to pull: %s", role, j.text())
				}
				mounts, err := watch.Mounts()
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range mounts {
					if m.Source == device {
						t.Errorf("%s: still mounted on %q", role, m.Point)
					}
				}
				return r
			}
			if r := plug(h, Export); r.Outcome != Done || len(r.Export.Copied) != 4 ||
				r.FS.Type.String() != fstype || r.FS.Label != "PKGSNEAK" {
				t.Errorf("export: %+v", r)
			}
			if r := plug(h, Export); r.Outcome != Unchanged {
				t.Errorf("export again: %+v", r)
			}
			trust(t, c, h)
			before := sum(t, file)
			if r := plug(c, Import); r.Outcome != Done || len(r.Import.Origins) != 1 ||
				len(r.Import.Origins[0].Copied) != 4 {
				t.Errorf("import: %+v", r)
			}
			if r := plug(c, Import); r.Outcome != Unchanged {
				t.Errorf("import again: %+v", r)
			}
			if sum(t, file) != before {
				t.Error("an import has written to the drive")
			}
		})
	}
}

// A foreign stick stays what it was, byte for byte, even if it was pulled from another machine
// before its journal was written out.
func TestRealForeignDevice(t *testing.T) {
	for _, fstype := range []string{"vfat", "exfat", "ext4", "xfs", "btrfs"} {
		t.Run(fstype, func(t *testing.T) {
			file := image(t, sizeOf(fstype), mkfs(fstype, "HOLIDAY")...)
			device := loop(t, fstype, file)
			point := t.TempDir()
			run(t, "mount", "-t", fstype, device, point)
			if err := os.WriteFile(filepath.Join(point, "photo.jpg"),
				bytes.Repeat([]byte("x"), 100000), 0o644); err != nil {
				t.Fatal(err)
			}
			run(t, "sync", "-f", point)
			pulled := filepath.Join(t.TempDir(), "pulled") // while it is mounted
			run(t, "cp", "--sparse=always", file, pulled)
			run(t, "umount", point)
			device = loop(t, fstype, pulled)
			before := sum(t, pulled)
			j := &journal{}
			r, err := Run(t.Context(), host(t), Options{Device: device, Role: Both,
				RunDir: filepath.Join(t.TempDir(), "run"), Log: j.log, System: Linux()})
			if err != nil || r.Outcome != Ignored || !r.SafeToPull {
				t.Errorf("%v, %+v, %s", err, r, j.text())
			}
			if sum(t, pulled) != before {
				t.Error("the foreign stick was written to")
			}
		})
	}
}

func sum(t *testing.T, file string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// Somebody else's mount is used and left alone, and keeps the drive from being called safe.
func TestRealMountOfOthers(t *testing.T) {
	device := loop(t, "ext4", image(t, 64, mkfs("ext4", "PKGSNEAK")...))
	point := t.TempDir()
	run(t, "mount", device, point)
	defer run(t, "umount", point)
	r, err := Run(t.Context(), host(t), Options{Device: device, Role: Export,
		RunDir: filepath.Join(t.TempDir(), "run"), System: Linux()})
	if err != nil || r.Outcome != Done || r.SafeToPull || r.Mount != point {
		t.Errorf("%v, %+v", err, r)
	}
	if _, err := os.Stat(filepath.Join(point, "pkgsneak/bighost/Manifest")); err != nil {
		t.Error(err)
	}
}

func TestFindDevice(t *testing.T) {
	device := loop(t, "ext4", image(t, 8))
	d, err := findDevice(filepath.Base(device))
	if err != nil || d.Path != device || d.Number == "" || d.Plug == "" {
		t.Errorf("%+v, %v", d, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(device, link); err != nil {
		t.Fatal(err)
	}
	if again, err := findDevice(link); err != nil || again != d {
		t.Errorf("by a link: %+v, %v, want %+v", again, err, d)
	}
	if !Linux().Present(d) {
		t.Error("it is not present")
	}
	d.Plug += "0"
	if Linux().Present(d) {
		t.Error("another plug of it is taken for the same")
	}
	if _, err := findDevice("/dev/null"); err == nil {
		t.Error("/dev/null is a block device")
	}
}
