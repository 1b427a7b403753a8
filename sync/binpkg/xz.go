package binpkg

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// The container of xz (version 1.1.0 of its specification) is read here, and
// only its LZMA2 payload by the xz package: that one makes each dictionary that
// a block asks for, up to 4 GiB, before a byte of the block has been seen.
//
//	stream = header 1*block index footer     any number of streams follow each
//	block  = header lzma2 padding check      other, with zero padding by four

const (
	// xzDictionary is the largest dictionary that is made: xz -9 uses a
	// quarter of it.
	xzDictionary = 256 << 20
	// xzAllowance bounds what all dictionaries of a stream may take beyond the
	// data they gave: honest blocks are larger than their dictionary.
	xzAllowance = 2 * xzDictionary
	// xzRecords bounds the blocks of a stream.
	xzRecords = 1 << 20
)

var (
	xzMagic  = []byte("\xfd7zXZ\x00")
	xzFooter = []byte("YZ")

	errXZ = errors.New("xz: contradicts itself or ends early")
)

// xzSumSize is the length of the check by its number.
var xzSumSize = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

// xzReader is the decompressor.
type xzReader struct {
	src   byteReader
	limit int64 // no more is read
	err   error

	began   bool // a stream has been read
	flags   [2]byte
	sum     hash.Hash // of the block's data; nil: no check that is known
	block   io.Reader // LZMA2; nil between blocks
	blockIn *counted
	header  xzBlock
	out     int64      // bytes out of this block
	total   int64      // bytes out of all
	dicts   int64      // bytes of all dictionaries
	records []xzRecord // of this stream; nil between streams
}

type xzRecord struct{ unpadded, size uint64 }

// xzBlock is the header of a block; -1: not given.
type xzBlock struct {
	length     int64 // of the header
	compressed int64
	size       int64
	dictionary int64
}

func newXZ(src byteReader, limit int64) *xzReader {
	return &xzReader{src: src, limit: limit}
}

func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.nextBlock()
			continue
		}
		n, err := x.block.Read(p)
		x.out += int64(n)
		x.total += int64(n)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if errors.Is(err, io.EOF) {
			x.err = x.endBlock()
		} else if err != nil {
			x.err = err
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// nextBlock goes on to the next block, over the end of a stream if need be.
func (x *xzReader) nextBlock() error {
	if x.records == nil {
		if err := x.startStream(); err != nil {
			return err
		}
	}
	size, err := x.src.ReadByte()
	if err != nil {
		return damaged(err)
	}
	if size == 0 {
		return x.endStream()
	}
	return x.startBlock(size)
}

// startStream reads the header of a stream, and the padding before it.
func (x *xzReader) startStream() error {
	var b [12]byte
	for {
		if n, err := io.ReadFull(x.src, b[:4]); n == 0 && err == io.EOF && x.began {
			return io.EOF
		} else if err != nil {
			return damaged(err)
		}
		if !x.began || b[0] != 0 || b[1] != 0 || b[2] != 0 || b[3] != 0 {
			break
		}
	}
	if _, err := io.ReadFull(x.src, b[4:]); err != nil {
		return damaged(err)
	}
	if !bytes.Equal(b[:6], xzMagic) ||
		crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) {
		return errXZ
	}
	if b[6] != 0 || b[7] > 15 {
		return faultf("xz: unknown stream flags %#x", b[6:8])
	}
	x.flags = [2]byte(b[6:8])
	x.began = true
	x.records = make([]xzRecord, 0, 1)
	switch x.flags[1] {
	case 1:
		x.sum = crc32.NewIEEE()
	case 4:
		x.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.sum = sha256.New()
	default:
		x.sum = nil
	}
	return nil
}

// startBlock reads the header of a block, whose first byte is size.
func (x *xzReader) startBlock(size byte) error {
	b := make([]byte, (int(size)+1)*4)
	b[0] = size
	if _, err := io.ReadFull(x.src, b[1:]); err != nil {
		return damaged(err)
	}
	h, err := parseXZBlock(b)
	if err != nil {
		return err
	}
	dict := min(h.dictionary, max(x.limit, lzma.MinDictCap))
	if h.size >= 0 {
		dict = min(dict, max(h.size, lzma.MinDictCap))
	}
	if dict > xzDictionary {
		return faultf("xz: needs a dictionary of %d bytes", dict)
	}
	if x.dicts += dict; x.dicts > xzAllowance+x.total {
		return fault("xz: needs too many dictionaries")
	}
	x.blockIn = &counted{src: x.src}
	block, err := lzma.Reader2Config{DictCap: int(dict)}.NewReader2(x.blockIn)
	if err != nil {
		return err
	}
	x.header, x.block, x.out = h, block, 0
	if x.sum != nil {
		x.sum.Reset()
	}
	return nil
}

