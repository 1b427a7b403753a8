package importer

import (
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
	"pkgsneak/sync/volume"
)

const (
	// An import leaves so much of a disk free, the smaller of the two: a full one hurts other
	// programs, and the state has to be written when everything is there.
	marginPart  = 100 // of the whole: one hundredth
	marginBytes = 64 << 20
	// entrySize is what an index entry takes at most as a rule, in bytes.
	entrySize = 4 << 10
)

// spaceCheck compares what an import needs with the free space. A file that an interrupted run has
// staged counts as there; one that it has staged and nobody wants any more is removed first. If the
// space does not suffice, nothing stays staged: it could not be seen, and would keep the disk full.
type spaceCheck struct {
	pretend bool // nothing is removed
	stores  []spaceStore
	files   []spaceFile
	kept    map[payload.Kind]int64 // bytes that are kept for an undo and can be given up
	trees   []ebuilds.KeptTree     // the same
}

// fitsWithout reports whether there is too little only because of what is kept for an undo.
func (c *spaceCheck) fitsWithout(m machine.Machine, u *state.Undo,
	trees []ebuilds.KeptTree) (bool, error) {
	kept := map[payload.Kind]int64{}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if bytes := keptHere(m, u, kind); bytes > 0 {
			kept[kind] = bytes
		}
	}
	if len(kept)+len(trees) == 0 {
		return false, nil
	}
	if short, err := c.compare(); err != nil || short == nil {
		return false, err
	}
	c.kept, c.trees = kept, trees
	defer func() { c.kept, c.trees = nil, nil }()
	short, err := c.compare()
	return short == nil && err == nil, err
}

// spaceStore is where files of a kind are staged; the Store is nil before the directory is made.
type spaceStore struct {
	kind payload.Kind
	dir  string
	*durable.Store
}

// spaceFile is one that will be staged and then lie at local.
type spaceFile struct {
	kind  payload.Kind
	local string
	size  int64
	sum   manifest.Digest
}

// shortage names where there is too little, in bytes.
type shortage struct {
	where      string
	need, free int64
}

// demand is what is needed of one file system.
type demand struct {
	where string
	need  int64 // bytes, in whole blocks
	stale int64 // bytes that staged files hold which nobody wants
	space volume.Space
}

func (d *demand) wanted() int64 {
	return payload.Plus(d.need, min(d.space.Total/marginPart, marginBytes))
}

func (d *demand) free() int64 { return d.space.Free + d.stale }

func (d *demand) fits() bool { return d.need == 0 || d.wanted() <= d.free() }

// add counts a file in whole blocks.
func (d *demand) add(size int64) { d.need = payload.Plus(d.need, blocks(size, d.space.Cluster)) }

func blocks(size, block int64) int64 {
	if block <= 0 {
		return size
	}
	return payload.Plus(size, (block-size%block)%block)
}

// run returns nil where there is enough.
func (c *spaceCheck) run() (*shortage, error) {
	short, err := c.compare()
	if err != nil || short == nil || c.pretend {
		return short, err
	}
	for _, s := range c.stores {
		if s.Store == nil {
			continue
		}
		if err := s.Staging().Clear(); err != nil {
			return nil, err
		}
	}
	again, err := c.compare()
	if again == nil {
		return short, err
	}
	return again, err
}

func (c *spaceCheck) compare() (*shortage, error) {
	m := measured{}
	for _, s := range c.stores {
		if err := c.demandOf(s, m); err != nil {
			return nil, err
		}
	}
	for _, t := range c.trees {
		d, err := m.at(t.Dir)
		if err != nil {
			return nil, err
		}
		d.stale = payload.Plus(d.stale, t.Bytes)
	}
	for _, s := range c.stores { // in a fixed order
		if d, err := m.at(s.dir); err != nil || !d.fits() {
			return &shortage{d.where, d.wanted(), d.free()}, err
		}
	}
	for _, d := range m {
		if !d.fits() {
			return &shortage{d.where, d.wanted(), d.free()}, nil
		}
	}
	return nil, nil
}

