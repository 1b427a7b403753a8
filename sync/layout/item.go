package layout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

// Item is one payload file of a generation.
type Item struct {
	Kind   payload.Kind
	Path   string // the origin's: below PKGDIR, in DISTDIR, below bin
	Size   int64
	Sum    manifest.Digest // of the whole
	Stored []manifest.File // where it lies below ORIGIN: one file, or its parts in order
}

// Key returns the key of the item.
func (it Item) Key() payload.Key { return payload.Key{Kind: it.Kind, Path: it.Path} }

// CheckList refuses a signed list that this package did not write: exactly
// one record, named after the TIMESTAMP, and no two paths that are one file on
// a drive without regard to case.
func CheckList(signed *manifest.Signed) error {
	serial := signed.Timestamp.Unix()
	for _, f := range signed.Files {
		if strings.HasPrefix(f.Path, GenerationDir+"/") && strings.HasSuffix(f.Path, ".json") &&
			f.Path != RecordFile(serial) {
			return &ListError{Reason: fmt.Sprintf("the signed list has the record %q beside that of its own time, %s", f.Path, fault.Serial(serial))}
		}
	}
	for _, needed := range []string{RecordFile(serial), CatalogueFile(serial)} {
		if _, ok := signed.Find(needed); !ok {
			return &ListError{Reason: fmt.Sprintf("the signed list has no %q: pkgsneak did not write it", needed)}
		}
	}
	paths := make([]string, len(signed.Files))
	for i, f := range signed.Files {
		paths[i] = f.Path
	}
	if same := manifest.Collisions(paths); len(same) > 0 {
		return &ListError{Reason: fmt.Sprintf("the signed list has %q, which differ in case only",
			same[0])}
	}
	return nil
}

// Items makes the items of a list and its record, which have to fit.
func Items(signed *manifest.Signed, r *Record) ([]Item, error) {
	if r.Serial != signed.Timestamp.Unix() {
		return nil, fmt.Errorf("the record is of %s, the list of %s", fault.Serial(r.Serial),
			fault.Time(signed.Timestamp))
	}
	if r.Fingerprint != signed.Signer {
		return nil, fmt.Errorf("the record names the key %s, the list is signed by %s",
			r.Fingerprint, signed.Signer)
	}
	items := make([]Item, 0, len(signed.Files))
	used := make(map[string]bool)
	for _, x := range r.Renamed {
		f, ok := signed.Find(x.Stored)
		if !ok {
			return nil, fmt.Errorf("the renamed file %q is not in the list", x.Stored)
		}
		used[f.Path] = true
		items = append(items, Item{Kind: x.Kind, Path: string(x.Path), Size: f.Size, Sum: f.Sum,
			Stored: []manifest.File{f}})
	}
	for _, x := range r.Split {
		item := Item{Kind: x.Kind, Path: string(x.Path), Size: x.Size, Sum: x.Sum}
		left := x.Size
		for _, stored := range x.Stored {
			f, ok := signed.Find(stored)
			if !ok {
				return nil, fmt.Errorf("the part %q is not in the list", stored)
			}
			used[f.Path] = true
			left -= f.Size
			item.Stored = append(item.Stored, f)
		}
		if left != 0 {
			return nil, fmt.Errorf("the parts of %q do not add up to its size", x.Path)
		}
		items = append(items, item)
	}
	for i, f := range signed.Files {
		kind, plain, ok := KindOf(f.Path)
		if !ok || used[f.Path] {
			continue
		}
		items = append(items, Item{Kind: kind, Path: plain, Size: f.Size, Sum: f.Sum,
			Stored: signed.Files[i : i+1 : i+1]}) // no copy: there are tens of thousands
	}
	slices.SortFunc(items, CompareItems)
	for i := 1; i < len(items); i++ {
		if CompareItems(items[i-1], items[i]) == 0 {
			return nil, fmt.Errorf("two files stand for the %s %q", items[i].Kind, items[i].Path)
		}
	}
	return items, nil
}

// CompareItems puts items in the order of their kinds, and paths of one kind in order.
func CompareItems(a, b Item) int {
	if c := cmp.Compare(a.Kind.Rank(), b.Kind.Rank()); c != 0 {
		return c
	}
	return strings.Compare(a.Path, b.Path)
}

// Class is fault.Untrusted.
func (e *ListError) Class() fault.Class { return fault.Untrusted }

// ListError reports that a trusted key signed a list that this package did not
// write. Nothing of it is used: it is manifest.ErrUntrusted.
type ListError struct{ Reason string }

func (e *ListError) Error() string { return e.Reason }

// Is makes it manifest.ErrUntrusted.
func (e *ListError) Is(target error) bool { return target == manifest.ErrUntrusted }
