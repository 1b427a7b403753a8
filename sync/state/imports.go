package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/payload"
)

// kindName is a kind as the files of the state directory have it: "packages", "distfiles".
func kindName(k payload.Kind) string { return string(k) + "s" }

// kindOf is the kind of a name; another name is marked, and is no kind.
func kindOf(name string) payload.Kind {
	kind, _ := strings.CutSuffix(name, "s")
	if kindName(payload.Kind(kind)) != name {
		return payload.Kind(name + "?")
	}
	return payload.Kind(kind)
}

// An Import is what a file of an origin was brought in as. The file at Local is the origin's
// while it has this size and sum, and a local one otherwise.
type Import struct {
	Local string   // path below PKGDIR or name in DISTDIR
	Size  int64    // bytes
	Sum   [64]byte // BLAKE2B-512
}

// importsFile is where the table of id lies. Names are foreign text: what is not plain is written
// in hex, and a long one is cut and told apart by its sum.
func importsFile(id importsID) string {
	const plainName, cutName = 120, 80
	name := ""
	for i := range len(id.Name) {
		switch c := id.Name[i]; {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '-', c == '_':
			name += string(c)
		default:
			name += fmt.Sprintf("%%%02x", c)
		}
	}
	if len(name) > plainName {
		sum := digest.Bytes([]byte(id.Name))
		name = name[:cutName] + "%-" + hex.EncodeToString(sum[:16])
	}
	return path.Join(importsDir, string(id.Key)+"."+name+"."+kindName(id.Kind))
}

// pendingFile is where the steps of id are noted that may have been taken.
func pendingFile(id importsID) string {
	return path.Join(pendingDir, path.Base(importsFile(id)))
}

func pendingTable(id importsID) table {
	t := importsTable(id)
	t.kind = "pkgsneak pending"
	return t
}

func importsTable(id importsID) table {
	return table{kind: "pkgsneak imports", version: 1, about: []string{string(id.Key), id.Name,
		kindName(id.Kind)}, fields: 4}
}

// Imports returns what was brought in from the origin, by the origin's path. Nothing ever brought
// in is an empty map.
func (st *Dir) Imports(id OriginID, kind payload.Kind) (map[string]Import, error) {
	key := importsID{id, kind}
	file, known := st.memory.imports[key]
	if !known {
		return map[string]Import{}, nil
	}
	data, err := st.read(file, maxText)
	if err != nil {
		return nil, err
	}
	m, line, err := parseImports(importsTable(key), string(data))
	if err != nil {
		return nil, st.odd(file, line, err)
	}
	st.rows[key] = maps.Clone(m)
	return m, nil
}

// Importers returns the origins of which files of that kind were brought in, in a fixed order.
func (st *Dir) Importers(kind payload.Kind) []OriginID {
	var ids []OriginID
	for _, id := range slices.SortedFunc(maps.Keys(st.memory.imports), importsID.compare) {
		if id.Kind == kind {
			ids = append(ids, id.OriginID)
		}
	}
	return ids
}

// Pending is what is about to happen to the files of an origin: what may lie at its place by now if
// a run ended between its steps. The zero Sum stands for a file that may have been removed.
type Pending struct {
	st  *Dir
	key importsID
}

// Pending returns the notes of an origin and kind.
func (st *Dir) Pending(id OriginID, kind payload.Kind) Pending {
	return Pending{st, importsID{id, kind}}
}

// Rows returns what Save has noted and Settle has not settled.
func (p Pending) Rows() (map[string]Import, error) {
	file := pendingFile(p.key)
	data, err := p.st.read(file, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Import{}, nil
	}
	if err != nil {
		return nil, err
	}
	m, line, err := parseImports(pendingTable(p.key), string(data))
	if err != nil {
		return nil, p.st.odd(file, line, err)
	}
	return m, nil
}

