package machine

import (
	"os"

	"pkgsneak/sync/sandbox"
)

// ConfineWriting makes the state directory, which the operations do in any case, and confines this
// process: what lies around it (/var/lib) is not granted.
func (m Machine) ConfineWriting(c sandbox.Grants) sandbox.Confined {
	if err := os.MkdirAll(m.StateDir, 0o755); err != nil {
		return sandbox.Confined{Problem: err.Error()}
	}
	return sandbox.Confine(c)
}
