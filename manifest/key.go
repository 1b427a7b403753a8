package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A Fingerprint names a key: the upper-case hex digits of an OpenPGP fingerprint.
type Fingerprint string

// ParseFingerprint reads 40 or 64 hex digits, in either case, with or without
// blanks and a leading 0x, as gpg and people write them. Key ids are refused:
// others can have the same.
func ParseFingerprint(s string) (Fingerprint, error) {
	f := strings.ToUpper(strings.Join(strings.Fields(s), ""))
	f = strings.TrimPrefix(f, "0X")
	if strings.Trim(f, "0123456789ABCDEF") != "" || len(f) != 40 && len(f) != 64 {
		return "", fmt.Errorf("parse fingerprint: %q is not 40 hex digits", clip(s))
	}
	return Fingerprint(f), nil
}

// Short returns the last 16 digits, the long key id, for display beside a name.
func (f Fingerprint) Short() string { return string(f[max(0, len(f)-16):]) }

// String returns the digits.
func (f Fingerprint) String() string { return string(f) }

// Grouped returns the digits in groups of four, as people compare them.
// [ParseFingerprint] reads that too.
func (f Fingerprint) Grouped() string {
	var groups []string
	for group := range slices.Chunk([]byte(f), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, " ")
}

// A Ring is the keys that are trusted.
type Ring []*PublicKey

// Find returns the key with the fingerprint.
func (r Ring) Find(f Fingerprint) (*PublicKey, bool) {
	i := slices.IndexFunc(r, func(k *PublicKey) bool { return k.Fingerprint() == f })
	if i < 0 {
		return nil, false
	}
	return r[i], true
}

// issuers returns the keys that sig claims as its maker.
func (r Ring) issuers(sig *packet.Signature) []*PublicKey {
	var keys []*PublicKey
	for _, k := range r {
		if sig.CheckKeyIdOrFingerprint(k.primary) {
			keys = append(keys, k)
		}
	}
	return keys
}

