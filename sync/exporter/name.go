package exporter

import (
	"path/filepath"

	"pkgsneak/sync/state"
)

// lastName is the name under which a PKGDIR was exported last, "" if it never was. Serials are
// times.
func lastName(st *state.Dir, pkgdir string) (name string) {
	var last int64
	for _, known := range st.Origins() {
		if e, _ := st.Exported(known); e.Serial > last && realPath(e.PKGDIR) == pkgdir {
			name, last = known, e.Serial
		}
	}
	return name
}

func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}
