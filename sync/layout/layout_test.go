package layout

import (
	"strings"
	"testing"

	"pkgsneak/sync/payload"
)

// The names that are given are the names that are recognised.
func TestMadeHere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"foo-1.tar.gz", "a b.zip", "nul", "x\x01y",
		strings.Repeat("l", 250)} {
		other, _ := OtherPath(payload.Distfile, name, "", 3)
		for _, stored := range []string{WantedPath(payload.Distfile, name), other} {
			for _, p := range []string{stored, PartPath(stored, 0, 12), OverflowPath(stored, 2)} {
				if PathFault(p) == "" && !MadeHere(p) {
					t.Errorf("%q is not recognised", p)
				}
			}
		}
	}
	for _, name := range []string{"app-misc/foo-1.tbz2", "app-misc/foo/foo-1-1.xpak",
		"app-misc/foo/foo-1-2.gpkg.tar", "All/foo-1.tbz2"} {
		other, also := OtherPath(payload.Package, name, "", 3)
		for _, stored := range append(also, WantedPath(payload.Package, name), other) {
			for _, p := range []string{stored, PartPath(stored, 0, 12), OverflowPath(stored, 2)} {
				if !MadeHere(p) {
					t.Errorf("%q is not recognised", p)
				}
			}
		}
	}
	long := strings.Repeat("l", MaxName-partSuffix)
	for _, p := range []string{RecordFile(7), CatalogueFile(7), "generation/7.facts.zst",
		LayoutFile, "bin/linux-arm64/pkgsneak", "bin/linux-386/pkgsneak-2",
		"repos/gentoo-1700000000.tar.zst", "packages/app-misc/Foo/foo-1-1.xpak",
		"packages/_con/foo-1-2.tbz2", "packages/x-y/z/" + long +
			".part01", ProbeFile, ReserveFile + "12", Placeholder("packages/app-misc",
			3), Placeholder(".", 0), "packages/app-misc/room-00003-" + strings.Repeat("x", 244)} {
		if !MadeHere(p) {
			t.Errorf("%q is not recognised", p)
		}
	}
	for _, p := range []string{"diary", "packages/foo-1.tbz2", "packages/app-misc/notes.txt",
		"packages/Packages.gz", "generation/x.json", "generation/7",
		"generation/7/8.json", "distfiles/foo-1.tar.gz", "distfiles/zz/foo-1.tar.gz",
		"distfiles/00/00/x", "repos/gentoo", "repos/gentoo.tar.zst",
		"bin/pkgsneak", "bin/linux-amd64/other", "bin/linux-amd64/a/pkgsneak",
		"photos/app-misc/foo-1.tbz2",
		"packages/app-arch/mine.tbz2", "packages/photos/b.xpak",
		"packages/app-arch/deep/deeper/z-1-1.xpak", "packages/app-arch/z/y-1-1.xpak",
		"packages/app-arch/z-1-1.xpak", "packages/app-arch/z/z-1.xpak", "packages/-x/z-1.tbz2",
		"packages/app-arch/z-1-1.tbz2", "packages/All/z-1-1-1.tbz2",
		"clients/a/7.json", "room-1-x", "room-00003-x", "00003-room-x",
		"0003x-room-" + strings.Repeat("x", 244)} {
		if MadeHere(p) {
			t.Errorf("%q is somebody else's", p)
		}
	}
}

// README.txt is read in whatever is at hand: no line is longer than a terminal of old has columns.
func TestReadmeIsNarrow(t *testing.T) {
	for i, line := range strings.Split(readme, "\n") {
		if len(line) > 72 {
			t.Errorf("line %d of README.txt has %d columns: %s", i+1, len(line), line)
		}
	}
}
