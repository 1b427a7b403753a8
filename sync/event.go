package sync

import (
	"math"
	"slices"
	"strings"
)

// Phase names a stretch of a run, in the order in which they come.
type Phase string

// The phases of the journeys. Not every run has all of them.
const (
	PhaseScan     Phase = "scan"      // reading directories, indices and the drive's manifest
	PhaseProbe    Phase = "probe"     // looking whether a drive that was never used is as large as it says
	PhaseCheck    Phase = "check"     // reading files whose contents are not known yet
	PhaseCopy     Phase = "copy"      // payload: one read, one write, counted as it reaches the medium
	PhaseFlush    Phase = "flush"     // waiting for the drive to have written everything
	PhaseReadBack Phase = "read back" // comparing what the medium holds with what was written
	PhaseCommit   Phase = "commit"    // the new generation becomes the valid one
	PhaseIndex    Phase = "index"     // Packages is renewed under Portage's lock
	PhaseVerify   Phase = "verify"    // reading a drive from end to end
)

// Event tells how far a run is. Done and Total count bytes of the phase, Files and FilesTotal its files; a total of 0 is not known.
// Path is the file at hand, if there is one: foreign text, to be quoted before it is shown.
type Event struct {
	Phase      Phase
	Path       string
	Done       int64
	Total      int64
	Files      int
	FilesTotal int
	Notice     string // something a person should read now (waiting for a lock, a clock that is behind); then the counters are 0
}

// Watcher receives the events of a run, one at a time. It must return quickly. The nil Watcher is silent.
type Watcher func(Event)

func (w Watcher) tell(e Event) {
	if w != nil {
		w(e)
	}
}

func (w Watcher) notice(text string) { w.tell(Event{Notice: text}) }

// Kind is what a payload file is.
type Kind string

// The two kinds of payload.
const (
	Package  Kind = "package"
	Distfile Kind = "distfile"
)

// Item is one payload file in a plan or a report. Path is below PKGDIR for a package and the file's name for a distfile.
type Item struct {
	Kind   Kind   `json:"kind"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Reason string `json:"reason,omitempty"` // why it is in the list it is in
	Local  string `json:"local,omitempty"`  // where it went, when that is not Path
	Hint   string `json:"hint,omitempty"`   // the command that helps
}

// Tally counts the files of a list and their bytes.
type Tally struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (t *Tally) add(size int64) {
	t.Files++
	t.Bytes = plus(t.Bytes, size)
}

// plus adds sizes, which are not negative. What somebody signed may be more than fits.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// Count tallies items.
func Count(items []Item) Tally {
	t := Tally{Files: len(items)}
	for _, it := range items {
		t.Bytes = plus(t.Bytes, it.Size)
	}
	return t
}

func sortItems(items []Item) { slices.SortFunc(items, compareItems) }

// compareItems puts packages before distfiles, and paths in order.
func compareItems(a, b Item) int {
	if c := strings.Compare(string(b.Kind), string(a.Kind)); c != 0 {
		return c
	}
	return strings.Compare(a.Path, b.Path)
}
