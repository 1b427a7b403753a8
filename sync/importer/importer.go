package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// place notes where a file lies now, for every origin that lists it.
func (d *task) place(local string) {
	for _, o := range d.owners {
		o.in.imports[d.kind][o.path] = state.Import{Local: local, Size: d.item.Size,
			Sum: d.item.Sum}
	}
}

// note notes where a file is about to lie, for every origin that lists it.
func (d *task) note(n notes, local string) {
	for _, o := range d.owners {
		n.add(o.in.id, o.path, state.Import{Local: local, Size: d.item.Size, Sum: d.item.Sum})
	}
}

// leaveOut notes that a file did not come, for every origin that lists it. hint is the command that
// helps, "" for none.
func (d *task) leaveOut(reason, hint string) {
	for i, o := range d.owners {
		if i > 0 {
			o.in.Plan.Present.Files--
			o.in.Plan.Present.Bytes -= d.item.Size
		}
		o.in.LeftOut = append(o.in.LeftOut, payload.Item{Kind: d.kind, Path: o.path,
			Size: d.item.Size, Reason: reason, Hint: hint})
	}
}

// pruned notes that the files at these paths here were removed.
func (in *incoming) pruned(kind payload.Kind, removed []string) {
	gone := make(map[string]bool, len(removed))
	for _, local := range removed {
		gone[local] = true
	}
	for _, d := range in.prune {
		if d.kind != kind || !gone[d.local] {
			continue
		}
		in.Pruned = append(in.Pruned, payload.Item{Kind: kind, Path: d.path,
			Size: in.imports[kind][d.path].Size, Local: elsewhere(d.local, d.path)})
		for _, o := range d.owners {
			delete(o.in.imports[kind], o.path)
		}
	}
}

// operation is an import: what it is given, what it is to do, and what it tells. It is complete
// when the plan is shown.
type operation struct {
	m  machine.Machine
	o  ImportOptions
	w  progress.Watcher
	st *state.Dir

	report  *ImportReport
	drives  []mounted
	origins []*incoming
	client  *client
	outlook *outlook
	undo    *state.Undo // what an import before this one left
	repos   *repositories

	makeRoom   bool        // what that keeps takes the room that this one needs
	successors []successor // keys that were accepted in the place of trusted ones
}

// importer reads the drives and makes the operation, step by step.
type importer struct {
	*operation

	drive *drive.Drive // the one that is looked at
	at    string       // where that is

	trusted trust.View
	offered manifest.Ring // keys on the drive

	unfinished error // of an origin that has no manifest
}

// incoming is a verified generation and what is to be done with it.
type incoming struct {
	*OriginImport
	gen       *drive.Generation
	at        string         // its drive
	further   []source       // drives that have an older state of the origin, or the same
	sum       digest.Blake2b // of what was signed
	id        state.OriginID
	successor *successor // its key, if that was accepted in the place of a trusted one
	// names that it had before: their files are its own now, their serials are not
	former []state.OriginID
	// under which it is remembered: with the key that it had before, if that one introduced its key
	known     state.OriginID
	seen      state.Seen
	catalogue *pkgindex.Index
	facts     *layout.Facts // nil: an older program does not tell
	// what the origin has, whether this drive carries it or not
	stock map[payload.Kind]*drive.Stock
	// by kind, which state is the newest
	standing map[payload.Kind]*standing
	// when the generation was taken back here; zero if it was not
	undone time.Time
	// what the newest state lists that was imported before; nil: that is not remembered
	remembered *roster
	entries    map[string]pkgindex.Entry // of the catalogue, by PATH; CHOST and REPO stand in each
	imports    map[payload.Kind]map[string]state.Import
	tasks      []*task
	prune      []*task
}

// task is one thing to be done on the client.
type task struct {
	item  layout.Item
	kind  payload.Kind
	path  string // the origin's
	local string // where it shall go, or where it lies
	// the file at local that it takes the place of, or that is pruned; nil: the name is free
	seen   fs.FileInfo
	entry  pkgindex.Entry // of a package
	owners []owner        // the origins that list it, the one that brings it in first
	from   string         // the other drive that it came from in place of its own, "" if it did not
	// the further drive that it comes from; nil: the one whose state is imported
	source *source
}

func (op *operation) close() {
	for _, in := range op.origins {
		closeSources(in)
	}
	if op.client != nil {
		op.client.close()
	}
}

// source is the state of an origin that is imported.
func (in *incoming) source() source {
	return source{in.gen, in.at, in.entries, in.facts, in.stock}
}

// closeSources closes what an origin is read from.
func closeSources(in *incoming) {
	in.gen.Close()
	for _, s := range in.further {
		s.gen.Close()
	}
}