func claimedSigner(sig *packet.Signature) string {
	switch {
	case len(sig.IssuerFingerprint) > 0:
		return fmt.Sprintf("%X", sig.IssuerFingerprint)
	case sig.IssuerKeyId != nil:
		return fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	return "unknown"
}

// A PublicKey is the public half of a key, with the user ids, certifications and
// revocations that came with it. It does not change and may be used concurrently.
type PublicKey struct {
	primary *packet.PublicKey
	// head is the key packet, its revocations and its direct-key signatures.
	head []rawPacket
	// ids are the user ids that the key itself signed and did not revoke.
	ids     []identity
	main    int    // index in ids of the user id to show
	expires int64  // Unix seconds, the first at which it is not valid; math.MaxInt64 if never
	revoked string // the reason, or ""
	// certifies is set if the key may certify other keys.
	certifies bool
}

// An identity is one user id with the statements of others about it.
type identity struct {
	name string
	// raws are the user id packet and the signatures over it.
	raws []rawPacket
	// certs are the signatures among them that are not by the key itself.
	certs []*packet.Signature
}

// ReadPublicKey reads exactly one OpenPGP public key, armored or binary. The
// error reports why a key that is not of the kind the package comment describes is
// refused.
func ReadPublicKey(data []byte) (*PublicKey, error) {
	k, err := readPublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	return k, nil
}

func readPublicKey(data []byte) (*PublicKey, error) {
	raws, err := keyPackets(data, armorPublic)
	if err != nil {
		return nil, err
	}
	if raws[0].tag == tagPrivateKey {
		return nil, errPrivate
	}
	return newPublicKey(raws)
}

// keyPackets returns the packets of a key block, at least one.
func keyPackets(data []byte, kind string) ([]rawPacket, error) {
	if len(data) > MaxKey {
		return nil, fmt.Errorf("more than %d bytes", MaxKey)
	}
	if len(data) == 0 {
		return nil, errors.New("empty")
	}
	if data[0]&0x80 == 0 {
		body, err := dearmorKey(data, kind)
		if err != nil {
			return nil, err
		}
		data = body
	}
	raws, err := splitPackets(bytes.Clone(data)) // the key keeps them
	if err == nil && len(raws) == 0 {
		err = errors.New("empty")
	}
	return raws, err
}

// dearmorKey finds the one armor in a text file. People put notes around keys,
// and mail programs blanks behind lines.
func dearmorKey(data []byte, kind string) ([]byte, error) {
	data = trimLines(data)
	begin := []byte("-----BEGIN PGP ")
	at := bytes.Index(data, begin)
	switch {
	case at < 0:
		return nil, errors.New("no OpenPGP key")
	case bytes.Count(data, begin) > 1:
		return nil, errors.New("more than one armor; exactly one key is wanted")
	case at > 0 && data[at-1] != '\n':
		// gpg puts a colon before its revocation certificates as a safety catch.
		return nil, errors.New("the BEGIN line has something before it")
	}
	data = data[at:]
	if kind == armorPublic && bytes.HasPrefix(data, []byte("-----BEGIN "+armorPrivate)) {
		return nil, errPrivate
	}
	if kind == armorPrivate && bytes.HasPrefix(data, []byte("-----BEGIN "+armorPublic)) {
		return nil, errPublic
	}
	body, _, err := dearmor(data, kind, true)
	return body, err
}

var (
	errPrivate = errors.New("this is a private key, which nobody but its owner should have")
	errPublic  = errors.New("this is a public key only")
)

// trimLines ends all lines with LF alone.
func trimLines(data []byte) []byte {
	out := make([]byte, 0, len(data)+1)
	for line := range bytes.Lines(data) {
		out = append(out, bytes.TrimRight(line, " \t\r\n")...)
		out = append(out, '\n')
	}
	return out
}

// newPublicKey checks the packets of one public key and draws the conclusions.
func newPublicKey(raws []rawPacket) (*PublicKey, error) {
	primary, err := primaryKey(raws[0])
	if err != nil {
		return nil, err
	}
	k := &PublicKey{primary: primary, head: raws[:1:1], expires: math.MaxInt64}
	var s keyScan
	for _, raw := range raws[1:] {
		if err := s.add(k, raw); err != nil {
			return nil, k.fail("%v", err)
		}
	}
	s.endIdentity(k)
	if err := s.conclude(k); err != nil {
		return nil, err
	}
	return k, nil
}

func (p *PublicKey) fail(format string, args ...any) error {
	return &KeyError{p.Fingerprint(), fmt.Sprintf(format, args...)}
}

// primaryKey reads the first packet, after a look at the two bytes that tell why
// a key would be refused.
func primaryKey(raw rawPacket) (*packet.PublicKey, error) {
	const version, algorithm = 0, 5
	switch {
	case raw.tag != tagPublicKey:
		return nil, errors.New("it does not begin with a public key")
	case len(raw.body) <= algorithm:
		return nil, errors.New("the key packet is cut off")
	case raw.body[version] != 4:
		return nil,
			fmt.Errorf("a version %d key; version 4 is wanted (gpg --quick-generate-key NAME ed25519 sign)", raw.body[version])
	case raw.body[algorithm] != byte(packet.PubKeyAlgoEdDSA):
		return nil,
			fmt.Errorf("the primary key is %s; EdDSA over Ed25519 is wanted (gpg --quick-generate-key NAME ed25519 sign)", algorithmName(raw.body[algorithm]))
	}
	p, err := raw.parse()
	if err != nil {
		return nil, fmt.Errorf("the key packet cannot be read: %w", err)
	}
	key, ok := p.(*packet.PublicKey)
	if !ok {
		return nil, errors.New("it does not begin with a public key")
	}
	if curve, err := key.Curve(); err != nil || curve != packet.Curve25519 {
		return nil, errors.New("the primary key is EdDSA over another curve than Ed25519")
	}
	return key, nil
}

// A keyScan collects, packet by packet, what a key states about itself.
type keyScan struct {
	inID, skip bool // the packets that come belong to a user id, or to nothing wanted
	id         identity
	idCert     *packet.Signature // newest self-certification of id
	idRevoked  *packet.Signature // newest revocation of it

	direct *packet.Signature   // newest direct-key signature
	certs  []*packet.Signature // idCert of each of PublicKey.ids
}

func (s *keyScan) add(k *PublicKey, raw rawPacket) error {
	switch {
	case raw.tag == tagPublicKey || raw.tag == tagPrivateKey:
		return errors.New("there is a second key behind it; exactly one is wanted")
	case raw.tag == tagUserID:
		return s.beginIdentity(k, raw)
	case raw.tag == tagPublicSubkey || raw.tag == tagPrivateSubkey || raw.tag == tagUserAttribute:
		s.endIdentity(k)
		s.skip = true
	case raw.tag == tagSignature && isKeyRevocation(raw):
		return s.addRevocation(k, raw)
	case raw.tag == tagSignature && s.skip:
	case raw.tag == tagSignature && s.inID:
		return s.addCertification(k, raw)
	case raw.tag == tagSignature:
		return s.addKeySignature(k, raw)
	case raw.tag == tagMarker || raw.tag == tagTrust || raw.tag == tagPadding ||
		raw.tag >= tagNonCritical:
	default:
		return fmt.Errorf("a packet with the tag %d is no part of a key", raw.tag)
	}
	return nil
}

func (s *keyScan) beginIdentity(k *PublicKey, raw rawPacket) error {
	const longest = 2048 // gpg's limit
	if len(raw.body) > longest {
		return fmt.Errorf("a user id of %d bytes", len(raw.body))
	}
	s.endIdentity(k)
	s.inID, s.skip = true, false
	s.id = identity{name: string(raw.body), raws: []rawPacket{raw}}
	return nil
}

// endIdentity keeps the user id that was collected if the key stands by it.
func (s *keyScan) endIdentity(k *PublicKey) {
	cert, revoked := s.idCert, s.idRevoked
	if s.inID && cert != nil && (revoked == nil || revoked.CreationTime.Before(cert.CreationTime)) {
		k.ids = append(k.ids, s.id)
		s.certs = append(s.certs, cert)
	}
	s.inID, s.idCert, s.idRevoked = false, nil, nil
}

// isKeyRevocation looks at the type byte of a signature, of version 3 or later.
func isKeyRevocation(raw rawPacket) bool {
	at := 1
	if len(raw.body) > 0 && raw.body[0] < 4 {
		at = 2
	}
	return len(raw.body) > at && raw.body[at] == byte(packet.SigTypeKeyRevocation)
}

// addRevocation takes a revocation of the key, wherever it stands. One that cannot
// be verified (a weak hash is good enough here; but it may be by another,
// designated key) makes the key unusable: who ignored it would trust what its
// owner may have withdrawn.
func (s *keyScan) addRevocation(k *PublicKey, raw rawPacket) error {
	sig, err := raw.parseSignature()
	if err != nil {
		return fmt.Errorf("a revocation that cannot be read: %w", err)
	}
	if k.primary.VerifyRevocationSignature(sig) != nil {
		return errors.New("a revocation that is not by the key itself, and so cannot be verified")
	}
	k.revoked = revocationReason(sig)
	k.head = append(k.head, raw)
	return nil
}

// addKeySignature takes a direct-key signature, if it is the key's own.
func (s *keyScan) addKeySignature(k *PublicKey, raw rawPacket) error {
	sig, err := raw.parseSignature()
	if err != nil || sig.SigType != packet.SigTypeDirectSignature ||
		!sig.CheckKeyIdOrFingerprint(k.primary) {
		return nil
	}
	if err := k.checkSelf(sig, k.primary.VerifyDirectKeySignature(sig)); err != nil {
		return err
	}
	if newer(sig, s.direct) {
		s.direct = sig
	}
	k.head = append(k.head, raw)
	return nil
}

// addCertification takes a signature over the current user id: the key's own is
// verified now, another key's only when that key is at hand.
func (s *keyScan) addCertification(k *PublicKey, raw rawPacket) error {
	sig, err := raw.parseSignature()
	if err != nil || !isCertification(sig.SigType) &&
		sig.SigType != packet.SigTypeCertificationRevocation {
		return nil
	}
	s.id.raws = append(s.id.raws, raw)
	if !sig.CheckKeyIdOrFingerprint(k.primary) {
		s.id.certs = append(s.id.certs, sig)
		return nil
	}
	if err := k.checkSelf(sig, k.primary.VerifyUserIdSignature(s.id.name, k.primary,
		sig)); err != nil {
		return err
	}
	if sig.SigType == packet.SigTypeCertificationRevocation {
		if newer(sig, s.idRevoked) {
			s.idRevoked = sig
		}
	} else if newer(sig, s.idCert) {
		s.idCert = sig
	}
	return nil
}

func (p *PublicKey) checkSelf(sig *packet.Signature, verified error) error {
	if reason := checkCommon(sig); reason != "" {
		return errors.New("a self-signature with " + reason)
	}
	if verified != nil {
		return errors.New("a self-signature that is wrong")
	}
	if sig.CreationTime.Before(p.primary.CreationTime) {
		return errors.New("a self-signature that is older than the key")
	}
	return nil
}

func isCertification(t packet.SignatureType) bool {
	return t >= packet.SigTypeGenericCert && t <= packet.SigTypePositiveCert
}

func newer(sig, than *packet.Signature) bool {
	return than == nil || !sig.CreationTime.Before(than.CreationTime)
}

// conclude sets what follows from all self-signatures: the newest one of a user
// id and the newest one of the key count, the stricter of both where they differ.
func (s *keyScan) conclude(k *PublicKey) error {
	if len(k.ids) == 0 {
		return k.fail("no user id that the key signed itself")
	}
	newest := 0
	for i, sig := range s.certs {
		if newer(sig, s.certs[newest]) {
			newest = i
		}
		if isMain(sig) && (!isMain(s.certs[k.main]) || newer(sig, s.certs[k.main])) {
			k.main = i
		}
	}
	if !isMain(s.certs[k.main]) {
		k.main = newest
	}
	id := s.certs[newest]
	k.limit(id)
	signs := id.FlagsValid && id.FlagSign
	k.certifies = id.FlagsValid && id.FlagCertify
	if d := s.direct; d != nil {
		k.limit(d)
		if d.FlagsValid {
			signs = signs && d.FlagSign
			k.certifies = k.certifies && d.FlagCertify
		}
	}
	if !signs {
		return k.fail("the primary key may not sign data (its key flags); subkeys are not used")
	}
	return nil
}

func isMain(sig *packet.Signature) bool { return sig.IsPrimaryId != nil && *sig.IsPrimaryId }

// limit lowers k.expires to what a self-signature states, of the key or of itself.
func (k *PublicKey) limit(sig *packet.Signature) {
	if s := sig.KeyLifetimeSecs; s != nil && *s != 0 {
		k.expires = min(k.expires, k.primary.CreationTime.Unix()+int64(*s))
	}
	if s := sig.SigLifetimeSecs; s != nil && *s != 0 {
		k.expires = min(k.expires, sig.CreationTime.Unix()+int64(*s))
	}
}

func revocationReason(sig *packet.Signature) string {
	reason := "revoked on " + day(sig.CreationTime)
	if sig.RevocationReason != nil {
		switch *sig.RevocationReason {
		case packet.KeySuperseded:
			reason += " (superseded)"
		case packet.KeyCompromised:
			reason += " (compromised)"
		case packet.KeyRetired:
			reason += " (no longer used)"
		}
	}
	return reason
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Fingerprint returns the key's name.
func (p *PublicKey) Fingerprint() Fingerprint {
	return Fingerprint(fmt.Sprintf("%X", p.primary.Fingerprint))
}

// Created returns the time that the key gives as its creation.
func (p *PublicKey) Created() time.Time { return p.primary.CreationTime.UTC() }

// Expires returns the first second at which the key is not valid any more, and
// whether there is one.
func (p *PublicKey) Expires() (time.Time, bool) {
	if p.expires == math.MaxInt64 {
		return time.Time{}, false
	}
	return time.Unix(p.expires, 0).UTC(), true
}

// Revoked reports whether the key has revoked itself.
func (p *PublicKey) Revoked() bool { return p.revoked != "" }

// Check returns nil if the key is valid at the given time, else a *KeyError.
func (p *PublicKey) Check(at time.Time) error {
	switch s := at.Unix(); {
	case p.revoked != "":
		return p.fail("%s", p.revoked)
	case s < p.primary.CreationTime.Unix():
		return p.fail("made on %s, which is after %s", stamp(p.primary.CreationTime), stamp(at))
	case s >= p.expires:
		return p.fail("expired on %s", stamp(time.Unix(p.expires, 0)))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

// checkSignature checks the dates of a good signature by p: the key's, and the
// signature's own, at the later one of now and the signature's time.
func (p *PublicKey) checkSignature(sig *packet.Signature, now time.Time) error {
	made := sig.CreationTime
	if made.Before(p.primary.CreationTime) {
		return &SignatureError{fmt.Sprintf("dated %s, before its key was made", stamp(made))}
	}
	at := made
	if now.After(at) {
		at = now
	}
	if err := p.Check(at); err != nil {
		return err
	}
	if s := sig.SigLifetimeSecs; s != nil && *s != 0 {
		if until := made.Add(time.Duration(*s) * time.Second); !at.Before(until) {
			return &SignatureError{"expired on " + stamp(until)}
		}
	}
	return nil
}

// verifies reports whether p made sig, whose hash is sum.
func (p *PublicKey) verifies(sum []byte, sig *packet.Signature) bool {
	key, ok := p.primary.PublicKey.(*eddsa.PublicKey)
	return ok && eddsa.Verify(key, sum, sig.EdDSASigR.Bytes(), sig.EdDSASigS.Bytes())
}

// UserID returns the key's main user id, fit for a terminal: what is not
// printable is replaced, and it has at most 200 characters. Anybody can put any
// name into a key; only the fingerprint identifies it.
func (p *PublicKey) UserID() string { return printable(p.ids[p.main].name) }

func printable(s string) string {
	const most = 200
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

// String returns the fingerprint and the user id.
func (p *PublicKey) String() string { return string(p.Fingerprint()) + " " + p.UserID() }

// Armor returns the key as gpg --export --armor writes it: the primary key, its
// user ids with all certifications, its revocations; without subkeys.
func (p *PublicKey) Armor() []byte {
	b, _ := enarmor(armorPublic, nil, joinPackets(p.packets())) // a bytes.Buffer does not fail
	return b
}

// packets returns the packets that make p when they are read.
func (p *PublicKey) packets() []rawPacket {
	raws := slices.Clone(p.head)
	for _, id := range p.ids {
		raws = append(raws, id.raws...)
	}
	return raws
}

func joinPackets(raws []rawPacket) []byte {
	var b []byte
	for _, raw := range raws {
		b = raw.append(b)
	}
	return b
}

// ErrNoRevocation: that data has no revocation of the key it was meant for.
var ErrNoRevocation = errors.New("no revocation of this key")

// WithRevocation returns p with the revocation in cert, which is a revocation
// certificate or a whole revoked key, armored or binary. The error is
// ErrNoRevocation if there is none that p itself made.
func (p *PublicKey) WithRevocation(cert []byte) (*PublicKey, error) {
	raws, err := keyPackets(cert, armorPublic)
	if err != nil {
		return nil, fmt.Errorf("read revocation: %w", err)
	}
	for _, raw := range raws {
		if raw.tag != tagSignature || !isKeyRevocation(raw) {
			continue
		}
		if sig, err := raw.parseSignature(); err == nil &&
			p.primary.VerifyRevocationSignature(sig) == nil {
			return newPublicKey(slices.Insert(p.packets(), 1, raw))
		}
	}
	return nil, fmt.Errorf("read revocation: %w", ErrNoRevocation)
}

// CertifiedBy reports whether a key of ring, other than p itself, has certified a
// user id of p, and which. The certifying key must be valid at the later one of
// at and the certification's time, and must not have taken it back. This is how
// an old key introduces its successor; it does not make p trusted.
func (p *PublicKey) CertifiedBy(ring Ring, at time.Time) (Fingerprint, bool) {
	for _, by := range ring {
		if !by.certifies {
			continue
		}
		for _, id := range p.ids {
			if p.certifiedBy(by, id, at) {
				return by.Fingerprint(), true
			}
		}
	}
	return "", false
}

// certifiedBy looks for the newest word of by about one user id.
func (p *PublicKey) certifiedBy(by *PublicKey, id identity, at time.Time) bool {
	var last *packet.Signature
	for _, sig := range id.certs {
		if !sig.CheckKeyIdOrFingerprint(by.primary) || checkCommon(sig) != "" {
			continue
		}
		if !newer(sig, last) || last != nil && isCertification(sig.SigType) &&
			sig.CreationTime.Equal(last.CreationTime) {
			continue
		}
		if sig.CreationTime.Before(p.primary.CreationTime) ||
			by.primary.VerifyUserIdSignature(id.name, p.primary, sig) != nil {
			continue
		}
		last = sig
	}
	return last != nil && isCertification(last.SigType) && by.checkSignature(last, at) == nil
}
