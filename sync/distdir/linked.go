package distdir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/durable"
)

// followLinks takes the links among what was ignored that lead into one of the directories for the
// files there. Any other link, or one to something else than a regular file with contents, is none
// of Portage's.
func (s *Scan) followLinks(d *Dir, dirs []string) {
	roots := make(map[string]*os.Root)
	for _, dir := range dirs {
		// Portage passes over one that is not there too
		if top, err := os.OpenRoot(dir); err == nil {
			defer top.Close()
			roots[dir] = top
		}
	}
	s.Ignored = slices.DeleteFunc(s.Ignored, func(p Problem) bool {
		if p.Reason != Link || CheckName(p.Name) != nil {
			return false
		}
		target, err := d.root.Readlink(p.Name)
		if err != nil {
			return false
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(d.Path(), target)
		}
		f, ok := behind(filepath.Clean(target), dirs, roots)
		if ok {
			f.Name = p.Name
			s.Files = append(s.Files, f)
		}
		return ok
	})
	slices.SortFunc(s.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
}

// behind finds a file below one of the directories.
func behind(target string, dirs []string, roots map[string]*os.Root) (File, bool) {
	for _, dir := range dirs {
		below, ok := strings.CutPrefix(target, strings.TrimSuffix(dir, "/")+"/")
		if !ok || roots[dir] == nil {
			continue
		}
		f, info, err := durable.Open(roots[dir], below)
		if err != nil {
			continue
		}
		f.Close()
		if info.Size() > 0 {
			return File{Info: info, Dir: dir, Path: below}, true
		}
	}
	return File{}, false
}

// A Missed is a name of a DISTDIR that a person could take for a distfile.
type Missed struct {
	Problem
	Hint string // what helps, "" if nothing does
}

// Missed lists what the scan of the DISTDIR at a path passed over and somebody may miss, sorted by
// name.
func (s *Scan) Missed(path string) []Missed {
	var list []Missed
	var dirs []string
	for _, p := range s.Ignored {
		m := Missed{Problem: p}
		if p.Reason == Link {
			name := filepath.Join(path, p.Name)
			switch fi, err := os.Stat(name); {
			case err != nil:
				m.Reason = Link + " to what is not there"
			case fi.Mode().IsRegular() && fi.Size() > 0:
				m.Reason = Link + " out of DISTDIR"
				if target, err := os.Readlink(name); err == nil && filepath.IsAbs(target) &&
					!slices.Contains(dirs, filepath.Dir(target)) {
					dirs = append(dirs, filepath.Dir(target))
				}
			}
		}
		list = append(list, m)
	}
	if len(dirs) == 0 || len(dirs) > mostHinted {
		return list
	}
	for i := range list {
		if list[i].Reason == Link+" out of DISTDIR" {
			list[i].Hint = "what such a link leads to is carried if make.conf has PORTAGE_RO_DISTDIRS=" + strconv.Quote(strings.Join(dirs, " "))
		}
	}
	return list
}

// HiddenText tells of Hidden in one line, "" if there is none. pkgdir is where PKGDIR lies below
// DISTDIR, "." for the same directory, "" if it does not: its folders are told elsewhere.
func (s *Scan) HiddenText(pkgdir string) string {
	first, _, _ := strings.Cut(pkgdir, "/")
	var parts []string
	for _, what := range []string{Folder, HiddenFile} {
		var names []string
		for _, p := range s.Hidden {
			if p.Reason == what && (what != Folder || first != "." && first != p.Name) {
				names = append(names, p.Name)
			}
		}
		if len(names) == 0 {
			continue
		}
		slices.Sort(names)
		part := fmt.Sprintf("%d %ss", len(names), what)
		if len(names) == 1 {
			part = "1 " + what
		}
		more := ""
		if len(names) > mostHinted {
			names, more = names[:mostHinted], ", ..."
		}
		quoted := make([]string, len(names))
		for i, name := range names {
			quoted[i] = strconv.Quote(name)
		}
		parts = append(parts, fmt.Sprintf("%s (%s%s)", part, strings.Join(quoted, ", "), more))
	}
	if len(parts) == 0 {
		return ""
	}
	return "not carried, because emerge looks for distfiles directly in DISTDIR: " +
		strings.Join(parts, " and ")
}

// mostHinted bounds the directories that are proposed for PORTAGE_RO_DISTDIRS.
const mostHinted = 4
