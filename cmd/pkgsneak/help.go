package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// help answers --help, -h and the word help, of the program or of a verb.
func (f *face) help(app *cli.App, req *request) error {
	words := append(append([]string{}, req.path...), req.args...)
	if len(words) == 0 {
		f.helpText(rootHelp(app))
		return nil
	}
	verb := app.Command(words[0])
	if verb == nil {
		return withHint(usageErrorf("there is no command %q", words[0]), "pkgsneak --help")
	}
	f.helpText(verbHelp(verb))
	return nil
}

// helpText prints a help that was asked for, also under --json.
func (f *face) helpText(text string) {
	if f.out.json {
		f.out.event(resultEvent{Event: "result", Verb: "help", Exit: exitDone, Report: map[string]string{"text": text}})
		return
	}
	f.out.put("%s", raw(text))
}

// rootHelp is the help of the program: the verbs in groups, what each knows of, exit codes.
func rootHelp(app *cli.App) string {
	var b strings.Builder
	b.WriteString("pkgsneak: " + app.Usage + "\n\n  pkgsneak COMMAND [FLAGS] [ARGUMENTS]\n")
	group := ""
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		if c.Category != group {
			group = c.Category
			b.WriteString("\n" + group + "\n")
		}
		fmt.Fprintf(&b, "  %-36s %s\n", strings.TrimSpace(c.Name+" "+c.ArgsUsage), c.Usage)
	}
	b.WriteString("\nflags of every command\n" + flagLines(flags(common)) +
		flagLine("-h, --help", "of the program or of a command") +
		flagLine("-V, --version", "") +
		"\nexit codes\n")
	for _, e := range exitMeanings {
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.text)
	}
	b.WriteString("\nFlags stand before or after the arguments. Each but those that answer a question has a variable, which the\n" +
		"environment or " + confFile + " may set: --state-dir is " + variable("state-dir") + ".\n")
	return strings.TrimSuffix(b.String(), "\n")
}

// verbHelp is the help of one verb: forms, what it does, flags.
func verbHelp(c *cli.Command) string {
	var b strings.Builder
	b.WriteString("pkgsneak " + c.Name + ": " + c.Usage + "\n\n")
	for line := range strings.Lines(c.UsageText) {
		b.WriteString("  pkgsneak " + line)
	}
	b.WriteString("\n\n" + strings.TrimSpace(c.Description) + "\n")
	if lines := flagLines(c.Flags); lines != "" {
		b.WriteString("\nflags\n" + lines)
	}
	for _, sub := range c.Subcommands {
		if lines := flagLines(without(sub.Flags, c.Flags)); lines != "" {
			b.WriteString("\nflags of " + c.Name + " " + sub.Name + "\n" + lines)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// flagLines lists flags, one a line.
func flagLines(flags []cli.Flag) string {
	var b strings.Builder
	for _, f := range visible(flags) {
		names := f.Names()
		line := "    "
		for _, n := range names[1:] {
			if len(n) == 1 {
				line = "-" + n + ", "
			}
		}
		line += "--" + names[0] + flagValue(f)
		for _, n := range names[1:] {
			if len(n) > 1 {
				line += ", --" + n
			}
		}
		b.WriteString(flagLine(line, flagUsage(f)+flagDefault(f)))
	}
	return b.String()
}

func flagLine(names, usage string) string {
	return strings.TrimRight(fmt.Sprintf("  %-34s  %s", names, usage), " ") + "\n"
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
	if shown == "" || shown == "0" {
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
