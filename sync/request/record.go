package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/cpv"
	"pkgsneak/sync/depend"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/resolve"
)

// Format is the highest format that this package writes and reads. It is raised when an older
// reader would misunderstand a newer request.
const Format = 1

// Role is the role in each request, so that it is never taken for the record of an origin.
const Role = "request"

// Limits of a request.
const (
	MaxRecord   = 4 << 20  // bytes of JSON
	MaxList     = 64 << 20 // bytes of the installed list, unpacked
	MaxListFile = 16 << 20 // bytes of it compressed
	// bytes of the files on the drive, which have room for a longer request
	MaxRecordFile  = 6 << 20
	MaxListStored  = 24 << 20
	MaxClients     = 1_000 // clients on one drive, and clients that a host remembers
	MaxReceipts    = 1_000
	MaxWants       = 20_000
	MaxRules       = 50_000 // lines of each kind of settings, and atoms of each set
	MaxEntries     = 1_000_000
	maxSerial      = 1 << 53
	maxWords       = 1_000 // words of one line of settings
	maxSets        = 1_000
	maxDescription = 1 << 10 // bytes of a short text
)

// Record is what a client tells. The zero Machine and Roots are those of a minimal request.
type Record struct {
	Format      int                  `json:"format"`
	Role        string               `json:"role"`
	Client      string               `json:"client"`      // its name
	Fingerprint manifest.Fingerprint `json:"fingerprint"` // of the key that signed
	Serial      int64                `json:"serial"`      // Unix seconds
	Created     time.Time            `json:"created"`     // by the client's clock, whole seconds
	// the serial of this machine's request before, as it remembers it; 0: it does not
	Previous  int64     `json:"previous,omitempty"`
	Tool      string    `json:"tool,omitempty"`
	Minimal   bool      `json:"minimal,omitempty"`
	Installed Counts    `json:"installed"`
	Machine   *Machine  `json:"machine,omitempty"`
	Roots     *Roots    `json:"roots,omitempty"`
	Receipts  []Receipt `json:"receipts,omitempty"`
	Wants     []Want    `json:"wants,omitempty"`
	Refused   []Refusal `json:"refused,omitempty"`
	Failed    []Failure `json:"failed,omitempty"`
}

// Counts is how much the installed list is.
type Counts struct {
	Packages int   `json:"packages"`
	Bytes    int64 `json:"bytes"` // unpacked
}

// Machine is the client's settings, as far as they decide what can be installed there.
type Machine struct {
	Portage        string `json:"portage,omitempty"` // version, "" if unknown
	EAPI           int    `json:"eapi,omitempty"`    // the highest that it reads, 0 if unknown
	NoGPKG         bool   `json:"no_gpkg,omitempty"` // it cannot read GPKG packages
	ARCH           string `json:"arch,omitempty"`
	CHOST          string `json:"chost,omitempty"`
	AcceptCHOSTs   string `json:"accept_chosts,omitempty"` // regular expressions
	Profile        string `json:"profile,omitempty"`
	AcceptKeywords string `json:"accept_keywords,omitempty"`
	AcceptLicense  string `json:"accept_license,omitempty"` // without groups
	USE            string `json:"use,omitempty"`
	// flags that packages have without naming them
	Implicit string `json:"implicit,omitempty"`
	// features, as Linux names them; absent: not known
	CPU []string `json:"cpu,omitempty"`

	Keywords []Rule   `json:"keywords,omitempty"` // package.accept_keywords, in order
	Licenses []Rule   `json:"licenses,omitempty"` // package.license, in order
	Masks    []string `json:"masks,omitempty"`    // atoms
	Unmasks  []string `json:"unmasks,omitempty"`

	Room         Room         `json:"room"`
	Repositories []Repository `json:"repositories,omitempty"`
}

// Rule is a line of settings that speaks of one package.
type Rule struct {
	Atom  string   `json:"atom"`
	Words []string `json:"words,omitempty"`
}

