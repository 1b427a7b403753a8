package forecast

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/resolve"
)

// Input is what a forecast is made of, beside the machine.
type Input struct {
	// Candidates are the binary packages that emerge will find in PKGDIR.
	Candidates []Candidate
	// Elsewhere are entries of origins' catalogues that are neither here nor on the drive: the host
	// has built them.
	Elsewhere []pkgindex.Entry
	// Trees are ebuild repositories on the drive that are not here yet.
	Trees []Tree
	// Distdir is where distfiles lie, for what could be compiled; "": that is not looked for.
	Distdir string
	// Stop is asked now and then; true ends the search. nil: never. It ends after Patience anyway.
	Stop func() bool
	GateOptions
}

// Patience is how long a forecast is worked at: twenty times what a large machine takes.
const Patience = 8 * time.Second

// Merge is a package that emerge would install.
type Merge struct {
	Name  string // CPV
	Build string // BUILD_ID, "" if it has none
	Kind  string // new, new slot, update, rebuild, uninstall
	Old   string // CPV of what is replaced, "" if nothing is
	Grow  int64  // bytes more on disk, if Known
	// Known tells whether Grow is set.
	Known bool
	For   string // who needs it
}

// Lack is a package that cannot be installed.
type Lack struct {
	Name string
	// for programs: lacks, lacks-use, lacks-library, breaks, breaks-library, conflicts, blocked,
	// masked, unusable
	Cause string
	Why   string // for people, behind the name
	Line  string // a line to type that helps, "" if there is none
	Atom  string // what is lacking, or needed by Other; "" where no atom is to blame
	Other string // CPV of the installed package that would be broken
}

// Older is a package that is older than what is installed.
type Older struct{ Name, Installed string }

// Difference is a package that would come with other USE than this machine sets.
type Difference struct {
	Name  string
	Flags []string // "+flag" or "-flag", as the package has it
}

// Step is a line to type, and why.
type Step struct{ Line, Why string }

// Forecast is what the next emerge can do, and what it cannot.
type Forecast struct {
	Installed  int // packages on this machine
	Candidates int
	// OK means that emerge ends well under Exclude. If not, nothing helps that could be excluded:
	// Trouble is why.
	OK      bool
	Trouble string
	// GaveUp means that it took too long. Exclude then has what would go backwards and what must
	// not come, and nothing else is listed.
	GaveUp bool

	Merges   []Merge
	Growth   int64 // bytes on disk, of the merges of which it is known
	Unknown  int   // merges of which it is not
	Cannot   []Lack
	Older    []Older
	OtherUse []Difference
	// Unusable counts packages that this machine can never use, by what stands against it (see
	// UnusableText).
	Unusable map[resolve.ReasonKind]int
	Missing  []string // atoms of the sets that nothing satisfies
	Orphans  int      // installed packages that no set leads to
	Compile  []Compile
	// CompileBack are installed packages (CPV) with which the line that compiles would go back,
	// because the ebuild repositories here are older; it is not printed then.
	CompileBack []string
	Security    []Advisory
	News        int

	Exclude []string
	Before  []Step // to be done or thought of before the line
	After   []Step
	Problem []string // what could not be looked at

	opts string
}

// identity finds a candidate again: the resolver hands out copies.
type identity struct {
	cpv, buildID, repo string
	when, size         int64
}

func identify(p *resolve.Package) identity {
	return identity{p.CPV, p.BuildID, p.Repo, p.BuildTime, p.Size}
}

