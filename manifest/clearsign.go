package manifest

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // the hashes of strongHash, for crypto.Hash.New
	_ "crypto/sha512"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const (
	beginMessage   = "-----BEGIN PGP SIGNED MESSAGE-----\n"
	beginSignature = "-----BEGIN PGP SIGNATURE-----\n"

	// maxSignature is the most bytes an armored signature may have. gpg's have 228
	// to 300.
	maxSignature = 16 << 10
)

// hashNames are the values of the Hash line.
var hashNames = map[string]crypto.Hash{
	"SHA256": crypto.SHA256,
	"SHA384": crypto.SHA384,
	"SHA512": crypto.SHA512,
}

// Sign returns the Manifest of l, signed by k at the given time. The same
// arguments give the same bytes. It fails with a *FormatError if l could not be
// read back, and with a *KeyError if k is not valid at that time; a host whose
// clock lies before the key's creation has to hand in at least that.
func Sign(l *List, k *PrivateKey, at time.Time) ([]byte, error) {
	text, err := l.MarshalText()
	if err != nil {
		return nil, err
	}
	if err := k.checkSigning(at); err != nil {
		return nil, err
	}
	h := crypto.SHA512.New()
	hashText(h, text)
	key := k.secret().key
	sig := newSignature(key, packet.SigTypeText, at)
	if err := sig.Sign(h, key, signConfig()); err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	armored, err := armorSignaturePacket(sig)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	const head = beginMessage + "Hash: SHA512\n\n"
	out := make([]byte, 0, len(head)+len(text)+len(armored))
	out = append(out, head...)
	out = append(out, text...)
	return append(out, armored...), nil
}

func armorSignaturePacket(sig *packet.Signature) ([]byte, error) {
	raw, err := rawOf(sig)
	if err != nil {
		return nil, err
	}
	return enarmor(armorSignature, nil, raw.append(nil))
}

// Open verifies a Manifest and returns its list. data may end with padding.
// ring holds the keys that are trusted; now is the latest time the caller is sure
// of (its clock, or what it remembers from earlier lists), and may be wrong: see
// the package comment.
//
// The error is ErrNotSigned, an *UnknownKeyError, *SignatureError or *KeyError
// (all of which are ErrUntrusted), or a *FormatError if a trusted key signed
// something else than a list.
func Open(data []byte, ring Ring, now time.Time) (*Signed, error) {
	return open(data, ring, now, func(k *PublicKey, sig *packet.Signature) error {
		return k.checkSignature(sig, now)
	})
}

// OpenPast is Open without a look at what has become of the key, or of the signature, since:
// revoked and expired keys count. It tells who signed what, for removing it from a drive; nothing
// that is read so may be brought in.
func OpenPast(data []byte, ring Ring) (*Signed, error) {
	return open(data, ring, time.Time{}, func(*PublicKey, *packet.Signature) error { return nil })
}

// open verifies a Manifest; check judges the key whose signature is good.
func open(data []byte, ring Ring, now time.Time,
	check func(*PublicKey, *packet.Signature) error) (*Signed, error) {
	m, err := splitMessage(data)
	if err != nil {
		return nil, err
	}
	signer, err := m.verify(ring, check)
	if err != nil {
		return nil, err
	}
	list, err := parseList(m.text)
	if err != nil {
		return nil, err
	}
	at := m.sig.CreationTime.UTC()
	return &Signed{List: list, Signer: signer.Fingerprint(), SignedAt: at,
		ClockBehind: now.Before(at)}, nil
}

// Claimed returns the fingerprint, or the key id if there is only that, of the
// key that claims to have signed data. Nothing is verified: it is for messages.
func Claimed(data []byte) (signer string, err error) {
	m, err := splitMessage(data)
	if err != nil {
		return "", err
	}
	return claimedSigner(m.sig), nil
}

// trim returns data without its padding: the bytes that [Sign] returned.
func trim(data []byte) []byte {
	end := len(data)
	for end > 1 && data[end-1] == '\n' && data[end-2] == '\n' {
		end--
	}
	return data[:end]
}

// A message is a clear-signed message taken apart, not verified.
type message struct {
	text []byte
	sig  *packet.Signature
}

// splitMessage takes the frame of the package comment apart.
func splitMessage(data []byte) (*message, error) {
	if len(data) > MaxManifest {
		return nil, &SignatureError{fmt.Sprintf("the file has more than %d bytes", MaxManifest)}
	}
	rest, ok := bytes.CutPrefix(data, []byte(beginMessage))
	if !ok {
		if bytes.Contains(data, []byte(strings.TrimSuffix(beginMessage, "\n"))) {
			return nil, &SignatureError{"the file does not begin with the signed message"}
		}
		return nil, ErrNotSigned
	}
	hashName, rest, ok := cutHashLine(rest)
	if !ok {
		return nil, &SignatureError{"the header is not one Hash line of SHA256, SHA384 or SHA512"}
	}
	// The line at which the message is cut is one of its own, even if the text is empty.
	end := bytes.Index(rest, []byte("\n"+beginSignature))
	if end < 0 {
		return nil, &SignatureError{"the message has no signature"}
	}
	sig, err := readSignature(rest[end+1:])
	if err != nil {
		return nil, err
	}
	if sig.Hash != hashNames[hashName] {
		return nil, &SignatureError{fmt.Sprintf("the header says %s, the signature %s",
			hashName, sig.Hash)}
	}
	m := &message{text: rest[1 : end+1], sig: sig}
	return m, checkLines(m.text)
}

