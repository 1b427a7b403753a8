package clients

import (
	"fmt"
	"path"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/request"
)

// Found is a request that lies on a drive. Only one that an accepted key signed has a Record.
type Found struct {
	Dir    string               // below clients/ on the drive
	State  Standing             // what it is to this host
	Signer manifest.Fingerprint // "" if no key can be told
	Key    *manifest.PublicKey  // that lies beside it, nil if none does; not trusted for that
	Client *Client              // of an accepted key
	Record *request.Record
	List   []byte   // the installed list, packed; nil if it is not there or was taken
	Sum    [64]byte // BLAKE2B of the signed list
	Forked *Fork    // with the one that was read last; nil if one machine can have made both
	// of a request that is Before, when its key was forgotten
	Forgotten time.Time
	made      time.Time // by its serial
	Err       error     // why it cannot be read, for Damaged and Unfinished
}

// Standing is what a request is to a host.
type Standing uint8

// The standings.
const (
	New        Standing = iota + 1 // of an accepted client, and newer than what was read
	Known                          // read before
	Older                          // of an accepted client, and older than what was read: ignored
	Cloned                         // two machines have this key: both lack what either lacks
	Unknown                        // of a key that nobody accepted: it counts for nothing
	Damaged                        // unsigned, torn, or not what was signed
	Unfinished                     // a first request whose drive was pulled: nobody's
	Before                         // of a key that was forgotten since: it counts for nothing
)

func (s Standing) String() string {
	return [...]string{"", "new", "known", "older", "cloned", "unknown", "damaged",
		"unfinished", "forgotten"}[s]
}

// MarshalText writes the standing's name.
func (s Standing) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// standing compares a request with the one that was read last.
func (c *Client) standing(serial int64, sum [64]byte) Standing {
	switch {
	case serial > c.Serial:
		return New
	case serial < c.Serial:
		return Older
	case Digest(sum) == c.Manifest:
		return Known
	}
	return Cloned
}

// Catalogues returns the sums of the catalogue of an origin and generation, nil if it cannot be
// had.
type Catalogues func(o Origin, serial int64) []request.Sum

// after is the client as it is once a request is remembered; nil if nothing of it is.
func (f *Found) after(catalogues Catalogues, now time.Time) *Client {
	if f.Client == nil || f.Record == nil {
		return nil
	}
	c := *f.Client
	now = now.UTC().Truncate(time.Second)
	f.State, f.Forked = c.standing(f.Record.Serial, f.Sum), c.forkedBy(f.Record, now)
	switch {
	case f.State == Older && f.Forked != nil && !f.Forked.same(c.Forked):
		c.Forked = f.Forked
		return &c
	case f.State != New && f.State != Cloned:
		return nil
	}
	has, unread := receipts(f.Record, catalogues)
	if f.State == Cloned {
		if c.Has = intersect(c.Has, has); !c.Cloned.IsZero() && now.Sub(c.Cloned) < time.Second {
			return nil
		}
		c.Cloned = now
		return &c
	}
	c.Serial, c.Manifest, c.Read, c.Cloned = f.Record.Serial, Digest(f.Sum), now, time.Time{}
	c.Has, c.Unread, c.Typed = has, unread, nil
	c.AskedAs, c.Previous, c.Forked = f.Record.Client, f.Record.Previous, f.Forked
	return &c
}

// Take remembers a request of an accepted client: a new one in the place of the one before, a
// clone's with it. Of all others nothing is remembered.
func (s *Store) Take(f *Found, catalogues Catalogues, now time.Time) error {
	c := f.after(catalogues, now)
	if c == nil {
		return nil
	}
	if f.State != New {
		if err := s.save(c); err != nil {
			return err
		}
		*f.Client = *c
		return nil
	}
	text, err := f.Record.Marshal()
	if err != nil {
		return err
	}
	dir := path.Join(clientsDir, c.ID())
	if f.List != nil {
		if err := s.write(path.Join(dir, listName(f.Record.Serial)), f.List); err != nil {
			return err
		}
	}
	if err := s.write(path.Join(dir, recordName(f.Record.Serial)), text); err != nil {
		return err
	}
	if err := s.save(c); err != nil {
		return err
	}
	*f.Client = *c
	return s.dropOld(dir, c.Serial)
}

// dropOld removes the requests before the one that counts.
func (s *Store) dropOld(dir string, serial int64) error {
	names, err := s.names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == clientFile || name == keyFile || name == recordName(serial) ||
			name == listName(serial) {
			continue
		}
		if strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".Packages.zst") {
			if err := s.root.Remove(path.Join(dir, name)); err != nil {
				return fmt.Errorf("forgetting an old request: %w", err)
			}
		}
	}
	return nil
}

// receipts turns the receipts of a request into sums. One that cannot be read counts for nothing.
func receipts(r *request.Record, catalogues Catalogues) (has []Has, unread []Unread) {
	for i := range r.Receipts {
		x := &r.Receipts[i]
		var sums []request.Sum
		if x.NeedsCatalogue() {
			if sums = catalogues(Origin{Key: x.Key, Name: x.Origin}, x.Serial); sums == nil {
				unread = append(unread, Unread{x.Origin, x.Key, x.Serial,
					"that generation is not remembered here any more"})
				continue
			}
		}
		got, err := x.Read(sums)
		if err != nil {
			unread = append(unread, Unread{x.Origin, x.Key, x.Serial, err.Error()})
			continue
		}
		has = append(has, Has{x.Origin, x.Key, x.Serial, got})
	}
	return has, unread
}

// TakeCode remembers a receipt that was typed for a client. It has to be of that client's name and
// about something that one of the drives was given.
func (s *Store) TakeCode(c *Client, code request.Code, now time.Time) (*Typed, error) {
	if code.Client != request.ClientTag(c.Name) {
		return nil,
			fmt.Errorf("the receipt is not of the client %q: it counts under the name that stands beside it on the client (pkgsneak clients add NAME)", c.Name)
	}
	drives, err := s.Drives()
	if err != nil {
		return nil, err
	}
	for i := range drives {
		d := &drives[i]
		if !strings.HasPrefix(d.Manifest, fmt.Sprintf("%x", code.Manifest[:])) {
			continue
		}
		t := Typed{Origin: d.Origin, Key: d.Key, Serial: d.Serial,
			When: now.UTC().Truncate(time.Second), Partly: code.Result != request.Imported}
		// Packages that the client can never use are among them: a receipt does not tell of those.
		// Look goes by the refusals of the client's last request; of one that never asked none is
		// known.
		if !t.Partly {
			t.Sums = d.Packages
		}
		changed := *c
		changed.Typed = append([]Typed{t}, c.Typed...)
		if len(changed.Typed) > MaxCatalogues {
			changed.Typed = changed.Typed[:MaxCatalogues]
		}
		if err := s.save(&changed); err != nil {
			return nil, err
		}
		*c = changed
		return &t, nil
	}
	return nil, &GoneError{}
}

// GoneError reports a typed receipt of a generation that every drive has overwritten since, or that
// this host has forgotten.
type GoneError struct{}

func (*GoneError) Error() string {
	return "the receipt is about a generation that no drive of this host carries any more"
}

// Hints are the ways to tell what the client has.
func (*GoneError) Hints(string) []string {
	return []string{"on the client, import what a drive carries now, and type the receipt of that: pkgsneak status --receipt",
		"where the client can write to the drive: pkgsneak request DRIVE there, pkgsneak export DRIVE here"}
}
