package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// tool finds a program that administrators have in their PATH and tests may not.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/sbin/", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Skipf("SKIPPED: %s is not here", name)
	return ""
}

// image makes a file of the size with a file system by the command, whose last argument is the
// file.
func image(t *testing.T, megabytes int64, command ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, megabytes<<20); err != nil {
		t.Fatal(err)
	}
	if len(command) > 0 {
		run(t, tool(t, command[0]), append(command[1:], file)...)
	}
	return file
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // of labels
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

func identify(t *testing.T, file string) (Superblock, error) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Identify(f)
}

// The file systems that the real programs make are found for what they are.
func TestIdentify(t *testing.T) {
	tests := []struct {
		name    string
		size    int64
		command []string
		want    Superblock
	}{
		{"fat12", 2, []string{"mkfs.vfat", "-F12", "-n", "PKGSNEAK"}, Superblock{VFAT, "PKGSNEAK"}},
		{"fat16", 32, []string{"mkfs.vfat", "-F16", "-n", "MY STICK"},
			Superblock{VFAT, "MY STICK"}},
		{"fat32", 64, []string{"mkfs.vfat", "-F32", "-n", "PKGSNEAK"},
			Superblock{VFAT, "PKGSNEAK"}},
		{"fat32 with sectors of 4096", 600, []string{"mkfs.vfat", "-F32", "-S4096", "-n",
			"PKGSNEAK"}, Superblock{VFAT, "PKGSNEAK"}},
		{"fat32 without a label", 64, []string{"mkfs.vfat", "-F32"}, Superblock{VFAT, ""}},
		{"exfat", 64, []string{"mkfs.exfat", "-L", "PKGSNEAK"}, Superblock{ExFAT, "PKGSNEAK"}},
		{"exfat with umlauts", 64, []string{"mkfs.exfat", "-L", "Bücher"},
			Superblock{ExFAT, "Bücher"}},
		{"exfat without a label", 64, []string{"mkfs.exfat"}, Superblock{ExFAT, ""}},
		{"ext2", 8, []string{"mkfs.ext2", "-q", "-L", "PKGSNEAK"}, Superblock{Ext4, "PKGSNEAK"}},
		{"ext4", 8, []string{"mkfs.ext4", "-q", "-L", "sixteen-letters!"},
			Superblock{Ext4, "sixteen-letters!"}},
		{"xfs", 300, []string{"mkfs.xfs", "-q", "-L", "PKGSNEAK"}, Superblock{XFS, "PKGSNEAK"}},
		{"btrfs", 128, []string{"mkfs.btrfs", "-q", "-L", "PKGSNEAK"},
			Superblock{Btrfs, "PKGSNEAK"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := identify(t, image(t, tt.size, tt.command...))
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// A disc as xorriso makes it of a folder.
func TestIdentifyDisc(t *testing.T) {
	program, dir := tool(t, "xorriso"), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image")
	run(t, program, "-as", "mkisofs", "-quiet", "-R", "-V", "PKGSNEAK", "-o", file, dir)
	if got, err := identify(t, file); err != nil || got != (Superblock{ISO9660, "PKGSNEAK"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Windows writes a new label into the root directory alone.
func TestIdentifyLabelOfRootDirectory(t *testing.T) {
	file := image(t, 64, "mkfs.vfat", "-F32", "-n", "BEFORE")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	boot := make([]byte, 512)
	if _, err := f.ReadAt(boot, 0); err != nil {
		t.Fatal(err)
	}
	root := int64(binary.LittleEndian.Uint16(boot[14:]))*512 +
		int64(boot[16])*int64(binary.LittleEndian.Uint32(boot[36:]))*512
	if _, err := f.WriteAt([]byte("AFTER      "), root); err != nil {
		t.Fatal(err)
	}
	if got, err := Identify(f); err != nil || got.Label != "AFTER" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestIdentifyUnknown(t *testing.T) {
	partitioned := bytes.Repeat([]byte{0}, 1<<20)
	copy(partitioned[446:], []byte{0x80, 1, 1, 0, 0x0c, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 0, 0x20, 3,
		0, 0x55, 0xaa})
	copy(partitioned[510:], []byte{0x55, 0xaa})
	copy(partitioned, []byte{0xeb, 0x63, 0x90}) // GRUB begins like a FAT
	ntfs := bytes.Repeat([]byte{0}, 1<<20)
	copy(ntfs, "\xeb\x52\x90NTFS    \x00\x02\x08\x00\x00\x00\x00\x00\x00\x00\xf8")
	copy(ntfs[510:], []byte{0x55, 0xaa})
	tests := []struct {
		name string
		data []byte
	}{
		{"empty", nil},
		{"short", []byte("XFSB")},
		{"zeros", make([]byte, 1<<20)},
		{"a table of partitions behind a boot loader", partitioned},
		{"ntfs", ntfs},
		{"ones", bytes.Repeat([]byte{0xff}, 1<<20)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Identify(bytes.NewReader(tt.data)); !errors.Is(err, ErrUnknown) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	if got, err := identify(t, image(t, 8, "mkfs.ext4", "-q", "-O",
		"journal_dev")); !errors.Is(err, ErrUnknown) {
		t.Errorf("a journal alone: got %+v, %v", got, err)
	}
}

// Leftovers of another file system: nothing tells which one is meant.
func TestIdentifyAmbiguous(t *testing.T) {
	file := image(t, 64, "mkfs.vfat", "-F32", "-n", "PKGSNEAK")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("_BHRfS_M"), 65536+64); err != nil {
		t.Fatal(err)
	}
	_, err = Identify(f)
	if e := (*AmbiguousError)(nil); !errors.As(err, &e) || len(e.Types) != 2 {
		t.Errorf("got %v", err)
	}
}

func TestIdentifyFailing(t *testing.T) {
	if _, err := Identify(failing{}); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("a device that cannot be read: %v", err)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

// No bytes of a device make it fall over, or read without end.
func FuzzIdentify(f *testing.F) {
	boot := make([]byte, 4096)
	copy(boot, "\xeb\x58\x90mkfs.fat\x00\x02\x01\x20\x00\x02\x00\x00\x00\x00\xf8")
	binary.LittleEndian.PutUint32(boot[32:], 131072)
	binary.LittleEndian.PutUint32(boot[36:], 1)
	binary.LittleEndian.PutUint32(boot[44:], 2)
	boot[66] = 0x29
	copy(boot[71:], "PKGSNEAK   ")
	copy(boot[510:], []byte{0x55, 0xaa})
	f.Add(boot)
	exfat := make([]byte, 4096)
	copy(exfat[3:], "EXFAT   ")
	exfat[108], exfat[109], exfat[96] = 9, 3, 2
	copy(exfat[510:], []byte{0x55, 0xaa})
	f.Add(exfat)
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &counted{r: bytes.NewReader(data)}
		Identify(c)
		if c.bytes > 4*maxRoot {
			t.Errorf("%d bytes read", c.bytes)
		}
	})
}

type counted struct {
	r     *bytes.Reader
	bytes int
}

func (c *counted) ReadAt(b []byte, at int64) (int, error) {
	c.bytes += len(b)
	return c.r.ReadAt(b, at)
}
