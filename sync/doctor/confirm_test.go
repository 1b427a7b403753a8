package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"pkgsneak/sync/emerge"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/resolve"
)

// The lists are disjoint, builds of one version are told apart, and a package that is listed twice
// counts twice.
func TestCompareAnswer(t *testing.T) {
	t.Parallel()
	f := &forecast.Forecast{Merges: []forecast.Merge{{Name: "a/both-1"},
		{Name: "a/build-1", Build: "3"}, {Name: "a/here-1"},
		{Name: "a/gone-1", Kind: resolve.Uninstall.String()}}}
	a := &emerge.Answer{Exit: 1, Said: []string{"!!! \x1b[31mred"},
		Merges: []emerge.Merge{{Name: "a/both-1", Kind: "binary", Flags: "U"},
			{Name: "a/both-1", Kind: "binary"},
			{Name: "a/build-1-3", Kind: "binary"}, {Name: "a/down-1", Kind: "binary", Flags: "UD"},
			{Name: "a/source-1", Kind: "ebuild"}, {Name: "a/gone-1", Kind: "uninstall"},
			{Name: "a/held-1", Kind: "nomerge"}}}
	c := compareAnswer(f, a)
	if c.Agrees() || c.Exit != 1 || c.Merges != 6 || c.Same != 3 ||
		!slices.Equal(c.OnlyHere, []string{"a/here-1"}) ||
		!slices.Equal(c.OnlyThere, []string{"a/both-1", "a/down-1", "a/source-1"}) ||
		!slices.Equal(c.Backwards, []string{"a/down-1"}) ||
		!slices.Equal(c.Compiled, []string{"a/source-1"}) || !slices.Equal(c.Said, a.Said) {
		t.Errorf("%+v", c)
	}
	same := compareAnswer(f, &emerge.Answer{Merges: []emerge.Merge{{Name: "a/gone-1",
		Kind: "uninstall"}, {Name: "a/here-1"}, {Name: "a/build-1-3"}, {Name: "a/both-1"}}})
	if !same.Agrees() || same.Same != 4 {
		t.Errorf("%+v", same)
	}
}

// Both are tested: the question that doctor asks emerge, and what it does with the answer.
func TestPortageIsAsked(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "client-good")
	p.trusts()
	p.write("var/db/pkg/app-misc/app-1/SLOT", "0\n")
	p.write("var/db/pkg/app-misc/app-1/KEYWORDS", "amd64\n")
	p.write("var/lib/portage/world", "app-misc/app\n")
	p.write("var/cache/binpkgs/Packages", "ARCH: amd64\nPACKAGES: 1\nTIMESTAMP: 1\nVERSION: 0\n\n"+
		"CPV: app-misc/app-2\nSLOT: 0\nEAPI: 8\nKEYWORDS: amd64\nLICENSE: GPL-2\nBUILD_TIME: 9\nSIZE: 9\nMTIME: 9\nPATH: app-misc/app-2.tbz2\nMD5: 0123456789abcdef0123456789abcdef\n\n")
	ask := func(answer *emerge.Answer, err error) (*Report, *emerge.Question) {
		var asked *emerge.Question
		o := p.options(Client)
		o.Portage, o.Ask = true, func(_ context.Context,
			q emerge.Question) (*emerge.Answer, error) {
			asked = &q
			return answer, err
		}
		return p.examine(o), asked
	}
	r, q := ask(&emerge.Answer{Merges: []emerge.Merge{{Name: "app-misc/app-2", Kind: "binary",
		Flags: "U"}}}, nil)
	if r.Portage == nil || !r.Portage.Agrees() || find(r, "emerge") != nil ||
		q.PKGDIR != p.path("var/cache/binpkgs") || len(q.Exclude) > 0 {
		t.Fatalf("%+v of %+v; forecast %+v, unknown %q", r.Portage, q, r.Forecast, r.Unknown)
	}
	for want, a := range map[string]*emerge.Answer{
		"ends with 1":  {Exit: 1, Said: []string{"!!! no"}},
		"go backwards": {Merges: []emerge.Merge{{Name: "a/b-1", Kind: "binary", Flags: "UD"}}},
		"compile":      {Merges: []emerge.Merge{{Name: "a/b-1", Kind: "ebuild"}}},
	} {
		r, _ := ask(a, nil)
		if f := find(r, "emerge"); f == nil || f.Weight != Broken ||
			!strings.Contains(f.What, want) || len(f.Names) != 1 ||
			!strings.Contains(f.Fix[0].Lines[0], "emerge -pvuDK") {
			t.Errorf("%s: %+v", want, f)
		}
	}
	if r, _ := ask(nil, errors.New("no such user")); r.Portage != nil || find(r, "emerge") != nil ||
		!slices.Contains(r.Unknown, "what emerge says: no such user") {
		t.Errorf("unknown %q", r.Unknown)
	}
	o := p.options(Client)
	o.Portage = true
	if r := p.examine(o); !slices.ContainsFunc(r.Unknown, func(s string) bool {
		return strings.Contains(s, "no emerge in PATH")
	}) {
		t.Errorf("without emerge: %q", r.Unknown)
	}
	o.Roles = []Role{Host}
	if r := p.examine(o); !slices.ContainsFunc(r.Unknown, func(s string) bool {
		return strings.Contains(s, "--client")
	}) {
		t.Errorf("of a host: %q", r.Unknown)
	}
}
