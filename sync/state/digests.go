package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
)

// racy is how near to each other two times may be and still be one tick of a clock: the coarsest
// file systems count in two seconds.
const racy = 2 * time.Second

// A Cache remembers the digests of the files in one directory, so that they need not be read again.
//
// A file is taken for unchanged if size, mtime, ctime and inode are (git's rule). A file that
// changed so recently that one more change could leave all four as they are is not remembered.
type Cache struct {
	st      *Dir
	dir     string
	now     time.Time
	files   map[string]*cached
	changed bool
	lost    error // why it starts empty although there is a file
}

type cached struct {
	stamp   durable.Stamp
	md5     [16]byte
	sha1    [20]byte
	blake2b digest.Blake2b
	set     digest.Set
	rules   int  // see Approve; 0: not approved
	used    bool // looked up or put since Cache
}

func (e *cached) sums() digest.Sums {
	return digest.Sums{Size: e.stamp.Size, MD5: e.md5, SHA1: e.sha1, Blake2b: e.blake2b}
}

// stampOf is the file's stamp as it is remembered: without the device's number, which may be
// another one after the machine was started again. It returns false for what is not a plain file of
// an operating system.
func stampOf(fi fs.FileInfo) (durable.Stamp, bool) {
	s, ok := durable.StampOf(fi)
	s.Device = 0
	return s, ok && fi.Mode().IsRegular()
}

func digestsFile(dir string) string {
	sum := digest.Bytes([]byte(dir))
	return path.Join(digestsDir, hex.EncodeToString(sum[:16]))
}

func digestsTable(dir string) table {
	return table{kind: "pkgsneak digests", about: []string{dir}, version: 2, fields: 9}
}

// Cache opens the cache for the directory dir. now is the time before the first file is read.
func (st *Dir) Cache(dir string, now time.Time) (*Cache, error) {
	c := &Cache{st: st, dir: dir, now: now, files: map[string]*cached{}}
	file := digestsFile(dir)
	data, err := st.read(file, maxText)
	var odd *FileError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case errors.As(err, &odd), errors.Is(err, durable.ErrIrregular):
		c.lost = err
		return c, nil
	case err != nil:
		return nil, err
	}
	files, line, err := parseDigests(dir, string(data))
	if err != nil {
		c.lost = st.odd(file, line, err)
		return c, nil
	}
	c.files = files
	return c, nil
}

// Len returns of how many files the cache remembers anything, whether they are still there or not.
func (c *Cache) Len() int { return len(c.files) }

// Names returns the files of which it remembers anything, in no order.
func (c *Cache) Names() iter.Seq[string] { return maps.Keys(c.files) }

// Keep has Save keep what is remembered of a name, whatever that name is now, and returns the size
// of the file in bytes; false where nothing is remembered.
func (c *Cache) Keep(name string) (size int64, ok bool) {
	e := c.files[name]
	if e == nil {
		return 0, false
	}
	e.used = true
	return e.stamp.Size, true
}

// Lookup returns the sums of the file name, and which of them are known, if it is still the file
// that they were computed from.
func (c *Cache) Lookup(name string, fi fs.FileInfo) (digest.Sums, digest.Set, bool) {
	e := c.lookup(name, fi)
	if e == nil {
		return digest.Sums{}, 0, false
	}
	e.used = true
	return e.sums(), e.set, true
}

// Put remembers the sums (those of digest.All that are in set) of a file that had the status fi
// before it was read and after.
func (c *Cache) Put(name string, fi fs.FileInfo, sums digest.Sums, set digest.Set) {
	s, ok := stampOf(fi)
	if set &= digest.All; !ok || name == "" || set == 0 || isRacy(s, c.now) {
		return
	}
	c.files[name] = &cached{stamp: s, md5: sums.MD5, sha1: sums.SHA1, blake2b: sums.Blake2b,
		set: set, used: true}
	c.changed = true
}

