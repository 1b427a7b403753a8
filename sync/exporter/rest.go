package exporter

import (
	"context"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
)

// The catalogue has the packages, too, that a drive has no room for. Where the host's index tells
// nothing of one, the package itself does: it is read and hashed once, and its digests are
// remembered. A client then sees which build it is, and takes it from another drive.

// vouchKnown lets the packages that may be copied tell of themselves, where their digests are
// remembered.
func vouchKnown(ctx context.Context, x *exporter) error {
	return vouch(ctx, x, untold(x, x.todo), false)
}

// describeRest completes the catalogue with what stays on the host, and drops the entries of what
// is about to be copied: those come with the copies. A package that cannot be read has none; it is
// named when it is to be copied. A plan that is only shown reads nothing.
func describeRest(ctx context.Context, x *exporter) error {
	var stays []payload.Item
	if x.answer != nil {
		stays = x.answer.stays
	}
	rest := untold(x, stays)
	staying := make(map[string]bool, len(rest))
	for _, h := range rest {
		staying[h.Path] = true
	}
	for path := range x.next.entries {
		key := payload.Key{Kind: payload.Package, Path: path}
		h := x.host.files[key]
		if h != nil && h.Index == (IndexSums{}) && !staying[path] && !x.next.carries(path) {
			x.next.dropEntry(path)
		}
	}
	if !x.o.Pretend {
		if err := vouch(ctx, x, rest, true); err != nil {
			return err
		}
	}
	for _, it := range stays {
		h := x.host.files[it.Key()]
		switch {
		case it.Kind != payload.Package || h == nil || x.next.carries(it.Path): // when that leaves
		case h.Index != (IndexSums{}):
			x.next.setEntry(it.Path, h.entry)
		case x.o.Pretend:
			x.next.changed = x.next.changed || x.next.entries[it.Path].IsZero()
		default:
			x.next.dropEntry(it.Path)
		}
	}
	return nil
}

// untold are the packages among items of which the host's index tells nothing.
func untold(x *exporter, items []payload.Item) (files []*sourceFile) {
	for _, it := range items {
		h := x.host.files[it.Key()]
		if it.Kind == payload.Package && h != nil && h.Index == (IndexSums{}) {
			files = append(files, h)
		}
	}
	return files
}

// vouch takes for files their own metadata, as if the host's index had it. Those of which
// no digests are remembered are read if that is wanted.
func vouch(ctx context.Context, x *exporter, files []*sourceFile, read bool) error {
	var list []*ownWord
	for _, h := range files {
		if o := newOwnWord(x.host.packages, h); o.known || read {
			list = append(list, o)
		}
	}
	workers := x.o.looking()
	return pipeline.Ordered(ctx, len(list), workers, pipeline.Window,
		func(ctx context.Context, i int) pkgindex.Entry { return list[i].tell(ctx) },
		func(i int, e pkgindex.Entry) error {
			o := list[i]
			if !o.known {
				x.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: o.file.Path,
					Files: i + 1, FilesTotal: len(list)})
			}
			if e.IsZero() {
				return context.Cause(ctx)
			}
			o.remember()
			o.file.vouchedBy(e)
			return nil
		}, func(pkgindex.Entry) {})
}

// ownWord is a package of the host that is asked what it is. Several are asked at the same time.
// The memory, which only one may use at a time, is asked before and told afterwards.
type ownWord struct {
	dir    *payloadDir
	file   *sourceFile
	sums   digest.Sums
	known  bool // sums are remembered
	looked bool // sums were computed
}

func newOwnWord(dir *payloadDir, h *sourceFile) *ownWord {
	sums, known := dir.sumsOf(h)
	return &ownWord{dir: dir, file: h, sums: sums.Sums, known: known}
}

// look returns what the package states of itself. Its digests are computed unless they are known.
func (o *ownWord) look(ctx context.Context) (own pkgindex.Entry, err error) {
	h := o.file
	file, err := o.dir.open(h.Path, h.info)
	if err != nil {
		return own, err
	}
	defer file.Close()
	if !o.known {
		if o.sums, err = digest.Reader(ctx, file, digest.All, nil); err != nil {
			return own, err
		}
	}
	if own, err = ownEntry(file, h.Size, h.Path); err != nil {
		return own, err
	}
	if err := durable.CheckUnchanged(file, h.info); err != nil {
		return own, err
	}
	o.looked = !o.known
	return own, nil
}

// remember puts the digests into the memory that were computed. That the package was looked through
// stays there, if these are the bytes that were.
func (o *ownWord) remember() {
	if o == nil || !o.looked {
		return
	}
	cache, path, info := o.dir.cache, o.file.Path, o.file.info
	before, set, _ := cache.Lookup(path, info)
	rules := cache.Approved(path, info)
	cache.Put(path, info, o.sums, digest.All)
	if rules > 0 && set&digest.BLAKE2B != 0 && before.Blake2b == o.sums.Blake2b {
		cache.Approve(path, info, rules)
	}
}

// tell makes the entry; a zero one where the package cannot be read.
func (o *ownWord) tell(ctx context.Context) (none pkgindex.Entry) {
	own, err := o.look(ctx)
	if err != nil {
		return none
	}
	h := o.file
	if e, err := withFile(own, h.Path, h.Size, h.info.ModTime().Unix(), o.sums); err == nil {
		return e
	}
	return none
}
