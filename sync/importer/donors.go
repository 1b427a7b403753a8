package importer

import (
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/state"
)

// A drive whose state of an origin is older than the newest that was accepted here is a donor. It
// is verified like any other; of its files those are taken that the newest state still lists, by
// what the catalogues of both say of them: CPV, BUILD_ID, BUILD_TIME, SIZE, MD5 and SHA1 of a
// package, name and size of a distfile of which no other is here. The rest is superseded, and only
// counted. So several small drives of one origin can be imported in any order, and an old drive
// brings in nothing that its origin has replaced or given up.

// offer is a file of one of an origin's drives that may be brought in.
type offer struct {
	item  layout.Item
	path  string  // the origin's, in its newest state
	from  *source // nil: the drive whose state is imported
	donor bool    // only what the newest state lists of it was looked at
	entry pkgindex.Entry
	known bool // there is an entry
}

// offers lists the files of a kind that are to be brought in, each path once: those of the state
// that is imported, then what older ones have beside it.
func (in *incoming) offers(kind payload.Kind) []offer {
	var list []offer
	listed := make(map[string]bool)
	add := func(items []layout.Item, entries map[string]pkgindex.Entry, from *source, donor bool) {
		for _, it := range items {
			entry, known := entries[it.Path]
			o := offer{item: it, path: it.Path, from: from, donor: donor,
				entry: entry, known: known}
			if donor {
				if o.path = in.roster.path(kind, it, entry); o.path == "" {
					in.Plan.Superseded.Add(it.Size)
					continue
				}
			}
			if !listed[o.path] {
				listed[o.path] = true
				list = append(list, o)
			}
		}
	}
	add(in.gen.Items(kind), in.entries, nil, in.donor)
	if in.roster != nil {
		for i := range in.further {
			s := &in.further[i]
			add(s.gen.Items(kind), s.entries, s, true)
		}
	}
	in.lacks(kind, listed)
	return list
}

// lacks counts what the newest state lists, and none of the drives carries, and did not come here
// before.
func (in *incoming) lacks(kind payload.Kind, carried map[string]bool) {
	if in.roster == nil {
		return
	}
	here := func(path string) bool { _, ok := in.imports[kind][path]; return ok }
	if kind == payload.Package {
		lacking := make(map[string]bool)
		for path := range in.roster.packages {
			if !carried[path] && !here(path) {
				size, _ := in.entries[path].Size()
				in.Plan.Elsewhere.Add(size)
				lacking[path] = true
			}
		}
		in.findOthers(lacking)
		return
	}
	for name, size := range in.roster.distfiles {
		if !carried[name] && !here(name) {
			in.Plan.Elsewhere.Add(size)
		}
	}
}

// findOthers says on which other drives lacking packages are, as far as the newest record tells:
// each is counted for the first that has it.
func (in *incoming) findOthers(lacking map[string]bool) {
	if in.donor || in.catalogue == nil {
		return
	}
	for _, d := range in.gen.Record.OnOthers {
		n := 0
		for i, e := range in.catalogue.Entries {
			if i/8 < len(d.Entries) && d.Entries[i/8]&(1<<(i%8)) != 0 && lacking[e.Path()] {
				delete(lacking, e.Path())
				n++
			}
		}
		if n > 0 {
			in.Plan.OnDrives = append(in.Plan.OnDrives, OnDrive{d.Label, n})
		}
	}
}

// readRoster finds out what the newest accepted state of an origin lists: the one that is imported,
// or the one that is remembered where that is older.
func (im *importer) readRoster(in *incoming) error {
	if !in.Plan.Older {
		if in.catalogue != nil {
			in.roster = newRoster(accepted(in.gen.Serial(), in.catalogue, in.facts))
		}
		return nil
	}
	a, err := state.AcceptedList(im.st, in.known)
	if err == nil && a != nil && a.Serial == in.seen.Serial {
		in.remembered = newRoster(*a)
	}
	return err
}

// becomeDonor lets an older state give what the newest one lists. It reports false where that is
// not remembered, or lists nothing of it.
func (in *incoming) becomeDonor() bool {
	if in.donor || in.remembered == nil {
		return false
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		for _, it := range in.gen.Items(kind) {
			if in.imports[kind] != nil && in.remembered.path(kind, it, in.entries[it.Path]) != "" {
				in.donor, in.roster = true, in.remembered
				return true
			}
		}
	}
	return false
}
