package drivewriter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/listing"
)

// Removal is a plan for taking an origin off a drive: what its own validly signed list names, what
// a pulled export of it left (an unlisted file under a name that the layout makes), and nothing
// else. It is complete before anything is removed, and Run obeys it.
//
// If another signer's manifest lies beside the origin's, that one and all that it names stay, and
// so does what no list names: it may be either's. The next removal is that signer's.
//
// # The order
//
// At every moment the origin has a valid list of all that is still there, so that a run that was
// stopped is finished by the next one:
//
//	1  the files, directory by directory; fsync of each directory that lost a name
//	2  syncfs, then the directories of the layout that are empty, from the bottom up
//	3  the copy of the manifest that is not valid or the older one; fsync; then the valid one; fsync
//	4  ORIGIN, if nothing is left in it; fsync of the directory above
//
// Directories are opened one below the other and never through a link, and a name is removed only
// if it is a regular file in its directory at that moment.
type Removal struct {
	Dir    string               // below layout.TreeDir
	Name   string               // of the origin, by its record; "" if that cannot be read
	Signer manifest.Fingerprint // "" if nothing but empty directories is left
	Serial int64
	Signed time.Time
	// Unsigned is why nothing validly signed tells what belongs to it; nil if something does.
	Unsigned error
	Files    []manifest.File // that are there and go, sorted by path
	// Beside is another signer, as far as it can be told, of the other copy of the manifest; else
	// "".
	Beside manifest.Fingerprint
	// Others are the files, and whatever else is no directory of the layout, that are not the
	// origin's: they stay. Sorted, at most drive.MaxUndeclared.
	Others []string

	d      *drive.Drive
	ring   manifest.Ring
	names  removable
	copies []string // of the manifest, in the order in which they go
	text   []byte   // of the valid one
	// doubtful tells that a file that stays has a name of the layout.
	doubtful bool
	hook     func(op, path string) error
}

// UnsignedError reports that no valid list tells what belongs to an origin, so that nothing of it
// is removed.
type UnsignedError struct {
	Dir string // below layout.TreeDir
	Err error  // why neither copy of the manifest is valid; nil if there is none
}

func (e *UnsignedError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("forgetting %q: it has no manifest that tells what belongs to it", e.Dir)
	}
	return fmt.Sprintf("forgetting %q: nothing validly signed tells what belongs to it: %v", e.Dir,
		e.Err)
}

func (e *UnsignedError) Unwrap() error { return e.Err }

// Class is fault.Untrusted.
func (e *UnsignedError) Class() fault.Class { return fault.Untrusted }

// Hints name the ways out.
func (e *UnsignedError) Hints(drive string) []string {
	unsigned := fmt.Sprintf("if nobody exports it any more: pkgsneak forget %s %s --unsigned removes what has a name of pkgsneak's there", fault.Quote(e.Dir), drive)
	var unknown *manifest.UnknownKeyError
	if errors.As(e.Err, &unknown) {
		return []string{fmt.Sprintf("put the public key into %s/%s/%s, a copy of which has each client that trusts it (pkgsneak trust list), and run this again",
			drive, layout.TreeDir, layout.KeysDir), unsigned}
	}
	return []string{fmt.Sprintf("on the host whose origin it is: pkgsneak export %s writes its manifest again; then run this again", drive), unsigned}
}

// removable is what may be removed: the listed paths below the directories of the layout, and with
// leftovers all that the layout names. On FAT another spelling is the same file.
type removable struct {
	exact, folded map[string]bool
	caseless      bool
	leftovers     bool
	bytes         int64 // of exact
}

func newRemovable(d *drive.Drive) removable {
	return removable{exact: make(map[string]bool), folded: make(map[string]bool),
		caseless: !d.FSType().HasLinks()}
}

func (r *removable) take(files []manifest.File) {
	for _, f := range files {
		if strings.Contains(f.Path, "/") && layout.OfLayout(f.Path) {
			if !r.exact[f.Path] {
				r.bytes += f.Size
			}
			r.exact[f.Path], r.folded[layout.FoldName(f.Path)] = true, true
		}
	}
}

// leave takes out what another signer's list names.
func (r removable) leave(files []manifest.File) {
	for _, f := range files {
		delete(r.exact, f.Path)
		delete(r.folded, layout.FoldName(f.Path))
	}
}

func (r removable) has(name string) bool {
	return r.exact[name] || r.caseless && r.folded[layout.FoldName(name)] || r.leftovers &&
		layout.MadeHere(name)
}

