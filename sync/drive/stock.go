package drive

import (
	"errors"
	"fmt"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
)

// Stock is what the origin has of one kind, whether this drive carries it or
// not.
type Stock struct {
	// Complete means that the origin has nothing else: what is not in the stock
	// has left the origin. Only then may anything be removed for not being in it.
	Complete bool
	Reason   string // why it is not complete, for people
	Count    int    // files
	AsOf     int64  // serial of the generation for which the origin was looked at last; 0: this one

	has func(path string) bool
}

// Has reports whether the origin has a file of that path (a distfile: of that
// name). If the stock is not complete, false proves nothing.
func (s *Stock) Has(path string) bool { return s.has(path) }

// ReadableFacts returns the facts of a generation, nil where they are damaged, of a newer program,
// or not told: nothing that is carried depends on them. The error is the drive's.
func ReadableFacts(g *Generation) (*layout.Facts, error) {
	facts, err := g.Facts()
	var damaged *DamagedError
	var newer *layout.FactsVersionError
	if errors.As(err, &damaged) || errors.As(err, &newer) {
		return nil, nil
	}
	return facts, err
}

// older is why the stock of a generation without facts is not complete.
const older = "the generation was written by an older pkgsneak"

// Stock returns what the origin has of packages or distfiles. A generation of
// an older program does not tell; then, and where the facts cannot be read
// although the drive is there, the stock is what the drive carries, is not
// complete, and reports why. The error is the drive's.
func (g *Generation) Stock(kind payload.Kind) (*Stock, error) {
	if kind != payload.Package && kind != payload.Distfile {
		return nil, fmt.Errorf("reading what the origin has: there is no stock of the %s", kind)
	}
	facts, err := g.Facts()
	var damaged *DamagedError
	var newer *layout.FactsVersionError
	switch {
	case errors.As(err, &damaged):
		return g.incomplete(kind,
			"its list of what the origin has is damaged: "+damaged.Reason), nil
	case errors.As(err, &newer):
		return g.incomplete(kind, newer.Error()), nil
	case err != nil:
		return nil, err
	case facts == nil || g.Record.Has == nil:
		return g.incomplete(kind, older), nil
	}
	h := g.Record.Has.Of(kind)
	s := &Stock{Complete: h.Complete, Reason: h.Reason, AsOf: h.AsOf}
	if kind == payload.Package {
		s.Count = len(facts.Packages)
		s.has = func(path string) bool { _, ok := facts.Package(path); return ok }
	} else {
		s.Count = len(facts.Distfiles)
		s.has = facts.HasDistfile
	}
	if s.Count != h.Count {
		return g.incomplete(kind, fmt.Sprintf("its record has %d %ss, its list %d", h.Count, kind,
			s.Count)), nil
	}
	return s, nil
}

// incomplete is the stock that is not complete.
func (g *Generation) incomplete(kind payload.Kind, why string) *Stock {
	return &Stock{Reason: why, Count: len(g.Items(kind)), has: func(path string) bool {
		_, ok := g.Find(kind, path)
		return ok
	}}
}
