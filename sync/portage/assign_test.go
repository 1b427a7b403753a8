package portage

import (
	"bufio"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
)

// TestAssignmentsAsShellAndSystemd holds ParseAssignments against what dash and systemd made of the
// same files (testdata/portage/assignments.py): a value that it returns is the value that both see.
func TestAssignmentsAsShellAndSystemd(t *testing.T) {
	t.Parallel()
	name := "../../testdata/portage/assignments.jsonl"
	if big := os.Getenv("PKGSNEAK_TEST_ASSIGNMENTS"); big != "" {
		name = big
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	taken, refused := 0, 0
	for d := json.NewDecoder(bufio.NewReader(f)); d.More(); {
		var v struct {
			Text    string
			Sh      map[string]string
			Systemd map[string]string
		}
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		got, problems, err := ParseAssignments(strings.NewReader(v.Text), "conf")
		if err != nil {
			t.Fatal(err)
		}
		if len(problems) > 0 {
			refused++ // and then a shell may have done anything
			continue
		}
		// Nothing to complain of: then both have read it, and all of it.
		if v.Sh == nil {
			t.Errorf("%q: the shell stops, and no problem says so", v.Text)
		}
		for k, val := range got {
			if !strings.Contains(" A B KEY _x9 ", " "+k+" ") {
				continue // the vectors show these alone
			}
			taken++
			if sh, ok := v.Sh[k]; !ok || sh != val {
				t.Errorf("%q: %s is %q, a shell says %q", v.Text, k, val, v.Sh)
			}
			// The values of systemd in the vectors are after an expansion, and without empty
			// values.
			if sd, ok := v.Systemd[k]; !strings.Contains(v.Text, "$") && val != "" &&
				(!ok || sd != val) {
				t.Errorf("%q: %s is %q, systemd says %q", v.Text, k, val, v.Systemd)
			}
		}
		for k := range v.Sh {
			if _, ok := got[k]; !ok {
				t.Errorf("%q: %s is lost without a problem", v.Text, k)
			}
		}
	}
	if taken < 100 || refused < 100 {
		t.Errorf("%d values taken, %d files with problems: the vectors test nothing",
			taken, refused)
	}
}

func TestParseAssignments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		want       map[string]string
		problem    string // "LINE: part of the reason", "" if there is none
	}{
		{"plain and quoted", "A=1\nB='x y'\nC=\"a\\\"b\"\n", map[string]string{"A": "1", "B": "x y",
			"C": `a"b`}, ""},
		{"last wins", "A=1\nA=2\n", map[string]string{"A": "2"}, ""},
		{"refused takes the older away", "A=1\nA=$HOME\n", map[string]string{}, `2: A: '$'`},
		{"export", "\nexport A=1\nB=2\n", map[string]string{"B": "2"},
			"2: systemd does not know export"},
		{"dollar in double quotes", `A="$HOME/x"` + "\n", map[string]string{},
			"1: A: a shell expands '$': put the value into single quotes"},
		{"blanks before equals", "A = 1\n", map[string]string{}, `1: A: blanks before "="`},
		{"comment behind", "A=1 # x\n", map[string]string{}, "1: A: blanks outside quotes"},
		{"line after a multi-line value", "A='1\n2\n3'\nB=`x`\n",
			map[string]string{"A": "1\n2\n3"}, "4: B: '`'"},
		{"crlf", "A=1\r\nB='2'\n", map[string]string{"B": "2"}, "1: carriage return"},
		{"nul", "A=1\x00\n", map[string]string{}, "1: a NUL byte"},
		{"latin-1", "A='k\xf6ln'\n", map[string]string{}, "1: not UTF-8"},
		{"unclosed", "B=1\nA='x\nC=2\n", map[string]string{"B": "1"},
			"2: A: no closing quotation mark"},
		{"comment with a backslash", "# x\\\nA=1\nB=2\n", map[string]string{"B": "2"},
			"1: the comment above ends with a backslash"},
		{"refused with a joined line", "A=x;y\\\nB=1\nC=2\n", map[string]string{"C": "2"},
			"1: A: ';' outside"},
		{"nonsense", "hello world\n", map[string]string{}, `1: "hello world" is not KEY=value`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems, err := ParseAssignments(strings.NewReader(tt.text), "conf")
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			switch {
			case tt.problem == "" && len(problems) == 0:
			case len(problems) != 1 || tt.problem == "" ||
				!strings.HasPrefix(problems[0].String(), "conf:"+tt.problem):
				t.Errorf("problems %v, want one like %q", problems, tt.problem)
			}
		})
	}
}

func TestParseAssignmentsTooLarge(t *testing.T) {
	t.Parallel()
	_, _, err := ParseAssignments(strings.NewReader(strings.Repeat("A=1\n", MaxAssignments/4)+"B"),
		"conf")
	if !errors.Is(err, errTooLarge) {
		t.Errorf("error %v, want %v", err, errTooLarge)
	}
}

func TestParsePortageq(t *testing.T) {
	t.Parallel()
	got,
		err := ParsePortageq([]byte("PKGDIR=/var/cache/binpkgs\nUSE='a b'\nX='it'\"'\"'s $x\nmore'\nEMPTY=''\n"))
	want := map[string]string{"PKGDIR": "/var/cache/binpkgs", "USE": "a b",
		"X": "it's $x\nmore", "EMPTY": ""}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := ParsePortageq([]byte("Traceback (most recent call last):\n")); err == nil {
		t.Error("a traceback is taken for an answer")
	}
}

func FuzzParseAssignments(f *testing.F) {
	for _, s := range []string{"A=1\nB='x y'\nC=\"a\\\"b\"\n", "A=a\\ b\n# c\nexport X=1\n",
		"A='x\ny", "A=x\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, problems, err := ParseAssignments(strings.NewReader(text), "conf")
		if err != nil {
			t.Skip()
		}
		lines := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("line %d of %d: %s", p.Line, lines, p.Reason)
			}
		}
		// The values that were read can be written in one form and are read again as the same.
		var b strings.Builder
		for k, v := range got {
			b.WriteString(k + "='" + strings.ReplaceAll(v, "'", `'"'"'`) + "'\n")
		}
		again, problems, err := ParseAssignments(strings.NewReader(b.String()), "conf")
		if err == nil && (len(problems) > 0 || !maps.Equal(got, again)) {
			t.Errorf("%q is read again as %q, %v", got, again, problems)
		}
	})
}
