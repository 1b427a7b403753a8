package main

import (
	"fmt"
	"testing"

	"pkgsneak/sync/payload"
)

// Files with reasons of one kind are one line, with what is particular to each left out of it.
func TestReasonsOfOneKind(t *testing.T) {
	var items []payload.Item
	for i := range 4 {
		items = append(items, payload.Item{Kind: payload.Package, Path: fmt.Sprint(i),
			Reason: fmt.Sprintf("not %q, of %d bytes", fmt.Sprint("cat-", i), i)})
	}
	items = append(items, payload.Item{Kind: payload.Package, Path: "x", Reason: "an empty file"})
	lines := byReason(items, false)
	if len(lines) != 2 || len(lines[0]) != 4 || len(lines[1]) != 1 {
		t.Fatalf("%v", lines)
	}
	if got := shared(lines[0]); got != "not ..., of ... bytes" {
		t.Errorf("%q", got)
	}
	if lines := byReason(items, true); len(lines) != len(items) {
		t.Errorf("-v gives %d lines", len(lines))
	}
}
