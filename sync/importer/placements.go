package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// The plan of an import is made for all accepted origins together, one kind of payload after the
// other, and is complete before it is shown:
//
//	present   for every file of every origin: is it here already, at its own place or where another origin brought the same file in?
//	place     what is missing replaces the origin's own older file, or gets its own name if that is free
//	beside    the rest goes beside what has the name; its name is chosen when all others are
//	prune     what came from an origin and has left it, unless anybody still wants the file (pruning.go)
//
// A file here belongs to every accepted origin that lists it, and to those whose drives are not at
// hand it belongs according to the state. A file that belongs to somebody else is neither replaced
// nor pruned. No two tasks of a plan have one name, and what several origins list under one path
// with the same bytes is brought in once.

// owned is a file that the state remembers for an owner.
type owned struct {
	owner
	id   state.OriginID
	size int64
	sum  manifest.Digest
}

// wantedFile is what makes files of two origins one file.
type wantedFile struct {
	path string
	sum  manifest.Digest
}

// missing is a file of an origin that is not here.
type missing struct {
	in   *incoming
	task task
	own  []statFile // the places of the file, as they are now; the last is the one of its path
}

// linkedDirs are the directories below PKGDIR that were looked at: the error of those that a link
// has in its path.
type linkedDirs map[string]error

// check refuses a place behind a symbolic link: Portage does not look there when it makes the
// index, and no more do others.
func (l linkedDirs) check(d *pkgdir.Dir, name string) error {
	dir := path.Dir(name)
	err, known := l[dir]
	if known || d == nil {
		return err
	}
	if link := d.LinkOn(name); link != "" {
		err = &leftOutError{reason: fmt.Sprintf("%q in PKGDIR is a symbolic link, which is not followed", link), hint: d.BindHint(link)}
	}
	l[dir] = err
	return err
}

// unwritable reports why nothing can be brought into a directory, "" if nothing speaks against it.
// A lack of permission of this user alone is no reason if nothing will be written.
func unwritable(dir string, pretend bool) string {
	err := unix.Faccessat(unix.AT_FDCWD, volume.Existing(dir), unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Sprintf("%q lies on a file system that cannot be written", dir)
	case errors.Is(err, fs.ErrPermission) && !pretend:
		return fmt.Sprintf("%q cannot be written: %v", dir, err)
	}
	return ""
}

// placements is the plan of one kind on its way.
type placements struct {
	im   *importer
	kind payload.Kind

	owned map[string][]owned // by the path here
	// where other origins have files of one path: paths here, by the origin's path
	byPath map[string][]string
	kept   map[string]bool        // paths here whose files are what an origin wants
	taken  map[string]*task       // paths here that the plan gives to a file
	joint  map[wantedFile][]*task // tasks by what they bring in
	// what an origin brought in for a file that is here by now in another place
	obsolete map[owner]bool
	missing  []*missing
	blocked  string // why nothing can be brought in, "" if it can
}

func (im *importer) newPlacements(kind payload.Kind) (*placements, error) {
	p := &placements{im: im, kind: kind, owned: make(map[string][]owned),
		byPath: make(map[string][]string), kept: make(map[string]bool),
		taken: make(map[string]*task), joint: make(map[wantedFile][]*task),
		obsolete: make(map[owner]bool),
		blocked:  im.client.blocked[kind]}
	var here []state.OriginID
	for _, in := range im.origins {
		p.remember(in.id, in, in.imports[kind])
		here = append(append(here, in.former...), in.id, in.known)
	}
	for _, id := range im.st.Importers(kind) {
		if key, ok := im.trusted.Ring.Find(id.Key); !ok || key.Revoked() ||
			slices.Contains(here, id) {
			continue // what came under a key that is not trusted any longer is nobody's
		}
		rows, err := im.st.Imports(id, kind)
		if err != nil {
			return nil, err
		}
		p.remember(id, nil, rows)
	}
	return p, nil
}

