package drivewriter

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
)

// NewFile is a file that shall be put on the drive.
type NewFile struct {
	Kind     payload.Kind
	Path     string // the origin's: below PKGDIR, in DISTDIR, below bin
	Size     int64  // bytes
	Category string // of a package below All, whose path does not tell it; "" if not known
}

// places gives each new file its names on the drive: the first ones that are free, in directories
// that can hold them.
type places struct {
	names    layout.Namespace
	dirs     *directories
	partSize int64 // bytes of a stored file at most

	mu       sync.Mutex // guards reserved, while files are put side by side
	reserved map[payload.Key][]string
}

// reserve gives a file its stored names.
func (p *places) reserve(f NewFile) error {
	key := payload.Key{Kind: f.Kind, Path: f.Path}
	if reason := layout.OriginPathFault(f.Kind, f.Path); reason != "" {
		return &drive.NameError{Path: f.Path, Reason: reason, Err: errors.ErrUnsupported}
	}
	if _, known := p.reserved[key]; known {
		return nil
	}
	stored, err := p.choose(f)
	if err != nil {
		return err
	}
	for _, name := range stored {
		p.dirs.account(name)
		p.names.Take(name)
	}
	p.reserved[key] = stored
	return nil
}

// Bounds of the search for a name.
const (
	maxOverflow = 99
	maxTries    = 10_000
)

// choose finds the first free name of a file, or names of its parts.
func (p *places) choose(f NewFile) ([]string, error) {
	wanted := layout.WantedPath(f.Kind, f.Path)
	own := layout.PathFault(wanted) == "" && !strings.HasSuffix(wanted, layout.RenamedSuffix)
	for overflow := 1; overflow <= maxOverflow; overflow++ {
		for n := range maxTries {
			candidate, also := wanted, []string(nil)
			if n > 0 {
				candidate, also = layout.OtherPath(f.Kind, f.Path, f.Category, n)
			} else if !own {
				continue
			}
			if overflow > 1 {
				candidate = layout.OverflowPath(candidate, overflow)
				for i := range also {
					also[i] = layout.OverflowPath(also[i], overflow)
				}
			}
			stored, where := p.parts(candidate, f.Size)
			if where == layout.Taken || slices.ContainsFunc(also, p.names.Has) {
				continue
			}
			if where == layout.Blocked {
				break
			}
			ok, err := p.canHoldAll(stored)
			if err != nil {
				return nil, err
			}
			if ok {
				return stored, nil
			}
			break // the directory is full
		}
	}
	return nil, &drive.NameError{Path: f.Path, Reason: "no free name was found for it",
		Err: errors.ErrUnsupported}
}

// parts returns the names for a file of that size at a path, if all are free.
func (p *places) parts(stored string, size int64) ([]string, layout.Place) {
	count := int((max(size, 1) + p.partSize - 1) / p.partSize)
	if count == 1 {
		name, where := p.names.Lookup(stored)
		return []string{name}, where
	}
	names := make([]string, count)
	for i := range names {
		name, where := p.names.Lookup(layout.PartPath(stored, i, count))
		if where != layout.Vacant {
			return nil, where
		}
		names[i] = name
	}
	return names, layout.Vacant
}

func (p *places) canHoldAll(stored []string) (bool, error) {
	for i, name := range stored {
		if ok, err := p.dirs.canHold(name, int64(i)+1); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// take hands out the names of a file, once.
func (p *places) take(key payload.Key) (names []string, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	names, known = p.reserved[key]
	delete(p.reserved, key)
	return names, known
}

// makeDirs is step 5: all new directories, grown on vfat, then everything to
// the medium. A directory that is pulled half made is unreadable, so none may
// be half made when payload follows.
func (p *places) makeDirs(ctx context.Context) error {
	need := make(map[string]bool)
	for _, stored := range p.reserved {
		for _, name := range stored {
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				need[dir] = true
			}
		}
	}
	for _, dir := range layout.OriginDirs {
		need[dir] = true
	}
	dirs := make([]string, 0, len(need))
	for dir := range need {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs) // a directory comes before what is in it
	changed := false
	p.dirs.progress(progress.PhasePrepare, "", 0)
	for _, dir := range dirs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		made, err := p.dirs.make(dir)
		if err != nil {
			return err
		}
		changed = changed || made
	}
	if !changed {
		return nil
	}
	return p.dirs.flush()
}
