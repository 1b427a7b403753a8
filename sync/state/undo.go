package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pkgsneak/manifest"
	"pkgsneak/sync/payload"
)

// An Undo is what is remembered of the last import that changed anything, so that it can be taken
// back, and of the generations that were.
type Undo struct {
	Change *Changed // nil: there is nothing to take back
	Undone []Undone

	head bool // the files of the import were passed over
}

// Changed is an import: what it found under each name that it changed, and what it put there.
type Changed struct {
	ID    string // names of kept files begin with it (KeptName)
	State ChangeState
	When  time.Time // when it began, whole seconds

	PKGDIR, DISTDIR string
	Drives          []string
	Lists           []string // files of names to exclude that it wrote in the state directory
	Dirs            []string // below PKGDIR: it made them
	Origins         []ChangedOrigin
	Files           []ChangedFile // by kind and name
}

// ChangeState is how far an import, or its undo, is.
type ChangeState string

// The states of a Changed.
const (
	Importing ChangeState = "importing" // not at its end, or ended by a kill
	Imported  ChangeState = "imported"
	Undoing   ChangeState = "undoing" // not at its end, or ended by a kill
)

// ChangedOrigin is a generation of which files came.
type ChangedOrigin struct {
	OriginID
	Serial int64
}

// ChangedFile is a name in PKGDIR or DISTDIR.
type ChangedFile struct {
	Kind   payload.Kind
	Local  string
	Kept   int        // the number under which is kept what had the name; 0: nothing is
	Was    Contents   // of what is kept; the Sum is zero where it is not known
	MTime  int64      // of what is kept, Unix nanoseconds
	Link   string     // what had the name was a symbolic link, to this; it is not kept
	Placed []Incoming // what may have been placed there; empty: the file was removed
	Owners []ChangedOwner
}

// Contents are those of a file.
type Contents struct {
	Size int64    // bytes
	Sum  [64]byte // BLAKE2B-512
}

// Incoming is what an import was about to place, and may have placed.
type Incoming struct {
	Contents
	MTime int64 // that the file was given, Unix seconds; 0: not known
}

// ChangedOwner is an origin's file that lies, or lay, at a changed place.
type ChangedOwner struct {
	Origin int     // in Changed.Origins
	Path   string  // the origin's
	Before *Import // what was remembered of it before; nil: nothing
}

// Undone is a generation that was taken back here.
type Undone struct {
	OriginID
	Serial int64
	When   time.Time // whole seconds
}

// KeptName is how the file with that number is called where it is kept.
func (c *Changed) KeptName(n int) string { return c.ID + "-" + strconv.Itoa(n) }

// IndexName is how the index is called there.
func (c *Changed) IndexName() string { return c.ID + "-index" }

// Prefix begins all names of what is kept of this import.
func (c *Changed) Prefix() string { return c.ID + "-" }

// The file undo (undoName) is JSON, one object a line, each with one key:
//
//	{"format":{"name":"pkgsneak undo","version":1}}
//	{"import":{"id":"…","state":"imported","when":1772366400,"pkgdir":"/var/cache/binpkgs","distdir":"/var/cache/distfiles","drives":["/mnt/usb"],"lists":["exclude-1772366400"]}}
//	{"origin":{"key":"B1C9…","name":"bighost","serial":1772366400}}
//	{"file":{"kind":"packages","local":"app-misc/foo-1.tbz2","kept":1,"size":123,"sum":"9cb2…","mtime":1772366400000000000,"placed":[{"size":124,"sum":"…","mtime":1772366400}],"owners":[{"path":"app-misc/foo-1.tbz2","local":"app-misc/foo-1.tbz2","size":123,"sum":"9cb2…"}]}}
//	{"undone":{"key":"B1C9…","name":"bighost","serial":1772366399,"when":1772366400}}
//	{"end":5}
//
// A name that is not UTF-8 is {"hex":"…"}, and the version is 2 where there is one.
//
// It is written before a name changes, and nothing depends on it but the undo: where it is odd, an
// import begins a new one.
const (
	undoFormat  = "pkgsneak undo"
	undoVersion = 2
	undoPlain   = 1 // all names are UTF-8

	maxUndo       = 256 << 20 // bytes
	maxUndoFiles  = 1_000_000
	maxUndoPlaced = 16
	maxUndone     = 1000
	maxUndoID     = 32
)

// undoLine is a line of the file.
type undoLine struct {
	edges
	Import *changedLine `json:"import,omitempty"`
	Origin *originLine  `json:"origin,omitempty"`
	File   *fileLine    `json:"file,omitempty"`
	Undone *undoneLine  `json:"undone,omitempty"`
}

