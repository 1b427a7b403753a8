package pkgindex

import "testing"

// TestIsPlainSeesEachByte puts each byte at each place of a text that is looked at in pieces.
func TestIsPlainSeesEachByte(t *testing.T) {
	for at := range 20 {
		for c := range 256 {
			text := []byte("twenty plain letters")
			text[at] = byte(c)
			want := c == '\t' || c >= ' ' && c < 0x7f
			if isPlain(text) != want {
				t.Fatalf("byte %#x at %d: %v", c, at, !want)
			}
		}
	}
}
