package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/cpv"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// driveRules compare each origin on a drive with this machine.
type driveRules struct {
	*facts
	*findings
}

func (e *driveRules) check(ctx context.Context) error {
	if err := machine.NeedDirectory("doctor", e.o.Drive); err != nil {
		return err
	}
	status, err := inspect.Status(ctx, e.m, inspect.StatusOptions{Drive: e.o.Drive})
	if err != nil {
		return err
	}
	d, err := drive.Open(e.o.Drive)
	if err != nil {
		return err
	}
	e.open = append(e.open, d)
	ring, err := e.anyKey(d)
	if err != nil {
		return err
	}
	if len(status.Drive.Origins) == 0 {
		weight := Wrong
		if e.is(Host) && !e.is(Client) {
			weight = Note
		}
		e.tell(Finding{Topic: "drive", Weight: weight,
			What: fmt.Sprintf("the drive %q carries no origin yet",
				e.o.Drive), Why: "there is nothing to import from it",
			Fix: []Fix{{Do: "on the build host: run",
				Lines: []string{"pkgsneak export " + e.driveWord()}}}})
	}
	for i := range status.Drive.Origins {
		if err := e.origin(ctx, d, ring, &status.Drive.Origins[i]); err != nil {
			return err
		}
	}
	return nil
}

// anyKey returns the keys by which a generation may be shown: trusted ones, this machine's, and
// those that lie on the drive.
func (e *driveRules) anyKey(d *drive.Drive) (manifest.Ring, error) {
	ring := slices.Clone(e.ring)
	if e.own != nil {
		ring = append(ring, e.own)
	}
	offered, err := d.Keys()
	if err != nil {
		return nil, err
	}
	for _, o := range offered {
		if o.Key != nil {
			ring = append(ring, o.Key)
		}
	}
	return ring, nil
}

// isFormerName reports whether an origin is one of this machine's that goes on under another name:
// its numbers may be of a clock that was wrong.
func (e *driveRules) isFormerName(o *inspect.OriginStatus) bool {
	if !o.Mine || e.st == nil {
		return false
	}
	now, err := state.RenewedAs(e.st, state.OriginID{Name: o.Name})
	return err == nil && now != ""
}

func (e *driveRules) origin(ctx context.Context, d *drive.Drive, ring manifest.Ring,
	o *inspect.OriginStatus) error {
	c := Comparison{Dir: o.Dir, Origin: o.Name, Trusted: o.Trusted, SignerState: o.SignerState,
		Mine: o.Mine, Packages: o.Packages.Files, Differences: []Difference{}}
	defer func() { e.r.Origins = append(e.r.Origins, c) }()
	e.originTrust(o)
	if trust.Unwanted(o.Err) {
		c.Problem = o.Signer.Word() + " (pkgsneak trust list)"
		return nil
	}
	if o.Record == nil {
		c.Problem = trust.Reason(o.Err)
		return nil
	}
	if !e.isFormerName(o) {
		judgeClock(e.facts, e.findings, o.Signed)
	}
	if o.Mine {
		return nil
	}
	gen, err := d.Load(o.Dir, ring, latest(e.now, o.Signed))
	if err != nil {
		c.Problem = fault.Text(err)
		return nil
	}
	e.open = append(e.open, gen)
	catalogue, err := gen.Catalogue()
	if err != nil {
		c.Problem = fault.Text(err)
		return nil
	}
	judge, err := e.judged()
	if err != nil {
		c.Problem = err.Error()
		return nil
	}
	x := &comparer{facts: e.facts, findings: e.findings, judge: judge, c: &c, gen: gen,
		header: catalogue.Header}
	x.carried(catalogue)
	if o.Trusted && o.Err == nil {
		e.bring(&c, gen, catalogue)
	}
	x.compare()
	trees := (&repositoryRules{e.facts, e.findings}).compare(ctx, &c, gen)
	if o.Trusted && o.Err == nil {
		e.trees = append(e.trees, trees...)
	}
	return x.cpu(ctx)
}

// bring notes what an import would take of an origin.
func (e *driveRules) bring(c *Comparison, gen *drive.Generation, catalogue *pkgindex.Index) {
	facts, err := gen.Facts()
	if err != nil {
		e.unknown("sizes and compiler flags of the packages of origin %q: %v", c.Origin, err)
	}
	for _, entry := range catalogue.Entries {
		if _, err := cpv.Parse(entry.CPV()); err != nil {
			continue
		}
		based := pkgindex.Rebase(entry, catalogue.Header, pkgindex.Header{})
		if _, carried := gen.Find(payload.Package, entry.Path()); !carried {
			e.elsewhere = append(e.elsewhere, based)
			continue
		}
		b := forecast.Candidate{Entry: based}
		if f, known := facts.Package(entry.Path()); known {
			b.Facts = f
		}
		e.brought = append(e.brought, b)
	}
}

