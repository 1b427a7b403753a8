package binpkg

import (
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/cpv"
)

// Format is the format of a package file; the name alone decides it.
type Format uint8

// The two formats.
const (
	XPAK Format = iota // .tbz2 and .xpak
	GPKG               // .gpkg.tar
)

// formats is the table of the formats: a row each, and a file of its own that reads it.
var formats = [...]struct {
	media string // media type
	ext   string // of a name with a build id
	read  func(p *Package, r io.ReaderAt, size int64) (content, error)
}{
	XPAK: {"application/vnd.gentoo.xpak", extXPAK, readXPAK},
	GPKG: {"application/vnd.gentoo.gpkg", extGPKG, readGPKG},
}

// MediaType returns the type that an HTTP server gives to packages of the format.
func (f Format) MediaType() string { return formats[f].media }

// The three extensions.
const (
	extTBZ2 = ".tbz2"
	extXPAK = ".xpak"
	extGPKG = ".gpkg.tar"
)

// extensions are those of the formats.
var extensions = [...]struct {
	ext    string
	format Format
}{{extGPKG, GPKG}, {extXPAK, XPAK}, {extTBZ2, XPAK}}

// HasPackageSuffix reports whether base ends as a package file does. Everything
// else in a PKGDIR is none of Portage's packages.
func HasPackageSuffix(base string) bool {
	_, ext := CutExt(base)
	return ext != ""
}

// LikePackage reports whether a file that has no package's name may be one all the same: its
// extension is written in another way (.XPAK), or something follows it (.xpak.part, .gpkg.tar.zst).
// A signature or a digest beside a package is none.
func LikePackage(base string) bool {
	if HasPackageSuffix(base) || IsPartial(base) {
		return false
	}
	lower := strings.ToLower(base)
	for _, e := range extensions {
		i := strings.LastIndex(lower, e.ext)
		end := i + len(e.ext)
		if i > 0 && (end == len(lower) || lower[end] == '.' || lower[end] == '~') &&
			!slices.Contains(beside, lower[end:]) {
			return true
		}
	}
	return false
}

// beside end the names of what people lay beside a package.
var beside = []string{".sig", ".asc", ".md5", ".sha1", ".sha256", ".sha512", ".b2"}

// FormatOf returns the format of a file of this name; false if it is no package's.
func FormatOf(base string) (Format, bool) {
	for _, e := range extensions {
		if strings.HasSuffix(base, e.ext) {
			return e.format, true
		}
	}
	return 0, false
}

// IsPartial reports whether emerge gives this name to a package that it is still
// writing: NAME.tbz2XXXXXXXX.PID.
func IsPartial(base string) bool {
	i := strings.LastIndexByte(base, '.')
	if i < 0 || i == len(base)-1 || strings.Trim(base[i+1:], "0123456789") != "" {
		return false
	}
	for _, e := range extensions {
		if strings.Contains(base[:i], e.ext) {
			return true
		}
	}
	return false
}

// CutExt splits one of the three extensions off a name; ext is "" if there is none.
func CutExt(base string) (stem, ext string) {
	for _, e := range extensions {
		if stem, ok := strings.CutSuffix(base, e.ext); ok {
			return stem, e.ext
		}
	}
	return base, ""
}

// Name is the meaning of the path of a package file below PKGDIR.
type Name struct {
	Path     string // with slashes
	Format   Format
	Category string // "" if InAll
	PN       string
	PF       string
	BuildID  int64 // from the name; 0 in the classic layout
	InAll    bool  // below All, the directory of old layouts
}

// ParseName reads the path of a package file below PKGDIR. Four shapes fit:
//
//	CAT/PF.tbz2          or All/PF.tbz2
//	CAT/PF.gpkg.tar      or All/PF.gpkg.tar
//	CAT/PN/PF-N.xpak     N is 1 or more, without leading zeros
//	CAT/PN/PF-N.gpkg.tar
//
// Portage does not index files of any other shape. The error is an
// *InvalidError.
func ParseName(p string) (Name, error) {
	n, err := parseName(p)
	if err != nil {
		return Name{}, verdict(p, err)
	}
	return n, nil
}

func parseName(p string) (Name, error) {
	if !plainPath([]byte(p)) {
		return Name{}, fault("not a path below PKGDIR")
	}
	dir, base := path.Split(p)
	dir = strings.TrimSuffix(dir, "/")
	stem, ext := CutExt(base)
	if ext == "" {
		return Name{}, fault("none of the extensions .tbz2, .xpak, .gpkg.tar")
	}
	n := Name{Path: p, PF: stem}
	n.Format, _ = FormatOf(base)
	if ext != extTBZ2 {
		if pf, id, ok := cutBuildID(stem); ok {
			n.PF, n.BuildID = pf, id
		}
	}
	if ext == extXPAK && n.BuildID == 0 {
		return Name{}, fault("an .xpak name has no build id")
	}
	pn, _, ok := cpv.SplitPF(n.PF)
	if !ok {
		return Name{}, faultf("%q is not a package name with a version", n.PF)
	}
	n.PN = pn
	return n, n.place(dir)
}

// cutBuildID takes "-N" off a stem if what is left is a PF: foo-1-2 is foo-1
// with build id 2, foo-2 has none.
func cutBuildID(stem string) (pf string, id int64, ok bool) {
	i := strings.LastIndexByte(stem, '-')
	if i < 0 {
		return "", 0, false
	}
	id, err := strconv.ParseInt(stem[i+1:], 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != stem[i+1:] {
		return "", 0, false
	}
	if _, _, ok := cpv.SplitPF(stem[:i]); !ok {
		return "", 0, false
	}
	return stem[:i], id, true
}

// place fills in what the directory states.
func (n *Name) place(dir string) error {
	cat, sub, deep := strings.Cut(dir, "/")
	switch {
	case n.BuildID > 0 && (!deep || sub != n.PN):
		return faultf("a name with a build id belongs into CATEGORY/%s, not %q", n.PN, dir)
	case n.BuildID == 0 && deep:
		return faultf("a name without a build id belongs into CATEGORY, not %q", dir)
	case dir == "All":
		n.InAll = true
		return nil
	case !cpv.ValidCategory(cat):
		return faultf("%q is not a category", cat)
	}
	n.Category = cat
	return nil
}

// Renumbered returns the path of the package under another build number,
// CAT/PN/PF-N.xpak or CAT/PN/PF-N.gpkg.tar, and those that other formats would
// have. Real Portage takes both for packages without a BUILD_ID too. The
// category is for a package below All, whose path does not tell it.
func (n Name) Renumbered(category string, id int64) (own string, others []string) {
	if !n.InAll {
		category = n.Category
	}
	stem := path.Join(category, n.PN, n.PF) + "-" + strconv.FormatInt(id, 10)
	for f := range formats {
		if Format(f) != n.Format {
			others = append(others, stem+formats[f].ext)
		}
	}
	return stem + formats[n.Format].ext, others
}

// FreePath is the rule for a package whose path is taken by another file: the
// build number after its own, or the next one that is free in all formats, so
// that a number is never given twice. taken is asked about paths below PKGDIR.
func FreePath(p, category string, taken func(path string) bool) (string, error) {
	n, err := ParseName(p)
	if err != nil {
		return "", err
	}
	for id := n.BuildID + 1; id > 0; id++ {
		own, others := n.Renumbered(category, id)
		if !taken(own) && !slices.ContainsFunc(others, taken) {
			return own, nil
		}
	}
	return "", verdict(p, fault("no build number is left for it"))
}
