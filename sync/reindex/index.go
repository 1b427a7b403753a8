package reindex

import (
	"context"
	"fmt"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
	"pkgsneak/sync/volume"
)

// IndexOptions states how to index.
type IndexOptions struct {
	Rebuild bool // believe no entry: every package is read
	// Named means that PKGDIR was named for this run, and is not the one of this machine's
	// settings: one without any package and any index is then most likely something else.
	Named bool
	// packages read at a time; 0 chooses: as many as there are processors, or more if the medium
	// prefers it
	Workers int
}

// Index brings the index of the machine's PKGDIR up to date, as `emaint binhost --fix` does, under
// Portage's lock.
func Index(ctx context.Context, m machine.Machine, o IndexOptions,
	w progress.Watcher) (*pkgdir.Report, error) {
	d, err := pkgdir.OpenWith(m.PKGDIR, m.Hook)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	d.Distdir, _ = machine.DistdirIn(m.PKGDIR, m.DISTDIR)
	if err := drive.CheckPlaces(m.PKGDIR, ""); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if err := meant(ctx, d, m, o); err != nil {
		return nil, err
	}
	return d.Reindex(ctx, indexing(m, o, w))
}

// Check compares the index with the packages, as `emaint binhost --check` does, and changes
// nothing.
func Check(ctx context.Context, m machine.Machine, o IndexOptions,
	w progress.Watcher) (*pkgdir.CheckReport, error) {
	d, err := pkgdir.Open(m.PKGDIR)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	d.Distdir, _ = machine.DistdirIn(m.PKGDIR, m.DISTDIR)
	if err := meant(ctx, d, m, o); err != nil {
		return nil, err
	}
	return d.Check(ctx, indexing(m, o, w))
}

// indexing is how this machine's own Portage would write the index: the header has what its
// configuration states, and there is a Packages.gz if FEATURES wants one.
func indexing(m machine.Machine, o IndexOptions, w progress.Watcher) pkgdir.Options {
	opts := Writing(m, w)
	opts.Rebuild, opts.Workers = o.Rebuild, o.Workers
	if opts.Workers <= 0 {
		opts.Workers = max(pipeline.Processors(), volume.MediumOf(m.PKGDIR).Readers)
	}
	opts.Remembered = func() pkgdir.Sums { return remembered(m) }
	opts.Header = func(h pkgindex.Header) pkgindex.Header {
		return pkgindex.UpdateHeader(h, m.Settings.Get, m.Settings.ProfileName())
	}
	return opts
}

// remembered are the digests of copies that exports have read; nil if there are none. An index is
// made without the state directory, too, and writes nothing there.
func remembered(m machine.Machine) pkgdir.Sums {
	st, err := state.Open(context.Background(), m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		return nil
	}
	defer st.Close()
	carried, err := st.Cache(m.PKGDIR, m.Now())
	if err != nil {
		return nil
	}
	copies, err := pkgdir.RememberedCopies(st, m.PKGDIR, carried, m.Now())
	if err != nil {
		return nil
	}
	return copies
}

// Writing is what each writing of the index on this machine has in common. The header is kept.
func Writing(m machine.Machine, w progress.Watcher) pkgdir.Options {
	o := pkgdir.Options{Now: m.Now(), LockWait: m.LockWait,
		OnWait: func() {
			w.Notice(fmt.Sprintf("waiting for another program to release the lock on %q",
				m.PKGDIR))
		}}
	if on, known := m.Settings.HasFeature("compress-index"); known {
		o.CompressIndex = &on
	}
	var done payload.Tally
	o.Progress = func(path string, size int64) {
		done.Add(size)
		w.Tell(progress.Event{Phase: progress.PhaseIndex, Path: path, Done: done.Bytes,
			Files: done.Files})
	}
	return o
}
