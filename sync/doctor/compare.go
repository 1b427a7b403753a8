package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/cpv"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/trust"
)

// Comparison is what an origin on the drive and this machine differ in.
type Comparison struct {
	Dir         string       `json:"dir"` // below pkgsneak/
	Origin      string       `json:"origin,omitempty"`
	Trusted     bool         `json:"trusted"`
	Mine        bool         `json:"mine"`              // exported by this machine: not compared
	Problem     string       `json:"problem,omitempty"` // why nothing was compared
	Packages    int          `json:"packages"`          // on the drive
	Read        int          `json:"read"`              // of them, those whose CFLAGS were read
	Differences []Difference `json:"differences"`
}

// Difference is a line of the table: a setting for which packages on the drive do not fit this machine. A finding of the same topic says why that
// matters and what makes the two one.
type Difference struct {
	Topic    string `json:"topic"`
	What     string `json:"what"` // CHOST, profile, USE, VIDEO_CARDS, ...
	Origin   string `json:"origin"`
	Here     string `json:"here"`
	Packages int    `json:"packages,omitempty"` // that it concerns; 0: all, or not counted
}

// drive compares each origin on the drive with this machine.
func (e *examiner) drive(ctx context.Context) error {
	if e.o.Drive == "" {
		return nil
	}
	status, err := inspect.Status(ctx, e.m, inspect.StatusOptions{Drive: e.o.Drive})
	if err != nil {
		return err
	}
	d, err := drive.Open(e.o.Drive)
	if err != nil {
		return err
	}
	defer d.Close()
	ring, err := e.anyKey(d)
	if err != nil {
		return err
	}
	for i := range status.Drive.Origins {
		if err := e.origin(ctx, d, ring, &status.Drive.Origins[i]); err != nil {
			return err
		}
	}
	return nil
}

