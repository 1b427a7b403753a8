package portage

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Repo is an ebuild repository of this machine.
type Repo struct {
	Name      string    // as Portage names it: profiles/repo_name, or repo-name of metadata/layout.conf
	Location  string    // real path
	Priority  int       // the main repository has -1000 unless it is configured
	Revision  string    // commit: of the git checkout, else of metadata/timestamp.commit; "" if unknown
	Timestamp time.Time // when the tree was made: metadata/timestamp.*, else the git checkout's; zero if unknown

	tree    tree
	aliases []string
	layout  map[string]string // metadata/layout.conf
}

// HasEbuild tells whether the repository has the ebuild of one version: a single stat of CATEGORY/PN/PF.ebuild.
func (r Repo) HasEbuild(category, pn, pf string) bool {
	for _, part := range []string{category, pn, pf} {
		if part == "" || part[0] == '.' || strings.ContainsAny(part, "/\x00") {
			return false
		}
	}
	fi, err := r.tree.stat(path.Join(r.Location, category, pn, pf+".ebuild"))
	return err == nil && fi.Mode().IsRegular()
}

// Repos returns the machine's repositories, lowest priority first, each with revision and timestamp as far as its files
// tell. They come from repos.conf and PORTDIR, PORTDIR_OVERLAY; where nothing is configured, from the usual places.
func (s *Settings) Repos() ([]Repo, error) {
	repos := slices.Clone(s.repos)
	for i := range repos {
		r := &repos[i]
		r.Revision, r.Timestamp = s.tree.revision(r.Location)
	}
	return repos, nil
}

// loadRepos finds name and location of each repository. ovl are the values of PORTDIR and PORTDIR_OVERLAY.
func (l *loader) loadRepos(portdir, overlay string) {
	conf := newINI(map[string]string{
		"eprefix": l.s.EPREFIX, "eroot": l.eroot, "portage_configroot": l.s.ConfigRoot, "root": l.rootdir,
	})
	for _, p := range []string{path.Join(l.global, "repos.conf"), path.Join(l.s.ConfigRoot, "etc/portage/repos.conf")} {
		for _, f := range l.list(p) {
			if text, ok := l.text(f); ok {
				conf.parse(text, f, l.fail)
			}
		}
	}
	for _, name := range conf.sections {
		l.configuredRepo(conf, name)
	}
	l.portdirRepos(conf.defaults["main-repo"], portdir, overlay)
	if len(l.s.repos) == 0 {
		l.usualRepos()
	}
	l.main = l.mainRepo(conf.defaults["main-repo"], portdir)
	if i := slices.IndexFunc(l.s.repos, func(r Repo) bool { return r.Name == l.main }); i >= 0 && !l.prioritized[l.main] {
		l.s.repos[i].Priority = -1000
	}
	slices.SortStableFunc(l.s.repos, func(a, b Repo) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Name, b.Name))
	})
}

// configuredRepo adds what a section of repos.conf describes, if Portage would take it.
func (l *loader) configuredRepo(conf *ini, section string) {
	file := path.Join(l.s.ConfigRoot, "etc/portage/repos.conf")
	get := func(option string) string {
		v, _, err := conf.get(section, option)
		if err != nil {
			l.fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] %s: %v", section, option, err), Fatal: true})
		}
		return v
	}
	location := get("location")
	switch {
	case strings.TrimSpace(location) == "":
		l.fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] has no location", section)})
		return
	case !l.tree.isDir(location):
		l.fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] location %q is not a directory", section, location)})
		return
	}
	r, named := l.repoAt(location, section)
	r.aliases = append(r.aliases, strings.Fields(get("aliases"))...)
	if n, err := strconv.Atoi(strings.TrimSpace(get("priority"))); err == nil {
		r.Priority = n
		l.prioritized[r.Name] = true
	}
	if r.Name != section && (!named || !slices.Contains(r.aliases, section)) {
		l.fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] is not used: the repository in %q calls itself %q", section, location, r.Name)})
		return
	}
	l.addRepo(r)
}

