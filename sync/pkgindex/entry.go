package pkgindex

import (
	"encoding/hex"
	"io/fs"
	"iter"
	"math"
	"strings"
	"unicode/utf8"

	"pkgsneak/sync/cpv"
)

// field is the rank of a key in an entry.
type field int

const (
	fieldBaseURI field = iota
	fieldBDepend
	fieldBuildID
	fieldBuildTime
	fieldCHOST
	fieldCPV
	fieldDefinedPhases
	fieldDepend
	fieldDesc
	fieldEAPI
	fieldFetchCommand
	fieldIDepend
	fieldIUSE
	fieldKeywords
	fieldLicense
	fieldMD5
	fieldPath
	fieldPDepend
	fieldPkgindexURI
	fieldProperties
	fieldProvides
	fieldRDepend
	fieldRequires
	fieldRestrict
	fieldResumeCommand
	fieldSHA1
	fieldSize
	fieldSlot
	fieldUSE
	fieldMTime
	fieldRepo
	numFields
)

// fieldNames are the keys as they stand in the file, in its order.
var fieldNames = [numFields]string{
	"BASE_URI", "BDEPEND", "BUILD_ID", "BUILD_TIME", "CHOST", "CPV", "DEFINED_PHASES", "DEPEND",
	"DESC", "EAPI", "FETCHCOMMAND",
	"IDEPEND", "IUSE", "KEYWORDS", "LICENSE", "MD5", "PATH", "PDEPEND", "PKGINDEX_URI",
	"PROPERTIES", "PROVIDES", "RDEPEND",
	"REQUIRES", "RESTRICT", "RESUMECOMMAND", "SHA1", "SIZE", "SLOT", "USE", "MTIME", "REPO",
}

var fieldByName = func() map[string]field {
	m := make(map[string]field, numFields)
	for f, name := range fieldNames {
		m[name] = field(f)
	}
	return m
}()

// diskName returns the name that a key has in the file.
func diskName(key string) string {
	switch key {
	case "DESCRIPTION":
		return "DESC"
	case "_mtime_":
		return "MTIME"
	case "repository":
		return "REPO"
	}
	return key
}

// memoryName returns the name that a key has inside Portage. Keys are sorted by it.
func memoryName(key string) string {
	switch key {
	case "DESC":
		return "DESCRIPTION"
	case "MTIME":
		return "_mtime_"
	case "REPO":
		return "repository"
	}
	return key
}

// defaultValue is what a key has when it does not stand in an entry.
func defaultValue(f field) string {
	if f == fieldEAPI || f == fieldSlot {
		return "0"
	}
	return ""
}

// Entry is an index's entry of one package. It is a value: no method changes it, and copies
// are cheap. Only Read, NewEntry, With and Rebase make entries, so that each can be written. The
// zero value stands for no entry.
type Entry struct {
	text string // lines as in the file, in its order, without those that have a default value
	cpv  string // part of text
}

// fields are the values of an entry while it is made.
type fields[T ~string | ~[]byte] [numFields]T

// encode makes an entry of fields; scratch is where it is put together, and is returned for the
// next one.
func encode[T ~string | ~[]byte](f *fields[T], scratch []byte) (Entry, []byte) {
	b := scratch[:0]
	var start, end int
	for i := range f {
		if len(f[i]) == 0 || string(f[i]) == defaultValue(field(i)) {
			continue
		}
		b = append(b, fieldNames[i]...)
		b = append(b, ": "...)
		if field(i) == fieldCPV {
			start, end = len(b), len(b)+len(f[i])
		}
		b = append(b, f[i]...)
		b = append(b, '\n')
	}
	text := string(b)
	return Entry{text: text, cpv: text[start:end]}, b
}

// decode is the reverse of encode.
func (e Entry) decode() (f fields[string]) {
	i := field(0)
	for key, value := range e.All() {
		for fieldNames[i] != key {
			i++
		}
		f[i] = value
	}
	return f
}

