package auto

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/requester"
	"pkgsneak/sync/sandbox"
)

// Limits of what passes between a run and its worker.
const (
	maxTask = 64 << 10 // bytes
	// bytes of all lines together: a report names every file, at most a quarter of a million
	maxAnswer = 256 << 20
	eventTick = 100 * time.Millisecond
	// endTime is how long a worker may take to end when it was told to. The one that is in its way
	// is the kernel, with what it has still to write.
	endTime = 30 * time.Second
)

// task is what a worker is told.
type task struct {
	Operation Role   `json:"journey"` // Export or Import
	Drive     string `json:"drive"`   // where it is mounted
}

// answer is a line of what a worker states. One of its members is set.
type answer struct {
	Confined string                 `json:"confined,omitempty"`
	Event    *progress.Event        `json:"event,omitempty"`
	Notice   progress.Notice        `json:"notice,omitempty"`
	Export   *exporter.ExportReport `json:"export,omitempty"`
	Import   *importer.ImportReport `json:"import,omitempty"`
	Request  *requester.Report      `json:"request,omitempty"`
	Error    *WorkerError           `json:"error,omitempty"`
}

// WorkerError is an error that a worker had.
type WorkerError struct {
	Text  string      `json:"text"`
	Fault fault.Class `json:"class"`
	Code  int         `json:"code"` // exit code
	Help  []string    `json:"hints,omitempty"`
}

func newWorkerError(err error, code int, hints []string) *WorkerError {
	return &WorkerError{Text: fault.Text(err), Fault: fault.Of(err), Code: code, Help: hints}
}

func (e *WorkerError) Error() string { return e.Text }

// Class is the class of the error in the worker. One that this program does not have is
// fault.Failed.
func (e *WorkerError) Class() fault.Class {
	if slices.Contains(fault.Classes, e.Fault) {
		return e.Fault
	}
	return fault.Failed
}

// Hints are those of the worker.
func (e *WorkerError) Hints(string) []string { return e.Help }

// workerOperations are operations that a worker carries out, each a process. heard gets its report
// of its confinement.
func workerOperations(start func(context.Context) *exec.Cmd, heard func(string)) *operations {
	return &operations{
		export: func(ctx context.Context, _ machine.Machine, o exporter.ExportOptions,
			w progress.Watcher) (*exporter.ExportReport, error) {
			a, err := employ(ctx, start, task{Export, o.Drive}, w, heard)
			if err == nil && a.Export == nil {
				return nil, errNoAnswer
			}
			return a.Export, err
		},
		bring: func(ctx context.Context, _ machine.Machine, o importer.ImportOptions,
			w progress.Watcher) (*importer.ImportReport, error) {
			a, err := employ(ctx, start, task{Import, o.Drive}, w, heard)
			if err == nil && !isWhole(a.Import) {
				return nil, errNoAnswer
			}
			return a.Import, err
		},
		ask: func(ctx context.Context, _ machine.Machine, o requester.Options,
			w progress.Watcher) (*requester.Report, error) {
			a, err := employ(ctx, start, task{asking, o.Drive}, w, heard)
			if err == nil && a.Request == nil {
				return nil, errNoAnswer
			}
			return a.Request, err
		},
	}
}

// asking is the operation of a worker that writes a request; it is no role of a machine.
const asking Role = "request"

var errNoAnswer = errors.New("the worker has answered something else than what it was asked for")

// isWhole reports whether all is there that every report of an import has.
func isWhole(r *importer.ImportReport) bool {
	return r != nil && !slices.ContainsFunc(r.Origins, func(o *importer.OriginImport) bool {
		return o == nil || o.Plan == nil
	})
}

