package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/doctor"
)

// flagValueOf runs a command line in a machine of its own and gives what one flag of one verb has
// become.
func flagValueOf(t *testing.T, vars map[string]string, conf, flag string, words ...string) (value,
	warnings string, code int) {
	t.Helper()
	e, _, errOut := testEnv(t, vars)
	if conf != "" {
		file := filepath.Join(e.root, "etc/conf.d/pkgsneak")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := &commandLine{env: e, out: newPrinter(e)}
	app := newApp(f)
	app.Commands = []*cli.Command{{
		Name:   "probe",
		Hidden: true, // the other flags that the file names belong to no command of this program
		Flags:  flags(common, pretend, lock, newKey, yes, dirs),
		Action: f.action(0, 0, func(c *invocation) error {
			for _, f := range c.flags.Command.Flags {
				if d, ok := f.(declared); ok && d.name == flag {
					value = d.to(c.opt).String()
				}
			}
			return nil
		}),
	}}
	err := dispatch(context.Background(), f, app, append([]string{"probe"}, words...))
	code = f.end(context.Background(), err)
	return value, errOut.String(), code
}

// A flag beats the environment, which beats /etc/conf.d/pkgsneak, which beats the default.
func TestSettingsPrecedence(t *testing.T) {
	conf := "# comment\nPKGSNEAK_STATE_DIR=\"/conf\"\nPKGSNEAK_PRETEND=yes\nPKGSNEAK_LOCK_WAIT=1m\nPKGSNEAK_AUTO=export\n"
	vars := map[string]string{"PKGSNEAK_STATE_DIR": "/env", "PKGSNEAK_PRETEND": "no",
		"PKGSNEAK_NAME": "from env"}
	tests := []struct {
		name  string
		vars  map[string]string
		conf  string
		words string
		flag  string
		want  string
	}{
		{"default", nil, "", "", "state-dir", ""},
		{"file", nil, conf, "", "state-dir", "/conf"},
		{"environment above file", vars, conf, "", "state-dir", "/env"},
		{"flag above both", vars, conf, "--state-dir /flag", "state-dir", "/flag"},
		{"an answer is typed", map[string]string{"PKGSNEAK_YES": "1"}, "PKGSNEAK_YES=yes\n", "",
			"yes", "false"},
		{"an answer that is typed", map[string]string{"PKGSNEAK_YES": "no"}, "", "--yes",
			"yes", "true"},
		{"empty variable is none", map[string]string{"PKGSNEAK_STATE_DIR": ""}, conf, "",
			"state-dir", "/conf"},
		{"switch in the file", nil, conf, "", "pretend", "true"},
		{"switch off above the file's", vars, conf, "", "pretend", "false"},
		{"switch off on the command line", map[string]string{"PKGSNEAK_PRETEND": "1"}, "",
			"--pretend=no", "pretend", "false"},
		{"duration", nil, conf, "", "lock-wait", "1m"},
		{"duration's default", nil, "", "", "lock-wait", "10m"},
		{"undone", map[string]string{"PKGSNEAK_PKGDIR": "/env"}, "", "--pkgdir portage", "pkgdir",
			"portage"},
		{"undone in the environment", map[string]string{"PKGSNEAK_PKGDIR": "portage"},
			"PKGSNEAK_PKGDIR=/conf\n", "", "pkgdir", "portage"},
		{"not undone", map[string]string{"PKGSNEAK_PKGDIR": "/env"}, "", "", "pkgdir", "/env"},
		{"undone by the last word", nil, "PKGSNEAK_PKGDIR=/conf\n",
			"--pkgdir /flag --pkgdir portage", "pkgdir", "portage"},
		{"text with a blank", vars, "", "", "name", "from env"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, code := flagValueOf(t, tt.vars, tt.conf, tt.flag,
				strings.Fields(tt.words)...)
			if got != tt.want || code != 0 || warnings != "" {
				t.Errorf("--%s is %q, exit code %d, stderr %q; want %q", tt.flag, got, code,
					warnings, tt.want)
			}
		})
	}
}

func TestSettingsRefuses(t *testing.T) {
	for name, vars := range map[string]map[string]string{
		"no switch":   {"PKGSNEAK_PRETEND": "perhaps"},
		"no duration": {"PKGSNEAK_LOCK_WAIT": "soon"},
	} {
		if _, out, code := flagValueOf(t, vars, "", "pretend"); code != exitUsage ||
			!strings.Contains(out, "from environment") {
			t.Errorf("%s: exit code %d, %q", name, code, out)
		}
	}
}

// Errors in the file are told, and the lines that are right still count.
func TestSettingsFileWithErrors(t *testing.T) {
	got, out, code := flagValueOf(t, nil, "PKGSNEAK_STATE_DIR=/conf\n$(rm -rf /)\n", "state-dir")
	if got != "/conf" || code != 0 || !strings.Contains(out, "warning: /etc/conf.d/pkgsneak:2") {
		t.Errorf("state-dir %q, exit code %d, stderr %q", got, code, out)
	}
}

