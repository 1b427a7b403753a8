package exporter

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/clients"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/volume"
)

// Plan is an export as it was planned. Run obeys it, and adds only what nobody could see before the
// drive was opened for writing: files that a sample of the drive's finds damaged, or that went away
// since (drivewriter's Missing).
type Plan struct {
	operation
	target

	host   *source
	todo   []payload.Item  // to be copied
	next   *nextGeneration // what the next commit lists
	answer *answer         // nil: everything goes on the drive
	trees  *trees          // the ebuild repositories

	copied atomic.Int64  // files of todo that are put
	kept   payload.Tally // files of todo that the drive's list has by now
	// of the report's Remove, how many drop has taken out
	dropped int
	// the generation of this run whose catalogue is remembered, 0 if none
	noted int64
}

// exporter makes a Plan, step by step.
type exporter struct {
	*Plan
	taken []*clients.Found // the requests on the drive, in the order of the report's
	shown clients.Shown    // those of them that count, for a plan that is only shown
}

// operation is what an export is given, and what it tells.
type operation struct {
	m      machine.Machine
	o      ExportOptions
	w      progress.Watcher
	st     *state.Dir
	report *ExportReport
}

// target is the origin and its place on the drive, as far as it is there.
type target struct {
	key    *manifest.PrivateKey // nil until the first export makes it
	hidden bool                 // there is one, which this user may not read
	past   manifest.Ring        // the keys before it
	// the clock, or what was signed here before if that is later
	now       time.Time
	name      string            // the origin's
	drive     *drive.Drive      // nil while there is no tree
	dir       string            // the origin's directory
	committed *drive.Generation // on the drive; nil on the first export
	// what is left to do there; it is found out while the host is looked at
	state  func() (drive.State, error)
	enough context.CancelFunc // ends that
	// its facts; nil if it does not tell, or they cannot be read
	told *layout.Facts
	// its packages/Packages is an older generation's, or a file of its own is damaged, which only a
	// new generation renews
	stale  bool
	broken *damage // what was found damaged in it
	// of a generation there that cannot be read; nil if committed is not, or there is none
	remains *remains
	// bytes that the tree itself takes, of a new drive that has no room for a bundle beside that
	own int64
	// former keys whose revocation is on the drive, whatever becomes of the export
	revoked []manifest.Fingerprint
}

func (p *Plan) close() {
	if p.host != nil {
		p.host.close()
	}
	p.release()
	if p.drive != nil {
		p.drive.Close()
	}
}

// release closes the generation on the drive, if it is the exporter's own.
func (t *target) release() {
	if t.enough == nil {
		return
	}
	t.enough()
	t.state()
	t.committed.Close()
	t.enough = nil
}

// hintIndex is what repairs an index that is wrong about a good file: entries with the
// file's size and time are believed otherwise.
func (p *Plan) hintIndex() string {
	return "if the file is good: pkgsneak index --rebuild " + fault.Quote(p.m.PKGDIR)
}

// need is what copying items takes on the drive, with the generation's own files.
func (t *target) need(room volume.Space, items []payload.Item) int64 {
	var sum int64
	for _, it := range items {
		sum += room.Need(it.Size)
	}
	if t.committed == nil && t.remains == nil {
		sum += copiesRoom // the padding of the manifest copies and Packages
	}
	return sum + room.Need(int64(len(items)+1024)*perFile)
}

// sameKey reports whether the drive's generation is signed with the key that signs now.
func (t *target) sameKey() bool {
	return t.hidden || t.committed.Signed.Signer == t.key.Public().Fingerprint()
}

// checkSpace compares what the plan needs with what is free, counting in what it frees.
func (p *Plan) checkSpace() error {
	shown := &p.report.Plan
	if shown.Need <= shown.Free+p.freed() || onlyRemoves(p) {
		return nil
	}
	return &volume.SpaceError{Where: p.o.Drive, Need: shown.Need, Free: shown.Free, Own: p.own,
		Whole: shown.Enough,
		Fits:  payload.Fitting(p.todo, shown.Free-(shown.Need-payload.Count(p.todo).Bytes))}
}

// onlyRemoves reports whether nothing is to be copied: then there is room, whatever is free. A plan
// that is only shown takes files that nobody has compared for the same.
func onlyRemoves(p *Plan) bool {
	if p.o.Pretend {
		return len(p.report.Plan.Copy) == 0
	}
	return len(p.todo) == 0
}

// freed is what the old files take that the new generation does not list any more.
func (p *Plan) freed() int64 {
	sum := payload.Count(p.report.Plan.Remove).Bytes + p.remains.left()
	for _, it := range p.todo {
		if old, ok := p.next.current[it.Key()]; ok {
			sum += old.Size
		}
	}
	return sum
}

// off reports whether a kind is switched off.
func (p *Plan) off(kind payload.Kind) bool {
	return kind == payload.Package && p.o.NoPackages || kind == payload.Distfile && p.o.NoDistfiles
}

// errAway is why a file of the drive's list is not carried any longer.
var errAway = errors.New("damaged or missing on the drive, and files of its kind were not looked at here")

// forget takes a file out of what the next commit lists.
func forget(p *Plan, key payload.Key) { p.next.forget(key, p.host.files[key]) }

// remember saves what was found out about the host's files.
func (p *Plan) remember() error {
	if p.o.Pretend {
		return nil
	}
	if err := errors.Join(saveCaches(p), p.trees.save(p.o.Repos == NoRepos)); err != nil {
		return err
	}
	// its name is this PKGDIR's from now on, though nothing changed
	if _, known := p.st.Exported(p.name); !known && p.committed != nil {
		if err := p.st.SaveExported(p.name, state.Exported{PKGDIR: realPath(p.m.PKGDIR),
			Serial: p.committed.Serial()}); err != nil {
			return err
		}
	}
	return p.history()
}

// saveCaches keeps the digests of what was read here for the next export.
func saveCaches(p *Plan) error {
	for k, d := range map[payload.Kind]*payloadDir{payload.Package: p.host.packages,
		payload.Distfile: p.host.distfiles} {
		// a directory that is not believed to be so empty keeps its memory
		if d == nil || p.next.stock.why[k] != "" {
			continue
		}
		if err := d.cache.Save(); err != nil {
			return err
		}
		if k == payload.Package {
			if err := errors.Join(p.host.copies.Save(), p.host.refused.Save()); err != nil {
				return err
			}
		}
	}
	return nil
}

// history adds this run to what status shows.
func (p *Plan) history() error {
	if p.m.Unattended {
		return nil
	}
	result := "done"
	switch {
	case p.report.Unchanged:
		result = "nothing changed"
	case len(p.report.LeftOut) > 0:
		result = fmt.Sprintf("done, %d files left out", len(p.report.LeftOut))
	case len(p.report.Removed) > 0:
		result = fmt.Sprintf("done, %d removed", len(p.report.Removed))
	}
	t := payload.Count(p.report.Copied)
	return p.st.AddRun(state.Run{When: p.m.Now(), Verb: "export", Origin: p.name, Drive: p.o.Drive,
		Result: result, Serial: p.report.Serial, Files: t.Files, Bytes: t.Bytes})
}
