package ebuilds

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
)

// NotesName is the file of the state directory in which this package remembers.
const NotesName = "repositories"

const (
	notesFormat = 1
	maxNotes    = 8 << 20 // bytes
)

// Tree is a tree that import wrote, as it was when it was complete.
type Tree struct {
	Origin string `json:"origin"`
	Serial int64  `json:"serial"` // the generation that brought it
	Digest string `json:"digest"` // of its contents (layout.Tree)
	Seal   string `json:"seal"`   // of names and status of everything in it
	MTime  int64  `json:"mtime"`  // of everything in it, Unix seconds
	Inode  uint64 `json:"inode"`  // of its directory
	// bytes that it takes on the disk; 0: an older program does not tell
	Allocated int64     `json:"allocated,omitempty"`
	Revision  string    `json:"revision,omitempty"`
	Timestamp time.Time `json:"timestamp,omitzero"`
}

// Coming is a tree that is on its way.
type Coming struct {
	Tree
	Dir        string `json:"dir"`                  // beside the location
	Complete   bool   `json:"complete"`             // unpacked, compared and on the disk
	Exchanging bool   `json:"exchanging,omitempty"` // it is about to get its name, or just got it
	// what the tree is called that had the name, once it lies beside
	Keep string `json:"keep,omitempty"`
	// it is the one that was kept: an import is taken back
	Back bool `json:"back,omitempty"`
	// what has the name came with the same import, which was ended: it is deleted, and what is kept
	// stays kept
	Between bool `json:"between,omitempty"`
}

// Kept is the tree that had the name before, as long as the last import can be undone.
type Kept struct {
	Dir string `json:"dir"` // beside the location; "" if there was none
	// import wrote it; nil: it is the user's, and stays for good
	Own   *Tree `json:"own,omitempty"`
	Since int64 `json:"since,omitempty"` // the generation whose import replaced it
	Going bool  `json:"going,omitempty"` // it is being deleted
	// the import that came after (state.Changed.ID): once that is the one to take back, no undo
	// leads to this tree; over: none does
	Past string `json:"past,omitempty"`
}

// over marks a tree to which no undo leads any more.
const over = "over"

// isWayBack reports whether the undo of an import leads to it; "" is one of repositories alone.
func (k *Kept) isWayBack(change string) bool {
	if k == nil || k.Going || k.Past == over {
		return false
	}
	return k.Past == "" || change != "" && k.Past != change
}

// Note is what is remembered of one repository.
type Note struct {
	Name     string  `json:"name"`
	Location string  `json:"location"`         // where it lies: no link
	Here     *Tree   `json:"here,omitempty"`   // what import brought there; nil: nothing yet
	Coming   *Coming `json:"coming,omitempty"` // what is on its way
	Kept     *Kept   `json:"kept,omitempty"`   // what was there before
}

// Packed is what is remembered of a repository of this host: as long as the seal is the same, so is
// the digest.
type Packed struct {
	Name     string `json:"name"`
	Location string `json:"location"`
	Seal     string `json:"seal"`
	Digest   string `json:"digest"`
}

// Notes are what this machine remembers of repositories. They are saved before and after each
// change of a name.
type Notes struct {
	dir    string
	hook   durable.Hook
	here   map[string]*Note
	packed map[string]Packed
	// an import of repositories has begun, and did not come to its end: what is kept is that one's
	unfinished bool
}

// notesFile is the text of the file.
//
//	{"format":1,"here":[{"name":"gentoo","location":"/var/db/repos/gentoo","here":{…}}],"packed":[…]}
type notesFile struct {
	Format     int      `json:"format"`
	Here       []*Note  `json:"here"`
	Packed     []Packed `json:"packed"`
	Unfinished bool     `json:"unfinished,omitempty"`
}

// NotesError reports that the file cannot be used.
type NotesError struct {
	Path string
	Err  error
}

func (e *NotesError) Error() string { return fmt.Sprintf("state file %q: %v", e.Path, e.Err) }

func (e *NotesError) Unwrap() error { return e.Err }

// Hints name the way out.
func (e *NotesError) Hints(string) []string {
	if hints := fault.NewerHints(e.Err); hints != nil {
		return hints
	}
	return []string{"bring it back from a copy of the state directory",
		fmt.Sprintf("without one: mv %s %s.damaged; every repository counts as this machine's own from then on (import --adopt-repo NAME)", e.Path, e.Path)}
}

// ReadNotes reads what is remembered below the state directory; nothing where there is no such
// file. hook may be nil.
func ReadNotes(stateDir string, hook durable.Hook) (*Notes, error) {
	n := &Notes{dir: stateDir, hook: hook, here: map[string]*Note{}, packed: map[string]Packed{}}
	name := filepath.Join(stateDir, NotesName)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxNotes+1))
	if err != nil {
		return nil, err
	}
	if err := n.parse(data); err != nil {
		return nil, &NotesError{Path: name, Err: err}
	}
	return n, nil
}

