package portage

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// MaxInstalled bounds the packages that Installed lists.
const MaxInstalled = 200_000

// Installed is a package that the database of installed packages (EROOT/var/db/pkg) has. Only the
// names are known at once; each method reads one small file when it is called.
type Installed struct {
	Category string
	PF       string

	tree tree
	dir  string
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
			all = append(all, Installed{Category: c, PF: pf, tree: s.tree,
				dir: path.Join(db, c, pf)})
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

// Get returns what a file of the package's record holds ("SLOT", "repository", "USE"), "" if it is
// absent. Only files of one line are meant: at most 4096 bytes are read.
func (p Installed) Get(key string) string {
	if key == "" || key[0] == '.' || strings.Contains(key, "/") {
		return ""
	}
	data, _ := p.tree.readSmall(path.Join(p.dir, key))
	return strings.TrimSpace(string(data))
}

// Repository returns the name of the repository that the package was built from, "" if unknown.
func (p Installed) Repository() string { return p.Get("repository") }

// SLOT returns the slot, with a sub-slot if there is one.
func (p Installed) SLOT() string { return p.Get("SLOT") }

// BuildTime returns when the package was built, in Unix seconds; 0 if unknown.
func (p Installed) BuildTime() int64 { return p.number("BUILD_TIME") }

// BuildID returns the number of the build that was installed; 0 if it has none.
func (p Installed) BuildID() int64 { return p.number("BUILD_ID") }

func (p Installed) number(key string) int64 {
	n, err := strconv.ParseInt(p.Get(key), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
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
