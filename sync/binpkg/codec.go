package binpkg

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// codec is a compression that Portage supports.
type codec uint8

const (
	plain codec = iota
	gzipped
	bzipped
	xzipped
	zstandard
	lz4Frame
	lzipped
	lzopped
	zstandardWide // zstandard with a wide window; never the result of a probe
)

// codecs has the name of each as Portage calls it and its extension in a GPKG.
var codecs = [...]struct{ name, ext string }{
	plain:     {"none", ""},
	gzipped:   {"gzip", ".gz"},
	bzipped:   {"bzip2", ".bz2"},
	xzipped:   {"xz", ".xz"},
	zstandard: {"zstd", ".zst"},
	lz4Frame:  {"lz4", ".lz4"},
	lzipped:   {"lzip", ".lz"},
	lzopped:   {"lzop", ".lzo"},

	zstandardWide: {"zstd", "\x00"}, // no name ends in this
}

func (c codec) String() string { return codecs[c].name }

// known reports whether this package can read the compression.
func (c codec) known() bool { return c != lzipped && c != lzopped }

// inner splits the name of an archive in a GPKG: metadata.tar.zst is metadata,
// zstandard.
func inner(name string) (stem string, c codec, ok bool) {
	for c := range codecs {
		if stem, ok := strings.CutSuffix(name, ".tar"+codecs[c].ext); ok {
			return stem, codec(c), true
		}
	}
	return "", plain, false
}

// magicLength is how many bytes probe wants to see.
const magicLength = 9

// probe tells the compression of the image of an XPAK by its first bytes, as
// Portage does. Note that it recognises bzip2 of level 9 only.
func probe(head []byte) codec {
	switch {
	case bytes.HasPrefix(head, []byte("BZh9")):
		return bzipped
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return gzipped
	case bytes.HasPrefix(head, []byte("\x04\x22\x4d\x18")),
		bytes.HasPrefix(head, []byte("\x02\x21\x4c\x18")):
		return lz4Frame
	case bytes.HasPrefix(head, []byte("LZIP")):
		return lzipped
	case bytes.HasPrefix(head, []byte("\x89LZO\x00\r\n\x1a\n")):
		return lzopped
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return xzipped
	case len(head) >= 4 && head[0] >= 0x22 && head[0] <= 0x28 &&
		string(head[1:4]) == "\xb5\x2f\xfd":
		return zstandard
	}
	return plain
}

// actual is the compression that the program for c finds in what was probed:
// each reads its own format, zstd those of gzip, xz and lz4 too.
func (c codec) actual(probed codec) codec {
	if c == zstandard && (probed == gzipped || probed == xzipped || probed == lz4Frame) {
		return probed
	}
	return c
}

// The window of zstd is bounded as Portage bounds it: it calls zstd with
// --long=31 where a long has 64 bits; else the default, 2^27 bytes, applies. A
// decoder makes room for the whole window at once, however little comes out, so
// that the wide window is for a second try: what unpacks to less than 2^27
// bytes gives the same in a window of that size.
const (
	narrowLog = 27
	wideLog   = narrowLog + 4*(strconv.IntSize/64)
)

// zstdBlobs decode metadata in one piece: that takes no window but the result,
// which cannot outgrow its buffer.
var zstdBlobs = sync.Pool{New: func() any {
	return newZstd(wideLog, zstd.WithDecodeAllCapLimit(true))
}}

// zstdStreams and gzipStreams decode images, and gzipStreams metadata too.
var (
	zstdStreams = sync.Pool{New: func() any { return newZstd(narrowLog) }}
	gzipStreams = sync.Pool{New: func() any { return new(gzip.Reader) }}
)

func newZstd(windowLog int, o ...zstd.DOption) *zstd.Decoder {
	o = append(o, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<windowLog))
	d, _ := zstd.NewReader(nil, o...) // fails for wrong options only
	return d
}

// metadataGuess is the room that metadata gets at first; it is enough for most.
const metadataGuess = 2 * bzipUnit

// bzipUnit is the block size of bzip2 by level, in bytes.
const bzipUnit = 100000

// unpack decompresses a metadata archive. The result lies in buf.
func (c codec) unpack(buf *buffer, data []byte) ([]byte, error) {
	c = c.actual(probe(data))
	if out, ok := c.unpackSmall(buf.of(metadataGuess), data); ok {
		return out, nil
	}
	return c.unpackInto(buf.of(MaxMetadata+1), data)
}

