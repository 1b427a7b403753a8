package exporter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// Run carries the plan out. From here on the drive changes; at every moment it holds a complete old
// or a complete new generation.
func (p *Plan) Run(ctx context.Context) (err error) {
	if err := p.prepareKey(); err != nil {
		return err
	}
	if err := nameDrive(p); err != nil {
		return err
	}
	if err := p.tryRecord(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	running := pipeline.Future(func() (self, error) { return readSelf(ctx, p.m.Executable) })
	defer func() {
		cancel()
		if s, _ := running(); s.file != nil {
			s.file.Close()
		}
	}()
	w, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if e := w.Close(); err == nil {
			err = e
		}
	}()
	p.takeCommitted(w)
	takeRemains(p, w)
	p.requeue(w.Missing())
	if err := p.freeSpace(ctx, w); err != nil {
		return err
	}
	p.broken.drop(p.next)
	files, err := p.prepare(ctx, w, p.todo)
	if err != nil {
		return err
	}
	p.forgetHost(files)
	err = p.copyAll(ctx, w, files)
	if err == nil {
		err = refill(ctx, p, w)
	}
	if err == nil {
		err = p.putTrees(ctx, w)
	}
	if err == nil {
		var s self
		if s, err = running(); err == nil {
			err = p.putProgram(ctx, w, s)
		}
	}
	if err != nil {
		if cancelled(ctx, err) {
			keepComplete(ctx, p, w)
		}
		return err
	}
	p.drop()
	if p.sameAsCommitted(w) {
		p.report.Unchanged = true
		return p.remember()
	}
	if err := p.commit(ctx, w); err != nil {
		return err
	}
	p.report.ReadBack = !p.o.NoReadBack
	return p.unsaved(p.remember())
}

// unsaved is the error of what comes after the commit.
func (p *Plan) unsaved(err error) error {
	return state.Unsaved(err, "export: the generation of %s is on the drive",
		fault.Time(time.Unix(p.report.Serial, 0)))
}

// keepComplete commits what was copied until an export was told to end.
func keepComplete(ctx context.Context, p *Plan, w *drivewriter.Writer) {
	n := len(p.report.Copied) - p.kept.Files
	if n == 0 || ctx.Err() == nil {
		return
	}
	p.w.Notice(fmt.Sprintf("interrupted: committing the files that are complete, %d of %d; once more, and the program ends at once",
		len(p.report.Copied), len(p.todo)))
	if p.commit(ctx, w) == nil {
		_ = saveCaches(p) // they only save reading
	}
}

// interruptedExport is the error of an export that was told to end.
func interruptedExport(p *Plan, err error) error {
	return &InterruptedError{Committed: p.kept, Lost: len(p.report.Copied) - p.kept.Files,
		Total: len(p.todo), Err: err}
}

// prepareKey makes the origin's key on the first export of this machine.
func (p *Plan) prepareKey() (err error) {
	if p.key != nil {
		return nil
	}
	host := p.m.Hostname
	if host == "" {
		host = p.name
	}
	if p.key, err = manifest.GenerateKey("pkgsneak on "+host, p.now); err != nil {
		return err
	}
	if err := p.st.SaveSigningKey(p.key); err != nil {
		return err
	}
	p.report.NewKey = true
	p.report.Plan.Fingerprint = string(p.key.Public().Fingerprint())
	return nil
}

