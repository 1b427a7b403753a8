package layout

import (
	"fmt"
	"iter"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/payload"
)

// MaxName is the longest name of one file, in bytes: vfat and exFAT take 255
// UTF-16 units, everything else 255 bytes.
const MaxName = 255

// RenamedSuffix ends the stored name of a distfile that could not keep its
// own. Nothing that Portage looks for ends so.
const RenamedSuffix = ".pkgsneak"

// nameFault reports why one path component cannot be stored on every file system
// that a drive may have; "" if it can.
func nameFault(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > MaxName:
		return fmt.Sprintf("it is longer than %d bytes", MaxName)
	case strings.HasPrefix(name, "."):
		return "it begins with a dot"
	case strings.HasSuffix(name, "."):
		return "it ends with a dot, which FAT drops"
	case name[0] == ' ' || name[len(name)-1] == ' ':
		return "it begins or ends with a blank"
	}
	for i := range len(name) {
		if !storable(name[i]) {
			return fmt.Sprintf("FAT cannot store the byte %#02x in it everywhere", name[i])
		}
	}
	switch {
	case deviceName(name):
		return "it is the name of a DOS device"
	case shortAlias(name):
		return "it looks like a short alias, which another file may have"
	}
	return ""
}

// storable tells the bytes that every file system, mounted with any character
// set, stores as they are.
func storable(c byte) bool {
	return c >= ' ' && c < 0x7f && !strings.ContainsRune(`"*/:<>?\|`, rune(c))
}

// deviceName tells the names which Windows gives to devices, with any
// extension. Linux stores them, but Windows can then neither read nor delete
// the file.
func deviceName(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$":
		return true
	}
	return len(stem) == 4 && (stem[:3] == "COM" || stem[:3] == "LPT") && stem[3] >= '0' &&
		stem[3] <= '9'
}

// shortAlias tells names of the form that vfat makes up for long names
// (LONGNA~1.TAR): such a file could open another one.
func shortAlias(name string) bool {
	stem, ext, _ := strings.Cut(name, ".")
	tilde := strings.LastIndexByte(stem, '~')
	if tilde < 0 || len(stem) > 8 || len(ext) > 3 || strings.Contains(ext, ".") {
		return false
	}
	digits := stem[tilde+1:]
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// PathFault is nameFault for a whole path.
func PathFault(p string) string {
	for _, name := range strings.Split(p, "/") {
		if reason := nameFault(name); reason != "" {
			return reason
		}
	}
	return ""
}

// cleanName replaces what cannot be stored, so that what is left can be the
// beginning of a name that can.
func cleanName(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r < utf8.RuneSelf && storable(byte(r)) && r != '~' {
			b.WriteByte(byte(r))
		} else {
			b.WriteByte('_')
		}
	}
	clean := strings.TrimLeft(b.String(), ". ")
	clean = strings.TrimRight(clean, ". ")
	if clean == "" {
		clean = "_"
	}
	if deviceName(clean) {
		clean = "_" + clean
	}
	return clean
}

// FoldName maps names that any of the file systems may take for the same to
// one spelling. exFAT compares by an upcase table of Unicode, vfat by ASCII;
// this is at least as coarse as both.
func FoldName(name string) string {
	ascii := true
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToUpper(name)
	}
	return strings.Map(foldRune, name)
}

func foldRune(r rune) rune {
	r = unicode.ToUpper(r)
	lowest := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		lowest = min(lowest, next)
	}
	return lowest
}

// WantedPath is where a file lies if nothing is in the way, below ORIGIN.
func WantedPath(kind payload.Kind, name string) string {
	if kind == payload.Distfile {
		return DistfilesDir + "/" + Bucket(name) + "/" + name
	}
	return directories[kind] + "/" + name
}

// OtherPath is the n-th (from 1) name for a file that cannot have its own, and
// the names that have to be free as well. The first free one is taken, so the
// same drive always gives the same name.
func OtherPath(kind payload.Kind, name, category string, n int) (stored string, also []string) {
	switch kind {
	case payload.Distfile:
		return otherDistfile(name, n), nil
	case payload.Package:
		return otherPackage(name, category, n)
	}
	return fmt.Sprintf("%s/%s-%d", directories[kind], cleanPath(name), n+1), nil
}

// Bounds of StoredNames: a name gets a higher number or another directory only where the ones
// before it are taken, which an export frees.
const (
	likelyTries    = 8
	likelyOverflow = 9
)

// StoredNames are the names that a file, or its parts, can have been given on a drive, below
// ORIGIN: the wanted one first, then those that are given where names are taken and directories are
// full.
func StoredNames(kind payload.Kind, name, category string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range likelyTries {
			stored := WantedPath(kind, name)
			if n > 0 {
				stored, _ = OtherPath(kind, name, category, n)
			}
			for overflow := 1; overflow <= likelyOverflow; overflow++ {
				at := stored
				if overflow > 1 {
					at = OverflowPath(stored, overflow)
				}
				if !yield(at) {
					return
				}
			}
		}
	}
}

func otherDistfile(name string, n int) string {
	suffix := fmt.Sprintf(".%d%s", n, RenamedSuffix)
	stem := shorten(cleanName(name), MaxName-len(suffix)-partSuffix)
	return DistfilesDir + "/" + Bucket(stem+suffix) + "/" + stem + suffix
}

// otherPackage follows the rule of binpkg.FreePath, which goes for PKGDIR too. A
// name that cannot be stored, is no package's, or lies below All while its
// category is not known gets a number in its stem.
func otherPackage(name, category string, n int) (stored string, also []string) {
	parsed, err := binpkg.ParseName(name)
	if err == nil && (!parsed.InAll || category != "") {
		own, others := parsed.Renumbered(category, parsed.BuildID+int64(n))
		if PathFault(own) == "" {
			for _, other := range others {
				also = append(also, PackagesDir+"/"+other)
			}
			return PackagesDir + "/" + own, also
		}
	}
	stem, ext := binpkg.CutExt(path.Base(name))
	suffix := fmt.Sprintf("-%d%s", n, ext)
	base := shorten(cleanName(stem), MaxName-len(suffix)-partSuffix) + suffix
	return PackagesDir + "/" + path.Join(cleanPath(path.Dir(name)), base), nil
}

func cleanPath(p string) string {
	names := strings.Split(p, "/")
	for i, name := range names {
		if nameFault(name) != "" {
			names[i] = shorten(cleanName(name), MaxName-partSuffix)
		}
	}
	return strings.Join(names, "/")
}

func shorten(name string, limit int) string {
	if len(name) > limit {
		name = strings.TrimRight(name[:limit], ". ")
	}
	return name
}

// partSuffix is kept free behind every stored name that is made up here, so that
// its parts have room for theirs.
const partSuffix = len(".part0000")

// PartPath is the name of part i (from 0) of n parts of a file. It has none of
// the three extensions that Portage takes for a package.
func PartPath(stored string, i, n int) string {
	width := max(2, len(fmt.Sprint(n)))
	dir, base := path.Split(stored)
	return fmt.Sprintf("%s%s.part%0*d", dir, shorten(base, MaxName-partSuffix), width, i+1)
}

// OverflowPath moves a path from packages/CAT/... to packages/CAT.N/...: on
// vfat a directory that is full and holds committed files must not grow.
func OverflowPath(stored string, n int) string {
	top, rest, _ := strings.Cut(stored, "/")
	dir, rest, found := strings.Cut(rest, "/")
	if !found {
		return ""
	}
	return fmt.Sprintf("%s/%s.%d/%s", top, shorten(dir, MaxName-4), n, rest)
}