func TestColours(t *testing.T) {
	tests := []struct {
		vars map[string]string
		want bool
	}{
		{nil, true},
		{map[string]string{"NO_COLOR": ""}, true},
		{map[string]string{"NO_COLOR": "0"}, false},
		{map[string]string{"NOCOLOR": "true"}, false},
		{map[string]string{"NOCOLOR": "yes"}, false},
		{map[string]string{"NOCOLOR": "false"}, true},
		{map[string]string{"TERM": "dumb"}, false},
		{map[string]string{"TERM": "xterm"}, true},
	}
	for _, tt := range tests {
		e, _, _ := testEnv(t, tt.vars)
		if got := e.colours(); got != tt.want {
			t.Errorf("%v: colours is %t", tt.vars, got)
		}
		e.stdoutTTY = true
		if got := newPrinter(e).out.paint; got != tt.want {
			t.Errorf("%v: stdout is painted: %t", tt.vars, got)
		}
		e.stdoutTTY = false
		if newPrinter(e).out.paint {
			t.Errorf("%v: a file is painted", tt.vars)
		}
	}
}

// A name that is spelled wrong is told, with the likely one; those of other programs, of tests and
// the right ones are not.
func TestUnknownVariables(t *testing.T) {
	e, out, errOut := testEnv(t, nil)
	e.names = ownNames([]string{"HOME=/", "PKGSNEAK_TEST_X=1", "PKGSNEAK_PKGDR=/x",
		"PKGSNEAK_PKGDIR=/y", "PKGSNEAK_YES=1"})
	file := filepath.Join(e.root, "etc/conf.d/pkgsneak")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("PKGSNEAK_AUTOO=import\nOTHER=1\nPKGSNEAK_LABEL=X\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	if code := run(context.Background(), e,
		[]string{"status", "--state-dir", t.TempDir()}); code != exitDone {
		t.Fatalf("exit code %d, %s%s", code, out, errOut)
	}
	want := "warning: the environment sets PKGSNEAK_PKGDR, which means nothing to pkgsneak\nhint: is PKGSNEAK_PKGDIR meant?\n" +
		"warning: the environment sets PKGSNEAK_YES, which is not looked at: --yes counts on the command line only\n" +
		"warning: /etc/conf.d/pkgsneak sets PKGSNEAK_AUTOO, which means nothing to pkgsneak\nhint: is PKGSNEAK_AUTO meant?\n"
	if got := errOut.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// No variable gives an answer: it would be given to every question of every run, and to those of
// auto. Nor does one turn each run of a command into another one (--install), or give two commands
// two meanings (--check).
func TestAnswersAreTyped(t *testing.T) {
	var typed []string
	for _, c := range newApp(&commandLine{env: &env{}}).Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			for _, f := range leaf.Flags {
				if d, ok := f.(declared); ok && d.typed && !slices.Contains(typed, d.name) {
					typed = append(typed, d.name)
				}
			}
		}
	}
	slices.Sort(typed)
	if want := []string{"accept-clock", "accept-future", "accept-rotation", "adopt-repo", "check",
		"code", "explain", "file", "fingerprint", "force", "install", "name", "never", "receipt",
		"replaces", "retire", "revoke", "uninstall", "unsigned",
		"yes"}; !slices.Equal(typed, want) {
		t.Errorf("%q, want %q", typed, want)
	}
	for _, f := range flags(unattended...) {
		if d := f.(declared); d.typed {
			t.Errorf("auto takes --%s", d.name)
		}
	}
}

// The command line can undo each variable: of a switch with no, of any other
// flag with the default that its help shows. Some have no word for that, because a person can type
// each value that may be meant.
func TestEachVariableCanBeUndone(t *testing.T) {
	typed := map[string]string{
		"name":      "what is meant can be typed",
		"state-dir": "its default is a path", "listen": "its default is an address",
		"label": "its default is a label", "root": "/ is the machine itself",
		"watch": "the argument counts before it", "lock-wait": "its default is a time",
		"settle": "its default is a time", "stall": "its default is a time",
		"grace": "its default is a time",
	}
	samples := map[string]string{"N": "7", "AGE": "30d", "TOPICS": doctor.Topics()[0].Name}
	seen := make(map[string]bool)
	var all []cli.Flag
	for _, c := range newApp(testCommandLine(t, nil)).Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Subcommands...) {
			all = append(all, leaf.Flags...)
		}
	}
	for _, f := range visible(all) {
		d := f.(declared)
		if d.typed || d.value == "" || typed[d.name] != "" {
			continue
		}
		seen[d.name] = true
		o := newOptions()
		v := d.to(o)
		if err := v.Set(cmp.Or(samples[d.value], "/some")); err != nil ||
			reflect.DeepEqual(o, newOptions()) {
			t.Errorf("--%s: %v", d.name, err)
		}
		word := strings.Trim(flagDefault(d), " ()")
		if err := v.Set(word); err != nil || word == "" || !reflect.DeepEqual(o, newOptions()) {
			t.Errorf("--%s %s leaves what a variable sets: %v", d.name, word, err)
		}
	}
	for _, name := range []string{"origin", "exclude-file", "for", "repos", "max-age", "jobs"} {
		if !seen[name] {
			t.Errorf("--%s was not tried", name)
		}
	}
}
