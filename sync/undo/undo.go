package undo

import (
	"context"
	"fmt"
	"time"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/sandbox"
	"pkgsneak/sync/state"
)

// Options states how to undo.
type Options struct {
	Pretend bool // change nothing
	// Confirm is asked before anything changes; nil is a yes.
	Confirm func(*Report) (bool, error)
}

// Origin is a generation that is taken back.
type Origin struct {
	Name        string `json:"origin"`
	Fingerprint string `json:"fingerprint"`
	Serial      int64  `json:"serial"`
}

// Report is what an undo does. Each file of the import that is not as it was before is in one of
// the lists.
type Report struct {
	// when the import began; zero: it brought repositories alone
	Imported     time.Time      `json:"when,omitzero"`
	Ended        bool           `json:"ended,omitempty"` // it did not come to its end
	Drives       []string       `json:"drives"`
	Origins      []Origin       `json:"origins"`
	Removed      []payload.Item `json:"removed"`  // the import had brought them
	Restored     []payload.Item `json:"restored"` // as they were before
	Stays        []payload.Item `json:"stays"`    // not as before the import, with the reason
	Packages     int            `json:"packages"` // entries in the index now
	Repositories []Repository   `json:"repositories"`
	Pretended    bool           `json:"pretended,omitempty"`
	Unchanged    bool           `json:"unchanged"` // there was nothing to take back
	// where there was nothing: when an import was taken back before
	Last    time.Time `json:"last,omitzero"`
	Back    *Back     `json:"back,omitempty"`
	Notices []string  `json:"notices"`
}

// undo is one undo on its way.
type undo struct {
	m  machine.Machine
	w  progress.Watcher
	st *state.Dir
	u  *state.Undo
	c  *state.Changed

	pkgdir  *pkgdir.Dir  // nil: no package was changed
	distdir *distdir.Dir // nil: no distfile was changed
	caches  map[payload.Kind]*state.Cache
	locks   []*durable.Lock
	files   []file
	trees   trees
	report  *Report
}

// Undo takes the last import back.
func Undo(ctx context.Context, m machine.Machine, o Options, w progress.Watcher) (*Report, error) {
	st, err := state.Open(ctx, m.StateDir,
		state.Options{ReadOnly: o.Pretend, LockWait: m.LockWait, Hook: m.Hook,
			OnWait: func() { w.Notice("waiting for another pkgsneak to end") }})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	u := &undo{m: m, w: w, st: st, caches: map[payload.Kind]*state.Cache{},
		report: &Report{Pretended: o.Pretend, Drives: []string{}, Origins: []Origin{},
			Removed: []payload.Item{}, Restored: []payload.Item{}, Stays: []payload.Item{},
			Notices: []string{}}}
	defer u.close()
	if u.u, err = state.ReadUndo(st); err != nil {
		return nil, err
	}
	change := ""
	if u.u.Change != nil {
		change = u.u.Change.ID
	}
	if u.trees, err = readTrees(m, o, change); err != nil {
		return nil, err
	}
	u.report.Repositories = u.trees.list()
	if u.c = u.u.Change; u.c == nil && len(u.trees.notes) > 0 { // repositories alone
		u.c = &state.Changed{PKGDIR: m.PKGDIR, DISTDIR: m.DISTDIR,
			Origins: u.trees.origins(st)}
	}
	if u.c == nil {
		u.report.Unchanged = true
		for _, x := range u.u.Undone {
			if x.When.After(u.report.Last) {
				u.report.Last = x.When
			}
		}
		return u.report, nil
	}
	if err := u.open(ctx, o.Pretend); err != nil {
		return nil, err
	}
	if err := u.plan(ctx); err != nil {
		return nil, err
	}
	if err := u.planBack(); err != nil {
		u.note("%v: what emerge has to do is not worked out", err)
	}
	if o.Pretend {
		return u.report, nil
	}
	if o.Confirm != nil {
		switch yes, err := o.Confirm(u.report); {
		case err != nil:
			return nil, err
		case !yes:
			return nil, fault.ErrDeclined
		}
	}
	return u.report, u.run(ctx)
}

func (u *undo) note(format string, args ...any) {
	u.report.Notices = append(u.report.Notices, fmt.Sprintf(format, args...))
}

