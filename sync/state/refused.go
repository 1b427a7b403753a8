package state

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"pkgsneak/sync/digest"
)

// A Refusal is why a file did not pass the caller's rules.
type Refusal struct {
	Reason string
	Sum    digest.Blake2b // of the file; zero if it was not computed
	Rules  int            // the number of those rules, greater than 0
}

// Refusals remembers the files in one directory that were refused, so that they need not be read
// again to be refused again.
type Refusals struct{ remembered[refused, *refused] }

type refused struct {
	stamped
	Refusal
}

func refusedFile(dir string) string { return path.Join(refusedDir, path.Base(digestsFile(dir))) }

func refusedTable(dir string) table {
	return table{kind: "pkgsneak refused", about: []string{dir}, version: 1, fields: 8}
}

// OpenRefusals opens what is remembered of the directory dir. now is the time before the first file
// is read.
func OpenRefusals(st *Dir, dir string, now time.Time) (*Refusals, error) {
	r, err := openRemembered[refused](st, refusedFile(dir), refusedTable(dir), now)
	if err != nil {
		return nil, err
	}
	return &Refusals{r}, nil
}

// Lookup returns why the file name was refused, if it is still the file that was.
func (r *Refusals) Lookup(name string, fi fs.FileInfo) (Refusal, bool) {
	e := r.lookup(name, fi)
	if e == nil {
		return Refusal{}, false
	}
	e.used = true
	return e.Refusal, true
}

// Put remembers the refusal of a file that had the status fi before it was read and after.
func (r *Refusals) Put(name string, fi fs.FileInfo, why Refusal) {
	if why.Rules > 0 {
		r.put(name, fi, &refused{Refusal: why})
	}
}

func (e *refused) appendRow(b []byte, name string) []byte {
	b = append(append(b, escape(name)...), '\t')
	b = append(appendStamp(append(b, escape(e.Reason)...), e.stamp), '\t')
	if e.Sum == (digest.Blake2b{}) {
		b = append(b, '-')
	} else {
		b = hex.AppendEncode(b, e.Sum[:])
	}
	return strconv.AppendInt(append(b, '\t'), int64(e.Rules), 10)
}

func (e *refused) parse(f []string) (err error) {
	if e.stamp, err = parseStamp(f[2:6]); err != nil {
		return err
	}
	if f[6] != "-" && (!parseSum(e.Sum[:], f[6]) || e.Sum == digest.Blake2b{}) {
		return fmt.Errorf("%.140q is not a sum", f[6])
	}
	e.Reason = strings.Clone(f[1])
	e.Rules, err = parseRules(f[7])
	return err
}
