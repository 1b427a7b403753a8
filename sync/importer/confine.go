package importer

import (
	"pkgsneak/sync/machine"
	"pkgsneak/sync/sandbox"
)

// Confine confines this process, for ever, to what Import needs on this machine: it reads the drive and
// what the advice at the end is made of (ebuild repositories, installed packages), and writes PKGDIR,
// DISTDIR and the state directory. To be called when the configuration was read. The process can
// neither mount, unmount nor run a program afterwards; a caller that has to imports in a process of its
// own.
func Confine(m machine.Machine, o ImportOptions) sandbox.Confined {
	c := sandbox.Grants{Read: append([]string{o.Drive}, m.Settings.Lookups()...)}
	dirs := []string{m.StateDir}
	if !o.NoPackages {
		dirs = append(dirs, m.PKGDIR)
	}
	if !o.NoDistfiles {
		dirs = append(dirs, m.DISTDIR)
	}
	if o.Pretend {
		c.Read = append(c.Read, dirs...)
		return sandbox.Confine(c)
	}
	c.Write = dirs
	return m.ConfineWriting(c)
}
