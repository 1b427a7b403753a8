package depend

import (
	"errors"
	"fmt"
	"strings"

	"pkgsneak/sync/cpv"
)

var errAtom = errors.New("not a package atom")

// Block is how an atom blocks what it matches.
type Block uint8

const (
	NoBlock     Block = iota
	WeakBlock         // "!": not beside each other in the end
	StrongBlock       // "!!": not even for a moment
)

// Op is the operator before an atom's category; "" matches every version.
type Op string

const (
	AnyVersion   Op = ""
	Exact        Op = "="  // this version and revision
	Glob         Op = "=*" // this version, up to a boundary between its parts
	AnyRevision  Op = "~"  // this version, any revision
	Less         Op = "<"
	LessEqual    Op = "<="
	Greater      Op = ">"
	GreaterEqual Op = ">="
)

// Atom is a package atom.
//
//	atom = ["!" | "!!"] ( cat "/" name | op cat "/" name "-" version ["-" build id] | "=" cat "/" name "-" version "*" )
//	       [":" slot] ["::" repository] ["[" use {"," use} "]"]
//	op   = "=" | "~" | "<" | "<=" | ">" | ">="
//	slot = "*" | ["=" after] main ["/" sub]
//	use  = ["!" | "-"] flag ["(+)" | "(-)"] ["?" | "="]
//
// The zero value matches nothing.
type Atom struct {
	Block   Block
	Op      Op
	CP      string // CATEGORY/PN
	Version string // with the revision; "" for AnyVersion
	BuildID string // of "=a/b-1.0-3"; "" if there is none
	Slot    string // "" is any
	Sub     string // "" is any
	// SlotOp is "=" (rebuilt when the sub-slot changes; with a Slot and a Sub the atom of a built
	// package), "*" (any slot) or "".
	SlotOp string
	Repo   string
	Use    []UseDep

	text        string // as it was written
	base        string // up to the slot, repository or USE dependencies
	slot        string // without the colon
	conditional bool   // Use has members that depend on the flags of the package that depends
}

// UseDep is one USE dependency of an atom.
type UseDep struct {
	Prefix  string // "", "-" or "!"
	Flag    string
	Default string // "", "(+)" or "(-)": what counts where the package has no such flag
	Suffix  string // "", "?" or "=": depends on the flags of the package that depends
}

func (u UseDep) String() string { return u.Prefix + u.Flag + u.Default + u.Suffix }

// ParseAtom checks s against the grammar of Atom, which is the permissive one that Portage uses
// where no EAPI is given; Since is which EAPI an atom needs.
func ParseAtom(s string) (Atom, error) {
	if len(s) > MaxLength {
		return Atom{}, fmt.Errorf("parse atom: longer than %d bytes", MaxLength)
	}
	a, err := parseAtom(s)
	if err != nil {
		return Atom{}, fmt.Errorf("parse atom %q: %w", s, err)
	}
	return a, nil
}

// String returns the atom as it was written.
func (a Atom) String() string { return a.text }

// Category returns the part of CP before the slash.
func (a Atom) Category() string {
	category, _, _ := strings.Cut(a.CP, "/")
	return category
}

// Conditional reports whether the atom has USE dependencies that Evaluate decides.
func (a Atom) Conditional() bool { return a.conditional }

// Built reports whether this is the atom of a built package that is bound to the sub-slot it was
// built against: ":0/2=".
func (a Atom) Built() bool { return a.SlotOp == "=" && a.Sub != "" }

// parseAtom checks tok against the grammar.
func parseAtom(tok string) (Atom, error) {
	a := Atom{text: tok, base: tok}
	if i := strings.IndexAny(tok, ":["); i >= 0 {
		a.base = tok[:i]
		if err := a.parseTail(tok[i:]); err != nil {
			return Atom{}, err
		}
	}
	if !a.parseBase(a.base) {
		return Atom{}, errAtom
	}
	return a, nil
}

