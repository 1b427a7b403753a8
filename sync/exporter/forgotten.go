package exporter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/state"
)

// ForgottenError reports that the drive has origins that this machine's key signed and that its
// state directory does not remember. One of them may be what the PKGDIR was exported as: a second
// one beside it would never take from the clients what the host has dropped. It may be another
// PKGDIR's as well.
type ForgottenError struct {
	PKGDIR  string
	Origins []string // their names, sorted
	Name    string   // that a new origin would have; "" if one of them has it
}

func (e *ForgottenError) Error() string {
	return fmt.Sprintf("the drive has what this machine's key signed as %s, and the state directory does not remember from which PKGDIR: is it %q?",
		quotedList(e.Origins), e.PKGDIR)
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(quoted, ", ")
}

// Class is that of no particular error.
func (e *ForgottenError) Class() fault.Class { return fault.Failed }

// Hints name both ways on.
func (e *ForgottenError) Hints(place string) (hints []string) {
	for _, name := range e.Origins {
		hints = append(hints, fmt.Sprintf("to go on with it: pkgsneak export %s --name %s", place,
			fault.Quote(name)))
	}
	name := "NEW"
	if e.Name != "" {
		name = fault.Quote(e.Name)
	}
	return append(hints, fmt.Sprintf("for a new origin beside: pkgsneak export %s --name %s", place,
		name))
}

// forgotten looks for them on a drive.
type forgotten struct {
	drive *drive.Drive
	st    *state.Dir
	own   manifest.Ring // the keys that this machine has, or had
	now   time.Time
}

// check refuses to begin an origin of that name for a PKGDIR of which nothing is remembered while
// the drive has others of this machine's keys of which nothing is remembered either. The host's own
// name alone is taken for what it was.
func (f *forgotten) check(pkgdir, name string) error {
	if lastName(f.st, realPath(pkgdir)) != "" {
		return nil
	}
	names, err := f.find()
	if err != nil || len(names) == 0 || slices.Equal(names, []string{name}) {
		return err
	}
	e := &ForgottenError{PKGDIR: pkgdir, Origins: names, Name: name}
	if slices.Contains(names, name) {
		e.Name = ""
	}
	return fmt.Errorf("export: %w", e)
}

// find lists the origins on the drive that a key of this machine signed, and that it neither
// remembers nor has renewed, sorted.
func (f *forgotten) find() ([]string, error) {
	dirs, err := f.drive.Origins()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, dir := range dirs {
		name, err := f.nameOf(dir)
		if err != nil {
			return nil, err
		}
		if _, known := f.st.Exported(name); known || name == "" || slices.Contains(names, name) {
			continue
		}
		now, err := state.RenewedAs(f.st, state.OriginID{Name: name})
		if err != nil {
			return nil, err
		}
		if now == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// nameOf is the name of the origin in a directory that one of our keys signed; "" for any other,
// and for one that cannot be read. The error is that of a drive that is gone.
func (f *forgotten) nameOf(dir string) (string, error) {
	best, other, err := f.drive.OwnCopies(dir, f.own, f.now)
	if err == nil {
		var g *drive.Generation
		if g, err = f.drive.FromCopies(dir, best, other); err == nil {
			defer g.Close()
			return g.Record.Origin, nil
		}
	}
	if drive.Unanswered(err) {
		return "", err
	}
	return "", nil
}
