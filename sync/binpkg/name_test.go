package binpkg_test

import (
	"slices"
	"testing"

	"pkgsneak/sync/binpkg"
)

func TestFreePath(t *testing.T) {
	tests := []struct {
		path, category string
		taken          []string
		want           string // "" for an error
	}{
		{"a-b/foo-1.tbz2", "", nil, "a-b/foo/foo-1-1.xpak"},
		{"a-b/foo-1.gpkg.tar", "", nil, "a-b/foo/foo-1-1.gpkg.tar"},
		{"a-b/foo-1.tbz2", "", []string{"a-b/foo/foo-1-1.xpak", "a-b/foo/foo-1-2.gpkg.tar"},
			"a-b/foo/foo-1-3.xpak"},
		{"a-b/foo/foo-1-7.xpak", "", []string{"a-b/foo/foo-1-8.xpak"}, "a-b/foo/foo-1-9.xpak"},
		{"a-b/foo/foo-1-7.gpkg.tar", "", nil, "a-b/foo/foo-1-8.gpkg.tar"},
		{"All/foo-1-r1.tbz2", "a-b", nil, "a-b/foo/foo-1-r1-1.xpak"},
		{"a-b/foo/foo-1-9223372036854775807.xpak", "", nil, ""},
		{"a-b/foo.tbz2", "", nil, ""},
		{"../foo-1.tbz2", "", nil, ""},
	}
	for _, tt := range tests {
		got, err := binpkg.FreePath(tt.path, tt.category, func(p string) bool {
			return slices.Contains(tt.taken, p)
		})
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %q, %v, want %q", tt.path, got, err, tt.want)
		}
		if err == nil {
			if n, err := binpkg.ParseName(got); err != nil || n.BuildID == 0 {
				t.Errorf("%s: %q is no name with a build number: %v", tt.path, got, err)
			}
		}
	}
}

func TestLikePackage(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]bool{
		"a-1.XPAK": true, "a-1.Tbz2": true, "a-1.xpak.part": true, "a-1.gpkg.tar.zst": true,
		"a-1.tbz2~": true, "a-1.gpkg.tar.1": true,
		"a-1.xpak": false, "a-1.gpkg.tar": false, "a-1.tbz2AbCdEfGh.123": false,
		"a-1.xpak.sig": false, "a-1.gpkg.tar.sha512": false,
		"a-1.tar": false, "Packages": false, "xpak": false, ".xpak.part": false, "a-1.xpakx": false,
	} {
		if got := binpkg.LikePackage(base); got != want && !(want && binpkg.IsPartial(base)) {
			t.Errorf("%q: %v", base, got)
		}
	}
}