// measured are the demands by device.
type measured map[uint64]*demand

// at returns the demand of the file system that a directory lies on, or will lie on.
func (m measured) at(dir string) (*demand, error) {
	there := volume.Existing(dir)
	var st unix.Stat_t
	if err := unix.Stat(there, &st); err != nil {
		return &demand{where: dir}, err
	}
	if d := m[uint64(st.Dev)]; d != nil {
		return d, nil
	}
	d := &demand{where: dir}
	var err error
	if d.space, err = volume.SpaceAt(there); err == nil {
		m[uint64(st.Dev)] = d
	}
	return d, err
}

// sameDevice reports whether two directories lie, or will lie, on one file system.
func sameDevice(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(volume.Existing(a), &x) == nil && unix.Stat(volume.Existing(b), &y) == nil &&
		x.Dev == y.Dev
}

// demandOf adds what one kind needs: in its staging and, for what goes to another file system below
// it, there too.
func (c *spaceCheck) demandOf(s spaceStore, m measured) error {
	home, err := m.at(s.dir)
	if err != nil {
		return err
	}
	there, err := c.staged(s, home)
	if err != nil {
		return err
	}
	home.stale += c.kept[s.kind]
	added := 0
	for _, f := range c.files {
		if f.kind != s.kind {
			continue
		}
		added++
		if there[f.sum] {
			delete(there, f.sum) // another with these bytes is a copy
		} else {
			home.add(f.size)
		}
		target, err := m.at(filepath.Join(s.dir, filepath.FromSlash(path.Dir(f.local))))
		if err != nil {
			return err
		}
		if target != home {
			target.add(f.size)
		}
	}
	if s.kind == payload.Package && added > 0 {
		home.need = payload.Plus(home.need, indexDemand(s, added))
	}
	return nil
}

// indexDemand is what the index takes while it is replaced: the old one, and the new one, each
// perhaps with its gzipped twin.
func indexDemand(s spaceStore, added int) int64 {
	size := int64(added) * entrySize
	if s.Store != nil {
		if fi, err := s.Lstat("Packages"); err == nil {
			size += fi.Size()
		}
	}
	return 2 * size
}

// staged returns what an earlier run has left that is wanted, and removes what is not. Both kinds
// may be staged in one directory: what either of them wants stays.
func (c *spaceCheck) staged(s spaceStore, home *demand) (map[manifest.Digest]bool, error) {
	there := make(map[manifest.Digest]bool)
	if s.Store == nil {
		return there, nil
	}
	list, err := s.Staging().List()
	if err != nil || len(list) == 0 {
		return there, err
	}
	type contents struct {
		name string
		size int64
	}
	wanted := make(map[contents][]spaceFile)
	for _, f := range c.files {
		k := contents{durable.StagedName(f.sum), f.size}
		wanted[k] = append(wanted[k], f)
	}
	for _, f := range list {
		files := wanted[contents{f.Name, f.Size}]
		for _, w := range files {
			if w.kind == s.kind {
				there[w.sum] = true
			}
		}
		if len(files) > 0 {
			continue
		}
		if c.pretend {
			home.stale += f.Allocated
		} else if err := s.Staging().Remove(f); err != nil {
			return nil, err
		}
	}
	if !c.pretend {
		home.space, err = volume.SpaceAt(s.dir)
	}
	return there, err
}

// keptHere is what an earlier import keeps in the directory of a kind, in bytes.
func keptHere(m machine.Machine, u *state.Undo, kind payload.Kind) (bytes int64) {
	if !sameDirs(m, u.Change) {
		return 0
	}
	for _, f := range u.Change.Files {
		if f.Kept > 0 && f.Kind == kind {
			bytes = payload.Plus(bytes, f.Was.Size)
		}
	}
	return bytes
}

func sameDirs(m machine.Machine, c *state.Changed) bool {
	return c != nil && c.PKGDIR == m.PKGDIR && c.DISTDIR == m.DISTDIR
}
