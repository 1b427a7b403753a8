package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

var memoryFormat = formatRecord{"pkgsneak memory", 1}

// MaxRuns is how many runs are remembered.
const MaxRuns = 100

// An OriginID tells origins apart: two keys may use one name, and one key several.
type OriginID struct {
	Key  manifest.Fingerprint
	Name string
}

func (id OriginID) compare(o OriginID) int {
	if c := strings.Compare(string(id.Key), string(o.Key)); c != 0 {
		return c
	}
	return strings.Compare(id.Name, o.Name)
}

// Seen is the newest generation of an origin that was accepted here.
type Seen struct {
	Serial   int64     // highest ever
	Manifest [64]byte  // BLAKE2B-512 of the signed list with that serial
	Highest  time.Time // latest time that a verified signature of this origin bore
}

// Exported is the newest generation that was written here under an origin's name.
type Exported struct {
	PKGDIR string // the directory the name belongs to
	Serial int64
}

// A Run is one line of history.
type Run struct {
	When   time.Time `json:"when"` // when it ended
	Verb   string    `json:"verb"`
	By     string    `json:"by,omitempty"` // "auto" or "watch"; "": a person
	Origin string    `json:"origin,omitempty"`
	Drive  string    `json:"drive,omitempty"`
	Result string    `json:"result"`
	Serial int64     `json:"serial,omitempty"`
	Files  int       `json:"files"`
	Bytes  int64     `json:"bytes"`
}

type importsID struct {
	OriginID
	Kind payload.Kind
}

// memory is the contents of the file of that name.
type memory struct {
	saved    bool // there is such a file
	highest  time.Time
	seen     map[OriginID]Seen
	imports  map[importsID]string // the file, below the state directory
	exported map[string]Exported
	runs     []Run
}

func newMemory() memory {
	return memory{seen: map[OriginID]Seen{}, imports: map[importsID]string{},
		exported: map[string]Exported{}}
}

// record is a line of the file.
type record struct {
	edges
	Highest  *time.Time      `json:"highest,omitempty"`
	Seen     *seenRecord     `json:"seen,omitempty"`
	Imports  *importsRecord  `json:"imports,omitempty"`
	Exported *exportedRecord `json:"exported,omitempty"`
	Run      *Run            `json:"run,omitempty"`
}

type seenRecord struct {
	Key      manifest.Fingerprint `json:"key"`
	Name     string               `json:"name"`
	Serial   int64                `json:"serial"`
	Manifest string               `json:"manifest"`
	Highest  time.Time            `json:"highest"`
}

type importsRecord struct {
	Key  manifest.Fingerprint `json:"key"`
	Name string               `json:"name"`
	Kind string               `json:"kind"`
	File string               `json:"file"`
}

type exportedRecord struct {
	Name   string `json:"name"`
	PKGDIR string `json:"pkgdir"`
	Serial int64  `json:"serial"`
}

func (m *memory) write(w io.Writer) error {
	lines := newLineWriter(w, memoryFormat)
	if !m.highest.IsZero() {
		lines.put(record{Highest: &m.highest})
	}
	for _, id := range slices.SortedFunc(maps.Keys(m.seen), OriginID.compare) {
		s := m.seen[id]
		lines.put(record{Seen: &seenRecord{id.Key, id.Name, s.Serial,
			hex.EncodeToString(s.Manifest[:]), s.Highest}})
	}
	for _, id := range slices.SortedFunc(maps.Keys(m.imports), importsID.compare) {
		lines.put(record{Imports: &importsRecord{id.Key, id.Name, kindName(id.Kind),
			m.imports[id]}})
	}
	for _, name := range slices.Sorted(maps.Keys(m.exported)) {
		e := m.exported[name]
		lines.put(record{Exported: &exportedRecord{name, e.PKGDIR, e.Serial}})
	}
	for i := range m.runs {
		lines.put(record{Run: &m.runs[i]})
	}
	return lines.end()
}

func (id importsID) compare(o importsID) int {
	if c := id.OriginID.compare(o.OriginID); c != 0 {
		return c
	}
	return strings.Compare(string(id.Kind), string(o.Kind))
}

// parseMemory is the inverse of write. The line number is that of the error.
func parseMemory(data []byte) (memory, int, error) {
	m := newMemory()
	line, err := parseLines(data, memoryFormat, "", m.add)
	return m, line, err
}

func (m *memory) add(r record) error {
	switch {
	case r.Highest != nil:
		m.highest = *r.Highest
	case r.Seen != nil:
		return m.addSeen(*r.Seen)
	case r.Imports != nil:
		i := r.Imports
		id := importsID{OriginID{i.Key, i.Name}, kindOf(i.Kind)}
		if kindName(id.Kind) != i.Kind {
			return fmt.Errorf("unexpected kind %q", i.Kind)
		}
		if m.imports[id] != "" || i.File != importsFile(id) {
			return fmt.Errorf("unexpected imports file %q", i.File)
		}
		m.imports[id] = i.File
	case r.Exported != nil:
		if _, twice := m.exported[r.Exported.Name]; twice {
			return fmt.Errorf("export %q twice", r.Exported.Name)
		}
		m.exported[r.Exported.Name] = Exported{r.Exported.PKGDIR, r.Exported.Serial}
	case r.Run != nil:
		m.runs = append(m.runs, *r.Run)
	}
	return nil
}

