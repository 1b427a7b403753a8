package progress

import (
	"slices"
	"testing"
	"time"
)

// Of a phase the first event is passed on, the last one, and in between one in an interval; a
// notice is always.
func TestThrottle(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	var got []Message
	w := Throttle(func(m Message) { got = append(got, m) }, time.Second,
		func() time.Time { now = now.Add(400 * time.Millisecond); return now })
	at := func(phase Phase, done int64) Event { return Event{Phase: phase, Done: done, Total: 7} }
	for done := range int64(8) {
		w.Tell(at(PhaseCopy, done))
		if done == 1 {
			w.Notice("read me")
		}
	}
	w.Tell(at(PhaseFlush, 0))
	want := []Message{at(PhaseCopy, 0), Notice("read me"), at(PhaseCopy, 3), at(PhaseCopy, 6),
		at(PhaseCopy, 7), at(PhaseFlush, 0)}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	Watcher(nil).Notice("to nobody")
	Watcher(nil).Tell(Event{})
}
