package requester

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/request"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// gatherer puts a request together.
type gatherer struct {
	m      machine.Machine
	st     *state.Dir
	o      Options
	r      *Report
	here   *forecast.Machine
	view   trust.View
	record *request.Record

	index   *pkgindex.Index // of PKGDIR
	origins []origin        // on the drive, of trusted keys
}

// origin is one whose catalogue is at hand.
type origin struct {
	id        state.OriginID
	serial    int64
	header    pkgindex.Header
	catalogue []pkgindex.Entry
	arch      string
	chost     string
	facts     *layout.Facts
}

func (g *gatherer) problem(format string, args ...any) {
	g.r.Problems = append(g.r.Problems, fmt.Sprintf(format, args...))
}

// text makes a text of the request out of any.
func (g *gatherer) text(s string) string {
	clean, _ := layout.RecordText(s)
	return clean
}

// short is text for what is described in a few words.
func (g *gatherer) short(s string) string {
	clean := g.text(s)
	if len(clean) > 1<<10 {
		clean = strings.TrimSpace(strings.ToValidUTF8(clean[:1<<10], ""))
	}
	return clean
}

// readIndex reads the index of PKGDIR. Without it nothing counts as here.
func (g *gatherer) readIndex() {
	dir, err := pkgdir.Open(g.m.PKGDIR)
	if err == nil {
		defer dir.Close()
		var index *pkgindex.Index
		if index, err = dir.Index(); err == nil {
			g.index = index
			return
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		g.problem("no package here is told: %v", err)
	}
}

// readDrive reads the catalogues of the origins that are trusted here. One that cannot be read is
// told.
func (g *gatherer) readDrive(ctx context.Context, d *drive.Drive) error {
	dirs, err := d.Origins()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		gen, err := d.Load(dir, g.view.Ring, g.view.Now)
		if err != nil {
			if drive.Unanswered(err) {
				return err
			}
			continue // status and verify tell why; it is no part of a request
		}
		o := origin{id: state.OriginID{Key: gen.Record.Fingerprint, Name: gen.Record.Origin},
			serial: gen.Serial(), arch: gen.Record.ARCH, chost: gen.Record.CHOST}
		index, err := gen.Catalogue()
		if err == nil {
			o.header, o.catalogue = index.Header, index.Entries
			o.facts, _ = gen.Facts()
			g.origins = append(g.origins, o)
		} else {
			g.problem("origin %q: its catalogue cannot be read: %v", dir, err)
		}
		gen.Close()
		if drive.Unanswered(err) {
			return err
		}
	}
	return nil
}

// receipts tells what is here of each origin: against the catalogue where that is at hand, else by
// sums.
func (g *gatherer) receipts() {
	here := make(map[request.Sum]bool, len(g.index.Entries))
	byPath := make(map[string]request.Sum, len(g.index.Entries))
	for _, e := range g.index.Entries {
		if sum, ok := request.SumOf(e); ok {
			here[sum], byPath[e.Path()] = true, sum
		}
	}
	told := make(map[state.OriginID]bool)
	for _, o := range g.origins {
		told[o.id] = true
		g.record.Receipts = append(g.record.Receipts, request.NewReceipt(o.id.Name, o.id.Key,
			o.serial, o.catalogue, func(e pkgindex.Entry) bool {
				sum, ok := request.SumOf(e)
				return ok && here[sum]
			}))
	}
	for _, id := range g.st.Importers(payload.Package) {
		seen, known := g.st.Seen(id)
		if told[id] || !known || layout.CheckOriginName(id.Name) != nil ||
			len(g.record.Receipts) >= request.MaxReceipts {
			continue
		}
		files, err := g.st.Imports(id, payload.Package)
		if err != nil {
			g.problem("origin %q: %v", id.Name, err)
			continue
		}
		var sums []request.Sum
		for _, f := range files {
			if sum, ok := byPath[f.Local]; ok {
				sums = append(sums, sum)
			}
		}
		g.record.Receipts = append(g.record.Receipts, request.Receipt{Origin: id.Name, Key: id.Key,
			Serial: seen.Serial, Has: request.SortSums(sums)})
	}
}

