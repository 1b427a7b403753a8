package exporter

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/ledger"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/trust"
)

// commitEvery is how many bytes of payload are written before a generation is committed that has what is there so far: a drive that is pulled later keeps it.
const commitEvery = 2 << 30

// write carries the plan out. From here on the drive changes; at every moment it holds a complete old or a complete new generation.
func (x *exporter) write(ctx context.Context) (err error) {
	if err := x.prepareKey(); err != nil {
		return err
	}
	if err := x.tryRecord(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	running := pipeline.Future(func() (self, error) { return readSelf(ctx, x.m.Executable) })
	defer func() {
		cancel()
		if s, _ := running(); s.file != nil {
			s.file.Close()
		}
	}()
	w, err := x.begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if e := w.Close(); err == nil {
			err = e
		}
	}()
	x.adopt(w)
	x.again(w.Missing())
	if err := x.makeRoom(ctx, w); err != nil {
		return err
	}
	x.broken.drop(x)
	files, err := x.prepare(ctx, w)
	if err != nil {
		return err
	}
	x.forgetHost(files)
	err = x.copyAll(ctx, w, files)
	if err == nil {
		var s self
		if s, err = running(); err == nil {
			err = x.putProgram(ctx, w, s)
		}
	}
	if err != nil {
		if cancelled(ctx, err) {
			keepComplete(ctx, x, w)
		}
		return err
	}
	x.drop()
	if x.sameAsHeld(w) {
		x.report.Unchanged = true
		return x.remember()
	}
	if err := x.commit(ctx, w); err != nil {
		return err
	}
	x.report.ReadBack = !x.o.NoReadBack
	return x.remember()
}

// keepComplete commits what was copied until an export was told to end.
func keepComplete(ctx context.Context, x *exporter, w *drivewriter.Writer) {
	n := len(x.report.Copied) - x.committed.Files
	if n == 0 || ctx.Err() == nil {
		return
	}
	x.w.Notice(fmt.Sprintf("interrupted: committing the files that are complete, %d of %d; once more, and the program ends at once",
		len(x.report.Copied), len(x.todo)))
	if x.commit(ctx, w) == nil {
		_ = saveCaches(x) // they only save reading
	}
}

// interruptedExport is the error of an export that was told to end.
func interruptedExport(x *exporter, err error) error {
	return &InterruptedError{Committed: x.committed, Lost: len(x.report.Copied) - x.committed.Files, Total: len(x.todo), Err: err}
}

// prepareKey makes the origin's key on the first export of this machine.
func (x *exporter) prepareKey() (err error) {
	if x.key != nil {
		return nil
	}
	host := x.m.Hostname
	if host == "" {
		host = x.name
	}
	if x.key, err = manifest.GenerateKey("pkgsneak on "+host, x.now); err != nil {
		return err
	}
	if err := x.l.SaveSigningKey(x.key); err != nil {
		return err
	}
	x.report.NewKey = true
	x.report.Plan.Fingerprint = string(x.key.Public().Fingerprint())
	return nil
}

