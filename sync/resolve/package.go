package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
)

const (
	// MaxPackages bounds the installed packages, and the candidates.
	MaxPackages = 200_000
	// MaxString bounds each string of a package, in bytes.
	MaxString = depend.MaxLength
)

// Package is an installed package or a binary package that could be installed. All strings are
// those of /var/db/pkg and of the index Packages, where dependencies and LICENSE are reduced by USE
// already.
type Package struct {
	CPV       string // CATEGORY/PF
	Slot      string // without the sub-slot; "" is 0
	Sub       string // the sub-slot; "" is the same as Slot
	Use       string // the flags that are on
	IUse      string // the flags that the package has; a "+" or "-" in front means nothing
	EAPI      string // "" is 0
	RDepend   string
	PDepend   string
	IDepend   string
	BuildTime int64 // Unix seconds; 0 is unknown
	BuildID   string
	Repo      string
	Provides  string // sonames: "x86_64: libfoo.so.1 libbar.so.2"
	Requires  string
	Size      int64 // of the package file, in bytes
	Installed int64 // bytes that it takes when it is installed, 0 if unknown

	// The values that Accept may ask for.
	Keywords, License, CHOST string
}

// FromKeys makes a Package of its record: get returns what an entry of an index or a file of
// /var/db/pkg has under a key, "" if it has none. Keys are those of the index (REPO; /var/db/pkg
// calls that repository). The package is checked by Resolve.
func FromKeys(get func(key string) string) Package {
	number := func(key string) int64 {
		n, _ := strconv.ParseInt(strings.TrimSpace(get(key)), 10, 64)
		return n
	}
	p := Package{
		CPV: get("CPV"), Use: get("USE"), IUse: get("IUSE"), EAPI: get("EAPI"), Repo: get("REPO"),
		RDepend: get("RDEPEND"), PDepend: get("PDEPEND"), IDepend: get("IDEPEND"),
		BuildTime: number("BUILD_TIME"), BuildID: get("BUILD_ID"), Size: number("SIZE"),
		Provides: get("PROVIDES"), Requires: get("REQUIRES"),
		Keywords: get("KEYWORDS"), License: get("LICENSE"), CHOST: get("CHOST"),
	}
	p.Slot, p.Sub, _ = strings.Cut(get("SLOT"), "/")
	p.fillSlots()
	return p
}

// fillSlots writes out what stands for an empty slot or sub-slot.
func (p *Package) fillSlots() {
	p.Slot = cmp.Or(p.Slot, "0")
	p.Sub = cmp.Or(p.Sub, p.Slot)
}

// MatchedBy reports whether an atom matches the package, without what the configuration of a
// machine adds to its flags.
func (p *Package) MatchedBy(a *depend.Atom) bool {
	if !strings.HasPrefix(p.CPV, a.CP+"-") {
		return false
	}
	q, err := newPkg(p, 0, 0, false, nil)
	return err == nil && depend.Match(a, &q.dep)
}

// longest returns the length of the longest string.
func (p *Package) longest() int {
	n := 0
	for _, s := range [...]string{p.CPV, p.Slot, p.Sub, p.Use, p.IUse, p.EAPI, p.RDepend, p.PDepend,
		p.IDepend, p.BuildID, p.Repo,
		p.Provides, p.Requires, p.Keywords, p.License, p.CHOST} {
		n = max(n, len(s))
	}
	return n
}

// ReasonKind is why a package is not acceptable on this machine.
type ReasonKind uint8

const (
	Acceptable ReasonKind = iota
	Keyword
	License
	Mask
	Machine    // CHOST or ARCH
	Unreadable // an EAPI or a format that the installed Portage does not have
	Invalid    // dependencies that do not parse, or not in the package's EAPI
	// needs a feature that this CPU lacks; Portage does not see that, so the package is excluded
	CPU
	// USE differs from this machine's, which is to be respected; Portage does not see that either
	OtherUse
)

// Reason is Accept's answer. The zero value means that the package is acceptable.
type Reason struct {
	Kind ReasonKind
	Text string // what to tell, for example the keyword: "~amd64"
}

// hides reports whether the reason makes a package invisible to Portage. It goes on using an
// installed package whose keyword or CHOST is not accepted any more, as long as nothing else is
// there.
func (r Reason) hides(installed bool) bool {
	switch r.Kind {
	case License, Mask, Unreadable, Invalid:
		return true
	}
	return r.counts() && !installed
}

// counts reports whether the reason is one that Portage has: it sees neither CPUs nor, with
// --usepkgonly, the machine's USE.
func (r Reason) counts() bool { return r.Kind != Acceptable && r.Kind != CPU && r.Kind != OtherUse }