func (p *placements) remember(id state.OriginID, in *incoming, rows map[string]state.Import) {
	for path, row := range rows {
		p.owned[row.Local] = append(p.owned[row.Local],
			owned{owner{in, path}, id, row.Size, row.Sum})
		if row.Local != path {
			p.byPath[path] = append(p.byPath[path], row.Local)
		}
	}
}

// sizesAt are the sizes of the files that were brought in at a place, and of the one that is wanted
// there.
func (p *placements) sizesAt(local string, wanted int64) []int64 {
	sizes := []int64{wanted}
	for _, o := range p.owned[local] {
		sizes = append(sizes, o.size)
	}
	return sizes
}

// belongs reports whether the file at a place is one that an accepted origin brought in.
func (p *placements) belongs(l statFile) bool {
	return slices.ContainsFunc(p.owned[l.Local], func(o owned) bool {
		return o.sum == l.Sum && l.Sum != manifest.Digest{}
	})
}

// delivered is the digest of the file at a place if this origin brought it in for this path, else
// zero.
func (p *placements) delivered(in *incoming, path string, l statFile) manifest.Digest {
	for _, o := range p.owned[l.Local] {
		if o.in == in && o.path == path && o.sum == l.Sum {
			return l.Sum
		}
	}
	return manifest.Digest{}
}

// wanted reports whether anybody but one file of one origin still wants what lies at a place.
func (p *placements) wanted(l statFile, but owner) bool {
	if p.kept[l.Local] {
		return true
	}
	return slices.ContainsFunc(p.owned[l.Local], func(o owned) bool {
		return o.owner != but && o.sum == l.Sum &&
			(o.in == nil || o.in.mayHave(p.kind, o.path, o.sum))
	})
}

// add takes a file of an origin into the plan: it is present, or comes on the list of what is
// missing. An error that is a reason leaves it out.
func (p *placements) add(ctx context.Context, in *incoming, d task) error {
	var own []statFile
	row, known := in.imports[p.kind][d.path]
	if known && row.Local != d.path {
		own = append(own, statFile{clientFile: clientFile{Local: row.Local}})
	}
	own = append(own, statFile{clientFile: clientFile{Local: d.path}})
	mine := false // an older file of this origin is here
	for i := range own {
		l, err := p.im.client.lookUp(ctx, p.kind, own[i].Local,
			p.sizesAt(own[i].Local, d.item.Size)...)
		if err != nil {
			return err
		}
		switch own[i] = l; judge(l.clientFile, d.item.Sum, p.delivered(in, d.path, l)) {
		case present:
			p.present(in, d, l, known && row.Local == l.Local)
			if mine && !p.belongs(l) {
				p.obsolete[owner{in, d.path}] = true
			}
			return nil
		case outdated:
			if in.stale(p.kind) {
				p.kept[l.Local] = true
				return newer(in, p.kind)
			}
			mine = true
		}
	}
	for _, local := range p.byPath[d.path] {
		if mine || known && row.Local == local {
			continue
		}
		l, err := p.im.client.lookUp(ctx, p.kind, local, p.sizesAt(local, d.item.Size)...)
		if err == nil && l.Exists && l.Sum == d.item.Sum && p.belongs(l) {
			p.present(in, d, l, true)
			return nil
		}
		if err != nil && !isLeftOut(err) {
			return err
		}
	}
	p.missing = append(p.missing, &missing{in, d, own})
	return nil
}

// present notes a file that is here. It becomes the origin's if it is that of any.
func (p *placements) present(in *incoming, d task, l statFile, known bool) {
	in.Plan.Present.Add(d.item.Size)
	p.kept[l.Local] = true
	if !l.isLink() && (known || p.belongs(l)) {
		in.imports[p.kind][d.path] = state.Import{Local: l.Local, Size: d.item.Size,
			Sum: d.item.Sum}
	}
}

