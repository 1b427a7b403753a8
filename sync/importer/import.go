package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/ledger"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// ImportOptions says what to import and how. The zero value of everything but Drive is what a person wants.
type ImportOptions struct {
	Drive       string
	Further     []string // more drives: what Drive has damaged or not at all of an origin comes from them, and what else they carry
	Origin      string   // the directory of one origin on the drive; "" imports all that are trusted
	NoPackages  bool
	NoDistfiles bool
	Prune       bool // remove what came from an origin and has left it
	Replace     bool // a distfile that is here with other contents is replaced
	AllowShrink bool // let Prune remove more than half of an origin's packages
	AnyArch     bool // bring in packages for another machine
	// ExcludeFile takes the names that the line to type excludes; "": a file in the state directory if there are many.
	ExcludeFile string
	AnyCPU      bool // and those for another CPU
	RespectUse  bool // let emerge leave out what has other USE than this machine sets
	AllowOlder  bool // import a generation older than the last one
	Check       bool // look through packages that the exporting side vouches for, too
	// MaxAge refuses what was signed longer ago; 0: no limit.
	MaxAge time.Duration
	// AcceptFuture imports a generation whose time is further ahead than any clock is wrong.
	AcceptFuture bool
	// AcceptClock believes this machine's clock, and gives up a later time that is remembered from a signature.
	AcceptClock bool
	// AcceptRotation trusts the successor that a trusted key introduced, in its place. ConfirmRotation is asked where it is not set; nil says no.
	AcceptRotation  bool
	ConfirmRotation func(*trust.Refusal) (bool, error)
	Workers         int           // files copied and checked at a time; 0 chooses: as many as there are processors, as many of them from the drive as it likes
	Source          volume.Medium // MediumOf the drive, while this process was still allowed to look
	Pretend         bool
	Confirm         func([]*ImportPlan) (bool, error)
}

// ImportPlan is what an import would do for one origin. Each payload file of the generation is counted in exactly one of Copy, Replace, Beside, Present, Unusable and LeftOut.
type ImportPlan struct {
	Dir         string         `json:"dir"` // of the origin on the drive
	Origin      string         `json:"origin"`
	Fingerprint string         `json:"fingerprint"`
	Serial      int64          `json:"serial"`
	Signed      time.Time      `json:"signed"`
	Age         int64          `json:"age"`             // seconds since it was signed, as far as this machine knows
	Older       bool           `json:"older,omitempty"` // than what was imported before
	Copy        []payload.Item `json:"copy"`
	Replace     []payload.Item `json:"replace"`  // an older build of the same origin lies there
	Beside      []payload.Item `json:"beside"`   // a local file has the name: it gets the next free one
	Prune       []payload.Item `json:"remove"`   // came from the origin and has left it; removed with --prune only
	Held        []Held         `json:"held"`     // what Prune does not remove, and why
	Unusable    []payload.Item `json:"unusable"` // packages that this machine can never use: no part of what should come
	LeftOut     []payload.Item `json:"left_out"`
	Present     payload.Tally  `json:"present"`
	NotCarried  int            `json:"not_carried"` // packages the origin has and this drive has not
	Need        int64          `json:"need"`

	UnusableKinds map[resolve.ReasonKind]int `json:"-"`
}

// Held says that what came from an origin, and may have left it, is not pruned.
type Held struct {
	Kind   payload.Kind  `json:"kind"`
	Tally  payload.Tally `json:"files"`
	Reason string        `json:"reason"`
	Hint   string        `json:"hint,omitempty"` // the command that removes it all the same; "": this generation does not tell what has left the origin
}

// OriginImport is what an import did for one origin. Each file of the plan is in exactly one list.
type OriginImport struct {
	Plan    *ImportPlan    `json:"plan"`
	Copied  []payload.Item `json:"copied"`
	Pruned  []payload.Item `json:"removed"`
	LeftOut []payload.Item `json:"left_out"`
	Gone    payload.Tally  `json:"gone"` // came from the origin, has left it, and is still here
}

