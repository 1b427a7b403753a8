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

// MaxRanges bounds the packages of an advisory, and the ranges of each.
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

// security finds the advisories that the merges close.
func (f *Forecast) security(m *Machine, r *resolve.Result) {
	f.Security = Advisories(m.settings, m.ARCH, m.appliedAdvisory, r.Merges)
}

// Advisories returns the advisories in this machine's repositories, but for those applied, that
// merges close on a machine of an architecture, by ID. Most advisories are of packages that do not
// change: a look at the names in the text saves reading them.
func Advisories(s *portage.Settings, arch string, applied map[string]bool,
	merges []resolve.Merge) []Advisory {
	changes := map[string][]change{}
	for _, x := range merges {
		if x.Old == nil || x.Kind == resolve.Uninstall {
			continue
		}
		oldPkg, ok := dependPackage(x.Old)
		newPkg, ok2 := dependPackage(&x.Package)
		if ok && ok2 && cpv.CompareVersions(oldPkg.Version, newPkg.Version) != 0 {
			changes[newPkg.CP] = append(changes[newPkg.CP], change{oldPkg, newPkg})
		}
	}
	if len(changes) == 0 || s == nil {
		return nil
	}
	repos, err := s.Repos()
	if err != nil {
		return nil
	}
	var list []Advisory
	seen := map[string]bool{}
	for _, repo := range repos {
		repo.Advisories(func(id string, data []byte) bool {
			if !seen[id] && !applied[id] && namesOne(data, changes) {
				seen[id] = true
				if a, closes := closed(id, data, changes, arch); closes {
					list = append(list, a)
				}
			}
			return true
		})
	}
	slices.SortFunc(list, func(a, b Advisory) int { return strings.Compare(a.ID, b.ID) })
	return list
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
