package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/cpu"
	"pkgsneak/sync/ledger"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/progress"
)

// Role is what a machine does.
type Role string

// The two roles.
const (
	Host   Role = "host"
	Client Role = "client"
)

// Weight says how much a finding matters.
type Weight string

// The weights, the heaviest first.
const (
	Broken Weight = "broken"
	Wrong  Weight = "wrong"
	Note   Weight = "note"
)

func (w Weight) rank() int { return slices.Index([]Weight{Broken, Wrong, Note}, w) }

// Options says what to look at. Machine has to be filled in; the zero value of the rest looks at this machine without a drive.
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
	Deep    bool     // read the CFLAGS of every package on the drive, not of some
	Watch   progress.Watcher
}

// Mend is what to do: lines for a file, or, without a File, what Do says.
type Mend struct {
	Do    string   `json:"do"` // "run", "at the end of the file", "instead of the line that sets CFLAGS", ...
	File  string   `json:"file,omitempty"`
	Lines []string `json:"lines"`
}

// Finding is one thing that is wrong, or good to know.
type Finding struct {
	Topic  string   `json:"topic"` // for Explain and Options.Ignore
	Weight Weight   `json:"weight"`
	Role   Role     `json:"role,omitempty"` // "": any machine
	What   string   `json:"what"`
	Why    string   `json:"why"`
	Names  []string `json:"names,omitempty"` // packages, keys or files that are meant; foreign text
	Mend   []Mend   `json:"mend"`
}

// Command is a line to type, and why it is this one.
type Command struct {
	Line string `json:"line"`
	Why  string `json:"why"`
}

// Report is what was found.
type Report struct {
	Roles    []Role       `json:"roles"`
	Because  []string     `json:"because"` // how the roles are known
	Findings []Finding    `json:"findings"`
	Emerge   []Command    `json:"emerge,omitempty"`  // for a client
	Origins  []Comparison `json:"origins,omitempty"` // with a drive
	Unknown  []string     `json:"unknown"`           // what could not be looked at, and why
	Ignored  int          `json:"ignored,omitempty"` // findings that Options.Ignore silenced
}

// Found tells whether anything has to be mended.
func (r *Report) Found() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Weight != Note })
}

// Examine looks at the machine. The error is ctx's, or that the drive cannot be read as such.
func Examine(ctx context.Context, o Options) (*Report, error) {
	e := &examiner{o: o, m: o.Machine, s: o.Machine.Settings, r: &Report{Roles: []Role{}, Because: []string{}, Findings: []Finding{}, Unknown: []string{}}}
	e.opts = parseOpts(e.s.Get("EMERGE_DEFAULT_OPTS"))
	e.have = cpu.Read(o.CPUInfo)
	if err := e.memory(ctx); err != nil {
		return nil, err
	}
	defer e.close()
	e.roles()
	e.readPKGDIR()
	for _, step := range []func(context.Context) error{e.common, e.host, e.client, e.drive} {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	e.sort()
	return e.r, nil
}

// examiner is Examine's state.
type examiner struct {
	o Options
	m machine.Machine
	s *portage.Settings
	r *Report

	opts emergeOpts
	have map[string]bool // features of this CPU; nil: not known

	ledger   *ledger.Ledger // nil: cannot be read
	ring     manifest.Ring  // trusted keys
	own      *manifest.PublicKey
	hasKey   bool // there is a signing key, readable or not
	now      time.Time
	dir      *pkgdir.Dir     // nil: no PKGDIR
	index    *pkgindex.Index // nil: no index that can be read
	indexErr error           // why not

	badGetbinpkg string // why asking a binhost cannot succeed; "" if it may
}

func (e *examiner) close() {
	if e.ledger != nil {
		e.ledger.Close()
	}
	if e.dir != nil {
		e.dir.Close()
	}
}

func (e *examiner) is(r Role) bool { return slices.Contains(e.r.Roles, r) }

// tell adds a finding.
func (e *examiner) tell(f Finding) {
	if slices.Contains(e.o.Ignore, f.Topic) {
		e.r.Ignored++
		return
	}
	if f.Mend == nil {
		f.Mend = []Mend{}
	}
	e.r.Findings = append(e.r.Findings, f)
}

func (e *examiner) unknown(format string, args ...any) {
	e.r.Unknown = append(e.r.Unknown, fmt.Sprintf(format, args...))
}

// sort puts what matters most first, and else keeps the order of the topics: one is mended before the next.
func (e *examiner) sort() {
	place := make(map[string]int, len(topics))
	for i, t := range topics {
		place[t.Name] = i
	}
	slices.SortStableFunc(e.r.Findings, func(a, b Finding) int {
		return cmp.Or(a.Weight.rank()-b.Weight.rank(), place[a.Topic]-place[b.Topic])
	})
}

// memory reads the state directory.
func (e *examiner) memory(ctx context.Context) error {
	e.now = e.m.Now()
	l, err := ledger.Open(ctx, e.m.StateDir, ledger.Options{ReadOnly: true})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		e.badState(err)
		return nil
	}
	e.ledger = l
	if e.ring, err = l.Trusted(); err != nil {
		e.badState(err)
	}
	key, err := l.SigningKey()
	switch {
	case err == nil:
		e.own, e.hasKey = key.Public(), true
	case errors.Is(err, fs.ErrPermission):
		e.hasKey = true
	case !errors.Is(err, fs.ErrNotExist):
		e.badState(err)
	}
	return nil
}

