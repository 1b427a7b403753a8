package auto

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/clients"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/requester"
	"pkgsneak/sync/state"
	"pkgsneak/sync/volume"
)

// Role is what a machine does with a drive.
type Role string

// The roles. None is what a machine has that nobody gave one.
const (
	None   Role = ""
	Export Role = "export"
	Import Role = "import"
	Both   Role = "both"
)

// ParseRole reads a role as it stands in a configuration.
func ParseRole(s string) (Role, error) {
	switch r := Role(strings.ToLower(strings.TrimSpace(s))); r {
	case None, Export, Import, Both:
		return r, nil
	}
	return None, fmt.Errorf("%q is no role: export, import or both", s)
}

func (r Role) exports() bool { return r == Export || r == Both }
func (r Role) imports() bool { return r == Import || r == Both }

// DefaultLabel is the label of a drive without a tree that shall get one.
const DefaultLabel = "PKGSNEAK"

// DefaultRunDir is where locks and mount points are.
const DefaultRunDir = "/run/pkgsneak"

// Level is how urgent a line of the log is, in the numbers of syslog(3).
type Level uint8

// The levels.
const (
	Error   Level = 3
	Warning Level = 4
	Info    Level = 6
	Debug   Level = 7 // what only --verbose asks for
)

// Options states for which device and how to run. Device and Role are what a run needs; the rest
// has defaults or is optional.
type Options struct {
	Device     string // sda1, /dev/sda1
	Role       Role
	Label      string // adopts a drive; "" is DefaultLabel
	Hook       string // a line for /bin/sh, run when all is done
	ResultFile bool   // leave a text on the drive of what was done
	RunDir     string // "" is DefaultRunDir
	Export     exporter.ExportOptions
	Import     importer.ImportOptions
	// after an import, write a request to the drive (package requester)
	Request bool
	Asking  requester.Options // how

	Log func(Level, string) // nil: nobody
	// tells the users who are logged in, a line each; nil: nobody
	Users func([]string) error
	// the exit code of an error, and what helps against it; nil: 1, and nothing
	Classify func(error) (code int, hints []string)
	// the line of JSON that Hook gets, with its newline; nil: as encoding/json writes it
	Encode func(*Result) ([]byte, error)
	Events progress.Watcher // progress
	System System           // Linux()
	// Worker is a process that calls Work with the same machine and options and makes the
	// operations confined; nil: they are made in this process, which is not confined.
	Worker func(context.Context) *exec.Cmd

	operations *operations // of a test
}

// classify gives the exit code of an error and what helps against it.
func (o *Options) classify(err error) (code int, hints []string) {
	if o.Classify == nil {
		return 1, nil
	}
	return o.Classify(err)
}

// encode gives the line of JSON that the hook gets.
func (o *Options) encode(r *Result) ([]byte, error) {
	if o.Encode != nil {
		return o.Encode(r)
	}
	line, err := json.Marshal(r)
	return append(line, '\n'), err
}

// operations are the functions of exporter and importer, or a worker's.
type operations struct {
	export func(context.Context, machine.Machine, exporter.ExportOptions,
		progress.Watcher) (*exporter.ExportReport, error)
	bring func(context.Context, machine.Machine, importer.ImportOptions,
		progress.Watcher) (*importer.ImportReport, error)
	ask func(context.Context, machine.Machine, requester.Options,
		progress.Watcher) (*requester.Report, error)
}

// Outcome is how a run ended.
type Outcome string

// The outcomes.
const (
	Done        Outcome = "done"
	Unchanged   Outcome = "unchanged" // nothing was to be done
	NoRole      Outcome = "no role"   // this machine has none
	Ignored     Outcome = "ignored"   // not a drive of ours
	Busy        Outcome = "busy"      // another run has this drive
	Failed      Outcome = "failed"
	Pulled      Outcome = "pulled"      // before the end
	Interrupted Outcome = "interrupted" // by a signal
)

// Result is what a run did.
type Result struct {
	Host       string                 `json:"host"`
	Device     Device                 `json:"device"`
	FS         volume.Superblock      `json:"fs"`
	Mount      string                 `json:"mount,omitempty"` // somebody else's, if it was used
	Role       Role                   `json:"role"`
	Outcome    Outcome                `json:"outcome"`
	SafeToPull bool                   `json:"safe_to_pull"`
	Message    string                 `json:"message"`
	Error      string                 `json:"error,omitempty"`
	Hints      []string               `json:"hints"`
	Export     *exporter.ExportReport `json:"export,omitempty"`
	Import     *importer.ImportReport `json:"import,omitempty"`
	// that was written after the import
	Request *requester.Report `json:"request,omitempty"`
	Began   time.Time         `json:"began"`
	Ended   time.Time         `json:"ended"`

	left bool // the drive was pulled as soon as all was done
}

