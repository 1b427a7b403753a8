package clients

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/request"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/state"
)

// Report is what each client has, lacks and wishes, as far as it is known on this host.
type Report struct {
	Origin   string           `json:"origin,omitempty"` // of PKGDIR; "" if it was never exported
	Packages int              `json:"packages"`         // that the index of PKGDIR has
	Clients  []Entry          `json:"clients"`
	Offered  []Offered        `json:"offered"` // clients that nobody accepted
	Problems []string         `json:"problems"`
	Hints    []string         `json:"hints"` // what helps with the problems
	Build    []Build          `json:"build"` // what clients want and nobody has built
	Drives   []DriveOnTheRoad `json:"drives"`
}

// Entry is one client.
type Entry struct {
	Name        string               `json:"client"`
	Fingerprint manifest.Fingerprint `json:"fingerprint,omitempty"` // "": added by name
	Accepted    time.Time            `json:"accepted"`
	Serial      int64                `json:"serial,omitempty"` // of its newest request
	Read        time.Time            `json:"read,omitzero"`    // when that was read here
	// when two machines were seen with its key
	Cloned    time.Time `json:"cloned,omitzero"`
	Forked    *Fork     `json:"forked,omitempty"` // two requests that one machine cannot have made
	Minimal   bool      `json:"minimal"`
	Installed int       `json:"installed"`
	// the newest generation of Origin of which it told
	Imported int64 `json:"imported,omitempty"`
	// generations of Origin since then that are remembered here
	Behind int           `json:"behind"`
	Has    int           `json:"has"`
	Lacks  payload.Tally `json:"lacks"`
	// what its imports have refused for good, and it does not lack
	Refused   payload.Tally     `json:"refused"`
	Transit   []Transiting      `json:"in_transit"`
	Waiting   payload.Tally     `json:"waiting"` // of Lacks what is on no drive
	Wants     []request.Want    `json:"wants"`   // that is neither built here nor in DISTDIR
	Failed    []request.Failure `json:"failed"`
	Unread    []Unread          `json:"unread"`
	Typed     []Typed           `json:"-"`
	LastTyped time.Time         `json:"last_typed,omitzero"`
}

// Transiting is what is on its way to a client on one drive.
type Transiting struct {
	Label string        `json:"label"`
	ID    string        `json:"id"`
	Since time.Time     `json:"since"`
	Files payload.Tally `json:"files"`
}

// DriveOnTheRoad is a drive that was written and has not been seen since.
type DriveOnTheRoad struct {
	Label    string    `json:"label"`
	ID       string    `json:"id"`
	Since    time.Time `json:"since"`
	Packages int       `json:"packages"`
}

// Build is something to build, or whose distfiles are to be fetched, for which clients.
type Build struct {
	Atom string   `json:"atom"`
	For  []string `json:"for"`            // names of clients
	Use  string   `json:"use,omitempty"`  // the line for package.use that its USE needs
	Line string   `json:"line,omitempty"` // the emerge line
	// Distfiles are those to fetch, which a client wants to compile Atom itself. None: it is to be
	// built.
	Distfiles []string `json:"distfiles"`
}

// Look makes the report. It changes nothing, and works for ordinary users.
func Look(ctx context.Context, m machine.Machine) (*Report, error) {
	v, err := NewViewer(ctx, m)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.Look(ctx)
}

// Viewer makes reports. Once it is open it reads PKGDIR and Directories alone, and no key.
type Viewer struct {
	m      machine.Machine
	store  *Store
	origin Origin
}

