package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/fault"
)

// The command line is put into one order before cli sees it, because cli v2 takes a flag behind an
// argument for an argument, without a word. A person may write
//
//	pkgsneak -v export /mnt/usb -pq --name=host --state-dir DIR -- -odd-name
//
// and cli gets
//
//	export --verbose --pretend --quiet --name=host --state-dir=DIR -- /mnt/usb -odd-name
//
// Rules: the first word that is no flag is the verb, and where the verb has subcommands, the next
// one may be one. Flags may stand anywhere before "--". A single dash begins a cluster of
// one-letter flags, two dashes a long one; a value follows "=" or is the next word. "-" alone is an
// argument.
type request struct {
	path  []string // the verb and its subcommand
	flags []string // --name or --name=value
	args  []string
	help  bool
	about bool // --version
}

// argv is what cli gets behind the program's name.
func (r *request) argv() []string {
	return slices.Concat(r.path, r.flags, []string{"--"}, r.args)
}

// parseArgs orders the words of a command line.
func parseArgs(app *cli.App, words []string) (*request, error) {
	p := &argParser{app: app, table: flagTable(app)}
	for i := 0; i < len(words); {
		n, err := p.take(words[i:])
		if err != nil {
			return nil, err
		}
		i += n
	}
	if p.help || p.about {
		return &p.request, nil
	}
	if p.verb == nil {
		return &p.request, nil
	}
	return &p.request, p.check()
}

type argParser struct {
	request
	app     *cli.App
	table   map[string]flagInfo
	verb    *cli.Command
	sub     *cli.Command
	names   []string // long names of the flags that were given, for the check against the verb
	written []string // how they were written
	values  []string // that they were given; "" for a switch
}

// flagInfo tells what a flag is called and whether it takes a value. A name means the same in every
// verb; a test holds that.
type flagInfo struct {
	name  string
	value string                   // what --help calls its value; "" for a switch
	check func(value string) error // nil: any will do
	// which values are good, in a sentence that begins with how the flag was written; nil where
	// check is
	takes func(written string) string
}

// badValue is the error of a value that a flag does not take, with those that it does.
func (f flagInfo) badValue(written string, err error) error {
	bad := usageErrorf("flag %q: %w", written, err)
	if f.takes == nil || errors.As(err, new(*hintError)) {
		return bad
	}
	return withHint(bad, "%s", f.takes(written))
}

// noValue is the error of a flag at the end of the line that takes a value.
func (f flagInfo) noValue(written string) error {
	bad := usageErrorf("flag %q needs a value", written)
	if f.takes == nil {
		return bad
	}
	return withHint(bad, "%s", f.takes(written))
}

// flagTable maps each name of each flag of each verb.
func flagTable(app *cli.App) map[string]flagInfo {
	table := map[string]flagInfo{"help": {name: "help"}, "h": {name: "help"}, "version": {
		name: "version"}, "V": {name: "version"}}
	for _, c := range app.Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range leaf.Flags {
				info := newFlagInfo(f)
				for _, n := range f.Names() {
					table[n] = info
				}
			}
		}
	}
	return table
}

func newFlagInfo(f cli.Flag) flagInfo {
	if d, ok := f.(declared); ok {
		return flagInfo{d.name, d.value, d.check, d.takes}
	}
	info := flagInfo{name: f.Names()[0]}
	if !isSwitch(f) {
		info.value = "VALUE"
	}
	return info
}

// take consumes the first word, and the second where it is the first one's value.
func (p *argParser) take(words []string) (int, error) {
	word := words[0]
	switch {
	case word == "--":
		p.args = append(p.args, words[1:]...)
		return len(words), nil
	case strings.HasPrefix(word, "--"):
		return p.long(words)
	case strings.HasPrefix(word, "-") && word != "-":
		return p.cluster(words)
	}
	p.word(word)
	return 1, nil
}

// word takes the verb, its subcommand or an argument.
func (p *argParser) word(w string) {
	switch {
	case len(p.path) == 0 && w == "help":
		p.help = true
	case p.verb == nil && len(p.path) == 0:
		p.path = []string{w}
		p.verb = p.app.Command(w)
	case p.verb != nil && p.sub == nil && len(p.args) == 0 && p.verb.Command(w) != nil:
		p.sub = p.verb.Command(w)
		p.path = append(p.path, w)
	default:
		p.args = append(p.args, w)
	}
}

func (p *argParser) long(words []string) (int, error) {
	name, value, has := strings.Cut(words[0][2:], "=")
	info, ok := p.table[name]
	if !ok || len(name) == 1 {
		return 0, p.unknownFlag("--" + name)
	}
	if info.value == "" || has {
		return 1, p.flag(info, "--"+name, value, has)
	}
	if len(words) < 2 {
		return 0, info.noValue("--" + name)
	}
	return 2, p.flag(info, "--"+name, words[1], true)
}

