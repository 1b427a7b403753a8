package depend

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// vector is a line of use_reduce.jsonl: what Portage made of a string.
type vector struct {
	Dep   string   `json:"dep"`
	Atoms bool     `json:"atoms"`
	Use   []string `json:"use"`
	Out   string   `json:"out"`
	Error string   `json:"error"`
}

func (v vector) reduce() (string, error) {
	return Reduce(v.Dep, func(flag string) bool { return slices.Contains(v.Use, flag) }, Options{Atoms: v.Atoms})
}

func readVectors(t testing.TB, name string) []vector {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []vector
	d := json.NewDecoder(bufio.NewReader(f))
	for d.More() {
		var v vector
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

var tokenNumber = regexp.MustCompile(`token (\d+)$`)

func checkVector(t *testing.T, v vector) {
	t.Helper()
	got, err := v.reduce()
	if v.Error == "" {
		if err != nil || got != v.Out {
			t.Errorf("%q atoms=%v use=%v\n got %q %v\nwant %q", v.Dep, v.Atoms, v.Use, got, err, v.Out)
		}
		return
	}
	var e *Error
	if !errors.As(err, &e) || got != "" {
		t.Errorf("%q atoms=%v: got %q %v, want an error as %s", v.Dep, v.Atoms, got, err, v.Error)
		return
	}
	if m := tokenNumber.FindStringSubmatch(v.Error); m != nil && m[1] != strconv.Itoa(e.Token) {
		t.Errorf("%q: %v, want %s", v.Dep, err, v.Error)
	}
}

func TestReduceAsPortage(t *testing.T) {
	vectors := readVectors(t, "../../testdata/golden/use_reduce.jsonl")
	if len(vectors) != 302 {
		t.Fatalf("%d vectors, want 302", len(vectors))
	}
	for _, v := range vectors {
		checkVector(t, v)
	}
}

func TestLimits(t *testing.T) {
	none := func(string) bool { return false }
	deep := func(n int) string { return strings.Repeat("( ", n) + "a/b" + strings.Repeat(" )", n) }
	for _, c := range []struct {
		name, deps string
		fails      bool
	}{
		{"as deep as allowed", deep(MaxDepth), false},
		{"one deeper", deep(MaxDepth + 1), true},
		{"as long as allowed", strings.Repeat("a", MaxLength-2) + "/b", false},
		{"one longer", strings.Repeat("a", MaxLength-1) + "/b", true},
	} {
		_, err := Reduce(c.deps, none, Options{Atoms: true})
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
