package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/fault"
)

// Flags that name places on this machine hold for every command that a hint names here.
var placing = []string{"state-dir", "pkgdir", "distdir"}

// Flags that stand for what a person has decided hold for the same command, typed again: without
// them the next run would fail where this one did not.
var decisions = map[string][]string{
	"import": {"accept-future", "accept-rotation", "allow-older", "allow-shrink", "any-arch",
		"any-cpu", "no-distfiles", "no-packages", "prune", "replace"},
	"export":  {"allow-shrink", "any-directory", "name", "no-distfiles", "no-packages"},
	"request": {"any-directory", "minimal", "name", "no-distfiles"},
}

// repeats are the flags of a run that hints repeat.
type repeats struct {
	verb  string
	given []givenFlag
	takes map[string][]string // the flags of each command
}

type givenFlag struct{ name, text string }

// newRepeats takes them from a command line; those from variables hold for the next run by
// themselves.
func newRepeats(c *cli.Context) repeats {
	r := repeats{verb: c.Command.Name, takes: make(map[string][]string)}
	for _, v := range c.App.Commands {
		for _, leaf := range append([]*cli.Command{v}, v.Subcommands...) {
			for _, f := range leaf.Flags {
				r.takes[v.Name] = append(r.takes[v.Name], f.Names()[0])
			}
		}
	}
	for _, f := range c.Command.Flags {
		d, ok := f.(declared)
		if !ok || !c.IsSet(d.name) || !slices.Contains(placing, d.name) &&
			!slices.Contains(decisions[r.verb], d.name) {
			continue
		}
		switch value := c.Value(d.name); {
		case d.value == "" && c.Bool(d.name):
			r.given = append(r.given, givenFlag{d.name, "--" + d.name})
		case d.value != "":
			if text, ok := value.(interface{ String() string }); ok {
				r.given = append(r.given, givenFlag{d.name, "--" + d.name + " " +
					fault.Quote(text.String())})
			}
		}
	}
	return r
}

func (r repeats) all(hints []string) []string {
	var all []string
	for _, hint := range hints {
		all = append(all, r.line(hint))
	}
	return all
}

const program = "pkgsneak "

// The words of a hint by which a command behind them is one for another machine, and those by which
// it is one for this machine again.
var (
	elsewhereWords = regexp.MustCompile(
		`\b(on (the|that|a|each|another) (build )?(host|client)\b[^:]*:|` +
			`(each|the|a) client types\b)`)
	hereWords = regexp.MustCompile(`\b(then|here):`)
)

// runsElsewhere reports whether another machine runs the command behind some words of a hint: where
// they quote it, or name that machine in the same clause.
func runsElsewhere(before string) bool {
	if strings.HasSuffix(before, `"`) {
		return true
	}
	clause := before[strings.LastIndex(before, ";")+1:]
	there := elsewhereWords.FindAllStringIndex(clause, -1)
	return there != nil && !hereWords.MatchString(clause[there[len(there)-1][0]:])
}

// line adds the flags to the commands of one hint.
func (r repeats) line(hint string) string {
	var b strings.Builder
	for rest := hint; ; {
		before, after, found := strings.Cut(rest, program)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		there := runsElsewhere(hint[:len(hint)-len(program)-len(after)])
		b.WriteString(program)
		verb, _, _ := strings.Cut(after, " ")
		if !there && r.takes[verb] != nil {
			command, _, _ := strings.Cut(after, ";")
			b.WriteString(verb)
			for _, f := range r.given {
				mine := slices.Contains(placing, f.name) || verb == r.verb
				if mine && slices.Contains(r.takes[verb], f.name) &&
					!strings.Contains(command, "--"+f.name) {
					b.WriteString(" " + f.text)
				}
			}
			after = after[len(verb):]
		}
		rest = after
	}
}
