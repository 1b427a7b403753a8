package trust

import (
	"time"
)

// MaxAhead is how far a generation may lie ahead of the latest time that is known: as much as a
// clock may be wrong, or as a machine without a battery may have missed.
const MaxAhead = 366 * 24 * time.Hour

// NotBefore is a time that has passed, whatever a clock shows.
var NotBefore = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
