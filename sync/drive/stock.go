package drive

import (
	"errors"
	"fmt"
)

// Stock is what the origin has of one kind, whether this drive carries it or
// not.
type Stock struct {
	// Complete says that the origin has nothing else: what is not in the stock
	// has left the origin. Only then may anything be removed for not being in it.
	Complete bool
	Reason   string // why it is not complete, for people
	Count    int    // files

	has func(path string) bool
}

// Has says whether the origin has a file of that path (a distfile: of that
// name). If the stock is not complete, no says nothing.
func (s *Stock) Has(path string) bool { return s.has(path) }

// Holding is what the record says of a Stock.
type Holding struct {
	Complete bool   `json:"complete"`
	Reason   string `json:"reason,omitempty"` // why not
	Count    int    `json:"count"`            // files
	Bytes    int64  `json:"bytes"`            // of all of them
}

// Holdings is what the origin has, by kind.
type Holdings struct {
	Packages  Holding `json:"packages"`
	Distfiles Holding `json:"distfiles"`
}

func (h *Holdings) of(kind Kind) *Holding {
	if kind == Package {
		return &h.Packages
	}
	return &h.Distfiles
}

// fault says what is wrong with it, "" if nothing is.
func (h Holding) fault() string {
	switch {
	case h.Count < 0 || h.Bytes < 0:
		return "a negative count"
	case h.Complete == (h.Reason != ""):
		return "what the origin has is complete, or there is a reason why not"
	}
	return textFault(h.Reason)
}

// older is why the stock of a generation without facts is not complete.
const older = "the generation was written by an older pkgsneak"

// Stock returns what the origin has of packages or distfiles. A generation of
// an older program does not tell; then, and where the facts cannot be read
// although the drive is there, the stock is what the drive carries, is not
// complete, and says why. The error is the drive's.
func (g *Generation) Stock(kind Kind) (*Stock, error) {
	if kind != Package && kind != Distfile {
		return nil, fmt.Errorf("reading what the origin has: there is no stock of the %s", kind)
	}
	facts, err := g.Facts()
	var damaged *DamagedError
	var newer *FactsVersionError
	switch {
	case errors.As(err, &damaged):
		return g.carried(kind, "its list of what the origin has is damaged: "+damaged.Reason), nil
	case errors.As(err, &newer):
		return g.carried(kind, newer.Error()), nil
	case err != nil:
		return nil, err
	case facts == nil || g.Record.Has == nil:
		return g.carried(kind, older), nil
	}
	h := g.Record.Has.of(kind)
	s := &Stock{Complete: h.Complete, Reason: h.Reason}
	if kind == Package {
		s.Count = len(facts.Packages)
		s.has = func(path string) bool { _, ok := facts.Package(path); return ok }
	} else {
		s.Count = len(facts.Distfiles)
		s.has = facts.hasDistfile
	}
	if s.Count != h.Count {
		return g.carried(kind, fmt.Sprintf("its record has %d %ss, its list %d", h.Count, kind, s.Count)), nil
	}
	return s, nil
}

// carried is the stock that is not complete.
func (g *Generation) carried(kind Kind, why string) *Stock {
	return &Stock{Reason: why, Count: len(g.Items(kind)), has: func(path string) bool { _, ok := g.Find(kind, path); return ok }}
}

// formatOf chooses the format of a generation: 1 if it carries all that the
// origin has. Of any other an older program would believe that what is not
// here has left the origin.
func formatOf(has *Holdings, facts *Facts, items []Item) int {
	if facts == nil || has == nil {
		return formatWhole
	}
	if !has.Packages.Complete || !has.Distfiles.Complete {
		return formatPart
	}
	carried := make(map[itemKey]bool, len(items))
	for _, it := range items {
		carried[itemKey{it.Kind, it.Path}] = true
	}
	for _, p := range facts.Packages {
		if !carried[itemKey{Package, p.Path}] {
			return formatPart
		}
	}
	for _, d := range facts.Distfiles {
		if !carried[itemKey{Distfile, d.Name}] {
			return formatPart
		}
	}
	return formatWhole
}

// stockFault says how what the origin has contradicts what the generation
// carries, "" if it does not: everything that is carried is the origin's.
func stockFault(has *Holdings, facts *Facts, items []Item) string {
	if has.Packages.Count != len(facts.Packages) || has.Distfiles.Count != len(facts.Distfiles) {
		return fmt.Sprintf("the record has %d packages and %d distfiles, the list %d and %d",
			has.Packages.Count, has.Distfiles.Count, len(facts.Packages), len(facts.Distfiles))
	}
	for _, it := range items {
		known := true
		switch it.Kind {
		case Package:
			_, known = facts.Package(it.Path)
		case Distfile:
			known = facts.hasDistfile(it.Path)
		}
		if !known {
			return fmt.Sprintf("the %s %q is carried, and not in the list of what the origin has", it.Kind, it.Path)
		}
	}
	return ""
}
