package auto

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
)

// stateWait is how long the memory of a run waits for another pkgsneak to end.
const stateWait = time.Minute

// remember adds a run to what status shows. Its failure is told, and changes nothing.
func (r *runner) remember(run state.Run) {
	run.By, run.When, run.Drive = "auto", r.m.Now(), r.result.driveName()
	if err := remember(r.m, run); err != nil {
		r.log(Warning, "remember this run: %v", err)
	}
}

func remember(m machine.Machine, run state.Run) error {
	st, err := state.Open(context.Background(), m.StateDir, state.Options{LockWait: stateWait})
	if err != nil {
		return err
	}
	return errors.Join(st.AddRun(run), st.Close())
}

func exportRun(e *exporter.ExportReport, err error) state.Run {
	run := state.Run{Verb: "export", Result: "done"}
	if err != nil {
		run.Result = fault.Text(err)
		return run
	}
	t := payload.Count(e.Copied)
	run.Origin, run.Serial, run.Files, run.Bytes = e.Plan.Origin, e.Serial, t.Files, t.Bytes
	switch n := len(e.LeftOut); {
	case n > 0:
		run.Result = fmt.Sprintf("done, %s left out", files(n))
	case e.Unchanged:
		run.Result = "nothing to do"
	}
	return run
}

func importRun(i *importer.ImportReport, err error) state.Run {
	run := state.Run{Verb: "import", Result: "done"}
	if err != nil {
		run.Result = fault.Text(err)
		return run
	}
	var names []string
	left := 0
	for _, o := range i.Origins {
		t := payload.Count(o.Copied)
		run.Files += t.Files
		run.Bytes += t.Bytes
		run.Serial = max(run.Serial, o.Plan.Serial)
		names = append(names, o.Plan.Origin)
		left += len(o.LeftOut)
	}
	run.Origin = strings.Join(names, ", ")
	switch {
	case left > 0:
		run.Result = fmt.Sprintf("done, %s left out", files(left))
	case len(i.Refused) > 0:
		run.Result = "done, but " + i.Refused[0].Reason
	case i.Unchanged:
		run.Result = "nothing to do"
	}
	return run
}
