package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/trust"
)

// stageAll copies everything that has to be copied into the staging directories and checks it
// there. A file that a killed run has staged is not copied again. As many files are copied at a
// time as are good for the medium; others are unpacked and checked beside, as many as there are
// processors.
func (ap *applier) stageAll(ctx context.Context, in *incoming) ([]*task, error) {
	readers, checkers := ap.o.Workers, ap.o.Workers
	if ap.o.Workers <= 0 {
		readers, checkers = cmp.Or(ap.o.Source.Readers, 2), pipeline.Processors()
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		wanted := slices.ContainsFunc(in.tasks, func(d *task) bool { return d.kind == kind })
		if !wanted {
			continue
		}
		if err := ap.staging(kind).Make(); err != nil {
			return nil, err
		}
	}
	t := semaphores{medium: make(chan *pipeline.Buffers, readers),
		processor: make(chan struct{}, checkers)}
	for range readers {
		t.medium <- &pipeline.Buffers{}
	}
	p := newStaging(ap.w, in.tasks)
	duplicate := duplicates(in.tasks)
	order := pipeline.LargeFirst(len(in.tasks), func(i int) int64 { return in.tasks[i].item.Size })
	there := make([]bool, len(in.tasks))
	stage := func(ctx context.Context, i int) error {
		return ap.stage(ctx, in, in.tasks[i], t, func(n int64) { p.read(in.tasks[i].path, n) })
	}
	err := pipeline.Ordered(ctx, len(in.tasks), readers+checkers, pipeline.Window,
		func(ctx context.Context, n int) error {
			i := order[n]
			if duplicate[i] {
				return nil // its turn comes when the other one is there
			}
			return stage(ctx, i)
		}, func(n int, err error) error {
			i := order[n]
			if duplicate[i] {
				err = stage(ctx, i)
			}
			d := in.tasks[i]
			p.finished(d)
			var reason *leftOutError
			switch {
			case errors.As(err, &reason):
				d.leaveOut(reason.reason, reason.hint)
			case err != nil:
				return err
			default:
				there[i] = true
			}
			return nil
		}, func(error) {})
	var staged []*task
	for i, d := range in.tasks {
		if there[i] {
			staged = append(staged, d)
		}
	}
	return staged, err
}

// semaphores are what a file waits for: the buffers of one reader of the medium, and a place at the
// processors.
type semaphores struct {
	medium    chan *pipeline.Buffers
	processor chan struct{}
}

// duplicates marks the tasks whose contents an earlier one of the same kind has: they are staged
// under one name.
func duplicates(tasks []*task) []bool {
	type contents struct {
		kind payload.Kind
		sum  manifest.Digest
	}
	duplicate := make([]bool, len(tasks))
	seen := make(map[contents]bool, len(tasks))
	for i, d := range tasks {
		c := contents{d.kind, d.item.Sum}
		duplicate[i], seen[c] = seen[c], true
	}
	return duplicate
}

// staging is how far the copying is. Several copy at the same time.
type staging struct {
	w     progress.Watcher
	total payload.Tally

	mu   sync.Mutex
	done payload.Tally // files that are finished
	over int64         // bytes read of those that are not
}

func newStaging(w progress.Watcher, tasks []*task) *staging {
	p := &staging{w: w}
	for _, d := range tasks {
		p.total.Add(d.item.Size)
	}
	return p
}

// read counts bytes that came from the drive.
func (p *staging) read(path string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over += n
	p.tell(path)
}

// finished counts a file, however much of it had to be read.
func (p *staging) finished(d *task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done.Add(d.item.Size)
	p.over = max(0, p.over-d.item.Size)
	p.tell(d.path)
}

func (p *staging) tell(path string) {
	p.w.Tell(progress.Event{Phase: progress.PhaseCopy, Path: path, Done: min(p.done.Bytes+p.over,
		p.total.Bytes), Total: p.total.Bytes, Files: p.done.Files, FilesTotal: p.total.Files})
}

func (ap *applier) staging(kind payload.Kind) durable.Staging {
	if kind == payload.Package {
		return ap.client.pkgdir.Staging()
	}
	return ap.client.distdir.Staging()
}

// vouched reports whether the signed generation vouches for the inside of a package: its exporting
// side looked through these very bytes by the rules that are this program's, and the catalogue has
// the hashes that the index needs. Older rules asked for less, newer ones may have given something
// up.
func vouched(in *incoming, d *task) bool {
	from := in.facts
	if d.source != nil {
		from = d.source.facts
	}
	facts, ok := from.Package(d.item.Path)
	_, md5 := d.entry.MD5()
	_, sha1 := d.entry.SHA1()
	return ok && facts.Rules == binpkg.Rules && md5 && sha1
}

