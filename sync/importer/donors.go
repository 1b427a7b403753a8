package importer

import (
	"slices"
	"strings"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/state"
)

// A drive whose state of an origin is older than the newest that was accepted here is a donor. It
// is verified like any other; of its files those are taken that the newest state still lists, by
// the catalogues' entries of both: CPV, BUILD_ID, BUILD_TIME, SIZE, MD5 and SHA1 of a
// package, name and size of a distfile of which no other is here. The rest is superseded, and only
// counted. So several small drives of one origin can be imported in any order, and an old drive
// brings in nothing that its origin has replaced or given up.
//
// Which state is the newer one is a question of each kind: an export that goes without packages or
// distfiles has them as of an earlier one, or not at all (standing).

// offer is a file of one of an origin's drives that may be brought in.
type offer struct {
	item  layout.Item
	path  string  // the origin's, in its newest state
	from  *source // nil: the drive whose state is imported
	donor bool    // only what the newest state lists of it was looked at
	entry pkgindex.Entry
	known bool // there is an entry
}

// offers lists the files of a kind that are to be brought in, each path once: those of the newest
// state, then what older ones have beside it.
// have is the index of PKGDIR.
func (in *incoming) offers(kind payload.Kind, have *localIndex) []offer {
	var list []offer
	listed := make(map[string]bool)
	st := in.standing[kind]
	add := func(s *source, donor bool) {
		for _, it := range s.gen.Items(kind) {
			entry, known := s.entries[it.Path]
			o := offer{item: it, path: it.Path, from: s, donor: donor, entry: entry, known: known}
			if s.gen == in.gen {
				o.from = nil
			}
			if donor {
				if o.path = st.roster.path(kind, it, entry); o.path == "" {
					if _, here := in.imports[kind][it.Path]; !here &&
						st.roster.untold(kind, it.Path) {
						in.leaveOut(task{item: it, kind: kind, path: it.Path}, errUntold(in.at))
					} else {
						in.Plan.Superseded.Add(it.Size)
					}
					continue
				}
			}
			if !listed[o.path] {
				listed[o.path] = true
				list = append(list, o)
			}
		}
	}
	sources := in.sources()
	if st.roster == nil {
		add(&sources[0], false)
		return list
	}
	if !st.donor {
		add(&sources[st.newest], false)
	}
	for i := range sources {
		if st.donor || i != st.newest {
			add(&sources[i], true)
		}
	}
	in.lacks(kind, listed, have)
	return list
}

// errUntold is why a package of an older drive is left out that its origin still has, in the same
// build or another.
func errUntold(at string) error {
	return &leftOutError{reason: "the newest state has a package of this name, and the host's index does not tell which build",
		hint: "on the build host: pkgsneak index, and pkgsneak export " + fault.Quote(at)}
}

// lacks counts what the newest state lists, and none of the drives carries, and did not come here
// before, in this build. Where the origin does not tell which build it has, that is none of these.
func (in *incoming) lacks(kind payload.Kind, carried map[string]bool, have *localIndex) {
	roster := in.standing[kind].roster
	if roster.within(kind, carried) {
		return
	}
	if kind == payload.Package {
		entries := in.sources()[in.standing[kind].newest].entries
		lacking := make(map[string]bool)
		for path, build := range roster.accepted().Packages {
			row, here := in.imports[kind][path]
			if carried[path] ||
				here && build != "" && !have.differs(row.Local, entries[path]) {
				continue
			}
			size, _ := entries[path].Size()
			in.Plan.Elsewhere.Add(size)
			lacking[path] = true
		}
		in.findOthers(lacking)
		return
	}
	for name, size := range roster.accepted().Distfiles {
		if row, here := in.imports[kind][name]; !carried[name] && (!here || row.Size != size) {
			in.Plan.Elsewhere.Add(size)
		}
	}
}

