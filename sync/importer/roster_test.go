package importer

import (
	"testing"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// A package that the origin has, and of which its index tells nothing, has a name in the list and
// no build: a donor's file of that name is neither taken nor counted as superseded.
func TestRosterOfAPackageWithoutAnEntry(t *testing.T) {
	entry, err := pkgindex.NewEntry(func(key string) string {
		return map[string]string{"CATEGORY": "a", "PF": "b-1", "BUILD_TIME": "1",
			"CPV": "a/b-1", "SLOT": "0", "EAPI": "8"}[key]
	})
	if err == nil {
		entry, err = entry.With("PATH", "a/b-1.tbz2", "SIZE", "1",
			"MD5", "0123456789abcdef0123456789abcdef",
			"SHA1", "0123456789abcdef0123456789abcdef01234567")
	}
	if err != nil {
		t.Fatal(err)
	}
	facts := &layout.Facts{Packages: []layout.PackageFacts{{Path: "a/b-1.tbz2"},
		{Path: "a/c-1.tbz2"}}}
	r := rosterOf(&source{entries: map[string]pkgindex.Entry{"a/b-1.tbz2": entry}, facts: facts})
	for path, untold := range map[string]bool{"a/b-1.tbz2": false, "a/c-1.tbz2": true,
		"a/d-1.tbz2": false} {
		if r.untold(payload.Package, path) != untold || r.untold(payload.Distfile, path) {
			t.Errorf("%s: untold %v", path, !untold)
		}
	}
	if got := r.path(payload.Package, layout.Item{Path: "a/b-1.tbz2"}, entry); got != "a/b-1.tbz2" {
		t.Errorf("the package with an entry: %q", got)
	}
	if got := r.path(payload.Package, layout.Item{Path: "a/c-1.tbz2"},
		pkgindex.Entry{}); got != "" {
		t.Errorf("the one without: %q", got)
	}
}
