package sync

import (
	"errors"
	"io/fs"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/ledger"
)

// knowledge is what this machine can judge signatures by.
type knowledge struct {
	ring manifest.Ring        // the keys that are trusted here, its own among them
	own  manifest.Fingerprint // of the key this machine signs with, "" without one
	now  time.Time            // the latest time it is sure of: a clock that is behind decides nothing
}

// know reads the keys of the state directory. A signing key that an ordinary user may not read is no error: reading a drive does not need it.
func know(l *ledger.Ledger, clock time.Time) (knowledge, error) {
	k := knowledge{now: latest(clock, l.HighestTime())}
	var err error
	if k.ring, err = l.Trusted(); err != nil {
		return knowledge{}, err
	}
	signing, err := l.SigningKey()
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return k, nil
	case err != nil:
		return knowledge{}, err
	}
	k.own = signing.Public().Fingerprint()
	if _, ok := k.ring.Find(k.own); !ok {
		k.ring = append(k.ring, signing.Public())
	}
	return k, nil
}

// maxAhead is how far a generation may lie ahead of the latest time that is known: as much as a clock may be wrong, or as a machine without a battery may have missed.
const maxAhead = 366 * 24 * time.Hour

// notBefore is a time that has passed, whatever a clock says.
var notBefore = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// loaded is an origin's generation, and whether it is to be believed.
type loaded struct {
	gen *drive.Generation
	key *manifest.PublicKey // that signed it
	err error               // why it is not to be believed: an *UntrustedError
}

// look loads a generation for showing and comparing, not for using: one whose key is not trusted here is read with the key that lies on the drive, and comes with the reason in err.
func (k knowledge) look(d *drive.Drive, dir string, offered []drive.Offered) (loaded, error) {
	gen, err := d.Load(dir, k.ring, k.now)
	if err == nil {
		key, _ := k.ring.Find(gen.Signed.Signer)
		return loaded{gen: gen, key: key}, nil
	}
	var unknown *manifest.UnknownKeyError
	if !errors.As(err, &unknown) {
		return loaded{}, untrusted(dir, err)
	}
	var ring manifest.Ring
	for _, o := range offered {
		if o.Key != nil {
			ring = append(ring, o.Key)
		}
	}
	gen, withOffered := d.Load(dir, ring, k.now)
	if withOffered != nil {
		return loaded{}, untrusted(dir, err)
	}
	key, _ := ring.Find(gen.Signed.Signer)
	return loaded{gen: gen, key: key, err: untrusted(dir, err)}, nil
}

// untrusted names the origin in an error of trust; other errors stay what they are.
func untrusted(dir string, err error) error {
	if !errors.Is(err, manifest.ErrUntrusted) {
		return err
	}
	u := &UntrustedError{Origin: dir, Err: err}
	var unknown *manifest.UnknownKeyError
	if errors.As(err, &unknown) {
		u.Signer = unknown.Signer
	}
	return u
}

// chosen returns the origins to work on: the one of the given name (its directory, or the origin's name within it), or all.
func chosen(have []string, name string) ([]string, error) {
	if name == "" {
		return have, nil
	}
	for _, h := range have {
		if h == name {
			return []string{h}, nil
		}
	}
	return nil, &NoOriginError{Name: name, Have: have}
}