// findOthers finds on which other drives lacking packages are, as far as the newest record tells:
// each is counted for the first that has it.
func (in *incoming) findOthers(lacking map[string]bool) {
	if st := in.standing[payload.Package]; st.donor || st.newest > 0 || in.catalogue == nil {
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

// standing is where the drives at hand stand with one kind.
type standing struct {
	// which of the sources was made by the latest look at the host; 0: the state that is imported
	newest int
	// older: what is remembered of the origin is newer than all of them
	older bool
	// donor: and only what that lists is taken
	donor bool
	// what the newest state lists; nil: that is not known, or an older one is imported as it is
	roster *roster
	// when the remembered list was made, if that is told
	remembered int64
	told       bool
}

// sources are the drives of an origin: that of the state that is imported, and the further ones.
func (in *incoming) sources() []source { return append([]source{in.source()}, in.further...) }

// lookedAt is the serial of the generation for which the host was looked at when a drive's list of
// a kind was made; 0 where it never was, or nothing can be concluded from what was found.
func (s *source) lookedAt(kind payload.Kind) int64 {
	stock := s.stock[kind]
	switch {
	case stock.AsOf > 0:
		return stock.AsOf
	case !stock.Complete && stock.Count == 0:
		return 0
	}
	return s.gen.Serial()
}

// stand finds out for each kind which state of an origin is the newest: that which is imported, one
// of another drive, or the one that is remembered.
func (im *importer) stand(in *incoming) error {
	a, err := state.AcceptedList(im.st, in.known)
	if err != nil {
		return err
	}
	if a == nil || a.Serial != in.seen.Serial {
		a = &state.Accepted{}
	} else {
		in.remembered = &roster{list: a}
	}
	in.standing = make(map[payload.Kind]*standing)
	sources := in.sources()
	rosters := make([]*roster, len(sources))
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		st := &standing{older: in.Plan.Older}
		in.standing[kind] = st
		for i := range sources {
			if sources[i].lookedAt(kind) > sources[st.newest].lookedAt(kind) {
				st.newest = i
			}
		}
		if asOf, known := a.LookedAt(kind); known {
			st.remembered, st.told = asOf, true
			st.older = asOf > sources[st.newest].lookedAt(kind)
		}
		newest := &sources[st.newest]
		if !st.older && (kind == payload.Distfile || newest.entries != nil) {
			if rosters[st.newest] == nil {
				rosters[st.newest] = rosterOf(newest)
			}
			st.roster = rosters[st.newest]
		}
	}
	return nil
}

// becomeDonor lets an older state give what the newest one lists. It reports false where that is
// not remembered, or lists nothing of it.
func (in *incoming) becomeDonor() bool {
	if in.remembered == nil || !slices.ContainsFunc(in.tasks, func(d *task) bool {
		st := in.standing[d.kind]
		return st.older && !st.donor
	}) {
		return false
	}
	usable := !in.outdated()
	for kind := range in.imports {
		for _, it := range in.gen.Items(kind) {
			usable = usable || in.remembered.path(kind, it, in.entries[it.Path]) != ""
		}
	}
	if !usable {
		return false
	}
	for _, st := range in.standing {
		if st.older {
			st.donor, st.roster = true, in.remembered
		}
	}
	return true
}

// outdated reports whether an origin's state is older in all that is wanted of it.
func (in *incoming) outdated() bool {
	for kind := range in.imports {
		if !in.standing[kind].older {
			return false
		}
	}
	return in.Plan.Older
}

// isDonor reports whether only what the newest state lists is taken of an older one.
func (in *incoming) isDonor() bool {
	for kind := range in.imports {
		if !in.standing[kind].donor {
			return false
		}
	}
	return len(in.imports) > 0
}

// localIndex is PKGDIR's index, read when it is first asked.
type localIndex struct {
	dir     *pkgdir.Dir // nil: there is none
	entries map[string]pkgindex.Entry
}

// differs reports whether the package at a place in PKGDIR is another build than an entry of a
// catalogue describes, as far as the two tell.
func (l *localIndex) differs(local string, entry pkgindex.Entry) bool {
	if l.entries == nil {
		l.entries = make(map[string]pkgindex.Entry)
		if l.dir != nil {
			if x, err := l.dir.Index(); err == nil {
				for _, e := range x.Entries {
					l.entries[e.Path()] = e
				}
			}
		}
	}
	here, ok := l.entries[local]
	return ok && slices.ContainsFunc([]string{"CPV", "SIZE", "BUILD_TIME", "MD5", "SHA1"},
		func(key string) bool {
			a, b := here.Get(key), entry.Get(key)
			return a != "" && b != "" && !strings.EqualFold(a, b)
		})
}
