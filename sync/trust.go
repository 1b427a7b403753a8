package sync

import (
	"time"
)

// maxAhead is how far a generation may lie ahead of the latest time that is known: as much as a clock may be wrong, or as a machine without a battery may have missed.
const maxAhead = 366 * 24 * time.Hour

// notBefore is a time that has passed, whatever a clock says.
var notBefore = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

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
