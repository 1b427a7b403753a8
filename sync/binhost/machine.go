package binhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	computer "pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
)

// patience is how long an index that lists what is not there is good: a file system may be mounted.
const patience = 10 * time.Second

// glance is how long what was seen of Packages is good for files that it listed then.
const glance = 100 * time.Millisecond

// machine serves PKGDIR and DISTDIR of this computer.
type machine struct {
	// configuration
	title           string
	pkgdir, distdir string
	now             func() time.Time
	files           *memory

	lost atomic.Bool // a file that the index lists was not there: it is read once more

	mu      sync.Mutex
	seen    durable.Stamp // of Packages as it was looked at
	lastErr error         // of looking
	looked  time.Time     // when
	again   time.Time     // when it is read once more; zero: not without a reason
	last    *site
	real    string // PKGDIR without links
	index   *index
	trouble string
	shelf   *distShelf
}

// Machine is the source of a computer's own PKGDIR and DISTDIR. Either may be absent, and appear
// later. readOnly are the directories of PORTAGE_RO_DISTDIRS: links of DISTDIR into them are
// served.
func Machine(title, pkgdir, distdir string, now func() time.Time, readOnly ...string) Source {
	files := newMemory(now)
	return &machine{title: title, pkgdir: pkgdir, distdir: distdir, now: now, files: files,
		shelf: &distShelf{dir: distdir, readOnly: readOnly, now: now, files: files}}
}

func (m *machine) site(fresh bool) *site {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	fresh = m.lost.Swap(false) || fresh
	if since := now.Sub(m.looked); m.last != nil && !fresh && since >= 0 && since < glance {
		return m.last
	}
	m.looked = now
	at, err := statStamp(filepath.Join(m.pkgdir, indexName))
	switch {
	case m.last != nil && err == m.lastErr && at == m.seen && !due(m.again, now):
		return m.last
	case errors.Is(err, fs.ErrNotExist):
		m.index, m.trouble, m.again = nil, fmt.Sprintf("%s has no index yet: pkgsneak index",
			m.pkgdir), time.Time{}
	default:
		m.renew()
		m.again = onceMore(m.seen == at, now)
		if m.index != nil && m.index.withoutFile > 0 {
			m.again = now.Add(patience)
		}
	}
	m.seen, m.lastErr = at, err
	t := &tree{title: m.title, index: m.index, trouble: m.trouble, distfiles: m.shelf}
	if m.index != nil {
		t.packages = &pkgShelf{real: m.real, index: m.index, files: m.files, lost: m.missed}
	}
	m.last = &site{title: m.title, trees: []*tree{t}}
	return m.last
}

// missed makes the index be read once more.
func (m *machine) missed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again = m.now()
	m.lost.Store(true)
}

// renew reads the index. One that cannot be read leaves the one before.
func (m *machine) renew() {
	x, real, err := m.read()
	if err != nil {
		m.trouble = fault.Text(err)
		return
	}
	m.trouble, m.real = "", real
	if m.index == nil || m.index.sum != x.sum || !m.index.modified.Equal(x.modified) {
		m.index = x
	}
}

// read reads the index. Portage replaces the file as a whole; one that is being written in place is
// read again when it has changed.
func (m *machine) read() (x *index, real string, err error) {
	if real, err = filepath.EvalSymlinks(m.pkgdir); err != nil {
		return nil, "", fmt.Errorf("reading the index: %w", err)
	}
	root, err := os.OpenRoot(real)
	if err != nil {
		return nil, "", fmt.Errorf("reading the index: %w", err)
	}
	defer root.Close()
	// a link within PKGDIR is followed, as by Portage
	f, err := durable.OpenFile(root, indexName, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", fmt.Errorf("reading the index: %w", err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil || !before.Mode().IsRegular() || before.Size() > pkgindex.MaxSize {
		return nil, "",
			errors.Join(fmt.Errorf("reading the index: %q is no regular file of at most %d bytes",
				f.Name(), pkgindex.MaxSize), err)
	}
	plain := make([]byte, before.Size())
	if _, err := io.ReadFull(f, plain); err != nil {
		return nil, "", fmt.Errorf("reading the index: %w", err)
	}
	after, err := f.Stat()
	if err != nil || stampOf(after) != stampOf(before) {
		return nil, "", errors.Join(errors.New("reading the index: it changed meanwhile"), err)
	}
	if x, err = newIndex(plain, before.ModTime()); err == nil {
		x, err = onlyFiles(real, x)
	}
	return x, real, err
}

// onlyFiles takes out of an index what PKGDIR has no file for: what is listed can be fetched.
func onlyFiles(dir string, x *index) (*index, error) {
	d, err := pkgdir.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	scan, err := d.Scan(context.Background())
	if err != nil {
		return nil, err
	}
	have := make(map[string]bool, len(scan.Files)+len(scan.Misplaced))
	for _, f := range scan.Files {
		have[f.Path] = true
	}
	for _, p := range scan.Misplaced {
		have[p.Path] = true
	}
	gone := func(e pkgindex.Entry) bool { return !have[e.Path()] }
	if !slices.ContainsFunc(x.rows, func(r row) bool { return gone(r.entry) }) {
		return x, nil
	}
	read, err := pkgindex.Read(bytes.NewReader(x.plain))
	if err != nil {
		return nil, err
	}
	whole := len(read.Entries)
	read.Entries = slices.DeleteFunc(read.Entries, gone)
	text, err := read.MarshalText()
	if err != nil {
		return nil, err
	}
	less, err := newIndex(text, x.modified)
	if err != nil {
		return nil, err
	}
	less.withoutFile = whole - len(read.Entries)
	return less, nil
}

