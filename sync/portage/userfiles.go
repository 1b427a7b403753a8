package portage

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/fault"
)

// PackageLine is a line of one of the files /etc/portage/package.*.
type PackageLine struct {
	Atom  string
	Words []string // what stands behind the atom; may be empty
	Path  string
	Line  int // from 1
}

// PackageLines reads /etc/portage/FILE ("package.use", "package.license",
// "package.accept_keywords"), a file or a directory of files. In package.use the words behind
// "NAME:" come as flags of that USE_EXPAND variable (name_word).
func (s *Settings) PackageLines(file string) ([]PackageLine, []Problem) {
	return s.packageLinesAt(path.Join(s.ConfigRoot, "etc/portage", file), file == "package.use")
}

// packageLinesAt reads a file, or a directory of files, of which each line has an atom and words;
// what is absent is empty.
func (s *Settings) packageLinesAt(p string, use bool) ([]PackageLine, []Problem) {
	var problems []Problem
	fail := func(p Problem) { problems = append(problems, p) }
	var lines []PackageLine
	for _, f := range s.configFiles(p, fail) {
		text, err := s.tree.readFile(f)
		if err != nil {
			fail(Problem{Path: f, Reason: fault.Bare(err).Error(), Fatal: true})
			continue
		}
		n := 0
		for line := range strings.SplitSeq(plainText(text, false), "\n") {
			n++
			w := lineWords(line)
			if len(w) == 0 {
				continue
			}
			l := PackageLine{Atom: w[0], Words: w[1:], Path: f, Line: n}
			if use {
				l.Words = prefixed(l.Words)
			}
			lines = append(lines, l)
		}
	}
	return lines, problems
}

// LicenseGroups reads the license groups of all repositories and of /etc/portage: name without "@",
// and members, which may be groups ("@NAME").
func (s *Settings) LicenseGroups() map[string][]string {
	groups := map[string][]string{}
	files := make([]string, 0, len(s.repos)+1)
	for _, r := range s.repos {
		files = append(files, path.Join(r.Location, "profiles/license_groups"))
	}
	for _, f := range append(files, path.Join(s.ConfigRoot, "etc/portage/license_groups")) {
		text, err := s.tree.readFile(f)
		if err != nil {
			continue
		}
		for _, line := range wordLines(plainText(text, false)) {
			name, members, _ := strings.Cut(line, " ")
			groups[name] = append(groups[name], strings.Fields(members)...)
		}
	}
	return groups
}

// eapiLine is the assignment in const.py: "EAPI = 8", with a type since 3.0.66, with blanks up to a
// column before 3.0.15.
var eapiLine = regexp.MustCompile(`(?m)^EAPI(?:[ \t]*:[ \t]*\w+)?[ \t]*=[ \t]*["']?(\d+)`)

// PortageEAPI returns the highest EAPI that the installed Portage supports, and false if no
// installed Portage was found. It is the value in portage/const.py, which is read and not executed.
func (s *Settings) PortageEAPI() (int, bool) {
	best, found := 0, false
	for _, dir := range s.modules {
		text, err := s.tree.readFile(path.Join(dir, "const.py"))
		if err != nil {
			continue
		}
		if m := eapiLine.FindSubmatch(text); m != nil {
			if n, err := strconv.Atoi(string(m[1])); err == nil {
				best, found = max(best, n), true
			}
		}
	}
	return best, found
}

// ReadsGPKG reports whether the installed Portage reads packages in the GPKG format: 3.0.31 and
// later have portage/gpkg.py, forks of older ones do not. It is also false if no installed Portage
// was found, and then not known.
func (s *Settings) ReadsGPKG() (reads, known bool) {
	for _, dir := range s.modules {
		known = known || s.tree.exists(path.Join(dir, "const.py"))
		reads = reads || s.tree.exists(path.Join(dir, "gpkg.py"))
	}
	return reads, known
}

// UserFile returns the file to which a line for one of /etc/portage/package.* belongs: that file
// or, where it is a directory, one of ours in it.
func (s *Settings) UserFile(name string) string {
	p := path.Join(s.ConfigRoot, "etc/portage", name)
	if s.tree.isDir(p) {
		return path.Join(p, "pkgsneak")
	}
	return p
}

// HostPath returns the path under which this process finds a path of the machine.
func (s *Settings) HostPath(p string) string {
	h, err := s.tree.host(p)
	if err != nil {
		return p
	}
	return h
}

// UsrLayout reports whether /bin is a directory of its own, or a link into /usr; neither where it
// is not there.
func (s *Settings) UsrLayout() (split, merged bool) {
	dir, err := s.tree.host(s.eroot())
	if err != nil {
		return false, false
	}
	fi, err := os.Lstat(path.Join(dir, "bin"))
	if err != nil {
		return false, false
	}
	return fi.IsDir(), fi.Mode()&fs.ModeSymlink != 0
}

// MakeConf returns the file to which a line for make.conf belongs: the one that has the last word,
// be it in a directory.
func (s *Settings) MakeConf() string {
	now, old := path.Join(s.ConfigRoot, "etc/portage/make.conf"), path.Join(s.ConfigRoot,
		"etc/make.conf")
	if !s.tree.exists(now) && s.tree.exists(old) {
		now = old
	}
	if !s.tree.isDir(now) {
		return now
	}
	if files := s.tree.list(now, func(string, error) {}); len(files) > 0 {
		return files[len(files)-1]
	}
	return path.Join(now, "pkgsneak")
}

// InMakeConf tells whether a file is one that the machine's owner writes variables into: make.conf,
// a file of that directory or one that it sources, not one of Portage's, a profile's or of the
// environment.
func (s *Settings) InMakeConf(file string) bool {
	if !slices.Contains(s.Files, file) || strings.Contains(file, "/etc/portage/package.") {
		return false
	}
	switch path.Base(file) {
	case "make.globals", "make.defaults", "profile.env":
		return false
	}
	return !strings.Contains(file, "/make.defaults/")
}
