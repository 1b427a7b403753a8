package main

import (
	"fmt"
	"os"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/trust"
)

// candidateKey is a key that may become trusted, and how it stands to this machine.
type candidateKey struct {
	key    *manifest.PublicKey
	signer trust.Signer
}

// candidates are the keys to be decided about: the one that --fingerprint names, else those that
// can still be trusted.
func (e *enrolment) candidates(where string) ([]candidateKey, error) {
	offered, names, err := e.offeredKeys(where)
	if err != nil {
		return nil, err
	}
	if e.want != "" {
		key, ok := offered.Find(e.want)
		if !ok {
			return nil, withHint(fmt.Errorf("%q offers no key with the fingerprint %s: %w", where,
				e.want.Grouped(), manifest.ErrUntrusted),
				"it offers %s", fingerprints(offered))
		}
		return []candidateKey{{key, e.view.Judge(key, names[e.want], offered)}}, nil
	}
	keys, past := e.sift(offered, names)
	if len(keys) == 0 {
		return nil, nothingToTrust(where, past)
	}
	if e.replaces != "" && len(keys) > 1 {
		return nil, withHint(usageErrorf("%q offers %s: which of them takes the place of %s?",
			where, count(len(keys), "key"), e.replaces.Grouped()),
			"pkgsneak trust %s --fingerprint FPR --replaces %s", shellWord(where), e.replaces)
	}
	return keys, nil
}

// sift leaves out the keys that cannot be trusted any more, or that the drive itself has left
// behind: revoked, expired, replaced, not wanted, or in nobody's use where others sign.
func (e *enrolment) sift(offered manifest.Ring,
	names map[manifest.Fingerprint]string) (keys []candidateKey, past []trust.Signer) {
	for _, key := range offered {
		s := e.view.Judge(key, names[key.Fingerprint()], offered)
		_, known := e.ring.Find(key.Fingerprint())
		_, signs := names[key.Fingerprint()]
		switch {
		case known, s.State == trust.Mine: // consider tells about it
		case s.State == trust.Unknown && (signs || len(names) == 0), s.State == trust.Successor &&
			(signs || len(names) == 0):
		case s.State == trust.Unknown || s.State == trust.Successor:
			e.out.detail("%s %s signs nothing on this drive: left out",
				key.Fingerprint().Grouped(), key.UserID())
			continue
		default:
			past = append(past, s)
			e.out.detail("%s: left out", s.Sentence())
			continue
		}
		keys = append(keys, candidateKey{key, s})
	}
	return keys, past
}

// nothingToTrust is the error of a place whose keys cannot be trusted any more.
func nothingToTrust(where string, past []trust.Signer) error {
	err := fmt.Errorf("%q offers no key that can still be trusted: %w", where,
		manifest.ErrUntrusted)
	for _, s := range past {
		err = withHint(err, "%s", s.Sentence())
	}
	return err
}

func fingerprints(ring manifest.Ring) string {
	var all []string
	for _, k := range ring {
		all = append(all, k.Fingerprint().Grouped())
	}
	return strings.Join(all, ", ")
}

// offeredKeys reads the keys on a drive with the names of the origins that they sign, or the one in
// a file.
func (e *enrolment) offeredKeys(where string) (manifest.Ring,
	map[manifest.Fingerprint]string, error) {
	if info, err := os.Stat(where); err == nil && info.IsDir() {
		return e.driveKeys(where)
	}
	data, err := e.readInput(where, manifest.MaxKey)
	if err != nil {
		return nil, nil, err
	}
	key, err := manifest.ReadPublicKey(data)
	if err == nil {
		err = key.CheckOrigin()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%q: %w", where, err)
	}
	return manifest.Ring{key}, nil, nil
}

func (e *enrolment) driveKeys(mount string) (manifest.Ring,
	map[manifest.Fingerprint]string, error) {
	d, err := drive.Open(mount)
	if err != nil {
		return nil, nil, drive.NotMounted(mount, fmt.Errorf("trust %q: %w", mount, err))
	}
	defer d.Close()
	offers, err := d.Keys()
	if err != nil {
		return nil, nil, err
	}
	if _, err := e.view.ApplyRevocations(d); err != nil {
		return nil, nil, err
	}
	var ring manifest.Ring
	for _, o := range offers {
		if o.Err != nil {
			e.out.warn("%q on the drive is left out: %v", o.Path, o.Err)
			continue
		}
		ring = append(ring, o.Key)
	}
	if len(ring) == 0 {
		return nil, nil, fmt.Errorf("%q offers no key", mount)
	}
	names, err := e.view.Signers(d, ring)
	return ring, names, err
}
