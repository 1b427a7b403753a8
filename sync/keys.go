package sync

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/ledger"
)

// Keys in real life: a drive carries revocations, which are honoured wherever they lie because they prove themselves, and the keys that an origin had before, with
// which the old one introduces the new one. That is only a letter of introduction: whoever answers for this machine decides.

// heed takes the revocations that lie on a drive into the ring, and returns the keys that were revoked by them.
func (k *knowledge) heed(d *drive.Drive) ([]*manifest.PublicKey, error) {
	texts, err := d.KeyTexts()
	if err != nil {
		return nil, err
	}
	var revoked []*manifest.PublicKey
	k.ring = slices.Clone(k.ring)
	for i, key := range k.ring {
		for _, text := range texts {
			if key.Revoked() {
				break
			}
			if r, err := key.WithRevocation(text); err == nil {
				key, k.ring[i] = r, r
				revoked = append(revoked, r)
			}
		}
	}
	return revoked, nil
}

// heedRevocations is heed, remembered: a key that was seen revoked once is never believed again, whatever the next drive carries.
func (im *importer) heedRevocations() error {
	revoked, err := im.know.heed(im.drive)
	if err != nil {
		return err
	}
	for _, key := range revoked {
		im.note("the drive carries a revocation of the key %s %s: it is not trusted any longer", key.Fingerprint(), key.UserID())
		if im.o.Pretend {
			continue
		}
		if err := im.l.Trust(key); err != nil {
			return err
		}
	}
	return nil
}

// maxChain is how many keys may follow one another between the one that is trusted here and the one that signed.
const maxChain = 8

// introduced finds the trusted key that introduces another one, over the keys on the drive.
func introduced(key *manifest.PublicKey, offered []*manifest.PublicKey, k knowledge, depth int) (manifest.Fingerprint, bool) {
	if by, ok := key.CertifiedBy(k.ring, k.now); ok {
		return by, true
	}
	if depth == 0 {
		return "", false
	}
	for _, between := range offered {
		if between.Fingerprint() == key.Fingerprint() || between.Check(latest(k.now, between.Created())) != nil {
			continue
		}
		if _, ok := key.CertifiedBy(manifest.Ring{between}, k.now); !ok {
			continue
		}
		if by, ok := introduced(between, offered, k, depth-1); ok {
			return by, true
		}
	}
	return "", false
}

// offeredKeys are the keys on the drive that can be read. Nothing depends on them but the introduction of a new key, so that without them the rest goes on.
func (im *importer) offeredKeys() ([]*manifest.PublicKey, error) {
	offers, err := im.drive.Keys()
	var gone *drive.GoneError
	if errors.As(err, &gone) && gone.Vanished {
		return nil, err
	}
	var keys []*manifest.PublicKey
	for _, o := range offers {
		if o.Key != nil {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// rotation tells whether an unknown key is the successor of a trusted one; nil if it is not.
func (im *importer) rotation(dir string, unknown *manifest.UnknownKeyError) (*RotationError, *manifest.PublicKey, error) {
	offered, err := im.offeredKeys()
	if err != nil {
		return nil, nil, err
	}
	for _, key := range offered {
		fpr := key.Fingerprint()
		if len(unknown.Signer) < 16 || !strings.HasSuffix(string(fpr), unknown.Signer) || key.Check(latest(im.know.now, key.Created())) != nil {
			continue
		}
		if old, ok := introduced(key, offered, im.know, maxChain); ok && old != im.know.own {
			return &RotationError{Origin: dir, Old: old, New: fpr, UserID: key.UserID(), Err: unknown}, key, nil
		}
	}
	return nil, nil, nil
}

// adopt loads a generation that was signed by the successor of a trusted key, and trusts the successor in its place, if whoever answers for this machine wants that.
func (im *importer) adopt(dir string, refused error, unknown *manifest.UnknownKeyError) (*drive.Generation, error) {
	r, key, err := im.rotation(dir, unknown)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, refused
	}
	ring := append(slices.Clone(im.know.ring), key)
	gen, err := im.drive.Load(dir, ring, im.know.now)
	if err != nil {
		return nil, err // it only says that it signed
	}
	ok := im.o.AcceptRotation
	if !ok && im.o.ConfirmRotation != nil {
		if ok, err = im.o.ConfirmRotation(r); err != nil {
			gen.Close()
			return nil, err
		}
	}
	if !ok {
		gen.Close()
		return nil, r
	}
	im.know.ring = ring
	im.note("the key %s %s takes the place of %s, which introduced it", r.New, r.UserID, r.Old)
	if im.o.Pretend {
		return gen, nil
	}
	err = im.l.Trust(key)
	if err == nil {
		err = im.l.Distrust(r.Old)
	}
	if err != nil {
		gen.Close()
		return nil, fmt.Errorf("trusting the key %s: %w", r.New, err)
	}
	return gen, nil
}

// predecessor finds what is remembered of an origin under the key that it had before: what came in then is the origin's still, and its numbers go on.
func (im *importer) predecessor(id ledger.OriginID) (ledger.OriginID, error) {
	if _, ok := im.l.Seen(id); ok {
		return id, nil
	}
	offered, err := im.offeredKeys()
	if err != nil {
		return id, err
	}
	known := append(slices.Clone(offered), im.know.ring...)
	now := id
	for range maxChain {
		before, ok := certifier(now.Key, known, im.know)
		if !ok {
			return id, nil
		}
		now.Key = before
		if _, ok := im.l.Seen(now); ok {
			return now, nil
		}
	}
	return id, nil
}

// certifier finds a key that introduced another one.
func certifier(fpr manifest.Fingerprint, known []*manifest.PublicKey, k knowledge) (manifest.Fingerprint, bool) {
	for _, key := range known {
		if key.Fingerprint() != fpr {
			continue
		}
		if by, ok := key.CertifiedBy(known, k.now); ok {
			return by, true
		}
	}
	return "", false
}