// repoAt reads how the repository at a location names itself; if it does not, it gets the fallback.
func (l *loader) repoAt(location, fallback string) (r Repo, named bool) {
	if real, err := l.tree.real(location); err == nil {
		location = real
	}
	r = Repo{Name: fallback, Location: location, tree: l.tree}
	if text, ok := l.quietText(path.Join(location, "profiles/repo_name")); ok {
		line, _, _ := strings.Cut(text, "\n")
		r.Name, named = cmp.Or(repoName(line), repoName("x-"+path.Base(location))), true
	} else if fallback == "" {
		r.Name = repoName("x-" + path.Base(location))
	}
	text, _ := l.quietText(path.Join(location, "metadata/layout.conf"))
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
func (l *loader) addRepo(r Repo) {
	if i := slices.IndexFunc(l.s.repos, func(o Repo) bool { return o.Name == r.Name }); i >= 0 {
		l.s.repos[i] = r
		return
	}
	l.s.repos = append(l.s.repos, r)
}

func (l *loader) portdirRepos(mainRepo, portdir, overlay string) {
	if portdir != "" && l.tree.isDir(portdir) {
		r, _ := l.repoAt(path.Clean(portdir), mainRepo)
		l.keepPriority(&r)
		l.addRepo(r)
	}
	for i, o := range shellWords(overlay) {
		if !l.tree.isDir(o) {
			l.fail(Problem{Reason: fmt.Sprintf("PORTDIR_OVERLAY: %q is not a directory", o)})
			continue
		}
		r, _ := l.repoAt(path.Clean(o), "")
		if r.Priority = i; l.prioritized[r.Name] {
			l.keepPriority(&r)
		}
		l.prioritized[r.Name] = true
		l.addRepo(r)
	}
}

// keepPriority gives r what repos.conf says of the repository of its name.
func (l *loader) keepPriority(r *Repo) {
	for _, o := range l.s.repos {
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

// usualRepos looks where repositories lie when no file says so: Gentoo's place, the old one, Funtoo's kits.
func (l *loader) usualRepos() {
	places := []string{path.Join("/", l.s.EPREFIX, "var/db/repos/gentoo"), path.Join("/", l.s.EPREFIX, "usr/portage")}
	kits := path.Join("/", l.s.EPREFIX, "var/git/meta-repo/kits")
	names, _ := l.tree.names(kits)
	for _, n := range names {
		places = append(places, path.Join(kits, n))
	}
	for _, p := range places {
		if !l.tree.isDir(path.Join(p, "profiles")) {
			continue
		}
		if r, named := l.repoAt(p, ""); named {
			l.addRepo(r)
		}
	}
}

func (l *loader) mainRepo(configured, portdir string) string {
	if r := l.repo(configured); r != nil {
		return r.Name
	}
	if real, err := l.tree.real(portdir); err == nil && portdir != "" {
		for _, r := range l.s.repos {
			if r.Location == real {
				return r.Name
			}
		}
	}
	return ""
}

// repo finds a repository by its name, or else by an alias.
func (l *loader) repo(name string) *Repo {
	var alias *Repo
	for i := range l.s.repos {
		r := &l.s.repos[i]
		if r.Name == name {
			return r
		}
		if alias == nil && slices.Contains(r.aliases, name) {
			alias = r
		}
	}
	return alias
}

// revision finds out which state of a repository lies at a location.
func (t tree) revision(location string) (commit string, when time.Time) {
	small := func(name string) string {
		data, err := t.readSmall(path.Join(location, name))
		if err != nil {
			return ""
		}
		line, _, _ := strings.Cut(string(data), "\n")
		return strings.TrimSpace(line)
	}
	// "<sha> <epoch> <date>"
	if f := strings.Fields(small("metadata/timestamp.commit")); len(f) >= 2 {
		commit, when = hexOnly(f[0]), epoch(f[1])
	}
	// "Sat, 01 Jun 2024 00:45:00 +0000"
	if chk, err := time.Parse(time.RFC1123Z, small("metadata/timestamp.chk")); err == nil && when.IsZero() {
		when = chk.UTC()
	}
	// "<epoch> <date>"
	if f := strings.Fields(small("metadata/timestamp.x")); len(f) > 0 && when.IsZero() {
		when = epoch(f[0])
	}
	if head, t := t.gitHead(location); head != "" {
		commit = head
		if when.IsZero() {
			when = t
		}
	}
	return commit, when
}

func epoch(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 1<<40 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func hexOnly(s string) string {
	if len(s) != 40 && len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// gitHead reads the commit of a checkout without git: HEAD, the loose ref it names, packed-refs. The time is that of the
// last entry of HEAD's log, else when the last fetch ended.
func (t tree) gitHead(location string) (commit string, when time.Time) {
	dir := path.Join(location, ".git")
	read := func(name string) string {
		data, _ := t.readSmall(path.Join(dir, name))
		return strings.TrimSpace(string(data))
	}
	if !t.isDir(dir) {
		data, _ := t.readSmall(dir) // a work tree or submodule: "gitdir: PATH"
		link, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
		if !ok {
			return "", time.Time{}
		}
		dir = join(location, link)
	}
	head := read("HEAD")
	if ref, ok := strings.CutPrefix(head, "ref: "); ok {
		head = t.gitRef(dir, read("commondir"), strings.TrimSpace(ref))
	}
	if head = hexOnly(head); head == "" {
		return "", time.Time{}
	}
	if log, err := t.readTail(path.Join(dir, "logs/HEAD")); err == nil {
		when = logTime(log)
	}
	if fi, err := t.stat(path.Join(dir, "FETCH_HEAD")); err == nil && when.IsZero() {
		when = fi.ModTime().UTC().Truncate(time.Second)
	}
	return head, when
}

func (t tree) gitRef(dir, common, ref string) string {
	if strings.Contains(ref, "..") {
		return ""
	}
	dirs := []string{dir}
	if common != "" {
		dirs = append(dirs, join(dir, common))
	}
	for _, d := range dirs {
		if data, err := t.readSmall(path.Join(d, ref)); err == nil {
			return strings.TrimSpace(string(data))
		}
		packed, _ := t.readFile(path.Join(d, "packed-refs"))
		for line := range strings.Lines(string(packed)) {
			if sha, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == ref {
				return sha
			}
		}
	}
	return ""
}

// logTime takes the time of a reflog's last line: "OLD NEW Name <mail> EPOCH ZONE<tab>message".
func logTime(log []byte) time.Time {
	log = bytes.TrimRight(log, "\n")
	line := log[bytes.LastIndexByte(log, '\n')+1:]
	who, _, _ := strings.Cut(string(line), "\t")
	f := strings.Fields(who)
	if len(f) < 2 {
		return time.Time{}
	}
	return epoch(f[len(f)-2])
}

func join(dir, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(dir, p)
}
