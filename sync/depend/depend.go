// Package depend reads package atoms and dependency strings: Atom and Match, Parse, and Reduce,
// which is what Portage does with the *DEPEND, LICENSE, PROPERTIES and RESTRICT of a package before
// it writes them into the index.
//
// An Atom is matched against a built package (Match). Versions compare as in package cpv; "=*" is a
// prefix of the text that ends at a boundary; a flag that the package does not have counts as the
// atom's default is, and without one matches nothing.
//
// A dependency string is a list of tokens between blanks (the Package Manager Specification,
// section 8.2):
//
//	deps   = { item }
//	item   = token                          an atom, or a word where no atoms are asked for
//	       | "(" deps ")"                   all of these
//	       | "||" "(" deps ")"              any of these
//	       | ["!"] flag "?" "(" deps ")"    these if the flag is on (off)
//
// Parentheses and operators are tokens of their own, and a group may not be written without
// anything in it. Reduce resolves the conditionals, drops parentheses without meaning, and
// evaluates the USE dependencies of atoms in place:
//
//	with flag x on:   "x? ( a/b ) ( c/d[x?,!y=] )"  ->  "a/b c/d[x,y]"
//	with flag x off:  "|| ( x? ( a/b c/d ) e/f )"   ->  "e/f"
//
// Which parentheses are dropped below "||" follows the Python code of Portage
// (portage.dep.use_reduce and paren_enclose) in every corner, because the text goes into an index
// that is compared byte for byte. Three of its habits look odd and are kept: a "||" group whose
// members all vanish becomes the atom __const__/empty-any-of, an atom whose USE dependencies had to
// be evaluated loses its "::repository", and where atoms are asked for a group that begins after an
// atom is judged by the operator further out.
//
// The grammar of atoms is the permissive one that Portage uses where no EAPI is given: repositories
// (::gentoo) and build ids (=a/b-1.0-3) are allowed, wildcards in names are not.
//
// Limits: MaxLength bytes of text and MaxDepth open parentheses; beyond them Reduce returns an
// error.
package depend

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pkgsneak/sync/cpv"
)

const (
	// MaxLength is the length in bytes of the longest string that Reduce takes. The longest seen in
	// public indices has 49,000.
	MaxLength = 256 << 10
	// MaxDepth is how many parentheses may be open at the same time.
	MaxDepth = 100
)

// emptyAnyOf is what Portage puts in the place of a "||" group that lost all its members.
const emptyAnyOf = "__const__/empty-any-of"

// Options states what kind of string is reduced. The zero value takes words: LICENSE, PROPERTIES,
// RESTRICT.
type Options struct {
	// Atoms is for DEPEND and its kin: each token has to be a package atom, and its USE
	// dependencies are evaluated.
	Atoms bool
}

// Error reports why a string cannot be reduced.
type Error struct {
	Token  int // the token at fault, counted from 1; 0 where the string as a whole is at fault
	Reason string
}

func (e *Error) Error() string {
	if e.Token == 0 {
		return "reduce dependencies: " + e.Reason
	}
	return fmt.Sprintf("reduce dependencies: token %d: %s", e.Token, e.Reason)
}

func fail(token int, format string, args ...any) error {
	return &Error{Token: token, Reason: fmt.Sprintf(format, args...)}
}

// Reduce returns deps with its conditionals resolved, as Portage writes it into an index: tokens
// with single blanks between them. The flags that are on are asked from use. The error is an *Error
// where Portage too would call the string invalid, or where it passes a limit of this package.
func Reduce(deps string, use func(flag string) bool, o Options) (string, error) {
	if len(deps) > MaxLength {
		return "", fail(0, "longer than %d bytes", MaxLength)
	}
	if isPlain(deps, o) {
		return deps, nil
	}
	return reduce(deps, use, o)
}

