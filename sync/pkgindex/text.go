package pkgindex

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"
)

// isBlank reports whether c may surround a key or a value in a file.
func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func trimBlanks[T ~string | ~[]byte](s T) T {
	for len(s) > 0 && isBlank(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// isText reports whether s can stand in a line: UTF-8 without control characters other than tabs.
func isText(s string) bool {
	for i := range len(s) {
		if !isPlainByte(s[i]) {
			return isUnicodeText(s[i:])
		}
	}
	return true
}

func isUnicodeText(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) && r != '\t' {
			return false
		}
	}
	return utf8.ValidString(s)
}

// isPlainByte reports whether c is ASCII and no control character other than a tab.
func isPlainByte(c byte) bool { return c >= ' ' && c < 0x7f || c == '\t' }

// isPlain reports whether all of b is plain. Eight bytes at a time are looked at for one that is below 0x20, or 0x7f and above; then the
// rest is looked at in single.
func isPlain(b []byte) bool {
	const ones = 0x0101010101010101
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		if (x|(x-ones*0x20)|(x+ones))&(ones*0x80) != 0 {
			break
		}
	}
	for _, c := range b {
		if !isPlainByte(c) {
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
func lineLen[T ~string | ~[]byte](key string, value T) int {
	return len(key) + len(value) + len(": \n")
}
