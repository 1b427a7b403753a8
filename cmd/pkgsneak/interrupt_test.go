package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/durable"
)

// A drive that takes its time cannot be left by a signal: that is told. A second signal ends the
// process, with the word that the drive must not be pulled.
func TestSignalsWhileTheDriveIsFlushed(t *testing.T) {
	lines := make(chan string, 100)
	e, usb := watchEnv(t, lines)
	ctx, cancel := context.WithCancel(t.Context())
	again, flushing, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
	told, exited := make(chan string, 100), make(chan int)
	first := true
	e.hook = func(c durable.Change) error {
		if first && c.Op == durable.OpSyncfs && c.Root == usb {
			first = false
			close(flushing)
			<-goOn
		}
		return nil
	}
	e.stderr, e.again, e.impatience = lineWriter(told), again, time.Nanosecond
	e.confines, e.exit = false, func(code int) { exited <- code }
	code := make(chan int)
	go func() { code <- run(ctx, e, []string{"export", usb, "--any-directory"}) }()

	<-flushing
	cancel()
	until := func(want string) {
		t.Helper()
		for line := range told {
			if strings.Contains(line, want) {
				return
			}
		}
	}
	until("interrupted: waiting for " + usb + " to take what was written")
	close(again)
	until("interrupted twice: ended at once; do not pull " + usb + " yet")
	until("hint: umount " + usb)
	if got := <-exited; got != exitInterrupted {
		t.Errorf("exit code %d", got)
	}
	close(goOn) // the process would be gone
	<-code
}

// A run that changes no drive has nothing to warn of.
func TestSecondSignalWithoutADrive(t *testing.T) {
	e, _, errOut := testEnv(t, nil)
	f := &commandLine{env: e, out: newPrinter(e)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	again := make(chan struct{})
	close(again)
	code := exitDone
	e.again, e.exit = again, func(c int) { code = c }
	f.watchSignals(ctx, nil)
	if text := errOut.String(); code != exitInterrupted || strings.Contains(text, "pull") ||
		!strings.Contains(text, "interrupted twice: ended at once\n") {
		t.Errorf("exit code %d, %q", code, text)
	}
}
