package binpkg

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// The tar archives in a package are read by two programs, Python's tarfile (GPKG) and GNU tar
// (XPAK). If those two read a header differently, or if a sloppy field would let them see something
// else than this reader does, the archive is refused; packages as they are built have none of that.

const blockSize = 512

// maxExtension bounds the body of an extension header (GNU long names, PAX
// records) and maxExtensions how many of them one member may have.
const (
	maxExtension  = 1 << 20
	maxExtensions = 8
)

// maxMember bounds the size that a member may claim: 1 PiB. It keeps sums of
// sizes and positions within an int64.
const maxMember = 1 << 50

// Type flags of ustar, GNU and PAX.
const (
	typeOldRegular = 0
	typeRegular    = '0'
	typeHardLink   = '1'
	typeSymlink    = '2'
	typeCharDev    = '3'
	typeBlockDev   = '4'
	typeDirectory  = '5'
	typeFIFO       = '6'
	typeContiguous = '7'
	typeGlobalPAX  = 'g'
	typePAX        = 'x'
	typeOldPAX     = 'X'
	typeLongLink   = 'K'
	typeLongName   = 'L'
	typeGNUSparse  = 'S'
)

// member is one member of a tar archive.
type member struct {
	name   string // without slashes at the end
	link   string // target of a link
	kind   byte   // one of the type flags 0 to 6; anything else is a regular file
	sparse bool   // stored with holes left out
	offset int64  // of the data
	size   int64  // of the data as stored
}

func (m *member) isDevice() bool {
	return m.kind == typeCharDev || m.kind == typeBlockDev || m.kind == typeFIFO
}

// tarSource is where an archive comes from.
type tarSource interface {
	// next returns the next n bytes, valid until the next call. The error is
	// io.EOF if there are none, io.ErrUnexpectedEOF if there are fewer.
	next(n int) ([]byte, error)
	// skip passes over n bytes; io.ErrUnexpectedEOF if there are fewer.
	skip(n int64) error
}

// memory is an archive in memory.
type memory struct{ rest []byte }

func (s *memory) next(n int) ([]byte, error) {
	switch {
	case len(s.rest) >= n:
		b := s.rest[:n]
		s.rest = s.rest[n:]
		return b, nil
	case len(s.rest) == 0:
		return nil, io.EOF
	}
	return nil, io.ErrUnexpectedEOF
}

func (s *memory) skip(n int64) error {
	if int64(len(s.rest)) < n {
		return io.ErrUnexpectedEOF
	}
	s.rest = s.rest[n:]
	return nil
}

// file is an archive in a file of which only the headers are read.
type file struct {
	r         io.ReaderAt
	pos, size int64
	buf       []byte
}

func (s *file) next(n int) ([]byte, error) {
	if s.pos >= s.size {
		return nil, io.EOF
	}
	if s.size-s.pos < int64(n) {
		return nil, io.ErrUnexpectedEOF
	}
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	if err := readAt(s.r, b, s.pos); err != nil {
		return nil, err
	}
	s.pos += int64(n)
	return b, nil
}

func (s *file) skip(n int64) error {
	if s.size-s.pos < n {
		return io.ErrUnexpectedEOF
	}
	s.pos += n
	return nil
}

// stream is an archive that comes out of a decompressor.
type stream struct {
	r   *bufio.Reader
	buf []byte
}

func (s *stream) next(n int) ([]byte, error) {
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	_, err := io.ReadFull(s.r, b)
	return b, err
}

