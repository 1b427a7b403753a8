package exporter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
)

// result is what came of copying one file of the host.
type result struct {
	task   *task
	put    layout.Item
	entry  pkgindex.Entry // of a package: what the catalogue states
	sums   digest.Sums
	set    digest.Set // of sums, that were computed
	reason error      // why it is left out; nil: it was copied
	hint   string
	err    error // of the drive, or the end of ctx
}

// copyAll copies the files, several at a time, and commits what has arrived every now and then.
func (p *Plan) copyAll(ctx context.Context, w *drivewriter.Writer, todo []payload.Item) error {
	every := cmp.Or(p.o.CommitEvery, p.answer.commitEvery(payload.Count(todo).Bytes))
	for len(todo) > 0 {
		n := p.answer.chunk(todo, every)
		if err := p.copySome(ctx, w, todo[:n]); err != nil {
			return err
		}
		if todo = todo[n:]; len(todo) > 0 {
			if err := p.commit(ctx, w); err != nil {
				return err
			}
		}
	}
	payload.Sort(p.report.Copied)
	return nil
}

// copySome copies files: as many large ones at a time as the media like, while small ones are read
// and checked ahead.
func (p *Plan) copySome(ctx context.Context, w *drivewriter.Writer, todo []payload.Item) error {
	readers, writers, workers := p.o.Workers, p.o.Workers, p.o.Workers
	if workers <= 0 {
		readers, writers = cmp.Or(p.o.Source.Readers, 2), cmp.Or(p.o.Medium.Writers, 1)
		workers = pipeline.Processors() + writers + min(readers, waitingReaders)
	}
	c := copier{plan: p, w: w, read: make(chan struct{}, readers),
		write: make(chan struct{}, writers), bufs: make(chan *pipeline.Buffers, workers)}
	for range workers {
		c.bufs <- &pipeline.Buffers{}
	}
	jobs := make([]*task, len(todo))
	for i, it := range todo {
		jobs[i] = p.newTask(it)
	}
	order := pipeline.LargeFirst(len(todo), func(i int) int64 { return todo[i].Size })
	return pipeline.Ordered(ctx, len(todo), workers, pipeline.Window,
		func(ctx context.Context, i int) result {
			if next := i + workers; next < len(order) && readers > prefetchReaders {
				var soon sync.WaitGroup
				soon.Go(func() { c.prefetch(jobs[order[next]]) })
				defer soon.Wait()
			}
			return c.copyFile(ctx, jobs[order[i]])
		},
		func(i int, f result) error {
			jobs[order[i]] = nil
			if f.err == nil {
				p.noteResult(f)
			}
			return f.err
		}, func(f result) {
			if f.err == nil { // complete, when the run was told to end
				p.noteResult(f)
			}
		})
}

const (
	// waitingReaders is how many files wait for the host's disk, at most, while others are looked
	// at and others wait for the drive.
	waitingReaders = 2
	// prefetchReaders is how many readers are good for a medium at most that had better not be
	// asked for what is read later.
	prefetchReaders = 2
	// prefetchHead and prefetchTail are how many bytes of a large file are asked for: what its
	// first readers look at, and what the kernel reads ahead when it sees that the file is read in
	// turn.
	prefetchHead = 8 << 20
	prefetchTail = 64 << 10
)

// prefetch asks the medium for a large file that is read soon. The step that comes to the file then
// names what is wrong with it.
func (c *copier) prefetch(j *task) {
	if j.h.Size <= pipeline.SmallSize {
		return
	}
	file, err := c.plan.host.dir(j.it.Kind).open(j.it.Path, j.h.info)
	if err != nil {
		return
	}
	defer file.Close()
	_ = unix.Fadvise(int(file.Fd()), 0, prefetchHead, unix.FADV_WILLNEED)
	if tail := j.h.Size - prefetchTail; tail > prefetchHead {
		_ = unix.Fadvise(int(file.Fd()), tail, prefetchTail, unix.FADV_WILLNEED)
	}
}

// noteResult notes what came of a file, of which nothing else is needed any more.
func (p *Plan) noteResult(f result) {
	j, it := f.task, f.task.it
	key := it.Key()
	if f.reason != nil || p.answer == nil { // else a later plan may be about it, see refill
		delete(p.host.files, key)
	}
	if f.reason != nil {
		// if it was put, it is not listed: the next commit removes it
		p.leaveOut(it, f.reason, f.hint)
		return
	}
	cache := p.host.dir(it.Kind).cache
	cache.Put(it.Path, j.h.info, f.sums, f.set)
	if it.Kind == payload.Package {
		p.next.setEntry(it.Path, f.entry)
		p.next.stock.facts[it.Path] = j.facts
		cache.Approve(it.Path, j.h.info, binpkg.Rules)
	}
	put := f.put // without the rest of f
	p.next.current[key] = &put
	p.report.Copied = append(p.report.Copied, it)
	p.copied.Add(1)
}

