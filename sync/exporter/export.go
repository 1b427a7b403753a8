package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/ledger"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// ExportOptions says what to export and how. The zero value of everything but Drive is what a person wants.
type ExportOptions struct {
	Drive        string        // mount point (or directory) that holds, or will hold, the tree
	Name         string        // the origin's name; "" takes the one this PKGDIR was exported under, else the host's name
	NoPackages   bool          // leave the packages on the drive as they are
	NoDistfiles  bool          // leave the distfiles on the drive as they are
	AcceptClock  bool          // the machine's clock is right, however far ahead it is
	AllowShrink  bool          // a host that lost most of its packages means it
	AnyDirectory bool          // Drive need not be a mounted file system of its own
	Repair       bool          // read everything on the drive, and write again what is damaged
	NoReadBack   bool          // do not compare the medium with what was written
	PartSize     int64         // bytes of the largest file on the drive; 0 is what FAT can hold
	Workers      int           // files that are worked on at a time; 0 chooses: as many as there are processors, as many of them read and written as the media like
	Source       volume.Medium // MediumOf PKGDIR, while this process was still allowed to look
	Medium       volume.Medium // MediumOf Drive, likewise
	Pretend      bool          // plan only; nothing is written anywhere
	Confirm      func(*ExportPlan) (bool, error)

	CommitEvery int64 // bytes, instead of the constant, in tests
}

// ExportPlan is what an export would do: plain data, made before the first byte is written.
type ExportPlan struct {
	Drive       string         `json:"drive"`
	Origin      string         `json:"origin"`
	Fingerprint string         `json:"fingerprint,omitempty"` // "" where the first export will make the key
	PKGDIR      string         `json:"pkgdir"`
	DISTDIR     string         `json:"distdir"`
	Previous    int64          `json:"previous,omitempty"` // the generation on the drive; 0: none
	Copy        []payload.Item `json:"copy"`
	Compare     []payload.Item `json:"compare"` // read first, copied if they differ
	Keep        payload.Tally  `json:"keep"`
	Remove      []payload.Item `json:"remove"`
	LeftOut     []payload.Item `json:"left_out"`
	Duplicates  []payload.Item `json:"duplicates,omitempty"` // other names of packages that are carried once
	Need        int64          `json:"need"`                 // bytes on the drive for Copy and Compare, in whole clusters
	Free        int64          `json:"free"`
	Namesakes   []Namesake     `json:"namesakes"` // other origins of this name on the drive
}

// ExportReport is what an export did. Each file of the plan is in exactly one list.
type ExportReport struct {
	Plan      ExportPlan     `json:"plan"`
	Pretended bool           `json:"pretended,omitempty"`
	Unchanged bool           `json:"unchanged"` // nothing to do: no generation was written
	NewKey    bool           `json:"new_key,omitempty"`
	Serial    int64          `json:"serial,omitempty"` // the generation on the drive now
	Copied    []payload.Item `json:"copied"`
	Removed   []payload.Item `json:"removed"`
	Kept      payload.Tally  `json:"kept"`
	LeftOut   []payload.Item `json:"left_out"`
	Written   int64          `json:"written"` // bytes of payload
	ReadBack  bool           `json:"read_back"`
	Notices   []string       `json:"notices"`
}

// Export writes what changed on this host since the last export to the drive, as a new signed generation. Where an error comes with a report, its plan says what was intended.
func Export(ctx context.Context, m machine.Machine, o ExportOptions, w progress.Watcher) (*ExportReport, error) {
	if err := machine.NeedDirectory("export to", o.Drive); err != nil {
		return nil, err
	}
	if !o.AnyDirectory {
		if err := machine.CheckMounted(o.Drive, m.PKGDIR); err != nil {
			return nil, err
		}
	}
	l, err := ledger.Open(ctx, m.StateDir, ledger.Options{ReadOnly: o.Pretend, LockWait: m.LockWait, Hook: m.Hook,
		OnWait: func() { w.Notice("waiting for another pkgsneak to end") }})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	x := &exporter{m: m, o: o, w: w, l: l,
		broken: &damage{}, current: make(map[payload.Key]*layout.Item), entries: make(map[string]pkgindex.Entry),
		report: &ExportReport{Pretended: o.Pretend, Copied: []payload.Item{}, Removed: []payload.Item{}, LeftOut: []payload.Item{}, Notices: []string{}}}
	defer x.close()
	err = x.run(ctx)
	if cancelled(ctx, err) {
		err = interruptedExport(x, err)
	}
	return x.report, withNamesakes(err, x.report.Plan.Namesakes)
}

