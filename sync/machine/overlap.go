package machine

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Overlap reports that PKGDIR and DISTDIR are one directory, or that DISTDIR lies in PKGDIR; "" if
// neither is so. A PKGDIR inside DISTDIR mixes nothing: directories are no distfiles.
func Overlap(pkgs, dists string) string {
	switch below, ok := DistdirIn(pkgs, dists); {
	case !ok:
		return ""
	case below == ".":
		return fmt.Sprintf("PKGDIR and DISTDIR are one directory, %q: files at its top are taken for distfiles, and not for packages", pkgs)
	default:
		return fmt.Sprintf("DISTDIR %q lies in PKGDIR: nothing below it is taken for a package",
			dists)
	}
}

// DistdirIn returns where DISTDIR lies below PKGDIR, "." for the same directory; links are
// followed.
func DistdirIn(pkgs, dists string) (below string, ok bool) {
	outer, err := realPath(pkgs)
	if err != nil {
		return "", false
	}
	inner, err := realPath(dists)
	if err != nil {
		return "", false
	}
	below, err = filepath.Rel(outer, inner)
	if err != nil || below == ".." || strings.HasPrefix(below, "../") {
		return "", false
	}
	return below, true
}

func realPath(dir string) (string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(real)
}
