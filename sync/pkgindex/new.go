package pkgindex

import (
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/depend"
)

// metadataFields are taken from a package's metadata. DESCRIPTION is not, in current Portage; SIZE
// in the metadata is the installed size, and MD5, SHA1, SIZE, MTIME and PATH of the file are for
// the caller to add.
var metadataFields = [...]field{
	fieldBDepend, fieldBuildID, fieldBuildTime, fieldCHOST, fieldDefinedPhases, fieldDepend,
	fieldEAPI, fieldIDepend, fieldIUSE,
	fieldKeywords, fieldLicense, fieldPDepend, fieldProperties, fieldProvides, fieldRDepend,
	fieldRequires, fieldRestrict, fieldSlot,
	fieldUSE, fieldRepo,
}

// reducedFields are reduced by the package's own USE; true for those that consist of atoms.
var reducedFields = [...]struct {
	field field
	atoms bool
}{
	{fieldBDepend, true}, {fieldDepend, true}, {fieldIDepend, true}, {fieldLicense, false},
	{fieldRDepend, true},
	{fieldPDepend, true}, {fieldProperties, false}, {fieldRestrict, false},
}

// NewEntry makes the entry of a package out of its metadata: get returns the value of a key of the
// package (repository, not REPO), "" if it has none, with its white space collapsed as Portage does
// when it reads a package. CATEGORY, PF and SLOT must be there. BUILD_ID has to be a number and is
// written as one. Dependencies, LICENSE, PROPERTIES and RESTRICT are reduced by USE. The error is a
// *ValueError.
func NewEntry(get func(key string) string) (Entry, error) {
	var f fields[string]
	for _, key := range []string{"CATEGORY", "PF", "SLOT"} {
		if get(key) == "" {
			return Entry{}, &ValueError{Key: key, Reason: "missing in the package"}
		}
	}
	f[fieldCPV] = get("CATEGORY") + "/" + get("PF")
	for _, i := range metadataFields {
		f[i] = get(memoryName(fieldNames[i]))
	}
	if id := f[fieldBuildID]; id != "" {
		n, ok := parseInt(id)
		if !ok {
			return Entry{}, &ValueError{Key: "BUILD_ID", Value: id, Reason: "not a number"}
		}
		f[fieldBuildID] = strconv.FormatInt(n, 10)
	}
	if err := reduceFields(&f); err != nil {
		return Entry{}, err
	}
	return newEntry(&f)
}

func reduceFields(f *fields[string]) error {
	use := flagSet(f[fieldUSE])
	for _, r := range reducedFields {
		if f[r.field] == "" {
			continue
		}
		value, err := depend.Reduce(f[r.field], use, depend.Options{Atoms: r.atoms})
		if err != nil {
			return &ValueError{Key: fieldNames[r.field], Value: f[r.field],
				Reason: err.Error(), Err: err}
		}
		f[r.field] = value
	}
	return nil
}

// flagSet returns a test for the words of use, which is split when a flag is asked for the first
// time: few packages do.
func flagSet(use string) func(string) bool {
	var flags []string
	return func(flag string) bool {
		if flags == nil {
			flags = strings.Fields(use)
			slices.Sort(flags)
		}
		_, found := slices.BinarySearch(flags, flag)
		return found
	}
}
