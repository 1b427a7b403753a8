package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// load verifies every wanted origin, each by itself: one that is damaged, forged, from the future
// or not trusted stops no other. Only what is no origin's fault ends the run: a drive that goes
// away, a person who answers no.
func (im *importer) load(ctx context.Context) (err error) {
	if im.trusted, err = trust.Read(im.st, im.m.Now()); err != nil {
		return err
	}
	if im.trusted.Damaged != nil {
		im.note("%s", im.trusted.DamagedText())
	}
	if im.o.AcceptClock {
		im.trusted.Now = im.m.Now()
	} else if note := behind(im.trusted, im.m.Now(), im.o.Drive); note != "" {
		im.note("%s", note)
	}
	im.w.Tell(progress.Event{Phase: progress.PhaseScan, Path: im.o.Drive})
	refused, blank, err := loadDrives(ctx, im)
	if err != nil {
		return err
	}
	for _, r := range withoutFormer(im, refused) {
		im.refuse(r.dir, r.at, r.err)
	}
	im.passOverRetired()
	for _, in := range im.origins {
		if err := im.stand(in); err != nil {
			return err
		}
	}
	if err := passOverBlank(im, blank); err != nil {
		return err
	}
	return im.nothingAccepted()
}

// loadDrives verifies every wanted origin of every drive.
func loadDrives(ctx context.Context, im *importer) (refused, blank []refusedOrigin, err error) {
	for _, d := range im.drives { // all of them before anything is believed
		im.drive, im.at = d.Drive, d.path
		if err := im.applyRevocations(); err != nil {
			return nil, nil, err
		}
		offered, err := trust.Offers(d.Drive)
		if err != nil {
			return nil, nil, err
		}
		im.offered = append(im.offered, offered...)
	}
	chosen := false
	var missing error
	for _, d := range im.drives {
		im.drive, im.at = d.Drive, d.path
		have, err := d.Origins()
		if err != nil {
			return nil, nil, err
		}
		dirs, err := drive.Choose(have, im.o.Origin)
		if err != nil {
			missing = err
			continue
		}
		chosen = true
		r, b, err := loadOrigins(ctx, im, dirs)
		if err != nil {
			return nil, nil, err
		}
		refused, blank = append(refused, r...), append(blank, b...)
	}
	if !chosen {
		return nil, nil, missing
	}
	return joinDrives(im, refused), blank, nil
}

// loadOrigins verifies origins of one drive.
func loadOrigins(ctx context.Context, im *importer, dirs []string) (refused,
	blank []refusedOrigin, err error) {
	for _, dir := range dirs {
		if err := context.Cause(ctx); err != nil {
			return nil, nil, err
		}
		in, err := im.loadOrigin(dir)
		switch {
		case err == nil:
			im.accept(in)
		case errors.Is(err, drive.ErrNoTree):
			blank = append(blank, refusedOrigin{dir, im.at, nil, err})
		case endsImport(ctx, err):
			return nil, nil, err
		case im.o.Origin == "" && trust.Unwanted(err):
			im.report.Unwanted++
		default:
			refused = append(refused, refusedOrigin{dir, im.at, in, err})
		}
	}
	return refused, blank, nil
}

