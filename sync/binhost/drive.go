package binhost

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/trust"
)

// DriveOptions states whom to believe.
type DriveOptions struct {
	// Trust tells whose signatures count here. It is asked whenever something on the drive is
	// looked at, so that `pkgsneak trust` needs no new start.
	Trust func() (trust.View, error)
	// Untrusted serves a generation whose key is not trusted as well, if it is signed with a key
	// that lies on the drive. The pages show it.
	Untrusted bool
	Now       func() time.Time
	// Judge tells what the packages are for the machine that serves them, in the words of import,
	// doctor and status; nil: nothing.
	Judge *forecast.Judge
}

// refreshEvery is how often a drive is looked at, at most, and a refused origin judged again.
const refreshEvery = time.Second

// mounted serves the origins of a drive.
type mounted struct {
	mount string
	o     DriveOptions

	mu      sync.Mutex
	next    time.Time
	last    *site
	origins map[string]*origin
}

// origin is what was found in one directory of the tree.
type origin struct {
	copies  [2]durable.Stamp
	retry   time.Time
	sum     digest.Blake2b // of the list
	trusted bool
	tree    *tree
	refused *Refused
}

// Drive is the source of the origins on the drive that is or will be mounted at mount.
func Drive(mount string, o DriveOptions) Source {
	return &mounted{mount: mount, o: o, origins: map[string]*origin{}}
}

// CheckDrive looks at a drive as Drive does and reports what would not be served. The error is why
// nothing would.
func CheckDrive(mount string, o DriveOptions) ([]Refused, error) {
	m := &mounted{mount: mount, o: o, origins: map[string]*origin{}}
	s := m.refresh(o.Now())
	switch {
	case s.err != nil:
		return nil, s.err
	case len(s.trees) == 0 && len(s.refused) > 0:
		return s.refused, s.refused[max(0, slices.IndexFunc(s.refused, func(r Refused) bool {
			return !r.Unwanted
		}))].err
	}
	return s.refused, nil
}

func (m *mounted) site(bool) *site {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.o.Now()
	if m.last == nil || !now.Before(m.next) || now.Add(refreshEvery).Before(m.next) {
		m.last = m.refresh(now)
		m.next = now.Add(refreshEvery)
	}
	return m.last
}

// refresh opens the drive, judges what has changed, and closes it again: a server without work
// keeps no drive from being unmounted.
func (m *mounted) refresh(now time.Time) *site {
	s := &site{title: filepath.Base(m.mount)}
	d, err := drive.Open(m.mount)
	if err != nil {
		s.err, s.trouble, s.away = err, fault.Text(err), true
		return s
	}
	defer d.Close()
	dirs, err := d.Origins()
	if err != nil {
		s.err, s.trouble, s.away = err, fault.Text(err), true
		return s
	}
	for name := range m.origins {
		if !slices.Contains(dirs, name) {
			delete(m.origins, name)
		}
	}
	for _, dir := range dirs {
		o := m.origin(d, dir, now)
		if o.tree != nil {
			s.trees = append(s.trees, o.tree)
		} else {
			s.refused = append(s.refused, *o.refused)
		}
	}
	if len(dirs) == 0 {
		s.trouble = "the drive carries no origin yet: pkgsneak export"
		s.err = fmt.Errorf("serving %q: %w", m.mount, drive.ErrNoTree)
	}
	return s
}

// origin judges one origin, or finds that nothing has changed.
func (m *mounted) origin(d *drive.Drive, dir string, now time.Time) *origin {
	old := m.origins[dir]
	slots := m.copies(dir)
	if old != nil && old.copies == slots && old.tree != nil && !due(old.retry, now) {
		return old
	}
	o := &origin{copies: slots, retry: onceMore(old != nil && old.copies == slots, now)}
	m.origins[dir] = o
	seen, err := m.load(d, dir)
	if err != nil {
		o.refused = m.refuse(dir, err)
		return o
	}
	g, trusted := seen.Gen, seen.Err == nil || trust.IsFormer(seen.Err)
	defer g.Close()
	o.sum, o.trusted = g.Sum, trusted
	if old != nil && old.tree != nil && old.sum == o.sum && old.trusted == trusted &&
		old.copies[0].Device == slots[0].Device {
		o.tree = old.tree
		return o
	}
	if o.tree, err = m.tree(g, dir, trusted, seen.Key.UserID()); err != nil {
		o.refused = m.refuse(dir, err)
		return o
	}
	if seen.Signer.State != trust.Mine && seen.Signer.State != trust.Former {
		o.tree.signed.Here = m.here(g)
	}
	return o
}

