// Package progress is how an operation tells how far it is: events with the counters of a phase,
// and notices for a person.
package progress

// Phase names a part of an operation.
type Phase string

// The phases, in the order in which they come. Not every operation has all of them.
const (
	PhaseScan Phase = "scan" // reading directories, indices and the drive's manifest
	// looking whether a drive that was never used is as large as it says
	PhaseProbe Phase = "probe"
	PhaseCheck Phase = "check" // reading files whose contents are not known yet
	// payload: one read, one write, counted as it reaches the medium
	PhaseCopy     Phase = "copy"
	PhasePack     Phase = "pack"      // an ebuild repository becomes one file
	PhaseUnpack   Phase = "unpack"    // and a tree again
	PhaseFlush    Phase = "flush"     // waiting for the drive to have written everything
	PhaseReadBack Phase = "read back" // comparing what the medium holds with what was written
	PhaseCommit   Phase = "commit"    // the new generation becomes the valid one
	PhaseIndex    Phase = "index"     // Packages is renewed under Portage's lock
	PhaseRemove   Phase = "remove"    // taking an origin off a drive
	PhaseVerify   Phase = "verify"    // reading a drive from end to end
)

// Event tells how far an operation is. Done and Total count bytes of the phase, Files and
// FilesTotal its files; a total of 0 is not known. Path is the file at hand, if there is one:
// foreign text, to be quoted before it is shown.
type Event struct {
	Phase      Phase
	Path       string
	Done       int64
	Total      int64
	Files      int
	FilesTotal int
	// something a person should read now (waiting for a lock, a clock that is behind); then the
	// counters are 0
	Notice string
}

// Watcher receives the events of an operation, one at a time. It must return quickly. The nil
// Watcher is silent.
type Watcher func(Event)

// Tell passes an event on.
func (w Watcher) Tell(e Event) {
	if w != nil {
		w(e)
	}
}

// Notice passes on a text that a person should read now.
func (w Watcher) Notice(text string) { w.Tell(Event{Notice: text}) }
