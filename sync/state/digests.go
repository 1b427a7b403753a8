package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"strconv"
	"time"

	"pkgsneak/sync/digest"
)

// A Cache remembers the digests of the files in one directory, so that they need not be read again.
type Cache struct{ remembered[cached, *cached] }

type cached struct {
	stamped
	md5     [16]byte
	sha1    [20]byte
	blake2b digest.Blake2b
	set     digest.Set
	rules   int // see Approve; 0: not approved
}

func (e *cached) sums() digest.Sums {
	return digest.Sums{Size: e.stamp.Size, MD5: e.md5, SHA1: e.sha1, Blake2b: e.blake2b}
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
	r, err := openRemembered[cached](st, digestsFile(dir), digestsTable(dir), now)
	if err != nil {
		return nil, err
	}
	return &Cache{r}, nil
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
	if set &= digest.All; set == 0 {
		return
	}
	c.put(name, fi, &cached{md5: sums.MD5, sha1: sums.SHA1, blake2b: sums.Blake2b, set: set})
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

func (e *cached) appendRow(b []byte, name string) []byte {
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

type knownSum struct {
	is  digest.Set
	sum []byte
}

// known lists the sums in the order of the file.
func (e *cached) known() [3]knownSum {
	return [3]knownSum{{digest.MD5, e.md5[:]}, {digest.SHA1, e.sha1[:]},
		{digest.BLAKE2B, e.blake2b[:]}}
}

func (e *cached) parse(f []string) (err error) {
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
