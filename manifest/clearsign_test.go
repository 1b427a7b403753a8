package manifest

import (
	"bytes"
	"crypto"
	_ "crypto/md5"
	_ "crypto/sha1"
	"encoding/base64"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

func TestSignedListComesBack(t *testing.T) {
	t.Parallel()
	k, l := newKey(t, "origin"), sampleList()
	data := mustSign(t, l, k, signTime)
	if !bytes.HasSuffix(data, []byte("\n-----END PGP SIGNATURE-----\n")) {
		t.Errorf("ends with %q", data[max(0, len(data)-40):])
	}
	if again := mustSign(t, l, k, signTime); !bytes.Equal(again, data) {
		t.Error("signing again gives other bytes")
	}
	stranger := newKey(t, "stranger").Public()
	for name, padding := range map[string]string{"plain": "",
		"padded": strings.Repeat("\n", 1<<20)} {
		padded := append(slices.Clone(data), padding...)
		if !bytes.Equal(trim(padded), data) {
			t.Errorf("%s: Trim gives %d bytes, want %d", name, len(trim(padded)), len(data))
		}
		got, err := Open(padded, Ring{stranger, k.Public()}, signTime.Add(time.Hour))
		if err != nil {
			t.Fatal(name, err)
		}
		want := &Signed{List: *l, Signer: k.Public().Fingerprint(), SignedAt: signTime}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if claimed, err := Claimed(data); err != nil || claimed != string(k.Public().Fingerprint()) {
		t.Errorf("claimed %q, %v", claimed, err)
	}
}

func TestEmptyListComesBack(t *testing.T) {
	t.Parallel()
	k := newKey(t, "origin")
	got, err := Open(mustSign(t, &List{Timestamp: time.Unix(0, 0)}, k, signTime),
		Ring{k.Public()}, signTime)
	if err != nil || len(got.Files) != 0 || !got.Timestamp.Equal(time.Unix(0, 0)) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "a": "a", "a\n": "a\n", "a\n\n\n": "a\n",
		"\n\n\n": "\n", "\n\na\n\n": "\n\na\n"} {
		if got := string(trim([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// A machine without a battery wakes up in 1970; then gpg and go-crypto call the
// key "not yet valid".
func TestClocks(t *testing.T) {
	t.Parallel()
	k := newKey(t, "origin")
	data := mustSign(t, sampleList(), k, signTime)
	for name, test := range map[string]struct {
		now    time.Time
		behind bool
	}{
		"1970":                  {time.Unix(0, 0), true},
		"zero":                  {time.Time{}, true},
		"before-the-key":        {keyTime.Add(-time.Second), true},
		"between-key-and-list":  {keyTime.Add(time.Second), true},
		"a-second-before":       {signTime.Add(-time.Second), true},
		"the-same-second":       {signTime, false},
		"half-a-second-after":   {signTime.Add(time.Second / 2), false},
		"a-year-after":          {signTime.AddDate(1, 0, 0), false},
		"beyond-openpgp's-2106": {time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		s, err := Open(data, Ring{k.Public()}, test.now)
		if err != nil || s.ClockBehind != test.behind || !s.SignedAt.Equal(signTime) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	k := newKey(t, "origin")
	bad := sampleList()
	bad.Files[0].Path = "../x"
	if data, err := Sign(bad, k, signTime); kindOf(err) != badFormat || data != nil {
		t.Errorf("bad list: %v", err)
	}
	for name, at := range map[string]time.Time{"before-the-key": keyTime.Add(-time.Second),
		"1970": time.Unix(0, 0), "after-2106": time.Unix(1<<32, 0)} {
		if data, err := Sign(sampleList(), k, at); kindOf(err) != badKey || data != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// parts is a good Manifest taken apart by hand.
type parts struct{ begin, hash, text, sig string }

func split(t testing.TB, data []byte) parts {
	t.Helper()
	head, text, ok := strings.Cut(string(data), "\n\n")
	begin, hash, ok2 := strings.Cut(head, "\n")
	at := strings.Index(text, "-----BEGIN PGP SIGNATURE-----\n")
	if !ok || !ok2 || at < 0 {
		t.Fatalf("not a clear-signed message:\n%s", data)
	}
	return parts{begin + "\n", hash + "\n", text[:at], text[at:]}
}

func (p parts) join() []byte { return []byte(p.begin + p.hash + "\n" + p.text + p.sig) }

// rearmor replaces the packets in the signature's armor.
func (p parts) rearmor(t testing.TB, edit func(packets []byte) []byte) []byte {
	t.Helper()
	body, _, err := dearmor([]byte(p.sig), armorSignature, false)
	if err != nil {
		t.Fatal(err)
	}
	armored, err := enarmor(armorSignature, nil, edit(body))
	if err != nil {
		t.Fatal(err)
	}
	p.sig = string(armored)
	return p.join()
}

// An attack is a Manifest that must not be accepted by a client that trusts the
// keys of its stage.
type attack struct {
	data []byte
	want kind
}

// A stage has the keys of the attacks: the client trusts good, expiring and
// revoked, and not mallory.
type stage struct {
	good, expiring, revoked, mallory *PrivateKey

	ring Ring
	now  time.Time
}

func newStage(t testing.TB) *stage {
	t.Helper()
	s := &stage{good: newKey(t, "origin"), revoked: newKey(t, "revoked"),
		mallory: newKey(t, "mallory"), now: signTime.AddDate(0, 1, 0)}
	s.expiring = expiringKey(t, keyTime, 7*24*time.Hour)
	cert, err := s.revoked.Revocation(s.now)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := s.revoked.Public().WithRevocation(cert)
	if err != nil {
		t.Fatal(err)
	}
	s.ring = Ring{s.good.Public(), s.expiring.Public(), revoked}
	return s
}

// expiringKey makes a key with an expiry, which GenerateKey does not.
func expiringKey(t testing.TB, made time.Time, life time.Duration) *PrivateKey {
	t.Helper()
	k := newKey(t, "expiring")
	seconds := uint32(life / time.Second)
	sig := newSignature(k.secret().key, packet.SigTypePositiveCert, made)
	sig.FlagsValid, sig.FlagSign, sig.FlagCertify = true, true, true
	sig.KeyLifetimeSecs = &seconds
	if err := sig.SignUserId("expiring", k.public.primary, k.secret().key,
		signConfig()); err != nil {
		t.Fatal(err)
	}
	raw, err := rawOf(sig)
	if err != nil {
		t.Fatal(err)
	}
	k.public, err = newPublicKey([]rawPacket{k.public.head[0],
		{tagUserID, []byte("expiring")}, raw})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// attacks returns the table.
func attacks(t testing.TB, s *stage) map[string]attack {
	t.Helper()
	l := sampleList()
	data := mustSign(t, l, s.good, signTime)
	p := split(t, data)
	evil := line("evil", "1")
	other := split(t, mustSign(t, &List{Timestamp: signTime, Files: []File{{Path: "other"}}},
		s.good, signTime))
	edit := func(change func(*parts)) []byte {
		q := p
		change(&q)
		return q.join()
	}
	critical := func(sig *packet.Signature) {
		sig.Notations = append(sig.Notations, &packet.Notation{Name: "limits@example.org",
			Value: []byte("x"), IsCritical: true})
	}
	minute := uint32(60)
	rsaData, rsaClaim, rsaKey := signRSA(t, p.text, s.good)
	s.ring = append(s.ring, &PublicKey{primary: rsaKey, ids: []identity{{}}, expires: 1 << 40})

	table := map[string]attack{
		// No signature at all.
		"empty":             {nil, notSigned},
		"padding-only":      {bytes.Repeat([]byte("\n"), 4096), notSigned},
		"text-only":         {[]byte(p.text), notSigned},
		"zeros":             {make([]byte, 4096), notSigned},
		"torn-in-begin":     {data[:20], notSigned},
		"torn-in-hash":      {data[:len(p.begin)+5], badSig},
		"torn-in-text":      {data[:len(data)/3], badSig},
		"torn-in-signature": {data[:len(data)-100], badSig},
		"torn-in-last-line": {data[:len(data)-10], badSig},
		"torn-last-newline": {data[:len(data)-1], badSig},
		"torn-then-zeros": {
			append(slices.Clone(data[:len(data)/2]), make([]byte, 4096)...), badSig},

		// Somebody else's signature.
		"signed-by-unknown-key": {mustSign(t, l, s.mallory, signTime), unknownKey},
		"signed-by-impostor": {
			mustSign(t, l, impostor(s.mallory, s.good), signTime), badSig},
		"signed-by-revoked-key":             {mustSign(t, l, s.revoked, signTime), badKey},
		"signed-by-revoked-key-before-that": {mustSign(t, l, s.revoked, keyTime), badKey},
		"signed-by-expired-key":             {mustSign(t, l, s.expiring, signTime), badKey},
		"signed-after-expiry": {
			forge(t, s.expiring, p.text, func(sig *packet.Signature) {
				sig.CreationTime = keyTime.AddDate(0, 2, 0)
			}), badKey},
		"signed-before-its-key-was-made": {
			forge(t, s.good, p.text, func(sig *packet.Signature) {
				sig.CreationTime = keyTime.Add(-time.Second)
			}), badSig},
		"signed-in-1970": {
			forge(t, s.good, p.text, func(sig *packet.Signature) {
				sig.CreationTime = time.Unix(0, 0)
			}), badSig},
		"signature-expired": {
			forge(t, s.good, p.text, func(sig *packet.Signature) {
				sig.SigLifetimeSecs = &minute
			}), badSig},

		// A signature that we do not make.
		"hash-sha1":   {forge(t, s.good, p.text, withHash(crypto.SHA1)), badSig},
		"hash-sha224": {forge(t, s.good, p.text, withHash(crypto.SHA224)), badSig},
		"type-binary": {forge(t, s.good, p.text, func(sig *packet.Signature) {
			sig.SigType = packet.SigTypeBinary
		}), badSig},
		"type-standalone": {forge(t, s.good, p.text, func(sig *packet.Signature) {
			sig.SigType = 2
		}), badSig},
		"type-certification": {forge(t, s.good, p.text, func(sig *packet.Signature) {
			sig.SigType = packet.SigTypeGenericCert
		}), badSig},
		"type-timestamp": {forge(t, s.good, p.text, func(sig *packet.Signature) {
			sig.SigType = 0x40
		}), badSig},
		"critical-notation":        {forge(t, s.good, p.text, critical), badSig},
		"algorithm-rsa":            {rsaData, badSig},
		"algorithm-rsa-of-our-key": {rsaClaim, badSig},
		"certification-as-signed": {
			edit(func(q *parts) { q.sig = certificationArmor(t, s.good) }), badSig},

		// Another text.
		"byte-changed": {
			bytes.Replace(data, []byte("Packages"), []byte("packages"), 1), badSig},
		"size-changed":        {bytes.Replace(data, []byte(" 2 "), []byte(" 3 "), 1), badSig},
		"line-added":          {edit(func(q *parts) { q.text += evil }), badSig},
		"line-added-in-front": {edit(func(q *parts) { q.text = evil + q.text }), badSig},
		"line-removed": {
			edit(func(q *parts) { q.text = q.text[:strings.LastIndex(q.text, "IGNORE")] }), badSig},
		"empty-line-added":   {edit(func(q *parts) { q.text += "\n" }), badSig},
		"text-emptied":       {edit(func(q *parts) { q.text = "" }), badSig},
		"text-of-another":    {edit(func(q *parts) { q.text = other.text }), badSig},
		"signature-of-other": {edit(func(q *parts) { q.sig = other.sig }), badSig},

		// Text around the signed text.
		"text-before":            {append([]byte(evil), data...), badSig},
		"newline-before":         {append([]byte("\n"), data...), badSig},
		"blank-before":           {append([]byte(" "), data...), badSig},
		"byte-order-mark-before": {append([]byte("\ufeff"), data...), badSig},
		"text-after":             {append(slices.Clone(data), evil...), badSig},
		"text-after-padding": {
			append(append(slices.Clone(data), "\n\n\n"...), evil...), badSig},
		"blank-in-padding":       {append(slices.Clone(data), "\n \n"...), badSig},
		"nul-in-padding":         {append(slices.Clone(data), 0), badSig},
		"carriage-return-after":  {append(slices.Clone(data), "\r\n"...), badSig},
		"two-messages":           {append(slices.Clone(data), other.join()...), badSig},
		"the-same-message-twice": {append(slices.Clone(data), data...), badSig},
		"two-begin-lines":        {edit(func(q *parts) { q.begin += q.begin }), badSig},
		"message-in-message": {
			edit(func(q *parts) { q.text = string(other.join()) + q.text }), badSig},
		"message-in-hash-header":      {[]byte(p.begin + string(data)), badSig},
		"text-between-text-and-armor": {edit(func(q *parts) { q.sig = "x\n" + q.sig }), badSig},
		"unsigned-second-armor": {
			edit(func(q *parts) {
				q.sig = strings.Replace(q.sig, "-----END", evil+"-----END",
					1)
			}), badSig},
		"public-key-after": {
			append(slices.Clone(data), s.good.Public().Armor()...), badSig},

		// The header.
		"no-hash-line":            {edit(func(q *parts) { q.hash = "" }), badSig},
		"hash-line-lower-case":    {edit(func(q *parts) { q.hash = "hash: SHA512\n" }), badSig},
		"hash-line-without-blank": {edit(func(q *parts) { q.hash = "Hash:SHA512\n" }), badSig},
		"hash-line-two-blanks":    {edit(func(q *parts) { q.hash = "Hash:  SHA512\n" }), badSig},
		"hash-line-trailing":      {edit(func(q *parts) { q.hash = "Hash: SHA512 \n" }), badSig},
		"hash-line-another-hash":  {edit(func(q *parts) { q.hash = "Hash: SHA256\n" }), badSig},
		"hash-line-weak-hash":     {edit(func(q *parts) { q.hash = "Hash: MD5\n" }), badSig},
		"hash-line-list": {
			edit(func(q *parts) { q.hash = "Hash: SHA512,SHA256\n" }), badSig},
		"hash-line-twice": {edit(func(q *parts) { q.hash += q.hash }), badSig},
		"hash-line-endless": {
			edit(func(q *parts) {
				q.hash = "Hash: " + strings.Repeat("SHA512,", 1<<18) +
					"SHA512\n"
			}), badSig},
		"header-comment": {
			edit(func(q *parts) { q.hash = "Comment: x\n" + q.hash }), badSig},
		"header-charset": {edit(func(q *parts) { q.hash += "Charset: utf-7\n" }), badSig},
		"header-not-dash-escaped": {
			edit(func(q *parts) { q.hash += "NotDashEscaped: GnuPG\n" }), badSig},
		"header-is-data":        {edit(func(q *parts) { q.hash += "DATA: " + evil }), badSig},
		"header-ends-in-blank":  {[]byte(p.begin + p.hash + " \n" + p.text + p.sig), badSig},
		"header-ends-in-tab":    {[]byte(p.begin + p.hash + "\t\n" + p.text + p.sig), badSig},
		"header-without-end":    {[]byte(p.begin + p.hash + p.text + p.sig), badSig},
		"letter-for-blank-line": {[]byte(p.begin + p.hash + "X" + p.text + p.sig), badSig},
		"begin-line-trailing": {bytes.Replace(data, []byte("MESSAGE-----\n"),
			[]byte("MESSAGE----- \n"), 1), badSig},
		"signature-version": {bytes.Replace(data, []byte("BEGIN PGP SIGNATURE-----\n"),
			[]byte("BEGIN PGP SIGNATURE-----\nVersion: GnuPG v2\n"), 1), badSig},
		"signature-comment": {bytes.Replace(data, []byte("BEGIN PGP SIGNATURE-----\n"),
			[]byte("BEGIN PGP SIGNATURE-----\nComment: x\n"), 1), badSig},
		"signature-hash-line": {bytes.Replace(data, []byte("BEGIN PGP SIGNATURE-----\n"),
			[]byte("BEGIN PGP SIGNATURE-----\nHash: SHA512\n"), 1), badSig},

		// Dashes and the ends of lines: gpg and gemato accept several of these.
		"dash-escaped-line": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "DATA", "- DATA", 1) }), badSig},
		"dash-escaped-first-line": {edit(func(q *parts) { q.text = "- " + q.text }), badSig},
		"dash-escaped-armor": {
			edit(func(q *parts) { q.text += "- -----BEGIN PGP SIGNATURE-----\n" }), badSig},
		"dash-line-that-was-signed":  {forge(t, s.good, p.text+"-\n", nil), badSig},
		"dash-first-that-was-signed": {forge(t, s.good, "-"+p.text, nil), badSig},
		"dash-escaped-after-signing": {
			bytes.Replace(forge(t, s.good, p.text+"-x\n", nil), []byte("\n-x"),
				[]byte("\n- -x"), 1), badSig},
		"trailing-blank": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "\n", " \n", 1) }), badSig},
		"trailing-blank-was-signed": {
			forge(t, s.good, strings.Replace(p.text, "\n", " \n", 1), nil), badSig},
		"trailing-tab-was-signed": {
			forge(t, s.good, strings.Replace(p.text, "\n", "\t\n", 1), nil), badSig},
		"trailing-blanks": {
			edit(func(q *parts) { q.text = strings.ReplaceAll(q.text, "\n", "   \n") }), badSig},
		"trailing-tab": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "\n", "\t\n", 1) }), badSig},
		"trailing-form-feed": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "\n", "\f\n", 1) }), badSig},
		"trailing-nul": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "\n", "\x00\n", 1) }), badSig},
		"trailing-no-break-space": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "\n", "\u00a0\n", 1) }), badSig},
		"crlf": {bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")),
			notSignedOr(badSig)},
		"crlf-in-text": {
			edit(func(q *parts) { q.text = strings.ReplaceAll(q.text, "\n", "\r\n") }), badSig},
		"crlf-in-one-line": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "\n", "\r\n", 1) }), badSig},
		"crlf-in-signature": {
			edit(func(q *parts) { q.sig = strings.ReplaceAll(q.sig, "\n", "\r\n") }), badSig},
		"cr-for-lf": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "\n", "\r", 1) }), badSig},
		"cr-cr-lf": {
			edit(func(q *parts) { q.text = strings.Replace(q.text, "\n", "\r\r\n", 1) }), badSig},
		"lone-cr-that-was-signed": {forge(t, s.good, p.text+"IGNORE z\ry\n", nil), badSig},

		// The armor of the signature.
		"checksum-wrong": {
			edit(func(q *parts) { q.sig = replaceChecksum(q.sig, "=AAAA") }), badSig},
		"checksum-cut": {
			edit(func(q *parts) { q.sig = replaceChecksum(q.sig, "=AAA") }), badSig},
		"base64-with-blank": {
			edit(func(q *parts) { q.sig = q.sig[:60] + " " + q.sig[60:] }), badSig},
		"base64-with-dash": {
			edit(func(q *parts) { q.sig = q.sig[:60] + "-" + q.sig[61:] }), badSig},
		"base64-empty-line": {
			edit(func(q *parts) { q.sig = strings.Replace(q.sig, "\n=", "\n\n=", 1) }), badSig},
		"base64-one-line": {edit(func(q *parts) { q.sig = oneLine(q.sig) }), badSig},
		"base64-nothing": {
			edit(func(q *parts) {
				q.sig = "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"
			}), badSig},
		"no-blank-line": {
			edit(func(q *parts) { q.sig = strings.Replace(q.sig, "\n\n", "\n", 1) }), badSig},
		"other-end": {
			edit(func(q *parts) {
				q.sig = strings.Replace(q.sig, "END PGP SIGNATURE",
					"END PGP MESSAGE", 1)
			}), badSig},
		"other-begin": {
			edit(func(q *parts) {
				q.sig = strings.Replace(q.sig, "BEGIN PGP SIGNATURE",
					"BEGIN PGP MESSAGE", 1)
			}), badSig},
		"signature-of-a-meg": {
			edit(func(q *parts) {
				q.sig = strings.Replace(q.sig, "\n\n",
					"\n\n"+strings.Repeat("AAAA\n", 1<<18), 1)
			}), badSig},
		"endless-begin-lines": {[]byte(strings.Repeat(p.begin, 1<<15)), badSig},
		"endless-armor-begins": {
			edit(func(q *parts) {
				q.sig = strings.Repeat("-----BEGIN PGP SIGNATURE-----\n", 1<<15) +
					q.sig
			}), badSig},
		"one-endless-line": {
			[]byte(p.begin + p.hash + "\n" + strings.Repeat("A", 8<<20)), badSig},
		"gigabytes": {
			append(slices.Clone(data), bytes.Repeat([]byte("\n"), MaxManifest)...), badSig},
		"unsigned-megabytes": {[]byte(p.begin + p.hash + "\n" + manyLines(20_000)), badSig},

		// The packets in it.
		"two-signatures": {
			p.rearmor(t, func(b []byte) []byte { return append(b, b...) }), badSig},
		"a-second-bad-signature": {
			p.rearmor(t, func(b []byte) []byte {
				return append(slices.Clone(b), spoil(b)...)
			}), badSig},
		"a-first-bad-signature": {
			p.rearmor(t, func(b []byte) []byte { return append(spoil(b), b...) }), badSig},
		"marker-first": {
			p.rearmor(t, func(b []byte) []byte {
				return append([]byte("\xca\x03PGP"), b...)
			}), badSig},
		"padding-packet-after": {
			p.rearmor(t, func(b []byte) []byte { return append(b, 0xd5, 1, 0) }), badSig},
		"literal-packet-after": {
			p.rearmor(t, func(b []byte) []byte {
				return append(b, 0xcb, 7, 't', 0, 0, 0, 0, 0, 'x')
			}), badSig},
		"surplus-byte": {
			p.rearmor(t, func(b []byte) []byte {
				return rawPacket{tagSignature, append(body(t, b), 0)}.append(nil)
			}), badSig},
		"packet-cut-off": {
			p.rearmor(t, func(b []byte) []byte { return b[:len(b)-1] }), badSig},
		"packet-length-of-4g": {
			p.rearmor(t, func(b []byte) []byte {
				return append([]byte{0xc2, 255, 255, 255, 255, 255}, body(t, b)...)
			}), badSig},
		"packet-indefinite-length": {
			p.rearmor(t, func(b []byte) []byte {
				return append([]byte{0x8b}, body(t, b)...)
			}), badSig},
		"packet-partial-length": {
			p.rearmor(t, func(b []byte) []byte { return partial(body(t, b)) }), badSig},
		"packet-with-tag-bit-off": {
			p.rearmor(t, func(b []byte) []byte {
				return append([]byte{b[0] & 0x7f}, b[1:]...)
			}), badSig},
		"packet-without-tag-bit": {
			p.rearmor(t, func([]byte) []byte { return []byte("DATA x") }), badSig},
		"signature-of-version-3": {
			p.rearmor(t, func(b []byte) []byte { return patch(b, 0, 3) }), badSig},
		"signature-of-version-6": {
			p.rearmor(t, func(b []byte) []byte { return patch(b, 0, 6) }), badSig},
		"signature-without-date": {
			p.rearmor(t, func(b []byte) []byte { return dropDate(t, b) }), badSig},
		"signature-bit-flipped": {p.rearmor(t, spoil), badSig},
		"hash-tag-changed": {
			p.rearmor(t, func(b []byte) []byte {
				return patch(b, len(b)-72, b[len(b)-70]^1)
			}), badSig},
		"hash-id-changed": {
			p.rearmor(t, func(b []byte) []byte { return patch(b, 3, 8) }), badSig},
		"public-key-instead": {
			p.rearmor(t, func([]byte) []byte {
				return s.good.Public().head[0].append(nil)
			}), badSig},
		"critical-unknown-subpart": {
			p.rearmor(t, func(b []byte) []byte { return patch(b, 7, 0x80|100) }), badSig},
		"issuer-in-unhashed-area": {
			p.rearmor(t, func(b []byte) []byte { return claim(t, b, s.mallory) }), unknownKey},
		"nothing-in-the-armor": {p.rearmor(t, func([]byte) []byte { return nil }), badSig},
		"a-thousand-empty-packets": {
			p.rearmor(t, func([]byte) []byte {
				return bytes.Repeat([]byte{0xc2, 0}, 5000)
			}), badSig},
		"old-form-of-other-length": {
			p.rearmor(t, func(b []byte) []byte {
				return append([]byte{0x88, byte(len(body(t, b)) + 1)}, body(t, b)...)
			}), badSig},
		"subpackets-longer-than-it": {
			p.rearmor(t, func(b []byte) []byte { return patch(b, 4, 0xff) }), badSig},
	}
	return table
}