// NewViewer opens the state directory for reading, and finds out as what PKGDIR is exported.
func NewViewer(ctx context.Context, m machine.Machine) (*Viewer, error) {
	st, err := state.Open(ctx, m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	store, err := Open(m.StateDir, true, nil)
	if err != nil {
		return nil, err
	}
	return &Viewer{m, store, findOrigin(m, st, store)}, nil
}

// Close closes it.
func (v *Viewer) Close() error { return v.store.Close() }

// Directories are what a Viewer reads beside PKGDIR: those of the state directory that are there,
// and DISTDIR if one of them is. Without any no client is known.
func (v *Viewer) Directories() []string {
	var dirs []string
	for _, name := range allDirs {
		dir := filepath.Join(v.m.StateDir, name)
		if info, err := os.Lstat(dir); err == nil && info.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	if info, err := os.Stat(v.m.DISTDIR); len(dirs) > 0 && err == nil && info.IsDir() {
		dirs = append(dirs, v.m.DISTDIR)
	}
	return dirs
}

// Look makes a report.
func (v *Viewer) Look(ctx context.Context) (*Report, error) {
	l := &look{store: v.store, origin: v.origin, now: v.m.Now(), distdir: v.m.DISTDIR,
		r: &Report{Origin: v.origin.Name, Clients: []Entry{}, Offered: []Offered{},
			Problems: []string{}, Hints: []string{}, Build: []Build{}, Drives: []DriveOnTheRoad{}}}
	all, err := v.store.Clients()
	if err != nil {
		l.problem(err)
	}
	if l.drives, err = v.store.Drives(); err != nil {
		l.problem(err)
	}
	if l.r.Offered, err = v.store.Offers(); err != nil {
		l.problem(err)
	}
	l.readIndex(v.m)
	for _, c := range all {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		l.client(c)
	}
	slices.SortStableFunc(l.r.Build, func(a, b Build) int {
		return cmp.Compare(min(len(a.Distfiles), 1), min(len(b.Distfiles), 1))
	})
	l.road()
	return l.r, nil
}

// look makes a report.
type look struct {
	store  *Store
	now    time.Time
	drives []Drive
	origin Origin
	index  []pkgindex.Entry
	built  map[string][]depend.Package // of the index, by CATEGORY/PN
	r      *Report

	distdir   string
	distfiles map[string]bool // names in distdir, read on first use
}

func (l *look) problem(err error) {
	for line := range strings.SplitSeq(fault.Text(err), "\n") {
		l.r.Problems = append(l.r.Problems, line)
	}
	for _, hint := range fault.Hints(err, "DRIVE") {
		if !slices.Contains(l.r.Hints, hint) {
			l.r.Hints = append(l.r.Hints, hint)
		}
	}
}

// findOrigin finds the origin of PKGDIR. A key that may not be read is that of the last drive.
func findOrigin(m machine.Machine, st *state.Dir, store *Store) (o Origin) {
	here := m.PKGDIR
	if real, err := filepath.EvalSymlinks(here); err == nil {
		here = real
	}
	for _, name := range st.Origins() {
		if e, ok := st.Exported(name); ok && (e.PKGDIR == here || e.PKGDIR == m.PKGDIR) {
			o.Name = name
		}
	}
	if key, err := st.SigningKey(); err == nil {
		o.Key = key.Public().Fingerprint()
		return o
	}
	drives, _ := store.Drives() // the report tells what is wrong with them
	var last time.Time
	for _, d := range drives {
		if d.Origin == o.Name && d.When.After(last) {
			last, o.Key = d.When, d.Key
		}
	}
	return o
}

func (l *look) readIndex(m machine.Machine) {
	l.built = make(map[string][]depend.Package)
	dir, err := pkgdir.Open(m.PKGDIR)
	if err == nil {
		defer dir.Close()
		var index *pkgindex.Index
		if index, err = dir.Index(); err == nil {
			l.index = index.Entries
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problem(err)
	}
	l.r.Packages = len(l.index)
	for _, e := range l.index {
		if p, ok := dependPackage(e); ok {
			l.built[p.CP] = append(l.built[p.CP], p)
		}
	}
}

// dependPackage is an entry as atoms match it.
func dependPackage(e pkgindex.Entry) (depend.Package, bool) {
	p := resolve.FromKeys(e.Get)
	c, err := cpv.Parse(p.CPV)
	if err != nil {
		return depend.Package{}, false
	}
	use, valid := strings.Fields(p.Use), strings.Fields(p.IUse)
	for i, w := range valid {
		valid[i] = strings.TrimLeft(w, "+-")
	}
	slot := p.Slot
	if slot == "" {
		slot = "0"
	}
	on := func(flag string) bool { return slices.Contains(use, flag) }
	return depend.Package{CP: c.Category + "/" + c.PN, Version: c.Version, BuildID: p.BuildID,
		Slot: slot, Sub: p.Sub, Repo: p.Repo, Use: on,
		Valid: func(flag string) bool { return slices.Contains(valid, flag) || on(flag) }}, true
}

func (l *look) isBuilt(atom string) bool {
	a, err := depend.ParseAtom(atom)
	return err != nil || slices.ContainsFunc(l.built[a.CP], func(p depend.Package) bool {
		return depend.Match(&a, &p)
	})
}

// client adds one client.
func (l *look) client(c *Client) {
	e := Entry{Name: c.Name, Fingerprint: c.Key, Accepted: c.Accepted, Serial: c.Serial,
		Read: c.Read, Cloned: c.Cloned, Forked: c.Forked, Imported: c.serialOf(l.origin),
		Transit: []Transiting{}, Wants: []request.Want{}, Failed: []request.Failure{},
		Unread: append([]Unread{}, c.Unread...), Typed: c.Typed}
	if len(c.Typed) > 0 {
		e.LastTyped = c.Typed[0].When
	}
	if serials, err := l.store.serials(l.origin); err == nil && e.Imported > 0 {
		for _, s := range serials {
			if s > e.Imported {
				e.Behind++
			}
		}
	}
	if c.Key != "" {
		if _, err := keyOf(l.store, c); err != nil {
			l.problem(err) // without it no export reads a request of this client
		}
	}
	record, err := l.store.Record(c)
	if err != nil {
		l.problem(err)
	}
	refused := refusedBy(record)
	transit := InTransit(c, l.drives, l.origin, l.now, "")
	for _, p := range l.index {
		sum, ok := request.SumOf(p)
		if !ok {
			continue
		}
		size, _ := p.Size()
		if refused[p.CPV()] && !c.told(l.origin, sum) { // whatever a typed receipt stands for
			e.Refused.Add(size)
			continue
		}
		if c.HasPackage(l.origin, sum, l.now) {
			e.Has++
			continue
		}
		e.Lacks.Add(size)
		d := transit[sum]
		if d == nil {
			e.Waiting.Add(size)
			continue
		}
		i := slices.IndexFunc(e.Transit, func(t Transiting) bool { return t.ID == d.ID })
		if i < 0 {
			i, e.Transit = len(e.Transit), append(e.Transit,
				Transiting{Label: d.Label, ID: d.ID, Since: d.When})
		}
		e.Transit[i].Files.Add(size)
	}
	if record != nil {
		e.Minimal, e.Installed, e.Failed = record.Minimal, record.Installed.Packages,
			append(e.Failed, record.Failed...)
		for _, w := range record.Wants {
			switch {
			case w.Atom != "" && !l.isBuilt(w.Atom):
				e.Wants = append(e.Wants, w)
				l.build(c.Name, w.Atom)
			case w.File != "" && !l.isFetched(w.File):
				e.Wants = append(e.Wants, w)
				l.fetch(c.Name, &w)
			}
		}
	}
	l.r.Clients = append(l.r.Clients, e)
}

// refusedBy are the packages that a client can never use, by CPV.
func refusedBy(record *request.Record) map[string]bool {
	refused := make(map[string]bool)
	if record != nil {
		for i := range record.Refused {
			if _, ok := record.Refused[i].ForGood(); ok {
				refused[record.Refused[i].CPV] = true
			}
		}
	}
	return refused
}

// isFetched reports whether DISTDIR has a file of that name. A name that a client has told is only
// compared.
func (l *look) isFetched(name string) bool {
	if l.distfiles == nil {
		l.distfiles = make(map[string]bool)
		entries, err := os.ReadDir(l.distdir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.problem(err)
		}
		for _, e := range entries {
			l.distfiles[e.Name()] = !e.IsDir()
		}
	}
	return l.distfiles[name]
}

// fetch adds a distfile to what is to be fetched, with the others of its package.
func (l *look) fetch(client string, w *request.Want) {
	if _, err := cpv.Parse(w.For); err != nil {
		return
	}
	name := "=" + w.For
	if b := l.lookUp(client, name, true); b != nil {
		if !slices.Contains(b.Distfiles, w.File) && len(b.Distfiles) < request.MaxWants {
			b.Distfiles = append(b.Distfiles, w.File)
		}
		return
	}
	l.add(Build{Atom: name, For: []string{client}, Distfiles: []string{w.File},
		Line: "emerge --fetchonly --nodeps " + fault.Quote(name)})
}

// lookUp finds what is to be built, or fetched, and adds a client to it; nil if it is not there.
func (l *look) lookUp(client, atom string, fetched bool) *Build {
	for i := range l.r.Build {
		if b := &l.r.Build[i]; b.Atom == atom && fetched == (len(b.Distfiles) > 0) {
			if !slices.Contains(b.For, client) {
				b.For = append(b.For, client)
			}
			return b
		}
	}
	return nil
}

func (l *look) add(b Build) {
	if len(l.r.Build) < request.MaxWants {
		l.r.Build = append(l.r.Build, b)
	}
}

// build adds an atom to what is to be built.
func (l *look) build(client, atom string) {
	a, err := depend.ParseAtom(atom)
	if err != nil || l.lookUp(client, atom, false) != nil {
		return
	}
	b := Build{Atom: atom, For: []string{client}}
	b.Use, b.Line = buildLines(&a)
	l.add(b)
}

// buildLines are the line for package.use that an atom's USE needs, "" if it needs none, and the
// emerge line. A sub-slot is left out: another version may have it, and emerge would not find one
// by it.
func buildLines(a *depend.Atom) (use, line string) {
	name := a.CP
	if a.Op != depend.AnyVersion {
		op, glob := string(a.Op), ""
		if a.Op == depend.Glob {
			op, glob = "=", "*"
		}
		name = op + a.CP + "-" + a.Version + glob
	}
	if a.Slot != "" {
		name += ":" + a.Slot
	}
	if a.Repo != "" {
		name += "::" + a.Repo
	}
	var flags []string
	for _, u := range a.Use {
		switch {
		case u.Suffix != "":
		case u.Prefix == "-":
			flags = append(flags, "-"+u.Flag)
		case u.Prefix == "":
			flags = append(flags, u.Flag)
		}
	}
	if len(flags) > 0 {
		use = a.CP + " " + strings.Join(flags, " ")
	}
	return use, "emerge --buildpkg --oneshot " + fault.Quote(name)
}

// road lists the drives that are under way.
func (l *look) road() {
	for i := range l.drives {
		d := &l.drives[i]
		if d.Origin == l.origin.Name && d.Key == l.origin.Key && recent(d.When, l.now) {
			l.r.Drives = append(l.r.Drives, DriveOnTheRoad{d.Label, d.ID, d.When, len(d.Packages)})
		}
	}
	slices.SortFunc(l.r.Drives, func(a, b DriveOnTheRoad) int { return b.Since.Compare(a.Since) })
}

// UnknownError reports that there is no such client.
type UnknownError struct {
	Name  string
	Known []string
}

func (e *UnknownError) Error() string { return fmt.Sprintf("there is no client %q here", e.Name) }

// Hints names those that are.
func (e *UnknownError) Hints(string) []string {
	if len(e.Known) == 0 {
		return []string{"on the client: pkgsneak request DRIVE; then here: pkgsneak export DRIVE, and pkgsneak clients"}
	}
	return []string{"clients here: " + strings.Join(e.Known, ", ")}
}
