package exporter

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
)

// remains is what lies on the drive of a generation that cannot be read. Files that hold what an export
// would write are not written again: they keep their names and are listed by the next generation. The
// rest goes when that one is committed. A kind that is switched off is looked at for this, too; nothing
// of it is copied.
type remains struct {
	*drive.Remains
	files    map[string]manifest.File // by folded path; those that are no file of the host's, in the end
	counts   map[layout.Kind]int      // of all of them
	partSize int64
	kept     payload.Tally
	read     int64 // bytes so far
	total    int64
}

// readRemains looks for them where there is no generation that can be read.
func readRemains(x *exporter, key *manifest.PublicKey) error {
	found, err := drive.FindRemains(x.drive, x.dir, append(manifest.Ring{key}, x.past...), x.now)
	if found == nil || err != nil {
		return err
	}
	r := &remains{Remains: found, files: make(map[string]manifest.File, len(found.Files)),
		counts: make(map[layout.Kind]int), partSize: x.o.PartSize}
	if r.partSize <= 0 {
		r.partSize = drivewriter.DefaultPartSize
	}
	for _, f := range found.Files {
		kind, _, _ := layout.KindOf(f.Path)
		r.files[layout.FoldName(f.Path)] = f
		r.counts[kind]++
		r.total += f.Size
	}
	x.remains = r
	return nil
}

// holds says how many files of a kind there are.
func (r *remains) holds(kind payload.Kind) int {
	if r == nil {
		return 0
	}
	return r.counts[drive.DriveKind(kind)]
}

// countOnDrive is how many files of a kind the drive holds of the origin, whether their list can be read or not.
func countOnDrive(x *exporter, kind payload.Kind) int {
	if x.held == nil {
		return x.remains.holds(kind)
	}
	return len(x.held.Items(drive.DriveKind(kind)))
}

// left is what goes with the next commit, in bytes.
func (r *remains) left() (n int64) {
	if r == nil {
		return 0
	}
	for _, f := range r.files {
		n += f.Size
	}
	return n
}

// scanForRemains is readSource, with the kinds that are switched off where the drive may have some of
// them. Where those cannot be read, they are not looked at.
func scanForRemains(ctx context.Context, x *exporter) (*source, error) {
	packages, distfiles := !x.o.NoPackages, !x.o.NoDistfiles
	more := !packages && x.remains.holds(payload.Package) > 0 || !distfiles && x.remains.holds(payload.Distfile) > 0
	if more {
		h, err := readSource(ctx, x.st, x.m, packages || x.remains.holds(payload.Package) > 0,
			distfiles || x.remains.holds(payload.Distfile) > 0, x.next.entries)
		if err == nil || ctx.Err() != nil {
			return h, err
		}
	}
	return readSource(ctx, x.st, x.m, packages, distfiles, x.next.entries)
}

// reuseRemains compares what lies there with what the host has, and takes what is the same as kept.
func reuseRemains(ctx context.Context, x *exporter) error {
	r := x.remains
	if r == nil {
		return nil
	}
	for _, f := range x.host.list() {
		key := payload.Key{Kind: f.Kind, Path: f.Path}
		it, err := r.find(ctx, x, x.host.files[key])
		switch {
		case err != nil:
			return err
		case it != nil:
			x.host.files[key].Sum = it.Sum
			x.next.current[key] = it
			r.kept.Add(it.Size)
		}
	}
	if err := r.reuseProgram(ctx, x); err != nil {
		return err
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if x.off(kind) {
			leaveOff(x, kind)
		}
	}
	x.report.Notices = append(x.report.Notices, r.notice(x))
	return nil
}

// notice says what becomes of them.
func (r *remains) notice(x *exporter) string {
	text := fmt.Sprintf("the generation of %q on the drive cannot be read (%s): %d of its files are as they should be and stay",
		x.name, fault.Text(r.Why), r.kept.Files)
	gone := make(map[layout.Kind]int)
	for _, f := range r.files {
		kind, _, _ := layout.KindOf(f.Path)
		gone[kind]++
	}
	if len(r.files) > 0 {
		text += fmt.Sprintf("; %d are not, and go when a new one is committed", len(r.files))
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if n := gone[drive.DriveKind(kind)]; x.off(kind) && n > 0 {
			text += fmt.Sprintf(", %d of them %ss, of which nothing is copied (--no-%ss)", n, kind, kind)
		}
	}
	return text
}

// leaveOff takes what was seen of a kind that is switched off out of the host's files, but for what the
// drive has.
func leaveOff(x *exporter, kind payload.Kind) {
	other := func(it payload.Item) bool { return it.Kind == kind }
	x.host.leftOut = slices.DeleteFunc(x.host.leftOut, other)
	x.host.duplicates = slices.DeleteFunc(x.host.duplicates, other)
	for key := range x.host.files {
		if _, kept := x.next.current[key]; key.Kind == kind && !kept {
			delete(x.host.files, key)
		}
	}
}