// Refused is an origin of which nothing was used.
type Refused struct {
	Origin string `json:"origin"`
	Drive  string `json:"drive"`
	Signer string `json:"fingerprint,omitempty"` // as claimed
	Reason string `json:"reason"`
	Err    error  `json:"-"`
	// Code is the exit code that the reason would have by itself, Hints are the commands that help; whoever shows the report fills both in.
	Code  int      `json:"exit"`
	Hints []string `json:"hints,omitempty"`
}

// ImportReport is what an import did.
type ImportReport struct {
	Origins   []*OriginImport `json:"origins"`
	Refused   []Refused       `json:"refused"`
	Unwanted  int             `json:"unwanted,omitempty"` // origins of keys that are not wanted here: no part of what should have come
	Pretended bool            `json:"pretended,omitempty"`
	Unchanged bool            `json:"unchanged"`
	Packages  int             `json:"packages"` // entries in the index now
	Indexed   bool            `json:"indexed"`  // the index was written
	Notices   []string        `json:"notices"`
	Next      []string        `json:"next"` // what to type now
	// Forecast is what emerge can do now, and what it cannot; nil if packages were not wanted. Outlook is the same for people.
	Forecast    *forecast.Document `json:"forecast,omitempty"`
	Outlook     *forecast.Forecast `json:"-"`
	ExcludeFile string             `json:"exclude_file,omitempty"`
}

// Import verifies the drive and brings what is new into this client's PKGDIR and DISTDIR. Nothing on the drive is written, and nothing on it is believed before its signature.
func Import(ctx context.Context, m machine.Machine, o ImportOptions, w progress.Watcher) (*ImportReport, error) {
	drives, err := openDrives(append([]string{o.Drive}, o.Further...))
	if err != nil {
		return nil, err
	}
	defer closeDrives(drives)
	l, err := ledger.Open(ctx, m.StateDir, ledger.Options{ReadOnly: o.Pretend, LockWait: m.LockWait, Hook: m.Hook,
		OnWait: func() { w.Notice("waiting for another pkgsneak to end") }})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	im := &importer{m: m, o: o, w: w, l: l, drives: drives, report: &ImportReport{Pretended: o.Pretend,
		Origins: []*OriginImport{}, Refused: []Refused{}, Notices: []string{}, Next: []string{}}}
	defer im.close()
	err = im.run(ctx)
	return im.report, err
}

// importer is one import on its way.
type importer struct {
	m machine.Machine
	o ImportOptions
	w progress.Watcher
	l *ledger.Ledger

	drives []mounted
	drive  *drive.Drive // the one that is looked at
	at     string       // where that is

	report  *ImportReport
	know    trust.View
	offered manifest.Ring // keys on the drive
	origins []*incoming
	client  *client
	outlook *outlook
	blocked string // why nothing can be brought into DISTDIR, "" if it can

	successors []successor // keys that were accepted in the place of trusted ones

	unfinished error // of an origin that has no manifest
}

// incoming is a verified generation and what is to be done with it.
type incoming struct {
	*OriginImport
	gen       *drive.Generation
	at        string         // its drive
	further   []source       // drives that have an older state of the origin, or the same
	sum       digest.Blake2b // of what was signed
	id        ledger.OriginID
	successor *successor        // its key, if that was accepted in the place of a trusted one
	former    []ledger.OriginID // names that it had before: their files are its own now, their serials are not
	known     ledger.OriginID   // under which it is remembered: with the key that it had before, if that one introduced its key
	seen      ledger.Seen
	catalogue *pkgindex.Index
	facts     *layout.Facts                 // nil: an older program does not tell
	stock     map[payload.Kind]*drive.Stock // what the origin has, whether this drive carries it or not
	entries   map[string]pkgindex.Entry     // of the catalogue, by PATH; CHOST and REPO stand in each
	imports   map[payload.Kind]map[string]ledger.Import
	deeds     []*deed
	prune     []*deed
	newer     map[payload.Kind]int // files that are of a newer generation here, and stay
}

