package drivewriter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
)

// Contents is what a generation shall be.
type Contents struct {
	Serial int64     // above Last
	At     time.Time // of the signature
	// Items are all files of the generation: of the held one what stays, and what
	// was put. What is in neither leaves the drive.
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
	packages  written         // Packages with its room
	index     *pkgindex.Index // what it says
	signed    *manifest.Signed
	text      []byte // of the slots
	items     []layout.Item
}

// Commit does steps 7 to 11 and returns the new generation, which is then the
// held one. If an error comes with a generation, it is committed, and what was
// left undone (Manifest, Packages, removals) the next Begin does.
//
// A canceled ctx is looked at until the first slot is written, and again
// between the removals of step 11, of which there may be many. A Commit that
// failed before needs another serial when it is tried again.
// The generation is open until the next Commit or Close.
func (w *Writer) Commit(ctx context.Context, c Contents) (*drive.Generation, error) {
	if err := w.ended.cause(); err != nil {
		return nil, err
	}
	if err := w.Prepare(ctx, nil); err != nil {
		return nil, err
	}
	files, err := w.compose(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := w.makeRooms(ctx, files); err != nil {
		return nil, err
	}
	w.o.Progress(Flushing, "", 0)
	if err := w.flush(); err != nil {
		return nil, err
	}
	if err := w.compare(ctx, files.signed); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := w.commit(files); err != nil {
		return nil, err
	}
	return w.held, w.after(ctx, files)
}

// compose makes the generation's own files and puts record and catalogue,
// the end of step 6. The list is read again as a client would read it: what
// could not be read is not written.
func (w *Writer) compose(ctx context.Context, c Contents) (*generationFiles, error) {
	if c.Catalogue == nil {
		return nil, fmt.Errorf("committing generation %d: there is no catalogue", c.Serial)
	}
	if c.Serial <= w.serial {
		return nil, fmt.Errorf("committing generation %d: the drive has %d", c.Serial, w.serial)
	}
	files := &generationFiles{serial: c.Serial}
	if err := w.checkItems(c.Items); err != nil {
		return nil, err
	}
	if err := checkContents(c); err != nil {
		return nil, err
	}
	record := w.recordOf(c)
	record.Counts.Catalogue = len(c.Catalogue.Entries)
	var packing sync.WaitGroup
	var packed error
	packing.Go(func() {
		files.catalogue, record.Counts.CatalogueBytes, packed = layout.PackCatalogue(c.Catalogue, c.Serial)
	})
	var err error
	if files.index, err = layout.PackagesIndex(c.Catalogue, c.Items, c.Serial); err == nil {
		files.packages, err = w.measurePackages(files.index)
	}
	packing.Wait()
	if err := cmp.Or(packed, err); err != nil {
		return nil, err
	}
	recordText, err := record.Marshal()
	if err != nil {
		return nil, err
	}
	list := manifest.List{Timestamp: time.Unix(c.Serial, 0).UTC(), Ignore: []string{layout.NextSlot}}
	list.Files = append(list.Files, files.packages.File)
	for _, it := range c.Items {
		list.Files = append(list.Files, it.Stored...)
	}
	owns := []ownFile{{layout.RecordFile(c.Serial), recordText}, {layout.CatalogueFile(c.Serial), files.catalogue}, {layout.LayoutFile, []byte(layout.Layout)}}
	if c.Facts != nil {
		facts, err := c.Facts.Pack()
		if err != nil {
			return nil, err
		}
		owns = append(owns, ownFile{layout.FactsFile(c.Serial), facts})
	}
	for _, own := range owns {
		f, err := w.putOwn(ctx, own.name, own.data)
		if err != nil {
			return nil, err
		}
		list.Files = append(list.Files, f)
	}
	return files, w.sign(files, &list, record, c.At)
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
		reason = fmt.Sprintf("the catalogue has no entry of %d packages, as %q", len(missing), missing[0].Path)
	}
	if reason != "" {
		return fmt.Errorf("committing generation %d: %s", c.Serial, reason)
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
	if f, ok := w.fresh[name]; ok {
		if f.Sum == sum {
			return f.File, nil
		}
		return manifest.File{}, fmt.Errorf("writing %q: it was written before, with other contents", name)
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

// sign makes the text of the slots and verifies it.
func (w *Writer) sign(files *generationFiles, list *manifest.List, record *layout.Record, at time.Time) (err error) {
	if files.text, err = manifest.Sign(list, w.o.Key, at); err != nil {
		return fmt.Errorf("signing generation %d: %w", files.serial, err)
	}
	files.signed, err = manifest.Open(files.text, manifest.Ring{w.o.Key.Public()}, at)
	if err == nil {
		err = layout.CheckList(files.signed)
	}
	if err == nil {
		files.items, err = layout.Items(files.signed, record)
	}
	if err != nil {
		return fmt.Errorf("signing generation %d: reading it again: %w", files.serial, err)
	}
	files.record = record
	return nil
}

// checkItems refuses items that this session knows nothing of.
func (w *Writer) checkItems(items []layout.Item) error {
	for _, it := range items {
		for _, f := range it.Stored {
			if w.listed[f.Path] != f && w.fresh[f.Path].File != f {
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
func (w *Writer) recordOf(c Contents) *layout.Record {
	r := c.Record
	r.Format, r.Origin, r.Serial = layout.FormatOf(r.Has, c.Facts, c.Items), w.o.Name, c.Serial
	r.Fingerprint = w.o.Key.Public().Fingerprint()
	r.Counts, r.Renamed, r.Split = layout.Counts{}, nil, nil
	items := slices.Clone(c.Items)
	slices.SortFunc(items, layout.CompareItems)
	for _, it := range items {
		switch it.Kind {
		case layout.Package:
			r.Counts.Packages++
			r.Counts.PackageBytes += it.Size
		case layout.Distfile:
			r.Counts.Distfiles++
			r.Counts.DistfileBytes += it.Size
		}
		switch _, plain, _ := layout.KindOf(it.Stored[0].Path); {
		case len(it.Stored) > 1:
			split := layout.Split{Kind: it.Kind, Path: layout.PathText(it.Path), Size: it.Size, Sum: it.Sum}
			for _, f := range it.Stored {
				split.Stored = append(split.Stored, f.Path)
			}
			r.Split = append(r.Split, split)
		case plain != it.Path:
			r.Renamed = append(r.Renamed, layout.Renamed{Kind: it.Kind, Path: layout.PathText(it.Path), Stored: it.Stored[0].Path})
		}
	}
	return &r
}

// maxPackages is the size of packages/Packages above which its room is not
// kept: a valid index is smaller.
const maxPackages = 2 * pkgindex.MaxSize

// measurePackages finds out how long Packages will be and what its digest is: it
// has to be known before it is written. Newlines behind the text fill its room.
// The text is not in memory as a whole at any time.
func (w *Writer) measurePackages(index *pkgindex.Index) (written, error) {
	hash := digest.New(digest.BLAKE2B)
	var marks marks
	text := &layout.Counter{W: io.MultiWriter(hash, &marks)}
	if err := index.Write(text); err != nil {
		return written{}, fmt.Errorf("writing %q: %w", layout.PackagesFile, err)
	}
	room, err := w.size(layout.PackagesFile)
	if err != nil {
		return written{}, err
	}
	if room < text.N || room > maxPackages {
		room = roomFor(text.N)
	}
	for left := room - text.N; left > 0; left -= int64(len(newlines)) {
		text.W.Write(newlines[:min(left, int64(len(newlines)))])
	}
	return written{manifest.File{Path: layout.PackagesFile, Size: room, Sum: hash.Sum().Blake2b}, marks.end()}, nil
}

// makeRooms lets Packages and Manifest.next grow where they are outgrown, as
// long as nothing depends on them, and sees to it that Manifest can after the
// commit.
func (w *Writer) makeRooms(ctx context.Context, files *generationFiles) error {
	need := int64(len(files.text))
	if err := w.makeRoom(ctx, layout.NextSlot, need); err != nil {
		return err
	}
	size, err := w.size(layout.PackagesFile)
	if err != nil {
		return err
	}
	switch wanted := files.packages.Size; {
	case size < wanted:
		err = w.extend(ctx, layout.PackagesFile, size, wanted)
	case size > wanted:
		err = w.shorten(layout.PackagesFile, wanted)
	}
	if err != nil {
		return err
	}
	if size, err = w.size(layout.Slot); err != nil || size >= need {
		return err
	}
	space, err := w.d.Space()
	if err != nil {
		return w.end("looking at", w.o.Dir, err)
	}
	if more := slotRoom(need) - size; space.Free < more {
		return &drive.SpaceError{Path: layout.Slot, Need: more, Free: space.Free}
	}
	return nil
}

// commit is step 9: Manifest.next in place, and its fsync is the commit. From
// then on the session stands on the new generation.
func (w *Writer) commit(files *generationFiles) error {
	w.o.Progress(Committing, "", 0)
	if err := w.overwrite(layout.NextSlot, content(files.text)); err != nil {
		return err
	}
	held, err := drive.NewGeneration(w.d, drive.Generation{Dir: w.o.Dir, Signed: files.signed, Record: files.record, Sum: digest.Bytes(files.text),
		Slot: layout.NextSlot, Other: drive.SlotState{Name: layout.Slot, Serial: w.serial}}, files.items)
	if err != nil {
		return w.end("opening", w.o.Dir, err)
	}
	if w.held != nil {
		w.held.Close()
	}
	w.held = held
	w.serial = files.serial
	return nil
}

// after is what follows the commit: Manifest likewise, step 10, step 11, and
// the last look at the slots.
func (w *Writer) after(ctx context.Context, files *generationFiles) error {
	if err := w.makeRoom(context.WithoutCancel(ctx), layout.Slot, int64(len(files.text))); err != nil {
		return w.ended.with(err)
	}
	if err := w.overwrite(layout.Slot, content(files.text)); err != nil {
		return err
	}
	w.held.Other.Serial = files.serial
	if err := w.derive(files.index); err != nil {
		return err
	}
	if err := w.discard(ctx, files.signed); err != nil {
		return err
	}
	return w.compareSlots(files)
}

// derive is step 10: Packages in place. The signed list has its digest
// already; a pull here leaves it stale, which verify says and the next
// generation mends. Nothing else reads it.
func (w *Writer) derive(index *pkgindex.Index) error {
	if err := w.overwrite(layout.PackagesFile, index.Write); err != nil {
		return err
	}
	if err := w.syncfs(); err != nil {
		return err
	}
	return w.fsync(layout.PackagesFile)
}

// discard is step 11: what only the old generation listed, and what was given
// up, goes.
func (w *Writer) discard(ctx context.Context, signed *manifest.Signed) error {
	gone := w.strays
	for name := range w.listed {
		if _, ok := signed.Find(name); !ok {
			gone = append(gone, name)
		}
	}
	for name := range w.fresh {
		if _, ok := signed.Find(name); !ok {
			gone = append(gone, name)
		}
	}
	clear(w.listed)
	for _, f := range signed.Files {
		w.listed[f.Path] = f
		if _, ok := w.fresh[f.Path]; ok && !w.o.NoReadBack {
			w.proven[f.Path] = true
		}
	}
	clear(w.fresh)
	w.strays, w.absent = nil, nil
	w.o.Progress(Removing, "", int64(len(gone)))
	if err := w.unlinkAll(ctx, gone); err != nil {
		return err
	}
	w.remember()
	return nil
}

// unlinkAll removes files and the package directories that they leave empty,
// and syncs each directory that lost a name, also if ctx ends it early: what is
// left then the next Begin removes.
func (w *Writer) unlinkAll(ctx context.Context, names []string) error {
	slices.Sort(names)
	used := w.usedDirs()
	lost := make(map[string]bool)
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		if err := w.remove("unlink", w.root, name); err != nil {
			return err
		}
		dir := path.Dir(name)
		lost[dir] = true
		w.roomOf(dir).drop(path.Base(name))
	}
	dirs := make([]string, 0, len(lost))
	for dir := range lost {
		dirs = append(dirs, dir)
	}
	if err := w.syncDirs(dirs); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return w.removeEmpty(dirs, used)
}

// usedDirs are the directories with files that are listed, new or planned.
func (w *Writer) usedDirs() map[string]bool {
	used := make(map[string]bool)
	mark := func(name string) {
		for dir := path.Dir(name); dir != "." && !used[dir]; dir = path.Dir(dir) {
			used[dir] = true
		}
	}
	for name := range w.listed {
		mark(name)
	}
	for name := range w.fresh {
		mark(name)
	}
	for _, stored := range w.reserved {
		for _, name := range stored {
			mark(name)
		}
	}
	return used
}

// removeEmpty removes those of dirs that nothing uses, except the lasting
// ones, and syncs the directories above.
func (w *Writer) removeEmpty(dirs []string, used map[string]bool) error {
	var above []string
	for _, dir := range dirs {
		if used[dir] || layout.Lasting(dir) || !w.dirs[dir] {
			continue
		}
		err := w.remove("rmdir", w.root, dir)
		if errors.Is(err, unix.ENOTEMPTY) {
			continue
		}
		if err != nil {
			return err
		}
		delete(w.dirs, dir)
		delete(w.rooms, dir)
		w.roomOf(path.Dir(dir)).drop(path.Base(dir))
		above = append(above, path.Dir(dir))
	}
	return w.syncDirs(above)
}
