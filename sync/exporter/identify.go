package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// identify finds out who exports: the key, and the name.
func (x *exporter) identify(context.Context) error {
	x.now = trust.Latest(x.m.Now(), x.st.HighestTime())
	key, err := x.st.SigningKey()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, fs.ErrPermission) && x.o.Pretend:
		x.report.Notices = append(x.report.Notices,
			"the signing key cannot be read by this user: the plan is made with the key on the drive")
		x.hidden = true
	case err != nil:
		return err
	default:
		x.key = key
		x.report.Plan.Fingerprint = string(key.Public().Fingerprint())
		x.now = trust.Latest(x.now, key.Public().Created())
		if err := x.readPast(); err != nil {
			return err
		}
	}
	if x.name, err = x.chooseName(); err != nil {
		return err
	}
	p := &x.report.Plan
	p.Drive, p.Origin, p.PKGDIR, p.DISTDIR = x.o.Drive, x.name, x.m.PKGDIR, x.m.DISTDIR
	return nil
}

// readPast reads the keys that this machine signed with before. To plan, an ordinary user does not
// need them.
func (x *exporter) readPast() error {
	retired, err := x.st.Retired()
	if errors.Is(err, fs.ErrPermission) && x.o.Pretend {
		return nil
	}
	for _, k := range retired {
		x.past = append(x.past, k.Public())
	}
	return err
}

// chooseName returns the origin's name and makes sure that it stands for this PKGDIR: each has its
// own serials and its own list on a drive.
func (x *exporter) chooseName() (string, error) {
	here := realPath(x.m.PKGDIR)
	name := x.o.Name
	if name != "" {
		if err := layout.CheckNewOrigin(name); err != nil {
			return "", err
		}
	} else if name = lastName(x.st, here); name == "" {
		var err error
		if name, err = layout.OriginName(x.m.Hostname); err != nil {
			return "", err
		}
	}
	if now, err := state.RenewedAs(x.st, state.OriginID{Name: name}); err != nil || now != "" {
		return "", cmp.Or(err, error(&RenewedError{Name: name, Now: now}))
	}
	// A PKGDIR that is gone from its place was moved: the name moves with it.
	if e, ok := x.st.Exported(name); ok && realPath(e.PKGDIR) != here &&
		machine.NeedDirectory("", e.PKGDIR) == nil {
		return "", &NameTakenError{Name: name, PKGDIR: x.m.PKGDIR, Have: e.PKGDIR}
	}
	return name, nil
}

// openDrive looks for this origin's generation on the drive. Nothing is written yet, not even the
// tree's directory.
func (x *exporter) openDrive(ctx context.Context) (err error) {
	x.w.Tell(progress.Event{Phase: progress.PhaseScan, Path: x.o.Drive})
	x.drive, err = drive.Open(x.o.Drive)
	if errors.Is(err, drive.ErrNoTree) {
		return nil
	}
	switch {
	case err != nil:
		return err
	case x.hidden:
		return x.findOffered(ctx)
	case x.key == nil:
		return nil
	}
	if x.o.Name == "" {
		f := forgotten{drive: x.drive, st: x.st, own: append(manifest.Ring{x.key.Public()},
			x.past...), now: x.now}
		if err := f.check(x.m.PKGDIR, x.name); err != nil {
			return err
		}
	}
	return x.findOrigin(ctx, x.key.Public())
}

// findOffered looks for the origin with the keys that the drive offers. That is good enough for a
// plan; nothing is written after it.
func (x *exporter) findOffered(ctx context.Context) error {
	offered, err := x.drive.Keys()
	for _, o := range offered {
		if o.Key == nil || x.committed != nil {
			continue
		}
		if err := x.findOrigin(ctx, o.Key); err != nil {
			return err
		}
	}
	return err
}

