package pkgdir

import (
	"fmt"
	"path"
	"strconv"

	"pkgsneak/sync/binpkg"
)

// FreeName returns where a package goes whose path is taken by another file: CAT/PN/PF-N.xpak or
// PF-N.gpkg.tar with the next number that is free in both formats, so that a build number is never
// given twice. category is for a package below All, whose path does not tell it. taken is asked about
// paths below PKGDIR.
func FreeName(p, category string, taken func(path string) bool) (string, error) {
	n, err := binpkg.ParseName(p)
	if err != nil {
		return "", err
	}
	if !n.InAll {
		category = n.Category
	}
	stem := path.Join(category, n.PN, n.PF) + "-"
	for id := n.BuildID + 1; id > 0; id++ {
		xpak := stem + strconv.FormatInt(id, 10) + ".xpak"
		gpkg := stem + strconv.FormatInt(id, 10) + ".gpkg.tar"
		if taken(xpak) || taken(gpkg) {
			continue
		}
		if n.Format == binpkg.GPKG {
			return gpkg, nil
		}
		return xpak, nil
	}
	return "", fmt.Errorf("no build number is left for %q", p)
}
