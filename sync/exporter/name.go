package exporter

import (
	"path/filepath"
	"slices"

	"pkgsneak/sync/state"
)

// lastName is the name under which a PKGDIR was exported last, whether anything had changed or not,
// "" if it never was. Where no run of that is remembered any more, serials tell, which are times.
func lastName(st *state.Dir, pkgdir string) (name string) {
	var last int64
	names := make(map[string]bool)
	for _, known := range st.Origins() {
		e, _ := st.Exported(known)
		if realPath(e.PKGDIR) != pkgdir {
			continue
		}
		names[known] = true
		if e.Serial > last {
			name, last = known, e.Serial
		}
	}
	for _, run := range slices.Backward(st.Runs()) {
		if run.Verb != "export" {
			continue
		}
		used := run.Origin
		if now, err := state.RenewedAs(st, state.OriginID{Name: used}); err == nil && now != "" {
			used = now
		}
		if names[used] {
			return used
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