// cluster takes flags of one letter. A word that spells a long flag, as other programs write it, is
// none of these: -json would be -j with the value "son".
func (p *argParser) cluster(words []string) (int, error) {
	long, exact := p.longMeant(words[0])
	if exact {
		return 0, withHint(usageErrorf("there is no flag %q", words[0]), "%s", meant(long))
	}
	n, err := p.letters(words)
	if err != nil && long != "" {
		err = withHint(usageErrorf("there is no flag %q", words[0]), "%s", meant(long))
	}
	return n, err
}

// longMeant is the long flag that somebody wrote with a single dash, with its value where that
// stands behind "=", as it is to be typed: spelled so, or nearly; "" if there is none.
func (p *argParser) longMeant(word string) (flag string, exact bool) {
	name, value, has := strings.Cut(word[1:], "=")
	if len(name) < 2 {
		return "", false
	}
	if _, exact = p.table[name]; !exact {
		if name = p.nearestFlag(name); name == "" {
			return "", false
		}
	}
	if has {
		return "--" + name + "=" + fault.Quote(value), exact
	}
	return "--" + name, exact
}

func (p *argParser) letters(words []string) (int, error) {
	letters := []rune(words[0][1:])
	for i, r := range letters {
		name := string(r)
		info, ok := p.table[name]
		switch {
		case !ok:
			return 0, p.unknownFlag("-" + name)
		case info.value == "":
			if err := p.flag(info, "-"+name, "", false); err != nil {
				return 0, err
			}
			continue
		case i < len(letters)-1:
			value := strings.TrimPrefix(string(letters[i+1:]), "=")
			if info.check != nil {
				if err := info.check(value); err != nil {
					return 0, info.badValue("-"+name, err)
				}
			}
			return 1, p.flag(info, "-"+name, value, true)
		case len(words) < 2:
			return 0, info.noValue("-" + name)
		}
		return 2, p.flag(info, "-"+name, words[1], true)
	}
	return 1, nil
}

// flag takes one flag in its long form.
func (p *argParser) flag(info flagInfo, written, value string, has bool) error {
	switch {
	case info.name == "help":
		p.help = true
		return nil
	case info.name == "version":
		p.about = true
		return nil
	case has && info.value == "":
		on, err := parseBool(value)
		if err != nil {
			return info.badValue(written, err)
		}
		p.flags = append(p.flags, fmt.Sprintf("--%s=%t", info.name, on))
	case has:
		p.flags = append(p.flags, "--"+info.name+"="+value)
	default:
		p.flags = append(p.flags, "--"+info.name)
	}
	if info.value == "" {
		value = ""
	}
	p.values = append(p.values, value)
	p.names = append(p.names, info.name)
	p.written = append(p.written, written)
	return nil
}

// check holds the flags that were given against those of the verb.
func (p *argParser) check() error {
	leaf := p.verb
	if p.sub != nil {
		leaf = p.sub
	}
	for i, name := range p.names {
		at := slices.IndexFunc(leaf.Flags, func(f cli.Flag) bool { return f.Names()[0] == name })
		if at < 0 {
			what := strings.Join(p.path, " ")
			return withHint(usageErrorf("%s has no flag %q", what, p.written[i]),
				"pkgsneak %s --help", what)
		}
		if info := newFlagInfo(leaf.Flags[at]); info.value != "" && info.check != nil {
			if err := info.check(p.values[i]); err != nil {
				return info.badValue(p.written[i], err)
			}
		}
	}
	return nil
}

func (p *argParser) unknownFlag(written string) error {
	err := usageErrorf("there is no flag %q", written)
	if near := p.nearestFlag(strings.TrimLeft(written, "-")); near != "" &&
		strings.HasPrefix(written, "--") {
		return withHint(err, "%s", meant("--"+near))
	}
	if p.verb != nil {
		return withHint(err, "pkgsneak %s --help", p.verb.Name)
	}
	return withHint(err, "pkgsneak --help")
}

// nearestFlag looks among the flags of the command first, if there is one already.
func (p *argParser) nearestFlag(word string) string {
	leaf := p.verb
	if p.sub != nil {
		leaf = p.sub
	}
	var own, all []string
	if leaf != nil {
		for _, f := range visible(leaf.Flags) {
			own = append(own, f.Names()[0])
		}
	}
	for n := range p.table {
		if len(n) > 1 {
			all = append(all, n)
		}
	}
	if near := nearest(word, own); near != "" {
		return near
	}
	return nearest(word, all)
}
