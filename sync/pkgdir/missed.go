package pkgdir

import (
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/cpv"
	"pkgsneak/sync/fault"
)

// A Missed is a name that a person could take for a package, or for many, and behind which no
// package is found.
type Missed struct {
	Problem
	// Link is set of a symbolic link, and Listed counts the entries of the index behind it. Portage
	// finds those files as long as it believes the index; a renewed index loses them.
	Link   bool
	Listed int
	Hint   string // the command that helps, "" if there is none
}

// NoFile is the reason of a path that only the index has.
const NoFile = "in the index, but there is no such file"

// Missed lists what a scan passed over and somebody may miss: misplaced files, links, empty files,
// what Portage set aside, and paths that the index lists and that have no file. Links that lead to
// what was found under another name of this PKGDIR are not missed. The list is sorted by path.
func (d *Dir) Missed(s *Scan, listed iter.Seq[string]) []Missed {
	var list []Missed
	for _, p := range s.Misplaced {
		list = append(list, Missed{Problem: p})
	}
	passed := make(map[string]Problem, len(s.Ignored))
	for _, p := range s.Ignored {
		passed[p.Path] = p
	}
	behind, gone := s.withoutFile(listed, passed)
	for _, p := range s.Ignored {
		if m, ok := d.missed(s, p, behind[p.Path]); ok {
			list = append(list, m)
		}
	}
	hint := ""
	if len(behind) == 0 {
		hint = strings.TrimSpace("pkgsneak index " + fault.Quote(d.Path()))
	}
	for _, name := range gone {
		list = append(list, Missed{Hint: hint, Problem: Problem{Path: name, Reason: NoFile}})
	}
	slices.SortFunc(list, func(a, b Missed) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// withoutFile sorts the listed paths that are no files of the scan: by the link on their way, and
// the rest. Those that were passed over, or are misplaced, have a reason of their own.
func (s *Scan) withoutFile(listed iter.Seq[string],
	passed map[string]Problem) (behind map[string]int, gone []string) {
	have := make(map[string]bool, len(s.Files)+len(s.Misplaced))
	for _, f := range s.Files {
		have[f.Path] = true
	}
	for _, p := range slices.Concat(s.Misplaced, s.Copies) {
		have[p.Path] = true
	}
	behind = make(map[string]int)
next:
	for name := range listed {
		if have[name] {
			continue
		}
		have[name] = true // an entry may be there twice
		for dir := name; dir != "." && dir != "/"; dir = path.Dir(dir) {
			if _, ok := passed[dir]; ok {
				if dir != name {
					behind[dir]++
				}
				continue next
			}
		}
		gone = append(gone, name)
	}
	slices.Sort(gone)
	return behind, gone
}

// missed tells whether a name that was passed over may be missed.
func (d *Dir) missed(s *Scan, p Problem, listed int) (Missed, bool) {
	m := Missed{Problem: p, Listed: listed}
	if target, err := d.root.Readlink(p.Path); err == nil {
		m.Link = true
		return d.missedLink(s, m, target)
	}
	switch {
	case listed > 0: // no directory at all
		m.Reason = fmt.Sprintf("%s: the index lists %s below it", p.Reason, packages(listed))
		return m, true
	case binpkg.HasPackageSuffix(p.Path), isSetAside(path.Base(p.Path)), p.Reason == otherEnding:
		return m, true
	}
	return m, false
}

// missedLink is missed for a link. Of one to a directory the name tells whether packages could be
// behind it: a category's, a package's, All.
func (d *Dir) missedLink(s *Scan, m Missed, target string) (Missed, bool) {
	inside, ok := d.inside(path.Dir(m.Path), target)
	if m.Listed == 0 && (ok && s.has(inside) || !binpkg.HasPackageSuffix(m.Path) &&
		!d.likeCategory(m.Path)) {
		return m, false
	}
	m.Reason = "a symbolic link, which is not followed"
	switch {
	case m.Listed == 1:
		m.Reason += ": 1 package that the index lists behind it is not carried"
	case m.Listed > 1:
		m.Reason += fmt.Sprintf(": %s that the index lists behind it are not carried",
			packages(m.Listed))
	}
	if !binpkg.HasPackageSuffix(m.Path) {
		m.Hint = d.BindHint(m.Path)
	}
	return m, true
}

// has reports whether a path is that of a package that was found, or of a directory with one.
func (s *Scan) has(name string) bool {
	for _, start := range []string{name, name + "/"} {
		i, _ := slices.BinarySearchFunc(s.Files, start, func(f File, path string) int {
			return strings.Compare(f.Path, path)
		})
		if i < len(s.Files) && (s.Files[i].Path == name ||
			strings.HasPrefix(s.Files[i].Path, name+"/")) {
			return true
		}
	}
	return false
}

// likeCategory reports whether a name that leads to a directory could have packages in it.
func (d *Dir) likeCategory(name string) bool {
	if fi, err := os.Stat(filepath.Join(d.Path(), name)); err != nil || !fi.IsDir() {
		return false
	}
	category, pn, deeper := strings.Cut(name, "/")
	if deeper {
		_, err := cpv.Parse(category + "/" + pn + "-1")
		return err == nil
	}
	return category == "All" || category == "virtual" || strings.Contains(category, "-") &&
		cpv.ValidCategory(category)
}

// BindHint is what to type so that the directory behind a link below PKGDIR is used: Portage itself
// follows no link when it makes the index, and a bind mount in its place is none. "" if the name is
// no link, or leads to nothing.
func (d *Dir) BindHint(name string) string {
	target, err := d.root.Readlink(name)
	if err != nil {
		return ""
	}
	at := filepath.Join(d.Path(), name)
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(at), target)
	}
	if fi, err := os.Stat(target); err != nil || !fi.IsDir() {
		return ""
	}
	place := fault.Quote(at)
	return fmt.Sprintf("a bind mount in its place is followed, a link is not: rm %s && mkdir %s && mount --bind %s %s", place, place, fault.Quote(target), place)
}

// LinkOn is the first symbolic link among the directories of a path below PKGDIR, "" if there is
// none.
func (d *Dir) LinkOn(name string) string {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if fi, err := d.root.Lstat(name[:i]); err != nil || fi.Mode()&fs.ModeSymlink != 0 {
			if err != nil {
				return ""
			}
			return name[:i]
		}
	}
	return ""
}

// MeantBy returns the path of the package that a path of Portage's stands for: a download on its
// way, or a package that was set aside. Any other path means itself.
func MeantBy(p string) string {
	dir, base := path.Split(p)
	base, _, _ = strings.Cut(base, setAside)
	return dir + strings.TrimSuffix(base, unfinished)
}

const (
	setAside   = "._checksum_failure_."
	unfinished = ".partial"
)

// isSetAside reports whether a name is one that Portage gave to a package that it could not use.
func isSetAside(name string) bool {
	return strings.Contains(name, setAside) || strings.HasSuffix(name, unfinished)
}

func packages(n int) string {
	if n == 1 {
		return "1 package"
	}
	return fmt.Sprintf("%d packages", n)
}
