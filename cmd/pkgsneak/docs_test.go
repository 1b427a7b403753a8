package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// The page that explains exit codes and --help give them the meanings of exit.go, and no document
// has a line that is wider than a page.
func TestDocumentsAreCurrent(t *testing.T) {
	help := rootHelp(newApp(testCommandLine(t, nil)), widest)
	for _, m := range exitMeanings {
		if line := fmt.Sprintf("%5d  %s\n", m.code, m.text); !strings.Contains(help, line) {
			t.Errorf("--help lacks the line %q", line)
		}
	}
	for d, text := range textsOf(t, "doc/*.md", "../../README.md", "../../CHANGELOG.md") {
		n := 0
		for line := range strings.Lines(text) {
			n++
			if width(strings.TrimSuffix(line, "\n")) > 100 {
				t.Errorf("%s:%d has more than 100 columns: %q", d, n, line)
			}
		}
		links := regexp.MustCompile(`\]\(([^)#:]+)\)`)
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(d), link[1])); err != nil {
				t.Errorf("%s links to what is not there: %v", d, err)
			}
		}
	}
}

// checkWidth reports the lines of a help that a terminal would break. One word may be wider: a
// path, or a name.
func checkWidth(t *testing.T, name, help string, columns int) {
	t.Helper()
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		if width(line) > columns && len(strings.Fields(line)) > 1 {
			t.Errorf("%s: a line of %d letters at %d columns: %q", name, width(line), columns, line)
		}
	}
}

// A command that is too wide for a page goes on behind a backslash, and stands whole where it fits.
func TestLongCommandGoesOn(t *testing.T) {
	for columns, want := range map[int]string{
		20: "  one two three \\\n    four five\n",
		24: "  one two three four \\\n    five\n",
		25: "  one two three four five\n",
	} {
		p := &page{width: columns}
		p.command(2, "one two three four five")
		if got := p.b.String(); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
}

// Each command and each flag has a text of what it is for, in lines that fit a terminal.
func TestHelpIsComplete(t *testing.T) {
	for _, c := range verbs(testCommandLine(t, nil)) {
		if c.Hidden {
			continue
		}
		if c.Usage == "" || c.Category == "" || c.UsageText == "" || c.Description == "" {
			t.Errorf("%s: usage, group, forms or description is missing", c.Name)
		}
		for _, leaf := range append([]*cli.Command{c.Command}, c.Subcommands...) {
			for _, f := range leaf.Flags {
				if flagUsage(f) == "" {
					t.Errorf("%s: --%s says nothing", leaf.Name, f.Names()[0])
				}
			}
		}
		if len(c.examples) < 2 {
			t.Errorf("%s: two examples, please", c.Name)
		}
		for columns := narrowest; columns <= widest; columns++ {
			checkWidth(t, c.Name, verbHelp(c, columns), columns)
		}
	}
	app := newApp(testCommandLine(t, nil))
	for columns := narrowest; columns <= widest; columns++ {
		checkWidth(t, "pkgsneak", rootHelp(app, columns), columns)
	}
}

// Each command line in the documents, the manual pages and the examples names a command that there
// is, with flags that it has.
func TestDocumentedCommandsExist(t *testing.T) {
	var lines []string
	for _, v := range verbs(testCommandLine(t, nil)) {
		for _, e := range v.examples {
			lines = append(lines, e.line)
		}
	}
	for name, text := range textsOf(t, "doc/*.md", "../../README.md", "../../CHANGELOG.md",
		"man/*.in") {
		lines = append(lines, documentedCommands(text, filepath.Ext(name) == ".in")...)
	}
	if len(lines) < 80 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for _, line := range lines {
		app := newApp(testCommandLine(t, nil))
		words := strings.Fields(strings.NewReplacer("'", "", "...", "").Replace(line))
		end := slices.IndexFunc(words, func(w string) bool {
			return strings.ContainsAny(w[:1], "#&>|") || slices.Contains([]string{".", ",", ":"}, w)
		})
		if end < 0 {
			end = len(words)
		}
		if words = words[1:end]; len(words) == 0 || words[0] == "COMMAND" {
			continue
		}
		if req, err := parseArgs(app, words); err != nil ||
			!req.about && !req.help && app.Command(req.path[0]) == nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// textsOf gives the texts of the files that patterns fit, each of which has to fit some.
func textsOf(t *testing.T, patterns ...string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%q: %q, %v", pattern, files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			texts[f] = string(text)
		}
	}
	return texts
}

// documentedCommands finds the command lines of pkgsneak in a document or the source of a manual
// page: lines of their own, and those in backquotes or .Ql, which may go on in the next line.
func documentedCommands(text string, isManual bool) (lines []string) {
	margin := "    "
	if isManual {
		text, margin = strings.ReplaceAll(text, `\-`, "-"), `(?:\.Ql )?`
	}
	pattern := regexp.MustCompile("(?m)^" + margin + "(pkgsneak .*)$|`(pkgsneak [^`]+)`")
	for _, found := range pattern.FindAllStringSubmatch(text, -1) {
		lines = append(lines, cmp.Or(found[1], found[2]))
	}
	return lines
}

// Each test that the documents name exists.
func TestDocumentedTestsExist(t *testing.T) {
	tests := strings.Join(slices.Collect(maps.Values(textsOf(t, "*_test.go", "../../*/*_test.go",
		"../../sync/*/*_test.go"))), "\n")
	n := 0
	for document, text := range textsOf(t, "doc/*.md") {
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(text, -1) {
			if n++; !strings.Contains(tests, "\nfunc "+name+"(") {
				t.Errorf("%s names %s, and there is no such test", document, name)
			}
		}
	}
	if n < 5 {
		t.Errorf("the documents name %d tests", n)
	}
}
