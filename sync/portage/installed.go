package portage

import (
	"fmt"
	"path"
)

// MaxInstalled bounds the packages that Installed lists.
const MaxInstalled = 200_000

// Installed is a package that the database of installed packages (EROOT/var/db/pkg) has.
type Installed struct {
	Category string
	PF       string

	dir string
}

// Installed lists the installed packages, sorted by category and PF. A machine without the database
// has none.
func (s *Settings) Installed() ([]Installed, error) {
	db := path.Join(s.eroot(), "var/db/pkg")
	categories, err := s.tree.names(db)
	if err != nil {
		if isAbsent(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("list installed packages: %w", err)
	}
	var all []Installed
	for _, c := range categories {
		if c[0] == '.' || c[0] == '-' {
			continue
		}
		names, err := s.tree.names(path.Join(db, c))
		if err != nil {
			if isAbsent(err) {
				continue // a file beside the categories, or gone meanwhile
			}
			return nil, fmt.Errorf("list installed packages: %w", err)
		}
		for _, pf := range names {
			if !isPF(pf) {
				continue
			}
			if len(all) == MaxInstalled {
				return nil, fmt.Errorf("list installed packages: more than %d in %q",
					MaxInstalled, db)
			}
			all = append(all, Installed{Category: c, PF: pf, dir: path.Join(db, c, pf)})
		}
	}
	return all, nil
}

// isPF tells a package's directory from Portage's own (-MERGING-pf, lock files) by its name.
func isPF(name string) bool {
	if name[0] == '-' || name[0] == '.' {
		return false
	}
	for i := 1; i < len(name)-1; i++ {
		if name[i] == '-' && '0' <= name[i+1] && name[i+1] <= '9' {
			return true
		}
	}
	return false
}

// Lookups are the files and directories, as this process finds them, that Repos, Installed,
// Records, Sets, Masks, PackageLines, Advisories, News, NotedNews, PortageEAPI, ReadsGPKG and Again
// read, for a process that wants to open nothing else. Those that are absent are among them.
func (s *Settings) Lookups() []string {
	paths := []string{path.Join(s.ConfigRoot, "etc/portage"),
		path.Join(s.eroot(), "usr/share/portage/config/repos.conf"),
		path.Join(s.eroot(), "var/db/pkg"), path.Join(s.eroot(),
			"var/lib/portage"), path.Join(s.eroot(), "var/lib/gentoo/news")}
	paths = append(paths, s.modules...)
	paths = append(paths, s.Files...)
	paths = append(paths, s.Profiles...)
	if repos, err := s.Repos(); err == nil {
		for _, r := range repos {
			paths = append(paths, r.Location)
		}
	}
	var lookups []string
	for _, p := range paths {
		if h, err := s.tree.host(p); err == nil {
			lookups = append(lookups, h)
		}
	}
	return lookups
}
