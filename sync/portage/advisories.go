package portage

import (
	"path"
	"strings"
)

// Limits of what is read of advisories and news.
const (
	MaxAdvisory   = 256 << 10 // bytes of one
	MaxAdvisories = 50_000
	MaxNews       = 64 << 10 // bytes of one item
	MaxNewsItems  = 10_000
)

const (
	advisoryDir = "metadata/glsa"
	newsDir     = "metadata/news"
)

// AdvisoryID is the ID of the advisory that a file of a repository is (metadata/glsa/glsa-ID.xml,
// ID is YYYYMM-NN). It is false for every other file.
func AdvisoryID(name string) (id string, ok bool) {
	id, ok = strings.CutPrefix(name, advisoryDir+"/glsa-")
	id, isXML := strings.CutSuffix(id, ".xml")
	return id, ok && isXML && id != "" && !strings.Contains(id, "/")
}

// NewsName is the name of the news item that a file of a repository is: GLEP 42, in English
// (metadata/news/NAME/NAME.en.txt). It is false for every other file.
func NewsName(name string) (item string, ok bool) {
	rest, ok := strings.CutPrefix(name, newsDir+"/")
	item, file, below := strings.Cut(rest, "/")
	return item, ok && below && item != "" && file == item+".en.txt"
}

// Advisories gives each security advisory of a repository to take, in the order of their names,
// until that returns false. An advisory that cannot be read or is larger than MaxAdvisory is passed
// over.
func (r Repo) Advisories(take func(id string, xml []byte) bool) {
	names, err := r.tree.names(path.Join(r.Location, advisoryDir))
	if err != nil {
		return
	}
	n := 0
	for _, name := range names {
		name = advisoryDir + "/" + name
		id, ok := AdvisoryID(name)
		if !ok {
			continue
		}
		if n++; n > MaxAdvisories {
			return
		}
		data, err := r.file(name, MaxAdvisory)
		if err == nil && len(data) > 0 && !take(id, data) {
			return
		}
	}
}

// News gives the news items of a repository to take, in the order of their names. One that cannot
// be read or is larger than MaxNews is passed over.
func (r Repo) News(take func(item string, text []byte)) {
	items, err := r.tree.names(path.Join(r.Location, newsDir))
	if err != nil {
		return
	}
	for i, item := range items {
		if i == MaxNewsItems {
			return
		}
		if data, err := r.file(newsDir+"/"+item+"/"+item+".en.txt", MaxNews); err == nil {
			take(item, data)
		}
	}
}

// file reads a file of the repository.
func (r Repo) file(name string, limit int64) ([]byte, error) {
	f, fi, err := r.tree.open(path.Join(r.Location, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi.Size() > limit {
		return nil, errTooLarge
	}
	return readAll(f, make([]byte, 0, fi.Size()+1), limit)
}

// NotedNews are the names of a repository's news items that Portage has found to concern this
// machine: those that nobody has read yet, and all of them, which it does not look at again.
func (s *Settings) NotedNews(repo string) (unread, known []string) {
	lines := func(suffix string) []string {
		if !plainName(repo) {
			return nil
		}
		text, err := s.tree.readFile(path.Join(s.eroot(),
			"var/lib/gentoo/news/news-"+repo+suffix))
		if err != nil {
			return nil
		}
		return wordLines(plainText(text, false))
	}
	return lines(".unread"), lines(".skip")
}

// AppliedAdvisories are the advisories that glsa-check was told to take for done.
func (s *Settings) AppliedAdvisories() map[string]bool {
	done := map[string]bool{}
	text, err := s.tree.readFile(path.Join(s.eroot(), "var/lib/portage/glsa_injected"))
	if err == nil {
		for _, id := range wordLines(plainText(text, false)) {
			done[id] = true
		}
	}
	return done
}

// WantedProfile is the name of this machine's profile; where that is gone, because its repository
// is not here, the name that its link has.
func WantedProfile(s *Settings) string {
	if s.Profile != "" {
		return s.ProfileName()
	}
	_, name, _ := strings.Cut(profileLink(s.tree, s.ConfigRoot), "/profiles/")
	return name
}