// here tells what an origin's packages are for this machine. One whose packages cannot be judged is
// served all the same.
func (m *mounted) here(g *drive.Generation) []string {
	if m.o.Judge == nil {
		return nil
	}
	offer, err := forecast.OfferOf(g)
	if err != nil {
		return nil
	}
	fit := m.o.Judge.Fit(offer)
	return fit.Lines()
}

func (m *mounted) copies(dir string) (slots [2]durable.Stamp) {
	for i, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
		if fi, err := os.Lstat(filepath.Join(m.mount, layout.TreeDir, dir, name)); err == nil {
			slots[i] = stampOf(fi)
		}
	}
	return slots
}

// load verifies a generation, and judges who signed it. One that is not to be believed is an error,
// unless it is served as such.
func (m *mounted) load(d *drive.Drive, dir string) (trust.Loaded, error) {
	view, err := m.o.Trust()
	if err != nil {
		return trust.Loaded{}, err
	}
	offered, err := trust.Offers(d)
	if err != nil {
		return trust.Loaded{}, err
	}
	if _, err := view.ApplyRevocations(d); err != nil {
		return trust.Loaded{}, err
	}
	seen, err := view.Load(d, dir, offered)
	if err == nil && seen.Err != nil && !trust.IsFormer(seen.Err) &&
		(!m.o.Untrusted || trust.Unwanted(seen.Err)) {
		seen.Gen.Close()
		err = seen.Err
	}
	return seen, err
}

func (m *mounted) refuse(dir string, err error) *Refused {
	r := &Refused{Origin: dir, Reason: trust.Reason(err), Unwanted: trust.Unwanted(err), err: err}
	if hints := fault.Hints(err, fault.Quote(m.mount)); len(hints) > 0 {
		r.Help = hints[0]
	}
	return r
}

// tree makes what is served out of a verified generation.
func (m *mounted) tree(g *drive.Generation, dir string, trusted bool, user string) (*tree, error) {
	x, err := carriedIndex(g)
	if err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(m.mount)
	if err != nil {
		return nil, err
	}
	at := driveShelf{real: real, dir: dir, generation: g,
		compared: &comparedFiles{seen: map[manifest.Digest][]durable.Stamp{}}}
	t := &tree{name: dir, title: g.Record.Origin, index: x, packages: &drivePackages{at, x},
		signed: &signature{Signer: g.Signed.Signer, User: user, At: g.Signed.SignedAt,
			Serial: g.Serial(), Trusted: trusted,
			CHOST: g.Record.CHOST, Profile: g.Record.Profile, Whole: g.Record.Counts.Catalogue,
			Trees: g.Record.Carried()}}
	distfiles := &driveDistfiles{driveShelf: at}
	for _, it := range g.Distfiles() {
		if plain(it.Path) && !strings.Contains(it.Path, "/") {
			distfiles.items = append(distfiles.items, item{Name: it.Path, Size: it.Size})
			distfiles.bytes += it.Size
		}
	}
	t.distfiles = distfiles
	return t, nil
}

// carriedIndex is the index of the packages that a generation has on the drive. As on the drive it
// neither sends Portage elsewhere (URI) nor keeps it from looking (TTL).
func carriedIndex(g *drive.Generation) (*index, error) {
	whole, err := g.Catalogue()
	if err != nil {
		return nil, err
	}
	part := &pkgindex.Index{Header: whole.Header.Clone()}
	part.Header.Delete("URI")
	part.Header.Delete("TTL")
	part.SetTimestamp(g.Serial())
	for _, e := range whole.Entries {
		it, ok := g.Find(payload.Package, e.Path())
		if size, has := e.Size(); ok && has && size == it.Size {
			part.Entries = append(part.Entries, e)
		}
	}
	plain, err := part.MarshalText()
	if err != nil {
		return nil, err
	}
	return newIndex(plain, g.Signed.Timestamp)
}

