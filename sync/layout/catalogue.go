package layout

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// Limits of a catalogue, whose text is an index (pkgindex.MaxSize).
const (
	MaxCatalogueFile = 256 << 20 // bytes compressed
	maxWindow        = 64 << 20  // zstd window
)

// PackCatalogue compresses the origin's index, with the serial as its TIMESTAMP, and reports how
// long it is before. It is never in memory as a whole.
func PackCatalogue(catalogue *pkgindex.Index, serial int64) (packed []byte,
	plain int64, err error) {
	return packIndex(catalogue, serial, zstd.SpeedDefault)
}

// PackTightly is PackCatalogue at four times the cost, and a fifth smaller: for an index that a
// client writes to a drive.
func PackTightly(index *pkgindex.Index, serial int64) (packed []byte, plain int64, err error) {
	return packIndex(index, serial, zstd.SpeedBestCompression)
}

func packIndex(catalogue *pkgindex.Index, serial int64, level zstd.EncoderLevel) (packed []byte,
	plain int64, err error) {
	index := pkgindex.Index{Header: catalogue.Header.Clone(), Entries: catalogue.Entries}
	index.SetTimestamp(serial)
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(level),
		zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, 0, fmt.Errorf("compressing the catalogue: %w", err)
	}
	counted := &Counter{W: z}
	err = index.Write(counted)
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, 0, fmt.Errorf("writing the catalogue: %w", err)
	}
	if b.Len() > MaxCatalogueFile {
		return nil, 0, fmt.Errorf("compressing the catalogue: longer than %d bytes",
			MaxCatalogueFile)
	}
	return b.Bytes(), counted.N, nil
}

// UnpackCatalogue reads what PackCatalogue wrote, of the plain length in the record, into no more
// memory than its limits. A record may have anything: one that gives less than no bytes, or more
// than an index has, is an error.
func UnpackCatalogue(packed []byte, plain int64) (*pkgindex.Index, error) {
	if plain < 0 || plain > pkgindex.MaxSize {
		return nil, fmt.Errorf("unpacks to %d bytes, as the record says", plain)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(pkgindex.MaxSize))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	counted := &capped{r: z, left: plain, why: errors.New("longer than the record says")}
	index, err := pkgindex.Read(counted)
	if err != nil {
		return nil, err
	}
	if counted.left != 0 {
		return nil, fmt.Errorf("unpacks to %d bytes, the record says %d", plain-counted.left, plain)
	}
	return index, nil
}

// PackagesIndex is packages/Packages: the entries of the packages that lie on
// the drive in one piece, with the PATHs that they have there. It has no URI,
// which would send Portage to the network, and no TTL, which would make it
// trust an old copy.
func PackagesIndex(catalogue *pkgindex.Index, items []Item, serial int64) (*pkgindex.Index, error) {
	index := &pkgindex.Index{Header: catalogue.Header.Clone()}
	index.Header.Delete("URI")
	index.Header.Delete("TTL")
	index.SetTimestamp(serial)
	stored := make(map[string]Item, len(items))
	for _, it := range items {
		if it.Kind == payload.Package && len(it.Stored) == 1 {
			stored[it.Path] = it
		}
	}
	for _, entry := range catalogue.Entries {
		it, ok := stored[entry.Path()]
		if size, known := entry.Size(); !ok || !known || size != it.Size {
			continue
		}
		onDrive := strings.TrimPrefix(it.Stored[0].Path, PackagesDir+"/")
		if onDrive != it.Path {
			moved, err := entry.With("PATH", onDrive)
			if err != nil {
				return nil, fmt.Errorf("writing %q: %w", PackagesFile, err)
			}
			entry = moved
		}
		index.Entries = append(index.Entries, entry)
	}
	return index, nil
}

// WithoutEntry returns the packages of which a catalogue has no entry, or one
// of another size.
func WithoutEntry(catalogue *pkgindex.Index, items []Item) []Item {
	sizes := make(map[string]int64, len(catalogue.Entries))
	for _, e := range catalogue.Entries {
		if size, ok := e.Size(); ok {
			sizes[e.Path()] = size
		}
	}
	return slices.DeleteFunc(slices.Clone(items), func(it Item) bool {
		size, ok := sizes[it.Path]
		return it.Kind != payload.Package || ok && size == it.Size
	})
}
