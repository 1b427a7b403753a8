package exporter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// largeEntry is an entry of about a MiB.
func largeEntry(t *testing.T) pkgindex.Entry {
	t.Helper()
	values := map[string]string{"CATEGORY": "cat", "PF": "pkg-1", "SLOT": "0",
		"DEFINED_PHASES": strings.Repeat("d", pkgindex.MaxLine-100)}
	e, err := pkgindex.NewEntry(func(key string) string { return values[key] })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// An index that could not be written at the commit is refused before the first byte, in the guard
// of the plan.
func TestCatalogueTooLarge(t *testing.T) {
	t.Parallel()
	e := largeEntry(t)
	for _, row := range []struct {
		indexed, unread int
		kept, removed   int
		want            bool // it fits
	}{
		{indexed: 200, want: true},
		{indexed: 270},
		{indexed: 100, kept: 170},
		{indexed: 100, kept: 170, removed: 100, want: true},
		{indexed: 250, unread: 10, want: true},
		{indexed: 250, unread: 10_000},
	} {
		x := &exporter{Plan: &Plan{operation: operation{report: &ExportReport{}},
			host: &source{files: make(map[payload.Key]*sourceFile)}, next: newNext()}}
		add := func(path string, entry pkgindex.Entry) payload.Item {
			it := payload.Item{Kind: payload.Package, Path: path, Size: 1}
			x.host.files[it.Key()] = &sourceFile{entry: entry}
			return it
		}
		for i := range row.indexed {
			x.todo = append(x.todo, add(fmt.Sprintf("cat/new-%d.tbz2", i), e))
		}
		for i := range row.kept {
			path := fmt.Sprintf("cat/kept-%d.tbz2", i)
			if x.next.entries[path] = e; i < row.removed {
				x.report.Plan.Remove = append(x.report.Plan.Remove,
					payload.Item{Kind: payload.Package, Path: path})
			}
		}
		for i := range row.unread {
			x.todo = append(x.todo, add(fmt.Sprint(i), pkgindex.Entry{}))
		}
		err := checkCatalogue(x)
		var full *CatalogueSizeError
		if row.want != (err == nil) || !row.want && (!errors.As(err, &full) ||
			len(fault.Hints(err, "/mnt/usb")) == 0) {
			t.Errorf("%+v: %v", row, err)
		}
		if row.indexed == 270 && !errors.As(x.guard(t.Context()), &full) {
			t.Error("the plan is let through")
		}
	}
}
