package layout

import (
	"testing"

	"pkgsneak/sync/pkgindex"
)

// A catalogue comes back, and only with the length that it has: a record that states another one,
// or one that no index has, is refused.
func TestUnpackCatalogue(t *testing.T) {
	entry, err := pkgindex.Entry{}.With("CPV", "app-misc/labhello-1.0", "PATH",
		"app-misc/labhello-1.0.tbz2")
	if err != nil {
		t.Fatal(err)
	}
	packed, plain, err := PackCatalogue(&pkgindex.Index{Entries: []pkgindex.Entry{entry}},
		1_767_225_600)
	if err != nil {
		t.Fatal(err)
	}
	index, err := UnpackCatalogue(packed, plain)
	if err != nil || len(index.Entries) != 1 || index.Entries[0] != entry {
		t.Fatalf("%v, %v", index, err)
	}
	for _, stated := range []int64{-1, 0, plain - 1, plain + 1, pkgindex.MaxSize + 1, 1 << 62} {
		if index, err := UnpackCatalogue(packed, stated); err == nil || index != nil {
			t.Errorf("a catalogue of %d bytes is taken for one of %d", plain, stated)
		}
	}
}