// PlanRemoval finds out what belongs to the origin in a directory of the tree. ring holds all keys
// that anybody may have signed with; whether one is trusted, expired or revoked does not matter.
// The error is a *NoOriginError, an *UnsignedError or *NewerError.
func PlanRemoval(ctx context.Context, d *drive.Drive, dir string,
	ring manifest.Ring) (*Removal, error) {
	if err := layout.CheckOriginName(dir); err != nil {
		return nil, err
	}
	info, err := d.Root().Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.Present(), err == nil && !info.IsDir():
		have, err := d.Origins()
		if err != nil {
			return nil, err
		}
		return nil, &drive.NoOriginError{Name: dir, Have: have}
	case err != nil:
		return nil, d.Classify("opening", dir, err)
	}
	r := &Removal{Dir: dir, d: d, ring: ring, names: newRemovable(d)}
	if err := r.readLists(); err != nil {
		return nil, err
	}
	err = r.look(ctx)
	if err == nil && r.doubtful && r.text == nil {
		return nil, &UnsignedError{Dir: r.Dir}
	}
	slices.SortFunc(r.Files, func(a, b manifest.File) int {
		return strings.Compare(a.Path, b.Path)
	})
	slices.Sort(r.Others)
	return r, err
}

// PlanUnsigned is PlanRemoval, and plans for an origin of which nothing validly signed tells what
// belongs to it, too: what has a name of the layout goes then, whosever it is.
func PlanUnsigned(ctx context.Context, d *drive.Drive, dir string,
	ring manifest.Ring) (*Removal, error) {
	r, err := PlanRemoval(ctx, d, dir, ring)
	var unsigned *UnsignedError
	if !errors.As(err, &unsigned) {
		return r, err
	}
	r = &Removal{Dir: dir, Unsigned: cmp.Or(unsigned.Err, error(unsigned)), d: d, ring: ring,
		names: newRemovable(d)}
	r.takeAll()
	err = r.look(ctx)
	slices.SortFunc(r.Files, func(a, b manifest.File) int {
		return strings.Compare(a.Path, b.Path)
	})
	slices.Sort(r.Others)
	return r, err
}

// takeAll takes whatever has a name of the layout.
func (r *Removal) takeAll() {
	r.copies = []string{layout.NextManifestFile, layout.ManifestFile}
	r.names.leftovers = true
	r.names.exact[layout.PackagesFile],
		r.names.folded[layout.FoldName(layout.PackagesFile)] = true, true
}

// readLists reads both copies of the manifest and takes what they list.
func (r *Removal) readLists() error {
	best, other := r.d.PastCopies(r.Dir, r.ring)
	for _, s := range []drive.ManifestCopy{best, other} {
		if drive.Unanswered(s.State.Err) {
			return s.State.Err
		}
		if err := drive.Newer(r.Dir, s.State); err != nil {
			return err
		}
	}
	if best.Signed == nil {
		return r.nothingSigned(best, other)
	}
	if other.Signed != nil && !r.related(best.Signed.Signer, other.Signed.Signer) &&
		!r.bearsName(best) && r.bearsName(other) {
		best, other = other, best
	}
	r.take(best, other)
	g, err := r.d.FromCopies(r.Dir, best, other)
	var format *layout.FormatError
	var damaged *drive.DamagedError
	switch {
	case errors.As(err, &format):
		return &drive.NewerError{Path: path.Join(r.Dir, best.State.Name), Err: err}
	case errors.As(err, &damaged) && !drive.Unanswered(err), errors.Is(err, fs.ErrNotExist) &&
		r.d.Present():
		return nil // the list tells enough
	case err != nil:
		return err
	}
	r.Name = g.Record.Origin
	return g.Close()
}

// take takes what the valid copy lists, and the other one if it is the same signer's.
func (r *Removal) take(own, other drive.ManifestCopy) {
	r.Signer, r.Serial, r.Signed, r.text = own.Signed.Signer, own.State.Serial,
		own.Signed.SignedAt, own.Text
	r.names.take(own.Signed.Files)
	var unknown *manifest.UnknownKeyError
	switch {
	case other.Signed != nil && r.related(r.Signer, other.Signed.Signer):
		r.names.take(other.Signed.Files)
	case other.Signed != nil:
		r.Beside = other.Signed.Signer
		r.names.leave(other.Signed.Files)
	case errors.As(other.State.Err, &unknown):
		r.Beside = manifest.Fingerprint(unknown.Signer)
	}
	r.names.leftovers = r.Beside == ""
	r.copies = []string{own.State.Name}
	if r.Beside == "" {
		r.copies = []string{other.State.Name, own.State.Name}
	}
}