// newer is why a file stays that may have come from the same origin with a generation for which it
// was looked at later: which of the two states is the newer one is not known here.
func newer(in *incoming, kind payload.Kind) error {
	return &leftOutError{reason: fmt.Sprintf("what is here may be newer: the export to this drive did not look at %ss since %s", kind, fault.Serial(in.stock[kind].AsOf)),
		hint: fmt.Sprintf("on the build host, without --no-%ss: pkgsneak export %s", kind,
			fault.Quote(in.at))}
}

// place finds a place for everything that is missing.
func (p *placements) place() {
	var rest []*missing
	for _, m := range p.missing {
		if p.blocked != "" {
			m.in.leaveOut(m.task, &leftOutError{reason: p.blocked,
				hint: fmt.Sprintf("make it a directory that can be written; without it: pkgsneak import %s --no-%ss", fault.Quote(p.im.o.Drive), p.kind)})
			continue
		}
		if p.unusable(m) {
			continue
		}
		if !p.replace(m) && !p.join(m) && !p.copy(m) {
			rest = append(rest, m)
		}
	}
	for _, m := range rest {
		if p.join(m) {
			continue
		}
		if err := p.aside(m); err != nil {
			m.in.leaveOut(m.task, err)
		}
	}
}

// unusable puts a package that this machine can never use on its list.
func (p *placements) unusable(m *missing) bool {
	if p.kind != payload.Package {
		return false
	}
	r := p.im.outlook.refuses(m.in.candidate(m.task.path, m.task.entry))
	if r.Kind == resolve.Acceptable {
		return false
	}
	m.in.unusable(m.task, r)
	return true
}

// replace lets a file take the place of the older one that this origin brought in, if nobody else
// wants that.
func (p *placements) replace(m *missing) bool {
	for _, l := range m.own {
		if judge(l.clientFile, m.task.item.Sum, p.delivered(m.in, m.task.path, l)) != outdated ||
			p.wanted(l, owner{m.in, m.task.path}) {
			continue
		}
		if other := p.taken[l.Local]; other != nil {
			if other.item.Sum == m.task.item.Sum && other.path == m.task.path {
				p.joinTo(m, other)
				return true
			}
			continue
		}
		d := m.task
		reason := "rebuilt by the origin"
		if p.kind == payload.Distfile {
			reason = "changed by the origin"
		}
		d.local, d.seen = l.Local, l.info
		p.task(m.in, d, &m.in.Plan.Replace, reason)
		return true
	}
	return false
}

// join leaves a file to the task of another origin that brings in the very same one.
func (p *placements) join(m *missing) bool {
	tasks := p.joint[wantedFile{m.task.path, m.task.item.Sum}]
	if len(tasks) == 0 {
		return false
	}
	p.joinTo(m, tasks[0])
	return true
}

func (p *placements) joinTo(m *missing, d *task) {
	d.owners = append(d.owners, owner{m.in, m.task.path})
	m.in.Plan.Present.Add(m.task.item.Size)
}

// copy gives a file its own name if nothing has it.
func (p *placements) copy(m *missing) bool {
	l := m.own[len(m.own)-1]
	if l.Exists || p.taken[l.Local] != nil {
		return false
	}
	d := m.task
	d.local, d.seen = l.Local, l.info // nil, or a link to nothing
	p.task(m.in, d, &m.in.Plan.Copy, "")
	return true
}

// aside brings a file in although something else has its name: a package beside it, a distfile only
// in its place.
func (p *placements) aside(m *missing) error {
	d, l := m.task, m.own[len(m.own)-1]
	by := "a local file"
	switch {
	case p.taken[l.Local] != nil:
		by = "another file of this import"
	case p.belongs(l) && p.wanted(l, owner{m.in, d.path}):
		by = "a file of another origin"
	case p.belongs(l):
		by = "a file that has left its origin"
	}
	if p.kind == payload.Distfile {
		return p.overwrite(m, by)
	}
	free, err := binpkg.FreePath(d.path, path.Dir(d.entry.CPV()), func(name string) bool {
		if p.taken[name] != nil {
			return true
		}
		_, err := p.im.client.lstat(payload.Package, name)
		return !errors.Is(err, fs.ErrNotExist)
	})
	if err != nil {
		return &leftOutError{reason: fault.Text(err)}
	}
	d.local = free
	p.task(m.in, d, &m.in.Plan.Beside, by+" has its name")
	return nil
}

