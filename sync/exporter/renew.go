package exporter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// Renewed is what Renew did.
type Renewed struct {
	Former string `json:"former"`
	Origin string `json:"origin"`
	PKGDIR string `json:"pkgdir"`
	Serial int64  `json:"serial"` // of the last generation under the former name, Unix seconds
	// Remembered is a later time that this machine had from a signature, and has given up; nil:
	// none.
	Remembered *time.Time `json:"remembered,omitempty"`
	// NewKey was made if that of the origin bears a time from the same clock, and OldKey signs no
	// longer.
	NewKey manifest.Fingerprint `json:"fingerprint,omitempty"`
	OldKey manifest.Fingerprint `json:"old_fingerprint,omitempty"`
}

// NotAheadError reports that there is nothing to renew: the serials of an origin are not ahead of
// the clock.
type NotAheadError struct {
	Origin    string
	Last, Now time.Time
}

func (e *NotAheadError) Error() string {
	return fmt.Sprintf("renewing origin %q: its last generation is of %s, and this machine's clock says %s: there is nothing to renew", e.Origin, fault.Time(e.Last), fault.Time(e.Now))
}

// Class is that of no particular error.
func (e *NotAheadError) Class() fault.Class { return fault.Failed }

// Hints name what else may be meant.
func (e *NotAheadError) Hints(string) []string {
	return []string{"set the clock right first (date, ntpdate, hwclock --systohc); to give the origin another name all the same: pkgsneak key renew --name NAME"}
}

// NoOriginHereError reports that a PKGDIR was never exported.
type NoOriginHereError struct {
	PKGDIR string
	Others []string // the origins that are exported here
}

func (e *NoOriginHereError) Error() string {
	return fmt.Sprintf("renewing the origin of %q: nothing was exported from there with this state directory", e.PKGDIR)
}

// Class is that of no particular error.
func (e *NoOriginHereError) Class() fault.Class { return fault.Failed }

// Hints name the flag.
func (e *NoOriginHereError) Hints(string) []string {
	if len(e.Others) == 0 {
		return []string{"if the state directory was lost, export once, so that the number on the drive is remembered; or name the directory: --state-dir DIR"}
	}
	return []string{fmt.Sprintf("another one was (%s): pkgsneak key renew --pkgdir DIR",
		strings.Join(e.Others, ", "))}
}

// NameUsedError reports that the new name of an origin is one that this machine has used.
type NameUsedError struct{ Origin, Name string }

func (e *NameUsedError) Error() string {
	return fmt.Sprintf("renewing origin %q: an origin of this machine has, or had, the name %q",
		e.Origin, e.Name)
}

// Class is that of no particular error.
func (e *NameUsedError) Class() fault.Class { return fault.Failed }

// Hints name the flag.
func (e *NameUsedError) Hints(string) []string { return []string{"pkgsneak key renew --name NAME"} }

// Renew gives the origin of a PKGDIR a new name, "" for the old one with a number behind: its
// serials start anew at the real time. Its next export tells the clients its former names.
func Renew(ctx context.Context, m machine.Machine, name string) (*Renewed, error) {
	st, err := state.Open(ctx, m.StateDir, state.Options{LockWait: m.LockWait, Hook: m.Hook})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	old := lastName(st, realPath(m.PKGDIR))
	if old == "" {
		return nil, &NoOriginHereError{PKGDIR: m.PKGDIR, Others: st.Origins()}
	}
	now := m.Now()
	if now.Before(trust.NotBefore) {
		return nil, &NotAheadError{Origin: old, Now: now, Last: lastOf(st, old)}
	}
	key, err := st.SigningKey()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ahead := key != nil && key.Public().Created().After(now.Add(trust.MaxAhead))
	if name == "" && !ahead && !lastOf(st, old).After(now) {
		return nil, &NotAheadError{Origin: old, Now: now, Last: lastOf(st, old)}
	}
	r := &Renewed{Former: old, PKGDIR: m.PKGDIR, Serial: lastOf(st, old).Unix()}
	if r.Origin, err = newName(st, old, name); err != nil {
		return nil, err
	}
	if highest := st.HighestTime(); highest.After(now) {
		r.Remembered = &highest
	}
	if ahead {
		if err := r.replaceKey(st, key, now); err != nil {
			return nil, err
		}
	}
	return r, state.RenewExported(st, old, r.Origin, now)
}

func lastOf(st *state.Dir, name string) time.Time {
	e, _ := st.Exported(name)
	return time.Unix(e.Serial, 0)
}

// newName finds the new name of an origin, one that no origin of this machine has or had: on a
// drive, names that differ in case only are one.
func newName(st *state.Dir, old, name string) (string, error) {
	renewals, err := state.Renewals(st)
	if err != nil {
		return "", err
	}
	taken := func(name string) bool {
		same := func(other string) bool { return strings.EqualFold(name, other) }
		return slices.ContainsFunc(st.Origins(), same) ||
			slices.ContainsFunc(renewals, func(r state.Renewal) bool {
				return r.Former.Key == "" &&
					same(r.Former.Name)
			})
	}
	if name != "" {
		name, err := layout.OriginName(name)
		if err == nil && taken(name) {
			err = &NameUsedError{Origin: old, Name: name}
		}
		return name, err
	}
	base, n := old, 2
	if i := strings.LastIndexByte(old, '-'); i > 0 {
		if had, err := strconv.Atoi(old[i+1:]); err == nil && had > 1 && had < 1000 {
			base, n = old[:i], had+1
		}
	}
	for ; ; n++ {
		suffix := "-" + strconv.Itoa(n)
		name, err := layout.OriginName(base[:min(len(base), layout.MaxOriginName-len(suffix))] +
			suffix)
		if err != nil || !taken(name) {
			return name, err
		}
	}
}

// replaceKey makes a key whose time is the real one. The old one cannot introduce it: by the time
// that it bears, it does not exist yet.
func (r *Renewed) replaceKey(st *state.Dir, old *manifest.PrivateKey, now time.Time) error {
	next, err := manifest.GenerateKey(old.Public().UserID(), now)
	if err != nil {
		return err
	}
	r.OldKey, r.NewKey = old.Public().Fingerprint(), next.Public().Fingerprint()
	return st.ReplaceSigningKey(next)
}
