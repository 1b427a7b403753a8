package pkgindex

import (
	"unicode"
	"unicode/utf8"
)

// blanks are what may surround a key or a value in a file.
const blanks = " \t"

// isText reports whether s can stand in a line: UTF-8 without control characters other than tabs.
func isText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c >= 0x7f {
			return isTextSlow(s[i:])
		}
	}
	return true
}

func isTextSlow(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) && r != '\t' {
			return false
		}
	}
	return utf8.ValidString(s)
}

// isPlain reports whether b is ASCII without control characters other than tabs.
func isPlain(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// appendText appends b with U+FFFD for what is no UTF-8, one for each maximal part of a character as in the Unicode standard (table
// 3-8), which is what Python does.
func appendText(dst, b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			dst = utf8.AppendRune(dst, utf8.RuneError)
			b = b[brokenLen(b):]
			continue
		}
		dst = append(dst, b[:n]...)
		b = b[n:]
	}
	return dst
}

// brokenLen returns how many bytes at the start of b, which is no character, could have been the start of one; at least one.
func brokenLen(b []byte) int {
	low, high, want := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		want = 2
	case c >= 0xe0 && c <= 0xef:
		want = 3
		if c == 0xe0 {
			low = 0xa0
		} else if c == 0xed {
			high = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		want = 4
		if c == 0xf0 {
			low = 0x90
		} else if c == 0xf4 {
			high = 0x8f
		}
	}
	n := 1
	for ; n < want && n < len(b) && b[n] >= low && b[n] <= high; n++ {
		low, high = 0x80, 0xbf
	}
	return n
}

// lineLen is the length of a line KEY: VALUE with its end.
func lineLen(key, value string) int { return len(key) + len(value) + len(": \n") }