// find returns a file of the host as it lies on the drive, nil if it does not. One that no list of this
// machine's key has was perhaps given up by the run that wrote it: a package is looked through then.
func (r *remains) find(ctx context.Context, x *exporter, h *sourceFile) (*layout.Item, error) {
	f := h.newFile()
	for name := range layout.StoredNames(f.Kind, f.Path, f.Category) {
		names, ok := r.parts(name, f.Size)
		if !ok {
			continue
		}
		sum := h.Sum
		if sum == (manifest.Digest{}) {
			sums, err := x.host.dir(h.Kind).sum(ctx, h.Path, h.info)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				return nil, nil // it is named when it is to be copied
			}
			sum = sums.Blake2b
		}
		stored, err := r.compare(ctx, x, names, sum)
		if err != nil {
			return nil, err
		}
		if stored == nil || !r.listed(names) && !mayBeListed(ctx, x, h) {
			continue
		}
		r.take(names)
		return &layout.Item{Kind: f.Kind, Path: f.Path, Size: f.Size, Sum: sum, Stored: stored}, nil
	}
	return nil, context.Cause(ctx)
}

// parts are the files that hold a file of that size under a name, if they are all there.
func (r *remains) parts(name string, size int64) (names []string, ok bool) {
	count := int((max(size, 1) + r.partSize - 1) / r.partSize)
	for i := range count {
		part := name
		if count > 1 {
			part = layout.PartPath(name, i, count)
		}
		f, there := r.files[layout.FoldName(part)]
		if !there || f.Size != min(r.partSize, size-int64(i)*r.partSize) {
			return nil, false
		}
		names = append(names, f.Path)
	}
	return names, true
}

// listed says whether a list that this machine's key signed has the files.
func (r *remains) listed(names []string) bool {
	for _, name := range names {
		if r.files[layout.FoldName(name)].Sum == (manifest.Digest{}) {
			return false
		}
	}
	return true
}

func (r *remains) take(names []string) {
	for _, name := range names {
		delete(r.files, layout.FoldName(name))
	}
}

// compare reads files from the medium. It returns nil where they are not what has the sum, or not what
// was signed.
func (r *remains) compare(ctx context.Context, x *exporter, names []string, sum manifest.Digest) ([]manifest.File, error) {
	if want := r.files[layout.FoldName(names[0])].Sum; len(names) == 1 && want != (manifest.Digest{}) && want != sum {
		return nil, nil
	}
	stored, whole, err := r.Read(ctx, names)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case drive.Vanished(err):
		return nil, err
	case err != nil:
		return nil, nil // it is written again
	}
	for _, f := range stored {
		r.read += f.Size
		if want := r.files[layout.FoldName(f.Path)].Sum; want != (manifest.Digest{}) && want != f.Sum {
			return nil, nil
		}
	}
	x.w.Tell(progress.Event{Phase: progress.PhaseVerify, Path: names[0], Done: min(r.read, r.total), Total: r.total,
		Files: r.kept.Files, FilesTotal: len(r.Files)})
	if whole != sum {
		return nil, nil
	}
	return stored, nil
}

// mayBeListed says whether a file of the host may be on a drive: a package passes the checks, or has
// passed them before.
func mayBeListed(ctx context.Context, x *exporter, h *sourceFile) bool {
	if h.Kind != payload.Package {
		return true
	}
	dir := x.host.packages
	if h.odd != "" {
		return false
	}
	if dir.cache.Approved(h.Path, h.info) == binpkg.Rules {
		return true
	}
	file, err := dir.open(h.Path, h.info)
	if err != nil {
		return false
	}
	defer file.Close()
	pkg, err := binpkg.Read(file, h.Size, h.Path)
	if err != nil || pkg.Check(ctx, file) != nil || durable.CheckUnchanged(file, h.info) != nil {
		return false
	}
	dir.cache.Approve(h.Path, h.info, binpkg.Rules)
	return true
}

// reuseProgram keeps the programs that are those which a list of ours has, or the one that runs.
func (r *remains) reuseProgram(ctx context.Context, x *exporter) error {
	running, err := readSelf(ctx, x.m.Executable)
	if err != nil {
		return err
	}
	if running.file != nil {
		running.file.Close()
	}
	for _, f := range r.Files {
		kind, path, _ := layout.KindOf(f.Path)
		if kind != layout.Program || !strings.HasSuffix(path, "/pkgsneak") {
			continue
		}
		sum := f.Sum
		if path == layout.BinFile(runtime.GOARCH) && running.file != nil {
			sum = running.sum
		}
		if sum == (manifest.Digest{}) {
			continue
		}
		stored, err := r.compare(ctx, x, []string{f.Path}, sum)
		if err != nil {
			return err
		}
		if stored != nil {
			r.take([]string{f.Path})
			x.next.current[payload.Key{Kind: program, Path: path}] = &layout.Item{Kind: kind, Path: path, Size: f.Size, Sum: sum, Stored: stored}
		}
	}
	return nil
}

// heldRemains are the kept files as the planner takes them.
func heldRemains(next *nextGeneration) []DriveFile {
	var files []DriveFile
	for key, it := range next.current {
		if key.Kind != program {
			files = append(files, DriveFile{Kind: key.Kind, Path: key.Path, Size: it.Size, Sum: it.Sum})
		}
	}
	return files
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
		if storedIn(*it, gone) {
			missing = append(missing, *it)
		}
	}
	p.again(missing)
}