// exporter is one export on its way. The first block is given, the rest is found out step by step.
type exporter struct {
	m machine.Machine
	o ExportOptions
	w progress.Watcher
	l *ledger.Ledger

	report *ExportReport
	key    *manifest.PrivateKey        // nil until the first export makes it
	hidden bool                        // there is one, which this user may not read
	past   manifest.Ring               // the keys before it
	now    time.Time                   // the clock, or what was signed here before if that is later
	name   string                      // the origin's
	drive  *drive.Drive                // nil while there is no tree
	dir    string                      // the origin's directory
	held   *drive.Generation           // on the drive; nil on the first export
	state  func() (drive.State, error) // what is left to do there; it is found out while the host is looked at
	enough context.CancelFunc          // ends that
	before *pkgindex.Header            // of its catalogue; nil if there is none that can be read
	told   *layout.Facts               // its facts; nil if it does not tell, or they cannot be read
	stale  bool                        // its packages/Packages is an older generation's, or a file of its own is damaged, which only a new generation mends
	broken *damage                     // what was found damaged in it
	host   *host
	stock  *originStock
	todo   []payload.Item // to be copied
	copied atomic.Int64   // files of it that were

	committed payload.Tally // files of it that the drive's list has by now

	// What the next commit lists. It begins as what the drive holds and follows what is put there, so that a generation can be committed at any time.
	current map[payload.Key]*layout.Item
	entries map[string]pkgindex.Entry // by PATH
	header  pkgindex.Header
	origin  layout.Record // its descriptive fields
	changed bool          // an entry is not that of the catalogue on the drive
}

func (x *exporter) close() {
	if x.host != nil {
		x.host.close()
	}
	x.letGo()
	if x.drive != nil {
		x.drive.Close()
	}
}

// letGo closes the generation on the drive, if it is the exporter's own.
func (x *exporter) letGo() {
	if x.enough == nil {
		return
	}
	x.enough()
	x.state()
	x.held.Close()
	x.enough = nil
}

func (x *exporter) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{x.identify, x.openDrive, x.scan, x.checkClock, x.plan, x.guard} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	unchanged, err := x.unchanged()
	if err != nil {
		return err
	}
	if unchanged {
		x.report.Unchanged = true
		return x.remember()
	}
	if x.o.Pretend {
		return x.checkSpace()
	}
	if x.o.Confirm != nil {
		switch ok, err := x.o.Confirm(&x.report.Plan); {
		case err != nil:
			return err
		case !ok:
			return fault.ErrDeclined
		}
	}
	return x.write(ctx)
}

// identify finds out who exports: the key, and the name.
func (x *exporter) identify(context.Context) error {
	x.now = trust.Latest(x.m.Now(), x.l.HighestTime())
	key, err := x.l.SigningKey()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, fs.ErrPermission) && x.o.Pretend:
		x.report.Notices = append(x.report.Notices, "the signing key cannot be read by this user: the plan believes the key that lies on the drive")
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

// readPast reads the keys that this machine signed with before. To plan, an ordinary user does not need them.
func (x *exporter) readPast() error {
	retired, err := x.l.Retired()
	if errors.Is(err, fs.ErrPermission) && x.o.Pretend {
		return nil
	}
	for _, k := range retired {
		x.past = append(x.past, k.Public())
	}
	return err
}