// Approve remembers that a file passed the caller's rules of that number, which is greater than 0,
// when its remembered sums were computed. A file that is not remembered, or has another status, is
// not approved. Put takes it back.
func (c *Cache) Approve(name string, fi fs.FileInfo, rules int) {
	if e := c.lookup(name, fi); e != nil && e.rules != rules {
		e.rules, c.changed = rules, true
	}
}

// Approved returns the number of the rules that a file has passed, 0 if it is not known to have
// passed any.
func (c *Cache) Approved(name string, fi fs.FileInfo) int {
	if e := c.lookup(name, fi); e != nil {
		return e.rules
	}
	return 0
}

// lookup returns what is remembered of a file with this status, or nil.
func (c *Cache) lookup(name string, fi fs.FileInfo) *cached {
	s, ok := stampOf(fi)
	if e := c.files[name]; ok && e != nil && e.stamp == s {
		return e
	}
	return nil
}

// isRacy reports whether a write that comes now might leave the stamp as it is. It sets mtime and
// ctime to now, so both must be now already.
func isRacy(s durable.Stamp, now time.Time) bool {
	near := func(a, b int64) bool { return math.Abs(float64(a)-float64(b)) <= float64(racy) }
	return near(s.Modified, s.Changed) && s.Changed >= now.UnixNano()-int64(racy)
}

// Save writes the cache. A file that was neither looked up nor put since Cache is forgotten.
func (c *Cache) Save() error {
	before := len(c.files)
	maps.DeleteFunc(c.files, func(_ string, e *cached) bool { return !e.used })
	if !c.changed && len(c.files) == before {
		return nil
	}
	if errors.Is(c.lost, durable.ErrIrregular) {
		return nil // its place is taken by what is not ours; a cache is no reason to fail
	}
	err := c.st.write(digestsFile(c.dir), 0o644, c.write)
	c.changed = err != nil
	return err
}

func (c *Cache) write(w io.Writer) error {
	names := slices.Sorted(maps.Keys(c.files))
	return digestsTable(c.dir).write(w, len(names), func(b []byte, i int) []byte {
		return appendCached(b, names[i], c.files[names[i]])
	})
}

func appendCached(b []byte, name string, e *cached) []byte {
	b = appendStamp(append(b, escape(name)...), e.stamp)
	for _, s := range e.known() {
		b = append(b, '\t')
		if e.set&s.is != 0 {
			b = hex.AppendEncode(b, s.sum)
		} else {
			b = append(b, '-')
		}
	}
	if e.rules == 0 {
		return append(b, '\t', '-')
	}
	return strconv.AppendInt(append(b, '\t'), int64(e.rules), 10)
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

type knownSum struct {
	is  digest.Set
	sum []byte
}

// known lists the sums in the order of the file.
func (e *cached) known() [3]knownSum {
	return [3]knownSum{{digest.MD5, e.md5[:]}, {digest.SHA1, e.sha1[:]},
		{digest.BLAKE2B, e.blake2b[:]}}
}

func parseDigests(dir, text string) (map[string]*cached, int, error) {
	m := make(map[string]*cached, strings.Count(text, "\n"))
	line, err := digestsTable(dir).parse(text, func(f []string) error {
		e := &cached{}
		err := e.parse(f)
		m[strings.Clone(f[0])] = e // the text shall not live on
		return err
	})
	if err != nil {
		return nil, line, err
	}
	return m, 0, nil
}

func (e *cached) parse(f []string) (err error) {
	if f[0] == "" {
		return errors.New("a name is empty")
	}
	if e.stamp, err = parseStamp(f[1:5]); err != nil {
		return err
	}
	for i, s := range e.known() {
		if f[5+i] == "-" {
			continue
		}
		if !parseSum(s.sum, f[5+i]) {
			return fmt.Errorf("%.140q is not a sum", f[5+i])
		}
		e.set |= s.is
	}
	if e.set == 0 {
		return errors.New("no sum is known")
	}
	if f[8] == "-" {
		return nil
	}
	e.rules, err = parseRules(f[8])
	return err
}
