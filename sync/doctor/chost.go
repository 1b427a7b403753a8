package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"pkgsneak/sync/forecast"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
)

// foreignCHOST lists the packages that emerge masks here because of their CHOST, by CHOST.
func (j *judge) foreignCHOST(index *pkgindex.Index) map[string][]string {
	foreign := map[string][]string{}
	for _, entry := range index.Entries {
		chost := entry.Get("CHOST")
		if chost == "" {
			chost = index.Header.Get("CHOST")
		}
		if !j.AcceptsHost(chost) {
			foreign[chost] = append(foreign[chost], entry.CPV())
		}
	}
	return foreign
}

var plainCHOST = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// tellCHOST tells that packages are masked by their CHOST.
func tellCHOST(l *findings, s *portage.Settings, foreign map[string][]string, where string) {
	own := s.Get("CHOST")
	accept := []string{own}
	if words := strings.Fields(s.Get("ACCEPT_CHOSTS")); len(words) > 0 {
		accept = words
	}
	for _, chost := range slices.Sorted(maps.Keys(foreign)) {
		if archOf(chost) == archOf(own) && plainCHOST.MatchString(chost) {
			accept = append(accept, chost)
		}
	}
	for _, chost := range slices.Sorted(maps.Keys(foreign)) {
		names := foreign[chost]
		f := Finding{Topic: "chost", Weight: Broken, Role: Client,
			What: fmt.Sprintf("%s of %s made for %s", plural(len(names), "package"), where, chost),
			Why:  "this machine's CHOST is " + own + ": emerge masks them", Names: names}
		if slices.Contains(accept, chost) {
			f.Fix = []Fix{inConf(s, "ACCEPT_CHOSTS",
				assign("ACCEPT_CHOSTS", strings.Join(accept, " ")))}
			f.Why += "; only the middle of the name differs, so they can be accepted if both machines have the same C library"
		}
		l.tell(f)
	}
}

// architecture is the profile's ARCH, else what CHOST states.
func architecture(s *portage.Settings) string {
	if arch := s.ARCH(); arch != "" {
		return arch
	}
	chost, _ := s.CHOST()
	return archOf(chost)
}

// archOf is the architecture of a CHOST; without one it is the usual one.
func archOf(chost string) string { return cmp.Or(forecast.ArchOf(chost), "amd64") }
