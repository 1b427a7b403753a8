package exporter

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
)

// readRemains looks for them where there is no generation that can be read.
func readRemains(p *Plan, key *manifest.PublicKey) error {
	found, err := drive.FindRemains(p.drive, p.dir, append(manifest.Ring{key}, p.past...), p.now)
	if found == nil || err != nil {
		return err
	}
	r := &remains{Remains: found, files: make(map[string]manifest.File, len(found.Files)),
		counts: make(map[payload.Kind]int), partSize: p.o.PartSize, tell: func(e progress.Event) {
			p.w.Tell(e)
		}}
	if r.partSize <= 0 {
		r.partSize = drivewriter.DefaultPartSize
	}
	for _, f := range found.Files {
		kind, _, _ := layout.KindOf(f.Path)
		r.files[layout.FoldName(f.Path)] = f
		r.counts[kind]++
		r.total += f.Size
	}
	p.remains = r
	return nil
}

// countOnDrive is how many files of a kind the drive holds of the origin, whether their list can be
// read or not.
func countOnDrive(x *exporter, kind payload.Kind) int {
	if x.committed == nil {
		return x.remains.holds(kind)
	}
	return len(x.committed.Items(kind))
}

// scanForRemains is readSource, with the kinds that are switched off where the drive may have some
// of them. Where those cannot be read, they are not looked at.
func scanForRemains(ctx context.Context, x *exporter) (*source, error) {
	packages, distfiles := !x.o.NoPackages, !x.o.NoDistfiles
	more := !packages && x.remains.holds(payload.Package) > 0 || !distfiles &&
		x.remains.holds(payload.Distfile) > 0
	if more {
		h, err := readSource(ctx, x.st, x.m, packages || x.remains.holds(payload.Package) > 0,
			distfiles || x.remains.holds(payload.Distfile) > 0, x.next.entries)
		if err == nil || ctx.Err() != nil {
			return h, err
		}
	}
	return readSource(ctx, x.st, x.m, packages, distfiles, x.next.entries)
}

// reuseRemains compares what lies there with what the host has, and takes what is the same as kept.
func reuseRemains(ctx context.Context, x *exporter) error {
	r := x.remains
	if r == nil {
		return nil
	}
	for _, f := range x.host.list() {
		key := payload.Key{Kind: f.Kind, Path: f.Path}
		it, err := r.find(ctx, x.host, x.host.files[key])
		switch {
		case err != nil:
			return err
		case it != nil:
			x.host.files[key].Sum = it.Sum
			x.next.current[key] = it
			r.kept.Add(it.Size)
		}
	}
	if err := reuseProgram(ctx, x); err != nil {
		return err
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if x.off(kind) {
			leaveOff(x, kind)
		}
	}
	x.report.Notices = append(x.report.Notices, remainsNotice(x))
	return nil
}

// remainsNotice tells what becomes of them.
func remainsNotice(x *exporter) string {
	r := x.remains
	text := fmt.Sprintf("the generation of %q on the drive cannot be read (%s): %d of its files are as they should be and stay",
		x.name, fault.Text(r.Why), r.kept.Files)
	gone := make(map[payload.Kind]int)
	for _, f := range r.files {
		kind, _, _ := layout.KindOf(f.Path)
		gone[kind]++
	}
	if len(r.files) > 0 {
		text += fmt.Sprintf("; %d are not, and go when a new one is committed", len(r.files))
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if n := gone[kind]; x.off(kind) && n > 0 {
			text += fmt.Sprintf(", %d of them %ss, of which nothing is copied (--no-%ss)",
				n, kind, kind)
		}
	}
	return text
}

// leaveOff takes what was seen of a kind that is switched off out of the host's files, but for what
// the drive has.
func leaveOff(x *exporter, kind payload.Kind) {
	other := func(it payload.Item) bool { return it.Kind == kind }
	x.host.leftOut = slices.DeleteFunc(x.host.leftOut, other)
	x.host.duplicates = slices.DeleteFunc(x.host.duplicates, other)
	for key := range x.host.files {
		if _, kept := x.next.current[key]; key.Kind == kind && !kept {
			delete(x.host.files, key)
		}
	}
}

// reuseProgram keeps the programs that are those which a list of ours has, or the one that runs.
func reuseProgram(ctx context.Context, x *exporter) error {
	r := x.remains
	running, err := readSelf(ctx, x.m.Executable)
	if err != nil {
		return err
	}
	if running.file != nil {
		running.file.Close()
	}
	for _, f := range r.Files {
		kind, path, _ := layout.KindOf(f.Path)
		if kind != payload.Program || !strings.HasSuffix(path, "/pkgsneak") {
			continue
		}
		sum := f.Sum
		if path == layout.BinFile(runtime.GOARCH) && running.file != nil {
			sum = running.sum
		}
		if sum == (manifest.Digest{}) {
			continue
		}
		stored, err := r.compare(ctx, []string{f.Path}, sum)
		if err != nil {
			return err
		}
		if stored != nil {
			r.take([]string{f.Path})
			x.next.current[payload.Key{Kind: payload.Program,
				Path: path}] = &layout.Item{Kind: kind,
				Path: path, Size: f.Size, Sum: sum, Stored: stored}
		}
	}
	return nil
}
