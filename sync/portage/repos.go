package portage

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// repoFinder collects the repositories.
type repoFinder struct {
	*reader
	at          places
	found       []Repo
	prioritized map[string]bool
	absent      map[string]string // locations that are no directories, by section
}

// findRepos finds name and location of each repository. portdir and overlay are the values of
// PORTDIR and PORTDIR_OVERLAY.
func findRepos(r *reader, at places, portdir, overlay string) (_ *repoFinder, main string) {
	f := &repoFinder{reader: r, at: at, prioritized: map[string]bool{}, absent: map[string]string{}}
	conf := newINI(map[string]string{
		"eprefix": f.at.eprefix, "eroot": f.at.eroot, "portage_configroot": f.at.configRoot,
		"root": f.at.rootdir,
	})
	for _, p := range []string{path.Join(f.at.global, "repos.conf"),
		path.Join(f.at.configRoot, "etc/portage/repos.conf")} {
		for _, name := range r.list(p) {
			if text, ok := f.text(name); ok {
				conf.parse(text, name, f.fail)
			}
		}
	}
	for _, name := range conf.sections {
		f.configuredRepo(conf, name)
	}
	f.portdirRepos(conf.defaults["main-repo"], portdir, overlay)
	if len(f.found) == 0 {
		f.usualRepos()
	}
	main = f.mainRepo(conf.defaults["main-repo"], portdir)
	if i := slices.IndexFunc(f.found, func(r Repo) bool { return r.Name == main }); i >= 0 &&
		!f.prioritized[main] {
		f.found[i].Priority = -1000
	}
	slices.SortStableFunc(f.found, func(a, b Repo) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Name, b.Name))
	})
	return f, main
}

// configuredRepo adds what a section of repos.conf describes, if Portage would take it.
func (f *repoFinder) configuredRepo(conf *ini, section string) {
	file := path.Join(f.at.configRoot, "etc/portage/repos.conf")
	get := func(option string) string {
		v, err := conf.get(section, option)
		if err != nil {
			f.fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] %s: %v", section, option,
				err), Fatal: true})
		}
		return v
	}
	location := get("location")
	switch {
	case strings.TrimSpace(location) == "":
		f.fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] has no location", section)})
		return
	case !f.tree.isDir(location):
		f.fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] location %q is not a directory",
			section, location)})
		f.absent[section] = path.Clean(location)
		return
	}
	r, named := f.repoAt(location, section)
	r.aliases = append(r.aliases, strings.Fields(get("aliases"))...)
	auto := strings.ToLower(strings.TrimSpace(get("auto-sync")))
	r.Syncs = strings.TrimSpace(get("sync-type")) != "" &&
		strings.TrimSpace(get("sync-uri")) != "" &&
		(auto == "" || auto == "yes" || auto == "true")
	if n, err := strconv.Atoi(strings.TrimSpace(get("priority"))); err == nil {
		r.Priority = n
		f.prioritized[r.Name] = true
	}
	if r.Name != section && (!named || !slices.Contains(r.aliases, section)) {
		f.fail(Problem{Path: file,
			Reason: fmt.Sprintf("[%s] is not used: the repository in %q calls itself %q", section,
				location, r.Name)})
		return
	}
	f.addRepo(r)
}

// repoAt reads how the repository at a location names itself; if it does not, it gets the fallback.
func (f *repoFinder) repoAt(location, fallback string) (r Repo, named bool) {
	if real, err := f.tree.real(location); err == nil {
		location = real
	}
	r = Repo{Name: fallback, Location: location, tree: f.tree}
	if text, ok := f.quietText(path.Join(location, "profiles/repo_name")); ok {
		line, _, _ := strings.Cut(text, "\n")
		r.Name, named = cmp.Or(repoName(line), repoName("x-"+path.Base(location))), true
	} else if fallback == "" {
		r.Name = repoName("x-" + path.Base(location))
	}
	text, _ := f.quietText(path.Join(location, "metadata/layout.conf"))
	r.layout = keyValues(text)
	r.aliases = strings.Fields(r.layout["aliases"])
	if n := repoName(r.layout["repo-name"]); n != "" {
		r.Name, named = n, true
	}
	return r, named
}

