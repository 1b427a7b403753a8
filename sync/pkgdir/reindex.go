package pkgdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/pkgindex"
)

// Options for Reindex, Check and Commit. The zero value keeps the header and what there is of
// Packages.gz, and does not wait for the lock; only Now has to be given.
type Options struct {
	// Now is the machine's time: TIMESTAMP is never lower, but always greater than the old one.
	Now time.Time
	// Rebuild reads every package, whatever is in the index.
	Rebuild bool
	// Header brings the header of the index up to date when it is written (pkgindex.UpdateHeader);
	// nil keeps it. For a new index h is empty.
	Header func(h pkgindex.Header) pkgindex.Header
	// CompressIndex is whether compress-index is in FEATURES; nil if that is not known.
	CompressIndex *bool

	LockWait time.Duration // durable.ErrLocked after this long
	OnWait   func()        // called once after a second of waiting
	Workers  int           // packages read at a time; 0: as many as there are processors
	// Remembered gives the digests of copies that were read before; nil: they are read. It is asked
	// where there may be some.
	Remembered func() Sums
	// Progress is called after each package that was read, with its size in bytes.
	Progress func(path string, bytes int64)

	// step is called before each step that changes something and, by the workers, after each file
	// that was read; in tests.
	step func(what string)
}

// A Report is what Reindex or Commit did. The lists of files are disjoint, and sorted by path
// except those that Commit fills.
type Report struct {
	Written   bool  // false: everything was as it should be
	Timestamp int64 // of the index
	Packages  int   // entries in the index

	Added   []string // read and indexed for the first time
	Renewed []string // read, and the entry replaced: the file or what was known of it had changed
	Moved   []string // where a file lies now that was indexed elsewhere
	Dropped []string // entries without a file, or for a file that is in Invalid now
	// Invalid are package files that are not indexed, and why.
	Invalid []Problem
	// Ignored are the files that are no packages, or duplicates of one that is indexed: hard links,
	// copies with the same bytes and time. To Portage they are one package.
	Ignored []Problem
	// Missed are the other names that somebody may take for packages; of Reindex.
	Missed []Missed
	// Remarks are what was odd in the old index.
	Remarks []pkgindex.Remark

	scan *Scan
	// Placed tells under which name each of Change.Add that was placed now lies, in that order.
	Placed []Placed
	// Removed are the paths of Change.Remove that are gone.
	Removed []string
	// Kept are files of Change.Remove and Replaces that were not touched because somebody changed
	// them.
	Kept []Problem
	// Skipped are those of Change.Add that could not be placed, by their wanted path.
	Skipped []Skipped
}

// Reindex does what `emaint binhost --fix` does; see the package comment.
func (d *Dir) Reindex(ctx context.Context, o Options) (*Report, error) {
	r, err := d.renew(ctx, nil, o)
	if err != nil {
		return nil, fmt.Errorf("indexing %q: %w", d.Path(), err)
	}
	r.Missed = d.unindexed(r.scan)
	return r, d.reportCopies(ctx, r, o)
}

// reportCopies moves the copies of packages from what is invalid to what is ignored.
func (d *Dir) reportCopies(ctx context.Context, r *Report, o Options) error {
	if r.scan == nil || len(r.scan.Misplaced) == 0 {
		return nil
	}
	if err := d.FindCopies(ctx, r.scan, o.remembered(r.scan)); err != nil {
		return fmt.Errorf("indexing %q: %w", d.Path(), err)
	}
	copies := r.scan.Copies
	r.Invalid = slices.DeleteFunc(r.Invalid, func(p Problem) bool {
		return slices.ContainsFunc(copies, func(c Problem) bool { return c.Path == p.Path })
	})
	r.Ignored = slices.Concat(r.Ignored, copies)
	sortProblems(r.Ignored)
	return nil
}

// unindexed are the names of a scan that an index leaves out and somebody may miss, but for the
// misplaced ones, which are invalid.
func (d *Dir) unindexed(s *Scan) []Missed {
	if s == nil {
		return nil
	}
	return d.Missed(&Scan{Files: s.Files, Ignored: s.Ignored}, func(func(string) bool) {})
}