// notSignedOr is k; the begin line may be spoiled as well as what follows.
func notSignedOr(k kind) kind { return k }

func certificationArmor(t testing.TB, k *PrivateKey) string {
	t.Helper()
	armored, err := enarmor(armorSignature, nil, k.Public().ids[0].raws[1].append(nil))
	if err != nil {
		t.Fatal(err)
	}
	return string(armored)
}

// signRSA clear-signs with a key that only a careless ring could hold: as what it
// is, and as if it was k.
func signRSA(t testing.TB, text string, k *PrivateKey) (plain, claim []byte,
	key *packet.PublicKey) {
	t.Helper()
	entity, err := openpgp.NewEntity("rsa", "", "", &packet.Config{Algorithm: packet.PubKeyAlgoRSA,
		RSABits: 2048, Time: func() time.Time { return keyTime }})
	if err != nil {
		t.Fatal(err)
	}
	rsa := &PrivateKey{secret: func() secretKey { return secretKey{key: entity.PrivateKey} }}
	return forge(t, rsa, text, nil), forge(t, impostor(rsa, k), text, nil), entity.PrimaryKey
}

func replaceChecksum(sig, with string) string {
	at := strings.LastIndex(sig, "\n=")
	return sig[:at+1] + with + sig[at+6:]
}