// forecast turns into wants what emerge will lack, and tells what can never be used here.
func (g *gatherer) forecast(ctx context.Context) {
	in := forecast.Input{Distdir: g.m.DISTDIR, Stop: func() bool { return ctx.Err() != nil }}
	for _, e := range g.index.Entries {
		in.Candidates = append(in.Candidates,
			forecast.Candidate{Entry: pkgindex.Rebase(e, g.index.Header, pkgindex.Header{})})
	}
	judge := forecast.NewJudge(g.here, forecast.GateOptions{})
	refused := make(map[string]bool)
	for _, o := range g.origins {
		for _, e := range o.catalogue {
			e = pkgindex.Rebase(e, o.header, pkgindex.Header{})
			in.Elsewhere = append(in.Elsewhere, e)
			facts, _ := o.facts.Package(e.Path())
			reason := judge.Package(&forecast.Candidate{Entry: e, Facts: facts})
			if reason.Kind == resolve.Acceptable || refused[e.CPV()] ||
				len(g.record.Refused) >= request.MaxWants {
				continue
			}
			refused[e.CPV()] = true
			g.record.Refused = append(g.record.Refused, request.Refusal{CPV: e.CPV(),
				Why: forecast.KindName(reason.Kind), Text: g.short(reason.Text)})
		}
	}
	g.wishes()
	f, err := forecast.Make(g.here, in)
	if err != nil {
		g.problem("what is missing is not known: %v", err)
		return
	}
	if f.GaveUp {
		g.problem("what is missing is not known: %s", f.Trouble)
		return
	}
	g.lacks(f)
	if !g.o.NoDistfiles {
		g.sources(f)
	}
}

// wishes are the atoms that were asked for.
func (g *gatherer) wishes() {
	for _, w := range g.o.Wishes {
		g.want(request.Want{Atom: w, Why: request.Wished})
	}
}

// lacks are what the forecast finds missing.
func (g *gatherer) lacks(f *forecast.Forecast) {
	for _, l := range f.Cannot {
		switch l.Cause {
		case "lacks":
			g.want(request.Want{Atom: l.Atom, For: l.Name, Why: request.Missing})
		case "lacks-use":
			g.want(request.Want{Atom: l.Atom, For: l.Name, Why: request.USE})
		case "breaks", "breaks-library":
			if atom := g.rebuilt(l.Other); atom != "" {
				g.want(request.Want{Atom: atom, For: l.Name, Why: request.Missing})
			}
		case "lacks-library":
			if c, err := cpv.Parse(l.Name); err == nil {
				g.want(request.Want{Atom: c.Category + "/" + c.PN, For: l.Name,
					Why: request.Missing})
			}
		}
	}
	for _, atom := range f.Missing {
		g.want(request.Want{Atom: atom, For: "@world", Why: request.Missing})
	}
}

// sources names the distfiles of what lacks, no origin has built as far as is known here, and the
// ebuilds here could compile: those that are not here.
func (g *gatherer) sources(f *forecast.Forecast) {
	for _, c := range f.Compile {
		if len(c.Lacks) == 0 || g.isBuilt(c.For) {
			continue
		}
		for _, name := range c.Lacks {
			if layout.OriginPathFault(payload.Distfile, name) == "" && g.text(name) == name {
				g.add(request.Want{File: name, For: c.Name, Why: request.Missing})
			}
		}
	}
}

// isBuilt reports whether a catalogue has what satisfies an atom.
func (g *gatherer) isBuilt(atom string) bool {
	a, err := depend.ParseAtom(atom)
	return err == nil && slices.ContainsFunc(g.origins, func(o origin) bool {
		return slices.ContainsFunc(o.catalogue, func(e pkgindex.Entry) bool {
			if !strings.HasPrefix(e.CPV(), a.CP+"-") {
				return false
			}
			p := resolve.FromKeys(pkgindex.Rebase(e, o.header, pkgindex.Header{}).Get)
			return p.MatchedBy(&a)
		})
	})
}

// rebuilt is the atom of an installed package that has to be built anew.
func (g *gatherer) rebuilt(name string) string {
	for i := range g.here.Installed {
		p := &g.here.Installed[i]
		c, err := cpv.Parse(p.CPV)
		if p.CPV != name || err != nil {
			continue
		}
		slot := p.Slot
		if slot == "" {
			slot = "0"
		}
		return c.Category + "/" + c.PN + ":" + slot
	}
	return ""
}

// want adds a want, once. One that is no atom (a soname) is left out.
func (g *gatherer) want(w request.Want) {
	a, err := depend.ParseAtom(w.Atom)
	if err != nil || a.Block != depend.NoBlock {
		return
	}
	if w.For != "" && !strings.HasPrefix(w.For, "@") {
		if _, err := cpv.Parse(w.For); err != nil {
			w.For = ""
		}
	}
	g.add(w)
}

func (g *gatherer) add(w request.Want) {
	if len(g.record.Wants) < request.MaxWants && !slices.Contains(g.record.Wants, w) {
		g.record.Wants = append(g.record.Wants, w)
	}
}

// installed lists what is installed. A package that cannot stand in an index is told.
func (g *gatherer) installed() []pkgindex.Entry {
	entries := make([]pkgindex.Entry, 0, len(g.here.Installed))
	for i := range g.here.Installed {
		e, err := request.InstalledEntry(&g.here.Installed[i])
		if err != nil {
			g.problem("installed package %q is left out: %v", g.here.Installed[i].CPV, err)
			continue
		}
		entries = append(entries, e)
	}
	return entries
}

// freeAt is the room for files below a directory, -1 if it is not known.
func freeAt(dir string) int64 {
	space, err := volume.SpaceAt(volume.Existing(dir))
	if err != nil {
		return -1
	}
	return space.Free
}
