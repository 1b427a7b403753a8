package undo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/distdir"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
)

// run does what was planned.
func (u *undo) run(ctx context.Context) error {
	if u.u.Change == nil {
		return u.runTrees(ctx)
	}
	u.u.Mark(u.m.Now())
	u.c.State = state.Undoing
	if err := state.SaveUndo(u.st, u.u); err != nil {
		return err
	}
	rows := newRows(u)
	if err := rows.catchUp(); err != nil {
		return err
	}
	if u.pkgdir != nil {
		if err := u.runPackages(ctx, rows); err != nil {
			return err
		}
	}
	if u.distdir != nil {
		if err := u.runDistfiles(ctx, rows); err != nil {
			return err
		}
	}
	if err := rows.settle(); err != nil {
		return err
	}
	for _, c := range u.caches {
		if err := c.Save(); err != nil {
			return err
		}
	}
	if err := errors.Join(u.removeLists(), u.saveBack()); err != nil {
		return err
	}
	if err := u.trees.run(ctx, u.report.Repositories); err != nil {
		return err
	}
	return u.end()
}

// runTrees takes repositories back that came alone. Their generations are marked, unless all of
// them stay.
func (u *undo) runTrees(ctx context.Context) error {
	before := slices.Clone(u.u.Undone)
	u.u.Change = u.c
	u.u.Mark(u.m.Now())
	u.u.Change = nil
	if err := state.SaveUndo(u.st, u.u); err != nil {
		return err
	}
	if err := u.trees.run(ctx, u.report.Repositories); err != nil {
		return err
	}
	if slices.ContainsFunc(u.report.Repositories, func(r Repository) bool {
		return r.Reason == ""
	}) {
		return u.history()
	}
	u.u.Undone = before
	return state.SaveUndo(u.st, u.u)
}

// end forgets the note, and what was kept.
func (u *undo) end() error {
	u.relist()
	u.u.Change = nil
	if err := state.SaveUndo(u.st, u.u); err != nil {
		return err
	}
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if kind == payload.Package && u.pkgdir == nil || kind == payload.Distfile &&
			u.distdir == nil {
			continue
		}
		var names []string
		for i := range u.files {
			if u.files[i].kind == kind && u.files[i].Kept > 0 {
				names = append(names, u.files[i].Local)
			}
		}
		if err := u.store(kind).RemoveKept(names, ""); err != nil {
			return err
		}
	}
	return u.history()
}

// relist makes the lists anew, by what was done.
func (u *undo) relist() {
	r := u.report
	r.Removed, r.Restored, r.Stays = r.Removed[:0], r.Restored[:0], r.Stays[:0]
	for i := range u.files {
		f := &u.files[i]
		if f.act != nothing && f.act != stay && !f.done {
			f.act = stay
			if f.reason == "" {
				f.reason = sinceThen
			}
		}
		u.list(f)
	}
}

func (u *undo) history() error {
	if u.m.Unattended {
		return nil
	}
	restored, removed := payload.Count(u.report.Restored), payload.Count(u.report.Removed)
	run := state.Run{When: u.m.Now(), Verb: "undo",
		Result: "taken back" + counted(restored, "restored") + counted(removed, "removed"),
		Files:  restored.Files + removed.Files, Bytes: restored.Bytes + removed.Bytes}
	if n := len(u.report.Stays); n > 0 {
		run.Result += fmt.Sprintf(", %d files stay as they are", n)
	}
	for _, o := range u.report.Origins {
		run.Origin, run.Serial = o.Name, o.Serial
	}
	if len(u.report.Drives) > 0 {
		run.Drive = u.report.Drives[0]
	}
	return u.st.AddRun(run)
}

// runPackages changes PKGDIR, in one transaction with its index.
func (u *undo) runPackages(ctx context.Context, rows *rows) error {
	change := pkgdir.Change{Empty: u.c.Dirs, Like: u.indexBefore()}
	var added []*file
	for i := range u.files {
		f := &u.files[i]
		if f.kind != payload.Package {
			continue
		}
		switch f.act {
		case remove:
			change.Remove = append(change.Remove, pkgdir.Owned{Path: f.Local, Verified: f.now})
		case restore, replace, beside:
			in, err := u.incoming(ctx, f, change.Like)
			if err != nil {
				f.act, f.reason = stay, "what the import replaced is no package: "+fault.Text(err)
				continue
			}
			change.Add, added = append(change.Add, in), append(added, f)
		}
	}
	change.Placing = func(places []pkgdir.Placed) error {
		for _, p := range places {
			added[p.Index].local = p.Local
		}
		return rows.note(payload.Package)
	}
	r, err := u.pkgdir.Commit(ctx, change, reindex.Writing(u.m, u.w))
	if err != nil {
		return err
	}
	u.report.Packages = r.Packages
	for _, p := range r.Placed {
		f := added[p.Index]
		f.local, f.done = p.Local, true
		u.remember(f)
	}
	for _, p := range r.Skipped {
		added[p.Index].reason = p.Reason
	}
	for i := range u.files {
		if f := &u.files[i]; f.act == remove && f.kind == payload.Package {
			f.done = slices.Contains(r.Removed, f.Local) || u.absent(f)
		}
	}
	return nil
}

