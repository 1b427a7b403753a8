package exporter

import (
	"testing"

	"pkgsneak/sync/payload"
)

// TestChunks: files of one bundle are committed together, however small the bytes after which a
// commit is due.
func TestChunks(t *testing.T) {
	a := &answer{group: make(map[payload.Key]int)}
	var todo []payload.Item
	for i, name := range []string{"a", "b", "c", "d", "e", "f"} {
		todo = append(todo, payload.Item{Kind: payload.Package, Path: name, Size: 10})
		a.group[payload.Key{Kind: payload.Package, Path: name}] = []int{0, 1, 1, 1, 2, 2}[i]
	}
	todo = append(todo, payload.Item{Kind: payload.Package, Path: "missing on the drive", Size: 10})
	var got []int
	for rest := todo; len(rest) > 0; {
		n := a.chunk(rest, 15)
		got = append(got, n)
		rest = rest[n:]
	}
	if len(got) != 3 || got[0] != 4 || got[1] != 2 || got[2] != 1 {
		t.Errorf("chunks of %v files", got)
	}
	if n := (*answer)(nil).chunk(todo, 15); n != 2 {
		t.Errorf("without groups: %d", n)
	}
}
