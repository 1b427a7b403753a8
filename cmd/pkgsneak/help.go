package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The bounds of a page's width in columns: wider lines are hard to read, and on a narrower terminal
// it breaks them itself.
const (
	narrowest = 40
	widest    = 80
)

// help answers --help, -h and the word help, of the program or of a verb.
func (f *commandLine) help(app *cli.App, req *request) error {
	words := append(append([]string{}, req.path...), req.args...)
	if len(words) == 0 {
		f.helpText(rootHelp(app, f.helpWidth()))
		return nil
	}
	verb := app.Command(words[0])
	if verb == nil {
		return withHint(usageErrorf("there is no command %q", words[0]), "pkgsneak --help")
	}
	f.helpText(verbHelp(f.declared(verb.Name), f.helpWidth()))
	return nil
}

// helpWidth is the width of a help in columns: that of the terminal, within bounds.
func (f *commandLine) helpWidth() int {
	if !f.env.stdoutTTY || f.out.json {
		return widest
	}
	return min(max(f.env.columns()-1, narrowest), widest)
}

// textReport is a result that is a text.
type textReport struct {
	Text string `json:"text"`
}

// helpText prints a help that was asked for, also under --json.
func (f *commandLine) helpText(text string) {
	if f.out.json {
		f.out.last(envelope{Command: "help", Exit: exitDone, Result: textReport{text}})
		return
	}
	f.out.put("%s", raw(text))
}

// rootHelp is the help of the program: the verbs in groups, flags, exit codes.
func rootHelp(app *cli.App, width int) string {
	p := &page{width: width}
	p.paragraph(0, "pkgsneak: "+app.Usage)
	p.line("")
	p.line("  pkgsneak COMMAND [FLAGS] [ARGUMENTS]")
	group := ""
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		if c.Category != group {
			group = c.Category
			p.heading(group)
		}
		p.row(strings.TrimSpace(c.Name+" "+c.ArgsUsage), c.Usage)
	}
	p.heading("flags of every command")
	p.flags(flags(common))
	p.row("-h, --help", "help of the program or of a command")
	p.row("-V, --version", "version, commit and architecture")
	p.heading("exit codes")
	for _, e := range exitMeanings {
		p.hanging(fmt.Sprintf("  %3d  ", e.code), 7, e.text)
	}
	p.line("")
	p.paragraph(0,
		"Flags stand before or after the arguments. Each but those that answer a question, or say what one run is about, has a variable, which the environment or "+
			confFile+" may set: --state-dir is "+variable("state-dir")+". The default that the help of a command shows in brackets can be given, too, and undoes a variable: --origin "+allNames+", --exclude-file none.")
	return p.text()
}

// verbHelp is the help of one verb: forms, what it does, examples, flags.
func verbHelp(c verb, width int) string {
	p := &page{width: width}
	p.paragraph(0, "pkgsneak "+c.Name+": "+c.Usage)
	p.line("")
	for form := range strings.Lines(c.UsageText) {
		p.hanging("  ", 6, "pkgsneak "+strings.TrimSpace(form))
	}
	for _, paragraph := range paragraphs(c.Description) {
		p.line("")
		p.paragraph(0, paragraph)
	}
	if len(c.examples) > 0 {
		p.heading("examples")
		for _, e := range c.examples {
			p.command(2, e.line)
			p.paragraph(6, e.does)
		}
	}
	p.grouped("", c.Flags)
	for _, sub := range c.Subcommands {
		p.grouped(" of "+c.Name+" "+sub.Name, without(sub.Flags, c.Flags))
	}
	return p.text()
}

// paragraphs gives a description's paragraphs, which an empty line parts.
func paragraphs(description string) []string {
	return strings.Split(strings.TrimSpace(description), "\n\n")
}

// page is a text for a terminal, wrapped at blanks.
type page struct {
	width int // columns
	b     strings.Builder
}

func (p *page) text() string { return strings.TrimSuffix(p.b.String(), "\n") }

func (p *page) line(text string) { p.b.WriteString(strings.TrimRight(text, " ") + "\n") }

