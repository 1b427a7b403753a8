package portage

import (
	"path"
	"strings"
)

// Limits of what is read of advisories and news.
const (
	MaxAdvisory   = 256 << 10 // bytes of one
	MaxAdvisories = 50_000
)

// Advisories gives each security advisory (metadata/glsa/glsa-YYYYMM-NN.xml) of a repository to
// take, in the order of their names, until that returns false. An advisory that cannot be read or
// is larger than MaxAdvisory is passed over.
func (r Repo) Advisories(take func(id string, xml []byte) bool) {
	dir := path.Join(r.Location, "metadata/glsa")
	names, err := r.tree.names(dir)
	if err != nil {
		return
	}
	n := 0
	for _, name := range names {
		id, isAdvisory := strings.CutPrefix(name, "glsa-")
		id, isXML := strings.CutSuffix(id, ".xml")
		if !isAdvisory || !isXML || id == "" {
			continue
		}
		if n++; n > MaxAdvisories {
			return
		}
		f, fi, err := r.tree.open(path.Join(dir, name))
		if err != nil {
			continue
		}
		var data []byte
		if fi.Size() <= MaxAdvisory {
			data, err = readAll(f, make([]byte, 0, fi.Size()+1), MaxAdvisory)
		}
		f.Close()
		if err == nil && len(data) > 0 && !take(id, data) {
			return
		}
	}
}

// UnreadNews counts the news items that Portage has found to concern this machine and that nobody
// has read yet.
func (s *Settings) UnreadNews() int {
	n := 0
	for _, r := range s.repos {
		text, err := s.tree.readFile(path.Join(s.eroot(),
			"var/lib/gentoo/news/news-"+r.Name+".unread"))
		if err == nil {
			n += len(wordLines(plainText(text, false)))
		}
	}
	return n
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