// renew brings the index up to date, and carries out the change if there is one.
func (d *Dir) renew(ctx context.Context, c *change, o Options) (*Report, error) {
	known := map[string]described{}
	s, err := d.look(ctx, doubtfulToo, known, o)
	if err != nil {
		return nil, err
	}
	var current *Report
	if c == nil && s.usable {
		if p := s.settle(known, o.Rebuild); !p.dirty(o) {
			current = p.report()
		}
	}
	if current != nil && !s.scan.Leftover {
		return current, nil
	}
	if err := d.describeAll(ctx, s.doubtful, known, o); err != nil {
		return nil, err
	}
	lock, err := d.root.Acquire(ctx, durable.PackagesLock, durable.LockOptions{Wait: o.LockWait,
		OnWait: o.OnWait})
	if current != nil && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)) {
		return current, nil // the leftover stays where this process may not write
	}
	if err != nil {
		return nil, err
	}
	r, err := d.renewLocked(ctx, c, known, o)
	if err := errors.Join(err, lock.Release()); err != nil {
		return nil, err
	}
	return r, nil
}

func (d *Dir) renewLocked(ctx context.Context, c *change, known map[string]described,
	o Options) (*Report, error) {
	if err := d.root.Sweep("."); err != nil {
		return nil, err
	}
	s, err := d.look(ctx, strict, known, o)
	if err != nil {
		return nil, err
	}
	p := s.settle(known, o.Rebuild)
	report := p.report()
	if c != nil {
		return report, c.transact(ctx, p, report)
	}
	if p.dirty(o) {
		err = d.writeIndex(p, report, o)
	}
	return report, err
}

// plan is a survey, and the entries that come out of it.
type plan struct {
	*survey
	entries []pkgindex.Entry
	added   []string
	renewed []string
	movedTo []string
	dropped []string
	invalid []Problem
	// duplicates have the very bytes of a package that is indexed under another name.
	duplicates []Problem
}

// look surveys the PKGDIR and reads what must be read and is not known yet.
func (d *Dir) look(ctx context.Context, b belief, known map[string]described,
	o Options) (*survey, error) {
	if o.Rebuild {
		b = nothing
	}
	s, err := d.survey(ctx, b)
	if err != nil {
		return nil, err
	}
	return s, d.describeAll(ctx, s.todo, known, o)
}

// settle puts the entries together: those that are believed, in their order, and those of the files
// that were read, each in the place of the entry for the same package or else at the end.
func (s *survey) settle(known map[string]described, rebuild bool) *plan {
	p := &plan{survey: s, invalid: slices.Clone(s.scan.Misplaced)}
	slots := slices.Clone(s.believed)
	var at map[pkgindex.Instance]int
	if len(s.todo) > 0 {
		at = s.instances()
	}
	read := map[string]bool{}
	for _, f := range s.todo {
		k := known[f.Path]
		if errors.Is(k.err, fs.ErrNotExist) {
			continue
		}
		if k.err != nil {
			p.invalid = append(p.invalid, Problem{Path: f.Path, Reason: reasonOf(k.err),
				Size: f.Info.Size()})
			continue
		}
		i, ok := at[k.key]
		if !ok {
			i = len(slots)
			at[k.key] = i
			slots = append(slots, pkgindex.Entry{})
		}
		if !slots[i].IsZero() {
			other := Problem{Path: f.Path, Size: f.Info.Size()}
			if md5 := k.entry.Get("MD5"); md5 != "" && md5 == slots[i].Get("MD5") {
				other.Reason = fmt.Sprintf("a duplicate of %q, which is indexed", slots[i].Path())
				p.duplicates = append(p.duplicates, other)
			} else {
				other.Reason = fmt.Sprintf("the same package, build, size and time as %q, which is indexed", slots[i].Path())
				p.invalid = append(p.invalid, other)
			}
			continue
		}
		// An entry that was read from the index has the header's CHOST and REPO too.
		slots[i] = pkgindex.Rebase(k.entry, pkgindex.Header{}, s.index.Header)
		if i < len(s.believed) && !rebuild {
			slots[i] = inherit(slots[i], s.index.Entries[i])
		}
		read[f.Path] = true
	}
	p.entries = slices.DeleteFunc(slots, pkgindex.Entry.IsZero)
	p.compare(read)
	sortProblems(p.invalid)
	return p
}

// instances finds old entries by what Portage tells packages apart by.
func (s *survey) instances() map[pkgindex.Instance]int {
	at := make(map[pkgindex.Instance]int, len(s.index.Entries))
	for i, e := range s.index.Entries {
		key := pkgindex.InstanceKey(e)
		// Of several the believed one counts, as another file must not take its place.
		if j, twice := at[key]; !twice || s.believed[j].IsZero() {
			at[key] = i
		}
	}
	return at
}

