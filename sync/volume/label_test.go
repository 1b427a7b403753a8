package volume

import "testing"

func TestUnescapeLabel(t *testing.T) {
	for name, want := range map[string]string{"BLUE": "BLUE", `MY\x20STICK`: "MY STICK",
		`a\x2fb\x`: `a/b\x`, `\xzz`: `\xzz`} {
		if got := unescapeLabel(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	if got := labelAt(t.TempDir(), "/"); got != "" {
		t.Errorf("without links: %q", got)
	}
}