func oneLine(sig string) string {
	head, rest, _ := strings.Cut(sig, "\n\n")
	at := strings.Index(rest, "\n=")
	return head + "\n\n" + strings.ReplaceAll(rest[:at], "\n", "") + rest[at:]
}

// body returns the body of the only packet in b.
func body(t testing.TB, b []byte) []byte {
	t.Helper()
	raws, err := splitPackets(b)
	if err != nil || len(raws) != 1 {
		t.Fatal(raws, err)
	}
	return slices.Clone(raws[0].body)
}

// patch sets one byte of the body of a packet with a header of two bytes.
func patch(b []byte, at int, to byte) []byte {
	b = slices.Clone(b)
	b[2+at] = to
	return b
}

// spoil flips a bit in the last number of a signature.
func spoil(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)-1] ^= 1
	return b
}

// partial wraps a body in a chunk of 64 bytes and the rest.
func partial(body []byte) []byte {
	b := append([]byte{0xc2, 224 + 6}, body[:64]...)
	b = append(b, byte(len(body)-64))
	return append(b, body[64:]...)
}

// dropDate renames the creation time to an unknown subpacket.
func dropDate(t testing.TB, b []byte) []byte {
	t.Helper()
	const at = 2 + 7 // the first subpacket
	if b[at]&0x7f != 2 {
		t.Fatalf("the first subpacket has the type %d", b[at])
	}
	return patch(b, 7, 100)
}

