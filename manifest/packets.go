package manifest

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Limits of key blocks.
const (
	// MaxKey is the size of a key block or revocation certificate in bytes.
	MaxKey = 256 << 10
	// MaxPackets is the number of packets in one.
	MaxPackets = 1000
)

// The armor types used here.
const (
	armorSignature = "PGP SIGNATURE"
	armorPublic    = "PGP PUBLIC KEY BLOCK"
	armorPrivate   = "PGP PRIVATE KEY BLOCK"
)

// Packet tags (RFC 4880 section 4.3).
const (
	tagSignature     = 2
	tagPrivateKey    = 5
	tagPublicKey     = 6
	tagPrivateSubkey = 7
	tagMarker        = 10
	tagTrust         = 12
	tagUserID        = 13
	tagPublicSubkey  = 14
	tagUserAttribute = 17
	tagPadding       = 21
	tagNonCritical   = 40 // and above
)

// A rawPacket is one OpenPGP packet, not looked into.
type rawPacket struct {
	tag  byte
	body []byte
}

// splitPackets takes an OpenPGP message apart. Lengths must be definite and what
// they are; there is no other reader that skips garbage.
func splitPackets(data []byte) ([]rawPacket, error) {
	var raws []rawPacket
	for len(data) > 0 {
		if len(raws) == MaxPackets {
			return nil, fmt.Errorf("more than %d packets", MaxPackets)
		}
		tag, head, size := packetHeader(data)
		if head == 0 {
			return nil, fmt.Errorf("packet %d has no valid header", len(raws)+1)
		}
		if size > int64(len(data)-head) {
			return nil, fmt.Errorf("packet %d is cut off", len(raws)+1)
		}
		end := head + int(size)
		raws = append(raws, rawPacket{tag, data[head:end:end]})
		data = data[end:]
	}
	return raws, nil
}

// packetHeader reads a packet header of either form (RFC 4880 section 4.2). head
// is its own length, 0 if it is invalid or of indefinite or partial length.
func packetHeader(data []byte) (tag byte, head int, size int64) {
	var b [6]byte
	n := copy(b[:], data)
	first, one := b[0], int64(b[1])
	oldForm := first&0xc0 == 0x80
	switch {
	case n < 2 || first&0x80 == 0:
		return 0, 0, 0
	case oldForm:
		tag = first >> 2 & 0xf
		switch first & 3 {
		case 0:
			head, size = 2, one
		case 1:
			head, size = 3, int64(binary.BigEndian.Uint16(b[1:]))
		case 2:
			head, size = 5, int64(binary.BigEndian.Uint32(b[1:]))
		}
	default:
		tag = first & 0x3f
		switch {
		case one < 192:
			head, size = 2, one
		case one < 224:
			head, size = 3, (one-192)<<8+int64(b[2])+192
		case one == 255:
			head, size = 6, int64(binary.BigEndian.Uint32(b[2:]))
		}
	}
	if head > n {
		return 0, 0, 0
	}
	return tag, head, size
}