// joinDrives leaves the newest state of each origin, with the others as its further sources. An
// origin that is damaged on one drive and accepted from another is told, and no more refused.
func joinDrives(im *importer, refused []refusedOrigin) []refusedOrigin {
	if len(im.drives) == 1 {
		return refused
	}
	var kept []*incoming
	drop := func(in *incoming) {
		im.report.Origins = slices.DeleteFunc(im.report.Origins, func(o *OriginImport) bool {
			return o == in.OriginImport
		})
	}
	for _, in := range im.origins {
		i := slices.IndexFunc(kept, func(k *incoming) bool { return k.id == in.id })
		switch {
		case i < 0:
			kept = append(kept, in)
		case in.gen.Serial() == kept[i].gen.Serial() && in.sum != kept[i].sum:
			refused = append(refused, refusedOrigin{in.Plan.Dir, in.at, in,
				&ForkError{Origin: in.Plan.Origin, Serial: in.gen.Serial()}})
			drop(in)
			in.gen.Close()
		case in.gen.Serial() > kept[i].gen.Serial():
			in.further = append(kept[i].further, kept[i].source())
			drop(kept[i])
			kept[i] = in
		default:
			kept[i].further = append(kept[i].further, in.source())
			drop(in)
		}
	}
	im.origins = kept
	return slices.DeleteFunc(refused, func(r refusedOrigin) bool {
		var damaged *drive.DamagedError
		if !errors.As(r.err, &damaged) {
			return false
		}
		i := slices.IndexFunc(im.origins, func(in *incoming) bool {
			return in.Plan.Dir == r.dir &&
				in.at != r.at
		})
		if i >= 0 {
			im.note("origin %q on %q: %v; it is taken from %q", r.dir, r.at, r.err,
				im.origins[i].at)
		}
		return i >= 0
	})
}

// passOverBlank names the origins without a manifest beside those that have one. If one was
// imported here before, something that should have come did not.
func passOverBlank(im *importer, blank []refusedOrigin) error {
	alone := len(im.origins)+len(im.report.Refused)+im.report.Unwanted == 0
	for _, b := range blank {
		id, found, err := remembered(im.st, im.trusted, b.dir)
		if err != nil {
			return err
		}
		found = found && !slices.ContainsFunc(im.origins, func(in *incoming) bool {
			return in.id == id || in.known == id
		})
		switch {
		case found && !alone:
			im.refuse(b.dir, b.at, &NoManifestError{Dir: b.dir, Origin: id.Name, Err: b.err})
		case !alone:
			im.note("%v: nothing of it was used", b.err)
		case found:
			im.unfinished = aloneError{&NoManifestError{Dir: b.dir, Origin: id.Name, Err: b.err}}
		default:
			im.unfinished = b.err
		}
	}
	return nil
}

// passOverRetired takes the origin of an old key out of what was refused, where the key that took
// its place signed another origin of this drive, and that is accepted: everything that should come
// comes from there. A build host that lost its key leaves such an origin behind; one that found it
// again goes on with it, and then stays refused here.
func (im *importer) passOverRetired() {
	for i := range im.report.Refused {
		if r := &im.report.Refused[i]; im.wentBack(r) {
			r.Reason = fault.Text(r.Err)
		}
	}
	im.report.Refused = slices.DeleteFunc(im.report.Refused, func(r Refused) bool {
		if returned := (*ReturnedError)(nil); errors.As(r.Err, &returned) {
			return false
		}
		var refusal *trust.Refusal
		if !errors.As(r.Err, &refusal) || refusal.Signer.State != trust.Retired {
			return false
		}
		i := slices.IndexFunc(im.origins, func(in *incoming) bool {
			return in.id.Key == refusal.Signer.Introducer
		})
		if i >= 0 {
			im.note("origin %q is signed by the old key, and %q by the one that took its place: only the new one is used", r.Origin, im.origins[i].Plan.Dir)
		}
		return i >= 0
	})
}

// endsImport tells the errors that are nobody's but the run's from those that only cost the origin
// they came from.
func endsImport(ctx context.Context, err error) bool {
	var gone *drive.GoneError
	return ctx.Err() != nil || errors.Is(err, fault.ErrDeclined) || errors.As(err, &gone)
}

// nothingAccepted is the error of an import that has no origin to go on with; nil if there is one.
func (im *importer) nothingAccepted() error {
	switch {
	case len(im.origins) > 0:
		return nil
	case len(im.report.Refused) == 0 && im.report.Unwanted > 0: // as it was decided here
		return nil
	case len(im.report.Refused) > 0:
		return &RefusedError{Refused: im.report.Refused}
	case im.unfinished != nil:
		return fmt.Errorf("import from %q: %w", im.o.Drive, im.unfinished)
	}
	return fmt.Errorf("import from %q: nothing was exported to it yet: %w", im.o.Drive,
		drive.ErrNoTree)
}

