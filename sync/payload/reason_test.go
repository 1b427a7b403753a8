package payload

import "testing"

// Files with one kind of reason are told together; what tells one kind from the other stays.
func TestAlike(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{`the directory says category "app-a", the metadata "app-b"`,
			`the directory says category "x-1", the metadata "y \" z"`, true},
		{"has 12 bytes, 15 were signed", "has 7 bytes, 1 were signed", true},
		{"links that lead to 3 packages", "links that lead to 14 packages", true},
		{"EAPI 8", "EAPI 9", true},
		{"the same package as foo-1.2", "the same package as foo-1.3", false},
		{"an xz stream", "a bzip2 stream", false},
		{"SLOT=0/3", "SLOT=0/4", false},
	} {
		if got := Alike(tt.a) == Alike(tt.b); got != tt.same {
			t.Errorf("%q, %q: %v (%q, %q)", tt.a, tt.b, got, Alike(tt.a), Alike(tt.b))
		}
	}
	if got := Alike("the same package as foo-1.2"); got != "the same package as foo-1.2" {
		t.Errorf("a version became %q", got)
	}
}

// The order of the kinds is the one of Kinds, and what is no payload comes last.
func TestRank(t *testing.T) {
	t.Parallel()
	for i, kind := range Kinds {
		if kind.Rank() != i {
			t.Errorf("%s has the rank %d, is number %d", kind, kind.Rank(), i)
		}
	}
	if got := Kind("directory").Rank(); got != len(Kinds) {
		t.Errorf("a directory has the rank %d", got)
	}
}
