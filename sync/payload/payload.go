// Package payload has the type that all packages exchange: an Item is a package or a distfile, with
// its path, its size and the reason for the list in which it stands; a Tally counts items.
package payload

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Kind is what a payload file is. Its text stands in records, reports and the state.
type Kind string

// The kinds of payload. A Package's path is the one below the origin's PKGDIR, a Distfile's is its
// name in DISTDIR, a Program's is the one below bin on a drive, a packed ebuild Repository's the
// one below repos. A machine has the first two in its directories, a drive has all of them.
const (
	Package    Kind = "package"
	Distfile   Kind = "distfile"
	Program    Kind = "program"
	Repository Kind = "repository"
)

// Kinds are the kinds of payload in their order.
var Kinds = []Kind{Package, Distfile, Program, Repository}

// Rank orders the kinds: that of Kinds, and last what is no payload.
func (k Kind) Rank() int {
	switch k {
	case Package:
		return 0
	case Distfile:
		return 1
	case Program:
		return 2
	case Repository:
		return 3
	}
	return len(Kinds)
}

// Item is one payload file in a plan or a report. Path is below PKGDIR for a package and the file's
// name for a distfile.
type Item struct {
	Kind   Kind   `json:"kind"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Reason string `json:"reason,omitempty"` // why it is in the list it is in
	Local  string `json:"local,omitempty"`  // its place on the client, where that is not Path
	Hint   string `json:"hint,omitempty"`   // the command that helps
}

// Tally counts the files of a list and their bytes.
type Tally struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Add counts one more file of size bytes.
func (t *Tally) Add(size int64) {
	t.Files++
	t.Bytes = Plus(t.Bytes, size)
}

// Plus adds sizes in bytes, which are not negative. Signed sizes may add up to more than fits.
func Plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// Count tallies items.
func Count(items []Item) Tally {
	t := Tally{Files: len(items)}
	for _, it := range items {
		t.Bytes = Plus(t.Bytes, it.Size)
	}
	return t
}

// Sort sorts items with Compare.
func Sort(items []Item) { slices.SortFunc(items, Compare) }

// Compare puts items in the order of their kinds (Rank), and paths of one kind in order.
func Compare(a, b Item) int {
	if c := cmp.Compare(a.Kind.Rank(), b.Kind.Rank()); c != 0 {
		return c
	}
	return strings.Compare(a.Path, b.Path)
}

// Key identifies a payload file of an origin.
type Key struct {
	Kind Kind   `json:"kind"`
	Path string `json:"path"`
}

// Key returns the key of the item.
func (it Item) Key() Key { return Key{it.Kind, it.Path} }

// Fitting counts how many of the items fit into free bytes, smallest first.
func Fitting(items []Item, free int64) Tally {
	sorted := slices.Clone(items)
	slices.SortFunc(sorted, func(a, b Item) int { return cmp.Compare(a.Size, b.Size) })
	var t Tally
	for _, it := range sorted {
		if t.Bytes+it.Size > free {
			break
		}
		t.Add(it.Size)
	}
	return t
}

// Shrunk reports whether so many files fell away that a mistake is likelier than intent: all of
// them, or more than half.
func Shrunk(before, after int) bool { return before > 0 && after*2 < before }
