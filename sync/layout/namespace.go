package layout

import "path"

// Namespace is which names of an origin's directory are taken, without
// regard to case, and how each directory is spelled on the drive.
type Namespace struct {
	taken map[string]entry // by folded path
}

type entry struct {
	spelling string
	dir      bool
}

// Place is what stands at a path.
type Place uint8

const (
	Vacant  Place = iota // a file can be made there
	Taken                // something has that name
	Blocked              // a file has the name of a directory above it
)

// Take marks a file and the directories above it.
func (s *Namespace) Take(file string) {
	s.mark(file, false)
	s.TakeDir(path.Dir(file))
}

// TakeDir marks a directory and those above it.
func (s *Namespace) TakeDir(dir string) {
	for ; dir != "."; dir = path.Dir(dir) {
		s.mark(dir, true)
	}
}

func (s *Namespace) mark(p string, dir bool) {
	if s.taken == nil {
		s.taken = make(map[string]entry)
	}
	key := FoldName(p)
	if _, ok := s.taken[key]; !ok {
		s.taken[key] = entry{spelling: p, dir: dir}
	}
}

// Lookup reports whether a file can be made at p, and returns p with its
// directories spelled as they are on the drive.
func (s *Namespace) Lookup(p string) (string, Place) {
	dir, ok := s.spelled(path.Dir(p))
	if !ok {
		return "", Blocked
	}
	if _, found := s.taken[FoldName(p)]; found {
		return "", Taken
	}
	return path.Join(dir, path.Base(p)), Vacant
}

// spelled returns dir as the drive spells it, as far as it is there; not ok if
// a file is in the way.
func (s *Namespace) spelled(dir string) (string, bool) {
	if dir == "." {
		return "", true
	}
	if known, found := s.taken[FoldName(dir)]; found {
		return known.spelling, known.dir
	}
	above, ok := s.spelled(path.Dir(dir))
	return path.Join(above, path.Base(dir)), ok
}

// Has reports whether something has the name. Nothing has the empty one.
func (s *Namespace) Has(p string) bool {
	_, found := s.taken[FoldName(p)]
	return found && p != ""
}

// HasDir reports whether a directory is there.
func (s *Namespace) HasDir(dir string) bool {
	known, found := s.taken[FoldName(dir)]
	return found && known.dir
}
