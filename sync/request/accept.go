package request

import (
	"regexp"
	"strconv"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
)

// Input is the client as package resolve takes it, without candidates: its installed packages, the
// roots of its world and its settings. installed is nil, and the result without meaning, for a
// minimal request.
func (r *Record) Input(installed *pkgindex.Index) resolve.Input {
	var in resolve.Input
	if r.Machine == nil || r.Roots == nil || installed == nil {
		return in
	}
	for _, e := range installed.Entries {
		in.Installed = append(in.Installed, resolve.FromKeys(e.Get))
	}
	in.World, in.System, in.Profile, in.Provided = Atoms(r.Roots.World), Atoms(r.Roots.System),
		Atoms(r.Roots.Profile), r.Roots.Provided
	in.Sets = make(map[string][]depend.Atom, len(r.Roots.Sets))
	for name, atoms := range r.Roots.Sets {
		in.Sets[name] = Atoms(atoms)
	}
	implicit := make(map[string]bool)
	for w := range strings.FieldsSeq(r.Machine.Implicit) {
		implicit[w] = true
	}
	in.Implicit = func(flag string) bool { return implicit[flag] }
	in.Accept = newAcceptance(r.Machine).judge
	return in
}

// acceptance is what a client's Portage lets in.
type acceptance struct {
	m                 *Machine
	keywords, license ruleSet
	mask, unmask      ruleSet
	acceptKeywords    []string
	acceptLicense     []string
	hosts             *regexp.Regexp // nil: all
}

func newAcceptance(m *Machine) *acceptance {
	a := &acceptance{m: m, keywords: newRuleSet(m.Keywords), license: newRuleSet(m.Licenses),
		mask: atomSet(m.Masks), unmask: atomSet(m.Unmasks),
		acceptKeywords: strings.Fields(m.AcceptKeywords),
		acceptLicense:  strings.Fields(m.AcceptLicense)}
	words := strings.Fields(m.AcceptCHOSTs)
	if len(words) == 0 && m.CHOST != "" {
		words = []string{regexp.QuoteMeta(m.CHOST)}
	}
	if len(words) > 0 {
		// one of Python's that Go does not have accepts all
		a.hosts, _ = regexp.Compile("^(?:" + strings.Join(words, "|") + ")$")
	}
	return a
}

// judge reports whether the client's configuration accepts a package. Its CPU, and formats that its
// Portage cannot read, are judged elsewhere: they take more than an entry of the index.
func (a *acceptance) judge(p resolve.Package, installed bool) resolve.Reason {
	c, err := cpv.Parse(p.CPV)
	if err != nil {
		return resolve.Reason{Kind: resolve.Invalid, Text: "not a name of a package"}
	}
	if n, err := strconv.Atoi(p.EAPI); !installed && p.EAPI != "" &&
		(err != nil || a.m.EAPI > 0 && n > a.m.EAPI) {
		return resolve.Reason{Kind: resolve.Unreadable, Text: "EAPI " + p.EAPI}
	}
	if p.CHOST != "" && a.hosts != nil && !a.hosts.MatchString(p.CHOST) {
		return resolve.Reason{Kind: resolve.Machine, Text: p.CHOST}
	}
	slot := p.Slot
	if slot == "" {
		slot = "0"
	}
	q := &depend.Package{CP: c.Category + "/" + c.PN, Version: c.Version, BuildID: p.BuildID,
		Slot: slot, Sub: p.Sub, Repo: p.Repo}
	if masks := a.mask.of(q); len(masks) > 0 && len(a.unmask.of(q)) == 0 {
		return resolve.Reason{Kind: resolve.Mask, Text: masks[len(masks)-1].Atom}
	}
	if missing := a.missingLicenses(p, q); len(missing) > 0 {
		return resolve.Reason{Kind: resolve.License, Text: strings.Join(missing, " ")}
	}
	if want := a.missingKeyword(p.Keywords, q); want != "" {
		return resolve.Reason{Kind: resolve.Keyword, Text: want}
	}
	return resolve.Reason{}
}

func (a *acceptance) missingLicenses(p resolve.Package, q *depend.Package) []string {
	if p.License == "" || len(a.acceptLicense) == 0 {
		return nil // a client whose profile could not be read has told none
	}
	accept := a.acceptLicense
	for _, r := range a.license.of(q) {
		accept = append(accept[:len(accept):len(accept)], r.Words...)
	}
	return portage.MissingLicenses(p.License, accept)
}

func (a *acceptance) missingKeyword(keywords string, q *depend.Package) string {
	if len(a.acceptKeywords) == 0 {
		return ""
	}
	accept := a.acceptKeywords
	for _, r := range a.keywords.of(q) {
		words := r.Words
		if len(words) == 0 {
			for _, k := range a.acceptKeywords {
				if k[0] != '~' && k[0] != '-' {
					words = append(words, "~"+k)
				}
			}
		}
		accept = portage.StackWords(accept, words)
	}
	has := strings.Fields(keywords)
	if portage.KeywordsAccepted(has, accept) {
		return ""
	}
	for _, k := range has {
		if k == a.m.ARCH || k == "~"+a.m.ARCH {
			return k
		}
	}
	return "**"
}

// ruleSet finds the lines that speak of a package.
type ruleSet struct {
	rules []Rule
	atoms []depend.Atom
	byCP  map[string][]int
}

func newRuleSet(rules []Rule) ruleSet {
	s := ruleSet{rules: rules, atoms: make([]depend.Atom, len(rules)), byCP: make(map[string][]int)}
	for i, r := range rules {
		a, err := depend.ParseAtom(r.Atom)
		if err != nil {
			continue
		}
		s.atoms[i] = a
		s.byCP[a.CP] = append(s.byCP[a.CP], i)
	}
	return s
}

func atomSet(atoms []string) ruleSet {
	rules := make([]Rule, len(atoms))
	for i, a := range atoms {
		rules[i].Atom = a
	}
	return newRuleSet(rules)
}

// of returns the lines that match, in order.
func (s *ruleSet) of(p *depend.Package) []Rule {
	var found []Rule
	for _, i := range s.byCP[p.CP] {
		if depend.Match(&s.atoms[i], p) {
			found = append(found, s.rules[i])
		}
	}
	return found
}
