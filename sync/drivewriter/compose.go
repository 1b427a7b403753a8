package drivewriter

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// Contents is what a generation shall be.
type Contents struct {
	Serial int64     // above Last
	At     time.Time // of the signature
	// Items are all files of the generation: of the committed one what stays, and what was put. A
	// file that is in neither leaves the drive.
	Items []layout.Item
	// Catalogue is the origin's whole index, by PATHs of its PKGDIR. It is not
	// changed; what is written has the serial for TIMESTAMP.
	Catalogue *pkgindex.Index
	// Facts are what the origin has and what is known of its packages; Record.Has
	// is about them. If both are nil, the generation does not tell.
	Facts *layout.Facts
	// Record has the descriptive fields, and Has. Format, Origin, Fingerprint,
	// Serial, Counts, Renamed and Split are filled in.
	Record layout.Record
}

// generationFiles is what Commit makes before anything is written.
type generationFiles struct {
	serial    int64
	record    *layout.Record
	catalogue []byte          // compressed
	packages  written         // Packages with its padding
	index     *pkgindex.Index // its content
	signed    *manifest.Signed
	text      []byte // of the manifest copies
	items     []layout.Item
}

// compose makes the generation's own files and puts record and catalogue,
// the end of step 6. The list is read again as a client would read it: what
// could not be read is not written.
func (w *Writer) compose(ctx context.Context, c Contents) (*generationFiles, error) {
	if c.Catalogue == nil {
		return nil, fmt.Errorf("committing the generation of %s: there is no catalogue",
			fault.Serial(c.Serial))
	}
	if c.Serial <= w.serial {
		return nil, fmt.Errorf("committing the generation of %s: the drive has that of %s",
			fault.Serial(c.Serial), fault.Serial(w.serial))
	}
	files := &generationFiles{serial: c.Serial}
	if err := w.checkItems(c.Items); err != nil {
		return nil, err
	}
	if err := checkContents(c); err != nil {
		return nil, err
	}
	record := recordOf(w.o, c)
	record.Counts.Catalogue = len(c.Catalogue.Entries)
	var packing sync.WaitGroup
	var packed error
	packing.Go(func() {
		files.catalogue, record.Counts.CatalogueBytes, packed = layout.PackCatalogue(c.Catalogue,
			c.Serial)
	})
	var err error
	if files.index, err = layout.PackagesIndex(c.Catalogue, c.Items, c.Serial); err == nil {
		files.packages, err = w.measurePackages(files.index, true)
	}
	packing.Wait()
	if err := cmp.Or(packed, err); err != nil {
		return nil, err
	}
	recordText, err := record.Marshal()
	if err != nil {
		return nil, err
	}
	owns := []ownFile{{layout.RecordFile(c.Serial), recordText}, {layout.CatalogueFile(c.Serial),
		files.catalogue}, {layout.LayoutFile, []byte(layout.Layout)}}
	if c.Facts != nil {
		facts, err := c.Facts.Pack()
		if err != nil {
			return nil, err
		}
		owns = append(owns, ownFile{layout.FactsFile(c.Serial), facts})
	}
	if err := squeeze(w, files, owns); err != nil {
		return nil, err
	}
	list := manifest.List{Timestamp: time.Unix(c.Serial, 0).UTC(),
		Ignore: []string{layout.NextManifestFile}}
	list.Files = append(list.Files, files.packages.File)
	for _, it := range c.Items {
		list.Files = append(list.Files, it.Stored...)
	}
	for _, own := range owns {
		f, err := w.putOwn(ctx, own.name, own.data)
		if err != nil {
			return nil, err
		}
		list.Files = append(list.Files, f)
	}
	return files, signList(w.o.Key, files, &list, record, c.At)
}

// spareClusters is how many clusters a generation's own files may take beyond their bytes:
// directories.
const spareClusters = 4

// squeeze gives up the padding of packages/Packages where the drive is so full that a generation's
// own files find no room otherwise: one that only removes has to be possible on a drive of 0 bytes
// free. The file is derived: until the commit it is stale, which the next export would renew.
func squeeze(w *Writer, files *generationFiles, owns []ownFile) (err error) {
	space, err := w.d.Space()
	if err != nil {
		return w.end("looking at", w.o.Dir, err)
	}
	need := space.Need(1) * spareClusters
	for _, own := range owns {
		need += space.Need(int64(len(own.data)))
	}
	size, err := w.size(layout.PackagesFile)
	if err != nil || space.Free >= need || w.committed == nil {
		return err
	}
	if files.packages, err = w.measurePackages(files.index, false); err != nil ||
		files.packages.Size >= size {
		return err
	}
	return w.shorten(layout.PackagesFile, files.packages.Size)
}

// ownFile is one of the files that are not payload.
type ownFile struct {
	name string
	data []byte
}

// checkContents refuses a generation that contradicts itself.
func checkContents(c Contents) error {
	reason := ""
	switch {
	case (c.Facts == nil) != (c.Record.Has == nil):
		reason = "what the origin has is told in one place only"
	case c.Facts != nil:
		reason = layout.StockFault(c.Record.Has, c.Facts, c.Items)
	}
	if missing := layout.WithoutEntry(c.Catalogue, c.Items); reason == "" && len(missing) > 0 {
		reason = fmt.Sprintf("the catalogue has no entry of %d packages, as %q", len(missing),
			missing[0].Path)
	}
	if reason != "" {
		return fmt.Errorf("committing the generation of %s: %s", fault.Serial(c.Serial), reason)
	}
	return nil
}

