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
	return Reduce(v.Dep, func(flag string) bool { return slices.Contains(v.Use, flag) },
		Options{Atoms: v.Atoms})
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
			t.Errorf("%q atoms=%v use=%v\n got %q %v\nwant %q", v.Dep, v.Atoms, v.Use,
				got, err, v.Out)
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

// TestReduceOddStringsAsPortage has strings that no repository would have, chosen from 200,000
// random ones so that each kind of atom, of group and of fault occurs. The expectations are
// Portage's.
func TestReduceOddStringsAsPortage(t *testing.T) {
	vectors := readVectors(t, "testdata/portage.jsonl")
	if len(vectors) < 300 {
		t.Fatalf("only %d vectors", len(vectors))
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

// FuzzReduce holds that what comes out can go in again and has nothing left that USE decides, and
// that the short way for plain strings leads to the same.
func FuzzReduce(f *testing.F) {
	for _, name := range []string{"../../testdata/golden/use_reduce.jsonl",
		"testdata/portage.jsonl"} {
		for _, v := range readVectors(f, name) {
			f.Add(v.Dep, v.Atoms, strings.Join(v.Use, " "))
		}
	}
	f.Fuzz(func(t *testing.T, deps string, atoms bool, flags string) {
		o := Options{Atoms: atoms}
		on := strings.Fields(flags)
		use := func(flag string) bool { return slices.Contains(on, flag) }
		got, err := Reduce(deps, use, o)
		if err != nil {
			if got != "" {
				t.Fatalf("%q with %v", got, err)
			}
			return
		}
		if long, err := reduce(deps, use, o); err != nil || long != got {
			t.Fatalf("the long way: %q %v, the short way: %q", long, err, got)
		}
		with, err1 := Reduce(got, func(string) bool { return true }, o)
		without, err2 := Reduce(got, func(string) bool { return false }, o)
		if err1 != nil || err2 != nil || with != without {
			t.Fatalf("%q is not reduced: %q %v, %q %v", got, with, err1, without, err2)
		}
	})
}

func BenchmarkReduce(b *testing.B) {
	use := func(flag string) bool { return flag == "ssl" }
	for _, c := range []struct{ name, deps string }{
		{"plain",
			">=dev-libs/glib-2.66:2= sys-libs/zlib:0/1= >=sys-libs/ncurses-5.9-r3:0/6= virtual/libintl dev-libs/openssl:0/3=[-bindist(-)]"},
		{"any-of",
			"sys-libs/zlib:0/1= || ( dev-lang/python:3.11 dev-lang/python:3.12 ) virtual/libintl"},
		{"conditional",
			">=dev-libs/glib-2.66:2[abi_x86_32(-)?,abi_x86_64(-)?] ssl? ( dev-libs/openssl:0= ) !ssl? ( net-libs/gnutls:0/30= )"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Reduce(c.deps, use, Options{Atoms: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
