package drivewriter

import (
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
)

// A Past is what an origin on a drive records of itself, whatever has become of its key since.
type Past struct {
	Dir    string // below layout.TreeDir
	Name   string
	Signer manifest.Fingerprint
	Serial int64     // of its newest generation
	Signed time.Time // when that was signed
	Files  int       // that its lists name
	Bytes  int64     // of them
}

// PastOrigins returns the origins of a name, sorted by directory: those in the directory that has
// the name and in those that have it with a fingerprint behind; with "" those of all names. ring
// holds all keys that anybody may have signed with. An origin that cannot be read or has no valid
// list is left out; the error is that of a drive that is gone.
func PastOrigins(d *drive.Drive, name string, ring manifest.Ring) ([]Past, error) {
	dirs, err := d.Origins()
	if err != nil {
		return nil, err
	}
	var found []Past
	for _, dir := range dirs {
		if rest, ok := strings.CutPrefix(layout.FoldName(dir), layout.FoldName(name)); name != "" &&
			(!ok || rest != "" && len(rest) != len(layout.Qualified("", "")+"01234567")) {
			continue
		}
		r := &Removal{Dir: dir, d: d, ring: ring, names: newRemovable(d)}
		switch err := r.readLists(); {
		case drive.Unanswered(err):
			return nil, err
		case err != nil || name != "" && r.Name != name || r.Signer == "":
			continue
		}
		found = append(found, Past{Dir: dir, Name: name, Signer: r.Signer, Serial: r.Serial,
			Signed: r.Signed, Files: len(r.names.exact), Bytes: r.names.bytes})
	}
	return found, nil
}
