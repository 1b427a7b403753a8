package manifest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkPath returns why a path is not allowed, or "".
func checkPath(path string) string {
	switch {
	case path == "":
		return "is empty"
	case len(path) > MaxPath:
		return fmt.Sprintf("has more than %d bytes", MaxPath)
	case path[0] == '/':
		return "is absolute"
	}
	for rest, more := path, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		switch {
		case name == "":
			return "has an empty component"
		case name == "." || name == "..":
			return "has the component " + name
		case len(name) > MaxName:
			return fmt.Sprintf("has a component of more than %d bytes", MaxName)
		}
	}
	return checkRunes(path)
}

func checkRunes(path string) string {
	for i := 0; i < len(path); i++ {
		if c := path[i]; c < ' ' || c == '\\' || c >= 0x7f {
			return checkOddRunes(path[i:])
		}
	}
	return ""
}

func checkOddRunes(path string) string {
	for i, r := range path {
		switch {
		case r == '\\':
			return "has a backslash"
		case r < ' ' || r >= 0x7f && r <= 0x9f:
			return "has a control character"
		case r == utf8.RuneError && !strings.HasPrefix(path[i:], string(utf8.RuneError)):
			return "is not UTF-8"
		}
	}
	return ""
}

// isSpace reports whether r is white space to gemato (Python's str.isspace), and
// allowed in a path: such characters are escaped.
func isSpace(r rune) bool {
	switch r {
	case ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return r >= 0x2000 && r <= 0x200a
}

// appendEscaped appends an allowed path as it stands in a Manifest.
func appendEscaped(b []byte, path string) []byte {
	for start := 0; ; {
		i := strings.IndexFunc(path[start:], isSpace)
		if i < 0 {
			return append(b, path[start:]...)
		}
		b = append(b, path[start:start+i]...)
		r, n := utf8.DecodeRuneInString(path[start+i:])
		if r < utf8.RuneSelf {
			b = fmt.Appendf(b, `\x%02X`, r)
		} else {
			b = fmt.Appendf(b, `\u%04X`, r)
		}
		start += i + n
	}
}

// appendUnescaped undoes appendEscaped, and returns why it cannot, or "". Only
// what appendEscaped escapes may be escaped, and must be. Whether the path is
// allowed is for checkPath to decide.
func appendUnescaped(b, escaped []byte) ([]byte, string) {
	for i := 0; i < len(escaped); {
		c := escaped[i]
		if c > ' ' && c < utf8.RuneSelf && c != '\\' {
			b = append(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(escaped[i:])
		if c == '\\' {
			r, n = unescapeRune(escaped[i:])
			if n == 0 {
				return b, "has an escape that is none, or needless"
			}
			b = utf8.AppendRune(b, r)
		} else {
			if isSpace(r) {
				return b, "has white space that is not escaped"
			}
			b = append(b, escaped[i:i+n]...)
		}
		i += n
	}
	return b, ""
}

// unescapeRune reads \xHH below U+0080 and \uHHHH above; n is 0 if it is neither
// or does not stand for white space.
func unescapeRune(s []byte) (r rune, n int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case 'x':
		n = 4
	case 'u':
		n = 6
	}
	if n == 0 || len(s) < n {
		return 0, 0
	}
	for _, c := range s[2:n] {
		digit := strings.IndexByte("0123456789ABCDEF", c)
		if digit < 0 {
			return 0, 0
		}
		r = r<<4 | rune(digit)
	}
	if !isSpace(r) || (r < utf8.RuneSelf) != (s[1] == 'x') {
		return 0, 0
	}
	return r, n
}

// Collisions returns the groups of paths that a file system without regard to case
// takes for the same, each group and the list of groups in the order of paths.
// Simple case folding of Unicode is used; composed and decomposed forms of a
// letter are different, as they are on vfat, exFAT and ext4.
func Collisions(paths []string) [][]string {
	groups := make(map[string][]string, len(paths))
	for _, path := range paths {
		key := foldCase(path)
		groups[key] = append(groups[key], path)
	}
	var found [][]string
	for _, path := range paths {
		key := foldCase(path)
		if g := groups[key]; len(g) > 1 {
			found = append(found, g)
			delete(groups, key)
		}
	}
	return found
}

// foldCase returns s with each letter replaced by the least one that differs
// from it in case only.
func foldCase(s string) string {
	plain := func(r rune) bool { return (r < 'a' || r > 'z') && r < utf8.RuneSelf }
	if !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if plain(r) {
			return r
		}
		if r < utf8.RuneSelf {
			return r - 'a' + 'A'
		}
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}
