// Package pytext reads bytes as Python's decode("utf-8", "replace") does, which is how Portage
// reads package metadata and the Packages index.
//
// It differs from Go where bytes are no UTF-8. Go has U+FFFD for each such byte; Python, as the
// Unicode standard recommends (table 3-8), one for each maximal part of a character: E2 82 41 is
// one U+FFFD and "A", C0 80 is two. An index that differs from Portage's in one character is a
// changed entry.
package pytext

import "unicode/utf8"

// DecodeRune returns the first character of s and how many bytes it takes. If s begins with no
// character, it is utf8.RuneError with as many bytes as could have been the start of one, at least
// one; for an empty s it is utf8.RuneError and 0.
func DecodeRune(s []byte) (rune, int) {
	r, n := utf8.DecodeRune(s)
	if r == utf8.RuneError && n == 1 {
		n = brokenLen(s)
	}
	return r, n
}

// Append appends b to dst with U+FFFD for what is no UTF-8.
func Append(dst, b []byte) []byte {
	for len(b) > 0 {
		r, n := DecodeRune(b)
		dst = utf8.AppendRune(dst, r)
		b = b[n:]
	}
	return dst
}

// brokenLen returns how many bytes at the start of s, which is no character, could have been the
// start of one; at least one.
func brokenLen(s []byte) int {
	low, high, want := byte(0x80), byte(0xbf), 0
	switch c := s[0]; {
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
	for ; n < want && n < len(s) && s[n] >= low && s[n] <= high; n++ {
		low, high = 0x80, 0xbf
	}
	return n
}
