package binhost

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/layout"
)

// A Source has what is to be served; Machine and Drive make one.
type Source interface {
	// site is what there is at the moment, or, if it need not be fresh, was a moment ago. It is
	// called for each request.
	site(fresh bool) *site
}

// site is what a source has at one moment. It does not change.
type site struct {
	title   string
	trees   []*tree // by name
	refused []Refused
	trouble string // why there is nothing, or why it may be of yesterday
	err     error  // the same
	away    bool   // the drive is not there: come again
}

// Refused is an origin that is not served.
type Refused struct {
	Origin string
	Reason string
	Help   string // what helps, with the command; "" if there is nothing
	// Unwanted reports that this was decided here (trust --never).
	Unwanted bool
	err      error
}

// tree is one collection of packages and distfiles, at one moment.
type tree struct {
	name      string // the origin's directory; "" for a machine
	title     string
	index     *index // nil: there is none
	trouble   string // why
	packages  shelf
	distfiles shelf
	signed    *signature // nil: nobody signs a PKGDIR
}

// signature is who signed a generation.
type signature struct {
	Signer  manifest.Fingerprint
	User    string
	At      time.Time
	Serial  int64
	Trusted bool
	CHOST   string
	Profile string
	Whole   int                 // packages that the origin has, on the drive or not
	Trees   []layout.Repository // ebuild repositories that the drive carries; they are not served
	Here    []string            // what the packages are for the machine that serves them
}

// shelf is a set of files under names with slashes.
type shelf interface {
	open(name string) (*file, error)
	list(dir string) ([]item, error) // fs.ErrNotExist if there is no such directory
	count() (files int, bytes int64)
}

// item is a line of a listing.
type item struct {
	Name     string
	Dir      bool
	Size     int64
	Modified time.Time // zero: not known
}

// tree finds the tree of a path below the prefix, and the rest of the path. Without one the path is
// about the site.
func (s *site) tree(p string) (*tree, string) {
	first, rest, _ := strings.Cut(p, "/")
	if len(s.trees) == 1 && (first == packagesDir || first == distfilesDir || p == "") {
		return s.trees[0], p
	}
	if p == "" {
		return nil, ""
	}
	i, ok := slices.BinarySearchFunc(s.trees, first, func(t *tree, name string) int {
		return cmp.Compare(t.name, name)
	})
	if !ok || first == "" {
		return nil, p
	}
	return s.trees[i], rest
}

// listIndex lists a directory that the paths of an index make, with size and date from the index.
func listIndex(x *index, dir string) ([]item, error) {
	d := x.dirs[dir]
	if d == nil {
		return nil, fs.ErrNotExist
	}
	items := make([]item, 0, len(d.dirs)+len(d.rows)+2)
	for _, name := range d.dirs {
		items = append(items, item{Name: name, Dir: true})
	}
	for _, i := range d.rows {
		r := &x.rows[i]
		t, _ := r.entry.MTime()
		items = append(items, item{Name: path.Base(r.path), Size: r.size, Modified: unixTime(t)})
	}
	if dir == "" {
		items = append(items, item{Name: indexName, Size: int64(len(x.plain)),
			Modified: x.modified})
		if packed, err := x.gzip(); err == nil {
			items = append(items, item{Name: gzipName, Size: int64(len(packed)),
				Modified: x.modified})
		}
	}
	return items, nil
}

// unixTime is a time out of an index, zero if it has none that could be one.
func unixTime(seconds int64) time.Time {
	if seconds <= 0 || seconds > 253402300799 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// flatLayout is the layout.conf of how distfiles may be asked for (GLEP 75): Portage takes the
// first structure that it supports.
const flatLayout = "[structure]\n0=filename-hash BLAKE2B 8\n1=flat\n"

const layoutName = "layout.conf"

func layoutFile() *file {
	sum := digest.Bytes([]byte(flatLayout))
	return &file{content: strings.NewReader(flatLayout), close: func() error { return nil },
		name: layoutName, size: int64(len(flatLayout)),
		etag: `"` + digest.Hex(sum[:8]) + `"`}
}

// distfileName is the distfile that a path below /distfiles asks for: NAME, or XX/NAME with the
// right XX.
func distfileName(p string) (string, error) {
	if dir, name, ok := strings.Cut(p, "/"); ok {
		sum := digest.Name(name)
		if dir != digest.Hex(sum[:1]) {
			return "", fs.ErrNotExist
		}
		p = name
	}
	if !plain(p) || strings.Contains(p, "/") {
		return "", fs.ErrNotExist
	}
	return p, nil
}

const (
	packagesDir  = "packages"
	distfilesDir = "distfiles"
)
