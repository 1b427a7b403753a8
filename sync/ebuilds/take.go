package ebuilds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/volume"
)

// Names beside a location.
const (
	comingInfix = ".pkgsneak-" // .NAME.pkgsneak-N: a tree on its way
	// .NAME.pkgsneak-undo: the one that was replaced, which import wrote
	undoSuffix = ".pkgsneak-undo"
	// NAME.before-pkgsneak: the one that was replaced, which is the user's
	beforeSuffix = ".before-pkgsneak"
)

// ErrRunning reports that Portage runs: eclasses must not change under a build.
var ErrRunning = errors.New("emerge or ebuild runs")

// Taken is what came of a step.
type Taken struct {
	Location string
	Before   string // where the user's own tree lies now; "" if there was none
	Undo     bool   // the tree that was replaced is kept until the next import
}

// Take unpacks the tree of a step beside its location and lets both change places. coming names the
// repositories that come along. The error is a *Refusal or an *ArchiveError if the tree that is
// here stays and the reason lies in the other, ErrRunning if it waits for the next run.
func (s *Site) Take(ctx context.Context, step *Step, coming []string, o Options,
	tell func(files int, bytes int64)) (_ Taken, err error) {
	p, err := s.place(step)
	if err != nil {
		return Taken{}, err
	}
	defer p.close()
	if err := p.clear(step); err != nil {
		return Taken{}, err
	}
	if p.note.Coming == nil {
		if err := p.unpack(ctx, step, tell); err != nil {
			return Taken{}, err
		}
	}
	staged := filepath.Join(filepath.Dir(p.note.Location), p.note.Coming.Dir)
	if refused := checkTree(s.Settings, step.Name, portageLocation(step), staged,
		coming); refused != nil {
		return Taken{}, errors.Join(refused, p.giveUp())
	}
	if running := runningPortage(s.proc()); running != "" {
		return Taken{}, fmt.Errorf("%w: %s", ErrRunning, running)
	}
	return p.exchange(ctx, step, o)
}

// portageLocation is where Portage looks for the repository now: the location, or the one in which
// it lies.
func portageLocation(step *Step) string {
	if filepath.Base(step.Location) == innerName && step.Conf != "" {
		return filepath.Dir(step.Location)
	}
	return step.Location
}

// place is the directory in which a repository lies, and what is remembered of that.
type place struct {
	site *Site
	root *durable.Root // the directory above the location
	base string        // of the location
	note *Note
}

// place opens the place of a step, which is made if it is absent.
func (s *Site) place(step *Step) (*place, error) {
	note := s.Notes.Note(step.Name)
	if note == nil || note.Location != step.Location {
		if note != nil && (note.Coming != nil || note.Kept != nil) {
			if err := s.forget(note); err != nil {
				return nil, err
			}
		}
		note = &Note{Name: step.Name, Location: step.Location}
	}
	if err := os.MkdirAll(filepath.Dir(step.Location), 0o755); err != nil {
		return nil, err
	}
	return s.open(note)
}

func (s *Site) open(note *Note) (*place, error) {
	root, err := durable.OpenRoot(filepath.Dir(note.Location), s.Hook)
	if err != nil {
		return nil, err
	}
	return &place{site: s, root: root, base: filepath.Base(note.Location), note: note}, nil
}

func (p *place) close() { p.root.Close() }

func (p *place) save() error { return p.site.Notes.put(p.note.Name, p.note) }

// forget gives up what was kept or on its way at another location than the one that is wanted now.
func (s *Site) forget(note *Note) error {
	p, err := s.open(note)
	if errors.Is(err, fs.ErrNotExist) {
		return s.Notes.put(note.Name, nil)
	}
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.recover(); err != nil {
		return err
	}
	if err := p.dropKept(); err != nil {
		return err
	}
	return p.giveUp()
}

// clear goes on with what a killed run has left, and gives up what is not wanted any more: another
// tree that was on its way.
func (p *place) clear(step *Step) error {
	if err := p.recover(); err != nil {
		return err
	}
	c := p.note.Coming
	if c == nil || c.Complete && c.Digest == step.offer.Tree.Digest && p.isComing(c) {
		return nil
	}
	return p.giveUp()
}

// isComing reports whether the complete tree on its way is still what it was.
func (p *place) isComing(c *Coming) bool {
	same, _, err := untouched(context.Background(), filepath.Join(p.root.Name(), c.Dir), &c.Tree)
	return same && err == nil
}

