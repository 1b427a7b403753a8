package ebuilds

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/listing"
)

// Limits of one tree, both when it is packed and when it is unpacked.
const (
	maxFile  = 64 << 20 // bytes of one file
	maxDepth = 24       // directories inside each other
	maxPath  = 1024     // bytes
	maxName  = 255      // bytes
)

// notCarried are the names at the top of a repository that are no part of it: what git, Portage's
// old defaults and administrators keep there.
var notCarried = []string{".git", "distfiles", "local", "packages"}

// entry is a file or directory of a tree.
type entry struct {
	path string // below the tree; "" is none
	st   syscall.Stat_t
	link bool // a link to a file of the same tree, of which st is
}

func (e *entry) isDir() bool      { return e.st.Mode&unix.S_IFMT == unix.S_IFDIR }
func (e *entry) executable() bool { return !e.isDir() && e.st.Mode&0o100 != 0 }

// A survey is a tree that was walked through: a directory stands before what is in it, its files
// before its directories, each in the order of their names.
type survey struct {
	entries []entry
	left    []string // what cannot be carried, each with its reason
	bytes   int64    // of the files
	seal    string   // of all that was seen, by name and status
}

// files counts the files.
func (s *survey) files() int {
	n := 0
	for i := range s.entries {
		if !s.entries[i].isDir() {
			n++
		}
	}
	return n
}

// walker makes a survey.
type walker struct {
	ctx  context.Context
	root *os.Root
	all  bool // what is not carried counts too
	dirs listing.Reader
	hash *digest.Hash
	line []byte
	out  survey
}

// walk looks at a whole tree. With all, names that are not carried are entries like any other: it
// is for a tree that import wrote, in which there are none.
func walk(ctx context.Context, root *os.Root, all bool) (*survey, error) {
	w := &walker{ctx: ctx, root: root, all: all, hash: digest.New(digest.BLAKE2B)}
	top, err := durable.OpenDir(root, ".")
	if err != nil {
		return nil, err
	}
	defer top.Close()
	if err := w.dir(int(top.Fd()), "", 0); err != nil {
		return nil, fmt.Errorf("reading the repository in %q: %w", root.Name(), err)
	}
	sums := w.hash.Sum()
	w.out.seal = digest.Hex(sums.Blake2b[:])
	return &w.out, nil
}

