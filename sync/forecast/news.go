package forecast

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"pkgsneak/sync/depend"
	"pkgsneak/sync/portage"
)

// newsItem is the header of a news item (GLEP 42): whom it concerns. Of each kind one
// has to match; an empty list asks for nothing.
type newsItem struct {
	format                        string // of News-Item-Format
	profiles, keywords, installed []string
}

// newsProfile is what a profile of format 1 may look like, to Portage.
var newsProfile = regexp.MustCompile(`^[^*]+(/\*)?$`)

// parseNews reads the header of a news item. It is false for one that Portage takes for invalid, as
// NewsItem.parse of portage/news.py does: a format that is not 1.* or 2.*, or a value that is none.
func parseNews(text string) (item newsItem, ok bool) {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, line)
	}
	for _, line := range lines {
		value, found := strings.CutPrefix(line, "News-Item-Format:")
		if f := strings.Fields(value); !found || len(f) > 1 {
			continue
		}
		if item.format = strings.TrimSpace(value); !item.is("1.*") && !item.is("2.*") {
			return item, false
		}
		break
	}
	if item.format == "" {
		return item, false
	}
	for _, line := range lines {
		line, whole := strings.CutSuffix(line, "\n")
		key, value, found := strings.Cut(line, ":")
		if !whole || !found {
			continue
		}
		switch value = strings.TrimSpace(value); key {
		case "Display-If-Installed":
			if !item.validAtom(value) {
				return item, false
			}
			item.installed = append(item.installed, value)
		case "Display-If-Profile":
			if item.is("1.*") && strings.Contains(value, "*") && !newsProfile.MatchString(value) {
				return item, false
			}
			item.profiles = append(item.profiles, value)
		case "Display-If-Keyword":
			item.keywords = append(item.keywords, value)
		}
	}
	return item, true
}

func (n *newsItem) is(format string) bool {
	ok, _ := path.Match(format, n.format)
	return ok
}

// validAtom reports whether an atom is one of the EAPI that the format has: 0 or 5.
func (n *newsItem) validAtom(text string) bool {
	a, err := depend.ParseAtom(text)
	if err != nil || a.Block != 0 {
		return false
	}
	since, known := a.Since()
	return known && (since <= 0 || n.is("2.*") && since <= 5)
}

// concerns reports whether a machine is one that the item is about.
func (n *newsItem) concerns(m *newsReader) bool {
	one := func(list []string, match func(string) bool) bool {
		return len(list) == 0 || slices.ContainsFunc(list, match)
	}
	return one(n.keywords, func(s string) bool { return s == m.arch }) &&
		one(n.profiles, func(s string) bool {
			if prefix, below := strings.CutSuffix(s, "*"); below && n.is("2.*") &&
				strings.HasSuffix(prefix, "/") {
				return strings.HasPrefix(m.profile, prefix)
			}
			return s == m.profile
		}) && one(n.installed, m.has)
}

// newsReader counts the news that emerge will tell of: what Portage noted as unread, and what a
// repository has that concerns this machine and that Portage has not seen yet.
type newsReader struct {
	profile, arch string
	installed     map[string][]depend.Package // by CP
	seen          map[string]map[string]bool  // by repository: what is not looked at again
	unread        map[string]map[string]bool
	off           bool // FEATURES has no news: Portage looks for none
}

func newNewsReader(m *Machine) *newsReader {
	s := m.settings
	r := &newsReader{profile: portage.WantedProfile(s), arch: m.ARCH,
		installed: make(map[string][]depend.Package), seen: make(map[string]map[string]bool),
		unread: make(map[string]map[string]bool)}
	if r.arch == "" {
		r.arch = ArchOf(m.CHOST)
	}
	on, known := s.HasFeature("news")
	if r.off = known && !on || r.profile == ""; r.off {
		return r
	}
	for i := range m.Installed {
		if q, ok := dependPackage(&m.Installed[i]); ok {
			r.installed[q.CP] = append(r.installed[q.CP], q)
		}
	}
	return r
}

func (r *newsReader) has(atom string) bool {
	a, err := depend.ParseAtom(atom)
	return err == nil && slices.ContainsFunc(r.installed[a.CP], func(q depend.Package) bool {
		return depend.Match(&a, &q)
	})
}

// repository takes in what Portage noted of a repository.
func (r *newsReader) repository(m *Machine, name string) {
	if r.unread[name] != nil {
		return
	}
	unread, known := m.settings.NotedNews(name)
	r.unread[name], r.seen[name] = setOf(unread), setOf(known)
}

// item takes in a news item of a repository.
func (r *newsReader) item(repo, name string, text []byte) {
	if r.off || r.seen[repo][name] || r.unread[repo][name] {
		return
	}
	if n, ok := parseNews(string(text)); ok && n.concerns(r) {
		r.unread[repo][name] = true
	}
}

func (r *newsReader) count() (n int) {
	for _, items := range r.unread {
		n += len(items)
	}
	return n
}

func setOf(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[s] = true
	}
	return set
}
