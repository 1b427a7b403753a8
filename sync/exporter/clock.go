package exporter

import (
	"fmt"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// ClockError reports that the clock of the machine that exports stands further ahead than anything
// here explains. The serial of a generation is its time: one from the far future would be refused
// by every client, and would make them refuse each honest one after it.
type ClockError struct {
	Now, Latest time.Time
	From        string // where Latest comes from
	// the signing key would be past its end now, and was not at the last export; else nil
	Key error
}

func (e *ClockError) Error() string {
	if e.Key != nil {
		return fmt.Sprintf("export: by this machine's clock, %s, the signing key cannot be used any more (%v), and it could at the last export, %s", fault.Time(e.Now), e.Key, fault.Time(e.Latest))
	}
	return fmt.Sprintf("export: this machine's clock, %s, is more than a year ahead of the latest time that is known here, %s (%s)", fault.Time(e.Now), fault.Time(e.Latest), e.From)
}

// Class is that of no particular error, and of a key that has ended where it seems to have.
func (e *ClockError) Class() fault.Class {
	if e.Key != nil {
		return fault.Untrusted
	}
	return fault.Failed
}

// Hints name both ways out.
func (e *ClockError) Hints(drive string) []string {
	hints := []string{"set the clock (date, ntpdate, hwclock --systohc), then export again"}
	if e.Key != nil {
		return append(hints, "if the clock is right, the key has ended: pkgsneak key rotate")
	}
	return append(hints,
		fmt.Sprintf("if the clock is right: pkgsneak export %s --accept-clock; after an export with a wrong one: pkgsneak key renew", drive))
}

// clockEvidence is what is known of the time without the clock.
type clockEvidence struct {
	latest time.Time
	from   string
	// something tells when this program or this machine last ran; old packages alone tell nothing
	anchor bool
}

func (e *clockEvidence) add(t time.Time, from string) {
	if t.After(e.latest) {
		e.latest, e.from = t, from
	}
}

// evidenceOf gathers what is known: the program's build, the last serials, the newest build, the
// newest file from before this boot, the ebuild repositories.
func evidenceOf(m machine.Machine, st *state.Dir, held *drive.Generation, h *source,
	repos []layout.Repository) (e clockEvidence) {
	if !m.Built.IsZero() {
		e.anchor = true
		e.add(m.Built, "when this program was built")
	}
	for _, name := range st.Origins() {
		exported, _ := st.Exported(name)
		e.anchor = true
		e.add(time.Unix(exported.Serial, 0), "the last export")
	}
	if held != nil {
		e.anchor = true
		e.add(time.Unix(held.Serial(), 0), "the generation on the drive")
	}
	for _, f := range h.files {
		if built, ok := f.entry.BuildTime(); ok {
			e.add(time.Unix(built, 0), "the newest build in PKGDIR")
		}
		if changed := f.info.ModTime(); changed.Before(m.Booted) {
			e.add(changed, "the newest file from before this machine was started")
		}
	}
	for _, r := range repos {
		e.add(r.Timestamp, "the ebuild repository "+r.Name)
	}
	return e
}

// checkClock refuses a clock that is further ahead than the evidence explains, by as much as an
// import would refuse, and one that would end the signing key.
func checkClock(now time.Time, e clockEvidence, key *manifest.PublicKey, last time.Time) error {
	if e.anchor && now.After(e.latest.Add(trust.MaxAhead)) {
		return &ClockError{Now: now, Latest: e.latest, From: e.from}
	}
	if key == nil || last.IsZero() || now.Before(last) {
		return nil
	}
	if err := key.Check(now); err != nil && key.Check(last) == nil {
		return &ClockError{Now: now, Latest: last, Key: err}
	}
	return nil
}

// AheadError reports that an earlier export was made with a clock that was far ahead: its
// generation's number refuses each honest one after it, here and on the clients.
type AheadError struct {
	Origin    string
	Last, Now time.Time
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("export: the last generation of origin %q is of %s, more than a year after this machine's clock, %s: each one after it would be, too", e.Origin, fault.Time(e.Last), fault.Time(e.Now))
}

// Class is that of no particular error.
func (e *AheadError) Class() fault.Class { return fault.Failed }

// Hints name the ways out: a right clock, a new name, and to go on as it is.
func (e *AheadError) Hints(drive string) []string {
	return []string{"if the clock is wrong, set it; if it is right: pkgsneak key renew, then export again",
		fmt.Sprintf("to go on from that number all the same: pkgsneak export %s --accept-clock",
			drive)}
}

// checkAhead refuses to add to generations that were numbered by a clock that was far ahead. A
// clock that cannot be right decides nothing: a machine without a battery wakes up in 1970.
func checkAhead(m machine.Machine, name string, last time.Time) error {
	now := m.Now()
	if now.Before(trust.NotBefore) || now.Before(m.Built) || !last.After(now.Add(trust.MaxAhead)) {
		return nil
	}
	return &AheadError{Origin: name, Last: last, Now: now}
}