// Room is the bytes that are free, -1 where it is not known.
type Room struct {
	PKGDIR       int64 `json:"pkgdir"`
	DISTDIR      int64 `json:"distdir"`
	Repositories int64 `json:"repositories"`
}

// Repository is an ebuild repository of the client.
type Repository struct {
	Name      string    `json:"name"`
	Revision  string    `json:"revision,omitempty"`
	Timestamp time.Time `json:"timestamp,omitzero"`
}

// Roots is where emerge @world begins: atoms, and the CPVs of package.provided.
type Roots struct {
	World    []string            `json:"world,omitempty"`
	Sets     map[string][]string `json:"sets,omitempty"` // of world_sets, by name without "@"
	System   []string            `json:"system,omitempty"`
	Profile  []string            `json:"profile,omitempty"`
	Provided []string            `json:"provided,omitempty"`
}

// Why is why something is wanted.
type Why string

// The reasons.
const (
	Missing Why = "missing" // a package cannot be installed without it
	Wished  Why = "wished"  // somebody asked for it
	USE     Why = "use"     // it is there, but with other USE
)

// Want is a package or a distfile that shall come.
type Want struct {
	Atom string `json:"atom,omitempty"`
	File string `json:"file,omitempty"` // name of a distfile; then there is no atom
	For  string `json:"for,omitempty"`  // the CPV or the set ("@world") that needs it
	Why  Why    `json:"why"`
}

// Refusal is a package that this client can never use, or does not accept, so that it need not be
// carried.
type Refusal struct {
	CPV  string `json:"cpv"`
	Why  string `json:"why"` // cpu, machine, portage, keyword, license, mask, use, invalid
	Text string `json:"text,omitempty"`
}

// ForGood tells why a client can never use a package, whatever its configuration becomes; false if
// it could.
func (f *Refusal) ForGood() (resolve.ReasonKind, bool) {
	kind, ok := map[string]resolve.ReasonKind{"cpu": resolve.CPU, "machine": resolve.Machine,
		"portage": resolve.Unreadable}[f.Why]
	return kind, ok
}

// Failure is a package whose installation failed on the client.
type Failure struct {
	CPV   string `json:"cpv"`
	Phase string `json:"phase,omitempty"`
	When  int64  `json:"when,omitempty"` // Unix seconds, by the client's clock
}

// Error reports why a request is refused.
type Error struct{ Reason string }

func (e *Error) Error() string { return "reading a request: " + e.Reason }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// FormatError is the reason when the request is newer than this program.
type FormatError struct{ Format int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("the request has format %d, this program reads up to %d: use a newer pkgsneak", e.Format, Format)
}

// Hints tell who can read it.
func (e *FormatError) Hints(string) []string {
	return []string{"install the newer pkgsneak here, too; nothing is wrong with the request"}
}

// Unwrap gives what it is among all formats.
func (e *FormatError) Unwrap() error { return &fault.NewerError{Format: e.Format, Known: Format} }

// Parse reads and checks a request. Every request that it accepts can be written by Marshal.
func Parse(data []byte) (*Record, error) {
	if len(data) > MaxRecord {
		return nil, refuse("longer than %d bytes", MaxRecord)
	}
	var probe struct {
		Format int    `json:"format"`
		Role   string `json:"role"`
	}
	if err := json.Unmarshal(data, &probe); err == nil && probe.Role == Role &&
		probe.Format > Format {
		return nil, &FormatError{Format: probe.Format}
	}
	var r Record
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&r); err != nil {
		return nil, refuse("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse("something follows the JSON object")
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return &r, nil
}

// Marshal writes the request as indented JSON with a newline behind. It refuses what Parse would.
func (r *Record) Marshal() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(r); err != nil {
		return nil, refuse("%v", err)
	}
	if b.Len() > MaxRecord {
		return nil, refuse("longer than %d bytes", MaxRecord)
	}
	return b.Bytes(), nil
}