// parseTail takes what follows the name: slot, repository, USE dependencies.
func (a *Atom) parseTail(s string) error {
	if s[0] == ':' && !strings.HasPrefix(s, "::") {
		n := cpv.Span(s[1:], isSlotByte)
		a.slot, s = s[1:1+n], s[1+n:]
		if !isSlot(a.slot) {
			return errAtom
		}
		a.setSlot()
	}
	if rest, found := strings.CutPrefix(s, "::"); found {
		n := cpv.Span(rest, isRepoByte)
		if n == 0 || rest[0] == '-' {
			return errAtom
		}
		a.Repo, s = rest[:n], rest[n:]
	}
	if s == "" {
		return nil
	}
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return errAtom
	}
	return a.parseUse(s[1 : len(s)-1])
}

// setSlot takes the checked slot dependency apart.
func (a *Atom) setSlot() {
	if a.slot == "*" || a.slot == "=" {
		a.SlotOp = a.slot
		return
	}
	slot, bound := strings.CutSuffix(a.slot, "=")
	if bound {
		a.SlotOp = "="
	}
	a.Slot, a.Sub, _ = strings.Cut(slot, "/")
}

// parseBase takes blocker, operator, category, name and version.
func (a *Atom) parseBase(s string) bool {
	if rest, found := strings.CutPrefix(s, "!"); found {
		a.Block = WeakBlock
		if s, found = strings.CutPrefix(rest, "!"); found {
			a.Block = StrongBlock
		}
	}
	n := cpv.Span(s, func(c byte) bool { return c == '=' || c == '~' || c == '<' || c == '>' })
	a.Op, s = Op(s[:n]), s[n:]
	slash := strings.IndexByte(s, '/')
	if slash < 0 || !cpv.IsSlot(s[:slash]) {
		return false
	}
	switch a.Op {
	case AnyVersion:
		_, _, versioned := cpv.CutVersion(s[slash+1:])
		a.CP = s
		return cpv.IsName(s[slash+1:]) && !versioned
	case Exact:
		if rest, glob := strings.CutSuffix(s, "*"); glob {
			a.Op = Glob
			return a.parseVersioned(rest, slash, false)
		}
		return a.parseVersioned(s, slash, true)
	case AnyRevision, Less, LessEqual, Greater, GreaterEqual:
		return a.parseVersioned(s, slash, true)
	}
	return false
}

// parseVersioned takes cat/name-version and, where it may be, cat/name-version-buildid.
func (a *Atom) parseVersioned(s string, slash int, buildID bool) bool {
	name, version, found := cpv.CutVersion(s[slash+1:])
	if !found {
		return false
	}
	if inner, innerVersion, found := cpv.CutVersion(name); found && cpv.IsName(inner) {
		if !buildID || !isBuildID(version) {
			return false
		}
		name, version, a.BuildID = inner, innerVersion, version
	}
	a.CP, a.Version = s[:slash+1+len(name)], version
	return cpv.IsName(name)
}

func isBuildID(s string) bool {
	return cpv.Span(s, cpv.IsDigit) == len(s) && (len(s) == 1 || s[0] != '0')
}

// isSlot checks a slot dependency: main[/sub], then = or not; * and = may stand alone.
func isSlot(s string) bool {
	if s == "*" || s == "=" {
		return true
	}
	main, sub, found := strings.Cut(strings.TrimSuffix(s, "="), "/")
	return cpv.IsSlot(main) && (!found || cpv.IsSlot(sub))
}

func parseUseDep(s string) (UseDep, bool) {
	var u UseDep
	if s != "" && (s[0] == '!' || s[0] == '-') {
		u.Prefix, s = s[:1], s[1:]
	}
	if s != "" && (s[len(s)-1] == '?' || s[len(s)-1] == '=') {
		u.Suffix, s = s[len(s)-1:], s[:len(s)-1]
	}
	if strings.HasSuffix(s, "(+)") || strings.HasSuffix(s, "(-)") {
		u.Default, s = s[len(s)-3:], s[:len(s)-3]
	}
	u.Flag = s
	if u.Prefix == "!" && u.Suffix == "" || u.Prefix == "-" && u.Suffix != "" {
		return UseDep{}, false
	}
	return u, cpv.IsFlag(u.Flag)
}

