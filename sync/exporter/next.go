package exporter

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"pkgsneak/sync/clients"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/request"
)

// nextGeneration is what the next commit lists. It begins as what the drive holds and follows what
// is put there, so that a generation can be committed at any time. It is data: nothing is read or
// written.
type nextGeneration struct {
	current map[payload.Key]*layout.Item
	entries map[string]pkgindex.Entry // of the catalogue, by PATH
	header  pkgindex.Header
	before  *pkgindex.Header // of the catalogue on the drive; nil if there is none that can be read
	changed bool             // an entry is not that of the catalogue on the drive
	stock   *originStock
	record  layout.Record   // its descriptive fields
	others  []clients.Drive // drives on which more of it is on its way
	trees   *trees          // what it carries of ebuild repositories
}

func newNext() *nextGeneration {
	return &nextGeneration{current: make(map[payload.Key]*layout.Item),
		entries: make(map[string]pkgindex.Entry)}
}

// rebase makes the entries of the catalogue on the drive those of a catalogue with the new header:
// what stood in the old one for all of them has to stand in each.
func (n *nextGeneration) rebase() {
	if n.before == nil || n.before.Get("CHOST") == n.header.Get("CHOST") &&
		n.before.Get("REPO") == n.header.Get("REPO") {
		return
	}
	for path, e := range n.entries {
		n.setEntry(path, pkgindex.Rebase(e, *n.before, n.header))
	}
}

func (n *nextGeneration) setEntry(path string, e pkgindex.Entry) {
	if n.entries[path] != e {
		n.entries[path], n.changed = e, true
	}
}

func (n *nextGeneration) dropEntry(path string) {
	if _, ok := n.entries[path]; ok {
		delete(n.entries, path)
		n.changed = true
	}
}

// keep leaves a file as it is. The host's index may tell more of it by now than it did when it was
// copied; where it tells something else, nothing of it counts (disputes).
func (n *nextGeneration) keep(it payload.Item, h *sourceFile) {
	if n.twoEntries(it, h) && !n.disputes(it, h) {
		n.setEntry(it.Path, h.entry)
	}
}

// twoEntries reports whether both the catalogue and the host's index describe a package.
func (n *nextGeneration) twoEntries(it payload.Item, h *sourceFile) bool {
	return it.Kind == payload.Package && h.Index != (IndexSums{}) && !n.entries[it.Path].IsZero()
}

// disputes reports whether catalogue and index state different digests of a package that is the
// same on both sides, or take it for different ones: one of the two is wrong.
func (n *nextGeneration) disputes(it payload.Item, h *sourceFile) bool {
	if !n.twoEntries(it, h) {
		return false
	}
	_, same := pkgindex.SameIdentity(n.entries[it.Path], h.entry)
	return !same || indexSums(n.entries[it.Path]) != h.Index
}

// vouched brings the entries up to date of what this drive does not carry: the catalogue is the
// origin's whole index. Entries of packages that are gone from the host and of which the drive has
// no file are dropped, but for those whose names are taken there. Those of which the host's index
// tells nothing stay until it is certain what will be copied (describeRest).
func (n *nextGeneration) vouched(files map[payload.Key]*sourceFile,
	taken map[payload.Key]payload.Item) {
	for path := range n.entries {
		key := payload.Key{Kind: payload.Package, Path: path}
		_, carried := n.current[key]
		if _, had := taken[key]; !carried && !had && files[key] == nil {
			n.dropEntry(path)
		}
	}
	for key, h := range files {
		if _, carried := n.current[key]; key.Kind == payload.Package && !carried &&
			h.Index != (IndexSums{}) {
			n.setEntry(key.Path, h.entry)
		}
	}
}

// unknown are the packages that stay as they are and of which the drive tells nothing beyond their
// entries.
func (n *nextGeneration) unknown(files map[payload.Key]*sourceFile) []string {
	var paths []string
	for key := range files {
		if _, carried := n.current[key]; carried && key.Kind == payload.Package &&
			n.stock.facts[key.Path] == nil {
			paths = append(paths, key.Path)
		}
	}
	return paths
}

