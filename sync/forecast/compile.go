package forecast

import (
	"cmp"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
)

// Compile is a package that would help, that nobody has built, and whose ebuild is in a repository
// of this machine.
type Compile struct {
	Name  string   // CPV
	For   string   // the atom that it satisfies
	Lacks []string // distfiles that it needs and that are not here
}

const (
	emergeCompiles = "emerge -auDNk"
	// mostAtoms bounds how many lacks are looked for among ebuilds.
	mostAtoms = 500
)

// compile finds out which of what lacks could be compiled here. Without metadata/md5-cache nothing
// is known of an ebuild.
func (f *Forecast) compile(j *Judge, distdir string, candidates []resolve.Package) {
	if j.m.settings == nil || distdir == "" {
		return
	}
	repos, err := j.m.settings.Repos()
	if err != nil {
		return
	}
	for _, text := range f.lacking() {
		a, err := depend.ParseAtom(text)
		if err != nil {
			continue
		}
		c, found := j.compilable(repos, &a)
		if !found || slices.ContainsFunc(f.Compile, func(o Compile) bool {
			return o.Name == c.name
		}) {
			continue
		}
		f.Compile = append(f.Compile, Compile{Name: c.name, For: text,
			Lacks: absent(distdir, j.sources(c))})
	}
	if slices.ContainsFunc(f.Compile, func(c Compile) bool { return len(c.Lacks) == 0 }) {
		f.CompileBack = j.backwards(repos, candidates)
	}
}

// backwards are the installed packages that an update with ebuilds would go back with: neither an
// ebuild here nor a candidate is as new as they are, and something older is there.
func (j *Judge) backwards(repos []portage.Repo, candidates []resolve.Package) (names []string) {
	packages := make(map[string][]*resolve.Package)
	for i := range candidates {
		if c, err := cpv.Parse(candidates[i].CPV); err == nil &&
			j.a.judge(candidates[i], false).Kind == resolve.Acceptable {
			key := c.Category + "/" + c.PN + ":" + candidates[i].Slot
			packages[key] = append(packages[key], &candidates[i])
		}
	}
	for i := range j.m.Installed {
		p := &j.m.Installed[i]
		c, err := cpv.Parse(p.CPV)
		if err != nil {
			continue
		}
		slot := p.Slot
		if slot == "" {
			slot = "0"
		}
		key, highest := c.Category+"/"+c.PN+":"+slot, ""
		for _, q := range packages[key] {
			if d, err := cpv.Parse(q.CPV); err == nil &&
				(highest == "" || cpv.CompareVersions(d.Version, highest) > 0) {
				highest = d.Version
			}
		}
		if highest != "" && cpv.CompareVersions(highest, c.Version) >= 0 {
			continue
		}
		if a, err := depend.ParseAtom(key); err == nil {
			if e, found := j.compilable(repos, &a); found {
				if d, err := cpv.Parse(e.name); err == nil &&
					(highest == "" || cpv.CompareVersions(d.Version, highest) > 0) {
					highest = d.Version
				}
			}
		}
		if highest != "" && cpv.CompareVersions(highest, c.Version) < 0 {
			names = append(names, p.CPV)
		}
	}
	slices.Sort(names)
	return names
}

// lacking are the atoms that something would have to satisfy.
func (f *Forecast) lacking() []string {
	var list []string
	add := func(atom string) {
		if atom != "" && len(list) < mostAtoms && !slices.Contains(list, atom) {
			list = append(list, atom)
		}
	}
	for _, l := range f.Cannot {
		switch l.Cause {
		case "lacks", "lacks-use":
			add(l.Atom)
		case "breaks":
			add("=" + l.Other) // which only has to be built anew
		}
	}
	for _, atom := range f.Missing {
		add(atom)
	}
	return list
}

// ebuild is one of which the repository's cache tells.
type ebuild struct {
	name string
	pkg  resolve.Package
	uris string
}

