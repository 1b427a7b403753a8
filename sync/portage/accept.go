package portage

import (
	"slices"
	"strings"
)

// StackWords applies words to a list: "-word" takes away, "-*" all.
func StackWords(list, words []string) []string {
	list = slices.Clone(list)
	for _, w := range words {
		off, isOff := strings.CutPrefix(w, "-")
		switch {
		case w == "-*":
			list = list[:0]
		case isOff:
			list = slices.DeleteFunc(list, func(s string) bool { return s == off })
		default:
			list = append(list, w)
		}
	}
	return list
}

// KeywordsAccepted reports whether one of a package's keywords is accepted, by Portage's rule.
func KeywordsAccepted(keywords, accept []string) bool {
	var stable, testing bool
	for _, k := range keywords {
		switch {
		case k == "*" || slices.Contains(accept, k):
			return true
		case k == "~*" || k[0] == '~':
			testing = true
		case k[0] != '-':
			stable = true
		}
	}
	return testing && slices.Contains(accept, "~*") || stable && slices.Contains(accept, "*") ||
		slices.Contains(accept, "**")
}

// mostLicenses bounds what groups of groups may become.
const mostLicenses = 100_000

// ExpandLicenses replaces the groups in a value of ACCEPT_LICENSE ("@NAME") by their licenses.
func ExpandLicenses(words []string, groups map[string][]string) []string {
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

// MissingLicenses returns the licenses that a LICENSE, reduced by USE, wants and that accept,
// without groups, has not; of alternatives none if one is accepted.
func MissingLicenses(license string, accept []string) []string {
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
