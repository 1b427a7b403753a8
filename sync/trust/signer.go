package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/state"
)

// State is how a signer stands to this machine.
type State int

// The states; the package comment defines what they mean. The zero value means that there is no
// signer to judge: the signature is wrong, or nothing was read.
const (
	NoSigner State = iota
	Trusted
	Mine
	MineHidden
	MineDamaged
	Former
	Successor
	Retired
	Revoked
	Expired
	Never
	Unknown
)

var stateNames = [...]string{"", "trusted", "mine", "mine-hidden",
	"mine-damaged", "former", "successor", "retired",
	"revoked", "expired", "never", "unknown"}

// String returns the state's word in JSON.
func (s State) String() string { return stateNames[s] }

// A Signer is whoever signed a generation, as far as this machine can tell.
type Signer struct {
	State State
	// whole if the key is at hand, else as claimed: a fingerprint or a key id
	Key    manifest.Fingerprint
	UserID string // "" if the key is not at hand
	// Introducer is the trusted key that introduced it (Successor), or the one that took its place
	// (Retired; "" if the administrator took it back).
	Introducer manifest.Fingerprint
	Since      time.Time // of Retired and Never
	Reason     string    // of Revoked and Expired; of Former if it was revoked here
	Name       string    // the origin's name, as far as it is known
	// Before is another key under which an origin of this name was imported here (Unknown), and
	// Withdrawn why that one is not valid any more.
	Before    manifest.Fingerprint
	Withdrawn string
	// ByClock means that the key has ended (Expired) by a remembered time that no clock explains,
	// and has not by this machine's clock.
	ByClock bool
}

// words tell in short how a key stands to this machine.
var words = [...]string{
	Trusted: "trusted here", Mine: "this machine's own key",
	MineHidden:  "most likely this machine's own key, which this user may not read",
	MineDamaged: "most likely this machine's own key, which is damaged here",
	Former:      "a former key of this machine",
	Successor:   "NOT trusted here, introduced by a trusted key",
	Retired:     "trusted here NO LONGER",
	Revoked:     "REVOKED by its owner", Expired: "EXPIRED", Never: "not wanted here",
	Unknown: "NOT trusted here", NoSigner: "not known",
}

// Word tells in a few words how the signer stands to this machine.
func (s Signer) Word() string { return words[s.State] }

// Sentence tells who signed, for people.
func (s Signer) Sentence() string {
	key := s.Key.Grouped()
	switch s.State {
	case Trusted:
		return fmt.Sprintf("signed by the key %s, which is trusted here", key)
	case Mine:
		return fmt.Sprintf("signed by this machine's own key %s", key)
	case MineHidden:
		return fmt.Sprintf("signed by the key %s; this machine exports as %q too, with a key that this user may not read", key, s.Name)
	case MineDamaged:
		return fmt.Sprintf("signed by the key %s; this machine exports as %q too, with a key that is damaged", key, s.Name)
	case Former:
		if s.Reason != "" {
			return fmt.Sprintf("signed by the key %s, a former one of this machine: %s",
				key, s.Reason)
		}
		return fmt.Sprintf("signed by the key %s, a former one of this machine", key)
	case Successor:
		return fmt.Sprintf("signed by the new key %s, which the trusted key %s introduced as its successor", key, s.Introducer.Grouped())
	case Retired:
		if s.Introducer == "" {
			return fmt.Sprintf("signed by the key %s, which is trusted here no longer since %s",
				key, day(s.Since))
		}
		return fmt.Sprintf("signed by the old key %s, whose place %s took here on %s", key,
			s.Introducer.Grouped(), day(s.Since))
	case Revoked, Expired:
		return fmt.Sprintf("signed by the key %s: %s", key, s.Reason)
	case Never:
		return fmt.Sprintf("signed by the key %s, which is not wanted here since %s",
			key, day(s.Since))
	case Unknown:
		return fmt.Sprintf("signed by the key %s, which is not trusted here%s", key, s.before())
	}
	return ""
}

