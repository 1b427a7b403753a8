package importer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The last three lists of names to exclude are kept, by their serial, and nothing else is touched.
func TestRemoveOldExcludes(t *testing.T) {
	dir := t.TempDir()
	names := []string{"exclude-9", "exclude-10", "exclude-11", "exclude-100", "exclude-x",
		"exclude-007", "exclude--1", "memory"}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "exclude-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeOldExcludes(dir); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := []string{"exclude-1", "exclude-10", "exclude-100", "exclude-11", "exclude-x",
		"exclude-007", "exclude--1", "memory"}
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}
