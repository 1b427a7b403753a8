package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"pkgsneak/sync/fault"
)

// maxDepth is how many directories deep a tree is watched, as deep as a PKGDIR is walked.
const maxDepth = 16

// Tree is a directory to be watched.
type Tree struct {
	Path string
	Flat bool // only the directory itself, not what is below
	// Counts reports whether a change of a file with this base name is one. nil: all are.
	// Directories that come and go always are.
	Counts func(base string) bool
}

// LimitError reports that the kernel does not allow enough watches.
type LimitError struct {
	Sysctl string // the setting that is too low
	Have   int    // watches that were possible
	Path   string // the directory that could not be watched
	Err    error
}

func (e *LimitError) Error() string {
	if e.Have == 0 {
		return fmt.Sprintf("watch directories: the limit of %s is reached: %v", e.Sysctl, e.Err)
	}
	return fmt.Sprintf("watch directory %q: the limit of %s is reached after %d directories: %v",
		e.Path, e.Sysctl, e.Have, e.Err)
}

// Unwrap gives the kernel's error.
func (e *LimitError) Unwrap() error { return e.Err }

// Class is that of no particular error: the ENOSPC inside speaks of watches, not of a disk.
func (e *LimitError) Class() fault.Class { return fault.Failed }

// Hints name the command that raises the limit until the next boot.
func (e *LimitError) Hints(string) []string {
	if e.Sysctl == maxInstances {
		return []string{"sysctl -w " + maxInstances + "=1024    (and into /etc/sysctl.d/ for good)"}
	}
	return []string{"sysctl -w " + maxWatches + "=524288    (and into /etc/sysctl.d/ for good)"}
}

const (
	maxWatches   = "fs.inotify.max_user_watches"
	maxInstances = "fs.inotify.max_user_instances"
)

// Dirs watches trees. Changed and Failed are its outputs. A change is told when the watches that it
// asks for are in place.
type Dirs struct {
	trees   []Tree // with links resolved
	changed chan struct{}
	failed  chan error
	check   chan struct{}
	lost    chan struct{}
	quit    chan struct{}
	closing sync.Once
	ended   chan struct{}
	count   atomic.Int64 // len(dirs)

	// state of the goroutine that watches
	watcher *fsnotify.Watcher
	dirs    map[string]bool // directories with a watch
	roots   []fs.FileInfo   // of trees; nil: not there
}

