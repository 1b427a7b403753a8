package exporter

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// A Namesake is another origin of this one's name on the drive: what this machine exported there
// before its key was lost, or another machine's that has the same name.
type Namesake struct {
	Dir         string               `json:"dir"`
	Fingerprint manifest.Fingerprint `json:"fingerprint"`
	UserID      string               `json:"user_id,omitempty"`
	Serial      int64                `json:"serial"`
	Signed      time.Time            `json:"signed"` // its last export
	Files       payload.Tally        `json:"files"`  // forget frees them
	Own         bool                 `json:"own"`    // this machine has, or had, its key
}

// namesakes looks for them.
type namesakes struct {
	drive *drive.Drive
	name  string        // the origin's
	dir   string        // its directory; "" if it has none yet
	own   manifest.Ring // the keys that this machine has, or had
	known manifest.Ring // the others that may have signed
	made  time.Time     // when the key was made; zero if that is still to come
	now   time.Time     // by the clock
}

// find returns the namesakes on the drive. The error is that of a drive that is gone.
func (f *namesakes) find() ([]Namesake, error) {
	offered, err := trust.Offers(f.drive)
	if err != nil {
		return nil, err
	}
	ring := slices.Concat(f.own, f.known, offered)
	found, err := drivewriter.PastOrigins(f.drive, f.name, ring)
	if err != nil {
		return nil, err
	}
	all := []Namesake{}
	for _, p := range found {
		_, own := f.own.Find(p.Signer)
		if p.Dir == f.dir || !own && f.alive(p.Signed) {
			continue
		}
		n := Namesake{Dir: p.Dir, Fingerprint: p.Signer, Serial: p.Serial, Signed: p.Signed,
			Own: own, Files: payload.Tally{Files: p.Files, Bytes: p.Bytes}}
		if key, ok := ring.Find(p.Signer); ok {
			n.UserID = key.UserID()
		}
		all = append(all, n)
	}
	return all, nil
}

// unreadable is the directory that has the origin's plain name where this origin lies, or will lie,
// in another one, and nobody can tell whose it is; "" if there is none. The error tells why.
func (f *namesakes) unreadable() (dir string, why error) {
	if f.dir == f.name || f.dir == "" {
		return "", nil
	}
	info, err := f.drive.Root().Lstat(f.name)
	if err != nil || !info.IsDir() {
		return "", nil
	}
	offered, err := trust.Offers(f.drive)
	if err != nil {
		return "", nil
	}
	ring := slices.Concat(f.own, f.known, offered)
	best, other := f.drive.PastCopies(f.name, ring)
	if best.Signed != nil || drive.OwnerOf(f.drive, f.name, ring) != "" {
		return "", nil
	}
	if files, err := drive.HasFiles(f.drive, f.name); !files || err != nil {
		return "", nil
	}
	if best.Begun() && other.Begun() {
		return f.name,
			errors.New("an export began there, did not end, and did not say whose it was")
	}
	return f.name, best.State.Err
}

// strangers are the other origins on the drive, of whatever name, that none of this machine's keys
// signed.
func (f *namesakes) strangers() ([]drivewriter.Past, error) {
	offered, err := trust.Offers(f.drive)
	if err != nil {
		return nil, err
	}
	all, err := drivewriter.PastOrigins(f.drive, "", slices.Concat(f.own, f.known, offered))
	return slices.DeleteFunc(all, func(p drivewriter.Past) bool {
		return p.Name == f.name ||
			p.Dir == f.dir
	}), err
}

// alive reports whether a signature was made after this machine's key: then another machine exports
// under the same name, each in its own directory, and nothing was lost.
func (f *namesakes) alive(signed time.Time) bool {
	return f.made.After(trust.NotBefore) && signed.After(f.made) && !signed.After(f.now)
}

// restore is the command that brings a lost key back.
const restore = "pkgsneak key import COPY/signing.asc --retire"

// notices tell what a namesake is, and which ways there are. place is the drive as it is typed.
func (n *Namesake) notices(name, place string) []string {
	lines := []string{fmt.Sprintf("the drive has another origin of the name %q: %q, of the key %s (%s), exported last on %s",
		name, layout.TreeDir+"/"+n.Dir, n.Fingerprint.Grouped(), n.UserID, fault.Time(n.Signed))}
	gone := fmt.Sprintf("pkgsneak forget %s %s", fault.Quote(n.Dir), place)
	if n.Own {
		return append(lines,
			fmt.Sprintf("that is a former key of this machine; when the clients have imported %q with the key of now: %s", name, gone))
	}
	return append(lines,
		fmt.Sprintf("if that key was this machine's, and is lost: %s goes on with it, COPY being a copy of its state directory; or each client types pkgsneak trust %s --replaces %s, and then, here: %s", restore, place, n.Fingerprint, gone),
		fmt.Sprintf("if it is another machine's: pkgsneak export %s --name NAME gives this one a name of its own", place))
}

// CrowdedError reports that there is too little space on a drive which has namesakes: forgetting
// them frees some. The revocation of a key is there all the same.
type CrowdedError struct {
	Err       error
	Namesakes []Namesake
	Revoked   []manifest.Fingerprint
}

// withNamesakes tells of them, and of the revoked keys that the drive tells of, where room lacks.
func withNamesakes(err error, found []Namesake, revoked []manifest.Fingerprint) error {
	if err == nil || len(found)+len(revoked) == 0 || fault.Of(err) != fault.Space ||
		errors.As(err, new(*state.UnsavedError)) { // it is not the drive that is full
		return err
	}
	var room *CrowdedError
	if errors.As(err, &room) {
		room.Namesakes = append(room.Namesakes, found...)
		return err
	}
	return &CrowdedError{err, found, revoked}
}

func (e *CrowdedError) Error() string { return e.Err.Error() + e.Told() }

// revokedIn is what revoked keys exported in the very directory in which the origin begins anew.
func (f *namesakes) revokedIn(dir string, revoked []manifest.Fingerprint) []Namesake {
	if len(revoked) == 0 {
		return nil
	}
	found, _ := f.find() // they only help to make room
	return slices.DeleteFunc(found, func(n Namesake) bool {
		return n.Dir != dir ||
			!slices.Contains(revoked, n.Fingerprint)
	})
}

// Told means that the drive tells the clients of the revoked keys; "" if there are none.
func (e *CrowdedError) Told() string {
	var text string
	for _, key := range e.Revoked {
		text += fmt.Sprintf("; that the key %s is revoked is on the drive", key.Grouped())
	}
	return text
}

// Unwrap gives the error of the drive.
func (e *CrowdedError) Unwrap() error { return e.Err }

// Reclaimable is what forget frees, in bytes.
func (e *CrowdedError) Reclaimable() (bytes int64) {
	for _, n := range e.Namesakes {
		bytes += n.Files.Bytes
	}
	return bytes
}

// Hints name the command for each namesake, with what it frees.
func (e *CrowdedError) Hints(place string) (hints []string) {
	for _, n := range e.Namesakes {
		hints = append(hints,
			fmt.Sprintf("pkgsneak forget %s %s frees %d bytes: what the key %s exported under this name, last on %s",
				fault.Quote(n.Dir), place, n.Files.Bytes, n.Fingerprint.Grouped(),
				fault.Time(n.Signed)))
		if !n.Own {
			hints = append(hints,
				"if that key was this machine's, and is lost, this goes on with it and needs no room: "+restore+", COPY being a copy of the state directory")
		}
	}
	last := "free some space there, or leave something out (--no-distfiles), and run the same command again"
	if len(hints) > 0 {
		last = "or " + last
	}
	return append(hints, last)
}