// repoName makes a name that PMS 3.1.5 allows: other characters become hyphens.
func repoName(s string) string {
	s = strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || unicode.IsLetter(c) || unicode.IsNumber(c) {
			return c
		}
		return ' '
	}, s)
	return strings.TrimLeft(strings.Join(strings.Fields(s), "-"), "-")
}

// addRepo adds a repository; one of the same name is replaced.
func (f *repoFinder) addRepo(r Repo) {
	if i := slices.IndexFunc(f.found, func(o Repo) bool { return o.Name == r.Name }); i >= 0 {
		f.found[i] = r
		return
	}
	f.found = append(f.found, r)
}

func (f *repoFinder) portdirRepos(mainRepo, portdir, overlay string) {
	if portdir != "" && f.tree.isDir(portdir) {
		r, _ := f.repoAt(path.Clean(portdir), mainRepo)
		f.keepPriority(&r)
		f.addRepo(r)
	}
	for i, o := range shellWords(overlay) {
		if !f.tree.isDir(o) {
			f.fail(Problem{Reason: fmt.Sprintf("PORTDIR_OVERLAY: %q is not a directory", o)})
			continue
		}
		r, _ := f.repoAt(path.Clean(o), "")
		if r.Priority = i; f.prioritized[r.Name] {
			f.keepPriority(&r)
		}
		f.prioritized[r.Name] = true
		f.addRepo(r)
	}
}

// keepPriority gives r the priority in repos.conf of the repository of its name.
func (f *repoFinder) keepPriority(r *Repo) {
	for _, o := range f.found {
		if o.Name == r.Name {
			r.Priority = o.Priority
		}
	}
}

// shellWords splits a value that may hold quoted paths.
func shellWords(s string) []string {
	var words []string
	lex := lexer{src: s + "\n", state: stSpace, spaceOnly: true}
	for {
		t, err := lex.read()
		if err != nil || t.end {
			return words
		}
		words = append(words, t.text)
	}
}

// usualRepos looks where repositories lie when no file names one: Gentoo's place, the old one,
// Funtoo's kits.
func (f *repoFinder) usualRepos() {
	places := []string{path.Join("/", f.at.eprefix, "var/db/repos/gentoo"),
		path.Join("/", f.at.eprefix, "usr/portage")}
	kits := path.Join("/", f.at.eprefix, "var/git/meta-repo/kits")
	names, _ := f.tree.names(kits)
	for _, n := range names {
		places = append(places, path.Join(kits, n))
	}
	for _, p := range places {
		if !f.tree.isDir(path.Join(p, "profiles")) {
			continue
		}
		if r, named := f.repoAt(p, ""); named {
			f.addRepo(r)
		}
	}
}

func (f *repoFinder) mainRepo(configured, portdir string) string {
	if r := namedRepo(f.found, configured); r != nil {
		return r.Name
	}
	if real, err := f.tree.real(portdir); err == nil && portdir != "" {
		for _, r := range f.found {
			if r.Location == real {
				return r.Name
			}
		}
	}
	return ""
}

// namedRepo finds a repository by its name, or else by an alias.
func namedRepo(repos []Repo, name string) *Repo {
	var alias *Repo
	for i := range repos {
		r := &repos[i]
		if r.Name == name {
			return r
		}
		if alias == nil && slices.Contains(r.aliases, name) {
			alias = r
		}
	}
	return alias
}

// repoOf returns the innermost repository in which a directory lies, nil if there is none.
func repoOf(repos []Repo, dir string) *Repo {
	var best *Repo
	for i := range repos {
		r := &repos[i]
		if strings.HasPrefix(dir, r.Location+"/") &&
			(best == nil || len(r.Location) > len(best.Location)) {
			best = r
		}
	}
	return best
}
