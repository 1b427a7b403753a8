package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"pkgsneak/sync/payload"
)

// Accepted is what an origin had when the newest generation of it that was imported here was
// signed: of which files an older drive may still be the source.
type Accepted struct {
	Format int   `json:"format"`
	Serial int64 `json:"serial"`
	// Packages are the identities (see package importer) by the origin's path, Distfiles the sizes
	// in bytes by name.
	Packages  map[string]string `json:"packages"`
	Distfiles map[string]int64  `json:"distfiles"`
	// AsOf are the serials of the generations for which the host was looked at when the lists were
	// made, by "packages" and "distfiles"; 0: it never was. nil: an older program does not tell.
	AsOf map[string]int64 `json:"as_of,omitempty"`
}

// LookedAt returns the serial as of which a kind is listed; false where that is not known.
func (a *Accepted) LookedAt(kind payload.Kind) (int64, bool) {
	serial, known := a.AsOf[kindName(kind)]
	return serial, known
}

// List sets what is listed of a kind, as of a serial: of packages the identities, of distfiles the
// sizes of the other list.
func (a *Accepted) List(kind payload.Kind, from *Accepted, asOf int64) {
	if kind == payload.Package {
		a.Packages = from.Packages
	} else {
		a.Distfiles = from.Distfiles
	}
	if a.AsOf == nil {
		a.AsOf = make(map[string]int64)
	}
	a.AsOf[kindName(kind)] = asOf
}

const acceptedFormat = 1

// acceptedFile is named as the lists of imports are. Its ending tells nothing, and is that of the
// first version.
func acceptedFile(id OriginID) string {
	return path.Join(acceptedDir, path.Base(importsFile(importsID{id, "x"})))
}

// AcceptedList returns what is remembered of an origin; nil if nothing is. An odd file is as good
// as none: then an older drive is only refused.
func AcceptedList(st *Dir, id OriginID) (*Accepted, error) {
	data, err := st.read(acceptedFile(id), maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var a Accepted
	if json.Unmarshal(data, &a) != nil || a.Format != acceptedFormat || a.Serial <= 0 {
		return nil, nil
	}
	return &a, nil
}

// SaveAccepted remembers what an origin has, in the place of what was remembered of it.
func SaveAccepted(st *Dir, id OriginID, a Accepted) error {
	a.Format = acceptedFormat
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("remembering what %q has: %w", id.Name, err)
	}
	return st.writeBytes(acceptedFile(id), 0o644, append(data, '\n'))
}
