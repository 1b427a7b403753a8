package portage

import (
	"context"
	"path"
	"slices"
	"strings"
)

// Env looks up one variable of the environment that is handed in; nil means an empty environment.
type Env func(key string) (string, bool)

// PortageqFunc runs `portageq envvar -v VARS...` and returns what it printed, one value per
// variable (see ParsePortageq). An error means that there is no portageq or that it failed; Load
// then goes on with the contents of the files.
type PortageqFunc func(ctx context.Context, vars ...string) (map[string]string, error)

// Options states where Load reads. The zero value reads the machine's own configuration with an
// empty environment.
type Options struct {
	// Root is put in front of every path, and absolute symlinks below it stay below it, as in a
	// chroot. "" is "/".
	Root string
	// Env is the environment: it has the last word, as in Portage.
	Env Env
	// UsePortageq asks Portageq for the variables that matter here. It takes about a second where
	// reading the files takes milliseconds, and it is the only way to see what a patched Portage
	// makes of them.
	UsePortageq bool
	// Portageq is the runner; nil means that there is none.
	Portageq PortageqFunc
}

// Sources of values that come from no file.
const (
	SourceEnvironment = "environment"
	SourcePortageq    = "portageq"
)

// Settings is what Load found. All paths in it are the machine's own, without Options.Root.
type Settings struct {
	// the effective value of each variable that a file sets, and of the incremental ones
	Values map[string]string
	// for each key of Values the file that set it last, or one of the Source constants
	Sources  map[string]string
	Files    []string // the files that were read, in order, without repetition
	Profile  string   // real path of the profile; "" if there is none
	Profiles []string // the profile's chain, parents first, then /etc/portage/profile
	// where etc/portage lies: PORTAGE_CONFIGROOT or EPREFIX, with a slash at the end
	ConfigRoot string
	EPREFIX    string    // the prefix of a Gentoo Prefix, "" on ordinary machines
	Problems   []Problem // in the order in which they were met

	options Options
	tree    tree
	env     Env
	modules []string          // where an installed Portage may lie
	repos   []Repo            // without revision and timestamp
	absent  map[string]string // locations of sections of repos.conf that are no directories
	// the sign of each name in FEATURES anywhere: the default is not needed then
	knownFlags map[string]bool
	defaults   bool // Portage's own defaults are known: make.globals or portageq
}

// Get returns the effective value of a variable, "" if it is unset. A variable that no file
// mentions is looked up in the environment.
func (s *Settings) Get(key string) string {
	v, _ := s.Lookup(key)
	return v
}

// Lookup is Get that tells an empty variable from an unset one.
func (s *Settings) Lookup(key string) (string, bool) {
	if v, ok := s.Values[key]; ok {
		return v, true
	}
	if slices.Contains(blacklist, key) {
		return "", false
	}
	return s.env.lookup(key)
}

func (s *Settings) eroot() string { return s.Values["EROOT"] }

func (e Env) lookup(key string) (string, bool) {
	if e == nil {
		return "", false
	}
	return e(key)
}

// PKGDIR returns the directory of binary packages: what is configured, else the first of the
// defaults of Gentoo, Funtoo and old Portage that exists, else Gentoo's /var/cache/binpkgs.
func (s *Settings) PKGDIR() string {
	return s.directory("PKGDIR", "var/cache/binpkgs", "var/cache/portage/packages",
		"usr/portage/packages")
}

// DISTDIR returns the directory of distfiles, found as PKGDIR is.
func (s *Settings) DISTDIR() string {
	return s.directory("DISTDIR", "var/cache/distfiles", "var/cache/portage/distfiles",
		"usr/portage/distfiles")
}

// ReadOnlyDistdirs returns the directories of PORTAGE_RO_DISTDIRS: where one has a distfile,
// Portage puts a link to it into DISTDIR instead of a copy.
func ReadOnlyDistdirs(s *Settings) []string {
	var dirs []string
	for _, dir := range shellWords(s.Get("PORTAGE_RO_DISTDIRS")) {
		if path.IsAbs(dir) {
			dirs = append(dirs, path.Clean(dir))
		}
	}
	return dirs
}

func (s *Settings) directory(key string, defaults ...string) string {
	if v := s.Get(key); v != "" {
		return path.Clean(v)
	}
	for _, d := range defaults {
		if p := path.Join("/", s.EPREFIX, d); s.tree.isDir(p) {
			return p
		}
	}
	return path.Join("/", s.EPREFIX, defaults[0])
}

// CHOST returns the machine's CHOST, and whether anything sets it.
func (s *Settings) CHOST() (chost string, known bool) {
	chost = s.Get("CHOST")
	return chost, chost != ""
}

// ARCH returns the profile's keyword of the architecture ("amd64"), "" if there is no profile.
func (s *Settings) ARCH() string { return s.Get("ARCH") }

// Features returns the effective FEATURES. They are known if Portage's own defaults (make.globals)
// could be read or portageq answered; else the set holds only what the other files and the
// environment switch on.
func (s *Settings) Features() (set map[string]bool, known bool) {
	set = make(map[string]bool)
	for _, f := range strings.Fields(s.Get("FEATURES")) {
		set[f] = true
	}
	return set, s.defaults
}

// HasFeature tells whether one of the FEATURES is on. It is known if all FEATURES are (see
// Features), or if a file or the environment has name or -name (or -*) by itself.
func (s *Settings) HasFeature(name string) (on, known bool) {
	set, known := s.Features()
	return set[name], known || s.knownFlags[name] || s.knownFlags["*"]
}

// ProfileName returns the profile below its repository's profiles directory
// ("default/linux/amd64/23.0"), else its whole path.
func (s *Settings) ProfileName() string {
	if _, name, ok := strings.Cut(s.Profile, "/profiles/"); ok {
		return name
	}
	return s.Profile
}

// Repos returns the machine's repositories, lowest priority first, each with revision and timestamp
// as far as its files tell. They come from repos.conf and PORTDIR, PORTDIR_OVERLAY; where nothing
// is configured, from the usual places.
func (s *Settings) Repos() ([]Repo, error) {
	repos := slices.Clone(s.repos)
	for i := range repos {
		r := &repos[i]
		r.Revision, r.Timestamp = s.tree.revision(r.Location)
	}
	return repos, nil
}