// originTrust tells that an import would take nothing of the origin.
func (e *driveRules) originTrust(o *inspect.OriginStatus) {
	var refusal *trust.Refusal
	switch {
	case o.Err == nil:
	case trust.Unwanted(o.Err): // as it was decided here
	case errors.As(o.Err, &refusal) && refusal.Signer.State != trust.NoSigner:
		if e.is(Host) && !e.is(Client) {
			return
		}
		e.tell(Finding{Topic: "trust", Weight: Broken, Role: Client, What: refusal.Error(),
			Why: "an import copies nothing of it", Names: []string{o.Fingerprint},
			Fix: []Fix{advice(refusal.Signer, e.driveWord())}})
	default:
		e.tell(Finding{Topic: "drive", Weight: Broken,
			What: fmt.Sprintf("origin %q on the drive: %s", o.Dir,
				trust.Reason(o.Err)), Why: "an import takes nothing of it",
			Fix: []Fix{run("pkgsneak verify " + e.driveWord())}})
	}
}

// advice is what leads out of the state of a signer, as import and status print it.
func advice(s trust.Signer, place string) Fix {
	do, command := s.Advice(place)
	return Fix{Do: do, Lines: []string{command}}
}

func (x *comparer) compare() {
	if x.arch() {
		return // everything else follows from it
	}
	x.chost()
	x.profile()
	x.unreadable()
	if offer, err := forecast.OfferOf(x.gen); err == nil {
		x.offered = slices.DeleteFunc(offer.Packages, func(c forecast.Candidate) bool {
			_, err := cpv.Parse(c.Entry.CPV())
			return err != nil
		})
		x.masked = x.judge.Mismatches(x.offered)
	}
	if x.s.Profile == "" {
		x.unknown("what this machine's profile says: USE, ACCEPT_KEYWORDS and ACCEPT_LICENSE are not compared")
	} else {
		x.keywords()
		x.license()
		x.use()
	}
	x.fit()
	x.space()
}

// fit tells what an import tells of the origin, and what no finding above has told: masks, and
// ebuilds and repositories that this machine lacks.
func (x *comparer) fit() {
	for _, m := range x.masked {
		f := Finding{Weight: Note, Role: Client, Names: m.Names, What: x.ofOrigin(m.Names, m.Text)}
		switch m.Topic {
		case "config":
			f.Topic, f.Why = "config", "emerge does not take what package.mask names"
			f.Fix = []Fix{{Do: "at the end of the file", File: x.userFile("package.unmask"),
				Lines: exactAtoms(m.Names)}}
		case "usepkg":
			f.Topic, f.Why = "usepkg",
				"the tree here is older than the build host's, or another one"
		default:
			continue
		}
		x.tell(f)
	}
	repos, err := x.s.Repos()
	if err != nil {
		return
	}
	for _, line := range forecast.Trees(repos, x.c.Origin, x.gen.Record.Repositories) {
		x.tell(Finding{Topic: "profile", Weight: Note, Role: Client, What: line,
			Why: "what emerge computes from ebuilds, updates and sets, it computes from the tree here"})
	}
}

// exactAtoms are lines for one of the files package.*, at most mostLines.
func exactAtoms(names []string) []string {
	var lines []string
	for _, name := range names[:min(len(names), mostLines)] {
		lines = append(lines, "="+name)
	}
	return lines
}

// origin is the words for the origin that is compared.
func (x *comparer) origin() string { return fmt.Sprintf("origin %q", x.c.Origin) }

// ofOrigin reports how many of the origin's packages are something.
func (x *comparer) ofOrigin(names []string, what string) string {
	return fmt.Sprintf("%s of origin %q %s", plural(len(names), "package"), x.c.Origin, what)
}

func (x *comparer) arch() bool {
	theirs, ours := x.gen.Record.ARCH, x.s.ARCH()
	if theirs == "" || ours == "" {
		theirs, ours = archOf(x.gen.Record.CHOST), architecture(x.s)
		if x.gen.Record.CHOST == "" || x.s.Get("CHOST") == "" && x.s.ARCH() == "" {
			return false
		}
	}
	if theirs == ours {
		return false
	}
	x.differ(Difference{What: "ARCH", Origin: theirs, Here: ours},
		Finding{Topic: "arch", Weight: Broken,
			What: fmt.Sprintf("origin %q builds for %s, this machine is %s", x.c.Origin,
				theirs, ours),
			Why: "none of its packages can be used here; its distfiles can",
			Fix: []Fix{run("pkgsneak import --no-packages " + x.driveWord())}})
	return true
}

