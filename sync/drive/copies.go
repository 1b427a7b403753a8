package drive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
)

// errBlank is the error of a manifest copy that nothing was ever written to but padding.
var errBlank = fmt.Errorf("blank: %w", manifest.ErrNotSigned)

// ManifestCopy is one of the two copies of an origin's manifest, as it was read.
type ManifestCopy struct {
	State  CopyState
	Text   []byte // without the padding
	Signed *manifest.Signed

	newlines bool // it has nothing else; StandingOf looks
}

// loadCopies verifies both manifest copies of an origin. The key of a client signs none.
func (d *Drive) loadCopies(origin string, ring manifest.Ring, now time.Time) (best,
	other ManifestCopy, err error) {
	if err := layout.CheckOriginName(origin); err != nil {
		return ManifestCopy{}, ManifestCopy{}, err
	}
	return d.copiesIn(origin, originKeys(ring), now, layout.CheckList)
}

// originKeys are those of a ring that may sign an origin.
func originKeys(ring manifest.Ring) manifest.Ring {
	return slices.DeleteFunc(slices.Clone(ring), (*manifest.PublicKey).IsClient)
}

// copiesIn verifies both copies in a directory of the tree; check refuses lists that do not belong
// there.
func (d *Drive) copiesIn(origin string, ring manifest.Ring, now time.Time,
	check func(*manifest.Signed) error) (best, other ManifestCopy, err error) {
	verify := func(text []byte) (*manifest.Signed, error) { return manifest.Open(text, ring, now) }
	best, other, err = newerOf(d.loadCopy(origin, layout.ManifestFile),
		d.loadCopy(origin, layout.NextManifestFile), verify, check)
	switch {
	case err != nil:
		return best, other, err
	case best.Signed != nil:
		d.openProbe(d.root, origin)
		return best, other, nil
	}
	return best, other, d.worse(origin, best, other)
}

// newerOf verifies two copies, and best is the valid one with the higher serial. The error is that
// of a copy of which nothing can be told now: it may be the newer one, and what it lists is no
// leftover.
func newerOf(best, other ManifestCopy, verify func([]byte) (*manifest.Signed, error),
	check func(*manifest.Signed) error) (ManifestCopy, ManifestCopy, error) {
	for _, c := range []ManifestCopy{best, other} {
		if Unanswered(c.State.Err) {
			return best, other, c.State.Err
		}
	}
	best.open(verify, check)
	if best.Signed != nil && bytes.Equal(best.Text, other.Text) {
		other.Text = best.Text // one of them is enough
		// as after each whole export
		other.Signed, other.State.Serial = best.Signed, best.State.Serial
	} else {
		other.open(verify, check)
	}
	if best.Signed == nil || other.Signed != nil && other.State.Serial > best.State.Serial {
		best, other = other, best
	}
	return best, other, nil
}

// torn reports whether a manifest copy has the beginning of a signed message and not its
// end, as a pull in the middle of a commit leaves it.
func (s *ManifestCopy) torn() bool {
	return bytes.HasPrefix(s.Text, []byte(messageBegin)) &&
		!bytes.Contains(s.Text, []byte(messageEnd))
}

// whole reports whether a copy has the beginning of a signed message and its end, whatever they are
// worth.
func (s *ManifestCopy) whole() bool {
	return bytes.HasPrefix(s.Text, []byte(messageBegin)) && !s.torn()
}

// The first and the last line of a signed message (RFC 9580 section 7).
const (
	messageBegin = "-----BEGIN PGP SIGNED MESSAGE-----\n"
	messageEnd   = "\n-----END PGP SIGNATURE-----\n"
)

func (d *Drive) loadCopy(origin, name string) ManifestCopy {
	s := ManifestCopy{State: CopyState{Name: name}}
	s.Text, s.State.Err = d.ReadCopy(origin, name)
	return s
}

// open verifies what was read.
func (s *ManifestCopy) open(verify func([]byte) (*manifest.Signed, error),
	check func(*manifest.Signed) error) {
	if s.State.Err != nil {
		return
	}
	if len(s.Text) == 0 {
		s.State.Err = errBlank
		return
	}
	signed, err := verify(s.Text)
	if err == nil {
		err = check(signed)
	}
	if err != nil {
		s.State.Err = err
		return
	}
	s.Signed, s.State.Serial = signed, signed.Timestamp.Unix()
}

