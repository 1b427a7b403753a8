package doctor

import (
	"fmt"
	"slices"
	"strings"

	"pkgsneak/sync/forecast"
)

// license tells which packages are masked here by their LICENSE.
func (x *comparer) license() {
	accept := strings.Fields(x.s.Get("ACCEPT_LICENSE"))
	if len(accept) == 0 {
		return
	}
	groups := x.s.LicenseGroups()
	for _, w := range accept {
		if name, isGroup := strings.CutPrefix(strings.TrimPrefix(w, "-"), "@"); isGroup &&
			w[0] != '-' && groups[name] == nil {
			x.unknown("which licenses are accepted: no repository here has the license group %q",
				name)
			return
		}
	}
	var names, lines []string
	for _, entry := range x.entries {
		masked := x.judge.Licenses(&forecast.Candidate{Entry: entry})
		if len(masked) == 0 {
			continue
		}
		names = append(names, fmt.Sprintf("%s (%s)", entry.CPV(), strings.Join(masked, " ")))
		if slices.ContainsFunc(masked, func(l string) bool {
			return !plainFlag.MatchString(strings.ReplaceAll(l, ".", ""))
		}) {
			continue // no line to paste with what is no license
		}
		if line := "=" + entry.CPV() + " " + strings.Join(masked,
			" "); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if len(names) == 0 {
		return
	}
	theirs := x.header.Get("ACCEPT_LICENSE")
	fix := Fix{Do: "at the end of the file", File: x.userFile("package.license"), Lines: lines}
	if theirs != "" && len(names) > mostLines {
		fix = inConf(x.s, "ACCEPT_LICENSE", assign("ACCEPT_LICENSE", theirs))
	}
	x.differ(Difference{What: "ACCEPT_LICENSE", Origin: theirs, Here: strings.Join(accept, " "),
		Packages: len(names)},
		Finding{Topic: "license", Weight: Wrong, Role: Client,
			What: x.ofOrigin(names, "masked here by LICENSE"),
			Why:  "emerge does not take what ACCEPT_LICENSE does not allow", Names: names,
			Fix: []Fix{fix}})
}
