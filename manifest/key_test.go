package manifest

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// The keys of testdata/keys were made by gpg; see the README there.
func TestKeysByGPG(t *testing.T) {
	t.Parallel()
	midnight := func(month time.Month, day, year int) time.Time {
		return time.Date(year, month, day, 12, 0, 0, 0, time.UTC) // gpg takes noon
	}
	for name, test := range map[string]struct {
		refused string // part of the reason
		userID  string
		expires time.Time
		revoked bool
	}{
		"ed25519":                {userID: "ed25519"},
		"ed25519-default":        {userID: "ed25519-default"},
		"ed25519-certified":      {userID: "ed25519-certified"},
		"ed25519-two-ids":        {userID: "second id <second@example.org>"},
		"ed25519-revoked-id":     {userID: "the id that stays"},
		"ed25519-subkey":         {userID: "ed25519-subkey"},
		"ed25519-expiry":         {userID: "ed25519-expiry", expires: midnight(6, 1, 2026)},
		"ed25519-expiry-longer":  {userID: "ed25519-expiry-longer", expires: midnight(6, 1, 2027)},
		"ed25519-expiry-shorter": {userID: "ed25519-expiry-shorter", expires: midnight(4, 1, 2026)},
		"ed25519-revoked":        {userID: "ed25519-revoked", revoked: true},
		"ed25519-cert-only":      {refused: "may not sign data"},
		"rsa2048":                {refused: "the primary key is RSA"},
		"nistp256":               {refused: "the primary key is ECDSA"},
		"dsa2048":                {refused: "the primary key is DSA"},
		"two-keys":               {refused: "exactly one"},
		"ed25519.rev":            {refused: "does not begin with a public key"},
		"ed25519.secret":         {refused: "private key"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := ReadPublicKey(readTestdata(t, "keys/"+name+".asc"))
			if test.refused != "" {
				if err == nil || k != nil || !strings.Contains(err.Error(), test.refused) {
					t.Fatalf("%v, %v; want %q", k, err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if k.UserID() != test.userID || k.Revoked() != test.revoked ||
				!k.Created().Equal(keyTime) {
				t.Errorf("%q, revoked %v, created %v", k.UserID(), k.Revoked(), k.Created())
			}
			if end, ok := k.Expires(); ok == test.expires.IsZero() ||
				ok && end.Sub(test.expires).Abs() > 12*time.Hour {
				t.Errorf("expires %v, %v; want %v", end, ok, test.expires)
			}
			if err := k.Check(signTime); (err != nil) != test.revoked {
				t.Errorf("valid: %v", err)
			}
			again := mustRead(t, k.Armor())
			if !bytes.Equal(again.Armor(), k.Armor()) || again.String() != k.String() ||
				again.Revoked() != k.Revoked() || again.expires != k.expires {
				t.Errorf("read again: %v, want %v", again, k)
			}
		})
	}
}

func TestPrivateKeysByGPG(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]string{
		"ed25519.secret":            "",
		"ed25519-default.secret":    "",
		"ed25519-subkey.secret":     "",
		"ed25519-passphrase.secret": "passphrase",
		"ed25519-stub.secret":       "stub",
		"rsa2048.secret":            "the primary key is RSA",
		"ed25519":                   "public key only",
		"ed25519.rev":               "public key only",
	} {
		t.Run(name, func(t *testing.T) {
			k, err := ReadPrivateKey(readTestdata(t, "keys/"+name+".asc"))
			if refused != "" {
				if err == nil || k != nil || !strings.Contains(err.Error(), refused) {
					t.Fatalf("%v, %v; want %q", k, err, refused)
				}
				if errors.Is(err, ErrPassphrase) != (refused == "passphrase") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := ReadPrivateKey(k.Armor())
			if err != nil || !bytes.Equal(again.Armor(), k.Armor()) {
				t.Fatalf("read again: %v, %v", again, err)
			}
			data := mustSign(t, sampleList(), again, signTime)
			if _, err := Open(data, Ring{mustRead(t, k.Public().Armor())}, signTime); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeyFilesAsPeopleSendThem(t *testing.T) {
	t.Parallel()
	armored := readTestdata(t, "keys/ed25519.asc")
	want := mustRead(t, armored).Fingerprint()
	binary, _, err := dearmor(armored, armorPublic, true)
	if err != nil {
		t.Fatal(err)
	}
	text := string(armored)
	for name, good := range map[string]string{
		"binary":           string(binary),
		"crlf":             strings.ReplaceAll(text, "\n", "\r\n"),
		"without-final-lf": strings.TrimSpace(text),
		"blanks-behind":    strings.ReplaceAll(text, "\n", "  \n"),
		"note-before":      "my key:\n\n" + text,
		"note-after":       text + "\n-- \nregards\n",
		"version-header": strings.Replace(text, "\n\n",
			"\nVersion: GnuPG v2\nComment: x\n\n", 1),
		"trust-packet":      string(binary) + "\xcc\x02\x00\x00",
		"private-packet-60": string(binary) + "\xfc\x01x",
	} {
		if k, err := ReadPublicKey([]byte(good)); err != nil || k.Fingerprint() != want {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	for name, bad := range map[string]string{
		"empty":               "",
		"blank":               "\n\n",
		"text":                "hello",
		"colon-as-gpg's-lock": ":" + text,
		"twice":               text + text,
		"second-key":          string(binary) + string(binary),
		"cut-off":             text[:len(text)-60],
		"bit-flipped":         string(spoil(binary)),
		"end-of-another":      strings.Replace(text, "END PGP PUBLIC", "END PGP PRIVATE", 1),
		"message":             strings.ReplaceAll(text, "PUBLIC KEY BLOCK", "MESSAGE"),
		"literal-packet":      string(binary) + "\xcb\x00",
		"too-big": string(binary) +
			string(rawPacket{60, make([]byte, MaxKey)}.append(nil)),
		"too-many-packets": string(binary) + strings.Repeat("\xfc\x01x", MaxPackets+1),
		"packet-of-4g":     "\xc6\xff\xff\xff\xff\xff\x04",
		"only-a-header":    "\xc6",
		"no-user-id": string(rawPacket{tagPublicKey,
			mustRead(t, armored).head[0].body}.append(nil)),
		"manifest": string(readTestdata(t, "Manifest.gpg")),
	} {
		if k, err := ReadPublicKey([]byte(bad)); err == nil || k != nil {
			t.Errorf("%s: %v", name, k)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

func TestPrivateKeyFiles(t *testing.T) {
	t.Parallel()
	k := newKey(t, "owner")
	armored := string(k.Armor())
	if _, err := ReadPrivateKey([]byte("note\n" + strings.ReplaceAll(armored, "\n",
		"\r\n"))); err != nil {
		t.Error(err)
	}
	var b bytes.Buffer
	if err := k.secret().key.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	other := *newKey(t, "other").secret().key
	other.PublicKey = k.secret().key.PublicKey
	var mixed bytes.Buffer
	if err := other.Serialize(&mixed); err != nil {
		t.Fatal(err)
	}
	id := joinPackets(k.public.ids[0].raws)
	for name, test := range map[string]struct{ data, refused string }{
		"version-6": {"\xc5\x0a\x06\x00\x00\x00\x00\x1b\x00\x00\x00\x20",
			"version 6 key"},
		"empty-packet":          {"\xc5\x00", "cut off"},
		"cut-off":               {b.String()[:60], "cut off"},
		"without-user-id":       {b.String(), "no user id"},
		"secret-of-another-key": {mixed.String() + string(id), "halves do not match"},
		"wrong-checksum":        {string(spoil(b.Bytes())) + string(id), "cannot be read"},
		"two-keys": {b.String() + string(id) + b.String() + string(id),
			"exactly one"},
		"public-binary":          {string(build(k, k.public.ids[0].raws...)), "public key only"},
		"armor-of-a-public-one":  {string(k.Public().Armor()), "public key only"},
		"twice":                  {armored + armored, "exactly one"},
		"starts-with-a-user-id":  {string(id), "does not begin with a private key"},
		"starts-with-its-subkey": {"\xc7\x00" + b.String(), "does not begin with a private key"},
	} {
		k, err := ReadPrivateKey([]byte(test.data))
		if err == nil || k != nil || !strings.Contains(err.Error(), test.refused) {
			t.Errorf("%s: %v, %v; want %q", name, k, err, test.refused)
		}
	}
	if k, err := ReadPublicKey([]byte(b.String() + string(id))); err == nil ||
		!strings.Contains(err.Error(), "private key") {
		t.Errorf("as a public key: %v, %v", k, err)
	}
}

func TestKeyDoesNotShareItsInput(t *testing.T) {
	t.Parallel()
	binary, _, err := dearmor(readTestdata(t, "keys/ed25519.asc"), armorPublic, true)
	if err != nil {
		t.Fatal(err)
	}
	k := mustRead(t, binary)
	before := k.Armor()
	clear(binary)
	if !bytes.Equal(k.Armor(), before) {
		t.Error("the key changed with the buffer it was read from")
	}
}

// build makes a key block of k's key and the packets.
func build(k *PrivateKey, more ...rawPacket) []byte {
	return joinPackets(slices.Concat([]rawPacket{k.public.head[0]}, more))
}

// selfSigned returns a user id and k's signature over it.
func selfSigned(t testing.TB, k *PrivateKey, name string,
	edit func(*packet.Signature)) []rawPacket {
	t.Helper()
	sig := newSignature(k.secret().key, packet.SigTypePositiveCert, keyTime)
	sig.FlagsValid, sig.FlagSign, sig.FlagCertify = true, true, true
	if edit != nil {
		edit(sig)
	}
	if err := sig.SignUserId(name, k.public.primary, k.secret().key, signConfig()); err != nil {
		t.Fatal(err)
	}
	return []rawPacket{{tagUserID, []byte(name)}, mustRaw(t, sig)}
}

func mustRaw(t testing.TB, sig *packet.Signature) rawPacket {
	t.Helper()
	raw, err := rawOf(sig)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func setMain(sig *packet.Signature) {
	main := true
	sig.IsPrimaryId = &main
}

// idRevocation takes the user id "owner" of a key back.
func idRevocation(t testing.TB, k *PrivateKey, at time.Time) rawPacket {
	t.Helper()
	sig := newSignature(k.secret().key, packet.SigTypeCertificationRevocation, at)
	if err := sig.SignUserId("owner", k.public.primary, k.secret().key, signConfig()); err != nil {
		t.Fatal(err)
	}
	return mustRaw(t, sig)
}

// revocation returns a revocation of victim's key by k.
func revocation(t testing.TB, k, victim *PrivateKey, edit func(*packet.Signature)) rawPacket {
	t.Helper()
	sig := newSignature(k.secret().key, packet.SigTypeKeyRevocation, signTime)
	if edit != nil {
		edit(sig)
	}
	if err := sig.RevokeKey(victim.public.primary, k.secret().key, signConfig()); err != nil {
		t.Fatal(err)
	}
	return mustRaw(t, sig)
}

func TestKeyBlocksThatClaimTooMuch(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, "owner"), newKey(t, "other")
	id := k.public.ids[0].raws
	plain := func(edit func(*packet.Signature)) []rawPacket {
		return selfSigned(t, k, "owner", edit)
	}
	for name, test := range map[string]struct {
		packets []rawPacket
		refused string
	}{
		"as-it-is":           {id, ""},
		"user-id-not-signed": {[]rawPacket{{tagUserID, []byte("x")}}, "no user id"},
		"signature-of-another-user-id": {[]rawPacket{{tagUserID, []byte("root")}, id[1]},
			"self-signature that is wrong"},
		"user-id-signed-by-another-only": {selfSigned(t, other, "owner", nil), "no user id"},
		"second-user-id-not-signed": {
			append(slices.Clone(id), rawPacket{tagUserID, []byte("root")}), ""},
		"signed-with-sha1": {plain(withHash(crypto.SHA1)), "hash SHA-1"},
		"signed-before-the-key": {
			plain(func(s *packet.Signature) { s.CreationTime = keyTime.Add(-time.Second) }),
			"older than the key"},
		"without-flags": {
			plain(func(s *packet.Signature) { s.FlagsValid = false }), "may not sign"},
		"certify-only": {
			plain(func(s *packet.Signature) { s.FlagSign = false }), "may not sign"},
		"newest-certify-only": {
			append(slices.Clone(id), plain(func(s *packet.Signature) {
				s.CreationTime, s.FlagSign = signTime, false
			})[1]), "may not sign"},
		"critical-notation": {
			plain(func(s *packet.Signature) {
				s.Notations = []*packet.Notation{{Name: "x@y", IsCritical: true}}
			}),
			"critical notation"},
		"revocation-by-another": {
			append([]rawPacket{revocation(t, other, k, nil)}, id...), "not by the key itself"},
		"revocation-by-another-last": {append(slices.Clone(id), revocation(t, other, k, nil)),
			"not by the key itself"},
		"revocation-of-another": {
			append([]rawPacket{revocation(t, k, other, nil)}, id...), "not by the key itself"},
		"revocation-unreadable": {
			append([]rawPacket{{tagSignature, []byte{4, 0x20, 99, 99, 0, 0, 0, 0}}},
				id...), "cannot be read"},
		"revocation-unreadable-version-3": {
			append([]rawPacket{{tagSignature, []byte{3, 5, 0x20, 0, 0, 0, 0}}},
				id...), "cannot be read"},
		"user-id-revoked": {append(slices.Clone(id), idRevocation(t, k, signTime)),
			"no user id"},
		"user-id-revoked-at-once": {append(slices.Clone(id), idRevocation(t, k, keyTime)),
			"no user id"},
		"user-id-revoked-and-signed-again": {
			append(plain(func(s *packet.Signature) { s.CreationTime = signTime.Add(time.Second) }),
				idRevocation(t, k, signTime)), ""},
		"user-id-revoked-by-another": {
			append(slices.Clone(id), idRevocation(t, other, signTime)), ""},
		"newer-user-id-not-main": {
			slices.Concat(selfSigned(t, k, "newer", func(s *packet.Signature) {
				s.CreationTime = signTime
			}), plain(setMain)), ""},
		"user-id-of-4k": {
			append(slices.Clone(id), rawPacket{tagUserID, make([]byte, 4096)}),
			"user id of 4096 bytes"},
		"signature-of-version-3": {
			[]rawPacket{id[0], {tagSignature, []byte{3, 5, 0x10, 0, 0, 0, 0}}, id[1]}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadPublicKey(build(k, test.packets...))
			switch {
			case test.refused == "" && (err != nil || got.UserID() != "owner"):
				t.Errorf("%v, %v", got, err)
			case test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)):
				t.Errorf("%v, %v; want %q", got, err, test.refused)
			}
			if err != nil && kindOf(err) != badKey {
				t.Errorf("%T", err)
			}
		})
	}
}

// A revocation counts wherever it stands, with whatever hash, date and reason.
func TestRevokedKeysStayRevoked(t *testing.T) {
	t.Parallel()
	k := newKey(t, "owner")
	id := k.public.ids[0].raws
	superseded := packet.KeySuperseded
	subkey := rawPacket{tagPublicSubkey, []byte("what is not looked into")}
	data := mustSign(t, sampleList(), k, keyTime)
	for name, packets := range map[string][]rawPacket{
		"in-its-place":   append([]rawPacket{revocation(t, k, k, nil)}, id...),
		"after-user-id":  append(slices.Clone(id), revocation(t, k, k, nil)),
		"after-a-subkey": append(slices.Clone(id), subkey, revocation(t, k, k, nil)),
		"superseded": append([]rawPacket{revocation(t, k, k, func(s *packet.Signature) {
			s.RevocationReason = &superseded
		})}, id...),
		"with-sha1": append([]rawPacket{revocation(t, k, k, withHash(crypto.SHA1))}, id...),
		"in-the-future": append([]rawPacket{revocation(t, k, k, func(s *packet.Signature) {
			s.CreationTime = time.Unix(1<<32-1, 0)
		})}, id...),
		"before-the-key": append([]rawPacket{revocation(t, k, k, func(s *packet.Signature) {
			s.CreationTime = time.Unix(1, 0)
		})}, id...),
	} {
		p := mustRead(t, build(k, packets...))
		p = mustRead(t, p.Armor())
		if !p.Revoked() || kindOf(p.Check(keyTime)) != badKey {
			t.Errorf("%s: not revoked", name)
		}
		if _, err := Open(data, Ring{p}, keyTime); kindOf(err) != badKey ||
			!strings.Contains(err.Error(), "revoked") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithRevocation(t *testing.T) {
	t.Parallel()
	gpgKey := mustRead(t, readTestdata(t, "keys/ed25519.asc"))
	gpgCert := readTestdata(t, "keys/ed25519.rev.asc")
	revoked, err := gpgKey.WithRevocation(gpgCert)
	if err != nil || !revoked.Revoked() || gpgKey.Revoked() {
		t.Fatalf("by gpg: %v, %v", revoked, err)
	}
	if _, err := Open(readTestdata(t, "Manifest.gpg"), Ring{revoked},
		signTime); kindOf(err) != badKey {
		t.Error(err)
	}
	if again, err := revoked.WithRevocation(gpgCert); err != nil || !again.Revoked() {
		t.Errorf("twice: %v, %v", again, err)
	}
	if p, err := gpgKey.WithRevocation(revoked.Armor()); err != nil || !p.Revoked() {
		t.Errorf("out of a whole key: %v, %v", p, err)
	}

	k, other := newKey(t, "owner"), newKey(t, "other")
	for name, cert := range map[string][]byte{
		"of-another-key":       gpgCert,
		"forged":               revocation(t, other, k, nil).append(nil),
		"forged-by-impostor":   revocation(t, impostor(other, k), k, nil).append(nil),
		"key-without-it":       k.Public().Armor(),
		"another-key":          other.Public().Armor(),
		"a-Manifest-signature": mustRaw(t, signedPacket(t, k)).append(nil),
	} {
		if p, err := k.Public().WithRevocation(cert); !errors.Is(err, ErrNoRevocation) || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	for name, cert := range map[string][]byte{"empty": nil, "text": []byte("x"),
		"locked-by-gpg": append([]byte(":"), gpgCert[bytes.Index(gpgCert, []byte("-----")):]...)} {
		if p, err := k.Public().WithRevocation(cert); err == nil || p != nil {
			t.Errorf("%s: %v", name, p)
		}
	}
	if cert, err := k.Revocation(keyTime.Add(-time.Hour)); err == nil {
		t.Errorf("before the key was made: %s", cert)
	}
}

// signedPacket returns a signature by k of some text.
func signedPacket(t testing.TB, k *PrivateKey) *packet.Signature {
	t.Helper()
	sig := newSignature(k.secret().key, packet.SigTypeText, signTime)
	if err := sig.Sign(crypto.SHA512.New(), k.secret().key, signConfig()); err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestCertifiedBy(t *testing.T) {
	t.Parallel()
	old, mallory := newKey(t, "old"), newKey(t, "mallory")
	next, err := GenerateKey("next", keyTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	at := signTime
	certify := func(by *PrivateKey, kind packet.SignatureType, when time.Time,
		edit func(*packet.Signature)) rawPacket {
		sig := newSignature(by.secret().key, kind, when)
		if edit != nil {
			edit(sig)
		}
		if err := sig.SignUserId("next", next.public.primary, by.secret().key,
			signConfig()); err != nil {
			t.Fatal(err)
		}
		return mustRaw(t, sig)
	}
	good := certify(old, packet.SigTypeGenericCert, at, nil)
	hour := uint32(3600)
	expiring := expiringKey(t, keyTime, 24*time.Hour)
	cert, err := old.Revocation(at)
	if err != nil {
		t.Fatal(err)
	}
	oldRevoked, err := old.Public().WithRevocation(cert)
	if err != nil {
		t.Fatal(err)
	}
	signOnly := newKey(t, "sign only")
	signOnly.public = mustRead(t, build(signOnly, selfSigned(t, signOnly, "sign only",
		func(s *packet.Signature) { s.FlagCertify = false })...))

	trusted := Ring{old.Public()}
	year := at.AddDate(1, 0, 0)
	for name, test := range map[string]struct {
		certs []rawPacket
		ring  Ring
		now   time.Time
		want  bool
	}{
		"good":          {[]rawPacket{good}, trusted, year, true},
		"clock-in-1970": {[]rawPacket{good}, trusted, time.Unix(0, 0), true},
		"among-others": {
			[]rawPacket{certify(mallory, packet.SigTypeGenericCert, at, nil),
				good}, Ring{mallory.Public(), old.Public()}[1:], year, true},
		"positive": {
			[]rawPacket{certify(old, packet.SigTypePositiveCert, at, nil)}, trusted, year, true},
		"none":                {nil, trusted, year, false},
		"nobody-trusted":      {[]rawPacket{good}, nil, year, false},
		"only-itself-trusted": {[]rawPacket{good}, Ring{next.Public()}, year, false},
		"by-unknown-key": {
			[]rawPacket{certify(mallory, packet.SigTypeGenericCert, at,
				nil)}, trusted, year, false},
		"by-impostor": {
			[]rawPacket{certify(impostor(mallory, old), packet.SigTypeGenericCert, at,
				nil)}, trusted, year, false},
		"by-revoked-key": {[]rawPacket{good}, Ring{oldRevoked}, year, false},
		"by-expired-key": {
			[]rawPacket{certify(expiring, packet.SigTypeGenericCert, at,
				nil)}, Ring{expiring.Public()}, year, false},
		"by-key-before-its-expiry": {
			[]rawPacket{certify(expiring, packet.SigTypeGenericCert, at,
				nil)}, Ring{expiring.Public()}, at, true},
		"by-key-that-may-not": {
			[]rawPacket{certify(signOnly, packet.SigTypeGenericCert, at,
				nil)}, Ring{signOnly.Public()}, at, false},
		"with-sha1": {
			[]rawPacket{certify(old, packet.SigTypeGenericCert, at, withHash(crypto.SHA1))},
			trusted, year, false},
		"expired-certification": {
			[]rawPacket{certify(old, packet.SigTypeGenericCert, at, func(s *packet.Signature) {
				s.SigLifetimeSecs = &hour
			})}, trusted, year, false},
		"before-the-new-key-was": {
			[]rawPacket{certify(old, packet.SigTypeGenericCert, keyTime.Add(time.Hour-time.Second),
				nil)}, trusted, year, false},
		"taken-back": {
			[]rawPacket{good, certify(old, packet.SigTypeCertificationRevocation, at.Add(time.Hour),
				nil)}, trusted, year, false},
		"taken-back-listed-first": {
			[]rawPacket{certify(old, packet.SigTypeCertificationRevocation, at.Add(time.Hour), nil),
				good}, trusted, year, false},
		"taken-back-in-same-second": {
			[]rawPacket{certify(old, packet.SigTypeCertificationRevocation, at, nil),
				good}, trusted, year, false},
		"taken-back-by-another": {
			[]rawPacket{good, certify(mallory, packet.SigTypeCertificationRevocation,
				at.Add(time.Hour), nil)}, trusted, year, true},
		"given-again": {
			[]rawPacket{certify(old, packet.SigTypeCertificationRevocation, at.Add(-time.Hour),
				nil), good}, trusted, year, true},
		"of-another-type": {[]rawPacket{certify(old, packet.SigTypeBinary, at, nil)},
			trusted, year, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustRead(t, build(next, slices.Concat(next.public.ids[0].raws, test.certs)...))
			p = mustRead(t, p.Armor())
			by, ok := p.CertifiedBy(test.ring, test.now)
			if ok != test.want || ok && by != test.ring[len(test.ring)-1].Fingerprint() ||
				!ok && by != "" {
				t.Errorf("%q, %v", by, ok)
			}
		})
	}
}

func TestCertificationByGPG(t *testing.T) {
	t.Parallel()
	old := mustRead(t, readTestdata(t, "keys/ed25519.asc"))
	next := mustRead(t, readTestdata(t, "keys/ed25519-certified.asc"))
	if by, ok := next.CertifiedBy(Ring{old}, time.Unix(0, 0)); !ok || by != old.Fingerprint() {
		t.Errorf("%q, %v", by, ok)
	}
}

func TestCertify(t *testing.T) {
	t.Parallel()
	old, next := newKey(t, "old"), newKey(t, "next")
	before := next.Public().Armor()
	certified, err := old.Certify(next.Public(), signTime)
	if err != nil {
		t.Fatal(err)
	}
	if by, ok := certified.CertifiedBy(Ring{old.Public()}, signTime); !ok ||
		by != old.Public().Fingerprint() {
		t.Errorf("%q, %v", by, ok)
	}
	if !bytes.Equal(next.Public().Armor(), before) {
		t.Error("the key itself changed")
	}
	twice, err := old.Certify(certified, signTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(mustRead(t, twice.Armor()).ids[0].certs); n != 2 {
		t.Errorf("%d certifications, want 2", n)
	}
	expired := expiringKey(t, keyTime, time.Hour)
	for name, f := range map[string]func() (*PublicKey, error){
		"itself": func() (*PublicKey, error) {
			return old.Certify(old.Public(), signTime)
		},
		"before-its-creation": func() (*PublicKey, error) {
			return old.Certify(next.Public(), keyTime.Add(-time.Hour))
		},
		"expired-certifier": func() (*PublicKey, error) {
			return expired.Certify(next.Public(), signTime)
		},
		"expired-key": func() (*PublicKey, error) {
			return old.Certify(expired.Public(), signTime)
		},
	} {
		if p, err := f(); kindOf(err) != badKey || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// gpg reads, uses and judges what is made here.
func TestGPGUsesOurKeys(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	old, next := newKey(t, "old (pkgsneak)"), newKey(t, "näxt")
	certified, err := old.Certify(next.Public(), signTime)
	if err != nil {
		t.Fatal(err)
	}
	g.must(signTime, old.Public().Armor(), "--import")
	g.must(signTime, certified.Armor(), "--import")
	list, _ := g.must(signTime, nil, "--with-colons", "--check-sigs",
		string(next.Public().Fingerprint()))
	if want := "sig:!::22:" + old.Public().Fingerprint().Short() +
		":"; !strings.Contains(list, want) {
		t.Errorf("--check-sigs does not show %s:\n%s", want, list)
	}
	if want := "uid:-::::"; !strings.Contains(list, want) || !strings.Contains(list, "näxt") {
		t.Errorf("no user id:\n%s", list)
	}

	// A Manifest by gpg with our secret key.
	g.must(signTime, old.Armor(), "--import")
	text, err := sampleList().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	signed, _ := g.must(signTime, text, "--default-key", string(old.Public().Fingerprint()),
		"--clearsign")
	if s, err := Open([]byte(signed), Ring{old.Public()}, signTime); err != nil ||
		s.Signer != old.Public().Fingerprint() {
		t.Errorf("%v, %v", s, err)
	}
	// The key that gpg exports is the same one.
	exported, _ := g.must(signTime, nil, "--armor", "--export-secret-keys",
		string(old.Public().Fingerprint()))
	if k, err := ReadPrivateKey([]byte(exported)); err != nil ||
		!bytes.Equal(k.Armor(), old.Armor()) {
		t.Errorf("%v, %v", k, err)
	}

	cert, err := old.Revocation(signTime)
	if err != nil {
		t.Fatal(err)
	}
	g.must(signTime, cert, "--import")
	list, _ = g.must(signTime, nil, "--with-colons", "--list-keys",
		string(old.Public().Fingerprint()))
	if !strings.Contains(list, "pub:r:") {
		t.Errorf("not revoked:\n%s", list)
	}
	if _, errs, _ := g.run(signTime, mustSign(t, sampleList(), old, signTime),
		"--verify"); !strings.Contains(errs, "[GNUPG:] REVKEYSIG") {
		t.Errorf("a signature by a revoked key is good:\n%s", errs)
	}
	revoked, _ := g.must(signTime, nil, "--armor", "--export", string(old.Public().Fingerprint()))
	if !mustRead(t, []byte(revoked)).Revoked() {
		t.Error("the revocation that gpg exports is not seen")
	}
}

func TestUserIDsAreFitForATerminal(t *testing.T) {
	t.Parallel()
	k := newKey(t, "owner")
	for name, want := range map[string]string{
		"\x1b[2J\x1b]0;x\a":         "\ufffd[2J\ufffd]0;x\ufffd",
		"root\n\nTRUSTED: yes\r":    "root\ufffd\ufffdTRUSTED: yes\ufffd",
		"\u202egnp.exe\u2066":       "\ufffdgnp.exe\ufffd",
		"not utf8 \xff\xfe":         "not utf8 \ufffd\ufffd",
		"Zoë Ünal <z@example.org>":  "Zoë Ünal <z@example.org>",
		"\u009b31mred":              "\ufffd31mred",
		strings.Repeat("x", 2000):   strings.Repeat("x", 200) + "…",
		strings.Repeat("\u00e9", 9): "ééééééééé",
		"no-break\u00a0\u3000space": "no-break\ufffd\ufffdspace",
		"":                          "",
	} {
		p := mustRead(t, build(k, selfSigned(t, k, name, nil)...))
		if got := p.UserID(); got != want {
			t.Errorf("%q: %q, want %q", clip(name), got, want)
		}
		if got := p.String(); got != string(p.Fingerprint())+" "+want {
			t.Errorf("%q", got)
		}
	}
}

// However a private key is printed, the secret is not in it.
func TestPrivateKeyIsNotPrinted(t *testing.T) {
	t.Parallel()
	k := newKey(t, "owner")
	secret, ok := k.secret().key.PrivateKey.(*eddsa.PrivateKey)
	if !ok {
		t.Fatalf("%T", k.secret().key)
	}
	raw := secret.MarshalByteSecret()
	type inside struct {
		Name string
		Key  *PrivateKey
		Val  PrivateKey
		low  *PrivateKey
		val  PrivateKey
	}
	in := inside{"x", k, *k, k, *k}
	var b bytes.Buffer
	for _, v := range []any{k, *k, in, &in, []*PrivateKey{k}, map[string]PrivateKey{"k": *k},
		&PrivateKey{}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		if err := json.NewEncoder(&b).Encode(v); err != nil {
			t.Fatal(err)
		}
		slog.New(slog.NewTextHandler(&b, nil)).Info("key", "key", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("key", "key", v)
	}
	b.WriteString(in.low.Public().String() + in.val.Public().String())
	list := strings.Trim(fmt.Sprint(raw), "[]")
	for _, leak := range []string{string(raw), hex.EncodeToString(raw), fmt.Sprintf("%X", raw),
		list, fmt.Sprintf("%#v", raw), fmt.Sprintf("%q", raw)} {
		if strings.Contains(b.String(), leak) {
			t.Errorf("printed as %q", leak)
		}
	}
	if got, want := fmt.Sprintf("%v",
		*k), "private key "+string(k.Public().Fingerprint()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestGenerateKey(t *testing.T) {
	t.Parallel()
	k, err := GenerateKey("Zoë's host (pkgsneak) <root@example.org>", keyTime.Add(time.Second/2))
	if err != nil {
		t.Fatal(err)
	}
	p := k.Public()
	if p.UserID() != "Zoë's host (pkgsneak) <root@example.org>" || !p.Created().Equal(keyTime) ||
		len(p.Fingerprint()) != 40 || p.Revoked() {
		t.Errorf("%v, created %v", p, p.Created())
	}
	if _, ok := p.Expires(); ok {
		t.Error("it expires")
	}
	if other := newKey(t, "x"); other.Public().Fingerprint() == p.Fingerprint() {
		t.Error("two keys are the same")
	}
	for _, name := range []string{"", "a\nb", "a\x1b[2J", "\xff", "\u202e",
		strings.Repeat("x", 201)} {
		if k, err := GenerateKey(name, keyTime); err == nil {
			t.Errorf("%q: %v", clip(name), k)
		}
	}
	for _, at := range []time.Time{{}, time.Unix(-1, 0), time.Unix(1<<32, 0)} {
		if k, err := GenerateKey("x", at); err == nil {
			t.Errorf("%v: %v", at, k)
		}
	}
}

func TestParseFingerprint(t *testing.T) {
	t.Parallel()
	const want = "D4AAEFE9635050406125" + "8DE345A2F1EE0242FBDF"
	for _, s := range []string{want, strings.ToLower(want), "0x" + want,
		"0X" + strings.ToLower(want), " " + want + "\n",
		"D4AA EFE9 6350 5040 6125  8DE3 45A2 F1EE 0242 FBDF",
		"0x D4AA EFE9 6350 5040 6125 8DE3 45A2 F1EE 0242 FBDF"} {
		if f, err := ParseFingerprint(s); err != nil || f != want {
			t.Errorf("%q: %q, %v", s, f, err)
		}
	}
	if f, err := ParseFingerprint(strings.Repeat("ab", 32)); err != nil || len(f) != 64 {
		t.Errorf("%q, %v", f, err)
	}
	for _, s := range []string{"", "0x", want[:16], "0x" + want[24:], want[1:], want + "0",
		"G" + want[1:], "0x0x" + want, strings.Repeat("é", 20), want + want} {
		if f, err := ParseFingerprint(s); err == nil {
			t.Errorf("%q: %q", s, f)
		}
	}
	if got := Fingerprint(want).Short(); got != "45A2F1EE0242FBDF" {
		t.Errorf("%q", got)
	}
	if got := Fingerprint("x").Short(); got != "x" {
		t.Errorf("%q", got)
	}
}

func TestRingFind(t *testing.T) {
	t.Parallel()
	a, b := newKey(t, "a").Public(), newKey(t, "b").Public()
	ring := Ring{a, b}
	if k, ok := ring.Find(b.Fingerprint()); !ok || k != b {
		t.Errorf("%v, %v", k, ok)
	}
	if k, ok := ring[:1].Find(b.Fingerprint()); ok || k != nil {
		t.Errorf("%v", k)
	}
}

func FuzzKeys(f *testing.F) {
	for _, name := range []string{"ed25519", "ed25519-default", "ed25519-subkey", "ed25519-two-ids",
		"ed25519-revoked-id", "ed25519-revoked", "ed25519-certified",
		"ed25519-expiry", "ed25519-cert-only", "rsa2048", "nistp256", "dsa2048", "two-keys",
		"ed25519.rev",
		"ed25519.secret", "ed25519-default.secret", "ed25519-passphrase.secret",
		"ed25519-stub.secret", "rsa2048.secret"} {
		data := readTestdata(f, "keys/"+name+".asc")
		f.Add(data)
		for _, kind := range []string{armorPublic, armorPrivate} {
			if binary, err := dearmorKey(data, kind); err == nil {
				f.Add(binary)
			}
		}
	}
	key := mustRead(f, readTestdata(f, "keys/ed25519.asc"))
	ring := Ring{key}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		if k, err := ReadPublicKey(data); err == nil {
			again, err := ReadPublicKey(k.Armor())
			if err != nil || !bytes.Equal(again.Armor(), k.Armor()) || again.revoked != k.revoked ||
				again.expires != k.expires {
				t.Fatalf("%v is read again as %v, %v", k, again, err)
			}
			k.CertifiedBy(ring, signTime)
			if k.Check(signTime) == nil && k.Revoked() {
				t.Fatal("revoked, and valid")
			}
		}
		if k, err := ReadPrivateKey(data); err == nil {
			again, err := ReadPrivateKey(k.Armor())
			if err != nil || !bytes.Equal(again.Armor(), k.Armor()) {
				t.Fatalf("%v is read again as %v, %v", k, again, err)
			}
			if k.Public().Check(signTime) == nil {
				if _, err := Open(mustSign(t, sampleList(), k, signTime), Ring{k.Public()},
					signTime); err != nil {
					t.Fatal(err)
				}
			}
		}
		if p, err := key.WithRevocation(data); err == nil &&
			(!p.Revoked() || p.Fingerprint() != key.Fingerprint()) {
			t.Fatalf("%v", p)
		}
	})
}

// A host that changes its key: the new one carries the old one's word, and the
// old one its own end.
func TestKeyThatChanges(t *testing.T) {
	old, next := newKey(t, "old"), newKey(t, "next")
	introduced, err := next.IntroducedBy(old, keyTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadPrivateKey(introduced.Armor())
	if err != nil {
		t.Fatal(err)
	}
	if by, ok := again.Public().CertifiedBy(Ring{old.Public()}, keyTime.Add(time.Hour)); !ok ||
		by != old.Public().Fingerprint() {
		t.Errorf("introduced by %q, %t", by, ok)
	}
	revoked, err := old.Revoked(keyTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if again, err = ReadPrivateKey(revoked.Armor()); err != nil || !again.Public().Revoked() {
		t.Errorf("revoked: %v", err)
	}
	if _, err := Sign(&List{Timestamp: keyTime}, again, keyTime.Add(2*time.Hour)); err == nil {
		t.Error("a revoked key signs")
	}
	if _, ok := introduced.Public().CertifiedBy(Ring{again.Public()}, keyTime.Add(time.Hour)); ok {
		t.Error("a revoked key introduces")
	}
}
