package binpkg

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Limits. A package beyond one of them is refused; none is near what real
// packages need.
const (
	// MaxMetadata bounds the metadata of a package in bytes: the XPAK segment,
	// a GPKG's metadata archive as stored and as unpacked, and each member of a
	// GPKG that is not the image. Real ones are below 1 MiB.
	MaxMetadata = 64 << 20

	// MaxKeys bounds the number of metadata files. Real packages have about
	// forty.
	MaxKeys = 10000

	// MaxMembers bounds the members of a GPKG container. Real ones have at
	// most seven.
	MaxMembers = 100

	// MaxImageNames bounds the bytes of all names in an image, with 64 added
	// for each: what checking one may keep in memory. A kernel source tree has
	// 10 MiB.
	MaxImageNames = 256 << 20

	// An image may unpack to ImageFloor bytes whatever its stored size, and to
	// ImageRatio times its stored size beyond that. It keeps a bomb of a few
	// kilobytes from running for hours; the usual end of a long check is ctx.
	ImageFloor = 16 << 30
	ImageRatio = 1024
)

// Rules is the number of the rules that Check goes by. It grows whenever Check
// would judge a package otherwise than before, so that a remembered verdict can
// be told from one of today.
const Rules = 1

// InvalidError says that a file is no package that may be indexed or carried.
type InvalidError struct {
	Path   string // as given to Read
	Reason string // lower case, without the path
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("package %q: %s", e.Path, e.Reason)
}

// fault is the reason of an InvalidError on its way up. Every other error
// means that the file could not be read, which says nothing about the package.
type fault string

func (f fault) Error() string { return string(f) }

func faultf(format string, args ...any) error {
	return fault(fmt.Sprintf(format, args...))
}

// within says in which part of the package a fault is.
func within(part string, err error) error {
	var f fault
	if errors.As(err, &f) {
		return faultf("%s: %s", part, f)
	}
	return err
}

// verdict makes the error of an exported function.
func verdict(path string, err error) error {
	var f fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return &InvalidError{Path: path, Reason: string(f)}
	default:
		return fmt.Errorf("read package %q: %w", path, err)
	}
}

// Package is what the metadata of a package says.
type Package struct {
	// Name is from the path, except that Category is the metadata's for a
	// package below All.
	Name

	// Signed says that a GPKG carries OpenPGP signatures. They are not judged
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

// Raw returns the bytes of a metadata value. It is false for a missing key and
// for those that Keys does not list.
func (p *Package) Raw(key string) ([]byte, bool) {
	raw, ok := p.values.get(key)
	if !ok {
		return nil, false
	}
	return []byte(raw), true
}

// Read reads the metadata of the package file r of size bytes; path is its
// place below PKGDIR, with slashes. It refuses, with an *InvalidError, what
// Portage would not index and what would hurt its index, and reads no more of
// the image than it must to know that.
func Read(r io.ReaderAt, size int64, path string) (*Package, error) {
	p, err := read(r, size, path)
	if err != nil {
		return nil, verdict(path, err)
	}
	return p, nil
}

// Check reads the rest of the package, from r with the bytes that Read was
// given, and refuses, with an *InvalidError, what Portage could not install, and
// what would do harm while it is unpacked. It asks ctx as it goes and returns its
// cause when it is done.
//
// The image is read from its beginning to its end, once unless its zstd window
// is a wide one, and what comes before or after it is small: r may be fed while
// the package is being copied.
func (p *Package) Check(ctx context.Context, r io.ReaderAt) error {
	return verdict(p.path, p.rest.check(ctx, r))
}

// content is what is left to check once the metadata has been read.
type content interface {
	check(ctx context.Context, r io.ReaderAt) error
}

func read(r io.ReaderAt, size int64, path string) (*Package, error) {
	name, err := parseName(path)
	if err != nil {
		return nil, err
	}
	p := &Package{Name: name, path: path}
	switch {
	case size == 0:
		return nil, fault("empty file")
	case name.Format == GPKG:
		p.rest, err = readGPKG(p, r, size)
	default:
		p.rest, err = readXPAK(p, r, size)
	}
	if err != nil {
		return nil, err
	}
	return p, p.fit()
}
