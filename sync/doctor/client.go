package doctor

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/cpu"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
)

// client looks at what keeps emerge from using packages that were brought in.
func (e *examiner) client(context.Context) error {
	if !e.is(Client) {
		return nil
	}
	repos, problems := e.s.BinRepos()
	e.judgeGetbinpkg(repos)
	e.trust()
	e.usepkg()
	e.respectUse()
	e.binhosts(repos, problems)
	e.requestSignature()
	e.localPackages()
	if !e.is(Host) {
		e.auto()
	}
	e.emerge()
	return nil
}

// trust looks at the keys whose exports are imported here.
func (e *examiner) trust() {
	if e.ledger == nil {
		return
	}
	good := 0
	var bad []Finding
	for _, k := range e.ring {
		if e.isOwn(k.Fingerprint()) {
			continue
		}
		err := k.Check(latest(latest(e.now, e.ledger.HighestTime()), k.Created()))
		if err == nil {
			good++
			continue
		}
		bad = append(bad, Finding{Topic: "trust", Weight: Wrong, Role: Client, What: fmt.Sprintf("trusted key %s: %v", k.Fingerprint().Grouped(), err),
			Why: "nothing that is signed with it is imported any more", Names: []string{k.UserID()},
			Mend: []Mend{{Do: "when the build host has renewed its key, or has another one: run", Lines: []string{"pkgsneak trust DRIVE", "pkgsneak trust remove " + string(k.Fingerprint())}}}})
	}
	for _, f := range bad {
		if good == 0 {
			f.Weight = Broken
		}
		e.tell(f)
	}
	if good+len(bad) == 0 {
		weight := Broken
		if e.hasKey {
			weight = Note // it can import what it exported itself
		}
		e.tell(Finding{Topic: "trust", Weight: weight, Role: Client, What: "no key of a build host is trusted here", Why: "an import takes nothing from an origin whose key was not trusted by hand",
			Mend: []Mend{{Do: "compare the fingerprint with what \"pkgsneak key\" shows on the build host: run", Lines: []string{"pkgsneak trust " + e.driveWord()}}}})
	}
}

func (e *examiner) driveWord() string {
	if e.o.Drive == "" {
		return "DRIVE"
	}
	return fault.Quote(e.o.Drive)
}

const (
	optOldpkg  = "--useoldpkg-atoms"
	optRebuilt = "--rebuilt-binaries"
	optRespect = "--binpkg-respect-use"
)

// plainUsepkg: --usepkg without what makes it take all packages.
func (o emergeOpts) plainUsepkg() bool {
	_, old := o.value(optOldpkg)
	return o.on(optUsepkg) && !o.on(optUsepkgOnly) && !o.on(optGetOnly) && !old
}

// strictOnly: --usepkgonly that refuses what was built with other USE flags.
func (o emergeOpts) strictOnly() bool {
	v, ok := o.value(optRespect)
	return ok && v != "n" && o.on(optUsepkgOnly)
}

// mended are EMERGE_DEFAULT_OPTS without what is wrong in them. Every finding about them gives the same line: one that mended only its own part would bring back another's.
func (e *examiner) mended() emergeOpts {
	o := e.opts
	if o.strictOnly() {
		o = o.without(optRespect)
	}
	if e.badGetbinpkg != "" {
		only := o.on(optGetOnly) && !o.on(optUsepkgOnly)
		if o = o.without(optGetbinpkg, optGetOnly); only {
			o = o.with("--usepkgonly")
		}
	}
	if o.plainUsepkg() {
		o = o.without(optUsepkg, optRebuilt).with("--usepkg", optOldpkg+"=*/*", optRebuilt+"=y")
	}
	return o
}

// optsMend sets EMERGE_DEFAULT_OPTS.
func (e *examiner) optsMend(o emergeOpts) Mend {
	return inConf(e.s, "EMERGE_DEFAULT_OPTS", assign("EMERGE_DEFAULT_OPTS", o.String()))
}

// usepkg looks for the trap of a plain --usepkg.
func (e *examiner) usepkg() {
	if !e.opts.plainUsepkg() {
		return
	}
	e.tell(Finding{Topic: "usepkg", Weight: Wrong, Role: Client, What: "EMERGE_DEFAULT_OPTS has a plain --usepkg",
		Why:  "it ignores, without a word, packages whose version has no ebuild in this machine's tree, and rebuilds of what is installed",
		Mend: []Mend{e.optsMend(e.mended())}})
}