// claim adds the fingerprint of k to the area that is not hashed.
func claim(t testing.TB, b []byte, k *PrivateKey) []byte {
	t.Helper()
	in := body(t, b)
	hashed := 6 + int(in[4])<<8 + int(in[5])
	if in[hashed] != 0 || in[hashed+1] != 0 {
		t.Fatal("the area is not empty")
	}
	sub := append([]byte{22, 33, 4}, k.secret().key.Fingerprint...)
	out := append(slices.Clone(in[:hashed]), 0, byte(len(sub)))
	out = append(append(out, sub...), in[hashed+2:]...)
	return rawPacket{tagSignature, out}.append(nil)
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	table := attacks(t, s)
	if data := mustSign(t, sampleList(), s.good,
		signTime); kindOf(second(Open(data, s.ring, s.now))) != accepted {
		t.Fatal("the Manifest that is attacked is not accepted itself")
	}
	for name, a := range table {
		t.Run(name, func(t *testing.T) {
			signed, err := Open(a.data, s.ring, s.now)
			if signed != nil || kindOf(err) != a.want {
				t.Fatalf("%v, %s %v; want %s", signed, kindOf(err), err, a.want)
			}
			if !errors.Is(err, ErrUntrusted) {
				t.Errorf("%v is no matter of trust", err)
			}
			if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\x00\x1b\n") {
				t.Errorf("error %q", clip(err.Error()))
			}
		})
	}
	t.Logf("%d attacks", len(table))
}

