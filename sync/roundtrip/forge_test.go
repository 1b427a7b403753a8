package roundtrip

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	_ "crypto/md5"
	"crypto/sha1"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
)

// forger signs what no signer of ours would: any text, with any hash, date and algorithm. It writes
// OpenPGP (RFC 4880) by hand, because a library refuses half of it, and because what is tested
// shall not be tested with itself.
type forger struct {
	secret  ed25519.PrivateKey
	created uint32
	public  []byte // the body of the public-key packet
}

// The numbers of RFC 4880 section 9 that attacks need.
const (
	hashMD5    = 1
	hashSHA1   = 2
	hashSHA256 = 8
	hashSHA512 = 10

	algorithmRSA   = 1
	algorithmEdDSA = 22

	typeBinary     = 0x00
	typeText       = 0x01
	typeCertify    = 0x10
	typeSelf       = 0x13
	typeRevocation = 0x20
)

var hashes = map[byte]crypto.Hash{hashMD5: crypto.MD5, hashSHA1: crypto.SHA1,
	hashSHA256: crypto.SHA256, hashSHA512: crypto.SHA512}

// oid of Ed25519 in a version 4 key.
var oidEd25519 = []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01}

// newForger makes a key out of a name.
func newForger(name string, created time.Time) *forger {
	seed := sha1.Sum([]byte(name))
	return forgerOf(ed25519.NewKeyFromSeed(append(seed[:],
		make([]byte, ed25519.SeedSize-len(seed))...)), uint32(created.Unix()))
}

func forgerOf(secret ed25519.PrivateKey, created uint32) *forger {
	f := &forger{secret: secret, created: created}
	f.public = binary.BigEndian.AppendUint32([]byte{4}, created)
	f.public = append(f.public, algorithmEdDSA, byte(len(oidEd25519)))
	f.public = append(f.public, oidEd25519...)
	f.public = append(f.public,
		integer(append([]byte{0x40}, secret.Public().(ed25519.PublicKey)...))...)
	return f
}

// steal takes the private key out of what gpg would read.
func steal(t *testing.T, k *manifest.PrivateKey) *forger {
	t.Helper()
	_, body, _ := strings.Cut(string(k.Armor()), "\n\n")
	body, _, _ = strings.Cut(body, "\n=")
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil || len(raw) < 60 {
		t.Fatalf("armor of the private key: %v", err)
	}
	body = string(raw[2:]) // one byte of tag, one of length
	point := 4 + 2 + 1 + len(oidEd25519) + 2 + 33 + 1
	seed := body[point:] // behind the byte of "not protected"
	bits := int(seed[0])<<8 | int(seed[1])
	seed = seed[2 : 2+(bits+7)/8]
	full := append(make([]byte, ed25519.SeedSize-len(seed)), seed...)
	f := forgerOf(ed25519.NewKeyFromSeed(full), binary.BigEndian.Uint32([]byte(body[1:])))
	if got := f.key(t, 0); got.Fingerprint() != k.Public().Fingerprint() {
		t.Fatalf("stolen is %s instead of %s", got.Fingerprint(), k.Public().Fingerprint())
	}
	return f
}

// integer is a multiprecision integer (section 3.2).
func integer(b []byte) []byte {
	b = bytes.TrimLeft(b, "\x00")
	bits := 0
	if len(b) > 0 {
		bits = len(b) * 8
		for top := b[0]; top&0x80 == 0; top <<= 1 {
			bits--
		}
	}
	return append([]byte{byte(bits >> 8), byte(bits)}, b...)
}

func pgpPacket(tag byte, body []byte) []byte {
	return append(append([]byte{0x80 | tag<<2 | 2},
		binary.BigEndian.AppendUint32(nil, uint32(len(body)))...), body...)
}

func subpacket(kind byte, body ...byte) []byte {
	return append([]byte{byte(len(body) + 1), kind}, body...)
}

func seconds(kind byte, n uint32) []byte {
	return subpacket(kind, binary.BigEndian.AppendUint32(nil, n)...)
}

// how is how a signature is made. The zero value is what our own signer does.
type how struct {
	kind, hash, algorithm byte
	at                    time.Time // zero: epoch
	extra                 []byte    // hashed subpackets
	issuer                *forger   // whom it claims as its maker; nil: the one who signs
}

