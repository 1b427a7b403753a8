package selection

import (
	"fmt"
	"slices"

	"pkgsneak/sync/depend"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/resolve"
)

// MaxClients bounds the clients of a plan.
const MaxClients = 1000

// Input is what a plan is made of.
type Input struct {
	// Packages are the origin's, in any order. Clients speak of their places.
	Packages  []Package
	Distfiles []File
	// Extras are files that go before everything: the program for bare clients.
	Extras  []File
	Clients []Client
	// Room is how many bytes the drive has for the files of this plan, those included that it
	// carries now.
	Room int64
	// Only leaves out what no client needs.
	Only bool
	// Keep leaves on the drive what it carries now, whoever needs it.
	Keep bool
}

// File is a file of the origin.
type File struct {
	Kind  payload.Kind
	Path  string
	Bytes int64 // that it takes on the drive
	Held  bool  // it is on the drive, with these contents
}

func (f *File) key() payload.Key { return payload.Key{Kind: f.Kind, Path: f.Path} }

// Package is a package of the origin.
type Package struct {
	File
	resolve.Package
}

// Client is what is known of a machine that imports.
type Client struct {
	Name string
	// Machine returns everything but Candidates. nil, or what it returns is: nothing is known of
	// what is installed there. It is called once a plan, when nothing is held of the client before.
	Machine func() *resolve.Input
	// Has reports whether the client has a package of Input.Packages in its PKGDIR, and HasDistfile
	// a distfile. nil: it has none.
	Has         func(i int) bool
	HasDistfile func(name string) bool
	// InTransit reports whether another drive, which has not come back, carries a package for it.
	// nil: none does.
	InTransit func(i int) bool
	// Waited is how many trips a package has waited. nil: none.
	Waited func(i int) int
	// Wishes are packages that the client wants beside what is in its sets.
	Wishes []depend.Atom
	// Distfiles are names of files that the client wants. Those of one list are of use together.
	Distfiles [][]string
	// Closing returns the CPVs of the merges that close a security advisory on the client. nil:
	// none does.
	Closing func(merges []resolve.Merge) map[string]bool
}

func (c *Client) has(i int) bool       { return c.Has != nil && c.Has(i) }
func (c *Client) inTransit(i int) bool { return c.InTransit != nil && c.InTransit(i) }

func (c *Client) hasDistfile(name string) bool {
	return c.HasDistfile != nil && c.HasDistfile(name)
}

func (c *Client) waited(i int) int {
	if c.Waited == nil {
		return 0
	}
	return c.Waited(i)
}

// Level is the place of a bundle in the order.
type Level uint8

// The order.
const (
	Enabling Level = iota + 1
	Wished
	Security
	Updates
	Sources
	Unasked
	Distfiles
)

func (l Level) String() string {
	return [...]string{"", "enabling", "wished", "security", "updates", "sources", "unasked",
		"distfiles"}[l]
}

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Plan is what goes on the drive, and what not. The lists of files are disjoint, and what is in
// none of them stays where it is: on the drive if it is there, here if it is not.
type Plan struct {
	// Groups are what the drive shall carry, in the order of writing. Files that it carries already
	// are among them.
	Groups []Group `json:"groups"`
	Leave  []Leave `json:"leave"`
	Shares []Share `json:"clients"` // a client each, in the order of Input.Clients
	// Stay are the files that somebody needs, or that nobody has, and that are not carried.
	Stay []Part `json:"stay"`
	// TooLarge are the bundles that this drive cannot hold even if nothing else is on it.
	TooLarge []Part `json:"too_large"`
	Room     int64  `json:"room"`
	Taken    int64  `json:"taken"` // bytes of Room that are used
	// Whole is the room that everything would take that the plan is about.
	Whole int64 `json:"whole"`
}

// Group are files that are of use together.
type Group struct {
	Level  Level         `json:"level"`
	Client string        `json:"client,omitempty"` // whose turn it was
	For    string        `json:"for,omitempty"`    // the package that the bundle was made for
	Files  []payload.Key `json:"files"`
	Bytes  int64         `json:"bytes"`
}

// Leave is a file that leaves the drive.
type Leave struct {
	payload.Key
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

// Part is something that does not come along: a CPV or the name of a file.
type Part struct {
	Client string `json:"client,omitempty"`
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
}

// Share is what a client gets.
type Share struct {
	Client    string `json:"client"`
	Packages  int    `json:"packages"`  // of those that it lacks and needs
	Distfiles int    `json:"distfiles"` // of those that it wants by name
	Bytes     int64  `json:"bytes"`
	Stay      int    `json:"stay"`
	StayBytes int64  `json:"stay_bytes"`
	InTransit int    `json:"in_transit"` // on other drives, and not on this one
	Trouble   string `json:"trouble,omitempty"`
}

// Make makes a plan. The error is one of the input: more than the bounds allow.
func Make(in Input) (*Plan, error) {
	if len(in.Clients) > MaxClients {
		return nil, fmt.Errorf("plan for a drive: more than %d clients", MaxClients)
	}
	p := newPlanner(&in)
	for i := range in.Clients {
		n, err := needsOf(&in, i)
		if err != nil {
			return nil, fmt.Errorf("plan for client %q: %w", in.Clients[i].Name, err)
		}
		p.needs = append(p.needs, n)
	}
	if err := p.wishesOfUnknown(); err != nil {
		return nil, err
	}
	for i := range in.Extras {
		p.takeFiles(Group{Level: Enabling}, []int{p.extra(i)})
	}
	p.wantSources()
	p.shareRoom()
	for _, shared := range []bool{true, false} {
		for level := Enabling; level <= Sources; level++ {
			p.takeTurns(level, shared)
		}
	}
	if err := p.takeUnasked(); err != nil {
		return nil, err
	}
	p.takeDistfiles()
	p.leave()
	p.account()
	return p.plan, nil
}

// candidates are the packages as the resolver wants them, at the same places.
func (in *Input) candidates() []resolve.Package {
	list := make([]resolve.Package, len(in.Packages))
	for i := range in.Packages {
		list[i] = in.Packages[i].Package
	}
	return list
}

// servedElsewhere reports whether every client has a package, or gets it from another drive.
func (in *Input) servedElsewhere(i int) bool {
	return len(in.Clients) > 0 && !slices.ContainsFunc(in.Clients, func(c Client) bool {
		return !c.has(i) && !c.inTransit(i)
	})
}

// hadByAll reports whether every client has a package.
func (in *Input) hadByAll(i int) bool {
	return len(in.Clients) > 0 && !slices.ContainsFunc(in.Clients, func(c Client) bool {
		return !c.has(i)
	})
}