func (u *undo) absent(f *file) bool {
	_, err := u.store(f.kind).Lstat(f.Local)
	return errors.Is(err, fs.ErrNotExist)
}

// remember puts the digest of a file that is back into the cache, where it is known.
func (u *undo) remember(f *file) {
	if f.Was.Sum == [64]byte{} {
		return
	}
	if fi, err := u.store(f.kind).Lstat(f.local); err == nil {
		u.caches[f.kind].Put(f.local, fi, digest.Sums{Size: f.Was.Size, Blake2b: f.Was.Sum},
			digest.BLAKE2B)
	}
}

// indexBefore is the index as the import found it; an empty one if there was none that can be read.
func (u *undo) indexBefore() *pkgindex.Index {
	name, _, err := u.pkgdir.Kept("Packages", u.c.IndexName())
	if err != nil {
		return &pkgindex.Index{}
	}
	f, _, err := u.pkgdir.OpenFile(name)
	if err != nil {
		return &pkgindex.Index{}
	}
	defer f.Close()
	x, err := pkgindex.ReadLocal(f, nil)
	if err != nil || !x.Header.Supported() {
		return &pkgindex.Index{}
	}
	return x
}

// incoming is a package that is put back. Its entry is that of the index before the import; a
// package that was not in there is read.
func (u *undo) incoming(ctx context.Context, f *file,
	before *pkgindex.Index) (pkgdir.Incoming, error) {
	in := pkgdir.Incoming{Path: f.Local, Size: f.Was.Size, Kept: f.kept, Sum: f.Was.Sum}
	if f.act == replace {
		in.Replaces = &pkgdir.Owned{Path: f.Local, Verified: f.now}
	}
	r, fi, err := u.pkgdir.OpenFile(f.kept)
	if err != nil {
		return in, err
	}
	defer r.Close()
	in.ModTime = fi.ModTime()
	for _, e := range before.Entries {
		size, _ := e.Size()
		mtime, _ := e.MTime()
		if e.Path() == f.Local && size == fi.Size() && mtime == fi.ModTime().Unix() &&
			e.Get("MD5") != "" {
			in.Entry = pkgindex.Rebase(e, before.Header, pkgindex.Header{})
			return in, nil
		}
	}
	pkg, err := binpkg.Read(r, fi.Size(), f.Local)
	if err != nil {
		return in, err
	}
	entry, err := pkgindex.NewEntry(pkg.Get)
	if err != nil {
		return in, err
	}
	if _, err := r.Seek(0, 0); err != nil {
		return in, err
	}
	sums, err := digest.Reader(ctx, r, pkgindex.IndexHashes, nil)
	if err != nil {
		return in, err
	}
	in.Entry, err = entry.With("MD5", digest.Hex(sums.MD5[:]), "SHA1", digest.Hex(sums.SHA1[:]))
	return in, err
}

// runDistfiles changes DISTDIR.
func (u *undo) runDistfiles(ctx context.Context, rows *rows) error {
	if err := rows.note(payload.Distfile); err != nil {
		return err
	}
	var back []distdir.Incoming
	byName := make(map[string]*file)
	for i := range u.files {
		f := &u.files[i]
		if f.kind != payload.Distfile {
			continue
		}
		switch f.act {
		case remove:
			gone, err := u.distdir.Remove(f.Local, f.now)
			if err != nil {
				return err
			}
			f.done = gone || u.absent(f)
		case restore, replace:
			in := distdir.Incoming{Name: f.Local, Size: f.Was.Size, Sum: f.Was.Sum, Kept: f.kept}
			if f.act == replace {
				in.Replaces = f.now
			}
			back = append(back, in)
			byName[f.Local] = f
		}
	}
	r, err := u.distdir.Place(ctx, back)
	if err != nil {
		return err
	}
	for _, name := range r.Placed {
		byName[name].done = true
		u.remember(byName[name])
	}
	for _, p := range r.Skipped {
		byName[p.Name].reason = p.Reason
	}
	return u.distdir.Sync()
}

// removeLists removes the lists of names to exclude that the import wrote.
func (u *undo) removeLists() error {
	if len(u.c.Lists) == 0 {
		return nil
	}
	root, err := durable.OpenRoot(u.m.StateDir, u.m.Hook)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range u.c.Lists {
		if !strings.HasPrefix(name, "exclude-") {
			continue
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// counted tells what became of some files, for status; "" of none.
func counted(t payload.Tally, did string) string {
	if t.Files == 0 {
		return ""
	}
	return fmt.Sprintf(", %d %s (%s)", t.Files, did, fault.Size(t.Bytes))
}