// employ starts a worker, gives it a task and reads its messages until the last. It is told to
// end then, or when ctx ends, and killed if it does not.
func employ(ctx context.Context, start func(context.Context) *exec.Cmd, j task, w progress.Watcher,
	heard func(string)) (answer, error) {
	working, end := context.WithCancel(ctx)
	defer end()
	cmd := start(working)
	errOut := &head{}
	in, err := cmd.StdinPipe()
	if err != nil {
		return answer{}, fmt.Errorf("start a worker: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return answer{}, fmt.Errorf("start a worker: %w", err)
	}
	cmd.Stderr, cmd.Cancel, cmd.WaitDelay = errOut, in.Close, endTime
	if err := cmd.Start(); err != nil {
		return answer{}, fmt.Errorf("start a worker: %w", err)
	}
	_ = json.NewEncoder(in).Encode(j) // one that does not read it does not answer either
	last, unheard := listen(out, w, heard)
	if unheard != nil {
		// it has ended already, mostly; what makes no sense is not waited for
		_ = cmd.Process.Kill()
	}
	end()
	_, _ = io.Copy(io.Discard, out) // nobody shall wait for a listener
	ended := cmd.Wait()
	switch {
	case last.Export != nil || last.Import != nil:
		return last, nil
	case ctx.Err() != nil:
		return answer{}, context.Cause(ctx)
	case last.Error != nil:
		last.Error.Code = max(last.Error.Code, 1) // no error is a success
		return answer{}, last.Error
	case len(errOut.kept) > 0:
		return answer{}, fmt.Errorf("the worker has failed (%v): %s", ended, lastLine(errOut.kept))
	}
	return answer{}, fmt.Errorf("the worker has failed: %w", errors.Join(unheard, ended))
}

// listen passes on a worker's messages until the last one.
func listen(out io.Reader, w progress.Watcher, heard func(string)) (answer, error) {
	d := json.NewDecoder(io.LimitReader(out, maxAnswer))
	for {
		var a answer
		if err := d.Decode(&a); err != nil {
			return answer{}, fmt.Errorf("listen to it: %w", err)
		}
		switch {
		case a.Event != nil:
			w.Tell(*a.Event)
		case a.Notice != "":
			w.Notice(string(a.Notice))
		case a.Confined != "":
			heard(a.Confined)
		case a.Error != nil || a.Export != nil || a.Import != nil:
			return a, nil
		}
	}
}

// Work is a worker's life: it reads the task, confines the process it runs in for ever, does the
// task and answers. An error of the input is answered too; it is also returned.
func Work(ctx context.Context, m machine.Machine, o Options, in io.Reader, out io.Writer) error {
	m.Unattended = true
	var j task
	if err := json.NewDecoder(io.LimitReader(in, maxTask)).Decode(&j); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	say := json.NewEncoder(out)
	final, err := o.operation(ctx, m, j, say)
	if err != nil {
		code, hints := o.classify(err)
		final = answer{Error: newWorkerError(err, code, hints)}
	}
	return errors.Join(err, say.Encode(final))
}

// operation confines this process and does the task.
func (o *Options) operation(ctx context.Context, m machine.Machine, j task,
	say *json.Encoder) (done answer, err error) {
	confined := func(c sandbox.Confined) error { return say.Encode(answer{Confined: c.String()}) }
	tell := messageLines(say, m.Now)
	switch j.Operation {
	case Export:
		e := o.Export
		e.Drive = j.Drive
		if err := confined(exporter.Confine(m, e)); err != nil {
			return answer{}, err
		}
		done.Export, err = exporter.Export(ctx, m, e, tell)
	case Import:
		i := o.Import
		i.Drive = j.Drive
		if err := confined(importer.Confine(m, i)); err != nil {
			return answer{}, err
		}
		if done.Import, err = importer.Import(ctx, m, i, tell); done.Import != nil {
			o.classifyRefused(done.Import.Refused)
		}
	case asking:
		q := o.Asking
		q.Drive = j.Drive
		if err := confined(requester.Confine(m, q)); err != nil {
			return answer{}, err
		}
		done.Request, err = requester.Request(ctx, m, q, tell)
	default:
		err = fmt.Errorf("%q is no operation", j.Operation)
	}
	return done, err
}

// classifyRefused gives each refused origin its exit code and its hints while its error is at hand.
func (o *Options) classifyRefused(refused []importer.Refused) {
	for i := range refused {
		if refused[i].Err != nil {
			refused[i].Code, refused[i].Hints = o.classify(refused[i].Err)
		}
	}
}

// messageLines passes on the messages of an operation, a line each. A run that does not listen any
// more ends the input too.
func messageLines(out *json.Encoder, now func() time.Time) progress.Watcher {
	return progress.Throttle(func(m progress.Message) {
		switch m := m.(type) {
		case progress.Event:
			_ = out.Encode(answer{Event: &m})
		case progress.Notice:
			_ = out.Encode(answer{Notice: m})
		}
	}, eventTick, now)
}
