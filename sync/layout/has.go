package layout

import (
	"fmt"

	"pkgsneak/sync/payload"
)

// Holding is a Stock in the record.
type Holding struct {
	Complete bool   `json:"complete"`
	Reason   string `json:"reason,omitempty"` // why not
	Count    int    `json:"count"`            // files
	Bytes    int64  `json:"bytes"`            // of all of them
	// AsOf is the serial of the generation for which the kind was last looked at on the host, where
	// that is not this one: what is carried is of then, whatever the origin has by now.
	AsOf int64 `json:"as_of,omitempty"`
}

// Holdings is what the origin has, by kind.
type Holdings struct {
	Packages  Holding `json:"packages"`
	Distfiles Holding `json:"distfiles"`
}

// Of is what the origin has of a kind.
func (h *Holdings) Of(kind payload.Kind) *Holding {
	if kind == payload.Package {
		return &h.Packages
	}
	return &h.Distfiles
}

// fault reports what is wrong with it, "" if nothing is.
func (h Holding) fault() string {
	switch {
	case h.Count < 0 || h.Bytes < 0:
		return "a negative count"
	case h.AsOf < 0 || h.AsOf > 0 && h.Complete:
		return "what the origin has is complete, and was not looked at"
	case h.Complete == (h.Reason != ""):
		return "what the origin has is complete, or there is a reason why not"
	}
	return textFault(h.Reason)
}

// FormatOf chooses the format of a generation: 1 if it carries all that the
// origin has. Of any other an older program would believe that what is not
// here has left the origin.
func FormatOf(has *Holdings, facts *Facts, items []Item) int {
	if facts == nil || has == nil {
		return formatWhole
	}
	if !has.Packages.Complete || !has.Distfiles.Complete {
		return formatPart
	}
	carried := make(map[payload.Key]bool, len(items))
	for _, it := range items {
		carried[it.Key()] = true
	}
	for _, p := range facts.Packages {
		if !carried[payload.Key{Kind: payload.Package, Path: p.Path}] {
			return formatPart
		}
	}
	for _, d := range facts.Distfiles {
		if !carried[payload.Key{Kind: payload.Distfile, Path: d.Name}] {
			return formatPart
		}
	}
	return formatWhole
}

// StockFault tells how what the origin has contradicts what the generation
// carries, "" if it does not: everything that is carried is the origin's.
func StockFault(has *Holdings, facts *Facts, items []Item) string {
	if has.Packages.Count != len(facts.Packages) || has.Distfiles.Count != len(facts.Distfiles) {
		return fmt.Sprintf("the record has %d packages and %d distfiles, the list %d and %d",
			has.Packages.Count, has.Distfiles.Count, len(facts.Packages), len(facts.Distfiles))
	}
	for _, it := range items {
		known := true
		switch it.Kind {
		case payload.Package:
			_, known = facts.Package(it.Path)
		case payload.Distfile:
			known = facts.HasDistfile(it.Path)
		}
		if !known {
			return fmt.Sprintf("the %s %q is carried, and not in the list of what the origin has",
				it.Kind, it.Path)
		}
	}
	return ""
}
