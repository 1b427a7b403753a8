package drivewriter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
)

// DefaultPartSize is the largest file that FAT can hold.
const DefaultPartSize = 4<<30 - 1

// BeginOptions states for whom and how a session writes.
type BeginOptions struct {
	Dir  string               // the origin's directory, from FindOrigin
	Name string               // the origin's name
	Key  *manifest.PrivateKey // signs
	// Earlier are the predecessors of Key, if it has any: what they signed is kept
	// like what Key signed, and they are put on offer beside it, so that a client
	// that trusts one of them can see who introduced Key, or that one was revoked.
	Earlier manifest.Ring
	Now     time.Time // for the verification of what is there
	// Last is the origin's highest serial as this machine remembers it, 0 if it does not.
	Last int64
	// Foreign is passed each file of the origin's directory, below it, that no pkgsneak put there:
	// it stays. May be nil.
	Foreign func(path string)
	// Beside is passed README.txt and each key on offer that is written again, and of those that
	// cannot be written: they are copies for people, and stop nothing. May be nil.
	Beside func(path string, err error)
	// Leftover is passed each file that a pulled run had left, once it is removed. May be nil.
	Leftover func(path string)

	PartSize   int64 // bytes of a stored file at most; 0: DefaultPartSize
	NoReadBack bool  // do not compare the medium with what was written
	// Progress is told of bytes that reached the drive (PhaseCopy), and of those that were read
	// from it again (PhaseReadBack). The first call of PhaseProbe has the bytes that will be
	// written and read, the later ones those that were. One call ends before the next begins.
	Progress func(phase progress.Phase, path string, bytes int64)
	// Hook is shown each change before it is made; nil outside of tests. The Root of a change is
	// the mount point, its Name a path below the origin's directory.
	Hook durable.Hook
}

// Writer is a session of writing to one origin. After an error of the drive
// each further call returns that error: a lost write is reported only once, so
// nothing that follows could be believed. Close ends it.
type Writer struct {
	*session
	o BeginOptions

	// the committed generation, nil if there is none to keep files of
	committed *drive.Generation
	listed    map[string]manifest.File // what is committed, by path
	serial    int64                    // the highest on this drive
	// the text of the generation that only Manifest.next has; nil if there is none
	unrecovered []byte
	as          drive.Standing // of the origin's directory, as it was found

	places places
	dirs   *directories
	others []string // files that are there, and neither listed nor leftovers
	// listed files that are not there, have another size, or were found wrong
	absent  []string
	checked map[string]bool // listed files that this session saw to be right on the medium

	mu          sync.Mutex         // guards what follows, while files are put side by side
	uncommitted map[string]written // written since the last commit, by path
	orphans     []string           // written since the last commit and given up

	// isDrive reports whether the tree is alone on a device; tests set it themselves.
	isDrive func() bool
	probed  bool
	noted   bool // the note of the owner lies there
	passed  bool // the note that the probe was passed lies there
	tested  bool // it did before this export began anew, and is to lie there again
}

// Begin takes the drive for writing and does steps 1 to 3 of the order: opens,
// recovers, collects garbage. It returns an error that is durable.ErrLocked if another
// process writes there, *ReadOnlyError, *PullDamageError (an earlier pull left
// unreadable entries: its Hint helps), *FormatError if a newer program wrote
// there, and what Load returns for an origin that is another key's.
func Begin(ctx context.Context, d *drive.Drive, o BeginOptions) (*Writer, error) {
	if d.ReadOnly() {
		return nil, &drive.ReadOnlyError{Op: "writing to", Path: d.Mount(), Err: unix.EROFS}
	}
	w := newWriter(d, o)
	if err := w.begin(ctx); err != nil {
		w.release()
		return nil, err
	}
	return w, nil
}

