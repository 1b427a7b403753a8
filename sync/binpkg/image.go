package binpkg

import (
	"bufio"
	"context"
	"errors"
	"io"
	"path"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"pkgsneak/sync/digest"
)

// trailing is how much may follow the end of the archive in the image of a
// GPKG, in unpacked bytes. Portage does not read it and waits for ever for a
// decompressor that cannot write into its full pipe, which has 64 KiB.
const trailing = 64 << 10

// checkXPAKImage walks over the image of an XPAK. Portage tells its compression by the first bytes
// and has GNU tar unpack it. An image that this package cannot decompress is accepted unchecked:
// GNU tar defends itself, and there is no harm but that it may be damaged.
func checkXPAKImage(ctx context.Context, r *io.SectionReader) error {
	if r.Size() == 0 {
		return fault("no image")
	}
	c, err := probeAt(r)
	if err != nil {
		return err
	}
	switch {
	case !c.known():
		return nil
	case c == plain && !beginsAsTar(r):
		return fault("image: no known compression, nor a tar archive")
	}
	src := newSource(ctx, r, nil)
	defer src.free()
	return walkImage(src, c, xpakRules{})
}

// probeAt looks at the first bytes of r.
func probeAt(r *io.SectionReader) (codec, error) {
	head := make([]byte, min(magicLength, r.Size()))
	if err := readAt(r, head, 0); err != nil {
		return plain, err
	}
	return probe(head), nil
}

// beginsAsTar reports whether the first block is a header, or the end of an
// empty archive.
func beginsAsTar(r *io.SectionReader) bool {
	b := make([]byte, blockSize)
	return readAt(r, b, 0) == nil && (allZero(b) || checkSum(b) == nil)
}

// rules decide about the members of an image.
type rules interface {
	member(m member, t *tree) error
	// end is told how much follows the archive.
	end(t *tree, rest int64) error
}

// errNarrow reports that the data may need a wider window than it was given.
var errNarrow = errors.New("window too small")

// wide is taken by the one image at a time that gets a wide window: that has up to 2 GiB, and as
// many images are looked at as there are processors.
var wide = make(chan struct{}, 1)

// walkImage decompresses an image and shows its members to the rules.
func walkImage(src *source, c codec, rule rules) error {
	err := walkOnce(src, c, rule)
	if !errors.Is(err, errNarrow) {
		return err
	}
	select {
	case wide <- struct{}{}:
		defer func() {
			debug.FreeOSMemory() // before another one makes room for a window
			<-wide
		}()
	case <-src.ctx.Done():
		return context.Cause(src.ctx)
	}
	if err := src.rewind(); err != nil {
		return err
	}
	return walkOnce(src, zstandardWide, rule)
}

func walkOnce(src *source, c codec, rule rules) error {
	limit := unpackedLimit(src.r.Size())
	d, err := c.open(src, limit)
	if err != nil {
		return src.blame(c, err)
	}
	defer d.free()
	out := &bounded{ctx: src.ctx, r: d, left: limit}
	buf := readers.Get().(*bufio.Reader)
	buf.Reset(out)
	err = walk(buf, rule)
	buf.Reset(nil)
	readers.Put(buf)
	if err == nil {
		return nil
	}
	switch {
	case out.err == nil:
	case d.narrowed, c == zstandard && errors.Is(out.err, zstd.ErrWindowSizeExceeded):
		return errNarrow
	default:
		err = out.err // rather than what it led to
	}
	return src.blame(c, err)
}

// readers stand between a decompressor and the reader of the archive.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 64<<10) }}

// walk shows the members of an unpacked image to the rules.
func walk(r *bufio.Reader, rule rules) error {
	t := tarReader{src: &stream{r: r}}
	seen := tree{kinds: make(map[string]byte)}
	for {
		m, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = seen.check(m, rule)
		}
		if err != nil {
			return err
		}
	}
	rest, err := io.Copy(io.Discard, r)
	switch {
	case err != nil:
		return err
	case t.pos == 0:
		return fault("there is nothing in it, not even an empty archive")
	}
	return rule.end(&seen, rest)
}

func unpackedLimit(stored int64) int64 {
	const most = 1 << 60
	if stored > (most-ImageFloor)/ImageRatio {
		return most
	}
	return ImageFloor + stored*ImageRatio
}

