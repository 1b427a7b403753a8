package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
)

// outdated are the packages that stay on the drive, once it is certain which do, and were looked
// through by rules older than today's, or by none. Those that the host does not have as they are on
// the drive are not among them.
func outdated(x *exporter) []payload.Item {
	unlike := make(map[payload.Key]bool)
	for _, it := range slices.Concat(x.todo, x.report.Plan.Remove) {
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
// would have to. A package that is refused stays as it is, and is named; while it stays the same on
// both sides, it is not read again. A plan that is only shown tells how many would be read.
func renewChecks(ctx context.Context, x *exporter) error {
	var tasks []*task
	unread := 0
	for _, it := range outdated(x) {
		switch j := x.newTask(it); {
		case j.h.refused != nil:
			noteRefused(x, j.it, j.h.refused)
		case x.o.Pretend && j.check():
			unread++
		default:
			tasks = append(tasks, j)
		}
	}
	if unread > 0 {
		x.next.changed = true // unless they are refused, which only reading shows
		x.report.Notices = append(x.report.Notices, fmt.Sprintf(
			"to be looked through once more, by the rules of this version, so that no client has to: %d of the packages on the drive",
			unread))
	}
	return lookAgain(ctx, x, tasks)
}

// lookAgain looks through packages on the drive as they are on the host.
func lookAgain(ctx context.Context, x *exporter, tasks []*task) error {
	workers := x.o.looking()
	bufs := make(chan *pipeline.Buffers, workers)
	for range workers {
		bufs <- &pipeline.Buffers{}
	}
	var total, done payload.Tally
	for _, j := range tasks {
		total.Add(j.it.Size)
	}
	read, again := false, 0
	err := pipeline.Ordered(ctx, len(tasks), workers, pipeline.Window,
		func(ctx context.Context, i int) verdict {
			b := <-bufs
			defer func() { bufs <- b }()
			return tasks[i].lookThrough(ctx, x.host.packages, b)
		},
		func(i int, v verdict) error {
			j := tasks[i]
			tasks[i] = nil
			read = read || j.check()
			done.Add(j.it.Size)
			x.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: j.it.Path,
				Done: done.Bytes, Total: total.Bytes, Files: done.Files, FilesTotal: total.Files})
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case v.err != nil: // it changes, or cannot be read: the next export looks again
			case v.refused != nil:
				why := state.Refusal{Reason: v.refused.Reason, Sum: v.sums.Blake2b,
					Rules: binpkg.Rules}
				x.host.refused.Put(j.it.Path, j.h.info, why)
				noteRefused(x, j.it, &why)
			case renewed(x.Plan, j, v):
				again++
			}
			return nil
		}, func(verdict) {})
	if again > 0 && !x.o.Pretend {
		x.report.Notices = append(x.report.Notices, fmt.Sprintf(
			"looked through once more, by the rules of this version, so that no client has to: %d of the packages on the drive",
			again))
	}
	if read {
		_ = saveCaches(x.Plan) // kept also if nothing is written to the drive after all
	}
	return err
}

// verdict is what came of looking through a package of the host.
type verdict struct {
	sums    digest.Sums
	known   digest.Set // of sums
	refused *binpkg.InvalidError
	err     error // it could not be read as it was found
}

// lookThrough reads a package of the host, checks it and computes its sums. Of one that an earlier
// export has looked through, it reads only what the package states of itself.
func (j *task) lookThrough(ctx context.Context, dir *payloadDir,
	bufs *pipeline.Buffers) (v verdict) {
	file, err := dir.open(j.it.Path, j.h.info)
	if err != nil {
		v.err = err
		return v
	}
	defer file.Close()
	pkg, err := j.read(file)
	if err == nil && j.check() {
		j.hash = digest.New(digest.BLAKE2B | j.wanted())
		err = j.copyChecked(ctx, io.Discard, file, pkg, bufs)
	}
	switch {
	case errors.As(err, &v.refused): // perhaps before its end was read
		v.sums, err = digest.Reader(ctx, io.NewSectionReader(file, 0, j.h.Size), digest.BLAKE2B,
			nil)
		v.known, v.err = digest.BLAKE2B, cmp.Or(err, durable.CheckUnchanged(file, j.h.info))
	case err != nil:
		v.err = err
	case j.check():
		v.sums, v.known = j.sums(), digest.BLAKE2B|j.wanted()
	default:
		v.sums, v.known = j.checked.Sums, j.checked.computed
	}
	return v
}

// noteRefused names a package of the host that is refused. The drive has it, which clients refuse,
// too, or another file of that name and size, which may be good.
func noteRefused(x *exporter, it payload.Item, why *state.Refusal) {
	it.Reason, it.Hint = why.Reason, hintRefused
	if why.Sum == x.next.current[it.Key()].Sum {
		it.Reason += "; clients will refuse it, too"
	} else {
		it.Reason += "; the drive has another file of that name"
	}
	x.report.Refused = append(x.report.Refused, it)
}

// renewed notes that a package was looked through by today's rules: on the host and, if that is the
// one on the drive and the catalogue describes it, there. Else it returns false, and a client has
// to look by itself.
func renewed(p *Plan, j *task, v verdict) bool {
	if j.check() {
		cache := p.host.packages.cache
		cache.Put(j.it.Path, j.h.info, v.sums, v.known)
		cache.Approve(j.it.Path, j.h.info, binpkg.Rules)
	}
	if v.sums.Blake2b != p.next.current[j.it.Key()].Sum ||
		!v.agrees(p.next.entries[j.it.Path], j.own) {
		return false
	}
	facts := *p.next.stock.facts[j.it.Path] // the drive's generation has the old ones
	facts.Rules = binpkg.Rules
	p.next.stock.facts[j.it.Path] = &facts
	return true
}

// agrees reports whether an entry is what a package states of itself, and has its sums. An MD5 that
// was not computed was held against the host's index before (disputes).
func (v verdict) agrees(e, own pkgindex.Entry) bool {
	_, same := pkgindex.SameIdentity(e, own)
	md5, _ := e.MD5()
	sha1, _ := e.SHA1()
	return same && sha1 == v.sums.SHA1 && (v.known&digest.MD5 == 0 || md5 == v.sums.MD5)
}
