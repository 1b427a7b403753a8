package drive

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pkgsneak/manifest"
)

// What one list cannot name is told before anything is written, and what it can is not refused: the
// lists are made as well.
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
		var files []NewFile
		list := manifest.List{Timestamp: epoch}
		for i := range row.files {
			f := NewFile{Kind: Distfile, Path: fmt.Sprintf("%s-%d", row.path, i), Size: row.size}
			files = append(files, f)
			list.Files = append(list.Files, manifest.File{Path: wantedPath(f.Kind, f.Path)})
		}
		var full *CapacityError
		err := CheckCapacity(files, 2)
		if row.want != (err == nil) || !row.want && !errors.As(err, &full) {
			t.Errorf("%s: %v", name, err)
		}
		if _, marshal := list.MarshalText(); err == nil && marshal != nil {
			t.Errorf("%s: accepted, and no list can be made: %v", name, marshal)
		}
	}
}
