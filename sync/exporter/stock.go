package exporter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
)

// originStock is what the origin has, as the host was found, whatever of it a generation carries,
// and what is known of its packages.
type originStock struct {
	// why the list of a kind is not complete; it is where there is no reason
	why   map[payload.Kind]string
	sizes map[payload.Key]int64 // bytes of everything that the origin has
	// by path: of the file that the drive carries, if it carries one
	facts map[string]*layout.PackageFacts
	// of a kind that was not looked at: the serial of the generation for which it was
	asOf map[payload.Kind]int64
}

// The reasons of a kind that was switched off.
const (
	ReasonNoPackages  = "the packages were not looked at (--no-packages)"
	ReasonNoDistfiles = "the distfiles were not looked at (--no-distfiles)"
)

// newStock notes what was found on the host. Of a kind that was not looked at it has what the
// drive's generation tells, which may be out of date by now. A directory that lost so much that a
// mistake is likelier than intent is not taken for all that the origin has, though the drive never
// had any of it.
func newStock(h *source, m machine.Machine, o ExportOptions, known *layout.Facts,
	catalogue map[string]pkgindex.Entry) *originStock {
	s := &originStock{why: make(map[payload.Kind]string), sizes: make(map[payload.Key]int64,
		len(h.files)), facts: make(map[string]*layout.PackageFacts, len(h.files))}
	for key, f := range h.files {
		s.sizes[key] = f.Size
	}
	packages, distfiles := h.count(payload.Package), h.count(payload.Distfile)
	switch {
	case o.NoPackages:
		s.why[payload.Package] = ReasonNoPackages
		for path, e := range catalogue {
			size, _ := e.Size()
			s.sizes[payload.Key{Kind: payload.Package, Path: path}] = size
		}
	case payload.Shrunk(h.before[payload.Package], packages) && !o.AllowShrink:
		s.why[payload.Package] = fmt.Sprintf("PKGDIR %q had %d packages and has %d: not taken for a deletion (--allow-shrink)", m.PKGDIR, h.before[payload.Package], packages)
	}
	switch {
	case o.NoDistfiles:
		s.why[payload.Distfile] = ReasonNoDistfiles
		if known != nil {
			for _, d := range known.Distfiles {
				s.sizes[payload.Key{Kind: payload.Distfile, Path: d.Name}] = d.Size
			}
		}
	case h.before[payload.Distfile] > 0 && distfiles == 0 && !o.AllowShrink:
		s.why[payload.Distfile] = fmt.Sprintf("DISTDIR %q had %d files and has none: not taken for a deletion (--allow-shrink)", m.DISTDIR, h.before[payload.Distfile])
	}
	if known != nil {
		for i := range known.Packages {
			s.facts[known.Packages[i].Path] = &known.Packages[i]
		}
	}
	return s
}

// addTaken adds names that are not free on the host: the origin has them, as far as anybody can
// tell.
func (s *originStock) addTaken(taken map[payload.Key]payload.Item) {
	for key, it := range taken {
		s.sizes[key] = it.Size
	}
}

// lastLooked notes for the kinds that are not looked at as of which generation they are carried.
func (s *originStock) lastLooked(held *drive.Generation, o ExportOptions) {
	s.asOf = make(map[payload.Kind]int64)
	if held == nil {
		return
	}
	for kind, off := range map[payload.Kind]bool{payload.Package: o.NoPackages,
		payload.Distfile: o.NoDistfiles} {
		if !off {
			continue
		}
		s.asOf[kind] = held.Serial()
		if has := held.Record.Has; has != nil && !has.Of(kind).Complete {
			// 0: the kind never was looked at, which is no news
			s.asOf[kind] = has.Of(kind).AsOf
		}
	}
}

// tell makes the record and the facts of a generation with these files. A file that is
// carried is the origin's, until a generation without it is committed.
func (s *originStock) tell(current map[payload.Key]*layout.Item) (*layout.Facts, *layout.Holdings) {
	all := maps.Clone(s.sizes)
	for key, it := range current {
		if _, ok := all[key]; !ok && key.Kind != payload.Program && key.Kind != payload.Repository {
			all[key] = it.Size
		}
	}
	facts := &layout.Facts{}
	has := &layout.Holdings{Packages: s.holding(payload.Package),
		Distfiles: s.holding(payload.Distfile)}
	for key, size := range all {
		if key.Kind == payload.Distfile {
			facts.Distfiles = append(facts.Distfiles,
				layout.DistfileFacts{Name: key.Path, Size: size})
			has.Distfiles.Bytes = payload.Plus(has.Distfiles.Bytes, size)
			continue
		}
		p := layout.PackageFacts{Path: key.Path}
		if known := s.facts[key.Path]; known != nil {
			p = *known
		}
		facts.Packages = append(facts.Packages, p)
		has.Packages.Bytes = payload.Plus(has.Packages.Bytes, size)
	}
	has.Packages.Count, has.Distfiles.Count = len(facts.Packages), len(facts.Distfiles)
	slices.SortFunc(facts.Packages, func(a, b layout.PackageFacts) int {
		return strings.Compare(a.Path, b.Path)
	})
	slices.SortFunc(facts.Distfiles, func(a, b layout.DistfileFacts) int {
		return strings.Compare(a.Name, b.Name)
	})
	return facts, has
}

func (s *originStock) holding(k payload.Kind) layout.Holding {
	return layout.Holding{Complete: s.why[k] == "", Reason: s.why[k], AsOf: s.asOf[k]}
}

// complete reads the metadata of the packages of which nothing is known yet: the drive has them
// from an older program, or another drive got them. A package that cannot be read proves nothing.
func (s *originStock) complete(ctx context.Context, h *source, paths []string, workers int) error {
	slices.Sort(paths)
	return pipeline.Ordered(ctx, len(paths), workers, pipeline.Window,
		func(_ context.Context, i int) *layout.PackageFacts { return h.factsOf(paths[i]) },
		func(i int, f *layout.PackageFacts) error {
			s.facts[paths[i]] = f
			return nil
		}, func(*layout.PackageFacts) {})
}

func (h *source) factsOf(path string) *layout.PackageFacts {
	f := h.files[payload.Key{Kind: payload.Package, Path: path}]
	if f == nil || h.packages == nil {
		return nil
	}
	file, err := h.packages.open(path, f.info)
	if err != nil {
		return nil
	}
	defer file.Close()
	p, err := binpkg.Read(file, f.Size, path)
	if err != nil {
		return nil
	}
	return factsOf(path, p, h.packages.cache.Approved(path, f.info), h.builder)
}