func (w *Writer) begin(ctx context.Context) error {
	for _, name := range []string{w.o.Dir, w.o.Name} {
		if err := layout.CheckOriginName(name); err != nil {
			return err
		}
	}
	if err := CheckKey(w.o.Key, w.o.Now, w.o.Last); err != nil {
		return err
	}
	if err := w.takeLock(); err != nil {
		return err
	}
	if err := removeEmptyDirs(w.d, w.session); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{w.open, func(context.Context) error {
		return inTheWay(w)
	}, w.recover, w.collectGarbage, func(context.Context) error {
		return beginAnew(w)
	}, w.spotCheck} {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// newWriter is a Writer that has done nothing yet.
func newWriter(d *drive.Drive, o BeginOptions) *Writer {
	if o.PartSize <= 0 {
		o.PartSize = DefaultPartSize
	}
	w := &Writer{
		session: newSession(d, o.Dir, o.Progress), o: o,
		listed: make(map[string]manifest.File), checked: make(map[string]bool),
		uncommitted: make(map[string]written),
	}
	w.dirs = newDirectories(w.session, &w.places.names)
	w.places.dirs, w.places.partSize, w.places.reserved = w.dirs, o.PartSize,
		make(map[payload.Key][]string)
	w.isDrive = func() bool { return onMount(d) }
	if o.Hook != nil {
		w.hook = func(op, name string) error {
			return o.Hook(durable.Change{Op: durable.Op(op), Root: d.Mount(), Name: name})
		}
	}
	return w
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
		return &drive.InTheWayError{Path: dir}
	}
	as, best, other, err := w.d.StandingOf(dir, w.ring(), w.o.Now)
	for _, s := range []drive.ManifestCopy{best, other} {
		if drive.Failing(s.State.Err) {
			return w.d.PullDamage("reading", path.Join(dir, s.State.Name), fault.Bare(s.State.Err))
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
		if err := CheckKey(w.o.Key, w.o.Now, w.serial); err != nil {
			return err
		}
		if err := w.takeCommitted(best, other); err != nil {
			return err
		}
		if best.State.Name != layout.ManifestFile {
			w.unrecovered = best.Text
		}
	}
	w.root, err = w.d.Root().OpenRoot(dir)
	return w.d.PullDamage("opening", dir, err)
}

// inTheWay looks before anything is changed whether something else has the place of what is written
// in place, or under a name that never is another one.
func inTheWay(w *Writer) error {
	if w.root == nil {
		return nil
	}
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile, layout.PackagesFile,
		layout.LayoutFile} {
		if info, err := w.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
			return &drive.InTheWayError{Path: path.Join(w.o.Dir, name)}
		}
	}
	for _, name := range layout.OriginDirs {
		if info, err := w.root.Lstat(name); err == nil && !info.IsDir() {
			return &drive.InTheWayError{Path: path.Join(w.o.Dir, name)}
		}
	}
	return nil
}

// ring is the keys whose generations are this origin's own.
func (w *Writer) ring() manifest.Ring {
	return append(manifest.Ring{w.o.Key.Public()}, w.o.Earlier...)
}

// CheckKey signs a list and reads it again as a commit after the serial last will: a key that is
// revoked or expired, or will be at the time of the next serial, fails before anything is changed.
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

// foreignError reports why nothing is written to a directory that is not this origin's.
func foreignError(w *Writer) error {
	_, _, err := w.d.OwnCopies(w.o.Dir, w.ring(), w.o.Now)
	if err == nil || errors.Is(err, drive.ErrNoTree) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing to %q: there are other files in it; move them away, or give the origin another name", w.o.Dir)
	}
	return err
}

