package resolve

import (
	"slices"
	"strings"
	"testing"
)

// p is a package of EAPI 8; rest are pairs of a key and its value.
func p(cpv, slot string, built int64, rdepend string, rest ...string) Package {
	keys := map[string]string{"CPV": cpv, "SLOT": slot, "EAPI": "8", "RDEPEND": rdepend,
		"IUSE": "ssl gtk"}
	for i := 0; i+1 < len(rest); i += 2 {
		keys[rest[i]] = rest[i+1]
	}
	q := FromKeys(func(key string) string { return keys[key] })
	q.BuildTime = built
	return q
}

func cpvs(r *Result) string {
	var list []string
	for _, m := range r.Merges {
		list = append(list, m.Kind.String()+" "+m.Package.CPV)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func refusal(r *Result, cpv string) *Refusal {
	for i := range r.Refusals {
		if r.Refusals[i].Package.CPV == cpv {
			return &r.Refusals[i]
		}
	}
	return nil
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name    string
		in      Input
		merges  string
		exclude string
		refused string // of this candidate
		cause   Cause
		atom    string
		other   string
	}{
		{"downgrade", Input{
			Installed:  []Package{p("a/a-2", "0", 1, ""), p("a/b-1", "0", 1, "")},
			Candidates: []Package{p("a/a-1", "0", 5, ""), p("a/b-2", "0", 5, "")}},
			"update a/b-2", "a/a", "a/a-1", Older, "", "a/a-2"},
		{"downgrade of one slot", Input{
			Installed: []Package{p("a/a-1.2", "1", 1, ""), p("a/a-2.1", "2", 1, ""),
				p("a/b-1", "0", 1, "a/a:1 a/a:2")},
			Candidates: []Package{p("a/a-1.1", "1", 5, ""), p("a/a-2.2", "2", 5, "")}},
			"update a/a-2.2", "a/a:1", "a/a-1.1", Older, "", "a/a-1.2"},
		{"lack", Input{
			Installed:  []Package{p("a/a-1", "0", 1, ""), p("a/b-1", "0", 1, "")},
			Candidates: []Package{p("a/a-2", "0", 5, ">=a/c-3"), p("a/b-2", "0", 5, "")}},
			"update a/b-2", "a/a", "a/a-2", Lacks, ">=a/c-3", ""},
		{"a lower version serves, and is not excluded", Input{
			Installed:  []Package{p("a/a-1", "0", 1, "")},
			Candidates: []Package{p("a/a-3", "0", 5, "a/none"), p("a/a-2", "0", 4, "")}},
			"update a/a-2", "", "a/a-3", Lacks, "a/none", ""},
		{"USE", Input{
			Installed:  []Package{p("a/a-1", "0", 1, "a/c"), p("a/c-1", "0", 1, "", "USE", "gtk")},
			Candidates: []Package{p("a/a-2", "0", 5, "a/c[ssl]")}},
			"", "a/a", "a/a-2", LacksUse, "a/c[ssl]", ""},
		{"an orphan loses its sub-slot", Input{
			Installed: []Package{p("a/a-1", "0", 1, "a/l"), p("a/l-1", "0/1", 1, ""),
				p("x/orphan-1", "0", 1, "a/l:0/1=")},
			Candidates: []Package{p("a/l-2", "0/2", 5, "")}},
			"", "a/l", "a/l-2", Breaks, "a/l:0/1=", "x/orphan-1"},
		{"an orphan would be removed for a blocker", Input{
			Installed:  []Package{p("a/a-1", "0", 1, ""), p("x/orphan-1", "0", 1, "")},
			Candidates: []Package{p("a/a-2", "0", 5, "!x/orphan")}},
			"", "a/a", "a/a-2", Blocks, "!x/orphan", "x/orphan-1"},
		{"a blocker against what stays", Input{
			Installed:  []Package{p("a/a-1", "0", 1, ""), p("a/b-1", "0", 1, "")},
			Candidates: []Package{p("a/a-2", "0", 5, "!!a/b")}},
			"", "a/a", "a/a-2", Blocks, "!!a/b", "a/b-1"},
		{"a library that nobody will have", Input{
			Installed: []Package{p("a/a-1", "0", 1, "a/l"),
				p("a/l-1", "0", 1, "", "PROVIDES", "x86_64: libl.so.1")},
			Candidates: []Package{p("a/a-2", "0", 5, "a/l", "REQUIRES",
				"x86_64: libl.so.2 libc.so.6"),
				p("x/l-2", "0", 5, "", "PROVIDES", "x86_64: libl.so.2")}},
			"", "a/a", "a/a-2", LacksSoname, "x86_64: libl.so.2", "a/a-2"},
		{"a library that somebody loses", Input{
			Installed: []Package{p("a/a-1", "0", 1, "a/l", "REQUIRES", "x86_64: libl.so.1"),
				p("a/l-1", "0", 1, "", "PROVIDES", "x86_64: libl.so.1")},
			Candidates: []Package{p("a/l-2", "0", 5, "", "PROVIDES", "x86_64: libl.so.2")}},
			"", "a/l", "a/l-2", BreaksSoname, "x86_64: libl.so.1", "a/a-1"},
		{"a CPU that the machine is not", Input{
			Installed: []Package{p("a/a-1", "0", 1,
				"")}, Candidates: []Package{p("a/a-2", "0", 5, "")},
			Accept: func(q Package, installed bool) Reason {
				if installed {
					return Reason{}
				}
				return Reason{CPU, "avx2"}
			}},
			"", "a/a", "a/a-2", NotAccepted, "", ""},
		{"masked by keyword, and needed", Input{
			Installed: []Package{p("a/a-1", "0", 1, ""), p("a/c-1", "0", 1, "")},
			Candidates: []Package{p("a/a-2", "0", 5, ">=a/c-2"),
				p("a/c-2", "0", 5, "", "KEYWORDS", "~amd64")},
			Accept: func(q Package, _ bool) Reason {
				if strings.HasPrefix(q.Keywords, "~") {
					return Reason{Keyword, q.Keywords}
				}
				return Reason{}
			}},
			"", "a/a", "a/a-2", Lacks, ">=a/c-2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.in.World = atomsOf(t, "a/a a/b")
			r, err := Resolve(c.in)
			if err != nil || !r.OK {
				t.Fatal(err, r)
			}
			if got := cpvs(r); got != c.merges {
				t.Errorf("merges %q, want %q", got, c.merges)
			}
			if got := strings.Join(r.Exclude, " "); got != c.exclude {
				t.Errorf("excludes %q, want %q", got, c.exclude)
			}
			f := refusal(r, c.refused)
			if f == nil || f.Cause != c.cause || f.Atom != c.atom || f.Other != c.other ||
				f.Name != c.exclude {
				t.Errorf("%s is refused as %+v", c.refused, f)
			}
		})
	}
}

