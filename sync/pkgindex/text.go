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

// isPlain reports whether all of b is plain. Eight bytes at a time are looked at for one that is
// below 0x20, or 0x7f and above; then the rest is looked at in single.
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

// lineLen is the length of a line KEY: VALUE with its end.
func lineLen[T ~string | ~[]byte](key string, value T) int {
	return len(key) + len(value) + len(": \n")
}
