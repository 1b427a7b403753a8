package sync

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestMediumOf(t *testing.T) {
	cores := max(2, runtime.GOMAXPROCS(0))
	many := Medium{2 * cores, min(cores, maxWriters)}
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
			if got := mediumOf(root, 8, 1); got != tt.want {
				t.Errorf("%+v, not %+v", got, tt.want)
			}
			if got := mediumOf(root, 8, 2); got != (Medium{2, 1}) {
				t.Errorf("%+v for a device that is not there", got)
			}
		})
	}
}
