package pkgdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"

	"pkgsneak/sync/pkgindex"
)

// survey is a PKGDIR at one moment: files, index, and how they fit.
type survey struct {
	scan  *Scan
	index *pkgindex.Index // empty if there is none, or none that Portage would read
	// indexName and gzName are the files behind the links.
	indexName, gzName string
	indexTime, gzTime int64 // modification times in Unix seconds; absent if not there
	usable            bool  // there is an index that Portage reads

	// believed are the entries in the order of the index, each for its file; zero where an entry
	// is not believed.
	believed []pkgindex.Entry
	moved    int
	todo     []File // files without a believed entry
	doubtful []File // files with an entry that has no repository or CHOST; believed unless strict
}

const absent = -1 << 63

// survey looks at everything and reads no package.
func (d *Dir) survey(ctx context.Context, b belief) (*survey, error) {
	s := &survey{index: &pkgindex.Index{}, indexTime: absent, gzTime: absent}
	var err error
	if s.scan, err = d.Scan(ctx); err != nil {
		return nil, err
	}
	if s.indexName, s.indexTime, err = d.stamp(indexName); err != nil {
		return nil, err
	}
	if s.gzName, s.gzTime, err = d.stamp(indexName + gzSuffix); err != nil {
		return nil, err
	}
	if s.indexTime != absent {
		if s.index, err = d.readOrForget(s.indexName); err != nil {
			return nil, err
		}
		if s.usable = s.index.Header.Supported(); !s.usable {
			if err := d.checkForeign(s.indexName); err != nil {
				return nil, err
			}
		}
	}
	if !s.usable {
		// To Portage an index of another version is no index. Only its time is kept, as clients
		// tell that.
		t, _ := s.index.Timestamp()
		s.index = &pkgindex.Index{Remarks: s.index.Remarks}
		s.index.SetTimestamp(t)
	}
	s.match(b)
	return s, nil
}

// readOrForget reads the index; one that passes every limit is as good as none, since the packages
// report it all again.
func (d *Dir) readOrForget(name string) (*pkgindex.Index, error) {
	x, err := d.readIndex(name, nil)
	var format *pkgindex.FormatError
	if errors.As(err, &format) {
		return &pkgindex.Index{Remarks: []pkgindex.Remark{{Line: format.Line,
			Reason: format.Reason + ": made anew from the packages", Dropped: true, Count: 1}}}, nil
	}
	return x, err
}

// belief is which entries are believed.
type belief int

const (
	// doubtfulToo believes an entry without repository or CHOST. Many packages have no repository;
	// to read them in vain each time would cost more than all the rest.
	doubtfulToo belief = iota
	strict             // as Portage when it writes
	nothing            // to read everything
)

// stamp returns the file that an index name stands for, and its modification time.
func (d *Dir) stamp(name string) (file string, unix int64, err error) {
	if file, err = d.indexFile(name); err != nil {
		return "", 0, err
	}
	fi, err := d.root.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return file, absent, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("looking at %q: %w", path.Join(d.Path(), file), err)
	}
	return file, fi.ModTime().Unix(), nil
}

// claim is an entry's statements about its file, read once.
type claim struct {
	path        string
	size, mtime int64
	believable  bool // has what is needed to compare it with a file
	complete    bool // and a repository and a CHOST
	used        bool
	next        int // the next claim with the same path, or -1
}

func newClaim(e pkgindex.Entry, h pkgindex.Header) claim {
	c := claim{next: -1}
	var size, mtime, md5, chost, repo string
	for key, value := range e.All() {
		switch key {
		case "PATH":
			c.path = value
		case "SIZE":
			size = value
		case "MTIME":
			mtime = value
		case "MD5":
			md5 = value
		case "CHOST":
			chost = value
		case "REPO":
			repo = value
		}
	}
	if c.path == "" {
		c.path = e.Path()
	}
	var err, err2 error
	c.size, err = strconv.ParseInt(size, 10, 64)
	c.mtime, err2 = strconv.ParseInt(mtime, 10, 64)
	c.believable = err == nil && err2 == nil && md5 != ""
	c.complete = (chost != "" || h.Get("CHOST") != "") && (repo != "" || h.Get("REPO") != "")
	return c
}

// match finds the entry of each file.
func (s *survey) match(b belief) {
	entries := s.index.Entries
	s.believed = make([]pkgindex.Entry, len(entries))
	if b == nothing {
		s.todo = s.scan.Files
		return
	}
	claims := make([]claim, len(entries))
	byPath := make(map[string]int, len(entries))
	for i, e := range entries {
		claims[i] = newClaim(e, s.index.Header)
		if b == strict && !claims[i].complete {
			claims[i].believable = false
		}
		if first, ok := byPath[claims[i].path]; ok {
			claims[i].next = first
		}
		byPath[claims[i].path] = i
	}
	for _, f := range s.scan.Files {
		first, ok := byPath[f.Path]
		if !ok {
			first = -1
		}
		if i := s.find(claims, first, f); i >= 0 {
			s.believed[i] = entries[i]
			if !claims[i].complete {
				s.doubtful = append(s.doubtful, f)
			}
			continue
		}
		s.todo = append(s.todo, f)
	}
	if len(s.todo) > 0 {
		s.matchMoved(claims)
	}
}

// find returns the claim in a chain that is believed for f, or -1.
func (s *survey) find(claims []claim, i int, f File) int {
	for ; i >= 0; i = claims[i].next {
		c := &claims[i]
		if c.believable && !c.used && c.size == f.Info.Size() &&
			c.mtime == f.Info.ModTime().Unix() && fits(s.index.Entries[i], f) {
			c.used = true
			return i
		}
	}
	return -1
}

// fits reports whether the package of an entry may lie at a file's path.
func fits(e pkgindex.Entry, f File) bool {
	cat, pf := path.Split(e.CPV())
	return pf == f.Name.PF && (f.Name.InAll || cat == f.Name.Category+"/")
}

// matchMoved finds, among the files that are left, those that were moved inside PKGDIR: there is an
// entry with their base name that no file had.
func (s *survey) matchMoved(claims []claim) {
	byBase := map[string]int{}
	for i := range claims {
		if claims[i].next = -1; claims[i].used {
			continue
		}
		base := path.Base(claims[i].path)
		if first, ok := byBase[base]; ok {
			claims[i].next = first
		}
		byBase[base] = i
	}
	if len(byBase) == 0 {
		return
	}
	left := s.todo[:0]
	for _, f := range s.todo {
		if first, ok := byBase[path.Base(f.Path)]; ok {
			if i := s.find(claims, first, f); i >= 0 {
				if e, err := s.index.Entries[i].With("PATH", f.Path); err == nil {
					s.believed[i] = e
					s.moved++
					continue
				}
			}
		}
		left = append(left, f)
	}
	s.todo = left
}

// gzWrong reports what is wrong with Packages.gz, "" if it is as it should be.
func (s *survey) gzWrong(compress *bool) string {
	there := s.gzTime != absent
	want := there
	if compress != nil {
		want = *compress
	}
	switch {
	case want && !there:
		return "missing index file: " + indexName + gzSuffix
	case !want && there:
		return "compressed index exists but 'compress-index' feature is disabled: " +
			indexName + gzSuffix
	case want && s.gzTime != s.indexTime:
		return fmt.Sprintf("uncompressed index timestamp '%d' is not equal to compressed index timestamp '%d'", s.indexTime, s.gzTime)
	}
	return ""
}