func (p *page) heading(text string) {
	p.line("")
	p.line(text)
}

// paragraph is a text with a margin on the left.
func (p *page) paragraph(indent int, text string) {
	p.hanging(strings.Repeat(" ", indent), indent, text)
}

// hanging is a text behind a beginning; its further lines are indented. A word that is wider than
// the page stands on a line of its own, whole: it may be a path.
func (p *page) hanging(start string, indent int, text string) {
	line, empty := start, true
	for _, word := range strings.Fields(text) {
		if !empty && width(line)+1+width(word) > p.width {
			p.line(line)
			line, empty = strings.Repeat(" ", indent), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	p.line(line)
}

// command is a line to be typed. One that is wider than the page goes on behind a backslash, as a
// shell takes it.
func (p *page) command(indent int, line string) {
	const goesOn = ` \`
	words := strings.Fields(line)
	typed := strings.Repeat(" ", indent) + words[0]
	rest := width(line) - width(words[0]) // behind typed
	for _, word := range words[1:] {
		end := len(goesOn)
		if width(typed)+rest <= p.width {
			end = 0
		}
		if width(typed)+1+width(word)+end > p.width {
			p.line(typed + goesOn)
			typed = strings.Repeat(" ", 2*indent) + word
		} else {
			typed += " " + word
		}
		rest -= 1 + width(word)
	}
	p.line(typed)
}

// The columns in which a row's text begins: beside the name, and below one that is too long for
// that.
const (
	besideName = 29
	belowName  = 8
)

// row is a name and a text about it.
func (p *page) row(name, text string) {
	name = "  " + name
	switch {
	case text == "":
		p.line(name)
	case width(name) > p.width:
		p.hanging("  ", 6, name)
		p.paragraph(belowName, text)
	case p.width < 2*besideName || width(name) > besideName-2:
		p.line(name)
		p.paragraph(belowName, text)
	default:
		p.hanging(name+strings.Repeat(" ", besideName-width(name)), besideName, text)
	}
}

// grouped lists flags under the headings of their groups; of names what they belong to.
func (p *page) grouped(of string, flags []cli.Flag) {
	for _, g := range groups {
		if some := ofGroup(visible(flags), g); len(some) > 0 {
			p.heading("flags" + of + ": " + string(g))
			p.flags(some)
		}
	}
}

// ofGroup gives the flags of one group.
func ofGroup(flags []cli.Flag, g group) []cli.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f cli.Flag) bool {
		d, ok := f.(declared)
		return !ok || d.group != g
	})
}

// flags lists flags, one a row.
func (p *page) flags(flags []cli.Flag) {
	for _, f := range visible(flags) {
		p.row(flagNames(f), flagUsage(f)+flagDefault(f))
	}
}

// flagNames gives a flag's names as they are typed: -v, --verbose.
func flagNames(f cli.Flag) string {
	names := f.Names()
	short, long := "    ", ""
	for _, n := range names[1:] {
		if len(n) == 1 {
			short = "-" + n + ", "
		} else {
			long += ", --" + n
		}
	}
	return short + "--" + names[0] + flagValue(f) + long
}

func flagValue(f cli.Flag) string {
	if d, ok := f.(declared); ok && d.value != "" {
		return " " + d.value
	}
	return ""
}

func flagUsage(f cli.Flag) string {
	if d, ok := f.(declared); ok {
		return d.usage
	}
	return ""
}

// flagDefault shows the value that holds where nobody gives one.
func flagDefault(f cli.Flag) string {
	d, ok := f.(declared)
	if !ok || d.value == "" {
		return ""
	}
	shown := d.shown
	if shown == "" {
		shown = d.initial().String()
	}
	if shown == "" || shown == "0" || shown == "0s" {
		return ""
	}
	return " (" + shown + ")"
}

// without gives the flags that are not among others.
func without(flags, others []cli.Flag) []cli.Flag {
	known := map[string]bool{}
	for _, f := range others {
		known[f.Names()[0]] = true
	}
	var rest []cli.Flag
	for _, f := range flags {
		if !known[f.Names()[0]] {
			rest = append(rest, f)
		}
	}
	return rest
}
