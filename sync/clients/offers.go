package clients

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/request"
	"pkgsneak/sync/state"
)

const (
	offersDir = "offered" // below the state directory
	// maxOffers bounds the keys that nobody accepted: whoever has a drive can make any number.
	maxOffers = 100
)

// Offered is a client that has asked, and that nobody has accepted.
type Offered struct {
	// of its directory on the drive; anybody can have any
	Name        string               `json:"client"`
	Fingerprint manifest.Fingerprint `json:"fingerprint"`
	Seen        time.Time            `json:"seen"` // when its request was read first
	Armor       string               `json:"-"`
}

type offer struct {
	Format int       `json:"format"`
	Name   string    `json:"name"`
	Seen   time.Time `json:"seen"`
	Armor  string    `json:"armor"`
}

// Offer remembers the key of a request that nobody has accepted, so that it can be accepted when
// the drive is not here. More than maxOffers are not remembered, which is an error.
func (s *Store) Offer(f *Found, now time.Time) error {
	if f.State != Unknown || f.Key == nil || f.Key.Fingerprint() != f.Signer {
		return nil
	}
	names, err := s.names(offersDir)
	if err != nil {
		return err
	}
	file := string(f.Signer)
	seen := now.UTC().Truncate(time.Second)
	switch {
	case slices.Contains(names, file):
		all, err := s.Offers()
		i := slices.IndexFunc(all, func(o Offered) bool { return o.Fingerprint == f.Signer })
		if err != nil || i >= 0 && all[i].Name == f.Dir {
			return err
		}
		if i >= 0 {
			seen = all[i].Seen // it asks under another name now
		}
	case len(names) >= maxOffers:
		return fmt.Errorf("its key is not remembered: %d others ask already (pkgsneak clients forget NAME makes room)", maxOffers)
	}
	if err := s.writeJSON(path.Join(offersDir, file),
		offer{format, f.Dir, seen, string(f.Key.Armor())}); err != nil {
		return err
	}
	return unforget(s, f.Signer)
}

// Offers returns the clients that nobody has accepted, by name. An odd file counts as none.
func (s *Store) Offers() ([]Offered, error) {
	names, err := s.names(offersDir)
	if err != nil {
		return []Offered{}, err
	}
	all := []Offered{}
	for _, name := range names {
		data, err := s.read(path.Join(offersDir, name))
		if err != nil {
			return all, err
		}
		var o offer
		if decode(data, &o) != nil || o.Format != format || layout.CheckOriginName(o.Name) != nil {
			continue
		}
		if fpr, err := manifest.ParseFingerprint(name); err == nil && string(fpr) == name {
			all = append(all, Offered{o.Name, fpr, o.Seen, o.Armor})
		}
	}
	slices.SortStableFunc(all, func(a, b Offered) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Fingerprint),
			string(b.Fingerprint)))
	})
	return all, nil
}

// FindOffer returns the offered client of a name or fingerprint. Several of one name are an error.
func (s *Store) FindOffer(nameOrKey string) (*Offered, error) {
	all, err := s.Offers()
	if err != nil {
		return nil, err
	}
	var found *Offered
	for i := range all {
		o := &all[i]
		switch {
		case !Means(nameOrKey, o.Name, o.Fingerprint):
		case found != nil:
			return nil, fmt.Errorf("several clients ask as %q: name the fingerprint", nameOrKey)
		default:
			found = o
		}
	}
	return found, nil
}

// AcceptOffer accepts an offered client.
func (s *Store) AcceptOffer(o *Offered, now time.Time) (*Client, error) {
	key, err := manifest.ReadPublicKey([]byte(o.Armor))
	if err != nil {
		return nil, fmt.Errorf("accepting the client %q: %w", o.Name, err)
	}
	if key.Fingerprint() != o.Fingerprint {
		return nil, fmt.Errorf("accepting the client %q: the key that is remembered is %s", o.Name,
			key.Fingerprint())
	}
	c, err := s.Accept(key, o.Name, now)
	if err != nil {
		return nil, err
	}
	return c, s.dropOffer(o.Fingerprint)
}