// open opens the directories that the import changed, and keeps imports out of them.
func (u *undo) open(ctx context.Context, pretend bool) (err error) {
	c := u.c
	if c.PKGDIR != u.m.PKGDIR || c.DISTDIR != u.m.DISTDIR {
		return &ElsewhereError{Change: c, PKGDIR: u.m.PKGDIR, DISTDIR: u.m.DISTDIR}
	}
	var packages *durable.Store
	if u.changed(payload.Package) {
		if u.pkgdir, err = pkgdir.OpenWith(c.PKGDIR, u.m.Hook); err != nil {
			return err
		}
		u.pkgdir.Distdir, _ = machine.DistdirIn(c.PKGDIR, c.DISTDIR)
		if err := u.pkgdir.Ready(); err != nil {
			return err
		}
		packages = u.pkgdir.Store
		if err := u.openStore(ctx, payload.Package, packages, nil, pretend); err != nil {
			return err
		}
	}
	if u.changed(payload.Distfile) {
		if u.distdir, err = distdir.OpenWith(c.DISTDIR, u.m.Hook); err != nil {
			return err
		}
		return u.openStore(ctx, payload.Distfile, u.distdir.Store, packages, pretend)
	}
	return nil
}

func (u *undo) changed(kind payload.Kind) bool {
	for i := range u.c.Files {
		if u.c.Files[i].Kind == kind {
			return true
		}
	}
	return false
}

func (u *undo) openStore(ctx context.Context, kind payload.Kind, s, locked *durable.Store,
	pretend bool) (err error) {
	if _, err := s.Lstat(durable.KeptDir); err != nil {
		return &NotKeptError{Dir: s.Path(), Err: err}
	}
	if !pretend {
		l, err := durable.LockStore(ctx, s, locked, durable.LockOptions{Wait: u.m.LockWait,
			OnWait: func() {
				u.w.Notice(fmt.Sprintf("waiting for another pkgsneak to end, which brings files into %q", s.Path()))
			}})
		if err != nil {
			return err
		}
		if l != nil {
			u.locks = append(u.locks, l)
		}
	}
	u.caches[kind], err = u.st.Cache(s.Path(), u.m.Now())
	return err
}

func (u *undo) close() {
	for _, l := range u.locks {
		l.Release() // the lock itself ends with the process
	}
	if u.pkgdir != nil {
		u.pkgdir.Close()
	}
	if u.distdir != nil {
		u.distdir.Close()
	}
}

// store is the directory of a kind.
func (u *undo) store(kind payload.Kind) *durable.Store {
	if kind == payload.Package {
		return u.pkgdir.Store
	}
	return u.distdir.Store
}

// Confine confines this process, for ever, to what Undo needs on this machine: it reads the
// database of installed packages, and writes PKGDIR, DISTDIR and the state directory.
func Confine(m machine.Machine, o Options) sandbox.Confined {
	dirs := []string{m.StateDir, m.PKGDIR, m.DISTDIR}
	if t, err := readTrees(m, Options{Pretend: true}, ""); err == nil { // the undo reports it
		dirs = append(dirs, t.places()...)
	}
	c := sandbox.Grants{Read: append(m.Settings.Lookups(), "/proc")} // whether Portage runs
	if o.Pretend {
		c.Read = append(c.Read, dirs...)
		return sandbox.Confine(c)
	}
	c.Write = dirs
	return m.ConfineWriting(c)
}

// An ElsewhereError reports that the last import went into other directories.
type ElsewhereError struct {
	Change          *state.Changed
	PKGDIR, DISTDIR string
}

func (e *ElsewhereError) Error() string {
	if e.Change.PKGDIR != e.PKGDIR {
		return fmt.Sprintf("undo: the last import was into PKGDIR %q, and this one is %q",
			e.Change.PKGDIR, e.PKGDIR)
	}
	return fmt.Sprintf("undo: the last import was into DISTDIR %q, and this one is %q",
		e.Change.DISTDIR, e.DISTDIR)
}

// Class is that of no particular error.
func (e *ElsewhereError) Class() fault.Class { return fault.Failed }

// Hints name the directories of the import.
func (e *ElsewhereError) Hints(string) []string {
	return []string{fmt.Sprintf("pkgsneak undo --pkgdir %s --distdir %s",
		fault.Quote(e.Change.PKGDIR), fault.Quote(e.Change.DISTDIR))}
}

// A NotKeptError reports that the directory with what the import replaced is not there.
type NotKeptError struct {
	Dir string
	Err error
}

func (e *NotKeptError) Error() string {
	return fmt.Sprintf("undo: what the last import replaced is not in %q: %v",
		e.Dir+"/"+durable.KeptDir, e.Err)
}

// Unwrap gives the reason.
func (e *NotKeptError) Unwrap() error { return e.Err }

// Class is that of no particular error.
func (e *NotKeptError) Class() fault.Class { return fault.Failed }

// Hints tell what may be.
func (e *NotKeptError) Hints(string) []string {
	return []string{"if its disk is not mounted: mount it; if the directory was removed, the import cannot be taken back"}
}
