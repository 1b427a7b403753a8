package importer

import (
	"encoding/hex"
	"iter"
	"maps"
	"slices"
	"strings"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/state"
)

// roster is what the newest state of an origin lists. Its builds are identified when one of them is
// first asked for, each by a hash: a drive that carries all that is listed needs none.
type roster struct {
	entries map[string]pkgindex.Entry // of a state at hand
	facts   *layout.Facts             // the same; nil: an older program does not tell
	list    *state.Accepted           // nil: not made yet
	paths   map[string]string         // by identity; nil: not made yet
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

// rosterOf is the roster of a state at hand.
func rosterOf(s *source) *roster { return &roster{entries: s.entries, facts: s.facts} }

// accepted is what is listed, as it is remembered.
func (r *roster) accepted() *state.Accepted {
	if r.list == nil {
		r.list = listed(maps.Values(r.entries), r.facts)
	}
	return r.list
}

// within reports that nothing is listed but what is carried, where that can be told without the
// builds.
func (r *roster) within(kind payload.Kind, carried map[string]bool) bool {
	missing := func(name string) bool { return !carried[name] }
	switch {
	case r.list != nil:
		return false
	case kind == payload.Package:
		for path := range r.entries {
			if missing(path) {
				return false
			}
		}
		return r.facts == nil || !slices.ContainsFunc(r.facts.Packages,
			func(p layout.PackageFacts) bool { return missing(p.Path) })
	}
	return r.facts == nil || !slices.ContainsFunc(r.facts.Distfiles,
		func(d layout.DistfileFacts) bool { return missing(d.Name) })
}

// untold reports whether the newest state has a package under a path, and does not tell which
// build.
func (r *roster) untold(kind payload.Kind, path string) bool {
	if kind != payload.Package {
		return false
	}
	id, listed := r.accepted().Packages[path]
	return listed && id == ""
}

// path is where the newest state lists a file of an older one, "" if it does not.
func (r *roster) path(kind payload.Kind, it layout.Item, entry pkgindex.Entry) string {
	if kind == payload.Distfile {
		if size, ok := r.accepted().Distfiles[it.Path]; ok && size == it.Size {
			return it.Path
		}
		return ""
	}
	id, packages := identity(entry), r.accepted().Packages
	switch {
	case id == "":
		return ""
	case packages[it.Path] == id:
		return it.Path
	case r.paths == nil:
		r.paths = make(map[string]string, len(packages))
		for path, build := range packages {
			r.paths[build] = path // of those that are not identified nobody asks
		}
	}
	return r.paths[id]
}