// recover finishes an exchange in which a run was killed: whether it was made is told by the inode
// that has the name.
func (p *place) recover() error {
	c := p.note.Coming
	if c == nil || !c.Exchanging {
		return nil
	}
	if p.inode(p.base) == c.Inode {
		return p.settle()
	}
	if c.Exchanging = false; c.Back { // it is the tree that is kept, and stays that
		p.note.Coming = nil
	}
	return p.save()
}

func (p *place) inode(name string) uint64 {
	fi, err := p.root.Lstat(name)
	if err != nil || !fi.IsDir() {
		return 0
	}
	return inodeOf(fi)
}

// giveUp removes the tree on its way, which import wrote.
func (p *place) giveUp() error {
	c := p.note.Coming
	if c == nil {
		return nil
	}
	if c.Complete { // a run that is killed here leaves half a tree
		c.Complete = false
		if err := p.save(); err != nil {
			return err
		}
	}
	if err := p.root.RemoveAll(c.Dir); err != nil {
		return err
	}
	p.note.Coming = nil
	return p.saveOrForget()
}

// saveOrForget saves the note, or forgets it where nothing is in it.
func (p *place) saveOrForget() error {
	if p.note.Here == nil && p.note.Coming == nil && p.note.Kept == nil {
		return p.site.Notes.put(p.note.Name, nil)
	}
	return p.save()
}

// unpack makes the tree beside the location, complete and on the disk.
func (p *place) unpack(ctx context.Context, step *Step,
	tell func(files int, bytes int64)) (err error) {
	if err := p.checkSpace(step); err != nil {
		return err
	}
	offer := &step.offer
	c := &Coming{Dir: "." + p.base + comingInfix + strconv.FormatInt(offer.Serial, 10)}
	if _, err := p.root.Lstat(c.Dir); !errors.Is(err, fs.ErrNotExist) {
		if c.Dir, err = p.freeName(c.Dir + "-"); err != nil {
			return err
		}
	}
	p.note.Coming = c
	if err := p.save(); err != nil { // from now on it is ours to remove
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.giveUp())
		}
	}()
	r, err := offer.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := unpack(ctx, r, p.root, c.Dir, &offer.Tree, p.access(), tell); err != nil {
		return err
	}
	return p.complete(ctx, c, offer)
}

// complete notes that a tree is unpacked, compared and on the disk.
func (p *place) complete(ctx context.Context, c *Coming, offer *Offer) error {
	if err := durable.Syncfs(p.root); err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join(p.root.Name(), c.Dir))
	if err != nil {
		return err
	}
	defer root.Close()
	seen, err := walk(ctx, root, true)
	if err != nil {
		return err
	}
	c.Tree = Tree{Origin: offer.Origin, Serial: offer.Serial, Digest: offer.Tree.Digest,
		Seal: seen.seal, Inode: p.inode(c.Dir), Allocated: seen.allocated(),
		Revision: offer.Tree.Revision, Timestamp: offer.Tree.Timestamp, MTime: seen.newest()}
	c.Complete = true
	return p.save()
}

// checkSpace compares what the tree takes with what is free.
func (p *place) checkSpace(step *Step) error {
	room, err := volume.SpaceAt(p.root.Name())
	if err != nil {
		return err
	}
	average := step.Bytes / int64(max(step.Count, 1))
	need := int64(step.Count)*room.Need(average) + step.Bytes/8
	if need <= room.Free {
		return nil
	}
	return &Refusal{Short: need - room.Free,
		Reason: fmt.Sprintf("there is no room for it in %q: it takes about %s, and %s are free",
			p.root.Name(), fault.Size(need), fault.Size(room.Free)),
		Hints: []string{"make room, then: pkgsneak import DRIVE --repos-only"}}
}

// access is whose the new tree is: what the old one is, or the directory above.
func (p *place) access() Access {
	a := Access{UID: -1, GID: -1, Dir: 0o755}
	fi, err := p.root.Lstat(p.base)
	if err != nil || !fi.IsDir() {
		return a
	}
	a.Dir = fi.Mode().Perm() | 0o700
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		a.UID, a.GID = int(st.Uid), int(st.Gid)
		if a.UID == 0 && a.GID == 0 {
			a.UID, a.GID = -1, -1
		}
	}
	return a
}

