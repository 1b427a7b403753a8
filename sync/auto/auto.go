package auto

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	"pkgsneak/sync/requester"
	"pkgsneak/sync/volume"
)

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
