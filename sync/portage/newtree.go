package portage

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// Masters returns the repositories on whose eclasses and licences the ebuilds of this one stand, as
// metadata/layout.conf names them.
func (r Repo) Masters() []string { return strings.Fields(r.layout["masters"]) }

// HasCache reports whether the repository carries the metadata of its ebuilds (metadata/md5-cache):
// without it Portage sources each ebuild by itself.
func (r Repo) HasCache() bool { return r.tree.isDir(path.Join(r.Location, "metadata/md5-cache")) }

// IsCheckout reports whether the repository is a work tree of git.
func (r Repo) IsCheckout() bool { return r.tree.exists(path.Join(r.Location, ".git")) }

// Called reports whether a name is the repository's own or one of its aliases.
func (r Repo) Called(name string) bool { return r.Name == name || slices.Contains(r.aliases, name) }

// RepoIn reads how the repository in a directory names itself; "" if it does not.
func RepoIn(dir string) Repo {
	f := &repoFinder{reader: newReader(tree{})}
	r, named := f.repoAt(dir, "")
	if !named {
		r.Name = ""
	}
	r.Revision, r.Timestamp = r.tree.revision(r.Location)
	return r
}

// RepoLocation returns where a repository that is not there should lie according to repos.conf, ""
// if that does not have it.
func RepoLocation(s *Settings, name string) string { return s.absent[name] }

// RepoLocations are the places of all repositories that repos.conf has and that are not there.
func RepoLocations(s *Settings) []string {
	return slices.Sorted(maps.Values(s.absent))
}

// ProfileDir is one directory of a profile's chain.
type ProfileDir struct {
	Dir  string
	EAPI string // of its file eapi; "" if it has none
}

// ProfileWith finds the directories of this machine's profile, parents first, as they would be if
// the repository name lay at location and had the contents of the directory staged, both as this
// process finds them. It is empty where the machine has no profile at all. The problem, if there is
// one, is that for which Portage would stop.
func ProfileWith(s *Settings, name, location, staged string) ([]ProfileDir, *Problem) {
	location = strings.TrimPrefix(location, s.tree.root)
	t := tree{root: s.tree.root, at: location, instead: staged}
	f := &repoFinder{reader: newReader(t)}
	repos := []Repo{}
	for _, r := range s.repos {
		if r.Name != name {
			r.tree = t
			repos = append(repos, r)
		}
	}
	here, _ := f.repoAt(location, name)
	repos = append(repos, here)
	top := profileDir(t, s.ConfigRoot)
	if top == "" {
		if link := profileLink(t, s.ConfigRoot); link != "" {
			return nil, &Problem{Path: link, Reason: "the profile is gone"}
		}
		return nil, nil
	}
	c := &chain{reader: f.reader, repos: repos}
	if err := c.add(top, 0); err != nil {
		return nil, &Problem{Path: err.path, Reason: err.reason, Fatal: true}
	}
	dirs := make([]ProfileDir, len(c.nodes))
	for i, n := range c.nodes {
		text, _ := f.quietText(path.Join(n.dir, "eapi"))
		eapi, _, _ := strings.Cut(text, "\n")
		dirs[i] = ProfileDir{Dir: n.dir, EAPI: strings.TrimSpace(eapi)}
	}
	return dirs, nil
}

// profileLink returns where the link of the profile leads, "" if there is no link.
func profileLink(t tree, configRoot string) string {
	for _, p := range []string{"etc/portage/make.profile", "etc/make.profile"} {
		p = path.Join(configRoot, p)
		if dir, err := t.real(path.Dir(p)); err == nil {
			if real, err := t.real(p); err == nil && real != path.Join(dir, path.Base(p)) {
				return real
			}
		}
	}
	return ""
}
