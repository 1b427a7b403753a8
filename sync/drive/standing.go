package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
)

// Standing is what a directory of the tree is to those who hold a ring of keys. It decides what an
// export may do there: begin, go on, or leave it alone.
type Standing uint8

const (
	// Foreign is somebody else's: nothing is written, nothing is removed.
	Foreign Standing = iota
	// Empty has no file but blank manifests: whoever made it has nothing to lose. Nothing is
	// removed.
	Empty
	// Begun is a first export of ours that was never committed. Manifest, made before any payload
	// and written after Manifest.next, has nothing in it but its newlines, Manifest.next no whole
	// signed message of another key, and the note of the owner (OwnerNote), or that message, is
	// ours. The files that lie there under names of the layout are leftovers. Without the note it
	// is Foreign.
	Begun
	// Committed has a generation of ours; what it does not list are leftovers.
	Committed
	// Broken is ours, and neither manifest can be used: both are torn or damaged, or the key was
	// revoked since. Nobody can tell what is listed, so nothing is removed and no name is used
	// again before a generation is committed; what holds the bytes that an export would write can
	// be listed by it where it lies (Remains); the session removes the rest when everything is
	// written, or the next one does, for which it is a leftover.
	Broken
)

// HasLeftovers reports whether unlisted files with names of the layout may be removed.
func (s Standing) HasLeftovers() bool { return s == Begun || s == Committed }

// NewerError reports that a key of ours signed what this program cannot read: a newer one wrote
// there. Nothing was changed.
type NewerError struct {
	Path string // below TreeDir
	Err  error
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("reading %q: a newer pkgsneak wrote it: %v", e.Path, e.Err)
}

// Hints names the programs that can read it.
func (e *NewerError) Hints(drive string) []string { return layout.NewerHints(drive) }

// As finds the *FormatError that it may be made of. The other reasons are about trust elsewhere;
// here the signature is good.
func (e *NewerError) As(target any) bool {
	format, ok := target.(**layout.FormatError)
	return ok && errors.As(e.Err, format)
}

// StandingOf finds out whose a directory is. The error is a *NewerError, or reports that the drive
// is gone; with any other standing than committed, best and other are what OwnCopies returns.
func (d *Drive) StandingOf(dir string, ring manifest.Ring, now time.Time) (as Standing, best,
	other ManifestCopy, err error) {
	best, other, err = d.OwnCopies(dir, ring, now)
	var newer *NewerError
	switch {
	case err == nil:
		return Committed, best, other, nil
	case errors.As(err, &newer), Unanswered(err):
		return Foreign, best, other, err
	}
	for _, s := range []*ManifestCopy{&best, &other} {
		if err := checkBlank(d, dir, s); err != nil {
			return Foreign, best, other, err
		}
	}
	copies := map[string]ManifestCopy{best.State.Name: best, other.State.Name: other}
	as, err = uncommitted(d, dir, ring, copies[layout.ManifestFile],
		copies[layout.NextManifestFile])
	return as, best, other, err
}

// uncommitted tells apart what has no valid manifest of ours.
func uncommitted(d *Drive, dir string, ring manifest.Ring, current,
	next ManifestCopy) (Standing, error) {
	// a whole signed message claims to be by one of the ring, by another
	ours, others := false, false
	for _, s := range []ManifestCopy{current, next} {
		if signer, err := manifest.Claimed(s.Text); err == nil {
			mine := slices.ContainsFunc(ring, func(k *manifest.PublicKey) bool {
				return claims(signer, k.Fingerprint())
			})
			ours, others = ours || mine, others || !mine
		}
	}
	var key *manifest.KeyError
	switch {
	case ours && others:
		return Foreign, nil
	case current.blank() && !others && !errors.As(next.State.Err, &key) &&
		(ours || OwnerOf(d, dir, ring) != ""):
		return Begun, nil
	case ours:
		return Broken, nil
	case others:
		return Foreign, nil
	}
	files, err := HasFiles(d, dir)
	switch {
	case err != nil:
		return Foreign, err
	case !files:
		return Empty, nil
	case recordsAre(d, dir, ring):
		return Broken, nil
	}
	return Foreign, nil
}

// maxOwner is the longest note of an owner, in bytes; one is some 400.
const maxOwner = 16 << 10

// OwnerOf returns the key of a ring that began an origin in a directory and has committed nothing
// there, by the note that it left; "" if there is none, or another key signed it.
func OwnerOf(d *Drive, dir string, ring manifest.Ring) manifest.Fingerprint {
	text, err := d.ReadAll(d.root, path.Join(dir, layout.OwnerFile), maxOwner)
	if err != nil {
		return ""
	}
	note, err := manifest.OpenPast(text, ring)
	if err != nil {
		return ""
	}
	return note.Signer
}

// OwnerNote is the note that an origin is a key's, before there is anything else that
// does: a signed list of nothing.
func OwnerNote(key *manifest.PrivateKey, now time.Time) ([]byte, error) {
	at := now.UTC().Truncate(time.Second)
	if made := key.Public().Created(); at.Before(made) {
		at = made
	}
	return manifest.Sign(&manifest.List{Timestamp: at}, key, at)
}

// HasFiles reports whether there is anything in a directory besides directories, blank files that
// an origin begins with, and the notes of its owner and of the probe.
func HasFiles(d *Drive, dir string) (bool, error) {
	root, err := d.root.OpenRoot(dir)
	if err != nil {
		return false, d.Classify("opening", dir, err)
	}
	defer root.Close()
	found := false
	walk := Walk{Drive: d.Mounted, Root: root, Status: true, Visit: func(e Found) error {
		switch {
		case e.Below && layout.OfLayout(e.Path):
			return nil
		case e.IsRegular() && slices.Contains([]string{layout.ManifestFile,
			layout.NextManifestFile, layout.PackagesFile}, e.Path):
			if text, err := d.ReadCopy(dir, e.Path); err == nil && len(text) == 0 {
				return nil
			}
		case e.IsRegular() && (layout.IsPlaceholder(e.Name()) || e.Path == layout.OwnerFile):
			return nil
		case e.IsRegular() && e.Path == layout.ProbeFile && e.Size() <= maxOwner: // it was passed
			return nil
		}
		found = true
		return fs.SkipAll
	}, Unreadable: func(_ string, err error) error {
		found = true // what cannot be read is not ours to begin in
		return err
	}}
	if err := walk.Run(context.Background()); Unanswered(err) {
		return true, err
	}
	return found, nil
}

// maxRecordsRead bounds what is read of a directory without a valid manifest.
const maxRecordsRead = 16

// recordsAre reports whether there are records of generations, and each names one of the keys. They
// are not signed, as things are: it is enough to tell an origin of ours, in which nothing is
// removed on that account, from another key's.
func recordsAre(d *Drive, dir string, ring manifest.Ring) bool {
	entries, err := d.readDir(d.root, path.Join(dir, layout.GenerationDir), maxRecordsRead,
		maxEntries, isRecord)
	if err != nil {
		return false
	}
	for _, e := range entries {
		var says struct {
			Fingerprint manifest.Fingerprint `json:"fingerprint"`
		}
		data, err := d.ReadAll(d.root, path.Join(dir, layout.GenerationDir, e.Name()),
			layout.MaxRecord)
		if err != nil || json.Unmarshal(data, &says) != nil {
			return false
		}
		if _, ok := ring.Find(says.Fingerprint); !ok {
			return false
		}
	}
	return len(entries) > 0
}