// All yields the keys and values that stand in the entry, as in the file and in its order.
func (e Entry) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for line := range strings.Lines(e.text) {
			key, value, _ := strings.Cut(line[:len(line)-1], ": ")
			if !yield(key, value) {
				return
			}
		}
	}
}

// Get returns the value of a key, named as in the file (REPO) or as in Portage (repository). The
// value of a key that does not stand in the entry is "", and "0" for EAPI and SLOT.
func (e Entry) Get(key string) string {
	key = diskName(key)
	for text := e.text; text != ""; {
		line, rest, _ := strings.Cut(text, "\n")
		if len(line) > len(key)+2 && line[len(key)] == ':' && line[:len(key)] == key {
			return line[len(key)+2:]
		}
		text = rest
	}
	if f, known := fieldByName[key]; known {
		return defaultValue(f)
	}
	return ""
}

// IsZero reports whether e is no entry.
func (e Entry) IsZero() bool { return e.text == "" }

// CPV returns category/package-version.
func (e Entry) CPV() string { return e.cpv }

// Path returns where the package lies below PKGDIR: PATH, or CPV.tbz2 where there is none.
func (e Entry) Path() string {
	if path := e.Get("PATH"); path != "" {
		return path
	}
	return e.cpv + ".tbz2"
}

// BuildID returns BUILD_ID. It comes from the package's metadata and may differ from the number in
// the file name.
func (e Entry) BuildID() (int64, bool) { return parseInt(e.Get("BUILD_ID")) }

// BuildTime returns BUILD_TIME in Unix seconds.
func (e Entry) BuildTime() (int64, bool) { return parseInt(e.Get("BUILD_TIME")) }

// Size returns SIZE, the size of the file in bytes.
func (e Entry) Size() (int64, bool) { return parseInt(e.Get("SIZE")) }

// MTime returns MTIME, the modification time of the file in whole Unix seconds.
func (e Entry) MTime() (int64, bool) { return parseInt(e.Get("MTIME")) }

// MaxMTime is the latest MTIME that a package carried to another machine may have, in Unix seconds,
// as of OpenPGP. The earliest is 0.
const MaxMTime = math.MaxUint32

// ValidMTime reports whether a package that is carried to another machine may have the modification
// time: one that every file system which holds a PKGDIR can store.
func ValidMTime(seconds int64) bool { return seconds >= 0 && seconds <= MaxMTime }

// MD5 returns the digest of the file. One that is not lower-case hex of the right length counts as
// none: Portage would not take the file for the same.
func (e Entry) MD5() (sum [16]byte, ok bool) { return sum, decodeHex(sum[:], e.Get("MD5")) }

// SHA1 returns the digest of the file, as MD5.
func (e Entry) SHA1() (sum [20]byte, ok bool) { return sum, decodeHex(sum[:], e.Get("SHA1")) }

