package cpv

import "testing"

func TestCutVersion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s, rest, version string
		bare             string // the version without its revision
	}{
		{"foo-1.0-r2", "foo", "1.0-r2", "1.0"},
		{"foo-1.0", "foo", "1.0", "1.0"},
		{"foo-1-2", "foo-1", "2", "2"},
		{"foo-r2", "", "", ""},
		{"foo-r2-1", "foo-r2", "1", "1"},
		{"-1.0", "", "", ""},
		{"1.0-r2", "", "", ""},
		{"foo", "", "", ""},
		{"foo-1.0_alpha_p3-r0", "foo", "1.0_alpha_p3-r0", "1.0_alpha_p3"},
		{"foo-1.0-r", "", "", ""},
		{"", "", "", ""},
	} {
		rest, version, ok := CutVersion(tt.s)
		if rest != tt.rest || version != tt.version || ok != (tt.version != "") {
			t.Errorf("%q is cut into %q and %q, %v", tt.s, rest, version, ok)
		}
		if got := WithoutRevision(version); got != tt.bare {
			t.Errorf("%q without revision is %q", version, got)
		}
	}
}

// Portage's own regular expressions for a USE flag and a slot (EAPI 8).
func TestWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s                string
		name, slot, flag bool
	}{
		{"foo", true, true, true},
		{"_foo", true, true, false},
		{"gtk+", true, true, true},
		{"a.b", false, true, false},
		{"linguas_en@latin", false, false, true},
		{"-foo", false, false, false},
		{"+foo", false, false, false},
		{".5", false, false, false},
		{"5", true, true, true},
		{"f\u00fc", false, false, false},
		{"", false, false, false},
	} {
		if n, s, f := IsName(tt.s), IsSlot(tt.s), IsFlag(tt.s); n != tt.name || s != tt.slot ||
			f != tt.flag {
			t.Errorf("%q: name %v, slot %v, flag %v", tt.s, n, s, f)
		}
	}
}