func (s *stream) skip(n int64) error {
	for n > 0 {
		// Discard takes an int, which may have 32 bits.
		k, err := s.r.Discard(int(min(n, 1<<30)))
		n -= int64(k)
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tarReader walks over the members of an archive.
type tarReader struct {
	src  tarSource
	pos  int64 // where src stands; 0 in an archive without a single block
	left int64 // what is left of the last member, with its padding
}

// next returns the next member, or io.EOF behind the last one: where the
// archive has a zero block, or just ends.
func (t *tarReader) next() (member, error) {
	if err := t.skip(t.left); err != nil {
		return member{}, err
	}
	t.left = 0
	var x extension
	for range maxExtensions {
		b, err := t.header()
		if errors.Is(err, io.EOF) && x.used {
			return member{}, fault("tar: an extension header without a member")
		}
		if err != nil {
			return member{}, err
		}
		h, err := parseHeader(b)
		if err != nil {
			return member{}, err
		}
		if h.isExtension() {
			if err := t.extend(&x, h); err != nil {
				return member{}, err
			}
			continue
		}
		return t.finish(h, &x, b)
	}
	return member{}, fault("tar: too many extension headers")
}

// header returns the next block unless the archive ends.
func (t *tarReader) header() ([]byte, error) {
	b, err := t.take(blockSize)
	if err != nil {
		return nil, err
	}
	if b[0] == 0 && allZero(b) {
		return nil, io.EOF
	}
	return b, nil
}

func (t *tarReader) extend(x *extension, h rawHeader) error {
	if h.size > maxExtension {
		return fault("tar: an extension header is too large")
	}
	body, err := t.take(int(h.size))
	if err != nil && h.size > 0 {
		return unexpected(err)
	}
	// The text is copied before the padding takes the buffer.
	err = x.add(h.kind, body)
	if perr := t.skip(padding(h.size)); err == nil {
		err = perr
	}
	return err
}

// finish makes the member out of its header and the extensions before it.
func (t *tarReader) finish(h rawHeader, x *extension, block []byte) (member, error) {
	m := member{name: h.name, link: h.link, kind: h.kind, size: h.size}
	if h.kind == typeGNUSparse {
		m.sparse = true
		more := block[482] != 0
		for more {
			b, err := t.take(blockSize)
			if err != nil {
				return member{}, unexpected(err)
			}
			more = b[504] != 0
		}
	}
	if err := x.apply(&m); err != nil {
		return member{}, err
	}
	if err := m.settle(); err != nil {
		return member{}, err
	}
	m.offset = t.pos
	t.left = m.size + padding(m.size)
	return m, nil
}

// data returns the bytes of the member just read; they are valid until the
// next call.
func (t *tarReader) data(m member) ([]byte, error) {
	if m.size == 0 {
		return nil, nil
	}
	if m.size > MaxMetadata {
		return nil, faultf("tar: %q is too large", m.name)
	}
	b, err := t.take(int(m.size))
	t.left -= m.size
	return b, unexpected(err)
}

func (t *tarReader) take(n int) ([]byte, error) {
	b, err := t.src.next(n)
	switch {
	case err == nil:
		t.pos += int64(n)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errTruncated
	}
	return b, err
}

func (t *tarReader) skip(n int64) error {
	if n == 0 {
		return nil
	}
	t.pos += n
	return unexpected(t.src.skip(n))
}

// errTruncated is the end of a file in the middle of something.
const errTruncated = fault("tar: the archive ends early")

// unexpected turns an end of file into errTruncated.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return err
}

// padding is what fills size up to a whole block.
func padding(size int64) int64 { return -size & (blockSize - 1) }

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// settle brings a member into the form that both readers see.
func (m *member) settle() error {
	switch {
	case strings.IndexByte(m.name, 0) >= 0 || strings.IndexByte(m.link, 0) >= 0:
		return fault("tar: a name with a zero byte")
	case m.size > maxMember:
		return faultf("tar: %q claims %d bytes", m.name, m.size)
	case m.kind == typeOldRegular && strings.HasSuffix(m.name, "/"):
		m.kind = typeDirectory
	case m.kind == typeOldRegular:
		m.kind = typeRegular
	}
	if m.kind == typeDirectory {
		m.name = strings.TrimRight(m.name, "/")
		if m.name == "" {
			m.name = "/"
		}
	}
	switch {
	case m.kind >= typeHardLink && m.kind <= typeFIFO:
		if m.size != 0 {
			return faultf("tar: %q is no file but has data", m.name)
		}
	case strings.HasSuffix(m.name, "/"):
		return faultf("tar: the file %q is named like a directory", m.name)
	}
	if m.name == "" {
		return fault("tar: a member without a name")
	}
	return nil
}

// rawHeader is one header block.
type rawHeader struct {
	name, link string
	kind       byte
	size       int64
}

func (h *rawHeader) isExtension() bool {
	switch h.kind {
	case typeLongName, typeLongLink, typePAX, typeOldPAX, typeGlobalPAX:
		return true
	}
	return false
}

// parseHeader reads one header block (POSIX ustar; the GNU and the old format
// differ from it in what lies beyond the magic).
func parseHeader(b []byte) (rawHeader, error) {
	if err := checkSum(b); err != nil {
		return rawHeader{}, err
	}
	size, ok := number(b[124:136])
	if !ok {
		return rawHeader{}, fault("tar: a size is not a number")
	}
	h := rawHeader{
		name: text(b[:100]),
		kind: b[156],
		size: size,
	}
	if h.kind == typeHardLink || h.kind == typeSymlink {
		h.link = text(b[157:257])
	}
	if h.kind != typeGNUSparse && b[345] != 0 {
		if !bytes.Equal(b[257:263], []byte("ustar\x00")) {
			return rawHeader{}, fault("tar: a name prefix in a format that has none")
		}
		h.name = text(b[345:500]) + "/" + h.name
	}
	return h, nil
}

// checkSum compares the sum of the bytes of a header, in which the sum itself
// counts as blanks, with the stored one. Ancient programs summed signed bytes.
func checkSum(b []byte) error {
	stored, ok := number(b[148:156])
	if !ok {
		return fault("tar: not a header")
	}
	unsigned, signed := sumBytes(b)
	for _, c := range b[148:156] {
		unsigned += ' ' - int64(c)
		signed += ' ' - int64(int8(c))
	}
	if stored != unsigned && stored != signed {
		return fault("tar: not a header")
	}
	return nil
}

// sumBytes adds up the bytes of a block, as unsigned and as signed ones. There are
// dozens of headers in a package, so it takes eight bytes at a time.
func sumBytes(b []byte) (unsigned, signed int64) {
	const even, top = 0x00ff00ff00ff00ff, 0x8080808080808080
	var lanes uint64 // four sums of 16 bits: a block has 64 times 2 bytes for each
	negative := 0
	for i := 0; i+8 <= blockSize; i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		lanes += x&even + x>>8&even
		negative += bits.OnesCount64(x & top)
	}
	for ; lanes > 0; lanes >>= 16 {
		unsigned += int64(lanes & 0xffff)
	}
	return unsigned, unsigned - 256*int64(negative)
}