// ReadCopy returns a copy's contents without the padding behind it. The bytes that a pull leaves at
// the end of a file may be zeros too.
func (d *Drive) ReadCopy(origin, name string) ([]byte, error) {
	at := path.Join(origin, name)
	f, info, err := d.openRegular(d.root, at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > manifest.MaxManifest {
		return nil, &DamagedError{Path: at, Reason: fmt.Sprintf("longer than %d bytes",
			manifest.MaxManifest)}
	}
	end, err := TextEnd(f, "\n\x00")
	if err != nil || end == 0 {
		return nil, d.Classify("reading", at, err)
	}
	text := make([]byte, end, end+1)
	n, err := io.ReadFull(f, text)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !isEOF(err) {
		return nil, d.Classify("reading", at, err)
	}
	return append(text[:n], '\n'), nil
}

// worse chooses the error that tells more about an origin without a valid manifest copy.
func (d *Drive) worse(origin string, x, y ManifestCopy) error {
	if weight(y.State.Err) > weight(x.State.Err) {
		x, y = y, x
	}
	a := x.State.Err
	if weight(a) == 0 || weight(y.State.Err) == 0 && x.torn() {
		gone := errors.Is(a, fs.ErrNotExist) && errors.Is(y.State.Err, fs.ErrNotExist)
		return fmt.Errorf("reading %q: %w", origin, unfinishedError{gone})
	}
	switch weight(a) {
	case weightOf.gone:
		return a
	}
	return fmt.Errorf("reading %q: %w", origin, a)
}

var weightOf = struct{ gone, unknown, key, signature, other int }{6, 5, 4, 3, 2}

func weight(err error) int {
	var unknown *manifest.UnknownKeyError
	var key *manifest.KeyError
	var signature *manifest.SignatureError
	switch {
	case Unanswered(err):
		return weightOf.gone
	case errors.As(err, &unknown):
		return weightOf.unknown
	case errors.As(err, &key):
		return weightOf.key
	case errors.As(err, &signature):
		return weightOf.signature
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, errBlank):
		return 0
	case errors.Is(err, manifest.ErrNotSigned):
		return weightOf.signature
	}
	return weightOf.other
}

// OwnCopies reads and verifies both copies for the keys of this machine. A key that has expired
// since is good for what it signed before: it is asked what lies there, not whom to believe.
func (d *Drive) OwnCopies(dir string, ring manifest.Ring, now time.Time) (best,
	other ManifestCopy, err error) {
	best, other, err = d.loadCopies(dir, ring, now)
	var key *manifest.KeyError
	if errors.As(err, &key) {
		if b, o, e := d.loadCopies(dir, ring, time.Time{}); e == nil {
			best, other, err = b, o, nil
		}
	}
	for _, s := range []ManifestCopy{best, other} {
		if e := Newer(dir, s.State); e != nil {
			return best, other, e
		}
	}
	return best, other, err
}

// PastCopies reads both copies of a list that need not be believed any more: whether a key of the
// ring is trusted, expired or revoked does not matter. If neither is valid, best has the error that
// tells more.
func (d *Drive) PastCopies(dir string, ring manifest.Ring) (best, other ManifestCopy) {
	ring = originKeys(ring)
	best, other = d.loadCopy(dir, layout.ManifestFile), d.loadCopy(dir, layout.NextManifestFile)
	for _, s := range []*ManifestCopy{&best, &other} {
		s.open(func(text []byte) (*manifest.Signed, error) { return manifest.OpenPast(text, ring) },
			layout.CheckList)
	}
	if best.Signed == nil || other.Signed != nil && other.State.Serial > best.State.Serial {
		best, other = other, best
	}
	switch {
	case best.Signed != nil:
		d.openProbe(d.root, dir)
	case weight(other.State.Err) > weight(best.State.Err):
		best, other = other, best
	}
	return best, other
}

// Begun reports whether a copy has nothing in it but what an export begins with, or the beginning
// of a message that a pull has cut off.
func (s *ManifestCopy) Begun() bool { return errors.Is(s.State.Err, errBlank) || s.torn() }

// blank reports whether a manifest copy is there and has nothing in it but newlines.
func (s *ManifestCopy) blank() bool { return s.newlines }

// checkBlank finds out whether a manifest copy without text has newlines and nothing else. Zeros
// are what a file system may make of lost contents; they mean nothing.
func checkBlank(d *Drive, dir string, s *ManifestCopy) error {
	if !errors.Is(s.State.Err, errBlank) {
		return nil
	}
	f, info, err := d.openRegular(d.root, path.Join(dir, s.State.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := TextEnd(f, "\n")
	s.newlines = err == nil && end == 0 && info.Size() > 0
	return d.Classify("reading", path.Join(dir, s.State.Name), err)
}

// Newer returns a *NewerError for a manifest that is signed by one of ours and that this program
// cannot read.
func Newer(dir string, s CopyState) error {
	var list *layout.ListError
	var text *manifest.FormatError
	if errors.As(s.Err, &list) || errors.As(s.Err, &text) {
		return &NewerError{path.Join(dir, s.Name), s.Err}
	}
	return nil
}
