package exporter

import (
	"fmt"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/ledger"
)

// ForgottenError says that the drive has origins that this machine's key signed and that its state
// directory does not remember. One of them may be what the PKGDIR was exported as: a second one beside it
// would never take from the clients what the host has dropped. It may be another PKGDIR's as well.
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
		hints = append(hints, fmt.Sprintf("to go on with it: pkgsneak export %s --name %s", place, fault.Quote(name)))
	}
	name := "NEW"
	if e.Name != "" {
		name = fault.Quote(e.Name)
	}
	return append(hints, fmt.Sprintf("for a new origin beside: pkgsneak export %s --name %s", place, name))
}

// checkForgotten refuses to begin an origin for a PKGDIR of which nothing is remembered while the drive
// has others of this machine's keys of which nothing is remembered either. The host's own name alone is
// taken for what it was; so is a name that was given.
func checkForgotten(x *exporter, own manifest.Ring) error {
	pkgdir := realPath(x.m.PKGDIR)
	if x.o.Name != "" || lastName(x.l, pkgdir) != "" {
		return nil
	}
	names, err := x.forgotten(own)
	if err != nil || len(names) == 0 || slices.Equal(names, []string{x.name}) {
		return err
	}
	e := &ForgottenError{PKGDIR: x.m.PKGDIR, Origins: names, Name: x.name}
	if slices.Contains(names, x.name) {
		e.Name = ""
	}
	return fmt.Errorf("export: %w", e)
}

// forgotten lists the origins on the drive that a key of this machine signed, and that it neither
// remembers nor has renewed. What cannot be read is nobody's.
func (x *exporter) forgotten(own manifest.Ring) ([]string, error) {
	dirs, err := x.drive.Origins()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, dir := range dirs {
		name, err := x.ownName(dir, own)
		if err != nil {
			return nil, err
		}
		if _, known := x.l.Exported(name); known || name == "" || slices.Contains(names, name) {
			continue
		}
		now, err := ledger.RenewedAs(x.l, ledger.OriginID{Name: name})
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

// ownName is the name of the origin in a directory that one of our keys signed; "" for any other, and
// for one that cannot be read. The error is that of a drive that is gone.
func (x *exporter) ownName(dir string, own manifest.Ring) (string, error) {
	best, other, err := x.drive.OwnCopies(dir, own, x.now)
	if err == nil {
		var g *drive.Generation
		if g, err = x.drive.FromCopies(dir, best, other); err == nil {
			defer g.Close()
			return g.Record.Origin, nil
		}
	}
	if drive.Vanished(err) {
		return "", err
	}
	return "", nil
}