func (e *examiner) respectUse() {
	v, ok := e.opts.value(optRespect)
	f := Finding{Topic: "respect-use", Weight: Note, Role: Client, Mend: []Mend{e.optsMend(e.mended().without(optRespect))}}
	switch {
	case ok && v == "n" && e.opts.on(optUsepkgOnly):
		f.What, f.Why = "--binpkg-respect-use=n says what --usepkgonly does anyway", "it can go"
	case ok && v == "n":
		f.What = "--binpkg-respect-use=n takes packages whatever their USE flags"
		f.Why = "what is installed is what the build host chose, not this machine's USE; equal USE on both makes the option needless (pkgsneak doctor DRIVE compares)"
	case e.opts.strictOnly():
		f.Weight, f.What = Wrong, "--binpkg-respect-use=y with --usepkgonly"
		f.Why = "a package with other USE flags is ignored, and nothing may be compiled in its place"
	default:
		return
	}
	e.tell(f)
}

// getbinpkg tells what makes every emerge look for packages elsewhere.
func (e *examiner) getbinpkg() (by []string) {
	if on, _ := e.s.HasFeature("getbinpkg"); on {
		by = append(by, "FEATURES=getbinpkg")
	}
	if e.opts.on(optGetbinpkg) || e.opts.on(optGetOnly) {
		by = append(by, "--getbinpkg in EMERGE_DEFAULT_OPTS")
	}
	return by
}

// judgeGetbinpkg finds out whether asking a binhost at each emerge can succeed.
func (e *examiner) judgeGetbinpkg(repos []portage.BinRepo) {
	by := e.getbinpkg()
	if len(by) == 0 {
		return
	}
	var off, unsure []string
	for _, r := range repos {
		if _, local := localURI(r.SyncURI); local {
			continue
		}
		switch e.reaches(r.SyncURI) {
		case no:
			off = append(off, r.SyncURI)
		case maybe:
			unsure = append(unsure, r.SyncURI)
		}
	}
	switch {
	case len(repos) == 0:
		e.badGetbinpkg = strings.Join(by, " and ") + ", and there is no binhost"
	case len(off) > 0:
		e.badGetbinpkg = fmt.Sprintf("%s asks %s, and this machine has no network", strings.Join(by, " and "), some(off))
	case len(unsure) > 0:
		e.unknown("whether %s can be reached", some(unsure))
	}
}

func (e *examiner) tellGetbinpkg(repos []portage.BinRepo) {
	if e.badGetbinpkg == "" {
		return
	}
	f := Finding{Topic: "getbinpkg", Weight: Wrong, Role: Client, What: e.badGetbinpkg, Why: "each emerge waits until that fails; what was imported lies in PKGDIR and needs no binhost"}
	if len(repos) == 0 {
		f.Why = "emerge complains each time that PORTAGE_BINHOST is unset; what was imported lies in PKGDIR and needs no binhost"
	}
	if on, _ := e.s.HasFeature("getbinpkg"); on {
		f.Mend = append(f.Mend, inConf(e.s, "FEATURES", add("FEATURES", "-getbinpkg")))
	}
	if e.opts.on(optGetbinpkg) || e.opts.on(optGetOnly) {
		f.Mend = append(f.Mend, e.optsMend(e.mended()))
	}
	e.tell(f)
}

// binhosts looks at the places that --getbinpkg asks.
func (e *examiner) binhosts(repos []portage.BinRepo, problems []portage.Problem) {
	for _, p := range problems {
		if p.Fatal && !strings.Contains(p.Reason, "permission denied") {
			e.tell(Finding{Topic: "config", Weight: Broken, What: p.String(), Why: "Portage ignores binrepos.conf as a whole", Mend: []Mend{{Do: "look at the line", File: p.Path, Lines: []string{}}}})
		}
	}
	used := len(e.getbinpkg()) > 0
	for _, r := range repos {
		if dir, local := localURI(r.SyncURI); local {
			e.localBinhost(r, dir, used, repos)
		}
	}
	e.tellGetbinpkg(repos)
}