// cutHashLine cuts the Hash line off, but not the newline of the blank line after it.
func cutHashLine(data []byte) (name string, rest []byte, ok bool) {
	line, rest, ok := bytes.Cut(data, []byte("\n"))
	if !ok || len(rest) == 0 || rest[0] != '\n' || len(line) > len("Hash: SHA512") {
		return "", nil, false
	}
	name, ok = strings.CutPrefix(string(line), "Hash: ")
	if !ok || hashNames[name] == 0 {
		return "", nil, false
	}
	return name, rest, true
}

// readSignature reads the armored signature at the end of the file, and the
// padding after it.
func readSignature(data []byte) (*packet.Signature, error) {
	padding := trim(data)
	if len(padding) > maxSignature {
		return nil, &SignatureError{fmt.Sprintf("the signature has more than %d bytes",
			maxSignature)}
	}
	body, rest, err := dearmor(padding, armorSignature, false)
	if err != nil {
		return nil, &SignatureError{err.Error()}
	}
	if len(rest) > 0 {
		return nil, &SignatureError{"there is something after the signature"}
	}
	raws, err := splitPackets(body)
	if err != nil {
		return nil, &SignatureError{err.Error()}
	}
	if len(raws) != 1 || raws[0].tag != tagSignature {
		return nil, &SignatureError{fmt.Sprintf("%d packets instead of one signature", len(raws))}
	}
	sig, err := raws[0].parseSignature()
	if err != nil {
		return nil, &SignatureError{"the packet cannot be read: " + err.Error()}
	}
	if reason := checkCommon(sig); reason != "" {
		return nil, &SignatureError{reason}
	}
	if sig.SigType != packet.SigTypeText {
		return nil, &SignatureError{fmt.Sprintf("type 0x%02x instead of 0x01 (text)",
			byte(sig.SigType))}
	}
	return sig, nil
}

// checkLines refuses what clear-signing hashes in another form than it stands in
// the file: dash-escaped lines, blanks at their end, carriage returns.
func checkLines(text []byte) error {
	if bytes.IndexByte(text, '\r') >= 0 {
		return &SignatureError{"the text has a carriage return"}
	}
	if bytes.HasPrefix(text, []byte("-")) || bytes.Contains(text, []byte("\n-")) {
		return &SignatureError{"a line of the text begins with a dash"}
	}
	if bytes.Contains(text, []byte(" \n")) || bytes.Contains(text, []byte("\t\n")) {
		return &SignatureError{"a line of the text ends with a blank"}
	}
	return nil
}

// hashText hashes the text as clear-signing does: lines end with CR LF, and the
// end of the last one is not part of it.
func hashText(h hash.Hash, text []byte) {
	text = bytes.TrimSuffix(text, []byte("\n"))
	buf := make([]byte, 0, 32<<10)
	for len(text) > 0 {
		line, rest, more := bytes.Cut(text, []byte("\n"))
		if len(buf)+len(line)+2 > cap(buf) {
			h.Write(buf)
			buf = buf[:0]
		}
		if len(line)+2 > cap(buf) {
			h.Write(line)
		} else {
			buf = append(buf, line...)
		}
		if more {
			buf = append(buf, '\r', '\n')
		}
		text = rest
	}
	h.Write(buf)
}

// verify returns the key of the ring that made the signature, if that is good and
// check has nothing against the key.
func (m *message) verify(ring Ring,
	check func(*PublicKey, *packet.Signature) error) (*PublicKey, error) {
	candidates := ring.issuers(m.sig)
	if len(candidates) == 0 {
		return nil, &UnknownKeyError{claimedSigner(m.sig)}
	}
	h := m.sig.Hash.New()
	hashText(h, m.text)
	h.Write(m.sig.HashSuffix)
	sum := h.Sum(nil)
	if !bytes.HasPrefix(sum, m.sig.HashTag[:]) {
		return nil, &SignatureError{"the text is not what was signed"}
	}
	var signer *PublicKey
	for _, key := range candidates {
		if !key.verifies(sum, m.sig) {
			continue
		}
		// The ring may hold a key twice, only once with its revocation.
		if err := check(key, m.sig); err != nil {
			return nil, err
		}
		signer = key
	}
	if signer == nil {
		return nil, &SignatureError{"the text is not what was signed, or another key signed it"}
	}
	return signer, nil
}