// pkg is a Package in the form that the walk needs. Two builds of one version are two of them.
type pkg struct {
	*Package      // as it was given: thousands of them never change
	index     int // among the installed or the candidates, as they were given
	id        int // among all
	installed bool
	cp        string
	virtual   bool
	shelf     *shelf
	version   string
	rank      int    // of the version among those of the shelf; 0 is none yet
	slotKey   string // CP:SLOT
	slotAtom  *atom  // for the slot; made on first use
	reason    Reason
	excluded  bool
	dep       depend.Package
	deps      [3][]item  // RDEPEND, IDEPEND, PDEPEND; read on first use
	plain     [3][]*want // of deps the plain atoms
	later     [3][]item  // of deps the rest
	read      bool
	prepared  map[*item]*prepared // by the first of the items
	alone     [1]*pkg             // the package itself
}

func newPkg(p *Package, index, id int, installed bool, implicit func(string) bool) (*pkg, error) {
	if n := p.longest(); n > MaxString {
		return nil, fmt.Errorf("a string of %d bytes in package %.80q, more than %d", n,
			p.CPV, MaxString)
	}
	c, err := cpv.Parse(p.CPV)
	if err != nil {
		return nil, err
	}
	if p.Slot == "" || p.Sub == "" {
		filled := *p
		p = &filled
		p.fillSlots()
	}
	q := &pkg{Package: p, index: index, id: id, installed: installed, cp: c.Category + "/" + c.PN,
		version: c.Version, virtual: c.Category == "virtual"}
	q.alone[0] = q
	q.slotKey = q.cp + ":" + p.Slot
	if a, err := depend.ParseAtom(q.slotKey); err != nil || a.Slot != p.Slot || a.Sub != "" {
		return nil, fmt.Errorf("package %q has %q for a slot", p.CPV, p.Slot)
	}
	q.dep = depend.Package{CP: q.cp, Version: q.version, BuildID: p.BuildID, Slot: p.Slot,
		Sub: p.Sub, Repo: p.Repo,
		Use: q.uses, Valid: func(flag string) bool {
			return hasWord(q.IUse, flag, true) || implicit != nil && implicit(flag) ||
				eapiAtLeast(q.EAPI, 5) && q.uses(flag)
		}}
	return q, nil
}

func (p *pkg) depends() [3]string { return [...]string{p.RDepend, p.IDepend, p.PDepend} }

func (p *pkg) uses(flag string) bool { return hasWord(p.Use, flag, false) }

func (p *pkg) visible() bool { return !p.reason.hides(p.installed) }

// less orders builds of one package: by version, then by build time.
func (p *pkg) less(q *pkg) bool { return p.compare(q) < 0 }

func (p *pkg) compare(q *pkg) int {
	if c := compareVersions(p, q); c != 0 {
		return c
	}
	switch {
	case p.BuildTime < q.BuildTime:
		return -1
	case p.BuildTime > q.BuildTime:
		return 1
	}
	return 0
}

// compareVersions compares by version alone. Within a shelf that was found out beforehand.
func compareVersions(p, q *pkg) int {
	if p.shelf != q.shelf || p.rank == 0 || q.rank == 0 {
		return cpv.CompareVersions(p.version, q.version)
	}
	return p.rank - q.rank
}

// hasWord reports whether word is among the words of s, with signs if a "+" or "-" before it does
// not matter.
func hasWord(s, word string, signs bool) bool {
	if word == "" {
		return false
	}
	for from := 0; ; {
		i := strings.Index(s[from:], word)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(word)
		from = start + 1
		if end < len(s) && !isBlank(s[end]) {
			continue
		}
		if signs && start > 0 && (s[start-1] == '+' || s[start-1] == '-') {
			start--
		}
		if start == 0 || isBlank(s[start-1]) {
			return true
		}
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// eapiAtLeast reports whether an EAPI is number n or later. One that is no number counts as the
// newest.
func eapiAtLeast(eapi string, n int) bool {
	if eapi == "" {
		return n <= 0
	}
	have, err := strconv.Atoi(eapi)
	return err != nil || have >= n
}

// useWithin returns the flags of IUSE, sorted, with a sign before those that were off: what a
// change of USE is judged by.
func useWithin(p *pkg) string {
	flags := strings.Fields(p.IUse)
	for i, f := range flags {
		f = strings.TrimLeft(f, "+-")
		if !p.uses(f) {
			f = "-" + f
		}
		flags[i] = f
	}
	slices.SortFunc(flags, func(a, b string) int {
		return strings.Compare(strings.TrimPrefix(a, "-"), strings.TrimPrefix(b, "-"))
	})
	return strings.Join(slices.Compact(flags), " ")
}
