package drive

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// Generation is one verified state of an origin.
type Generation struct {
	Dir    string           // the origin's directory below TreeDir
	Signed *manifest.Signed // the verified list
	Record *layout.Record
	// of the signed text as it lies in the copy, without the padding behind it
	Sum   digest.Blake2b
	File  string    // where it was read from: ManifestFile or NextManifestFile
	Other CopyState // what the other manifest copy was like

	drive *Drive
	root  *os.Root // the origin's directory
	items []layout.Item
}

// CopyState is what one manifest copy was like.
type CopyState struct {
	Name   string
	Serial int64 // of a valid one
	Err    error // why it is not valid; manifest.ErrNotSigned if blank or torn at the start
}

// Load reads both manifest copies of an origin and returns the generation of the valid one with the
// higher serial. If neither is valid, the error is the most telling of the two: an
// *manifest.UnknownKeyError before a broken signature, that before a blank manifest copy
// (ErrNoTree). A damaged record is a *DamagedError.
func (d *Drive) Load(origin string, ring manifest.Ring, now time.Time) (*Generation, error) {
	best, other, err := d.loadCopies(origin, ring, now)
	if err != nil {
		return nil, err
	}
	return d.FromCopies(origin, best, other)
}

// FromCopies reads the record of a verified list and puts both together.
func (d *Drive) FromCopies(origin string, best, other ManifestCopy) (*Generation, error) {
	root, err := d.root.OpenRoot(origin)
	if err != nil {
		return nil, d.Classify("opening", origin, err)
	}
	g := &Generation{Dir: origin, Signed: best.Signed, Sum: digest.Bytes(best.Text),
		File:  best.State.Name,
		Other: other.State, drive: d, root: root}
	if err := g.readRecord(); err != nil {
		root.Close()
		return nil, err
	}
	return g, nil
}

func (g *Generation) readRecord() error {
	name := layout.RecordFile(g.Serial())
	data, err := g.readListed(name, layout.MaxRecord)
	if err != nil {
		return err
	}
	if g.Record, err = layout.ParseRecord(data); err != nil {
		var format *layout.FormatError
		if errors.As(err, &format) {
			return err
		}
		return &DamagedError{Path: name, Reason: err.Error()}
	}
	if g.items, err = layout.Items(g.Signed, g.Record); err != nil {
		return &DamagedError{Path: name, Reason: err.Error()}
	}
	return nil
}

// Serial returns the generation's number: its TIMESTAMP in Unix seconds.
func (g *Generation) Serial() int64 { return g.Signed.Timestamp.Unix() }

// Items returns the payload of one kind, sorted by path. The slice is the
// generation's own.
func (g *Generation) Items(kind payload.Kind) []layout.Item {
	begin := func(rank int) int {
		at, _ := slices.BinarySearchFunc(g.items, rank, func(it layout.Item, rank int) int {
			return cmp.Compare(it.Kind.Rank(), rank)
		})
		return at
	}
	from, to := begin(kind.Rank()), begin(kind.Rank()+1)
	return g.items[from:to:to]
}

// All returns the whole payload, sorted by kind and path. The slice is the generation's own.
func (g *Generation) All() []layout.Item { return g.items }

// Packages returns the packages, sorted by path.
func (g *Generation) Packages() []layout.Item { return g.Items(payload.Package) }

// Distfiles returns the distfiles, sorted by name.
func (g *Generation) Distfiles() []layout.Item { return g.Items(payload.Distfile) }

// Programs returns the pkgsneak binaries, sorted by path.
func (g *Generation) Programs() []layout.Item { return g.Items(payload.Program) }

// Find returns the item with the origin's path.
func (g *Generation) Find(kind payload.Kind, name string) (layout.Item, bool) {
	i, ok := slices.BinarySearchFunc(g.items, layout.Item{Kind: kind, Path: name},
		layout.CompareItems)
	if !ok {
		return layout.Item{}, false
	}
	return g.items[i], true
}

