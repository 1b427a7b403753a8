package trust

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/state"
)

// A View is what this machine judges signatures by.
type View struct {
	Ring   manifest.Ring        // the keys that are trusted here, its own among them
	Own    manifest.Fingerprint // of the key this machine signs with, "" without one
	Hidden bool                 // there is such a key, and this user may not read it
	// the keys this machine signed with before, as far as this user may read them
	Former manifest.Ring
	Now    time.Time // the latest time that is certain
	// Damaged tells that a key of this machine itself cannot be read; nil if all can, or may not
	// be.
	Damaged error

	clock     time.Time
	decisions map[manifest.Fingerprint]state.Decision
	seen      []state.OriginID // origins of which something was accepted here
	exports   []string         // names under which this machine exports
}

// Read reads the keys of the state directory. A signing key that an ordinary user may not read is
// no error: reading a drive does not need it.
func Read(st *state.Dir, clock time.Time) (View, error) {
	v := View{Now: Latest(clock, st.HighestTime()), clock: clock, seen: state.SeenOrigins(st),
		exports: st.Origins()}
	var err error
	if v.decisions, err = state.Decisions(st); err != nil {
		return View{}, err
	}
	if v.Ring, err = st.Trusted(); err != nil {
		return View{}, err
	}
	v.readFormer(st)
	signing, err := st.SigningKey()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return v, nil
	case errors.Is(err, fs.ErrPermission):
		v.Hidden = true
		return v, nil
	case err != nil: // a client's keys are there all the same
		v.Damaged = err
		return v, nil
	}
	v.Own = signing.Public().Fingerprint()
	if _, ok := v.Ring.Find(v.Own); !ok {
		v.Ring = append(v.Ring, signing.Public())
	}
	return v, nil
}

// readFormer reads the keys this machine signed with before.
func (v *View) readFormer(st *state.Dir) {
	retired, err := st.Retired()
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		v.Damaged = err
	}
	for _, key := range retired {
		v.Former = append(v.Former, key.Public())
	}
}

// DamagedText is Damaged with the ways out, in one line.
func (v View) DamagedText() string {
	return strings.Join(append([]string{fault.Text(v.Damaged)}, fault.Hints(v.Damaged, "")...),
		"; ")
}

// ReplacedBy returns the key that took the place of another one here; "" if none did.
func (v View) ReplacedBy(old manifest.Fingerprint) manifest.Fingerprint {
	return v.decisions[old].By
}

// Latest returns the later one of two times.
func Latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ApplyRevocations takes the revocations that lie on a drive into the ring, and returns the keys
// that were revoked by them.
func (v *View) ApplyRevocations(d *drive.Drive) ([]*manifest.PublicKey, error) {
	texts, err := d.KeyTexts()
	if err != nil {
		return nil, err
	}
	var revoked []*manifest.PublicKey
	v.Ring = slices.Clone(v.Ring)
	for i, key := range v.Ring {
		for _, text := range texts {
			if key.Revoked() {
				break
			}
			if r, err := key.WithRevocation(text); err == nil {
				key, v.Ring[i] = r, r
				revoked = append(revoked, r)
			}
		}
	}
	return revoked, nil
}

// Offers returns the keys on a drive that can be read. Nothing depends on them but the words about
// a signer that is not trusted and the introduction of a new key, so that without them the rest
// goes on; the error is that of a drive that is gone.
func Offers(d *drive.Drive) (manifest.Ring, error) {
	offers, err := d.Keys()
	if drive.Unanswered(err) {
		return nil, err
	}
	var keys manifest.Ring
	for _, o := range offers {
		if o.Key != nil {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// maxChain is how many keys may follow one another between the one that is trusted here and the one
// that signed.
const maxChain = 8

// introducer finds the trusted key that introduces another one, over the keys on the drive.
func (v View) introducer(key *manifest.PublicKey, offered manifest.Ring,
	depth int) (manifest.Fingerprint, bool) {
	if by, ok := key.CertifiedBy(v.Ring, v.Now); ok {
		return by, true
	}
	if depth == 0 {
		return "", false
	}
	for _, between := range offered {
		if between.Fingerprint() == key.Fingerprint() ||
			between.Check(Latest(v.Now, between.Created())) != nil {
			continue
		}
		if _, ok := key.CertifiedBy(manifest.Ring{between}, v.Now); !ok {
			continue
		}
		if by, ok := v.introducer(between, offered, depth-1); ok {
			return by, true
		}
	}
	return "", false
}

// Predecessor finds under which key an origin is remembered here: its own, or one that introduced
// it, over the keys on the drive. Files that came in under that key are the origin's still, and its
// numbers go on.
func (v View) Predecessor(st *state.Dir, id state.OriginID, offered manifest.Ring) state.OriginID {
	if _, ok := st.Seen(id); ok {
		return id
	}
	known := append(slices.Clone(offered), v.Ring...)
	before := id
	for range maxChain {
		by, ok := v.certifier(before.Key, known)
		if !ok {
			return id
		}
		before.Key = by
		if _, ok := st.Seen(before); ok {
			return before
		}
	}
	return id
}

// certifier finds a key that introduced another one.
func (v View) certifier(fpr manifest.Fingerprint,
	known manifest.Ring) (manifest.Fingerprint, bool) {
	for _, key := range known {
		if key.Fingerprint() != fpr {
			continue
		}
		if by, ok := key.CertifiedBy(known, v.Now); ok {
			return by, true
		}
	}
	return "", false
}

// ClockBehind reports whether a time that is remembered from a signature lies further ahead of the
// clock than a clock is wrong, while the clock may be right: either may be the one that is wrong.
func (v View) ClockBehind() bool {
	return !v.clock.Before(NotBefore) && v.Now.After(v.clock.Add(MaxAhead))
}

// validByClock reports whether a key that has ended has not by this machine's clock.
func (v View) validByClock(key *manifest.PublicKey) bool {
	return v.ClockBehind() && key.Check(Latest(v.clock, key.Created())) == nil
}
