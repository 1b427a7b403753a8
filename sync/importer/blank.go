package importer

import (
	"fmt"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// An origin without a manifest was begun and never committed, or lost both copies of it since.
// Which of the two, only the memory of this machine tells: nothing that such a directory holds can
// be believed.

// remembered finds an origin that was imported here, whose directory this may be, and that goes on
// under its name and key.
func remembered(st *state.Dir, know trust.View, dir string) (id state.OriginID,
	found bool, err error) {
	for _, id := range state.SeenOrigins(st) {
		if !layout.MayBeIn(dir, id.Name, id.Key) || know.ReplacedBy(id.Key) != "" {
			continue
		}
		if _, trusted := know.Ring.Find(id.Key); !trusted {
			continue
		}
		if renewed, err := state.RenewedAs(st, id); err != nil || renewed == "" {
			return id, err == nil, err
		}
	}
	return state.OriginID{}, false, nil
}

// NoManifestError reports that an origin that was imported before has no manifest on this drive any
// more.
type NoManifestError struct {
	Dir, Origin string
	Err         error // drive.ErrNoTree, with the reason
}

func (e *NoManifestError) Error() string {
	reason := e.Err.Error()
	if drive.Unfinished(e.Err) {
		reason = fmt.Sprintf("reading %q: neither copy of its manifest says anything any more",
			e.Dir)
	}
	return fmt.Sprintf("%s; origin %q was imported here before, and nothing of it was used",
		reason, e.Origin)
}

// aloneError is a *NoManifestError where the drive has nothing else.
type aloneError struct{ *NoManifestError }

// Class is fault.NoTree.
func (aloneError) Class() fault.Class { return fault.NoTree }

// Unwrap gives the reason.
func (e *NoManifestError) Unwrap() error { return e.Err }

// Class is fault.LeftOut.
func (e *NoManifestError) Class() fault.Class { return fault.LeftOut }

// Hints name the ways out.
func (e *NoManifestError) Hints(place string) []string {
	return []string{fmt.Sprintf("on the build host: pkgsneak export %s; %s", place,
		trust.Abandoned(e.Dir, place))}
}