// before tells of the key that an origin of this name had.
func (s Signer) before() string {
	switch {
	case s.Before == "":
		return ""
	case s.Withdrawn != "":
		return fmt.Sprintf("; the key %s, under which %q was imported before, is withdrawn: %s",
			s.Before.Grouped(), s.Name, s.Withdrawn)
	}
	return fmt.Sprintf("; %q was imported under the key %s before", s.Name, s.Before.Grouped())
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// compare is what precedes every command by which a key becomes trusted.
const compare = `compare the fingerprint with "pkgsneak key" on the build host, then`

// Advice is what leads out of the state: what to do, and the command to type with it ("" if there
// is none for this machine). place is the drive as it is typed.
func (s Signer) Advice(place string) (do, command string) {
	switch s.State {
	case MineHidden:
		return "as root", "pkgsneak status " + place
	case MineDamaged:
		return "which key of this machine is damaged, and the way out", "pkgsneak status"
	case Former:
		if s.Name != "" {
			place += " --name " + fault.Quote(s.Name)
		}
		return "to sign it with the key of now", "pkgsneak export " + place
	case Successor:
		return compare, "pkgsneak import " + place + " --accept-rotation"
	case Retired:
		if s.Introducer == "" {
			return "to trust it again, " +
				compare, fmt.Sprintf("pkgsneak trust %s --fingerprint %s", place, s.Key)
		}
		return "this drive is from before the new key", "on the build host: pkgsneak export " +
			place
	case Revoked:
		// it may have been done, and the export that tells it did not come to its end
		return "on the build host: pkgsneak export " + place +
				", and before it pkgsneak key rotate --revoke if \"pkgsneak key\" shows this key there; then here",
			"pkgsneak trust " + place
	case Expired:
		if s.ByClock {
			return "if this machine's clock is right", "pkgsneak import " + place +
				" --accept-clock"
		}
		return "if this machine's clock is right, on the build host: pkgsneak key rotate, and export again; or, if its key was renewed", fmt.Sprintf("pkgsneak trust %s --fingerprint %s", place, s.Key)
	case Never:
		return "if it is wanted after all, " +
			compare, fmt.Sprintf("pkgsneak trust %s --fingerprint %s", place, s.Key)
	case Unknown:
		return compare, "pkgsneak trust " + place
	}
	return "", ""
}

// Hint is Advice in one line; "" if there is nothing to do.
func (s Signer) Hint(place string) string {
	do, command := s.Advice(place)
	switch {
	case command == "":
		return do
	case strings.HasPrefix(command, "on the build host"):
		return do + "; " + command
	}
	return do + ": " + command
}

// Judge tells the state of a key. offered are the keys on the drive, name is the origin's if it is
// known.
func (v View) Judge(key *manifest.PublicKey, name string, offered manifest.Ring) Signer {
	fpr := key.Fingerprint()
	s := v.judgeClaim(string(fpr), name)
	s.UserID = key.UserID()
	if trusted, ok := v.Ring.Find(fpr); ok {
		s.State, s.Before, s.Withdrawn = Trusted, "", ""
		if fpr == v.Own {
			s.State = Mine
		}
		s.invalid(trusted.Check(Latest(v.Now, trusted.Created())), trusted)
		s.ByClock = s.State == Expired && v.validByClock(trusted)
		return s
	}
	if s.State == Never || s.State == Revoked || s.State == Former {
		return s
	}
	if err := key.Check(Latest(v.Now, key.Created())); err != nil {
		s.invalid(err, key)
		s.ByClock = s.State == Expired && v.validByClock(key)
		return s
	}
	if s.State == Retired {
		return s
	}
	if old, ok := v.introducer(key, offered, maxChain); ok && old != v.Own {
		s.State, s.Introducer, s.Before, s.Withdrawn = Successor, old, "", ""
	}
	return s
}

// invalid notes that a key is revoked or expired.
func (s *Signer) invalid(err error, key *manifest.PublicKey) {
	var problem *manifest.KeyError
	if !errors.As(err, &problem) {
		return
	}
	s.State, s.Reason = Expired, problem.Reason
	if key.Revoked() {
		s.State = Revoked
	}
}

// judgeClaim is Judge for a key that is not at hand: claimed is a fingerprint or a key id.
func (v View) judgeClaim(claimed, name string) Signer {
	s := Signer{State: Unknown, Key: manifest.Fingerprint(claimed), Name: name}
	for fpr, d := range v.decisions {
		if !claims(claimed, fpr) {
			continue
		}
		s.Key, s.UserID, s.Since, s.State = fpr, d.UserID, d.At, Retired
		s.Introducer = d.By
		switch d.Verdict {
		case state.Never:
			s.State = Never
		case state.Revoked:
			s.State, s.Reason = Revoked, "revoked by its owner, as was seen here before "+day(d.At)
		}
		return s
	}
	for _, key := range v.Former {
		if !claims(claimed, key.Fingerprint()) {
			continue
		}
		s.State, s.Key, s.UserID = Former, key.Fingerprint(), key.UserID()
		if key.Revoked() {
			s.Reason = "this machine has revoked it"
		}
		return s
	}
	if v.Hidden && name != "" && slices.Contains(v.exports, name) {
		s.State = MineHidden
		return s
	}
	if v.Damaged != nil && name != "" && slices.Contains(v.exports, name) {
		s.State = MineDamaged
		return s
	}
	s.Before, s.Withdrawn = v.keyBefore(s.Key, name)
	return s
}

// claims reports whether a fingerprint or key id names a key.
func claims(claimed string, fpr manifest.Fingerprint) bool {
	return len(claimed) >= 16 && strings.HasSuffix(string(fpr), strings.ToUpper(claimed))
}

// keyBefore finds the key under which an origin of this name was imported before: a trusted one, or
// one that was revoked.
func (v View) keyBefore(now manifest.Fingerprint, name string) (before manifest.Fingerprint,
	withdrawn string) {
	for _, id := range v.seen {
		key, ok := v.Ring.Find(id.Key)
		if id.Name != name || name == "" || id.Key == now || !ok || id.Key == v.Own {
			continue
		}
		var problem *manifest.KeyError
		if errors.As(key.Check(Latest(v.Now, key.Created())), &problem) {
			before, withdrawn = id.Key, problem.Reason
			continue
		}
		return id.Key, ""
	}
	return before, withdrawn
}

// A Refusal is the error that a generation was not taken for the origin's, and nothing of it was
// used. It wraps the reason, an error of manifest.
type Refusal struct {
	Origin string // its directory on the drive
	Signer Signer
	Err    error
}

func (e *Refusal) Error() string {
	return fmt.Sprintf("origin %q: %s", e.Origin, e.reason())
}

func (e *Refusal) reason() string {
	if e.Signer.State != NoSigner {
		return e.Signer.Sentence()
	}
	// without the operation, which the origin's name replaces
	if inner := errors.Unwrap(e.Err); inner != nil {
		return fault.Text(inner)
	}
	return fault.Text(e.Err)
}

// Reason is why an origin is not to be believed or not to be read, without the origin's name, for
// those that name it before. It is the sentence that every command has.
func Reason(err error) string {
	var refusal *Refusal
	var damaged *DamagedError
	switch {
	case errors.As(err, &refusal):
		return refusal.reason()
	case errors.As(err, &damaged):
		return fault.Text(damaged.Err)
	}
	return fault.Text(err)
}

// Unwanted reports whether an origin is refused because it was decided here that nobody wants it
// (trust --never): it is passed over, and no failure.
func Unwanted(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && refusal.Signer.State == Never
}

// IsFormer reports whether an origin is refused only because this machine signs with another key by
// now.
func IsFormer(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && refusal.Signer.State == Former && refusal.Signer.Reason == ""
}

// Unwrap gives the reason: a manifest error.
func (e *Refusal) Unwrap() error { return e.Err }

// hint tells what leads out; place is the drive as it is typed.
func (e *Refusal) hint(place string) string {
	if e.Signer.State != NoSigner {
		return e.Signer.Hint(place)
	}
	return "nothing of this origin was used: the drive is damaged, or somebody changed it; on the build host: pkgsneak export " + place
}

// Class is fault.Untrusted.
func (e *Refusal) Class() fault.Class { return fault.Untrusted }

// Hints are the one of Hint, and what takes the origin off the drive where nobody may write it any
// more.
func (e *Refusal) Hints(place string) []string {
	hints := []string{e.hint(place)}
	switch s := e.Signer; {
	case s.State == NoSigner && unsigned(e.Err):
		hints = append(hints, Abandoned(e.Origin, place)+" --unsigned")
	case s.State == Retired && s.Introducer != "":
		hints = append(hints, Abandoned(e.Origin, place))
	case s.State == Unknown && s.UserID == "": // nothing to trust is there
		hints = []string{fmt.Sprintf("its key does not lie on the drive; on the build host: pkgsneak export %s writes it there", place), Abandoned(e.Origin, place)}
	}
	return hints
}

// unsigned reports whether an error is about a manifest that nobody signed as it is.
func unsigned(err error) bool {
	var signature *manifest.SignatureError
	return errors.As(err, &signature) || errors.Is(err, manifest.ErrNotSigned)
}

// Abandoned tells what to do about an origin whose host is gone, lost its key or goes on under
// another name; origin is its directory, place the drive as it is typed.
func Abandoned(origin, place string) string {
	return fmt.Sprintf("if nobody exports it any more: pkgsneak forget %s %s",
		fault.Quote(origin), place)
}

// DamagedError reports that what describes an origin's generation is damaged or missing: its
// record, its catalogue.
type DamagedError struct {
	Origin string // its directory on the drive
	Err    error  // a *drive.DamagedError
}

// Damaged names the origin in an error of its description; other errors, and nil, stay as they are.
func Damaged(dir string, err error) error {
	var damaged *drive.DamagedError
	var named *DamagedError
	if errors.As(err, &named) || !errors.As(err, &damaged) {
		return err
	}
	return &DamagedError{dir, err}
}

func (e *DamagedError) Error() string { return fmt.Sprintf("origin %q: %v", e.Origin, e.Err) }

// Unwrap gives the error that it names the origin of.
func (e *DamagedError) Unwrap() error { return e.Err }

// Hints are those of the error, and what takes the origin off the drive where nobody writes it any
// more.
func (e *DamagedError) Hints(place string) []string {
	hints := slices.Clone(fault.Hints(e.Err, place))
	if fault.Of(e.Err) == fault.Permission {
		return hints
	}
	return append(hints, Abandoned(e.Origin, place))
}

// A Loaded is an origin's generation, and whether it is to be believed.
type Loaded struct {
	Gen    *drive.Generation
	Key    *manifest.PublicKey // that signed it
	Signer Signer
	Err    error // why it is not to be believed: a *Refusal
}

// Load loads a generation. One whose key is not trusted here is read with the keys that lie on the
// drive, for showing and comparing only, and comes with the reason in Err. An error that comes
// without a generation is a *Refusal where it is one of trust.
func (v View) Load(d *drive.Drive, dir string, offered manifest.Ring) (Loaded, error) {
	gen, err := d.Load(dir, v.Ring, v.Now)
	if err == nil {
		key, _ := v.Ring.Find(gen.Signed.Signer)
		return Loaded{Gen: gen, Key: key, Signer: v.Judge(key, gen.Record.Origin, offered)}, nil
	}
	var unknown *manifest.UnknownKeyError
	if !errors.As(err, &unknown) {
		return Loaded{}, v.refuse(dir, err)
	}
	gen, failed := d.Load(dir, offered, v.Now)
	if failed != nil {
		return Loaded{}, v.refuseOffered(dir, err, failed, unknown.Signer, offered)
	}
	key, _ := offered.Find(gen.Signed.Signer)
	s := v.Judge(key, gen.Record.Origin, offered)
	return Loaded{Gen: gen, Key: key, Signer: s, Err: &Refusal{Origin: dir, Signer: s,
		Err: err}}, nil
}

// refuse names the origin and its signer in an error of trust; other errors stay as they are.
func (v View) refuse(dir string, err error) error {
	if !errors.Is(err, manifest.ErrUntrusted) {
		return Damaged(dir, err)
	}
	r := &Refusal{Origin: dir, Err: err}
	var problem *manifest.KeyError
	if errors.As(err, &problem) {
		if key, ok := v.Ring.Find(problem.Fingerprint); ok {
			r.Signer = v.Judge(key, "", nil)
			r.Signer.State, r.Signer.Reason, r.Signer.ByClock = Expired, problem.Reason,
				v.validByClock(key)
			if key.Revoked() {
				r.Signer.State = Revoked
			}
		}
	}
	return r
}

// refuseOffered tells why a generation of an unknown signer cannot be shown. If it claims to be by
// a key on the drive and is not, failed is what counts.
func (v View) refuseOffered(dir string, err, failed error, claimed string,
	offered manifest.Ring) error {
	s := v.judgeClaim(claimed, dir)
	for _, key := range offered {
		if claims(claimed, key.Fingerprint()) {
			s = v.Judge(key, dir, offered)
		}
	}
	if s.State == Successor { // only the claim is there
		var unknown *manifest.UnknownKeyError
		if !errors.As(failed, &unknown) {
			return failedAs(dir, failed)
		}
	}
	return &Refusal{Origin: dir, Signer: s, Err: err}
}

func failedAs(dir string, err error) error {
	if errors.Is(err, manifest.ErrUntrusted) {
		return &Refusal{Origin: dir, Err: err}
	}
	return Damaged(dir, err)
}

// Signers returns the names of the origins on a drive by the key of offered that signed them,
// newest generations only.
func (v View) Signers(d *drive.Drive,
	offered manifest.Ring) (map[manifest.Fingerprint]string, error) {
	dirs, err := d.Origins()
	if err != nil {
		return nil, err
	}
	names := map[manifest.Fingerprint]string{}
	for _, dir := range dirs {
		gen, err := d.Load(dir, offered, v.Now)
		switch {
		case drive.Unanswered(err):
			return nil, err
		case err == nil:
			names[gen.Signed.Signer] = gen.Record.Origin
			gen.Close()
		}
	}
	return names, nil
}
