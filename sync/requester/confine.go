package requester

import (
	"os"
	"path"
	"path/filepath"
	"slices"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/sandbox"
)

// Confine confines this process, for ever, to what Request needs on this machine: it reads the
// drive, PKGDIR, Portage's configuration and database, and emerge.log, and writes the directory of
// clients on the drive and the state directory. To be called when the configuration was read.
func Confine(m machine.Machine, o Options) sandbox.Confined {
	log := m.Settings.Get("EMERGE_LOG_DIR")
	if log == "" {
		log = "/var/log"
	}
	c := sandbox.Grants{Read: slices.Concat([]string{m.PKGDIR, m.DISTDIR,
		m.Settings.HostPath(path.Join("/", log, "emerge.log"))}, m.Settings.Lookups())}
	if o.Drive != "" {
		c.Read = append(c.Read, o.Drive)
	}
	if o.Pretend {
		c.Read = append(c.Read, m.StateDir)
		return sandbox.Confine(c)
	}
	c.Write = append(c.Write, m.StateDir)
	switch {
	case o.File != "" && checkFile(o.File) == nil:
		c.Write = append(c.Write, filepath.Dir(o.File))
	case o.Drive != "":
		c.Write = append(c.Write, clientsOn(o.Drive))
	}
	return m.ConfineWriting(c)
}

// clientsOn is the deepest directory that is there on the way to the directory of clients on a
// drive, and the one above where an empty directory has to be removed first.
func clientsOn(mount string) string {
	tree := filepath.Join(mount, layout.TreeDir)
	d, err := drive.Open(mount)
	if err != nil {
		if info, err := os.Lstat(tree); err == nil && info.IsDir() {
			return tree
		}
		return mount
	}
	defer d.Close()
	dir := filepath.Join(tree, layout.ClientsDir)
	if d.FSType().StaleDirectories() {
		if entries, err := os.ReadDir(tree); err == nil && len(entries) == 0 {
			return mount
		}
		if empty, err := d.EmptyDirs(); err == nil && len(empty) > 0 {
			return tree
		}
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return tree
	}
	return dir
}
