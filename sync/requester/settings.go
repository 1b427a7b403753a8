package requester

import (
	"maps"
	"path"
	"slices"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/request"
)

// known are the packages that a line of settings may speak of: by CATEGORY/PN, with the
// repositories that they came from.
type known map[string]map[string]bool

func (k known) add(cp, repo string) {
	if k[cp] == nil {
		k[cp] = make(map[string]bool)
	}
	k[cp][repo] = true
}

func (k known) addCPV(name, repo string) {
	if c, err := cpv.Parse(name); err == nil {
		k.add(c.Category+"/"+c.PN, repo)
	}
}

// known collects what is installed, wished or in a catalogue.
func (g *gatherer) known() known {
	k := make(known)
	for i := range g.here.Installed {
		k.addCPV(g.here.Installed[i].CPV, g.here.Installed[i].Repo)
	}
	for _, o := range g.origins {
		for _, e := range o.catalogue {
			repo := e.Get("REPO")
			if repo == "" {
				repo = o.header.Get("REPO")
			}
			k.addCPV(e.CPV(), repo)
		}
	}
	for _, w := range g.record.Wants {
		if a, err := depend.ParseAtom(w.Atom); err == nil {
			k.add(a.CP, a.Repo)
		}
	}
	return k
}

// settings tells the configuration as results: what decides over packages that are known here.
func (g *gatherer) settings() {
	s, k := g.m.Settings, g.known()
	masks, groups := s.Masks(), s.LicenseGroups()
	chost, _ := s.CHOST()
	m := &request.Machine{Portage: g.short(g.here.Portage), EAPI: g.here.EAPI,
		NoGPKG: g.here.NoGPKG, ARCH: g.short(s.ARCH()), CHOST: g.short(chost),
		AcceptCHOSTs: g.short(s.Get("ACCEPT_CHOSTS")), Profile: g.short(s.ProfileName()),
		USE:      g.text(s.Get("USE")),
		Implicit: g.text(strings.Join(slices.Sorted(maps.Keys(forecast.ImplicitFlags(s))), " ")),
		CPU:      slices.Sorted(maps.Keys(g.here.CPU)),
		Room: request.Room{PKGDIR: freeAt(g.m.PKGDIR), DISTDIR: freeAt(g.m.DISTDIR),
			Repositories: -1}}
	keywords, licenses := strings.Fields(s.Get("ACCEPT_KEYWORDS")),
		portage.ExpandLicenses(strings.Fields(s.Get("ACCEPT_LICENSE")), groups)
	if s.Profile == "" { // both would be a part of the truth
		keywords, licenses = nil, nil
	}
	m.Keywords, keywords = g.rules(k, masks.Accept, keywords,
		func(w []string) []string { return w })
	m.Licenses, licenses = g.rules(k, masks.License, licenses, func(w []string) []string {
		return portage.ExpandLicenses(w, groups)
	})
	m.AcceptKeywords, m.AcceptLicense = g.text(strings.Join(keywords,
		" ")), g.text(strings.Join(licenses, " "))
	m.Masks, m.Unmasks = g.atoms(k, masks.Mask), g.atoms(k, masks.Unmask)
	if repos, err := s.Repos(); err == nil {
		for i, r := range repos {
			if i == layout.MaxRepositories {
				break
			}
			m.Repositories = append(m.Repositories, request.Repository{Name: g.short(r.Name),
				Revision: g.short(r.Revision), Timestamp: r.Timestamp})
		}
		if len(repos) > 0 {
			m.Room.Repositories = freeAt(s.HostPath(repos[0].Location))
		}
	}
	g.record.Machine = m
	g.roots()
}

// rules keeps the lines that speak of known packages. Those of all packages become part of what is
// accepted anyway.
func (g *gatherer) rules(k known, lines []portage.PackageLine, all []string,
	expand func([]string) []string) ([]request.Rule, []string) {
	var rules []request.Rule
	for _, l := range lines {
		words := expand(l.Words)
		if l.Atom == "*/*" && len(all) > 0 {
			if len(words) == 0 {
				for _, w := range all {
					if w[0] != '~' && w[0] != '-' {
						words = append(words, "~"+w)
					}
				}
			}
			all = portage.StackWords(all, words)
			continue
		}
		for _, atom := range k.matching(l.Atom) {
			if len(rules) < request.MaxRules {
				rules = append(rules, request.Rule{Atom: atom, Words: words})
			}
		}
	}
	return rules, all
}

func (g *gatherer) atoms(k known, lines []string) []string {
	var atoms []string
	for _, l := range lines {
		for _, atom := range k.matching(l) {
			if len(atoms) < request.MaxRules {
				atoms = append(atoms, atom)
			}
		}
	}
	return atoms
}

// matching returns a line's atom if it speaks of a known package, and one for each known package
// that a pattern ("dev-libs/*", "*/*::overlay") speaks of.
func (k known) matching(line string) []string {
	name, tail := line, ""
	if i := strings.IndexAny(line, ":["); i >= 0 {
		name, tail = line[:i], line[i:]
	}
	category, pn, ok := strings.Cut(name, "/")
	if !strings.Contains(name, "*") || !ok || strings.ContainsAny(name[:1], "=<>~") {
		a, err := depend.ParseAtom(line)
		if err != nil || a.Block != depend.NoBlock || k[a.CP] == nil {
			return nil
		}
		return []string{line}
	}
	var atoms []string
	for _, cp := range slices.Sorted(maps.Keys(k)) {
		a, err := depend.ParseAtom(cp + tail)
		if err != nil || a.Repo != "" && !k[cp][a.Repo] {
			continue
		}
		c, p, _ := strings.Cut(cp, "/")
		if match, _ := path.Match(category, c); !match {
			continue
		}
		if match, _ := path.Match(pn, p); match {
			atoms = append(atoms, cp+tail)
		}
	}
	return atoms
}

// roots tells where @world begins.
func (g *gatherer) roots() {
	texts := func(atoms []depend.Atom) []string {
		var list []string
		for _, a := range atoms {
			if len(list) < request.MaxRules {
				list = append(list, a.String())
			}
		}
		return list
	}
	r := &request.Roots{World: texts(g.here.World), System: texts(g.here.System),
		Profile: texts(g.here.ProfileSet), Provided: g.here.Provided}
	for name, atoms := range g.here.Sets {
		if clean := g.short(name); clean == name {
			if r.Sets == nil {
				r.Sets = make(map[string][]string)
			}
			r.Sets[name] = texts(atoms)
		}
	}
	g.record.Roots = r
}
