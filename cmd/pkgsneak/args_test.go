package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// testApp has the shapes of verbs that there are: flags of each kind, a verb with subcommands.
func testApp() *cli.App {
	common := []cli.Flag{
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}},
		&cli.BoolFlag{Name: "pretend", Aliases: []string{"p", "dry-run"}},
		&cli.StringFlag{Name: "state-dir", Aliases: []string{"s"}},
	}
	return &cli.App{Commands: []*cli.Command{
		{Name: "export", Flags: append([]cli.Flag{&cli.StringFlag{Name: "name"}}, common...)},
		{Name: "trust", Flags: common, Subcommands: []*cli.Command{{Name: "list", Flags: common[:1]}}},
	}}
}

func TestParseArgs(t *testing.T) {
	tests := []struct {
		name  string
		words string
		want  string
	}{
		{"nothing", "", "--"},
		{"flags behind the argument", "export /mnt -p --name=a", "export --pretend --name=a -- /mnt"},
		{"flags before the verb", "-q --state-dir /s export /mnt", "export --quiet --state-dir=/s -- /mnt"},
		{"flags in between", "export -p /mnt -q", "export --pretend --quiet -- /mnt"},
		{"cluster", "export -pq /mnt", "export --pretend --quiet -- /mnt"},
		{"cluster with a value at its end", "export -pqs /s /mnt", "export --pretend --quiet --state-dir=/s -- /mnt"},
		{"value in the cluster", "export -ps/s /mnt", "export --pretend --state-dir=/s -- /mnt"},
		{"value behind = in the cluster", "export -s=/s", "export --state-dir=/s --"},
		{"other name of a flag", "export --dry-run", "export --pretend --"},
		{"value that looks like a flag", "export --name --pretend /mnt", "export --name=--pretend -- /mnt"},
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
		{"long flag with one dash", "export -name a", `there is no flag "-n"`},
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

func TestParseArgsHelp(t *testing.T) {
	for _, words := range []string{"--help", "-h", "help", "export --help", "export -ph /mnt", "help export", "--help export"} {
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
	for word, want := range map[string]string{"exprot": "export", "imprt": "import", "satus": "status", "eport": "export", "kyt": "", "watch": "", "k": "", "": ""} {
		if got := nearest(word, slices.Clone(verbs)); got != want {
			t.Errorf("nearest(%q) is %q, want %q", word, got, want)
		}
	}
}

// A name of a flag has one meaning in the whole program: parseArgs relies on it where the verb stands behind its flags. And each has a variable of its own.
func TestFlagsMeanTheSameEverywhere(t *testing.T) {
	seen := map[string]flagInfo{}
	app := newApp(testFace(t, nil))
	for _, c := range app.Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range leaf.Flags {
				_, isBool := f.(*cli.BoolFlag)
				info := flagInfo{f.Names()[0], !isBool}
				for _, n := range f.Names() {
					if old, ok := seen[n]; ok && old != info {
						t.Errorf("flag %q is %+v in one verb and %+v in %s", n, old, info, leaf.Name)
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