// deed is one thing to be done on the client.
type deed struct {
	item   layout.Item
	kind   payload.Kind
	path   string         // the origin's
	local  string         // where it shall go, or where it lies
	seen   fs.FileInfo    // the file at local that it takes the place of, or that is pruned; nil: the name is free
	entry  pkgindex.Entry // of a package
	owners []owner        // the origins that list it, the one that brings it in first
	from   string         // the other drive that it came from, "" if it did not
}

func (im *importer) close() {
	for _, in := range im.origins {
		closeSources(in)
	}
	if im.client != nil {
		im.client.close()
	}
}

func (im *importer) run(ctx context.Context) error {
	im.outlook = &outlook{}
	if im.wants(payload.Package) {
		var err error
		o := forecast.GateOptions{AnyCPU: im.o.AnyCPU, AnyArch: im.o.AnyArch, RespectUse: im.o.RespectUse}
		if im.outlook, err = newOutlook(im.m, o); err != nil {
			im.note("%v", err)
		}
	}
	if err := im.load(ctx); err != nil {
		return err
	}
	if len(im.origins) == 0 { // all that is there is not wanted
		im.report.Unchanged = true
		return nil
	}
	for _, step := range []func(context.Context) error{im.openClient, im.plan} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if im.o.Pretend {
		im.report.Unchanged = !im.busy()
		im.advise()
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
		if err := ledger.LowerTime(im.l, im.know.Now); err != nil {
			return err
		}
	}
	return im.carryOut(ctx)
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

// busy reports whether any file has to be brought in, replaced or removed.
func (im *importer) busy() bool {
	for _, in := range im.origins {
		if len(in.deeds) > 0 || im.o.Prune && len(in.prune) > 0 {
			return true
		}
	}
	return false
}

// load verifies every wanted origin, each by itself: one that is damaged, forged, from the future or not trusted stops no other. Only what is no
// origin's fault ends the run: a drive that goes away, a person who says no.
func (im *importer) load(ctx context.Context) (err error) {
	if im.know, err = trust.Read(im.l, im.m.Now()); err != nil {
		return err
	}
	if im.o.AcceptClock {
		im.know.Now = im.m.Now()
	} else if note := behind(im.know, im.m.Now(), im.o.Drive); note != "" {
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
func loadOrigins(ctx context.Context, im *importer, dirs []string) (refused, blank []refusedOrigin, err error) {
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
		case im.o.Origin == "" && unwanted(err):
			im.report.Unwanted++
		default:
			refused = append(refused, refusedOrigin{dir, im.at, in, err})
		}
	}
	return refused, blank, nil
}

// joinDrives leaves the newest state of each origin, with the others as its further sources. An origin that
// is damaged on one drive and accepted from another is told, and no more refused.
func joinDrives(im *importer, refused []refusedOrigin) []refusedOrigin {
	if len(im.drives) == 1 {
		return refused
	}
	var kept []*incoming
	drop := func(in *incoming) {
		im.report.Origins = slices.DeleteFunc(im.report.Origins, func(o *OriginImport) bool { return o == in.OriginImport })
	}
	for _, in := range im.origins {
		i := slices.IndexFunc(kept, func(k *incoming) bool { return k.id == in.id })
		switch {
		case i < 0:
			kept = append(kept, in)
		case in.gen.Serial() == kept[i].gen.Serial() && in.sum != kept[i].sum:
			refused = append(refused, refusedOrigin{in.Plan.Dir, in.at, in, &ForkError{Origin: in.Plan.Origin, Serial: in.gen.Serial()}})
			drop(in)
			in.gen.Close()
		case in.gen.Serial() > kept[i].gen.Serial():
			in.further = append(kept[i].further, source{kept[i].gen, kept[i].at})
			drop(kept[i])
			kept[i] = in
		default:
			kept[i].further = append(kept[i].further, source{in.gen, in.at})
			drop(in)
		}
	}
	im.origins = kept
	return slices.DeleteFunc(refused, func(r refusedOrigin) bool {
		var damaged *drive.DamagedError
		if !errors.As(r.err, &damaged) {
			return false
		}
		i := slices.IndexFunc(im.origins, func(in *incoming) bool { return in.Plan.Dir == r.dir && in.at != r.at })
		if i >= 0 {
			im.note("origin %q on %q: %v; it is taken from %q", r.dir, r.at, r.err, im.origins[i].at)
		}
		return i >= 0
	})
}

// closeSources closes what an origin is read from.
func closeSources(in *incoming) {
	in.gen.Close()
	for _, s := range in.further {
		s.gen.Close()
	}
}

// passOverBlank names the origins without a manifest beside those that have one. Where one was imported here before, something that should have come did not.
func passOverBlank(im *importer, blank []refusedOrigin) error {
	alone := len(im.origins)+len(im.report.Refused)+im.report.Unwanted == 0
	for _, b := range blank {
		id, found, err := remembered(im.l, im.know, b.dir)
		if err != nil {
			return err
		}
		found = found && !slices.ContainsFunc(im.origins, func(in *incoming) bool { return in.id == id || in.known == id })
		switch {
		case found && !alone:
			im.refuse(b.dir, b.at, &NoManifestError{Dir: b.dir, Origin: id.Name, Err: b.err})
		case !alone:
			im.note("%v: nothing of it was used", b.err)
		default:
			im.unfinished = b.err
		}
	}
	return nil
}

// passOverRetired takes the origin of an old key out of what was refused, where the key that took its place signed another origin of this drive, and that is accepted:
// everything that should come comes from there. A build host that lost its key leaves such an origin behind.
func (im *importer) passOverRetired() {
	im.report.Refused = slices.DeleteFunc(im.report.Refused, func(r Refused) bool {
		var refusal *trust.Refusal
		if !errors.As(r.Err, &refusal) || refusal.Signer.State != trust.Retired {
			return false
		}
		i := slices.IndexFunc(im.origins, func(in *incoming) bool { return in.id.Key == refusal.Signer.Introducer })
		if i >= 0 {
			im.note("origin %q is signed by the old key, and %q by the one that took its place: only the new one is used", r.Origin, im.origins[i].Plan.Dir)
		}
		return i >= 0
	})
}

// endsImport tells the errors that are nobody's but the run's from those that only cost the origin they came from.
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
	return fmt.Errorf("import from %q: nothing was exported to it yet: %w", im.o.Drive, drive.ErrNoTree)
}

