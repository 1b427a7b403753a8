package drive

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/listing"
)

// standing is what a directory of the tree is to those who hold a ring of keys. It decides what an
// export may do there: begin, go on, or leave it alone.
type standing uint8

const (
	// foreign is somebody else's: nothing is written, nothing is removed.
	foreign standing = iota
	// empty has no file but blank manifests: whoever made it has nothing to lose. Nothing is removed.
	empty
	// begun is a first export that was never committed. Manifest, made before any payload and
	// written after Manifest.next, has nothing in it but its newlines, and Manifest.next no whole
	// signed message of another key. What lies there under names of the layout are leftovers.
	begun
	// committed has a generation of ours; what it does not list are leftovers.
	committed
	// broken is ours, and neither manifest can be used: both are torn or damaged, or the key was
	// revoked since. Nobody can tell what is listed, so nothing is removed and no name is used again
	// before a generation is committed that has everything; the session removes the rest when it ends,
	// or the next one does, for which it is a leftover.
	broken
)

// hasLeftovers says whether unlisted files with names of the layout may be removed.
func (s standing) hasLeftovers() bool { return s == begun || s == committed }

// NewerError says that a key of ours signed what this program cannot read: a newer one wrote there.
// Nothing was changed.
type NewerError struct {
	Path string // below TreeDir
	Err  error
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("reading %q: a newer pkgsneak wrote it: %v", e.Path, e.Err)
}

// Hints names the programs that can read it.
func (e *NewerError) Hints(drive string) []string {
	return []string{"use the pkgsneak that wrote it, or a newer one: " + drive + "/" + TreeDir + "/ORIGIN/" + BinDir + " has one"}
}

// As finds the *FormatError that it may be made of. The other reasons are about trust elsewhere; here
// the signature is good.
func (e *NewerError) As(target any) bool {
	format, ok := target.(**FormatError)
	return ok && errors.As(e.Err, format)
}

// newer returns a *NewerError for a manifest that is signed by one of ours and that this program
// cannot read.
func newer(dir string, s SlotState) error {
	var list *ListError
	var text *manifest.FormatError
	if errors.As(s.Err, &list) || errors.As(s.Err, &text) {
		return &NewerError{path.Join(dir, s.Name), s.Err}
	}
	return nil
}

// ownSlots is loadSlots for the keys of this machine. A key that has expired since is good for what
// it signed before: it is asked what lies there, not whom to believe.
func (d *Drive) ownSlots(dir string, ring manifest.Ring, now time.Time) (best, other slot, err error) {
	best, other, err = d.loadSlots(dir, ring, now)
	var key *manifest.KeyError
	if errors.As(err, &key) {
		if b, o, e := d.loadSlots(dir, ring, time.Time{}); e == nil {
			best, other, err = b, o, nil
		}
	}
	for _, s := range []slot{best, other} {
		if e := newer(dir, s.state); e != nil {
			return best, other, e
		}
	}
	return best, other, err
}

// standingOf finds out whose a directory is. The error is a *NewerError, or says that the drive is
// gone; with any other standing than committed, best and other are what ownSlots returns.
func (d *Drive) standingOf(dir string, ring manifest.Ring, now time.Time) (as standing, best, other slot, err error) {
	best, other, err = d.ownSlots(dir, ring, now)
	var newer *NewerError
	switch {
	case err == nil:
		return committed, best, other, nil
	case errors.As(err, &newer), vanished(err):
		return foreign, best, other, err
	}
	for _, s := range []*slot{&best, &other} {
		if err := lookBlank(d, dir, s); err != nil {
			return foreign, best, other, err
		}
	}
	slots := map[string]slot{best.state.Name: best, other.state.Name: other}
	as, err = uncommitted(d, dir, ring, slots[Slot], slots[NextSlot])
	return as, best, other, err
}

