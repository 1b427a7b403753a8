package binpkg

import (
	"context"
	"io"
)

// Rules is the number of the rules that Read and Check go by. It grows whenever
// one of them would refuse a package that it accepted before, or accept one that
// it refused, so that a remembered verdict, of either kind, can be told from one
// of today.
const Rules = 2

// Read reads the metadata of the package file r of size bytes; path is its
// place below PKGDIR, with slashes. It refuses, with an *InvalidError, what
// Portage would not index and what would hurt its index, and reads no more of
// the image than that takes.
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

func read(r io.ReaderAt, size int64, path string) (*Package, error) {
	name, err := parseName(path)
	if err != nil {
		return nil, err
	}
	p := &Package{Name: name, path: path}
	if size == 0 {
		return nil, fault("empty file")
	}
	if p.rest, err = formats[name.Format].read(p, r, size); err != nil {
		return nil, err
	}
	return p, p.fit()
}