// takeCommitted takes what the valid manifest copy lists as committed. With a damaged record the
// names stay taken, but no file of that generation can be kept.
func (w *Writer) takeCommitted(best, other drive.ManifestCopy) error {
	for _, f := range best.Signed.Files {
		w.listed[f.Path] = f
	}
	gen, err := w.d.FromCopies(w.o.Dir, best, other)
	var damaged *drive.DamagedError
	var format *layout.FormatError
	switch {
	case errors.As(err, &damaged):
		return nil
	case errors.As(err, &format):
		return &drive.NewerError{Path: path.Join(w.o.Dir, best.State.Name), Err: err}
	}
	if err == nil && gen.Record.Origin != w.o.Name {
		name := gen.Record.Origin
		gen.Close()
		return fmt.Errorf("writing to %q: it belongs to the origin %q", w.o.Dir, name)
	}
	w.committed = gen
	return err
}

// recover is step 2. A run that was pulled between the two manifest copies left generation
// N in Manifest.next only; writing there next could lose both.
func (w *Writer) recover(ctx context.Context) error {
	text := w.unrecovered
	if text == nil {
		return nil
	}
	w.unrecovered = nil
	if err := w.pad(ctx, layout.ManifestFile, int64(len(text))); err != nil {
		return w.d.PullDamage("recovering", layout.ManifestFile, err)
	}
	err := w.overwrite(layout.ManifestFile, content(text))
	if err == nil && w.o.Beside != nil {
		w.o.Beside(path.Join(w.o.Dir, layout.ManifestFile), nil)
	}
	return w.d.PullDamage("recovering", layout.ManifestFile, err)
}

// Committed returns the generation that is committed on the drive; nil if there is
// none whose files could be kept.
func (w *Writer) Committed() *drive.Generation { return w.committed }

// Last returns the highest serial on the drive, 0 if there is none. The next
// one has to be higher.
func (w *Writer) Last() int64 { return w.serial }

// Missing returns the files of the committed generation that are not there, or were
// found damaged in a sample, sorted: they have to be written again.
func (w *Writer) Missing() []layout.Item {
	if w.committed == nil || len(w.absent) == 0 {
		return nil
	}
	var items []layout.Item
	for _, it := range w.committed.All() {
		if slices.ContainsFunc(it.Stored, func(f manifest.File) bool {
			_, found := slices.BinarySearch(w.absent, f.Path)
			return found
		}) {
			items = append(items, it)
		}
	}
	return items
}

// remember takes the names of what is committed.
func (w *Writer) remember() {
	w.places.names = layout.Namespace{}
	for _, dir := range layout.OriginDirs {
		w.places.names.TakeDir(dir)
	}
	for _, file := range []string{layout.ManifestFile, layout.NextManifestFile, layout.PackagesFile,
		layout.PackagesFile + ".gz", layout.LayoutFile} {
		w.places.names.Take(file)
	}
	for dir := range w.dirs.made {
		w.places.names.TakeDir(dir)
	}
	for name := range w.listed {
		w.places.names.Take(name)
	}
	for _, name := range w.others {
		w.places.names.Take(name)
	}
	for name := range w.uncommitted {
		w.places.names.Take(name)
	}
	for _, name := range w.orphans {
		w.places.names.Take(name)
	}
	for _, stored := range w.places.reserved {
		for _, name := range stored {
			w.places.names.Take(name)
		}
	}
	w.dirs.committed(w.listed)
}

// Close ends the session. A file that was put and not committed is removed, unless the drive has
// failed; the next Begin does it then. So is what was found in an origin without a valid manifest,
// if everything that was planned is committed.
func (w *Writer) Close() error {
	var err error
	if w.ended.cause() == nil && w.root != nil {
		w.orphans = append(w.orphans, outlived(w)...)
		for name := range w.uncommitted {
			w.orphans = append(w.orphans, name)
		}
		clear(w.uncommitted)
		clear(w.places.reserved)
		w.window.drop()
		err = w.unlinkAll(context.Background(), w.orphans)
		w.orphans = nil
	}
	w.release()
	return err
}

// release closes the committed generation, too.
func (w *Writer) release() {
	if w.committed != nil {
		w.committed.Close()
		w.committed = nil
	}
	w.session.release()
}
