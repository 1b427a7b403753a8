package layout

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/cpv"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/payload"
)

// Names of the tree. The names below an origin's directory are fixed at its
// first export and never change, so that the directory with the manifest copies in it
// never grows.
const (
	TreeDir    = "pkgsneak"   // below the mount point
	ReadmeFile = "README.txt" // below TreeDir, as the next two
	KeysDir    = "keys"
	ClientsDir = "clients"

	ManifestFile     = "Manifest"      // below an origin's directory, as all that follow
	NextManifestFile = "Manifest.next" // manifest copy B, the one that commits

	GenerationDir = "generation"
	PackagesDir   = "packages"
	DistfilesDir  = "distfiles"
	ReposDir      = "repos"
	BinDir        = "bin"

	PackagesFile = PackagesDir + "/Packages"     // Portage's index, derived
	LayoutFile   = DistfilesDir + "/layout.conf" // GLEP 75
)

// Layout is the contents of layout.conf: GLEP 75's filename-hash with the
// first 8 bits of BLAKE2B. Portage uses the first structure that it supports, so
// a second line would only be looked at by programs that ignore this one.
const Layout = "[structure]\n0=filename-hash BLAKE2B 8\n"

// OriginDirs are the directories of an origin, made before its manifest copies.
var OriginDirs = []string{GenerationDir, PackagesDir, DistfilesDir, ReposDir, BinDir}

// Bucket returns the directory below distfiles for a file of that name: the
// first two hex digits of BLAKE2B-512 of the name (GLEP 75).
func Bucket(name string) string {
	sum := digest.Name(name)
	return fmt.Sprintf("%02x", sum[0])
}

// RecordFile returns the path of generation serial's record below ORIGIN.
func RecordFile(serial int64) string {
	return GenerationDir + "/" + strconv.FormatInt(serial, 10) + ".json"
}

// CatalogueFile returns the path of generation serial's catalogue below ORIGIN.
func CatalogueFile(serial int64) string {
	return GenerationDir + "/" + strconv.FormatInt(serial, 10) + ".Packages.zst"
}

// FactsFile returns the path of generation serial's facts below ORIGIN.
func FactsFile(serial int64) string {
	return GenerationDir + "/" + strconv.FormatInt(serial, 10) + ".facts.zst"
}

// OwnerFile is the note, signed by the key of an origin, whose first export has begun there and has
// not committed anything yet.
const OwnerFile = GenerationDir + "/0.owner"

// generationFiles are the ends of what a generation has in GenerationDir; its number stands before
// them.
var generationFiles = []string{".json", ".Packages.zst", ".facts.zst"}

// Names of the files with which a drive is probed: one with blocks, and some that take space.
const (
	ProbeFile   = GenerationDir + "/probe"
	ReserveFile = GenerationDir + "/probe-room-"
)

// longestName is NAME_MAX. Such a name takes PlaceholderEntries entries of a
// directory on vfat: one of its own and one for each 13 characters.
const (
	longestName        = 255
	PlaceholderEntries = 21
)

// Placeholder is the name of file i of those with which a directory is grown.
// They differ in their first characters: vfat gives each a short name of six of
// them and a number, and looks through the directory once for every number that
// is taken.
func Placeholder(dir string, i int) string {
	name := fmt.Sprintf("%05d-room-", i)
	return path.Join(dir, name+strings.Repeat("x", longestName-len(name)))
}

// IsPlaceholder tells the names of Placeholder, which a pull may leave, and
// those that it made before: "room-", the number, "-".
func IsPlaceholder(base string) bool {
	if len(base) != longestName {
		return false
	}
	digits, room := base[:5], base[5:11]
	if strings.HasPrefix(base, "room-") {
		digits, room = base[5:10], "-"+base[:5]
	}
	return room == "-room-" && allDigits(digits) && base[10] == '-' &&
		strings.Trim(base[11:], "x") == ""
}

// OfLayout reports whether a directory is, or lies below, one of an origin's.
func OfLayout(dir string) bool {
	top, _, _ := strings.Cut(dir, "/")
	return slices.Contains(OriginDirs, top)
}

