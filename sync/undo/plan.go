package undo

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
)

// action is what is done with one file.
type action uint8

const (
	nothing action = iota // it is as it was before
	remove                // what came goes
	restore               // the old one gets its name, which is free
	replace               // the old one takes the place of what came
	beside                // the old package goes beside what is there
	stay                  // nothing can be done
)

// file is one file of the import, judged.
type file struct {
	*state.ChangedFile
	kind   payload.Kind
	act    action
	reason string // of stay
	hint   string
	now    fs.FileInfo    // what lies there; nil: nothing
	kept   string         // where the old one is kept, below the Store
	local  string         // where it lies in the end
	is     contents       // what lies there
	at     state.Contents // of that, where it came
	own    bool           // somebody has put the bytes there that came, or were to come
	done   bool
}

const (
	sinceThen = "it was built, fetched or changed since the import"
	notKept   = "what the import replaced is not kept any more"
)

// plan judges all files, and fills in the report.
func (u *undo) plan(ctx context.Context) error {
	r, c := u.report, u.c
	r.Imported, r.Ended = c.When, c.State == state.Importing
	r.Drives = append(r.Drives, c.Drives...)
	for _, o := range c.Origins {
		r.Origins = append(r.Origins, Origin{Name: o.Name, Fingerprint: string(o.Key),
			Serial: o.Serial})
	}
	for i := range c.Files {
		f := file{ChangedFile: &c.Files[i], kind: payload.Distfile, local: c.Files[i].Local}
		if f.Kind == payload.Package {
			f.kind = payload.Package
		}
		if err := u.judge(ctx, &f); err != nil {
			return err
		}
		u.files = append(u.files, f)
		u.list(&f)
	}
	return nil
}

// list puts a file on its list.
func (u *undo) list(f *file) {
	it := payload.Item{Kind: f.kind, Path: f.Local, Size: f.Was.Size,
		Reason: f.reason, Hint: f.hint}
	if f.local != f.Local {
		it.Local = f.local
	}
	switch f.act {
	case remove:
		it.Size = f.now.Size()
		u.report.Removed = append(u.report.Removed, it)
	case restore, replace, beside:
		u.report.Restored = append(u.report.Restored, it)
	case stay:
		if f.now != nil {
			it.Size = f.now.Size()
		}
		u.report.Stays = append(u.report.Stays, it)
	}
}

// judge decides by what lies there and what is kept.
func (u *undo) judge(ctx context.Context, f *file) error {
	s := u.store(f.kind)
	now, err := s.Lstat(f.Local)
	switch {
	case err == nil:
		f.now = now
	case !errors.Is(err, fs.ErrNotExist):
		f.act, f.reason = stay, "it cannot be looked at: "+fault.Text(err)
		return nil
	}
	var kept fs.FileInfo
	if f.Kept > 0 {
		f.kept, kept, err = s.Kept(f.Local, u.c.KeptName(f.Kept))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if kept != nil && (!kept.Mode().IsRegular() || kept.Size() != f.Was.Size) {
			kept = nil
		}
	}
	is, err := u.compare(ctx, f, s)
	if err != nil {
		return err
	}
	f.is = is
	u.decide(f, is, kept)
	return nil
}

// contents tells whose the file at a place is.
type contents uint8

const (
	absent contents = iota
	came            // what the import placed
	old             // what was there before
	other
)

// decide is the table of the package comment.
func (u *undo) decide(f *file, is contents, kept fs.FileInfo) {
	switch {
	case is == old, kept != nil && f.now != nil && os.SameFile(kept, f.now):
		f.act = nothing
	case kept != nil && is == absent:
		f.act = restore
	case kept != nil && is == came:
		f.act = replace
	case kept != nil && f.kind == payload.Package:
		f.act, f.reason = beside, sinceThen
	case kept != nil:
		f.act, f.reason = stay, sinceThen+": what the import replaced is given up"
	case f.Kept > 0 && is == other:
		f.act, f.reason = stay, sinceThen
	case f.Kept > 0:
		f.act, f.reason = stay, notKept
	case is == came:
		if f.act = remove; f.Link != "" {
			f.reason, f.hint = "it was a symbolic link",
				"ln -s "+fault.Quote(f.Link)+" "+fault.Quote(u.store(f.kind).Path()+"/"+f.Local)
		}
	case is == other:
		f.act, f.reason = stay, sinceThen
	}
}

// compare finds out what lies at a place.
func (u *undo) compare(ctx context.Context, f *file, s *durable.Store) (contents, error) {
	if f.now == nil {
		return absent, nil
	}
	if !f.now.Mode().IsRegular() {
		return other, nil
	}
	size := f.now.Size()
	before := f.Kept > 0 && size == f.Was.Size
	if before && f.now.ModTime().UnixNano() == f.MTime && f.Was.Sum == [64]byte{} {
		return old, nil
	}
	candidate := before
	for _, p := range f.Placed {
		candidate = candidate || p.Size == size
	}
	if !candidate {
		return other, nil
	}
	sum, err := u.sumOf(ctx, f, s)
	switch {
	case err != nil:
		return other, err
	case before && sum == f.Was.Sum && sum != [64]byte{}:
		return old, nil
	}
	for _, p := range f.Placed {
		if p.Size != size || p.Sum != sum {
			continue
		}
		if p.MTime == 0 || sameSecond(f.now, p.MTime) {
			f.at, f.own = p.Contents, false
			return came, nil
		}
		f.own = true
	}
	return other, nil
}

// sameSecond reports whether a file has the time that an import gave it: the same bytes with
// another time were placed by somebody else. Times of FAT are even seconds.
func sameSecond(fi fs.FileInfo, mtime int64) bool {
	d := fi.ModTime().Unix() - mtime
	return d >= -1 && d <= 1
}

// sumOf is the digest of what lies at a place, from memory or by reading it; zero if it cannot be
// read.
func (u *undo) sumOf(ctx context.Context, f *file, s *durable.Store) ([64]byte, error) {
	cache := u.caches[f.kind]
	if sums, set, ok := cache.Lookup(f.Local, f.now); ok && set&digest.BLAKE2B != 0 {
		return sums.Blake2b, nil
	}
	u.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: f.Local})
	r, now, err := s.OpenFile(f.Local)
	if err != nil {
		return [64]byte{}, nil
	}
	defer r.Close()
	sums, err := digest.Reader(ctx, r, digest.BLAKE2B, nil)
	if ctx.Err() != nil {
		return [64]byte{}, context.Cause(ctx)
	}
	if err = cmp.Or(err, durable.CheckUnchanged(r, now)); err != nil {
		return [64]byte{}, nil
	}
	cache.Put(f.Local, now, sums, digest.BLAKE2B)
	return sums.Blake2b, nil
}