// loadOrigin verifies one origin up to its catalogue. What it returns is closed by whoever accepts it. With an error comes no more than whose generation it is, if that is certain.
func (im *importer) loadOrigin(dir string) (_ *incoming, err error) {
	seen, err := im.know.Load(im.drive, dir, im.offered)
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
		return nil, seen.Err
	}
	in := &incoming{gen: gen, at: im.at, id: ledger.OriginID{Key: gen.Signed.Signer, Name: gen.Record.Origin}, OriginImport: &OriginImport{
		Copied: []payload.Item{}, Pruned: []payload.Item{}, LeftOut: []payload.Item{},
		Plan: &ImportPlan{Dir: dir, Origin: gen.Record.Origin, Fingerprint: string(gen.Signed.Signer), Serial: gen.Serial(), Signed: gen.Signed.SignedAt,
			Copy: []payload.Item{}, Replace: []payload.Item{}, Beside: []payload.Item{}, Prune: []payload.Item{}, Unusable: []payload.Item{}, LeftOut: []payload.Item{}}}}
	if in.sum, err = listSum(gen); err != nil {
		return in, err
	}
	in.known = im.know.Predecessor(im.l, in.id, im.offered)
	in.former = formerOf(im.know, im.l, in.id.Key, gen.Record.Formerly, im.offered)
	if err := cmp.Or(checkName(im.l, in.id), im.checkTime(in), im.checkSerial(in)); err != nil {
		return in, err
	}
	if im.wants(payload.Package) {
		if err := im.outlook.origin(gen); err != nil {
			return nil, err
		}
		if err := im.readCatalogue(in); err != nil {
			return in, err
		}
		if in.facts, err = gen.Facts(); err != nil {
			return nil, err
		}
	}
	in.stock = make(map[payload.Kind]*drive.Stock)
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if in.stock[kind], err = gen.Stock(drive.DriveKind(kind)); err != nil {
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
		im.know.Ring = append(im.know.Ring, s.key)
	}
	im.report.Origins = append(im.report.Origins, in.OriginImport)
	if signed := in.gen.Signed.SignedAt; im.m.Now().Before(signed) {
		im.note("this machine's clock says %s, before origin %q signed at %s: this machine's clock is ignored",
			im.m.Now().UTC().Format(time.RFC3339), in.Plan.Origin, signed.UTC().Format(time.RFC3339))
	}
}

