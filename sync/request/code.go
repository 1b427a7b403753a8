package request

import (
	"errors"
	"fmt"
	"strings"

	"pkgsneak/sync/digest"
)

// Code is a receipt that people carry: which generation a client has imported, and how that went.
// It is 16 symbols of Crockford's base 32 in groups of four, of which the last four are the check
// symbols of a Reed-Solomon code (16,12) over GF(32): any four wrong symbols are found.
//
//	bits   4 format, 0
//	       4 Result
//	      20 tag of the client's name
//	      32 tag of the manifest: the first four bytes of its BLAKE2B
//
// The field is that of the polynomial x^5+x^2+1; the generator has the roots 2^1 to 2^4. Lower
// case, blanks and missing dashes do not matter; I and L are read as 1, O as 0.
type Code struct {
	Result   Result
	Client   uint32 // 20 bits, see ClientTag
	Manifest [4]byte
}

// Result is how an import went.
type Result uint8

// The results that a code can tell.
const (
	Imported Result = 0 // all that the drive carried is here
	Partly   Result = 1 // some files were left out
)

// ClientTag is what a code has of a client's name.
func ClientTag(name string) uint32 {
	sum := digest.Name("pkgsneak client " + name)
	return uint32(sum[0])<<12 | uint32(sum[1])<<4 | uint32(sum[2])>>4
}

const (
	codeSymbols = 16
	codeData    = 12
	codeFormat  = 0
	crockford   = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)

// ErrCode means that a receipt was not typed as it was printed.
var ErrCode = errors.New("not a receipt code: a symbol is wrong or missing")

// String returns the 16 symbols, XXXX-XXXX-XXXX-XXXX.
func (c Code) String() string {
	bits := uint64(codeFormat)<<56 | uint64(c.Result&15)<<52 | uint64(c.Client&(1<<20-1))<<32 |
		uint64(c.Manifest[0])<<24 | uint64(c.Manifest[1])<<16 | uint64(c.Manifest[2])<<8 |
		uint64(c.Manifest[3])
	var word [codeSymbols]byte
	for i := range codeData {
		word[i] = byte(bits >> (5 * (codeData - 1 - i)) & 31)
	}
	rest := remainder(word)
	copy(word[codeData:], rest[:])
	var b strings.Builder
	for i, s := range word {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(crockford[s])
	}
	return b.String()
}

// ParseCode reads what somebody typed.
func ParseCode(text string) (Code, error) {
	var word [codeSymbols]byte
	n := 0
	for _, c := range strings.ToUpper(text) {
		switch c {
		case '-', ' ', '\t':
			continue
		case 'I', 'L':
			c = '1'
		case 'O':
			c = '0'
		}
		at := strings.IndexRune(crockford, c)
		if at < 0 || n == codeSymbols {
			return Code{}, ErrCode
		}
		word[n] = byte(at)
		n++
	}
	if n != codeSymbols {
		return Code{}, ErrCode
	}
	check := [codeSymbols - codeData]byte(word[codeData:])
	if remainder(word) != check {
		return Code{}, ErrCode
	}
	var bits uint64
	for _, s := range word[:codeData] {
		bits = bits<<5 | uint64(s)
	}
	if format := bits >> 56; format != codeFormat {
		return Code{},
			fmt.Errorf("the receipt code has format %d, this program reads %d: use a newer pkgsneak", format, codeFormat)
	}
	return Code{Result: Result(bits >> 52 & 15), Client: uint32(bits >> 32 & (1<<20 - 1)),
		Manifest: [4]byte{byte(bits >> 24), byte(bits >> 16), byte(bits >> 8), byte(bits)}}, nil
}

// remainder divides the data of a word, with four zeros behind it, by the generator.
func remainder(word [codeSymbols]byte) (rest [codeSymbols - codeData]byte) {
	for _, s := range word[:codeData] {
		lead := s ^ rest[0]
		copy(rest[:], rest[1:])
		rest[len(rest)-1] = 0
		for i := range rest {
			rest[i] ^= times(lead, generator[i+1])
		}
	}
	return rest
}

// generator is (x-2)(x-4)(x-8)(x-16), the highest power first.
var generator = func() (g [codeSymbols - codeData + 1]byte) {
	g[len(g)-1] = 1 // the polynomial 1, to be multiplied; kept at the end
	for root := byte(2); root != 0 && root <= 16; root *= 2 {
		for i := 0; i+1 < len(g); i++ {
			g[i] = g[i+1] ^ times(g[i], root)
		}
		g[len(g)-1] = times(g[len(g)-1], root)
	}
	return g
}()

// times multiplies in GF(32).
func times(a, b byte) (product byte) {
	for ; b != 0; b >>= 1 {
		if b&1 != 0 {
			product ^= a
		}
		if a <<= 1; a&32 != 0 {
			a ^= 0b100101
		}
	}
	return product
}
