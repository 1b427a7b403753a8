package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/progress"
)

// outdated are the packages that stay on the drive and were looked through by rules older than
// today's, or by none. Those that the host does not have as they are on the drive are not among
// them.
func outdated(x *exporter) []payload.Item {
	unlike := make(map[payload.Key]bool)
	for _, it := range x.todo {
		unlike[it.Key()] = true
	}
	var list []payload.Item
	for key, it := range x.next.current {
		h, facts := x.host.files[key], x.next.stock.facts[key.Path]
		if key.Kind == payload.Package && h != nil && h.Size == it.Size && !unlike[key] &&
			facts != nil && facts.Rules < binpkg.Rules {
			list = append(list, payload.Item{Kind: key.Kind, Path: key.Path, Size: h.Size})
		}
	}
	slices.SortFunc(list, func(a, b payload.Item) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// renewChecks looks through what is outdated, once on this host: else each client that gets it
// would have to. A package that is refused stays as it is, and is named.
func renewChecks(ctx context.Context, x *exporter) error {
	list := outdated(x)
	tasks := make([]*task, len(list))
	for i, it := range list {
		tasks[i] = x.newTask(it)
	}
	workers := x.o.Workers
	if workers <= 0 {
		workers = pipeline.Processors()
	}
	bufs := make(chan *pipeline.Buffers, workers)
	for range workers {
		bufs <- &pipeline.Buffers{}
	}
	total := payload.Count(list)
	var done payload.Tally
	return pipeline.Ordered(ctx, len(tasks), workers, pipeline.Window,
		func(ctx context.Context, i int) error {
			if !tasks[i].check() {
				return nil // an earlier export has looked through it
			}
			b := <-bufs
			defer func() { bufs <- b }()
			return tasks[i].lookThrough(ctx, x.host.packages, b)
		},
		func(i int, err error) error {
			j := tasks[i]
			tasks[i] = nil
			done.Add(j.it.Size)
			x.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: j.it.Path,
				Done: done.Bytes, Total: total.Bytes, Files: done.Files, FilesTotal: total.Files})
			var refused *binpkg.InvalidError
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.As(err, &refused):
				x.report.Notices = append(x.report.Notices, fmt.Sprintf(
					"package %q stays on the drive, and clients will refuse it: %s; build it again",
					j.it.Path, refused.Reason))
			case err == nil: // else it changes, or cannot be read: the next export looks again
				renewed(x.Plan, j)
			}
			return nil
		}, func(error) {})
}

// lookThrough reads a package of the host, checks it and computes its sums.
func (j *task) lookThrough(ctx context.Context, dir *payloadDir, bufs *pipeline.Buffers) error {
	j.hash = digest.New(digest.BLAKE2B | j.wanted())
	file, err := dir.open(j.it.Path, j.h.info)
	if err != nil {
		return err
	}
	defer file.Close()
	pkg, err := j.read(file)
	if err != nil {
		return err
	}
	return j.copyChecked(ctx, io.Discard, file, pkg, bufs)
}

// renewed notes that a package was looked through by today's rules, on the host and, if that is the
// one on the drive, there.
func renewed(p *Plan, j *task) {
	var sum manifest.Digest
	if j.check() {
		sums, cache := j.sums(), p.host.packages.cache
		cache.Put(j.it.Path, j.h.info, sums, digest.BLAKE2B|j.wanted())
		cache.Approve(j.it.Path, j.h.info, binpkg.Rules)
		sum = sums.Blake2b
	} else {
		sum = j.checked.Blake2b
	}
	if sum != p.next.current[j.it.Key()].Sum {
		return
	}
	facts := *p.next.stock.facts[j.it.Path] // the drive's generation has the old ones
	facts.Rules = binpkg.Rules
	p.next.stock.facts[j.it.Path] = &facts
}
