package layout

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pkgsneak/manifest"
	"pkgsneak/sync/payload"
)

// RecordFormat is the highest format that this package writes and reads. It is
// raised when an older reader would misunderstand a newer record; a field that
// an older reader may ignore does not raise it.
//
// The formats differ in nothing but what an older program would take them for:
// until there was a second one, what a drive did not carry had left the origin.
const RecordFormat = formatPart

const (
	formatWhole = 1 // the drive carries all that the origin has
	formatPart  = 2 // the origin has more, or it is not known what it has
)

// Limits of a record.
const (
	MaxRecord       = 32 << 20 // bytes of JSON
	MaxRepositories = 1_000
	MaxFormerly     = 100
	MaxExceptions   = 200_000  // renamed and split files, and parts of one file
	maxText         = 64 << 10 // bytes of one descriptive value
	maxSize         = 1 << 53  // bytes of one file, as in the manifest
)

// Record is generation/N.json: who made generation N, from what, and which
// files do not lie where their path leads. Everything else is in the Manifest.
//
//	{
//	  "format": 1,
//	  "origin": "buildhost",
//	  "fingerprint": "62F8…",
//	  "serial": 1767225600,
//	  "created": "2026-01-01T00:00:00Z",
//	  "counts": {"packages": 2, "package_bytes": 123, "distfiles": 1, "distfile_bytes": 45, "catalogue": 2, "catalogue_bytes": 900},
//	  "has": {"packages": {"complete": true, "count": 2, "bytes": 123},
//	          "distfiles": {"complete": false, "reason": "not looked at (--no-distfiles)", "count": 1, "bytes": 45, "as_of": 1767139200}},
//	  "renamed": [{"kind": "package", "path": "app-misc/foo-1.tbz2", "stored": "packages/app-misc/foo/foo-1-1.xpak"}]
//	}
type Record struct {
	Format int `json:"format"`
	// the origin's name; its directory may have the fingerprint too
	Origin       string               `json:"origin"`
	Fingerprint  manifest.Fingerprint `json:"fingerprint"`
	Serial       int64                `json:"serial"`  // Unix seconds
	Created      time.Time            `json:"created"` // by the origin's clock, whole seconds
	Tool         string               `json:"tool,omitempty"`
	CHOST        string               `json:"chost,omitempty"`
	ARCH         string               `json:"arch,omitempty"`
	Profile      string               `json:"profile,omitempty"`
	USE          string               `json:"use,omitempty"`
	CFLAGS       string               `json:"cflags,omitempty"`
	Repositories []Repository         `json:"repositories,omitempty"`
	// names that this origin had before; older programs pass over this and the next
	Formerly []string `json:"formerly,omitempty"`
	// keys other than its own that it may have had under those names
	FormerKeys []manifest.Fingerprint `json:"former_keys,omitempty"`
	Counts     Counts                 `json:"counts"` // of what this drive carries
	// what the origin has; nil: an older program does not tell
	Has *Holdings `json:"has,omitempty"`
	// which drive this is; older programs pass over this and the next
	Drive *DriveName `json:"drive,omitempty"`
	// what of the catalogue is on its way on other drives
	OnOthers []OnDrive `json:"on_others,omitempty"`
	Renamed  []Renamed `json:"renamed,omitempty"`
	Split    []Split   `json:"split,omitempty"`
}

// Repository is an ebuild repository of the origin.
type Repository struct {
	Name      string    `json:"name"`
	Revision  string    `json:"revision,omitempty"`
	Timestamp time.Time `json:"timestamp,omitzero"`
	// what of it this drive carries; nil: nothing. Older programs pass over it
	Tree *Tree `json:"tree,omitempty"`
}

// Carried are the ebuild repositories of which the drive carries a tree.
func (r *Record) Carried() []Repository {
	var carried []Repository
	for _, repo := range r.Repositories {
		if repo.Tree != nil {
			carried = append(carried, repo)
		}
	}
	return carried
}

// Counts is how much a generation is, sizes in bytes.
type Counts struct {
	Packages       int   `json:"packages"`
	PackageBytes   int64 `json:"package_bytes"`
	Distfiles      int   `json:"distfiles"`
	DistfileBytes  int64 `json:"distfile_bytes"`
	Catalogue      int   `json:"catalogue"`       // entries
	CatalogueBytes int64 `json:"catalogue_bytes"` // before compression
	Trees          int   `json:"trees,omitempty"` // ebuild repositories
	TreeBytes      int64 `json:"tree_bytes,omitempty"`
}