// chooseName returns the origin's name and makes sure that it stands for this PKGDIR: each has its own serials and its own list on a drive.
func (x *exporter) chooseName() (string, error) {
	here := realPath(x.m.PKGDIR)
	name := x.o.Name
	if name != "" {
		if err := layout.CheckNewOrigin(name); err != nil {
			return "", err
		}
	} else if name = lastName(x.l, here); name == "" {
		var err error
		if name, err = layout.OriginName(x.m.Hostname); err != nil {
			return "", err
		}
	}
	if now, err := ledger.RenewedAs(x.l, ledger.OriginID{Name: name}); err != nil || now != "" {
		return "", cmp.Or(err, error(&RenewedError{Name: name, Now: now}))
	}
	// A PKGDIR that is gone from its place was moved: the name moves with it.
	if e, ok := x.l.Exported(name); ok && realPath(e.PKGDIR) != here && machine.NeedDirectory("", e.PKGDIR) == nil {
		return "", &NameTakenError{Name: name, PKGDIR: x.m.PKGDIR, Have: e.PKGDIR}
	}
	return name, nil
}

// lastName is the name under which a PKGDIR was exported last, "" if it never was. Serials are times.
func lastName(l *ledger.Ledger, pkgdir string) (name string) {
	var last int64
	for _, known := range l.Origins() {
		if e, _ := l.Exported(known); e.Serial > last && realPath(e.PKGDIR) == pkgdir {
			name, last = known, e.Serial
		}
	}
	return name
}

func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// openDrive looks for this origin's generation on the drive. Nothing is written yet, not even the tree's directory.
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
	return x.findOrigin(ctx, x.key.Public())
}

// findOffered looks for the origin with the keys that the drive offers. That is good enough for a plan; nothing is written after it.
func (x *exporter) findOffered(ctx context.Context) error {
	offered, err := x.drive.Keys()
	for _, o := range offered {
		if o.Key == nil || x.held != nil {
			continue
		}
		if err := x.findOrigin(ctx, o.Key); err != nil {
			return err
		}
	}
	return err
}

func (x *exporter) findOrigin(ctx context.Context, key *manifest.PublicKey) (err error) {
	x.dir, x.held, err = x.drive.FindOrigin(key, x.name, x.now, x.past...)
	if x.held == nil || err != nil {
		return err
	}
	ctx, x.enough = context.WithCancel(ctx)
	x.state = pipeline.Future(func() (drive.State, error) { return x.held.State(ctx) })
	if e, _ := x.l.Exported(x.name); x.held.Serial() > e.Serial {
		x.report.Notices = append(x.report.Notices, fmt.Sprintf("this machine does not remember the generation of %s, which the drive has of %q and its key signed: "+
			"its state directory was restored, or another machine signs with a copy of the key", stampOf(time.Unix(x.held.Serial(), 0)), x.name))
	}
	x.report.Plan.Previous, x.report.Serial = x.held.Serial(), x.held.Serial()
	if err := x.readFacts(); err != nil {
		return err
	}
	catalogue, err := x.held.Catalogue()
	var damaged *drive.DamagedError
	if errors.As(err, &damaged) {
		x.report.Notices = append(x.report.Notices, fmt.Sprintf("the catalogue on the drive is damaged (%v): it is made anew", err))
		return nil
	}
	if err != nil {
		return err
	}
	header := catalogue.Header // not the catalogue: its entries shall not live on
	x.before = &header
	for _, e := range catalogue.Entries {
		x.entries[e.Path()] = e
	}
	return nil
}

// readFacts reads what the generation on the drive tells of the origin. Facts that cannot be read are made anew.
func (x *exporter) readFacts() (err error) {
	x.told, err = x.held.Facts()
	var damaged *drive.DamagedError
	var newer *layout.FactsVersionError
	if errors.As(err, &damaged) || errors.As(err, &newer) {
		x.told = nil
		return nil
	}
	return err
}