// source reads a stored image and sums it on the way, while the decompressor is
// at work on the same piece.
type source struct {
	ctx  context.Context
	r    *io.SectionReader
	hash *digest.Hash // nil: not wanted
	err  error        // why r could not be read; not io.EOF

	buf    *buffer
	unread []byte
	busy   sync.WaitGroup
}

// piece is how much a source reads at once.
const piece = 256 << 10

func newSource(ctx context.Context, r *io.SectionReader, hash *digest.Hash) *source {
	return &source{ctx: ctx, r: r, hash: hash, buf: buffers.Get().(*buffer)}
}

func (s *source) free() {
	s.busy.Wait()
	s.buf.free()
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.unread)
	s.unread = s.unread[n:]
	return n, nil
}

func (s *source) ReadByte() (byte, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	b := s.unread[0]
	s.unread = s.unread[1:]
	return b, nil
}

// fill reads the next piece when the last one is used up.
func (s *source) fill() error {
	for len(s.unread) == 0 {
		s.busy.Wait()
		if s.err == nil {
			s.err = context.Cause(s.ctx)
		}
		if s.err != nil {
			return s.err
		}
		n, err := s.r.Read(s.buf.of(piece))
		s.unread = s.buf.b[:n]
		s.sum(s.unread)
		switch {
		case n > 0:
			return nil
		case errors.Is(err, io.EOF):
			return io.EOF
		case err != nil:
			s.err = err
			return err
		}
	}
	return nil
}

// sum hashes a piece; a large one beside the decompression.
func (s *source) sum(b []byte) {
	switch {
	case s.hash == nil || len(b) == 0:
	case len(b) < 32<<10:
		s.hash.Write(b)
	default:
		s.busy.Go(func() { s.hash.Write(b) })
	}
}

// rewind begins again.
func (s *source) rewind() error {
	s.busy.Wait()
	s.unread = nil
	if s.hash != nil {
		s.hash.Reset()
	}
	_, err := s.r.Seek(0, io.SeekStart)
	return err
}