// LeftOut lists what a person could expect of a computer's PKGDIR and DISTDIR and Machine does not
// serve, in the words of an export. A directory that cannot be read has nothing.
func LeftOut(ctx context.Context, pkgs, dists string, readOnly ...string) []payload.Item {
	var items []payload.Item
	if d, err := pkgdir.Open(pkgs); err == nil {
		defer d.Close()
		d.Distdir, _ = computer.DistdirIn(pkgs, dists)
		var listed iter.Seq[string] = func(func(string) bool) {}
		if x, err := d.Index(); err == nil && x.Header.Supported() {
			listed = func(yield func(string) bool) {
				for i := 0; i < len(x.Entries) && yield(x.Entries[i].Path()); i++ {
				}
			}
		}
		if scan, err := d.Scan(ctx); err == nil {
			for _, m := range d.Missed(scan, listed) {
				items = append(items, payload.Item{Kind: payload.Package, Path: m.Path,
					Size: m.Size, Reason: m.Reason, Hint: m.Hint})
			}
		}
	}
	if d, err := distdir.Open(dists); err == nil {
		defer d.Close()
		if scan, err := d.ScanLinked(ctx, readOnly); err == nil {
			for _, m := range scan.Missed(dists) {
				items = append(items, payload.Item{Kind: payload.Distfile, Path: m.Name,
					Size: m.Size, Reason: m.Reason, Hint: m.Hint})
			}
		}
	}
	return items
}

// pkgShelf is what one generation of the index lists of a PKGDIR.
type pkgShelf struct {
	real  string // PKGDIR without links
	index *index
	files *memory
	lost  func() // is told of a listed file that is not there
}

func (s *pkgShelf) open(name string) (*file, error) {
	if name == indexName || name == gzipName {
		return s.index.file(name)
	}
	if _, ok := s.index.paths[name]; !ok {
		return nil, errHidden
	}
	f, err := s.files.open(s.real, name)
	if errors.Is(err, fs.ErrNotExist) {
		s.lost()
	}
	return f, err
}

func (s *pkgShelf) list(dir string) ([]item, error) { return listIndex(s.index, dir) }

func (s *pkgShelf) count() (int, int64) { return len(s.index.paths), s.index.bytes }

// distShelf is a DISTDIR.
type distShelf struct {
	// configuration
	dir      string
	readOnly []string // directories into which links are followed
	now      func() time.Time
	files    *memory

	mu    sync.Mutex
	seen  durable.Stamp // of the directory as it was listed
	again time.Time
	items []item // by name; a list that was handed out does not change
	names map[string]linked
	bytes int64
}

func (s *distShelf) open(p string) (*file, error) {
	if p == layoutName {
		return layoutFile(), nil
	}
	name, err := distfileName(p)
	if err != nil {
		return nil, err
	}
	at, err := s.has(name)
	if err != nil {
		return nil, err
	}
	f, err := s.files.open(at.dir, at.path)
	if f != nil {
		f.name = name
	}
	return f, err
}

// linked is where a distfile lies: in DISTDIR, or where its link leads.
type linked struct{ dir, path string }

// has reports where a distfile lies, in a directory without links. A name that is there and not
// known makes it look again.
func (s *distShelf) has(name string) (at linked, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.scan(false); err != nil || s.names[name] != at {
		return s.names[name], err
	}
	if _, err := statStamp(filepath.Join(s.dir, name)); err != nil {
		return at, err
	}
	if err := s.scan(true); err != nil || s.names[name] != at {
		return s.names[name], err
	}
	return at, errHidden
}

func (s *distShelf) list(dir string) ([]item, error) {
	if dir != "" {
		return nil, fs.ErrNotExist
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.scan(false)
	return s.items, err
}

func (s *distShelf) count() (int, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scan(false) != nil {
		return 0, 0 // one that cannot be read has nothing to count
	}
	return len(s.items), s.bytes
}

// scan lists the directory, again when a name came or went. The caller holds the lock.
func (s *distShelf) scan(anyway bool) error {
	at, err := statStamp(s.dir)
	if err != nil {
		return err
	}
	if s.names != nil && at == s.seen && !anyway && !due(s.again, s.now()) {
		return nil
	}
	real, err := filepath.EvalSymlinks(s.dir)
	if err != nil {
		return err
	}
	d, err := distdir.Open(real)
	if err != nil {
		return err
	}
	defer d.Close()
	found, err := d.ScanLinked(context.Background(), s.readOnly)
	if err != nil {
		return err
	}
	s.again = onceMore(at == s.seen, s.now())
	s.seen, s.bytes = at, 0
	s.items, s.names = make([]item, 0, len(found.Files)), make(map[string]linked, len(found.Files))
	for _, f := range found.Files {
		at := linked{real, f.Name}
		if f.Dir != "" {
			if at.dir, err = filepath.EvalSymlinks(f.Dir); err != nil {
				continue // gone since
			}
			at.path = f.Path
		}
		s.items = append(s.items, item{Name: f.Name, Size: f.Info.Size(),
			Modified: f.Info.ModTime()})
		s.names[f.Name] = at
		s.bytes += f.Info.Size()
	}
	return nil
}
