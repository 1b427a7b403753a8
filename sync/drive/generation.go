package drive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/pkgindex"
)

// Limits of a catalogue.
const (
	MaxCatalogue     = 1 << 30   // bytes of index text
	maxCatalogueFile = 256 << 20 // bytes compressed
	maxWindow        = 64 << 20  // zstd window
)

// Generation is one verified state of an origin.
type Generation struct {
	Dir    string           // the origin's directory below TreeDir
	Signed *manifest.Signed // the verified list
	Record *Record
	Sum    digest.Blake2b // of the signed text as it lies in the slot, without the room behind it
	Slot   string         // where it was read from: Slot or NextSlot
	Other  SlotState      // what the other slot was like

	drive *Drive
	root  *os.Root // the origin's directory
	items []Item
}

// SlotState is what one slot was like.
type SlotState struct {
	Name   string
	Serial int64 // of a valid one
	Err    error // why it is not valid; manifest.ErrNotSigned if blank or torn at the start
}

// Item is one payload file of a generation.
type Item struct {
	Kind   Kind
	Path   string // the origin's: below PKGDIR, in DISTDIR, below bin
	Size   int64
	Sum    manifest.Digest // of the whole
	Stored []manifest.File // where it lies below ORIGIN: one file, or its parts in order
}

// errBlank is the error of a slot that nothing was ever written to but its room.
var errBlank = fmt.Errorf("blank: %w", manifest.ErrNotSigned)

// slot is a slot that was read.
type slot struct {
	state  SlotState
	text   []byte // without the room
	signed *manifest.Signed

	newlines bool // it has nothing else; standingOf looks
}

// Load reads both slots of an origin and returns the generation of the valid
// one with the higher serial. Where neither is valid, the error is the most
// telling of the two: an *manifest.UnknownKeyError before a broken signature,
// that before a blank slot (ErrNoTree). A damaged record is a *DamagedError.
func (d *Drive) Load(origin string, ring manifest.Ring, now time.Time) (*Generation, error) {
	best, other, err := d.loadSlots(origin, ring, now)
	if err != nil {
		return nil, err
	}
	return d.generation(origin, best, other)
}

// loadSlots verifies both slots.
func (d *Drive) loadSlots(origin string, ring manifest.Ring, now time.Time) (best, other slot, err error) {
	if err := CheckOriginName(origin); err != nil {
		return slot{}, slot{}, err
	}
	best, other = d.loadSlot(origin, Slot), d.loadSlot(origin, NextSlot)
	best.verify(ring, now)
	if best.signed != nil && bytes.Equal(best.text, other.text) {
		other.text = best.text                                            // one of them is enough
		other.signed, other.state.Serial = best.signed, best.state.Serial // as after each whole export
	} else {
		other.verify(ring, now)
	}
	if best.signed == nil || other.signed != nil && other.state.Serial > best.state.Serial {
		best, other = other, best
	}
	if best.signed != nil {
		d.callWitness(origin)
		return best, other, nil
	}
	return best, other, d.worse(origin, best, other)
}

// torn says whether a slot has the beginning of a signed message and not its
// end, as a pull in the middle of a commit leaves it.
func (s *slot) torn() bool {
	return bytes.HasPrefix(s.text, []byte("-----BEGIN PGP SIGNED MESSAGE-----\n")) && !bytes.Contains(s.text, []byte("\n-----END PGP SIGNATURE-----\n"))
}

func (d *Drive) loadSlot(origin, name string) slot {
	s := slot{state: SlotState{Name: name}}
	s.text, s.state.Err = d.readSlot(origin, name)
	return s
}

// verify opens what was read.
func (s *slot) verify(ring manifest.Ring, now time.Time) {
	s.open(func(text []byte) (*manifest.Signed, error) { return manifest.Open(text, ring, now) })
}

func (s *slot) open(verify func([]byte) (*manifest.Signed, error)) {
	if s.state.Err != nil {
		return
	}
	if len(s.text) == 0 {
		s.state.Err = errBlank
		return
	}
	signed, err := verify(s.text)
	if err == nil {
		err = checkList(signed)
	}
	if err != nil {
		s.state.Err = err
		return
	}
	s.signed, s.state.Serial = signed, signed.Timestamp.Unix()
}