// Run does everything for one device that was plugged in. A drive that is none of ours, and a
// machine without a role, are no errors. The Result is never nil.
func Run(ctx context.Context, m machine.Machine, o Options) (*Result, error) {
	r := newRunner(m, o)
	err := r.run(ctx)
	r.finish(ctx, err)
	return r.result, err
}

// Another reports whether another drive has come under the name of the one that a run was for,
// while the run told its result: udev's event of that found somebody at work for this name, and
// started nobody.
func Another(sys System, r *Result) bool {
	d, err := sys.Find(r.Device.Name)
	return err == nil && r.Device.Plug != "" && d.Plug != r.Device.Plug
}

// runner is one run. The first block is given.
type runner struct {
	m   machine.Machine
	o   Options
	sys System

	result *Result
	at     *station
	found  bool // the device was found
	label  bool // the drive has the label that asks for a tree
	tree   bool // the drive is ours: it has a tree, or shall get one
}

func newRunner(m machine.Machine, o Options) *runner {
	if o.Label == "" {
		o.Label = DefaultLabel
	}
	if o.RunDir == "" {
		o.RunDir = DefaultRunDir
	}
	m.Unattended = true
	r := &runner{m: m, o: o, sys: o.System, result: &Result{Host: m.Hostname, Role: o.Role,
		Device: Device{Name: o.Device}, Began: m.Now()}}
	switch {
	case o.operations != nil:
	case o.Worker != nil:
		r.o.operations = workerOperations(o.Worker, func(what string) { r.log(Debug, "%s", what) })
	default:
		r.o.operations = &operations{exporter.Export, importer.Import, requester.Request}
	}
	return r
}

// log notes something of this run, with the device in front.
func (r *runner) log(level Level, format string, args ...any) {
	if r.o.Log != nil {
		r.o.Log(level, r.result.Device.Name+": "+fmt.Sprintf(format, args...))
	}
}

// run finds the device and takes it for this run.
func (r *runner) run(ctx context.Context) error {
	if r.o.Role == None {
		r.result.Outcome = NoRole
		return nil
	}
	dev, err := r.sys.Find(r.o.Device)
	if errors.Is(err, fs.ErrNotExist) {
		return gone(r.o.Device)
	}
	if err != nil {
		return err
	}
	r.found, r.result.Device = true, dev
	if err := os.MkdirAll(r.o.RunDir, 0o755); err != nil {
		return fmt.Errorf("make the directory for locks: %w", err)
	}
	root, err := os.OpenRoot(r.o.RunDir)
	if err != nil {
		return fmt.Errorf("open the directory for locks: %w", err)
	}
	defer root.Close()
	claim, err := durable.Acquire(ctx, root, claimName(dev), durable.LockOptions{})
	if errors.Is(err, durable.ErrLocked) {
		r.result.Outcome = Busy
		return nil
	}
	if err != nil {
		return err
	}
	defer claim.Release()
	ctx, end := r.attend(ctx)
	defer end()
	return r.because(ctx, r.turn(ctx, root))
}

// claimName is the lock file of one plug of one device.
func claimName(d Device) string {
	sum := sha256.Sum256([]byte(d.Number + " " + d.Plug))
	return d.Number + "-" + hex.EncodeToString(sum[:6]) + ".lock"
}

// gone is the error of a device that is not there any more.
func gone(device string) error {
	return &drive.GoneError{Op: "look at", Path: device, Vanished: true, Err: unix.ENODEV}
}

// pollEvery is how long a pulled drive may stay unnoticed.
const pollEvery = 500 * time.Millisecond

