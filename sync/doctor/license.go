package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// license tells which packages are masked here by their LICENSE.
func (x *comparer) license() {
	accept := strings.Fields(x.s.Get("ACCEPT_LICENSE"))
	if len(accept) == 0 {
		return
	}
	groups := x.s.LicenseGroups()
	for _, w := range accept {
		if name, isGroup := strings.CutPrefix(strings.TrimPrefix(w, "-"), "@"); isGroup && w[0] != '-' && groups[name] == nil {
			x.unknown("which licenses are accepted: no repository here has the license group %q", name)
			return
		}
	}
	own := mentioned(x.s, "package.license")
	expanded := expandLicenses(accept, groups)
	var names, lines []string
	for _, entry := range x.entries {
		masked := maskedLicenses(entry.Get("LICENSE"), expanded)
		if len(masked) == 0 || own(entry.CPV()) {
			continue
		}
		names = append(names, fmt.Sprintf("%s (%s)", entry.CPV(), strings.Join(masked, " ")))
		if slices.ContainsFunc(masked, func(l string) bool { return !plainFlag.MatchString(strings.ReplaceAll(l, ".", "")) }) {
			continue // no line to paste with what is no license
		}
		if line := "=" + entry.CPV() + " " + strings.Join(masked, " "); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if len(names) == 0 {
		return
	}
	theirs := x.header.Get("ACCEPT_LICENSE")
	mend := Mend{Do: "at the end of the file", File: x.userFile("package.license"), Lines: lines}
	if theirs != "" && len(names) > mostLines {
		mend = inConf(x.s, "ACCEPT_LICENSE", assign("ACCEPT_LICENSE", theirs))
	}
	x.differ(Difference{What: "ACCEPT_LICENSE", Origin: theirs, Here: strings.Join(accept, " "), Packages: len(names)},
		Finding{Topic: "license", Weight: Wrong, Role: Client, What: plural(len(names), "package") + " on the drive masked here by LICENSE", Why: "emerge does not take what ACCEPT_LICENSE does not allow", Names: names, Mend: []Mend{mend}})
}

// mostLicenses bounds what groups of groups may become.
const mostLicenses = 100_000

// expandLicenses replaces groups (@NAME) by their licenses.
func expandLicenses(words []string, groups map[string][]string) []string {
	var out []string
	var expand func(word, sign string, inside []string)
	expand = func(word, sign string, inside []string) {
		name, isGroup := strings.CutPrefix(word, "@")
		switch {
		case len(out) >= mostLicenses || isGroup && slices.Contains(inside, name):
		case !isGroup:
			out = append(out, sign+word)
		default:
			for _, member := range groups[name] {
				if member[0] != '-' {
					expand(member, sign, append(inside, name))
				}
			}
		}
	}
	for _, w := range words {
		if off, isOff := strings.CutPrefix(w, "-"); isOff && off != "*" {
			expand(off, "-", nil)
		} else {
			expand(w, "", nil)
		}
	}
	return out
}

// maskedLicenses returns the licenses that a LICENSE, reduced by USE, wants and that are not
// accepted; of alternatives none if one is.
func maskedLicenses(license string, accept []string) []string {
	words := strings.Fields(license)
	ok := map[string]bool{}
	for _, a := range accept {
		switch off, isOff := strings.CutPrefix(a, "-"); {
		case a == "*":
			for _, w := range words {
				ok[w] = true
			}
		case a == "-*":
			clear(ok)
		case isOff:
			delete(ok, off)
		default:
			ok[a] = true
		}
	}
	masked, _ := maskedIn(words, 0, false, ok)
	return masked
}

// maskedIn goes through one level of parentheses, from word i to the closing one.
func maskedIn(words []string, i int, any bool, ok map[string]bool) (masked []string, next int) {
	accepted, empty := false, true
	for i < len(words) && words[i] != ")" {
		var sub []string
		switch {
		case words[i] == "||" && i+1 < len(words) && words[i+1] == "(":
			sub, i = maskedIn(words, i+2, true, ok)
		case words[i] == "(":
			sub, i = maskedIn(words, i+1, false, ok)
		case ok[words[i]]:
			i++
		default:
			sub = []string{words[i]}
			i++
		}
		empty = false
		accepted = accepted || len(sub) == 0
		masked = append(masked, sub...)
	}
	if any && (accepted || empty) {
		masked = nil
	}
	return masked, i + 1
}
