package binpkg

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
)

// Marks of an XPAK segment.
var (
	xpakPack = []byte("XPAKPACK")
	xpakStop = []byte("XPAKSTOP")
	fileStop = []byte("STOP")
)

const (
	xpakHead = 8 + 4 + 4 // XPAKPACK, length of the index, length of the data
	xpakTail = 8         // XPAKSTOP
	fileTail = 4 + 4     // length of the segment, STOP
	xpakMin  = xpakHead + xpakTail + fileTail
)

// tailGuess is what is read from the end of a file at first: the whole XPAK
// segment of most packages.
const tailGuess = 32 << 10

// xpak is an XPAK package whose segment has been read.
type xpak struct {
	image  int64  // bytes of the image, at the front of the file
	nested string // a key that is not a plain file name, if there is one
}

// readXPAK reads the segment at the end of the file into p.
func readXPAK(p *Package, r io.ReaderAt, size int64) (content, error) {
	buf := buffers.Get().(*buffer)
	defer buf.free()
	segment, err := xpakSegment(buf, r, size)
	if err != nil {
		return nil, err
	}
	var g gather
	x := &xpak{image: size - int64(len(segment)) - fileTail}
	if err := x.walk(segment, &g); err != nil {
		return nil, err
	}
	p.values = g.done()
	return x, nil
}

// xpakSegment returns the bytes from XPAKPACK to XPAKSTOP.
func xpakSegment(buf *buffer, r io.ReaderAt, size int64) ([]byte, error) {
	if size < xpakMin {
		return nil, fault("too short for an XPAK")
	}
	tail := buf.of(int(min(size, tailGuess)))
	if err := readAt(r, tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	end := tail[len(tail)-fileTail-xpakTail:]
	if !bytes.HasPrefix(end, xpakStop) || !bytes.HasSuffix(end, fileStop) {
		return nil, fault("no XPAK at the end of the file")
	}
	length := int64(binary.BigEndian.Uint32(end[xpakTail:]))
	switch {
	case length < xpakHead+xpakTail || length > size-fileTail:
		return nil, fault("the XPAK is longer than the file")
	case length > MaxMetadata:
		return nil, faultf("an XPAK of %d bytes is too large", length)
	case length > int64(len(tail)-fileTail):
		tail = buf.of(int(length) + fileTail)
		if err := readAt(r, tail, size-int64(len(tail))); err != nil {
			return nil, err
		}
	}
	segment := tail[len(tail)-fileTail-int(length) : len(tail)-fileTail]
	if !bytes.HasPrefix(segment, xpakPack) || !bytes.HasSuffix(segment, xpakStop) {
		return nil, fault("no XPAK where the end of the file says")
	}
	return segment, nil
}

// walk reads the index of a segment. The length of the data in the header is
// not looked at: Portage does not either, and the end is known.
func (x *xpak) walk(segment []byte, g *gather) error {
	body := segment[xpakHead : len(segment)-xpakTail]
	n := binary.BigEndian.Uint32(segment[8:])
	if uint64(n) > uint64(len(body)) {
		return fault("the XPAK index is longer than the XPAK")
	}
	index, data := body[:n], body[n:]
	for keys := 0; len(index) > 0; keys++ {
		if keys == MaxKeys {
			return faultf("more than %d metadata keys", MaxKeys)
		}
		name, value, rest, err := xpakEntry(index, data)
		if err != nil {
			return err
		}
		if !plainPath(name) {
			return faultf("the XPAK key %q leaves its directory", name)
		}
		if bytes.IndexByte(name, '/') >= 0 {
			x.nested = string(name)
		}
		g.put(name, value)
		index = rest
	}
	return nil
}

// xpakEntry takes one entry off the index.
func xpakEntry(index, data []byte) (name, value, rest []byte, err error) {
	const broken = fault("the XPAK index ends inside an entry")
	if len(index) < 4 {
		return nil, nil, nil, broken
	}
	n := uint64(binary.BigEndian.Uint32(index))
	index = index[4:]
	if uint64(len(index)) < n+8 {
		return nil, nil, nil, broken
	}
	name, index = index[:n], index[n:]
	off := uint64(binary.BigEndian.Uint32(index))
	length := uint64(binary.BigEndian.Uint32(index[4:]))
	if off+length > uint64(len(data)) {
		return nil, nil, nil, faultf("the value of XPAK key %q lies outside the data", name)
	}
	return name, data[off : off+length], index[8:], nil
}

// check walks over the image.
func (x *xpak) check(ctx context.Context, r io.ReaderAt) error {
	if x.nested != "" {
		return faultf("the XPAK key %q is not a file name", x.nested)
	}
	return checkXPAKImage(ctx, io.NewSectionReader(r, 0, x.image))
}
