package importer

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
)

// Until the next import changes anything, the last one can be taken back (package undo): what it
// replaces or removes is kept in a directory of the same Store (durable.Keeper), and what it
// changes is noted before any name does (state.Undo). A run that is ended leaves the note open; the
// next one goes on with it, so that an undo leads to before the first of them. Nothing of this ever
// ends an import: where it fails, or takes the space that an import needs, it is given up and told.

// readUndo reads what is remembered, with or without the files. An odd file is begun anew.
func readUndo(op *operation, read func(*state.Dir) (*state.Undo, error)) error {
	u, err := read(op.st)
	var odd *state.FileError
	if errors.As(err, &odd) {
		op.note("%v: an earlier import cannot be taken back", err)
		u, err = &state.Undo{}, nil
	}
	op.undo = u
	return err
}

// completeUndo reads the files as well, unless this run is to leave the note as it is.
func completeUndo(op *operation) error {
	u := op.undo
	ended := u.Change == nil || u.Change.State == state.Imported
	if u.Whole() || !op.busy() && ended && len(u.Undone) == 0 {
		return nil
	}
	return readUndo(op, state.ReadUndo)
}

// skipUndone passes over the generations that were taken back here, where nobody asks for them:
// auto would bring them in again with every drive. A person may.
func skipUndone(op *operation) {
	op.origins = slices.DeleteFunc(op.origins, func(in *incoming) bool {
		mark, undone := op.undo.WasUndone(in.id, in.gen.Serial())
		switch {
		case !undone:
			return false
		case !op.m.Unattended:
			in.undone = mark.When
			return false
		}
		op.note("origin %q: this generation was taken back here at %s and is passed over; by hand: pkgsneak import %s", in.Plan.Origin,
			fault.Time(mark.When), fault.Quote(in.at))
		op.report.Origins = slices.DeleteFunc(op.report.Origins, func(o *OriginImport) bool {
			return o == in.OriginImport
		})
		op.report.Undone++
		closeSources(in)
		return true
	})
}

// noteUndone tells of generations that were taken back here and that somebody asks for. An undo
// that was ended may have left everything in its place.
func noteUndone(op *operation) {
	for _, in := range op.origins {
		switch {
		case in.undone.IsZero():
		case op.busy():
			op.note("origin %q: this generation was taken back here at %s; it is brought in again",
				in.Plan.Origin, fault.Time(in.undone))
		default:
			op.note("origin %q: this generation was to be taken back here at %s, and all of it is here",
				in.Plan.Origin, fault.Time(in.undone))
		}
	}
}

// rowsBefore are the rows of an origin before anything is brought in, by kind and the origin's
// path.
type rowsBefore map[payload.Kind]map[string]state.Import

// keeping notes what an import changes, and keeps what it replaces.
type keeping struct {
	op      *operation
	before  map[*incoming]rowsBefore
	old     []state.ChangedFile // of the import before, if that kept anything in these directories
	change  *state.Changed      // of this import
	files   map[string]*state.ChangedFile
	dirs    map[string]bool // below PKGDIR: they were looked at
	last    int             // highest number of a kept file
	keepers map[payload.Kind]*durable.Keeper
	begun   bool   // the change is noted
	off     string // why nothing is kept; "" if it is
}

var errGivenUp = errors.New("given up")

const notWanted = "--no-undo"

func newKeeping(op *operation) *keeping {
	k := &keeping{op: op, before: make(map[*incoming]rowsBefore),
		files: make(map[string]*state.ChangedFile),
		dirs:  make(map[string]bool), keepers: make(map[payload.Kind]*durable.Keeper)}
	for _, in := range op.origins {
		k.before[in] = make(rowsBefore)
		for kind, rows := range in.imports {
			k.before[in][kind] = maps.Clone(rows)
		}
	}
	if op.o.NoUndo {
		k.off = notWanted
	}
	c := op.undo.Change
	if sameDirs(op.m, c) {
		k.old = c.Files
		if goesOn(op.m, c) {
			k.change = c
			for _, dir := range c.Dirs {
				k.dirs[dir] = true
			}
			for i := range c.Files {
				f := c.Files[i]
				k.files[placeKey(f.Kind, f.Local)], k.last = &f, max(k.last, f.Kept)
			}
		}
	}
	if k.change == nil {
		k.change = &state.Changed{ID: newChangeID(),
			When: op.m.Now().UTC().Truncate(time.Second), PKGDIR: op.m.PKGDIR,
			DISTDIR: op.m.DISTDIR}
	}
	return k
}