func (x *comparer) chost() {
	foreign := x.judge.foreignCHOST(&pkgindex.Index{Entries: x.entries})
	for _, chost := range slices.Sorted(maps.Keys(foreign)) {
		x.c.Differences = append(x.c.Differences, Difference{Topic: "chost", What: "CHOST",
			Origin: chost, Here: x.s.Get("CHOST"), Packages: len(foreign[chost])})
	}
	tellCHOST(x.findings, x.s, foreign, fmt.Sprintf("origin %q", x.c.Origin))
}

func (x *comparer) profile() {
	theirs, ours := x.gen.Record.Profile, x.s.ProfileName()
	if theirs == "" || ours == "" || theirs == ours || strings.HasPrefix(theirs, "/") ||
		strings.HasPrefix(ours, "/") {
		return
	}
	weight, why := Note, "defaults differ; differences that matter are listed separately"
	if forecast.OtherProfile(x.c.Origin, theirs, ours) != "" {
		weight, why = Wrong,
			"packages of another kind of profile do not fit the libraries and the layout of this machine"
	}
	x.differ(Difference{What: "profile", Origin: theirs, Here: ours},
		Finding{Topic: "profile", Weight: weight,
			What: fmt.Sprintf("origin %q has the profile %s, this machine %s", x.c.Origin,
				theirs, ours),
			Why: why, Fix: []Fix{run("eselect profile set " + fault.Quote(theirs))}})
}

// keywords tells which packages are masked here by their KEYWORDS.
func (x *comparer) keywords() {
	accept := strings.Fields(x.s.Get("ACCEPT_KEYWORDS"))
	if len(accept) == 0 {
		return
	}
	var names, lines []string
	for _, entry := range x.entries {
		if want := x.judge.Keyword(&forecast.Candidate{Entry: entry}); want != "" {
			names = append(names, entry.CPV())
			if line := "=" + entry.CPV() + " " + want; !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	theirs := x.header.Get("ACCEPT_KEYWORDS")
	fix := Fix{Do: "at the end of the file",
		File: x.userFile("package.accept_keywords"), Lines: lines}
	if more := beyond(theirs, accept); len(more) > 0 && len(names) > mostLines {
		fix = inConf(x.s, "ACCEPT_KEYWORDS", assign("ACCEPT_KEYWORDS", strings.Join(more, " ")))
	}
	x.differ(Difference{What: "ACCEPT_KEYWORDS", Origin: theirs, Here: strings.Join(accept, " "),
		Packages: len(names)},
		Finding{Topic: "keywords", Weight: Wrong, Role: Client,
			What: x.ofOrigin(names, "masked here by KEYWORDS"),
			Why:  "emerge does not take what ACCEPT_KEYWORDS does not allow", Names: names,
			Fix: []Fix{fix}})
}

func beyond(theirs string, ours []string) []string {
	return slices.DeleteFunc(strings.Fields(theirs), func(w string) bool {
		return slices.Contains(ours, w)
	})
}

// unreadable tells which packages the installed Portage cannot read.
func (x *comparer) unreadable() {
	theirs := x.judge.unreadable(x.entries)
	if names := theirs.eapi; len(names) > 0 {
		most, _ := x.s.PortageEAPI()
		x.differ(Difference{What: "EAPI", Origin: strconv.Itoa(theirs.newest),
			Here: strconv.Itoa(most), Packages: len(names)}, theirs.eapiFinding(x.origin()))
	}
	if names := theirs.gpkg; len(names) > 0 {
		x.differ(Difference{What: "format", Origin: "gpkg", Here: "xpak", Packages: len(names)},
			theirs.formatFinding(x.origin()))
	}
}

// space tells whether an import has room enough.
func (x *comparer) space() {
	needs := map[string]int64{} // by file system
	at := map[string]string{}
	count := func(dir string, items []layout.Item) {
		var st unix.Stat_t
		if unix.Stat(volume.Existing(dir), &st) != nil {
			return
		}
		fs := strconv.FormatUint(uint64(st.Dev), 16)
		for _, it := range items {
			if fi, err := os.Lstat(path.Join(dir, it.Path)); err != nil || fi.Size() != it.Size {
				needs[fs] += it.Size
			}
		}
		at[fs] = dir
	}
	count(x.m.DISTDIR, x.gen.Distfiles())
	count(x.m.PKGDIR, x.gen.Packages())
	for _, fs := range slices.Sorted(maps.Keys(needs)) {
		space, err := volume.SpaceAt(volume.Existing(at[fs]))
		if err != nil {
			continue
		}
		if free := space.Free; needs[fs] > free {
			x.tell(Finding{Topic: "room", Weight: Broken, Role: Client,
				What: fmt.Sprintf("an import of origin %q needs %s in %q, and %s are free",
					x.c.Origin, fault.Size(needs[fs]), at[fs], fault.Size(free)),
				Why: "import does not begin what cannot end", Fix: []Fix{run("eclean-pkg --deep",
					"eclean-dist --deep")}})
		}
	}
}