// overwrite replaces a distfile that is no origin's, if that is wanted.
func (p *placements) overwrite(m *missing, by string) error {
	d, l := m.task, m.own[len(m.own)-1]
	switch {
	case p.taken[l.Local] != nil || p.belongs(l) && p.wanted(l, owner{m.in, d.path}):
		return &leftOutError{reason: by + " with other contents has its name",
			hint: p.handOver(m, l)}
	case !l.info.Mode().IsRegular() && !l.isLink():
		return &leftOutError{reason: "what has its name here is no file"}
	case p.belongs(l) && p.im.o.Prune && unread(p.im) != "":
		return &leftOutError{reason: fmt.Sprintf("%s has its name, and origin %q cannot be read, which may have it", by, unread(p.im)),
			hint: fmt.Sprintf("pkgsneak import %s --prune --origin %s", fault.Quote(p.im.o.Drive),
				fault.Quote(m.in.Plan.Dir))}
	case p.belongs(l) && p.im.o.Prune:
		d.local, d.seen = l.Local, l.info
		p.task(m.in, d, &m.in.Plan.Replace, by+" is replaced")
		return nil
	case p.belongs(l) && !p.im.o.Replace:
		return &leftOutError{reason: by + " has its name", hint: "pkgsneak import " +
			fault.Quote(p.im.o.Drive) + " --prune"}
	case !p.im.o.Replace:
		return &leftOutError{reason: by + " with other contents has its name",
			hint: "pkgsneak import " + fault.Quote(p.im.o.Drive) + " --replace"}
	}
	d.local, d.seen = l.Local, l.info
	p.task(m.in, d, &m.in.Plan.Replace, by+" with other contents is replaced")
	return nil
}

// task puts a file that will be brought in on the list of its origin.
func (p *placements) task(in *incoming, d task, list *[]payload.Item, reason string) {
	d.owners = []owner{{in, d.path}}
	*list = append(*list, payload.Item{Kind: p.kind, Path: d.path, Size: d.item.Size,
		Reason: reason, Local: elsewhere(d.local, d.path)})
	in.tasks = append(in.tasks, &d)
	p.taken[d.local] = &d
	key := wantedFile{d.path, d.item.Sum}
	p.joint[key] = append(p.joint[key], &d)
}

// unread is the directory of an origin that may be one of those that are imported here, and of
// which this run cannot tell what it has; "" if there is none. A signer that is not believed has
// nothing that counts.
func unread(im *importer) string {
	for _, r := range im.report.Refused {
		var refusal *trust.Refusal
		if !errors.As(r.Err, &refusal) || refusal.Signer.State == trust.NoSigner {
			return r.Origin
		}
	}
	return ""
}

// otherHere reports whether a distfile of that name with other contents is here: name and size are
// all that the newest state tells of what it does not carry. One that no origin brought here gives
// way if that is wanted.
func (p *placements) otherHere(ctx context.Context, o offer) bool {
	l, err := p.im.client.lookUp(ctx, p.kind, o.path, p.sizesAt(o.path, o.item.Size)...)
	return err == nil && l.Exists && l.Sum != o.item.Sum && (p.belongs(l) || !p.im.o.Replace)
}

// addOr is add for a file that nothing speaks against. A file that is left out with a reason is no
// error.
func (p *placements) addOr(ctx context.Context, in *incoming, d task, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil {
		err = p.add(ctx, in, d)
	}
	if isLeftOut(err) {
		in.leaveOut(d, err)
		return nil
	}
	return err
}
