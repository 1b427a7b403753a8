package portage

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Limits of a profile's chain; Gentoo's longest has some thirty directories.
const (
	maxProfiles     = 1000
	maxProfileDepth = 64
)

// node is one directory of the profile's chain.
type node struct {
	dir  string
	dirs bool // make.defaults, use.mask and others may be directories
}

// profile finds the chain and reads what each of its directories says.
func (l *loader) profile() {
	top := l.profileDir()
	if top == "" {
		return
	}
	l.s.Profile = top
	if err := l.addProfile(top, 0); err != nil {
		// Portage goes on without any profile then.
		l.nodes = nil
		l.fail(Problem{Path: err.path, Reason: err.reason, Fatal: true})
		return
	}
	if own := path.Join(l.s.ConfigRoot, "etc/portage/profile"); l.tree.exists(own) {
		l.nodes = append(l.nodes, node{own, true})
	}
	for _, n := range l.nodes {
		l.s.Profiles = append(l.s.Profiles, n.dir)
		delete(l.vars, "USE") // USE="${USE} x" must not undo what a parent said per package
		values := map[string]string{}
		l.parse(path.Join(n.dir, "make.defaults"), l.vars, confMode{dir: n.dirs}, func(a Assignment) { values[a.Name] = a.Value })
		l.nodeConfs = append(l.nodeConfs, values)
		for k, v := range values {
			file := path.Join(n.dir, "make.defaults")
			if isIncremental(k) {
				l.defaults.add(k, v, file)
			} else {
				l.defaults.set(k, v, file)
			}
		}
	}
}

func (l *loader) profileDir() string {
	for _, p := range []string{"etc/portage/make.profile", "etc/make.profile"} {
		p = path.Join(l.s.ConfigRoot, p)
		if l.tree.isDir(p) {
			if real, err := l.tree.real(p); err == nil {
				return real
			}
		}
	}
	return ""
}

type profileError struct{ path, reason string }

// addProfile appends a directory after its parents.
func (l *loader) addProfile(dir string, depth int) *profileError {
	if depth > maxProfileDepth || len(l.nodes) >= maxProfiles {
		return &profileError{dir, "profiles are parents of one another"}
	}
	repo := l.s.repoOf(dir)
	parents := path.Join(dir, "parent")
	if l.tree.exists(parents) {
		text, ok := l.text(parents)
		lines := wordLines(text)
		if !ok || len(lines) == 0 {
			return &profileError{parents, "names no parent"}
		}
		for _, line := range lines {
			p, err := l.parentPath(dir, line, repo)
			if err == nil && !l.tree.exists(p) {
				err = fmt.Errorf("parent %q does not exist", line)
			}
			if err != nil {
				return &profileError{parents, err.Error()}
			}
			if err := l.addProfile(p, depth+1); err != nil {
				return err
			}
		}
	}
	l.nodes = append(l.nodes, node{dir, l.allowsDirs(dir, repo)})
	return nil
}

// repoOf returns the innermost repository in which a directory lies, nil if there is none.
func (s *Settings) repoOf(dir string) *Repo {
	var best *Repo
	for i := range s.repos {
		r := &s.repos[i]
		if strings.HasPrefix(dir, r.Location+"/") && (best == nil || len(r.Location) > len(best.Location)) {
			best = r
		}
	}
	return best
}

// parentPath resolves a line of a parent file: a relative or absolute path, or REPO:PATH and :PATH below a
// repository's profiles where its layout.conf allows that.
func (l *loader) parentPath(dir, line string, repo *Repo) (string, error) {
	p := line
	if !path.IsAbs(line) {
		name, rest, colon := strings.Cut(line, ":")
		if colon && (repo == nil || slices.Contains(strings.Fields(repo.layout["profile-formats"]), "portage-2")) {
			from := repo
			if name != "" {
				from = l.repo(name)
			}
			if from == nil {
				return "", fmt.Errorf("parent %q is in no known repository", line)
			}
			p = path.Join(from.Location, "profiles", rest)
		} else {
			p = path.Join(dir, line)
		}
	}
	p = path.Clean(p)
	if !path.IsAbs(line) && repo != nil && strings.HasPrefix(p, repo.Location+"/") {
		return p, nil
	}
	real, err := l.tree.real(p)
	if err != nil {
		return "", errors.New(bare(err).Error())
	}
	return real, nil
}

// allowsDirs tells whether a profile's files may be directories: everywhere but in repositories of the plain PMS format
// before EAPI 7.
func (l *loader) allowsDirs(dir string, repo *Repo) bool {
	if repo == nil {
		return true
	}
	formats, ok := repo.layout["profile-formats"]
	for _, f := range strings.Fields(formats) {
		ok = ok && !strings.HasPrefix(f, "portage-")
	}
	if !ok {
		return true
	}
	text, _ := l.quietText(path.Join(dir, "eapi"))
	eapi, _, _ := strings.Cut(text, "\n")
	eapi = cmp.Or(strings.TrimSpace(eapi), repo.layout["profile_eapi_when_unspecified"], "0")
	return !slices.Contains([]string{"0", "1", "2", "3", "4", "5", "6"}, eapi)
}

// flags stacks a list of USE flags (use.mask, use.force) over the chain.
func (l *loader) flags(file string) map[string]bool {
	set := map[string]bool{}
	for _, n := range l.nodes {
		files := []string{path.Join(n.dir, file)}
		if n.dirs {
			files = l.list(files[0])
		}
		for _, f := range files {
			text, _ := l.text(f)
			for _, flag := range wordLines(text) {
				switch name, off := strings.CutPrefix(flag, "-"); {
				case !isFlag(name):
					// Portage itself only warns; "-*" is refused here as well.
				case off:
					delete(set, name)
				default:
					set[name] = true
				}
			}
		}
	}
	return set
}

func isFlag(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isNameByte(c) && (i == 0 || strings.IndexByte("+@-", c) < 0) || i == 0 && c == '_' {
			return false
		}
	}
	return s != ""
}
