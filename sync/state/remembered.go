package state

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"pkgsneak/sync/durable"
)

// racy is how near to each other two times may be and still be one tick of a clock: the coarsest
// file systems count in two seconds.
const racy = 2 * time.Second

// remembered is what is known of files in one directory, each as long as it stays the file that it
// was, in a table of the state directory. It is a cache: where the table is odd, it starts empty.
//
// A file is taken for unchanged if size, mtime, ctime and inode are (git's rule). A file that
// changed so recently that one more change could leave all four as they are is not remembered.
type remembered[E any, P entry[E]] struct {
	st      *Dir
	name    string // of the table, below the state directory
	table   table
	now     time.Time // before the first file is read
	files   map[string]P
	changed bool
	lost    error // why it starts empty although there is a table
}

// entry is what is known of one file: a row of the table.
type entry[E any] interface {
	*E
	file() *stamped
	parse(f []string) error // keeps nothing of the strings
	appendRow(b []byte, name string) []byte
}

// stamped is the part of an entry that tells which file it is about.
type stamped struct {
	stamp durable.Stamp
	used  bool // looked up or put since it was opened
}

func (s *stamped) file() *stamped { return s }

// openRemembered reads a table.
func openRemembered[E any, P entry[E]](st *Dir, name string, t table,
	now time.Time) (remembered[E, P], error) {
	r := remembered[E, P]{st: st, name: name, table: t, now: now, files: make(map[string]P)}
	data, err := st.read(name, maxText)
	var odd *FileError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case errors.As(err, &odd), errors.Is(err, durable.ErrIrregular):
		r.lost = err
		return r, nil
	case err != nil:
		return r, err
	}
	files, line, err := parseRemembered[E, P](t, string(data))
	if err != nil {
		r.lost = st.odd(name, line, err)
		return r, nil
	}
	r.files = files
	return r, nil
}

func parseRemembered[E any, P entry[E]](t table, text string) (map[string]P, int, error) {
	m := make(map[string]P, strings.Count(text, "\n"))
	line, err := t.parse(text, func(f []string) error {
		if f[0] == "" {
			return errors.New("a name is empty")
		}
		e := P(new(E))
		m[strings.Clone(f[0])] = e // the text shall not live on
		return e.parse(f)
	})
	if err != nil {
		return nil, line, err
	}
	return m, 0, nil
}

// lookup returns what is remembered of a file with this status, or nil.
func (r *remembered[E, P]) lookup(name string, fi fs.FileInfo) P {
	s, ok := stampOf(fi)
	if e := r.files[name]; ok && e != nil && e.file().stamp == s {
		return e
	}
	return nil
}

// put remembers e of a file that had the status fi before it was read and after.
func (r *remembered[E, P]) put(name string, fi fs.FileInfo, e P) {
	s, ok := stampOf(fi)
	if !ok || name == "" || isRacy(s, r.now) {
		return
	}
	*e.file() = stamped{stamp: s, used: true}
	r.files[name], r.changed = e, true
}

// Save writes the table. A file that was neither looked up nor put since it was opened is
// forgotten.
func (r *remembered[E, P]) Save() error {
	before := len(r.files)
	maps.DeleteFunc(r.files, func(_ string, e P) bool { return !e.file().used })
	if !r.changed && len(r.files) == before {
		return nil
	}
	if errors.Is(r.lost, durable.ErrIrregular) {
		return nil // its place is taken by what is not ours; a cache is no reason to fail
	}
	err := r.st.write(r.name, 0o644, r.write)
	r.changed = err != nil
	return err
}

func (r *remembered[E, P]) write(w io.Writer) error {
	names := slices.Sorted(maps.Keys(r.files))
	return r.table.write(w, len(names), func(b []byte, i int) []byte {
		return r.files[names[i]].appendRow(b, names[i])
	})
}

// stampOf is the file's stamp as it is remembered: without the device's number, which may be
// another one after the machine was started again. It returns false for what is not a plain file of
// an operating system.
func stampOf(fi fs.FileInfo) (durable.Stamp, bool) {
	s, ok := durable.StampOf(fi)
	s.Device = 0
	return s, ok && fi.Mode().IsRegular()
}

// isRacy reports whether a write that comes now might leave the stamp as it is. It sets mtime and
// ctime to now, so both must be now already.
func isRacy(s durable.Stamp, now time.Time) bool {
	near := func(a, b int64) bool { return math.Abs(float64(a)-float64(b)) <= float64(racy) }
	return near(s.Modified, s.Changed) && s.Changed >= now.UnixNano()-int64(racy)
}

// appendStamp appends the four fields of a file's status, and a tab before each.
func appendStamp(b []byte, s durable.Stamp) []byte {
	for _, n := range []int64{s.Size, s.Modified, s.Changed} {
		b = strconv.AppendInt(append(b, '\t'), n, 10)
	}
	return strconv.AppendUint(append(b, '\t'), s.Inode, 10)
}

// parseStamp reads the four fields that appendStamp writes.
func parseStamp(f []string) (s durable.Stamp, err error) {
	for i, n := range []*int64{&s.Size, &s.Modified, &s.Changed} {
		if *n, err = parseInt(f[i]); err != nil {
			return s, err
		}
	}
	s.Inode, err = strconv.ParseUint(f[3], 10, 64)
	if s.Size < 0 || err != nil || !plain(f[3]) {
		return s, errNumber
	}
	return s, nil
}

// parseRules reads the number of rules, which is greater than 0.
func parseRules(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 || !plain(text) {
		return 0, errNumber
	}
	return n, nil
}
