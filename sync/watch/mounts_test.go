package watch

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Lines of real machines: a stick of udisks with a blank in its name, a bind mount, btrfs with a
// subvolume, a mount without options of its file system.
const table = `22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
36 28 8:17 / /run/media/larry/MY\040STICK rw,nosuid,nodev,relatime shared:1 master:2 - vfat /dev/sdb1 rw,uid=1000,errors=remount-ro
37 28 8:17 /pkgsneak /srv/bind ro,relatime - vfat /dev/sdb1 rw
38 28 0:44 /@home /home rw shared:3 - btrfs /dev/sda2 rw,subvol=/@home
39 28 7:0 / /snap/a\134b rw propagate_from:2 - squashfs /dev/loop0 ro,errors=continue
40 28 0:50 / /odd rw - tmpfs  rw
`

func TestParseMounts(t *testing.T) {
	got, err := ParseMounts(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	want := []Mount{
		{"22", "0:20", "/", "/sys", "sysfs", "sysfs", false},
		{"36", "8:17", "/", "/run/media/larry/MY STICK", "vfat", "/dev/sdb1", false},
		{"37", "8:17", "/pkgsneak", "/srv/bind", "vfat", "/dev/sdb1", true},
		{"38", "0:44", "/@home", "/home", "btrfs", "/dev/sda2", false},
		{"39", "7:0", "/", `/snap/a\b`, "squashfs", "/dev/loop0", true},
		{"40", "0:50", "/", "/odd", "tmpfs", "", false},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseMountsOdd(t *testing.T) {
	for _, line := range []string{"", "36 28 8:17 / /mnt rw - vfat",
		"36 28 8:17 / /mnt rw shared:1 vfat /dev/sda1 rw", "x"} {
		if got, err := ParseMounts(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%q is taken for %+v", line, got)
		}
	}
}

// The kernel's own table is read, and the root is in it.
func TestMounts(t *testing.T) {
	mounts, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.Point == "/" {
			return
		}
	}
	t.Errorf("no root in %+v", mounts)
}

func FuzzParseMounts(f *testing.F) {
	f.Add(table)
	f.Add(`1 1 0:1 / /\777 rw - a b c`)
	f.Add(`1 1 0:1 / /\04 rw - a b`)
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := ParseMounts(strings.NewReader(text))
		if err == nil && len(mounts) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts", len(mounts))
		}
	})
}

func TestMountChanges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can mount")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := MountChanges(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.Mount("pkgsneak-test", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("SKIPPED: mount: %v", err)
	}
	told(t, changes)
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	told(t, changes)
}

func told(t *testing.T, changes <-chan struct{}) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(patience):
		t.Fatal("a mount was not told")
	}
}

// The end of ctx ends the wait in poll(2), as any user.
func TestMountChangesEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	changes, err := MountChanges(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	timeout := time.After(patience)
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-timeout:
			t.Fatal("it goes on")
		}
	}
}
