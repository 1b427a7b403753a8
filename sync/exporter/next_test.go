package exporter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// entryFor is an entry of a package that has size bytes; mark tells the index that it comes from.
func entryFor(t *testing.T, path string, size int64, mark string) pkgindex.Entry {
	t.Helper()
	text := fmt.Sprintf("VERSION: 0\n\nCPV: %s\nDESC: %s\nMD5: 0123456789abcdef0123456789abcdef\nMTIME: 1700000000\nPATH: %s\nSHA1: 0123456789abcdef0123456789abcdef01234567\nSIZE: %d\n\n",
		strings.TrimSuffix(path, ".tbz2"), mark, path, size)
	index, err := pkgindex.Read(strings.NewReader(text))
	if err != nil || len(index.Entries) != 1 {
		t.Fatal(err)
	}
	return index.Entries[0]
}

// The contents of the next commit follow each step of an export: the files that are carried, the
// catalogue of all that the origin has, and whether anything is other than on the drive.
func TestNextGeneration(t *testing.T) {
	t.Parallel()
	const foo, bar, gone = "app-misc/foo-1.tbz2", "app-misc/bar-1.tbz2", "app-misc/gone-1.tbz2"
	pkg := func(path string) payload.Key { return payload.Key{Kind: payload.Package, Path: path} }
	onHost := func(path string, size int64, mark string) *sourceFile {
		e := entryFor(t, path, size, mark)
		return &sourceFile{HostFile: HostFile{Kind: payload.Package, Path: path, Size: size,
			Index: indexSums(e)}, entry: e}
	}
	for _, row := range []struct {
		name    string
		step    func(n *nextGeneration)
		carried string // paths
		entries string // path=mark
		changed bool
	}{
		{"nothing", func(*nextGeneration) {}, foo + " " + gone, foo + "=old " + gone +
			"=old", false},
		{"the host's index says the same", func(n *nextGeneration) {
			n.keep(payload.Item{Kind: payload.Package, Path: foo, Size: 3}, onHost(foo, 3, "old"))
		}, foo + " " + gone, foo + "=old " + gone + "=old", false},
		{"the host's index tells more", func(n *nextGeneration) {
			n.keep(payload.Item{Kind: payload.Package, Path: foo, Size: 3}, onHost(foo, 3, "new"))
		}, foo + " " + gone, foo + "=new " + gone + "=old", true},
		{"no index on the host", func(n *nextGeneration) {
			n.keep(payload.Item{Kind: payload.Package, Path: foo, Size: 3}, &sourceFile{})
		}, foo + " " + gone, foo + "=old " + gone + "=old", false},
		{"gone from the host", func(n *nextGeneration) { n.forget(pkg(gone), nil) }, foo,
			foo + "=old", true},
		{"left out, and the host has it", func(n *nextGeneration) {
			n.forget(pkg(foo), onHost(foo, 3, "new"))
		},
			gone, foo + "=new " + gone + "=old", true},
		{"vouched for and not carried", func(n *nextGeneration) {
			n.vouched(map[payload.Key]*sourceFile{pkg(foo): onHost(foo, 3, "new"),
				pkg(bar): onHost(bar, 5, "new")}, nil)
		}, foo + " " + gone, bar + "=new " + foo + "=old " + gone + "=old", true},
		{"neither carried nor on the host", func(n *nextGeneration) {
			delete(n.current, pkg(gone))
			n.vouched(nil, nil)
		}, foo, foo + "=old", true},
	} {
		n := newNext()
		n.before, n.stock = &pkgindex.Header{}, &originStock{sizes: make(map[payload.Key]int64),
			facts: make(map[string]*layout.PackageFacts)}
		for _, path := range []string{foo, gone} {
			n.current[pkg(path)] = &layout.Item{Kind: payload.Package, Path: path, Size: 3,
				Stored: []manifest.File{{Path: "packages/" + path}}}
			n.entries[path] = entryFor(t, path, 3, "old")
		}
		row.step(n)
		c := n.contents(7, time.Unix(7, 0))
		var carried []string
		for _, it := range c.Items {
			carried = append(carried, it.Path)
		}
		marks := make(map[string]string)
		for _, e := range c.Catalogue.Entries {
			marks[e.Path()] = e.Path() + "=" + e.Get("DESC")
		}
		entries := strings.Join(slices.Sorted(maps.Values(marks)), " ")
		if got := strings.Join(carried, " "); got != row.carried || entries != row.entries ||
			n.changed != row.changed {
			t.Errorf("%s: carries %q, lists %q, changed %t; want %q, %q, %t", row.name, got,
				entries, n.changed, row.carried, row.entries, row.changed)
		}
		if missing := n.undescribed(); len(missing) > 0 {
			t.Errorf("%s: carried and not described: %q", row.name, missing)
		}
		if has := c.Record.Has; has.Packages.Count != len(c.Items) || c.Serial != 7 {
			t.Errorf("%s: %+v", row.name, has)
		}
	}
}

// A generation equals the one on the drive only if nothing of it is other.
func TestNextGenerationSays(t *testing.T) {
	t.Parallel()
	key := payload.Key{Kind: payload.Distfile, Path: "foo-1.tar.gz"}
	for name, row := range map[string]struct {
		change func(n *nextGeneration)
		same   bool
	}{
		"nothing": {func(*nextGeneration) {}, true},
		"an entry": {func(n *nextGeneration) {
			n.setEntry("app-misc/foo-1.tbz2", entryFor(t, "app-misc/foo-1.tbz2", 1, ""))
		}, false},
		"the header": {func(n *nextGeneration) {
			n.header.Set("CHOST", "riscv64-unknown-linux-gnu")
		}, false},
		"no catalogue": {func(n *nextGeneration) { n.before = nil }, false},
		"a distfile more": {func(n *nextGeneration) {
			n.stock.sizes[payload.Key{Kind: payload.Distfile, Path: "new"}] = 1
		}, false},
		"a size": {func(n *nextGeneration) { n.stock.sizes[key]++ }, false},
		"not complete": {func(n *nextGeneration) {
			n.stock.why[payload.Distfile] = ReasonNoDistfiles
		}, false},
	} {
		n := newNext()
		n.before = &pkgindex.Header{}
		n.stock = &originStock{why: make(map[payload.Kind]string),
			sizes: map[payload.Key]int64{key: 9}, facts: make(map[string]*layout.PackageFacts)}
		told, has := n.stock.tell(n.current)
		row.change(n)
		if got := n.matches(told, has); got != row.same {
			t.Errorf("%s: the same: %t", name, got)
		}
	}
}
