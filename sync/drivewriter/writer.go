package drivewriter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/listing"
)

// DefaultPartSize is the largest file that FAT can hold.
const DefaultPartSize = 4<<30 - 1

// BeginOptions says for whom and how a session writes.
type BeginOptions struct {
	Dir  string               // the origin's directory, from FindOrigin
	Name string               // the origin's name
	Key  *manifest.PrivateKey // signs
	// Earlier are the predecessors of Key, if it has any: what they signed is kept
	// like what Key signed, and they are put on offer beside it, so that a client
	// that knows one of them can see who introduced Key, or that one was revoked.
	Earlier manifest.Ring
	Now     time.Time // for the verification of what is there
	// Last is the origin's highest serial as this machine remembers it, 0 if it does not.
	Last int64
	// Foreign hears of each file of the origin's directory, below it, that no pkgsneak put there: it
	// stays. May be nil.
	Foreign func(path string)

	PartSize   int64 // bytes of a stored file at most; 0: DefaultPartSize
	NoReadBack bool  // do not compare the medium with what was written
	// Progress hears of bytes that reached the drive (Writing), and of those that
	// were read from it again (Comparing). One call ends before the next begins.
	Progress func(stage Stage, path string, bytes int64)
}

// Stage is what a Writer is doing.
type Stage uint8

// The stages, in the order in which they come.
const (
	Tidying    Stage = iota + 1 // leftovers of a pulled run
	Preparing                   // directories
	Probing                     // a drive that was never used
	Writing                     // payload
	Flushing                    // waiting for the drive
	Comparing                   // reading back
	Committing                  // the slots
	Removing                    // what the new generation does not list
)

// String returns the stage's name.
func (s Stage) String() string {
	names := [...]string{"", "tidying", "preparing", "probing", "writing", "flushing", "comparing", "committing", "removing"}
	if int(s) < len(names) {
		return names[s]
	}
	return ""
}

// Writer is a session of writing to one origin. After an error of the drive
// each further call returns that error: a lost write is reported only once, so
// nothing that follows could be believed. Close ends it.
type Writer struct {
	d    *drive.Drive
	o    BeginOptions
	root *os.Root // the origin's directory, nil before the first export made it
	lock *os.File

	held     *drive.Generation        // the committed generation, nil if there is none to keep files of
	listed   map[string]manifest.File // what is committed, by path
	serial   int64                    // the highest on this drive
	unmended []byte                   // the text of the generation that only Manifest.next has; nil if there is none
	as       drive.Standing           // of the origin's directory, as it was found

	names  layout.Namespace
	rooms  map[string]*room // directories, of interest on vfat
	dirs   map[string]bool  // directories that are there
	others []string         // files that are there, and neither listed nor leftovers
	absent []string         // listed files that are not there, have another size, or were found wrong
	proven map[string]bool  // listed files that this session saw to be right on the medium

	mu       sync.Mutex              // guards what follows, while files are put side by side
	reserved map[layout.Key][]string // names given by Prepare
	fresh    map[string]written      // written since the last commit, by path
	strays   []string                // written since the last commit and given up

	flow  flow
	ended ending

	// hook, in tests, is asked before each change of the drive.
	hook func(op, path string) error
	// dirSize tells the size of a directory in bytes; tests put their own in.
	dirSize func(root *os.Root, dir string) (int64, error)
	vfat    bool
	// isDrive says whether the tree is alone on a device; tests say so themselves.
	isDrive func() bool
	probed  bool
}

// written is a file that this session wrote, with marks to find the first
// wrong byte by.
type written struct {
	manifest.File
	marks []uint32
}

// Begin takes the drive for writing and does steps 1 to 3 of the order: opens,
// mends, tidies. It returns an error that is durable.ErrLocked if another
// process writes there, *ReadOnlyError, *PullDamageError (an earlier pull left
// unreadable entries: its Hint helps), *FormatError if a newer program wrote
// there, and what Load returns for an origin that is another key's.
func Begin(ctx context.Context, d *drive.Drive, o BeginOptions) (*Writer, error) {
	if d.ReadOnly() {
		return nil, &drive.ReadOnlyError{Op: "writing to", Path: d.Mount(), Err: unix.EROFS}
	}
	w := &Writer{d: d, o: o, vfat: d.FSType().FixedDirectories()}
	if err := w.begin(ctx); err != nil {
		w.release()
		return nil, err
	}
	return w, nil
}