// inherit gives a new entry what stands in the old one of the same package and file only.
func inherit(e, old pkgindex.Entry) pkgindex.Entry {
	var more []string
	for key, value := range old.All() {
		if e.Get(key) == "" {
			more = append(more, key, value)
		}
	}
	if len(more) == 0 {
		return e
	}
	if with, err := e.With(more...); err == nil {
		return with
	}
	return e
}

// compare fills in what has become of the old entries and the files that were read.
func (p *plan) compare(read map[string]bool) {
	if len(read) == 0 && p.moved == 0 && len(p.entries) == len(p.index.Entries) {
		return
	}
	old := make(map[string]pkgindex.Entry, len(p.index.Entries))
	for _, e := range p.index.Entries {
		old[e.Path()] = e
	}
	now := make(map[string]bool, len(p.entries))
	for _, e := range p.entries {
		path := e.Path()
		now[path] = true
		before, indexed := old[path]
		switch {
		case indexed && read[path] && e != before:
			p.renewed = append(p.renewed, path)
		case !indexed && read[path]:
			p.added = append(p.added, path)
		case !indexed:
			p.movedTo = append(p.movedTo, path)
		}
	}
	for i, e := range p.index.Entries {
		if path := e.Path(); !now[path] && p.believed[i].IsZero() {
			p.dropped = append(p.dropped, path)
		}
	}
	for _, list := range [][]string{p.added, p.renewed, p.movedTo, p.dropped} {
		slices.Sort(list)
	}
	p.dropped = slices.Compact(p.dropped)
}

// dirty reports whether the index has to be written.
func (p *plan) dirty(o Options) bool {
	_, dated := p.index.Timestamp()
	return !p.usable || !dated || !slices.Equal(p.entries, p.index.Entries) ||
		p.index.Header.Get("PACKAGES") != fmt.Sprint(len(p.entries)) ||
		p.gzWrong(o.CompressIndex) != ""
}

// ignored are the files that are not indexed and need not be.
func (p *plan) ignored() []Problem {
	if len(p.duplicates) == 0 {
		return p.scan.Ignored
	}
	all := slices.Concat(p.scan.Ignored, p.duplicates)
	sortProblems(all)
	return all
}

func (p *plan) report() *Report {
	t, _ := p.index.Timestamp()
	return &Report{
		Timestamp: t, Packages: len(p.entries),
		Added: p.added, Renewed: p.renewed, Moved: p.movedTo, Dropped: p.dropped,
		Invalid: p.invalid, Ignored: p.ignored(), Remarks: p.index.Remarks, scan: p.scan,
	}
}

// writeIndex writes p's entries. The header's TIMESTAMP rises each time.
func (d *Dir) writeIndex(p *plan, report *Report, o Options) error {
	old, _ := p.index.Timestamp()
	x := &pkgindex.Index{Header: p.index.Header.Clone(), Entries: p.entries}
	if o.Header != nil {
		if !p.usable {
			x.Header = pkgindex.Header{}
		}
		x.Header = o.Header(x.Header)
	}
	x.SetTimestamp(max(o.Now.Unix(), old+1))
	t, _ := x.Timestamp()
	compress := p.gzTime != absent
	if o.CompressIndex != nil {
		compress = *o.CompressIndex
	}
	if err := d.writeFiles(p, x, t, compress, o); err != nil {
		return err
	}
	p.index.Header, p.index.Entries, p.usable = x.Header, p.entries, true
	p.indexTime, p.gzTime = t, absent
	if compress {
		p.gzTime = t
	}
	report.Written, report.Timestamp, report.Packages = true, t, len(p.entries)
	return nil
}

// writeFiles replaces Packages, and replaces or removes Packages.gz.
func (d *Dir) writeFiles(p *plan, x *pkgindex.Index, t int64, compress bool, o Options) error {
	if !compress && p.gzTime != absent {
		o.at("remove index.gz")
		// The name itself: a link may lead to a file that others use.
		if err := d.root.Remove(indexName + gzSuffix); err != nil &&
			!errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the old index: %w", err)
		}
	}
	o.at("write index")
	err := d.writeFile(p.indexName, t, func(w io.Writer) error {
		err := x.Write(w)
		o.at("finish index")
		return err
	})
	if err != nil || !compress {
		return err
	}
	o.at("write index.gz")
	return d.writeFile(p.gzName, t, func(w io.Writer) error {
		return pkgindex.WriteGzip(w, x.Write, t)
	})
}