func newChangeID() string {
	var id [8]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// goesOn reports whether an import goes on with a change that was ended before its end. The
// files that are kept of it are then its own.
func goesOn(m machine.Machine, c *state.Changed) bool {
	return sameDirs(m, c) && c.State != state.Imported
}

func placeKey(kind payload.Kind, local string) string { return string(kind) + "/" + local }

// keeper is that of a kind, which is about to be changed; nil if nothing is kept.
func (k *keeping) keeper(kind payload.Kind) *durable.Keeper {
	if k.off == "" && k.keepers[kind] == nil {
		keeper, err := k.op.client.store(kind).Keeper()
		if err != nil {
			k.off = fault.Text(err)
			return nil
		}
		k.keepers[kind] = keeper
	}
	return k.keepers[kind]
}

// placed is a file that is about to lie somewhere, or to be removed.
type placed struct {
	*task
	at      string // here
	mtime   int64  // that it gets, Unix seconds
	removed bool
}

// note notes durably what is about to happen to files. Their keepers are there.
func (k *keeping) note(list []placed) {
	if len(list) == 0 {
		return
	}
	k.op.repos.pass(k.op, k.change.ID)
	if k.off == "" {
		for _, p := range list {
			k.add(p)
		}
		k.change.State = state.Importing
		if err := k.save(k.change); err != nil {
			k.giveUp(fault.Text(err))
		}
	}
	if k.off != "" && !k.begun { // what an earlier import keeps is no way back any more
		k.giveUp(k.off)
	}
	k.begun = true
	k.op.repos.dropOld(k.op)
}

// add notes one file. The first contents of a name are those that an undo brings back.
func (k *keeping) add(p placed) {
	kind := p.kind
	key := placeKey(kind, p.at)
	f := k.files[key]
	if f == nil {
		f = &state.ChangedFile{Kind: kind, Local: p.at}
		k.files[key] = f
		if p.kind == payload.Package && !p.removed {
			k.addDirs(p.at)
		}
		if p.seen != nil && p.at == p.local {
			k.addOld(f, p)
		}
	}
	if f.Kept > 0 {
		k.keepers[p.kind].Expect(p.at, k.change.KeptName(f.Kept))
	}
	c := state.Incoming{Contents: state.Contents{Size: p.item.Size, Sum: p.item.Sum},
		MTime: p.mtime}
	if !p.removed && !slices.Contains(f.Placed, c) {
		f.Placed = append(f.Placed, c)
	}
	for _, o := range p.owners {
		n := k.origin(o.in)
		if slices.ContainsFunc(f.Owners, func(x state.ChangedOwner) bool {
			return x.Origin == n &&
				x.Path == o.path
		}) {
			continue
		}
		x := state.ChangedOwner{Origin: n, Path: o.path}
		if row, known := k.before[o.in][p.kind][o.path]; known {
			x.Before = &row
		}
		f.Owners = append(f.Owners, x)
	}
}

// addOld notes what has the name now.
func (k *keeping) addOld(f *state.ChangedFile, p placed) {
	if !p.seen.Mode().IsRegular() {
		if target, err := os.Readlink(filepath.Join(k.op.dirOf(p.kind), p.at)); err == nil {
			f.Link = target
		}
		return
	}
	k.last++
	f.Kept, f.MTime, f.Was.Size = k.last, p.seen.ModTime().UnixNano(), p.seen.Size()
	for _, o := range p.owners {
		if row, known := k.before[o.in][p.kind][o.path]; known && row.Local == p.at &&
			row.Size == f.Was.Size {
			f.Was.Sum = row.Sum
		}
	}
}

// addDirs notes the directories that will be made for a package.
func (k *keeping) addDirs(name string) {
	for dir := path.Dir(name); dir != "." && !k.dirs[dir]; dir = path.Dir(dir) {
		if _, err := k.op.client.pkgdir.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			k.change.Dirs = append(k.change.Dirs, dir)
		}
		k.dirs[dir] = true
	}
}

// origin is the number of an origin in the note.
func (k *keeping) origin(in *incoming) int {
	o := state.ChangedOrigin{OriginID: in.id, Serial: in.gen.Serial()}
	i := slices.IndexFunc(k.change.Origins, func(x state.ChangedOrigin) bool {
		return x.OriginID == o.OriginID
	})
	if i < 0 {
		k.change.Origins = append(k.change.Origins, o)
		return len(k.change.Origins) - 1
	}
	k.change.Origins[i].Serial = max(k.change.Origins[i].Serial, o.Serial)
	return i
}

// save writes the note; nil takes it away.
func (k *keeping) save(c *state.Changed) error {
	if c != nil {
		for _, d := range k.op.drives {
			if !slices.Contains(c.Drives, d.path) {
				c.Drives = append(c.Drives, d.path)
			}
		}
		c.Files = c.Files[:0:0]
		for _, f := range k.files {
			c.Files = append(c.Files, *f)
		}
		slices.SortFunc(c.Files, func(a, b state.ChangedFile) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Local, b.Local))
		})
	}
	k.op.undo.Change = c
	return state.SaveUndo(k.op.st, k.op.undo)
}