// unpackSmall is the quick way for what is not larger than out. Whether a
// failure comes from the data or from the haste is not known.
func (c codec) unpackSmall(out, data []byte) ([]byte, bool) {
	var err error
	switch c {
	case zstandard:
		d := zstdBlobs.Get().(*zstd.Decoder)
		out, err = d.DecodeAll(data, out[:0:len(out)])
		zstdBlobs.Put(d)
	case bzipped:
		out, err = c.unpackInto(out, lowLevel(data))
	default:
		out, err = c.unpackInto(out, data)
	}
	return out, err == nil
}

// lowLevel makes bzip2 believe in the level that is enough for metadataGuess.
// The level tells nothing but how much room to make for a block, and making it
// for level 9 takes ten times as long as all the rest.
func lowLevel(data []byte) []byte {
	const level = '0' + metadataGuess/bzipUnit
	if len(data) < 4 || data[3] <= level {
		return data
	}
	data = bytes.Clone(data)
	data[3] = level
	return data
}

// unpackInto decompresses into out, which must be larger than the data.
func (c codec) unpackInto(out, data []byte) ([]byte, error) {
	d, err := c.open(bytes.NewReader(data), int64(len(out)))
	if err != nil {
		return nil, err
	}
	defer d.free()
	n := 0
	for n < len(out) {
		k, err := d.Read(out[n:])
		n += k
		if errors.Is(err, io.EOF) {
			return out[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, faultf("more than %d bytes of metadata", len(out)-1)
}

// decoder is an open decompressor. The parts that it was made of may be used again after free.
type decoder struct {
	io.Reader
	free     func()
	narrowed bool // the data may need zstandardWide
}

// open starts to decompress r. No match can reach back further than limit
// bytes, because no more will be read.
func (c codec) open(r byteReader, limit int64) (decoder, error) {
	none := func() {}
	switch c {
	case plain:
		return decoder{r, none, false}, nil
	case gzipped:
		d := gzipStreams.Get().(*gzip.Reader)
		free := func() { gzipStreams.Put(d) }
		return decoder{d, free, false}, d.Reset(r)
	case bzipped:
		return decoder{bzip2.NewReader(r), none, false}, nil
	case xzipped:
		return decoder{newXZ(r, limit), none, false}, nil
	case zstandard:
		d := zstdStreams.Get().(*zstd.Decoder)
		free := func() {
			if d.Reset(nil) == nil { // lets go of r
				zstdStreams.Put(d)
			}
		}
		narrower, changed := narrow(r)
		return decoder{d, free, changed}, d.Reset(narrower)
	case zstandardWide:
		d := newZstd(wideLog)
		return decoder{d, d.Close, false}, d.Reset(r)
	case lz4Frame:
		return decoder{&lz4Frames{src: r, d: lz4.NewReader(r)}, none, false}, nil
	}
	return decoder{}, faultf("cannot read %s compression", c)
}

// The place where a zstd frame that is not a single segment has its window (RFC 8878, section
// 3.1.1.1): the exponent less 10 in the upper five bits.
const (
	zstdFlagsAt  = 4
	zstdSingle   = 1 << 5
	zstdWindowAt = 5
	zstdHead     = zstdWindowAt + 1
)

// zstdMagic begins a frame with data; one that is skipped has another.
var zstdMagic = []byte("\x28\xb5\x2f\xfd")

// narrow makes the first frame of r claim a window of 2^narrowLog bytes at
// most, if it is one that would be accepted at all.
func narrow(r byteReader) (narrower io.Reader, changed bool) {
	head := make([]byte, zstdHead)
	n, _ := io.ReadFull(r, head) // an error comes again
	if n == zstdHead && bytes.HasPrefix(head, zstdMagic) && head[zstdFlagsAt]&zstdSingle == 0 {
		const most, enough = (wideLog - 10) << 3, (narrowLog - 10) << 3
		if w := head[zstdWindowAt]; w > enough && w <= most {
			head[zstdWindowAt] = enough
			changed = true
		}
	}
	return io.MultiReader(bytes.NewReader(head[:n]), r), changed
}

// lz4Frames reads frames up to the end of the source; the package reads one.
type lz4Frames struct {
	src byteReader
	d   *lz4.Reader
}

func (f *lz4Frames) Read(p []byte) (int, error) {
	for {
		n, err := f.d.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		first, err := f.src.ReadByte()
		if err != nil {
			return 0, err
		}
		f.d.Reset(io.MultiReader(bytes.NewReader([]byte{first}), f.src))
	}
}
