package doctor

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"

	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
)

// binhostRules look at the places that --getbinpkg asks.
type binhostRules struct {
	*facts
	*findings
	network network
	repos   []portage.BinRepo
	bad     string // why asking a binhost cannot succeed; "" if it may
}

// getbinpkg tells what makes every emerge look for packages elsewhere.
func (e *binhostRules) getbinpkg() (by []string) {
	if on, _ := e.s.HasFeature("getbinpkg"); on {
		by = append(by, "FEATURES=getbinpkg")
	}
	if e.opts.on(optGetbinpkg) || e.opts.on(optGetOnly) {
		by = append(by, "--getbinpkg in EMERGE_DEFAULT_OPTS")
	}
	return by
}

// judge finds out whether asking a binhost at each emerge can succeed.
func (e *binhostRules) judge() {
	by := e.getbinpkg()
	if len(by) == 0 {
		return
	}
	var off, unsure []string
	for _, r := range e.repos {
		if _, local := localURI(r.SyncURI); local {
			continue
		}
		switch e.network.reaches(r.SyncURI) {
		case no:
			off = append(off, r.SyncURI)
		case maybe:
			unsure = append(unsure, r.SyncURI)
		}
	}
	switch {
	case len(e.repos) == 0:
		e.bad = strings.Join(by, " and ") + ", and there is no binhost"
	case len(off) > 0:
		e.bad = fmt.Sprintf("%s asks %s, and this machine has no network",
			strings.Join(by, " and "), some(off))
	case len(unsure) > 0:
		e.unknown("whether %s can be reached", some(unsure))
	}
}

func (e *binhostRules) tellGetbinpkg() {
	if e.bad == "" {
		return
	}
	f := Finding{Topic: "getbinpkg", Weight: Wrong, Role: Client, What: e.bad,
		Why: "each emerge waits until that fails; what was imported lies in PKGDIR and needs no binhost"}
	if len(e.repos) == 0 {
		f.Why = "emerge complains each time that PORTAGE_BINHOST is unset; what was imported lies in PKGDIR and needs no binhost"
	}
	if on, _ := e.s.HasFeature("getbinpkg"); on {
		f.Fix = append(f.Fix, inConf(e.s, "FEATURES", add("FEATURES", "-getbinpkg")))
	}
	if e.opts.on(optGetbinpkg) || e.opts.on(optGetOnly) {
		f.Fix = append(f.Fix, optsFix(e.s, e.opts.fixed(true)))
	}
	e.tell(f)
}

// check looks at the places that --getbinpkg asks.
func (e *binhostRules) check(problems []portage.Problem) {
	for _, p := range problems {
		if p.Fatal && !strings.Contains(p.Reason, "permission denied") {
			e.tell(Finding{Topic: "config", Weight: Broken, What: p.String(),
				Why: "Portage ignores binrepos.conf as a whole", Fix: []Fix{{Do: "look at the line",
					File: p.Path, Lines: []string{}}}})
		}
	}
	used := len(e.getbinpkg()) > 0
	for _, r := range e.repos {
		if dir, local := localURI(r.SyncURI); local {
			e.localBinhost(r, dir, used)
		}
	}
	e.tellGetbinpkg()
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

// localBinhost looks at a drive or directory that is used as a binhost. used tells whether every
// emerge does so.
func (e *binhostRules) localBinhost(r portage.BinRepo, dir string, used bool) {
	f := Finding{Topic: "binhost", Weight: Wrong, Role: Client}
	section := func(line string) []Fix {
		if r.File == "" {
			return nil
		}
		return []Fix{{Do: "in the section [" + r.Name + "]", File: r.File, Lines: []string{line}}}
	}
	if strings.ContainsAny(dir, "?#") {
		f.What, f.Why = fmt.Sprintf("binhost %q: the path has a ? or #",
			r.SyncURI), "Portage cuts the path there"
		f.Fix = []Fix{{Do: "mount it at a path without them", Lines: []string{}}}
		e.tell(f)
		return
	}
	there, err := pkgdir.Open(e.place(dir))
	if err != nil {
		if used {
			f.What, f.Why = fmt.Sprintf("binhost %q is not there",
				dir), "each emerge complains and goes on without it; a drive may not be mounted"
			f.Fix = []Fix{{Do: "mount it, or import what it carries: run",
				Lines: []string{"pkgsneak import DRIVE"}}}
			e.tell(f)
		}
		return
	}
	defer there.Close()
	index, err := there.Index()
	if err != nil {
		f.What, f.Why = fmt.Sprintf("binhost %q has no index",
			dir), "Portage asks for Packages there, and finds no package without it"
		if names, err := os.ReadDir(path.Join(e.place(dir), "pkgsneak")); err == nil &&
			len(names) > 0 {
			f.Why = "it is the drive itself; the packages of an origin lie at pkgsneak/ORIGIN/packages"
			f.Fix = section("sync-uri = file://" + dir + "/pkgsneak/ORIGIN/packages")
			if r.File == "" {
				f.Fix = []Fix{inConf(e.s, "PORTAGE_BINHOST",
					assign("PORTAGE_BINHOST", dir+"/pkgsneak/ORIGIN/packages"))}
			}
		}
		e.tell(f)
		return
	}
	if r.Frozen {
		g := f
		g.What, g.Why, g.Fix = fmt.Sprintf("binhost [%s] is frozen",
			r.Name), "Portage never reads its index again: new packages stay unseen",
			section("frozen = false")
		e.tell(g)
	}
	e.verified(r, there, index)
}

// verified tells whether Portage will refuse what a local binhost has because of missing
// signatures.
func (e *binhostRules) verified(r portage.BinRepo, there *pkgdir.Dir, index *pkgindex.Index) {
	f := Finding{Topic: "verify-signature", Weight: Wrong, Role: Client}
	xpak, unsigned := signatures(there, index)
	by := ""
	for _, other := range e.repos {
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
		f.Fix = []Fix{{Do: "in the section [" + r.Name + "]", File: r.File,
			Lines: []string{"verify-signature = false"}}}
	case by != "" && xpak > 0:
		f.What = fmt.Sprintf("XPAK packages of binhost %q are ignored, because %s verifies signatures", r.SyncURI, by)
		f.Why = "one verifying binhost makes Portage ignore XPAK packages of all; those in PKGDIR are used"
		f.Fix = []Fix{{Do: "bring the packages into PKGDIR instead: run",
			Lines: []string{"pkgsneak import DRIVE"}}}
	default:
		return
	}
	e.tell(f)
}