func (op *operation) wants(k payload.Kind) bool {
	return k == payload.Package && !op.o.NoPackages || k == payload.Distfile && !op.o.NoDistfiles
}

// successor is a key that was accepted in the place of an old one.
type successor struct {
	old manifest.Fingerprint
	key *manifest.PublicKey
}

// note adds a notice, once: two drives may both give cause for it.
func (op *operation) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(op.report.Notices, text) {
		op.report.Notices = append(op.report.Notices, text)
	}
}

// history adds this run to what status shows.
func (op *operation) history() error {
	if op.m.Unattended {
		return nil
	}
	for _, in := range op.origins {
		result := "done"
		switch {
		case len(in.LeftOut) > 0:
			result = fmt.Sprintf("done, %d files left out", len(in.LeftOut))
		case len(in.Copied)+len(in.Pruned) == 0:
			result = "nothing to do"
		case len(in.Pruned) > 0:
			result = fmt.Sprintf("done, %d removed", len(in.Pruned))
		}
		t := payload.Count(in.Copied)
		err := op.st.AddRun(state.Run{When: op.m.Now(), Verb: "import", Origin: in.Plan.Origin,
			Drive: in.at, Result: result, Serial: in.Plan.Serial, Files: t.Files, Bytes: t.Bytes})
		if err != nil {
			return err
		}
	}
	return nil
}

// candidate is a package of an origin, with what the origin states of it.
func (in *incoming) candidate(path string, entry pkgindex.Entry) forecast.Candidate {
	c := forecast.Candidate{Entry: entry}
	if f, known := in.facts.Package(path); known {
		c.Facts = f
	}
	return c
}

// unusable puts a package that can never be used here on its list: it is no part of what should
// have come.
func (in *incoming) unusable(d task, r resolve.Reason) {
	in.Plan.Unusable = append(in.Plan.Unusable, payload.Item{Kind: d.kind, Path: d.path,
		Size: d.item.Size, Reason: forecast.ReasonText(r)})
	if in.Plan.UnusableKinds == nil {
		in.Plan.UnusableKinds = make(map[resolve.ReasonKind]int)
	}
	in.Plan.UnusableKinds[r.Kind]++
}

// An owner is an accepted origin of which a file was brought in.
type owner struct {
	in   *incoming // nil: its drive is not at hand, or nothing of it is used in this run
	path string    // the origin's
}

// mayHave reports whether an origin has a file, or may have it: this drive need not carry it, and
// an older generation does not tell what has gone.
func (in *incoming) mayHave(kind payload.Kind, path string, sum manifest.Digest) bool {
	if it, ok := in.gen.Find(kind, path); ok {
		return it.Sum == sum
	}
	stock := in.stock[kind]
	return in.standing[kind].older || !stock.Complete || stock.Has(path)
}

// stale reports whether a kind was not looked at on the host for this generation, and not since one
// that is older than what was imported here: two drives take turns, and one of them goes without a
// kind. Where it is remembered what was looked at when, that decides (standing).
func (in *incoming) stale(kind payload.Kind) bool {
	stock := in.stock[kind]
	return !in.standing[kind].told && stock.AsOf > 0 && in.seen.Serial > stock.AsOf
}

// leaveOut puts a file that cannot be brought in on its list.
func (in *incoming) leaveOut(d task, err error) {
	it := payload.Item{Kind: d.kind, Path: d.path, Size: d.item.Size}
	var reason *leftOutError
	if errors.As(err, &reason) {
		it.Reason, it.Hint = reason.reason, reason.hint
	}
	in.Plan.LeftOut = append(in.Plan.LeftOut, it)
}

// seal makes sure that the hashes of the entry are the package's: Portage renames a package away
// that contradicts the index.
func (d *task) seal(sums digest.Sums) error {
	if md5, ok := d.entry.MD5(); d.entry.Get("MD5") != "" && (!ok || md5 != sums.MD5) {
		return d.contradicted("MD5")
	}
	if sha1, ok := d.entry.SHA1(); d.entry.Get("SHA1") != "" && (!ok || sha1 != sums.SHA1) {
		return d.contradicted("SHA1")
	}
	e, err := d.entry.With("MD5", digest.Hex(sums.MD5[:]), "SHA1", digest.Hex(sums.SHA1[:]))
	if err != nil {
		return &leftOutError{reason: fault.Text(err)}
	}
	d.entry = e
	return nil
}

// contradicted is why a package is left out of which the signed catalogue states something else.
func (d *task) contradicted(key string) *leftOutError {
	return &leftOutError{reason: fmt.Sprintf("the catalogue's %s is not the package's own", key),
		hint: "on the build host: pkgsneak index --rebuild, and pkgsneak export " +
			fault.Quote(d.owners[0].in.at)}
}