// append appends the packet with a new-form header.
func (r rawPacket) append(b []byte) []byte {
	b = append(b, 0xc0|r.tag)
	switch n := len(r.body); {
	case n < 192:
		b = append(b, byte(n))
	case n < 8384:
		b = append(b, byte((n-192)>>8)+192, byte(n-192))
	default:
		b = append(b, 255)
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return append(b, r.body...)
}

// parse looks into the packet. Bytes that its parser did not want are an error.
func (r rawPacket) parse() (packet.Packet, error) {
	in := bytes.NewReader(r.append(nil))
	p, err := packet.Read(in)
	if err != nil {
		return nil, err
	}
	if in.Len() > 0 {
		return nil, errors.New("surplus bytes at its end")
	}
	return p, nil
}

// parseSignature is parse for signature packets.
func (r rawPacket) parseSignature() (*packet.Signature, error) {
	p, err := r.parse()
	if err != nil {
		return nil, err
	}
	sig, ok := p.(*packet.Signature)
	if !ok {
		return nil, errors.New("no signature packet")
	}
	return sig, nil
}

// strongHash reports whether h may be under a signature that is believed.
func strongHash(h crypto.Hash) bool {
	return h == crypto.SHA256 || h == crypto.SHA384 || h == crypto.SHA512
}

// checkCommon returns what is wrong with a signature of whatever type, or "".
func checkCommon(sig *packet.Signature) string {
	switch {
	case sig.Version != 4:
		return fmt.Sprintf("version %d instead of 4", sig.Version)
	case sig.PubKeyAlgo != packet.PubKeyAlgoEdDSA:
		return fmt.Sprintf("made with %s instead of EdDSA", algorithmName(byte(sig.PubKeyAlgo)))
	case !strongHash(sig.Hash):
		return "hash " + sig.Hash.String() + " instead of SHA-256, SHA-384 or SHA-512"
	}
	for _, n := range sig.Notations {
		if n.IsCritical {
			return fmt.Sprintf("critical notation %q is not known", clip(n.Name))
		}
	}
	return ""
}

// dearmor decodes the armor of the given kind at the start of data, and returns
// what follows its last line. Lines end with LF; header lines are an error unless
// allowHeaders is set, and never looked at.
func dearmor(data []byte, kind string, allowHeaders bool) (body, rest []byte, err error) {
	begin, end := []byte("-----BEGIN "+kind+"-----\n"), []byte("\n-----END "+kind+"-----\n")
	data, ok := bytes.CutPrefix(data, begin)
	if !ok {
		return nil, nil, errors.New("no armor of the type " + kind)
	}
	// The first line may be the blank one, and the last newline before END is it.
	inner, rest, ok := bytes.Cut(data, end)
	if !ok {
		return nil, nil, errors.New("armor without its END line")
	}
	for {
		line, more, ok := bytes.Cut(inner, []byte("\n"))
		if !ok {
			return nil, nil, errors.New("armor without content")
		}
		inner = more
		if len(line) == 0 {
			break
		}
		if !allowHeaders || !bytes.Contains(line, []byte(":")) {
			return nil, nil, fmt.Errorf("armor header %q", clip(string(line)))
		}
	}
	body, err = decodeBase64(inner)
	return body, rest, err
}

// decodeBase64 decodes the lines of an armor, and its checksum if there is one.
func decodeBase64(lines []byte) ([]byte, error) {
	const longest = 76
	lines, sum := cutChecksum(lines)
	code := make([]byte, 0, len(lines))
	for line := range bytes.SplitSeq(lines, []byte("\n")) {
		if len(line) == 0 || len(line) > longest {
			return nil, fmt.Errorf("armor line of %d characters", len(line))
		}
		code = append(code, line...)
	}
	if bytes.ContainsAny(code, "\r\n") {
		return nil, errors.New("armor with a carriage return")
	}
	body := make([]byte, base64.StdEncoding.DecodedLen(len(code)))
	n, err := base64.StdEncoding.Strict().Decode(body, code)
	if err != nil {
		return nil, errors.New("armor is not base64")
	}
	body = body[:n]
	if sum != nil {
		want := crc24(body)
		got, err := base64.StdEncoding.Strict().DecodeString(string(sum))
		if err != nil || !bytes.Equal(got, want[:]) {
			return nil, errors.New("armor checksum is wrong")
		}
	}
	return body, nil
}

// cutChecksum splits a last line "=XXXX" off; sum is nil if there is none.
func cutChecksum(lines []byte) (before, sum []byte) {
	const size = len("\n=XXXX")
	at := len(lines) - size
	if at < 0 || lines[at] != '\n' || lines[at+1] != '=' {
		return lines, nil
	}
	return lines[:at], lines[at+2:]
}

// crc24 is the checksum of RFC 4880 section 6.1.
func crc24(data []byte) [3]byte {
	crc := uint32(0xb704ce)
	for _, b := range data {
		crc ^= uint32(b) << 16
		for range 8 {
			crc <<= 1
			if crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return [3]byte{byte(crc >> 16), byte(crc >> 8), byte(crc)}
}

// enarmor is the inverse of dearmor. The checksum is for readers before RFC 9580.
func enarmor(kind string, headers map[string]string, body []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, headers)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// algorithmName names a public-key algorithm (RFC 9580 section 9.1).
func algorithmName(id byte) string {
	switch id {
	case 1, 2, 3:
		return "RSA"
	case 16, 20:
		return "ElGamal"
	case 17:
		return "DSA"
	case 18:
		return "ECDH"
	case 19:
		return "ECDSA"
	case 22:
		return "EdDSA"
	case 27:
		return "Ed25519 in the form of RFC 9580"
	case 28:
		return "Ed448"
	}
	return fmt.Sprintf("algorithm %d", id)
}