// writeFile writes Packages or Packages.gz with Portage's rules for owner and mode.
func (d *Dir) writeFile(name string, unix int64, fill func(io.Writer) error) error {
	acc, err := d.access()
	if err != nil {
		return err
	}
	a := durable.Attr{UID: -1, GID: acc.gid, Add: acc.mode & groupFile, ModTime: time.Unix(unix, 0)}
	if fi, err := d.root.Lstat(name); err == nil {
		a.UID, a.Mode = int(statOf(fi).Uid), fi.Mode().Perm()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	} else {
		a.Mode = durable.SharedFile
	}
	if err := d.root.WriteFile(name, a, fill); err != nil {
		return fmt.Errorf("in %q: %w", d.Path(), err)
	}
	return nil
}

func (o Options) remembered(s *Scan) Sums {
	if o.Remembered == nil || len(s.Misplaced) == 0 {
		return nil
	}
	return o.Remembered()
}

func (o Options) at(what string) {
	if o.step != nil {
		o.step(what)
	}
}

// A CheckReport is what `emaint binhost --check` would, by file. The lists are sorted by path.
type CheckReport struct {
	Packages int       // entries of the index
	Missing  []Problem // packages that are not in the index, or not as they are
	Stale    []Problem // entries without a file
	Index    []string  // what is wrong with Packages and Packages.gz
	Invalid  []Problem // package files that cannot be indexed; no reason to write the index
	Missed   []Missed  // as in a Report
	Remarks  []pkgindex.Remark
}

// OK reports whether Reindex would have nothing to write.
func (r *CheckReport) OK() bool { return len(r.Missing)+len(r.Stale)+len(r.Index) == 0 }

// Check compares the index with the files, and changes nothing. Packages that are not indexed are
// read, the others are not.
func (d *Dir) Check(ctx context.Context, o Options) (*CheckReport, error) {
	known := map[string]described{}
	s, err := d.look(ctx, doubtfulToo, known, o)
	if err != nil {
		return nil, fmt.Errorf("checking %q: %w", d.Path(), err)
	}
	if err := d.FindCopies(ctx, s.scan, o.remembered(s.scan)); err != nil {
		return nil, fmt.Errorf("checking %q: %w", d.Path(), err)
	}
	p := s.settle(known, o.Rebuild)
	r := &CheckReport{Packages: len(p.index.Entries), Invalid: p.invalid, Remarks: p.index.Remarks,
		Missed: d.unindexed(p.scan)}
	for _, path := range p.added {
		r.Missing = append(r.Missing, Problem{Path: path, Reason: "not in " + indexName})
	}
	for _, path := range p.renewed {
		r.Missing = append(r.Missing, Problem{Path: path, Reason: "not as " + indexName + " says"})
	}
	for _, path := range p.movedTo {
		r.Missing = append(r.Missing, Problem{Path: path, Reason: "elsewhere in " + indexName})
	}
	for _, path := range p.dropped {
		r.Stale = append(r.Stale, Problem{Path: path, Reason: "in " + indexName +
			", but not a package there"})
	}
	sortProblems(r.Missing)
	r.Index = p.indexWrong(o)
	return r, nil
}

// indexWrong reports what is wrong with the files as such.
func (p *plan) indexWrong(o Options) []string {
	var wrong []string
	switch {
	case p.indexTime == absent:
		wrong = append(wrong, "missing index file: "+indexName)
	case !p.usable:
		wrong = append(wrong, "Portage does not read an index without VERSION: "+pkgindex.Version)
	default:
		if _, dated := p.index.Timestamp(); !dated {
			wrong = append(wrong, "no TIMESTAMP in "+indexName)
		}
		if n := p.index.Header.Get("PACKAGES"); n != fmt.Sprint(len(p.index.Entries)) {
			wrong = append(wrong, fmt.Sprintf("PACKAGES is %q, but there are %d entries", n,
				len(p.index.Entries)))
		}
	}
	if gz := p.gzWrong(o.CompressIndex); gz != "" {
		wrong = append(wrong, gz)
	}
	if len(wrong) == 0 && len(p.added)+len(p.renewed)+len(p.movedTo)+len(p.dropped) == 0 &&
		p.dirty(o) {
		wrong = append(wrong, "an entry occurs twice in "+indexName)
	}
	return wrong
}
