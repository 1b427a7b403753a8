package pkgdir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"time"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/pkgindex"
)

// An Owned file is one in PKGDIR that the caller has recorded as an origin's: when it had this
// status, its digest was the one that was remembered. It is touched only while the status is the
// same.
type Owned struct {
	Path     string
	Verified fs.FileInfo // by Scan, Lstat or OpenFile of the Dir
}

// An Incoming package is staged and will get a name.
type Incoming struct {
	Path    string    // the wanted one
	Size    int64     // bytes
	ModTime time.Time // whole seconds; the file will have it
	Sum     [64]byte  // BLAKE2B-512, under which it is staged
	// Entry is its future entry in the index. MD5 and SHA1 are the caller's; PATH, SIZE and
	// MTIME are set here.
	Entry pkgindex.Entry
	// Replaces is the older file of the origin that this one takes the place of, nil for none. At
	// Path it is renamed over; elsewhere it is removed.
	Replaces *Owned
	// Kept is where the file lies below PKGDIR that was there before and is put back as it is, with
	// owner, mode and time (durable.KeptDir); "" for a staged one.
	Kept string
}

// A Change is what an import does to a PKGDIR, as a whole.
type Change struct {
	Add    []Incoming
	Remove []Owned
	// Placing is called under the lock when all names are decided and before anything has moved, so
	// that they can be remembered first; again if a name was taken at the last moment. An error
	// ends the transaction.
	Placing func([]Placed) error
	// Keep keeps the files that are replaced or removed, and the index as Snapshot; nil: nothing.
	Keep     *durable.Keeper
	Snapshot string // "": the index is not kept
	// Like is the index as it was at another time: an entry that fits its file takes the place of
	// one that was read, and the order is its own, with further entries behind. nil: no other
	// index.
	Like *pkgindex.Index
	// Empty are directories below PKGDIR that go, too, if they are empty in the end.
	Empty []string
}

// Placed is where an Incoming package went.
type Placed struct {
	Index         int // in Change.Add
	Wanted, Local string
	Sum           [64]byte
	ModTime       time.Time
}

// Skipped is why an Incoming package could not be placed; Path is the wanted one.
type Skipped struct {
	Index int // in Change.Add
	Problem
}

// Commit carries out a change, and brings the rest of the index up to date as Reindex does. See the
// package comment for the order. It is complete when it returns nil, except for what Report.Kept
// and Report.Skipped list. An empty change is a Reindex.
func (d *Dir) Commit(ctx context.Context, c Change, o Options) (*Report, error) {
	r, err := d.commit(ctx, c, o)
	if err != nil {
		return nil, fmt.Errorf("changing %q: %w", d.Path(), err)
	}
	return r, nil
}

func (d *Dir) commit(ctx context.Context, c Change, o Options) (*Report, error) {
	if len(c.Add)+len(c.Remove) == 0 && c.Like == nil {
		return d.renew(ctx, nil, o)
	}
	prepared, err := d.prepare(ctx, c, o)
	if err != nil {
		return nil, err
	}
	return d.renew(ctx, prepared, o)
}

// change is a Change whose files are ready to be renamed, and what it comes to under the lock.
type change struct {
	Change
	d      *Dir
	o      Options
	access access
	staged []string // where the file of each Add lies
	target []string // its name, decided under the lock; "" if it is skipped
	over   []bool   // target is renamed over, not to
	delete []string
	gone   map[string]bool // paths whose old entries go: replaced or removed
	// promised are the targets.
	promised map[string]bool
	touched  map[string]bool // directories whose names changed
}

