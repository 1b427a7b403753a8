package portage

import (
	"path"
	"slices"
	"strings"
)

// Masks are the lines that decide which packages the machine's owner, its profile and its
// repositories let in. Nobody checked their atoms; in files of /etc/portage they may have wildcards
// ("dev-libs/*", "*/*::overlay").
type Masks struct {
	// Mask and Unmask are stacked: lines of a repository end in "::" and its name, then come those
	// of the profile's chain and of /etc/portage; what a later "-atom" takes away is gone.
	Mask, Unmask []string
	// Accept are package.keywords and package.accept_keywords of the profile's chain and of
	// /etc/portage. Without words a line means the testing keywords of what is accepted anyway.
	Accept []PackageLine
	// Keywords are the lines of the profile's package.keywords: they change what packages have.
	Keywords []PackageLine
	// License is package.license of /etc/portage.
	License []PackageLine
	// Use is package.use of /etc/portage; ProfileUse are the lines of the chain's package.use,
	// package.use.mask and package.use.force, of which one thing counts here: that the profile
	// states something of a flag.
	Use, ProfileUse []PackageLine
	Problems        []Problem
}

// profileUseFiles set something of the flags of single packages.
var profileUseFiles = []string{"package.use", "package.use.mask", "package.use.force",
	"package.use.stable", "package.use.stable.mask",
	"package.use.stable.force"}

// Masks reads them.
func (s *Settings) Masks() Masks {
	r := &setReader{s: s}
	var m Masks
	m.Mask, m.Unmask = r.masks("package.mask"), r.masks("package.unmask")
	for _, dir := range s.Profiles {
		if dir != path.Join(s.ConfigRoot, "etc/portage/profile") {
			m.Keywords = append(m.Keywords,
				r.packageLines(path.Join(dir, "package.keywords"), false)...)
		}
		m.Accept = append(m.Accept,
			r.packageLines(path.Join(dir, "package.accept_keywords"), false)...)
		for _, f := range profileUseFiles {
			m.ProfileUse = append(m.ProfileUse, r.packageLines(path.Join(dir, f), true)...)
		}
	}
	m.Accept = append(m.Accept, r.packageLines(r.etc("package.keywords"), false)...)
	m.Accept = append(m.Accept, r.packageLines(r.etc("package.accept_keywords"), false)...)
	m.License = r.packageLines(r.etc("package.license"), false)
	m.Use = r.packageLines(r.etc("package.use"), true)
	m.Problems = r.sets.Problems
	return m
}

func (r *setReader) etc(file string) string {
	return path.Join(r.s.ConfigRoot, "etc/portage", file)
}

// masks stacks one of the files package.mask and package.unmask.
func (r *setReader) masks(file string) []string {
	var all []string
	for i := range r.s.repos {
		repo := &r.s.repos[i]
		var lines []string
		for _, master := range r.s.masters(repo) {
			lines = stackLines(lines, r.lines(path.Join(master.Location, "profiles", file)))
		}
		lines = stackLines(lines, r.lines(path.Join(repo.Location, "profiles", file)))
		for _, w := range lines {
			if !strings.Contains(w, "::") {
				w += "::" + repo.Name
			}
			all = append(all, w)
		}
	}
	var profile []string // a profile takes back lines of its parents only
	for _, dir := range r.s.Profiles {
		profile = stackLines(profile, r.lines(path.Join(dir, file)))
	}
	return stackUser(stackLines(all, profile), r.lines(r.etc(file)))
}

// stackUser adds the user's lines: "-atom" takes back an atom of any repository, "-atom::repo" of
// that one.
func stackUser(list, lines []string) []string {
	for _, w := range lines {
		off, isOff := strings.CutPrefix(w, "-")
		if isOff && off != "*" && !strings.Contains(off, "::") {
			list = slices.DeleteFunc(slices.Clone(list), func(have string) bool {
				bare, _, _ := strings.Cut(have, "::")
				return bare == off
			})
			continue
		}
		list = stackLines(list, []string{w})
	}
	return list
}

// masters returns the repositories that a repository builds on: those that its layout.conf names,
// the main one if it names none.
func (s *Settings) masters(repo *Repo) []*Repo {
	names, said := repo.layout["masters"]
	var list []*Repo
	for i := range s.repos {
		r := &s.repos[i]
		if r.Name != repo.Name && (said && slices.Contains(strings.Fields(names), r.Name) ||
			!said && r.Location == s.Values["PORTDIR"]) {
			list = append(list, r)
		}
	}
	return list
}

// packageLines reads a file package.*, or a directory of such files.
func (r *setReader) packageLines(p string, use bool) []PackageLine {
	lines, problems := r.s.packageLinesAt(p, use)
	r.sets.Problems = append(r.sets.Problems, problems...)
	return lines
}