// Make works out the forecast. The error is that there is more than the bounds of package resolve
// allow.
func Make(m *Machine, in Input) (*Forecast, error) {
	f := &Forecast{Installed: len(m.Installed), Unusable: map[resolve.ReasonKind]int{},
		Problem: slices.Clone(m.Problems), opts: m.DefaultOpts}
	j := NewJudge(m, in.GateOptions)
	list, reasons := f.candidates(j, in.Candidates)
	f.Candidates = len(list)
	limited, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	r, err := resolve.Resolve(resolve.Input{
		Stop:      func() bool { return limited.Err() != nil || in.Stop != nil && in.Stop() },
		Installed: m.Installed, Candidates: list, World: m.World, Sets: m.Sets, System: m.System,
		Profile: m.ProfileSet, Provided: m.Provided,
		Implicit: func(flag string) bool { return m.implicit[flag] },
		UseOf:    j.a.wants,
		Accept: func(p resolve.Package, installed bool) resolve.Reason {
			if !installed {
				if r, found := reasons[identify(&p)]; found {
					return r
				}
			}
			r := j.a.judge(p, installed)
			if r.Kind == resolve.Acceptable && !installed && in.RespectUse {
				if flags := j.a.otherUse(p); len(flags) > 0 {
					return resolve.Reason{Kind: resolve.OtherUse, Text: strings.Join(flags, " ")}
				}
			}
			return r
		},
	})
	if err != nil {
		return nil, fmt.Errorf("work out what can be installed: %w", err)
	}
	f.take(m, r, in.Elsewhere)
	if f.OK {
		f.held(m, r, list, func(p *resolve.Package) bool {
			_, refused := reasons[identify(p)]
			return !refused && j.a.judge(*p, false).Kind == resolve.Acceptable
		})
	}
	f.sort()
	f.read(m, r, in.Trees)
	f.compile(j, in.Distdir, list)
	f.steps(m, r, in.Candidates)
	return f, nil
}

// candidates makes packages of what could be installed. Entries that name no package are told; what
// the gates refuse goes along with its reason, since emerge would take it if it is in PKGDIR.
func (f *Forecast) candidates(j *Judge, from []Candidate) ([]resolve.Package,
	map[identity]resolve.Reason) {
	list := make([]resolve.Package, 0, len(from))
	reasons := make(map[identity]resolve.Reason)
	for i := range from {
		p := from[i].pkg()
		if why := flaw(&p); why != "" {
			f.Problem = append(f.Problem, fmt.Sprintf("package %q: %s", p.CPV, why))
			continue
		}
		if r := j.Package(&from[i]); r.Kind != resolve.Acceptable {
			reasons[identify(&p)] = r
			f.Unusable[r.Kind]++
		}
		list = append(list, p)
	}
	return list, reasons
}

// take makes the lists out of what the resolver found.
func (f *Forecast) take(m *Machine, r *resolve.Result, elsewhere []pkgindex.Entry) {
	f.OK, f.Trouble, f.GaveUp, f.Exclude, f.Orphans = r.OK, r.Trouble, r.GaveUp,
		slices.Clone(r.Exclude), len(r.Unreached)
	slices.Sort(f.Exclude)
	for i := range r.Merges {
		f.addMerge(&r.Merges[i])
	}
	far := newShelves(elsewhere)
	for i := range r.Refusals {
		x := &r.Refusals[i]
		if x.Cause == resolve.Older {
			f.Older = append(f.Older, Older{x.Package.CPV, x.Other})
			continue
		}
		if l, told := explain(m, x, far); told {
			f.Cannot = append(f.Cannot, l)
		}
	}
	for _, miss := range r.Missing {
		f.Missing = append(f.Missing, miss.Atom)
	}
	slices.Sort(f.Missing)
	f.Missing = slices.Compact(f.Missing)
	for _, d := range r.OtherUse {
		f.OtherUse = append(f.OtherUse, Difference{r.Merges[d.Merge].Package.CPV, d.Flags})
	}
}