// Renamed is a file that lies under another name.
type Renamed struct {
	Kind   payload.Kind `json:"kind"`
	Path   PathText     `json:"path"`
	Stored string       `json:"stored"` // below ORIGIN
}

// Split is a file that lies in parts, each of which the Manifest lists.
type Split struct {
	Kind   payload.Kind    `json:"kind"`
	Path   PathText        `json:"path"`
	Size   int64           `json:"size"`
	Sum    manifest.Digest `json:"-"`
	Hex    string          `json:"blake2b"` // of the whole
	Stored []string        `json:"parts"`   // below ORIGIN, in order
}

// PathText is a path of the origin. In JSON, bytes that are not UTF-8, control
// characters and the backslash are written as \xNN, as GLEP 74 does.
type PathText string

// MarshalText escapes the path.
func (p PathText) MarshalText() ([]byte, error) {
	var b []byte
	for i := 0; i < len(p); {
		r, size := utf8.DecodeRuneInString(string(p[i:]))
		if r == utf8.RuneError && size == 1 || r < ' ' || r == 0x7f || r == '\\' {
			b = fmt.Appendf(b, `\x%02X`, p[i])
			i++
			continue
		}
		b = append(b, p[i:i+size]...)
		i += size
	}
	return b, nil
}

// UnmarshalText undoes MarshalText.
func (p *PathText) UnmarshalText(text []byte) error {
	var b []byte
	for rest := string(text); rest != ""; {
		if rest[0] != '\\' {
			b, rest = append(b, rest[0]), rest[1:]
			continue
		}
		if len(rest) < 4 || rest[1] != 'x' {
			return fmt.Errorf("path %q: bad escape", text)
		}
		value, err := strconv.ParseUint(rest[2:4], 16, 8)
		if err != nil {
			return fmt.Errorf("path %q: bad escape", text)
		}
		b, rest = append(b, byte(value)), rest[4:]
	}
	*p = PathText(b)
	return nil
}

// RecordError reports why a record is refused.
type RecordError struct{ Reason string }

func (e *RecordError) Error() string { return "reading the record of a generation: " + e.Reason }

// FormatError is the reason when the record is newer than this program.
type FormatError struct{ Format int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("the generation has format %d, this program knows up to %d: use a newer pkgsneak", e.Format, RecordFormat)
}

// Hints are NewerHints.
func (e *FormatError) Hints(drive string) []string { return NewerHints(drive) }

// NewerHints name the programs that can read what a newer one wrote to a drive.
func NewerHints(drive string) []string {
	return []string{"use the newer pkgsneak that wrote it: " + drive + "/" + TreeDir + "/ORIGIN/" +
		BinDir + " has one"}
}

// ParseRecord reads and checks a record. Every record that it accepts can be written by Marshal.
func ParseRecord(data []byte) (*Record, error) {
	if len(data) > MaxRecord {
		return nil, &RecordError{fmt.Sprintf("longer than %d bytes", MaxRecord)}
	}
	var probe struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &probe); err == nil && probe.Format > RecordFormat {
		return nil, &FormatError{Format: probe.Format}
	}
	var r Record
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&r); err != nil {
		return nil, &RecordError{err.Error()}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &RecordError{"something follows the JSON object"}
	}
	for i := range r.Split {
		sum, err := manifest.ParseDigest(r.Split[i].Hex)
		if err != nil {
			return nil, &RecordError{fmt.Sprintf("split file %q: %v", r.Split[i].Path, err)}
		}
		r.Split[i].Sum = sum
	}
	if reason := r.fault(); reason != "" {
		return nil, &RecordError{reason}
	}
	return &r, nil
}

// Marshal writes the record as indented JSON with a newline behind. It refuses
// what ParseRecord would.
func (r *Record) Marshal() ([]byte, error) {
	for i := range r.Split {
		r.Split[i].Hex = r.Split[i].Sum.String()
	}
	if reason := r.fault(); reason != "" {
		return nil, &RecordError{reason}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, &RecordError{err.Error()}
	}
	if len(data) >= MaxRecord {
		return nil, &RecordError{fmt.Sprintf("longer than %d bytes", MaxRecord)}
	}
	return append(data, '\n'), nil
}