// readSlot returns a slot's contents without the room behind it. What a pull
// leaves at the end of a file may be zeros too.
func (d *Drive) readSlot(origin, name string) ([]byte, error) {
	at := path.Join(origin, name)
	f, info, err := d.openRegular(d.root, at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > manifest.MaxManifest {
		return nil, &DamagedError{Path: at, Reason: fmt.Sprintf("longer than %d bytes", manifest.MaxManifest)}
	}
	end, err := textEnd(f, "\n\x00")
	if err != nil || end == 0 {
		return nil, d.explain("reading", at, err)
	}
	text := make([]byte, end, end+1)
	n, err := io.ReadFull(f, text)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !isEOF(err) {
		return nil, d.explain("reading", at, err)
	}
	return append(text[:n], '\n'), nil
}

// worse chooses the error that tells more about an origin without a valid slot.
func (d *Drive) worse(origin string, x, y slot) error {
	if weight(y.state.Err) > weight(x.state.Err) {
		x, y = y, x
	}
	a := x.state.Err
	if weight(a) == 0 || weight(y.state.Err) == 0 && x.torn() {
		gone := errors.Is(a, fs.ErrNotExist) && errors.Is(y.state.Err, fs.ErrNotExist)
		return fmt.Errorf("reading %q: %w", origin, unfinishedError{gone})
	}
	switch weight(a) {
	case weightOf.gone:
		return a
	}
	return fmt.Errorf("reading %q: %w", origin, a)
}

var weightOf = struct{ gone, unknown, key, signature, other int }{6, 5, 4, 3, 2}

func weight(err error) int {
	var gone *GoneError
	var unknown *manifest.UnknownKeyError
	var key *manifest.KeyError
	var signature *manifest.SignatureError
	switch {
	case errors.As(err, &gone) && gone.Vanished:
		return weightOf.gone
	case errors.As(err, &unknown):
		return weightOf.unknown
	case errors.As(err, &key):
		return weightOf.key
	case errors.As(err, &signature):
		return weightOf.signature
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, errBlank):
		return 0
	case errors.Is(err, manifest.ErrNotSigned):
		return weightOf.signature
	}
	return weightOf.other
}

// checkList refuses a signed list that this package did not write: exactly
// one record, named after the TIMESTAMP, and no two paths that are one file on
// a drive without regard to case.
func checkList(signed *manifest.Signed) error {
	serial := signed.Timestamp.Unix()
	for _, f := range signed.Files {
		if strings.HasPrefix(f.Path, GenerationDir+"/") && strings.HasSuffix(f.Path, ".json") && f.Path != RecordFile(serial) {
			return &ListError{fmt.Sprintf("the signed list has the record %q beside that of its own serial %d", f.Path, serial)}
		}
	}
	for _, needed := range []string{RecordFile(serial), CatalogueFile(serial)} {
		if _, ok := signed.Find(needed); !ok {
			return &ListError{fmt.Sprintf("the signed list has no %q: pkgsneak did not write it", needed)}
		}
	}
	paths := make([]string, len(signed.Files))
	for i, f := range signed.Files {
		paths[i] = f.Path
	}
	if twins := manifest.Twins(paths); len(twins) > 0 {
		return &ListError{fmt.Sprintf("the signed list has %q, which differ in case only", twins[0])}
	}
	return nil
}

// generation reads the record of a verified list and puts both together.
func (d *Drive) generation(origin string, best, other slot) (*Generation, error) {
	root, err := d.root.OpenRoot(origin)
	if err != nil {
		return nil, d.explain("opening", origin, err)
	}
	g := &Generation{Dir: origin, Signed: best.signed, Sum: digest.Bytes(best.text), Slot: best.state.Name,
		Other: other.state, drive: d, root: root}
	if err := g.readRecord(); err != nil {
		root.Close()
		return nil, err
	}
	return g, nil
}

func (g *Generation) readRecord() error {
	name := RecordFile(g.Serial())
	data, err := g.readListed(name, MaxRecord)
	if err != nil {
		return err
	}
	if g.Record, err = ParseRecord(data); err != nil {
		var format *FormatError
		if errors.As(err, &format) {
			return err
		}
		return &DamagedError{Path: name, Reason: err.Error()}
	}
	if g.items, err = match(g.Signed, g.Record); err != nil {
		return &DamagedError{Path: name, Reason: err.Error()}
	}
	return nil
}

