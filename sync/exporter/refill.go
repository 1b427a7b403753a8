package exporter

import (
	"context"
	"slices"

	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/payload"
)

// refill uses the room of files that turned out damaged while they were copied, or went away: what
// stayed here for want of room comes along after all, in the order of a new selection. Files that
// the drive carries by now stay. Files that fail in their turn are replaced by others.
func refill(ctx context.Context, p *Plan, w *drivewriter.Writer) error {
	known := len(p.report.Plan.LeftOut)
	for p.answer != nil && len(p.report.LeftOut) > known && len(p.answer.stays) > 0 {
		known = len(p.report.LeftOut)
		files, err := chooseMore(ctx, p, w)
		if err != nil || len(files) == 0 {
			return err
		}
		if files, err = p.prepare(ctx, w, files); err != nil {
			return err
		}
		if err := p.copyAll(ctx, w, files); err != nil {
			return err
		}
	}
	return nil
}

// chooseMore plans once more, with what is free once everything that leaves the drive has left it.
func chooseMore(ctx context.Context, p *Plan, w *drivewriter.Writer) ([]payload.Item, error) {
	p.drop()
	if !p.sameAsCommitted(w) {
		if err := p.commit(ctx, w); err != nil {
			return nil, err
		}
	}
	room, err := p.drive.Space()
	if err != nil {
		return nil, err
	}
	a := p.answer
	before := p.todo
	p.todo = a.stays
	plan, err := choose(ctx, &exporter{Plan: p}, room, 0, true)
	p.todo = before
	if err != nil {
		return nil, err
	}
	todo := make(map[payload.Key]payload.Item, len(a.stays))
	for _, it := range a.stays {
		todo[it.Key()] = it
	}
	first := a.plan
	a.plan, a.group = plan, make(map[payload.Key]int)
	files := a.take(todo)
	plan.Groups = slices.Concat(first.Groups, plan.Groups)
	plan.Leave, plan.Room, plan.Taken = first.Leave, first.Room, first.Taken
	a.stays = slices.DeleteFunc(slices.Clone(a.stays), func(it payload.Item) bool {
		_, still := todo[it.Key()]
		return !still
	})
	p.report.Plan.Selection = plan
	p.todo = slices.Concat(p.todo, files)
	return files, nil
}