type changedLine struct {
	ID      string      `json:"id"`
	State   ChangeState `json:"state"`
	When    int64       `json:"when"`
	PKGDIR  text        `json:"pkgdir"`
	DISTDIR text        `json:"distdir"`
	Drives  []text      `json:"drives,omitempty"`
	Lists   []string    `json:"lists,omitempty"`
	Dirs    []text      `json:"dirs,omitempty"`
}

type originLine struct {
	Key    manifest.Fingerprint `json:"key"`
	Name   string               `json:"name"`
	Serial int64                `json:"serial"`
}

type undoneLine struct {
	originLine
	When int64 `json:"when"`
}

type fileLine struct {
	Kind   string         `json:"kind"`
	Local  text           `json:"local"`
	Kept   int            `json:"kept,omitempty"`
	Size   int64          `json:"size,omitempty"`
	Sum    string         `json:"sum,omitempty"`
	MTime  int64          `json:"mtime,omitempty"`
	Link   text           `json:"link,omitempty"`
	Placed []contentsLine `json:"placed,omitempty"`
	Owners []ownerLine    `json:"owners,omitempty"`
}

type contentsLine struct {
	Size  int64  `json:"size"`
	Sum   string `json:"sum"`
	MTime int64  `json:"mtime,omitempty"`
}

type ownerLine struct {
	Origin int    `json:"origin,omitempty"`
	Path   text   `json:"path"`
	Local  text   `json:"local,omitempty"` // "": nothing was remembered
	Size   int64  `json:"size,omitempty"`
	Sum    string `json:"sum,omitempty"`
}

// ReadUndo returns what is remembered; an empty Undo if there is nothing. The error is a *FileError
// if it cannot be used.
func ReadUndo(st *Dir) (*Undo, error) { return readUndo(st, false) }

// ReadUndoHead is ReadUndo without the files of the import, which are counted and not looked at: an
// import of which nothing has to be brought in asks for the rest alone, and they can be many.
// SaveUndo refuses the result.
func ReadUndoHead(st *Dir) (*Undo, error) { return readUndo(st, true) }

// Whole reports whether the files of the import were read.
func (u *Undo) Whole() bool { return !u.head }

func readUndo(st *Dir, head bool) (*Undo, error) {
	data, err := st.read(undoName, maxUndo)
	if errors.Is(err, fs.ErrNotExist) {
		return &Undo{}, nil
	}
	if err != nil {
		return nil, err
	}
	u, line, err := parseUndo(data, head)
	if err != nil {
		return nil, st.odd(undoName, line, err)
	}
	return u, nil
}

// SaveUndo replaces what is remembered.
func SaveUndo(st *Dir, u *Undo) error {
	if u.head {
		return fmt.Errorf("state file %q: not all of it was read", path.Join(st.dir, undoName))
	}
	if err := u.check(); err != nil {
		return fmt.Errorf("state file %q: %w", path.Join(st.dir, undoName), err)
	}
	return st.write(undoName, 0o644, u.write)
}

func (u *Undo) write(w io.Writer) error {
	version := undoPlain
	if u.Change != nil && !u.Change.isUTF8() {
		version = undoVersion
	}
	lines := newLineWriter(w, formatRecord{undoFormat, version})
	if u.Change != nil {
		u.Change.write(lines)
	}
	for _, x := range u.Undone {
		lines.put(undoLine{Undone: &undoneLine{originLine{x.Key, x.Name, x.Serial},
			x.When.Unix()}})
	}
	return lines.end()
}

// isUTF8 reports whether all names are.
func (c *Changed) isUTF8() bool {
	utf := utf8.ValidString(c.PKGDIR+c.DISTDIR) &&
		!slices.ContainsFunc(slices.Concat(c.Drives, c.Dirs), notUTF8)
	for i := range c.Files {
		f := &c.Files[i]
		utf = utf && utf8.ValidString(f.Local) && utf8.ValidString(f.Link)
		for _, o := range f.Owners {
			utf = utf && utf8.ValidString(o.Path) &&
				(o.Before == nil || utf8.ValidString(o.Before.Local))
		}
	}
	return utf
}

func notUTF8(s string) bool { return !utf8.ValidString(s) }

func (c *Changed) write(lines *lineWriter) {
	lines.put(undoLine{Import: &changedLine{c.ID, c.State, c.When.Unix(), text(c.PKGDIR),
		text(c.DISTDIR), textsOf(c.Drives), c.Lists, textsOf(c.Dirs)}})
	for _, o := range c.Origins {
		lines.put(undoLine{Origin: &originLine{o.Key, o.Name, o.Serial}})
	}
	for i := range c.Files {
		lines.put(undoLine{File: c.Files[i].line()})
	}
}

