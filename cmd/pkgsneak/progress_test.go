package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/progress"
)

// watched sends events through the watcher of a run with the given flags, and gives what came out.
func watched(t *testing.T, e *env, words string, events []progress.Message) {
	t.Helper()
	f := &commandLine{env: e, out: newPrinter(e)}
	app := newApp(f)
	app.Commands = []*cli.Command{{
		Name:  "probe",
		Flags: flags(common, noProgress),
		Action: f.action(0, 0, func(c *invocation) error {
			watch, done := c.watcher()
			for _, ev := range events {
				watch(ev)
			}
			done()
			c.out.say("the summary")
			return nil
		}),
	}}
	if err := dispatch(context.Background(), f, app,
		append([]string{"probe"}, strings.Fields(words)...)); err != nil {
		t.Fatal(err)
	}
}

var someEvents = []progress.Message{
	progress.Event{Phase: progress.PhaseScan, Path: "/pkgdir"},
	progress.Event{Phase: progress.PhaseCopy, Path: "a\x1b[2J", Done: 10, Total: 100, Files: 1,
		FilesTotal: 2},
	progress.Event{Phase: progress.PhaseCopy, Path: "b", Done: 60, Total: 100, Files: 1,
		FilesTotal: 2},
	progress.Notice("waiting for another program\x1b[2J"),
	progress.Event{Phase: progress.PhaseCopy, Path: "b", Done: 100, Total: 100, Files: 2,
		FilesTotal: 2},
	progress.Event{Phase: progress.PhaseFlush},
}

func TestProgressIsForTerminalsOnly(t *testing.T) {
	tests := []struct {
		name, words  string
		tty          bool
		bars, notice bool
	}{
		{"terminal", "", true, true, true},
		{"no terminal", "", false, false, true},
		{"--no-progress", "--no-progress", true, false, true},
		{"--quiet", "--quiet", true, false, false},
		{"--json", "--json", true, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _, errOut := testEnv(t, nil)
			e.stderrTTY = tt.tty
			watched(t, e, tt.words, someEvents)
			text := errOut.String()
			if got := strings.Contains(text, "copy"); got != tt.bars {
				t.Errorf("bars: %t, want %t: %q", got, tt.bars, text)
			}
			if got := strings.Contains(text,
				`waiting for another program\x1b[2J`); got != tt.notice {
				t.Errorf("notice: %t, want %t: %q", got, tt.notice, text)
			}
			if strings.Contains(text, "\x1b[2J") {
				t.Errorf("an escape sequence of an event reached the terminal: %q", text)
			}
		})
	}
}

// A notice stands on a line of its own: the bar is wiped before it.
func TestNoticeWipesTheBar(t *testing.T) {
	e, _, errOut := testEnv(t, nil)
	e.stderrTTY = true
	watched(t, e, "", someEvents)
	before, _, _ := strings.Cut(errOut.String(), "waiting for")
	line := before[strings.LastIndexByte(before, '\n')+1:]
	if visible := line[strings.LastIndexByte(line, '\r')+1:]; visible != "" {
		t.Errorf("%q stands before the notice", visible)
	}
	if end := errOut.String(); !strings.HasSuffix(end, "\r") && !strings.HasSuffix(end, "\n") {
		t.Errorf("the bar is left on the screen: %q", end)
	}
}

func TestJSONEventsAreThrottled(t *testing.T) {
	e, out, _ := testEnv(t, nil)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e.now = func() time.Time { now = now.Add(10 * time.Millisecond); return now }
	var events []progress.Message
	for i := range 1000 {
		events = append(events, progress.Event{Phase: progress.PhaseCopy, Done: int64(i + 1),
			Total: 1000, Files: i / 100, FilesTotal: 9})
	}
	events = append(events, progress.Notice("read me"))
	watched(t, e, "--json", events)
	var last progressEvent
	lines := 0
	for line := range bytes.Lines(out.Bytes()) {
		lines++
		last = progressEvent{}
		if err := json.Unmarshal(line, &last); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
	}
	// A tick is 100 events of 10 ms.
	if lines < 10 || lines > 14 {
		t.Errorf("%d lines for 1000 events in 10 seconds", lines)
	}
	if last.Event != "notice" || last.Text != "read me" {
		t.Errorf("the last line is %+v", last)
	}
	if !strings.Contains(out.String(), `"done":1000,"total":1000`) {
		t.Error("the end of the phase is not told")
	}
}