// localURI returns the directory of a file: URI or plain path.
func localURI(uri string) (dir string, local bool) {
	if strings.HasPrefix(uri, "/") {
		return uri, true
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" {
		return "", false
	}
	return strings.TrimPrefix(uri, "file://"), true // Portage does not undo %XX
}

// localBinhost looks at a drive or directory that is used as a binhost. used tells whether every emerge does so.
func (e *examiner) localBinhost(r portage.BinRepo, dir string, used bool, all []portage.BinRepo) {
	f := Finding{Topic: "binhost", Weight: Wrong, Role: Client}
	section := func(line string) []Mend {
		if r.File == "" {
			return nil
		}
		return []Mend{{Do: "in the section [" + r.Name + "]", File: r.File, Lines: []string{line}}}
	}
	if strings.ContainsAny(dir, "?#") {
		f.What, f.Why = fmt.Sprintf("binhost %q: the path has a ? or #", r.SyncURI), "Portage cuts the path there"
		f.Mend = []Mend{{Do: "mount it at a path without them", Lines: []string{}}}
		e.tell(f)
		return
	}
	there, err := pkgdir.Open(e.place(dir))
	if err != nil {
		if used {
			f.What, f.Why = fmt.Sprintf("binhost %q is not there", dir), "each emerge complains and goes on without it; a drive may not be mounted"
			f.Mend = []Mend{{Do: "mount it, or import what it carries: run", Lines: []string{"pkgsneak import DRIVE"}}}
			e.tell(f)
		}
		return
	}
	defer there.Close()
	index, err := there.Index()
	if err != nil {
		f.What, f.Why = fmt.Sprintf("binhost %q has no index", dir), "Portage asks for Packages there, and finds no package without it"
		if names, err := os.ReadDir(path.Join(e.place(dir), "pkgsneak")); err == nil && len(names) > 0 {
			f.Why = "it is the drive itself; the packages of an origin lie at pkgsneak/ORIGIN/packages"
			f.Mend = section("sync-uri = file://" + dir + "/pkgsneak/ORIGIN/packages")
			if r.File == "" {
				f.Mend = []Mend{inConf(e.s, "PORTAGE_BINHOST", assign("PORTAGE_BINHOST", dir+"/pkgsneak/ORIGIN/packages"))}
			}
		}
		e.tell(f)
		return
	}
	if r.Frozen {
		g := f
		g.What, g.Why, g.Mend = fmt.Sprintf("binhost [%s] is frozen", r.Name), "Portage never reads its index again: new packages stay unseen", section("frozen = false")
		e.tell(g)
	}
	e.verified(r, there, index, all)
}

// verified tells whether Portage will refuse what a local binhost has because of missing signatures.
func (e *examiner) verified(r portage.BinRepo, there *pkgdir.Dir, index *pkgindex.Index, all []portage.BinRepo) {
	f := Finding{Topic: "verify-signature", Weight: Wrong, Role: Client}
	xpak, unsigned := signatures(there, index)
	by := ""
	for _, other := range all {
		if other.Verify {
			by = "[" + other.Name + "]"
		}
	}
	if r.Verify {
		by = "[" + r.Name + "]"
	}
	switch {
	case r.Verify && xpak+unsigned > 0:
		f.What = fmt.Sprintf("binhost [%s] verifies signatures, and its packages have none", r.Name)
		f.Why = "Portage ignores all its XPAK packages and refuses its unsigned GPKG packages; pkgsneak has its own signature over the whole, which import and verify check"
		f.Mend = []Mend{{Do: "in the section [" + r.Name + "]", File: r.File, Lines: []string{"verify-signature = false"}}}
	case by != "" && xpak > 0:
		f.What = fmt.Sprintf("XPAK packages of binhost %q are ignored, because %s verifies signatures", r.SyncURI, by)
		f.Why = "one verifying binhost makes Portage ignore XPAK packages of all; those in PKGDIR are used"
		f.Mend = []Mend{{Do: "bring the packages into PKGDIR instead: run", Lines: []string{"pkgsneak import DRIVE"}}}
	default:
		return
	}
	e.tell(f)
}

// mostOpened bounds the packages that are opened to see whether they are signed.
const mostOpened = 3