// checkTime refuses a generation from the future, and one that is too old for what was asked. A generation becomes the measure for all that follow: the number of one from
// the far future would refuse every honest one.
func (im *importer) checkTime(in *incoming) error {
	signed := in.gen.Signed
	stamp, now := trust.Latest(signed.SignedAt, signed.Timestamp), im.know.Now
	if len(in.former) > 0 && !im.o.AcceptClock { // the names that it gave up do not count, and neither do their times
		now = trust.Latest(im.m.Now(), ledger.TimeWithout(im.l, in.former))
	}
	if limit := trust.Latest(now, trust.NotBefore).Add(trust.MaxAhead); stamp.After(limit) && !im.o.AcceptFuture {
		return &FutureError{Origin: in.Plan.Origin, Time: stamp, Limit: limit}
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

// withoutFormer leaves out the origins that go on under another name which is accepted in this run: there is nothing to
// be had of them. It returns the refused ones that remain.
func withoutFormer(im *importer, refused []refusedOrigin) []refusedOrigin {
	now := make(map[ledger.OriginID]string)
	for _, in := range im.origins {
		for _, id := range in.former {
			now[id] = in.Plan.Origin
		}
	}
	if len(now) == 0 {
		return refused
	}
	gone := func(id ledger.OriginID, dir string) bool {
		name, ok := now[id]
		if ok {
			im.note("origin %q goes on as %q: %q on the drive is not used any more (on the build host: pkgsneak forget %s DRIVE)", id.Name, name, dir, fault.Quote(id.Name))
		}
		return ok
	}
	im.origins = slices.DeleteFunc(im.origins, func(in *incoming) bool {
		if !gone(in.id, in.Plan.Dir) {
			return false
		}
		closeSources(in)
		im.report.Origins = slices.DeleteFunc(im.report.Origins, func(o *OriginImport) bool { return o == in.OriginImport })
		return true
	})
	return slices.DeleteFunc(refused, func(r refusedOrigin) bool { return r.in != nil && gone(r.in.id, r.dir) })
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
	im.report.Refused = append(im.report.Refused, Refused{Origin: dir, Drive: at, Signer: signer, Reason: fault.Text(err), Err: err})
}

// listSum is the digest of what a generation says. The bytes of the slot would not do: those of a signature that are not signed themselves can be changed without breaking it.
func listSum(g *drive.Generation) (digest.Blake2b, error) {
	text, err := g.Signed.MarshalText()
	return digest.Bytes(text), err
}

// checkSerial compares the generation with the newest one that was imported: the same number with other contents is a fork.
func (im *importer) checkSerial(in *incoming) error {
	seen, ok := im.l.Seen(in.known)
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

// plan finds out for every origin what is to be done. One that turns out to be refused has no part in the plan of the others.
func (im *importer) plan(ctx context.Context) error {
	for {
		refused, err := im.planAll(ctx)
		if err != nil {
			return err
		}
		if len(refused) == 0 {
			noteNewer(im)
			return nil
		}
		im.origins = slices.DeleteFunc(im.origins, func(in *incoming) bool { return slices.Contains(refused, in) })
		im.report.Origins = slices.DeleteFunc(im.report.Origins, func(o *OriginImport) bool {
			return slices.ContainsFunc(refused, func(in *incoming) bool { return in.OriginImport == o })
		})
		for _, in := range refused {
			closeSources(in)
		}
		if err := im.nothingAccepted(); err != nil {
			return err
		}
	}
}

// noteNewer tells of files that this drive has in an older state than this machine.
func noteNewer(im *importer) {
	for _, in := range im.origins {
		for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
			if n := in.newer[kind]; n > 0 {
				im.note("origin %q: %d of its %ss are newer here than on this drive, whose export did not look at them since %s: they stay", in.Plan.Origin, n, kind, stamp(in.stock[kind].AsOf))
			}
		}
	}
}

// planAll plans all origins together, and returns those of which nothing is to be used.
func (im *importer) planAll(ctx context.Context) (refused []*incoming, err error) {
	for _, in := range im.origins {
		if err := im.beginPlan(ctx, in); err != nil {
			return nil, err
		}
	}
	if im.wants(payload.Package) {
		if err := im.planPackages(ctx); err != nil {
			return nil, err
		}
	}
	if im.wants(payload.Distfile) {
		if err := im.planDistfiles(ctx); err != nil {
			return nil, err
		}
	}
	for _, in := range im.origins {
		in.Plan.sort()
		in.LeftOut = slices.Clone(in.Plan.LeftOut)
		if in.Plan.Older && len(in.deeds) > 0 && !im.o.AllowOlder {
			im.refuse(in.Plan.Dir, in.at, &OlderError{Origin: in.Plan.Origin, Serial: in.Plan.Serial, Have: in.seen.Serial})
			refused = append(refused, in)
		}
	}
	return refused, nil
}

// beginPlan forgets what was planned for an origin, and reads what the ledger remembers of it.
func (im *importer) beginPlan(ctx context.Context, in *incoming) (err error) {
	p := in.Plan
	p.Copy, p.Replace, p.Beside, p.Prune, p.LeftOut, p.Present, p.Held = []payload.Item{}, []payload.Item{}, []payload.Item{}, []payload.Item{}, []payload.Item{}, payload.Tally{}, []Held{}
	p.Unusable, p.UnusableKinds = []payload.Item{}, nil
	in.deeds, in.prune, in.LeftOut, in.newer = nil, nil, []payload.Item{}, nil
	in.imports = make(map[payload.Kind]map[string]ledger.Import)
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if im.wants(kind) {
			if in.imports[kind], err = rememberedRows(im.l, ledgerKind(kind), append(slices.Clone(in.former), in.known, in.id)...); err != nil {
				return err
			}
		}
	}
	return settlePending(ctx, im, in)
}

// sort orders the lists by kind and path.
func (p *ImportPlan) sort() {
	for _, list := range [][]payload.Item{p.Copy, p.Replace, p.Beside, p.Prune, p.Unusable, p.LeftOut} {
		payload.Sort(list)
	}
}

func (im *importer) wants(k payload.Kind) bool {
	return k == payload.Package && !im.o.NoPackages || k == payload.Distfile && !im.o.NoDistfiles
}

func ledgerKind(k payload.Kind) ledger.Kind {
	if k == payload.Package {
		return ledger.Packages
	}
	return ledger.Distfiles
}
