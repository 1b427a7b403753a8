package volume

import (
	"os"
	"path/filepath"
	"testing"

	"pkgsneak/sync/pipeline"
)

func TestMediumOf(t *testing.T) {
	cores := max(2, pipeline.Processors())
	many := Medium{min(readersEach*cores, maxReaders), manyWriters}
	for _, tt := range []struct {
		name       string
		device     string // below devices
		partition  string // of it; "": none
		rotational string // "": not told
		removable  string
		want       Medium
	}{
		{"nvme disk", "pci0/nvme0n1", "nvme0n1p2", "0", "0", many},
		{"virtual disk without partitions", "virtio0/vda", "", "0", "0", many},
		{"virtual disk that says it turns", "pci0/virtio2/vda", "vda1", "1", "0", many},
		{"hard disk", "pci0/ata1/sda", "sda1", "1", "0", Medium{1, 1}},
		{"stick", "pci0/usb2/2-1/sdb", "sdb1", "1", "1", Medium{2, 1}},
		{"stick that says it stays", "pci0/usb2/2-1/sdb", "sdb1", "0", "0", Medium{2, 1}},
		{"card reader", "pci0/mmc0/mmcblk0", "mmcblk0p1", "0", "1", Medium{2, 1}},
		{"not told", "virtual/x", "", "", "", Medium{2, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			disk := filepath.Join(root, "devices", tt.device)
			at := filepath.Join(disk, tt.partition)
			for _, dir := range []string{at, disk + "/queue", root + "/dev/block"} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write := func(name, text string) {
				if err := os.WriteFile(name, []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if tt.partition != "" {
				write(at+"/partition", "1")
			}
			if tt.rotational != "" {
				write(disk+"/queue/rotational", tt.rotational)
				write(disk+"/removable", tt.removable)
			}
			if err := os.Symlink(at, root+"/dev/block/8:1"); err != nil {
				t.Fatal(err)
			}
			if got := mediumOf(root + "/dev/block/8:1"); got != tt.want {
				t.Errorf("%+v, not %+v", got, tt.want)
			}
			if got := mediumOf(root + "/dev/block/8:2"); got != unknownMedium {
				t.Errorf("%+v for a device that is not there", got)
			}
		})
	}
	if got := mediumOf(""); got != unknownMedium {
		t.Errorf("%+v for no device", got)
	}
}

// A mapping claims not to turn, and is no better than the worst of what it lies on.
func TestMediumOfMapping(t *testing.T) {
	root := t.TempDir()
	make := func(device, rotational string, slaves ...string) {
		write(t, filepath.Join(root, device, "queue/rotational"), rotational+"\n")
		for _, slave := range slaves {
			if err := os.MkdirAll(filepath.Join(root, device, "slaves"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(root, slave), filepath.Join(root, device, "slaves",
				filepath.Base(slave))); err != nil {
				t.Fatal(err)
			}
		}
	}
	make("pci0/nvme0n1", "0")
	make("pci0/nvme1n1", "0")
	make("pci0/ata1/sda", "1")
	make("pci0/usb2/2-1/sdb", "0")
	make("virtual/dm-0", "0", "pci0/nvme0n1")
	make("virtual/dm-1", "0", "virtual/dm-0", "pci0/nvme1n1")
	make("virtual/md0", "0", "pci0/nvme0n1", "pci0/ata1/sda")
	make("virtual/dm-2", "0", "pci0/usb2/2-1/sdb")
	for device, like := range map[string]string{"virtual/dm-0": "pci0/nvme0n1",
		"virtual/dm-1": "pci0/nvme0n1", "virtual/md0": "pci0/ata1/sda",
		"virtual/dm-2": "pci0/usb2/2-1/sdb"} {
		got, want := mediumOf(filepath.Join(root, device)), mediumOf(filepath.Join(root, like))
		if got != want {
			t.Errorf("%s: %+v, but %s is %+v", device, got, like, want)
		}
	}
	if fast, slow := mediumOf(filepath.Join(root, "virtual/dm-1")), mediumOf(filepath.Join(root,
		"virtual/md0")); fast.Readers <= slow.Readers {
		t.Errorf("%+v and %+v", fast, slow)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