// drain reads, and sums, what the decompressor left.
func (s *source) drain() error {
	for {
		s.unread = nil
		switch err := s.fill(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// blame reports what an error while walking over an image means.
func (s *source) blame(c codec, err error) error {
	var f fault
	switch {
	case s.err != nil:
		return s.err
	case context.Cause(s.ctx) != nil:
		return context.Cause(s.ctx)
	case errors.As(err, &f):
		return within("image", f)
	}
	return faultf("image: damaged %s data: %s", c, err)
}

// bounded passes at most left bytes on and asks ctx as it goes.
type bounded struct {
	ctx  context.Context
	r    io.Reader
	left int64
	err  error // of r, not io.EOF
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := context.Cause(b.ctx); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fault("unpacks to far more than its size")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// tree is what an image holds, by clean path, as far as it is known.
type tree struct {
	kinds  map[string]byte // type flags, or one of those below
	used   int64           // against MaxImageNames
	parent string          // of the last member: it has been reached
}

// Kinds beside the type flags.
const (
	impliedDir  = 'D' // a directory that has no member of its own yet
	foreignLink = 'F' // a symbolic link that GNU tar makes only at the end
)

func (t *tree) set(name string, kind byte) error {
	if _, again := t.kinds[name]; !again {
		if t.used += int64(len(name)) + 64; t.used > MaxImageNames {
			return fault("too many names")
		}
	}
	t.kinds[name] = kind
	return nil
}

// check judges one member: first what holds for both formats, then the rules.
func (t *tree) check(m member, rule rules) error {
	switch {
	case len(m.name) > maxPath || tooLong(m.name):
		return faultf("the name %.100q… is too long to be unpacked", m.name)
	case hasDotDot(m.name):
		return faultf("%q leaves the image", m.name)
	case m.kind == typeSymlink && (m.link == "" || len(m.link) > maxPath):
		return faultf("the symbolic link %q has no usable target", m.name)
	}
	return rule.member(m, t)
}

// reach makes sure that the directories above name exist as directories and
// calls below for one that does not.
func (t *tree) reach(name string, below func(ancestor string, kind byte) error) error {
	dir := path.Dir(name)
	if dir == t.parent {
		return nil
	}
	for d := dir; d != "."; d = path.Dir(d) {
		kind, ok := t.kinds[d]
		var err error
		switch {
		case !ok:
			err = t.set(d, impliedDir)
		case kind != typeDirectory && kind != impliedDir:
			err = below(d, kind)
		}
		if err != nil {
			return err
		}
	}
	t.parent = dir
	return nil
}

// tooLong reports whether a component of name is too long for a file system.
func tooLong(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxName {
			return true
		}
	}
	return false
}

func hasDotDot(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// gpkgRules are those of Portage's tar_safe_extract and, beyond it, what Python
// does to the machine when it unpacks the rest.
type gpkgRules struct{}

// imageDir is the directory whose content becomes the root of the system.
const imageDir = "image"

func (gpkgRules) member(m member, t *tree) error {
	if strings.HasPrefix(m.name, "/") {
		return faultf("%q is absolute", m.name)
	}
	name := path.Clean(m.name)
	before, again := t.kinds[name]
	switch {
	case m.isDevice():
		return faultf("%q is a device", m.name)
	case m.sparse:
		return faultf("%q is stored as a sparse file", m.name)
	case (name == imageDir || name == ".") && m.kind != typeDirectory:
		return faultf("%q is not a directory", m.name)
	case again && (before != impliedDir || m.kind != typeDirectory):
		return faultf("%q is there twice", m.name)
	}
	if m.kind == typeHardLink {
		// A hard link to a symbolic link would have Python change mode and
		// owner of what that points to.
		if hasDotDot(m.link) || t.kinds[path.Clean(m.link)] != typeRegular {
			return faultf("the hard link %q does not lead to a file before it", m.name)
		}
	}
	err := t.reach(name, func(ancestor string, kind byte) error {
		if kind == typeSymlink {
			return faultf("%q lies below the symbolic link %q", m.name, ancestor)
		}
		return faultf("%q lies below the file %q", m.name, ancestor)
	})
	if err != nil {
		return err
	}
	return t.set(name, simpleKind(m.kind))
}

func (gpkgRules) end(t *tree, rest int64) error {
	if _, ok := t.kinds[imageDir]; !ok {
		return faultf("no directory %q", imageDir)
	}
	if rest > trailing {
		return faultf("%d bytes behind the end of the archive: Portage would wait for ever", rest)
	}
	return nil
}

// simpleKind counts everything that is neither directory nor symbolic link as
// a file.
func simpleKind(kind byte) byte {
	if kind == typeDirectory || kind == typeSymlink {
		return kind
	}
	return typeRegular
}

// xpakRules are those of GNU tar: what it cannot unpack is refused. It strips
// leading slashes, makes devices, overwrites duplicates, and follows links
// within the image.
type xpakRules struct{}

func (xpakRules) member(m member, t *tree) error {
	name := local(m.name)
	before, again := t.kinds[name]
	isDir := m.kind == typeDirectory
	switch {
	case name == "." && !isDir:
		return faultf("%q is not a directory", m.name)
	case again && !isDir && (before == typeDirectory || before == impliedDir):
		return faultf("%q is a directory and a file", m.name)
	}
	if m.kind == typeHardLink {
		target, ok := t.kinds[local(m.link)]
		if !ok || hasDotDot(m.link) || target == typeDirectory || target == impliedDir {
			return faultf("the hard link %q does not lead to a file before it", m.name)
		}
	}
	err := t.reach(name, func(ancestor string, kind byte) error {
		switch kind {
		case typeSymlink:
			return nil
		case foreignLink:
			return faultf("%q lies below the symbolic link %q", m.name, ancestor)
		}
		return faultf("%q lies below the file %q", m.name, ancestor)
	})
	if err != nil {
		return err
	}
	kind := simpleKind(m.kind)
	if kind == typeSymlink && (path.IsAbs(m.link) || hasDotDot(m.link)) {
		kind = foreignLink
	}
	return t.set(name, kind)
}

func (xpakRules) end(*tree, int64) error { return nil }

// local is the path below the current directory that GNU tar takes a name for.
func local(name string) string {
	return path.Clean(strings.TrimLeft(name, "/"))
}
