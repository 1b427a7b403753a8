package watch

import (
	"context"
	"time"
)

// Settle sends whenever the changes have stopped for the time quiet, and at the latest the time
// most after the first change that was not followed by a send (0: however long it takes). It ends,
// and closes the channel, with ctx.
func Settle(ctx context.Context, changes <-chan struct{}, quiet,
	most time.Duration) <-chan struct{} {
	settled := make(chan struct{}, 1)
	go func() {
		defer close(settled)
		calm, limit := stopped(), stopped()
		waiting := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-changes:
				calm.Reset(quiet)
				if !waiting && most > 0 {
					limit.Reset(most)
				}
				waiting = true
				continue
			case <-calm.C:
			case <-limit.C:
			}
			calm.Stop()
			limit.Stop()
			waiting = false
			touch(settled)
		}
	}()
	return settled
}

// stopped is a timer that has not been started.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// touch leaves one token in a channel that holds one.
func touch(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