// freeName is the first name that nobody has: the stem, or with a number behind it.
func (p *place) freeName(stem string) (string, error) {
	for i := 1; i < 1000; i++ {
		name := stem
		if i > 1 || strings.HasSuffix(stem, "-") {
			name = strings.TrimSuffix(stem, "-") + "-" + strconv.Itoa(i)
		}
		if _, err := p.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%q: a thousand names like %q are taken", p.root.Name(), stem)
}

// exchange gives the tree its name. The step is noted before, so that the next run can go
// on.
func (p *place) exchange(ctx context.Context, step *Step, o Options) (Taken, error) {
	c := p.note.Coming
	c.Between = o.GoesOn && !step.Adopted && p.note.Here != nil &&
		p.note.Kept.isWayBack(o.Change)
	if !c.Between {
		if err := p.dropKept(); err != nil {
			return Taken{}, err
		}
	}
	old, err := p.root.Lstat(p.base)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return Taken{}, err
	}
	c.Keep = ""
	if !absent && !isEmpty(p.note.Location) {
		own, err := p.isOwn(ctx, old, step)
		if err != nil {
			return Taken{}, err
		}
		if c.Between = c.Between && own; !c.Between {
			if c.Keep, err = p.keepName(own); err != nil {
				return Taken{}, err
			}
		}
	}
	c.Exchanging = true
	if err := p.save(); err != nil {
		return Taken{}, err
	}
	if err := p.swap(c, absent); err != nil {
		c.Exchanging = false
		return Taken{}, errors.Join(err, p.save())
	}
	t := Taken{Location: p.note.Location}
	if strings.Contains(c.Keep, beforeSuffix) {
		t.Before = filepath.Join(p.root.Name(), c.Keep)
	}
	if err := p.settle(); err != nil {
		return t, err
	}
	if o.NoUndo && t.Before == "" {
		return t, p.dropKept()
	}
	t.Undo = true
	return t, nil
}

// isOwn makes sure once more, right before the exchange, whose the tree is that has the name.
func (p *place) isOwn(ctx context.Context, old fs.FileInfo, step *Step) (bool, error) {
	if p.note.Here == nil || !old.IsDir() || step.Adopted {
		return false, nil
	}
	same, why, err := untouched(ctx, p.note.Location, p.note.Here)
	if err == nil && !same {
		err = refusal("it was changed here since import brought it ("+why+")",
			adoptHint(p.note.Name))
	}
	return same, err
}

// keepName is what the tree is called that had the name.
func (p *place) keepName(own bool) (string, error) {
	if own {
		return p.freeName("." + p.base + undoSuffix)
	}
	return p.freeName(p.base + beforeSuffix)
}

// swap is the exchange itself: one step for whoever looks, and on the disk when it returns.
func (p *place) swap(c *Coming, absent bool) error {
	var err error
	if absent {
		err = p.root.MoveNew(c.Dir, p.base)
	} else {
		err = durable.Exchange(p.root, p.base, c.Dir)
	}
	if durable.NoExchange(err) {
		return refusal(fmt.Sprintf("the file system of %q cannot let two directories change places (%v)", p.root.Name(), err),
			"mv "+p.note.Location+" "+p.note.Location+beforeSuffix+"; pkgsneak import DRIVE --repos-only")
	}
	if err != nil {
		return err
	}
	return p.root.SyncDir(".")
}

