package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/progress"
)

// testBar is a bar whose clock stands still, and whose own clock does not draw.
func testBar(columns int) (*bar, *bytes.Buffer, *time.Time) {
	out, now := new(bytes.Buffer), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b := &bar{screen: screen{out, false}, columns: func() int { return columns },
		stop: make(chan struct{})}
	b.now = func() time.Time { return now }
	b.began = now
	return b, out, &now
}

// The line shows what is done, how much of what, how fast and how long it takes, and nothing that
// is not known yet.
func TestBarText(t *testing.T) {
	const mib = 1 << 20
	b, _, now := testBar(200)
	at := func(after time.Duration, e progress.Event, want string) {
		t.Helper()
		*now = now.Add(after)
		if e.Phase != "" {
			b.event(e)
		}
		if got := b.text(*now, 200); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	at(0, progress.Event{}, "starting")
	at(5*time.Second, progress.Event{}, "starting, 5 s")
	copying := progress.Event{Phase: progress.PhaseCopy, Total: 100 * mib, FilesTotal: 1200,
		Path: "app-misc/foo-1.tbz2"}
	at(0, copying, "copying, 0 B of 100 MiB, 0 of 1,200 files: app-misc/foo-1.tbz2")
	copying.Done, copying.Files = 50*mib, 600
	// no rate out of a millisecond
	at(time.Millisecond, copying,
		"copying, 50 MiB of 100 MiB, 600 of 1,200 files: app-misc/foo-1.tbz2")
	at(2*time.Second-time.Millisecond, copying,
		"copying, 50 MiB of 100 MiB, 600 of 1,200 files, 25 MiB/s: app-misc/foo-1.tbz2")
	copying.Done = 75 * mib
	at(3*time.Second, copying,
		"copying, 75 MiB of 100 MiB, 600 of 1,200 files, 15 MiB/s, 2 s left: app-misc/foo-1.tbz2")
	copying.Done, copying.Files = 100*mib, 1200
	at(0, copying,
		"copying, 100 MiB of 100 MiB, 1,200 of 1,200 files, 20 MiB/s: app-misc/foo-1.tbz2")
	at(time.Second, progress.Event{Phase: progress.PhaseFlush},
		"waiting until the drive has written everything")
	at(65*time.Second, progress.Event{},
		"waiting until the drive has written everything, 1 min 5 s")
	at(0, progress.Event{Phase: progress.PhaseReadBack, Done: 1 * mib},
		"reading back what was written, 1.0 MiB")
	at(0, progress.Event{Phase: "another"}, "another")
}

// A drive that stops taking data has no rate, and no time left.
func TestBarStalls(t *testing.T) {
	b, _, now := testBar(200)
	e := progress.Event{Phase: progress.PhaseCopy, Total: 1 << 30}
	for range 40 {
		*now = now.Add(time.Second)
		e.Done = min(e.Done+10<<20, 100<<20)
		b.event(e)
	}
	if got, want := b.text(*now, 200), "copying, 100 MiB of 1.0 GiB"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The line fits the terminal, and what stood there before is wiped, whatever name a file has.
func TestBarFits(t *testing.T) {
	for _, columns := range []int{20, 40, 80, 132} {
		b, out, now := testBar(columns)
		for _, path := range []string{strings.Repeat("long/", 60), "字字字字字字字字字字字字字字字字字字字字字字字字字",
			"\x1b[2J\n", "a"} {
			*now = now.Add(time.Second)
			b.event(progress.Event{Phase: progress.PhaseCopy, Done: 1 << 20, Total: 1 << 30,
				Files: 1, FilesTotal: 20000, Path: path})
		}
		b.hide()
		text := out.String()
		if strings.ContainsAny(text, "\x1b\n") {
			t.Errorf("%d columns: %q", columns, text)
		}
		for _, line := range strings.Split(text, "\r") {
			if w := width(line); w >= columns {
				t.Errorf("%d columns: a line of %d: %q", columns, w, line)
			}
		}
		if !strings.HasSuffix(text, " \r") {
			t.Errorf("%d columns: %q is left", columns, text)
		}
	}
}

// Before the first event, and between two of them, the line draws itself.
func TestBarDrawsItself(t *testing.T) {
	drawn := make(chan string, 100)
	b := newBar(screen{writerFunc(func(p []byte) (int, error) {
		drawn <- string(p)
		return len(p),
			nil
	}), false}, time.Now, func() int { return 80 })
	if line := <-drawn; !strings.Contains(line, "starting") {
		t.Errorf("%q", line)
	}
	b.event(progress.Event{Phase: progress.PhaseFlush})
	for range 2 {
		if line := <-drawn; !strings.Contains(line,
			"waiting until the drive has written everything") {
			t.Errorf("%q", line)
		}
	}
	b.end()
	b.end()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestLasting(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 s", 59400 * time.Millisecond: "59 s",
		125 * time.Second: "2 min 5 s", 80 * time.Minute: "1 h 20 min", 1000 * time.Hour: "days"} {
		if got := lasting(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