// NewDirs begins to watch. Changed has a token from the beginning, because nothing tells what
// happened before.
func NewDirs(trees ...Tree) (*Dirs, error) {
	d := &Dirs{changed: make(chan struct{}, 1), failed: make(chan error, 1),
		check: make(chan struct{}, 1),
		lost:  make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	for _, t := range trees {
		t.Path = resolved(t.Path)
		d.trees = append(d.trees, t)
	}
	if err := d.renew(); err != nil {
		return nil, err
	}
	go d.run()
	return d, nil
}

// resolved is the path that events will bear: links resolved as far as the path exists.
func resolved(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	rest := ""
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// Changed gives a token after changes; many changes may be one token.
func (d *Dirs) Changed() <-chan struct{} { return d.changed }

// Failed gives the error that ended the watching: a *LimitError when directories came that the
// kernel does not allow to watch.
func (d *Dirs) Failed() <-chan error { return d.failed }

// Touch is a change from outside.
func (d *Dirs) Touch() { touch(d.changed) }

// Check looks whether the roots are still the directories that are watched: something may have been
// mounted over one.
func (d *Dirs) Check() { touch(d.check) }

// Close ends the watching.
func (d *Dirs) Close() {
	d.closing.Do(func() { close(d.quit) })
	<-d.ended
}

func (d *Dirs) run() {
	defer close(d.ended)
	defer func() { d.watcher.Close() }()
	for {
		var err error
		select {
		case <-d.quit:
			return
		case e, ok := <-d.watcher.Events:
			if ok {
				err = d.event(e)
			}
		case <-d.lost:
			err = d.renew()
		case <-d.check:
			if d.moved() {
				err = d.renew()
			}
		}
		if err != nil {
			d.failed <- err
			return
		}
	}
}

// renew begins from nothing: after an overflow it is not known what the watches that are there
// belong to.
func (d *Dirs) renew() error {
	watcher, err := fsnotify.NewWatcher()
	if errors.Is(err, unix.EMFILE) {
		return &LimitError{Sysctl: maxInstances, Err: err}
	}
	if err != nil {
		return fmt.Errorf("watch directories: %w", err)
	}
	if d.watcher != nil {
		d.watcher.Close()
	}
	d.watcher, d.dirs = watcher, map[string]bool{}
	d.count.Store(0)
	// The errors of fsnotify are taken apart from its events, because it can hold its lock while it
	// waits for somebody to take one. An overflow and an error of reading mean the same: events
	// were lost.
	go func() {
		for range watcher.Errors {
			touch(d.lost)
		}
	}()
	if err := d.rescan(); err != nil {
		watcher.Close()
		return err
	}
	touch(d.changed)
	return nil
}

// rescan watches everything that has no watch yet.
func (d *Dirs) rescan() error {
	d.roots = make([]fs.FileInfo, len(d.trees))
	for i, t := range d.trees {
		if err := d.root(t); err != nil {
			return err
		}
		d.roots[i] = directory(t.Path)
	}
	return nil
}

// moved reports whether a root is another directory than before.
func (d *Dirs) moved() bool {
	for i, t := range d.trees {
		now, before := directory(t.Path), d.roots[i]
		if (now == nil) != (before == nil) || now != nil && !os.SameFile(now, before) {
			return true
		}
	}
	return false
}

// directory is the status of a directory, nil if it is none.
func directory(path string) fs.FileInfo {
	fi, err := os.Stat(path)
	if err != nil || !fi.IsDir() {
		return nil
	}
	return fi
}

// event takes the kernel's report of one name.
func (d *Dirs) event(e fsnotify.Event) error {
	if d.dirs[e.Name] && e.Has(fsnotify.Remove|fsnotify.Rename) {
		return d.left(e)
	}
	for i, t := range d.trees {
		rel, err := filepath.Rel(t.Path, e.Name)
		switch {
		case err != nil:
		case e.Has(fsnotify.Create) && (rel == "." || strings.HasPrefix(t.Path, withSlash(e.Name))):
			// The root has come, or a directory above it.
			if err := d.root(t); err != nil {
				return err
			}
			d.roots[i] = directory(t.Path)
		case rel != "." && filepath.IsLocal(rel):
			if err := d.inside(t, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func withSlash(dir string) string { return strings.TrimSuffix(dir, "/") + "/" }

// left takes a watched directory that was removed or renamed.
func (d *Dirs) left(e fsnotify.Event) error {
	defer touch(d.changed)
	if e.Has(fsnotify.Rename) {
		return d.renamed(e.Name)
	}
	delete(d.dirs, e.Name) // what was below was removed before, name by name
	d.count.Store(int64(len(d.dirs)))
	for i, t := range d.trees {
		if t.Path == e.Name || strings.HasPrefix(t.Path, withSlash(e.Name)) {
			if err := d.root(t); err != nil {
				return err
			}
			d.roots[i] = directory(t.Path)
		}
	}
	return nil
}

// renamed takes a directory that may lie elsewhere in a tree now: its watches, which bear the old
// name, go, and everything is looked through.
func (d *Dirs) renamed(dir string) error {
	for name := range d.dirs {
		if name == dir || strings.HasPrefix(name, withSlash(dir)) {
			delete(d.dirs, name)
			_ = d.watcher.Remove(name) // it may be gone by itself
		}
	}
	d.count.Store(int64(len(d.dirs)))
	return d.rescan()
}

// inside takes a change below the root of a tree.
func (d *Dirs) inside(t Tree, e fsnotify.Event) error {
	if fi, err := os.Lstat(e.Name); err == nil && fi.IsDir() {
		if t.Flat || !e.Has(fsnotify.Create) || hidden(e.Name) {
			return nil
		}
		err := d.add(t, e.Name)
		touch(d.changed)
		return err
	}
	if t.Counts == nil || t.Counts(filepath.Base(e.Name)) {
		touch(d.changed)
	}
	return nil
}

// hidden directories are not looked into: what a program keeps for itself.
func hidden(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }

// root watches a tree from its root on; while that is not there, the nearest directory above it.
func (d *Dirs) root(t Tree) error {
	for {
		dir := nearest(t.Path)
		if dir == t.Path {
			err := d.add(t, dir)
			touch(d.changed)
			return err
		}
		if err := d.watch(dir); err != nil {
			return err
		}
		if nearest(t.Path) == dir { // else it came before the watch was there to tell
			return nil
		}
	}
}

// nearest is the directory itself, or the first one above it that is there.
func nearest(dir string) string {
	for directory(dir) == nil && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}

// add watches a directory of a tree, and what is below it. The watch comes before the look inside,
// so that nothing can slip in between.
func (d *Dirs) add(t Tree, dir string) error {
	if err := d.watch(dir); err != nil {
		return err
	}
	if t.Flat || strings.Count(strings.TrimPrefix(dir, t.Path), "/") >= maxDepth {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !passing(err) {
		return fmt.Errorf("watch directory %q: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() && !hidden(e.Name()) {
			if err := d.add(t, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// watch watches one directory.
func (d *Dirs) watch(dir string) error {
	if d.dirs[dir] {
		return nil
	}
	err := d.watcher.Add(dir)
	switch {
	case err == nil:
		d.dirs[dir] = true
		d.count.Store(int64(len(d.dirs)))
	case errors.Is(err, unix.ENOSPC):
		return &LimitError{Sysctl: maxWatches, Have: len(d.dirs), Path: dir, Err: err}
	case !passing(err):
		return fmt.Errorf("watch directory %q: %w", dir, err)
	}
	return nil
}

// passing is an error of a directory that is gone by now or closed to us: its parent tells when
// that changes, or the reader of the tree will stumble over it.
func passing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, unix.ENOTDIR)
}