// Lasting tells the directories that stay when they are empty: those that the
// origin always has, categories and buckets.
func Lasting(dir string) bool {
	top, rest, _ := strings.Cut(dir, "/")
	return slices.Contains(OriginDirs, top) && !strings.Contains(rest, "/")
}

// MadeHere reports whether a path below an origin is one that this layout gives to a file: with it,
// and only in an origin of ours, an unlisted file is a leftover of a run that was pulled.
func MadeHere(name string) bool {
	top, rest, below := strings.Cut(name, "/")
	base := path.Base(name)
	dir, _, deeper := strings.Cut(rest, "/")
	switch {
	case IsPlaceholder(base):
		return true
	case !below:
		return false
	case top == GenerationDir:
		own := slices.ContainsFunc(generationFiles, func(end string) bool {
			digits, ok := strings.CutSuffix(rest, end)
			return ok && allDigits(digits)
		})
		return own || name == OwnerFile || name == ProbeFile ||
			strings.HasPrefix(name, ReserveFile) && allDigits(name[len(ReserveFile):])
	case top == PackagesDir:
		return packageMadeHere(rest)
	case top == DistfilesDir && deeper:
		file := strings.TrimPrefix(rest, dir+"/")
		bucket, overflow, moved := strings.Cut(dir, ".")
		whole := withoutPart(file)
		return !strings.Contains(file, "/") && (!moved || allDigits(overflow)) &&
			(strings.EqualFold(bucket, Bucket(whole)) || file != whole &&
				len(whole) == MaxName-partSuffix)
	case top == DistfilesDir:
		return name == LayoutFile
	case top == ReposDir:
		return CheckArchive(rest) == ""
	case top == BinDir:
		whole := withoutPart(base)
		number, other := strings.CutPrefix(whole, "pkgsneak-")
		return strings.HasPrefix(dir, "linux-") && deeper && path.Join(top, dir, base) == name &&
			(whole == "pkgsneak" || other && allDigits(number))
	}
	return false
}

// packageMadeHere reports whether a path below packages is one that a package, or a part of one,
// gets here: a name that Portage takes, on FAT below directories in another spelling of it, or one
// that otherPackage makes up.
func packageMadeHere(name string) bool {
	dir, base := path.Split(name)
	whole := withoutPart(base)
	category, sub, deep := strings.Cut(strings.TrimSuffix(dir, "/"), "/")
	if deep && len(whole) > len(sub) && strings.EqualFold(whole[:len(sub)], sub) {
		sub = whole[:len(sub)]
	}
	inAll := category == allDir || strings.HasPrefix(category, allDir+".")
	if inAll {
		category = allDir
	}
	dir = path.Join(category, sub)
	if _, err := binpkg.ParseName(path.Join(dir, whole)); err == nil {
		return true
	}
	if MadeDir(PackagesDir+"/"+dir) && len(whole) == MaxName-partSuffix &&
		(base != whole || binpkg.HasPackageSuffix(whole)) {
		return true // cut off to get room for its end
	}
	stem, ext := binpkg.CutExt(whole)
	stem, number, ok := cutLast(stem, "-")
	if !ok || !allDigits(number) || !inAll && !strings.HasPrefix(category, "_") {
		return false
	}
	_, err := binpkg.ParseName(path.Join(dir, stem+ext))
	return err == nil
}

// allDir is the directory below packages for those whose category is not known.
const allDir = "All"

// MadeDir reports whether a directory below an origin is one that this layout makes when it needs
// it: categories, those of packages with build numbers below them, buckets and the directories of
// bin.
func MadeDir(dir string) bool {
	top, rest, below := strings.Cut(dir, "/")
	category, sub, deep := strings.Cut(rest, "/")
	switch {
	case !below:
		return OfLayout(dir)
	case top != PackagesDir:
		return OfLayout(dir) && !deep
	}
	return cpv.ValidCategory(category) && !strings.Contains(sub, "/")
}

// withoutPart takes the ending off that PartPath gives a part.
func withoutPart(name string) string {
	stem, digits, ok := cutLast(name, ".part")
	if ok && len(digits) >= 2 && allDigits(digits) {
		return stem
	}
	return name
}

func allDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// KeyFile returns the path of a public key on offer, below TreeDir.
func KeyFile(fpr manifest.Fingerprint) string {
	return KeysDir + "/" + string(fpr) + ".asc"
}

