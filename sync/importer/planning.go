package importer

import (
	"cmp"
	"context"
	"slices"

	"pkgsneak/sync/distdir"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
)

// settlePending settles what a run had noted that ended between its steps.
func settlePending(ctx context.Context, im *importer, in *incoming) error {
	for kind, mine := range in.imports {
		if !im.client.has(kind) {
			continue // the directory may only not be mounted
		}
		for _, id := range append(slices.Clone(in.former), in.known, in.id) {
			pending := im.st.Pending(id, kind)
			rows, err := pending.Rows()
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				continue
			}
			err = settleRows(rows, mine, func(p state.Import) (lies, error) {
				l, err := im.client.lookUp(ctx, kind, p.Local, p.Size)
				if isLeftOut(err) {
					return lies{unknown: true}, nil
				}
				return lies{exists: l.Exists, sum: l.Sum}, err
			})
			if err == nil && !im.o.Pretend {
				err = pending.Settle(mine)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// plan finds out for every origin what is to be done. One that turns out to be refused has no part
// in the plan of the others.
func (im *importer) plan(ctx context.Context) error {
	for {
		refused, donors, err := im.planAll(ctx)
		if err != nil {
			return err
		}
		if donors {
			continue
		}
		if len(refused) == 0 {
			return nil
		}
		im.origins = slices.DeleteFunc(im.origins, func(in *incoming) bool {
			return slices.Contains(refused, in)
		})
		im.report.Origins = slices.DeleteFunc(im.report.Origins, func(o *OriginImport) bool {
			return slices.ContainsFunc(refused, func(in *incoming) bool {
				return in.OriginImport == o
			})
		})
		for _, in := range refused {
			closeSources(in)
		}
		if err := im.nothingAccepted(); err != nil {
			return err
		}
	}
}

// planAll plans all origins together, and returns those of which nothing is to be used. donors
// reports that some gave up to be more than donors: then the plan has to be made again.
func (im *importer) planAll(ctx context.Context) (refused []*incoming, donors bool, err error) {
	for _, in := range im.origins {
		if err := im.beginPlan(ctx, in); err != nil {
			return nil, false, err
		}
	}
	if im.wants(payload.Package) {
		if err := im.planPackages(ctx); err != nil {
			return nil, false, err
		}
	}
	if im.wants(payload.Distfile) {
		if err := im.planDistfiles(ctx); err != nil {
			return nil, false, err
		}
	}
	for _, in := range im.origins {
		if !im.o.AllowOlder {
			donors = in.becomeDonor() || donors
		}
	}
	if donors {
		return nil, true, nil
	}
	for _, in := range im.origins {
		in.Plan.sort()
		in.LeftOut = slices.Clone(in.Plan.LeftOut)
		if in.outdated() && !in.isDonor() && len(in.tasks) > 0 && !im.o.AllowOlder {
			im.refuse(in.Plan.Dir, in.at, &OlderError{Origin: in.Plan.Origin,
				Serial: in.Plan.Serial, Have: in.seen.Serial})
			refused = append(refused, in)
		}
	}
	return refused, false, nil
}

// beginPlan forgets what was planned for an origin, and reads what the state remembers of it.
func (im *importer) beginPlan(ctx context.Context, in *incoming) (err error) {
	p := in.Plan
	p.Copy, p.Replace, p.Beside, p.Prune, p.LeftOut, p.Present, p.Held = []payload.Item{},
		[]payload.Item{}, []payload.Item{}, []payload.Item{}, []payload.Item{},
		payload.Tally{}, []Held{}
	p.Unusable, p.UnusableKinds = []payload.Item{}, nil
	p.Superseded, p.Elsewhere, p.OnDrives = payload.Tally{}, payload.Tally{}, nil
	in.tasks, in.prune, in.LeftOut = nil, nil, []payload.Item{}
	in.imports = make(map[payload.Kind]map[string]state.Import)
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if im.wants(kind) {
			if in.imports[kind], err = rememberedRows(im.st, kind,
				append(slices.Clone(in.former), in.known, in.id)...); err != nil {
				return err
			}
		}
	}
	p.Donor = in.isDonor()
	return settlePending(ctx, im, in)
}

// planPackages compares the packages of all origins with PKGDIR.
func (im *importer) planPackages(ctx context.Context) error {
	p, err := im.newPlacements(payload.Package)
	if err != nil {
		return err
	}
	links := linkedDirs{}
	have := &localIndex{dir: im.client.pkgdir}
	for _, in := range im.origins {
		for _, o := range in.offers(payload.Package, have) {
			err := cmp.Or(checkEntry(o.entry, o.known, o.item.Size),
				links.check(im.client.pkgdir, o.path))
			if err := p.addOr(ctx, in, task{item: o.item, kind: payload.Package, path: o.path,
				entry: o.entry, source: o.from}, err); err != nil {
				return err
			}
		}
	}
	p.place()
	return p.prune(ctx)
}

// planDistfiles compares the distfiles of all origins with DISTDIR, which is flat.
func (im *importer) planDistfiles(ctx context.Context) error {
	p, err := im.newPlacements(payload.Distfile)
	if err != nil {
		return err
	}
	for _, in := range im.origins {
		for _, o := range in.offers(payload.Distfile, nil) {
			var unfit error
			if err := distdir.CheckName(o.path); err != nil {
				unfit = &leftOutError{reason: fault.Text(err)}
			} else if o.donor && p.otherHere(ctx, o) {
				in.Plan.Superseded.Add(o.item.Size)
				continue
			}
			if err := p.addOr(ctx, in, task{item: o.item, kind: payload.Distfile, path: o.path,
				source: o.from}, unfit); err != nil {
				return err
			}
		}
	}
	p.place()
	return p.prune(ctx)
}
