package depend

import (
	"errors"
	"strings"
)

var errAtom = errors.New("not a package atom")

// atom is a package atom, checked, in the parts that evaluation needs.
//
//	atom = ["!" | "!!"] ( cat "/" name | op cat "/" name "-" version ["-" build id] | "=" cat "/" name "-" version "*" )
//	       [":" slot] ["::" repository] ["[" use {"," use} "]"]
//	op   = "=" | "~" | "<" | "<=" | ">" | ">="
//	slot = "*" | ["=" after] main ["/" sub]
//	use  = ["!" | "-"] flag ["(+)" | "(-)"] ["?" | "="]
type atom struct {
	text        string // as it was written
	base        string // up to the slot, repository or USE dependencies
	slot        string // without the colon
	use         string // between the brackets
	conditional bool   // use has members that depend on the flags of the package that depends
}

// parseAtom checks tok against the grammar.
func parseAtom(tok string) (atom, error) {
	a := atom{text: tok, base: tok}
	if i := strings.IndexAny(tok, ":["); i >= 0 {
		a.base = tok[:i]
		if err := a.parseTail(tok[i:]); err != nil {
			return atom{}, err
		}
	}
	if !isBase(a.base) {
		return atom{}, errAtom
	}
	return a, nil
}

// parseTail takes what follows the name: slot, repository, USE dependencies.
func (a *atom) parseTail(s string) error {
	if s[0] == ':' && !strings.HasPrefix(s, "::") {
		n := span(s[1:], isSlotByte)
		a.slot, s = s[1:1+n], s[1+n:]
		if !isSlot(a.slot) {
			return errAtom
		}
	}
	if rest, found := strings.CutPrefix(s, "::"); found {
		n := span(rest, isRepoByte)
		if n == 0 || rest[0] == '-' {
			return errAtom
		}
		s = rest[n:]
	}
	if s == "" {
		return nil
	}
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return errAtom
	}
	a.use = s[1 : len(s)-1]
	return a.checkUse()
}

// isBase checks blocker, operator, category, name and version.
func isBase(s string) bool {
	if rest, found := strings.CutPrefix(s, "!"); found {
		s = strings.TrimPrefix(rest, "!")
	}
	op := s[:span(s, func(c byte) bool { return c == '=' || c == '~' || c == '<' || c == '>' })]
	s = s[len(op):]
	cat, name, found := strings.Cut(s, "/")
	if !found || !isCategory(cat) {
		return false
	}
	switch op {
	case "":
		_, _, versioned := cutVersion(name)
		return isName(name) && !versioned
	case "=":
		if name, glob := strings.CutSuffix(name, "*"); glob {
			return isVersioned(name, false)
		}
		return isVersioned(name, true)
	case "~", "<", "<=", ">", ">=":
		return isVersioned(name, true)
	}
	return false
}

// isVersioned checks name-version and, where it may be, name-version-buildid.
func isVersioned(s string, buildID bool) bool {
	name, version, found := cutVersion(s)
	if !found {
		return false
	}
	if inner, _, found := cutVersion(name); found && isName(inner) {
		return buildID && isBuildID(version)
	}
	return isName(name)
}

func isBuildID(s string) bool {
	return span(s, isDigit) == len(s) && (len(s) == 1 || s[0] != '0')
}

