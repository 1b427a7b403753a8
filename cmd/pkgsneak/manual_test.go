package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// The manual pages of the commands are made out of the tables that --help is made of; those of the
// other subjects are texts, man/*.in, in which a line @NAME@ stands for a list out of these tables.
//
//go:generate go test -run ^TestManualPages|^TestSchemas -count=1 . -update

var update = flag.Bool("update", false, "write the manual pages and schemas anew")

// manualDate is the date of all pages: that of the release whose commands they describe.
const manualDate = "November 28, 2026"

// manualDir is where the pages lie.
const manualDir = "man"

// Each page is made of today's tables.
func TestManualPages(t *testing.T) {
	pages := manualPages(t)
	for name, text := range pages {
		path := filepath.Join(manualDir, name)
		if *update {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, text) {
			t.Errorf("%s is not what the tables say (%v); go generate ./cmd/pkgsneak writes it",
				path, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(manualDir, "*.[1-8]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := pages[filepath.Base(f)]; !ok {
			t.Errorf("%s is a page of nothing", f)
		}
	}
}

// The programs that read manual pages have no complaints.
func TestManualPagesAreWellFormed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(manualDir, "*.[1-8]"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	checks := []struct {
		program string
		args    []string
		each    bool // one file at a time
	}{
		{"mandoc", []string{"-T", "lint", "-W", "warning"}, false},
		{"man", []string{"--warnings", "-l", "-Tutf8", "-Z"}, true},
		{"lexgrog", []string{"-m"}, true},
	}
	for _, c := range checks {
		t.Run(c.program, func(t *testing.T) {
			program, err := exec.LookPath(c.program)
			if err != nil {
				t.Skipf("SKIPPED, THE MANUAL PAGES WERE NOT CHECKED: %s is not in PATH", c.program)
			}
			lots := [][]string{files}
			if c.each {
				lots = slices.Collect(slices.Chunk(files, 1))
			}
			for _, lot := range lots {
				var said bytes.Buffer
				cmd := exec.Command(program, append(slices.Clone(c.args), lot...)...)
				cmd.Stderr = &said
				cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80")
				out, err := cmd.Output()
				if c.program == "mandoc" {
					said.Write(out)
				}
				if err != nil || said.Len() > 0 {
					t.Errorf("%s: %v: %s", strings.Join(lot, " "), err, said.String())
				}
			}
		})
	}
}

// No line of a page is wider than a terminal, those that are to be typed included.
func TestManualPagesFit(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("SKIPPED, THE MANUAL PAGES WERE NOT LOOKED AT: mandoc is not in PATH")
	}
	files, err := filepath.Glob(filepath.Join(manualDir, "*.[1-8]"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	overstruck := regexp.MustCompile(`.\x08`) // bold and underlined letters
	for _, f := range files {
		out, err := exec.Command(mandoc, "-T", "ascii", "-O", "width=78", f).Output()
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for line := range strings.Lines(overstruck.ReplaceAllString(string(out), "")) {
			if line = strings.TrimSuffix(line, "\n"); len(line) > 80 {
				t.Errorf("%s: a line of %d columns: %q", f, len(line), line)
			}
		}
	}
}

// manualPages gives the text of each page by its file name.
func manualPages(t *testing.T) map[string][]byte {
	t.Helper()
	app := newApp(testCommandLine(t, nil))
	pages := map[string][]byte{"pkgsneak.1": programPage(app)}
	for _, c := range app.Commands {
		if !c.Hidden {
			pages["pkgsneak-"+c.Name+".1"] = commandPage(app, c)
		}
	}
	sources, err := filepath.Glob(filepath.Join(manualDir, "*.in"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		m := &manual{}
		m.line(`.\" Made out of %s; go generate ./cmd/pkgsneak writes it.`, filepath.Base(s))
		for line := range strings.Lines(string(text)) {
			switch strings.TrimSpace(line) {
			case "@DATE@":
				m.line(".Dd %s", manualDate)
			case "@EXIT@":
				m.exitCodes()
			case "@TYPED@":
				m.typed(app)
			case "@VARIABLES@":
				m.variables(app)
			case "@RESULTS@":
				m.results()
			default:
				m.b.WriteString(line)
			}
		}
		pages[strings.TrimSuffix(filepath.Base(s), ".in")] = m.b.Bytes()
	}
	return pages
}

// manual is a page in mdoc(7).
type manual struct{ b bytes.Buffer }

func (m *manual) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n", args...) }

// text writes prose, a sentence a line as mdoc(7) wants it.
func (m *manual) text(s string) {
	s = strings.Join(strings.Fields(s), " ")
	for _, end := range []string{". ", ": "} {
		s = strings.ReplaceAll(s, end, strings.TrimSpace(end)+"\n")
	}
	for line := range strings.Lines(s) {
		m.line("%s", roff(strings.TrimSuffix(line, "\n")))
	}
}

// roff escapes what would mean something in a line of text: backslashes, a dot or an apostrophe at
// its beginning, and the hyphens of flags, which shall be the character that is typed.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func (m *manual) head(name, section, about string) {
	m.line(`.\" Made by go generate ./cmd/pkgsneak out of the tables of --help.`)
	m.line(".Dd %s\n.Dt %s %s\n.Os\n.Sh NAME\n.Nm %s\n.Nd %s", manualDate, strings.ToUpper(name),
		section, name, roff(about))
}

// programPage is pkgsneak(1).
func programPage(app *cli.App) []byte {
	m := &manual{}
	m.head("pkgsneak", "1", app.Usage)
	m.line(".Sh SYNOPSIS\n.Nm\n.Ar COMMAND\n.Op Ar flags\n.Op Ar arguments")
	m.line(".Sh DESCRIPTION")
	m.text("On a build host export writes what changed in PKGDIR and DISTDIR to a drive, with a signed manifest. On a machine without a network import verifies it, " +
		"brings it into PKGDIR and DISTDIR and renews the Packages index, so that emerge installs from it. If the drive is pulled or a run is killed, " +
		"the drive holds either the old or the new state, complete, and the next run goes on from there.")
	m.line(".Pp\nThe daily work is in\n.Xr pkgsneak 7 ,\nfiles, variables and the tree on a drive are in\n.Xr pkgsneak 5 .")
	m.line(".Sh COMMANDS")
	group := ""
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		if c.Category != group {
			if group != "" {
				m.line(".El")
			}
			group = c.Category
			m.line(".Ss %s\n.Bl -tag -width Ds", strings.ToUpper(group[:1])+group[1:])
		}
		m.line(".It Xr pkgsneak-%s 1", c.Name)
		m.text(c.Usage)
	}
	m.line(".El\n.Sh OPTIONS")
	m.line("Flags stand before or after the arguments.\nThese are those of every command.\n.Bl -tag -width Ds")
	m.flags(flags(common))
	m.line(".It Fl h , Fl \\-help\nHelp of the program or of a command.\n.It Fl V , Fl \\-version\nVersion, commit and architecture.\n.El")
	m.end("pkgsneak")
	return m.b.Bytes()
}

// commandPage is the page of one command.
func commandPage(app *cli.App, c *cli.Command) []byte {
	m := &manual{}
	m.head("pkgsneak-"+c.Name, "1", c.Usage)
	m.line(".Sh SYNOPSIS")
	for form := range strings.Lines(c.UsageText) {
		m.form(strings.TrimSpace(form))
	}
	m.line(".Sh DESCRIPTION")
	for i, p := range paragraphs(c.Description) {
		if i > 0 {
			m.line(".Pp")
		}
		m.text(p)
	}
	m.line(".Sh OPTIONS\nMost flags have a variable, see\n.Xr pkgsneak 5 .")
	m.grouped("", c.Flags)
	for _, sub := range c.Subcommands {
		m.grouped(" of "+c.Name+" "+sub.Name, without(sub.Flags, c.Flags))
	}
	m.end(c.Name)
	return m.b.Bytes()
}

// form is a line of the synopsis.
func (m *manual) form(form string) {
	m.line(".Nm pkgsneak")
	for _, r := range []string{"[", "]", "|", "..."} {
		form = strings.ReplaceAll(form, r, " "+r+" ")
	}
	for _, word := range strings.Fields(form) {
		switch {
		case word == "[":
			m.line(".Oo")
		case word == "]":
			m.line(".Oc")
		case word == "|" || word == "...":
			m.line(`\&%s`, word)
		case strings.HasPrefix(word, "--"):
			m.line(".Fl \\-%s", roff(word[2:]))
		case strings.ToUpper(word) == word:
			m.line(".Ar %s", word)
		default:
			m.line(".Cm %s", roff(word))
		}
	}
}

// grouped lists flags under the headings of their groups.
func (m *manual) grouped(of string, flags []cli.Flag) {
	for _, g := range groups {
		some := ofGroup(visible(flags), g)
		if len(some) == 0 {
			continue
		}
		title := string(g)
		m.line(".Ss %s%s\n.Bl -tag -width Ds", strings.ToUpper(title[:1])+title[1:], roff(of))
		m.flags(some)
		m.line(".El")
	}
}

func (m *manual) flags(flags []cli.Flag) {
	for _, f := range visible(flags) {
		var names []string
		for _, n := range f.Names() {
			if len(n) == 1 {
				names = slices.Insert(names, 0, "Fl "+n)
			} else {
				names = append(names, `Fl \-`+roff(n)+cmp.Or(strings.ReplaceAll(flagValue(f),
					" ", " Ar "), ""))
			}
		}
		m.line(".It %s", strings.Join(names, " , "))
		m.text(flagUsage(f) + flagDefault(f))
	}
}

func (m *manual) examples(command string) {
	examples := (&commandLine{verbs: verbs(&commandLine{env: &env{}})}).declared(command).examples
	if len(examples) == 0 {
		return
	}
	m.line(".Sh EXAMPLES")
	for i, e := range examples {
		if i > 0 {
			m.line(".Pp")
		}
		m.text(e.does)
		m.line(".Bd -literal -offset indent\n%s\n.Ed", roff(e.line))
	}
}

// end is what all pages of commands have: exit codes, examples, and where there is more.
func (m *manual) end(command string) {
	m.line(".Sh EXIT STATUS")
	m.exitCodes()
	m.examples(command)
	m.line(".Sh SEE ALSO")
	if command != "pkgsneak" {
		m.line(".Xr pkgsneak 1 ,")
	}
	m.line(".Xr pkgsneak 5 ,\n.Xr pkgsneak\\-json 5 ,\n.Xr pkgsneak 7")
}

func (m *manual) exitCodes() {
	m.line(".Bl -tag -width Ds -compact")
	for _, e := range exitMeanings {
		m.line(".It %d", e.code)
		m.text(e.text)
	}
	m.line(".El")
}

// typed lists the flags that have no variable; with the command, where another one's flag of that
// name has one.
func (m *manual) typed(app *cli.App) {
	names := map[string]bool{}
	settings := settingsOf(app)
	for _, c := range shown(app) {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range visible(leaf.Flags) {
				if d, ok := f.(declared); ok && d.typed {
					name := `\-\-` + roff(d.name)
					if settings[variable(d.name)] != nil {
						name += " of " + words(c, leaf)
					}
					names[name] = true
				}
			}
		}
	}
	m.line("%s.", strings.Join(slices.Sorted(maps.Keys(names)), ", "))
}

// setting is what a variable means to some commands.
type setting struct {
	flag     declared
	commands []string
}

// settingsOf gives by the name of each variable what it means, to whom.
func settingsOf(app *cli.App) map[string][]*setting {
	all := map[string][]*setting{}
	for _, c := range shown(app) {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range visible(leaf.Flags) {
				d, ok := f.(declared)
				if !ok || d.typed {
					continue
				}
				name := variable(d.name)
				i := slices.IndexFunc(all[name], func(s *setting) bool {
					return s.flag.usage == d.usage
				})
				if i < 0 {
					i = len(all[name])
					all[name] = append(all[name], &setting{flag: d})
				}
				// a command stands for its subcommands
				if s := all[name][i]; !slices.Contains(s.commands, c.Name) {
					s.commands = append(s.commands, words(c, leaf))
				}
			}
		}
	}
	return all
}

// words are those that name a command, or a subcommand of it.
func words(c, leaf *cli.Command) string {
	if leaf == c {
		return c.Name
	}
	return c.Name + " " + leaf.Name
}

// shown are the commands that help shows.
func shown(app *cli.App) []*cli.Command {
	return slices.DeleteFunc(slices.Clone(app.Commands), func(c *cli.Command) bool {
		return c.Hidden
	})
}

// variables lists the variables of all flags, with the commands that take them.
func (m *manual) variables(app *cli.App) {
	settings := settingsOf(app)
	m.line(".Bl -tag -width Ds")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		meanings := settings[name]
		value := cmp.Or(meanings[0].flag.value, "yes|no")
		m.line(".It Ev %s Ns = Ns Ar %s", name, value)
		for _, s := range meanings {
			m.text(s.flag.usage + flagDefault(s.flag) + ".")
			if len(meanings) > 1 || len(s.commands) < len(shown(app))-1 {
				m.line("Of %s.", strings.Join(s.commands, ", "))
			}
		}
	}
	m.line(".El")
}