func (p *Plan) findOrigin(ctx context.Context, key *manifest.PublicKey) (err error) {
	p.dir, p.committed, err = p.drive.FindOrigin(key, p.name, p.now, p.past...)
	if err != nil {
		return err
	}
	if p.committed == nil {
		return readRemains(p, key)
	}
	ctx, p.enough = context.WithCancel(ctx)
	p.state = pipeline.Future(func() (drive.State, error) { return p.committed.State(ctx) })
	if e, _ := p.st.Exported(p.name); p.committed.Serial() > e.Serial {
		p.report.Notices = append(p.report.Notices,
			fmt.Sprintf("this machine does not remember the generation of %s, which the drive has of %q and its key signed: "+
				"its state directory was restored, or another machine signs with a copy of the key",
				fault.Serial(p.committed.Serial()), p.name))
	}
	p.report.Plan.Previous, p.report.Serial = p.committed.Serial(), p.committed.Serial()
	if err := p.readFacts(); err != nil {
		return err
	}
	catalogue, err := p.committed.Catalogue()
	var damaged *drive.DamagedError
	if errors.As(err, &damaged) {
		p.report.Notices = append(p.report.Notices,
			fmt.Sprintf("the catalogue on the drive is damaged (%v): it is made anew", err))
		return nil
	}
	if err != nil {
		return err
	}
	header := catalogue.Header // not the catalogue: its entries shall not live on
	p.next.before = &header
	for _, e := range catalogue.Entries {
		p.next.entries[e.Path()] = e
	}
	return nil
}

// readFacts reads what the generation on the drive tells of the origin. Facts that cannot be read
// are made anew.
func (p *Plan) readFacts() (err error) {
	p.told, err = drive.ReadableFacts(p.committed)
	return err
}

// noteFormer tells of what the drive still has under the former names of this origin.
func noteFormer(x *exporter) error {
	if x.drive == nil || x.key == nil {
		return nil
	}
	for _, name := range x.next.record.Formerly {
		dir, gen, err := x.drive.FindOrigin(x.key.Public(), name, x.now, x.past...)
		if err != nil {
			return err
		}
		if gen == nil {
			continue
		}
		gen.Close()
		x.report.Notices = append(x.report.Notices,
			fmt.Sprintf("the drive still has %q, the former name of this origin (%q); when the clients have imported %q: pkgsneak forget %s %s",
				dir, name, x.name, fault.Quote(name), fault.Quote(x.o.Drive)))
	}
	return nil
}

// noteNamesakes tells of other origins of this name on the drive, and of what to do about them.
func noteNamesakes(x *exporter) (err error) {
	p := &x.report.Plan
	p.Namesakes = []Namesake{}
	if x.drive == nil || x.hidden {
		return nil
	}
	f := namesakes{drive: x.drive, name: x.name, dir: x.dir, own: x.past, now: x.m.Now()}
	if x.key != nil {
		f.own, f.made = append(manifest.Ring{x.key.Public()}, x.past...), x.key.Public().Created()
	}
	if f.known, err = x.st.Trusted(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if p.Namesakes, err = f.find(); err != nil {
		return err
	}
	if dir, why := f.unreadable(); dir != "" {
		x.report.Notices = append(x.report.Notices,
			fmt.Sprintf("nobody can tell whose %q on the drive is (%s): this origin lies in %q; if nobody exports it any more: pkgsneak forget %s %s --unsigned",
				layout.TreeDir+"/"+dir, fault.Text(why), layout.TreeDir+"/"+x.dir, fault.Quote(dir),
				fault.Quote(x.o.Drive)))
	}
	for _, n := range p.Namesakes {
		x.report.Notices = append(x.report.Notices, n.notices(x.name, fault.Quote(x.o.Drive))...)
	}
	return noteStrangers(x, f)
}

// mostStrangers is how many of them are named one by one.
const mostStrangers = 3

// noteStrangers tells of what others exported to the drive where this machine is about to make its
// first key: it may have been this machine, before its state directory was lost.
func noteStrangers(x *exporter, f namesakes) error {
	if x.key != nil {
		return nil
	}
	found, err := f.strangers()
	if err != nil || len(found) == 0 {
		return err
	}
	note := func(format string, args ...any) {
		x.report.Notices = append(x.report.Notices, fmt.Sprintf(format, args...))
	}
	for _, p := range found[:min(len(found), mostStrangers)] {
		note("this machine has no signing key yet, and the drive has origin %q, of the key %s, exported last on %s", p.Dir, p.Signer.Grouped(), fault.Time(p.Signed))
	}
	if more := len(found) - mostStrangers; more > 0 {
		note("and %d more: pkgsneak status %s", more, fault.Quote(x.o.Drive))
	}
	note("if one of these keys was this machine's, and its state directory is lost: %s goes on with it, COPY being a copy of that directory; without one, when the clients have the new key: pkgsneak forget %s %s",
		restore, fault.Quote(found[0].Dir), fault.Quote(x.o.Drive))
	return nil
}