func (r *Record) check() error {
	switch {
	case r.Role != Role:
		return refuse("its role is %.40q, not %q", r.Role, Role)
	case r.Format != Format:
		return refuse("format %d", r.Format)
	case r.Serial <= 0 || r.Serial > maxSerial:
		return refuse("serial %d", r.Serial)
	case r.Previous < 0 || r.Previous >= r.Serial:
		return refuse("serial %d after %d", r.Serial, r.Previous)
	case r.Installed.Packages < 0 || r.Installed.Packages > MaxEntries || r.Installed.Bytes < 0 ||
		r.Installed.Bytes > MaxList:
		return refuse("an installed list of %d packages and %d bytes", r.Installed.Packages,
			r.Installed.Bytes)
	case r.Minimal != (r.Machine == nil) || r.Minimal != (r.Roots == nil):
		return refuse("it is minimal, or has the machine's settings and roots")
	case r.Minimal && r.Installed.Packages != 0:
		return refuse("it is minimal and has an installed list")
	}
	if err := layout.CheckOriginName(r.Client); err != nil {
		return refuse("client name %.80q: it cannot be the name of a directory", r.Client)
	}
	if _, err := manifest.ParseFingerprint(string(r.Fingerprint)); err != nil {
		return refuse("%v", err)
	}
	if err := checkText("tool", r.Tool, maxDescription); err != nil {
		return err
	}
	if r.Machine != nil {
		if err := r.Machine.check(); err != nil {
			return err
		}
		if err := r.Roots.check(); err != nil {
			return err
		}
	}
	return r.checkLists()
}

func (r *Record) checkLists() error {
	if len(r.Receipts) > MaxReceipts {
		return refuse("more than %d receipts", MaxReceipts)
	}
	if len(r.Wants) > MaxWants || len(r.Refused) > MaxWants || len(r.Failed) > MaxWants {
		return refuse("more than %d wants, refusals or failures", MaxWants)
	}
	once := make(map[string]bool)
	for i := range r.Receipts {
		x := &r.Receipts[i]
		if err := x.check(); err != nil {
			return err
		}
		if id := string(x.Key) + " " + x.Origin; once[id] {
			return refuse("two receipts for the origin %q", x.Origin)
		} else {
			once[id] = true
		}
	}
	for i := range r.Wants {
		if err := r.Wants[i].check(); err != nil {
			return err
		}
	}
	for _, x := range r.Refused {
		if err := errors.Join(checkCPV(x.CPV), checkText("a reason", x.Why, maxDescription),
			checkText("a reason", x.Text, maxDescription)); err != nil {
			return err
		}
	}
	for _, x := range r.Failed {
		if err := errors.Join(checkCPV(x.CPV),
			checkText("a phase", x.Phase, maxDescription)); err != nil {
			return err
		}
		if x.When < 0 || x.When > maxSerial {
			return refuse("a failure at %d", x.When)
		}
	}
	return nil
}

func (w *Want) check() error {
	switch w.Why {
	case Missing, Wished, USE:
	default:
		return refuse("%.40q is no reason for a want", w.Why)
	}
	if (w.Atom == "") == (w.File == "") {
		return refuse("a want is an atom or a distfile")
	}
	if w.File != "" {
		if layout.OriginPathFault(payload.Distfile, w.File) != "" || len(w.File) > layout.MaxName {
			return refuse("%.80q is no name of a distfile", w.File)
		}
		if err := checkText("the name of a distfile", w.File, layout.MaxName); err != nil {
			return err
		}
	} else if err := checkAtom(w.Atom); err != nil {
		return err
	}
	if w.For == "" || strings.HasPrefix(w.For, "@") {
		return checkText("a set", w.For, maxDescription)
	}
	return checkCPV(w.For)
}