// Save notes, before any name changes, what is going to lie where: the imports keep what lies there
// now, so that the file counts as the origin's whichever of the two it is.
func (p Pending) Save(m map[string]Import) error {
	if err := checkImports(m); err != nil {
		return fmt.Errorf("noting imports from %q: %w", p.key.Name, err)
	}
	if err := p.st.ensureMemory(); err != nil {
		return err
	}
	return p.st.write(pendingFile(p.key), 0o644, func(w io.Writer) error {
		return writeImports(w, pendingTable(p.key), m)
	})
}

// Settle is saveImports, and ends what Save began.
func (p Pending) Settle(m map[string]Import) error {
	if err := p.st.saveImports(p.key.OriginID, p.key.Kind, m); err != nil {
		return err
	}
	file := pendingFile(p.key)
	if _, err := p.st.root.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := p.st.root.Remove(file); err != nil {
		return fmt.Errorf("state directory %q: %w", p.st.dir, err)
	}
	return p.st.root.SyncDir(pendingDir)
}

func parseImports(t table, text string) (map[string]Import, int, error) {
	m := map[string]Import{}
	line, err := t.parse(text, func(f []string) error {
		i := Import{Local: f[1]}
		var err error
		if i.Size, err = parseInt(f[2]); err != nil {
			return err
		}
		if !parseSum(i.Sum[:], f[3]) {
			return fmt.Errorf("%.140q is not a BLAKE2B-512 sum", f[3])
		}
		m[f[0]] = i
		return i.check(f[0])
	})
	if err != nil {
		return nil, line, err
	}
	return m, 0, nil
}

// saveImports replaces what is remembered of the origin and kind. Rows that are as they were read
// are not written again.
func (st *Dir) saveImports(id OriginID, kind payload.Kind, m map[string]Import) error {
	key := importsID{id, kind}
	file := importsFile(key)
	if err := checkImports(m); err != nil {
		return fmt.Errorf("remembering imports from %q: %w", id.Name, err)
	}
	if err := st.ensureMemory(); err != nil {
		return err
	}
	read, known := st.rows[key]
	if known && st.memory.imports[key] == file && maps.Equal(read, m) {
		return nil
	}
	delete(st.rows, key)
	err := st.write(file, 0o644, func(w io.Writer) error {
		return writeImports(w, importsTable(key), m)
	})
	if err != nil || st.memory.imports[key] != "" {
		return err
	}
	return st.remember(func(mem *memory) { mem.imports[key] = file })
}

// checkImports refuses what parseImports would.
func checkImports(m map[string]Import) error {
	for name, i := range m {
		if err := i.check(name); err != nil {
			return err
		}
	}
	return nil
}

func (i Import) check(name string) error {
	if name == "" || i.Local == "" || i.Size < 0 {
		return fmt.Errorf("%q as %q with %d bytes makes no sense", name, i.Local, i.Size)
	}
	return nil
}

func writeImports(w io.Writer, t table, m map[string]Import) error {
	names := slices.Sorted(maps.Keys(m))
	return t.write(w, len(names), func(b []byte, n int) []byte {
		i := m[names[n]]
		b = append(b, escape(names[n])...)
		b = append(append(b, '\t'), escape(i.Local)...)
		b = strconv.AppendInt(append(b, '\t'), i.Size, 10)
		return hex.AppendEncode(append(b, '\t'), i.Sum[:])
	})
}

var errNumber = errors.New("a number is malformed")

// parseInt accepts only what AppendInt writes, so that each table has one spelling.
func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || !plain(strings.TrimPrefix(s, "-")) || s == "-0" {
		return 0, errNumber
	}
	return n, nil
}

// plain reports whether a number that ParseInt or ParseUint understood has neither plus nor leading
// zero.
func plain(s string) bool { return s == "0" || s[0] >= '1' && s[0] <= '9' }

// parseSum fills sum from exactly as many lower-case hex digits.
func parseSum(sum []byte, s string) bool {
	if len(s) != 2*len(sum) {
		return false
	}
	for i := range sum {
		hi, lo := nibble(s[2*i]), nibble(s[2*i+1])
		if hi|lo > 0xf {
			return false
		}
		sum[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