// tryRecord writes, to nowhere, what of a generation does not depend on the run: it shall not fail when everything has been copied.
func (x *exporter) tryRecord() error {
	r := x.origin
	r.Format, r.Origin, r.Serial, r.Fingerprint = 1, x.name, 1, x.key.Public().Fingerprint()
	facts, has := x.stock.tell(x.current)
	r.Has = has
	if _, err := r.Marshal(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := layout.CheckFacts(facts); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// begin opens the drive for writing: it is mended and tidied then.
func (x *exporter) begin(ctx context.Context) (_ *drivewriter.Writer, err error) {
	if x.drive == nil {
		if x.drive, err = drive.Create(x.o.Drive); err != nil {
			return nil, err
		}
	}
	if x.dir == "" {
		if err := x.findOrigin(ctx, x.key.Public()); err != nil {
			return nil, err
		}
	}
	last, _ := x.l.Exported(x.name)
	var foreign []string
	w, err := drivewriter.Begin(ctx, x.drive, drivewriter.BeginOptions{
		Dir: x.dir, Name: x.name, Key: x.key, Earlier: x.past, Now: x.now, Last: last.Serial,
		PartSize: x.o.PartSize, NoReadBack: x.o.NoReadBack, Progress: x.progress(),
		Foreign: func(path string) { foreign = append(foreign, path) },
	})
	x.report.Notices = append(x.report.Notices, foreignNotice(x.dir, foreign)...)
	return w, err
}

// carriedAfter lists what the drive carries once the plan is carried out: what it has, less what is removed, and what is copied.
func carriedAfter(current map[payload.Key]*layout.Item, copied, removed []payload.Item) []drivewriter.NewFile {
	gone := make(map[payload.Key]bool, len(copied)+len(removed))
	files := make([]drivewriter.NewFile, 0, len(current)+len(copied))
	for _, it := range copied {
		gone[payload.Key{Kind: it.Kind, Path: it.Path}] = true
		files = append(files, drivewriter.NewFile{Kind: drive.DriveKind(it.Kind), Path: it.Path, Size: it.Size})
	}
	for _, it := range removed {
		gone[payload.Key{Kind: it.Kind, Path: it.Path}] = true
	}
	for key, it := range current {
		if !gone[key] {
			files = append(files, drivewriter.NewFile{Kind: it.Kind, Path: it.Path, Size: it.Size})
		}
	}
	return files
}

// foreignNotice names the files in an origin's directory that no export put there: they stay.
func foreignNotice(dir string, files []string) []string {
	if len(files) == 0 {
		return nil
	}
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

// adopt goes over to the generation as the writer has read it: one copy of the list in memory is enough.
func (x *exporter) adopt(w *drivewriter.Writer) {
	held := w.Held()
	if x.held == nil || held == nil || held.Sum != x.held.Sum {
		return
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile, program} {
		items := held.Items(drive.DriveKind(kind))
		for i := range items {
			if key := (payload.Key{Kind: kind, Path: items[i].Path}); x.current[key] != nil {
				x.current[key] = &items[i]
			}
		}
	}
	x.letGo()
	x.held = held
}

// progress turns what the drive tells into events. Only bytes that have reached the drive are counted, and of those only payload: what the drive writes for itself comes after it.
func (x *exporter) progress() func(drivewriter.Stage, string, int64) {
	phases := map[drivewriter.Stage]progress.Phase{drivewriter.Tidying: progress.PhaseScan, drivewriter.Preparing: progress.PhaseScan, drivewriter.Probing: progress.PhaseProbe, drivewriter.Writing: progress.PhaseCopy, drivewriter.Flushing: progress.PhaseFlush,
		drivewriter.Comparing: progress.PhaseReadBack, drivewriter.Committing: progress.PhaseCommit, drivewriter.Removing: progress.PhaseCommit}
	total := payload.Count(x.todo)
	var compared int64
	return func(stage drivewriter.Stage, path string, bytes int64) {
		e := progress.Event{Phase: phases[stage], Path: path, Done: x.report.Written, Total: total.Bytes, Files: int(x.copied.Load()), FilesTotal: total.Files}
		switch {
		case stage == drivewriter.Writing && x.report.Written < total.Bytes:
			x.report.Written = min(x.report.Written+bytes, total.Bytes)
			e.Done = x.report.Written
		case stage == drivewriter.Writing:
			e.Phase = progress.PhaseFlush
		case stage == drivewriter.Comparing:
			compared = min(compared+bytes, total.Bytes)
			e.Done = compared
		}
		x.w.Tell(e)
	}
}

// again adds files to the plan that the drive's list has and the drive has not: somebody deleted them there, or they are damaged. Those of a kind that is switched off cannot be written again
// now: they are left out, and the origin still has them.
func (x *exporter) again(missing []layout.Item) {
	for _, it := range missing {
		if x.broken.has(it) {
			continue // it is in the plan already
		}
		kind := payload.Package
		switch it.Kind {
		case layout.Distfile:
			kind = payload.Distfile
		case layout.Program:
			delete(x.current, payload.Key{Kind: program, Path: it.Path})
			continue
		}
		key := payload.Key{Kind: kind, Path: it.Path}
		delete(x.current, key)
		planned := slices.ContainsFunc(x.todo, func(t payload.Item) bool { return t.Kind == kind && t.Path == it.Path })
		h, here := x.host.files[key]
		switch {
		case planned:
		case here:
			x.report.Kept.Files--
			x.report.Kept.Bytes -= it.Size
			x.todo = append(x.todo, payload.Item{Kind: kind, Path: it.Path, Size: h.Size, Reason: "missing on the drive"})
		case x.off(kind):
			x.report.Kept.Files--
			x.report.Kept.Bytes -= it.Size
			x.leaveOut(payload.Item{Kind: kind, Path: it.Path, Size: it.Size}, errAway,
				"pkgsneak export "+fault.Quote(x.o.Drive))
		default:
			x.dropEntry(it.Path)
		}
	}
}

// errAway is why a file of the drive's list is not carried any longer.
var errAway = errors.New("damaged or missing on the drive, and files of its kind were not looked at here")

// off reports whether a kind is switched off.
func (x *exporter) off(kind payload.Kind) bool {
	return kind == payload.Package && x.o.NoPackages || kind == payload.Distfile && x.o.NoDistfiles
}

// makeRoom checks that everything fits. Where it fits only without the files that are replaced or removed, a generation without them is committed first.
func (x *exporter) makeRoom(ctx context.Context, w *drivewriter.Writer) error {
	room, err := x.drive.Space()
	if err != nil {
		return err
	}
	p := &x.report.Plan
	p.Free, p.Need = room.Free, x.need(room, x.todo)
	if p.Need <= p.Free {
		return nil
	}
	if err := x.checkSpace(); err != nil {
		return err
	}
	for _, it := range x.todo {
		x.forget(payload.Key{Kind: it.Kind, Path: it.Path})
	}
	x.drop()
	return x.commit(ctx, w)
}

// forget takes a file out of what the next commit lists.
func (x *exporter) forget(key payload.Key) {
	delete(x.current, key)
	if key.Kind != payload.Package {
		return
	}
	delete(x.stock.facts, key.Path)
	if h := x.host.files[key]; h != nil && h.Index != (IndexSums{}) {
		x.setEntry(key.Path, h.entry) // the origin has it all the same
	} else {
		x.dropEntry(key.Path)
	}
}

// drop takes out what is gone from the host.
func (x *exporter) drop() {
	for _, it := range x.report.Plan.Remove {
		if _, ok := x.current[payload.Key{Kind: it.Kind, Path: it.Path}]; ok {
			x.forget(payload.Key{Kind: it.Kind, Path: it.Path})
			x.report.Removed = append(x.report.Removed, it)
		}
	}
}

// prepare lets the drive choose names and make directories for everything that is to be copied. A file whose name no drive could store is left out.
func (x *exporter) prepare(ctx context.Context, w *drivewriter.Writer) ([]payload.Item, error) {
	todo := x.todo
	for {
		files := make([]drivewriter.NewFile, len(todo))
		for i, it := range todo {
			files[i] = x.host.files[payload.Key{Kind: it.Kind, Path: it.Path}].newFile()
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
		x.leaveOut(todo[bad], err, "")
		todo = slices.Delete(slices.Clone(todo), bad, bad+1)
	}
}

func (x *exporter) leaveOut(it payload.Item, why error, hint string) {
	it.Reason, it.Hint = fault.Text(why), hint
	var invalid *binpkg.InvalidError
	if errors.As(why, &invalid) {
		it.Reason = invalid.Reason
	}
	x.report.LeftOut = append(x.report.LeftOut, it)
}

// entryOf makes the catalogue's entry of a package that was copied, with the hashes of what was read. Where the host's index vouches for the file, its entry is taken over, after
// it was compared with the package itself: no index is authenticated by anything.
func entryOf(h *hostFile, own pkgindex.Entry, sums digest.Sums) (pkgindex.Entry, error) {
	base := own
	if !h.entry.IsZero() {
		if h.Index != (IndexSums{}) && h.Index != indexSumsOf(sums) {
			return base, errors.New("damaged, or the index is stale: its contents are not those that the index has the hashes of")
		}
		if key, ok := pkgindex.SameIdentity(h.entry, own); !ok {
			return base, fmt.Errorf("the index is stale: its %s is not the package's own", key)
		}
		base = h.entry
	}
	return withFile(base, h.Path, h.Size, h.info.ModTime().Unix(), sums)
}

// self is the running program, if it is one that is of use on a drive.
type self struct {
	file *os.File // nil: it is not
	size int64
	sum  manifest.Digest
}

// readSelf opens and hashes the running program. One that cannot be read is not offered.
func readSelf(ctx context.Context, path string) (s self, _ error) {
	if s.file, s.size = openStatic(path); s.file == nil {
		return s, nil
	}
	sums, err := digest.Reader(ctx, s.file, digest.BLAKE2B, nil)
	if err != nil {
		s.file.Close()
		return self{}, ctxOnly(ctx)
	}
	s.sum = sums.Blake2b
	return s, nil
}

// putProgram lays the running program on the drive, so that a bare client can import. Only a static binary is of use there.
func (x *exporter) putProgram(ctx context.Context, w *drivewriter.Writer, s self) error {
	if s.file == nil {
		return nil
	}
	file, size := s.file, s.size
	path := layout.BinFile(runtime.GOARCH)
	key := payload.Key{Kind: program, Path: path}
	if old, ok := x.current[key]; ok && old.Sum == s.sum {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	if room, err := x.drive.Space(); err != nil || room.Free < room.Need(size)+x.need(room, nil) {
		x.report.Notices = append(x.report.Notices, "there is no room on the drive for pkgsneak itself: a client that does not have it cannot take it from there")
		return err
	}
	put, err := w.Put(ctx, drivewriter.NewFile{Kind: layout.Program, Path: path, Size: size}, func(dst io.Writer) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return &sourceError{err}
		}
		return pour(ctx, dst, file, info, &pipeline.Buffers{})
	})
	var mine *sourceError
	switch {
	case errors.As(err, &mine):
		return ctxOnly(ctx)
	case err != nil:
		return err
	}
	x.current[key] = &put
	return nil
}

func ctxOnly(ctx context.Context) error { return context.Cause(ctx) }

// openStatic opens a program if it is one that runs anywhere: an ELF file without an interpreter.
func openStatic(path string) (*os.File, int64) {
	if path == "" {
		return nil, 0
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0
	}
	e, err := elf.NewFile(f)
	fi, statErr := f.Stat()
	if err != nil || statErr != nil || slices.ContainsFunc(e.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		f.Close()
		return nil, 0
	}
	return f, fi.Size()
}

// sameAsHeld reports whether, after all that was left out, there is nothing to commit.
func (x *exporter) sameAsHeld(w *drivewriter.Writer) bool {
	held := w.Held()
	if held == nil || len(x.report.Copied)+len(x.report.Removed) > 0 || x.stale || !x.sameKey() || !x.sameCatalogue() {
		return false
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile, program} {
		for _, it := range held.Items(drive.DriveKind(kind)) {
			now, ok := x.current[payload.Key{Kind: kind, Path: it.Path}]
			if !ok || now.Sum != it.Sum || kind == program && now.Stored[0] != it.Stored[0] {
				return false
			}
		}
	}
	return true
}

// commit makes what is on the drive now the newest generation. Its serial is remembered before anything else can happen: it is never given twice.
// The end of ctx leaves it some time.
func (x *exporter) commit(ctx context.Context, w *drivewriter.Writer) error {
	bound := patience
	if x.m.Unattended {
		bound = patienceUnattended
	}
	ctx, cancel := outlasting(ctx, bound)
	defer cancel()
	last := w.Last()
	if e, ok := x.l.Exported(x.name); ok {
		last = max(last, e.Serial)
	}
	serial := max(x.m.Now().Unix(), last+1)
	at := trust.Latest(time.Unix(serial, 0), x.key.Public().Created())
	if err := x.l.SaveExported(x.name, ledger.Exported{PKGDIR: realPath(x.m.PKGDIR), Serial: serial}); err != nil {
		return err
	}
	items := make([]layout.Item, 0, len(x.current))
	for _, it := range x.current {
		items = append(items, *it)
	}
	slices.SortFunc(items, func(a, b layout.Item) int {
		if a.Kind != b.Kind {
			return int(a.Kind) - int(b.Kind)
		}
		return strings.Compare(a.Path, b.Path)
	})
	facts, has := x.stock.tell(x.current)
	record := x.origin
	record.Has = has
	gen, err := w.Commit(ctx, drivewriter.Contents{Serial: serial, At: at, Items: items, Catalogue: x.catalogue(), Facts: facts, Record: record})
	if gen != nil {
		x.report.Serial, x.committed = gen.Serial(), payload.Count(x.report.Copied)
		err = errors.Join(err, x.broken.follow(x, serial))
	}
	return err
}
