package auto

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/requester"
	"pkgsneak/sync/volume"
)

// Role is what a machine does with a drive.
type Role string

// The roles. None is what a machine has that nobody gave one.
const (
	None   Role = ""
	Export Role = "export"
	Import Role = "import"
	Both   Role = "both"
)

// ParseRole reads a role as it stands in a configuration.
func ParseRole(s string) (Role, error) {
	switch r := Role(strings.ToLower(strings.TrimSpace(s))); r {
	case None, Export, Import, Both:
		return r, nil
	}
	return None, fmt.Errorf("%q is no role: export, import or both", s)
}

func (r Role) exports() bool { return r == Export || r == Both }
func (r Role) imports() bool { return r == Import || r == Both }

// DefaultLabel is the label of a drive without a tree that shall get one.
const DefaultLabel = "PKGSNEAK"

// DefaultRunDir is where locks and mount points are.
const DefaultRunDir = "/run/pkgsneak"

// Level is how urgent a line of the log is, in the numbers of syslog(3).
type Level uint8

// The levels.
const (
	Error   Level = 3
	Warning Level = 4
	Info    Level = 6
	Debug   Level = 7 // what only --verbose asks for
)

// Options states for which device and how to run. Device and Role are what a run needs; the rest
// has defaults or is optional.
type Options struct {
	Device     string // sda1, /dev/sda1
	Role       Role
	Label      string // adopts a drive; "" is DefaultLabel
	Hook       string // a line for /bin/sh, run when all is done
	ResultFile bool   // leave a text on the drive of what was done
	RunDir     string // "" is DefaultRunDir
	Export     exporter.ExportOptions
	Import     importer.ImportOptions
	// after an import, write a request to the drive (package requester)
	Request bool
	Asking  requester.Options // how

	Log func(Level, string) // nil: nobody
	// tells the users who are logged in, a line each; nil: nobody
	Users func([]string) error
	// the exit code of an error, and what helps against it; nil: 1, and nothing
	Classify func(error) (code int, hints []string)
	// the line of JSON that Hook gets, with its newline; nil: as encoding/json writes it
	Encode func(*Result) ([]byte, error)
	Events progress.Watcher // progress
	System System           // Linux()
	// Worker is a process that calls Work with the same machine and options and makes the
	// operations confined; nil: they are made in this process, which is not confined.
	Worker func(context.Context) *exec.Cmd

	operations *operations // of a test
}

// classify gives the exit code of an error and what helps against it.
func (o *Options) classify(err error) (code int, hints []string) {
	if o.Classify == nil {
		return 1, nil
	}
	return o.Classify(err)
}

// encode gives the line of JSON that the hook gets.
func (o *Options) encode(r *Result) ([]byte, error) {
	if o.Encode != nil {
		return o.Encode(r)
	}
	line, err := json.Marshal(r)
	return append(line, '\n'), err
}

// operations are the functions of exporter and importer, or a worker's.
type operations struct {
	export func(context.Context, machine.Machine, exporter.ExportOptions,
		progress.Watcher) (*exporter.ExportReport, error)
	bring func(context.Context, machine.Machine, importer.ImportOptions,
		progress.Watcher) (*importer.ImportReport, error)
	ask func(context.Context, machine.Machine, requester.Options,
		progress.Watcher) (*requester.Report, error)
}

// Outcome is how a run ended.
type Outcome string

// The outcomes.
const (
	Done        Outcome = "done"
	Unchanged   Outcome = "unchanged" // nothing was to be done
	NoRole      Outcome = "no role"   // this machine has none
	Ignored     Outcome = "ignored"   // not a drive of ours
	Busy        Outcome = "busy"      // another run has this drive
	Failed      Outcome = "failed"
	Pulled      Outcome = "pulled"      // before the end
	Interrupted Outcome = "interrupted" // by a signal
)

// Result is what a run did.
type Result struct {
	Host       string                 `json:"host"`
	Device     Device                 `json:"device"`
	FS         volume.Superblock      `json:"fs"`
	Mount      string                 `json:"mount,omitempty"` // somebody else's, if it was used
	Role       Role                   `json:"role"`
	Outcome    Outcome                `json:"outcome"`
	SafeToPull bool                   `json:"safe_to_pull"`
	Message    string                 `json:"message"`
	Error      string                 `json:"error,omitempty"`
	Hints      []string               `json:"hints"`
	Export     *exporter.ExportReport `json:"export,omitempty"`
	Import     *importer.ImportReport `json:"import,omitempty"`
	// that was written after the import
	Request *requester.Report `json:"request,omitempty"`
	Began   time.Time         `json:"began"`
	Ended   time.Time         `json:"ended"`

	left bool // the drive was pulled as soon as all was done
}