// giveUp ends the keeping, with the reason. The rest of it goes.
func (k *keeping) giveUp(why string) {
	k.off = why
	for _, keeper := range k.keepers {
		keeper.Stop(errGivenUp)
	}
	err := k.save(nil)
	if err != nil {
		err = state.ForgetUndo(k.op.st) // needs no room
	}
	if err == nil {
		k.removeKept("")
	}
}

// bytesAt is what this import keeps so far on the file system of a directory.
func (k *keeping) bytesAt(dir string) (bytes int64) {
	for _, f := range k.files {
		if f.Kept > 0 && k.off == "" && sameDevice(k.op.dirOf(f.Kind), dir) {
			bytes = payload.Plus(bytes, f.Was.Size)
		}
	}
	for _, t := range k.op.repos.site.Notes.KeptTrees() {
		if sameDevice(t.Dir, dir) {
			bytes = payload.Plus(bytes, t.Bytes)
		}
	}
	return bytes
}

// giveUpOld gives up what an earlier import keeps, for the room that it takes, and reports whether
// there was any.
func (k *keeping) giveUpOld() bool {
	files := keptHere(k.op.m, k.op.undo, payload.Package) + keptHere(k.op.m, k.op.undo,
		payload.Distfile)
	if k.begun || files == 0 && len(k.op.repos.old()) == 0 {
		return false
	}
	next := newChangeID()
	k.op.repos.pass(k.op, next)
	if err := k.save(nil); err != nil && state.ForgetUndo(k.op.st) != nil {
		return false
	}
	k.removeKept("")
	k.op.repos.dropOld(k.op)
	k.op.note("the room that the undo of the last import took is needed: that import cannot be taken back any more")
	undo := k.op.undo
	*k = *newKeeping(k.op)
	k.change.ID = next // nothing is noted, so that it is a new one
	return undo.Change == nil
}

// endOld ends the note of an earlier import, which a run of ebuild repositories alone is about to
// follow: an undo would take back both.
func (k *keeping) endOld() error {
	c := k.op.undo.Change
	if k.begun {
		return nil
	}
	k.op.repos.pass(k.op, k.change.ID)
	if c == nil || c.State != state.Imported {
		return nil
	}
	if err := k.save(nil); err != nil {
		return err
	}
	k.removeKept("")
	return nil
}

// removeKept removes what is kept in PKGDIR and DISTDIR, but for names with a prefix.
func (k *keeping) removeKept(prefix string) {
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		s := k.op.client.store(kind)
		if s == nil || k.op.client.blocked[kind] != "" {
			continue
		}
		var files []string
		for _, f := range k.old {
			if f.Kept > 0 && f.Kind == kind {
				files = append(files, f.Local)
			}
		}
		for _, f := range k.files {
			if f.Kept > 0 && f.Kind == kind {
				files = append(files, f.Local)
			}
		}
		s.RemoveKept(files, prefix) // the next import tries again
	}
}

// finish closes the note when everything is in its place.
func (k *keeping) finish() error {
	marks := false
	for _, in := range k.op.origins {
		for _, id := range append(slices.Clone(in.former), in.known, in.id) {
			marks = k.op.undo.Unmark(id) || marks
		}
	}
	open := k.op.undo.Change != nil && k.op.undo.Change.State == state.Importing
	if !k.begun && !open {
		if k.op.repos.taken() && k.off == "" { // the repositories' own notes are the way back
			k.op.report.Undo = &UndoNote{}
		}
		if marks {
			return state.SaveUndo(k.op.st, k.op.undo)
		}
		return nil
	}
	for _, keeper := range k.keepers {
		if err := keeper.Err(); err != nil && k.off == "" {
			k.giveUp(fault.Text(err))
		}
	}
	k.op.report.Undo = &UndoNote{}
	if k.off != "" {
		k.op.report.Undo.Problem = k.off
		return nil
	}
	k.change.State = state.Imported
	if file := k.op.report.ExcludeFile; file != "" &&
		filepath.Dir(file) == filepath.Clean(k.op.m.StateDir) &&
		!slices.Contains(k.change.Lists, filepath.Base(file)) {
		k.change.Lists = append(k.change.Lists, filepath.Base(file))
	}
	if err := k.save(k.change); err != nil {
		k.giveUp(fault.Text(err))
		k.op.report.Undo.Problem = k.off
		return nil
	}
	t := &k.op.report.Undo.Kept
	t.Files, t.Bytes = k.change.Keeps()
	k.removeKept(k.change.Prefix())
	return nil
}