func (w *Writer) begin(ctx context.Context) error {
	w.init()
	for _, name := range []string{w.o.Dir, w.o.Name} {
		if err := layout.CheckOriginName(name); err != nil {
			return err
		}
	}
	if err := w.checkKey(w.o.Last); err != nil {
		return err
	}
	if err := w.takeLock(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{w.open, w.mend, w.tidy, w.prove} {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) init() {
	if w.o.PartSize <= 0 {
		w.o.PartSize = DefaultPartSize
	}
	hear := w.o.Progress
	if hear == nil {
		hear = func(Stage, string, int64) {}
	}
	var telling sync.Mutex // files are sent off beside everything else
	w.o.Progress = func(stage Stage, name string, n int64) {
		telling.Lock()
		defer telling.Unlock()
		hear(stage, name, n)
	}
	w.listed = make(map[string]manifest.File)
	w.rooms = make(map[string]*room)
	w.dirs = make(map[string]bool)
	w.reserved = make(map[layout.Key][]string)
	w.fresh = make(map[string]written)
	w.proven = make(map[string]bool)
	w.flow.tell = func(name string, n int64) { w.o.Progress(Writing, name, n) }
	if w.dirSize == nil {
		w.dirSize = w.statDir
	}
	if w.isDrive == nil {
		w.isDrive = w.onMount
	}
}

// takeLock keeps a second exporter of this machine away. The lock is on the
// tree's directory, so that nothing has to be written for it.
func (w *Writer) takeLock() error {
	f, err := durable.OpenDir(w.d.Root(), ".")
	if err != nil {
		return w.d.Explain("opening", layout.TreeDir, err)
	}
	w.lock = f
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("writing to %q: %w", w.d.Mount(), durable.ErrLocked)
	case err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOLCK):
		return w.d.Explain("locking", layout.TreeDir, err)
	}
	return nil
}

// open is step 1. The descriptor for syncfs is the one of the mount point,
// open since before the first write: a write error is reported to descriptors
// that were open when it happened.
func (w *Writer) open(context.Context) error {
	dir := w.o.Dir
	info, err := w.d.Root().Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && w.d.Present():
		return nil // first export
	case err != nil:
		return w.d.PullDamage("opening", dir, err)
	case !info.IsDir():
		return fmt.Errorf("writing to %q: not a directory", dir)
	}
	as, best, other, err := w.d.StandingOf(dir, w.ring(), w.o.Now)
	for _, s := range []drive.ManifestCopy{best, other} {
		if drive.Failing(s.State.Err) {
			return w.d.PullDamage("reading", path.Join(dir, s.State.Name), drive.Bare(s.State.Err))
		}
		w.serial = max(w.serial, s.State.Serial)
	}
	if err != nil {
		return err
	}
	switch w.as = as; as {
	case drive.Foreign:
		return foreignError(w)
	case drive.Committed:
		if err := w.checkKey(w.serial); err != nil {
			return err
		}
		if err := w.hold(best, other); err != nil {
			return err
		}
		if best.State.Name != layout.Slot {
			w.unmended = best.Text
		}
	}
	w.root, err = w.d.Root().OpenRoot(dir)
	return w.d.PullDamage("opening", dir, err)
}

// ring is the keys whose generations are this origin's own.
func (w *Writer) ring() manifest.Ring { return append(manifest.Ring{w.o.Key.Public()}, w.o.Earlier...) }

// checkKey is CheckKey for this session.
func (w *Writer) checkKey(last int64) error { return CheckKey(w.o.Key, w.o.Now, last) }

// CheckKey signs a list and reads it again as a commit after the serial last will: a key that is revoked or expired, or
// will be at the time of the next serial, fails before anything is changed.
func CheckKey(key *manifest.PrivateKey, now time.Time, last int64) error {
	at := time.Unix(max(now.Unix(), last+1), 0)
	if made := key.Public().Created(); at.Before(made) {
		at = made
	}
	text, err := manifest.Sign(&manifest.List{Timestamp: at.UTC().Truncate(time.Second)}, key, at)
	if err == nil {
		_, err = manifest.Open(text, manifest.Ring{key.Public()}, at)
	}
	if err != nil {
		return fmt.Errorf("signing with this machine's key: %w", err)
	}
	return nil
}