// parseXZBlock reads the header of a block.
func parseXZBlock(b []byte) (xzBlock, error) {
	h := xzBlock{length: int64(len(b)), compressed: -1, size: -1}
	body, sum := b[1:len(b)-4], b[len(b)-4:]
	if crc32.ChecksumIEEE(b[:len(b)-4]) != binary.LittleEndian.Uint32(sum) {
		return h, errXZ
	}
	flags := body[0]
	body = body[1:]
	if flags&0x3c != 0 || flags&3 != 0 {
		return h, fault("xz: a filter other than LZMA2")
	}
	var err error
	if flags&0x40 != 0 {
		if h.compressed, body, err = xzNumber(body); err != nil {
			return h, err
		}
	}
	if flags&0x80 != 0 {
		if h.size, body, err = xzNumber(body); err != nil {
			return h, err
		}
	}
	if len(body) < 3 || body[0] != 0x21 || body[1] != 1 {
		return h, fault("xz: a filter other than LZMA2")
	}
	if h.dictionary, err = lzma.DecodeDictCap(body[2]); err != nil {
		return h, errXZ
	}
	if !allZero(body[3:]) {
		return h, errXZ
	}
	return h, nil
}

// xzNumber takes a number off b: seven bits a byte, the lowest first.
func xzNumber(b []byte) (int64, []byte, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || k > 9 || k > 1 && b[k-1] == 0 {
		return 0, nil, errXZ
	}
	return int64(n), b[k:], nil
}

// endBlock reads what follows the LZMA2 data, and compares.
func (x *xzReader) endBlock() error {
	x.block = nil
	if x.header.size >= 0 && x.header.size != x.out ||
		x.header.compressed >= 0 && x.header.compressed != x.blockIn.n {
		return errXZ
	}
	size := xzSumSize[x.flags[1]]
	b := make([]byte, int(-x.blockIn.n&3)+size)
	if _, err := io.ReadFull(x.src, b); err != nil {
		return damaged(err)
	}
	pad, sum := b[:len(b)-size], b[len(b)-size:]
	if !allZero(pad) || x.sum != nil && !bytes.Equal(x.blockSum(), sum) {
		return errXZ
	}
	if len(x.records) == xzRecords {
		return faultf("xz: more than %d blocks", xzRecords)
	}
	x.records = append(x.records, xzRecord{
		unpadded: uint64(x.header.length + x.blockIn.n + int64(size)),
		size:     uint64(x.out),
	})
	return nil
}

// blockSum is the check as xz stores it: the CRCs begin with the lowest byte.
func (x *xzReader) blockSum() []byte {
	sum := x.sum.Sum(nil)
	if len(sum) <= 8 {
		for i, j := 0, len(sum)-1; i < j; i, j = i+1, j-1 {
			sum[i], sum[j] = sum[j], sum[i]
		}
	}
	return sum
}

// endStream reads the index, whose first byte is gone, and the footer.
func (x *xzReader) endStream() error {
	crc := crc32.NewIEEE()
	in := &counted{src: x.src, sum: crc, n: 1}
	crc.Write([]byte{0})
	n, err := binary.ReadUvarint(in)
	if err != nil || n != uint64(len(x.records)) {
		return damaged(err)
	}
	for _, r := range x.records {
		unpadded, err1 := binary.ReadUvarint(in)
		size, err2 := binary.ReadUvarint(in)
		if err := errors.Join(err1, err2); err != nil || unpadded != r.unpadded || size != r.size {
			return damaged(err)
		}
	}
	for in.n&3 != 0 {
		if c, err := in.ReadByte(); err != nil || c != 0 {
			return damaged(err)
		}
	}
	length, want := in.n+4, crc.Sum32()
	var b [16]byte
	if _, err := io.ReadFull(x.src, b[:]); err != nil {
		return damaged(err)
	}
	footer := b[4:]
	if binary.LittleEndian.Uint32(b[:]) != want ||
		binary.LittleEndian.Uint32(footer) != crc32.ChecksumIEEE(footer[4:10]) ||
		(int64(binary.LittleEndian.Uint32(footer[4:]))+1)*4 != length ||
		[2]byte(footer[8:10]) != x.flags || !bytes.Equal(footer[10:], xzFooter) {
		return errXZ
	}
	x.records = nil
	return nil
}

// damaged is the error for a container that ends early or contradicts itself;
// other errors of the source pass.
func damaged(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errXZ
	}
	return err
}

// counted counts, and sums if it has a sum, what is read through it.
type counted struct {
	src byteReader
	sum hash.Hash
	n   int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) ReadByte() (byte, error) {
	b, err := c.src.ReadByte()
	if err == nil {
		c.n++
		if c.sum != nil {
			c.sum.Write([]byte{b})
		}
	}
	return b, err
}

// byteReader is what decompressors read from without reading ahead.
type byteReader interface {
	io.Reader
	io.ByteReader
}
