package importer

import (
	"errors"
	"fmt"
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// ReturnedError reports that a key whose place another one took here has signed a generation that
// is newer than all of that one's: its host has it again, or somebody else does.
type ReturnedError struct {
	Origin  string // its directory
	Old     manifest.Fingerprint
	Now     manifest.Fingerprint // the one that took its place
	Serial  int64                // of the old key's generation
	Refusal error
}

func (e *ReturnedError) Error() string {
	return fmt.Sprintf("%v; its state of %s is newer than all that the key %s signed", e.Refusal,
		fault.Serial(e.Serial), e.Now.Grouped())
}

// Unwrap gives the refusal.
func (e *ReturnedError) Unwrap() error { return e.Refusal }

// Class is fault.Untrusted.
func (e *ReturnedError) Class() fault.Class { return fault.Untrusted }

// Hints name the way back to the old key, and the way to be rid of it.
func (e *ReturnedError) Hints(place string) []string {
	return []string{
		fmt.Sprintf("if \"pkgsneak key\" on the build host shows %s again: pkgsneak trust %s --fingerprint %s --replaces %s", e.Old, place, e.Old, e.Now),
		trust.Abandoned(e.Origin, place),
	}
}

// signed adds to the refusal of a signer whose key is at hand which generation it signed.
func signed(seen trust.Loaded) error {
	if seen.Gen == nil {
		return seen.Err
	}
	return &signedError{seen.Err, state.OriginID{Key: seen.Gen.Signed.Signer,
		Name: seen.Gen.Record.Origin}, seen.Gen.Serial()}
}

// signedError is the refusal of a generation whose signature is right, by a key that is not
// trusted.
type signedError struct {
	error
	id     state.OriginID
	serial int64
}

func (e *signedError) Unwrap() error { return e.error }

// wentBack turns the refusal of a retired key into a *ReturnedError, if its generation is newer
// than that on the drive of the key that took its place, and than what is remembered of either. The
// number of one that goes on under another name proves nothing: that may be why it does.
func (im *importer) wentBack(r *Refused) bool {
	var by *signedError
	var refusal *trust.Refusal
	if !errors.As(r.Err, &by) || !errors.As(r.Err, &refusal) ||
		refusal.Signer.State != trust.Retired {
		return false
	}
	for _, in := range im.origins {
		if in.id.Key != refusal.Signer.Introducer ||
			slices.Contains(in.gen.Record.Formerly, by.id.Name) {
			continue
		}
		seen, _ := im.st.Seen(in.known)
		if by.serial > max(in.gen.Serial(), seen.Serial) {
			r.Err = &ReturnedError{Origin: r.Origin, Old: refusal.Signer.Key, Now: in.id.Key,
				Serial: by.serial, Refusal: r.Err}
			return true
		}
	}
	return false
}