// forgetHost lets go of what is known of the files that stay as they are, unless what has no room
// on the drive may come after all.
func (p *Plan) forgetHost(todo []payload.Item) {
	if p.answer != nil {
		return
	}
	wanted := make(map[payload.Key]*sourceFile, len(todo))
	for _, it := range slices.Concat(todo, p.report.Plan.Remove) {
		key := it.Key()
		if h := p.host.files[key]; h != nil {
			wanted[key] = h
		}
	}
	p.host.files = wanted
}

// checkedBefore returns the digests of a package that was looked through by an earlier export and
// has not changed since, as far as its status tells; the copying makes sure of it. Else nil.
func (p *Plan) checkedBefore(it payload.Item, h *sourceFile) *knownSums {
	if it.Kind != payload.Package {
		return nil
	}
	known, ok := p.host.packages.sumsOf(h)
	if !ok || p.host.packages.cache.Approved(it.Path, h.info) != binpkg.Rules {
		return nil
	}
	return &known
}

// copier copies several files at a time.
type copier struct {
	plan        *Plan
	w           *drivewriter.Writer
	read, write chan struct{}          // places at the media
	bufs        chan *pipeline.Buffers // of each worker
}

// sourceError marks an error of the host's file among those of the drive.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// copyFile puts one file on the drive in one pass: read, checked, hashed, written. A file that
// cannot be carried is left out and the run goes on; only the drive's errors end it. A package
// whose digests are known was checked when they were computed.
func (c *copier) copyFile(ctx context.Context, j *task) (f result) {
	f.task = j
	if f.err = context.Cause(ctx); f.err != nil {
		return f
	}
	it := j.it
	if j.check() {
		j.hash = digest.New(j.wanted())
	}
	f.put, f.err = c.run(ctx, j)
	var mine *sourceError
	switch {
	case context.Cause(ctx) != nil:
		f.err = context.Cause(ctx)
		return f
	case errors.As(f.err, &mine):
		f.reason, f.err = mine.err, nil
		if errors.As(f.reason, new(*binpkg.InvalidError)) {
			f.hint = hintRefused
		}
		return f
	case f.err != nil:
		return f
	}
	f.set = digest.BLAKE2B
	if it.Kind == payload.Package {
		if j.checked != nil {
			if f.put.Sum != j.checked.Blake2b {
				f.reason, f.hint = errRotten,
					"if the file is good: touch "+fault.Quote(filepath.Join(c.plan.m.PKGDIR,
						it.Path))
				return f
			}
			f.sums, f.set = j.checked.Sums, j.checked.computed
		} else {
			f.sums, f.set = j.sums(), digest.BLAKE2B|j.wanted()
		}
		if f.entry, f.reason = entryOf(j.h, j.own, f.sums); f.reason != nil {
			f.hint = c.plan.hintIndex()
		}
	}
	f.sums.Blake2b = f.put.Sum
	return f
}

// The way out for packages that are refused for what is inside.
const (
	buildAgain  = "emerge --oneshot --buildpkgonly PACKAGE"
	hintRefused = "what is refused has to be built again: " + buildAgain +
		"; where the new one gets another name (binpkg-multi-instance), remove the refused one"
)

// errRotten is about a file that changed behind the back of its file system.
var errRotten = errors.New("damaged: its contents are not what they were when it was read before, and its times say that nobody changed it")

// task is one file on its way.
type task struct {
	it      payload.Item
	h       *sourceFile
	checked *knownSums     // of a package that was looked through before
	hash    *digest.Hash   // of a package that is looked through now
	own     pkgindex.Entry // of a package: what its own metadata states
	facts   *layout.PackageFacts
	by      builder
}

func (p *Plan) newTask(it payload.Item) *task {
	h := p.host.files[it.Key()]
	return &task{it: it, h: h, checked: p.checkedBefore(it, h), by: p.host.builder}
}

// check reports whether it is a package that nobody has looked through yet.
func (j *task) check() bool { return j.it.Kind == payload.Package && j.checked == nil }

// wanted is the set of sums that are computed on the way, beside the BLAKE2B. If the host's index
// vouches for the file, SHA1, the faster one, is enough to hold the file against its entry.
func (j *task) wanted() digest.Set {
	if j.h.Index != (IndexSums{}) {
		return digest.SHA1
	}
	return pkgindex.IndexHashes
}

// sums are those that were computed, with the MD5 of the host's index where that was not.
func (j *task) sums() digest.Sums {
	sums := j.hash.Sum()
	if j.h.Index != (IndexSums{}) {
		copy(sums.MD5[:], j.h.Index[:])
	}
	return sums
}

// run copies a file. Errors of the file are *sourceError.
func (c *copier) run(ctx context.Context, j *task) (layout.Item, error) {
	bufs := <-c.bufs
	defer func() { c.bufs <- bufs }()
	if j.h.Size <= pipeline.SmallSize {
		return c.runSmall(ctx, j, bufs)
	}
	return c.runLarge(ctx, j, bufs)
}

