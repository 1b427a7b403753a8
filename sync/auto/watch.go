package auto

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/watch"
)

// Defaults of WatchOptions.
const (
	DefaultQuiet = 10 * time.Second
	DefaultMost  = 5 * time.Minute
	DefaultRetry = 5 * time.Minute
)

// WatchOptions states what to watch for, and where to.
type WatchOptions struct {
	Export exporter.ExportOptions // Drive is the mount point, on which a drive comes and goes
	Quiet  time.Duration          // nothing changes for so long, then an export; 0 is DefaultQuiet
	// changes that do not stop wait no longer than this; 0 is DefaultMost
	Most time.Duration
	// after an export that failed for another reason than the drive; 0 is DefaultRetry
	Retry time.Duration
	Once  bool // end after the first export, with its error

	Log    func(Level, string)                 // nil: nobody
	Done   func(*exporter.ExportReport, error) // after each export; nil: nobody
	Events progress.Watcher                    // progress
}

// Watch exports whenever PKGDIR and DISTDIR have settled and a drive is there, until ctx ends. An
// end between two exports is none with an error; one that cuts an export off is. The other errors
// are those of watching: a *watch.LimitError above all. An export that fails is told, and tried
// again when something has changed: files, the drive, or after Retry. With Once its error is
// Watch's.
func Watch(ctx context.Context, m machine.Machine, o WatchOptions) error {
	o.defaults()
	m.Unattended = true
	w := &watcher{m: m, o: o}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	if w.mounts, err = watch.MountChanges(ctx); err != nil {
		return err
	}
	w.dirs, err = watch.NewDirs(
		watch.Tree{Path: m.PKGDIR, Counts: func(base string) bool {
			return base == "Packages" ||
				binpkg.HasPackageSuffix(base)
		}},
		watch.Tree{Path: m.DISTDIR, Flat: true, Counts: isDistfile})
	if err != nil {
		return err
	}
	defer w.dirs.Close()
	w.settled = watch.Settle(ctx, w.dirs.Changed(), o.Quiet, o.Most)
	return w.run(ctx)
}

func (o *WatchOptions) defaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Quiet, DefaultQuiet}, {&o.Most, DefaultMost}, {&o.Retry, DefaultRetry}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// isDistfile leaves out what Portage has in DISTDIR while it fetches.
func isDistfile(base string) bool {
	return !strings.HasPrefix(base, ".") && !strings.HasSuffix(base, ".__download__")
}

// watcher is a watch at work. The first block is given.
type watcher struct {
	m       machine.Machine
	o       WatchOptions
	dirs    *watch.Dirs
	mounts  <-chan struct{}
	settled <-chan struct{}

	here string // which drive is there, "" for none
	// the drive that was gone although it is mounted: it is left alone until something is mounted
	// or unmounted
	bad   string
	due   bool             // something is to be exported
	retry <-chan time.Time // when a failed export is tried again
}

func (w *watcher) log(level Level, format string, args ...any) {
	if w.o.Log != nil {
		w.o.Log(level, fmt.Sprintf(format, args...))
	}
}

func (w *watcher) run(ctx context.Context) error {
	w.poll()
	w.log(Info, "watching %q and %q: what is new is exported when nothing has changed for %v",
		w.m.PKGDIR, w.m.DISTDIR, w.o.Quiet)
	if w.here == "" {
		w.log(Info, "waiting for a drive on %q", w.o.Export.Drive)
	}
	for {
		moved := false
		select {
		case <-ctx.Done():
		case err := <-w.dirs.Failed():
			return err
		case _, moved = <-w.mounts:
			if !moved {
				w.mounts = nil // it cannot be watched any more; w.look still sees what is mounted
			}
		case <-w.retry:
		case <-w.settled:
			w.due = true
		}
		if ctx.Err() != nil { // at the end all channels speak
			return nil
		}
		if moved {
			w.dirs.Check()
			w.moved()
			continue
		}
		w.poll() // a directory that serves as a drive comes without a mount
		if !w.due || w.here == "" || w.here == w.bad {
			continue
		}
		if err := w.export(ctx); err != nil || w.o.Once {
			return err
		}
	}
}

// moved takes a change of the mount table. A drive that has come counts as a change of the files:
// the export waits until they have settled.
func (w *watcher) moved() {
	before, bad := w.here, w.bad
	w.bad = ""
	w.poll()
	switch {
	case w.here == before && w.here != "" && bad != "":
		w.dirs.Touch() // unmounted and mounted again at once, perhaps
	case w.here == before:
	case w.here == "":
		w.log(Info, "the drive on %q is gone", w.o.Export.Drive)
	default:
		w.log(Info, "a drive is on %q", w.o.Export.Drive)
		w.dirs.Touch()
	}
}

// poll finds out which drive is there: the device that is mounted on the place, on top of others.
func (w *watcher) poll() {
	w.here = ""
	point, err := filepath.EvalSymlinks(w.o.Export.Drive)
	if err != nil {
		return
	}
	if point, err = filepath.Abs(point); err != nil {
		return
	}
	mounts, err := watch.Mounts()
	if err != nil {
		w.log(Warning, "%v", err)
		return
	}
	for _, m := range mounts {
		if m.Point == point && m.Type != "autofs" {
			w.here = m.Device + " " + m.Source
		}
	}
	if fi, err := os.Stat(point); w.here == "" && w.o.Export.AnyDirectory &&
		err == nil && fi.IsDir() {
		w.here = point
	}
}

// export exports once. The error ends the watch; an export that failed otherwise is told, and stays
// due.
func (w *watcher) export(ctx context.Context) error {
	w.retry = nil
	w.log(Info, "export to %q begins", w.o.Export.Drive)
	report, err := exporter.Export(ctx, w.m, w.o.Export, w.o.Events)
	if err == nil {
		w.due = false
		w.remember(report)
	} else if ctx.Err() == nil && !w.o.Once {
		w.failed(err)
	}
	if w.o.Done != nil {
		w.o.Done(report, err)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case w.o.Once:
		return err
	}
	return nil
}

// failed tells why an export failed, and when the next one is tried.
func (w *watcher) failed(err error) {
	var gone *drive.GoneError
	if errors.As(err, &gone) {
		w.bad = w.here
		w.log(Warning, "%v", err)
		return
	}
	w.log(Error, "%v", err)
	w.retry = time.After(w.o.Retry)
}

// remember adds an export that wrote something to what status shows.
func (w *watcher) remember(report *exporter.ExportReport) {
	if report.Unchanged {
		return
	}
	run := exportRun(report, nil)
	run.By, run.When, run.Drive = "watch", w.m.Now(), w.o.Export.Drive
	if err := remember(w.m, run); err != nil {
		w.log(Warning, "remember this run: %v", err)
	}
}