// settle names the old tree and notes the new one, after the exchange.
func (p *place) settle() error {
	c := p.note.Coming
	if c.Back {
		return p.settleBack()
	}
	if c.Between {
		return p.settleBetween()
	}
	kept := &Kept{Dir: c.Keep, Since: c.Serial}
	switch {
	case c.Keep == "": // there was nothing, or an empty directory
		if err := p.root.Remove(c.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	default:
		if strings.HasSuffix(c.Keep, undoSuffix) || strings.Contains(c.Keep, undoSuffix+"-") {
			kept.Own = p.note.Here
		}
		if _, err := p.root.Lstat(c.Dir); err == nil {
			if err := p.root.MoveNew(c.Dir, c.Keep); err != nil {
				return err
			}
		}
	}
	if err := p.root.SyncDir("."); err != nil {
		return err
	}
	here := c.Tree
	p.note.Here, p.note.Coming, p.note.Kept = &here, nil, kept
	return p.save()
}

// settleBetween notes the new tree, and deletes the one that was between it and the one that is
// kept. If somebody has changed that since it was looked at, it is the user's.
func (p *place) settleBetween() error {
	c := p.note.Coming
	dir, here := filepath.Join(p.root.Name(), c.Dir), c.Tree
	same, _, err := untouched(context.Background(), dir, p.note.Here)
	if err != nil {
		return err
	}
	if _, err := p.root.Lstat(c.Dir); err == nil && !same && !isEmpty(dir) {
		name, err := p.freeName(p.base + beforeSuffix)
		if err != nil {
			return err
		}
		if err := p.root.MoveNew(c.Dir, name); err != nil {
			return err
		}
	}
	p.note.Here, c.Complete, c.Exchanging, c.Between = &here, false, false, false
	if err := p.save(); err != nil {
		return err
	}
	return p.giveUp()
}

// dropKept deletes the tree that was replaced before, if import wrote every entry of it; one in
// which something changed since gets the name of a user's.
func (p *place) dropKept() error {
	k := p.note.Kept
	if k == nil {
		return nil
	}
	if k.Own == nil || k.Dir == "" {
		p.note.Kept = nil
		return p.saveOrForget()
	}
	if !k.Going {
		same, _, err := untouched(context.Background(), filepath.Join(p.root.Name(), k.Dir), k.Own)
		if err != nil {
			return err
		}
		if !same {
			return p.rescue(k.Dir)
		}
		k.Going = true
		if err := p.save(); err != nil {
			return err
		}
	}
	if err := p.root.RemoveAll(k.Dir); err != nil {
		return err
	}
	p.note.Kept = nil
	return p.saveOrForget()
}

// rescue gives a tree that was kept, and in which something is not import's, the name of a user's.
func (p *place) rescue(dir string) error {
	if _, err := p.root.Lstat(dir); err == nil {
		name, err := p.freeName(p.base + beforeSuffix)
		if err != nil {
			return err
		}
		if err := p.root.MoveNew(dir, name); err != nil {
			return err
		}
	}
	p.note.Kept = nil
	return p.saveOrForget()
}

// Recover goes on, at the beginning of a run, where a run was killed: no exchange is left half
// noted.
func (s *Site) Recover() error {
	return s.each(func(n *Note) bool {
		return n.Coming != nil && (!n.Coming.Complete || n.Coming.Exchanging)
	}, func(p *place) error {
		if err := p.recover(); err != nil || p.note.Coming == nil || p.note.Coming.Complete {
			return err
		}
		return p.giveUp()
	})
}

// GiveUp removes the trees on their way that are complete and not exchanged: nobody waits for them
// any more.
func (s *Site) GiveUp() error {
	return s.each(func(n *Note) bool {
		return n.Coming != nil && !n.Coming.Exchanging
	}, (*place).giveUp)
}

// DropKept deletes what the import before the last one replaced: it can be undone no more.
func (s *Site) DropKept() error {
	return s.each(func(n *Note) bool { return n.Kept != nil }, (*place).dropKept)
}

// DropPast deletes what is kept, and to which the undo of an import does not lead.
func (s *Site) DropPast(change string) error {
	return s.each(func(n *Note) bool {
		return n.Kept != nil && !n.Kept.isWayBack(change)
	}, (*place).dropKept)
}

// each does something in the places of some notes, but for those that are not there: they may only
// not be mounted.
func (s *Site) each(which func(*Note) bool, do func(*place) error) error {
	for _, note := range s.Notes.All() {
		if !which(note) {
			continue
		}
		p, err := s.open(note)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = do(p)
		p.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Grants are the directories below which repositories of this machine change, for a process that
// confines itself: of those that import brought, of those in adopt, and where new ones come. The
// root directory is none of them.
func (s *Site) Grants(adopt []string) []string {
	var dirs []string
	add := func(dir string) {
		if dir != "/" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	repos, _ := s.Settings.Repos()
	for _, r := range repos {
		at := s.Settings.HostPath(r.Location)
		if s.Notes.Note(r.Name) != nil || slices.Contains(adopt, r.Name) || isEmpty(at) {
			add(filepath.Dir(at))
			add(at)
		}
	}
	for _, note := range s.Notes.All() {
		add(filepath.Dir(note.Location))
	}
	for _, at := range portage.RepoLocations(s.Settings) {
		if at = s.Settings.HostPath(at); filepath.Dir(at) == "/" {
			add(at) // in which it comes to lie
		}
		add(filepath.Dir(at))
	}
	add(s.Settings.HostPath(filepath.Join("/", s.Settings.EPREFIX, "var/db/repos")))
	return dirs
}
