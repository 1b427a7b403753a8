package depend

import (
	"strings"

	"pkgsneak/sync/cpv"
)

// Kind is the kind of a Node.
type Kind uint8

const (
	Leaf       Kind = iota // an atom, or a word where no atoms are asked for
	AllOf                  // "( ... )": all of these
	AnyOf                  // "|| ( ... )": at least one of these
	ExactlyOne             // "^^ ( ... )" (REQUIRED_USE)
	AtMostOne              // "?? ( ... )" (REQUIRED_USE, since EAPI 5)
	When                   // "flag? ( ... )" and "!flag? ( ... )"
)

// EmptyAnyOf is the package that stands for a "||" whose members all vanished: nothing is called
// so. Up to EAPI 6 such a group is satisfied, since EAPI 7 it is not.
const EmptyAnyOf = emptyAnyOf

// Node is a dependency string in parsed form. Parse returns the whole of it as an AllOf.
type Node struct {
	Kind Kind
	// Word is the text of a Leaf.
	Word string
	// Atom is a Leaf's, where atoms are asked for; nil elsewhere.
	Atom *Atom
	// Flag and Not are a When's condition.
	Flag string
	Not  bool
	// Nodes are the members of every other kind.
	Nodes []Node
}

// Parse reads a dependency string. The error is an *Error; its limits are those of Reduce.
func Parse(deps string, o Options) (Node, error) {
	if len(deps) > MaxLength {
		return Node{}, fail(0, "longer than %d bytes", MaxLength)
	}
	p := treeParser{rest: deps, o: o}
	nodes, err := p.list(0)
	return Node{Kind: AllOf, Nodes: nodes}, err
}

type treeParser struct {
	rest string
	pos  int
	o    Options
}

func (p *treeParser) next() string {
	var tok string
	if tok, p.rest = cutToken(p.rest); tok != "" {
		p.pos++
	}
	return tok
}

