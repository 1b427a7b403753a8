package exporter

import (
	"errors"
	"fmt"
	"io"
	"time"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
)

// describeOrigin describes the origin for the people and programs on the other side. Its settings
// are carried as they can be: a setting never fails an export. The notes tell what was changed.
func describeOrigin(s *portage.Settings, version string, now time.Time) (layout.Record, []string) {
	var notes []string
	text := func(name, value string) string {
		clean, why := layout.RecordText(value)
		if why != "" {
			notes = append(notes,
				fmt.Sprintf("%s is not on the drive as it is here: %s", name, why))
		}
		return clean
	}
	chost, _ := s.CHOST()
	r := layout.Record{Created: now.UTC().Truncate(time.Second), Tool: text("the version",
		"pkgsneak "+version), CHOST: text("CHOST", chost), ARCH: text("ARCH", s.ARCH()),
		Profile: text("the profile's name", s.ProfileName()), USE: text("USE",
			s.Get("USE")), CFLAGS: text("CFLAGS", s.Get("CFLAGS"))}
	repos, err := s.Repos()
	if err != nil {
		return r, notes
	}
	if len(repos) > layout.MaxRepositories {
		notes = append(notes, fmt.Sprintf("of %d ebuild repositories the first %d are described",
			len(repos), layout.MaxRepositories))
		repos = repos[:layout.MaxRepositories]
	}
	for _, repo := range repos {
		r.Repositories = append(r.Repositories,
			layout.Repository{Name: text("the name of a repository", repo.Name),
				Revision:  text("the revision of "+repo.Name, repo.Revision),
				Timestamp: repo.Timestamp})
	}
	return r, notes
}

// writable returns a header without the keys that could not stand in an index, and names which they
// are.
func writable(h pkgindex.Header) (pkgindex.Header, []string) {
	h = h.Clone()
	var notes []string
	for {
		err := (&pkgindex.Index{Header: h}).Write(io.Discard)
		var bad *pkgindex.ValueError
		if !errors.As(err, &bad) {
			return h, notes
		}
		key := bad.Key
		for _, k := range h.Keys() {
			if fmt.Sprintf("%q", k) == key { // of a key that is none the error has it quoted
				key = k
			}
		}
		if h.Get(key) == "" {
			return h, notes
		}
		h.Delete(key)
		notes = append(notes, fmt.Sprintf("%s is not in the catalogue: %s", bad.Key, bad.Reason))
	}
}
