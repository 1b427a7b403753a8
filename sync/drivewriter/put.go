package drivewriter

import (
	"context"
	"io"
	"io/fs"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
)

// Put is step 6 for one file: fill writes its bytes, which go straight to
// their final name. The item tells where they lie and what their digest is. On
// an error of fill or a canceled ctx what was written is given up; it is
// removed with the next commit, not before, because only there is the removal
// made durable before anything new is allocated.
//
// Files that were prepared may be put at the same time, by several goroutines.
// A medium with heads that move, and a cheap stick, want one after the other.
func (w *Writer) Put(ctx context.Context, f NewFile,
	fill func(io.Writer) error) (layout.Item, error) {
	if err := w.ended.cause(); err != nil {
		return layout.Item{}, err
	}
	key := payload.Key{Kind: f.Kind, Path: f.Path}
	names, known := w.places.take(key)
	if !known {
		if err := w.Prepare(ctx, []NewFile{f}); err != nil {
			return layout.Item{}, err
		}
		names, _ = w.places.take(key)
	}
	mode := fs.FileMode(0o644)
	if f.Kind == payload.Program {
		mode = 0o755
	}
	s := &splitter{s: w.session, ctx: ctx, names: names, limit: w.o.PartSize,
		keepBlocks: !w.o.NoReadBack, mode: mode, whole: digest.New(digest.BLAKE2B)}
	err := fill(s)
	if err == nil {
		err = s.err // fill may have swallowed it
	}
	if err == nil {
		err = s.finish()
	}
	if err != nil {
		w.orphan(s.giveUp())
		return layout.Item{}, err
	}
	sums := s.whole.Sum()
	it := layout.Item{Kind: f.Kind, Path: f.Path, Size: sums.Size, Sum: sums.Blake2b}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, done := range s.done {
		w.uncommitted[done.Path] = done
		it.Stored = append(it.Stored, done.File)
	}
	return it, nil
}

// orphan notes what was given up.
func (w *Writer) orphan(names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orphans = append(w.orphans, names...)
}

// putRaw puts a file of this package's own at a path.
func (w *Writer) putRaw(ctx context.Context, name string, data []byte) (manifest.File, error) {
	s := &splitter{s: w.session, ctx: ctx, names: []string{name}, limit: DefaultPartSize,
		keepBlocks: !w.o.NoReadBack, mode: 0o644, whole: digest.New(digest.BLAKE2B)}
	_, err := s.Write(data)
	if err == nil {
		err = s.finish()
	}
	if err != nil {
		w.orphan(s.giveUp())
		return manifest.File{}, err
	}
	w.places.names.Take(name)
	w.dirs.capacityOf(layout.GenerationDir).add(name)
	w.uncommitted[name] = s.done[0]
	return s.done[0].File, nil
}
