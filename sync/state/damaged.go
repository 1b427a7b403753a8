package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// A Damaged file is one that verify found wrong on a drive to which this machine exported. Its
// origin's next export to that drive reads it and writes it again. A generation lies on one drive
// only, so that its serial tells the drive.
type Damaged struct {
	Path   string // on the drive, below the origin's directory
	Origin string // the origin's name
	Serial int64  // of the generation that lists it
}

// damagedName is the file of damaged files, a table (damaged, below the state directory):
//
//	pkgsneak damaged 1
//	SERIAL/ORIGIN/PATH
//	end<TAB>1
//
// It is a help and no promise: where it is lost or odd, export --repair finds what is wrong.
const damagedName = "damaged"

// MaxDamaged is how many damaged files are remembered.
const MaxDamaged = 10_000

var damagedTable = table{kind: "pkgsneak damaged", version: 1, fields: 1}

func (d Damaged) row() string {
	return strconv.FormatInt(d.Serial, 10) + "/" + d.Origin + "/" + d.Path
}

// DamagedFiles returns the damaged files that are remembered. An odd file is as good as none.
func DamagedFiles(st *Dir) ([]Damaged, error) {
	data, err := st.read(damagedName, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Damaged
	_, err = damagedTable.parse(string(data), func(f []string) error {
		part := strings.SplitN(f[0], "/", 3)
		if len(part) != 3 {
			return fmt.Errorf("%.80q names no file of a generation", f[0])
		}
		serial, err := parseInt(part[0])
		all = append(all, Damaged{Path: part[2], Origin: part[1], Serial: serial})
		return err
	})
	if err != nil {
		return nil, nil
	}
	return all, nil
}

// SetDamaged remembers which files of a generation are damaged, in place of what was remembered of
// it and of the generation before.
func SetDamaged(st *Dir, origin string, before, serial int64, paths []string) error {
	old, err := DamagedFiles(st)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(slices.Clone(old), func(d Damaged) bool {
		return d.Origin == origin && (d.Serial == before || d.Serial == serial)
	})
	for _, path := range paths {
		all = append(all, Damaged{Path: path, Origin: origin, Serial: serial})
	}
	// The newest generations stay.
	slices.SortFunc(all, func(a, b Damaged) int {
		return cmp.Or(cmp.Compare(b.Serial, a.Serial), strings.Compare(a.Path, b.Path))
	})
	all = all[:min(len(all), MaxDamaged)]
	slices.SortFunc(all, func(a, b Damaged) int { return strings.Compare(a.row(), b.row()) })
	all = slices.Compact(all)
	if slices.Equal(all, old) {
		return nil
	}
	return st.write(damagedName, 0o644, func(w io.Writer) error {
		return damagedTable.write(w, len(all), func(b []byte, i int) []byte {
			return append(b, escape(all[i].row())...)
		})
	})
}
