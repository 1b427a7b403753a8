package resolve

import (
	"fmt"
	"math/rand"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/depend"
)

// large makes a machine with the given numbers of installed packages and of candidates, shaped like
// a real one after some weeks: three candidates in four are the builds that are installed, the
// others newer; libraries get new sub-slots, programs are rebuilt against them or the rebuild is
// lost, and some candidates lack something or are older.
func large(installed, candidates int) Input {
	rng := rand.New(rand.NewSource(5))
	in := Input{}
	name := func(i int) string { return fmt.Sprintf("cat-%c/p%d", 'a'+i%20, i) }
	deps := func(i int, sub func(int) int) string {
		var list []string
		for range min(i, 4+rng.Intn(12)) {
			j := rng.Intn(i)
			switch rng.Intn(8) {
			case 0:
				list = append(list, fmt.Sprintf("%s:0/%d=", name(j), sub(j)))
			case 1:
				list = append(list, fmt.Sprintf("|| ( %s %s )", name(j), name(rng.Intn(i))))
			case 2:
				list = append(list, fmt.Sprintf("%s[ssl(+)]", name(j)))
			case 3:
				list = append(list, fmt.Sprintf(">=%s-0.5", name(j)))
			default:
				list = append(list, name(j))
			}
		}
		return strings.Join(list, " ")
	}
	newer := func(i int) bool { return i*7%4 == 0 }
	bumped := func(i int) int { // a new sub-slot in every twentieth library that is newer
		if newer(i) && i%20 == 0 {
			return 2
		}
		return 1
	}
	var texts []string
	for i := range installed {
		seed := rng.Int63()
		rng.Seed(seed)
		old := deps(i, func(int) int { return 1 })
		rng.Seed(seed)
		texts = append(texts, deps(i, bumped))
		in.Installed = append(in.Installed, Package{CPV: name(i) + "-1", Sub: "1", Use: "ssl amd64",
			IUse: "ssl gtk", EAPI: "8",
			RDepend: old, BuildTime: 1000})
	}
	for i := range candidates {
		j := i % installed
		p := in.Installed[j]
		p.Size = 1 << 20
		switch {
		case i >= installed: // a second build
			p.CPV, p.BuildTime, p.BuildID = name(j)+"-0.9", 900, "2"
		case newer(j) || texts[j] != p.RDepend && rng.Intn(8) != 0:
			p.CPV, p.Sub, p.RDepend, p.BuildTime = name(j)+"-2", fmt.Sprint(bumped(j)),
				texts[j], 2000+int64(i)
			if rng.Intn(50) == 0 {
				p.RDepend += " cat-z/lost"
			}
			if rng.Intn(60) == 0 {
				p.CPV = name(j) + "-0.8"
			}
		}
		in.Candidates = append(in.Candidates, p)
	}
	for i := range installed {
		if i%3 == 0 || i > installed-50 {
			a, err := depend.ParseAtom(name(i))
			if err != nil {
				panic(err)
			}
			in.World = append(in.World, a)
		}
	}
	return in
}

// BenchmarkResolve has the numbers of a real desktop and its host: 1,808 installed packages, an
// index of 2,111. Memory is collected as seldom as the command line lets it be (12 times a heap of
// 4 MiB before the first time), and cpu-ms is the processor time, which means more on a machine
// that does other things as well.
func BenchmarkResolve(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(1200))
	in := large(1808, 2111)
	b.ReportAllocs()
	before := processorTime(b)
	defer func() {
		spent := processorTime(b) - before
		b.ReportMetric(float64(spent.Milliseconds())/float64(b.N), "cpu-ms/op")
	}()
	for b.Loop() {
		r, err := Resolve(in)
		if err != nil || !r.OK || len(r.Merges) == 0 {
			b.Fatal(r.Trouble, err)
		}
		b.ReportMetric(float64(len(r.Merges)), "merges")
		b.ReportMetric(float64(len(r.Exclude)), "excluded")
	}
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func BenchmarkBundles(b *testing.B) {
	r, err := Resolve(large(1808, 2111))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for i := range r.Merges {
			r.Bundle(i)
		}
	}
}

