package manifest

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// ErrPassphrase reports that a private key is protected by a passphrase: a host
// that exports by itself has nobody to ask.
var ErrPassphrase = errors.New("the key is protected by a passphrase; take a copy without one (gpg --passwd)")

// A PrivateKey signs. However it is printed, only its fingerprint is seen.
type PrivateKey struct {
	// secret is a func because nothing that prints by reflection looks into one;
	// inside an unexported field fmt cannot call Format.
	secret func() secretKey
	public *PublicKey
}

// A secretKey is the private half of a key.
type secretKey struct {
	key *packet.PrivateKey
	raw rawPacket // key as it is stored
}

// Format prints the fingerprint for every verb and flag.
func (k PrivateKey) Format(f fmt.State, _ rune) {
	name := Fingerprint("none")
	if k.public != nil {
		name = k.public.Fingerprint()
	}
	fmt.Fprintf(f, "private key %s", name)
}

// GenerateKey makes an Ed25519 key without expiry and passphrase, with name as
// its user id (1 to 200 bytes, printable).
func GenerateKey(name string, now time.Time) (*PrivateKey, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	if s := now.Unix(); s < 0 || s > math.MaxUint32 {
		return nil, fmt.Errorf("generate key: %s is beyond the dates of OpenPGP", stamp(now))
	}
	now = now.Truncate(time.Second)
	// The library's entity has an encryption subkey and its own ideas of user ids;
	// only its primary key is wanted.
	entity, err := openpgp.NewEntity("key", "", "", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA,
		Curve:     packet.Curve25519,
		Time:      func() time.Time { return now },
	})
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	k, err := selfSign(entity.PrivateKey, name)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return k, nil
}

func checkName(name string) error {
	const longest = 200
	if name == "" || len(name) > longest || !utf8.ValidString(name) {
		return fmt.Errorf("user id %q is not 1 to %d bytes of UTF-8", clip(name), longest)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("user id %q is not printable", name)
		}
	}
	return nil
}

// selfSign makes a key with one user id of a bare primary key.
func selfSign(secret *packet.PrivateKey, name string) (*PrivateKey, error) {
	sig := newSignature(secret, packet.SigTypePositiveCert, secret.CreationTime)
	main := true
	sig.IsPrimaryId = &main
	sig.FlagsValid, sig.FlagCertify, sig.FlagSign = true, true, true
	if err := sig.SignUserId(name, &secret.PublicKey, secret, signConfig()); err != nil {
		return nil, err
	}
	cert, err := rawOf(sig)
	if err != nil {
		return nil, err
	}
	primary, err := rawOf(&secret.PublicKey)
	if err != nil {
		return nil, err
	}
	public, err := newPublicKey([]rawPacket{primary, {tagUserID, []byte(name)}, cert})
	if err != nil {
		return nil, err
	}
	return newPrivateKey(secret, public)
}

func newPrivateKey(secret *packet.PrivateKey, public *PublicKey) (*PrivateKey, error) {
	raw, err := rawOf(secret)
	if err != nil {
		return nil, err
	}
	return &PrivateKey{func() secretKey { return secretKey{secret, raw} }, public}, nil
}

// checkSigning returns nil if k may sign at the given time.
func (k *PrivateKey) checkSigning(at time.Time) error {
	if at.Unix() > math.MaxUint32 {
		return k.public.fail("%s is beyond the dates of OpenPGP", stamp(at))
	}
	return k.public.Check(at)
}

// newSignature returns a signature by key to be filled in and signed.
func newSignature(key *packet.PrivateKey, t packet.SignatureType, at time.Time) *packet.Signature {
	return &packet.Signature{
		Version:           4,
		SigType:           t,
		PubKeyAlgo:        key.PubKeyAlgo,
		Hash:              crypto.SHA512,
		CreationTime:      at.Truncate(time.Second),
		IssuerKeyId:       &key.KeyId,
		IssuerKeyVersion:  4,
		IssuerFingerprint: key.Fingerprint,
	}
}

// signConfig makes signatures depend on what is signed alone.
func signConfig() *packet.Config {
	random := false
	return &packet.Config{DefaultHash: crypto.SHA512,
		NonDeterministicSignaturesViaNotation: &random}
}

// rawOf returns the packet that p is written as.
func rawOf(p interface{ Serialize(io.Writer) error }) (rawPacket, error) {
	var b bytes.Buffer
	if err := p.Serialize(&b); err != nil {
		return rawPacket{}, err
	}
	raws, err := splitPackets(b.Bytes())
	if err != nil {
		return rawPacket{}, err
	}
	if len(raws) != 1 {
		return rawPacket{}, fmt.Errorf("%d packets instead of one", len(raws))
	}
	return raws[0], nil
}

// ReadPrivateKey reads exactly one OpenPGP private key, armored or binary, as
// gpg --export-secret-keys writes it. It fails with ErrPassphrase if there is
// one, and reports why a key that is not of the kind the package comment describes
// is refused.
func ReadPrivateKey(data []byte) (*PrivateKey, error) {
	k, err := readPrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	return k, nil
}

