// Package manifest is the trust kernel: the signed list of files that every
// generation on a drive is, and the keys that sign it. Nothing else in pkgsneak
// decides what is accepted, and nothing here touches a file, a clock or a
// terminal. This comment is the specification of the format and of its limits.
//
// # Who takes part
//
// An origin (a build host) holds a [PrivateKey] and turns a [List] into the
// bytes of a Manifest with [Sign]. Anyone who carries, holds or finds the drive can
// change those bytes at will. A client holds a [Ring] of public keys that its
// administrator has chosen, and turns the bytes back into a [Signed] list with
// [Open]. There is no other way to get one that is verified ([OpenPast] tells who
// signed what is to be removed), and no type for a list that was read but not
// verified.
//
// # The text
//
// The text is a Manifest as GLEP 74 describes it, in one canonical form:
//
//	text      = timestamp *data *ignore
//	timestamp = "TIMESTAMP " year "-" mm "-" dd "T" HH ":" MM ":" SS "Z" LF
//	data      = "DATA " path " " size " BLAKE2B " 128lowhex LF
//	ignore    = "IGNORE " path LF
//	size      = "0" / nonzero *digit          ; at most 2^53
//	path      = component *( "/" component )   ; relative to the Manifest
//
// One TIMESTAMP (UTC, 1970 to 9999) comes first. DATA lines follow in bytewise
// order of their unescaped paths, each path once; IGNORE lines likewise, and
// none names a listed file or a directory of one. A path is UTF-8 of at most
// [MaxPath] bytes; its components are at most [MaxName] bytes long, not empty,
// not "." and not "..". Control characters (below U+0020, U+007F to U+009F) and
// backslashes are in no path. White space is, and is written as gemato writes it:
// \x20 for the blank, \u00A0, \u1680, \u2000 to \u200A, \u2028, \u2029, \u202F,
// \u205F, \u3000 for the others, with capital digits. Nothing else is escaped.
//
// GLEP 74 allows more (other tags and hashes, any order, needless escapes, blank
// lines, several blanks). None of it is accepted: for every text that [Open]
// accepts, [List.MarshalText] writes the same bytes, so no two readers can differ
// about what was signed. A Manifest that somebody changed with `gemato update`
// and signed again has to be made by pkgsneak instead. In the other direction
// nothing is lost: gemato and everything else that implements GLEP 74 reads this form.
//
// # The signature
//
// The text is clear-signed (RFC 4880 section 7), again in one form:
//
//	-----BEGIN PGP SIGNED MESSAGE-----
//	Hash: SHA512
//
//	TIMESTAMP 2026-03-01T12:00:00Z
//	DATA a\x20blank 7 BLAKE2B e2320a0d755a1a632c65d406a3fa54892233e29ba30d94b00e591acd0e8edc4f229c038eca903db867276b524a95b1d568026a7f104ed82c899aba7ddc0db50c
//	IGNORE Manifest.next
//	-----BEGIN PGP SIGNATURE-----
//
//	wnUEARYKACcFgmmkKkAJEJ++8mfjtPfCFiEEw3jYNfJgU6oDsWuin77yZ+O098IA
//	ABt7AP99nT7mDlOfGp2+y5XQi/7kL9jS4K8kFoYn5ytKcRSY+QD7BzBsSNRO12Tp
//	heTAf7vUVFxARQpQsTPdFHGtIq10vAE=
//	=+QB3
//	-----END PGP SIGNATURE-----
//
// Exactly one Hash line and no other armor header; exactly one signature packet.
// The file starts with the first of these lines and after the last one there is
// nothing but newlines, the padding that lets a drive overwrite the file in
// place. No line of the text starts with a dash, so nothing in it is
// dash-escaped, and there is no carriage return, tab or trailing blank anywhere:
// clear-signing leaves those out of the hash, so they are ignored, too.
// The parsed bytes are the hashed bytes, one for one.
//
// The signature is version 4, type 0x01 (text), EdDSA over Ed25519, with
// SHA-256, SHA-384 or SHA-512; [Sign] uses SHA-512. Critical notations and
// subpackets that are not understood make it bad, as does a date before the
// key's own. A signature that carries an expiry is good until then.
//
// # Keys
//
// A key is an OpenPGP version 4 primary key, EdDSA over Ed25519, with at least
// one user id that it signed itself, and with the key flag "sign". gpg 2.1 and
// later read, use and make it (gpg --quick-generate-key NAME ed25519 sign).
// Subkeys are dropped on reading: signing subkeys need the primary's consent,
// expiry and revocation each time, and a key that only lies in the state
// directory gains nothing from them. Everything else is refused with the reason:
// RSA, ECDSA, DSA, versions 3, 5 and 6, keys protected by a passphrase.
//
// A key revoked by itself is refused always, whatever date or reason the
// revocation has. A key with an expiry is refused from then on. The clock of the
// machine never makes a key or signature "not yet valid": validity is checked at
// the later one of the time that is handed in and the signature's own, because a
// machine without a battery wakes up in 1970. [Signed.ClockBehind] tells.
//
// An old key introduces its successor with an ordinary OpenPGP certification of
// the new key's user id ([PrivateKey.Certify], [PublicKey.CertifiedBy]), which
// gpg --check-sigs shows too. That is information for the administrator, or for
// a policy he has set; a certified key is not in the ring by itself.
//
// # Limits
//
// A Manifest has at most [MaxManifest] bytes with its padding and [MaxText]
// without, [MaxFiles] DATA and [MaxIgnore] IGNORE lines; a key block at most [MaxKey] bytes and
// [MaxPackets] packets. Memory is bounded by a small multiple of the input:
// nothing is parsed before the signature was verified, and verifying copies
// nothing.
package manifest

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of the format; what exceeds one is refused, when written and when read.
const (
	// MaxManifest is the size of a Manifest in bytes, padding included. Callers
	// read at most one byte more from a drive.
	MaxManifest = 64 << 20
	// MaxText is the size of the text in bytes. The rest of MaxManifest is for the
	// signature and padding.
	MaxText = MaxManifest - 4<<20
	// MaxFiles is the number of DATA lines.
	MaxFiles = 1 << 18
	// MaxIgnore is the number of IGNORE lines.
	MaxIgnore = 64
	// MaxPath is the length of a path in bytes, unescaped: Linux's PATH_MAX less
	// the NUL.
	MaxPath = 4095
	// MaxName is the length of one component of a path in bytes.
	MaxName = 255
	// MaxFileSize is the size of a file in bytes: 2^53, which every reader of
	// numbers has exactly.
	MaxFileSize = 1 << 53
)

