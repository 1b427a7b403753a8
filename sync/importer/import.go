package importer

import (
	"context"
	"fmt"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
)

// Import verifies the drive and brings what is new into this client's PKGDIR and DISTDIR. Nothing
// on the drive is written, and nothing on it is believed before its signature.
func Import(ctx context.Context, m machine.Machine, o ImportOptions,
	w progress.Watcher) (*ImportReport, error) {
	o = o.whole()
	drives, err := openDrives(append([]string{o.Drive}, o.Further...))
	if err != nil {
		return nil, err
	}
	defer closeDrives(drives)
	pkgs, dists := m.PKGDIR, m.DISTDIR
	if o.NoPackages {
		pkgs = ""
	}
	if o.NoDistfiles {
		dists = ""
	}
	if err := drive.CheckPlaces(pkgs, dists,
		append([]string{o.Drive}, o.Further...)...); err != nil {
		return nil, fmt.Errorf("import from %q: %w", o.Drive, err)
	}
	if err := checkNewPlaces(m, o); err != nil {
		return nil, fmt.Errorf("import from %q: %w", o.Drive, err)
	}
	if err := drive.CheckState(m.StateDir, append([]string{o.Drive}, o.Further...)...); err != nil {
		return nil, fmt.Errorf("import from %q: %w", o.Drive, err)
	}
	st, err := state.Open(ctx, m.StateDir,
		state.Options{ReadOnly: o.Pretend, LockWait: m.LockWait, Hook: m.Hook,
			OnWait: func() { w.Notice("waiting for another pkgsneak to end") }})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	im := &importer{operation: &operation{m: m, o: o, w: w, st: st, drives: drives,
		report: &ImportReport{Pretended: o.Pretend,
			Origins: []*OriginImport{}, Refused: []Refused{},
			Notices: []string{}, Next: []string{}}}}
	defer im.close()
	err = im.run(ctx)
	return im.report, err
}

func (im *importer) run(ctx context.Context) error {
	im.outlook = &outlook{}
	if im.wants(payload.Package) {
		var err error
		o := forecast.GateOptions{AnyCPU: im.o.AnyCPU, AnyArch: im.o.AnyArch,
			RespectUse: im.o.RespectUse}
		if im.outlook, err = newOutlook(im.m, o); err != nil {
			im.note("%v", err)
		}
	}
	if err := readUndo(im.operation, state.ReadUndoHead); err != nil {
		return err
	}
	if err := im.load(ctx); err != nil {
		return err
	}
	skipUndone(im.operation)
	if len(im.origins) == 0 { // all that is there is not wanted
		im.report.Unchanged = true
		return nil
	}
	for _, step := range []func(context.Context) error{im.openClient, im.plan, im.planTrees} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	noteUndone(im.operation)
	if err := completeUndo(im.operation); err != nil {
		return err
	}
	if im.o.Pretend {
		im.report.Unchanged = !im.busy()
		im.advise(ctx)
		return im.checkSpace()
	}
	if im.busy() {
		if err := im.checkSpace(); err != nil {
			return err
		}
		if ok, err := im.confirm(); err != nil || !ok {
			return err
		}
	}
	if err := im.trustSuccessors(); err != nil {
		return err
	}
	if im.o.AcceptClock {
		if err := state.LowerTime(im.st, im.trusted.Now); err != nil {
			return err
		}
	}
	return (&applier{operation: im.operation}).carryOut(ctx)
}

func (im *importer) confirm() (bool, error) {
	if im.o.Confirm == nil {
		return true, nil
	}
	var plans []*ImportPlan
	for _, in := range im.origins {
		plans = append(plans, in.Plan)
	}
	ok, err := im.o.Confirm(plans)
	if err == nil && !ok {
		err = fault.ErrDeclined
	}
	return ok, err
}

// busy reports whether any file or repository has to be brought in, replaced or removed.
func (op *operation) busy() bool {
	for _, in := range op.origins {
		if len(in.tasks) > 0 || op.o.Prune && len(in.prune) > 0 {
			return true
		}
	}
	return op.repos.taking()
}
