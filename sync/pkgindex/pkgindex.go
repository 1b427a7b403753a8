// Package pkgindex reads and writes Packages, the index of a Gentoo binary package directory
// (PKGDIR), as Portage does.
//
// # The file
//
// UTF-8, lines ending in LF. A block is some lines KEY: VALUE and a blank line. The first block is
// the header, each block after it is the entry of one package:
//
//	CHOST: x86_64-pc-linux-gnu
//	PACKAGES: 1
//	TIMESTAMP: 1700000000
//	VERSION: 0
//
//	BUILD_ID: 2
//	BUILD_TIME: 1699999000
//	CPV: app-misc/hello-1.0-r2
//	DEFINED_PHASES: -
//	EAPI: 8
//	KEYWORDS: amd64
//	LICENSE: MIT
//	MD5: 5a38247c6dec69e2d08b9eb6f7d747cc
//	PATH: app-misc/hello/hello-1.0-r2-2.gpkg.tar
//	SHA1: 8e20361866ac68a289cf48cebb6619d09def4be8
//	SIZE: 20480
//	MTIME: 1699999123
//	REPO: gentoo
//
// VERSION has to be 0; Portage counts any other index as empty. PACKAGES is the number of entries.
// TIMESTAMP is when it was written, in Unix seconds; a client with a copy takes another one only if
// that is greater. Keys are sorted by the name that Portage has for them in memory, where MTIME is
// _mtime_, REPO is repository and DESC is DESCRIPTION. Entries are sorted by CPV as plain text;
// entries of one CPV keep their order. An empty value is never written, nor is EAPI or SLOT 0, nor
// a CHOST or REPO that the header has too: an entry without them has the header's. Entries have the
// keys of Keys and no others.
//
// # In memory
//
// An Entry is text in the order above, in one piece: 50,000 of them with 1 kB each take little more
// than 50 MB. It stands for itself, whatever index it is put into: Read gives it the CHOST and REPO
// that it had from its header, and Write leaves them out again where the header has the same. An
// Index that Portage wrote is the same bytes after Read and Write.
//
// # What Read makes of the indices that are out there
//
// Everything is read that can be understood, and what is dropped or odd gets a Remark: lines
// without a colon, no blank after the colon (Portage loses the first letter of such a value),
// blanks around keys and values, CRLF, keys that occur twice (the last counts), keys that Portage
// does not have (one remark for each, with a count), a wrong PACKAGES, a VERSION that Portage
// refuses, entries behind an empty block (Portage stops there and loses them). A missing blank line
// at the end, odd order, and entries without MD5, PATH or BUILD_ID need no remark. Several entries
// of one CPV and BUILD_ID are several entries. Header keys survive, known or not. Bytes that are no
// UTF-8 become U+FFFD, as many as in Portage. Dropped as a whole are entries without a CPV, with
// one that is none (Portage aborts on it), with a PATH that leaves PKGDIR, or with control
// characters in a value.
//
// # Limits
//
// MaxSize bytes in all, MaxBlock in a block, MaxLine in a line, MaxEntries entries. Beyond them
// Read returns a *FormatError. In an index of this machine's own (ReadLocal) a longer block is
// dropped, and so is an entry with a longer line. An index that could not be read back is not
// written: Write and With return a *ValueError.
package pkgindex

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// MaxSize is the size in bytes of the largest index that is read: about 400,000 packages.
	MaxSize = 256 << 20
	// MaxBlock is the size in bytes of the largest header or entry.
	MaxBlock = 2 << 20
	// MaxLine is the length in bytes of the longest line. Lines of 49,000 bytes occur in public
	// indices.
	MaxLine = 1 << 20
	// MaxEntries is how many entries an index may have.
	MaxEntries = 1_000_000
)

// Version is the only VERSION of an index that Portage reads.
const Version = "0"

// Index is the content of a Packages file.
type Index struct {
	Header  Header
	Entries []Entry
	// Remarks tells what Read dropped or found odd, in the order of the first line concerned; what
	// concerns the whole comes last. Write ignores it.
	Remarks []Remark
}

// Remark is something that Read dropped or found odd.
type Remark struct {
	Line    int // where it was seen first, from 1; 0 where it concerns the whole
	Count   int // how often it was seen
	Reason  string
	Dropped bool // something that the file has is not in the Index
}

func (r Remark) String() string {
	s := r.Reason
	if r.Line > 0 {
		s = "line " + strconv.Itoa(r.Line) + ": " + s
	}
	if r.Count > 1 {
		s += " (" + strconv.Itoa(r.Count) + " times)"
	}
	return s
}

// FormatError is an index that passes a limit of this package.
type FormatError struct {
	Line   int // from 1
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("read index: line %d: %s", e.Line, e.Reason)
}

// ValueError is a value that cannot stand in an index: it could not be read back, or Portage would
// refuse it.
type ValueError struct {
	Key, Value string
	Reason     string
	Err        error // the cause, if there is one
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("index value %s %.100q: %s", e.Key, e.Value, e.Reason)
}

func (e *ValueError) Unwrap() error { return e.Err }

// Timestamp returns TIMESTAMP, the time of writing in Unix seconds.
func (x *Index) Timestamp() (int64, bool) { return parseInt(x.Header.Get("TIMESTAMP")) }

// SetTimestamp sets TIMESTAMP, which Write needs.
func (x *Index) SetTimestamp(unix int64) {
	x.Header.Set("TIMESTAMP", strconv.FormatInt(unix, 10))
}

// parseInt reads a whole number as Portage does, blanks around it allowed.
func parseInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil
}
