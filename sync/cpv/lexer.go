package cpv

import "strings"

// CutVersion splits the "-VERSION" off the end of s, if there is one and something stands before
// it. It does not look at what that is.
func CutVersion(s string) (rest, version string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i > 0 && isRevision(s[i+1:]) {
		i = strings.LastIndexByte(s[:i], '-')
	}
	if i <= 0 {
		return "", "", false
	}
	if _, ok := parseVersion(s[i+1:]); !ok {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// isRevision reports whether s is a revision without its hyphen: r12.
func isRevision(s string) bool {
	return len(s) > 1 && s[0] == 'r' && digits(s[1:]) == len(s)-1
}

// WithoutRevision returns the version without its revision: 1.0 of 1.0-r2.
func WithoutRevision(version string) string {
	i := strings.LastIndexByte(version, '-')
	if i < 0 || !isRevision(version[i+1:]) {
		return version
	}
	return version[:i]
}

// IsName reports whether s has the characters of a package name. A name that ends in a version has
// them too.
func IsName(s string) bool {
	return s != "" && IsWord(s[0]) && Span(s, isNameByte) == len(s)
}

// IsSlot reports whether s can be a slot or a sub-slot. A category has the same characters.
func IsSlot(s string) bool {
	return s != "" && IsWord(s[0]) && Span(s, isSlotByte) == len(s)
}

// IsFlag reports whether s can be the name of a USE flag, without a sign.
func IsFlag(s string) bool {
	return s != "" && s[0] != '_' && IsWord(s[0]) && Span(s, isFlagByte) == len(s)
}

// Span counts the bytes at the start of s for which is returns true.
func Span(s string, is func(byte) bool) int {
	for i := range len(s) {
		if !is(s[i]) {
			return i
		}
	}
	return len(s)
}

// IsWord reports whether c is a letter, a digit or an underscore of ASCII.
func IsWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || IsDigit(c) || c == '_'
}

// IsDigit reports whether c is a digit of ASCII.
func IsDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameByte(c byte) bool { return IsWord(c) || c == '-' || c == '+' }

func isSlotByte(c byte) bool { return isNameByte(c) || c == '.' }

func isFlagByte(c byte) bool { return isNameByte(c) || c == '@' }

// digits counts the digits that s begins with.
func digits(s string) int { return Span(s, IsDigit) }
