// Package cpv reads the names of Gentoo packages: category, package name and version (Package
// Manager Specification, chapters 2 and 3), with the exceptions real Portage makes. It is the one
// lexer for them, and for slots and USE flags, which dependencies and configuration are made of.
//
//	CPV      = CATEGORY "/" PF
//	PF       = PN "-" VERSION
//	CATEGORY = word *( word / "-" / "." / "+" )        word: A-Z a-z 0-9 _
//	PN       = word *( word / "-" / "+" )              not ending in "-" VERSION
//	VERSION  = number *( "." number ) [ letter ] *( "_" suffix [ number ] ) [ "-r" number ]
//	suffix   = "alpha" / "beta" / "pre" / "rc" / "p"
//	slot     = word *( word / "-" / "." / "+" )
//	flag     = alnum *( word / "-" / "+" / "@" )       alnum: A-Z a-z 0-9
//
// Everything is ASCII. The longest name accepted is MaxLength bytes.
//
//	app-misc/labhello-1.0-r2  =  app-misc, labhello, 1.0-r2
package cpv

import (
	"cmp"
	"fmt"
	"strings"
)

// MaxLength is the longest category, PF or CPV that is accepted, in bytes:
// what a file name can hold.
const MaxLength = 255

// CPV is a category, package name and version.
type CPV struct {
	Category string
	PN       string
	Version  string // with the revision: 1.0-r2
	PF       string // PN-Version
}

// Parse splits a CPV such as app-misc/labhello-1.0-r2.
func Parse(s string) (CPV, error) {
	cat, pf, ok := strings.Cut(s, "/")
	if !ok || !ValidCategory(cat) {
		return CPV{}, fmt.Errorf("parse cpv %q: no valid category", s)
	}
	pn, version, ok := SplitPF(pf)
	if !ok {
		return CPV{}, fmt.Errorf("parse cpv %q: no package name and version", s)
	}
	return CPV{Category: cat, PN: pn, Version: version, PF: pf}, nil
}

// ValidCategory reports whether s can be a category. Whether a repository
// has it does not matter: Portage indexes packages of unknown categories.
func ValidCategory(s string) bool {
	return len(s) <= MaxLength && IsSlot(s)
}

// SplitPF splits a package name with version, such as labhello-1.0-r2, into
// labhello and 1.0-r2. It reports false where Portage sees no package: no
// version, characters that do not belong, or a name that itself ends in a
// version (foo-1-2).
func SplitPF(pf string) (pn, version string, ok bool) {
	if len(pf) > MaxLength {
		return "", "", false
	}
	pn, version, ok = CutVersion(pf)
	if !ok || !validPN(pn) {
		return "", "", false
	}
	return pn, version, true
}

func validPN(pn string) bool {
	_, _, versioned := CutVersion(pn)
	return IsName(pn) && !versioned
}

// version is a version in pieces; all are parts of the string it came from.
type version struct {
	numbers  string // 1.2.3
	letter   byte   // 0: none
	suffixes string // _alpha1_p
	revision string // digits behind -r; "" is the same as 0
}

func parseVersion(s string) (version, bool) {
	var v version
	n := digits(s)
	if n == 0 {
		return v, false
	}
	for n < len(s) && s[n] == '.' {
		d := digits(s[n+1:])
		if d == 0 {
			return v, false
		}
		n += 1 + d
	}
	v.numbers, s = s[:n], s[n:]
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		v.letter, s = s[0], s[1:]
	}
	rest := s
	for {
		_, _, more, ok := cutSuffix(rest)
		if !ok {
			break
		}
		rest = more
	}
	v.suffixes, s = s[:len(s)-len(rest)], rest
	if s == "" {
		return v, true
	}
	if s[0] != '-' || !isRevision(s[1:]) {
		return v, false
	}
	v.revision = s[2:]
	return v, true
}

// suffixRank orders the suffixes; a version without one counts as "_p" with a
// number below 0.
var suffixRank = [...]struct {
	name string
	rank int
}{{"alpha", -4}, {"beta", -3}, {"pre", -2}, {"rc", -1}, {"p", 0}}

// cutSuffix takes one suffix from the front of s: "_rc2_p1" is the rank of rc,
// "2" and "_p1".
func cutSuffix(s string) (rank int, number, rest string, ok bool) {
	if s == "" || s[0] != '_' {
		return 0, "", s, false
	}
	for _, x := range suffixRank {
		if after, found := strings.CutPrefix(s[1:], x.name); found {
			n := digits(after)
			return x.rank, after[:n], after[n:], true
		}
	}
	return 0, "", s, false
}

// CompareVersions orders two versions as Portage does (PMS, section 3.3): it is negative if a is
// older than b, 0 if they count as the same (1.0 and 1.0-r0), positive if a is newer. A string that
// is not a version is older than every version and ordered bytewise among its like.
func CompareVersions(a, b string) int {
	va, aok := parseVersion(a)
	vb, bok := parseVersion(b)
	switch {
	case !aok && !bok:
		return cmp.Compare(a, b)
	case !aok:
		return -1
	case !bok:
		return 1
	}
	if c := compareNumbers(va.numbers, vb.numbers); c != 0 {
		return c
	}
	if c := cmp.Compare(va.letter, vb.letter); c != 0 {
		return c
	}
	if c := compareSuffixes(va.suffixes, vb.suffixes); c != 0 {
		return c
	}
	return compareInteger(va.revision, vb.revision)
}

func compareNumbers(a, b string) int {
	x, a, amore := strings.Cut(a, ".")
	y, b, bmore := strings.Cut(b, ".")
	if c := compareInteger(x, y); c != 0 {
		return c
	}
	for amore && bmore {
		x, a, amore = strings.Cut(a, ".")
		y, b, bmore = strings.Cut(b, ".")
		if c := compareComponent(x, y); c != 0 {
			return c
		}
	}
	switch {
	case amore:
		return 1
	case bmore:
		return -1
	}
	return 0
}

// compareComponent compares two numbers behind a dot: with a leading zero they
// are the digits of a fraction.
func compareComponent(a, b string) int {
	if a[0] == '0' || b[0] == '0' {
		return cmp.Compare(strings.TrimRight(a, "0"), strings.TrimRight(b, "0"))
	}
	return compareInteger(a, b)
}

// compareInteger compares decimal numbers of any length; "" is 0.
func compareInteger(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

func compareSuffixes(a, b string) int {
	for a != "" || b != "" {
		arank, anumber, arest, aok := cutSuffix(a)
		brank, bnumber, brest, bok := cutSuffix(b)
		if c := cmp.Compare(arank, brank); c != 0 {
			return c
		}
		// One has run out: the other's _p is newer, even without a number.
		if !aok {
			return -1
		}
		if !bok {
			return 1
		}
		if c := compareInteger(anumber, bnumber); c != 0 {
			return c
		}
		a, b = arest, brest
	}
	return 0
}