// A Digest is a BLAKE2B-512 sum.
type Digest [64]byte

// String returns the digest as 128 lower-case hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads what String writes.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if !decodeDigest(&d, []byte(s)) {
		return Digest{}, fmt.Errorf("parse digest: %q is not 128 lower-case hex digits", clip(s))
	}
	return d, nil
}

// A File is one listed file.
type File struct {
	// Path is relative to the directory of the Manifest, with slashes, unescaped.
	Path string
	// Size is in bytes.
	Size int64
	// Sum is the digest of the content.
	Sum Digest
}

// A List is the content of a Manifest.
type List struct {
	// Timestamp is the TIMESTAMP line, in whole seconds.
	Timestamp time.Time
	// Files are the DATA lines. In a List that was read they are sorted by path.
	Files []File
	// Ignore are the IGNORE lines: paths that gemato shall not look at.
	Ignore []string
}

// A Signed is a List whose signature was verified. Only [Open] and [OpenPast] make one.
type Signed struct {
	List
	// Signer is the key that signed.
	Signer Fingerprint
	// SignedAt is the signature's own time, in whole seconds.
	SignedAt time.Time
	// ClockBehind is set if the time handed to Open lies before SignedAt.
	ClockBehind bool
}

// Find returns the file that is listed under path.
func (s *Signed) Find(path string) (File, bool) {
	i, ok := slices.BinarySearchFunc(s.Files, path, func(f File, p string) int {
		return strings.Compare(f.Path, p)
	})
	if !ok {
		return File{}, false
	}
	return s.Files[i], true
}

// ErrUntrusted is what every refusal for want of trust is: errors.Is finds it in
// ErrNotSigned, *UnknownKeyError, *SignatureError and *KeyError.
var ErrUntrusted error = untrustedError{}

type untrustedError struct{}

func (untrustedError) Error() string { return "not trusted" }

// Class is the class of the error in package fault, which this package does not import.
func (untrustedError) Class() string { return "untrusted" }

// ErrNotSigned reports that the data does not begin as a clear-signed message:
// empty, padding only, torn, or some other file.
var ErrNotSigned error = notSignedError{}

type notSignedError struct{}

func (notSignedError) Error() string { return "no signed message" }

// Class is the class of the error in package fault, which this package does not import.
func (notSignedError) Class() string { return "untrusted" }

func (notSignedError) Is(target error) bool { return target == ErrUntrusted }

// An UnknownKeyError reports that the signature claims to be of a key that is not in
// the ring. The claim is unverified.
type UnknownKeyError struct {
	// Signer is the fingerprint (40 hex digits) or key id (16) as claimed.
	Signer string
}

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("signed by the key %s, which is not trusted here",
		Fingerprint(e.Signer).Grouped())
}

// Class is the class of the error in package fault, which this package does not import.
func (e *UnknownKeyError) Class() string { return "untrusted" }

// Is reports whether target is ErrUntrusted.
func (e *UnknownKeyError) Is(target error) bool { return target == ErrUntrusted }

// A SignatureError reports why the signature, or the frame around the text, is bad.
type SignatureError struct{ Reason string }

func (e *SignatureError) Error() string { return "bad signature: " + e.Reason }

// Class is the class of the error in package fault, which this package does not import.
func (e *SignatureError) Class() string { return "untrusted" }

// Is reports whether target is ErrUntrusted.
func (e *SignatureError) Is(target error) bool { return target == ErrUntrusted }

// A KeyError reports why a key is not accepted although it is known: revoked,
// expired, or not able to do what it should.
type KeyError struct {
	Fingerprint Fingerprint
	Reason      string
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("key %s: %s", e.Fingerprint.Grouped(), e.Reason)
}

// Class is the class of the error in package fault, which this package does not import.
func (e *KeyError) Class() string { return "untrusted" }

// Is reports whether target is ErrUntrusted.
func (e *KeyError) Is(target error) bool { return target == ErrUntrusted }

// A FormatError reports where a text is not in the form of the package comment. The
// text was signed by a trusted key, or was to be written; it is no matter of
// trust.
type FormatError struct {
	// Line counts from 1 at the first line of the text; 0 is the whole.
	Line   int
	Reason string
}

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return "manifest: " + e.Reason
	}
	return fmt.Sprintf("manifest line %d: %s", e.Line, e.Reason)
}

// clip shortens foreign text for a message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