// putOwn puts one of the files that are not payload, unless it is there.
func (w *Writer) putOwn(ctx context.Context, name string, data []byte) (manifest.File, error) {
	sum := manifest.Digest(digest.Bytes(data))
	_, absent := slices.BinarySearch(w.absent, name)
	if f, ok := w.listed[name]; ok && f.Sum == sum && !absent {
		return f, nil
	}
	if f, ok := w.uncommitted[name]; ok {
		if f.Sum == sum {
			return f.File, nil
		}
		return manifest.File{}, fmt.Errorf("writing %q: it was written before, with other contents",
			name)
	}
	if absent { // what has its name is not it
		if err := w.remove("unlink", w.root, name); err != nil {
			return manifest.File{}, err
		}
		if err := w.fsync(path.Dir(name)); err != nil {
			return manifest.File{}, err
		}
	}
	return w.putRaw(ctx, name, data)
}

// signList makes the text of the manifest copies and verifies it.
func signList(key *manifest.PrivateKey, files *generationFiles, list *manifest.List,
	record *layout.Record, at time.Time) (err error) {
	if files.text, err = manifest.Sign(list, key, at); err != nil {
		return fmt.Errorf("signing the generation of %s: %w", fault.Serial(files.serial), err)
	}
	files.signed, err = manifest.Open(files.text, manifest.Ring{key.Public()}, at)
	if err == nil {
		err = layout.CheckList(files.signed)
	}
	if err == nil {
		files.items, err = layout.Items(files.signed, record)
	}
	if err != nil {
		return fmt.Errorf("signing the generation of %s: reading it again: %w",
			fault.Serial(files.serial), err)
	}
	files.record = record
	return nil
}

// checkItems refuses items that this session has not written or found.
func (w *Writer) checkItems(items []layout.Item) error {
	for _, it := range items {
		for _, f := range it.Stored {
			if w.listed[f.Path] != f && w.uncommitted[f.Path].File != f {
				return fmt.Errorf("committing %s %q: %q is neither on the drive nor was it put there", it.Kind, it.Path, f.Path)
			}
		}
		if len(it.Stored) == 0 {
			return fmt.Errorf("committing %s %q: it is stored nowhere", it.Kind, it.Path)
		}
	}
	return nil
}

// recordOf fills the record in.
func recordOf(o BeginOptions, c Contents) *layout.Record {
	r := c.Record
	r.Format, r.Origin, r.Serial = layout.FormatOf(r.Has, c.Facts, c.Items), o.Name, c.Serial
	r.Fingerprint = o.Key.Public().Fingerprint()
	r.Counts, r.Renamed, r.Split = layout.Counts{}, nil, nil
	items := slices.Clone(c.Items)
	slices.SortFunc(items, layout.CompareItems)
	for _, it := range items {
		switch it.Kind {
		case payload.Package:
			r.Counts.Packages++
			r.Counts.PackageBytes += it.Size
		case payload.Distfile:
			r.Counts.Distfiles++
			r.Counts.DistfileBytes += it.Size
		case payload.Repository:
			r.Counts.Trees++
			r.Counts.TreeBytes += it.Size
		}
		switch _, plain, _ := layout.KindOf(it.Stored[0].Path); {
		case len(it.Stored) > 1:
			split := layout.Split{Kind: it.Kind, Path: layout.PathText(it.Path),
				Size: it.Size, Sum: it.Sum}
			for _, f := range it.Stored {
				split.Stored = append(split.Stored, f.Path)
			}
			r.Split = append(r.Split, split)
		case plain != it.Path:
			r.Renamed = append(r.Renamed, layout.Renamed{Kind: it.Kind,
				Path: layout.PathText(it.Path), Stored: it.Stored[0].Path})
		}
	}
	return &r
}

// maxPackages is the size of packages/Packages above which its padding is not
// kept: a valid index is smaller.
const maxPackages = 2 * pkgindex.MaxSize

// measurePackages finds out how long Packages will be and what its digest is: it
// has to be known before it is written. Newlines behind the text fill its padding.
// The text is not in memory as a whole at any time.
func (s *session) measurePackages(index *pkgindex.Index, pad bool) (written, error) {
	hash := digest.New(digest.BLAKE2B)
	var blocks blockSums
	text := &layout.Counter{W: io.MultiWriter(hash, &blocks)}
	if err := index.Write(text); err != nil {
		return written{}, fmt.Errorf("writing %q: %w", layout.PackagesFile, err)
	}
	size, err := s.size(layout.PackagesFile)
	if err != nil {
		return written{}, err
	}
	switch {
	case !pad:
		size = text.N
	case size < text.N || size > maxPackages:
		size = paddedSize(text.N)
	}
	for left := size - text.N; left > 0; left -= int64(len(newlines)) {
		text.W.Write(newlines[:min(left, int64(len(newlines)))])
	}
	return written{manifest.File{Path: layout.PackagesFile, Size: size, Sum: hash.Sum().Blake2b},
		blocks.end()}, nil
}
