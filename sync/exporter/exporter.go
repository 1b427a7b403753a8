package exporter

import (
	"context"
	"errors"
	"fmt"
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
	"time"
)

// exporter is one export on its way. The first block is given, the rest is found out step by step.
type exporter struct {
	m  machine.Machine
	o  ExportOptions
	w  progress.Watcher
	st *state.Dir

	report *ExportReport
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
	// of a generation there that cannot be read; nil if held is not, or there is none
	remains *remains
	host    *source
	todo    []payload.Item   // to be copied
	next    *nextGeneration  // what the next commit lists
	answer  *answer          // nil: everything goes on the drive
	taken   []*clients.Found // the requests on the drive, in the order of the report's
	trees   *trees           // the ebuild repositories

	// former keys whose revocation is on the drive, whatever becomes of the export
	revoked []manifest.Fingerprint
}

func (x *exporter) close() {
	if x.host != nil {
		x.host.close()
	}
	x.release()
	if x.drive != nil {
		x.drive.Close()
	}
}

// release closes the generation on the drive, if it is the exporter's own.
func (x *exporter) release() {
	if x.enough == nil {
		return
	}
	x.enough()
	x.state()
	x.committed.Close()
	x.enough = nil
}

// hintIndex is what mends an index that says of a good file what is not true: entries with the
// file's size and time are believed otherwise.
func (x *exporter) hintIndex() string {
	return "if the file is good: pkgsneak index --rebuild " + fault.Quote(x.m.PKGDIR)
}

// need is what copying items takes on the drive, with the generation's own files.
func (x *exporter) need(room volume.Space, items []payload.Item) int64 {
	var sum int64
	for _, it := range items {
		sum += room.Need(it.Size)
	}
	if x.committed == nil && x.remains == nil {
		sum += 4 << 20 // the padding of the manifest copies and Packages
	}
	return sum + room.Need(int64(len(items)+1024)*perFile)
}

// sameKey reports whether the drive's generation is signed with the key that signs now.
func (x *exporter) sameKey() bool {
	return x.hidden || x.committed.Signed.Signer == x.key.Public().Fingerprint()
}

// checkSpace compares what the plan needs with what is free, counting in what it frees.
func (x *exporter) checkSpace() error {
	p := &x.report.Plan
	if p.Need <= p.Free+x.freed() || onlyRemoves(x) {
		return nil
	}
	return &volume.SpaceError{Where: x.o.Drive, Need: p.Need, Free: p.Free,
		Fits: payload.Fitting(x.todo, p.Free-(p.Need-payload.Count(x.todo).Bytes))}
}

// onlyRemoves says whether nothing is to be copied: then there is room, whatever is free. A plan
// that is only shown takes files that nobody has compared for the same.
func onlyRemoves(x *exporter) bool {
	if x.o.Pretend {
		return len(x.report.Plan.Copy) == 0
	}
	return len(x.todo) == 0
}

// freed is what the old files take that the new generation does not list any more.
func (x *exporter) freed() int64 {
	sum := payload.Count(x.report.Plan.Remove).Bytes + x.remains.left()
	for _, it := range x.todo {
		if old, ok := x.next.current[it.Key()]; ok {
			sum += old.Size
		}
	}
	return sum
}

// off reports whether a kind is switched off.
func (x *exporter) off(kind payload.Kind) bool {
	return kind == payload.Package && x.o.NoPackages || kind == payload.Distfile && x.o.NoDistfiles
}

// errAway is why a file of the drive's list is not carried any longer.
var errAway = errors.New("damaged or missing on the drive, and files of its kind were not looked at here")

// keep leaves a file on the drive as it is.
func (x *exporter) keep(it payload.Item, h *sourceFile) {
	x.report.Kept.Add(it.Size)
	x.next.keep(it, h)
}

// forget takes a file out of what the next commit lists.
func forget(x *exporter, key payload.Key) { x.next.forget(key, x.host.files[key]) }

// remember saves what was found out about the host's files.
func (x *exporter) remember() error {
	if x.o.Pretend {
		return nil
	}
	if err := errors.Join(saveCaches(x), x.trees.save(x.o.Repos == NoRepos)); err != nil {
		return err
	}
	// its name is this PKGDIR's from now on, though nothing changed
	if _, known := x.st.Exported(x.name); !known && x.committed != nil {
		if err := x.st.SaveExported(x.name, state.Exported{PKGDIR: realPath(x.m.PKGDIR),
			Serial: x.committed.Serial()}); err != nil {
			return err
		}
	}
	return x.history()
}

// saveCaches keeps the digests of what was read here for the next export.
func saveCaches(x *exporter) error {
	for k, d := range map[payload.Kind]*payloadDir{payload.Package: x.host.packages,
		payload.Distfile: x.host.distfiles} {
		// a directory that is not believed to be so empty keeps its memory
		if d == nil || x.next.stock.why[k] != "" {
			continue
		}
		if err := d.cache.Save(); err != nil {
			return err
		}
	}
	return nil
}

// history adds this run to what status shows.
func (x *exporter) history() error {
	if x.m.Unattended {
		return nil
	}
	result := "done"
	switch {
	case x.report.Unchanged:
		result = "nothing changed"
	case len(x.report.LeftOut) > 0:
		result = fmt.Sprintf("done, %d files left out", len(x.report.LeftOut))
	}
	t := payload.Count(x.report.Copied)
	return x.st.AddRun(state.Run{When: x.m.Now(), Verb: "export", Origin: x.name, Drive: x.o.Drive,
		Result: result, Serial: x.report.Serial, Files: t.Files, Bytes: t.Bytes})
}