// compilable is the highest ebuild that satisfies an atom and that this machine accepts.
func (j *Judge) compilable(repos []portage.Repo, a *depend.Atom) (best ebuild, found bool) {
	category, pn, _ := strings.Cut(a.CP, "/")
	bare := a.WithoutUse() // it is compiled with the USE that is asked for
	version := ""
	for _, r := range repos {
		for _, pf := range r.Ebuilds(category, pn) {
			c, err := cpv.Parse(category + "/" + pf)
			if err != nil || c.PN != pn ||
				found && cpv.CompareVersions(c.Version, version) <= 0 {
				continue
			}
			values, known := r.Metadata(category, pf)
			if !known {
				continue
			}
			p := resolve.FromKeys(func(key string) string { return values[key] })
			p.CPV, p.Repo, p.Use = category+"/"+pf, r.Name, defaults(p.IUse)
			q, ok := dependPackage(&p)
			if !ok || flaw(&p) != "" || !depend.Match(&bare, &q) ||
				j.a.judge(p, false).Kind != resolve.Acceptable {
				continue
			}
			best, version, found = ebuild{p.CPV, p, values["SRC_URI"]}, c.Version, true
		}
	}
	return best, found
}

// defaults are the flags of IUSE that an ebuild itself sets.
func defaults(iuse string) string {
	var on []string
	for w := range strings.FieldsSeq(iuse) {
		if flag, set := strings.CutPrefix(w, "+"); set {
			on = append(on, flag)
		}
	}
	return strings.Join(on, " ")
}

// sources are the names of the distfiles that an ebuild needs with the USE of this machine.
func (j *Judge) sources(e ebuild) []string {
	use := j.a.wants(e.pkg)
	var names []string
	open := []bool{true} // whether what stands in each parenthesis is wanted
	next, wanted := true, false
	words := strings.Fields(e.uris)
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch flag, conditional := strings.CutSuffix(w, "?"); {
		case w == "(":
			open, next = append(open, open[len(open)-1] && next), true
		case w == ")":
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		case conditional:
			name, negated := strings.CutPrefix(flag, "!")
			next = use(name) != negated
		case i+2 < len(words) && words[i+1] == "->":
			wanted = open[len(open)-1]
			if i += 2; wanted {
				names = append(names, words[i])
			}
		case open[len(open)-1]:
			names = append(names, path.Base(w))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// absent are those of the names that are no files in a directory.
func absent(dir string, names []string) (list []string) {
	for _, name := range names {
		if name != filepath.Base(name) {
			continue
		}
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || !fi.Mode().IsRegular() {
			list = append(list, name)
		}
	}
	return list
}

// compiles is the line that compiles what no package is there for, and the packages that it can
// compile now: "" where it could compile nothing, and where emerge would go back with something.
func (f *Forecast) compiles() (line string, ready, without []Compile) {
	for _, c := range f.Compile {
		if len(c.Lacks) == 0 {
			ready = append(ready, c)
		} else {
			without = append(without, c)
		}
	}
	slices.SortStableFunc(ready, func(a, b Compile) int { return cmp.Compare(a.Name, b.Name) })
	if len(ready) == 0 || len(f.CompileBack) > 0 {
		return "", ready, without
	}
	line = emergeCompiles
	if ChangesPlan(f.opts) {
		line += " --ignore-default-opts"
	}
	return line + " @world", ready, without
}

// sayCompile tells what could be compiled.
func (f *Forecast) sayCompile(say func(string, ...any)) {
	line, ready, without := f.compiles()
	name := func(c Compile) string { return c.Name }
	if n := len(f.CompileBack); n > 0 && len(ready) > 0 {
		say("%s of what lacks could be compiled here (%s), but %s @world would go back with %s (%s): the ebuild repositories here are older than what is installed",
			plural(len(ready), "package"), few(ready, 3, name), emergeCompiles,
			plural(n, "package"), few(f.CompileBack, 3, func(s string) string { return s }))
	}
	if line != "" {
		say("%s of what lacks can be compiled here, ebuilds and distfiles are here (%s):",
			plural(len(ready), "package"), few(ready, 3, name))
		say("  %s", line)
	}
	if len(without) > 0 {
		say("%s of what lacks could be compiled, if distfiles were here (%s: %s)",
			plural(len(without), "package"), without[0].Name,
			few(without[0].Lacks, 2, func(s string) string { return s }))
	}
}
