package machine

import (
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/portage"
)

// Machine is what an operation is told of the computer it runs on. Everything is handed in; nothing
// below reads the environment or the clock by itself.
type Machine struct {
	Settings *portage.Settings
	Hostname string           // proposes the origin's name
	Now      func() time.Time // the machine's clock; never decides about trust alone
	Built    time.Time        // when this program was built; zero: it does not tell
	Booted   time.Time        // when this machine was started, by its clock; zero: not known
	StateDir string           // /var/lib/pkgsneak or the value of --state-dir
	PKGDIR   string           // from flag, environment or configuration
	DISTDIR  string
	// whether they were named for this run: a name of Portage's configuration is not misspelt
	NamedPKGDIR, NamedDISTDIR bool
	// path of the running program, offered on the drive when it is a static binary; "" offers none
	Executable string
	CPUInfo    []byte // /proc/cpuinfo; nil: the CPU is not known
	Proc       string // where the processes of this machine are seen; "" takes /proc
	Version    string // of this program, recorded in a generation
	LockWait   time.Duration
	// shown each change of a file on this machine, and of the drive that an export writes to; nil
	// outside of tests
	Hook       durable.Hook
	Unattended bool // who started the run remembers it himself (state.Run.By)
}
