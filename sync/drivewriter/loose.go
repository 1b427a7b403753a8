package drivewriter

import (
	"errors"
	"io/fs"
	"os"

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
// be called before anything is allocated. One that this process may not remove stays.
func removeEmptyDirs(d *drive.Drive, s *session) error {
	if !s.stale {
		return nil
	}
	dirs, err := d.EmptyDirs()
	if err != nil {
		return d.PullDamage("reading", layout.TreeDir, err)
	}
	for _, dir := range dirs {
		err := s.remove("rmdir", d.Root(), dir)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return d.PullDamage("removing", dir, err)
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	return s.syncDir(".")
}