func atomsOf(t testing.TB, text string) []depend.Atom {
	t.Helper()
	return atoms(t, strings.Fields(text))
}

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		in   Input
		want string
	}{
		{"too many", Input{Candidates: make([]Package, MaxPackages+1)},
			"more than 200000 packages"},
		{"long string",
			Input{Candidates: []Package{{CPV: "a/b-1", RDepend: strings.Repeat("x", MaxString+1)}}},
			"a string of 262145 bytes"},
		{"no package", Input{Installed: []Package{{CPV: "a/b"}}}, "parse cpv"},
		{"no slot", Input{Installed: []Package{{CPV: "a/b-1", Slot: "a b"}}}, "for a slot"},
		{"provided", Input{Provided: []string{"a/b"}}, "package.provided"},
	} {
		if _, err := Resolve(c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestNestedAlternatives: alternatives that multiply, and virtuals that lead to one another, come
// to an end.
func TestNestedAlternatives(t *testing.T) {
	var groups []string
	for i := range 40 {
		groups = append(groups, fmt.Sprintf("|| ( c/a%d c/a%d ( c/a%d c/a%d ) )", i, i+1, i+2, i+3))
	}
	in := Input{
		World: atomsOf(t, "c/top virtual/v0"),
		Candidates: []Package{{CPV: "c/top-1", EAPI: "8", RDepend: strings.Join(groups, " ") + " " +
			strings.Repeat("|| ( ( ", 40) + "c/a1" + strings.Repeat(" ) c/a2 )", 40)}},
	}
	for i := range 60 {
		in.Candidates = append(in.Candidates, Package{CPV: fmt.Sprintf("c/a%d-1", i), EAPI: "8"})
	}
	for i := range 30 {
		deps := fmt.Sprintf("|| ( virtual/v%d virtual/v%d virtual/v%d )", (i+1)%30,
			(i+2)%30, (i+3)%30)
		for slot := range 3 {
			in.Candidates = append(in.Candidates,
				Package{CPV: fmt.Sprintf("virtual/v%d-%d", i, slot+1), Slot: fmt.Sprint(slot),
					EAPI: "8", RDepend: deps})
		}
	}
	if _, err := Resolve(in); err != nil {
		t.Fatal(err)
	}
}

// A search that is ended reports it, and lists what goes backwards and what must not come.
func TestGivesUp(t *testing.T) {
	in := Input{World: atomsOf(t, "a/old a/new a/cpu a/two"),
		Installed: []Package{{CPV: "a/old-2", EAPI: "8", BuildTime: 1},
			{CPV: "a/new-1", EAPI: "8", BuildTime: 1},
			{CPV: "a/two-1", EAPI: "8", BuildTime: 1},
			{CPV: "a/two-3", Slot: "3", EAPI: "8", BuildTime: 1}},
		Candidates: []Package{{CPV: "a/old-1", EAPI: "8", BuildTime: 2},
			{CPV: "a/new-2", EAPI: "8", BuildTime: 2}, {CPV: "a/cpu-2", EAPI: "8", BuildTime: 2},
			{CPV: "a/two-2", Slot: "3", EAPI: "8", BuildTime: 2},
			{CPV: "a/deep-1", EAPI: "8", RDepend: "|| ( a/x ( a/y a/z ) )"}},
		Accept: func(p Package, installed bool) Reason {
			if p.CPV == "a/cpu-2" {
				return Reason{Kind: CPU}
			}
			return Reason{}
		}}
	s, err := newStock(&in)
	if err != nil {
		t.Fatal(err)
	}
	s.spent = true
	r := s.resolve(&in)
	if want := "a/cpu a/old a/two:3"; !r.GaveUp || r.OK || r.Trouble == "" || len(r.Merges) > 0 ||
		strings.Join(r.Exclude, " ") != want {
		t.Errorf("%+v, want %s excluded", r, want)
	}
	r, err = Resolve(in)
	if err != nil || r.GaveUp || !r.OK {
		t.Errorf("nobody ends it: %+v, %v", r, err)
	}
}

// Machines that somebody made to keep the search busy, or to fill memory. Each ends, by what its
// work is charged and not by a clock: the bound is a small part of the real one, so that this takes
// no time.
func TestHostileIndexes(t *testing.T) {
	numbered := func(n int, p func(i int) Package) []Package {
		var list []Package
		for i := range n {
			q := p(i)
			q.EAPI = "8"
			list = append(list, q)
		}
		return list
	}
	wide := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+" ", i, i+1)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, world string
		candidates  []Package
	}{
		{"chain of virtuals", "virtual/v0", numbered(1000, func(i int) Package {
			return Package{CPV: fmt.Sprintf("virtual/v%d-1", i),
				RDepend: fmt.Sprintf("|| ( virtual/v%d a/b )", i+1)}
		})},
		{"many versions", "a/b", numbered(1200, func(i int) Package {
			return Package{CPV: fmt.Sprintf("a/b-%d", i), RDepend: fmt.Sprintf("<a/b-%d a/lack", i)}
		})},
		{"chain that lacks its end", "a/v0", numbered(1200, func(i int) Package {
			return Package{CPV: fmt.Sprintf("a/v%d-1", i), RDepend: fmt.Sprintf("a/v%d", i+1)}
		})},
		{"any-of chain that lacks its end", "a/v0", numbered(1200, func(i int) Package {
			return Package{CPV: fmt.Sprintf("a/v%d-1", i),
				RDepend: fmt.Sprintf("|| ( a/v%d a/nix )", i+1)}
		})},
		{"overlapping groups", "a/b", numbered(1, func(int) Package {
			return Package{CPV: "a/b-1", RDepend: wide(2000, "|| ( a/x%d a/x%d )")}
		})},
		{"many words", "a/b", numbered(1, func(int) Package {
			return Package{CPV: "a/b-1", RDepend: wide(2000, "a/x%d:%d")}
		})},
		{"blockers", "a/x0", numbered(600, func(i int) Package {
			return Package{CPV: fmt.Sprintf("a/x%d-1", i),
				RDepend: fmt.Sprintf("!a/x%d a/x%d a/l:0/%d=", (i+2)%600, (i+1)%600, i%50)}
		})},
		{"dense circles", "a/b0", numbered(300, func(i int) Package {
			return Package{CPV: fmt.Sprintf("a/b%d-1", i),
				RDepend: wide(200, "a/b%d || ( a/b%d a/none )")}
		})},
	} {
		in := Input{World: atomsOf(t, c.world), Candidates: c.candidates}
		s, err := newStock(&in)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		s.left = min(s.left, maxWork/500)
		s.ask = s.left
		r := s.resolve(&in)
		t.Logf("%s: ok %v, gave up %v, %d left", c.name, r.OK, r.GaveUp, s.left)
		if over := -s.left; over > maxWork/500 {
			t.Errorf("%s: the work goes on after its end, by %d", c.name, over)
		}
	}
}

