package exporter

import (
	"context"
	"errors"
	"fmt"

	"pkgsneak/sync/clients"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
)

// Export writes what changed on this host since the last export to the drive, as a new signed
// generation. If an error comes with a report, its plan is what was intended.
func Export(ctx context.Context, m machine.Machine, o ExportOptions,
	w progress.Watcher) (*ExportReport, error) {
	if err := machine.NeedDirectory("export to", o.Drive); err != nil {
		return nil, err
	}
	if err := drive.CheckPlaces(unless(o.NoPackages, m.PKGDIR), unless(o.NoDistfiles, m.DISTDIR),
		o.Drive); err != nil {
		return nil, fmt.Errorf("export to %q: %w", o.Drive, err)
	}
	if err := drive.CheckState(m.StateDir, o.Drive); err != nil {
		return nil, fmt.Errorf("export to %q: %w", o.Drive, err)
	}
	if !o.AnyDirectory {
		if err := drive.CheckDrive("export", o.Drive, m.PKGDIR); err != nil {
			return nil, err
		}
	}
	st, err := state.Open(ctx, m.StateDir,
		state.Options{ReadOnly: o.Pretend, LockWait: m.LockWait, Hook: m.Hook,
			OnWait: func() { w.Notice("waiting for another pkgsneak to end") }})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	p := &Plan{operation: operation{m: m, o: o, w: w, st: st,
		report: &ExportReport{Pretended: o.Pretend, Copied: []payload.Item{},
			Removed: []payload.Item{}, LeftOut: []payload.Item{}, Refused: []payload.Item{},
			Notices: []string{}}},
		target: target{broken: &damage{}}, next: newNext()}
	x := &exporter{Plan: p, shown: make(clients.Shown)}
	defer p.close()
	if err = x.plan(ctx); err == nil {
		if err = carryOut(ctx, p); err == nil {
			blankRequests(x)
		}
	}
	if cancelled(ctx, err) {
		err = interruptedExport(p, err)
	}
	return x.report, withNamesakes(err, x.report.Plan.Namesakes, x.revoked)
}

// checkWritable refuses a drive that the run could not write to.
func checkWritable(mount string) error {
	d, err := drive.OpenToPlan(mount)
	if d != nil {
		d.Close()
	}
	return err
}

// unless is a directory that is looked at, "" if it is not.
func unless(left bool, dir string) string {
	if left {
		return ""
	}
	return dir
}

// carryOut shows a plan and runs it, if there is something to do and that is wanted.
func carryOut(ctx context.Context, p *Plan) error {
	unchanged, err := p.unchanged()
	if err != nil {
		return err
	}
	if unchanged {
		p.report.Unchanged = true
		return p.remember()
	}
	if p.o.Pretend || p.o.Confirm != nil {
		if err := measureExtras(ctx, p); err != nil {
			return err
		}
	}
	if p.o.Pretend {
		return errors.Join(checkWritable(p.o.Drive), p.checkSpace())
	}
	if p.o.Confirm != nil {
		switch ok, err := p.o.Confirm(&p.report.Plan); {
		case err != nil:
			return err
		case !ok:
			return fault.ErrDeclined
		}
	}
	return p.Run(ctx)
}
