package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/request"
	"pkgsneak/sync/state"
)

// Transit is how long what a drive carries counts as on its way, and a typed receipt as true.
const Transit = 45 * 24 * time.Hour

const format = 1

// Client is a machine that this host obeys.
type Client struct {
	Format   int                  `json:"format"`
	Name     string               `json:"name"`
	Key      manifest.Fingerprint `json:"key,omitempty"` // "": added by name, without a key
	Accepted time.Time            `json:"accepted"`
	// Serial is the highest serial of its requests, 0 if none was read; Manifest the BLAKE2B of
	// that signed list in hex.
	Serial   int64  `json:"serial,omitempty"`
	Manifest string `json:"manifest,omitempty"`
	// when that request was read here, by this host's clock
	Read time.Time `json:"read,omitzero"`
	// Cloned is when another request with the same serial was read: two machines have this key.
	Cloned time.Time `json:"cloned,omitzero"`
	// AskedAs is the client's name in that request, and Previous the serial of the machine's one
	// before, 0 if it did not remember it.
	AskedAs  string `json:"asked_as,omitempty"`
	Previous int64  `json:"previous,omitempty"`
	// Forked are the last two requests, if one machine cannot have made both.
	Forked *Fork    `json:"forked,omitempty"`
	Has    []Has    `json:"has,omitempty"`
	Unread []Unread `json:"unread,omitempty"`
	Typed  []Typed  `json:"typed,omitempty"`
}

// Has is what a client has of an origin, of the packages that the origin listed when it told so.
type Has struct {
	Origin string               `json:"origin"`
	Key    manifest.Fingerprint `json:"key"`
	Serial int64                `json:"serial"` // of the generation that it is about
	Sums   request.Sums         `json:"sums"`
}

// Unread is a receipt without meaning, because its catalogue is not remembered any more.
type Unread struct {
	Origin string               `json:"origin"`
	Key    manifest.Fingerprint `json:"key"`
	Serial int64                `json:"serial"`
	Reason string               `json:"reason"`
}

// Typed is a receipt that somebody typed.
type Typed struct {
	Origin string               `json:"origin"`
	Key    manifest.Fingerprint `json:"key"`
	Serial int64                `json:"serial"`
	When   time.Time            `json:"when"` // by this host's clock
	Partly bool                 `json:"partly,omitempty"`
	// of the packages that the generation carried
	Sums request.Sums `json:"sums,omitempty"`
}

// Origin is an origin of this host: its name and the key that signs.
type Origin = state.OriginID

// HasPackage reports whether the client has a package of an origin.
func (c *Client) HasPackage(o Origin, sum request.Sum, now time.Time) bool {
	if c.told(o, sum) {
		return true
	}
	for _, t := range c.Typed {
		if t.Origin == o.Name && t.Key == o.Key && recent(t.When, now) && t.Sums.Has(sum) {
			return true
		}
	}
	return false
}

// told reports whether the client has a package according to its last request.
func (c *Client) told(o Origin, sum request.Sum) bool {
	return slices.ContainsFunc(c.Has, func(h Has) bool {
		return h.Origin == o.Name && h.Key == o.Key && h.Sums.Has(sum)
	})
}

// serialOf returns the newest generation of an origin of which the client has told, 0 if of none.
func (c *Client) serialOf(o Origin) int64 {
	var serial int64
	for _, h := range c.Has {
		if h.Origin == o.Name && h.Key == o.Key {
			serial = max(serial, h.Serial)
		}
	}
	for _, t := range c.Typed {
		if t.Origin == o.Name && t.Key == o.Key {
			serial = max(serial, t.Serial)
		}
	}
	return serial
}

// recent reports whether a time lies in the last Transit. One in the future, by a clock that was
// wrong once, does not.
func recent(t, now time.Time) bool { return !t.After(now) && now.Sub(t) < Transit }

// ID names the client in the state directory.
func (c *Client) ID() string {
	if c.Key != "" {
		return string(c.Key)
	}
	return nameID + c.Name
}

const nameID = "name."

func (c *Client) check(id string) error {
	switch {
	case c.Format != format:
		return fault.CheckFormat(c.Format, format)
	case c.ID() != id:
		return fmt.Errorf("it is about the client %q", c.ID())
	case c.Serial < 0:
		return fmt.Errorf("serial %d", c.Serial)
	}
	if c.Key != "" {
		if _, err := manifest.ParseFingerprint(string(c.Key)); err != nil {
			return err
		}
	}
	return layout.CheckOriginName(c.Name)
}

// Drive is what was written to a drive for an origin at last.
type Drive struct {
	Format   int                  `json:"format"`
	ID       string               `json:"id"`    // of layout.Record
	Label    string               `json:"label"` // for people
	Origin   string               `json:"origin"`
	Key      manifest.Fingerprint `json:"key"`
	Serial   int64                `json:"serial"`
	Manifest string               `json:"manifest"` // BLAKE2B of the signed list, hex
	When     time.Time            `json:"when"`     // by this host's clock
	Packages request.Sums         `json:"packages"`
}

// driveID is the form of the identity of a drive, which an export makes.
var driveID = regexp.MustCompile(`^[0-9a-f]{16,64}$`)

func (d *Drive) check() error {
	switch {
	case d.Format != format:
		return fault.CheckFormat(d.Format, format)
	case !driveID.MatchString(d.ID):
		return fmt.Errorf("the drive %.80q", d.ID)
	}
	if _, err := manifest.ParseFingerprint(string(d.Key)); err != nil {
		return err
	}
	if clean, why := layout.RecordText(d.Label); why != "" || clean != d.Label ||
		len(d.Label) > 1<<10 {
		return errors.New("its label cannot be printed")
	}
	return layout.CheckOriginName(d.Origin)
}

// InTransit returns the packages of an origin that are on their way to a client, and on which
// drive: the one that was written last. except is a drive that is here now.
func InTransit(c *Client, drives []Drive, o Origin, now time.Time,
	except string) map[request.Sum]*Drive {
	on := make(map[request.Sum]*Drive)
	for i := range drives {
		d := &drives[i]
		if d.Origin != o.Name || d.Key != o.Key || d.ID == except || d.When.Before(c.Read) ||
			!recent(d.When, now) {
			continue
		}
		for _, sum := range d.Packages {
			if have := on[sum]; (have == nil || have.When.Before(d.When)) &&
				!c.HasPackage(o, sum, now) {
				on[sum] = d
			}
		}
	}
	return on
}

// intersect returns what is in both.
func intersect(a, b []Has) []Has {
	var both []Has
	for _, x := range a {
		for _, y := range b {
			if x.Origin == y.Origin && x.Key == y.Key {
				x.Serial = min(x.Serial, y.Serial)
				x.Sums = slices.DeleteFunc(slices.Clone(x.Sums), func(s request.Sum) bool {
					return !y.Sums.Has(s)
				})
				both = append(both, x)
			}
		}
	}
	return both
}

func decode(data []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(data)))
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows the JSON object")
	}
	return nil
}
