package exporter

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"pkgsneak/sync/clients"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/request"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/selection"
)

// UnknownClientError reports that a drive is to be made for a client that this host does not obey.
type UnknownClientError struct {
	Name  string
	Known []string
}

func (e *UnknownClientError) Error() string {
	return fmt.Sprintf("export for %q: no client of that name was accepted here", e.Name)
}

// Class is that of a command line that makes no sense.
func (e *UnknownClientError) Class() fault.Class { return fault.Usage }

// Hints name those that there are.
func (e *UnknownClientError) Hints(string) []string {
	if len(e.Known) == 0 {
		return []string{"pkgsneak clients shows the requests that were read"}
	}
	return []string{"the clients of this host are " + strings.Join(e.Known, ", ")}
}

// recipients are the machines that an export is for: those that this host obeys, by their last
// requests. sums are those of the packages that could be carried.
func recipients(ctx context.Context, x *exporter, sums []request.Sum,
	packages []selection.Package) ([]selection.Client, error) {
	store, err := clients.Open(x.m.StateDir, true, nil)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	x.shown.Count(store)
	all, err := store.Clients()
	if err != nil {
		x.report.Notices = append(x.report.Notices,
			fault.Text(err)+": that client counts for nothing")
	}
	drives, err := store.Drives()
	if err != nil {
		return nil, err
	}
	var names []string
	var list []selection.Client
	for _, c := range all {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if names = append(names, c.Name); x.o.For != "" && !clients.Means(x.o.For, c.Name, c.Key) {
			continue
		}
		r := &recipient{x: x, c: c, sums: sums, packages: packages, drives: drives}
		client, err := r.client(store)
		if err != nil {
			x.report.Notices = append(x.report.Notices,
				fault.Text(err)+": of that client it is only known what it has")
		}
		list = append(list, client)
	}
	if x.o.For != "" && len(list) == 0 {
		return nil, &UnknownClientError{Name: x.o.For, Known: slices.Compact(names)}
	}
	return list, nil
}

// recipient is a client on the way to be one that a drive is planned for.
type recipient struct {
	x        *exporter
	c        *clients.Client
	sums     []request.Sum
	packages []selection.Package
	drives   []clients.Drive
}

// origin is the origin as clients speak of it. Without a key nothing was exported yet.
func origin(p *Plan) clients.Origin {
	o := clients.Origin{Name: p.name}
	if p.key != nil {
		o.Key = p.key.Public().Fingerprint()
	}
	return o
}

// client reports what is known of the machine. With an error it is less than there should be.
func (r *recipient) client(store *clients.Store) (selection.Client, error) {
	now, o := r.x.m.Now(), origin(r.x.Plan)
	known := func(i int) bool { return r.sums[i] != request.Sum{} }
	c := selection.Client{Name: r.c.Name, Waited: r.waited,
		Has: func(i int) bool { return known(i) && r.c.HasPackage(o, r.sums[i], now) }}
	if !r.x.o.Again {
		transit := clients.InTransit(r.c, r.drives, o, now, driveID(r.x.Plan))
		c.InTransit = func(i int) bool { return known(i) && transit[r.sums[i]] != nil }
	}
	record, err := store.Record(r.c)
	if record == nil {
		return c, err
	}
	listed := store.HasList(r.c, record)
	lists := make(map[string]int) // of distfiles, by what is compiled from them
	for i := range record.Wants {
		w := &record.Wants[i]
		switch {
		case w.File != "":
			if _, found := lists[w.For]; !found {
				lists[w.For] = len(c.Distfiles)
				c.Distfiles = append(c.Distfiles, nil)
			}
			list := &c.Distfiles[lists[w.For]]
			*list = append(*list, w.File)
		case w.Why != request.Missing || !listed:
			c.Wishes = append(c.Wishes, request.Atoms([]string{w.Atom})...)
		}
	}
	if !listed || record.Machine == nil {
		return c, nil
	}
	c.Machine = r.machine
	arch := record.Machine.ARCH
	c.Closing = func(merges []resolve.Merge) map[string]bool {
		closing := make(map[string]bool)
		for _, a := range forecast.Advisories(r.x.m.Settings, arch, nil, merges) {
			for _, name := range a.Packages {
				closing[name] = true
			}
		}
		return closing
	}
	return c, nil
}