// uncommitted tells apart what has no valid manifest of ours.
func uncommitted(d *Drive, dir string, ring manifest.Ring, current, next slot) (standing, error) {
	ours, others := false, false // a whole signed message claims to be by one of the ring, by another
	for _, s := range []slot{current, next} {
		if signer, err := manifest.Claimed(s.text); err == nil {
			mine := slices.ContainsFunc(ring, func(k *manifest.PublicKey) bool { return claims(signer, k.Fingerprint()) })
			ours, others = ours || mine, others || !mine
		}
	}
	var key *manifest.KeyError
	switch {
	case ours && others:
		return foreign, nil
	case current.blank() && !others && !errors.As(next.state.Err, &key):
		return begun, nil
	case ours:
		return broken, nil
	case others:
		return foreign, nil
	}
	files, err := hasFiles(d, dir)
	switch {
	case err != nil:
		return foreign, err
	case !files:
		return empty, nil
	case recordsAre(d, dir, ring):
		return broken, nil
	}
	return foreign, nil
}

// blank says whether a slot is there and has nothing in it but newlines.
func (s *slot) blank() bool { return s.newlines }

// lookBlank finds out whether a slot without text has newlines and nothing else. Zeros are what a
// file system may make of lost contents; they prove nothing.
func lookBlank(d *Drive, dir string, s *slot) error {
	if !errors.Is(s.state.Err, errBlank) {
		return nil
	}
	f, info, err := d.openRegular(d.root, path.Join(dir, s.state.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := textEnd(f, "\n")
	s.newlines = err == nil && end == 0 && info.Size() > 0
	return d.explain("reading", path.Join(dir, s.state.Name), err)
}

// hasFiles says whether there is anything in a directory besides directories and blank files that an
// origin begins with.
func hasFiles(d *Drive, dir string) (bool, error) {
	root, err := d.root.OpenRoot(dir)
	if err != nil {
		return false, d.explain("opening", dir, err)
	}
	defer root.Close()
	var dirs listing.Reader
	var look func(above *level, name, at string, depth int) (bool, error)
	look = func(above *level, name, at string, depth int) (bool, error) {
		l, err := d.enter(&dirs, root, above, name, at, true)
		if err != nil {
			return true, err
		}
		defer l.close()
		for _, e := range l.entries {
			file := path.Join(at, e.Name())
			switch {
			case e.IsDir() && depth < maxDepth && ofLayout(file):
				if found, err := look(l, e.Name(), file, depth+1); found || err != nil {
					return true, err
				}
			case e.IsRegular() && slices.Contains([]string{Slot, NextSlot, PackagesFile}, file):
				if text, err := d.readSlot(dir, file); err != nil || len(text) > 0 {
					return true, nil
				}
			case e.IsRegular() && isPlaceholder(e.Name()):
			default:
				return true, nil
			}
		}
		return false, nil
	}
	found, err := look(nil, "", ".", 0)
	if vanished(err) {
		return true, err
	}
	return found, nil // what cannot be read is not ours to begin in
}

// ofLayout says whether a directory is, or lies below, one of an origin's.
func ofLayout(dir string) bool {
	top, _, _ := strings.Cut(dir, "/")
	return slices.Contains(originDirs, top)
}

// maxRecordsRead bounds what is read of a directory without a valid manifest.
const maxRecordsRead = 16

// recordsAre says whether there are records of generations, and each names one of the keys. They are
// not signed, as things are: it is enough to tell an origin of ours, in which nothing is removed on
// that account, from another key's.
func recordsAre(d *Drive, dir string, ring manifest.Ring) bool {
	entries, err := d.readDir(d.root, path.Join(dir, GenerationDir), 1024)
	if err != nil {
		return false
	}
	read := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") || !madeHere(GenerationDir+"/"+e.Name()) || read == maxRecordsRead {
			continue
		}
		read++
		var says struct {
			Fingerprint manifest.Fingerprint `json:"fingerprint"`
		}
		data, err := d.readAll(d.root, path.Join(dir, GenerationDir, e.Name()), MaxRecord)
		if err != nil || json.Unmarshal(data, &says) != nil {
			return false
		}
		if _, ok := ring.Find(says.Fingerprint); !ok {
			return false
		}
	}
	return read > 0
}
