package binpkg

import (
	"context"
	"io"
	"strconv"

	"pkgsneak/sync/cpv"
)

// Package is what the metadata of a package states.
type Package struct {
	// Name is from the path, except that Category is the metadata's for a
	// package below All.
	Name

	// Signed means that a GPKG carries OpenPGP signatures. They are not judged
	// here.
	Signed bool

	path   string // as given to Read
	values metadata
	rest   content
}

// Get returns a metadata value as Portage's index has it: decoded as UTF-8
// with U+FFFD for what is none, white space collapsed to single blanks. A
// missing EAPI is "0", other missing keys and those that Keys does not list
// are "".
func (p *Package) Get(key string) string {
	raw, ok := p.values.get(key)
	if !ok && key == "EAPI" {
		return "0"
	}
	return collapse(raw)
}

// fit refuses metadata that is incomplete or contradicts the name, and
// completes the name of a package below All.
func (p *Package) fit() error {
	for _, key := range [...]string{"CATEGORY", "PF", "SLOT"} {
		if p.Get(key) == "" {
			return faultf("no %s in the metadata", key)
		}
	}
	if pf := p.Get("PF"); pf != p.PF {
		return faultf("the name says %q, the metadata %q", p.PF, pf)
	}
	if id := p.Get("BUILD_ID"); id != "" {
		if _, err := strconv.ParseUint(id, 10, 63); err != nil {
			return faultf("BUILD_ID %q is not a number", id)
		}
	}
	cat := p.Get("CATEGORY")
	switch {
	case !cpv.ValidCategory(cat):
		return faultf("CATEGORY %q is not a category", cat)
	case p.InAll:
		p.Category = cat
	case cat != p.Category:
		return faultf("the directory says category %q, the metadata %q", p.Category, cat)
	}
	return nil
}

// content is what is left to check once the metadata has been read.
type content interface {
	check(ctx context.Context, r io.ReaderAt) error
}