// badState tells that the state directory cannot be used. An ordinary user who may not look is told so, and that is all.
func (e *examiner) badState(err error) {
	if errors.Is(err, fs.ErrPermission) {
		e.unknown("the state directory: %v", err)
		return
	}
	e.tell(Finding{Topic: "state", Weight: Broken, What: fmt.Sprintf("the state directory %q cannot be used: %v", e.m.StateDir, err),
		Why:  "keys and memory of this machine are there; nothing is exported or imported without them",
		Mend: []Mend{run("pkgsneak doctor --explain state")}})
}

// roles finds out what this machine does.
func (e *examiner) roles() {
	if len(e.o.Roles) > 0 {
		e.r.Roles, e.r.Because = append(e.r.Roles, e.o.Roles...), append(e.r.Because, "as asked for")
		return
	}
	signs := map[Role][]string{}
	because := func(r Role, format string, args ...any) { signs[r] = append(signs[r], fmt.Sprintf(format, args...)) }
	if e.hasKey {
		because(Host, "it has a signing key")
	}
	if e.ledger != nil {
		for _, name := range e.ledger.Origins() {
			because(Host, "it has exported as %q", name)
		}
		if slices.ContainsFunc(e.ledger.Runs(), func(r ledger.Run) bool { return r.Verb == "import" }) {
			because(Client, "it has imported")
		}
	}
	if slices.ContainsFunc(e.ring, func(k *manifest.PublicKey) bool { return !e.isOwn(k.Fingerprint()) }) {
		because(Client, "it trusts a key")
	}
	switch auto := strings.ToLower(e.o.Auto); auto {
	case "export", "both":
		because(Host, "PKGSNEAK_AUTO=%s", auto)
		if auto == "both" {
			because(Client, "PKGSNEAK_AUTO=%s", auto)
		}
	case "import":
		because(Client, "PKGSNEAK_AUTO=%s", auto)
	}
	if len(signs) == 0 && e.o.Drive != "" {
		because(Client, "a drive was named")
	}
	if len(signs) == 0 { // nothing was done yet: what Portage is told is the best guess
		if fetches, _ := e.s.HasFeature("getbinpkg"); fetches {
			because(Client, "FEATURES has getbinpkg")
		} else if keeps, _ := e.s.HasFeature("buildpkg"); keeps {
			because(Host, "FEATURES has buildpkg")
		}
	}
	for _, r := range []Role{Host, Client} {
		if len(signs[r]) > 0 {
			e.r.Roles = append(e.r.Roles, r)
			e.r.Because = append(e.r.Because, signs[r]...)
		}
	}
}

func (e *examiner) isOwn(f manifest.Fingerprint) bool {
	return e.own != nil && e.own.Fingerprint() == f
}

// readPKGDIR opens PKGDIR and reads its index.
func (e *examiner) readPKGDIR() {
	dir, err := pkgdir.Open(e.m.PKGDIR)
	if err != nil {
		e.indexErr = err
		return
	}
	e.dir = dir
	e.index, e.indexErr = dir.Index()
}

// place is where the running process finds a path of this machine.
func (e *examiner) place(p string) string { return filepath.Join(e.o.Root, p) }

// etc is a path of this machine below its etc/portage.
func (e *examiner) etc(name string) string { return path.Join(e.s.ConfigRoot, "etc/portage", name) }

// some names the first few of a list.
func some(list []string) string {
	const most = 3
	if len(list) > most {
		return strings.Join(list[:most], ", ") + ", ..."
	}
	return strings.Join(list, ", ")
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// plural is a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