func TestHidden(t *testing.T) {
	r, err := Resolve(Input{
		World:     atomsOf(t, "a/a"),
		Installed: []Package{p("a/a-1", "0", 1, "")},
		Candidates: []Package{p("a/a-2", "0", 5, "a/c"),
			p("a/c-2", "0", 5, "", "KEYWORDS", "~amd64")},
		Accept: func(q Package, _ bool) Reason {
			if q.Keywords != "" {
				return Reason{Keyword, q.Keywords}
			}
			return Reason{}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if f := refusal(r, "a/a-2"); f == nil || f.Hidden == nil || f.Hidden.CPV != "a/c-2" ||
		f.Reason.Text != "~amd64" {
		t.Errorf("%+v", f)
	}
}

func TestOtherUse(t *testing.T) {
	in := Input{
		World:      atomsOf(t, "a/a"),
		Installed:  []Package{p("a/a-1", "0", 1, "", "USE", "ssl")},
		Candidates: []Package{p("a/a-2", "0", 5, "", "USE", "gtk", "IUSE", "+ssl gtk new")},
	}
	r, err := Resolve(in)
	if err != nil || len(r.OtherUse) != 1 || strings.Join(r.OtherUse[0].Flags, " ") != "-ssl +gtk" {
		t.Errorf("against the installed one: %+v, %v", r.OtherUse, err)
	}
	in.UseOf = func(Package) func(string) bool {
		return func(flag string) bool { return flag == "gtk" || flag == "new" }
	}
	r, err = Resolve(in)
	if err != nil || len(r.OtherUse) != 1 || strings.Join(r.OtherUse[0].Flags, " ") != "-new" {
		t.Errorf("against the configuration: %+v, %v", r.OtherUse, err)
	}
}

// TestBundle: what comes along, and that each bundle alone leaves nothing broken.
func TestBundle(t *testing.T) {
	in := Input{
		World: atomsOf(t, "a/app a/other a/alone"),
		Installed: []Package{p("a/app-1", "0", 1, "a/l:0/1="), p("a/other-1", "0", 1, "a/l:0/1="),
			p("a/l-1", "0/1", 1, ""),
			p("a/alone-1", "0", 1, "")},
		Candidates: []Package{p("a/app-2", "0", 5, "a/l:0/2= a/new"),
			p("a/other-1", "0", 6, "a/l:0/2="), p("a/l-2", "0/2", 5, ""),
			p("a/new-1", "0", 5, ""), p("a/alone-2", "0", 5, "")},
	}
	r, err := Resolve(in)
	if err != nil || len(r.Merges) != 5 {
		t.Fatal(err, cpvs(r))
	}
	for i, m := range r.Merges {
		var list []string
		for _, j := range r.Bundle(i) {
			list = append(list, r.Merges[j].Package.CPV)
		}
		slices.Sort(list)
		want := "a/app-2 a/l-2 a/new-1 a/other-1"
		switch m.Package.CPV {
		case "a/alone-2":
			want = m.Package.CPV
		}
		if got := strings.Join(list, " "); got != want {
			t.Errorf("with %s: %s, want %s", m.Package.CPV, got, want)
		}
	}
}

// TestSystemMissing: an atom of @system that is nowhere makes emerge fail whatever is excluded, and
// it is named.
func TestSystemMissing(t *testing.T) {
	r, err := Resolve(Input{System: atomsOf(t, "a/none"), World: atomsOf(t, "a/gone"),
		Installed: []Package{p("a/a-1", "0", 1, "")}})
	if err != nil || r.OK || !strings.Contains(r.Trouble, "a/none in @system") {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = Resolve(Input{World: atomsOf(t, "a/gone"),
		Installed: []Package{p("a/a-1", "0", 1, "")}})
	if err != nil || !r.OK || len(r.Missing) != 1 ||
		r.Missing[0] != (MissingRoot{"selected", "a/gone"}) || len(r.Unreached) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
