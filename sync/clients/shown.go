package clients

import (
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/request"
)

// Shown are requests that lie on a drive, by the client's ID, and that count as remembered for a
// plan that is only shown. Little is kept of them: what is asked for is read from the drive again.
type Shown map[string]*shown

type shown struct {
	client *Client
	key    *manifest.PublicKey
	drive  *drive.Drive // has to stay open
	dir    string       // below clients/ there
	listed bool
	now    time.Time
}

// Take is that of a Store, for a plan that is only shown: nothing is written.
func (all Shown) Take(s *Store, d *drive.Drive, f *Found, catalogues Catalogues,
	now time.Time) error {
	c := f.after(catalogues, now)
	if c == nil {
		return nil
	}
	key, err := keyOf(s, c)
	if err != nil {
		return err
	}
	if f.State == New {
		all[c.ID()] = &shown{c, key, d, f.Dir, f.List != nil, now}
	} else if before := all[c.ID()]; before != nil {
		before.client = c
	} else {
		all[c.ID()] = &shown{client: c} // its request is the one that is remembered
	}
	*f.Client = *c
	return nil
}

// Count lets these requests count as remembered in a Store.
func (all Shown) Count(s *Store) { s.shown = all }

// read reads a request again; a nil Found where the remembered one is meant.
func (s *shown) read() (*Found, error) {
	if s == nil || s.drive == nil {
		return nil, nil
	}
	f := &Found{Dir: s.dir}
	if err := f.read(s.drive, manifest.Ring{s.key}, s.now); err != nil {
		return nil, err
	}
	if f.Record == nil || f.Record.Serial != s.client.Serial {
		return nil, &request.Error{Reason: "it changed while it was read"}
	}
	return f, nil
}

// counted are clients as they are with these requests.
func (all Shown) counted(list []*Client) []*Client {
	list = slices.Clone(list)
	for i, c := range list {
		if x := all[c.ID()]; x != nil {
			list[i] = x.client
		}
	}
	return list
}