// More words than are read end the search: each takes memory.
func TestTooManyWords(t *testing.T) {
	s, err := newStock(&Input{})
	if err != nil {
		t.Fatal(err)
	}
	s.words = maxWords + 1
	if n := s.parse("a/b || ( a/c a/d )"); n.err != nil || len(n.tree.Nodes) > 0 || !s.spent {
		t.Errorf("read %+v, spent %v", n, s.spent)
	}
}

// FuzzResolve: whatever the strings are, it ends, without a panic; each name of the list is an
// atom; with the list the prediction downgrades nothing.
func FuzzResolve(f *testing.F) {
	f.Add("a/b-1 a/c-1", "a/b-2 a/c-2", "a/b", ">=a/c-1", "|| ( a/c a/b )", "0/1", int64(5))
	f.Add("a/b-2 virtual/v-1", "a/b-1 virtual/v-2", "a/b virtual/v", "!a/c", "virtual/v",
		"0", int64(50))
	f.Fuzz(func(t *testing.T, installed, candidates, world, deps1, deps2, slot string,
		built int64) {
		var in Input
		main, sub, _ := strings.Cut(slot, "/")
		for i, name := range strings.Fields(installed) {
			in.Installed = append(in.Installed,
				Package{CPV: name, EAPI: "8", RDepend: []string{deps1, deps2}[i%2], BuildTime: 10})
		}
		for i, name := range strings.Fields(candidates) {
			in.Candidates = append(in.Candidates, Package{CPV: name, Slot: main, Sub: sub,
				EAPI: "8", RDepend: []string{deps2, deps1}[i%2],
				PDepend: deps1, BuildTime: built})
		}
		for _, s := range strings.Fields(world) {
			if a, err := depend.ParseAtom(s); err == nil && a.Block == 0 && !a.Conditional() {
				in.World = append(in.World, a)
			}
		}
		r, err := Resolve(in)
		if err != nil {
			return
		}
		for i := range r.Merges {
			if r.Merges[i].Kind == Downgrade && r.OK {
				t.Fatalf("%s goes backwards", r.Merges[i].Package.CPV)
			}
			r.Bundle(i)
		}
		for _, name := range r.Exclude {
			if _, err := depend.ParseAtom(name); err != nil {
				t.Fatal(err)
			}
		}
	})
}