// machine reads what decides what the client can install. It is asked for one client after the
// other, and kept of none: there may be a thousand.
func (r *recipient) machine() *resolve.Input {
	record, installed, err := r.request()
	if err != nil {
		text := fault.Text(err) + ": of that client it is only known what it has"
		if !slices.Contains(r.x.report.Notices, text) {
			r.x.report.Notices = append(r.x.report.Notices, text)
		}
		return nil
	}
	machine := record.Input(installed)
	machine.Accept = refusing(machine.Accept, record.Refused)
	return &machine
}

// request reads the newest request and its installed list.
func (r *recipient) request() (*request.Record, *pkgindex.Index, error) {
	store, err := clients.Open(r.x.m.StateDir, true, nil)
	if err != nil {
		return nil, nil, err
	}
	defer store.Close()
	r.x.shown.Count(store)
	record, err := store.Record(r.c)
	if err != nil {
		return nil, nil, err
	}
	installed, err := store.List(r.c, record)
	return record, installed, err
}

// waited is how many drives were written since a package was built that do not carry it.
func (r *recipient) waited(i int) int {
	n := 0
	for d := range r.drives {
		on := &r.drives[d]
		if on.Origin == r.x.name && on.When.Unix() > r.packages[i].BuildTime &&
			!on.Packages.Has(r.sums[i]) {
			n++
		}
	}
	return n
}

// refusing adds to what a client's configuration accepts what its imports have refused for good.
func refusing(accept func(resolve.Package, bool) resolve.Reason,
	refused []request.Refusal) func(resolve.Package, bool) resolve.Reason {
	reasons := make(map[string]resolve.Reason)
	for i := range refused {
		f := &refused[i]
		if kind, ok := f.ForGood(); ok {
			reasons[f.CPV] = resolve.Reason{Kind: kind, Text: f.Text}
		}
	}
	return func(p resolve.Package, installed bool) resolve.Reason {
		if r, ok := reasons[p.CPV]; ok && !installed {
			return r
		}
		return accept(p, installed)
	}
}

// driveID is the identity of the drive, "" if it has none yet.
func driveID(p *Plan) string {
	if p.next.record.Drive != nil { // given just now
		return p.next.record.Drive.ID
	}
	if p.committed == nil || p.committed.Record.Drive == nil {
		return ""
	}
	return p.committed.Record.Drive.ID
}

// newDriveID makes the identity of a drive.
func newDriveID() string {
	var id [16]byte
	rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

// nameDrive gives the drive its identity, and tells what is on its way on others.
func nameDrive(p *Plan) error {
	id := driveID(p)
	if id == "" {
		id = newDriveID()
	}
	label, _ := layout.RecordText(p.o.Label)
	if label == "" || len(label) > 1<<9 {
		label, _ = layout.RecordText(filepath.Base(p.o.Drive))
	}
	p.next.record.Drive = &layout.DriveName{ID: id, Label: label[:min(len(label), 1<<9)]}
	store, err := clients.Open(p.m.StateDir, true, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	drives, err := store.Drives()
	o, now := origin(p), p.m.Now()
	for _, d := range drives {
		if d.Origin == o.Name && d.Key == o.Key && d.ID != id && now.Sub(d.When) < clients.Transit {
			p.next.others = append(p.next.others, d)
		}
	}
	slices.SortFunc(p.next.others, func(a, b clients.Drive) int { return b.When.Compare(a.When) })
	p.next.others = p.next.others[:min(len(p.next.others), layout.MaxOnOthers)]
	return err
}

// rememberDrive notes what is on the drive now, for the clients' receipts and for what is in
// transit. Of the generations that one run commits only the last can be told of.
func rememberDrive(p *Plan, gen *drive.Generation) error {
	text, err := gen.Signed.MarshalText()
	if err != nil {
		return err
	}
	serial := gen.Serial()
	store, err := clients.Open(p.m.StateDir, false, p.m.Hook)
	if err != nil {
		return err
	}
	defer store.Close()
	catalogue := p.next.catalogue()
	sums := request.CatalogueSums(catalogue.Entries)
	o := origin(p)
	if err := store.SaveCatalogue(o, serial, sums); err != nil {
		return err
	}
	if p.noted > 0 {
		if err := store.DropCatalogue(o, p.noted); err != nil {
			return err
		}
	}
	p.noted = serial
	d := clients.Drive{ID: p.next.record.Drive.ID, Label: p.next.record.Drive.Label, Origin: o.Name,
		Key: o.Key, Serial: serial,
		Manifest: clients.Digest(digest.Bytes(text)), When: p.m.Now()}
	for i, e := range catalogue.Entries {
		if sums[i] != (request.Sum{}) && p.next.carries(e.Path()) {
			d.Packages = append(d.Packages, sums[i])
		}
	}
	return store.SaveDrive(d)
}
