package exporter

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
)

// DamagedOnDrive is the reason of a file of the plan that is copied because the drive's copy is not
// what was signed.
const DamagedOnDrive = "damaged on the drive"

// MissingOnDrive is the reason of a file of the plan that is copied because somebody deleted it
// there, or left it with another size.
const MissingOnDrive = "missing on the drive"

// findMissing puts what the drive's list has and the drive has not into the plan.
func findMissing(x *exporter) error {
	if x.committed == nil {
		return nil
	}
	there, err := x.state()
	if err != nil {
		return err
	}
	absent := make(map[string]bool, len(there.Absent))
	for _, path := range there.Absent {
		absent[path] = true
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile, payload.Program} {
		for _, it := range x.committed.Items(kind) {
			if storedIn(it, absent) && addBroken(x, kind, it, MissingOnDrive) {
				// it takes no space there
				delete(x.next.current, payload.Key{Kind: kind, Path: it.Path})
			}
		}
	}
	return nil
}

// findDamage reads what may be damaged on the drive and puts what is into the plan. A damaged file
// that lies there is replaced, not removed first: a file that is written again gets another name
// until the next generation is committed.
func findDamage(ctx context.Context, x *exporter) error {
	// one reader of the drive's directories at a time
	if err := findMissing(x); err != nil || x.committed == nil {
		return err
	}
	remembered, err := rememberedDamage(x)
	if err != nil || !x.o.Repair && len(remembered) == 0 {
		return err
	}
	o := drive.VerifyOptions{Workers: x.o.Medium.Readers, Only: remembered}
	if x.o.Repair {
		o.Only = nil
	}
	o.Progress = readingProgress(x, o.Only)
	found, err := x.committed.Verify(ctx, o)
	if err != nil {
		return err
	}
	x.broken.committed = x.committed.Serial()
	wrong := make(map[string]bool, len(found.Bad))
	for _, b := range found.Bad {
		wrong[b.Path] = true
		x.broken.paths = append(x.broken.paths, b.Path)
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile, payload.Program} {
		for _, it := range x.committed.Items(kind) {
			if storedIn(it, wrong) && !x.broken.has(it) {
				addBroken(x, kind, it, DamagedOnDrive)
			}
		}
	}
	x.stale = x.stale || len(wrong)+len(found.Stale) > 0
	if x.o.Pretend {
		return nil
	}
	return state.SetDamaged(x.st, x.name, x.broken.committed, x.broken.committed, x.broken.paths)
}

// storedIn reports whether one of the files that hold an item is among paths.
func storedIn(it layout.Item, paths map[string]bool) bool {
	return slices.ContainsFunc(it.Stored, func(f manifest.File) bool { return paths[f.Path] })
}

// rememberedDamage returns the files that verify found wrong in the generation on the drive.
func rememberedDamage(x *exporter) (map[string]bool, error) {
	all, err := state.DamagedFiles(x.st)
	paths := make(map[string]bool)
	for _, d := range all {
		if d.Origin == x.name && d.Serial == x.committed.Serial() {
			paths[d.Path] = true
		}
	}
	return paths, err
}

// readingProgress tells how much of the drive has been read. It is called by several goroutines.
func readingProgress(x *exporter, only map[string]bool) func(string, int64) {
	var total payload.Tally
	for _, f := range x.committed.Signed.Files {
		if only == nil || only[f.Path] {
			total.Add(f.Size)
		}
	}
	var mu sync.Mutex
	var done int64
	return func(path string, n int64) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		x.w.Tell(progress.Event{Phase: progress.PhaseVerify, Path: path,
			Done: min(done, total.Bytes), Total: total.Bytes, FilesTotal: total.Files})
	}
}

// addBroken puts a damaged or missing file into the plan, unless it is removed anyway. One that
// cannot be written again is not listed any longer, and named: of a kind that is switched off, or
// for another architecture.
func addBroken(x *exporter, kind payload.Kind, it layout.Item, reason string) bool {
	p, key := &x.report.Plan, payload.Key{Kind: kind, Path: it.Path}
	same := func(other payload.Item) bool { return other.Kind == kind && other.Path == it.Path }
	if slices.ContainsFunc(p.Remove, same) {
		return false
	}
	x.broken.files = append(x.broken.files, it)
	if slices.ContainsFunc(p.Copy, same) || slices.ContainsFunc(p.LeftOut, same) {
		return true
	}
	again := payload.Item{Kind: kind, Path: it.Path, Size: it.Size, Reason: reason}
	h, here := x.host.files[key]
	switch {
	case kind == payload.Program:
		x.report.Notices = append(x.report.Notices, programNotice(x, it, reason))
		return true
	// only with Pretend; it is copied, whatever the contents
	case slices.ContainsFunc(p.Compare, same):
		p.Compare = slices.DeleteFunc(p.Compare, same)
	default:
		x.report.Kept.Files--
		x.report.Kept.Bytes -= it.Size
	}
	if x.off(kind) || !here {
		again.Reason, again.Hint = errAway.Error(), "pkgsneak export "+fault.Quote(x.o.Drive)
		p.LeftOut = append(p.LeftOut, again)
		return true
	}
	again.Size = h.Size
	p.Copy = append(p.Copy, again)
	return true
}

// programNotice tells what becomes of a copy of pkgsneak that is damaged or missing.
func programNotice(x *exporter, it layout.Item, reason string) string {
	s := openStatic(x.m.Executable)
	if s.file != nil {
		s.file.Close()
	}
	if s.file == nil || it.Path != layout.BinFile(runtime.GOARCH) {
		if reason == MissingOnDrive {
			return fmt.Sprintf("%q is missing on the drive: an export by that program brings it back", it.Stored[0].Path)
		}
		return fmt.Sprintf("%q on the drive is damaged and is removed: an export by that program brings it back", it.Stored[0].Path)
	}
	return fmt.Sprintf("%q on the drive is %s: it is written again", it.Stored[0].Path,
		strings.TrimSuffix(reason, " on the drive"))
}
