package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"pkgsneak/sync/emerge"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/progress"
)

// Role is what a machine does.
type Role string

// The two roles.
const (
	Host   Role = "host"
	Client Role = "client"
)

// Weight is how much a finding matters.
type Weight string

// The weights, the heaviest first.
const (
	Broken Weight = "broken"
	Wrong  Weight = "wrong"
	Note   Weight = "note"
)

func (w Weight) rank() int { return slices.Index([]Weight{Broken, Wrong, Note}, w) }

// Fix is what to do: lines for a file, or, without a File, the words of Do.
type Fix struct {
	// "run", "at the end of the file", "instead of the line that sets CFLAGS", ...
	Do    string   `json:"do"`
	File  string   `json:"file,omitempty"`
	Lines []string `json:"lines"`
}

// Finding is one thing that is wrong, or of interest.
type Finding struct {
	Topic  string   `json:"topic"` // for Explain and Options.Ignore
	Weight Weight   `json:"weight"`
	Role   Role     `json:"role,omitempty"` // "": any machine
	What   string   `json:"what"`
	Why    string   `json:"why"`
	Names  []string `json:"names"` // packages, keys or files that are meant; foreign text
	Fix    []Fix    `json:"fix"`
}

// Command is a line to type, and why it is this one.
type Command struct {
	Line string `json:"line"`
	Why  string `json:"why"`
}

// Report is what was found.
type Report struct {
	Roles    []Role    `json:"roles"`
	Because  []string  `json:"because"` // how the roles are known
	Findings []Finding `json:"findings"`
	Auto     string    `json:"auto,omitempty"` // PKGSNEAK_AUTO
	// the line that shows the log of automatic runs; filled in by the command line
	AutoLog string    `json:"auto_log,omitempty"`
	Emerge  []Command `json:"emerge"` // for a client
	// Forecast is what emerge can do with what is in PKGDIR, for a client; Outlook is the same for
	// people.
	Forecast    *forecast.Document `json:"forecast,omitempty"`
	Outlook     *forecast.Forecast `json:"-"`
	ExcludeFile string             `json:"exclude_file,omitempty"`
	// ToImport counts the packages on the drive that are not in PKGDIR yet and that the forecast
	// counts on.
	ToImport int `json:"to_import,omitempty"`
	// Portage is real emerge's answer to the line, if it was asked.
	Portage *Confirmation `json:"portage,omitempty"`
	Origins []Comparison  `json:"origins"`           // with a drive
	Unknown []string      `json:"unknown"`           // what could not be looked at, and why
	Ignored int           `json:"ignored,omitempty"` // findings that Options.Ignore silenced
}

// Found tells whether anything has to be fixed.
func (r *Report) Found() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Weight != Note })
}

// findings collects a Report.
type findings struct {
	r      *Report
	ignore []string // topics that are not told
}

func newFindings(ignore []string) *findings {
	return &findings{&Report{Roles: []Role{}, Because: []string{}, Findings: []Finding{},
		Unknown: []string{}}, ignore}
}

// tell adds a finding.
func (l *findings) tell(f Finding) {
	if slices.Contains(l.ignore, f.Topic) {
		l.r.Ignored++
		return
	}
	if f.Fix == nil {
		f.Fix = []Fix{}
	}
	if slices.ContainsFunc(l.r.Findings, func(old Finding) bool {
		return old.Topic == f.Topic && old.What == f.What && slices.Equal(old.Names, f.Names)
	}) {
		return // of two origins, or by two rules
	}
	l.r.Findings = append(l.r.Findings, f)
}

func (l *findings) unknown(format string, args ...any) {
	l.r.Unknown = append(l.r.Unknown, fmt.Sprintf(format, args...))
}

// sort puts what matters most first, and else keeps the order of the topics: one is fixed before
// the next.
func (l *findings) sort() {
	place := make(map[string]int, len(topics))
	for i, t := range topics {
		place[t.Name] = i
	}
	slices.SortStableFunc(l.r.Findings, func(a, b Finding) int {
		return cmp.Or(a.Weight.rank()-b.Weight.rank(), place[a.Topic]-place[b.Topic])
	})
}

// some names the first few of a list.
func some(list []string) string {
	const most = 3
	if len(list) > most {
		return strings.Join(list[:most], ", ") + ", ..."
	}
	return strings.Join(list, ", ")
}

// plural is a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Options states what to look at. Machine has to be filled in; the zero value of the rest looks at
// this machine without a drive.
type Options struct {
	Machine machine.Machine
	Root    string   // in front of the machine's paths that Machine's settings name; "" is "/"
	Drive   string   // mount point of a drive to compare with; "" for none
	Roles   []Role   // what the machine is; none: find out
	Auto    string   // PKGSNEAK_AUTO: "export", "import", "both"
	CPUInfo []byte   // /proc/cpuinfo; nil: the CPU is not known
	Routes  []byte   // /proc/net/route; nil: it is not known whether there is a network
	Routes6 []byte   // /proc/net/ipv6_route
	Ignore  []string // topics that are not told
	Portage bool     // ask real emerge about the line, by Ask
	Ask     AskFunc  // nil: there is no emerge
	// ExcludeFile takes the names that the line to type excludes; "": they stand in the line.
	ExcludeFile string
	Deep        bool // read the CFLAGS of every package on the drive, not of some
	Watch       progress.Watcher
}

// AskFunc asks real emerge.
type AskFunc func(context.Context, emerge.Question) (*emerge.Answer, error)

// Confirmation is real emerge's answer to the forecast's line.
type Confirmation struct {
	Exit      int      `json:"exit"`      // of emerge; 0: the line works
	Merges    int      `json:"merges"`    // packages that emerge lists
	Same      int      `json:"same"`      // of them those that the forecast has, too
	OnlyHere  []string `json:"only_here"` // the forecast has them, emerge has not
	OnlyThere []string `json:"only_emerge"`
	Backwards []string `json:"backwards"` // emerge would go back to them
	Compiled  []string `json:"compiled"`  // emerge would compile them; with -K there are none
	Said      []string `json:"said"`      // emerge's messages; foreign text
	Cut       bool     `json:"cut,omitempty"`
}

// Agrees reports whether emerge would do what was forecast.
func (c *Confirmation) Agrees() bool {
	return c.Exit == 0 && len(c.OnlyHere)+len(c.OnlyThere)+len(c.Backwards)+len(c.Compiled) == 0 &&
		!c.Cut
}

// Comparison is what an origin on the drive and this machine differ in.
type Comparison struct {
	Dir         string `json:"dir"` // below pkgsneak/
	Origin      string `json:"origin,omitempty"`
	Trusted     bool   `json:"trusted"`
	SignerState string `json:"signer_state,omitempty"` // trust.State
	// exported by this machine: not compared
	Mine     bool   `json:"mine"`
	Problem  string `json:"problem,omitempty"` // why nothing was compared
	Packages int    `json:"packages"`          // on the drive
	// of them, those whose CFLAGS were read
	Read        int          `json:"read"`
	Differences []Difference `json:"differences"`
	// Repositories are those that it carries
	Repositories []RepositoryComparison `json:"repositories"`
}

// Difference is a line of the table: a setting for which packages on the drive do not fit this
// machine. A finding of the same topic tells why that matters and what makes the two one.
type Difference struct {
	Topic    string `json:"topic"`
	What     string `json:"what"` // CHOST, profile, USE, VIDEO_CARDS, ...
	Origin   string `json:"origin"`
	Here     string `json:"here"`
	Packages int    `json:"packages,omitempty"` // that it concerns; 0: all, or not counted
}
