package forecast

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
)

// Advisory is a Gentoo Linux Security Advisory that the merges close: what is installed is
// vulnerable, what comes is not.
type Advisory struct {
	ID       string // "202611-07"
	Title    string
	Packages []string // CPVs that close it
}

// glsa is the part of metadata/glsa/glsa-ID.xml (glsa.dtd) that counts here.
type glsa struct {
	Title    string `xml:"title"`
	Affected struct {
		Packages []glsaPackage `xml:"package"`
	} `xml:"affected"`
}

type glsaPackage struct {
	Name       string      `xml:"name,attr"`
	Arch       string      `xml:"arch,attr"`
	Unaffected []glsaRange `xml:"unaffected"`
	Vulnerable []glsaRange `xml:"vulnerable"`
}

type glsaRange struct {
	Range string `xml:"range,attr"`
	Slot  string `xml:"slot,attr"`
	Text  string `xml:",chardata"`
}

// maxRanges bounds the packages of an advisory, and the ranges of each.
const maxRanges = 1000

// parseAdvisory reads an advisory. encoding/xml replaces no entities but the five of XML, so that a
// small file stays small.
func parseAdvisory(data []byte) (glsa, error) {
	var g glsa
	if len(data) > portage.MaxAdvisory {
		return g, fmt.Errorf("read advisory: more than %d bytes", portage.MaxAdvisory)
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = func(charset string, input io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "utf-8") {
			return input, nil
		}
		return nil, errors.New("not UTF-8")
	}
	if err := d.Decode(&g); err != nil {
		return glsa{}, fmt.Errorf("read advisory: %w", err)
	}
	if len(g.Affected.Packages) > maxRanges {
		return glsa{}, fmt.Errorf("read advisory: more than %d packages", maxRanges)
	}
	for _, p := range g.Affected.Packages {
		if len(p.Unaffected)+len(p.Vulnerable) > maxRanges {
			return glsa{}, fmt.Errorf("read advisory: more than %d ranges", maxRanges)
		}
	}
	return g, nil
}

// ops are the ranges of glsa.dtd; those that begin with "r" mean revisions of one version.
var ops = map[string]string{"le": "<=", "lt": "<", "eq": "=", "gt": ">", "ge": ">=", "rge": ">=",
	"rle": "<=", "rgt": ">", "rlt": "<"}

// matches reports whether a version of the package lies in the range, as glsa-check sees it.
func (r *glsaRange) matches(name string, q *depend.Package) bool {
	op, version := ops[r.Range], strings.TrimSpace(r.Text)
	if op == "" || q.CP != name {
		return false
	}
	glob := ""
	if rest, found := strings.CutSuffix(version, "*"); found {
		if op != "=" {
			return false // Portage refuses such an atom
		}
		version, glob = rest, "*"
	}
	text := op + name + "-" + version + glob
	if r.Slot != "" && r.Slot != "*" {
		text += ":" + r.Slot
	}
	a, err := depend.ParseAtom(text)
	if err != nil || !depend.Match(&a, q) {
		return false
	}
	if r.Range[0] != 'r' {
		return true
	}
	same, err := depend.ParseAtom("~" + name + "-" + cpv.WithoutRevision(version))
	return err == nil && depend.Match(&same, q)
}

func (p *glsaPackage) vulnerable(q *depend.Package, arch string) bool {
	if p.Arch != "" && p.Arch != "*" && !slices.Contains(strings.Fields(p.Arch), arch) {
		return false
	}
	in := func(list []glsaRange) bool {
		return slices.ContainsFunc(list, func(r glsaRange) bool { return r.matches(p.Name, q) })
	}
	return in(p.Vulnerable) && !in(p.Unaffected)
}

// change is what becomes of an installed package.
type change struct{ old, new depend.Package }

// advisories are those that merges close on a machine.
type advisories struct {
	arch    string
	applied map[string]bool
	changes map[string][]change // by CP
	seen    map[string]bool
	list    []Advisory
}

func newAdvisories(arch string, applied map[string]bool, merges []resolve.Merge) *advisories {
	v := &advisories{arch: arch, applied: applied, changes: map[string][]change{},
		seen: map[string]bool{}}
	for _, x := range merges {
		if x.Old == nil || x.Kind == resolve.Uninstall {
			continue
		}
		oldPkg, ok := dependPackage(x.Old)
		newPkg, ok2 := dependPackage(&x.Package)
		if ok && ok2 && cpv.CompareVersions(oldPkg.Version, newPkg.Version) != 0 {
			v.changes[newPkg.CP] = append(v.changes[newPkg.CP], change{oldPkg, newPkg})
		}
	}
	return v
}

// Advisories returns the advisories in this machine's repositories, but for those applied, that
// merges close on a machine of an architecture, by ID.
func Advisories(s *portage.Settings, arch string, applied map[string]bool,
	merges []resolve.Merge) []Advisory {
	v := newAdvisories(arch, applied, merges)
	v.here(s)
	return v.sorted()
}

// here looks into this machine's repositories.
func (v *advisories) here(s *portage.Settings) {
	if len(v.changes) == 0 || s == nil {
		return
	}
	repos, err := s.Repos()
	if err != nil {
		return
	}
	for _, repo := range repos {
		repo.Advisories(func(id string, data []byte) bool {
			v.add(id, data)
			return true
		})
	}
}

// add takes an advisory in, if the merges close it. Most are of packages that do not change: a look
// at the names in the text saves reading them.
func (v *advisories) add(id string, data []byte) {
	if v.seen[id] || v.applied[id] || !v.mayClose(data) {
		return
	}
	v.seen[id] = true
	if a, closes := closed(id, data, v.changes, v.arch); closes {
		v.list = append(v.list, a)
	}
}

func (v *advisories) mayClose(data []byte) bool { return namesOne(data, v.changes) }

func (v *advisories) sorted() []Advisory {
	slices.SortFunc(v.list, func(a, b Advisory) int { return strings.Compare(a.ID, b.ID) })
	return v.list
}

// namesOne reports whether an advisory may be about one of the packages that change.
func namesOne(data []byte, changes map[string][]change) bool {
	mark := []byte("name=")
	for {
		i := bytes.Index(data, mark)
		if i < 0 {
			return false
		}
		data = data[i+len(mark):]
		if len(data) < 2 {
			return false
		}
		end := bytes.IndexByte(data[1:], data[0])
		if end < 0 {
			return false
		}
		if _, found := changes[string(data[1:1+end])]; found {
			return true
		}
	}
}

func closed(id string, data []byte, changes map[string][]change, arch string) (Advisory, bool) {
	g, err := parseAdvisory(data)
	if err != nil {
		return Advisory{}, false
	}
	a := Advisory{ID: id, Title: strings.Join(strings.Fields(g.Title), " ")}
	for i := range g.Affected.Packages {
		p := &g.Affected.Packages[i]
		for _, c := range changes[p.Name] {
			name := c.new.CP + "-" + c.new.Version
			if p.vulnerable(&c.old, arch) && !p.vulnerable(&c.new, arch) &&
				!slices.Contains(a.Packages, name) {
				a.Packages = append(a.Packages, name)
			}
		}
	}
	return a, len(a.Packages) > 0
}