// tryRecord writes, to nowhere, what of a generation does not depend on the run: it shall not fail
// when everything has been copied.
func (p *Plan) tryRecord() error {
	r := p.next.record
	r.Format, r.Origin, r.Serial, r.Fingerprint = 1, p.name, 1, p.key.Public().Fingerprint()
	facts, has := p.next.stock.tell(p.next.current)
	r.Has = has
	if _, err := r.Marshal(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := layout.CheckFacts(facts, layout.MaxFacts); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// begin opens the drive for writing: it is recovered, and its garbage collected, then.
func (p *Plan) begin(ctx context.Context) (_ *drivewriter.Writer, err error) {
	if p.drive == nil {
		if p.drive, err = drive.Create(p.o.Drive); err != nil {
			return nil, err
		}
	}
	if p.dir == "" {
		if err := p.findOrigin(ctx, p.key.Public()); err != nil {
			return nil, err
		}
	}
	last, _ := p.st.Exported(p.name)
	var foreign []string
	begun := false
	w, err := drivewriter.Begin(ctx, p.drive, drivewriter.BeginOptions{
		Dir: p.dir, Name: p.name, Key: p.key, Earlier: p.past, Now: p.now, Last: last.Serial,
		PartSize: p.o.PartSize, NoReadBack: p.o.NoReadBack, Progress: p.progress(),
		Foreign: func(path string) {
			if begun {
				p.report.Notices = append(p.report.Notices, foreignNotice(p.dir, []string{path})...)
				return
			}
			foreign = append(foreign, path)
		},
		Beside: func(path string, err error) { noteBeside(p.report, path, err) },
		Leftover: func(path string) {
			p.report.Leftovers = append(p.report.Leftovers,
				path)
		}, Hook: p.m.Hook,
	})
	begun = true
	p.report.Notices = append(p.report.Notices, foreignNotice(p.dir, foreign)...)
	return w, err
}

// noteBeside tells of a copy for people that was written again, or could not be.
func noteBeside(r *ExportReport, path string, err error) {
	if err == nil {
		r.Renewed = append(r.Renewed, path)
		return
	}
	r.Notices = append(r.Notices,
		fmt.Sprintf("%q on the drive could not be written, and people who look for it there do not find it: %s", layout.TreeDir+"/"+path, fault.Text(err)))
}

// foreignNotice names the files in an origin's directory that no export put there: they stay.
func foreignNotice(dir string, files []string) []string {
	if len(files) == 0 {
		return nil
	}
	slices.Sort(files)
	const most = 5
	named := make([]string, 0, most)
	for _, file := range files[:min(len(files), most)] {
		named = append(named, fmt.Sprintf("%q", file))
	}
	more := ""
	if len(files) > most {
		more = fmt.Sprintf(" and %d more", len(files)-most)
	}
	return []string{fmt.Sprintf("%q on the drive has files that pkgsneak did not put there; they were left alone: %s%s",
		layout.TreeDir+"/"+dir, strings.Join(named, ", "), more)}
}

// takeCommitted goes over to the generation as the writer has read it: one copy of the list in
// memory is enough.
func (p *Plan) takeCommitted(w *drivewriter.Writer) {
	held := w.Committed()
	if p.committed == nil || held == nil || held.Sum != p.committed.Sum {
		return
	}
	for _, kind := range payload.Kinds {
		items := held.Items(kind)
		for i := range items {
			if key := (payload.Key{Kind: kind, Path: items[i].Path}); p.next.current[key] != nil {
				p.next.current[key] = &items[i]
			}
		}
	}
	p.release()
	p.committed = held
}

// takeRemains tells the writer what is kept of them. Files that are not there any more are copied.
func takeRemains(p *Plan, w *drivewriter.Writer) {
	if p.remains == nil {
		return
	}
	var stored []manifest.File
	for _, it := range p.next.current {
		stored = append(stored, it.Stored...)
	}
	gone := drivewriter.Reuse(w, stored)
	var missing []layout.Item
	for _, it := range p.next.current {
		if slices.ContainsFunc(it.Stored, func(f manifest.File) bool { return gone[f.Path] }) {
			missing = append(missing, *it)
		}
	}
	p.requeue(missing)
}

// progress turns what the drive tells into events. Only bytes that have reached the drive are
// counted, and of those only payload: what the drive writes for itself comes after it.
func (p *Plan) progress() func(progress.Phase, string, int64) {
	total := payload.Count(p.todo)
	var compared int64
	var probe probeEvents
	return func(phase progress.Phase, path string, bytes int64) {
		e := progress.Event{Phase: phase, Path: path, Done: p.report.Written,
			Total: total.Bytes, Files: int(p.copied.Load()), FilesTotal: total.Files}
		switch {
		case phase == progress.PhaseProbe:
			e = probe.event(p.w, bytes)
		case phase == progress.PhaseRemove:
			e = progress.Event{Phase: phase, Path: path}
		case phase == progress.PhaseCopy && p.report.Written < total.Bytes:
			p.report.Written = min(p.report.Written+bytes, total.Bytes)
			e.Done = p.report.Written
		case phase == progress.PhaseCopy:
			e.Phase = progress.PhaseFlush
		case phase == progress.PhaseReadBack:
			compared = min(compared+bytes, total.Bytes)
			e.Done = compared
		}
		p.w.Tell(e)
	}
}

// probeEvents are those of the test of a new drive's capacity.
type probeEvents struct{ done, total int64 }

// event counts bytes that were written and read; the first call has what there will be of them.
func (t *probeEvents) event(w progress.Watcher, bytes int64) progress.Event {
	if t.total == 0 {
		t.total = bytes
		w.Notice(fmt.Sprintf("this drive was never used: its capacity is tested first, once, with %s that are written and read back (--no-read-back leaves that out)",
			fault.Size(bytes/2)))
	} else {
		t.done = min(t.done+bytes, t.total)
	}
	return progress.Event{Phase: progress.PhaseProbe, Done: t.done, Total: t.total}
}

// requeue adds files to the plan that the drive's list has and the drive has not: somebody deleted
// them there, or they are damaged. Those of a kind that is switched off cannot be written again
// now: they are left out, and the origin still has them.
func (p *Plan) requeue(missing []layout.Item) {
	for _, it := range missing {
		if p.broken.has(it) {
			continue // it is in the plan already
		}
		key := it.Key()
		switch it.Kind {
		case payload.Program:
			delete(p.next.current, key)
			continue
		case payload.Repository:
			p.trees.again(p.next.current, it.Path)
			continue
		}
		same := func(t payload.Item) bool { return t.Kind == it.Kind && t.Path == it.Path }
		if i := slices.IndexFunc(p.report.Plan.Remove, same); i >= 0 {
			p.dropItem(p.report.Plan.Remove[i])
			continue
		}
		delete(p.next.current, key)
		planned := slices.ContainsFunc(p.todo, same)
		h, here := p.host.files[key]
		switch {
		case planned || p.answer.left(key):
		case here:
			p.report.Kept.Files--
			p.report.Kept.Bytes -= it.Size
			p.todo = append(p.todo, payload.Item{Kind: it.Kind, Path: it.Path, Size: h.Size,
				Reason: MissingOnDrive})
		case p.off(it.Kind):
			p.report.Kept.Files--
			p.report.Kept.Bytes -= it.Size
			p.leaveOut(payload.Item{Kind: it.Kind, Path: it.Path, Size: it.Size}, errAway,
				"pkgsneak export "+fault.Quote(p.o.Drive))
		default:
			p.next.dropEntry(it.Path)
		}
	}
}

// freeSpace checks that everything fits, after the clients can learn of revoked keys. If it fits
// only without the files that are replaced or removed, a generation without them is committed
// first.
func (p *Plan) freeSpace(ctx context.Context, w *drivewriter.Writer) error {
	var err error
	if p.revoked, err = drivewriter.OfferRevoked(w); err != nil {
		return err
	}
	room, err := p.drive.Space()
	if err != nil {
		return err
	}
	shown := &p.report.Plan
	shown.Free, shown.Need = room.Free, p.need(room, p.todo)
	if shown.Need <= shown.Free || len(p.todo) == 0 { // one that only removes finds its room
		return nil
	}
	if err := p.checkSpace(); err != nil {
		if p.committed != nil {
			return err
		}
		anew := namesakes{drive: p.drive, name: p.name, own: p.past, now: p.m.Now()}
		return withNamesakes(err, anew.revokedIn(p.dir, p.revoked), p.revoked)
	}
	for _, it := range p.todo {
		forget(p, it.Key())
	}
	p.drop()
	return p.commit(ctx, w)
}

// drop takes out what is gone from the host.
func (p *Plan) drop() {
	for _, it := range p.report.Plan.Remove[p.dropped:] {
		p.dropItem(it)
	}
	p.dropped = len(p.report.Plan.Remove)
}

// dropItem takes one file of the plan's Remove out of what the next commit lists, unless that is
// done.
func (p *Plan) dropItem(it payload.Item) {
	key := it.Key()
	if _, ok := p.next.current[key]; !ok {
		return
	}
	if p.answer.left(key) {
		delete(p.next.current, key) // what is known of it stays true
	} else {
		forget(p, key)
	}
	p.report.Removed = append(p.report.Removed, it)
}

// prepare lets the drive choose names and make directories for everything that is to be copied. A
// file whose name no drive could store is left out.
func (p *Plan) prepare(ctx context.Context, w *drivewriter.Writer,
	todo []payload.Item) ([]payload.Item, error) {
	for {
		files := make([]drivewriter.NewFile, len(todo))
		for i, it := range todo {
			files[i] = p.host.files[it.Key()].newFile()
		}
		err := w.Prepare(ctx, files)
		var name *drive.NameError
		if !errors.As(err, &name) {
			return todo, err
		}
		bad := slices.IndexFunc(todo, func(it payload.Item) bool { return it.Path == name.Path })
		if bad < 0 {
			return nil, err
		}
		p.leaveOut(todo[bad], err, "")
		todo = slices.Delete(slices.Clone(todo), bad, bad+1)
	}
}

func (p *Plan) leaveOut(it payload.Item, why error, hint string) {
	it.Reason, it.Hint = fault.Text(why), hint
	var invalid *binpkg.InvalidError
	if errors.As(why, &invalid) {
		it.Reason = invalid.Reason
	}
	p.report.LeftOut = append(p.report.LeftOut, it)
}

// sameAsCommitted reports whether, after all that was left out, there is nothing to commit.
func (p *Plan) sameAsCommitted(w *drivewriter.Writer) bool {
	held := w.Committed()
	if held == nil || p.committed == nil ||
		len(p.report.Copied)+len(p.report.Removed)+len(p.report.Trees) > 0 || p.stale ||
		!p.sameKey() || !p.next.matches(p.told, p.committed.Record.Has) {
		return false
	}
	for _, kind := range payload.Kinds {
		for _, it := range held.Items(kind) {
			now, ok := p.next.current[payload.Key{Kind: kind, Path: it.Path}]
			if !ok || now.Sum != it.Sum || kind == payload.Program &&
				now.Stored[0] != it.Stored[0] {
				return false
			}
		}
	}
	return true
}

// commit makes what is on the drive now the newest generation. Its serial is remembered before
// anything else can happen: it is never given twice. The end of ctx leaves it some time.
func (p *Plan) commit(ctx context.Context, w *drivewriter.Writer) error {
	bound := patience
	if p.m.Unattended {
		bound = patienceUnattended
	}
	ctx, cancel := outlasting(ctx, bound)
	defer cancel()
	last := w.Last()
	if e, ok := p.st.Exported(p.name); ok {
		last = max(last, e.Serial)
	}
	serial := max(p.m.Now().Unix(), last+1)
	at := trust.Latest(time.Unix(serial, 0), p.key.Public().Created())
	if err := p.st.SaveExported(p.name, state.Exported{PKGDIR: realPath(p.m.PKGDIR),
		Serial: serial}); err != nil {
		return err
	}
	gen, err := w.Commit(ctx, p.next.contents(serial, at))
	if gen != nil {
		p.report.Serial, p.kept = gen.Serial(), payload.Count(p.report.Copied)
		err = errors.Join(err, p.unsaved(errors.Join(
			p.broken.follow(p.st, p.name, p.next, serial), rememberDrive(p, gen))))
	}
	return err
}