// signatures counts XPAK packages, which cannot be signed, and unsigned GPKG packages among the first few.
func signatures(dir *pkgdir.Dir, index *pkgindex.Index) (xpak, unsigned int) {
	opened := 0
	for _, entry := range index.Entries {
		name, err := binpkg.ParseName(entry.Path())
		if err != nil {
			continue
		}
		if name.Format == binpkg.XPAK {
			xpak++
			continue
		}
		if opened++; opened > mostOpened {
			continue
		}
		if p, err := readPackage(dir, name.Path); err == nil && !p.Signed {
			unsigned++
		}
	}
	return xpak, unsigned
}

func readPackage(dir *pkgdir.Dir, name string) (*binpkg.Package, error) {
	f, fi, err := dir.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return binpkg.Read(f, fi.Size(), name)
}

// requestSignature looks for the feature that refuses unsigned packages, also those in PKGDIR.
func (e *examiner) requestSignature() {
	on, _ := e.s.HasFeature("binpkg-request-signature")
	if !on || e.dir == nil || e.index == nil {
		return
	}
	if _, unsigned := signatures(e.dir, e.index); unsigned > 0 {
		e.tell(Finding{Topic: "verify-signature", Weight: Broken, Role: Client, What: "FEATURES has binpkg-request-signature, and packages in PKGDIR are not signed", Why: "emerge refuses to install them",
			Mend: []Mend{inConf(e.s, "FEATURES", add("FEATURES", "-binpkg-request-signature"))}})
	}
}

// localPackages looks for packages in PKGDIR that this machine masks or cannot run.
func (e *examiner) localPackages() {
	if e.index == nil || e.is(Host) {
		return
	}
	e.tellCHOST(e.foreignCHOST(e.index), "PKGDIR")
	var names []string
	for _, entry := range e.index.Entries {
		if e.have != nil && len(cpu.Lacks(cpu.FromUse(cpuUse(entry)), e.have)) > 0 {
			names = append(names, entry.CPV())
		}
	}
	if len(names) > 0 {
		e.tell(Finding{Topic: "cpu", Weight: Wrong, Role: Client, What: plural(len(names), "package") + " in PKGDIR built for a CPU with more than this one has (CPU_FLAGS_X86)",
			Why: "they may end with \"Illegal instruction\"", Names: names, Mend: []Mend{e.otherCPU()}})
	}
}

func (e *examiner) otherCPU() Mend {
	return Mend{Do: "on the build host, then build them again: in make.conf", Lines: []string{`CFLAGS="-march=x86-64 -mtune=generic -O2 -pipe"`, `CPU_FLAGS_X86="mmx mmxext sse sse2"`}}
}

// emerge says which line to type here, and why.
func (e *examiner) emerge() {
	binaries := Command{"emerge -auDK @world", "takes only binary packages: also those whose version has no ebuild here, and rebuilds of what is installed"}
	if e.opts.on(optUsepkgOnly) {
		binaries = Command{"emerge -auD @world", "--usepkgonly stands in EMERGE_DEFAULT_OPTS already: only binary packages, rebuilds too"}
	}
	if n := e.newerHere(); n > 0 {
		binaries.Line = strings.Replace(binaries.Line, " @world", " --rebuilt-binaries-timestamp=0 @world", 1)
		binaries.Why += fmt.Sprintf("; but %s built here later stay", plural(n, "package"))
	}
	e.r.Emerge = append(e.r.Emerge, binaries)
	if len(e.repos()) > 0 {
		e.r.Emerge = append(e.r.Emerge, Command{"emerge -auDk --useoldpkg-atoms='*/*' @world",
			"compiles what has no package; a plain -k would ignore packages whose version has no ebuild here"})
	}
}

// newerHere counts installed packages that were built later than the newest package of the same version in PKGDIR.
func (e *examiner) newerHere() int {
	if e.index == nil {
		return 0
	}
	built := map[string]int64{}
	for _, entry := range e.index.Entries {
		t, _ := entry.BuildTime()
		built[entry.CPV()] = max(built[entry.CPV()], t)
	}
	installed, err := e.s.Installed()
	if err != nil {
		return 0
	}
	n := 0
	for _, p := range installed {
		if t := built[p.Category+"/"+p.PF]; t > 0 && p.BuildTime() > t {
			n++
		}
	}
	return n
}
