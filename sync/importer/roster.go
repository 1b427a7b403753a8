package importer

import (
	"encoding/hex"
	"iter"
	"strings"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/state"
)

// roster is what the newest state of an origin lists.
type roster struct {
	packages  map[string]string // identities by path
	paths     map[string]string // paths by identity
	distfiles map[string]int64
}

// identity names the build that an entry of a catalogue describes; "" where the entry does not tell
// enough.
func identity(e pkgindex.Entry) string {
	if _, ok := e.MD5(); !ok || e.Get("SIZE") == "" || e.Get("SHA1") == "" {
		return ""
	}
	text := strings.Join([]string{e.CPV(), e.Get("BUILD_ID"), e.Get("BUILD_TIME"), e.Get("SIZE"),
		strings.ToLower(e.Get("MD5")), strings.ToLower(e.Get("SHA1"))}, "\n")
	sum := digest.Bytes([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// listed is what a generation lists, as it is remembered.
func listed(entries iter.Seq[pkgindex.Entry], facts *layout.Facts) *state.Accepted {
	a := &state.Accepted{Packages: make(map[string]string), Distfiles: make(map[string]int64)}
	for e := range entries {
		if id := identity(e); id != "" {
			a.Packages[e.Path()] = id
		}
	}
	if facts == nil {
		return a
	}
	for _, p := range facts.Packages { // the host's index may not have it
		if _, known := a.Packages[p.Path]; !known {
			a.Packages[p.Path] = ""
		}
	}
	for _, d := range facts.Distfiles {
		a.Distfiles[d.Name] = d.Size
	}
	return a
}

func newRoster(a *state.Accepted) *roster {
	r := &roster{packages: a.Packages, paths: make(map[string]string, len(a.Packages)),
		distfiles: a.Distfiles}
	for path, id := range a.Packages {
		if id != "" {
			r.paths[id] = path
		}
	}
	return r
}

// untold reports whether the newest state has a package under a path, and does not tell which
// build.
func (r *roster) untold(kind payload.Kind, path string) bool {
	id, listed := r.packages[path]
	return kind == payload.Package && listed && id == ""
}

// path is where the newest state lists a file of an older one, "" if it does not.
func (r *roster) path(kind payload.Kind, it layout.Item, entry pkgindex.Entry) string {
	if kind == payload.Distfile {
		if size, ok := r.distfiles[it.Path]; ok && size == it.Size {
			return it.Path
		}
		return ""
	}
	id := identity(entry)
	if id == "" || r.packages[it.Path] == id {
		if id == "" {
			return ""
		}
		return it.Path
	}
	return r.paths[id]
}
