// Package digest computes the sums of one pass over a stream: the length and
// any of MD5, SHA1, BLAKE2B-512 and SHA512.
//
// The users of each: Portage's Packages index carries MD5 and SHA1 of a package
// file; Manifests (GLEP 74) and the layout of distfiles (GLEP 75) use
// BLAKE2B-512; the Manifest inside a GPKG (GLEP 78) has BLAKE2B-512 and SHA512
// of each member.
//
// Sums of the empty stream:
//
//	MD5      d41d8cd98f00b204e9800998ecf8427e
//	SHA1     da39a3ee5e6b4b0d3255bfef95601890afd80709
//	BLAKE2B  786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419...
//	SHA512   cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce...
package digest

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"

	"golang.org/x/crypto/blake2b"
)

// Blake2b is a BLAKE2B-512 sum.
type Blake2b = [64]byte

// Set is which sums are wanted.
type Set uint8

// The sums that can be asked for.
const (
	MD5 Set = 1 << iota
	SHA1
	BLAKE2B
	SHA512
)

// All is what a package file needs on its way: MD5 and SHA1 for the index,
// BLAKE2B for the Manifest. SHA512 is not part of it: only the members of a
// GPKG are checked against it.
const All = MD5 | SHA1 | BLAKE2B

// Sums is what one pass found out. Only the sums of the Set asked for are
// valid, the others are zero; Size always is.
type Sums struct {
	Size    int64 // bytes
	MD5     [md5.Size]byte
	SHA1    [sha1.Size]byte
	Blake2b Blake2b
	SHA512  [sha512.Size]byte
}

// parallelFrom is the length of a write from which the hashes run side by
// side. Hashing that much takes tens of microseconds, starting a goroutine
// less than one.
const parallelFrom = 64 << 10

// member is one hash of a Hash.
type member struct {
	set Set
	h   hash.Hash
}

// Hash is an io.Writer that sums what is written to it. It is not safe for
// concurrent use; Reset makes it ready for the next stream.
type Hash struct {
	size    int64
	members []member
}

// New returns a Hash for the sums of set.
func New(set Set) *Hash {
	h := &Hash{}
	// The slowest first: it is the one that runs on the caller's goroutine.
	if set&MD5 != 0 {
		h.members = append(h.members, member{MD5, md5.New()})
	}
	if set&SHA512 != 0 {
		h.members = append(h.members, member{SHA512, sha512.New()})
	}
	if set&BLAKE2B != 0 {
		h.members = append(h.members, member{BLAKE2B, newBlake2b()})
	}
	if set&SHA1 != 0 {
		h.members = append(h.members, member{SHA1, sha1.New()})
	}
	return h
}

func newBlake2b() hash.Hash {
	h, _ := blake2b.New512(nil) // fails for a key that is too long only
	return h
}

// Write adds p to the stream. It never fails.
func (h *Hash) Write(p []byte) (int, error) {
	h.size += int64(len(p))
	if len(p) < parallelFrom || len(h.members) < 2 {
		for _, l := range h.members {
			l.h.Write(p)
		}
		return len(p), nil
	}
	var others sync.WaitGroup
	for _, l := range h.members[1:] {
		others.Go(func() { l.h.Write(p) })
	}
	h.members[0].h.Write(p)
	others.Wait()
	return len(p), nil
}

// Sum returns the sums of what was written since New or the last Reset. More
// may be written afterwards.
func (h *Hash) Sum() Sums {
	s := Sums{Size: h.size}
	for _, l := range h.members {
		switch l.set {
		case MD5:
			l.h.Sum(s.MD5[:0])
		case SHA1:
			l.h.Sum(s.SHA1[:0])
		case BLAKE2B:
			l.h.Sum(s.Blake2b[:0])
		case SHA512:
			l.h.Sum(s.SHA512[:0])
		}
	}
	return s
}

// Reset forgets what was written.
func (h *Hash) Reset() {
	h.size = 0
	for _, l := range h.members {
		l.h.Reset()
	}
}

// defaultBuffer is the length of the buffer of Reader where the caller brings
// none: large enough for the hashes to run side by side.
const defaultBuffer = 256 << 10

// buffers are those of Reader, for the next file: tens of thousands of small
// ones are hashed where a client has lost its memory, and a buffer for each
// would cost many times as much as the hashing.
var buffers = sync.Pool{New: func() any { return new([defaultBuffer]byte) }}

// Reader sums r to its end, in pieces of buf (of 256 KiB if it is empty). It
// asks ctx between pieces and returns its cause when it is done. On an error
// the sums are zero.
func Reader(ctx context.Context, r io.Reader, set Set, buf []byte) (Sums, error) {
	if len(buf) == 0 {
		own := buffers.Get().(*[defaultBuffer]byte)
		defer buffers.Put(own)
		buf = own[:]
	}
	h := New(set)
	for {
		if err := context.Cause(ctx); err != nil {
			return Sums{}, err
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		switch {
		case errors.Is(err, io.EOF):
			return h.Sum(), nil
		case err != nil:
			return Sums{}, err
		}
	}
}

// Bytes returns the BLAKE2B-512 of data.
func Bytes(data []byte) Blake2b { return blake2b.Sum512(data) }

// Name returns the BLAKE2B-512 of a file name, as GLEP 75's filename-hash
// wants it: the first byte in hex is the name of the bucket.
func Name(name string) Blake2b { return blake2b.Sum512([]byte(name)) }

// Hex returns sum in lower-case hex, as indexes and Manifests write it.
func Hex(sum []byte) string { return hex.EncodeToString(sum) }

// Parse fills sum from hex digits of either case. It reports whether text has
// exactly the length of sum and nothing but hex digits; sum is unchanged if
// not.
func Parse(sum []byte, text string) bool {
	if len(text) != hex.EncodedLen(len(sum)) {
		return false
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return false
	}
	copy(sum, b)
	return true
}