// Close gives back what the generation holds open.
func (g *Generation) Close() error { return g.root.Close() }

// readListed reads a listed file of at most limit bytes and compares it.
func (g *Generation) readListed(name string, limit int64) ([]byte, error) {
	f, ok := g.Signed.Find(name)
	if !ok {
		return nil, &DamagedError{Path: name, Reason: "not in the signed list"}
	}
	if f.Size > limit {
		return nil, &DamagedError{Path: name, Reason: fmt.Sprintf("longer than %d bytes", limit)}
	}
	r := g.openItem(layout.Item{Path: name, Size: f.Size, Sum: f.Sum, Stored: []manifest.File{f}})
	defer r.Close()
	return io.ReadAll(r)
}

// Catalogue reads the origin's whole index. It is verified before it is
// unpacked, and unpacked into no more memory than its limits.
func (g *Generation) Catalogue() (*pkgindex.Index, error) {
	name := layout.CatalogueFile(g.Serial())
	packed, err := g.readListed(name, layout.MaxCatalogueFile)
	if err != nil {
		return nil, err
	}
	index, err := layout.UnpackCatalogue(packed, g.Record.Counts.CatalogueBytes)
	if err != nil {
		return nil, &DamagedError{Path: name, Reason: err.Error()}
	}
	return index, nil
}

// Facts reads what the origin has and what is known of its packages; nil for a
// generation of an older program, which does not tell. They are verified
// before they are unpacked. The error is a *DamagedError, a
// *FactsVersionError, or the drive's.
func (g *Generation) Facts() (*layout.Facts, error) {
	name := layout.FactsFile(g.Serial())
	if _, told := g.Signed.Find(name); !told {
		return nil, nil
	}
	packed, err := g.readListed(name, layout.MaxFactsFile)
	if err != nil {
		return nil, err
	}
	facts, err := layout.UnpackFacts(packed)
	var newer *layout.FactsVersionError
	switch {
	case errors.As(err, &newer):
		return nil, newer
	case err != nil:
		return nil, &DamagedError{Path: name, Reason: err.Error()}
	}
	return facts, nil
}

// Open opens an item for reading, its parts joined. Never more bytes than the
// signed size are read. The last Read returns a *DamagedError if the file is
// short, long, or not the one that was signed, and the bytes before are worth
// nothing then; a *GoneError reports that the drive went away.
func (g *Generation) Open(it layout.Item) (io.ReadCloser, error) {
	r := g.openItem(it)
	// An absent file is told at once.
	if err := r.next(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// OpenAt opens an item for reading anywhere in it, its parts joined. Nothing
// that is read is compared with what was signed: read the item with Open first.
func (g *Generation) OpenAt(it layout.Item) (*ItemAt, error) {
	at := &ItemAt{}
	for _, stored := range it.Stored {
		f, info, err := g.drive.openRegular(g.root, stored.Path)
		if err == nil && info.Size() != stored.Size {
			f.Close()
			err = &DamagedError{Path: stored.Path, Reason: "not of the size that was signed"}
		}
		if err != nil {
			at.Close()
			return nil, err
		}
		at.parts, at.sizes = append(at.parts, f), append(at.sizes, stored.Size)
	}
	return at, nil
}

func (g *Generation) openItem(it layout.Item) *itemReader {
	r := &itemReader{d: g.drive, root: g.root, it: it, hash: digest.New(digest.BLAKE2B)}
	if len(it.Stored) > 1 {
		r.part = digest.New(digest.BLAKE2B)
	}
	return r
}

// NewGeneration opens what a session has just committed: g has all but what is not exported, and
// items are what its list and its record state together.
func NewGeneration(d *Drive, g Generation, items []layout.Item) (*Generation, error) {
	root, err := d.root.OpenRoot(g.Dir)
	if err != nil {
		return nil, err
	}
	g.drive, g.root, g.items = d, root, items
	return &g, nil
}
