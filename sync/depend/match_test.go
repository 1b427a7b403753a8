package depend

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestMatchAsPortage: the answers of portage.dep.match_from_list for built packages
// (testdata/match.jsonl).
func TestMatchAsPortage(t *testing.T) {
	f, err := os.Open("testdata/match.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	lines := bufio.NewScanner(f)
	for ; lines.Scan(); n++ {
		var v struct {
			Atom, Version, Slot, Repo, IUse, Use string
			BuildID                              string `json:"build_id"`
			Match                                bool
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		a, err := ParseAtom(v.Atom)
		if err != nil {
			t.Errorf("%v, Portage reads it", err)
			continue
		}
		p := Package{CP: "x/p", Version: v.Version, BuildID: v.BuildID, Repo: v.Repo,
			Use: in(v.Use), Valid: in(v.IUse)}
		p.Slot, p.Sub, _ = strings.Cut(v.Slot, "/")
		if got := Match(&a, &p); got != v.Match {
			t.Errorf("%s against %+v: %v, Portage says %v", lines.Text(), p, got, v.Match)
		}
	}
	if err := lines.Err(); err != nil || n != 700 {
		t.Fatalf("%d lines, %v", n, err)
	}
}

// TestGlobBoundary: "=*" ends at a boundary between parts of the version (Gentoo bug 560466).
func TestGlobBoundary(t *testing.T) {
	for _, c := range []struct {
		pattern, version string
		want             bool
	}{
		{"1", "1", true}, {"1", "1.5", true}, {"1", "1-r1", true}, {"1", "1a", true},
		{"1", "10", false}, {"1.1", "1.10", false},
		{"1.1", "1.1_p2", true}, {"1_p", "1_p2", true}, {"1_p2", "1_p20", false},
		{"1-r1", "1-r10", false}, {"01", "1.5", true}, {"0", "00.1", true},
	} {
		if got := matchGlob(c.pattern, c.version); got != c.want {
			t.Errorf("=a/b-%s* against %s: %v, want %v", c.pattern, c.version, got, c.want)
		}
	}
}

func in(words string) func(string) bool {
	list := strings.Fields(words)
	return func(s string) bool { return slices.Contains(list, s) }
}

func TestAtomParts(t *testing.T) {
	for _, c := range []struct {
		text string
		want Atom
	}{
		{"a/b", Atom{CP: "a/b"}},
		{"!!>=a/b-1.0-r2:0/2=", Atom{Block: StrongBlock, Op: GreaterEqual, CP: "a/b",
			Version: "1.0-r2", Slot: "0", Sub: "2", SlotOp: "="}},
		{"!=a/b-1*:3::o", Atom{Block: WeakBlock, Op: Glob, CP: "a/b", Version: "1",
			Slot: "3", Repo: "o"}},
		{"=a/b-1-7:*", Atom{Op: Exact, CP: "a/b", Version: "1", BuildID: "7", SlotOp: "*"}},
		{"~a/b-c-1:=[x,-y(+),!z?]", Atom{Op: AnyRevision, CP: "a/b-c", Version: "1", SlotOp: "=",
			Use: []UseDep{{Flag: "x"}, {Prefix: "-", Flag: "y", Default: "(+)"},
				{Prefix: "!", Flag: "z", Suffix: "?"}}}},
	} {
		got, err := ParseAtom(c.text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if got.Block != c.want.Block || got.Op != c.want.Op || got.CP != c.want.CP ||
			got.Version != c.want.Version ||
			got.BuildID != c.want.BuildID || got.Slot != c.want.Slot || got.Sub != c.want.Sub ||
			got.SlotOp != c.want.SlotOp ||
			got.Repo != c.want.Repo || !slices.Equal(got.Use, c.want.Use) ||
			got.String() != c.text {
			t.Errorf("%s: %+v", c.text, got)
		}
	}
}

func TestAtomSince(t *testing.T) {
	for text, want := range map[string]int{
		"a/b": 0, "!a/b": 0, "a/b:1": 1, "a/b[x]": 2, "!!a/b": 2, "a/b[x(+)]": 4, "a/b:=": 5,
		"a/b:0/1": 5, "a/b::o": -1, "=a/b-1-1": -1,
	} {
		a, err := ParseAtom(text)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := a.Since()
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

func TestEvaluateKeepsRepository(t *testing.T) {
	a, err := ParseAtom("a/b:0/1=::o[x?,!y=,z(-)]")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Evaluate(in("x")).String(); got != "a/b:0/1=::o[x,y,z(-)]" {
		t.Errorf("evaluated: %s", got)
	}
	if got := a.WithoutUse().String(); got != "a/b:0/1=::o" {
		t.Errorf("without USE: %s", got)
	}
	if got := a.Unbound().WithoutUse().String(); got != "a/b:=::o" {
		t.Errorf("unbound: %s", got)
	}
}

func TestTreeReduce(t *testing.T) {
	for _, c := range []struct {
		deps, use, want string
		strict          bool
	}{
		{"x? ( a/b ( c/d[x?,!y=] ) )", "x", "a/b c/d[x,y]", true},
		{"|| ( x? ( a/b c/d ) e/f )", "", "e/f", true},
		{"|| ( x? ( a/b c/d ) e/f )", "x", "|| ( ( a/b c/d ) e/f )", true},
		{"|| ( || ( a/b c/d ) ( ( e/f ) ) )", "", "|| ( a/b c/d e/f )", true},
		{"|| ( x? ( a/b ) )", "", "", false},
		{"|| ( x? ( a/b ) )", "", EmptyAnyOf, true},
		{"|| ( ( a/b c/d ) )", "", "a/b c/d", true},
	} {
		n, err := Parse(c.deps, Options{Atoms: true})
		if err != nil {
			t.Fatal(err)
		}
		reduced := Node{Kind: AllOf, Nodes: n.Reduce(in(c.use), c.strict)}
		if got := reduced.String(); got != c.want {
			t.Errorf("%q with %q: %q, want %q", c.deps, c.use, got, c.want)
		}
	}
}

// TestTreeAsReduce: whatever Reduce refuses Parse refuses too, at the same token, and the other way
// round.
func TestTreeAsReduce(t *testing.T) {
	for _, name := range []string{"../../testdata/golden/use_reduce.jsonl",
		"testdata/portage.jsonl"} {
		for _, v := range readVectors(t, name) {
			o := Options{Atoms: v.Atoms}
			_, err := Parse(v.Dep, o)
			if (err != nil) != (v.Error != "") && !strings.Contains(v.Dep, "^^") &&
				!strings.Contains(v.Dep, "??") {
				t.Errorf("%q: %v, Portage says %q", v.Dep, err, v.Error)
			}
		}
	}
}

func FuzzAtom(f *testing.F) {
	for _, s := range []string{"!!>=a/b-1.0-r2:0/2=::o[x(+)?,-y]", "=a/b-1*",
		"~a/b-1:*", "=a/b-1-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAtom(s)
		if err != nil {
			return
		}
		if a.String() != s {
			t.Fatalf("%q comes back as %q", s, a.String())
		}
		for _, b := range []Atom{a.Evaluate(in("x")), a.WithoutUse(), a.Unbound()} {
			if again, err := ParseAtom(b.String()); err != nil || again.String() != b.String() ||
				again.CP != a.CP {
				t.Fatalf("%q became %q: %v", s, b.String(), err)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("|| ( x? ( a/b ) !y? ( ( c/d e/f ) ) ) g/h", true)
	f.Add("^^ ( a b ) ?? ( c d )", false)
	f.Fuzz(func(t *testing.T, deps string, atoms bool) {
		n, err := Parse(deps, Options{Atoms: atoms})
		if err != nil {
			return
		}
		again, err := Parse(n.String(), Options{Atoms: atoms})
		if err != nil || again.String() != n.String() {
			t.Fatalf("%q: %q comes back as %q: %v", deps, n.String(), again.String(), err)
		}
		reduced := Node{Kind: AllOf, Nodes: n.Reduce(in("x"), true)}
		twice := Node{Kind: AllOf, Nodes: reduced.Reduce(in(""), true)}
		if twice.String() != reduced.String() {
			t.Fatalf("%q: reduced to %q, and again to %q", deps, reduced.String(), twice.String())
		}
	})
}