// foreignError says why nothing is written to a directory that is not this origin's.
func foreignError(w *Writer) error {
	_, _, err := w.d.OwnCopies(w.o.Dir, w.ring(), w.o.Now)
	if err == nil || errors.Is(err, drive.ErrNoTree) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing to %q: there are other files in it; move them away, or give the origin another name", w.o.Dir)
	}
	return err
}

// hold takes what the valid slot lists as committed. With a damaged record the
// names stay taken, but no file of that generation can be kept.
func (w *Writer) hold(best, other drive.ManifestCopy) error {
	for _, f := range best.Signed.Files {
		w.listed[f.Path] = f
	}
	held, err := w.d.FromCopies(w.o.Dir, best, other)
	var damaged *drive.DamagedError
	var format *layout.FormatError
	switch {
	case errors.As(err, &damaged):
		return nil
	case errors.As(err, &format):
		return &drive.NewerError{Path: path.Join(w.o.Dir, best.State.Name), Err: err}
	}
	if err == nil && held.Record.Origin != w.o.Name {
		name := held.Record.Origin
		held.Close()
		return fmt.Errorf("writing to %q: it belongs to the origin %q", w.o.Dir, name)
	}
	w.held = held
	return err
}

// mend is step 2. A run that was pulled between the two slots left generation
// N in Manifest.next only; writing there next could lose both.
func (w *Writer) mend(ctx context.Context) error {
	text := w.unmended
	if text == nil {
		return nil
	}
	w.unmended = nil
	if err := w.makeRoom(ctx, layout.Slot, int64(len(text))); err != nil {
		return w.d.PullDamage("mending", layout.Slot, err)
	}
	return w.d.PullDamage("mending", layout.Slot, w.overwrite(layout.Slot, content(text)))
}

// Held returns the generation that is committed on the drive; nil if there is
// none whose files could be kept.
func (w *Writer) Held() *drive.Generation { return w.held }

// Last returns the highest serial on the drive, 0 if there is none. The next
// one has to be higher.
func (w *Writer) Last() int64 { return w.serial }

// Missing returns the files of the held generation that are not there, or were
// found damaged in a sample, sorted: they have to be written again.
func (w *Writer) Missing() []layout.Item {
	if w.held == nil || len(w.absent) == 0 {
		return nil
	}
	var items []layout.Item
	for _, it := range w.held.All() {
		if slices.ContainsFunc(it.Stored, func(f manifest.File) bool {
			_, found := slices.BinarySearch(w.absent, f.Path)
			return found
		}) {
			items = append(items, it)
		}
	}
	return items
}

// tidy is step 3: what N does not list under a name of the layout was left by a pulled run, and may
// share clusters with anything. Only when it is gone, from the medium too, may anything be allocated.
// Everything else stays for good, and is named: an entry that is never removed frees nobody's clusters.
func (w *Writer) tidy(ctx context.Context) error {
	if w.root == nil {
		w.remember()
		return nil
	}
	w.o.Progress(Tidying, "", 0)
	t := tidying{w: w, ctx: ctx, listed: make(map[string]int64), needed: make(map[string]bool), seen: make(map[string]bool)}
	for name, f := range w.listed {
		t.listed[layout.FoldName(name)] = f.Size
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			t.needed[layout.FoldName(dir)] = true
		}
	}
	if _, err := t.walk(nil, "", ".", 0); err != nil {
		return err
	}
	for name := range w.listed {
		if !t.seen[layout.FoldName(name)] {
			w.absent = append(w.absent, name)
		}
	}
	slices.Sort(w.absent)
	w.remember()
	return nil
}

type tidying struct {
	w      *Writer
	ctx    context.Context
	listed map[string]int64 // sizes by folded path: on FAT another spelling is the same file
	needed map[string]bool  // folded directories
	seen   map[string]bool
	dirs   listing.Reader
}