func decodeHex(dst []byte, s string) bool {
	if len(s) != hex.EncodedLen(len(dst)) || strings.ToLower(s) != s {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// With returns the entry with other values: With("PATH", path, "SIZE", size). An empty value
// removes the key. The error is a *ValueError.
func (e Entry) With(keysAndValues ...string) (Entry, error) {
	f := e.decode()
	same := !e.IsZero()
	for i := 0; i < len(keysAndValues); i += 2 {
		key := diskName(keysAndValues[i])
		if i+1 == len(keysAndValues) {
			return Entry{}, &ValueError{Key: key, Reason: "no value given"}
		}
		rank, known := fieldByName[key]
		if !known {
			return Entry{}, &ValueError{Key: key, Value: keysAndValues[i+1],
				Reason: "not a key of an entry"}
		}
		same = same && f[rank] == keysAndValues[i+1]
		f[rank] = keysAndValues[i+1]
	}
	if same { // tens of thousands of entries are in memory
		return e, nil
	}
	return newEntry(&f)
}

// newEntry checks and encodes.
func newEntry(f *fields[string]) (Entry, error) {
	size := 0
	for i, value := range f {
		if value == "" {
			continue
		}
		name := fieldNames[i]
		n := lineLen(name, value)
		size += n
		switch {
		case !isText(value):
			return Entry{}, &ValueError{Key: name, Value: value,
				Reason: "has control characters or is no UTF-8"}
		case trimBlanks(value) != value:
			return Entry{}, &ValueError{Key: name, Value: value, Reason: "has blanks around it"}
		case n > MaxLine || size > MaxBlock:
			return Entry{}, &ValueError{Key: name, Value: value, Reason: "too long"}
		}
	}
	if reason := checkIdentity(f[fieldCPV], f[fieldPath]); reason != "" {
		return Entry{}, &ValueError{Key: "CPV", Value: f[fieldCPV], Reason: reason}
	}
	e, _ := encode(f, make([]byte, 0, size))
	return e, nil
}

// checkIdentity reports what is wrong with a CPV (Portage aborts on one that is none) and a PATH,
// which may be empty.
func checkIdentity(name, path string) string {
	if name == "" {
		return "no CPV"
	}
	if _, err := cpv.Parse(name); err != nil {
		return "not a category/package-version"
	}
	switch {
	case path == "", path != "." && fs.ValidPath(path):
		return ""
	case stays(path):
		return "its PATH is not written as Portage writes it, without \".\", \"..\" and double slashes"
	}
	return "its PATH is none below PKGDIR"
}

// stays reports whether a path that is not in its plain form names something below the directory it
// starts in, and leaves it nowhere on the way.
func stays(path string) bool {
	depth := 0
	for i, part := range strings.Split(path, "/") {
		switch {
		case part == "" && i == 0, !utf8.ValidString(part):
			return false
		case part == "", part == ".":
		case part == "..":
			if depth--; depth < 0 {
				return false
			}
		default:
			depth++
		}
	}
	return depth > 0
}

// Complete reports whether the entry, in an index with header h, has all that Portage wants to see
// before it believes an entry without reading the package: SIZE, MTIME, a repository and a CHOST.
// The last two may be the header's. MD5 and SHA1 are not asked for.
func (e Entry) Complete(h Header) bool {
	_, hasSize := e.Size()
	_, hasMTime := e.MTime()
	return e.cpv != "" && hasSize && hasMTime &&
		(e.Get("CHOST") != "" || h.Get("CHOST") != "") &&
		(e.Get("REPO") != "" || h.Get("REPO") != "")
}

// Rebase returns e, an entry of an index with header from, as an entry for an index with header to:
// CHOST and REPO stand in it if e or from has them. If neither does, Portage would give it those of
// to, so these are made plain too.
func Rebase(e Entry, from, to Header) Entry {
	if e.IsZero() || e.Get("CHOST") != "" && e.Get("REPO") != "" {
		return e
	}
	f := e.decode()
	for _, i := range []field{fieldCHOST, fieldRepo} {
		for _, h := range []Header{from, to} {
			if value := h.Get(fieldNames[i]); f[i] == "" && isText(value) {
				f[i] = value
			}
		}
	}
	e, _ = encode(&f, make([]byte, 0, len(e.text)+64))
	return e
}

// Instance is what Portage tells packages apart by. Entries with the same Instance are one package
// to it, and the last one counts. A number that is missing is Missing, one that is none is -1; a
// missing BuildTime is 0.
type Instance struct {
	CPV                             string
	BuildID, Size, BuildTime, MTime int64
}

// Missing is a number of an Instance that its entry does not have.
const Missing = math.MinInt64

// InstanceKey returns what Portage tells the entry apart by.
func InstanceKey(e Entry) Instance {
	return Instance{
		CPV:       e.cpv,
		BuildID:   instanceNumber(e.Get("BUILD_ID"), Missing),
		Size:      instanceNumber(e.Get("SIZE"), Missing),
		BuildTime: instanceNumber(e.Get("BUILD_TIME"), 0),
		MTime:     instanceNumber(e.Get("MTIME"), Missing),
	}
}

func instanceNumber(s string, missing int64) int64 {
	if s == "" {
		return missing
	}
	if n, ok := parseInt(s); ok {
		return n
	}
	return -1
}
