package importer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pkgsneak/sync/fault"
)

// OlderError reports that the drive carries a generation older than the last one that was imported
// here.
type OlderError struct {
	Origin       string
	Serial, Have int64
}

func (e *OlderError) Error() string {
	return fmt.Sprintf("origin %q: the drive's state of %s is older than the one of %s that was imported here", e.Origin, fault.Serial(e.Serial), fault.Serial(e.Have))
}

// Class is fault.Older.
func (e *OlderError) Class() fault.Class { return fault.Older }

// Hints name the flag.
func (e *OlderError) Hints(drive string) []string {
	hints := []string{fmt.Sprintf("if it is meant, this once: pkgsneak import %s --allow-older",
		drive)}
	if hint := wrongClock(e.Serial, e.Have); hint != "" {
		hints = append(hints, hint)
	}
	return hints
}

// ForkError reports that a generation's number was seen before with other contents: two machines
// sign with one key, or somebody replays.
type ForkError struct {
	Origin string
	Serial int64
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("origin %q: its state of %s was seen here before with other contents",
		e.Origin, fault.Serial(e.Serial))
}

// Class is fault.Untrusted.
func (e *ForkError) Class() fault.Class { return fault.Untrusted }

// Hints name what to look for.
func (e *ForkError) Hints(string) []string {
	return []string{"find out who else signs with this key; a new export from the build host gets a new number"}
}

// FutureError reports that a generation comes from further in the future than a wrong clock
// explains.
type FutureError struct {
	Origin string
	Time   time.Time // of the signature or of the list, whichever is later
}

func (e *FutureError) Error() string {
	return fmt.Sprintf("origin %q: its generation is of %s, in the future: more than a year after the latest time that is known here", e.Origin, fault.Time(e.Time))
}

// Class is fault.Untrusted.
func (e *FutureError) Class() fault.Class { return fault.Untrusted }

// Hints name the flag.
func (e *FutureError) Hints(drive string) []string {
	return []string{fmt.Sprintf("if this machine's clock is wrong, set it; if the generation is known to be good: pkgsneak import %s --accept-future", drive),
		"if the clock of the build host was wrong, there: set it, pkgsneak key renew, and export again"}
}

// StaleError reports that a generation was signed longer ago than the person allows.
type StaleError struct {
	Origin   string
	Age, Max time.Duration
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("origin %q: its state is %s old, --max-age allows %s", e.Origin,
		ageText(e.Age), ageText(e.Max))
}

// Class is fault.Older.
func (e *StaleError) Class() fault.Class { return fault.Older }

// Hints name the two ways out.
func (e *StaleError) Hints(string) []string {
	return []string{"export again on the build host; to import it all the same, leave --max-age out"}
}

// RefusedError reports that none of the origins on the drive was accepted, and why each was
// refused.
type RefusedError struct{ Refused []Refused }

func (e *RefusedError) Error() string {
	var reasons []string
	for _, r := range e.Refused {
		if !slices.Contains(reasons, r.Reason) { // of two drives
			reasons = append(reasons, r.Reason)
		}
	}
	return strings.Join(reasons, "; ")
}

// Unwrap gives the reasons, in the order in which the origins lie on the drive.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, len(e.Refused))
	for i, r := range e.Refused {
		errs[i] = r.Err
	}
	return errs
}

// stamp is the time of a serial, for people.

// ageText is a duration in the largest unit of which there are at least two.
func ageText(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*u.unit {
			return fmt.Sprintf("%d %s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