// LooseFiles is what lies beside the origins, by path below TreeDir: README.txt and the public
// keys. Nothing of it is believed, so it needs no order.
func LooseFiles(ring manifest.Ring) map[string][]byte {
	files := map[string][]byte{ReadmeFile: []byte(readme)}
	for _, key := range ring {
		files[KeyFile(key.Fingerprint())] = key.Armor()
	}
	return files
}

// BinFile returns the wanted path below bin of the program for one machine
// architecture in Go's spelling (amd64, arm64, 386 ...).
func BinFile(goarch string) string { return "linux-" + goarch + "/pkgsneak" }

// MaxOriginName is the longest origin name, in bytes.
const MaxOriginName = 64

// OriginName makes a directory name out of a host's or a user's name for an
// origin: what cannot be stored becomes an underscore, what is too long is
// cut. It returns an error if nothing is left.
func OriginName(name string) (string, error) {
	clean := strings.Trim(cleanName(name), "_. ")
	clean = strings.ReplaceAll(clean, " ", "_")
	if len(clean) > MaxOriginName {
		clean = strings.Trim(clean[:MaxOriginName], "_. ")
	}
	if reservedOrigin(clean) {
		clean += "_"
	}
	if err := CheckOriginName(clean); err != nil {
		return "", fmt.Errorf("origin name %q: nothing in it can be a directory name", name)
	}
	return clean, nil
}

// CheckNewOrigin returns an error if a new origin cannot have just this name: it would be stored
// under another one, which nobody asked for.
func CheckNewOrigin(name string) error {
	stored, err := OriginName(name)
	switch {
	case name == "":
		return errors.New("the name is empty")
	case err != nil && nameFault(name) != "":
		return fmt.Errorf("%q cannot be the name of an origin: %s", name, nameFault(name))
	case err != nil:
		return err
	case stored != name:
		return fmt.Errorf("%q cannot be the name of an origin; %q can", name, stored)
	}
	return nil
}

// CheckOriginName reports whether name can be an origin's name as it is: a plain
// directory name of the tree, none of its own names.
func CheckOriginName(name string) error {
	switch reason := nameFault(name); {
	case reason != "":
		return fmt.Errorf("origin name %q: %s", name, reason)
	case len(name) > MaxOriginName+1+8:
		return fmt.Errorf("origin name %q: longer than %d bytes", name, MaxOriginName)
	case reservedOrigin(name):
		return fmt.Errorf("origin name %q: reserved", name)
	}
	return nil
}

// reservedOrigin tells the names that the tree needs for itself, and those
// that a later layout may.
func reservedOrigin(name string) bool {
	switch FoldName(name) {
	case FoldName(KeysDir), FoldName(ClientsDir), FoldName(ReadmeFile), FoldName(TreeDir):
		return true
	}
	return false
}

// Qualified is the directory name of an origin whose plain name is taken by
// another key: with the first eight digits of the fingerprint.
func Qualified(name string, fpr manifest.Fingerprint) string {
	digits := string(fpr)
	if len(digits) > 8 {
		digits = digits[:8]
	}
	return name + "-" + digits
}

// MayBeIn tells whether a directory of the tree has a name that an origin's directory can have.
func MayBeIn(dir, origin string, key manifest.Fingerprint) bool {
	return dir == origin || dir == Qualified(origin, key)
}

// directories are where payload files of each kind lie, below ORIGIN.
var directories = map[payload.Kind]string{
	payload.Package:    PackagesDir,
	payload.Distfile:   DistfilesDir,
	payload.Program:    BinDir,
	payload.Repository: ReposDir,
}

// KindOf tells the kind of a listed file, and the origin's path it stands for
// unless the record has another one. Files that are not payload have no kind.
func KindOf(stored string) (kind payload.Kind, plain string, ok bool) {
	dir, rest, found := strings.Cut(stored, "/")
	if !found || rest == "" {
		return "", "", false
	}
	switch dir {
	case PackagesDir:
		return payload.Package, rest, stored != PackagesFile
	case BinDir:
		return payload.Program, rest, true
	case ReposDir:
		return payload.Repository, rest, true
	case DistfilesDir:
		return payload.Distfile, path.Base(rest), stored != LayoutFile
	}
	return "", "", false
}
