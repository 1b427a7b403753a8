package exporter

import (
	"pkgsneak/sync/machine"
	"pkgsneak/sync/sandbox"
)

// Confine confines this process, for ever, to what Export needs on this machine: it reads PKGDIR,
// DISTDIR, itself (it offers itself on the drive) and what the generation's record and the notices
// are made of, and writes the drive and the state directory. To be called when the configuration
// was read. The process can neither mount, unmount nor run a program afterwards.
func Confine(m machine.Machine, o ExportOptions) sandbox.Confined {
	c := sandbox.Grants{Read: append([]string{m.PKGDIR, m.DISTDIR, fetchedDir(m)},
		m.Settings.Lookups()...)}
	c.Read = append(c.Read, readOnlyDistdirs(m)...)
	if m.Executable != "" {
		c.Read = append(c.Read, m.Executable)
	}
	// then nothing will be written
	if o.Pretend || machine.NeedDirectory("export to", o.Drive) != nil {
		c.Read = append(c.Read, o.Drive, m.StateDir)
		return sandbox.Confine(c)
	}
	c.Write = []string{o.Drive, m.StateDir}
	return m.ConfineWriting(c)
}