// fault reports what is wrong with a record by itself, "" if nothing is.
func (r *Record) fault() string {
	if r.Format != formatWhole && r.Format != formatPart {
		return fmt.Sprintf("format %d", r.Format)
	}
	if err := CheckOriginName(r.Origin); err != nil {
		return err.Error()
	}
	if _, err := manifest.ParseFingerprint(string(r.Fingerprint)); err != nil {
		return err.Error()
	}
	if r.Serial <= 0 || r.Serial > maxSize {
		return fmt.Sprintf("serial %d", r.Serial)
	}
	for _, text := range []string{r.Tool, r.CHOST, r.ARCH, r.Profile, r.USE, r.CFLAGS} {
		if reason := textFault(text); reason != "" {
			return reason
		}
	}
	if len(r.Repositories) > MaxRepositories {
		return fmt.Sprintf("more than %d repositories", MaxRepositories)
	}
	for _, repo := range r.Repositories {
		if reason := cmp.Or(textFault(repo.Name+repo.Revision),
			repo.Tree.fault(repo.Name)); reason != "" {
			return reason
		}
	}
	if len(r.Formerly) > MaxFormerly {
		return fmt.Sprintf("more than %d former names", MaxFormerly)
	}
	for _, name := range r.Formerly {
		if err := CheckOriginName(name); err != nil {
			return err.Error()
		}
		if name == r.Origin {
			return fmt.Sprintf("the origin %q was called so before", name)
		}
	}
	if len(r.FormerKeys) > MaxFormerly {
		return fmt.Sprintf("more than %d former keys", MaxFormerly)
	}
	for _, key := range r.FormerKeys {
		if _, err := manifest.ParseFingerprint(string(key)); err != nil {
			return err.Error()
		}
	}
	if reason := r.drivesFault(); reason != "" {
		return reason
	}
	if reason := r.Counts.fault(); reason != "" {
		return reason
	}
	if r.Has != nil {
		if reason := cmp.Or(r.Has.Packages.fault(), r.Has.Distfiles.fault()); reason != "" {
			return reason
		}
	}
	return r.exceptionsFault()
}

// DriveName tells a drive from others: a random ID, made when an origin exports to it for the first
// time, and a name for people.
type DriveName struct {
	ID    string `json:"id"` // 32 lower-case hex digits
	Label string `json:"label,omitempty"`
}

// OnDrive is what of this generation's catalogue another drive of the origin carries, and that
// drive has not come back since: bit i%8 of byte i/8 stands for entry i.
type OnDrive struct {
	Label   string `json:"label"`
	Serial  int64  `json:"serial"` // of the generation there
	Entries []byte `json:"entries"`
}

// MaxOnOthers bounds the other drives that a record names.
const MaxOnOthers = 20

const maxLabel = 1 << 10 // bytes

// drivesFault reports what is wrong with the record's entries of drives.
func (r *Record) drivesFault() string {
	if d := r.Drive; d != nil {
		if len(d.ID) != 32 || strings.Trim(d.ID, "0123456789abcdef") != "" {
			return fmt.Sprintf("the drive is called %.80q", d.ID)
		}
		if reason := labelFault(d.Label); reason != "" {
			return reason
		}
	}
	if len(r.OnOthers) > MaxOnOthers {
		return fmt.Sprintf("more than %d other drives", MaxOnOthers)
	}
	for _, d := range r.OnOthers {
		if d.Serial <= 0 || d.Serial > maxSize || len(d.Entries) > MaxRecord/8 {
			return fmt.Sprintf("another drive has serial %d and %d bytes of entries", d.Serial,
				len(d.Entries))
		}
		if reason := labelFault(d.Label); reason != "" {
			return reason
		}
	}
	return ""
}

func labelFault(label string) string {
	if len(label) > maxLabel {
		return "the label of a drive is too long"
	}
	return textFault(label)
}

// fault reports what is wrong with a record's entry of a tree, "" if nothing is.
func (t *Tree) fault(name string) string {
	if t == nil {
		return ""
	}
	if reason := CheckRepoName(name); reason != "" {
		return fmt.Sprintf("the repository %q: %s", name, reason)
	}
	reason := CheckArchive(t.File)
	switch {
	case reason != "":
	case !strings.HasPrefix(t.File, name+"-"):
		reason = fmt.Sprintf("its file is %q", t.File)
	case t.Bytes < 0 || t.Bytes > MaxTreeBytes || t.Count < 0 || t.Count > MaxTreeEntries:
		reason = fmt.Sprintf("%d entries of %d bytes", t.Count, t.Bytes)
	case len(t.Masters) > maxMasters:
		reason = fmt.Sprintf("more than %d masters", maxMasters)
	default:
		if _, err := manifest.ParseDigest(t.Digest); err != nil {
			reason = err.Error()
		}
	}
	for _, master := range t.Masters {
		if reason == "" && CheckRepoName(master) != "" {
			reason = fmt.Sprintf("its master %q: %s", master, CheckRepoName(master))
		}
	}
	if reason == "" {
		reason = textFault(t.Revision + t.EAPI)
	}
	if reason == "" {
		return ""
	}
	return fmt.Sprintf("the repository %q: %s", name, reason)
}

