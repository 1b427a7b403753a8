package exporter

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"syscall"

	"pkgsneak/manifest"
	"pkgsneak/sync/pkgdir"
)

// candidate is a package of PKGDIR that may lie there under another name too.
type candidate struct {
	pkgdir.File
	listed bool            // by PKGDIR's index, and as it is
	sum    manifest.Digest // BLAKE2B, zero if it is not known without reading
	index  IndexSums       // of the index, zero if it does not vouch for the file
	// read makes the digest; zero for a file that cannot be read or changes meanwhile: what is
	// wrong with it is told where it is copied. The error is ctx's.
	read func(context.Context) (manifest.Digest, error)
}

// duplicates finds the packages that lie in PKGDIR under several names: hard links of All/ and the
// category, copies with the same bytes. Portage's index has one entry for them. It returns the
// names that need not be carried, each with the one that is: the one that the index lists, else the
// first. Only files of one name and version, of one size and of no two categories are compared.
func duplicates(ctx context.Context, files []candidate) (map[string]string, error) {
	type alike struct {
		pf   string
		size int64
	}
	groups := make(map[alike][]*candidate)
	for i := range files {
		k := alike{files[i].Name.PF, files[i].Info.Size()}
		groups[k] = append(groups[k], &files[i])
	}
	same := make(map[string]string)
	for _, group := range groups {
		if len(group) == 1 {
			continue
		}
		slices.SortFunc(group, func(a, b *candidate) int {
			return cmp.Or(b.rank()-a.rank(), strings.Compare(a.Path, b.Path))
		})
		if err := duplicatesAmong(ctx, group, same); err != nil {
			return nil, err
		}
	}
	return same, nil
}

func (c *candidate) rank() int {
	if c.listed {
		return 1
	}
	return 0
}

func duplicatesAmong(ctx context.Context, group []*candidate, same map[string]string) error {
	var kept []*candidate
next:
	for _, f := range group {
		for _, k := range kept {
			if !f.Name.InAll && !k.Name.InAll && f.Name.Category != k.Name.Category {
				continue
			}
			switch equal, err := sameBytes(ctx, f, k); {
			case err != nil:
				return err
			case equal:
				same[f.Path] = k.Path
				continue next
			}
		}
		kept = append(kept, f)
	}
	return nil
}

// sameBytes reports whether two packages of one size have the same contents.
func sameBytes(ctx context.Context, a, b *candidate) (bool, error) {
	x, okX := a.Info.Sys().(*syscall.Stat_t)
	y, okY := b.Info.Sys().(*syscall.Stat_t)
	switch {
	case okX && okY && x.Dev == y.Dev && x.Ino == y.Ino:
		return true, nil
	case a.sum != manifest.Digest{} && b.sum != manifest.Digest{}:
		return a.sum == b.sum, nil
	case a.index != IndexSums{} && b.index != IndexSums{}:
		return a.index == b.index, nil
	}
	for _, c := range []*candidate{a, b} {
		if c.sum != (manifest.Digest{}) {
			continue
		}
		var err error
		if c.sum, err = c.read(ctx); err != nil || c.sum == (manifest.Digest{}) {
			return false, err
		}
	}
	return a.sum == b.sum, nil
}
