package portage

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/fault"
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

// chain is a profile with its parents, the parents first, and /etc/portage/profile.
type chain struct {
	*reader
	repos []Repo
	nodes []node
}

// profileDir returns the real path of the profile, "" if there is none.
func profileDir(t tree, configRoot string) string {
	for _, p := range []string{"etc/portage/make.profile", "etc/make.profile"} {
		p = path.Join(configRoot, p)
		if t.isDir(p) {
			if real, err := t.real(p); err == nil {
				return real
			}
		}
	}
	return ""
}

type profileError struct{ path, reason string }

// add appends a directory after its parents.
func (c *chain) add(dir string, depth int) *profileError {
	if depth > maxProfileDepth || len(c.nodes) >= maxProfiles {
		return &profileError{dir, "profiles are parents of one another"}
	}
	repo := repoOf(c.repos, dir)
	parents := path.Join(dir, "parent")
	if c.tree.exists(parents) {
		text, ok := c.text(parents)
		lines := wordLines(text)
		if !ok || len(lines) == 0 {
			return &profileError{parents, "names no parent"}
		}
		for _, line := range lines {
			p, err := c.parentPath(dir, line, repo)
			if err == nil && !c.tree.exists(p) {
				err = fmt.Errorf("parent %q does not exist", line)
			}
			if err != nil {
				return &profileError{parents, err.Error()}
			}
			if err := c.add(p, depth+1); err != nil {
				return err
			}
		}
	}
	c.nodes = append(c.nodes, node{dir, c.allowsDirs(dir, repo)})
	return nil
}

// parentPath resolves a line of a parent file: a relative or absolute path, or REPO:PATH and :PATH
// below a repository's profiles where its layout.conf allows that.
func (c *chain) parentPath(dir, line string, repo *Repo) (string, error) {
	p := line
	if !path.IsAbs(line) {
		name, rest, colon := strings.Cut(line, ":")
		if colon && (repo == nil || slices.Contains(strings.Fields(repo.layout["profile-formats"]),
			"portage-2")) {
			from := repo
			if name != "" {
				from = namedRepo(c.repos, name)
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
	real, err := c.tree.real(p)
	if err != nil {
		return "", errors.New(fault.Bare(err).Error())
	}
	return real, nil
}

// allowsDirs tells whether a profile's files may be directories: everywhere but in repositories of
// the plain PMS format before EAPI 7.
func (c *chain) allowsDirs(dir string, repo *Repo) bool {
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
	text, _ := c.quietText(path.Join(dir, "eapi"))
	eapi, _, _ := strings.Cut(text, "\n")
	eapi = cmp.Or(strings.TrimSpace(eapi), repo.layout["profile_eapi_when_unspecified"], "0")
	return !slices.Contains([]string{"0", "1", "2", "3", "4", "5", "6"}, eapi)
}

// flags stacks a list of USE flags (use.mask, use.force) over the chain.
func (c *chain) flags(file string) map[string]bool {
	set := map[string]bool{}
	for _, n := range c.nodes {
		files := []string{path.Join(n.dir, file)}
		if n.dirs {
			files = c.list(files[0])
		}
		for _, f := range files {
			text, _ := c.text(f)
			for _, flag := range wordLines(text) {
				switch name, off := strings.CutPrefix(flag, "-"); {
				case !cpv.IsFlag(name):
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
