package main

import (
	"context"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// run is a whole run: words are the arguments behind the program's name, the result is the exit
// code.
func run(ctx context.Context, e *env, words []string) int {
	f := &commandLine{env: e, out: newPrinter(e)}
	app := newApp(f)
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		f.watchSignals(ctx, ended)
	}()
	err := dispatch(ctx, f, app, words)
	close(ended)
	<-watched // only one of both has the last word
	return f.end(ctx, err)
}

// dispatch finds out what is wanted and does it.
func dispatch(ctx context.Context, f *commandLine, app *cli.App, words []string) error {
	req, err := parseArgs(app, words)
	if err != nil {
		f.verb = verbOf(app, words)
		f.out.json = f.asksForJSON(words)
		return err
	}
	f.out.json = f.asksForJSON(req.flags)
	switch {
	case req.about:
		return f.about()
	case req.help:
		return f.help(app, req)
	case len(req.path) == 0:
		if f.out.json {
			return withHint(usageErrorf("a command is missing"), "pkgsneak --help")
		}
		f.out.err.line("%s", raw(rootHelp(app, widest)))
		return outcome(exitUsage)
	}
	return app.RunContext(ctx, append([]string{app.Name}, req.argv()...))
}

// asksForJSON reports whether the flags among some words ask for JSON, or else the variable.
func (f *commandLine) asksForJSON(words []string) bool {
	if end := slices.Index(words, "--"); end >= 0 {
		words = words[:end]
	}
	for _, word := range slices.Backward(words) {
		if word == "--json" {
			return true
		}
		if value, has := strings.CutPrefix(word, "--json="); has {
			on, err := parseBool(value)
			return on || err != nil
		}
	}
	return f.wantsJSON()
}

// verbOf is the command of a line that cannot be read, "" if it has none.
func verbOf(app *cli.App, words []string) string {
	for _, word := range words {
		if v := app.Command(word); v != nil && !v.Hidden {
			return word
		}
	}
	return ""
}

// wantsJSON reports whether the variable of --json asks for it, for answers that are given before a
// command has its options. The settings file is read there for the first time: what is wrong with
// it is told then.
func (f *commandLine) wantsJSON() bool {
	value, _ := f.env.variables(&printer{err: screen{w: io.Discard}}).get(variable("json"))
	on, err := parseBool(value)
	return err == nil && on
}

// versionReport is the result of --version.
type versionReport struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "" if the build does not tell it
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"` // as Go calls it
}

// about answers --version.
func (f *commandLine) about() error {
	if f.out.json {
		f.out.last(envelope{Command: "version", Exit: exitDone, Result: versionReport{f.env.version,
			f.env.commit, runtime.Version(), runtime.GOOS, runtime.GOARCH}})
		return nil
	}
	commit := ""
	if f.env.commit != "" && !strings.Contains(f.env.version, f.env.commit) {
		commit = "commit " + f.env.commit + ", "
	}
	f.out.put("pkgsneak %s (%s%s)", f.env.version, commit, platform())
	return nil
}

// newApp puts the verbs together. cli parses and dispatches; help, printing and exit codes are
// ours.
func newApp(f *commandLine) *cli.App {
	return &cli.App{
		Name:           "pkgsneak",
		Usage:          "carry Gentoo and Funtoo binary packages over an air gap on a USB drive",
		Commands:       commands(f),
		HideHelp:       true,
		HideVersion:    true,
		Reader:         f.env.stdin,
		Writer:         io.Discard,
		ErrWriter:      io.Discard,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usage,
		Action:         unknownVerb,
	}
}

// verbs are the commands in the order in which help shows them.
func verbs(f *commandLine) []verb {
	return []verb{
		exportVerb(f), importVerb(f), undoVerb(f), verifyVerb(f), statusVerb(f), requestVerb(f),
		clientsVerb(f), forgetVerb(f),
		indexVerb(f), doctorVerb(f),
		autoVerb(f), workerVerb(f), watchVerb(f),
		serveVerb(f),
		keyVerb(f), trustVerb(f),
		completionVerb(f), completeVerb(f),
	}
}

// commands are the verbs as cli takes them.
func commands(f *commandLine) []*cli.Command {
	f.verbs = verbs(f)
	all := make([]*cli.Command, len(f.verbs))
	for i, v := range f.verbs {
		all[i] = v.Command
		for _, leaf := range append([]*cli.Command{v.Command}, v.Subcommands...) {
			leaf.OnUsageError = usage
			leaf.HideHelp = true
		}
	}
	return all
}

// usage turns cli's complaint about a value into an error of ours.
func usage(_ *cli.Context, err error, _ bool) error { return &usageError{err} }

// unknownVerb is where cli ends when the first word is no verb. (The CommandNotFound of cli would
// make the run a success.)
func unknownVerb(c *cli.Context) error {
	word := c.Args().First()
	var names []string
	for _, v := range c.App.Commands {
		if !v.Hidden {
			names = append(names, v.Name)
		}
	}
	err := usageErrorf("there is no command %q", word)
	if word == "version" {
		return withHint(err, "pkgsneak --version")
	}
	if near := nearest(word, names); near != "" {
		return withHint(err, "pkgsneak %s", near)
	}
	return withHint(err, "pkgsneak --help")
}