func (f *ChangedFile) line() *fileLine {
	l := &fileLine{Kind: kindName(f.Kind), Local: text(f.Local), Kept: f.Kept, Size: f.Was.Size,
		Sum: sumText(f.Was.Sum), MTime: f.MTime, Link: text(f.Link)}
	for _, p := range f.Placed {
		l.Placed = append(l.Placed, contentsLine{p.Size, sumText(p.Sum), p.MTime})
	}
	for _, o := range f.Owners {
		line := ownerLine{Origin: o.Origin, Path: text(o.Path)}
		if b := o.Before; b != nil {
			line.Local, line.Size, line.Sum = text(b.Local), b.Size, sumText(b.Sum)
		}
		l.Owners = append(l.Owners, line)
	}
	return l
}

// sumText is a sum in hex, "" for the one that is not known.
func sumText(sum [64]byte) string {
	if sum == [64]byte{} {
		return ""
	}
	return hex.EncodeToString(sum[:])
}

// undoFile begins the line of a file, as write spells it.
const undoFile = `{"file":`

// parseUndo is the inverse of write; for a head the lines of files are passed over. The line number
// is that of the error.
func parseUndo(data []byte, head bool) (*Undo, int, error) {
	u := &Undo{head: head}
	passOver := ""
	if head {
		passOver = undoFile
	}
	line, err := parseLines(data, formatRecord{undoFormat, undoVersion}, passOver, u.add)
	if err != nil {
		return nil, line, err
	}
	return u, 0, u.check()
}

func (u *Undo) add(r undoLine) error {
	switch {
	case r.Import != nil:
		i := r.Import
		if u.Change != nil {
			return errors.New("a second import")
		}
		u.Change = &Changed{ID: i.ID, State: i.State, When: time.Unix(i.When, 0).UTC(),
			PKGDIR: string(i.PKGDIR), DISTDIR: string(i.DISTDIR), Drives: stringsOf(i.Drives),
			Lists: i.Lists, Dirs: stringsOf(i.Dirs)}
	case r.Undone != nil:
		u.Undone = append(u.Undone, Undone{OriginID{r.Undone.Key, r.Undone.Name}, r.Undone.Serial,
			time.Unix(r.Undone.When, 0).UTC()})
	case u.Change == nil:
		return errors.New("it belongs to an import, and none is told")
	case r.Origin != nil:
		u.Change.Origins = append(u.Change.Origins,
			ChangedOrigin{OriginID{r.Origin.Key, r.Origin.Name}, r.Origin.Serial})
	case r.File != nil && u.head: // spelled otherwise
	case r.File != nil:
		f, err := r.File.file()
		if err != nil {
			return err
		}
		u.Change.Files = append(u.Change.Files, f)
	}
	return nil
}

func (l *fileLine) file() (ChangedFile, error) {
	f := ChangedFile{Kind: kindOf(l.Kind), Local: string(l.Local), Kept: l.Kept,
		MTime: l.MTime, Link: string(l.Link)}
	var err error
	if f.Was, err = contentsOf(l.Size, l.Sum); err != nil {
		return f, err
	}
	for _, p := range l.Placed {
		c, err := contentsOf(p.Size, p.Sum)
		if err != nil {
			return f, err
		}
		f.Placed = append(f.Placed, Incoming{c, p.MTime})
	}
	for _, o := range l.Owners {
		owner := ChangedOwner{Origin: o.Origin, Path: string(o.Path)}
		if o.Local != "" {
			c, err := contentsOf(o.Size, o.Sum)
			if err != nil {
				return f, err
			}
			owner.Before = &Import{Local: string(o.Local), Size: c.Size, Sum: c.Sum}
		} else if o.Size != 0 || o.Sum != "" {
			return f, fmt.Errorf("%q lay nowhere, and has a size or a sum", o.Path)
		}
		f.Owners = append(f.Owners, owner)
	}
	return f, nil
}

func contentsOf(size int64, sum string) (Contents, error) {
	c := Contents{Size: size}
	if sum != "" && (!parseSum(c.Sum[:], sum) || c.Sum == [64]byte{}) {
		return c, fmt.Errorf("%.140q is not a BLAKE2B-512 sum", sum)
	}
	return c, nil
}