// bearsName reports whether a valid copy of the manifest is of the origin that the directory is
// named after.
func (r *Removal) bearsName(s drive.ManifestCopy) bool {
	g, err := r.d.FromCopies(r.Dir, s, drive.ManifestCopy{})
	if err != nil {
		return false
	}
	defer g.Close()
	return r.Dir == g.Record.Origin || r.Dir == layout.Qualified(g.Record.Origin, s.Signed.Signer)
}

// nothingSigned is for an origin without a valid list. If there is no file at all, a run that was
// stopped left it, or a first export that wrote nothing: its empty directories and blank files can
// go. A first export that wrote more is the signer's of the note that it began with. The copies of
// the manifest are the last files of an origin that go: without both, files under other names than
// the layout's are somebody else's, and the rest was removed.
func (r *Removal) nothingSigned(best, other drive.ManifestCopy) error {
	files, err := drive.HasFiles(r.d, r.Dir)
	if err != nil {
		return err
	}
	if files && errors.Is(best.State.Err, fs.ErrNotExist) &&
		errors.Is(other.State.Err, fs.ErrNotExist) {
		return nil
	}
	if files && best.Begun() && other.Begun() {
		if r.Signer = drive.OwnerOf(r.d, r.Dir, r.ring); r.Signer != "" {
			r.takeAll()
			return nil
		}
	}
	if files {
		if errors.Is(best.State.Err, fs.ErrNotExist) {
			best.State.Err = nil
		}
		return &UnsignedError{r.Dir, best.State.Err}
	}
	r.takeAll()
	return nil
}

// related reports whether two keys are one signer's: the same, or one that introduced the other.
func (r *Removal) related(a, b manifest.Fingerprint) bool {
	if a == b {
		return true
	}
	for _, pair := range [][2]manifest.Fingerprint{{a, b}, {b, a}} {
		key, ok := r.ring.Find(pair[0])
		by, found := r.ring.Find(pair[1])
		if !ok || !found {
			continue
		}
		if _, ok := key.CertifiedBy(manifest.Ring{by}, by.Created()); ok {
			return true
		}
	}
	return false
}

// look sorts what is in the directory of the origin.
func (r *Removal) look(ctx context.Context) error {
	root, err := r.d.Root().OpenRoot(r.Dir)
	if err != nil {
		return r.d.Classify("opening", r.Dir, err)
	}
	defer root.Close()
	walk := drive.Walk{Drive: r.d.Mounted, Root: root, Status: true, Visit: r.visit,
		Unreadable: func(dir string, err error) error {
			return r.d.PullDamage("reading the directory", dir, err)
		}}
	return walk.Run(ctx)
}

func (r *Removal) visit(f drive.Found) error {
	switch {
	case f.Below && layout.OfLayout(f.Path):
	case f.IsRegular() && r.names.has(f.Path):
		r.Files = append(r.Files, manifest.File{Path: f.Path, Size: f.Size()})
	case f.IsRegular() && slices.Contains(r.copies, f.Path):
	default:
		r.stays(f.Path)
		return fs.SkipDir
	}
	return nil
}

func (r *Removal) stays(file string) {
	r.doubtful = r.doubtful || layout.MadeHere(file) || file == layout.PackagesFile
	if len(r.Others) < drive.MaxUndeclared {
		r.Others = append(r.Others, file)
	}
}

// ErrChanged reports that somebody wrote to an origin after its removal was planned.
var ErrChanged error = fault.New(fault.Failed,
	"it has changed since it was looked at: run this again")

