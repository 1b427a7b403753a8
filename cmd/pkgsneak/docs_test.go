package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// The README and --help say of the exit codes what exit.go means.
func TestExitCodesAreDocumented(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	help := rootHelp(newApp(testFace(t, nil)), widest)
	rows := 0
	for _, m := range exitMeanings {
		if row := fmt.Sprintf("| %d | %s |\n", m.code, m.text); !strings.Contains(string(readme), row) {
			t.Errorf("the README lacks the row %q", row)
		}
		if line := fmt.Sprintf("%5d  %s\n", m.code, m.text); !strings.Contains(help, line) {
			t.Errorf("--help lacks the line %q", line)
		}
	}
	_, table, _ := strings.Cut(string(readme), "## Exit codes")
	table, _, _ = strings.Cut(table, "\n## ")
	if rows = strings.Count(table, "\n| ") - 2; rows != len(exitMeanings) {
		t.Errorf("the README has %d exit codes, exit.go has %d", rows, len(exitMeanings))
	}
}

// isRow tells the name of a flag or a command, which stands whole.
func isRow(line string) bool { return strings.HasPrefix(line, "  ") && strings.Contains(line, "--") }

func isExample(verb, line string) bool {
	for _, e := range examplesOf[verb] {
		if line == "  "+e.line {
			return true
		}
	}
	return false
}

// Each command and each flag says what it is for, in lines that fit a terminal.
func TestHelpIsComplete(t *testing.T) {
	app := newApp(testFace(t, nil))
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		if c.Usage == "" || c.Category == "" || c.UsageText == "" || c.Description == "" {
			t.Errorf("%s: usage, group, forms or description is missing", c.Name)
		}
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range leaf.Flags {
				if flagUsage(f) == "" {
					t.Errorf("%s: --%s says nothing", leaf.Name, f.Names()[0])
				}
			}
		}
		if len(examplesOf[c.Name]) < 2 {
			t.Errorf("%s: two examples, please", c.Name)
		}
		for _, columns := range []int{40, 60, 80} {
			for line := range strings.Lines(verbHelp(c, columns)) {
				// Only one word, or a line that is to be typed, may be wider.
				line = strings.TrimRight(line, "\n")
				if len(line) > columns && len(strings.Fields(line)) > 1 && !isRow(line) && !isExample(c.Name, line) {
					t.Errorf("%s: a line of %d letters at %d columns: %q", c.Name, len(line), columns, line)
				}
			}
		}
	}
}