// walk removes what is not listed below dir, which is name below the level
// above, makes that durable, and says whether dir is empty then.
func (t *tidying) walk(above *drive.Level, name, dir string, depth int) (empty bool, err error) {
	if err := context.Cause(t.ctx); err != nil {
		return false, err
	}
	if depth > drive.MaxDepth {
		return false, fmt.Errorf("reading the directory %q: too deep", dir)
	}
	w := t.w
	w.dirs[dir] = true
	l, err := w.d.Enter(&t.dirs, w.root, above, name, dir, true)
	if err != nil {
		return false, w.d.PullDamage("reading the directory", dir, err)
	}
	defer l.Close()
	empty, lost := true, false
	for _, entry := range l.Entries {
		removed, err := t.visit(l, path.Join(dir, entry.Name()), entry, depth)
		if err != nil {
			return false, err
		}
		empty, lost = empty && removed, lost || removed
		if !removed && w.vfat {
			w.roomOf(dir).add(entry.Name())
		}
	}
	if !lost {
		return empty, nil
	}
	return empty, w.d.PullDamage("removing from", dir, w.fsync(dir))
}

// visit looks at one entry. What is listed and is no file of its size stays
// until a generation without it is committed, but counts as absent.
func (t *tidying) visit(l *drive.Level, name string, entry *listing.Entry, depth int) (removed bool, err error) {
	w, key := t.w, layout.FoldName(name)
	if entry.IsDir() {
		empty, err := t.walk(l, entry.Name(), name, depth+1)
		if err != nil || !empty || t.needed[key] || layout.Lasting(name) || !layout.OfLayout(name) || !w.as.HasLeftovers() {
			return false, err
		}
		delete(w.dirs, name)
		return true, w.d.PullDamage("removing", name, w.remove("rmdir", w.root, name))
	}
	if want, ok := t.listed[key]; ok {
		t.seen[key] = entry.IsRegular() && entry.Size() == want
		return false, nil
	}
	switch {
	case name == layout.Slot || name == layout.NextSlot || name == layout.PackagesFile:
		return false, nil
	case layout.MadeHere(name) && (w.as.HasLeftovers() || name == layout.LayoutFile):
	default:
		t.stay(name)
		return false, nil
	}
	return true, w.d.PullDamage("removing", name, w.remove("unlink", w.root, name))
}

// stay keeps a file that is not of this generation: nothing gets its name.
func (t *tidying) stay(name string) {
	w := t.w
	w.others = append(w.others, name)
	if w.o.Foreign != nil && !(w.as == drive.Broken && layout.MadeHere(name)) {
		w.o.Foreign(name)
	}
}

// outlived are the files that nobody could tell the list of, once a generation has replaced them.
func outlived(w *Writer) (names []string) {
	if w.as != drive.Broken || w.held == nil || len(w.fresh)+len(w.reserved) > 0 {
		return nil
	}
	for _, name := range w.others {
		if layout.MadeHere(name) {
			names = append(names, name)
		}
	}
	return names
}

// remember takes the names of what is committed.
func (w *Writer) remember() {
	w.names = layout.Namespace{}
	for _, dir := range layout.OriginDirs {
		w.names.TakeDir(dir)
	}
	for _, file := range []string{layout.Slot, layout.NextSlot, layout.PackagesFile, layout.PackagesFile + ".gz", layout.LayoutFile} {
		w.names.Take(file)
	}
	for dir := range w.dirs {
		w.names.TakeDir(dir)
	}
	for name := range w.listed {
		w.names.Take(name)
	}
	for _, name := range w.others {
		w.names.Take(name)
	}
	for name := range w.fresh {
		w.names.Take(name)
	}
	for _, name := range w.strays {
		w.names.Take(name)
	}
	for _, stored := range w.reserved {
		for _, name := range stored {
			w.names.Take(name)
		}
	}
	w.roomsCommitted()
}

// Close ends the session. What was put and not committed is removed, unless
// the drive has failed; the next Begin does it then. So is what was found in an
// origin without a valid manifest, if everything that was planned is committed.
func (w *Writer) Close() error {
	var err error
	if w.ended.cause() == nil && w.root != nil {
		w.strays = append(w.strays, outlived(w)...)
		for name := range w.fresh {
			w.strays = append(w.strays, name)
		}
		clear(w.fresh)
		clear(w.reserved)
		w.flow.drop()
		err = w.unlinkAll(context.Background(), w.strays)
		w.strays = nil
	}
	w.release()
	return err
}

