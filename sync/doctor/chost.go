package doctor

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
)

// foreignCHOST lists the packages that emerge masks here because of their CHOST, by CHOST.
func foreignCHOST(s *portage.Settings, index *pkgindex.Index) map[string][]string {
	accept := strings.Fields(s.Get("ACCEPT_CHOSTS"))
	if len(accept) == 0 {
		if chost, known := s.CHOST(); known {
			accept = []string{chost}
		}
	}
	if len(accept) == 0 {
		return nil
	}
	re, err := regexp.Compile("^(?:" + strings.Join(accept, "|") + ")$")
	if err != nil {
		return nil // one of Python's that Go does not have
	}
	foreign := map[string][]string{}
	for _, entry := range index.Entries {
		chost := entry.Get("CHOST")
		if chost == "" {
			chost = index.Header.Get("CHOST")
		}
		if chost != "" && !re.MatchString(chost) {
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
		f := Finding{Topic: "chost", Weight: Broken, Role: Client, What: fmt.Sprintf("%s of %s made for %s", plural(len(names), "package"), where, chost),
			Why: "this machine's CHOST is " + own + ": emerge masks them", Names: names}
		if slices.Contains(accept, chost) {
			f.Mend = []Mend{inConf(s, "ACCEPT_CHOSTS", assign("ACCEPT_CHOSTS", strings.Join(accept, " ")))}
			f.Why += "; only the middle of the name differs, so they can be accepted if both machines have the same C library"
		}
		l.tell(f)
	}
}

// architecture is the profile's ARCH, else what CHOST says.
func architecture(s *portage.Settings) string {
	if arch := s.ARCH(); arch != "" {
		return arch
	}
	chost, _ := s.CHOST()
	return archOf(chost)
}

func archOf(chost string) string {
	switch cpu, _, _ := strings.Cut(chost, "-"); {
	case cpu == "" || cpu == "x86_64":
		return "amd64"
	case len(cpu) == 4 && cpu[0] == 'i' && strings.HasSuffix(cpu, "86"):
		return "x86"
	case cpu == "aarch64":
		return "arm64"
	default:
		return cpu
	}
}