// attend ends ctx when the device is not there any more.
func (r *runner) attend(parent context.Context) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.sys.After(pollEvery):
			}
			if !r.sys.Present(r.result.Device) {
				cancel(gone(r.result.Device.Path))
				return
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// because gives the reason of an error: the kernel's reason after the drive was pulled tells less
// than that it was.
func (r *runner) because(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if !r.sys.Present(r.result.Device) {
		return gone(r.result.Device.Path)
	}
	return err
}

// turnWait is how long a drive waits for the ones before it.
const turnWait = 24 * time.Hour

// turn waits until no other run is at work on this machine, and works.
func (r *runner) turn(ctx context.Context, root *os.Root) error {
	lock, err := durable.Acquire(ctx, root, "auto.lock", durable.LockOptions{Wait: turnWait,
		OnWait: func() { r.log(Info, "waiting for the run on another drive to end") }})
	if err != nil {
		return err
	}
	defer lock.Release()
	if err := r.ready(ctx); err != nil {
		return err
	}
	if err := sweep(r.sys, r.o.RunDir); err != nil {
		r.log(Warning, "%v", err)
	}
	if err := r.identify(); err != nil {
		return err
	}
	if r.result.Outcome == Ignored {
		return nil
	}
	r.label = strings.EqualFold(r.result.FS.Label, r.o.Label)
	r.at = &station{sys: r.sys, dev: r.result.Device, fstype: r.result.FS.Type,
		dir: filepath.Join(r.o.RunDir, r.result.Device.Name), note: r.log}
	err = r.because(ctx, r.work(ctx))
	return errors.Join(err, r.because(ctx, r.release(ctx, err)))
}

// How long a machine may need to mount its own file systems, and how often it is asked.
const (
	readyTries = 600
	readyPause = time.Second
)

// ready waits until PKGDIR is what it will be: packages shall not go into the directory that it is
// mounted over, nor be missed.
func (r *runner) ready(ctx context.Context) error {
	for n := range readyTries {
		if r.sys.Ready() {
			return nil
		}
		if n == 0 {
			r.log(Info, "waiting for the machine to mount its file systems")
		}
		select {
		case <-r.sys.After(readyPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("the machine has not mounted its own file systems (OpenRC's localmount has not been started)")
}

// identify reads the first sectors.
func (r *runner) identify() error {
	f, err := r.sys.Open(r.result.Device)
	if err != nil {
		return err
	}
	defer f.Close()
	r.result.FS, err = volume.Identify(f)
	var ambiguous *volume.AmbiguousError
	if errors.Is(err, volume.ErrUnknown) || errors.As(err, &ambiguous) {
		r.ignore("%v", err)
		return nil
	}
	return err
}

// ignore leaves the drive alone.
func (r *runner) ignore(format string, args ...any) {
	r.result.Outcome = Ignored
	r.result.Message = "left alone: " + fmt.Sprintf(format, args...)
}

// work looks whether the drive is ours, and carries out this machine's role.
func (r *runner) work(ctx context.Context) error {
	if err := r.at.need(ctx, peek); err != nil {
		return err
	}
	if r.at.borrowed != nil {
		r.result.Mount = r.at.borrowed.Point
	}
	ours, err := r.isOurs()
	if err != nil || !ours {
		return err
	}
	r.tree = true
	if r.result.FS.Type.IsReadOnly() && !r.o.Role.imports() {
		r.ignore("nothing can be written to %s, and this machine only exports", r.result.FS.Type)
		return nil
	}
	if r.o.Role.exports() && !r.result.FS.Type.IsReadOnly() {
		// A machine that has nothing to export may have something to import.
		if err := r.export(ctx); err != nil &&
			!(r.o.Role == Both && fault.Of(err) == fault.Nothing) {
			return err
		}
	}
	if r.o.Role.imports() {
		if err := r.bring(ctx); err != nil {
			return err
		}
	}
	r.result.Outcome = Done
	if (r.result.Export == nil || r.result.Export.Unchanged) && (r.result.Import == nil ||
		r.result.Import.Unchanged && len(r.result.Import.Refused) == 0) {
		r.result.Outcome = Unchanged
	}
	return nil
}

// isOurs looks for the tree, or for the label that asks for one.
func (r *runner) isOurs() (bool, error) {
	fi, err := os.Lstat(filepath.Join(r.at.point(), layout.TreeDir))
	switch {
	case err == nil && fi.IsDir():
		return true, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("look for the tree on the drive: %w", err)
	case err == nil:
		r.ignore("%s on it is no directory", layout.TreeDir)
	case !r.label:
		r.ignore("there is no %s/ on it, and its label is not %q", layout.TreeDir, r.o.Label)
	case !r.o.Role.exports():
		r.ignore("its label is %q, but nothing was exported to it yet", r.result.FS.Label)
	default:
		return true, nil
	}
	if !r.sys.Present(r.result.Device) { // an absence on a drive that is gone proves nothing
		return false, gone(r.result.Device.Path)
	}
	return false, nil
}

func (r *runner) export(ctx context.Context) error {
	err := r.at.need(ctx, write)
	if err == nil {
		r.log(Info, "export to drive %q begins", r.result.FS.Label)
		o := r.o.Export
		o.Drive, o.Label = r.at.point(), r.result.FS.Label
		var report *exporter.ExportReport
		if report, err = r.o.operations.export(ctx, r.m, o, r.o.Events); err == nil {
			r.result.Export = report
		}
	}
	err = r.because(ctx, err)
	r.remember(exportRun(r.result.Export, err))
	return err
}

func (r *runner) bring(ctx context.Context) error {
	err := r.at.need(ctx, read)
	if err == nil {
		r.log(Info, "import from drive %q begins", r.result.FS.Label)
		o := r.o.Import
		o.Drive = r.at.point()
		var report *importer.ImportReport
		if report, err = r.o.operations.bring(ctx, r.m, o, r.o.Events); err == nil {
			r.result.Import = report
			r.o.classifyRefused(report.Refused)
		}
	}
	err = r.because(ctx, err)
	r.remember(importRun(r.result.Import, err))
	if err == nil && r.o.Request {
		return request(ctx, r)
	}
	return err
}

// request asks for what is lacking after an import: the drive is mounted again, for writing, as for
// an export. A drive to which nothing can be written, or on which something is unfinished, is told
// and is no failure of the import.
func request(ctx context.Context, r *runner) error {
	if r.result.FS.Type.IsReadOnly() {
		r.log(Info,
			"nothing can be written to %s; what pkgsneak status --receipt prints can be typed on the host",
			r.result.FS.Type)
		return nil
	}
	err := r.at.need(ctx, write)
	if err == nil {
		r.log(Info, "request to drive %q begins", r.result.FS.Label)
		o := r.o.Asking
		o.Drive = r.at.point()
		var report *requester.Report
		if report, err = r.o.operations.ask(ctx, r.m, o, r.o.Events); err == nil {
			r.result.Request = report
			if report.NewKey {
				r.log(Info, "this client's key is %s; on the host: pkgsneak clients accept %s",
					report.Fingerprint.Grouped(), clients.Word(report.Client, report.Fingerprint))
			}
		}
	}
	if err = r.because(ctx, err); err == nil || !r.sys.Present(r.result.Device) ||
		ctx.Err() != nil {
		return err
	}
	_, hints := r.o.classify(err)
	r.log(Warning, "what this machine lacks is not on the drive: %s",
		strings.Join(append([]string{fault.Text(err)}, hints...), "; "))
	return nil
}

// release makes the drive safe to pull, as far as that is in our hands.
func (r *runner) release(ctx context.Context, failed error) error {
	if r.tree && r.o.ResultFile && !r.result.FS.Type.IsReadOnly() &&
		r.sys.Present(r.result.Device) && ctx.Err() == nil {
		if err := r.leaveText(ctx, failed); err != nil {
			r.log(Warning, "leave a text on the drive: %v", err)
		}
	}
	if err := r.at.leave(ctx); err != nil {
		return err
	}
	if r.result.left = !r.sys.Present(r.result.Device); r.result.left {
		return nil
	}
	free, err := r.sys.Free(r.result.Device)
	r.result.SafeToPull = free
	return err
}

// finish gives the result its last words, and tells them.
func (r *runner) finish(ctx context.Context, err error) {
	r.result.Ended = r.m.Now()
	if err != nil {
		r.result.Outcome, r.result.Error = r.outcome(ctx, err), fault.Text(err)
		if r.result.Outcome != Pulled {
			_, r.result.Hints = r.o.classify(err)
		}
	}
	if r.result.Message == "" {
		r.result.Message = r.result.sentence()
	}
	// A signal, which systemd sends when the drive is pulled, shall not keep anybody from hearing
	// of it.
	r.tell(context.WithoutCancel(ctx))
}

func (r *runner) outcome(ctx context.Context, err error) Outcome {
	switch {
	case fault.Of(err) == fault.Gone, r.found && !r.sys.Present(r.result.Device):
		return Pulled
	case ctx.Err() != nil:
		return Interrupted
	}
	return Failed
}

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
