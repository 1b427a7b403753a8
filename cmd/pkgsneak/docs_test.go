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
	help := rootHelp(newApp(testFace(t, nil)))
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
		for line := range strings.Lines(verbHelp(c)) {
			if len(strings.TrimSuffix(line, "\n")) > 130 {
				t.Errorf("%s: a line of %d letters: %q", c.Name, len(line), line)
			}
		}
	}
}