// noteFormer tells of what the drive still has under the former names of this origin.
func noteFormer(x *exporter) error {
	if x.drive == nil || x.key == nil {
		return nil
	}
	for _, name := range x.origin.Formerly {
		dir, gen, err := x.drive.FindOrigin(x.key.Public(), name, x.now, x.past...)
		if err != nil {
			return err
		}
		if gen == nil {
			continue
		}
		gen.Close()
		x.report.Notices = append(x.report.Notices, fmt.Sprintf("the drive still has %q, the former name of this origin (%q); when the clients have imported %q: pkgsneak forget %s %s",
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
	if f.known, err = x.l.Trusted(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if p.Namesakes, err = f.find(); err != nil {
		return err
	}
	for _, n := range p.Namesakes {
		x.report.Notices = append(x.report.Notices, n.notices(x.name, fault.Quote(x.o.Drive))...)
	}
	return nil
}

func (x *exporter) scan(ctx context.Context) (err error) {
	x.w.Tell(progress.Event{Phase: progress.PhaseScan, Path: x.m.PKGDIR})
	x.host, err = readHost(ctx, x.l, x.m, !x.o.NoPackages, !x.o.NoDistfiles, x.entries)
	if err != nil {
		return err
	}
	x.report.Notices = append(x.report.Notices, x.host.notices...)
	if !x.o.NoPackages {
		x.report.Notices = append(x.report.Notices, x.host.thin(x.m)...)
	}
	return nil
}

// checkClock looks at the clock before anything depends on it, and describes the origin.
func (x *exporter) checkClock(context.Context) error {
	var notes []string
	x.origin, notes = describeOrigin(x.m.Settings, x.m.Version, x.m.Now())
	x.report.Notices = append(x.report.Notices, notes...)
	former, err := ledger.FormerNames(x.l, x.name)
	if err != nil {
		return err
	}
	x.origin.Formerly = former[:min(len(former), layout.MaxFormerly)]
	if err := errors.Join(noteFormer(x), noteNamesakes(x)); err != nil {
		return err
	}
	if x.o.AcceptClock {
		return nil
	}
	var key *manifest.PublicKey
	if x.key != nil {
		key = x.key.Public()
	}
	var last time.Time
	if e, ok := x.l.Exported(x.name); ok {
		last = time.Unix(e.Serial, 0)
	}
	newest := last
	if x.held != nil {
		newest = trust.Latest(newest, time.Unix(x.held.Serial(), 0))
	}
	if err := checkAhead(x.m, x.name, newest); err != nil {
		return err
	}
	return checkClock(x.m.Now(), evidenceOf(x.m, x.l, x.held, x.host, x.origin.Repositories), key, last)
}

// plan compares host and drive and makes what the next commit lists out of what the drive holds.
func (x *exporter) plan(ctx context.Context) error {
	x.chooseHeader()
	held := x.heldFiles()
	p := &x.report.Plan
	p.Copy, p.Compare, p.Remove = []payload.Item{}, []payload.Item{}, []payload.Item{}
	p.LeftOut, p.Duplicates = append([]payload.Item{}, x.host.leftOut...), x.host.duplicates
	for _, s := range planExport(x.host.list(), held) {
		h := x.host.files[payload.Key{Kind: s.Item.Kind, Path: s.Item.Path}]
		switch {
		case s.Action == Remove:
			p.Remove = append(p.Remove, s.Item)
		case h.odd != "" && s.Action != Keep:
			s.Item.Reason, s.Item.Hint = "damaged, or the index is stale: "+h.odd, x.hintIndex()
			p.LeftOut = append(p.LeftOut, s.Item)
		case s.Action == Copy:
			p.Copy = append(p.Copy, s.Item)
		case s.Action == Compare:
			p.Compare = append(p.Compare, s.Item)
		default:
			x.keep(s.Item, h)
		}
	}
	x.vouched()
	x.stock = newStock(x.host, x.m, x.o, x.told, x.entries)
	x.stock.lastLooked(x.held, x.o)
	if x.o.Pretend {
		x.changed = x.changed || len(x.undescribed()) > 0
	} else if err := x.compare(ctx); err != nil {
		return err
	}
	if err := findDamage(ctx, x); err != nil {
		return err
	}
	x.todo = append(slices.Clip(p.Copy), p.Compare...)
	if !x.o.Pretend {
		if err := healCatalogue(ctx, x); err != nil {
			return err
		}
		if err := x.stock.complete(ctx, x.host, x.unknown(), x.o.Workers); err != nil {
			return err
		}
	}
	return x.measure()
}

// unknown are the packages that stay as they are and of which the drive tells nothing beyond their entries.
func (x *exporter) unknown() []string {
	var paths []string
	for key := range x.host.files {
		if _, carried := x.current[key]; carried && key.Kind == payload.Package && x.stock.facts[key.Path] == nil {
			paths = append(paths, key.Path)
		}
	}
	return paths
}

// hintIndex is what mends an index that says of a good file what is not true: entries with the file's size and time are believed otherwise.
func (x *exporter) hintIndex() string {
	return "if the file is good: pkgsneak index --rebuild " + fault.Quote(x.m.PKGDIR)
}

// heldFiles lists what the drive holds of the kinds that are looked at, and takes everything it holds as the beginning of the next generation.
func (x *exporter) heldFiles() []DriveFile {
	if x.held == nil {
		return nil
	}
	var files []DriveFile
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		items := x.held.Items(drive.DriveKind(kind))
		files = slices.Grow(files, len(items))
		for i := range items {
			it := &items[i]
			x.current[payload.Key{Kind: kind, Path: it.Path}] = it
			if kind == payload.Package && x.o.NoPackages || kind == payload.Distfile && x.o.NoDistfiles {
				x.report.Kept.Add(it.Size)
				continue
			}
			files = append(files, DriveFile{Kind: kind, Path: it.Path, Size: it.Size, Sum: it.Sum, Index: indexSums(x.entries[it.Path])})
		}
	}
	programs := x.held.Programs()
	for i := range programs {
		x.current[payload.Key{Kind: program, Path: programs[i].Path}] = &programs[i]
	}
	return files
}

// program is the kind of pkgsneak itself; it is in no plan and no list.
const program payload.Kind = "program"

// chooseHeader takes the header of the catalogue from the host's index, or from its settings where there is no index.
func (x *exporter) chooseHeader() {
	defer x.rebase()
	var notes []string
	defer func() {
		x.header, notes = writable(x.header)
		x.report.Notices = append(x.report.Notices, notes...)
	}()
	switch {
	case x.host.header != nil:
		x.header = x.host.header.Clone()
	case x.o.NoPackages && x.before != nil:
		x.header = x.before.Clone()
	default:
		x.header = pkgindex.UpdateHeader(pkgindex.Header{}, x.m.Settings.Get, x.m.Settings.ProfileName())
	}
}

// rebase makes the entries of the catalogue on the drive those of a catalogue with the new header: what stood in the old one for all of them has to stand in each.
func (x *exporter) rebase() {
	if x.before == nil || x.before.Get("CHOST") == x.header.Get("CHOST") && x.before.Get("REPO") == x.header.Get("REPO") {
		return
	}
	for path, e := range x.entries {
		x.setEntry(path, pkgindex.Rebase(e, *x.before, x.header))
	}
}

// keep leaves a file on the drive as it is. The host's index may tell more of it by now than it did when it was copied; where it tells something else, the package itself is asked.
func (x *exporter) keep(it payload.Item, h *hostFile) {
	x.report.Kept.Add(it.Size)
	if it.Kind != payload.Package || h.Index == (IndexSums{}) || x.entries[it.Path].IsZero() {
		return
	}
	if indexSums(x.entries[it.Path]) == h.Index {
		x.setEntry(it.Path, h.entry)
	}
}

func (x *exporter) setEntry(path string, e pkgindex.Entry) {
	if x.entries[path] != e {
		x.entries[path], x.changed = e, true
	}
}

func (x *exporter) dropEntry(path string) {
	if _, ok := x.entries[path]; ok {
		delete(x.entries, path)
		x.changed = true
	}
}

// vouched brings the entries up to date of what this drive does not carry: the catalogue is the origin's whole index. Entries of packages that are gone from the host and
// of which the drive has no file are dropped.
func (x *exporter) vouched() {
	if x.o.NoPackages { // nobody looked whether they are gone
		return
	}
	for path := range x.entries {
		key := payload.Key{Kind: payload.Package, Path: path}
		if _, carried := x.current[key]; carried {
			continue
		}
		if h := x.host.files[key]; h == nil || h.Index == (IndexSums{}) {
			x.dropEntry(path)
		}
	}
	for key, h := range x.host.files {
		if _, carried := x.current[key]; key.Kind == payload.Package && !carried && h.Index != (IndexSums{}) {
			x.setEntry(key.Path, h.entry)
		}
	}
}

// compare reads the files of which the drive has one of the same name and size, and moves them to where they belong in the plan.
func (x *exporter) compare(ctx context.Context) error {
	p := &x.report.Plan
	total := payload.Count(p.Compare)
	var done payload.Tally
	for _, it := range p.Compare {
		x.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: it.Path, Done: done.Bytes, Total: total.Bytes, Files: done.Files, FilesTotal: total.Files})
		key := payload.Key{Kind: it.Kind, Path: it.Path}
		h := x.host.files[key]
		sums, err := x.host.dir(it.Kind).sum(ctx, it.Path, h.info)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			it.Reason = fault.Text(err)
			p.LeftOut = append(p.LeftOut, it)
		case manifest.Digest(sums.Blake2b) == x.current[key].Sum:
			x.keep(it, h)
		default:
			it.Reason = "rebuilt"
			p.Copy = append(p.Copy, it)
		}
		done.Add(it.Size)
	}
	p.Compare = []payload.Item{}
	return nil
}