// The caps refuse by themselves, before anything is looked at.
func TestCaps(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	table := attacks(t, s)
	for name, reason := range map[string]string{
		"gigabytes":                "more than 67108864 bytes",
		"signature-of-a-meg":       "more than 16384 bytes",
		"a-thousand-empty-packets": "more than 1000 packets",
	} {
		if _, err := Open(table[name].data, s.ring, s.now); err == nil ||
			!strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want %q", name, err, reason)
		}
	}
}

func second[A, B any](_ A, b B) B { return b }

// A key that is in the ring twice, once with its revocation, is revoked.
func TestRevokedDuplicateInTheRing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	data := mustSign(t, sampleList(), s.revoked, signTime)
	for _, ring := range []Ring{{s.revoked.Public(), s.ring[2]}, {s.ring[2], s.revoked.Public()}} {
		if _, err := Open(data, ring, s.now); kindOf(err) != badKey {
			t.Errorf("%v", err)
		}
	}
}

func TestKeyAndSignatureAreGoodUntilTheyExpire(t *testing.T) {
	t.Parallel()
	k := expiringKey(t, keyTime, 24*time.Hour)
	end := keyTime.Add(24 * time.Hour)
	if got, ok := k.Public().Expires(); !ok || !got.Equal(end) {
		t.Errorf("expires %v, %v", got, ok)
	}
	data := mustSign(t, sampleList(), k, signTime)
	hour := uint32(3600)
	short := forge(t, k, split(t, data).text, func(sig *packet.Signature) {
		sig.SigLifetimeSecs = &hour
	})
	for _, test := range []struct {
		name string
		data []byte
		now  time.Time
		want kind
	}{
		{"key, 1970", data, time.Unix(0, 0), accepted},
		{"key, last second", data, end.Add(-time.Second), accepted},
		{"key, at its end", data, end, badKey},
		{"signature, last second", short, signTime.Add(time.Hour - time.Second), accepted},
		{"signature, at its end", short, signTime.Add(time.Hour), badSig},
	} {
		if _, err := Open(test.data, Ring{k.Public()}, test.now); kindOf(err) != test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
	if _, err := Sign(sampleList(), k, end); kindOf(err) != badKey {
		t.Errorf("signed at its end: %v", err)
	}
}

// Manifest.gpg was signed by gpg: a text by gemato, an issuer outside the hashed
// area, a header of the old form, SHA-256.
func TestManifestByGPG(t *testing.T) {
	t.Parallel()
	key := mustRead(t, readTestdata(t, "keys/ed25519.asc"))
	s, err := Open(readTestdata(t, "Manifest.gpg"), Ring{key}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalText()
	if err != nil || !bytes.Equal(text, readTestdata(t, "Manifest.gemato")) {
		t.Errorf("%v\n%s", err, text)
	}
	if s.Signer != key.Fingerprint() || !s.SignedAt.Equal(signTime) {
		t.Errorf("%s at %v", s.Signer, s.SignedAt)
	}
}

// gpg accepts every message that Open accepts, and takes the same text for signed.
func TestGPGAgrees(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	s := newStage(t)
	table := attacks(t, s)
	for _, k := range []*PrivateKey{s.good, s.expiring, s.revoked} {
		g.must(s.now, k.Public().Armor(), "--import")
	}
	cert, err := s.revoked.Revocation(s.now)
	if err != nil {
		t.Fatal(err)
	}
	g.must(s.now, cert, "--import")

	data := mustSign(t, sampleList(), s.good, signTime)
	p := split(t, data)
	text := p.text
	day := uint32(24 * 3600 * 1000)
	for name, good := range map[string][]byte{
		"good":        data,
		"good-padded": append(slices.Clone(data), strings.Repeat("\n", 1<<16)...),
		"good-sha256": forge(t, s.good, text, withHash(crypto.SHA256)),
		"good-sha384": forge(t, s.good, text, withHash(crypto.SHA384)),
		"good-notation": forge(t, s.good, text, func(sig *packet.Signature) {
			sig.Notations = []*packet.Notation{{Name: "a@b", Value: []byte("c"),
				IsHumanReadable: true}}
		}),
		"good-with-expiry": forge(t, s.good, text, func(sig *packet.Signature) {
			sig.SigLifetimeSecs = &day
		}),
		"good-no-checksum": edited(p, func(q *parts) {
			q.sig = q.sig[:strings.LastIndex(q.sig, "\n=")] + "\n-----END PGP SIGNATURE-----\n"
		}),
		"good-old-form": p.rearmor(t, func(b []byte) []byte {
			return append([]byte{0x88, byte(len(b) - 2)}, b[2:]...)
		}),
		"good-old-form-16": p.rearmor(t, func(b []byte) []byte {
			return append([]byte{0x89, 0, byte(len(b) - 2)}, b[2:]...)
		}),
		"good-old-form-32": p.rearmor(t, func(b []byte) []byte {
			return append([]byte{0x8a, 0, 0, 0, byte(len(b) - 2)}, b[2:]...)
		}),
		"good-new-form-32": p.rearmor(t, func(b []byte) []byte {
			return append([]byte{0xc2, 255, 0, 0, 0, byte(len(b) - 2)}, b[2:]...)
		}),
		"good-76-columns": edited(p, func(q *parts) { q.sig = columns76(t, q.sig) }),
	} {
		table[name] = attack{good, accepted}
	}
	refusedByBoth, stricter := 0, 0
	for _, name := range slices.Sorted(maps.Keys(table)) {
		a := table[name]
		if len(a.data) > 16<<20 {
			continue // gpg reads on, for minutes
		}
		signed, err := Open(a.data, s.ring, s.now)
		if kindOf(err) != a.want {
			t.Errorf("%s: %v, want %s", name, err, a.want)
		}
		gpgText, good := g.verify(s.now, a.data)
		switch {
		case err != nil && !good:
			refusedByBoth++
		case err != nil:
			stricter++
		case !good:
			t.Errorf("%s: accepted here, refused by gpg", name)
		default:
			ours, err := signed.MarshalText()
			if err != nil || string(ours) != gpgText {
				t.Errorf("%s: %v: another text\n%s\nthan gpg's\n%s", name, err, ours, gpgText)
			}
		}
	}
	t.Logf("%d messages: refused by both %d, by Open alone %d", len(table), refusedByBoth, stricter)
}

func edited(p parts, change func(*parts)) []byte {
	change(&p)
	return p.join()
}

func columns76(t testing.TB, sig string) string {
	t.Helper()
	in, _, err := dearmor([]byte(sig), armorSignature, false)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("-----BEGIN PGP SIGNATURE-----\n\n")
	for chunk := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(in)), 76) {
		b.Write(chunk)
		b.WriteByte('\n')
	}
	b.WriteString("-----END PGP SIGNATURE-----\n")
	return b.String()
}

