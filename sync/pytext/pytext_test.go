package pytext

import "testing"

// TestReplacementAsPython has what Python's decode("utf-8", "replace") makes of broken sequences.
func TestReplacementAsPython(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"\xe0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
		{"\xe0\x9f\xbf", "\uFFFD\uFFFD\uFFFD"},
		{"\xe0\xa0", "\uFFFD"},
		{"\xe0\xa0x", "\uFFFDx"},
		{"\xed\x9f\xbf", "\uD7FF"},
		{"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"\xf0\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"\xf0\x8f\xbf\xbf", "\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"\xf0\x90\x80", "\uFFFD"},
		{"\xf0\x90", "\uFFFD"},
		{"\xf1\x80\x80x", "\uFFFDx"},
		{"\xf4\x8f\xbf\xbf", "\U0010FFFF"},
		{"\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"\xf4\x8f\xbf", "\uFFFD"},
		{"\xf5\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"\xf8\x88\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"\xc0\x80", "\uFFFD\uFFFD"},
		{"\xc1\xbf", "\uFFFD\uFFFD"},
		{"\xc2", "\uFFFD"},
		{"\xc2x", "\uFFFDx"},
		{"\x80\x80", "\uFFFD\uFFFD"},
		{"\xff\xfe", "\uFFFD\uFFFD"},
		{"\xe2\x82\xe2\x82\xac", "\uFFFD\u20AC"},
		{"\xf0\x9f\x90\xf0\x9f\x90\xa7", "\uFFFD\U0001F427"},
	} {
		if got := string(Append(nil, []byte(c.in))); got != c.want {
			t.Errorf("%q became %q, want %q", c.in, got, c.want)
		}
	}
}