// anyKey returns the keys by which a generation may be shown: trusted ones, this machine's, and those that lie on the drive.
func (e *examiner) anyKey(d *drive.Drive) (manifest.Ring, error) {
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

func (e *examiner) origin(ctx context.Context, d *drive.Drive, ring manifest.Ring, o *inspect.OriginStatus) error {
	c := Comparison{Dir: o.Dir, Origin: o.Name, Trusted: o.Trusted, Mine: o.Mine, Packages: o.Packages.Files, Differences: []Difference{}}
	defer func() { e.r.Origins = append(e.r.Origins, c) }()
	e.originTrust(o)
	if o.Record == nil {
		c.Problem = o.Problem
		return nil
	}
	e.clock(o.Signed)
	if o.Mine {
		return nil
	}
	gen, err := d.Load(o.Dir, ring, latest(e.now, o.Signed))
	if err != nil {
		c.Problem = err.Error()
		return nil
	}
	defer gen.Close()
	catalogue, err := gen.Catalogue()
	if err != nil {
		c.Problem = err.Error()
		return nil
	}
	x := &comparer{examiner: e, c: &c, gen: gen, header: catalogue.Header}
	x.carried(catalogue)
	x.compare()
	return x.cpu(ctx)
}

// originTrust tells that an import would take nothing of the origin.
func (e *examiner) originTrust(o *inspect.OriginStatus) {
	var refusal *trust.Refusal
	switch {
	case o.Err == nil:
	case errors.As(o.Err, &refusal) && refusal.Signer.State == trust.Never: // as it was decided here
	case errors.As(o.Err, &refusal) && refusal.Signer.State != trust.NoSigner:
		if e.is(Host) && !e.is(Client) {
			return
		}
		e.tell(Finding{Topic: "trust", Weight: Broken, Role: Client, What: refusal.Error(),
			Why: "an import copies nothing of it", Names: []string{o.Fingerprint},
			Mend: []Mend{advice(refusal.Signer, e.driveWord())}})
	default:
		e.tell(Finding{Topic: "drive", Weight: Broken, What: fmt.Sprintf("origin %q on the drive: %v", o.Dir, o.Err), Why: "an import takes nothing of it",
			Mend: []Mend{run("pkgsneak verify " + e.driveWord())}})
	}
}

// advice is what leads out of the state of a signer, as import and status print it.
func advice(s trust.Signer, place string) Mend {
	do, command := s.Advice(place)
	return Mend{Do: do, Lines: []string{command}}
}

// comparer is one comparison.
type comparer struct {
	*examiner
	c       *Comparison
	gen     *drive.Generation
	header  pkgindex.Header
	entries []pkgindex.Entry // of the packages that the drive carries; CHOST and REPO stand in each
}

// carried picks the entries of what is on the drive.
func (x *comparer) carried(catalogue *pkgindex.Index) {
	for _, entry := range catalogue.Entries {
		_, carried := x.gen.Find(drive.Package, entry.Path())
		if _, err := cpv.Parse(entry.CPV()); carried && err == nil { // names stand in lines that a person will paste
			x.entries = append(x.entries, pkgindex.Rebase(entry, catalogue.Header, pkgindex.Header{}))
		}
	}
}

func (x *comparer) compare() {
	if x.arch() {
		return // everything else follows from it
	}
	x.chost()
	x.profile()
	x.eapi()
	x.format()
	if x.s.Profile == "" {
		x.unknown("what this machine's profile says: USE, ACCEPT_KEYWORDS and ACCEPT_LICENSE are not compared")
	} else {
		x.keywords()
		x.license()
		x.use()
	}
	x.space()
}

// differ adds a line to the table and the finding to it.
func (x *comparer) differ(d Difference, f Finding) {
	d.Topic = f.Topic
	x.c.Differences = append(x.c.Differences, d)
	x.tell(f)
}

func (x *comparer) arch() bool {
	theirs, ours := x.gen.Record.ARCH, x.s.ARCH()
	if theirs == "" || ours == "" {
		theirs, ours = archOf(x.gen.Record.CHOST), x.architecture()
		if x.gen.Record.CHOST == "" || x.s.Get("CHOST") == "" && x.s.ARCH() == "" {
			return false
		}
	}
	if theirs == ours {
		return false
	}
	x.differ(Difference{What: "ARCH", Origin: theirs, Here: ours}, Finding{Topic: "arch", Weight: Broken, What: fmt.Sprintf("origin %q builds for %s, this machine is %s", x.c.Origin, theirs, ours),
		Why: "none of its packages can be used here; its distfiles can", Mend: []Mend{run("pkgsneak import --no-packages " + x.driveWord())}})
	return true
}

func (x *comparer) chost() {
	foreign := x.foreignCHOST(&pkgindex.Index{Entries: x.entries})
	for _, chost := range slices.Sorted(maps.Keys(foreign)) {
		x.c.Differences = append(x.c.Differences, Difference{Topic: "chost", What: "CHOST", Origin: chost, Here: x.s.Get("CHOST"), Packages: len(foreign[chost])})
	}
	x.tellCHOST(foreign, fmt.Sprintf("origin %q", x.c.Origin))
}

// foreignCHOST lists the packages that emerge masks here because of their CHOST, by CHOST.
func (e *examiner) foreignCHOST(index *pkgindex.Index) map[string][]string {
	accept := strings.Fields(e.s.Get("ACCEPT_CHOSTS"))
	if len(accept) == 0 {
		if chost, known := e.s.CHOST(); known {
			accept = []string{chost}
		}
	}
	if len(accept) == 0 {
		return nil
	}
	re, err := regexp.Compile("^(?:" + strings.Join(accept, "|") + ")$")
	if err != nil {
		return nil // one of Python's that Go does not have
	}
	foreign := map[string][]string{}
	for _, entry := range index.Entries {
		chost := entry.Get("CHOST")
		if chost == "" {
			chost = index.Header.Get("CHOST")
		}
		if chost != "" && !re.MatchString(chost) {
			foreign[chost] = append(foreign[chost], entry.CPV())
		}
	}
	return foreign
}

var plainCHOST = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// tellCHOST tells that packages are masked by their CHOST.
func (e *examiner) tellCHOST(foreign map[string][]string, where string) {
	own := e.s.Get("CHOST")
	accept := []string{own}
	if words := strings.Fields(e.s.Get("ACCEPT_CHOSTS")); len(words) > 0 {
		accept = words
	}
	for _, chost := range slices.Sorted(maps.Keys(foreign)) {
		if archOf(chost) == archOf(own) && plainCHOST.MatchString(chost) {
			accept = append(accept, chost)
		}
	}
	for _, chost := range slices.Sorted(maps.Keys(foreign)) {
		names := foreign[chost]
		f := Finding{Topic: "chost", Weight: Broken, Role: Client, What: fmt.Sprintf("%s of %s made for %s", plural(len(names), "package"), where, chost),
			Why: "this machine's CHOST is " + own + ": emerge masks them", Names: names}
		if slices.Contains(accept, chost) {
			f.Mend = []Mend{inConf(e.s, "ACCEPT_CHOSTS", assign("ACCEPT_CHOSTS", strings.Join(accept, " ")))}
			f.Why += "; only the middle of the name differs, so they can be accepted if both machines have the same C library"
		}
		e.tell(f)
	}
}

var profileVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// The parts of a profile's name that make its packages another kind; the rest shows in USE.
var profileParts = []string{"hardened", "llvm", "musl", "no-multilib", "prefix", "selinux", "split-usr", "systemd", "uclibc", "x32"}

func (x *comparer) profile() {
	theirs, ours := x.gen.Record.Profile, x.s.ProfileName()
	if theirs == "" || ours == "" || theirs == ours || strings.HasPrefix(theirs, "/") || strings.HasPrefix(ours, "/") {
		return
	}
	weight, why := Note, "defaults differ; what matters of them is told apart"
	if a, b := kindOf(theirs), kindOf(ours); !slices.Equal(a, b) {
		weight, why = Wrong, "packages of another kind of profile do not fit the libraries and the layout of this machine"
	}
	x.differ(Difference{What: "profile", Origin: theirs, Here: ours}, Finding{Topic: "profile", Weight: weight, What: fmt.Sprintf("origin %q has the profile %s, this machine %s", x.c.Origin, theirs, ours),
		Why: why, Mend: []Mend{run("eselect profile set " + fault.Quote(theirs))}})
}

func kindOf(profile string) []string {
	var kind []string
	for _, part := range strings.Split(profile, "/") {
		if slices.Contains(profileParts, part) || profileVersion.MatchString(part) {
			kind = append(kind, part)
		}
	}
	slices.Sort(kind)
	return kind
}

// mostLines is how many packages get a line of their own in a mend.
const mostLines = 20

// keywords tells which packages are masked here by their KEYWORDS.
func (x *comparer) keywords() {
	accept := strings.Fields(x.s.Get("ACCEPT_KEYWORDS"))
	if len(accept) == 0 {
		return
	}
	own := x.mentioned("package.accept_keywords", "package.keywords")
	var names, lines []string
	for _, entry := range x.entries {
		if words := strings.Fields(entry.Get("KEYWORDS")); !keywordsAccepted(words, accept) && !own(entry.CPV()) {
			names = append(names, entry.CPV())
			want := "**"
			for _, w := range words {
				if strings.TrimPrefix(w, "~") == x.s.ARCH() && x.s.ARCH() != "" {
					want = w
				}
			}
			if line := "=" + entry.CPV() + " " + want; !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	theirs := x.header.Get("ACCEPT_KEYWORDS")
	mend := Mend{Do: "at the end of the file", File: x.userFile("package.accept_keywords"), Lines: lines}
	if more := beyond(theirs, accept); len(more) > 0 && len(names) > mostLines {
		mend = inConf(x.s, "ACCEPT_KEYWORDS", assign("ACCEPT_KEYWORDS", strings.Join(more, " ")))
	}
	x.differ(Difference{What: "ACCEPT_KEYWORDS", Origin: theirs, Here: strings.Join(accept, " "), Packages: len(names)},
		Finding{Topic: "keywords", Weight: Wrong, Role: Client, What: plural(len(names), "package") + " on the drive masked here by KEYWORDS", Why: "emerge does not take what ACCEPT_KEYWORDS does not allow", Names: names, Mend: []Mend{mend}})
}

func beyond(theirs string, ours []string) []string {
	return slices.DeleteFunc(strings.Fields(theirs), func(w string) bool { return slices.Contains(ours, w) })
}

// keywordsAccepted is Portage's rule.
func keywordsAccepted(keywords, accept []string) bool {
	var stable, testing bool
	for _, k := range keywords {
		switch {
		case k == "*" || slices.Contains(accept, k):
			return true
		case k == "~*" || k[0] == '~':
			testing = true
		case k[0] != '-':
			stable = true
		}
	}
	return testing && slices.Contains(accept, "~*") || stable && slices.Contains(accept, "*") || slices.Contains(accept, "**")
}

// userFile is where a line for one of the files package.* belongs, which may be a directory.
func (e *examiner) userFile(name string) string {
	p := e.etc(name)
	if fi, err := os.Stat(e.place(p)); err == nil && fi.IsDir() {
		return path.Join(p, "pkgsneak")
	}
	return p
}

// mentioned tells whether a package of some version is spoken of in /etc/portage/FILE: then the machine's owner has decided.
func (e *examiner) mentioned(files ...string) func(cpv string) bool {
	var atoms []string
	for _, file := range files {
		lines, _ := e.s.PackageLines(file)
		for _, l := range lines {
			atoms = append(atoms, l.Atom)
		}
	}
	return func(cpv string) bool {
		return slices.ContainsFunc(atoms, func(atom string) bool { return atomMatches(atom, cpv) != no })
	}
}

// eapi tells which packages the installed Portage is too old for.
func (x *comparer) eapi() {
	most, known := x.s.PortageEAPI()
	if !known {
		return
	}
	var names []string
	newest := 0
	for _, entry := range x.entries {
		if n, err := strconv.Atoi(entry.Get("EAPI")); err == nil && n > most {
			names = append(names, entry.CPV())
			newest = max(newest, n)
		}
	}
	if len(names) == 0 {
		return
	}
	x.differ(Difference{What: "EAPI", Origin: strconv.Itoa(newest), Here: strconv.Itoa(most), Packages: len(names)},
		Finding{Topic: "eapi", Weight: Broken, Role: Client, What: fmt.Sprintf("%s of an EAPI that this machine's Portage does not know (%d)", plural(len(names), "package"), newest),
			Why: "emerge masks them until Portage itself is newer", Names: names, Mend: []Mend{run("emerge -1auK sys-apps/portage")}})
}

// format tells which packages are in a format that the installed Portage cannot read at all.
func (x *comparer) format() {
	if reads, known := x.s.ReadsGPKG(); reads || !known {
		return
	}
	var names []string
	for _, entry := range x.entries {
		if format, _ := binpkg.FormatOf(path.Base(entry.Get("PATH"))); format == binpkg.GPKG {
			names = append(names, entry.CPV())
		}
	}
	if len(names) == 0 {
		return
	}
	x.differ(Difference{What: "format", Origin: "gpkg", Here: "xpak", Packages: len(names)},
		Finding{Topic: "format", Weight: Broken, Role: Client, What: fmt.Sprintf("%s in the GPKG format, which this machine's Portage cannot read", plural(len(names), "package")),
			Why:   "there is no portage/gpkg.py here (Portage 3.0.31 and later have it): emerge drops such packages from the index",
			Names: names, Mend: []Mend{{Do: "install a newer Portage here, or on the host, in make.conf, and build the packages again", Lines: []string{assign("BINPKG_FORMAT", "xpak")}}}})
}

// space tells whether an import has room enough.
func (x *comparer) space() {
	needs := map[string]int64{} // by file system
	at := map[string]string{}
	count := func(dir string, items []drive.Item) {
		var st unix.Stat_t
		if unix.Stat(existing(dir), &st) != nil {
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
		var st unix.Statfs_t
		if unix.Statfs(existing(at[fs]), &st) != nil {
			continue
		}
		if free := freeBytes(&st); needs[fs] > free {
			x.tell(Finding{Topic: "room", Weight: Broken, Role: Client, What: fmt.Sprintf("an import of origin %q needs %d MiB in %q, and %d MiB are free", x.c.Origin, needs[fs]>>20, at[fs], free>>20),
				Why: "import does not begin what cannot end", Mend: []Mend{run("eclean-pkg --deep", "eclean-dist --deep")}})
		}
	}
}