// signature signs data, which is hashed as it is.
func (f *forger) signature(data []byte, h how) []byte {
	if h.hash == 0 {
		h.hash = hashSHA512
	}
	if h.algorithm == 0 {
		h.algorithm = algorithmEdDSA
	}
	if h.at.IsZero() {
		h.at = epoch
	}
	if h.issuer == nil {
		h.issuer = f
	}
	fpr := h.issuer.fingerprint()
	hashed := append(seconds(2, uint32(h.at.Unix())),
		subpacket(33, append([]byte{4}, fpr...)...)...)
	hashed = append(hashed, subpacket(16, fpr[12:]...)...)
	hashed = append(hashed, h.extra...)
	body := []byte{4, h.kind, h.algorithm, h.hash, byte(len(hashed) >> 8), byte(len(hashed))}
	body = append(body, hashed...)
	trailer := append(bytes.Clone(body), 4, 0xff)
	trailer = binary.BigEndian.AppendUint32(trailer, uint32(len(body)))
	digest := hashes[h.hash].New()
	digest.Write(data)
	digest.Write(trailer)
	sum := digest.Sum(nil)
	sig := ed25519.Sign(f.secret, sum)
	body = append(body, 0, 0, sum[0], sum[1])
	body = append(body, integer(sig[:32])...)
	if h.algorithm == algorithmEdDSA {
		body = append(body, integer(sig[32:])...)
	}
	return pgpPacket(2, body)
}

func (f *forger) fingerprint() []byte {
	sum := sha1.Sum(f.prefixed())
	return sum[:]
}

// prefixed is the key as it is hashed (section 5.2.4).
func (f *forger) prefixed() []byte {
	return append([]byte{0x99, byte(len(f.public) >> 8), byte(len(f.public))}, f.public...)
}

// block is the public key with a user id that it signed, good for so many seconds (0: for ever).
func (f *forger) block(name string, life uint32) []byte {
	extra := subpacket(27, 3) // certify and sign
	if life > 0 {
		extra = append(extra, seconds(9, life)...)
	}
	id := binary.BigEndian.AppendUint32([]byte{0xb4}, uint32(len(name)))
	data := append(append(f.prefixed(), id...), name...)
	self := f.signature(data, how{kind: typeSelf, at: time.Unix(int64(f.created), 0), extra: extra})
	return append(append(pgpPacket(6, f.public), pgpPacket(13, []byte(name))...), self...)
}

// introduction is what key makes of f's user id, in the name of another one.
func (f *forger) introduction(name string, key, as *forger) []byte {
	id := binary.BigEndian.AppendUint32([]byte{0xb4}, uint32(len(name)))
	return key.signature(append(append(f.prefixed(), id...), name...),
		how{kind: typeCertify, issuer: as})
}

func (f *forger) key(t *testing.T, life uint32) *manifest.PublicKey {
	t.Helper()
	k, err := manifest.ReadPublicKey(f.block("forger", life))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// revocation is a revocation certificate.
func (f *forger) revocation() []byte {
	return armored("PUBLIC KEY BLOCK", f.signature(f.prefixed(), how{kind: typeRevocation}))
}

func armored(kind string, packets ...[]byte) []byte {
	code := base64.StdEncoding.EncodeToString(bytes.Join(packets, nil))
	var b strings.Builder
	b.WriteString("-----BEGIN PGP " + kind + "-----\n\n")
	for len(code) > 64 {
		b.WriteString(code[:64] + "\n")
		code = code[64:]
	}
	b.WriteString(code + "\n-----END PGP " + kind + "-----\n")
	return []byte(b.String())
}

// clearSigned is a clear-signed message (section 7): the text is hashed without its last line end,
// lines ending in CR LF and without blanks before that.
func (f *forger) clearSigned(text string, h how) []byte {
	return framed(text, "Hash: SHA512\n", f.textSignature(text, h))
}

// textSignature is the signature packet alone.
func (f *forger) textSignature(text string, h how) []byte {
	if h.kind == 0 {
		h.kind = typeText
	}
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		lines = append(lines, strings.TrimRight(line, " \t\r"))
	}
	return f.signature([]byte(strings.Join(lines, "\r\n")), h)
}

func framed(text, headers string, packets ...[]byte) []byte {
	return append([]byte("-----BEGIN PGP SIGNED MESSAGE-----\n"+headers+"\n"+text),
		armored("SIGNATURE", packets...)...)
}
