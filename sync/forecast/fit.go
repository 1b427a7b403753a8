package forecast

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
)

// Offer is an origin with the packages that a drive carries of it.
type Offer struct {
	Record   *layout.Record
	Packages []Candidate
}

// OfferOf reads what a generation carries. Facts that cannot be read are passed over.
func OfferOf(g *drive.Generation) (*Offer, error) {
	x, err := g.Catalogue()
	if err != nil {
		return nil, err
	}
	facts, err := drive.ReadableFacts(g)
	if err != nil {
		return nil, err
	}
	o := &Offer{Record: g.Record}
	for _, e := range x.Entries {
		if _, carried := g.Find(payload.Package, e.Path()); !carried {
			continue
		}
		c := Candidate{Entry: pkgindex.Rebase(e, x.Header, pkgindex.Header{})}
		if f, known := facts.Package(e.Path()); known {
			c.Facts = f
		}
		o.Packages = append(o.Packages, c)
	}
	return o, nil
}

// Fit is what an origin on a drive is for this machine, before anything is worked out. Import,
// status, doctor and the pages of serve tell it in the same words.
type Fit struct {
	// Unfit reports why none of its packages can be used here (ARCH, CHOST), "" if some can.
	Unfit string
	// Unusable counts the packages that can never be used here, by what stands against them (see
	// UnusableText).
	Unusable map[resolve.ReasonKind]int
	// First is what has to be done before anything is installed, "" if nothing has.
	First string
	// Masked are packages that this machine's configuration does not let in, or would have
	// otherwise.
	Masked []Mismatch
	// Other is what else differs: the kind of profile, the ebuild repositories.
	Other []string
}

// Fit judges an origin.
func (j *Judge) Fit(o *Offer) Fit {
	f := Fit{Unfit: j.Origin(o.Record.ARCH, o.Record.CHOST), First: splitUsr(j.m, o.Packages),
		Unusable: make(map[resolve.ReasonKind]int)}
	if f.Unfit != "" {
		return f // everything else follows from it
	}
	for i := range o.Packages {
		if r := j.Package(&o.Packages[i]); r.Kind != resolve.Acceptable {
			f.Unusable[r.Kind]++
		}
	}
	f.Masked = j.Mismatches(o.Packages)
	if text := OtherProfile(o.Record.Origin, o.Record.Profile, j.m.Profile); text != "" {
		f.Other = append(f.Other, text)
	}
	var repos []portage.Repo
	if j.m.settings != nil {
		repos, _ = j.m.settings.Repos()
	}
	f.Other = append(f.Other, Trees(repos, o.Record.Origin, o.Record.Repositories)...)
	return f
}

// Lines tell it, a line each, what weighs most first; nil if there is nothing to tell.
func (f *Fit) Lines() []string {
	var lines []string
	for _, text := range []string{f.Unfit, f.First, UnusableText(f.Unusable)} {
		if text != "" {
			lines = append(lines, text)
		}
	}
	for _, m := range f.Masked {
		lines = append(lines, m.String())
	}
	return append(lines, f.Other...)
}

var profileVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// The parts of a profile's name that make its packages another kind; the rest shows in USE.
var profileParts = []string{"hardened", "llvm", "musl", "no-multilib", "prefix", "selinux",
	"split-usr", "systemd", "uclibc", "x32"}

// OtherProfile tells that an origin has a profile of another kind than this machine, "" if it has
// not, or if one of them is not known by name.
func OtherProfile(origin, theirs, ours string) string {
	if theirs == "" || ours == "" || strings.HasPrefix(theirs, "/") ||
		strings.HasPrefix(ours, "/") || slices.Equal(profileKind(theirs), profileKind(ours)) {
		return ""
	}
	return fmt.Sprintf("origin %q has the profile %s, this machine %s", origin, theirs, ours)
}

func profileKind(profile string) []string {
	var kind []string
	for part := range strings.SplitSeq(profile, "/") {
		if slices.Contains(profileParts, part) || profileVersion.MatchString(part) {
			kind = append(kind, part)
		}
	}
	slices.Sort(kind)
	return kind
}