// RecordText makes a descriptive value of a record out of any text: white space
// becomes single blanks; other control characters and bytes that are not UTF-8
// are written as \xNN, and what is too long is cut at a blank: then why is the reason.
func RecordText(text string) (clean, why string) {
	clean = strings.Join(strings.Fields(text), " ")
	if textFault(clean) == "" {
		return clean, ""
	}
	if !utf8.ValidString(clean) || strings.ContainsFunc(clean, control) {
		why = "it has control characters or is not UTF-8"
		var b []byte
		for i := 0; i < len(clean); {
			r, size := utf8.DecodeRuneInString(clean[i:])
			if r == utf8.RuneError && size == 1 || control(r) {
				b = fmt.Appendf(b, `\x%02X`, clean[i])
			} else {
				b = append(b, clean[i:i+size]...)
			}
			i += size
		}
		clean = string(b)
	}
	if len(clean) > maxText {
		why = fmt.Sprintf("it is longer than %d bytes", maxText)
		clean = strings.ToValidUTF8(clean[:maxText], "")
		if i := strings.LastIndexByte(clean, ' '); i > 0 {
			clean = clean[:i]
		}
	}
	return clean, why
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// textFault refuses what would not come back from JSON as it is, or would
// trouble a terminal.
func textFault(text string) string {
	if len(text) > maxText {
		return fmt.Sprintf("a value is longer than %d bytes", maxText)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, control) {
		return fmt.Sprintf("the value %.80q has control characters or is not UTF-8", text)
	}
	return ""
}

func (c Counts) fault() string {
	for _, n := range []int64{int64(c.Packages), c.PackageBytes, int64(c.Distfiles),
		c.DistfileBytes, int64(c.Catalogue), c.CatalogueBytes, int64(c.Trees), c.TreeBytes} {
		if n < 0 {
			return "a negative count"
		}
	}
	return ""
}

// exceptionsFault checks each exception, and that no file and no name is in
// more than one of them.
func (r *Record) exceptionsFault() string {
	if len(r.Renamed) > MaxExceptions || len(r.Split) > MaxExceptions {
		return fmt.Sprintf("more than %d exceptions", MaxExceptions)
	}
	once := make(onlyOnce)
	for _, x := range r.Renamed {
		if reason := once.add(x.Kind, x.Path, x.Stored); reason != "" {
			return reason
		}
	}
	for _, x := range r.Split {
		if x.Size < 0 || x.Size > maxSize {
			return fmt.Sprintf("split file %q: size %d", x.Path, x.Size)
		}
		if len(x.Stored) == 0 || len(x.Stored) > MaxExceptions {
			return fmt.Sprintf("split file %q: %d parts", x.Path, len(x.Stored))
		}
		if reason := once.add(x.Kind, x.Path, x.Stored...); reason != "" {
			return reason
		}
	}
	return ""
}

type onlyOnce map[string]bool

func (once onlyOnce) add(kind payload.Kind, name PathText, stored ...string) string {
	if reason := OriginPathFault(kind, string(name)); reason != "" {
		return fmt.Sprintf("%s %q: %s", kind, name, reason)
	}
	if once[string(kind)+" "+string(name)] {
		return fmt.Sprintf("%s %q has two exceptions", kind, name)
	}
	once[string(kind)+" "+string(name)] = true
	for _, p := range stored {
		if reason := StoredPathFault(kind, p); reason != "" {
			return fmt.Sprintf("%s %q: stored as %q: %s", kind, name, p, reason)
		}
		if once[p] {
			return fmt.Sprintf("%q is in two exceptions", p)
		}
		once[p] = true
	}
	return ""
}

// OriginPathFault reports why a path of the origin cannot be one.
func OriginPathFault(kind payload.Kind, p string) string {
	switch {
	case directories[kind] == "":
		return "no known kind"
	case p == "" || len(p) > 4096:
		return "its length"
	case strings.ContainsRune(p, 0):
		return "it has a zero byte"
	case path.IsAbs(p) || path.Clean(p) != p || p == "." || p == ".." ||
		strings.HasPrefix(p, "../"):
		return "not a plain relative path"
	case kind == payload.Distfile && strings.Contains(p, "/"):
		return "a distfile has no directory"
	}
	return ""
}

// StoredPathFault reports why a stored path cannot be one of that kind.
func StoredPathFault(kind payload.Kind, p string) string {
	if reason := PathFault(p); reason != "" {
		return reason
	}
	if found, _, ok := KindOf(p); !ok || found != kind {
		return "it does not lie where such files do"
	}
	return ""
}
