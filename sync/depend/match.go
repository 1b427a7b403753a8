package depend

import (
	"strings"

	"pkgsneak/sync/cpv"
)

// Package is what an atom is matched against.
type Package struct {
	CP      string // CATEGORY/PN
	Version string // with the revision
	BuildID string
	Slot    string
	Sub     string // the sub-slot; "" is the same as Slot
	Repo    string
	// Use reports whether a flag was on; nil: none was.
	Use func(flag string) bool
	// Valid reports whether the package has a flag: in IUSE, or implicitly by its profile. nil: it
	// has none.
	Valid func(flag string) bool
}

// Match reports whether an atom, its blocker aside, matches a package, as Portage's match_from_list
// and dbapi._match_use do. Conditional USE dependencies have to be evaluated before, except that a
// flag without a default has to be one of the package either way (Requires).
func Match(a *Atom, p *Package) bool {
	return a.CP == p.CP && a.CP != "" && a.matchVersion(p) && a.MatchSlot(p) && a.matchRepo(p) &&
		matchUse(a.Use, p)
}

func (a *Atom) matchVersion(p *Package) bool {
	if a.Op == AnyVersion {
		return true
	}
	if a.Op == Glob {
		return matchGlob(a.Version, p.Version)
	}
	if a.Op == AnyRevision {
		return cpv.WithoutRevision(a.Version) == cpv.WithoutRevision(p.Version)
	}
	c := cpv.CompareVersions(p.Version, a.Version)
	switch a.Op {
	case Exact:
		return c == 0 && (a.BuildID == "" || a.BuildID == p.BuildID)
	case Less:
		return c < 0
	case LessEqual:
		return c <= 0
	case Greater:
		return c > 0
	case GreaterEqual:
		return c >= 0
	}
	return false
}

// matchRepo: a package of which nobody wrote down where it is from matches every repository.
func (a *Atom) matchRepo(p *Package) bool {
	return a.Repo == "" || p.Repo == "" || p.Repo == "__unknown__" || a.Repo == p.Repo
}

// matchGlob is "=*": a prefix of the text, zeros before the first number aside, that ends at a
// boundary: 1* is no prefix of 10.
func matchGlob(pattern, version string) bool {
	pattern, version = trimZeros(pattern), trimZeros(version)
	rest, found := strings.CutPrefix(version, pattern)
	if !found {
		return false
	}
	return rest == "" || strings.IndexByte("._-", rest[0]) >= 0 ||
		cpv.IsDigit(pattern[len(pattern)-1]) != cpv.IsDigit(rest[0])
}

func trimZeros(version string) string {
	trimmed := strings.TrimLeft(version, "0")
	if trimmed == "" || !cpv.IsDigit(trimmed[0]) {
		return "0" + trimmed
	}
	return trimmed
}

// MatchSlot reports whether slot and sub-slot of the package are those of the atom, if it names
// any.
func (a *Atom) MatchSlot(p *Package) bool {
	if a.Slot == "" {
		return true
	}
	sub := p.Sub
	if sub == "" {
		sub = p.Slot
	}
	return a.Slot == p.Slot && (a.Sub == "" || a.Sub == sub)
}

// matchUse reports whether a built package has its flags as deps want them. A flag that the package
// does not have counts as its default, and matches nothing if there is none, neither on nor
// off. On a flag that it has the default means nothing.
func matchUse(deps []UseDep, p *Package) bool {
	for _, u := range deps {
		valid := p.Valid != nil && p.Valid(u.Flag)
		if !valid && u.Default == "" {
			return false
		}
		if u.Suffix != "" {
			continue
		}
		on := u.Default == "(+)"
		if valid {
			on = p.Use != nil && p.Use(u.Flag)
		}
		if on == (u.Prefix == "-") {
			return false
		}
	}
	return true
}

// Requires reports whether a package has each flag that deps name without a default, conditional
// ones included: Portage looks at the atom as it stands in the metadata for that, so "[x?]" refuses
// a package without x even where x is off.
func Requires(deps []UseDep, p *Package) bool {
	for _, u := range deps {
		if u.Default == "" && (p.Valid == nil || !p.Valid(u.Flag)) {
			return false
		}
	}
	return true
}
