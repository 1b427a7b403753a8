package forget

import (
	"pkgsneak/sync/machine"
	"pkgsneak/sync/sandbox"
)

// Confine confines this process, for ever, to what Forget needs: it reads the state directory, and
// writes the drive, or only reads it where nothing will be removed.
func Confine(m machine.Machine, o Options) sandbox.Confined {
	if o.Pretend || machine.NeedDirectory("forget", o.Drive) != nil {
		return sandbox.Confine(sandbox.Grants{Read: []string{o.Drive, m.StateDir}})
	}
	return sandbox.Confine(sandbox.Grants{Read: []string{m.StateDir}, Write: []string{o.Drive}})
}
