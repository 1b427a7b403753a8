package exporter

import (
	"fmt"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/sandbox"
)

// Class is that of a machine that has nothing to export.
func (e *NothingError) Class() fault.Class { return fault.Nothing }

// Hints are the reasons, with what to do.
func (e *NothingError) Hints(string) []string { return e.Notices }

// Class is that of no particular error.
func (e *ShrinkError) Class() fault.Class { return fault.Failed }

// Hints name the directory to look at.
func (e *ShrinkError) Hints(string) []string {
	return []string{fmt.Sprintf("look at %s; if the files are meant to be gone: --allow-shrink", fault.Quote(e.Dir))}
}

// Class is that of no particular error.
func (e *NameTakenError) Class() fault.Class { return fault.Failed }

// Hints name the flag.
func (e *NameTakenError) Hints(drive string) []string {
	return []string{fmt.Sprintf("give this PKGDIR a name of its own: pkgsneak export %s --name NAME", drive)}
}

// ConfineExport confines this process, for ever, to what Export needs on this machine: it reads PKGDIR, DISTDIR, itself (which it offers on the drive) and what the generation's
// record and the notices are made of, and writes the drive and the state directory. Otherwise as ConfineImport.
func Confine(m machine.Machine, o ExportOptions) sandbox.Confined {
	c := sandbox.Grants{Read: append([]string{m.PKGDIR, m.DISTDIR, fetchedDir(m)}, m.Settings.Lookups()...)}
	if m.Executable != "" {
		c.Read = append(c.Read, m.Executable)
	}
	if o.Pretend || machine.NeedDirectory("export to", o.Drive) != nil { // then nothing will be written
		c.Read = append(c.Read, o.Drive, m.StateDir)
		return sandbox.Confine(c)
	}
	c.Write = []string{o.Drive, m.StateDir}
	return m.ConfineWriting(c)
}

// NothingError says that neither PKGDIR nor DISTDIR holds anything that could be exported, and that the drive has no generation yet.
type NothingError struct {
	Notices []string // why that may be, and what to do
}

func (e *NothingError) Error() string { return "there is nothing to export" }

// ShrinkError says that the host lost so many files that taking it for a deletion would be reckless.
type ShrinkError struct {
	Kind          payload.Kind
	Dir           string
	Before, After int // files on the drive and on the host
}

func (e *ShrinkError) Error() string {
	return fmt.Sprintf("%q holds %d %ss, and the drive has %d of them: not taken for a deletion", e.Dir, e.After, e.Kind, e.Before)
}

// NameTakenError says that an origin's name stands for another PKGDIR of this machine.
type NameTakenError struct {
	Name         string
	PKGDIR, Have string // the one to be exported, the one that has the name
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("origin %q exports %q, not %q", e.Name, e.Have, e.PKGDIR)
}
