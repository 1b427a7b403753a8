package drive

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
)

// FindOrigin returns the directory of the origin that has this key and name: the one whose signed
// record states it, wherever it lies; else the name that a first export shall use. held is nil
// unless a generation was found. Everything that the key's own predecessors signed counts as the
// key's.
func (d *Drive) FindOrigin(key *manifest.PublicKey, name string, now time.Time,
	earlier ...*manifest.PublicKey) (dir string, held *Generation, err error) {
	if err := layout.CheckOriginName(name); err != nil {
		return "", nil, err
	}
	names, err := d.Origins()
	if err != nil {
		return "", nil, err
	}
	long := layout.Qualified(name, key.Fingerprint())
	slices.SortStableFunc(names, func(a, b string) int {
		return rank(a, name, long) - rank(b, name, long)
	})
	ring := append(manifest.Ring{key}, earlier...)
	for _, dir := range names {
		g, err := d.loadOwn(dir, ring, now)
		var newer *NewerError
		switch {
		case err == nil && g.Record.Origin == name:
			return dir, g, nil
		case err == nil:
			g.Close()
		case Unanswered(err), errors.As(err, &newer) && rank(dir, name, long) < 2:
			return "", nil, err
		}
	}
	dir, err = d.newOrigin(ring, name, long, now)
	return dir, nil, err
}

// loadOwn is Load for the keys of this machine.
func (d *Drive) loadOwn(dir string, ring manifest.Ring, now time.Time) (*Generation, error) {
	best, other, err := d.OwnCopies(dir, ring, now)
	if err != nil {
		return nil, err
	}
	g, err := d.FromCopies(dir, best, other)
	var format *layout.FormatError
	if errors.As(err, &format) {
		return nil, &NewerError{path.Join(dir, best.State.Name), err}
	}
	return g, err
}

// rank puts the likely directories first.
func rank(dir, name, long string) int {
	switch dir {
	case name:
		return 0
	case long:
		return 1
	}
	return 2
}

// newOrigin chooses between the plain name and the one with the fingerprint.
// The plain one is taken unless something stands there that is not this origin's.
func (d *Drive) newOrigin(ring manifest.Ring, name, long string, now time.Time) (string, error) {
	alike := func(e fs.DirEntry) bool { return layout.FoldName(e.Name()) == layout.FoldName(name) }
	entries, err := d.readDir(d.root, ".", 1, maxEntries, alike)
	if err != nil {
		return "", err
	}
	if len(entries) == 0 {
		return name, nil
	}
	if first := entries[0]; first.Name() == name && first.IsDir() {
		if may, err := mayBegin(d, name, ring, now); err != nil || may {
			return name, err
		}
	}
	return long, layout.CheckOriginName(long)
}

// mayBegin reports whether an origin of which there is no generation may begin in a directory. One
// that has a generation of ours and cannot be read belongs to the origin of its name.
func mayBegin(d *Drive, dir string, ring manifest.Ring, now time.Time) (bool, error) {
	as, best, other, err := d.StandingOf(dir, ring, now)
	if err != nil || as != Committed {
		return as != Foreign, err
	}
	g, err := d.FromCopies(dir, best, other)
	if err == nil {
		g.Close() // another origin of this key
	}
	return err != nil, nil
}

func claims(signer string, fpr manifest.Fingerprint) bool {
	return len(signer) >= 16 && strings.HasSuffix(string(fpr), strings.ToUpper(signer))
}