func (f *Forecast) sort() {
	slices.SortStableFunc(f.Cannot, func(a, b Lack) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(f.Older, func(a, b Older) int { return cmp.Compare(a.Name, b.Name) })
}

func (f *Forecast) addMerge(x *resolve.Merge) {
	g := Merge{Name: x.Package.CPV, Build: x.Package.BuildID, Kind: x.Kind.String(), For: x.For,
		Known: x.Package.Installed > 0}
	g.Grow = x.Package.Installed
	if x.Kind == resolve.Uninstall {
		g.Grow = -x.Package.Installed
	}
	if x.Old != nil {
		g.Old = x.Old.CPV
		g.Known = g.Known && x.Old.Installed > 0
		g.Grow -= x.Old.Installed
	}
	if g.Known {
		f.Growth += g.Grow
	} else {
		f.Unknown++
	}
	f.Merges = append(f.Merges, g)
}

// shelves are the packages that the origins have elsewhere, by CP.
type shelves map[string][]depend.Package

func newShelves(entries []pkgindex.Entry) shelves {
	s := make(shelves)
	for _, e := range entries {
		p := resolve.FromKeys(e.Get)
		if q, ok := dependPackage(&p); ok {
			s[q.CP] = append(s[q.CP], q)
		}
	}
	return s
}

// has reports whether one of them satisfies an atom, USE aside if bare.
func (s shelves) has(atom string, bare bool) bool {
	a, err := depend.ParseAtom(atom)
	if err != nil {
		return false
	}
	if bare {
		a = a.WithoutUse()
	}
	return slices.ContainsFunc(s[a.CP], func(p depend.Package) bool { return depend.Match(&a, &p) })
}

// explain tells why a candidate cannot be installed. It is false for what concerns nobody.
func explain(m *Machine, x *resolve.Refusal, far shelves) (Lack, bool) {
	l := Lack{Name: x.Package.CPV, Atom: x.Atom}
	switch x.Cause {
	case resolve.Lacks:
		l.Cause, l.Why = "lacks", "needs "+x.Atom+", which the host has not built"
		switch {
		case x.Hidden != nil:
			l.Why = "needs " + x.Atom + "; " + x.Hidden.CPV + " is " + ReasonText(x.Reason)
			l.Line = unmaskLine(m, x.Hidden.CPV, x.Reason)
		case far.has(x.Atom, false):
			l.Why = "needs " + x.Atom + ", which the host has and this drive has not"
		case installedOtherwise(m, x.Atom):
			l.Why = "needs " + x.Atom + ", which is installed otherwise and was not built anew"
		}
	case resolve.LacksUse:
		l.Cause, l.Why = "lacks-use", "needs "+x.Atom+", which is there with other USE"
	case resolve.LacksSoname:
		l.Cause, l.Why = "lacks-library", "needs the library "+x.Atom+", which nothing here has"
	case resolve.Breaks:
		l.Other = x.Other
		l.Cause, l.Why = "breaks", "breaks "+x.Other+", which needs "+x.Atom+" and was not rebuilt"
	case resolve.BreaksSoname:
		l.Other = x.Other
		l.Cause, l.Why = "breaks-library",
			"breaks "+x.Other+", which needs the library "+x.Atom+" and was not rebuilt"
	case resolve.Conflicts:
		l.Cause, l.Why = "conflicts", "gives way to another version"
		if x.Other != "" {
			l.Why += ": " + x.Other + " needs " + x.Atom
		}
	case resolve.Blocks:
		l.Cause, l.Why = "blocked", "cannot be beside "+x.Other+" ("+x.Atom+")"
	case resolve.NotAccepted:
		l.Cause, l.Why = "masked", "is "+ReasonText(x.Reason)
		l.Line = unmaskLine(m, x.Package.CPV, x.Reason)
		switch x.Reason.Kind {
		case resolve.CPU, resolve.Machine, resolve.Unreadable, resolve.Invalid:
			l.Cause = "unusable"
		case resolve.OtherUse:
			l.Cause = "other-use"
		}
	default:
		return l, false
	}
	return l, true
}

// installedOtherwise reports whether something of an atom's CP is installed.
func installedOtherwise(m *Machine, atom string) bool {
	a, err := depend.ParseAtom(atom)
	return err == nil && slices.ContainsFunc(m.Installed, func(p resolve.Package) bool {
		c, err := cpv.Parse(p.CPV)
		return err == nil && c.Category+"/"+c.PN == a.CP
	})
}

// unmaskLine is the line that lets a package in, "" if none does.
func unmaskLine(m *Machine, name string, r resolve.Reason) string {
	file, words := "", ""
	switch r.Kind {
	case resolve.Keyword:
		file, words = "package.accept_keywords", " "+r.Text
	case resolve.License:
		file, words = "package.license", " "+r.Text
	case resolve.Mask:
		file = "package.unmask"
	default:
		return ""
	}
	if !plainWords(words) {
		return "" // no line to paste with what is neither keyword nor license
	}
	return "echo '=" + name + words + "' >>" + quotePath(m.userFile(file))
}

// plainWords reports whether a text has nothing that means something to a shell between single
// quotes, or to Portage.
func plainWords(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r == ' ' || r == '~' || r == '*' || r == '.' || r == '+' || r == '_' || r == '-' ||
			'0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	})
}
