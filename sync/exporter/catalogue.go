package exporter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
)

// healCatalogue makes the entries that the catalogue on the drive lacks: it is what the packages
// state, whatever the one before it was like. They come from the host's index or the host's package
// where that is the file on the drive, else from the drive. A package among these that leaves the
// drive anyway leaves it now. A file of which neither tells what it is is left out.
func healCatalogue(ctx context.Context, x *exporter) error {
	missing := x.next.undescribed()
	if len(missing) == 0 {
		return nil
	}
	x.next.changed = true
	unlike := make(map[string]bool) // the host's file has other bytes
	for _, it := range x.todo {
		unlike[it.Path] = unlike[it.Path] || it.Kind == payload.Package
	}
	for _, it := range x.report.Plan.Remove {
		if it.Kind == payload.Package && slices.Contains(missing, it.Path) {
			forget(x.Plan, it.Key())
			x.report.Removed = append(x.report.Removed, it)
			missing = slices.DeleteFunc(missing, func(path string) bool { return path == it.Path })
		}
	}
	d := describer{committed: x.committed, asked: make([]*ownWord, len(missing))}
	for i, path := range missing {
		key := payload.Key{Kind: payload.Package, Path: path}
		d.items = append(d.items, *x.next.current[key])
		if h := x.host.files[key]; h != nil && !unlike[path] {
			d.asked[i] = newOwnWord(x.host.packages, h)
		}
	}
	workers := x.o.looking()
	return pipeline.Ordered(ctx, len(missing), workers, pipeline.Window, d.describe,
		func(i int, found description) error {
			path := missing[i]
			d.asked[i].remember()
			x.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: path, Files: i + 1,
				FilesTotal: len(missing)})
			if found.err == nil {
				x.next.setEntry(path, found.entry)
				return nil
			}
			var gone *drive.GoneError
			if errors.As(found.err, &gone) {
				return found.err
			}
			it := x.next.current[payload.Key{Kind: payload.Package, Path: path}]
			forget(x.Plan, payload.Key{Kind: payload.Package, Path: path})
			if !unlike[path] {
				x.report.Plan.LeftOut = append(x.report.Plan.LeftOut,
					payload.Item{Kind: payload.Package, Path: path, Size: it.Size,
						Reason: fmt.Sprintf("the drive's catalogue lost its entry, and its copy there cannot tell it: %v", found.err)})
			}
			return nil
		}, func(description) {})
}

// description is the entry of a package, or why there is none.
type description struct {
	entry pkgindex.Entry
	err   error
}

// describer makes entries of packages on the drive, several at a time.
type describer struct {
	committed *drive.Generation
	items     []layout.Item
	asked     []*ownWord // the host's files, nil where it has none that is the same
}

func (d *describer) describe(ctx context.Context, i int) description {
	if o := d.asked[i]; o != nil {
		if e, err := fromHost(ctx, o, d.items[i].Sum); err == nil {
			return description{entry: e}
		}
	}
	if d.committed == nil {
		return description{err: durable.ErrChanged} // it was the host's a moment ago
	}
	e, err := d.fromDrive(ctx, d.items[i])
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return description{e, err}
}

// fromHost describes a file of the host that has the sum.
func fromHost(ctx context.Context, o *ownWord, sum manifest.Digest) (pkgindex.Entry, error) {
	own, err := o.look(ctx)
	if err != nil {
		return pkgindex.Entry{}, err
	}
	if o.sums.Blake2b != sum {
		return pkgindex.Entry{}, durable.ErrChanged
	}
	return describeHost(o.file, own, o.sums)
}

// describeHost makes the entry of a package of the host out of its index, if that is right about
// it, or else out of what it states of itself.
func describeHost(h *sourceFile, own pkgindex.Entry, sums digest.Sums) (pkgindex.Entry, error) {
	if e, err := entryOf(h, own, sums); err == nil {
		return e, nil
	}
	return withFile(own, h.Path, h.Size, h.info.ModTime().Unix(), sums)
}

