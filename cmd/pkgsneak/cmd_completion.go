package main

import (
	"embed"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/clients"
	"pkgsneak/sync/doctor"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/state"
	"pkgsneak/sync/watch"
)

//go:embed completion
var completionScripts embed.FS

// shells are those that completion has a script for.
var shells = []string{"bash", "fish", "zsh"}

func completionVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "completion",
			Category:  "help",
			Usage:     "print the completion script of a shell",
			ArgsUsage: "bash|zsh|fish",
			UsageText: "completion bash|zsh|fish",
			Description: "Prints a script that makes the shell complete pkgsneak's commands, flags,\n" +
				"mounted drives and keys. Its first lines say where to put it.",
			Flags:  flags(jsonLines),
			Action: f.action(1, 1, completion),
		},
		examples: []example{
			{"pkgsneak completion bash > /etc/bash_completion.d/pkgsneak",
				"Installs completion for bash."},
			{"pkgsneak completion fish | source", "Tries it in a running fish."},
		},
		results: map[string][]any{"": {textReport{}}},
	}
}

func completion(c *invocation) error {
	shell := c.args[0]
	if !slices.Contains(shells, shell) {
		return withHint(usageErrorf("completion: there is no script for %q", shell),
			"pkgsneak completion bash")
	}
	script, err := completionScripts.ReadFile("completion/" + shell)
	if err != nil {
		return err
	}
	if !c.out.json {
		c.out.put("%s", raw(strings.TrimSuffix(string(script), "\n")))
	}
	c.result(exitDone, textReport{string(script)})
	return nil
}

// completeVerb answers the scripts: the words of the line so far, the last one being the one to
// complete, perhaps empty. An answer is a line each, the word and behind a tab what it means;
// ":dirs" or ":files" asks the shell for names.
func completeVerb(f *commandLine) verb {
	return verb{Command: &cli.Command{Name: "complete", Hidden: true,
		Action: f.action(0, 1<<10, complete)}}
}

func complete(c *invocation) error {
	if len(c.args) == 0 {
		return nil
	}
	for _, line := range (completer{c}).candidates(c.flags.App, c.args[:len(c.args)-1],
		c.args[len(c.args)-1]) {
		c.out.put("%s", raw(printableTab(line)))
	}
	return nil
}

// candidate is a word that can stand at a place, and what it means.
type candidate struct{ word, meaning string }

// The words that ask the shell.
const (
	askDirs  = ":dirs"
	askFiles = ":files"
)

// printableTab is one line of an answer; a name that would break the line is not offered as it is.
func printableTab(c candidate) string {
	if c.meaning == "" {
		return printable(c.word)
	}
	return printable(c.word) + "\t" + printable(c.meaning)
}

// completer answers what the word under the cursor can become.
type completer struct{ *invocation }

// candidates lists what the word current can become behind the words before.
func (c completer) candidates(app *cli.App, before []string, current string) []candidate {
	p := &argParser{app: app, table: flagTable(app)}
	for i := 0; i < len(before); {
		n, err := p.take(before[i:])
		if err != nil { // a flag that waits for its value, or one that does not exist
			return keepPrefix(c.valueCandidates(p, before[len(before)-1]), current)
		}
		i += n
	}
	switch {
	case p.verb == nil && len(p.path) > 0:
		return nil
	case strings.HasPrefix(current, "-"):
		return keepPrefix(flagCandidates(p), current)
	case p.verb == nil:
		return keepPrefix(verbCandidates(app), current)
	}
	return keepPrefix(c.argumentCandidates(p), current)
}

// keepPrefix keeps the candidates that begin with what was typed, and the requests to the shell.
func keepPrefix(all []candidate, current string) []candidate {
	return slices.DeleteFunc(all, func(c candidate) bool {
		return !strings.HasPrefix(c.word, current) && c.word != askDirs && c.word != askFiles
	})
}

func verbCandidates(app *cli.App) []candidate {
	list := []candidate{{"help", "of the program or of a command"}}
	for _, v := range app.Commands {
		if !v.Hidden {
			list = append(list, candidate{v.Name, v.Usage})
		}
	}
	return list
}

func flagCandidates(p *argParser) []candidate {
	taken := flags(common)
	switch {
	case p.sub != nil:
		taken = p.sub.Flags
	case p.verb != nil:
		taken = p.verb.Flags
	}
	list := []candidate{{"--help", "what the command does, and its flags"}}
	for _, f := range visible(taken) {
		list = append(list, candidate{"--" + f.Names()[0], flagUsage(f)})
	}
	return list
}

// valueCandidates lists values of a flag that is the last word of the line.
func (c completer) valueCandidates(p *argParser, flag string) []candidate {
	switch p.table[strings.TrimLeft(flag, "-")].value {
	case "DIR", "DRIVE":
		return []candidate{{word: askDirs}}
	case "FILE":
		return []candidate{{word: askFiles}}
	case "TOPICS":
		return topicCandidates()
	case "ROLE":
		return []candidate{{word: "export"}, {word: "import"}, {word: "both"}}
	case "ORIGIN":
		return c.originCandidates(p)
	}
	return nil
}

