package importer

import (
	"slices"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// An import may have several drives. Each is verified like a single one. Of an origin that is on
// more than one of them the newest state is imported, and the other drives are its further sources:
// a file that is damaged or missing on the one comes from another that lists the same bytes (the
// signers of the lists decide nothing there, as the BLAKE2B of the newest list does), and what only
// another one carries comes from there (donors.go).

// mounted is one of the drives.
type mounted struct {
	*drive.Drive
	path string
}

// source is a drive's state of an origin.
type source struct {
	gen     *drive.Generation
	at      string                    // the drive
	entries map[string]pkgindex.Entry // as those of incoming
	facts   *layout.Facts
	stock   map[payload.Kind]*drive.Stock
}

// openDrives opens all drives; none is used where one is not there.
func openDrives(paths []string) ([]mounted, error) {
	var drives []mounted
	for _, path := range paths {
		d, err := drive.OpenFor("import from", path)
		if err != nil {
			closeDrives(drives)
			return nil, &driveError{path, err}
		}
		drives = append(drives, mounted{d, path})
	}
	return drives, nil
}

// driveError is the error of one of several drives, whose hints are about that one.
type driveError struct {
	path string
	err  error
}

func (e *driveError) Error() string { return e.err.Error() }
func (e *driveError) Unwrap() error { return e.err }

// Hints are those of the error, for its drive.
func (e *driveError) Hints(string) []string {
	place := fault.Quote(e.path)
	hints := fault.Hints(e.err, place)
	if len(hints) == 0 && fault.Of(e.err) == fault.NoTree {
		hints = []string{"if it is the drive, on the build host: pkgsneak export " + place}
	}
	return hints
}

func closeDrives(drives []mounted) {
	for _, d := range drives {
		d.Close()
	}
}

// sameContents finds a file with the bytes that are wanted, under its own name first.
func sameContents(gen *drive.Generation, kind payload.Kind,
	wanted layout.Item) (layout.Item, bool) {
	if item, ok := gen.Find(kind, wanted.Path); ok && item.Sum == wanted.Sum &&
		item.Size == wanted.Size {
		return item, true
	}
	items := gen.Packages()
	if kind == payload.Distfile {
		items = gen.Distfiles()
	}
	i := slices.IndexFunc(items, func(item layout.Item) bool {
		return item.Sum == wanted.Sum &&
			item.Size == wanted.Size
	})
	if i < 0 {
		return layout.Item{}, false
	}
	return items[i], true
}
