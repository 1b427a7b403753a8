package drivewriter

import (
	"errors"
	"strings"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
)

// Files that one list cannot name are told before anything is written, and those that it can name
// are not refused: the lists are made as well.
func TestCapacity(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("l", 180)
	for name, row := range map[string]struct {
		files, size int64
		path        string
		want        bool // it fits
	}{
		"few":                       {10, 1, "a", true},
		"as many as there are":      {manifest.MaxFiles - ownFiles, 1, "a", true},
		"one more":                  {manifest.MaxFiles - ownFiles + 1, 1, "a", false},
		"in parts":                  {manifest.MaxFiles / 2, 3, "a", false},
		"long names":                {200_000, 1, long, false},
		"not quite so many of them": {140_000, 1, long, true},
	} {
		files := make([]NewFile, row.files)
		for i := range files {
			files[i] = NewFile{Kind: payload.Distfile, Path: row.path, Size: row.size}
		}
		var full *CapacityError
		if err := CheckCapacity(files, 2); row.want != (err == nil) || !row.want &&
			!errors.As(err, &full) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The estimate is never too low: the line of each file is in it.
	for _, f := range []NewFile{
		{Kind: payload.Distfile, Path: "a b c.tar.gz", Size: 1 << 50},
		{Kind: payload.Package, Path: "app-misc/foo/foo-1-1.xpak", Size: 7},
		{Kind: payload.Distfile, Path: long, Size: 1},
		{Kind: payload.Distfile, Path: "odd\x01name", Size: 1},
	} {
		other, _ := layout.OtherPath(f.Kind, f.Path, f.Category, 12)
		for _, stored := range []string{layout.WantedPath(f.Kind, f.Path), other,
			layout.OverflowPath(other, 2), layout.PartPath(other, 3, 1200)} {
			if layout.PathFault(stored) != "" {
				continue
			}
			list := manifest.List{Timestamp: epoch,
				Files: []manifest.File{{Path: stored, Size: f.Size}}}
			text, err := list.MarshalText()
			if got := len(text) - len("TIMESTAMP 2026-03-01T12:00:00Z\n"); err != nil ||
				got > lineBytes+len(f.Path)+3*strings.Count(f.Path, " ") {
				t.Errorf("%q takes %d bytes, %v", stored, got, err)
			}
		}
	}
}