// undescribed lists the packages on the drive of which the catalogue has no entry, or one of
// another file, sorted.
func (n *nextGeneration) undescribed() []string {
	var paths []string
	for key, it := range n.current {
		if key.Kind == payload.Package && !describes(n.entries[key.Path], key.Path, it.Size) {
			paths = append(paths, key.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// forget takes a file out. h is the host's file of that name, nil if it has none.
func (n *nextGeneration) forget(key payload.Key, h *sourceFile) {
	delete(n.current, key)
	if key.Kind != payload.Package {
		return
	}
	delete(n.stock.facts, key.Path)
	if h != nil && h.Index != (IndexSums{}) {
		n.setEntry(key.Path, h.entry) // the origin has it all the same
	} else {
		n.dropEntry(key.Path)
	}
}

// matches reports whether catalogue and facts would be those of a generation: told are its facts,
// has is its record of them.
func (n *nextGeneration) matches(told *layout.Facts, has *layout.Holdings) bool {
	facts, now := n.stock.tell(n.current)
	if told == nil || has == nil || *has != *now || !told.Equal(facts) {
		return false
	}
	return n.before != nil && !n.changed && n.header.Same(*n.before)
}

// catalogue is the origin's whole index as the next generation has it.
func (n *nextGeneration) catalogue() *pkgindex.Index {
	index := &pkgindex.Index{Header: n.header.Clone(),
		Entries: make([]pkgindex.Entry, 0, len(n.entries))}
	paths := make([]string, 0, len(n.entries))
	for path := range n.entries {
		paths = append(paths, path)
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(strings.Compare(n.entries[a].CPV(), n.entries[b].CPV()),
			strings.Compare(a, b))
	})
	for _, path := range paths {
		index.Entries = append(index.Entries, n.entries[path])
	}
	return index
}

// contents is what is committed.
func (n *nextGeneration) contents(serial int64, at time.Time) drivewriter.Contents {
	items := make([]layout.Item, 0, len(n.current))
	for _, it := range n.current {
		items = append(items, *it)
	}
	slices.SortFunc(items, layout.CompareItems)
	facts, has := n.stock.tell(n.current)
	record, catalogue := n.record, n.catalogue()
	record.Has, record.OnOthers = has, n.onOthers(catalogue)
	n.trees.describe(&record, n.current)
	return drivewriter.Contents{Serial: serial, At: at, Items: items, Catalogue: catalogue,
		Facts: facts, Record: record}
}

// onOthers is what of a catalogue other drives carry and this one does not.
func (n *nextGeneration) onOthers(catalogue *pkgindex.Index) []layout.OnDrive {
	var list []layout.OnDrive
	for _, d := range n.others {
		bits, any := request.NewBitmap(len(catalogue.Entries)), false
		for i, e := range catalogue.Entries {
			if sum, ok := request.SumOf(e); ok && !n.carries(e.Path()) && d.Packages.Has(sum) {
				bits.Set(i)
				any = true
			}
		}
		if any {
			list = append(list, layout.OnDrive{Label: d.Label, Serial: d.Serial, Entries: bits})
		}
	}
	return list
}

// carries reports whether the next generation lists a package.
func (n *nextGeneration) carries(path string) bool {
	return n.current[payload.Key{Kind: payload.Package, Path: path}] != nil
}

// filesAfter lists what the drive carries once the plan is carried out: what it has, less what is
// removed, and what is copied.
func filesAfter(current map[payload.Key]*layout.Item, copied,
	removed []payload.Item) []drivewriter.NewFile {
	gone := make(map[payload.Key]bool, len(copied)+len(removed))
	files := make([]drivewriter.NewFile, 0, len(current)+len(copied))
	for _, it := range copied {
		gone[it.Key()] = true
		files = append(files, drivewriter.NewFile{Kind: it.Kind, Path: it.Path,
			Size: it.Size})
	}
	for _, it := range removed {
		gone[it.Key()] = true
	}
	for key, it := range current {
		if !gone[key] {
			files = append(files, drivewriter.NewFile{Kind: it.Kind, Path: it.Path, Size: it.Size})
		}
	}
	return files
}