// list reads up to the end (depth 0) or to the ")" that ends the group.
func (p *treeParser) list(depth int) ([]Node, error) {
	if depth > MaxDepth {
		return nil, fail(p.pos, "more than %d open parentheses", MaxDepth)
	}
	var nodes []Node
	for {
		tok := p.next()
		switch {
		case tok == "" && depth == 0:
			return nodes, nil
		case tok == "":
			return nil, fail(0, "missing %q at the end", ")")
		case tok == ")" && depth == 0:
			return nil, fail(p.pos, "no matching %q for %q", "(", ")")
		case tok == ")" && len(nodes) == 0:
			return nil, fail(p.pos, "expected a dependency, got %q", ")")
		case tok == ")":
			return nodes, nil
		}
		n, err := p.node(tok, depth)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
}

var groups = map[string]Kind{"(": AllOf, "||": AnyOf, "^^": ExactlyOne, "??": AtMostOne}

func (p *treeParser) node(tok string, depth int) (Node, error) {
	kind, group := groups[tok]
	n := Node{Kind: kind}
	switch {
	case tok == "->":
		return n, fail(p.pos, "arrows belong into SRC_URI only")
	case group && p.o.Atoms && (kind == ExactlyOne || kind == AtMostOne):
		return n, fail(p.pos, "%q belongs into REQUIRED_USE only", tok)
	case !group && isConditional(tok):
		n.Kind = When
		n.Flag, n.Not = strings.CutPrefix(tok[:len(tok)-1], "!")
		if !cpv.IsFlag(n.Flag) {
			return n, fail(p.pos, "invalid USE flag %q in conditional %q", n.Flag, tok)
		}
	case !group:
		return p.leaf(tok)
	}
	if tok != "(" {
		if open := p.next(); open == "" {
			return n, fail(0, "missing %q at the end", "(")
		} else if open != "(" {
			return n, fail(p.pos, "expected %q, got %q", "(", open)
		}
	}
	var err error
	n.Nodes, err = p.list(depth + 1)
	return n, err
}

func (p *treeParser) leaf(tok string) (Node, error) {
	n := Node{Word: tok}
	if !p.o.Atoms {
		return n, nil
	}
	a, err := parseAtom(tok)
	if err != nil {
		return n, fail(p.pos, "invalid atom %q%s", tok, missingBlank(tok))
	}
	n.Atom = &a
	return n, nil
}

// String writes the node as a dependency string: single blanks between the tokens. A string that
// Parse read comes back token by token.
func (n Node) String() string {
	var b strings.Builder
	if n.Kind == AllOf {
		writeNodes(&b, n.Nodes)
	} else {
		n.write(&b)
	}
	return b.String()
}

func writeNodes(b *strings.Builder, nodes []Node) {
	for i := range nodes {
		if i > 0 {
			b.WriteByte(' ')
		}
		nodes[i].write(b)
	}
}

func (n *Node) write(b *strings.Builder) {
	switch n.Kind {
	case Leaf:
		b.WriteString(n.Word)
		return
	case AnyOf:
		b.WriteString("|| ")
	case ExactlyOne:
		b.WriteString("^^ ")
	case AtMostOne:
		b.WriteString("?? ")
	case When:
		if n.Not {
			b.WriteByte('!')
		}
		b.WriteString(n.Flag + "? ")
	}
	b.WriteString("( ")
	writeNodes(b, n.Nodes)
	b.WriteString(" )")
}

// Leaves calls yield for each leaf below the node, whatever the conditions, until it returns false.
func (n *Node) Leaves(yield func(*Node) bool) bool {
	if n.Kind == Leaf {
		return yield(n)
	}
	for i := range n.Nodes {
		if !n.Nodes[i].Leaves(yield) {
			return false
		}
	}
	return true
}

// Conditions calls yield for each When below the node until it returns false.
func (n *Node) Conditions(yield func(*Node) bool) bool {
	if n.Kind == When && !yield(n) {
		return false
	}
	for i := range n.Nodes {
		if !n.Nodes[i].Conditions(yield) {
			return false
		}
	}
	return true
}

// Reduce returns the members of the node for a package with these flags on, in Portage's normal
// form: no conditions, atoms evaluated, no AllOf directly in an AllOf, no AnyOf directly in an
// AnyOf, no group of one. An AnyOf that lost all its members is left out, or with strict (EAPI 7
// and later) becomes the atom EmptyAnyOf.
func (n *Node) Reduce(use func(flag string) bool, strict bool) []Node {
	out := make([]Node, 0, len(n.Nodes))
	for i := range n.Nodes {
		out = n.Nodes[i].reduce(out, use, strict)
	}
	return out
}

// reduce appends the nodes that stand for n in an AllOf.
func (n *Node) reduce(out []Node, use func(string) bool, strict bool) []Node {
	switch n.Kind {
	case Leaf:
		if n.Atom == nil || !n.Atom.conditional {
			return append(out, *n)
		}
		a := n.Atom.Evaluate(use)
		return append(out, Node{Word: a.text, Atom: &a})
	case When:
		if use(n.Flag) == n.Not {
			return out
		}
	case AnyOf:
		return n.reduceAny(out, use, strict)
	}
	for i := range n.Nodes {
		out = n.Nodes[i].reduce(out, use, strict)
	}
	return out
}

func (n *Node) reduceAny(out []Node, use func(string) bool, strict bool) []Node {
	choices := make([]Node, 0, len(n.Nodes))
	for i := range n.Nodes {
		switch members := n.Nodes[i].reduce(nil, use, strict); {
		case len(members) == 1 && members[0].Kind == AnyOf:
			choices = append(choices, members[0].Nodes...)
		case len(members) == 1:
			choices = append(choices, members[0])
		case len(members) > 1:
			choices = append(choices, Node{Kind: AllOf, Nodes: members})
		}
	}
	switch {
	case len(choices) == 1 && choices[0].Kind == AllOf:
		return append(out, choices[0].Nodes...)
	case len(choices) == 1:
		return append(out, choices[0])
	case len(choices) > 1:
		return append(out, Node{Kind: AnyOf, Nodes: choices})
	case strict:
		a, _ := parseAtom(EmptyAnyOf)
		return append(out, Node{Word: EmptyAnyOf, Atom: &a})
	}
	return out
}