func (c completer) originCandidates(p *argParser) []candidate {
	if len(p.args) == 0 {
		return nil
	}
	return originsOn(p.args[0])
}

// mountedOrigins are the origins on the drives that are mounted, each with its drive.
func (c completer) mountedOrigins() []candidate {
	var list []candidate
	for _, m := range c.mounts() {
		for _, o := range originsOn(m.word) {
			list = append(list, candidate{o.word, "on " + m.word})
		}
	}
	return list
}

func originsOn(mount string) []candidate {
	d, err := drive.Open(mount)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, err := d.Origins()
	if err != nil {
		return nil
	}
	var list []candidate
	for _, n := range names {
		list = append(list, candidate{word: n})
	}
	return list
}

// argumentCandidates lists what a verb can be about.
func (c completer) argumentCandidates(p *argParser) []candidate {
	var list []candidate
	if p.sub == nil && len(p.args) == 0 {
		for _, s := range p.verb.Subcommands {
			list = append(list, candidate{s.Name, s.Usage})
		}
	}
	command := p.verb
	if p.sub != nil {
		command = p.sub
	}
	place := argumentAt(command.ArgsUsage, len(p.args))
	switch strings.Join(p.path, " ") {
	case "doctor":
		if slices.Contains(p.names, "explain") {
			return topicCandidates()
		}
	case "trust remove":
		return c.trustedCandidates(p)
	case "clients accept", "clients forget":
		if place != "" {
			list = c.clientCandidates(p, p.sub.Name == "forget")
		}
		return list
	}
	switch place {
	case "DRIVE":
		return append(append(list, c.mounts()...), candidate{word: askDirs})
	case "DRIVE|FILE":
		return append(append(list, c.mounts()...), candidate{word: askFiles})
	case "PKGDIR":
		return append(list, candidate{word: askDirs})
	case "FILE":
		return append(list, candidate{word: askFiles})
	case "ORIGIN":
		return append(list, c.mountedOrigins()...)
	}
	if p.sub != nil || len(p.verb.Subcommands) > 0 || strings.ToLower(place) != place {
		return list
	}
	for word := range strings.SplitSeq(place, "|") {
		list = append(list, candidate{word: word})
	}
	return list
}

// argumentAt is the word of a command's usage for its i-th argument: the last one again where that
// may be repeated, "" behind the last.
func argumentAt(usage string, i int) string {
	words := strings.Fields(usage)
	switch {
	case i < len(words):
	case len(words) > 0 && strings.HasSuffix(words[len(words)-1], "...]"):
		i = len(words) - 1
	default:
		return ""
	}
	return strings.Trim(words[i], "[.]")
}

// topicCandidates are what doctor can explain.
func topicCandidates() []candidate {
	var list []candidate
	for _, t := range doctor.Topics() {
		list = append(list, candidate{t.Name, t.Title})
	}
	return list
}

// stateDirOf is the state directory that a line names.
func (c completer) stateDirOf(p *argParser) string {
	dir := c.stateDir()
	for _, f := range p.flags {
		if d, ok := strings.CutPrefix(f, "--state-dir="); ok {
			dir = d
		}
	}
	return dir
}

// clientCandidates lists the clients that nobody has accepted, and those that somebody has if they
// count.
func (c completer) clientCandidates(p *argParser, accepted bool) []candidate {
	store, err := clients.Open(c.stateDirOf(p), true, nil)
	if err != nil {
		return nil
	}
	defer store.Close()
	var list []candidate
	offers, _ := store.Offers() // what can be read is offered
	for _, o := range offers {
		list = append(list, candidate{clients.Word(o.Name, o.Fingerprint),
			"unknown key " + o.Fingerprint.Grouped()})
	}
	all, _ := store.Clients()
	for _, known := range all {
		if accepted {
			list = append(list, candidate{clients.Word(known.Name, known.Key), "accepted"})
		}
	}
	return list
}

func (c completer) trustedCandidates(p *argParser) []candidate {
	st, err := state.Open(c.ctx, c.stateDirOf(p), state.Options{ReadOnly: true})
	if err != nil {
		return nil
	}
	defer st.Close()
	ring, err := st.Trusted()
	if err != nil {
		return nil
	}
	var list []candidate
	for _, k := range ring {
		list = append(list, candidate{string(k.Fingerprint()), k.UserID()})
	}
	return list
}

// mounts lists the places where a drive is likely to be mounted.
func (c completer) mounts() []candidate {
	f, err := os.Open(filepath.Join(c.env.root, "/proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	defer f.Close()
	table, err := watch.ParseMounts(f)
	if err != nil {
		return nil
	}
	var list []candidate
	for _, m := range table {
		for _, dir := range []string{"/mnt/", "/media/", "/run/media/"} {
			if strings.HasPrefix(m.Point, dir) {
				list = append(list, candidate{m.Point, m.Source + " " + m.Type})
			}
		}
	}
	return list
}
