package main

import (
	"errors"
	"flag"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/doctor"
)

// testApp has the shapes of verbs that there are: flags of each kind, a verb with subcommands.
func testApp() *cli.App {
	onoff := func(o *options) flag.Value { return toggle{new(bool)} }
	word := func(o *options) flag.Value { return emptyable{new(string)} }
	quiet := flagSet{{name: "quiet", also: []string{"q"}, to: onoff}}
	rest := flagSet{
		{name: "pretend", also: []string{"p", "dry-run"}, to: onoff},
		{name: "state-dir", also: []string{"s"}, value: "DIR", to: word},
	}
	return &cli.App{Commands: []*cli.Command{
		{Name: "export", Flags: flags(flagSet{{name: "name", value: "NAME", to: word}},
			quiet, rest)},
		{Name: "trust", Flags: flags(quiet, rest),
			Subcommands: []*cli.Command{{Name: "list", Flags: flags(quiet)}}},
	}}
}

func TestParseArgs(t *testing.T) {
	tests := []struct {
		name  string
		words string
		want  string
	}{
		{"nothing", "", "--"},
		{"flags behind the argument", "export /mnt -p --name=a",
			"export --pretend --name=a -- /mnt"},
		{"flags before the verb", "-q --state-dir /s export /mnt",
			"export --quiet --state-dir=/s -- /mnt"},
		{"flags in between", "export -p /mnt -q", "export --pretend --quiet -- /mnt"},
		{"cluster", "export -pq /mnt", "export --pretend --quiet -- /mnt"},
		{"cluster with a value at its end", "export -pqs /s /mnt",
			"export --pretend --quiet --state-dir=/s -- /mnt"},
		{"value in the cluster", "export -ps/s /mnt", "export --pretend --state-dir=/s -- /mnt"},
		{"value behind = in the cluster", "export -s=/s", "export --state-dir=/s --"},
		{"other name of a flag", "export --dry-run", "export --pretend --"},
		{"value that looks like a flag", "export --name --pretend /mnt",
			"export --name=--pretend -- /mnt"},
		{"empty value", "export --name= /mnt", "export --name= -- /mnt"},
		{"switch with a word", "export --pretend=no", "export --pretend=false --"},
		{"arguments behind --", "export -p -- -odd --name", "export --pretend -- -odd --name"},
		{"a dash is an argument", "trust -", "trust -- -"},
		{"subcommand", "trust -q list", "trust list --quiet --"},
		{"subcommand is only the first word", "trust /mnt list", "trust -- /mnt list"},
		{"subcommand behind --", "trust -- list", "trust -- list"},
		{"unknown verb", "exprot -p /mnt", "exprot --pretend -- /mnt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := parseArgs(testApp(), strings.Fields(tt.words))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(req.argv(), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestParseArgsRefuses(t *testing.T) {
	tests := []struct{ name, words, want string }{
		{"unknown long flag", "export --nmae a", `there is no flag "--nmae"`},
		{"unknown letter", "export -px", `there is no flag "-x"`},
		{"one letter with two dashes", "export --p", `there is no flag "--p"`},
		{"long flag with one dash", "export -name a", `there is no flag "-name"`},
		{"value missing", "export --name", `flag "--name" needs a value`},
		{"value of a letter missing", "export -ps", `flag "-s" needs a value`},
		{"switch with a wrong word", "export --pretend=maybe", `"maybe" is neither yes nor no`},
		{"flag of another verb", "trust /mnt --name a", `trust has no flag "--name"`},
		{"flag of another subcommand", "trust list -p", `trust list has no flag "-p"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseArgs(testApp(), strings.Fields(tt.words))
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want a usage error with %q", err, tt.want)
			}
		})
	}
}

// Other programs write long flags with a single dash: whoever is used to that is told how it is
// written here, whatever its letters would mean one by one.
func TestSingleDash(t *testing.T) {
	app := newApp(testCommandLine(t, nil))
	tests := map[string]string{ // the words, and the flag that is proposed
		"status -json":                 "--json",
		"export /mnt -json":            "--json", // -j takes a value there
		"export /mnt -jsn":             "--json",
		"export -jobs 4 /mnt":          "--jobs",
		"import -verbose /mnt":         "--verbose",
		"import -pretend /mnt":         "--pretend",
		"import -pretned /mnt":         "--pretend",
		"import -state-dir=/s /mnt":    "--state-dir=/s",
		"import -state-dir=a;b /mnt":   "--state-dir='a;b'",
		"import -help":                 "--help",
		"-version":                     "--version",
		"auto -install":                "--install",
		"trust -fingerprint ABCD /mnt": "--fingerprint",
		"trust -never -json /mnt":      "--never",
	}
	for words, want := range tests {
		_, err := parseArgs(app, strings.Fields(words))
		var hint *hintError
		if !errors.As(err, &hint) || hint.hint != meant(want) {
			t.Errorf("%s: got %v and the hint %+v, want %s", words, err, hint, want)
		}
	}
	for _, words := range []string{"export -px /mnt", "export -jmany /mnt", "status -x"} {
		_, err := parseArgs(app, strings.Fields(words))
		if hint := (*hintError)(nil); errors.As(err, &hint) &&
			strings.HasPrefix(hint.hint, "is --") {
			t.Errorf("%s: %s is proposed", words, hint.hint)
		}
	}
	for _, f := range allFlags(t) {
		for _, c := range app.Commands {
			_, err := parseArgs(app, []string{c.Name, "-" + f.name})
			var hint *hintError
			if !errors.As(err, &hint) || hint.hint != meant("--"+f.name) {
				t.Errorf("%s -%s: got %v", c.Name, f.name, err)
			}
		}
	}
}

func TestParseArgsHelp(t *testing.T) {
	for _, words := range []string{"--help", "-h", "help", "export --help", "export -ph /mnt",
		"help export", "--help export"} {
		req, err := parseArgs(testApp(), strings.Fields(words))
		if err != nil || !req.help {
			t.Errorf("%q: help is %t, error %v", words, req != nil && req.help, err)
		}
	}
	for _, words := range []string{"--version", "-V"} {
		if req, err := parseArgs(testApp(), strings.Fields(words)); err != nil || !req.about {
			t.Errorf("%q is not taken for a question for the version", words)
		}
	}
}

func TestNearest(t *testing.T) {
	verbs := []string{"export", "import", "index", "key", "status", "trust", "verify"}
	for word, want := range map[string]string{"exprot": "export", "imprt": "import",
		"satus": "status", "eport": "export", "kyt": "", "watch": "", "k": "", "": "",
		"imp": "import", "i": "", "in": "index"} {
		if got := nearest(word, slices.Clone(verbs)); got != want {
			t.Errorf("nearest(%q) is %q, want %q", word, got, want)
		}
	}
}

// A name of a flag has one meaning in the whole program: parseArgs relies on it where the verb
// stands behind its flags. And each has a variable of its own.
func TestFlagsMeanTheSameEverywhere(t *testing.T) {
	type meaning struct{ name, value string }
	seen := map[string]meaning{}
	app := newApp(testCommandLine(t, nil))
	for _, c := range app.Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range leaf.Flags {
				info := meaning{f.(declared).name, f.(declared).value}
				for _, n := range f.Names() {
					if old, ok := seen[n]; ok && old != info {
						t.Errorf("flag %q is %+v in one verb and %+v in %s", n, old,
							info, leaf.Name)
					}
					seen[n] = info
				}
			}
		}
	}
	for _, n := range []string{"h", "help", "V", "version"} {
		if _, ok := seen[n]; ok {
			t.Errorf("a verb has a flag %q, which is the program's", n)
		}
	}
}

// Each flag checks its value, and has the value back that it shows: the worker of auto gets its
// settings that way.
func TestFlagsKeepTheirValues(t *testing.T) {
	given := map[string]string{"": "true", "N": "3", "TIME": "90s", "AGE": "30d",
		"TOPICS": "buildpkg", "NAME": "bighost", "FPR": strings.Repeat("0A", 20)}
	if names := doctor.Topics(); len(names) > 0 {
		given["TOPICS"] = names[0].Name
	}
	for _, f := range allFlags(t) {
		value := given[f.value]
		if _, known := given[f.value]; !known {
			value = "a word"
		}
		first, again := f.to(newOptions()), f.to(newOptions())
		if err := first.Set(value); err != nil {
			t.Errorf("--%s %s: %v", f.name, value, err)
		}
		if err := again.Set(first.String()); err != nil || again.String() != first.String() {
			t.Errorf("--%s: %q became %q: %v", f.name, first, again, err)
		}
		if first.String() == f.initial().String() {
			t.Errorf("--%s: setting it to %q changes nothing", f.name, value)
		}
	}
}

func TestFlagsRefuseValues(t *testing.T) {
	bad := map[string][]string{"": {"maybe", ""}, "N": {"many", "0", "-1", "1.5", "99999999"},
		"TIME": {"soon", "5", "-1s"}, "AGE": {"0d", "soon", "-1h", ""}, "TOPICS": {
			"nosuch"}, "NAME": {""}, "FPR": {"", "1234"}}
	for _, name := range []string{"", "a/b", "keys", "..", "all"} {
		if err := (originName{new(string)}).Set(name); err == nil {
			t.Errorf("an origin may be called %q", name)
		}
	}
	for _, f := range allFlags(t) {
		for _, value := range bad[f.value] {
			if err := f.check(value); err == nil {
				t.Errorf("--%s takes %q", f.name, value)
			}
		}
	}
}

// No two flags of a command set the same field: one would undo the other.
func TestFlagsHaveTheirOwnFields(t *testing.T) {
	app := newApp(testCommandLine(t, nil))
	for _, c := range app.Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			owner := map[any]string{}
			o := newOptions()
			for _, f := range leaf.Flags {
				for _, field := range fieldsOf(f.(declared).to(o)) {
					if other := owner[field]; other != "" {
						t.Errorf("%s: --%s and --%s set one field", leaf.Name, other, f.Names()[0])
					}
					owner[field] = f.Names()[0]
				}
			}
		}
	}
}

// A name that looks like a number is one that somebody gave.
func TestZeroIsAName(t *testing.T) {
	names := 0
	for _, d := range allFlags(t) {
		v, ok := d.initial().(undoable)
		if !ok || v.Set("0") != nil {
			continue
		}
		if names++; v.String() != "0" {
			t.Errorf("%s 0 is taken for %s", d, v)
		}
	}
	if names < 8 {
		t.Errorf("only %d flags take a name", names)
	}
}

func fieldsOf(v flag.Value) (fields []any) {
	if u, ok := v.(undoable); ok {
		v = u.unsettable
	}
	list := reflect.ValueOf(v)
	if w, ok := v.(whole); ok {
		list = reflect.ValueOf(w.fields)
	}
	if w, ok := v.(topics); ok {
		return []any{w.list}
	}
	if l, ok := v.(loudness); ok {
		return []any{l.times}
	}
	if n, ok := v.(originName); ok {
		return []any{n.name}
	}
	if f, ok := v.(fingerprint); ok {
		return []any{f.text}
	}
	for i := range list.Len() {
		fields = append(fields, list.Index(i).Interface())
	}
	return fields
}

// allFlags gives each flag of each command once.
func allFlags(t *testing.T) []declared {
	t.Helper()
	seen := map[string]bool{}
	var all []declared
	for _, c := range newApp(testCommandLine(t, nil)).Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range leaf.Flags {
				if d := f.(declared); !seen[d.name+d.usage] {
					seen[d.name+d.usage] = true
					all = append(all, d)
				}
			}
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d flags", len(all))
	}
	return all
}

// Whoever gives a flag a value that is none is told which ones are good, on the command line and in
// a variable, whatever the flag.
func TestBadValuesNameGoodOnes(t *testing.T) {
	app := newApp(&commandLine{env: &env{}, out: &printer{}})
	refused := 0
	for _, c := range app.Commands {
		for _, f := range c.Flags {
			d, ok := f.(declared)
			if !ok {
				continue
			}
			for _, value := range []string{"", "no/such value", "all,none"} {
				words := []string{c.Name, d.String() + "=" + value}
				_, err := parseArgs(app, words)
				if err == nil {
					continue
				}
				refused++
				if hints := classify(err, "").hints; len(hints) != 1 ||
					!strings.Contains(hints[0], d.takes(d.String())) && d.name != "ignore" {
					t.Errorf("%q: %v: %q", words, err, hints)
				}
			}
			if _, err := parseArgs(app, []string{c.Name, d.String()}); err != nil &&
				len(classify(err, "").hints) != 1 {
				t.Errorf("%s %s without a value: %v", c.Name, d, err)
			}
		}
	}
	if refused < 100 {
		t.Errorf("only %d values were refused", refused)
	}
}
