package exporter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

// An export that is told to end commits first what is complete: a first export of less than
// commitEvery would otherwise begin anew. The order of writes is that of each commit; only its time
// is bounded.
const (
	// patience bounds that commit where a person waits, who can end the process with a second
	// signal.
	patience = 10 * time.Minute
	// patienceUnattended bounds it where nobody does: auto gives its worker thirty seconds to end.
	patienceUnattended = 20 * time.Second
)

// InterruptedError reports that an export was told to end, and what of it is on the drive.
type InterruptedError struct {
	Committed payload.Tally // files that this run copied, and that the drive's list has
	Lost      int           // files that were complete, and could not be committed
	Total     int           // files that were to be copied
	Err       error
}

func (e *InterruptedError) Error() string { return "interrupted" }
func (e *InterruptedError) Unwrap() error { return e.Err }

// Class is that of a run that a signal ended.
func (e *InterruptedError) Class() fault.Class { return fault.Interrupted }

// Hints tell what the drive has, and what the same command will do.
func (e *InterruptedError) Hints(string) []string {
	switch {
	case e.Total == 0:
		return nil
	case e.Committed.Files > 0:
		return []string{fmt.Sprintf("%d of %d files are committed; the same command copies the others", e.Committed.Files, e.Total)}
	case e.Lost > 0:
		return []string{"there was no time to commit what had been copied: the drive has what it had before, and the same command copies all files again"}
	}
	return []string{"no file was complete: the drive has what it had before"}
}

// outlasting is a context that ends a while after another one, so that what has to be finished can
// be.
func outlasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(d, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() {
		stop()
		cancel(nil)
	}
}

// cancelled reports whether an error is the end of ctx, and not one of its own.
func cancelled(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
}
