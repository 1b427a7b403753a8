package drivewriter

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/volume"
)

// fileSystems are those a drive may have, with the size of a test's image
// and how it is made.
var fileSystems = []struct {
	name string
	kind volume.Type
	size int64
	make []string
}{
	{"vfat", volume.VFAT, 64 << 20, []string{"mkfs.vfat", "-F", "32", "-s", "1"}},
	{"exfat", volume.ExFAT, 64 << 20, []string{"mkfs.exfat"}},
	{"ext4", volume.Ext4, 64 << 20, []string{"mkfs.ext4", "-q", "-F"}},
	{"xfs", volume.XFS, 320 << 20, []string{"mkfs.xfs", "-q", "-f"}},
	{"btrfs", volume.Btrfs, 160 << 20, []string{"mkfs.btrfs", "-q", "-f"}},
}

// mountImage mounts a new file system of a kind, or skips the test loudly.
func mountImage(t *testing.T, kind string, size int64, mkfs []string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("NOT TESTED on %s: only root may mount", kind)
	}
	for _, tool := range []string{mkfs[0], "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("NOT TESTED on %s: %v", kind, err)
		}
	}
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	writeFile(t, image, "")
	if err := errors.Join(os.Truncate(image, size), os.Mkdir(mount, 0o755)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), mkfs[0],
		append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", mkfs, err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image,
		mount).CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED on %s: %s", kind, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() { unmount(t, mount) })
	return mount
}

// unmount fails for what this process has left open. A program that a parallel test starts has
// copies of all descriptors until it is another program: nothing is started meanwhile.
func unmount(t *testing.T, mount string) {
	t.Helper()
	syscall.ForkLock.Lock()
	err := syscall.Unmount(mount, 0)
	syscall.ForkLock.Unlock()
	if err != nil {
		t.Errorf("umount: %v; open here: %q", err, openBelow(t, mount))
	}
}

// openBelow is what this process has open in a directory.
func openBelow(t *testing.T, dir string) (names []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if name, _ := os.Readlink("/proc/self/fd/" + fd.Name()); name == dir ||
			strings.HasPrefix(name, dir+"/") {
			names = append(names, name)
		}
	}
	return names
}

func TestOnFileSystems(t *testing.T) {
	for _, kind := range fileSystems {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			mount := mountImage(t, kind.name, kind.size, kind.make)
			h := small()
			h.part, h.batch = 9<<20, 3
			h.dist("large", strings.Repeat("0123456789abcdef", 20<<16)) // 20 MiB: three parts
			h.dist("a:b", "colon")
			h.dist("UPPER", "1")
			h.dist("upper", "2")
			mustExport(t, h, mount)
			checkHolds(t, h, mount)
			h.pkg("app-misc/foo-1.tbz2", "rebuilt")
			h.pkg("app-misc/Foo-1.tbz2", "another spelling")
			h.drop(payload.Distfile, "large")
			mustExport(t, h, mount)
			g := checkHolds(t, h, mount)
			if d := open(t, mount); d.FSType() != kind.kind ||
				!strings.HasPrefix(d.Device(), "/dev/loop") {
				t.Errorf("taken for %v on %q", d.FSType(), d.Device())
			}
			g.Close()
			fullDrive(t, h, mount)
			readOnlyDrive(t, h, mount)
		})
	}
}

// A full drive keeps the old generation, and what was written of the new one
// does not stay.
func fullDrive(t *testing.T, h *host, mount string) {
	t.Helper()
	before := maps.Clone(h.files)
	filler := filepath.Join(mount, "filler")
	fill(t, filler)
	for i := range 40 {
		h.pkg(fmt.Sprintf("big-cat%d/big-1.tbz2", i), strings.Repeat("x", 1<<20))
	}
	h.batch = 0
	var full *drive.SpaceError
	if err := h.export(t.Context(), mount); !errors.As(err, &full) ||
		!errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full drive: %v", err)
	}
	h.files = before
	got := load(t, h, mount)
	if files, err := readItems(got); err != nil || !maps.Equal(files, before) {
		t.Errorf("on a full drive the old generation is not whole: %v", err)
	}
	got.Close()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.pkg("app-misc/last-1.tbz2", "x")
	mustExport(t, h, mount)
	g := checkHolds(t, h, mount)
	g.Close()
}

// fill leaves a little room on the drive.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err == nil {
		err = errors.Join(f.Truncate(info.Size()-6<<20), f.Sync())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readOnlyDrive(t *testing.T, h *host, mount string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "remount,ro",
		mount).CombinedOutput(); err != nil {
		t.Errorf("remount: %v\n%s", err, out)
		return
	}
	var readOnly *drive.ReadOnlyError
	if err := h.export(t.Context(), mount); !errors.As(err, &readOnly) || readOnly.Turned {
		t.Errorf("on a read-only drive: %v", err)
	}
	g := checkHolds(t, h, mount) // reading needs no writing
	g.Close()
}