func (w *Writer) release() {
	w.flow.drop()
	if w.held != nil {
		w.held.Close()
		w.held = nil
	}
	if w.root != nil {
		w.root.Close()
		w.root = nil
	}
	if w.lock != nil {
		w.lock.Close()
		w.lock = nil
	}
	w.ended.with(fmt.Errorf("writing to %q: the session has ended", w.d.Mount()))
}

// do does one change of the drive. An error of the drive ends the session.
func (w *Writer) do(op, name string, change func() error) error {
	if err := w.ended.cause(); err != nil {
		return err
	}
	if w.hook != nil {
		if err := w.hook(op, name); err != nil {
			return w.end(op, name, err)
		}
	}
	return w.end(op, name, change())
}

// end explains an error, and ends the session if the drive is gone, failing or read-only.
func (w *Writer) end(op, name string, err error) error {
	if err == nil {
		return nil
	}
	err = w.d.Explain(op, name, err)
	var gone *drive.GoneError
	var readOnly *drive.ReadOnlyError
	if errors.As(err, &gone) || errors.As(err, &readOnly) {
		return w.ended.with(err)
	}
	return err
}

// sync does one step that makes earlier changes durable. Whatever it reports, a full drive too, means
// that something that was written before is lost: it ends the session.
func (w *Writer) sync(op, name string, step func() error) error {
	return w.ended.with(w.do(op, name, step))
}

// ending is the error after which nothing of a session can be believed.
type ending struct {
	mu  sync.Mutex
	err error
}

// cause returns the error, nil while the session goes on.
func (e *ending) cause() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// with ends the session with err, unless that is nil or it has ended, and returns err.
func (e *ending) with(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
	return err
}

// remove unlinks a file or an empty directory. What is not there, on a drive
// that is, has been removed.
func (w *Writer) remove(op string, root *os.Root, name string) error {
	return w.do(op, name, func() error {
		err := root.Remove(name)
		if errors.Is(err, fs.ErrNotExist) && w.d.Present() {
			return nil
		}
		return err
	})
}

// syncDirs makes the loss of names durable: until then a new file could share
// the clusters of an old entry.
func (w *Writer) syncDirs(dirs []string) error {
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := w.fsync(dir); err != nil {
			return err
		}
	}
	return nil
}

// fsync makes a file or directory below the origin durable, and sends the
// drive a flush of its cache, even if it was clean.
func (w *Writer) fsync(name string) error {
	return w.sync("fsync", name, func() error {
		f, err := durable.OpenFile(w.root, name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		err = f.Sync()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil // a file system that cannot sync a directory needs no sync
		}
		return err
	})
}

// flush is step 7: everything to the drive, and then the cache of the drive to
// the medium. syncfs on vfat does only the first; the fsync of a clean file
// does the second.
func (w *Writer) flush() error {
	if err := w.flow.drain(); err != nil {
		return w.ended.with(w.end("writing", w.o.Dir, err))
	}
	if err := w.syncfs(); err != nil {
		return err
	}
	return w.fsync(layout.NextSlot)
}

func (w *Writer) syncfs() error {
	return w.sync("syncfs", w.o.Dir, func() error {
		return unix.Syncfs(int(w.d.Top().Fd()))
	})
}

// mkdir makes a directory below the origin.
func (w *Writer) mkdir(dir string) error {
	if w.dirs[dir] {
		return nil
	}
	err := w.do("mkdir", dir, func() error {
		err := w.root.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) {
			return mustBeDir(w, dir)
		}
		if err != nil {
			return w.d.ExplainName("making", dir, err)
		}
		return nil
	})
	if err == nil {
		w.dirs[dir] = true
	}
	return err
}

// mustBeDir fails if something else than a directory has the name.
func mustBeDir(w *Writer, dir string) error {
	info, err := w.root.Lstat(dir)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("making the directory %q: a file that is not pkgsneak's has this name: move it away", path.Join(w.o.Dir, dir))
	}
	return err
}

// create makes a new file for writing.
func (w *Writer) create(root *os.Root, name string, mode fs.FileMode) (*os.File, error) {
	var f *os.File
	err := w.do("create", name, func() (err error) {
		f, err = durable.OpenFile(root, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			err = w.d.ExplainName("making", name, err)
		}
		return err
	})
	return f, err
}
