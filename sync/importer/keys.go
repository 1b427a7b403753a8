package importer

import (
	"errors"
	"fmt"

	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// believable reports whether a generation is signed by a key that is trusted, or that a trusted one
// introduced.
func believable(seen trust.Loaded) bool {
	return seen.Err == nil || seen.Signer.State == trust.Successor
}

// applyRevocations believes the revocations on the drive, and remembers them: a key that was seen
// revoked once is never believed again, whatever the next drive carries.
func (im *importer) applyRevocations() error {
	revoked, err := im.trusted.ApplyRevocations(im.drive)
	if err != nil {
		return err
	}
	for _, key := range revoked {
		im.note("the drive carries a revocation of the key %s %s: it is not trusted any longer",
			key.Fingerprint().Grouped(), key.UserID())
		if im.o.Pretend {
			continue
		}
		if err := im.st.Trust(key); err != nil {
			return err
		}
	}
	return nil
}

// acceptRotation asks whether the successor of a trusted key takes its place. Nothing is changed
// yet: that comes when the import is certain to go on (trustSuccessors).
func (im *importer) acceptRotation(in *incoming, seen trust.Loaded) error {
	var refusal *trust.Refusal
	if !errors.As(seen.Err, &refusal) {
		return nil
	}
	ok := im.o.AcceptRotation
	if !ok && im.o.ConfirmRotation != nil {
		var err error
		if ok, err = im.o.ConfirmRotation(refusal); err != nil {
			return err
		}
	}
	if !ok {
		return refusal
	}
	s := refusal.Signer
	in.successor = &successor{s.Introducer, seen.Key}
	im.note("the key %s %s takes the place of %s, which introduced it", s.Key.Grouped(), s.UserID,
		s.Introducer.Grouped())
	return nil
}

// trustSuccessors makes the accepted keys the trusted ones. The old ones are trusted no longer, and
// what came in under them is the new ones'.
func (im *importer) trustSuccessors() error {
	for _, s := range im.successors {
		if err := state.Replace(im.st, s.old, s.key, im.trusted.Now); err != nil {
			return fmt.Errorf("trusting the key %s: %w", s.key.Fingerprint(), err)
		}
		for _, in := range im.origins {
			ids := []*state.OriginID{&in.id, &in.known}
			for i := range in.former {
				ids = append(ids, &in.former[i])
			}
			for _, id := range ids {
				if id.Key == s.old {
					id.Key = s.key.Fingerprint()
				}
			}
		}
	}
	return nil
}
