package exporter

import (
	"context"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
)

// remains is what lies on the drive of a generation that cannot be read. Files that hold what an
// export would write are not written again: they keep their names and are listed by the next
// generation. The rest goes when that one is committed. A kind that is switched off is looked at
// for this, too; nothing of it is copied.
type remains struct {
	*drive.Remains
	// by folded path; those that are no file of the host's, in the end
	files    map[string]manifest.File
	counts   map[payload.Kind]int // of all of them
	partSize int64
	tell     func(progress.Event)
	kept     payload.Tally
	read     int64 // bytes so far
	total    int64
}

// holds counts how many files of a kind there are.
func (r *remains) holds(kind payload.Kind) int {
	if r == nil {
		return 0
	}
	return r.counts[kind]
}

// left is what goes with the next commit, in bytes.
func (r *remains) left() (n int64) {
	if r == nil {
		return 0
	}
	for _, f := range r.files {
		n += f.Size
	}
	return n
}

// parts are the files that hold a file of that size under a name, if they are all there.
func (r *remains) parts(name string, size int64) (names []string, ok bool) {
	count := int((max(size, 1) + r.partSize - 1) / r.partSize)
	for i := range count {
		part := name
		if count > 1 {
			part = layout.PartPath(name, i, count)
		}
		f, there := r.files[layout.FoldName(part)]
		if !there || f.Size != min(r.partSize, size-int64(i)*r.partSize) {
			return nil, false
		}
		names = append(names, f.Path)
	}
	return names, true
}

// listed reports whether a list that this machine's key signed has the files.
func (r *remains) listed(names []string) bool {
	for _, name := range names {
		if r.files[layout.FoldName(name)].Sum == (manifest.Digest{}) {
			return false
		}
	}
	return true
}

func (r *remains) take(names []string) {
	for _, name := range names {
		delete(r.files, layout.FoldName(name))
	}
}

// keptRemains are the kept files as the planner takes them.
func keptRemains(next *nextGeneration) []DriveFile {
	var files []DriveFile
	for key, it := range next.current {
		if key.Kind != payload.Program {
			files = append(files, DriveFile{Kind: key.Kind, Path: key.Path,
				Size: it.Size, Sum: it.Sum})
		}
	}
	return files
}

// find returns a file of the host as it lies on the drive, nil if it does not. One that no list of
// this machine's key has was perhaps given up by the run that wrote it: a package is looked through
// then.
func (r *remains) find(ctx context.Context, host *source, h *sourceFile) (*layout.Item, error) {
	f := h.newFile()
	for name := range layout.StoredNames(f.Kind, f.Path, f.Category) {
		names, ok := r.parts(name, f.Size)
		if !ok {
			continue
		}
		sum := h.Sum
		if sum == (manifest.Digest{}) {
			sums, err := host.dir(h.Kind).sum(ctx, h.Path, h.info)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				return nil, nil // it is named when it is to be copied
			}
			sum = sums.Blake2b
		}
		stored, err := r.compare(ctx, names, sum)
		if err != nil {
			return nil, err
		}
		if stored == nil || !r.listed(names) && !mayBeListed(ctx, host, h) {
			continue
		}
		r.take(names)
		return &layout.Item{Kind: f.Kind, Path: f.Path, Size: f.Size, Sum: sum, Stored: stored}, nil
	}
	return nil, context.Cause(ctx)
}

// compare reads files from the medium. It returns nil where they are not what has the sum, or not
// what was signed.
func (r *remains) compare(ctx context.Context, names []string,
	sum manifest.Digest) ([]manifest.File, error) {
	if want := r.files[layout.FoldName(names[0])].Sum; len(names) == 1 &&
		want != (manifest.Digest{}) && want != sum {
		return nil, nil
	}
	stored, whole, err := r.Read(ctx, names)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case drive.Unanswered(err):
		return nil, err
	case err != nil:
		return nil, nil // it is written again
	}
	for _, f := range stored {
		r.read += f.Size
		if want := r.files[layout.FoldName(f.Path)].Sum; want != (manifest.Digest{}) &&
			want != f.Sum {
			return nil, nil
		}
	}
	r.tell(progress.Event{Phase: progress.PhaseVerify, Path: names[0], Done: min(r.read, r.total),
		Total: r.total,
		Files: r.kept.Files, FilesTotal: len(r.Files)})
	if whole != sum {
		return nil, nil
	}
	return stored, nil
}

// mayBeListed reports whether a file of the host may be on a drive: a package passes the checks, or
// has passed them before.
func mayBeListed(ctx context.Context, host *source, h *sourceFile) bool {
	if h.Kind != payload.Package {
		return true
	}
	dir := host.packages
	if h.odd != "" {
		return false
	}
	if dir.cache.Approved(h.Path, h.info) == binpkg.Rules {
		return true
	}
	file, err := dir.open(h.Path, h.info)
	if err != nil {
		return false
	}
	defer file.Close()
	pkg, err := binpkg.Read(file, h.Size, h.Path)
	if err != nil || pkg.Check(ctx, file) != nil || durable.CheckUnchanged(file, h.info) != nil {
		return false
	}
	dir.cache.Approve(h.Path, h.info, binpkg.Rules)
	return true
}