func reduce(deps string, use func(flag string) bool, o Options) (string, error) {
	p := parser{use: use, atoms: o.Atoms, items: make([]item, 0, 16), levels: make([]level, 1, 8)}
	rest, tok := deps, ""
	for {
		if tok, rest = cutToken(rest); tok == "" {
			break
		}
		p.pos++
		if err := p.token(tok, rest); err != nil {
			return "", err
		}
	}
	if err := p.end(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(len(deps))
	enclose(&b, p.items)
	return b.String(), nil
}

// isPlain reports whether deps is reduced already because nothing in it can change: words or atoms
// with one blank between. This is what most packages carry, as Portage reduces when it builds.
func isPlain(deps string, o Options) bool {
	for deps != "" {
		tok, rest, more := strings.Cut(deps, " ")
		if tok == "" || more && rest == "" || isOperator(tok) || !isPrintableASCII(tok) {
			return false
		}
		if o.Atoms {
			if a, err := parseAtom(tok); err != nil || a.conditional {
				return false
			}
		}
		deps = rest
	}
	return true
}

func isOperator(tok string) bool {
	return tok == "(" || tok == ")" || tok == "||" || tok == "->" || isConditional(tok)
}

func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// cutToken splits the first token off; it is empty at the end of s. Blanks are those of Python's
// str.split, which splits at the four information separators besides Unicode's white space.
func cutToken(s string) (tok, rest string) {
	s = strings.TrimLeftFunc(s, isBlank)
	for i := 0; i < len(s); {
		if c := s[i]; c > ' ' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if isBlank(r) {
			return s[:i], s[i:]
		}
		i += n
	}
	return s, ""
}

func isBlank(r rune) bool { return r >= 0x1c && r <= 0x1f || unicode.IsSpace(r) }

// item is a token of the result or, if list is set, a group.
type item struct {
	token string
	list  []item
}

// parser reads tokens onto a stack. A level is what was read behind an open parenthesis; the levels
// lie one after the other in items, so that a group becomes part of the level around it by
// forgetting where it began.
type parser struct {
	use    func(string) bool
	atoms  bool
	items  []item
	levels []level
	pos    int  // number of the current token
	open   bool // an operator or a conditional stands before: only "(" may follow
}

// level is a place in items and the token number of the last conditional in it.
type level struct{ start, flagAt int }

func (p *parser) inner() *level { return &p.levels[len(p.levels)-1] }

func (p *parser) push(token string) { p.items = append(p.items, item{token: token}) }

// isWord reports whether an item takes part in the judgement of parentheses: operators,
// conditionals, and all tokens where no atoms are asked for.
func (p *parser) isWord(i *item) bool {
	return i.list == nil && (!p.atoms || i.token == "||" || isConditional(i.token))
}

func isConditional(token string) bool { return token[len(token)-1] == '?' }

// last returns the last item of level k, which is not the innermost one, or nil.
func (p *parser) last(k int) *item {
	end := p.levels[k+1].start
	if p.levels[k].start == end {
		return nil
	}
	return &p.items[end-1]
}

func (p *parser) token(tok, rest string) error {
	if tok == "(" {
		return p.openGroup(rest)
	}
	if p.open {
		return fail(p.pos, "expected %q, got %q", "(", tok)
	}
	switch {
	case tok == ")":
		return p.closeGroup()
	case tok == "->":
		return fail(p.pos, "arrows belong into SRC_URI only")
	case tok == "||":
		p.open = true
	case isConditional(tok):
		p.open = true
		p.inner().flagAt = p.pos
	case p.atoms:
		a, err := parseAtom(tok)
		if err != nil {
			return fail(p.pos, "invalid atom %q%s", tok, missingBlank(tok))
		}
		tok = a.evaluate(p.use)
	}
	p.push(tok)
	return nil
}

// missingBlank explains an atom that is none because a parenthesis or an operator clings to it.
func missingBlank(tok string) string {
	for _, op := range []string{")", "(", "||"} {
		if strings.HasPrefix(tok, op) || strings.HasSuffix(tok, op) {
			return fmt.Sprintf(", missing blank around %q", op)
		}
	}
	return ""
}

func (p *parser) openGroup(rest string) error {
	if next, _ := cutToken(rest); next == ")" {
		return fail(p.pos, "expected a dependency, got %q", ")")
	}
	if len(p.levels) > MaxDepth {
		return fail(p.pos, "more than %d open parentheses", MaxDepth)
	}
	p.open = false
	p.levels = append(p.levels, level{start: len(p.items)})
	return nil
}

func (p *parser) end() error {
	switch {
	case len(p.levels) > 1:
		return fail(0, "missing %q at the end", ")")
	case p.open:
		return fail(0, "missing %q at the end", "(")
	}
	return nil
}

// closeGroup merges the innermost level, which ends here, into the level around it.
func (p *parser) closeGroup() error {
	if len(p.levels) == 1 {
		return fail(p.pos, "no matching %q for %q", "(", ")")
	}
	around := len(p.levels) - 2
	group := p.items[p.inner().start:]
	single := len(group) == 1 || len(group) == 2 && group[0].token == "||"
	if last := p.last(around); last != nil && p.isWord(last) {
		switch {
		case last.token == "||" && len(group) == 0:
			p.dropOperator()
			p.push(emptyAnyOf)
		case isConditional(last.token):
			on, err := p.active(last.token, p.levels[around].flagAt)
			if err != nil {
				return err
			}
			p.dropOperator()
			if !on {
				p.items = p.items[:p.inner().start]
			}
		}
	}
	if len(p.items) > p.inner().start {
		p.merge(around, single)
	}
	p.levels = p.levels[:around+1]
	return nil
}

// dropOperator removes the item before the innermost level.
func (p *parser) dropOperator() {
	start := p.inner().start
	p.items = append(p.items[:start-1], p.items[start:]...)
	p.inner().start--
}

// active decides about a conditional.
func (p *parser) active(conditional string, pos int) (bool, error) {
	flag, negated := strings.CutPrefix(conditional[:len(conditional)-1], "!")
	if !cpv.IsFlag(flag) {
		return false, fail(pos, "invalid USE flag %q in conditional %q", flag, conditional)
	}
	return p.use(flag) != negated, nil
}

// merge makes the innermost level part of the level around it, without the parentheses where they
// mean nothing.
func (p *parser) merge(around int, single bool) {
	anyHere, anyOutside := p.endsInAnyOf(around), p.endsInAnyOf(around-1)
	switch {
	case !anyHere && !anyOutside:
	case anyHere && single:
		p.dropOperator()
		p.place(around, single)
	case anyHere && anyOutside:
		p.dropOperator()
	default:
		p.place(around, single)
	}
}

// place puts the innermost level below a "||", where parentheses have a meaning: several members
// stay together.
func (p *parser) place(around int, single bool) {
	start := p.inner().start
	group := p.items[start:]
	switch {
	case !single:
		list := slices.Clone(group)
		p.items = append(p.items[:start], item{list: list})
	case group[0].token == "||" && p.endsInAnyOf(around-1):
		p.items = append(p.items[:start], group[1].list...)
	case len(group) == 1 && group[0].list != nil && !p.inAnyOf(around-1):
		p.items = append(p.items[:start], group[0].list...)
	}
}

// endsInAnyOf reports whether the "||" at the end of level k waits for its group.
func (p *parser) endsInAnyOf(k int) bool {
	if k < 0 {
		return false
	}
	last := p.last(k)
	return last != nil && last.token == "||"
}

// inAnyOf reports whether a "||" is in effect at level k: the nearest word outwards that is no
// conditional decides. Empty levels, and levels that end in an atom or in a group, are looked
// through.
func (p *parser) inAnyOf(k int) bool {
	for ; k >= 0; k-- {
		last := p.last(k)
		if last != nil && p.isWord(last) && !isConditional(last.token) {
			return last.token == "||"
		}
	}
	return false
}

func enclose(b *strings.Builder, items []item) {
	for i := range items {
		if i > 0 {
			b.WriteByte(' ')
		}
		if items[i].list == nil {
			b.WriteString(items[i].token)
			continue
		}
		b.WriteString("( ")
		enclose(b, items[i].list)
		b.WriteString(" )")
	}
}