// parseUse takes the USE dependencies, and checks that no flag has two different defaults (none is
// one of them).
func (a *Atom) parseUse(use string) error {
	var defaults map[string]string
	if strings.Contains(use, "(") {
		defaults = make(map[string]string)
	}
	a.Use = make([]UseDep, 0, 1+strings.Count(use, ","))
	for s := range strings.SplitSeq(use, ",") {
		u, ok := parseUseDep(s)
		if !ok {
			return errAtom
		}
		a.Use = append(a.Use, u)
		if u.Suffix != "" {
			a.conditional = true
		}
		if defaults == nil {
			continue
		}
		if def, seen := defaults[u.Flag]; seen && def != u.Default {
			return errAtom
		}
		defaults[u.Flag] = u.Default
	}
	return nil
}

// evaluate returns the atom for a package with these flags on, as Portage writes it into an index:
// without its repository.
func (a *Atom) evaluate(use func(string) bool) string {
	if !a.conditional {
		return a.text
	}
	return a.render(a.slot, "", a.evaluateUse(use))
}

// evaluateUse returns the USE dependencies for a package with these flags on.
func (a *Atom) evaluateUse(use func(string) bool) []UseDep {
	kept := make([]UseDep, 0, len(a.Use))
	for _, u := range a.Use {
		if sign, stays := u.evaluate(use); stays {
			kept = append(kept, UseDep{Prefix: sign, Flag: u.Flag, Default: u.Default})
		}
	}
	return kept
}

// render writes the atom with another tail.
func (a *Atom) render(slot, repo string, use []UseDep) string {
	var b strings.Builder
	b.Grow(len(a.text))
	b.WriteString(a.base)
	if slot != "" {
		b.WriteString(":" + slot)
	}
	if repo != "" {
		b.WriteString("::" + repo)
	}
	separator := "["
	for _, u := range use {
		b.WriteString(separator + u.String())
		separator = ","
	}
	if separator == "," {
		b.WriteByte(']')
	}
	return b.String()
}

// Evaluate returns the atom for a depending package with these flags on: no USE dependency is
// conditional any more.
func (a Atom) Evaluate(use func(flag string) bool) Atom {
	if !a.conditional {
		return a
	}
	kept := a.evaluateUse(use)
	a.text = a.render(a.slot, a.Repo, kept)
	a.Use, a.conditional = kept, false
	return a
}

// WithoutUse returns the atom without its USE dependencies.
func (a Atom) WithoutUse() Atom {
	if a.Use == nil {
		return a
	}
	a.text = a.render(a.slot, a.Repo, nil)
	a.Use, a.conditional = nil, false
	return a
}

// Unbound returns the atom of a built package as it stood in the ebuild: ":=" for ":0/2=".
func (a Atom) Unbound() Atom {
	a.Slot, a.Sub, a.SlotOp, a.slot = "", "", "=", "="
	a.text = a.render(a.slot, a.Repo, a.Use)
	return a
}

// Since returns the first EAPI that has all of the atom's syntax, and false if none has:
// repositories and build IDs are for users' files only.
func (a Atom) Since() (eapi int, ok bool) {
	if a.Slot != "" {
		eapi = 1
	}
	if a.Use != nil || a.Block == StrongBlock {
		eapi = 2
	}
	for _, u := range a.Use {
		if u.Default != "" {
			eapi = 4
		}
	}
	if a.SlotOp != "" || a.Sub != "" {
		eapi = 5
	}
	return eapi, a.Repo == "" && a.BuildID == ""
}

// evaluate returns the sign of the flag in the result, "" or "-", and whether it stays at all:
//
//	         x?    !x?   x=    !x=
//	x on     x           x     -x
//	x off          -x    -x    x
func (u UseDep) evaluate(use func(string) bool) (sign string, kept bool) {
	if u.Suffix == "" {
		return u.Prefix, true
	}
	on, negated := use(u.Flag), u.Prefix == "!"
	if u.Suffix == "?" && on == negated {
		return "", false
	}
	if u.Suffix == "?" && negated || u.Suffix == "=" && on == negated {
		return "-", true
	}
	return "", true
}

// isSlotByte: all that a slot dependency is written with.
func isSlotByte(c byte) bool { return cpv.IsWord(c) || strings.IndexByte("-+./*=", c) >= 0 }

func isRepoByte(c byte) bool { return cpv.IsWord(c) || c == '-' }