// dir walks through an open directory.
func (w *walker) dir(fd int, at string, depth int) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	names, err := w.dirs.Names(fd, layout.MaxTreeEntries)
	if err != nil {
		return &fs.PathError{Op: "reading", Path: at, Err: err}
	}
	slices.SortFunc(names, func(a, b *listing.Entry) int {
		return strings.Compare(a.Name(), b.Name())
	})
	var below []*listing.Entry
	for _, e := range names {
		name := path.Join(at, e.Name())
		if !w.all && (e.Name() == ".git" || at == "" && slices.Contains(notCarried, e.Name())) {
			continue
		}
		if err := e.Lstat(fd); err != nil {
			return &fs.PathError{Op: "reading", Path: name, Err: err}
		}
		w.seal(name, e.Sys().(*syscall.Stat_t))
		switch reason := nameFault(name); {
		case reason != "":
			w.leave(name, reason)
		case e.IsDir():
			below = append(below, e)
		default:
			if err := w.file(name, e); err != nil {
				return err
			}
		}
	}
	for _, e := range below {
		if err := w.below(fd, path.Join(at, e.Name()), e, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// below adds a directory and what is in it.
func (w *walker) below(fd int, name string, e *listing.Entry, depth int) error {
	if depth > maxDepth {
		w.leave(name, fmt.Sprintf("more than %d directories inside each other", maxDepth))
		return nil
	}
	sub, err := listing.Open(fd, e.Name(), unix.O_DIRECTORY)
	if err != nil {
		return &fs.PathError{Op: "opening", Path: name, Err: err}
	}
	defer unix.Close(sub)
	if err := w.add(entry{path: name, st: *e.Sys().(*syscall.Stat_t)}); err != nil {
		return err
	}
	return w.dir(sub, name, depth)
}

// file adds a regular file, or a link to one of the same tree, which is carried as a file.
func (w *walker) file(name string, e *listing.Entry) error {
	f := entry{path: name, st: *e.Sys().(*syscall.Stat_t)}
	if e.Mode()&fs.ModeSymlink != 0 {
		fi, err := w.root.Stat(name)
		if err != nil || !fi.Mode().IsRegular() {
			w.leave(name, "a link, and not to a file of the repository")
			return nil
		}
		f.st, f.link = *fi.Sys().(*syscall.Stat_t), true
		w.seal(name, &f.st)
	}
	switch {
	case f.st.Mode&unix.S_IFMT != unix.S_IFREG:
		w.leave(name, "neither a file nor a directory")
		return nil
	case f.st.Size > maxFile:
		w.leave(name, fmt.Sprintf("longer than %d bytes", maxFile))
		return nil
	}
	w.out.bytes += f.st.Size
	return w.add(f)
}

func (w *walker) leave(name, reason string) {
	w.out.left = append(w.out.left, fmt.Sprintf("%q: %s", name, reason))
}

func (w *walker) add(e entry) error {
	w.out.entries = append(w.out.entries, e)
	if len(w.out.entries) > layout.MaxTreeEntries {
		return fmt.Errorf("more than %d files and directories", layout.MaxTreeEntries)
	}
	if w.out.bytes > layout.MaxTreeBytes {
		return fmt.Errorf("more than %d bytes", int64(layout.MaxTreeBytes))
	}
	return nil
}

// seal adds an entry's status to the seal: what nobody can change without changing its ctime.
func (w *walker) seal(name string, st *syscall.Stat_t) {
	b := append(w.line[:0], name...)
	for _, n := range []int64{int64(st.Mode), int64(st.Uid), int64(st.Gid), sealedSize(st),
		st.Mtim.Nano(), st.Ctim.Nano(), int64(st.Ino)} {
		b = strconv.AppendInt(append(b, 0), n, 16)
	}
	w.line = append(b, '\n')
	w.hash.Write(w.line)
}

// sealedSize is the size of a file; that of a directory is the file system's own affair.
func sealedSize(st *syscall.Stat_t) int64 {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return 0
	}
	return st.Size
}

// nameFault reports why a path cannot be one of a tree that is carried, "" if it can.
func nameFault(name string) string {
	if len(name) > maxPath {
		return fmt.Sprintf("its path is longer than %d bytes", maxPath)
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool {
		return r < ' ' ||
			r == 0x7f
	}) {
		return "its name has control characters or is not UTF-8"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return "no plain relative path"
		case len(part) > maxName:
			return fmt.Sprintf("its name is longer than %d bytes", maxName)
		case part == ".git":
			return "it is git's"
		}
	}
	return ""
}

// contents makes the digest of a tree: one line for each entry, in the order of a survey.
//
//	d PATH
//	f PATH<NUL>SIZE BLAKE2B-512 in hex         x in the place of f: executable
type contents struct {
	hash *digest.Hash
	line []byte
}

func newContents() contents { return contents{hash: digest.New(digest.BLAKE2B)} }

func (c *contents) dir(name string) {
	c.line = append(append(append(c.line[:0], "d "...), name...), '\n')
	c.hash.Write(c.line)
}

func (c *contents) file(name string, executable bool, size int64, sum digest.Blake2b) {
	kind := byte('f')
	if executable {
		kind = 'x'
	}
	b := append(append(c.line[:0], kind, ' '), name...)
	b = strconv.AppendInt(append(b, 0), size, 10)
	b = hex.AppendEncode(append(b, ' '), sum[:])
	c.line = append(b, '\n')
	c.hash.Write(c.line)
}

func (c *contents) digest() string {
	sums := c.hash.Sum()
	return digest.Hex(sums.Blake2b[:])
}

// errChanged reports that somebody writes to the repository while it is read.
var errChanged = errors.New("changed while it was read: emerge --sync, or somebody who edits it")

// highestEAPI is the highest of the profiles' EAPIs, "" if none has a file of it.
func highestEAPI(texts []string) string {
	best := -1
	for _, text := range texts {
		line, _, _ := strings.Cut(text, "\n")
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			best = max(best, n)
		}
	}
	if best < 0 {
		return ""
	}
	return strconv.Itoa(best)
}

// allocated is what all of it takes on the disk, in bytes.
func (s *survey) allocated() (bytes int64) {
	for i := range s.entries {
		bytes += s.entries[i].st.Blocks * 512
	}
	return bytes
}

// newest is the time of the newest file, in Unix seconds.
func (s *survey) newest() int64 {
	var t int64
	for i := range s.entries {
		if e := &s.entries[i]; !e.isDir() {
			t = max(t, int64(e.st.Mtim.Sec))
		}
	}
	return cmp.Or(t, 1)
}
