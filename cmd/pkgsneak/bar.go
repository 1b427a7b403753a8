package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	events "pkgsneak/sync/progress"
)

// The times of the line that moves. It is there before anything was counted, and it goes on where
// an operation waits for a drive: that is when the drive must not be pulled.
const (
	barTick   = 250 * time.Millisecond // it is drawn so often, whatever happens
	barPause  = 100 * time.Millisecond // events draw it no more often
	rateSpan  = 5 * time.Second        // the rate is that of the last seconds
	rateFirst = time.Second            // a rate over less means nothing
	leftFirst = 3 * time.Second        // nor does a time left
)

// phaseWords name what happens in a phase.
var phaseWords = map[events.Phase]string{
	"":                   "starting",
	events.PhaseScan:     "reading what is there",
	events.PhaseProbe:    "testing the drive's capacity",
	events.PhasePrepare:  "making directories on the drive",
	events.PhaseCheck:    "comparing contents",
	events.PhaseCopy:     "copying",
	events.PhasePack:     "packing",
	events.PhaseUnpack:   "unpacking",
	events.PhaseFlush:    "waiting until the drive has written everything",
	events.PhaseReadBack: "reading back what was written",
	events.PhaseCommit:   "committing",
	events.PhaseIndex:    "indexing",
	events.PhaseRemove:   "removing",
	events.PhaseVerify:   "verifying",
}

// bar is the one line on a terminal that moves. Events and its own clock draw it; everything else
// that is printed hides it first.
type bar struct {
	// given
	screen  screen
	now     func() time.Time
	columns func() int // of the terminal

	// state
	mu     sync.Mutex
	at     events.Event
	began  time.Time // the phase
	marks  []mark    // of the last rateSpan, the oldest first
	drawn  time.Time
	width  int // of what stands there, in columns
	hidden bool
	stop   chan struct{}
}

// mark is how far a phase was at a time.
type mark struct {
	when time.Time
	done int64
}

// newBar draws the line until end is called.
func newBar(s screen, now func() time.Time, columns func() int) *bar {
	b := &bar{screen: s, now: now, columns: columns, began: now(), stop: make(chan struct{})}
	go b.run()
	return b
}

func (b *bar) run() {
	ticker := time.NewTicker(barTick)
	defer ticker.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-ticker.C:
		}
		b.mu.Lock()
		if !b.hidden {
			b.draw(b.now())
		}
		b.mu.Unlock()
	}
}

// event takes how far an operation is.
func (b *bar) event(e events.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	fresh := e.Phase != b.at.Phase || e.Done < b.at.Done
	if fresh {
		b.began, b.marks = now, nil
	}
	b.at, b.hidden = e, false
	b.mark(now, e.Done)
	if fresh || now.Sub(b.drawn) >= barPause {
		b.draw(now)
	}
}

// mark remembers how far the phase is, four times a second.
func (b *bar) mark(now time.Time, done int64) {
	if n := len(b.marks); n > 0 && now.Sub(b.marks[n-1].when) < barTick {
		return
	}
	for len(b.marks) > 1 && now.Sub(b.marks[1].when) >= rateSpan {
		b.marks = b.marks[1:]
	}
	b.marks = append(b.marks, mark{now, done})
}

// rate is in bytes a second, 0 while it is not known.
func (b *bar) rate(now time.Time) float64 {
	if len(b.marks) == 0 || now.Sub(b.marks[0].when) < rateFirst {
		return 0
	}
	return float64(b.at.Done-b.marks[0].done) / now.Sub(b.marks[0].when).Seconds()
}

// text is the line: what is done, bytes and files of their totals, rate, time left, and the file at
// hand as far as there is room for it.
func (b *bar) text(now time.Time, columns int) string {
	e := b.at
	parts := []string{phaseWords[e.Phase]}
	if parts[0] == "" {
		parts[0] = string(e.Phase)
	}
	switch {
	case e.Total > 0:
		parts = append(parts, fmt.Sprintf("%s of %s", size(min(e.Done, e.Total)), size(e.Total)))
	case e.Done > 0:
		parts = append(parts, size(e.Done))
	}
	switch {
	case e.FilesTotal > 0:
		parts = append(parts, fmt.Sprintf("%s of %s", humanize.Comma(int64(e.Files)),
			count(e.FilesTotal, "file")))
	case e.Files > 0:
		parts = append(parts, count(e.Files, "file"))
	}
	elapsed := now.Sub(b.began)
	rate := b.rate(now)
	if rate > 0 {
		parts = append(parts, size(int64(rate))+"/s")
	}
	switch {
	case rate > 0 && e.Total > e.Done && elapsed >= leftFirst:
		parts = append(parts,
			lasting(time.Duration(float64(e.Total-e.Done)/rate*float64(time.Second)))+" left")
	case e.Total == 0 && elapsed >= leftFirst:
		parts = append(parts, lasting(elapsed))
	}
	line := clip(strings.Join(parts, ", "), columns)
	if room := columns - width(line) - 2; e.Path != "" && room >= 12 {
		line += ": " + clip(printable(e.Path), room)
	}
	return line
}

// draw writes the line over the one that stands there.
func (b *bar) draw(now time.Time) {
	line := b.text(now, max(b.columns()-1, 10)) // in the last column some terminals break the line
	w := width(line)
	fmt.Fprintf(b.screen.w, "\r%s%s", line, strings.Repeat(" ", max(b.width-w, 0)))
	b.width, b.drawn = w, now
}

// hide takes the line off the screen, so that something else can be printed, until show or an event
// brings it back.
func (b *bar) hide() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
}

func (b *bar) wipe() {
	b.hidden = true
	if b.width > 0 {
		io.WriteString(b.screen.w, "\r"+strings.Repeat(" ", b.width)+"\r")
		b.width = 0
	}
}

// show brings it back.
func (b *bar) show() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hidden = false
	b.draw(b.now())
}

// end takes the line away for good. It may be called again.
func (b *bar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
	select {
	case <-b.stop:
	default:
		close(b.stop)
	}
}

// lasting is a length of time for people: 40 s, 2 min 5 s, 1 h 20 min.
func lasting(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 100*3600:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return "days"
}

// width is how many columns a printable text takes.
func width(s string) (n int) {
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

// columnsOf takes every letter from the Hangul Jamo on for a wide one: one that is counted as too
// wide does no harm.
func columnsOf(r rune) int {
	if r >= 0x1100 {
		return 2
	}
	return 1
}

// clip shortens a text to a number of columns.
func clip(s string, columns int) string {
	if width(s) <= columns {
		return s
	}
	n := 0
	for i, r := range s {
		if n += columnsOf(r); n > columns-3 {
			return s[:i] + "..."
		}
	}
	return s
}