// decide asks a package of the host that is the one on the drive whether the catalogue's entry is
// right. Else it returns that of the host's index or, if that is wrong too, the package's own. The
// catalogue's stays where the package cannot be read.
func decide(ctx context.Context, p *Plan, h *sourceFile) pkgindex.Entry {
	key := payload.Key{Kind: payload.Package, Path: h.Path}
	e := p.next.entries[h.Path]
	sums, _ := p.host.packages.sumsOf(h)
	o := &ownWord{dir: p.host.packages, file: h, sums: sums.Sums,
		known: sums.computed == digest.All} // the index's MD5 is what is in question
	own, err := o.look(ctx)
	if err != nil || o.sums.Blake2b != p.next.current[key].Sum {
		return e
	}
	o.remember()
	if _, same := pkgindex.SameIdentity(e, own); same && indexSums(e) == indexSumsOf(o.sums) {
		return e
	}
	if better, err := describeHost(h, own, o.sums); err == nil {
		return better
	}
	return e
}

// fromDrive describes the copy on the drive. Its mtime was the host's and is lost: it becomes the
// time of the build.
func (d *describer) fromDrive(ctx context.Context, it layout.Item) (pkgindex.Entry, error) {
	r, err := d.committed.Open(it)
	if err != nil {
		return pkgindex.Entry{}, err
	}
	sums, err := digest.Reader(ctx, r, digest.All, nil) // compares with what was signed
	if err := errors.Join(err, r.Close()); err != nil {
		return pkgindex.Entry{}, err
	}
	at, err := d.committed.OpenAt(it)
	if err != nil {
		return pkgindex.Entry{}, err
	}
	defer at.Close()
	own, err := ownEntry(at, it.Size, it.Path)
	if err != nil {
		return pkgindex.Entry{}, err
	}
	return withFile(own, it.Path, it.Size, -1, sums)
}

// entryOf makes the catalogue's entry of a package that was copied, with the hashes of what was
// read. If the host's index vouches for the file, its entry is taken over, after it was compared
// with the package itself: no index is authenticated by anything.
func entryOf(h *sourceFile, own pkgindex.Entry, sums digest.Sums) (pkgindex.Entry, error) {
	base := own
	if !h.entry.IsZero() {
		if h.Index != (IndexSums{}) && h.Index != indexSumsOf(sums) {
			return base,
				errors.New("damaged, or the index is stale: its contents are not those that the index has the hashes of")
		}
		if key, ok := pkgindex.SameIdentity(h.entry, own); !ok {
			return base, fmt.Errorf("the index is stale: its %s is not the package's own", key)
		}
		base = h.entry
	}
	return withFile(base, h.Path, h.Size, h.info.ModTime().Unix(), sums)
}

// checkCatalogue decides before the first byte whether the origin's index has room for all
// packages.
func checkCatalogue(x *exporter) error {
	gone := make(map[string]bool)
	for _, it := range x.report.Plan.Remove {
		if it.Kind == payload.Package {
			gone[it.Path] = true
		}
	}
	index := &pkgindex.Index{Header: x.next.header}
	unread := 0
	for _, it := range x.todo {
		if it.Kind != payload.Package {
			continue
		}
		gone[it.Path] = true
		if h := x.host.files[it.Key()]; h != nil &&
			!h.entry.IsZero() {
			index.Entries = append(index.Entries, h.entry)
		} else {
			unread++
		}
	}
	for path, e := range x.next.entries {
		if !gone[path] {
			index.Entries = append(index.Entries, e)
		}
	}
	return catalogueFits(index, unread)
}

// An entry is taken for unreadEntry bytes where only the package has it, and grows by movedEntry
// where its package gets another directory on the drive.
const (
	unreadEntry = 512
	movedEntry  = 32
)

// catalogueFits checks an index that has entries of packages, too, which are not read yet.
func catalogueFits(index *pkgindex.Index, unread int) error {
	n := len(index.Entries) + unread
	if err := index.CheckSize(unread, int64(unread)*unreadEntry+int64(n)*movedEntry); err != nil {
		return fmt.Errorf("export: %w", &CatalogueSizeError{n, err})
	}
	return nil
}