// sum reads a file of the host and remembers its digests.
func (d *payloadDir) sum(ctx context.Context, path string, scanned fs.FileInfo) (digest.Sums, error) {
	f, err := d.open(path, scanned)
	if err != nil {
		return digest.Sums{}, err
	}
	defer f.Close()
	sums, err := digest.Reader(ctx, f, digest.All, nil)
	if err == nil {
		err = durable.CheckUnchanged(f, scanned)
	}
	if err != nil {
		return digest.Sums{}, err
	}
	d.cache.Put(path, scanned, sums, digest.All)
	return sums, nil
}

// measure fills in the figures of the plan.
func (x *exporter) measure() error {
	room, err := volume.SpaceAt(x.o.Drive)
	if err != nil {
		return err
	}
	p := &x.report.Plan
	p.Keep, p.Free = x.report.Kept, room.Free
	p.Need = x.need(room, x.todo)
	x.report.LeftOut = slices.Clone(p.LeftOut)
	return nil
}

// need is what copying items takes on the drive, with the generation's own files.
func (x *exporter) need(room volume.Space, items []payload.Item) int64 {
	var sum int64
	for _, it := range items {
		sum += room.Need(it.Size)
	}
	const perFile = 2500 // bytes of both slots, catalogue and Packages for one file, generously
	if x.held == nil {
		sum += 4 << 20 // the room of slots and Packages
	}
	return sum + room.Need(int64(len(items)+1024)*perFile)
}

