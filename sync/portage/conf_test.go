package portage

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const vectorFile = "../../testdata/portage/getconfig.jsonl"

// vector is a line of getconfig.jsonl; getconfig.py beside it defines what each field means.
type vector struct {
	Name   string
	Files  map[string]string
	Mode   string
	Vars   map[string]string
	Values map[string]string
	Strict bool
}

func (v vector) put(t testing.TB, dir string) {
	for name, text := range v.Files {
		data := []byte(strings.ReplaceAll(text, "@DIR@", dir))
		if b, ok := strings.CutPrefix(text, "base64:"); ok {
			var err error
			if data, err = base64.StdEncoding.DecodeString(b); err != nil {
				t.Fatal(err)
			}
		}
		write(t, filepath.Join(dir, name), string(data))
	}
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func vectors(t testing.TB, name string) []vector {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []vector
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var v vector
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// readVector reads a vector's files as Load reads make.conf.
func readVector(v vector, dir string) (map[string]string, []Problem) {
	r := newReader(newTree(""))
	got := map[string]string{}
	mode := confMode{source: v.Mode == "conf", dir: v.Mode == "conf", noExpand: v.Mode == "plain"}
	r.parse(path.Join(dir, "make.conf"), maps.Clone(v.Vars), mode, func(a Assignment) {
		got[a.Name] = strings.ReplaceAll(a.Value, dir, "@DIR@")
	})
	return got, r.problems
}

func fatal(problems []Problem) bool {
	for _, p := range problems {
		if p.Fatal {
			return true
		}
	}
	return false
}

func TestGetconfigVectors(t *testing.T) {
	t.Parallel()
	name := vectorFile
	if big := os.Getenv("PKGSNEAK_TEST_GETCONFIG"); big != "" {
		name = big // a larger file made by getconfig.py
	}
	all := vectors(t, name)
	if len(all) < 400 {
		t.Fatalf("%d vectors", len(all))
	}
	dir := t.TempDir()
	for i, v := range all {
		d := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		v.put(t, d)
		got, problems := readVector(v, d)
		if v.Values != nil && !maps.Equal(got, v.Values) {
			t.Errorf("%s: %q\n got %q\nwant %q", v.Name, v.Files, got, v.Values)
		}
		if fatal(problems) == v.Strict {
			t.Errorf("%s: %q\nPortage accepts it: %v, but problems: %v", v.Name, v.Files,
				v.Strict, problems)
		}
	}
}

func TestConfProblemsNameTheLine(t *testing.T) {
	t.Parallel()
	files := map[string]string{"/etc/empty": "", "/etc/x": "B=1\nC C\n",
		"/etc/loop": "source loop\n", "/etc/open": "Y=1\nX=\"a\n\n"}
	open := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
	for _, tt := range []struct{ name, text, want string }{
		{"not an assignment", "A=1\n\nfoo bar\nB=2\n",
			`/etc/make.conf:3: "bar" stands where "=" is expected`},
		{"name alone at the end", "A=1\nfoo\n\n", `/etc/make.conf:2: "foo" is not followed by "="`},
		{"no value", "A=1\nB=\n", `/etc/make.conf:2: B= has no value before the end of the file`},
		{"plus equals", "A=1\n\nUSE+=\" x\"\n",
			`/etc/make.conf:3: "USE+" is not a name of a variable (Portage has no "+=")`},
		{"open quote is named where it begins", "A=1\nB=\"x\nC=2\nD=3\n",
			`/etc/make.conf:2: no closing quotation mark`},
		{"backslash at the end escapes the newline that is added", "A=1\nB=\\", ""},
		{"command", "A=1\nMAKEOPTS=\"-j$(nproc)\"\n",
			`/etc/make.conf:2: "$" without a name behind it ("$(...)" is not executed): the value is taken as empty`},
		{"default value", "A=\"x\n${B:-c}\"\n",
			`/etc/make.conf:1: "${" without a name and "}" behind it: the value is taken as empty`},
		{"backticks", "A=1\nB=\"`id`\"\n",
			"/etc/make.conf:2: B: text in backticks stays as it is, nothing is executed"},
		{"sourced file is absent", "A=1\nsource nope.conf\n",
			`/etc/make.conf:2: sourced file "/etc/nope.conf" does not exist`},
		{"error in a sourced file", "A=1\nsource x\nB=2\n",
			`/etc/x:2: "C" stands where "=" is expected`},
		{"error behind a sourced file", "source empty\nsource open\n",
			`/etc/open:2: no closing quotation mark`},
		{"loop", "A=1\nsource loop\n", `/etc/loop:1: "/etc/loop": 32 files source one another`},
	} {
		_, problems := ParseConf([]byte(tt.text), "/etc/make.conf", ConfOptions{Open: open})
		switch {
		case tt.want == "" && len(problems) == 0:
		case len(problems) != 1 || problems[0].String() != tt.want:
			t.Errorf("%s:\n got %v\nwant %s", tt.name, problems, tt.want)
		}
	}
}

func TestConfKeepsWhatStandsBeforeAnError(t *testing.T) {
	t.Parallel()
	done, problems := ParseConf([]byte("A=1\nB='2 3'\nC C\nD=4\n"), "x", ConfOptions{})
	want := []Assignment{{"A", "1", "x", 1}, {"B", "2 3", "x", 2}}
	if !slices.Equal(done, want) || !fatal(problems) {
		t.Errorf("got %v, %v", done, problems)
	}
}

func TestConfIsBounded(t *testing.T) {
	t.Parallel()
	double := "A=xxxxxxxxxxxxxxxx\n" + strings.Repeat("A=\"$A$A\"\n", 60)
	many := strings.Repeat("source x\n", MaxSources+1)
	big := "A='" + strings.Repeat("x", MaxValue/2) + "'\n" + strings.Repeat("B=$A\n", 100)
	open := func(string) ([]byte, error) { return []byte("B=1\n"), nil }
	for _, tt := range []struct{ name, text, want string }{
		{"doubling value", double, "a value larger than 1048576 bytes"},
		{"many sources", many, "more than 500 source statements"},
		{"much altogether", big, "the values are larger than 16777216 bytes"},
	} {
		done, problems := ParseConf([]byte(tt.text), "x", ConfOptions{Open: open})
		if len(problems) == 0 || !strings.Contains(problems[0].Reason, tt.want) {
			t.Errorf("%s: problems %v, want %q", tt.name, problems, tt.want)
		}
		size := 0
		for _, a := range done {
			size += len(a.Value)
		}
		if size > maxExpanded+MaxValue {
			t.Errorf("%s: %d bytes of values", tt.name, size)
		}
	}
	_, problems := ParseConf([]byte(strings.Repeat("1=x\n", 5000)), "x", ConfOptions{})
	if len(problems) != MaxProblems+1 {
		t.Errorf("%d problems", len(problems))
	}
}

func FuzzParseConf(f *testing.F) {
	for _, v := range vectors(f, vectorFile) {
		f.Add([]byte(v.Files["make.conf"]), []byte(v.Files["x"]))
	}
	f.Fuzz(func(t *testing.T, text, sourced []byte) {
		open := func(name string) ([]byte, error) {
			if path.Base(name) == "x" {
				return sourced, nil
			}
			return nil, os.ErrNotExist
		}
		done, problems := ParseConf(text, "/etc/make.conf", ConfOptions{Open: open})
		lines := 2 + bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) +
			bytes.Count(sourced, []byte("\n")) + bytes.Count(sourced, []byte("\r"))
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("line %d of %d: %s", p.Line, lines, p.Reason)
			}
		}
		for _, a := range done {
			if !validName(a.Name) || !utf8.ValidString(a.Value) {
				t.Errorf("assignment %q=%q", a.Name, a.Value)
			}
		}
	})
}

// FuzzExpand holds that what has no special character is not touched, and that nothing grows by
// itself.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"a", "$A", "${A}", "\\$A", "'$A'", "\"'$A'\"", "${", "$",
		"\\\\$", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := expand(s, map[string]string{"A": ""})
		if err == nil && len(got) > len(s) {
			t.Errorf("%q became %q", s, got)
		}
		if !strings.ContainsAny(s, "$\\\n") && (err != nil || got != s) {
			t.Errorf("%q became %q, %v", s, got, err)
		}
	})
}
