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
	"time"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
)

// A Refusal is why a file did not pass the caller's rules.
type Refusal struct {
	Reason string
	Sum    digest.Blake2b // of the file; zero if it was not computed
	Rules  int            // the number of those rules, greater than 0
}

// Refusals remembers the files in one directory that were refused, so that they need not be read
// again to be refused again. A file is taken for unchanged as by a Cache.
type Refusals struct {
	st      *Dir
	dir     string
	now     time.Time
	files   map[string]*refused
	changed bool
	blocked bool // something that is no file has the place of theirs
}

type refused struct {
	Refusal
	stamp durable.Stamp
	used  bool // looked up or put since OpenRefusals
}

func refusedFile(dir string) string { return path.Join(refusedDir, path.Base(digestsFile(dir))) }

func refusedTable(dir string) table {
	return table{kind: "pkgsneak refused", about: []string{dir}, version: 1, fields: 8}
}

// OpenRefusals opens what is remembered of the directory dir; nothing where that is odd. now is the
// time before the first file is read.
func OpenRefusals(st *Dir, dir string, now time.Time) (*Refusals, error) {
	r := &Refusals{st: st, dir: dir, now: now, files: make(map[string]*refused)}
	data, err := st.read(refusedFile(dir), maxText)
	var odd *FileError
	switch {
	case errors.Is(err, durable.ErrIrregular):
		r.blocked = true
		return r, nil
	case errors.Is(err, fs.ErrNotExist), errors.As(err, &odd):
		return r, nil
	case err != nil:
		return nil, err
	}
	files := make(map[string]*refused)
	if _, err := refusedTable(dir).parse(string(data), func(f []string) error {
		e, err := parseRefused(f)
		files[strings.Clone(f[0])] = e
		return err
	}); err == nil {
		r.files = files
	}
	return r, nil
}

// Lookup returns why the file name was refused, if it is still the file that was.
func (r *Refusals) Lookup(name string, fi fs.FileInfo) (Refusal, bool) {
	s, ok := stampOf(fi)
	e := r.files[name]
	if !ok || e == nil || e.stamp != s {
		return Refusal{}, false
	}
	e.used = true
	return e.Refusal, true
}

// Put remembers the refusal of a file that had the status fi before it was read and after.
func (r *Refusals) Put(name string, fi fs.FileInfo, why Refusal) {
	s, ok := stampOf(fi)
	if !ok || name == "" || why.Rules <= 0 || isRacy(s, r.now) {
		return
	}
	r.files[name] = &refused{Refusal: why, stamp: s, used: true}
	r.changed = true
}

// Save writes what is remembered. A file that was neither looked up nor put since OpenRefusals is
// forgotten.
func (r *Refusals) Save() error {
	before := len(r.files)
	maps.DeleteFunc(r.files, func(_ string, e *refused) bool { return !e.used })
	if !r.changed && len(r.files) == before || r.blocked {
		return nil
	}
	err := r.st.write(refusedFile(r.dir), 0o644, r.write)
	r.changed = err != nil
	return err
}

func (r *Refusals) write(w io.Writer) error {
	names := slices.Sorted(maps.Keys(r.files))
	return refusedTable(r.dir).write(w, len(names), func(b []byte, i int) []byte {
		return appendRefused(b, names[i], r.files[names[i]])
	})
}

func appendRefused(b []byte, name string, e *refused) []byte {
	b = append(append(b, escape(name)...), '\t')
	b = append(appendStamp(append(b, escape(e.Reason)...), e.stamp), '\t')
	if e.Sum == (digest.Blake2b{}) {
		b = append(b, '-')
	} else {
		b = hex.AppendEncode(b, e.Sum[:])
	}
	return strconv.AppendInt(append(b, '\t'), int64(e.Rules), 10)
}

// parseRefused reads a row. Its strings do not keep the text.
func parseRefused(f []string) (e *refused, err error) {
	e = &refused{Refusal: Refusal{Reason: strings.Clone(f[1])}}
	if f[0] == "" {
		return nil, errors.New("a name is empty")
	}
	if e.stamp, err = parseStamp(f[2:6]); err != nil {
		return nil, err
	}
	if f[6] != "-" && !parseSum(e.Sum[:], f[6]) {
		return nil, fmt.Errorf("%.140q is not a sum", f[6])
	}
	e.Rules, err = parseRules(f[7])
	return e, err
}
