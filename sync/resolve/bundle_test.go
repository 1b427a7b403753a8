package resolve

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestBundleAlone: a drive that carries nothing but one bundle is of use. With no other candidates
// than the bundle's the evaluator ends well, refuses nothing and merges the package that it was
// made for; but for a few that the walk from the sets reaches only once other updates are there.
func TestBundleAlone(t *testing.T) {
	bundles, larger, unreached := 0, 0, 0
	for n, v := range readVectors(t) {
		// emerge passes over what @system lacks only while the list names a candidate for it
		if v.Name == "o-system-lacks" {
			continue
		}
		always := slices.ContainsFunc([]string{"b-blk", "b-soname", "o-system"},
			func(s string) bool { return strings.HasPrefix(v.Name, s) })
		if n%8 != 0 && !always && os.Getenv("PKGSNEAK_ALL_VECTORS") == "" {
			continue
		}
		in := v.input(t)
		r, err := Resolve(in)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		for i, m := range r.Merges {
			if m.Kind == Uninstall {
				continue
			}
			alone := in
			alone.Candidates = nil
			var list []string
			for _, j := range r.Bundle(i) {
				if r.Merges[j].Kind != Uninstall {
					alone.Candidates = append(alone.Candidates, in.Candidates[r.Merges[j].Index])
					list = append(list, r.Merges[j].Package.CPV)
				}
			}
			if bundles++; len(list) > 1 {
				larger++
			}
			got, err := Resolve(alone)
			if err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
			merged := slices.ContainsFunc(got.Merges, func(n Merge) bool {
				return n.Package == m.Package
			})
			if got.OK && len(got.Refusals) == 0 && !merged {
				unreached++
				continue
			}
			if !merged {
				t.Errorf("%s: the bundle of %s, %q: %v %s, merges %s, refuses %+v", v.Name,
					m.Package.CPV, strings.Join(list,
						" "), got.OK, got.Trouble, cpvs(got), got.Refusals)
			}
		}
	}
	if bundles == 0 || larger == 0 || unreached*30 > bundles {
		t.Fatalf("%d bundles, %d of several packages, %d not reached alone", bundles,
			larger, unreached)
	}
	t.Logf("%d bundles, %d of several packages, %d not reached alone", bundles, larger, unreached)
}

// TestClosures: what a package of an index needs of it, alternatives and lacks included, and the
// way out where it is too much.
func TestClosures(t *testing.T) {
	list := []Package{p("a/app-1", "0", 1, "a/l:0= || ( a/none a/second ) !a/blocked a/lost"),
		p("a/l-1", "0", 1, "a/app"), p("a/l-2", "0", 1, "a/app"),
		p("a/second-1", "0", 1, ""), p("a/blocked-1", "0", 1, ""), p("a/alone-1", "0", 1, "")}
	c, err := NewClosures(list)
	if err != nil {
		t.Fatal(err)
	}
	all := func(int) bool { return true }
	if got := c.Of(0, all); !slices.Equal(got, []int{0, 2, 3}) {
		t.Errorf("of app: %v", got)
	}
	if got := c.Of(5, all); !slices.Equal(got, []int{5}) {
		t.Errorf("of alone: %v", got)
	}
	if got := c.Of(0, func(i int) bool { return i != 3 }); got != nil {
		t.Errorf("given up: %v", got)
	}
}
