package machine

import (
	"os"
	"path/filepath"

	"pkgsneak/sync/fault"
)

// AutoUses tells which drives and settings a run of auto uses, for people who wonder why nothing
// happened.
var AutoUses = []string{
	"drives: USB devices and memory cards with vfat, exfat, ext2, ext3, ext4, xfs or btrfs, and optical discs, if they carry a tree or have the label; no others",
	"never: trusting a key, asking, repairing a drive (--repair), importing an older generation (--allow-older): these are left to a person",
}

// logFiles are where a syslog daemon is likely to write, the first that is there.
var logFiles = []string{"/var/log/messages", "/var/log/syslog", "/var/log/daemon.log",
	"/var/log/everything/current"}

// AutoLog tells where the log of auto and watch is on the machine whose root directory is root: the
// line that shows it. Under systemd it is the journal, elsewhere syslog gets it (auto.Syslog).
func AutoLog(root string) string {
	at := func(path string) string { return filepath.Join("/", root, path) }
	if fi, err := os.Stat(at("/run/systemd/system")); err == nil && fi.IsDir() {
		return "journalctl -t pkgsneak"
	}
	for _, file := range logFiles {
		if _, err := os.Stat(at(file)); err == nil {
			return "grep pkgsneak " + fault.Quote(file)
		}
	}
	return "syslog (no file of it is in /var/log: is a syslog daemon installed?)"
}