// loadOrigin verifies one origin up to its catalogue. The caller that accepts the result closes it.
// With an error comes no more than whose generation it is, if that is certain.
func (im *importer) loadOrigin(dir string) (_ *incoming, err error) {
	seen, err := im.trusted.Load(im.drive, dir, im.offered)
	if err != nil {
		return nil, err
	}
	gen := seen.Gen
	defer func() {
		if err != nil {
			gen.Close()
		}
	}()
	if !believable(seen) {
		return nil, signed(seen)
	}
	in := &incoming{gen: gen, at: im.at, id: state.OriginID{Key: gen.Signed.Signer,
		Name: gen.Record.Origin}, OriginImport: &OriginImport{
		Copied: []payload.Item{}, Pruned: []payload.Item{}, LeftOut: []payload.Item{},
		Plan: &ImportPlan{Dir: dir, Origin: gen.Record.Origin,
			Fingerprint: string(gen.Signed.Signer), Serial: gen.Serial(),
			Signed: gen.Signed.SignedAt,
			Copy:   []payload.Item{}, Replace: []payload.Item{}, Beside: []payload.Item{},
			Prune: []payload.Item{}, Unusable: []payload.Item{}, LeftOut: []payload.Item{}}}}
	if in.sum, err = listSum(gen); err != nil {
		return in, err
	}
	in.known = im.trusted.Predecessor(im.st, in.id, im.offered)
	in.former = formerOf(im.trusted, im.st, gen.Record, im.offered)
	if err := cmp.Or(checkName(im.st, in.id), im.checkTime(in), im.checkSerial(in)); err != nil {
		return in, err
	}
	if im.wants(payload.Package) {
		if err := im.outlook.origin(gen); err != nil {
			return nil, err
		}
		if err := im.readCatalogue(in); err != nil {
			return in, err
		}
	}
	if in.facts, err = drive.ReadableFacts(gen); err != nil {
		return nil, err
	}
	in.stock = make(map[payload.Kind]*drive.Stock)
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if in.stock[kind], err = gen.Stock(kind); err != nil {
			return in, err
		}
	}
	return in, im.acceptRotation(in, seen)
}

// accept takes an origin in that was verified.
func (im *importer) accept(in *incoming) {
	im.origins = append(im.origins, in)
	if s := in.successor; s != nil {
		im.successors = append(im.successors, *s)
		im.trusted.Ring = append(im.trusted.Ring, s.key)
	}
	im.report.Origins = append(im.report.Origins, in.OriginImport)
	if signed, now := in.gen.Signed.SignedAt, im.m.Now(); now.Add(slowClock).Before(signed) {
		im.note("this machine's clock says %s, and origin %q was signed later, on %s: the clock here is ignored", fault.Time(now), in.Plan.Origin, fault.Time(signed))
	}
}

// slowClock is how far a clock may be behind that of the build host without a word: nobody sets
// them to the second, and nothing depends on it.
const slowClock = 5 * time.Minute

// checkTime refuses a generation from the future, and one that is too old for what was asked. A
// generation becomes the measure for all that follow: the number of one from the far future would
// refuse every honest one.
func (im *importer) checkTime(in *incoming) error {
	signed := in.gen.Signed
	stamp, now := trust.Latest(signed.SignedAt, signed.Timestamp), im.trusted.Now
	// the names that it gave up do not count, and neither do their times
	if len(in.former) > 0 && !im.o.AcceptClock {
		now = trust.Latest(im.m.Now(), state.TimeWithout(im.st, in.former))
	}
	if limit := trust.Latest(now, trust.NotBefore).Add(trust.MaxAhead); stamp.After(limit) &&
		!im.o.AcceptFuture {
		return &FutureError{Origin: in.Plan.Origin, Time: stamp}
	}
	age := max(0, now.Sub(signed.SignedAt))
	in.Plan.Age = int64(age / time.Second)
	if im.o.MaxAge > 0 && age > im.o.MaxAge {
		return &StaleError{Origin: in.Plan.Origin, Age: age, Max: im.o.MaxAge}
	}
	return nil
}