func readPrivateKey(data []byte) (*PrivateKey, error) {
	raws, err := keyPackets(data, armorPrivate)
	if err != nil {
		return nil, err
	}
	switch raws[0].tag {
	case tagPrivateKey:
	case tagPublicKey:
		return nil, errPublic
	default:
		return nil, errors.New("it does not begin with a private key")
	}
	if err := checkSecretKind(raws[0]); err != nil {
		return nil, err
	}
	p, err := raws[0].parse()
	if err != nil {
		return nil, errors.New("the key packet cannot be read, or its halves do not match")
	}
	secret, ok := p.(*packet.PrivateKey)
	switch {
	case !ok:
		return nil, errors.New("it does not begin with a private key")
	case secret.Dummy():
		return nil,
			errors.New("the private half of the primary key is not in it (gpg wrote a stub)")
	case secret.Encrypted:
		return nil, ErrPassphrase
	}
	primary, err := rawOf(&secret.PublicKey)
	if err != nil {
		return nil, err
	}
	public, err := newPublicKey(slices.Concat([]rawPacket{primary}, raws[1:]))
	if err != nil {
		return nil, err
	}
	return newPrivateKey(secret, public)
}

// checkSecretKind refuses kinds of keys before the library unpacks numbers of them.
func checkSecretKind(raw rawPacket) error {
	const algorithm = 5
	if len(raw.body) > algorithm && raw.body[0] == 4 &&
		raw.body[algorithm] == byte(packet.PubKeyAlgoEdDSA) {
		return nil
	}
	_, err := primaryKey(rawPacket{tagPublicKey, raw.body})
	return err
}

// Public returns the public half.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// Armor returns the private key as gpg --export-secret-keys --armor writes it. Anybody who reads it
// can sign.
func (k *PrivateKey) Armor() []byte {
	raws := k.public.packets()
	raws[0] = k.secret().raw
	b, _ := enarmor(armorPrivate, nil, joinPackets(raws)) // a bytes.Buffer does not fail
	return b
}

// Certify returns next with a certification (type 0x10) of its main user id by k:
// the old key states that next is its successor. Both keys must be valid then.
func (k *PrivateKey) Certify(next *PublicKey, at time.Time) (*PublicKey, error) {
	if err := k.checkSigning(at); err != nil {
		return nil, fmt.Errorf("certify %s: %w", next.Fingerprint(), err)
	}
	if err := next.Check(at); err != nil {
		return nil, fmt.Errorf("certify: %w", err)
	}
	if !k.public.certifies || next.Fingerprint() == k.public.Fingerprint() {
		return nil, fmt.Errorf("certify %s: %w", next.Fingerprint(),
			k.public.fail("cannot certify that key"))
	}
	id := next.ids[next.main]
	key := k.secret().key
	sig := newSignature(key, packet.SigTypeGenericCert, at)
	if err := sig.SignUserId(id.name, next.primary, key, signConfig()); err != nil {
		return nil, fmt.Errorf("certify %s: %w", next.Fingerprint(), err)
	}
	raw, err := rawOf(sig)
	if err != nil {
		return nil, fmt.Errorf("certify %s: %w", next.Fingerprint(), err)
	}
	signed := *next
	signed.ids = slices.Clone(next.ids)
	signed.ids[next.main].raws = append(slices.Clip(id.raws), raw)
	return newPublicKey(signed.packets())
}

// Revocation returns a revocation certificate of k as gpg --import takes it. Anybody who publishes
// it ends the key.
func (k *PrivateKey) Revocation(at time.Time) ([]byte, error) {
	if at.Before(k.public.Created()) || at.Unix() > math.MaxUint32 {
		return nil, fmt.Errorf("revoke: %w", k.public.fail("cannot be revoked at %s", stamp(at)))
	}
	key := k.secret().key
	sig := newSignature(key, packet.SigTypeKeyRevocation, at)
	reason := packet.NoReason
	sig.RevocationReason = &reason
	if err := sig.RevokeKey(&key.PublicKey, key, signConfig()); err != nil {
		return nil, fmt.Errorf("revoke: %w", err)
	}
	raw, err := rawOf(sig)
	if err != nil {
		return nil, fmt.Errorf("revoke: %w", err)
	}
	return enarmor(armorPublic, map[string]string{"Comment": "This is a revocation certificate"},
		raw.append(nil))
}

// IntroducedBy returns k with a certification by old ([PrivateKey.Certify]): what
// k signs and publishes from then on tells who introduced it.
func (k *PrivateKey) IntroducedBy(old *PrivateKey, at time.Time) (*PrivateKey, error) {
	public, err := old.Certify(k.public, at)
	if err != nil {
		return nil, err
	}
	return newPrivateKey(k.secret().key, public)
}

// Revoked returns k with a revocation in it ([PrivateKey.Revocation]). It signs
// nothing any more, and its public half tells why.
func (k *PrivateKey) Revoked(at time.Time) (*PrivateKey, error) {
	cert, err := k.Revocation(at)
	if err != nil {
		return nil, err
	}
	public, err := k.public.WithRevocation(cert)
	if err != nil {
		return nil, err
	}
	return newPrivateKey(k.secret().key, public)
}