// tryKey signs as the commit will, so that a plan fails where the export would.
func tryKey(x *exporter) error {
	if x.key == nil {
		return nil
	}
	e, _ := x.l.Exported(x.name)
	last := e.Serial
	if x.held != nil {
		last = max(last, x.held.Serial())
	}
	if err := drivewriter.CheckKey(x.key, x.now, last); err != nil {
		return &KeyEndedError{Err: err}
	}
	return nil
}

// guard refuses to take a disaster for a deletion.
func (x *exporter) guard(context.Context) error {
	p := &x.report.Plan
	if err := tryKey(x); err != nil {
		return err
	}
	if x.held == nil && len(x.todo) == 0 {
		return fmt.Errorf("export: %w", &NothingError{Notices: x.report.Notices})
	}
	if err := drivewriter.CheckCapacity(carriedAfter(x.current, x.todo, p.Remove), x.o.PartSize); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := checkCatalogue(x); err != nil {
		return err
	}
	if x.o.AllowShrink || x.held == nil {
		return nil
	}
	if before, after := len(x.held.Packages()), x.host.count(payload.Package); !x.o.NoPackages && payload.Shrunk(before, after) {
		return &ShrinkError{Kind: payload.Package, Dir: p.PKGDIR, Before: before, After: after}
	}
	if before := len(x.held.Distfiles()); !x.o.NoDistfiles && before > 0 && x.host.count(payload.Distfile) == 0 {
		return &ShrinkError{Kind: payload.Distfile, Dir: p.DISTDIR, Before: before}
	}
	return nil
}

