package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	documents, err := filepath.Glob("doc/*.md")
	if err != nil || len(documents) < 5 {
		t.Fatalf("%q, %v", documents, err)
	}
	for _, d := range append(documents, "../../README.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(d)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			if width(strings.TrimSuffix(line, "\n")) > 100 {
				t.Errorf("%s:%d has more than 100 columns: %q", d, n, line)
			}
		}
		links := regexp.MustCompile(`\]\(([^)#:]+)\)`)
		for _, link := range links.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(d), link[1])); err != nil {
				t.Errorf("%s links to what is not there: %v", d, err)
			}
		}
	}
}

// isRow tells the name of a flag or a command, which stands whole.
func isRow(line string) bool {
	return strings.HasPrefix(line, "  ") &&
		strings.Contains(line, "--")
}

func isExample(v verb, line string) bool {
	for _, e := range v.examples {
		if line == "  "+e.line {
			return true
		}
	}
	return false
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
		for _, columns := range []int{40, 60, 80} {
			for line := range strings.Lines(verbHelp(c, columns)) {
				// Only one word, or a line that is to be typed, may be wider.
				line = strings.TrimRight(line, "\n")
				if len(line) > columns && len(strings.Fields(line)) > 1 && !isRow(line) &&
					!isExample(c, line) {
					t.Errorf("%s: a line of %d letters at %d columns: %q", c.Name, len(line),
						columns, line)
				}
			}
		}
	}
}
