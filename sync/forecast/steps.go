package forecast

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/resolve"
)

// MostNames is how many names the printed line excludes by itself; a longer list goes to a file.
const MostNames = 20

const (
	emergeWorld = "emerge -auDK --rebuilt-binaries-timestamp=0"
	// lookAtWorld only shows what it would do.
	lookAtWorld = "emerge -pvuDK --rebuilt-binaries-timestamp=0"
)

func quotePath(p string) string { return fault.Quote(p) }

// Line is the line to type, with the names to exclude in it, or in a file where one is named: it
// fails where the file is missing, instead of excluding nothing. "" if there is nothing to install
// or nothing helps. If nothing is installed, nothing can go backwards, and the line is there as
// soon as there are packages. If the search was given up, it is one that only shows.
func (f *Forecast) Line(file string) string {
	line := emergeWorld
	switch {
	case f.Candidates == 0:
		return ""
	case f.GaveUp:
		line = lookAtWorld
	case f.Installed > 0 && (!f.OK || len(f.Merges) == 0):
		return ""
	}
	if ChangesPlan(f.opts) {
		line += " --ignore-default-opts"
	}
	switch {
	case len(f.Exclude) == 0:
		return line + " @world"
	case file != "":
		return "names=$(cat " + quotePath(file) + ") && " + line + ` --exclude "$names" @world`
	}
	return line + ` --exclude "` + strings.Join(f.Exclude, " ") + `" @world`
}

// IgnoresDefaults reports whether the line leaves EMERGE_DEFAULT_OPTS out.
func (f *Forecast) IgnoresDefaults() bool { return ChangesPlan(f.opts) }

// NeedsFile reports whether the list is too long for a line that people read.
func (f *Forecast) NeedsFile() bool { return len(f.Exclude) > MostNames && f.Line("") != "" }

// excludeFile is what such a file holds.
func (f *Forecast) excludeFile() []byte { return []byte(strings.Join(f.Exclude, "\n") + "\n") }

// SaveExclude writes the names to a file, which appears whole or not at all. Every user may read
// it.
func (f *Forecast) SaveExclude(file string, now time.Time, hook durable.Hook) error {
	dir, err := durable.OpenRoot(filepath.Dir(file), hook)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.WriteFile(filepath.Base(file), durable.Attr{Mode: 0o644, Add: 0o444, UID: -1,
		GID: -1, ModTime: now}, func(w io.Writer) error {
		_, err := w.Write(f.excludeFile())
		return err
	})
}

// harmless are options in EMERGE_DEFAULT_OPTS that change nothing in what is installed.
var harmless = []string{"--ask", "--alert", "--verbose", "--quiet", "--quiet-build", "--quiet-fail",
	"--jobs", "--load-average", "--keep-going",
	"--color", "--nospinner", "--columns", "--autounmask", "--autounmask-write",
	"--autounmask-continue", "--usepkg", "--usepkgonly", "--with-bdeps", "--deep",
	"--update", "--verbose-conflicts", "--unordered-display", "--tree", "--backtrack",
	"--fail-clean", "--ask-enter-invalid", "--misspell-suggestions"}

// ChangesPlan reports whether EMERGE_DEFAULT_OPTS has an option under which emerge would install
// something else.
func ChangesPlan(opts string) bool {
	for w := range strings.FieldsSeq(opts) {
		name, _, _ := strings.Cut(strings.Trim(w, `"'`), "=")
		switch {
		case strings.HasPrefix(name, "--"):
			if !slices.Contains(harmless, name) {
				return true
			}
		case strings.HasPrefix(name, "-"):
			if strings.Trim(name[1:], "avqjlkKuDt0123456789.") != "" {
				return true
			}
		}
	}
	return false
}

// steps lists what has to be thought of before and after the line.
func (f *Forecast) steps(m *Machine, r *resolve.Result, from []Candidate) {
	before := func(line, why string) { f.Before = append(f.Before, Step{line, why}) }
	if why := splitUsr(m, from); why != "" {
		before("", why)
	}
	if f.newerPortage(m, r) {
		before("emerge -1auDK sys-apps/portage",
			"packages of an EAPI wait that the Portage installed here cannot read: update it first, then import again")
	}
	if len(f.Merges) == 0 {
		return
	}
	if m.SignedOnly {
		before(`echo 'FEATURES="${FEATURES} -binpkg-request-signature"' >>`+quotePath(m.MakeConf),
			"FEATURES has binpkg-request-signature: emerge refuses each package that has no OpenPGP signature of its own")
	}
	f.space(m, r, before)
	f.After = append(f.After, Step{"dispatch-conf",
		"if emerge says that configuration files need updating"},
		Step{"emerge -aK @preserved-rebuild", "if emerge says that it has preserved libraries"})
}

// newerPortage reports whether packages wait for a newer Portage, and one is there.
func (f *Forecast) newerPortage(m *Machine, r *resolve.Result) bool {
	if f.Unusable[resolve.Unreadable] == 0 || m.Portage == "" {
		return false
	}
	return slices.ContainsFunc(r.Merges, func(x resolve.Merge) bool {
		c, err := cpv.Parse(x.Package.CPV)
		return err == nil && c.Category == "sys-apps" && c.PN == "portage" &&
			cpv.CompareVersions(c.Version, m.Portage) > 0
	})
}

// margin stays free on each file system, for logs and what packages make when they are installed.
const margin = 64 << 20

// space tells of file systems that are too small. A package is unpacked below PORTAGE_TMPDIR,
// copied, and only then what it replaces is removed; so there has to be room for what the machine
// grows by and for the largest package once more.
func (f *Forecast) space(m *Machine, r *resolve.Result, before func(line, why string)) {
	var largest, high, sum int64
	for i := range r.Merges {
		size := r.Merges[i].Package.Installed
		largest = max(largest, size)
		if f.Merges[i].Known {
			sum += f.Merges[i].Grow
			high = max(high, sum)
		}
	}
	if need := high + largest + margin; largest > 0 && m.RootFree >= 0 && need > m.RootFree {
		before("",
			"there is too little room on the file system of /usr: it takes "+sizeMark(need)+", "+sizeMark(m.RootFree)+" are free")
	}
	if need := largest + margin; largest > 0 && m.TmpFree >= 0 && need > m.TmpFree {
		before("",
			"there is too little room in PORTAGE_TMPDIR "+quotePath(m.TmpDir)+": the largest package takes "+sizeMark(need)+", "+sizeMark(m.TmpFree)+" are free")
	}
}