// check refuses what makes no sense, both when it is read and before it is written.
func (u *Undo) check() error {
	if len(u.Undone) > maxUndone {
		return fmt.Errorf("more than %d generations that were undone", maxUndone)
	}
	for _, x := range u.Undone {
		if _, err := canonical(string(x.Key)); err != nil {
			return err
		}
	}
	c := u.Change
	if c == nil {
		return nil
	}
	switch {
	case c.ID == "" || len(c.ID) > maxUndoID || strings.Trim(c.ID, "0123456789abcdef") != "":
		return fmt.Errorf("%.80q is not the name of an import", c.ID)
	case !slices.Contains([]ChangeState{Importing, Imported, Undoing}, c.State):
		return fmt.Errorf("unknown state %.40q", string(c.State))
	case len(c.Files) > maxUndoFiles || len(c.Dirs) > maxUndoFiles:
		return fmt.Errorf("more than %d files", maxUndoFiles)
	}
	for _, o := range c.Origins {
		if _, err := canonical(string(o.Key)); err != nil {
			return err
		}
	}
	for _, name := range c.Lists {
		if name == "" || path.Base(name) != name || name == ".." || name == "." {
			return fmt.Errorf("%.80q is not a name in the state directory", name)
		}
	}
	for _, dir := range c.Dirs {
		if !validPath(dir) || dir == "." {
			return fmt.Errorf("%.80q is no directory below PKGDIR", dir)
		}
	}
	last := ""
	for i := range c.Files {
		f := &c.Files[i]
		key := string(f.Kind) + "/" + f.Local
		if key <= last {
			return fmt.Errorf("%q does not follow %q", key, last)
		}
		last = key
		if err := f.check(len(c.Origins)); err != nil {
			return err
		}
	}
	return nil
}

func (f *ChangedFile) check(origins int) error {
	switch {
	case f.Kind != payload.Package && f.Kind != payload.Distfile:
		return fmt.Errorf("unknown kind %.40q", string(f.Kind))
	case !validPath(f.Local) || f.Local == ".":
		return fmt.Errorf("%.80q is no path below a directory", f.Local)
	case f.Kept < 0 || f.Was.Size < 0 || f.Kept > 0 && f.Link != "":
		return fmt.Errorf("%q: what is kept of it makes no sense", f.Local)
	case len(f.Placed) > maxUndoPlaced:
		return fmt.Errorf("%q was placed more than %d times", f.Local, maxUndoPlaced)
	}
	for _, p := range f.Placed {
		if p.Size < 0 || p.Sum == [64]byte{} {
			return fmt.Errorf("%q: what was placed there makes no sense", f.Local)
		}
	}
	for _, o := range f.Owners {
		if o.Origin < 0 || o.Origin >= origins || o.Path == "" {
			return fmt.Errorf("%q belongs to an origin that is not told", f.Local)
		}
		if b := o.Before; b != nil {
			if err := b.check(o.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Keeps tallies what is kept of an import: files, and their bytes.
func (c *Changed) Keeps() (files int, bytes int64) {
	for i := range c.Files {
		if c.Files[i].Kept > 0 {
			files++
			bytes += c.Files[i].Was.Size
		}
	}
	return files, bytes
}

// WasUndone finds the mark of a generation that was taken back here, and of those before it.
func (u *Undo) WasUndone(id OriginID, serial int64) (Undone, bool) {
	i := slices.IndexFunc(u.Undone, func(x Undone) bool {
		return x.OriginID == id && serial <= x.Serial
	})
	if i < 0 {
		return Undone{}, false
	}
	return u.Undone[i], true
}

// Mark remembers that the generations of the import were taken back, in place of earlier ones of
// the same origins. Of more than can be remembered the oldest go.
func (u *Undo) Mark(at time.Time) {
	for _, o := range u.Change.Origins {
		u.Unmark(o.OriginID)
		u.Undone = append(u.Undone, Undone{o.OriginID, o.Serial, at.UTC().Truncate(time.Second)})
	}
	u.Undone = slices.Delete(u.Undone, 0, max(0, len(u.Undone)-maxUndone))
}

// Unmark forgets that generations of an origin were taken back, and reports whether any was.
func (u *Undo) Unmark(id OriginID) bool {
	before := len(u.Undone)
	u.Undone = slices.DeleteFunc(u.Undone, func(x Undone) bool { return x.OriginID == id })
	return len(u.Undone) < before
}

// ForgetUndo removes what is remembered, where there is no room to write it anew.
func ForgetUndo(st *Dir) error {
	if st.lock == nil {
		return ErrReadOnly
	}
	if err := st.root.Remove(undoName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state directory %q: %w", st.dir, err)
	}
	return st.root.SyncDir(".")
}