// prepare gives the staged files their owner, mode and time and puts them on the disk.
func (d *Dir) prepare(ctx context.Context, c Change, o Options) (*change, error) {
	p := &change{
		Change: c, d: d, o: o, staged: make([]string, len(c.Add)), target: make([]string,
			len(c.Add)), over: make([]bool, len(c.Add)),
		gone: map[string]bool{}, promised: map[string]bool{}, touched: map[string]bool{},
	}
	var err error
	if p.access, err = d.access(); err != nil {
		return nil, err
	}
	used := map[string]bool{}
	var fresh []string
	for i, a := range c.Add {
		if a.Kept != "" {
			p.staged[i] = a.Kept
			continue
		}
		name := d.Staging().Path(a.Sum)
		if used[name] {
			o.at("copy duplicate")
			if name, err = d.Staging().Copy(ctx, a.Sum, i); err != nil {
				return nil, err
			}
		}
		used[name] = true
		p.staged[i], fresh = name, append(fresh, name)
		o.at("prepare " + a.Path)
		if err := p.prepareFile(name, a); err != nil {
			return nil, fmt.Errorf("preparing %q: %w", a.Path, err)
		}
	}
	if err := d.root.SyncFiles(ctx, fresh); err != nil {
		return nil, err
	}
	return p, nil
}

func (c *change) prepareFile(name string, a Incoming) error {
	fi, err := c.d.root.Lstat(name)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() != a.Size {
		return fmt.Errorf("staged are %d bytes instead of %d", fi.Size(), a.Size)
	}
	if err := c.d.root.SetAccess(name, c.access.gid, c.access.file()); err != nil {
		return err
	}
	return c.d.root.Chtimes(name, a.ModTime, a.ModTime)
}

