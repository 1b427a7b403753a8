package binhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/pkgindex"
)

// glance is how long what was seen of Packages is good for files that it listed then.
const glance = 100 * time.Millisecond

// machine serves PKGDIR and DISTDIR of this computer.
type machine struct {
	// configuration
	title           string
	pkgdir, distdir string
	now             func() time.Time
	files           *memory

	mu      sync.Mutex
	seen    stamp     // of Packages as it was looked at
	lastErr error     // of looking
	looked  time.Time // when
	again   time.Time // when it is read once more; zero: not without a reason
	last    *site
	real    string // PKGDIR without links
	index   *index
	trouble string
	shelf   *distShelf
}

// Machine is the source of a computer's own PKGDIR and DISTDIR. Either may be absent, and appear
// later.
func Machine(title, pkgdir, distdir string, now func() time.Time) Source {
	files := newMemory(now)
	return &machine{title: title, pkgdir: pkgdir, distdir: distdir, now: now, files: files, shelf: &distShelf{dir: distdir, now: now, files: files}}
}

func (m *machine) site(fresh bool) *site {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if since := now.Sub(m.looked); m.last != nil && !fresh && since >= 0 && since < glance {
		return m.last
	}
	m.looked = now
	at, err := statStamp(filepath.Join(m.pkgdir, indexName))
	switch {
	case m.last != nil && err == m.lastErr && at == m.seen && !due(m.again, now):
		return m.last
	case errors.Is(err, fs.ErrNotExist):
		m.index, m.trouble, m.again = nil, fmt.Sprintf("%s has no index yet: pkgsneak index", m.pkgdir), time.Time{}
	default:
		m.renew()
		m.again = onceMore(m.seen == at, now)
	}
	m.seen, m.lastErr = at, err
	t := &tree{title: m.title, index: m.index, trouble: m.trouble, distfiles: m.shelf}
	if m.index != nil {
		t.packages = &pkgShelf{real: m.real, index: m.index, files: m.files}
	}
	m.last = &site{title: m.title, trees: []*tree{t}}
	return m.last
}

// renew reads the index. One that cannot be read leaves the one before.
func (m *machine) renew() {
	x, real, err := m.read()
	if err != nil {
		m.trouble = err.Error()
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
	f, err := durable.OpenFile(root, indexName, os.O_RDONLY|unix.O_NONBLOCK, 0) // a link within PKGDIR is followed, as by Portage
	if err != nil {
		return nil, "", fmt.Errorf("reading the index: %w", err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil || !before.Mode().IsRegular() || before.Size() > pkgindex.MaxSize {
		return nil, "", errors.Join(fmt.Errorf("reading the index: %q is no regular file of at most %d bytes", f.Name(), pkgindex.MaxSize), err)
	}
	plain := make([]byte, before.Size())
	if _, err := io.ReadFull(f, plain); err != nil {
		return nil, "", fmt.Errorf("reading the index: %w", err)
	}
	after, err := f.Stat()
	if err != nil || stampOf(after) != stampOf(before) {
		return nil, "", errors.Join(errors.New("reading the index: it changed meanwhile"), err)
	}
	x, err = newIndex(plain, before.ModTime())
	return x, real, err
}

// pkgShelf is what one generation of the index lists of a PKGDIR.
type pkgShelf struct {
	real  string // PKGDIR without links
	index *index
	files *memory
}

func (s *pkgShelf) open(name string) (*file, error) {
	if name == indexName || name == gzipName {
		return s.index.file(name)
	}
	if _, ok := s.index.paths[name]; !ok {
		return nil, errHidden
	}
	return s.files.open(s.real, name)
}

func (s *pkgShelf) list(dir string) ([]item, error) { return listIndex(s.index, dir) }

func (s *pkgShelf) count() (int, int64) { return len(s.index.paths), s.index.bytes }

// distShelf is a DISTDIR.
type distShelf struct {
	// configuration
	dir   string
	now   func() time.Time
	files *memory

	mu    sync.Mutex
	seen  stamp // of the directory as it was listed
	again time.Time
	real  string // the directory without links
	items []item // by name; a list that was handed out does not change
	names map[string]bool
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
	real, err := s.has(name)
	if err != nil {
		return nil, err
	}
	return s.files.open(real, name)
}

// has gives the directory without links if a name in it is one of a distfile. One that is there and
// not known makes it look again.
func (s *distShelf) has(name string) (real string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.scan(false); err != nil || s.names[name] {
		return s.real, err
	}
	if _, err := statStamp(filepath.Join(s.dir, name)); err != nil {
		return "", err
	}
	if err := s.scan(true); err != nil || s.names[name] {
		return s.real, err
	}
	return "", errHidden
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
	found, err := d.Scan(context.Background())
	if err != nil {
		return err
	}
	s.again = onceMore(at == s.seen, s.now())
	s.real, s.seen, s.bytes = real, at, 0
	s.items, s.names = make([]item, 0, len(found.Files)), make(map[string]bool, len(found.Files))
	for _, f := range found.Files {
		s.items = append(s.items, item{Name: f.Name, Size: f.Info.Size(), Modified: f.Info.ModTime()})
		s.names[f.Name] = true
		s.bytes += f.Info.Size()
	}
	return nil
}
