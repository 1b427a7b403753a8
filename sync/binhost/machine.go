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
	"pkgsneak/sync/pkgindex"
)

// settled is when a file or directory that was found changed is looked at once more: the clocks of file systems tick every few milliseconds (ext4) to two seconds (vfat), and
// what changes twice within a tick looks the same.
const settled = 3 * time.Second

// machine serves PKGDIR and DISTDIR of this computer.
type machine struct {
	// configuration
	title           string
	pkgdir, distdir string
	now             func() time.Time

	mu      sync.Mutex
	seen    stamp     // of Packages as it was read
	again   time.Time // when it is read once more; zero: not without a reason
	index   *index
	trouble string
	shelf   *distShelf
}

// Machine is the source of a computer's own PKGDIR and DISTDIR. Either may be absent, and appear later.
func Machine(title, pkgdir, distdir string, now func() time.Time) Source {
	return &machine{title: title, pkgdir: pkgdir, distdir: distdir, now: now, shelf: &distShelf{dir: distdir, now: now}}
}

func (m *machine) site() *site {
	x, trouble := m.current()
	t := &tree{title: m.title, index: x, trouble: trouble, distfiles: m.shelf}
	if x != nil {
		t.packages = &pkgShelf{dir: m.pkgdir, index: x}
	}
	return &site{title: m.title, trees: []*tree{t}}
}

// current gives the index, read again if the file is another one. An index that cannot be read leaves the one before.
func (m *machine) current() (*index, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fi, err := os.Stat(filepath.Join(m.pkgdir, indexName))
	if err == nil && stampOf(fi) == m.seen && !due(m.again, m.now()) {
		return m.index, m.trouble
	}
	if errors.Is(err, fs.ErrNotExist) {
		m.index, m.seen, m.trouble = nil, stamp{}, fmt.Sprintf("%s has no index yet: pkgsneak index", m.pkgdir)
		return nil, m.trouble
	}
	x, at, err := m.read()
	switch {
	case err != nil:
		m.trouble = err.Error()
	case m.index != nil && m.index.sum == x.sum && m.index.modified.Equal(x.modified):
		m.trouble = ""
	default:
		m.index, m.trouble = x, ""
	}
	if err == nil {
		m.again = onceMore(m.seen == at, m.now())
		m.seen = at
	}
	return m.index, m.trouble
}

// due tells whether it is time to look again.
func due(again, now time.Time) bool { return !again.IsZero() && !now.Before(again) }

// onceMore is when to look again at what was just read, and was the same as before or not.
func onceMore(same bool, now time.Time) time.Time {
	if same {
		return time.Time{}
	}
	return now.Add(settled)
}

// read reads the index. Portage replaces the file as a whole; one that is written in place is read until it holds still.
func (m *machine) read() (*index, stamp, error) {
	root, err := os.OpenRoot(m.pkgdir)
	if err != nil {
		return nil, stamp{}, fmt.Errorf("reading the index: %w", err)
	}
	defer root.Close()
	f, err := root.OpenFile(indexName, os.O_RDONLY|unix.O_NONBLOCK, 0) // a link within PKGDIR is followed, as by Portage
	if err != nil {
		return nil, stamp{}, fmt.Errorf("reading the index: %w", err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil || !before.Mode().IsRegular() || before.Size() > pkgindex.MaxSize {
		return nil, stamp{}, errors.Join(fmt.Errorf("reading the index: %q is no regular file of at most %d bytes", f.Name(), pkgindex.MaxSize), err)
	}
	plain := make([]byte, before.Size())
	if _, err := io.ReadFull(f, plain); err != nil {
		return nil, stamp{}, fmt.Errorf("reading the index: %w", err)
	}
	after, err := f.Stat()
	if err != nil || stampOf(after) != stampOf(before) {
		return nil, stamp{}, errors.Join(errors.New("reading the index: it changed meanwhile"), err)
	}
	x, err := newIndex(plain, before.ModTime())
	return x, stampOf(before), err
}

// pkgShelf is what one generation of the index lists of a PKGDIR.
type pkgShelf struct {
	dir   string
	index *index
}

func (s *pkgShelf) open(name string) (*file, error) {
	if name == indexName || name == gzipName {
		return s.index.file(name)
	}
	if _, ok := s.index.paths[name]; !ok {
		return nil, errHidden
	}
	f, fi, err := openBeneath(s.dir, name)
	if err != nil {
		return nil, err
	}
	return ownFile(f, fi, name), nil
}

func (s *pkgShelf) list(dir string) ([]item, error) { return listIndex(s.index, dir) }

func (s *pkgShelf) count() (int, int64) { return len(s.index.paths), s.index.bytes }

// ownFile is a file of this machine as it is.
func ownFile(f *os.File, fi fs.FileInfo, name string) *file {
	return &file{content: f, close: f.Close, name: name, size: fi.Size(), modified: fi.ModTime(), etag: stampOf(fi).etag()}
}

// distShelf is a DISTDIR.
type distShelf struct {
	// configuration
	dir string
	now func() time.Time

	mu    sync.Mutex
	seen  stamp // of the directory as it was listed
	again time.Time
	items []item // by name
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
	if err := s.has(name); err != nil {
		return nil, err
	}
	f, fi, err := openBeneath(s.dir, name)
	if err != nil {
		return nil, err
	}
	return ownFile(f, fi, name), nil
}

// has tells whether a name is one of a distfile. One that is there and not known makes it look again.
func (s *distShelf) has(name string) error {
	_, names, err := s.scan(false)
	if err != nil || names[name] {
		return err
	}
	if _, err := os.Lstat(filepath.Join(s.dir, name)); err != nil {
		return err
	}
	if _, names, err = s.scan(true); err == nil && !names[name] {
		return errHidden
	}
	return err
}

func (s *distShelf) list(dir string) ([]item, error) {
	if dir != "" {
		return nil, fs.ErrNotExist
	}
	items, _, err := s.scan(false)
	return items, err
}

func (s *distShelf) count() (int, int64) {
	items, _, _ := s.scan(false) // one that cannot be read has nothing to count
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(items), s.bytes
}

// scan lists the directory, again when a name came or went. The results are not to be changed.
func (s *distShelf) scan(anyway bool) ([]item, map[string]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fi, err := os.Stat(s.dir)
	if err != nil {
		return nil, nil, err
	}
	at := stampOf(fi)
	if s.names != nil && at == s.seen && !anyway && !due(s.again, s.now()) {
		return s.items, s.names, nil
	}
	d, err := distdir.Open(s.dir)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	found, err := d.Scan(context.Background())
	if err != nil {
		return nil, nil, err
	}
	s.again = onceMore(at == s.seen, s.now())
	s.items, s.names, s.bytes, s.seen = make([]item, 0, len(found.Files)), make(map[string]bool, len(found.Files)), 0, at
	for _, f := range found.Files {
		s.items = append(s.items, item{Name: f.Name, Size: f.Info.Size(), Modified: f.Info.ModTime()})
		s.names[f.Name] = true
		s.bytes += f.Info.Size()
	}
	return s.items, s.names, nil
}