// transact runs under the lock. From the first rename on it does not stop for the end of ctx: the
// rest is short, and the index must follow the files.
func (c *change) transact(ctx context.Context, p *plan, report *Report) error {
	c.decide(report)
	if err := c.distinguish(p); err != nil {
		return err
	}
	if err := c.tellPlaces(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.Snapshot != "" && p.usable {
		c.Keep.Snapshot(p.indexName, c.Snapshot)
	}
	if c.without(p) {
		if err := c.d.writeIndex(p, report, c.o); err != nil {
			return err
		}
	}
	if err := c.move(report); err != nil {
		// The files that have moved, and those that have not, are indexed all the same.
		_, again := c.d.renewLocked(context.WithoutCancel(ctx), nil, map[string]described{}, c.o)
		return errors.Join(err, again)
	}
	if err := c.finish(p, report); err != nil {
		return err
	}
	// those below come first
	for _, dir := range slices.Backward(slices.Sorted(slices.Values(c.Empty))) {
		if fi, err := c.d.root.Lstat(dir); err == nil && fi.IsDir() {
			c.d.root.Remove(dir) // one with anything in it stays
		}
	}
	return nil
}

// decide finds out what still is the origin's, and which names there will be.
func (c *change) decide(report *Report) {
	for _, owned := range c.Remove {
		if c.stillOwned(owned, report) {
			c.delete = append(c.delete, owned.Path)
			c.gone[owned.Path] = true
		}
	}
	for i, a := range c.Add {
		if r := a.Replaces; r != nil && c.stillOwned(*r, report) && !c.gone[r.Path] {
			c.gone[r.Path] = true
			if c.over[i] = r.Path == a.Path; !c.over[i] {
				c.delete = append(c.delete, r.Path)
			}
		}
		if c.over[i] {
			c.promise(i, a.Path)
		}
	}
	for i, a := range c.Add {
		if c.over[i] {
			continue
		}
		name, err := c.choose(a)
		if err != nil {
			report.Skipped = append(report.Skipped,
				Skipped{i, Problem{Path: a.Path, Reason: reasonOf(err)}})
			continue
		}
		c.promise(i, name)
	}
}

func (c *change) promise(i int, name string) {
	c.target[i] = name
	c.promised[name] = true
}

// stillOwned reports whether a file is there and unchanged. A changed one is somebody's own.
func (c *change) stillOwned(o Owned, report *Report) bool {
	fi, err := c.d.root.Lstat(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil && o.Verified != nil && durable.Unchanged(fi, o.Verified) {
		return true
	}
	reason := "changed since it was compared"
	if err != nil {
		reason = reasonOf(err)
	}
	report.Kept = append(report.Kept, Problem{Path: o.Path, Reason: reason})
	return false
}

// choose returns the wanted name or, if that is taken, the next free one.
func (c *change) choose(a Incoming) (string, error) {
	var failed error
	taken := func(p string) bool {
		if c.promised[p] || c.gone[p] {
			return c.promised[p]
		}
		_, err := c.d.root.Lstat(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && failed == nil {
			failed = err
		}
		return err == nil
	}
	name, err := binpkg.ParseName(a.Path)
	if err != nil {
		return "", err
	}
	if !fits(a.Entry, File{Name: name}) {
		return "", fmt.Errorf("its index entry is that of %q", a.Entry.CPV())
	}
	if err := c.checkDirs(a.Path); err != nil {
		return "", err
	}
	free := a.Path
	if taken(free) {
		free, err = binpkg.FreePath(a.Path, path.Dir(a.Entry.CPV()), taken)
		if err == nil {
			err = c.checkDirs(free)
		}
	}
	return free, errors.Join(err, failed)
}

// checkDirs refuses a path through anything but real directories: Portage does not follow links
// when it looks for packages.
func (c *change) checkDirs(name string) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		fi, err := c.d.root.Lstat(dir)
		if err == nil && !fi.IsDir() {
			return fmt.Errorf("%q is not a directory", dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (c *change) tellPlaces() error {
	if c.Placing == nil {
		return nil
	}
	return c.Placing(c.places(func(i int) bool { return c.target[i] != "" }))
}

func (c *change) places(which func(i int) bool) []Placed {
	var places []Placed
	for i, a := range c.Add {
		if which(i) {
			places = append(places, Placed{i, a.Path, c.target[i], a.Sum, a.ModTime})
		}
	}
	return places
}

// distinguish gives a package a later time if Portage would take it for another one that is
// indexed: it looks up digests by exactly that, finds the other's, and renames the package away.
func (c *change) distinguish(p *plan) error {
	taken := map[pkgindex.Instance]string{} // MD5
	for _, e := range p.entries {
		if !c.gone[e.Path()] {
			taken[pkgindex.InstanceKey(e)] = e.Get("MD5")
		}
	}
	for i := range c.Add {
		if c.target[i] == "" {
			continue
		}
		a := &c.Add[i]
		for {
			e, err := a.Entry.With("SIZE", strconv.FormatInt(a.Size, 10), "MTIME",
				strconv.FormatInt(a.ModTime.Unix(), 10))
			if err != nil {
				return fmt.Errorf("package %q: %w", a.Path, err)
			}
			key := pkgindex.InstanceKey(e)
			if md5, ok := taken[key]; !ok || md5 == e.Get("MD5") {
				taken[key] = e.Get("MD5")
				break
			}
			a.ModTime = a.ModTime.Add(time.Second)
			c.o.at("distinguish " + a.Path)
			if err := c.d.root.Chtimes(c.staged[i], a.ModTime, a.ModTime); err != nil {
				return fmt.Errorf("package %q: %w", a.Path, err)
			}
		}
	}
	return nil
}

// without takes the entries out of p whose files will go, and reports whether the index on the disk
// has any of them.
func (c *change) without(p *plan) bool {
	p.entries = slices.DeleteFunc(slices.Clone(p.entries), func(e pkgindex.Entry) bool {
		return c.gone[e.Path()]
	})
	return p.usable && slices.ContainsFunc(p.index.Entries, func(e pkgindex.Entry) bool {
		return c.gone[e.Path()]
	})
}

// move does what can be seen: it removes and renames.
func (c *change) move(report *Report) error {
	removing := map[string]bool{}
	for _, r := range c.Remove {
		removing[r.Path] = true
	}
	for _, name := range c.delete {
		c.o.at("remove " + name)
		if !c.Keep.Remove(name) {
			if err := c.d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing: %w", err)
			}
		}
		c.touched[path.Dir(name)] = true
		if removing[name] {
			report.Removed = append(report.Removed, name)
		}
	}
	for i := range c.Add {
		if c.target[i] == "" {
			continue
		}
		if c.over[i] && c.Keep.Replaced(c.target[i]) {
			c.over[i] = false
		}
		if err := c.place(i); err != nil {
			return fmt.Errorf("placing %q: %w", c.Add[i].Path, err)
		}
	}
	return c.syncDirs()
}

// place renames the i-th package to its name, or to another if that was taken meanwhile: emerge
// reserves names without the lock.
func (c *change) place(i int) error {
	for {
		target := c.target[i]
		if err := c.makeDirs(path.Dir(target)); err != nil {
			return err
		}
		c.o.at("rename " + target)
		err := c.d.root.Place(c.staged[i], target, c.over[i])
		if err == nil {
			c.touched[path.Dir(target)] = true
			return nil
		}
		if !errors.Is(err, fs.ErrExist) || c.over[i] {
			return err
		}
		name, err := c.choose(c.Add[i])
		if err != nil {
			return err
		}
		c.promise(i, name)
		if err := c.tellPlaces(); err != nil {
			return err
		}
	}
}

// makeDirs creates directories as Portage does: PKGDIR's group, and for it the bits it has there.
func (c *change) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if _, err := c.d.root.Lstat(dir); err == nil {
		return nil
	}
	if err := c.makeDirs(path.Dir(dir)); err != nil {
		return err
	}
	c.o.at("mkdir " + dir)
	if err := c.d.root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	c.touched[path.Dir(dir)] = true
	return c.d.root.SetAccess(dir, c.access.gid, c.access.dir())
}

func (c *change) syncDirs() error {
	c.Keep.Sync() // what cannot be kept for certain is no reason to end
	durable.PrepareSyncs(c.d.root, len(c.touched))
	for _, dir := range slices.Sorted(maps.Keys(c.touched)) {
		c.o.at("sync " + dir)
		if err := c.d.root.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the final index: what was there, less what is gone, and what was placed.
func (c *change) finish(p *plan, report *Report) error {
	for i, a := range c.Add {
		if c.target[i] == "" {
			continue
		}
		e, err := c.entryOf(a, c.target[i])
		if err != nil {
			return fmt.Errorf("package %q: %w", a.Path, err)
		}
		p.entries = append(p.entries, e)
		report.Placed = append(report.Placed, Placed{i, a.Path, c.target[i], a.Sum, a.ModTime})
	}
	if c.Like != nil {
		arrange(p.entries, c.Like, p.index.Header)
	}
	report.Packages = len(p.entries)
	if !p.dirty(c.o) {
		return nil
	}
	err := c.d.writeIndex(p, report, c.o)
	if c.Keep.FreeSpace(err) {
		err = c.d.writeIndex(p, report, c.o)
	}
	return err
}

// arrange gives entries the text and the order that they have in another index, where that speaks
// of the same files.
func arrange(entries []pkgindex.Entry, like *pkgindex.Index, header pkgindex.Header) {
	at := make(map[string]int, len(like.Entries))
	for i, e := range like.Entries {
		at[e.Path()] = i - len(like.Entries) // those that it has not are 0
	}
	same := like.Header.Get("CHOST") == header.Get("CHOST") &&
		like.Header.Get("REPO") == header.Get("REPO")
	for i, e := range entries {
		n, known := at[e.Path()]
		if !known {
			continue
		}
		old := like.Entries[n+len(like.Entries)]
		if pkgindex.InstanceKey(e) != pkgindex.InstanceKey(old) || e.Get("MD5") == "" ||
			e.Get("MD5") != old.Get("MD5") {
			continue
		}
		if entries[i] = old; !same {
			entries[i] = pkgindex.Rebase(old, like.Header, header)
		}
	}
	slices.SortStableFunc(entries, func(a, b pkgindex.Entry) int {
		return cmp.Compare(at[a.Path()], at[b.Path()])
	})
}

// entryOf is the entry of a package as it lies there now.
func (c *change) entryOf(a Incoming, name string) (pkgindex.Entry, error) {
	fi, err := c.d.root.Lstat(name)
	if err != nil {
		return pkgindex.Entry{}, err
	}
	return a.Entry.With(
		"PATH", name,
		"SIZE", strconv.FormatInt(fi.Size(), 10),
		"MTIME", strconv.FormatInt(fi.ModTime().Unix(), 10),
	)
}
