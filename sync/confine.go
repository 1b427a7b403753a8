package sync

import (
	"os"

	"pkgsneak/sync/sandbox"
)

// ConfineImport confines this process, for ever, to what Import needs on this machine: it reads the drive and what the advice at the end is made of (ebuild repositories,
// installed packages), and writes PKGDIR, DISTDIR and the state directory. To be called when the configuration was read; the process cannot mount, unmount or run a program
// afterwards, so that whoever has to do that imports in a process of its own.
func ConfineImport(m Machine, o ImportOptions) sandbox.Confined {
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

// ConfineExport confines this process, for ever, to what Export needs on this machine: it reads PKGDIR, DISTDIR, itself (which it offers on the drive) and what the generation's
// record and the notices are made of, and writes the drive and the state directory. Otherwise as ConfineImport.
func ConfineExport(m Machine, o ExportOptions) sandbox.Confined {
	c := sandbox.Grants{Read: append([]string{m.PKGDIR, m.DISTDIR, fetchedDir(m)}, m.Settings.Lookups()...)}
	if m.Executable != "" {
		c.Read = append(c.Read, m.Executable)
	}
	if o.Pretend || needDirectory("export to", o.Drive) != nil { // then nothing will be written
		c.Read = append(c.Read, o.Drive, m.StateDir)
		return sandbox.Confine(c)
	}
	c.Write = []string{o.Drive, m.StateDir}
	return m.ConfineWriting(c)
}

// ConfineWriting makes the state directory, which the operations do in any case, and confines this
// process: what lies around it (/var/lib) is not granted.
func (m Machine) ConfineWriting(c sandbox.Grants) sandbox.Confined {
	if err := os.MkdirAll(m.StateDir, 0o755); err != nil {
		return sandbox.Confined{Problem: err.Error()}
	}
	return sandbox.Confine(c)
}