// Run removes what was planned. told is passed each file that is gone, with the bytes that it had;
// it may be nil. The error is durable.ErrLocked if somebody writes to the drive, ErrChanged, or one
// of the drive.
func (r *Removal) Run(ctx context.Context, told func(path string, bytes int64)) error {
	if r.d.ReadOnly() {
		return &drive.ReadOnlyError{Op: "removing from", Path: r.d.Mount(), Err: unix.EROFS}
	}
	s := newSession(r.d, r.Dir, nil)
	s.hook = r.hook
	defer s.release()
	if err := s.takeLock(); err != nil {
		return err
	}
	if best, other := r.d.PastCopies(r.Dir, r.ring); r.text != nil &&
		!bytes.Equal(best.Text, r.text) && !bytes.Equal(other.Text, r.text) {
		return fmt.Errorf("forgetting %q: %w", r.Dir, ErrChanged)
	}
	var err error
	if s.root, err = r.d.Root().OpenRoot(r.Dir); err != nil {
		return r.d.Classify("opening", r.Dir, err)
	}
	if told == nil {
		told = func(string, int64) {}
	}
	m := removing{r: r, s: s, ctx: ctx, told: told}
	return m.run()
}

// removing is a Removal at work.
type removing struct {
	r    *Removal
	s    *session
	ctx  context.Context
	told func(path string, bytes int64)
	dirs listing.Reader
}

func (m *removing) run() error {
	if err := m.walk(nil, "", ".", 0, false); err != nil {
		return err
	}
	if err := m.s.syncfs(); err != nil {
		return err
	}
	if err := m.walk(nil, "", ".", 0, true); err != nil {
		return err
	}
	for _, name := range m.r.copies {
		if err := m.removeCopy(name); err != nil {
			return err
		}
	}
	return m.removeOrigin()
}

// walk goes through a directory, which is name below the level above: first for the files, then for
// the directories that are empty without them. A directory that lost a name is synced.
func (m *removing) walk(above *drive.Level, name, dir string, depth int, empty bool) error {
	if err := context.Cause(m.ctx); err != nil {
		return err
	}
	l, err := m.s.d.Enter(&m.dirs, m.s.root, above, name, dir, false)
	if err != nil {
		return m.s.d.PullDamage("reading the directory", dir, err)
	}
	defer l.Close()
	lost := false
	for _, e := range l.Entries {
		file := path.Join(dir, e.Name())
		gone := false
		switch {
		case e.IsDir() && layout.OfLayout(file) && depth < drive.MaxDepth:
			if err := m.walk(l, e.Name(), file, depth+1, empty); err != nil {
				return err
			}
			if empty {
				gone, err = m.removeDir(l, e.Name(), file)
			}
		case e.IsRegular() && !empty && m.r.names.has(file):
			gone, err = true, m.removeFile(l, e, file)
		}
		if err != nil {
			return err
		}
		lost = lost || gone
		if m.ctx.Err() != nil {
			break // what is gone by now is made durable
		}
	}
	if lost {
		err = m.s.sync("fsync", dir, func() error { return syncOpenDir(l.FD) })
	}
	return errors.Join(err, context.Cause(m.ctx))
}

// syncOpenDir makes the loss of names durable. A file system that cannot sync a directory needs no
// sync.
func syncOpenDir(fd int) error {
	err := listing.Retry(func() error { return unix.Fsync(fd) })
	if err == unix.EINVAL || err == unix.EOPNOTSUPP {
		return nil
	}
	return err
}

func (m *removing) removeFile(l *drive.Level, e *listing.Entry, file string) error {
	if err := e.Lstat(l.FD); err != nil || !e.IsRegular() {
		return m.s.end("looking at", file, err)
	}
	err := m.s.do("unlink", file, func() error {
		return listing.Retry(func() error { return unix.Unlinkat(l.FD, e.Name(), 0) })
	})
	if err == nil {
		m.told(file, e.Size())
	}
	return err
}

func (m *removing) removeDir(l *drive.Level, name, dir string) (gone bool, err error) {
	err = m.s.do("rmdir", dir, func() error {
		return listing.Retry(func() error { return unix.Unlinkat(l.FD, name, unix.AT_REMOVEDIR) })
	})
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, err
}

// removeCopy removes one copy of the manifest, if it is a file, and makes that durable.
func (m *removing) removeCopy(name string) error {
	info, err := m.s.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.s.d.Present():
		return nil
	case err != nil:
		return m.s.end("looking at", name, err)
	case !info.Mode().IsRegular():
		return nil
	}
	if err := m.s.remove("unlink", m.s.root, name); err != nil {
		return err
	}
	return m.s.fsync(".")
}

// removeOrigin removes the origin's directory, unless somebody's files are left in it.
func (m *removing) removeOrigin() error {
	err := m.s.remove("rmdir", m.s.d.Root(), m.r.Dir)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.s.sync("fsync", layout.TreeDir, func() error {
		return syncOpenDir(int(m.s.lock.Fd()))
	})
}
