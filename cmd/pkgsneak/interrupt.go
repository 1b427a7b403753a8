package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// stopSignals are those that end a run in good order. A terminal that is closed sends SIGHUP; nohup
// wants it ignored.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// untilSignal is the context of a run, which the first signal ends; again is closed by the second
// one.
func untilSignal(parent context.Context) (ctx context.Context, again <-chan struct{},
	stop context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, stopSignals()...)
	second, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		for _, do := range []func(){cancel, func() { close(second) }} {
			select {
			case <-signals:
				do()
			case <-stopped:
				return
			}
		}
	}()
	return ctx, second, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(stopped)
		cancel()
	})
}

// watchSignals tells a person what a run that was told to end waits for, and ends the process with
// the second signal. No signal ends a flush of the drive, and nothing may follow one that has not
// come to its end: whoever cannot wait for it leaves it to the kernel.
func (f *commandLine) watchSignals(ctx context.Context, ended <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-ended:
		return
	}
	var waiting <-chan time.Time
	if f.env.impatience > 0 {
		waiting = time.After(f.env.impatience)
	}
	for {
		select {
		case <-waiting:
			if drive := f.writing.Load(); drive != nil {
				f.out.notice("interrupted: waiting for %s to take what was written, which nothing can cut short; once more, and the program ends at once",
					shellWord(*drive))
			}
		case <-f.env.again:
			f.endNow()
			return
		case <-ended:
			return
		}
	}
}

// endNow ends the process, although the kernel may still be writing to the drive.
func (f *commandLine) endNow() {
	fail := failure{code: exitInterrupted, message: "interrupted twice: ended at once"}
	if drive := f.writing.Load(); drive != nil {
		fail.message += "; do not pull " + shellWord(*drive) + " yet: it may still be written to"
		fail.hints = []string{"umount " + shellWord(*drive) + " returns when the drive has taken everything; it has what it had before then, or what was committed since, and the same command goes on"}
	}
	f.out.failure(fail)
	f.env.exit(fail.code)
}