// driveShelf opens the files of a generation.
type driveShelf struct {
	real, dir  string            // the mount point without links, and the origin's directory
	generation *drive.Generation // closed: it is the list alone
	compared   *comparedFiles
}

// drivePackages are the packages of a generation, under the origin's paths.
type drivePackages struct {
	driveShelf
	index *index
}

func (s *drivePackages) open(name string) (*file, error) {
	if name == indexName || name == gzipName {
		return s.index.file(name)
	}
	i, ok := s.index.paths[name]
	if !ok {
		return nil, errHidden
	}
	modified, _ := s.index.rows[i].entry.MTime()
	return s.item(payload.Package, name, unixTime(modified))
}

func (s *drivePackages) list(dir string) ([]item, error) { return listIndex(s.index, dir) }

func (s *drivePackages) count() (int, int64) { return len(s.index.paths), s.index.bytes }

// driveDistfiles are the distfiles of a generation.
type driveDistfiles struct {
	driveShelf
	items []item
	bytes int64
}

func (s *driveDistfiles) open(p string) (*file, error) {
	if p == layoutName {
		return layoutFile(), nil
	}
	name, err := distfileName(p)
	if err != nil {
		return nil, err
	}
	return s.item(payload.Distfile, name, s.generation.Signed.Timestamp)
}

func (s *driveDistfiles) list(dir string) ([]item, error) {
	if dir != "" {
		return nil, fs.ErrNotExist
	}
	return s.items, nil
}

func (s *driveDistfiles) count() (int, int64) { return len(s.items), s.bytes }

// item opens a file of the list. Its bytes are those that were signed, or the reader gets an error.
func (s *driveShelf) item(kind payload.Kind, name string, modified time.Time) (*file, error) {
	it, ok := s.generation.Find(kind, name)
	if !ok {
		return nil, errHidden
	}
	parts, err := s.parts(it)
	if err != nil {
		return nil, err
	}
	f := &file{close: parts.close, name: name, size: it.Size, modified: modified,
		etag: `"` + it.Sum.String()[:40] + `"`}
	stamps := parts.stamps()
	if s.compared.has(it.Sum, stamps) {
		f.content = parts.content()
		return f, nil
	}
	c := &compared{src: parts.content(), name: name, size: it.Size, want: it.Sum,
		hash: digest.New(digest.BLAKE2B),
		good: func() { s.compared.add(it.Sum, stamps) }}
	f.content, f.failed = c, func() error { return c.err }
	f.check = c.whole
	if it.Size <= SmallFile {
		if err := c.whole(); err != nil {
			parts.close()
			return nil, err
		}
		f.check = nil
		if f.content = parts.content(); len(parts) == 1 {
			_, err = f.content.Seek(0, io.SeekStart)
		}
	}
	return f, err
}

// SmallFile is the size in bytes up to which a file of a drive is compared before the first byte of
// it is sent.
const SmallFile = 8 << 20

// parts opens the stored files of an item.
func (s *driveShelf) parts(it layout.Item) (parts, error) {
	var ps parts
	for _, stored := range it.Stored {
		fd, at, err := openBeneath(s.real, path.Join(layout.TreeDir, s.dir, stored.Path))
		if err != nil {
			ps.close()
			if _, statErr := os.Lstat(filepath.Join(s.real, layout.TreeDir,
				s.dir)); statErr != nil {
				return nil, &awayError{err}
			}
			return nil, &damagedError{it.Path, fault.Text(err)}
		}
		ps = append(ps, part{os.NewFile(uintptr(fd), stored.Path), at})
		if at.Size != stored.Size {
			ps.close()
			return nil, &damagedError{it.Path, fmt.Sprintf("%q has %d bytes, %d were signed",
				stored.Path, at.Size, stored.Size)}
		}
	}
	return ps, nil
}

// comparedFiles remembers which files were compared, as they were then.
type comparedFiles struct {
	mu   sync.Mutex
	seen map[manifest.Digest][]durable.Stamp // at most one for each file of the generation
}

func (p *comparedFiles) has(sum manifest.Digest, at []durable.Stamp) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, ok := p.seen[sum]
	return ok && slices.Equal(seen, at)
}

func (p *comparedFiles) add(sum manifest.Digest, at []durable.Stamp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[sum] = at
}
