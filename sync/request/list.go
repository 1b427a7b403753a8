package request

import (
	"fmt"
	"strings"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/resolve"
)

// InstalledEntry makes the entry of an installed package: USE is cut down to the flags of IUSE.
func InstalledEntry(p *resolve.Package) (pkgindex.Entry, error) {
	slot := p.Slot
	if slot == "" {
		slot = "0"
	}
	if p.Sub != "" && p.Sub != slot {
		slot += "/" + p.Sub
	}
	has := make(map[string]bool)
	for w := range strings.FieldsSeq(p.IUse) {
		has[strings.TrimLeft(w, "+-")] = true
	}
	var use []string
	for w := range strings.FieldsSeq(p.Use) {
		if has[w] {
			use = append(use, w)
		}
	}
	built := ""
	if p.BuildTime != 0 {
		built = fmt.Sprint(p.BuildTime)
	}
	return pkgindex.Entry{}.With("CPV", p.CPV, "SLOT", slot, "USE", strings.Join(use, " "), "IUSE",
		p.IUse, "EAPI", p.EAPI, "RDEPEND", p.RDepend,
		"PDEPEND", p.PDepend, "IDEPEND", p.IDepend, "BUILD_TIME", built, "BUILD_ID", p.BuildID,
		"KEYWORDS", p.Keywords, "LICENSE", p.License,
		"PROVIDES", p.Provides, "REQUIRES", p.Requires, "CHOST", p.CHOST, "REPO", p.Repo)
}

// PackList compresses the installed list of the request with that serial, and reports how much it
// is.
func PackList(entries []pkgindex.Entry, serial int64) ([]byte, Counts, error) {
	packed, plain, err := layout.PackTightly(&pkgindex.Index{Entries: entries}, serial)
	switch {
	case err != nil:
		return nil, Counts{}, err
	case plain > MaxList || len(packed) > MaxListFile:
		return nil, Counts{},
			fmt.Errorf("writing the list of installed packages: longer than %d bytes, or %d compressed", MaxList, MaxListFile)
	}
	return packed, Counts{len(entries), plain}, nil
}

// UnpackList reads the installed list of a request whose record gave the counts. It has at most
// MaxListStored bytes, unpacks into no more than the length in the record, and is refused if that
// is not so.
func UnpackList(packed []byte, c Counts) (*pkgindex.Index, error) {
	if len(packed) > MaxListStored || c.Bytes > MaxList {
		return nil, refuse("its installed list is longer than %d bytes, or %d compressed", MaxList,
			MaxListStored)
	}
	index, err := layout.UnpackCatalogue(packed, c.Bytes)
	if err != nil {
		return nil, refuse("its installed list: %v", err)
	}
	if len(index.Entries) != c.Packages {
		return nil, refuse("its installed list has %d packages, the record says %d",
			len(index.Entries), c.Packages)
	}
	return index, nil
}

// IsTaken reports whether a list was blanked by a host that has read it: newlines are left, or, if
// its drive was pulled meanwhile, one sector of them at least, which no packed list has.
func IsTaken(packed []byte) bool {
	blank := func(part []byte) bool {
		return len(part) > 0 && strings.Trim(string(part), "\n") == ""
	}
	for rest := packed; len(rest) >= sector; rest = rest[sector:] {
		if blank(rest[:sector]) {
			return true
		}
	}
	return blank(packed)
}

const sector = 512