// sameKey reports whether the drive's generation is signed with the key that signs now.
func (x *exporter) sameKey() bool {
	return x.hidden || x.held.Signed.Signer == x.key.Public().Fingerprint()
}

// unchanged reports whether the drive says already what the next generation would say, and lacks nothing: a pull, or somebody who deleted files there, may have left something to mend.
func (x *exporter) unchanged() (bool, error) {
	if x.held == nil {
		return false, nil
	}
	if len(x.todo)+len(x.report.Plan.Remove)+len(x.broken.files) > 0 || !x.sameKey() || !x.sameCatalogue() {
		x.enough()
		x.state()
		return false, nil
	}
	state, err := x.state()
	x.stale = x.stale || !state.Packages || len(state.Own) > 0
	if x.stale || !state.Whole() || err != nil || !x.hidden && !drivewriter.Offers(x.drive, append(manifest.Ring{x.key.Public()}, x.past...)) {
		return false, err
	}
	x.report.Notices = append(x.report.Notices, foreignNotice(x.dir, state.Others)...)
	return true, nil
}

// sameCatalogue reports whether the next generation's catalogue and facts would say what the drive's say.
func (x *exporter) sameCatalogue() bool {
	facts, has := x.stock.tell(x.current)
	if x.told == nil || x.held.Record.Has == nil || *x.held.Record.Has != *has || !x.told.Equal(facts) {
		return false
	}
	return x.before != nil && !x.changed && x.header.Same(*x.before)
}

// catalogue is the origin's whole index as the next generation has it.
func (x *exporter) catalogue() *pkgindex.Index {
	index := &pkgindex.Index{Header: x.header.Clone(), Entries: make([]pkgindex.Entry, 0, len(x.entries))}
	paths := make([]string, 0, len(x.entries))
	for path := range x.entries {
		paths = append(paths, path)
	}
	slices.SortFunc(paths, func(a, b string) int {
		if c := strings.Compare(x.entries[a].CPV(), x.entries[b].CPV()); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	for _, path := range paths {
		index.Entries = append(index.Entries, x.entries[path])
	}
	return index
}

// checkSpace compares what the plan needs with what is free, counting in what it frees.
func (x *exporter) checkSpace() error {
	p := &x.report.Plan
	if p.Need <= p.Free+x.freed() {
		return nil
	}
	return &volume.SpaceError{Where: x.o.Drive, Need: p.Need, Free: p.Free, Fits: payload.Fitting(x.todo, p.Free-(p.Need-payload.Count(x.todo).Bytes))}
}

// freed is what the old files take that the new generation does not list any more.
func (x *exporter) freed() int64 {
	sum := payload.Count(x.report.Plan.Remove).Bytes
	for _, it := range x.todo {
		if old, ok := x.current[payload.Key{Kind: it.Kind, Path: it.Path}]; ok {
			sum += old.Size
		}
	}
	return sum
}

// remember saves what was found out about the host's files.
func (x *exporter) remember() error {
	if x.o.Pretend {
		return nil
	}
	if err := saveCaches(x); err != nil {
		return err
	}
	return x.history()
}

// saveCaches keeps the digests of what was read here for the next export.
func saveCaches(x *exporter) error {
	for k, d := range map[payload.Kind]*payloadDir{payload.Package: x.host.packages, payload.Distfile: x.host.distfiles} {
		if d == nil || x.stock.why[k] != "" { // a directory that is not believed to be so empty keeps its memory
			continue
		}
		if err := d.cache.Save(); err != nil {
			return err
		}
	}
	return nil
}

// history adds this run to what status shows.
func (x *exporter) history() error {
	if x.m.Unattended {
		return nil
	}
	result := "done"
	switch {
	case x.report.Unchanged:
		result = "nothing changed"
	case len(x.report.LeftOut) > 0:
		result = fmt.Sprintf("done, %d files left out", len(x.report.LeftOut))
	}
	t := payload.Count(x.report.Copied)
	return x.l.AddRun(ledger.Run{When: x.m.Now(), Verb: "export", Origin: x.name, Drive: x.o.Drive, Result: result, Serial: x.report.Serial, Files: t.Files, Bytes: t.Bytes})
}