// gemato verifies a whole tree with our Manifest and our key.
func TestGematoVerifiesATree(t *testing.T) {
	t.Parallel()
	gemato, err := exec.LookPath("gemato")
	if err != nil {
		t.Skip("SKIPPED: gemato is not in PATH, so no tree was verified with it")
	}
	newGPG(t) // gemato needs it
	k := newKey(t, "origin")
	dir := t.TempDir()
	tree := filepath.Join(dir, "origin")
	l := &List{Timestamp: signTime, Ignore: []string{"Manifest.next"}}
	for _, f := range gematoVector(t).Files {
		path := filepath.Join(tree, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		// The content of each file of the vector is its name.
		if err := os.WriteFile(path, []byte(f.Path), 0o644); err != nil {
			t.Fatal(err)
		}
		l.Files = append(l.Files, f)
	}
	data := append(mustSign(t, l, k, signTime), strings.Repeat("\n", 5000)...)
	keyFile := filepath.Join(dir, "key.asc")
	for path, content := range map[string][]byte{
		keyFile:                              k.Public().Armor(),
		filepath.Join(tree, "Manifest"):      data,
		filepath.Join(tree, "Manifest.next"): []byte("torn"),
	} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	verify := func() (string, error) {
		out, err := exec.Command(gemato, "verify", "-R", "-K", keyFile, "-s", tree).CombinedOutput()
		return string(out), err
	}
	if out, err := verify(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(tree, "plain"), []byte("PLAIN"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(); err == nil {
		t.Errorf("gemato did not look at the files\n%s", out)
	}
}

func gematoVector(t testing.TB) *List {
	t.Helper()
	l, err := parseList(readTestdata(t, "Manifest.gemato"))
	if err != nil {
		t.Fatal(err)
	}
	return &l
}

func FuzzOpen(f *testing.F) {
	key := mustRead(f, readTestdata(f, "keys/ed25519.asc"))
	k, err := ReadPrivateKey(readTestdata(f, "keys/ed25519.secret.asc"))
	if err != nil {
		f.Fatal(err)
	}
	ring := Ring{key}
	f.Add(readTestdata(f, "Manifest.gpg"))
	f.Add(mustSign(f, sampleList(), k, signTime))
	s := newStage(f)
	s.good = k
	for _, a := range attacks(f, s) {
		if len(a.data) < 1<<14 {
			f.Add(a.data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		if _, err := Claimed(data); err != nil && !errors.Is(err, ErrUntrusted) {
			t.Fatal(err)
		}
		var signed *Signed
		var err error
		frugal(t, 4<<20+uint64(len(data))*200, func() { signed, err = Open(data, ring, signTime) })
		if err != nil {
			if signed != nil || !errors.Is(err, ErrUntrusted) && kindOf(err) != badFormat {
				t.Fatalf("%v, %v", signed, err)
			}
			return
		}
		text, err := signed.MarshalText()
		if err != nil || !bytes.Contains(data,
			append([]byte("\n\n"), append(text, "-----BEGIN PGP SIGNATURE-----\n"...)...)) {
			t.Fatalf("%v: accepted %q out of %q", err, text, data)
		}
	})
}

// The example in the package comment is a real Manifest.
func TestExampleOfThePackageComment(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("manifest.go")
	if err != nil {
		t.Fatal(err)
	}
	const first, last = "//\t-----BEGIN PGP SIGNED MESSAGE-----\n",
		"//\t-----END PGP SIGNATURE-----\n"
	_, example, ok := strings.Cut(string(source), first)
	example, _, ok2 := strings.Cut(example, last)
	if !ok || !ok2 {
		t.Fatal("there is no example")
	}
	example = strings.ReplaceAll(strings.ReplaceAll(first+example+last, "//\t", ""), "//\n", "\n")
	key := mustRead(t, readTestdata(t, "keys/ed25519.asc"))
	s, err := Open([]byte(example), Ring{key}, signTime)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ReadPrivateKey(readTestdata(t, "keys/ed25519.secret.asc"))
	if err != nil {
		t.Fatal(err)
	}
	if got := mustSign(t, &s.List, k, signTime); string(got) != example {
		t.Errorf("signed\n%s\nwant\n%s", got, example)
	}
}

// OpenPast tells who signed, whatever has become of the key since, and nothing that was not signed.
func TestOpenPast(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	key, err := GenerateKey("past", made)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Sign(&List{Timestamp: made}, key, made)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := key.Revoked(made)
	if err != nil {
		t.Fatal(err)
	}
	ring := Ring{revoked.Public()}
	if _, err := Open(text, ring, made); err == nil {
		t.Error("Open takes what a revoked key signed")
	}
	signed, err := OpenPast(text, ring)
	if err != nil || signed.Signer != key.Public().Fingerprint() || !signed.SignedAt.Equal(made) {
		t.Errorf("%+v, %v", signed, err)
	}
	changed := bytes.Replace(text, []byte("2026-03-01"), []byte("2026-03-02"), 1)
	if signed, err := OpenPast(changed, ring); err == nil {
		t.Errorf("a changed list is taken: %+v", signed)
	}
	other, err := GenerateKey("other", made)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPast(text, Ring{other.Public()}); !errors.As(err, new(*UnknownKeyError)) {
		t.Errorf("a stranger's list: %v", err)
	}
}
