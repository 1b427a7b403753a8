package importer

import (
	"fmt"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/sandbox"
)

// Class is fault.Older.
func (e *OlderError) Class() fault.Class { return fault.Older }

// Hints name the flag.
func (e *OlderError) Hints(drive string) []string {
	return []string{fmt.Sprintf("if it is meant, this once: pkgsneak import %s --allow-older", drive)}
}

// Class is fault.Untrusted.
func (e *ForkError) Class() fault.Class { return fault.Untrusted }

// Hints name what to look for.
func (e *ForkError) Hints(string) []string {
	return []string{"find out who else signs with this key; a new export from the build host gets a new number"}
}

// Class is fault.Untrusted.
func (e *FutureError) Class() fault.Class { return fault.Untrusted }

// Hints name the flag.
func (e *FutureError) Hints(drive string) []string {
	return []string{fmt.Sprintf("if this machine's clock is wrong, set it; if the generation is known to be good: pkgsneak import %s --accept-future", drive)}
}

// Class is fault.Older.
func (e *StaleError) Class() fault.Class { return fault.Older }

// Hints name the two ways out.
func (e *StaleError) Hints(string) []string {
	return []string{"export again on the build host; to import it all the same, leave --max-age out"}
}

// ConfineImport confines this process, for ever, to what Import needs on this machine: it reads the drive and what the advice at the end is made of (ebuild repositories,
// installed packages), and writes PKGDIR, DISTDIR and the state directory. To be called when the configuration was read; the process cannot mount, unmount or run a program
// afterwards, so that whoever has to do that imports in a process of its own.
func Confine(m machine.Machine, o ImportOptions) sandbox.Confined {
	c := sandbox.Grants{Read: append([]string{o.Drive}, m.Settings.Lookups()...)}
	dirs := []string{m.StateDir}
	if !o.NoPackages {
		dirs = append(dirs, m.PKGDIR)
	}
	if !o.NoDistfiles {
		dirs = append(dirs, m.DISTDIR)
	}
	if o.Pretend {
		c.Read = append(c.Read, dirs...)
		return sandbox.Confine(c)
	}
	c.Write = dirs
	return m.ConfineWriting(c)
}

// OlderError says that the drive carries a generation older than the last one that was imported here.
type OlderError struct {
	Origin       string
	Serial, Have int64
}

func (e *OlderError) Error() string {
	return fmt.Sprintf("origin %q: generation %d on the drive is older than generation %d, which was imported here", e.Origin, e.Serial, e.Have)
}

// ForkError says that a generation's number was seen before with other contents: two machines sign with one key, or somebody replays.
type ForkError struct {
	Origin string
	Serial int64
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("origin %q: generation %d was seen here before with other contents", e.Origin, e.Serial)
}

// FutureError says that a generation comes from further in the future than a wrong clock explains.
type FutureError struct {
	Origin string
	Time   time.Time // of the signature or of the list, whichever is later
	Limit  time.Time
}

func (e *FutureError) Error() string {
	return fmt.Sprintf("origin %q: its generation is of %s, in the future: more than a year after the latest time that is known here", e.Origin, e.Time.UTC().Format(time.RFC3339))
}

// StaleError says that a generation was signed longer ago than the person allows.
type StaleError struct {
	Origin   string
	Age, Max time.Duration
}

func (e *StaleError) Error() string {
	const day = 24 * time.Hour
	return fmt.Sprintf("origin %q: its generation is %d days old, more than the %.4g days that are allowed", e.Origin, e.Age/day, float64(e.Max)/float64(day))
}

// RefusedError says that none of the origins on the drive was accepted, and why each was refused.
type RefusedError struct{ Refused []Refused }

func (e *RefusedError) Error() string {
	reasons := make([]string, len(e.Refused))
	for i, r := range e.Refused {
		reasons[i] = r.Reason
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

// The states of an origin's file on the client.
type presence uint8

const (
	absent   presence = iota // nothing has its name
	present                  // a file with these bytes is where it belongs
	outdated                 // its place holds what this origin delivered earlier: it is replaced
	occupied                 // its place holds something else: a local file
)

// clientFile is what the planner knows of one place on the client.
type clientFile struct {
	Local  string          // the path that was looked at
	Exists bool            // a regular file is there
	Size   int64           //
	Sum    manifest.Digest // of its contents; zero when the size already tells it from everything that matters
}

// judge says how the file at the client's place stands to the wanted bytes and to what this origin delivered there earlier (the zero digest: nothing).
// A file is the origin's only if its digest is the one that is remembered; everything else is local.
func judge(f clientFile, want, delivered manifest.Digest) presence {
	switch {
	case !f.Exists:
		return absent
	case f.Sum == want:
		return present
	case delivered != manifest.Digest{} && f.Sum == delivered:
		return outdated
	}
	return occupied
}
