package doctor

import (
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
)

// mostOpened bounds the packages that are opened to see whether they are signed.
const mostOpened = 3

// signatures counts XPAK packages, which cannot be signed, and unsigned GPKG packages among the
// first few.
func signatures(dir *pkgdir.Dir, index *pkgindex.Index) (xpak, unsigned int) {
	opened := 0
	for _, entry := range index.Entries {
		name, err := binpkg.ParseName(entry.Path())
		if err != nil {
			continue
		}
		if name.Format == binpkg.XPAK {
			xpak++
			continue
		}
		if opened++; opened > mostOpened {
			continue
		}
		if p, err := readPackage(dir, name.Path); err == nil && !p.Signed {
			unsigned++
		}
	}
	return xpak, unsigned
}

func readPackage(dir *pkgdir.Dir, name string) (*binpkg.Package, error) {
	f, fi, err := dir.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return binpkg.Read(f, fi.Size(), name)
}