// stage copies one file in one pass: read, compared with what was signed, written. A package that
// the generation does not vouch for is hashed for the index, too, and looked through as a whole.
// Only the copying waits for the medium.
func (ap *applier) stage(ctx context.Context, in *incoming, d *task, t semaphores,
	tell func(int64)) error {
	st := ap.staging(d.kind)
	look := d.kind == payload.Package && (ap.o.Check || !vouched(in, d))
	own := digest.Set(0) // beside the BLAKE2B
	if look {
		own = pkgindex.IndexHashes
	}
	sums, there := ap.staged(ctx, st, d, own)
	if !there {
		bufs := <-t.medium
		var err error
		sums, err = copyFrom(ctx, in, st, d, own, bufs, tell)
		t.medium <- bufs
		var bad *leftOutError
		if errors.As(err, &bad) && bad.hint == "" {
			place := fault.Quote(in.at)
			bad.hint = "on the build host: pkgsneak export " + place + " --repair; " +
				trust.Abandoned(in.Plan.Dir, place)
		}
		if err != nil {
			return err
		}
	}
	if !look {
		return nil
	}
	t.processor <- struct{}{}
	err := checkStaged(ctx, st, d)
	<-t.processor
	if err != nil {
		return err
	}
	return d.seal(sums)
}

// copyFrom copies a file from the first of an origin's drives that has it whole. The error is that
// of the drive whose state is imported.
func copyFrom(ctx context.Context, in *incoming, st durable.Staging, d *task, set digest.Set,
	bufs *pipeline.Buffers,
	tell func(int64)) (digest.Sums, error) {
	first := in.source()
	if d.source != nil {
		first = *d.source
	}
	sums, err := copyStaged(ctx, first, d.item, st, set, bufs, tell)
	if !isLeftOut(err) {
		return sums, err
	}
	for _, s := range append([]source{in.source()}, in.further...) {
		if s.gen == first.gen {
			continue
		}
		item, ok := sameContents(s.gen, d.kind, d.item)
		if !ok {
			continue
		}
		switch sums, again := copyStaged(ctx, s, item, st, set, bufs, tell); {
		case again == nil:
			d.from = s.at
			return sums, nil
		case !isLeftOut(again):
			return sums, again
		}
	}
	return sums, err
}

// copyStaged copies a file from the drive, which compares it with its BLAKE2B, and computes the
// sums of set on the way. The error for a file that is damaged on the drive is a *leftOutError.
func copyStaged(ctx context.Context, from source, item layout.Item, st durable.Staging,
	set digest.Set, bufs *pipeline.Buffers,
	tell func(int64)) (digest.Sums, error) {
	hash := digest.New(set)
	err := st.Write(item.Sum, item.Size, func(w io.Writer) error {
		r, err := from.gen.Open(item)
		if err != nil {
			return err
		}
		defer r.Close()
		readErr, writeErr := pipeline.Copy(w, pipeline.Reader{Ctx: ctx, R: r, Tell: tell},
			item.Size, bufs, hash)
		return cmp.Or(readErr, writeErr)
	})
	var damaged *drive.DamagedError
	if errors.As(err, &damaged) {
		return digest.Sums{}, onTheDrive(damaged)
	}
	return hash.Sum(), err
}

// staged reports whether an earlier run has left the whole file there, and its sums of set.
func (ap *applier) staged(ctx context.Context, st durable.Staging, d *task,
	set digest.Set) (digest.Sums, bool) {
	f, err := st.Open(d.item.Sum)
	if err != nil {
		return digest.Sums{}, false
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() != d.item.Size {
		return digest.Sums{}, false
	}
	sums, err := digest.Reader(ctx, f, set|digest.BLAKE2B, nil)
	return sums, err == nil && manifest.Digest(sums.Blake2b) == d.item.Sum
}

// checkStaged refuses a package that would hurt Portage, or is another one than in the catalogue.
func checkStaged(ctx context.Context, st durable.Staging, d *task) error {
	f, err := st.Open(d.item.Sum)
	if err != nil {
		return err
	}
	defer f.Close()
	pkg, err := binpkg.Read(f, d.item.Size, d.path)
	if err == nil {
		err = pkg.Check(ctx, f)
	}
	var invalid *binpkg.InvalidError
	if errors.As(err, &invalid) {
		return &leftOutError{reason: invalid.Reason, hint: "on the build host, what is refused has to be built again: emerge --oneshot --buildpkgonly PACKAGE, and exported: pkgsneak export " +
			fault.Quote(d.owners[0].in.at)}
	}
	if err != nil {
		return err
	}
	own, err := pkgindex.NewEntry(pkg.Get)
	if err != nil {
		return &leftOutError{reason: fault.Text(err)}
	}
	if key, ok := pkgindex.SameIdentity(d.entry, own); !ok {
		return d.contradicted(key)
	}
	return nil
}

// noteSubstitutes tells what came from another drive than the one whose state is imported.
func noteSubstitutes(op *operation, in *incoming) {
	counts := make(map[string]int)
	for _, d := range in.tasks {
		if d.from != "" {
			counts[d.from]++
		}
	}
	for _, s := range in.further {
		if n := counts[s.at]; n > 0 {
			delete(counts, s.at)
			files := "1 file"
			if n > 1 {
				files = fmt.Sprintf("%d files", n)
			}
			op.note("origin %q: %s that %q has damaged or not at all came from %q; on the build host: pkgsneak export %s --repair", in.Plan.Origin,
				files, in.at, s.at, fault.Quote(in.at))
		}
	}
}