func (m *Machine) check() error {
	for _, text := range []string{m.ARCH, m.CHOST, m.Profile, m.Portage, m.AcceptCHOSTs} {
		if err := checkText("a setting", text, maxDescription); err != nil {
			return err
		}
	}
	for _, text := range []string{m.AcceptKeywords, m.AcceptLicense, m.USE, m.Implicit} {
		if err := checkText("a setting", text, 0); err != nil {
			return err
		}
	}
	if m.EAPI < 0 || m.EAPI > 1_000_000 {
		return refuse("EAPI %d", m.EAPI)
	}
	if len(m.CPU) > maxWords || len(m.Repositories) > layout.MaxRepositories {
		return refuse("too many features of a CPU, or repositories")
	}
	for _, word := range m.CPU {
		if err := checkWord(word); err != nil {
			return err
		}
	}
	for _, repo := range m.Repositories {
		if err := errors.Join(checkText("a repository", repo.Name, maxDescription),
			checkText("a revision", repo.Revision, maxDescription)); err != nil {
			return err
		}
	}
	for _, rules := range [][]Rule{m.Keywords, m.Licenses} {
		if err := checkRules(rules); err != nil {
			return err
		}
	}
	if m.Room.PKGDIR < -1 || m.Room.DISTDIR < -1 || m.Room.Repositories < -1 {
		return refuse("less room than none")
	}
	return errors.Join(checkAtoms(m.Masks), checkAtoms(m.Unmasks))
}

func (r *Roots) check() error {
	if len(r.Sets) > maxSets || len(r.Provided) > MaxRules {
		return refuse("more than %d sets, or %d provided packages", maxSets, MaxRules)
	}
	for name, atoms := range r.Sets {
		if err := errors.Join(checkText("a set", name, maxDescription),
			checkAtoms(atoms)); err != nil {
			return err
		}
	}
	for _, p := range r.Provided {
		if err := checkCPV(p); err != nil {
			return err
		}
	}
	return errors.Join(checkAtoms(r.World), checkAtoms(r.System), checkAtoms(r.Profile))
}

func checkRules(rules []Rule) error {
	if len(rules) > MaxRules {
		return refuse("more than %d lines of settings", MaxRules)
	}
	for _, r := range rules {
		if err := checkAtom(r.Atom); err != nil {
			return err
		}
		if len(r.Words) > maxWords {
			return refuse("more than %d words for %q", maxWords, r.Atom)
		}
		for _, w := range r.Words {
			if err := checkWord(w); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkAtoms(atoms []string) error {
	if len(atoms) > MaxRules {
		return refuse("more than %d atoms", MaxRules)
	}
	for _, a := range atoms {
		if err := checkAtom(a); err != nil {
			return err
		}
	}
	return nil
}

// maxAtom is the length in bytes of the longest atom that is taken: real ones have a hundred.
const maxAtom = 4 << 10

func checkAtom(text string) error {
	if len(text) > maxAtom {
		return refuse("an atom of %d bytes", len(text))
	}
	a, err := depend.ParseAtom(text)
	switch {
	case err != nil:
		return refuse("%.80q is no atom", text)
	case a.Block != depend.NoBlock:
		return refuse("the atom %q blocks", text)
	}
	return nil
}

func checkCPV(text string) error {
	if _, err := cpv.Parse(text); err != nil || len(text) > maxAtom {
		return refuse("%.80q is no package", text)
	}
	return nil
}

func checkWord(word string) error {
	if word == "" || strings.ContainsAny(word, " \t") {
		return refuse("%.80q is no word", word)
	}
	return checkText("a word", word, maxDescription)
}

// checkText refuses what would not come back from JSON as it is, or would trouble a terminal. most
// is the longest in bytes, 0 the one of layout.RecordText.
func checkText(what, text string, most int) error {
	clean, why := layout.RecordText(text)
	switch {
	case why != "":
		return refuse("%s %.80q: %s", what, text, why)
	case clean != text:
		return refuse("%s %.80q: blanks where none are written", what, text)
	case most > 0 && len(text) > most:
		return refuse("%s is longer than %d bytes", what, most)
	}
	return nil
}

// Atoms parses atoms that Parse or Marshal has checked.
func Atoms(texts []string) []depend.Atom {
	atoms := make([]depend.Atom, 0, len(texts))
	for _, t := range texts {
		if a, err := depend.ParseAtom(t); err == nil {
			atoms = append(atoms, a)
		}
	}
	return slices.Clip(atoms)
}
