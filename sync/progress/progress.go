// Package progress is how an operation tells how far it is: events with the counters of a phase,
// and notices for a person.
package progress

import "time"

// Phase names a part of an operation.
type Phase string

// The phases, in the order in which they come. Not every operation has all of them.
const (
	PhaseScan Phase = "scan" // reading directories, indices and the drive's manifest
	// looking whether a drive that was never used is as large as it claims
	PhaseProbe   Phase = "probe"
	PhasePrepare Phase = "prepare" // giving the drive directories for what it will get
	// reading files whose contents are not known yet, or were not looked through by today's rules
	PhaseCheck Phase = "check"
	// payload: one read, one write, counted as it reaches the medium
	PhaseCopy     Phase = "copy"
	PhasePack     Phase = "pack"      // an ebuild repository becomes one file
	PhaseUnpack   Phase = "unpack"    // and a tree again
	PhaseFlush    Phase = "flush"     // waiting for the drive to have written everything
	PhaseReadBack Phase = "read back" // comparing what the medium holds with what was written
	PhaseCommit   Phase = "commit"    // the new generation becomes the valid one
	PhaseIndex    Phase = "index"     // Packages is renewed under Portage's lock
	PhaseRemove   Phase = "remove"    // taking files, or an origin, off a drive
	PhaseVerify   Phase = "verify"    // reading a drive from end to end
)

// A Message is what an operation tells while it runs: an Event or a Notice.
type Message interface{ message() }

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
}

// Notice is a text that a person should read now: an operation waits for a lock, a clock is behind.
type Notice string

func (Event) message()  {}
func (Notice) message() {}

// complete reports whether the event is the last one of its phase.
func (e Event) complete() bool {
	return e.Total > 0 && e.Done == e.Total && e.Files == e.FilesTotal
}

// Watcher receives the messages of an operation, one at a time. It must return quickly. The nil
// Watcher is silent.
type Watcher func(Message)

// OfEvents returns a watcher that passes on events only.
func OfEvents(f func(Event)) Watcher {
	return func(m Message) {
		if e, ok := m.(Event); ok {
			f(e)
		}
	}
}

// Tell passes an event on.
func (w Watcher) Tell(e Event) { w.pass(e) }

// Notice passes on a text that a person should read now.
func (w Watcher) Notice(text string) { w.pass(Notice(text)) }

func (w Watcher) pass(m Message) {
	if w != nil {
		w(m)
	}
}

// Throttle returns a watcher that passes on the first event of each phase and the one that
// completes it, in between one in every interval of the clock now, and every notice.
func Throttle(w Watcher, every time.Duration, now func() time.Time) Watcher {
	var phase Phase
	var next time.Time
	return func(m Message) {
		if e, ok := m.(Event); ok {
			t := now()
			if e.Phase == phase && !e.complete() && t.Before(next) {
				return
			}
			phase, next = e.Phase, t.Add(every)
		}
		w.pass(m)
	}
}