// match makes the items of a list and its record, which have to fit.
func match(signed *manifest.Signed, r *Record) ([]Item, error) {
	if r.Serial != signed.Timestamp.Unix() {
		return nil, fmt.Errorf("the record is of serial %d, the list of %d", r.Serial, signed.Timestamp.Unix())
	}
	if r.Fingerprint != signed.Signer {
		return nil, fmt.Errorf("the record names the key %s, the list is signed by %s", r.Fingerprint, signed.Signer)
	}
	var items []Item
	used := make(map[string]bool)
	for _, x := range r.Renamed {
		f, ok := signed.Find(x.Stored)
		if !ok {
			return nil, fmt.Errorf("the renamed file %q is not in the list", x.Stored)
		}
		used[f.Path] = true
		items = append(items, Item{Kind: x.Kind, Path: string(x.Path), Size: f.Size, Sum: f.Sum, Stored: []manifest.File{f}})
	}
	for _, x := range r.Split {
		item := Item{Kind: x.Kind, Path: string(x.Path), Size: x.Size, Sum: x.Sum}
		left := x.Size
		for _, stored := range x.Stored {
			f, ok := signed.Find(stored)
			if !ok {
				return nil, fmt.Errorf("the part %q is not in the list", stored)
			}
			used[f.Path] = true
			left -= f.Size
			item.Stored = append(item.Stored, f)
		}
		if left != 0 {
			return nil, fmt.Errorf("the parts of %q do not add up to its size", x.Path)
		}
		items = append(items, item)
	}
	for _, f := range signed.Files {
		kind, plain, ok := kindOf(f.Path)
		if !ok || used[f.Path] {
			continue
		}
		items = append(items, Item{Kind: kind, Path: plain, Size: f.Size, Sum: f.Sum, Stored: []manifest.File{f}})
	}
	slices.SortFunc(items, compareItems)
	for i := 1; i < len(items); i++ {
		if compareItems(items[i-1], items[i]) == 0 {
			return nil, fmt.Errorf("two files stand for the %s %q", items[i].Kind, items[i].Path)
		}
	}
	return items, nil
}

func compareItems(a, b Item) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	return strings.Compare(a.Path, b.Path)
}

// Serial returns the generation's number: its TIMESTAMP in Unix seconds.
func (g *Generation) Serial() int64 { return g.Signed.Timestamp.Unix() }

// Items returns the payload of one kind, sorted by path. The slice is the
// generation's own.
func (g *Generation) Items(kind Kind) []Item {
	from, _ := slices.BinarySearchFunc(g.items, kind, func(it Item, k Kind) int { return int(it.Kind) - int(k) })
	to, _ := slices.BinarySearchFunc(g.items, kind+1, func(it Item, k Kind) int { return int(it.Kind) - int(k) })
	return g.items[from:to:to]
}

// Packages returns the packages, sorted by path.
func (g *Generation) Packages() []Item { return g.Items(Package) }

// Distfiles returns the distfiles, sorted by name.
func (g *Generation) Distfiles() []Item { return g.Items(Distfile) }

// Programs returns the pkgsneak binaries, sorted by path.
func (g *Generation) Programs() []Item { return g.Items(Program) }

// Find returns the item with the origin's path.
func (g *Generation) Find(kind Kind, name string) (Item, bool) {
	i, ok := slices.BinarySearchFunc(g.items, Item{Kind: kind, Path: name}, compareItems)
	if !ok {
		return Item{}, false
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
	r := g.openItem(Item{Path: name, Size: f.Size, Sum: f.Sum, Stored: []manifest.File{f}})
	defer r.Close()
	return io.ReadAll(r)
}

// Catalogue reads the origin's whole index. It is verified before it is
// unpacked, and unpacked into no more memory than its limits.
func (g *Generation) Catalogue() (*pkgindex.Index, error) {
	name := CatalogueFile(g.Serial())
	packed, err := g.readListed(name, maxCatalogueFile)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(MaxCatalogue))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	defer z.Close()
	limit := min(g.Record.Counts.CatalogueBytes, MaxCatalogue)
	counted := &capped{r: z, left: limit, why: errors.New("longer than the record says")}
	index, err := pkgindex.Read(counted)
	if err != nil {
		return nil, &DamagedError{Path: name, Reason: err.Error()}
	}
	if counted.left != 0 {
		return nil, &DamagedError{Path: name, Reason: fmt.Sprintf("unpacks to %d bytes, the record says %d", limit-counted.left, limit)}
	}
	return index, nil
}

// capped fails where an io.LimitReader would end in silence.
type capped struct {
	r    io.Reader
	left int64
	why  error // of what is longer
}

func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	if int64(n) > c.left {
		return 0, c.why
	}
	c.left -= int64(n)
	return n, err
}