func (s *Store) dropOffer(fpr manifest.Fingerprint) error {
	if s.readOnly {
		return state.ErrReadOnly
	}
	if err := s.root.Remove(path.Join(offersDir, string(fpr))); err != nil {
		return fmt.Errorf("accepting a client: %w", err)
	}
	return s.root.SyncDir(offersDir)
}

// ForgetOffer forgets an offered client; a request that it makes after now offers it again.
func (s *Store) ForgetOffer(o *Offered, now time.Time) error {
	if err := noteForgotten(s, o.Fingerprint, o.Name, now); err != nil {
		return err
	}
	return s.dropOffer(o.Fingerprint)
}

// forgottenDir is below the state directory. It has a file for each key that was forgotten, so that
// the requests which lie on drives since before do not offer it again.
const forgottenDir = "forgotten"

// Forgotten is a client that was forgotten here.
type Forgotten struct {
	Format int       `json:"format"`
	Name   string    `json:"name"`
	When   time.Time `json:"when"` // by this host's clock
}

// noteForgotten notes that a client is about to be forgotten. One without a key asks by no
// request.
func noteForgotten(s *Store, fpr manifest.Fingerprint, name string, now time.Time) error {
	if valid, err := manifest.ParseFingerprint(string(fpr)); err != nil || valid != fpr {
		return nil
	}
	err := s.writeJSON(path.Join(forgottenDir, string(fpr)),
		Forgotten{format, name, now.UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	return dropOldestForgotten(s)
}

// dropOldestForgotten bounds how many are remembered.
func dropOldestForgotten(s *Store) error {
	names, err := s.names(forgottenDir)
	if err != nil || len(names) <= request.MaxClients {
		return err
	}
	when := make(map[string]time.Time, len(names))
	for _, name := range names {
		if f := forgottenKey(s, manifest.Fingerprint(name)); f != nil {
			when[name] = f.When
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return when[a].Compare(when[b]) })
	for _, name := range names[:len(names)-request.MaxClients] {
		if err := unforget(s, manifest.Fingerprint(name)); err != nil {
			return err
		}
	}
	return nil
}

// forgottenKey is what is remembered of a key that was forgotten, nil if nothing is. An odd file
// counts as none.
func forgottenKey(s *Store, fpr manifest.Fingerprint) *Forgotten {
	data, err := s.read(path.Join(forgottenDir, string(fpr)))
	var f Forgotten
	if err != nil || decode(data, &f) != nil || f.Format != format ||
		layout.CheckOriginName(f.Name) != nil {
		return nil
	}
	return &f
}

// unforget has the next request of a key offer it again.
func unforget(s *Store, fpr manifest.Fingerprint) error {
	if s.readOnly {
		return state.ErrReadOnly
	}
	err := s.root.Remove(path.Join(forgottenDir, string(fpr)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remembering a client: %w", err)
	}
	return s.root.SyncDir(forgottenDir)
}

// Unforget is for a client that is wanted again: whatever request of it is read next offers it. It
// returns its name and key; no key if none of that name or fingerprint was forgotten. Several of
// one name are an error.
func Unforget(s *Store, nameOrKey string) (name string, fpr manifest.Fingerprint, err error) {
	all, err := s.names(forgottenDir)
	if err != nil {
		return "", "", err
	}
	for _, key := range all {
		f := forgottenKey(s, manifest.Fingerprint(key))
		switch {
		case f == nil || !Means(nameOrKey, f.Name, manifest.Fingerprint(key)):
		case fpr != "":
			return "", "", fmt.Errorf("several clients called %q were forgotten: name the fingerprint", nameOrKey)
		default:
			name, fpr = f.Name, manifest.Fingerprint(key)
		}
	}
	if fpr == "" {
		return "", "", nil
	}
	return name, fpr, unforget(s, fpr)
}