func (c *copier) put(ctx context.Context, j *task,
	fill func(io.Writer) error) (layout.Item, error) {
	return c.w.Put(ctx, j.h.newFile(), fill)
}

// runSmall looks at a file in memory, while others are at the media.
func (c *copier) runSmall(ctx context.Context, j *task,
	bufs *pipeline.Buffers) (layout.Item, error) {
	data, err := c.load(j, bufs.Small())
	if err == nil && j.it.Kind == payload.Package {
		err = j.inspect(ctx, data)
	}
	if err != nil {
		return layout.Item{}, &sourceError{err}
	}
	c.write <- struct{}{}
	defer func() { <-c.write }()
	return c.put(ctx, j, func(dst io.Writer) error {
		_, err := dst.Write(data)
		return err
	})
}

// load reads a whole file into buf.
func (c *copier) load(j *task, buf []byte) ([]byte, error) {
	c.read <- struct{}{}
	defer func() { <-c.read }()
	file, err := c.plan.host.dir(j.it.Kind).open(j.it.Path, j.h.info)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readWhole(file, j.h.info, buf)
}

// readWhole reads a file that was scanned, into buf. One that was changed since, or while it was
// read, is durable.ErrChanged.
func readWhole(file *os.File, scanned fs.FileInfo, buf []byte) ([]byte, error) {
	data := buf[:scanned.Size()]
	if _, err := io.ReadFull(file, data); err != nil {
		if pipeline.AtEnd(err) == nil {
			err = durable.ErrChanged
		}
		return nil, err
	}
	return data, durable.CheckUnchanged(file, scanned)
}

func (j *task) inspect(ctx context.Context, data []byte) error {
	r := bytes.NewReader(data)
	pkg, err := j.read(r)
	if err == nil && j.check() {
		j.hash.Write(data)
		err = pkg.Check(ctx, r)
	}
	return err
}

func (j *task) read(r io.ReaderAt) (*binpkg.Package, error) {
	pkg, err := binpkg.Read(r, j.h.Size, j.it.Path)
	if err == nil {
		j.own, err = pkgindex.NewEntry(pkg.Get)
		j.facts = factsOf(j.it.Path, pkg, binpkg.Rules, j.by)
	}
	return pkg, err
}

// runLarge looks at a file while it is on its way.
func (c *copier) runLarge(ctx context.Context, j *task,
	bufs *pipeline.Buffers) (layout.Item, error) {
	c.write <- struct{}{}
	defer func() { <-c.write }()
	c.read <- struct{}{}
	defer func() { <-c.read }()
	file, err := c.plan.host.dir(j.it.Kind).open(j.it.Path, j.h.info)
	if err != nil {
		return layout.Item{}, &sourceError{err}
	}
	defer file.Close()
	fill := func(dst io.Writer) error { return copyTo(ctx, dst, file, j.h.info, bufs) }
	if j.it.Kind == payload.Package {
		pkg, err := j.read(file)
		if err != nil {
			return layout.Item{}, &sourceError{err}
		}
		if j.check() {
			fill = func(dst io.Writer) error { return j.copyChecked(ctx, dst, file, pkg, bufs) }
		}
	}
	return c.put(ctx, j, fill)
}

// copyChecked copies a package to dst, and checks and hashes it on its way.
func (j *task) copyChecked(ctx context.Context, dst io.Writer, file *os.File, pkg *binpkg.Package,
	bufs *pipeline.Buffers) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := pipeline.NewTap(file)
	checked := make(chan error, 1)
	go func() {
		err := pkg.Check(ctx, t)
		t.Close()
		if err != nil {
			cancel(err) // it need not be copied to its end
		}
		checked <- err
	}()
	err := copyTo(ctx, dst, file, j.h.info, bufs, j.hash, t)
	t.End()
	if err != nil {
		cancel(err)
	}
	var mine *sourceError
	if bad := <-checked; bad != nil && (err == nil || errors.As(err, &mine)) {
		return &sourceError{bad}
	}
	return err
}

// copyTo copies a file to dst and shows it to each of tees on the way. Its errors are *sourceError
// unless they are dst's.
func copyTo(ctx context.Context, dst io.Writer, src *os.File, scanned fs.FileInfo,
	bufs *pipeline.Buffers, tees ...io.Writer) error {
	rest := io.LimitedReader{R: pipeline.Reader{Ctx: ctx, R: src}, N: scanned.Size()}
	readErr, writeErr := pipeline.Copy(dst, &rest, scanned.Size(), bufs, tees...)
	if writeErr != nil {
		return writeErr
	}
	if readErr == nil && rest.N > 0 {
		readErr = durable.ErrChanged
	}
	if readErr == nil {
		readErr = durable.CheckUnchanged(src, scanned)
	}
	if readErr != nil {
		return &sourceError{readErr}
	}
	return nil
}
