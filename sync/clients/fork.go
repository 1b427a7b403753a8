package clients

import (
	"time"

	"pkgsneak/sync/request"
)

// Fork is two requests of one key that no machine makes one after the other: each tells the serial
// of the one before it, and neither follows the other. Either two machines have the key, or one was
// set back to a copy of its state directory.
type Fork struct {
	When time.Time `json:"when"` // by this host's clock
	One  Branch    `json:"one"`  // the older one
	Two  Branch    `json:"two"`
}

// Branch is one of the two.
type Branch struct {
	Client string `json:"client"` // its name in the request
	Serial int64  `json:"serial"`
}

// forkedBy compares a request with the one that was read last; nil where one machine can have made
// both. A request that does not tell what it follows is believed.
func (c *Client) forkedBy(r *request.Record, now time.Time) *Fork {
	f := &Fork{When: now, One: Branch{c.AskedAs, c.Serial}, Two: Branch{r.Client, r.Serial}}
	if f.One.Client == "" { // read by a program that did not remember it
		f.One.Client = c.Name
	}
	switch {
	case c.Serial == 0:
	case r.Serial > c.Serial && r.Previous > 0 && r.Previous < c.Serial:
		return f
	case r.Serial < c.Serial && c.Previous > 0 && r.Serial > c.Previous:
		f.One, f.Two = f.Two, f.One
		return f
	}
	return nil
}

// same reports whether two forks are of the same requests.
func (f *Fork) same(other *Fork) bool {
	return f != nil && other != nil && f.One == other.One && f.Two == other.Two
}
