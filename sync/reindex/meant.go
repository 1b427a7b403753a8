package reindex

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/pkgdir"
)

// NoPKGDIRError reports that a directory that was named has neither a package nor an index: an
// index would be written where nobody looks for one.
type NoPKGDIRError struct {
	Dir  string
	Like string // how it looks, for people
}

func (e *NoPKGDIRError) Error() string {
	return fmt.Sprintf("index: %q is no PKGDIR: %s", e.Dir, e.Like)
}

// Class is that of no particular error.
func (e *NoPKGDIRError) Class() fault.Class { return fault.Failed }

// Hints name the flag with which it is meant.
func (e *NoPKGDIRError) Hints(string) []string {
	if drive.HasTree(e.Dir) {
		return []string{"what is on it: pkgsneak status " + fault.Quote(e.Dir)}
	}
	return []string{"if packages are to come there: pkgsneak index --pkgdir " + fault.Quote(e.Dir)}
}

// meant returns an error if a directory that was named for this run looks like no PKGDIR.
func meant(ctx context.Context, d *pkgdir.Dir, m machine.Machine, o IndexOptions) error {
	if !o.Named {
		return nil
	}
	if _, err := d.Lstat("Packages"); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if drive.HasTree(m.PKGDIR) {
		return &NoPKGDIRError{Dir: m.PKGDIR, Like: "it is a drive, whose index an export writes"}
	}
	scan, err := d.Scan(ctx)
	if err != nil || len(scan.Files)+len(scan.Misplaced) > 0 ||
		len(d.Missed(scan, func(func(string) bool) {})) > 0 {
		return err
	}
	e := &NoPKGDIRError{Dir: m.PKGDIR, Like: "it has no index and no package"}
	if below, ok := machine.DistdirIn(m.PKGDIR, m.DISTDIR); ok && below == "." {
		e.Like = "it is this machine's DISTDIR"
		return e
	}
	entries, err := os.ReadDir(m.PKGDIR)
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries[:min(len(entries), mostNamed)] {
		names = append(names, fmt.Sprintf("%q", entry.Name()))
	}
	if e.Like = "it is empty"; len(names) > 0 {
		e.Like = "it has no index and no package, but " + strings.Join(names, ", ")
	}
	return e
}

// mostNamed is how many names tell what a directory is.
const mostNamed = 3