// Open opens an item for reading, its parts joined. Never more bytes than the
// signed size are read. The last Read returns a *DamagedError if the file is
// short, long, or not the one that was signed, and the bytes before are worth
// nothing then; a *GoneError says that the drive went away.
func (g *Generation) Open(it Item) (io.ReadCloser, error) {
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
func (g *Generation) OpenAt(it Item) (*ItemAt, error) {
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

// ItemAt reads anywhere in an item.
type ItemAt struct {
	parts []*os.File
	sizes []int64 // bytes
}

// ReadAt implements io.ReaderAt.
func (a *ItemAt) ReadAt(p []byte, off int64) (n int, err error) {
	for i, size := range a.sizes {
		if off >= size {
			off -= size
			continue
		}
		want := p[n:min(int64(len(p)), int64(n)+size-off)]
		m, err := a.parts[i].ReadAt(want, off)
		if n += m; m < len(want) {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		off = 0
	}
	return n, io.EOF
}

// Close closes the item.
func (a *ItemAt) Close() error {
	var errs []error
	for _, f := range a.parts {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (g *Generation) openItem(it Item) *itemReader {
	r := &itemReader{g: g, it: it, hash: digest.New(digest.BLAKE2B)}
	if len(it.Stored) > 1 {
		r.part = digest.New(digest.BLAKE2B)
	}
	return r
}

// itemReader joins the parts of an item and compares each and the whole.
type itemReader struct {
	g    *Generation
	it   Item
	hash *digest.Hash // of the whole
	part *digest.Hash // of the part, nil if there is one only
	at   int          // parts opened so far
	file *os.File
	left int64 // bytes of the part that are still to come
	err  error
	// fresh asks for the medium instead of the page cache.
	fresh bool
}

func (r *itemReader) Read(p []byte) (int, error) {
	for r.err == nil {
		if r.file == nil {
			if r.err = r.next(); r.err != nil {
				break
			}
		}
		if r.left == 0 {
			r.err = r.finishPart()
			continue
		}
		if len(p) == 0 {
			return 0, nil
		}
		if int64(len(p)) > r.left {
			p = p[:r.left]
		}
		n, err := r.file.Read(p)
		r.add(p[:n])
		switch {
		case isEOF(err):
			r.err = r.damaged("shorter than signed", nil)
		case err != nil:
			r.err = r.fail("reading", err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, r.err
}

func (r *itemReader) add(p []byte) {
	r.left -= int64(len(p))
	r.hash.Write(p)
	if r.part != nil {
		r.part.Write(p)
	}
}

// next opens the part at hand, and says EOF behind the last if the whole is
// what was signed.
func (r *itemReader) next() error {
	if r.file != nil {
		return nil
	}
	if r.at == len(r.it.Stored) {
		if sums := r.hash.Sum(); sums.Size != r.it.Size || sums.Blake2b != r.it.Sum {
			return &DamagedError{Path: r.it.Path, Reason: "its contents are not those that were signed"}
		}
		return io.EOF
	}
	stored := r.it.Stored[r.at]
	f, info, err := r.g.drive.openRegular(r.g.root, stored.Path)
	if err != nil {
		return r.fail("opening", err)
	}
	switch {
	case info.Size() < stored.Size:
		err = r.damaged("shorter than signed", nil)
	case info.Size() > stored.Size:
		err = r.damaged("longer than signed", nil)
	}
	if err != nil {
		f.Close()
		return err
	}
	if r.fresh {
		dropCache(f)
	}
	r.file, r.left = f, stored.Size
	return nil
}

// finishPart compares a part that was read to its signed size.
func (r *itemReader) finishPart() error {
	err := r.file.Close()
	r.file = nil
	if err != nil {
		return r.fail("reading", err)
	}
	if r.part != nil {
		if r.part.Sum().Blake2b != r.it.Stored[r.at].Sum {
			return r.damaged("its contents are not those that were signed", nil)
		}
		r.part.Reset()
	}
	r.at++
	return nil
}

// fail is what becomes of an error of the file system: the drive's, or the
// file's.
func (r *itemReader) fail(op string, err error) error {
	stored := r.it.Stored[r.at].Path
	err = r.g.drive.explain(op, stored, err)
	var gone *GoneError
	switch {
	case errors.As(err, &gone) && gone.Vanished:
		return err
	case errors.Is(err, fs.ErrNotExist):
		return r.damaged("it is missing", err)
	case errors.As(err, &gone):
		return r.damaged("it cannot be read: "+gone.Err.Error(), err)
	case explained(err):
		return err
	}
	return r.damaged("it cannot be read: "+err.Error(), err) // a link or a file where a directory should be
}

func (r *itemReader) damaged(reason string, err error) error {
	return &DamagedError{Path: r.it.Stored[r.at].Path, Reason: reason, Err: err}
}

// Close closes the item. What was not read to its end is not compared.
func (r *itemReader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
