package clients

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
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
	return s.writeJSON(path.Join(offersDir, file),
		offer{format, f.Dir, seen, string(f.Key.Armor())})
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

// ForgetOffer forgets an offered client; its next request offers it again.
func (s *Store) ForgetOffer(o *Offered) error { return s.dropOffer(o.Fingerprint) }