func (n *Notes) parse(data []byte) error {
	if len(data) > maxNotes {
		return fmt.Errorf("longer than %d bytes", maxNotes)
	}
	if err := fault.CheckNewer(data, notesFormat); err != nil {
		return err
	}
	var file notesFile
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&file); err != nil {
		return err
	}
	if file.Format != notesFormat {
		return fault.CheckFormat(file.Format, notesFormat)
	}
	for _, note := range file.Here {
		if note == nil {
			return errors.New("an empty note")
		}
		if err := note.check(); err != nil {
			return err
		}
		if n.here[note.Name] != nil {
			return fmt.Errorf("two notes of the repository %q", note.Name)
		}
		n.here[note.Name] = note
	}
	for _, p := range file.Packed {
		n.packed[p.Location] = p
	}
	n.unfinished = file.Unfinished
	return nil
}

// check refuses a note by which a directory could be moved or removed that is none of ours.
func (note *Note) check() error {
	if reason := layout.CheckRepoName(note.Name); reason != "" {
		return fmt.Errorf("the repository %q: %s", note.Name, reason)
	}
	if !filepath.IsAbs(note.Location) || filepath.Clean(note.Location) != note.Location ||
		note.Location == "/" {
		return fmt.Errorf("the repository %q: its location is %q", note.Name, note.Location)
	}
	var names []string
	if c := note.Coming; c != nil {
		names = append(names, c.Dir, c.Keep)
	}
	if note.Kept != nil {
		names = append(names, note.Kept.Dir)
	}
	for _, name := range names {
		if name != "" && (filepath.Base(name) != name || name == "." || name == ".." ||
			name == filepath.Base(note.Location)) {
			return fmt.Errorf("the repository %q: %q is no directory of ours", note.Name, name)
		}
	}
	return nil
}

// Note returns what is remembered of a repository, nil if nothing is.
func (n *Notes) Note(name string) *Note { return n.here[name] }

// All returns what is remembered, by name.
func (n *Notes) All() []*Note {
	list := make([]*Note, 0, len(n.here))
	for _, name := range slices.Sorted(maps.Keys(n.here)) {
		list = append(list, n.here[name])
	}
	return list
}

// Packed returns the digest of a host's repository with that seal, "" if it is not remembered.
func (n *Notes) Packed(location, seal string) string {
	if p := n.packed[location]; p.Seal == seal {
		return p.Digest
	}
	return ""
}

// SavePacked remembers the digests of what was packed, and nothing else of the host's.
func (n *Notes) SavePacked(list []Packed) error {
	now := make(map[string]Packed, len(list))
	for _, p := range list {
		now[p.Location] = p
	}
	if maps.Equal(now, n.packed) {
		return nil
	}
	n.packed = now
	return n.save()
}

// Unfinished reports whether an import of repositories did not come to its end. The trees that it
// keeps are the way back from the one that goes on with it.
func (n *Notes) Unfinished() bool { return n.unfinished }

// Pass marks all trees that are kept as those of an import before the one with the ID next, at once
// and before that one is noted itself: a run that is ended here or there leaves what an undo takes
// back together. Trees to which the undo of the import that is noted by now, "" for none, does not
// lead are left over from a run that was ended.
func (n *Notes) Pass(next, noted string) error {
	any := false
	for _, note := range n.here {
		if note.Kept == nil || note.Kept.Going {
			continue
		}
		if any = true; note.Kept.isWayBack(noted) {
			note.Kept.Past = next
		} else {
			note.Kept.Past = over
		}
	}
	if !any {
		return nil
	}
	return n.save()
}

// Begin marks, with the next change of a note, that an import is on its way.
func (n *Notes) Begin() { n.unfinished = true }

// End notes that it, or its undo, came to its end.
func (n *Notes) End() error {
	if !n.unfinished {
		return nil
	}
	n.unfinished = false
	return n.save()
}

// KeptTree is a tree that was replaced and is kept until the next import.
type KeptTree struct {
	Dir   string // the directory in which it lies
	Bytes int64  // on the disk, as far as that is known
}

// KeptTrees lists those that import wrote: they can be given up. One of the user's stays for good.
func (n *Notes) KeptTrees() (list []KeptTree) {
	for _, note := range n.All() {
		if k := note.Kept; k != nil && k.Own != nil && k.Dir != "" {
			list = append(list, KeptTree{filepath.Dir(note.Location), k.Own.Allocated})
		}
	}
	return list
}

// Unsettled are the directories in which something is kept, or on its way: the next import that
// changes anything writes there, whatever it brings.
func (n *Notes) Unsettled() (dirs []string) {
	for _, note := range n.All() {
		if dir := filepath.Dir(note.Location); (note.Kept != nil || note.Coming != nil) &&
			!slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// put changes a note and saves it; nil forgets it.
func (n *Notes) put(name string, note *Note) error {
	if note == nil {
		delete(n.here, name)
	} else {
		n.here[name] = note
	}
	return n.save()
}

func (n *Notes) save() error {
	state, err := durable.OpenRoot(n.dir, n.hook)
	if err != nil {
		return err
	}
	defer state.Close()
	file := notesFile{Format: notesFormat, Here: n.All(), Packed: []Packed{},
		Unfinished: n.unfinished}
	for _, at := range slices.Sorted(maps.Keys(n.packed)) {
		file.Packed = append(file.Packed, n.packed[at])
	}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	err = state.WriteFile(NotesName, durable.Attr{Mode: durable.SharedFile, UID: -1, GID: -1},
		func(w io.Writer) error {
			_, err := w.Write(append(data, '\n'))
			return err
		})
	if err != nil {
		return fmt.Errorf("remembering the repositories: %w", err)
	}
	return nil
}