// refusedOrigin is an origin that was not accepted.
type refusedOrigin struct {
	dir string
	at  string    // the drive
	in  *incoming // nil: whose it is is not certain
	err error
}

// withoutFormer leaves out the origins that go on under another name which is accepted in this run:
// there is nothing to be had of them, whether they are believed or not. It returns the refused ones
// that remain.
func withoutFormer(im *importer, refused []refusedOrigin) []refusedOrigin {
	now := make(map[state.OriginID]string)
	for _, in := range im.origins {
		for _, id := range append(claimed(in.gen.Record), in.former...) {
			if id != in.id {
				now[id] = in.Plan.Origin
			}
		}
	}
	if len(now) == 0 {
		return refused
	}
	gone := func(id state.OriginID, dir string) bool {
		name, ok := now[id]
		if ok {
			im.note("origin %q goes on as %q: %q on the drive is not used any more (on the build host: pkgsneak forget %s DRIVE)", id.Name, name, dir, fault.Quote(dir))
		}
		return ok
	}
	im.origins = slices.DeleteFunc(im.origins, func(in *incoming) bool {
		if !gone(in.id, in.Plan.Dir) {
			return false
		}
		closeSources(in)
		im.report.Origins = slices.DeleteFunc(im.report.Origins, func(o *OriginImport) bool {
			return o == in.OriginImport
		})
		return true
	})
	return slices.DeleteFunc(refused, func(r refusedOrigin) bool {
		var by *signedError
		switch {
		case r.in != nil:
			return gone(r.in.id, r.dir)
		case errors.As(r.err, &by):
			return gone(by.id, r.dir)
		}
		return false
	})
}

// refuse leaves an origin out: nothing of it is used.
func (im *importer) refuse(dir, at string, err error) {
	err = trust.Damaged(dir, err)
	var unknown *manifest.UnknownKeyError
	var key *manifest.KeyError
	signer := ""
	switch {
	case errors.As(err, &unknown):
		signer = unknown.Signer
	case errors.As(err, &key):
		signer = string(key.Fingerprint)
	}
	var refusal *trust.Refusal
	how := ""
	if errors.As(err, &refusal) {
		how = refusal.Signer.State.String()
	}
	im.report.Refused = append(im.report.Refused, Refused{Origin: dir, Drive: at, Signer: signer,
		State: how, Reason: fault.Text(err), Err: err})
}

// listSum is the digest of a generation's content. The bytes of the manifest copy would not do:
// those of a signature that are not signed themselves can be changed without breaking it.
func listSum(g *drive.Generation) (digest.Blake2b, error) {
	text, err := g.Signed.MarshalText()
	return digest.Bytes(text), err
}

// checkSerial compares the generation with the newest one that was imported: the same number with
// other contents is a fork.
func (im *importer) checkSerial(in *incoming) error {
	seen, ok := im.st.Seen(in.known)
	if !ok {
		return nil
	}
	in.seen = seen
	switch serial := in.gen.Serial(); {
	case serial == seen.Serial && in.sum != seen.Manifest:
		return &ForkError{Origin: in.Plan.Origin, Serial: serial}
	case serial < seen.Serial:
		in.Plan.Older = true
	}
	return nil
}

// behind tells of a remembered time that this machine's clock does not explain; "" if there is
// none.
func behind(know trust.View, clock time.Time, place string) string {
	if !know.ClockBehind() {
		return ""
	}
	return fmt.Sprintf("a signature that was verified here is of %s, more than a year after this machine's clock, %s: keys and ages are judged by it; if the clock is right: pkgsneak import %s --accept-clock",
		fault.Time(know.Now), fault.Time(clock), fault.Quote(place))
}