// cutVersion splits "-version" off the end, if there is one and something stands before it.
func cutVersion(s string) (name, version string, found bool) {
	i := strings.LastIndexByte(s, '-')
	if i > 0 && isRevision(s[i+1:]) {
		i = strings.LastIndexByte(s[:i], '-')
	}
	if i <= 0 || !isVersion(s[i+1:]) {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func isRevision(s string) bool {
	return len(s) > 1 && s[0] == 'r' && span(s[1:], isDigit) == len(s)-1
}

// isVersion checks digits{.digits}[letter]{_suffix[digits]}[-rdigits].
func isVersion(s string) bool {
	n := span(s, isDigit)
	if n == 0 {
		return false
	}
	s = s[n:]
	for s != "" && s[0] == '.' {
		n := span(s[1:], isDigit)
		if n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		s = s[1:]
	}
	for s != "" && s[0] == '_' {
		n := suffixLen(s[1:])
		if n == 0 {
			return false
		}
		s = s[1+n:]
		s = s[span(s, isDigit):]
	}
	return s == "" || s[0] == '-' && isRevision(s[1:])
}

func suffixLen(s string) int {
	for _, suffix := range [...]string{"pre", "p", "beta", "alpha", "rc"} {
		if strings.HasPrefix(s, suffix) {
			return len(suffix)
		}
	}
	return 0
}

// isSlot checks a slot dependency: main[/sub], then = or not; * and = may stand alone.
func isSlot(s string) bool {
	if s == "*" || s == "=" {
		return true
	}
	main, sub, found := strings.Cut(strings.TrimSuffix(s, "="), "/")
	return isSlotName(main) && (!found || isSlotName(sub))
}

func isSlotName(s string) bool {
	return s != "" && isWordByte(s[0]) && span(s, isCategoryByte) == len(s)
}

func isCategory(s string) bool { return isSlotName(s) }

func isName(s string) bool {
	return s != "" && isWordByte(s[0]) && span(s, isNameByte) == len(s)
}

func isFlag(s string) bool {
	return s != "" && isAlnum(s[0]) && span(s, isFlagByte) == len(s)
}

// useDep is one USE dependency: prefix is "", "-" or "!", suffix is "", "?" or "=", def is "", "(+)" or "(-)".
type useDep struct{ prefix, flag, def, suffix string }

func parseUseDep(s string) (useDep, bool) {
	var u useDep
	if s != "" && (s[0] == '!' || s[0] == '-') {
		u.prefix, s = s[:1], s[1:]
	}
	if s != "" && (s[len(s)-1] == '?' || s[len(s)-1] == '=') {
		u.suffix, s = s[len(s)-1:], s[:len(s)-1]
	}
	if strings.HasSuffix(s, "(+)") || strings.HasSuffix(s, "(-)") {
		u.def, s = s[len(s)-3:], s[:len(s)-3]
	}
	u.flag = s
	if u.prefix == "!" && u.suffix == "" || u.prefix == "-" && u.suffix != "" {
		return useDep{}, false
	}
	return u, isFlag(u.flag)
}

// checkUse checks the USE dependencies, and that no flag has two different defaults (none is one of them).
func (a *atom) checkUse() error {
	var defaults map[string]string
	if strings.Contains(a.use, "(") {
		defaults = make(map[string]string)
	}
	for s := range strings.SplitSeq(a.use, ",") {
		u, ok := parseUseDep(s)
		if !ok {
			return errAtom
		}
		if u.suffix != "" {
			a.conditional = true
		}
		if defaults == nil {
			continue
		}
		if def, seen := defaults[u.flag]; seen && def != u.def {
			return errAtom
		}
		defaults[u.flag] = u.def
	}
	return nil
}

// evaluate returns the atom for a package with these flags on.
func (a *atom) evaluate(use func(string) bool) string {
	if !a.conditional {
		return a.text
	}
	var b strings.Builder
	b.Grow(len(a.text))
	b.WriteString(a.base)
	if a.slot != "" {
		b.WriteString(":" + a.slot)
	}
	separator := "["
	for s := range strings.SplitSeq(a.use, ",") {
		u, _ := parseUseDep(s)
		sign, kept := u.evaluate(use)
		if !kept {
			continue
		}
		b.WriteString(separator + sign + u.flag + u.def)
		separator = ","
	}
	if separator == "," {
		b.WriteByte(']')
	}
	return b.String()
}

// evaluate returns the sign of the flag in the result, "" or "-", and whether it stays at all:
//
//	         x?    !x?   x=    !x=
//	x on     x           x     -x
//	x off          -x    -x    x
func (u useDep) evaluate(use func(string) bool) (sign string, kept bool) {
	if u.suffix == "" {
		return u.prefix, true
	}
	on, negated := use(u.flag), u.prefix == "!"
	if u.suffix == "?" && on == negated {
		return "", false
	}
	if u.suffix == "?" && negated || u.suffix == "=" && on == negated {
		return "-", true
	}
	return "", true
}

func span(s string, is func(byte) bool) int {
	for i := range len(s) {
		if !is(s[i]) {
			return i
		}
	}
	return len(s)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isAlnum(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isWordByte(c byte) bool { return isAlnum(c) || c == '_' }

func isNameByte(c byte) bool { return isWordByte(c) || c == '+' || c == '-' }

func isCategoryByte(c byte) bool { return isNameByte(c) || c == '.' }

func isSlotByte(c byte) bool { return isCategoryByte(c) || c == '/' || c == '*' || c == '=' }

func isRepoByte(c byte) bool { return isWordByte(c) || c == '-' }

func isFlagByte(c byte) bool { return isNameByte(c) || c == '@' }
