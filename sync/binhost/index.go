package binhost

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/pkgindex"
)

const (
	indexName = "Packages"
	gzipName  = "Packages.gz"
)

// index is one generation of a package index, and never changes: whoever has it sees the same
// Packages, Packages.gz, listings and pages.
type index struct {
	plain    []byte
	gzip     func() ([]byte, error) // made of plain when it is first asked for
	modified time.Time              // TIMESTAMP
	sum      digest.Blake2b         // of plain
	header   pkgindex.Header
	remarks  int // how many things were odd

	rows       []row                // sorted by name, the newest version first
	paths      map[string]int       // PATH to row
	dirs       map[string]*indexDir // "" is the top
	categories []category
	bytes      int64 // of all packages

	withoutFile int // entries that were taken out because PKGDIR has no file for them
}

// row is a package as the pages show it.
type row struct {
	entry    pkgindex.Entry
	category string
	name     string // without category and version
	version  string
	path     string
	size     int64
	built    int64 // Unix seconds
	fold     string
}

type category struct {
	Name  string
	Count int
}

// indexDir is a directory that the paths of an index make.
type indexDir struct {
	dirs []string // names of directories, sorted
	rows []int
}

// newIndex makes an index of its text. modified is the time of one that has no TIMESTAMP.
func newIndex(plain []byte, modified time.Time) (*index, error) {
	read, err := pkgindex.Read(bytes.NewReader(plain))
	if err != nil {
		return nil, err
	}
	x := &index{plain: plain, modified: modified, sum: digest.Bytes(plain), header: read.Header,
		remarks: len(read.Remarks)}
	stamp, ok := read.Timestamp()
	if ok {
		x.modified = time.Unix(stamp, 0)
	}
	x.gzip = sync.OnceValues(func() ([]byte, error) {
		var b bytes.Buffer
		err := pkgindex.WriteGzip(&b, func(w io.Writer) error {
			_, err := w.Write(plain)
			return err
		}, x.modified.Unix())
		return b.Bytes(), err
	})
	x.addRows(read.Entries)
	x.addDirs()
	return x, nil
}

func (x *index) addRows(entries []pkgindex.Entry) {
	x.rows = make([]row, 0, len(entries))
	for _, e := range entries {
		r := row{entry: e, path: e.Path(), fold: strings.ToLower(e.CPV())}
		if c, err := cpv.Parse(e.CPV()); err == nil {
			r.category, r.name, r.version = c.Category, c.PN, c.Version
		} else {
			r.category, r.name = path.Split(e.CPV())
			r.category = strings.TrimSuffix(r.category, "/")
		}
		r.size, _ = e.Size()
		if r.built, _ = e.BuildTime(); r.built == 0 {
			r.built, _ = e.MTime()
		}
		x.rows = append(x.rows, r)
	}
	slices.SortStableFunc(x.rows, compareRows)
	counts := map[string]int{}
	x.paths = make(map[string]int, len(x.rows))
	for i := range x.rows {
		r := &x.rows[i]
		counts[r.category]++
		x.bytes += max(r.size, 0)
		if visible(r.path) {
			x.paths[r.path] = i
		}
	}
	for name, n := range counts {
		x.categories = append(x.categories, category{name, n})
	}
	slices.SortFunc(x.categories, func(a, b category) int {
		return strings.Compare(a.Name, b.Name)
	})
}

func compareRows(a, b row) int {
	return cmp.Or(strings.Compare(a.category, b.category), strings.Compare(a.name, b.name),
		cpv.CompareVersions(b.version, a.version),
		cmp.Compare(b.built, a.built), strings.Compare(a.path, b.path))
}

// addDirs makes the listings out of the paths.
func (x *index) addDirs() {
	x.dirs = map[string]*indexDir{"": {}}
	for p, i := range x.paths {
		dir := parent(p)
		x.mkdir(dir)
		x.dirs[dir].rows = append(x.dirs[dir].rows, i)
	}
	for _, d := range x.dirs {
		slices.Sort(d.dirs)
		slices.SortFunc(d.rows, func(a, b int) int {
			return strings.Compare(x.rows[a].path, x.rows[b].path)
		})
	}
}

func (x *index) mkdir(dir string) {
	if x.dirs[dir] != nil {
		return
	}
	x.dirs[dir] = &indexDir{}
	up := parent(dir)
	x.mkdir(up)
	x.dirs[up].dirs = append(x.dirs[up].dirs, path.Base(dir))
}

// parent is the directory of a path, "" for the top.
func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// plain tells whether a path stays below its tree and nothing in it begins with a dot.
func plain(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part[0] == '.' {
			return false
		}
	}
	return !strings.ContainsRune(p, 0)
}

// visible tells whether a path of an index may be served: it is plain, and none of the index's own
// names.
func visible(p string) bool { return plain(p) && p != indexName && p != gzipName }

// file gives Packages or Packages.gz.
func (x *index) file(name string) (*file, error) {
	data, etag := x.plain, digest.Hex(x.sum[:16])
	if name == gzipName {
		var err error
		if data, err = x.gzip(); err != nil {
			return nil, fmt.Errorf("compressing the index: %w", err)
		}
		etag += "-gz"
	}
	return &file{content: bytes.NewReader(data), close: func() error { return nil }, name: name,
		size:     int64(len(data)),
		modified: x.modified, etag: strconv.Quote(etag)}, nil
}
