package drivewriter

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
)

// OfferRevoked puts those of the origin's earlier keys that are revoked beside the origins and
// makes them durable: that needs a few kilobytes and no generation, and shall not wait until there
// is space for one. It returns those that are on the drive now; a drive without even that much
// space, or with something else in their place, has none of them.
func OfferRevoked(w *Writer) ([]manifest.Fingerprint, error) {
	var revoked manifest.Ring
	var told []manifest.Fingerprint
	for _, key := range w.o.Earlier {
		if key.Revoked() {
			revoked, told = append(revoked, key), append(told, key.Fingerprint())
		}
	}
	if len(revoked) == 0 || Offers(w.d, revoked) {
		return told, nil
	}
	switch err := w.offer(revoked); {
	// no room for them, or something else has their names
	case err != nil && w.ended.cause() == nil:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return told, nil
}

// offer writes the keys of a ring beside the origins, and sees to it that they are on the medium.
func (s *session) offer(ring manifest.Ring) error {
	if err := s.mkdirTree(layout.KeysDir); err != nil {
		return err
	}
	for _, key := range ring {
		if err := s.writeLoose(layout.KeyFile(key.Fingerprint()), key.Armor()); err != nil {
			return err
		}
	}
	if err := s.syncfs(); err != nil {
		return err
	}
	return s.sync("fsync", layout.KeysDir, func() error {
		for _, key := range ring { // clean by now: this flushes the cache of the drive
			f, err := durable.OpenFile(s.d.Root(), layout.KeyFile(key.Fingerprint()),
				os.O_RDONLY, 0)
			if err != nil {
				return err
			}
			if err := errors.Join(f.Sync(), f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

// mkdirTree makes a directory beside the origins, unless it is there.
func (s *session) mkdirTree(dir string) error {
	if info, err := s.d.Root().Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	err := s.do("mkdir", dir, func() error { return s.d.Root().Mkdir(dir, 0o755) })
	if err != nil || !s.stale {
		return err
	}
	return s.syncDir(dir) // with a name in it, it is durable: see removeEmptyDirs
}

// removeEmptyDirs removes the directories of the tree that a pull may have left without space of
// their own: what is allocated next gets it, and later names would be written into that. It is to
// be called before anything is allocated. One that this process may not remove stays. Those that
// pkgsneak has not made, or another host of which nothing is known yet, are made again: then they
// have space of their own, and nobody misses them.
func removeEmptyDirs(d *drive.Drive, s *session) error {
	if !s.stale {
		return nil
	}
	dirs, err := d.EmptyDirs()
	if err != nil {
		return d.PullDamage("reading", layout.TreeDir, err)
	}
	others := make(map[string]fs.FileInfo)
	for _, dir := range dirs {
		info, err := d.Root().Lstat(dir)
		if err == nil {
			err = s.remove("rmdir", d.Root(), dir)
		}
		switch {
		case err == nil && !s.isOwn(dir):
			others[dir] = info
		case err != nil && !errors.Is(err, fs.ErrPermission):
			return d.PullDamage("removing", dir, err)
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	if err := s.syncDir("."); err != nil {
		return err
	}
	return s.remakeDirs(others)
}

// isOwn tells the directories beside the origins, and the one that this session writes: it makes
// them when it needs them.
func (s *session) isOwn(dir string) bool {
	top, _, _ := strings.Cut(s.dir, "/")
	return slices.ContainsFunc([]string{layout.KeysDir, layout.ClientsDir, top},
		func(own string) bool { return layout.FoldName(own) == layout.FoldName(dir) })
}

// remakeDirs makes directories of the tree again that were removed. Where a full drive has no space
// for one, it had none of its own.
func (s *session) remakeDirs(dirs map[string]fs.FileInfo) error {
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		err := s.mkdirTree(dir)
		if durable.IsFull(err) {
			continue
		}
		if err == nil {
			err = s.do("chtimes", dir, func() error {
				return s.d.Root().Chtimes(dir, time.Time{}, dirs[dir].ModTime())
			})
		}
		if err != nil {
			return s.d.PullDamage("making", dir, err)
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	return s.syncDir(".")
}