// text is a field up to its first zero byte.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// number reads a numeric field: octal digits between blanks, or GNU's base 256
// when the first bit is set. Negative numbers are refused.
func number(b []byte) (int64, bool) {
	if b[0]&0x80 != 0 {
		return base256(b)
	}
	i := 0
	for i < len(b) && b[i] == ' ' {
		i++
	}
	var n int64
	for i < len(b) && b[i] >= '0' && b[i] <= '7' {
		n = n<<3 | int64(b[i]-'0') // at most 12 digits: 36 bits
		i++
	}
	for i < len(b) && b[i] == ' ' {
		i++
	}
	return n, i == len(b) || b[i] == 0
}

func base256(b []byte) (int64, bool) {
	n := int64(b[0] & 0x7f)
	for _, c := range b[1:] {
		if n > math.MaxInt64>>9 {
			return 0, false
		}
		n = n<<8 | int64(c)
	}
	return n, b[0] == 0x80
}

// extension is what extension headers give of the member that follows.
type extension struct {
	used               bool
	longName, longLink string // GNU
	path, linkpath     string // PAX
	size               int64
	hasSize            bool
	sparse             bool
	sparseName         string
}

func (x *extension) add(kind byte, body []byte) error {
	switch kind {
	case typeLongName:
		x.used = true
		x.longName = text(body)
		return nil
	case typeLongLink:
		x.used = true
		x.longLink = text(body)
		return nil
	case typeGlobalPAX:
		return eachRecord(body, func(key, _ string) error {
			switch {
			case key == "path", key == "linkpath", key == "size",
				strings.HasPrefix(key, "GNU.sparse."):
				return faultf("tar: a global header sets %q", key)
			}
			return nil
		})
	}
	x.used = true
	return eachRecord(body, x.record)
}

func (x *extension) record(key, value string) error {
	switch key {
	case "path":
		x.path = value
	case "linkpath":
		x.linkpath = value
	case "size":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil {
			return fault("tar: a size is not a number")
		}
		x.size, x.hasSize = int64(n), true
	case "GNU.sparse.name":
		x.sparseName = value
	}
	if strings.HasPrefix(key, "GNU.sparse.") {
		x.sparse = true
	}
	return nil
}

// eachRecord walks over PAX records: "LENGTH KEY=VALUE\n", where LENGTH counts
// the whole record.
func eachRecord(body []byte, visit func(key, value string) error) error {
	for len(body) > 0 {
		length, rest, ok := bytes.Cut(body, []byte{' '})
		if !ok {
			return fault("tar: a broken PAX record")
		}
		n, err := strconv.ParseUint(string(length), 10, 31)
		head := uint64(len(length)) + 1
		if err != nil || n <= head || n > uint64(len(body)) || body[n-1] != '\n' {
			return fault("tar: a broken PAX record")
		}
		key, value, ok := bytes.Cut(rest[:n-head-1], []byte{'='})
		if !ok {
			return fault("tar: a broken PAX record")
		}
		if err := visit(string(key), string(value)); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// apply puts the extensions into the member. Which of two names wins is a
// matter of the reader, so there must not be two.
func (x *extension) apply(m *member) error {
	if x.longName != "" && x.path != "" || x.longLink != "" && x.linkpath != "" ||
		x.longName != "" && x.sparseName != "" {
		return fault("tar: a member with two long names")
	}
	for _, name := range [...]string{x.longName, x.path, x.sparseName} {
		if name != "" {
			m.name = name
		}
	}
	if m.kind == typeHardLink || m.kind == typeSymlink {
		for _, link := range [...]string{x.longLink, x.linkpath} {
			if link != "" {
				m.link = link
			}
		}
	}
	if x.hasSize {
		m.size = x.size
	}
	m.sparse = m.sparse || x.sparse
	return nil
}

// readAt fills b from r; a file that is shorter than its size is truncated.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fault("the file ends early")
	}
	return err
}