func (m *memory) addSeen(r seenRecord) error {
	id := OriginID{r.Key, r.Name}
	if _, twice := m.seen[id]; twice {
		return fmt.Errorf("origin %q of key %s twice", id.Name, id.Key)
	}
	s := Seen{Serial: r.Serial, Highest: r.Highest}
	sum, err := hex.DecodeString(r.Manifest)
	if err != nil || len(sum) != len(s.Manifest) {
		return fmt.Errorf("%q is not a BLAKE2B-512 sum", r.Manifest)
	}
	copy(s.Manifest[:], sum)
	m.seen[id] = s
	return nil
}

func (st *Dir) readMemory() error {
	data, err := st.read(memoryName, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return st.noMemory()
	}
	if err != nil {
		return err
	}
	m, line, err := parseMemory(data)
	if err != nil {
		return st.odd(memoryName, line, err)
	}
	m.saved = true
	st.memory = m
	for _, file := range m.imports {
		if _, err := st.root.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			return st.odd(file, 0, errors.New("is missing, although "+memoryName+" names it"))
		} else if err != nil {
			return err
		}
	}
	return nil
}

// noMemory is a fresh start, unless something shows that there was a memory.
func (st *Dir) noMemory() error {
	left, err := st.names(importsDir)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return st.odd(memoryName, 0, errors.New("is missing, although "+left[0]+" is there"))
	}
	st.memory = newMemory()
	return nil
}

// remember changes the memory on the disk, or neither there nor here.
func (st *Dir) remember(change func(*memory)) error {
	if st.lock == nil {
		return ErrReadOnly
	}
	m := memory{true, st.memory.highest, maps.Clone(st.memory.seen), maps.Clone(st.memory.imports),
		maps.Clone(st.memory.exported), slices.Clone(st.memory.runs)}
	change(&m)
	if err := st.write(memoryName, 0o644, m.write); err != nil {
		return err
	}
	st.memory = m
	return nil
}

// ensureMemory comes before the first file in imports/, which without a memory would look like a
// loss.
func (st *Dir) ensureMemory() error {
	if st.memory.saved {
		return nil
	}
	return st.remember(func(*memory) {})
}

// Seen returns the newest generation of the origin that was accepted here.
func (st *Dir) Seen(id OriginID) (Seen, bool) {
	s, ok := st.memory.seen[id]
	return s, ok
}

// SaveSeen remembers that a generation was accepted. A lower serial than the remembered one changes
// neither that nor its Manifest; the same serial with another Manifest is an error.
func (st *Dir) SaveSeen(id OriginID, s Seen) error {
	old, ok := st.memory.seen[id]
	if ok && old.Serial == s.Serial && old.Manifest != s.Manifest {
		return fmt.Errorf("remembering origin %q: its generation of %s was seen with other contents",
			id.Name, fault.Time(time.Unix(s.Serial, 0)))
	}
	if ok && old.Serial > s.Serial {
		s.Serial, s.Manifest = old.Serial, old.Manifest
	}
	s.Highest = later(s.Highest.UTC(), old.Highest)
	if ok && s == old && !st.memory.highest.Before(s.Highest) {
		return nil
	}
	return st.remember(func(m *memory) {
		m.seen[id] = s
		m.highest = later(m.highest, s.Highest)
	})
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// HighestTime returns the latest time that any verified signature bore; zero if there was none. The
// real time is not before it, whatever this machine's clock shows.
func (st *Dir) HighestTime() time.Time { return st.memory.highest }

// RaiseTime remembers the time of a verified signature.
func (st *Dir) RaiseTime(t time.Time) error {
	if !t.After(st.memory.highest) {
		return nil
	}
	return st.remember(func(m *memory) { m.highest = t.UTC() })
}

// Exported returns what was last written under an origin's name.
func (st *Dir) Exported(name string) (Exported, bool) {
	e, ok := st.memory.exported[name]
	return e, ok
}

// SaveExported remembers it. The serial never becomes lower.
func (st *Dir) SaveExported(name string, e Exported) error {
	e.Serial = max(e.Serial, st.memory.exported[name].Serial)
	return st.remember(func(m *memory) { m.exported[name] = e })
}

// Origins returns the names under which this machine has exported, sorted.
func (st *Dir) Origins() []string { return slices.Sorted(maps.Keys(st.memory.exported)) }

// Runs returns the last MaxRuns runs, the newest last.
func (st *Dir) Runs() []Run { return slices.Clone(st.memory.runs) }

// AddRun remembers a run.
func (st *Dir) AddRun(r Run) error {
	r.When = r.When.UTC()
	return st.remember(func(m *memory) {
		m.runs = append(m.runs, r)
		m.runs = slices.Delete(m.runs, 0, max(0, len(m.runs)-MaxRuns))
	})
}
