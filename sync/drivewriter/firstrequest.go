package drivewriter

import (
	"errors"
	"io"
	"io/fs"
	"path"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
)

// A first request that was pulled may have left names on the medium whose clusters are free there,
// for the next file to get. A check of the file system then cuts off one of the two, and
// on exFAT, which looks for no chain, a directory that was left shows the contents of another file,
// and the next name that is made in it goes into that file. So all that such a request left goes
// before anything is allocated, by an export as by a request, and nothing is ever made in it.

// pulledRequest is what a first request left whose drive was pulled.
type pulledRequest struct {
	dir   string   // of the client
	files []string // those of pairs first
	pairs bool     // there is a directory of pairs
}

// findPulled finds out whether a client's directory holds nothing but what a first request left
// that was pulled: neither copy of the list was written whole, and everything has a name of the
// layout. In the client's own directory the copies do not matter. It is nil if something else lies
// there.
func findPulled(d *drive.Drive, name string, own bool) (*pulledRequest, error) {
	if !own && !d.ClientUnfinished(name) {
		return nil, nil
	}
	p := &pulledRequest{dir: drive.ClientDir(name)}
	ours, err := p.collect(d, ".")
	if err == nil && ours && p.pairs {
		ours, err = p.collect(d, layout.GenerationDir)
	}
	if err != nil || !ours {
		return nil, err
	}
	return p, nil
}

// collect notes the files in a directory below the client's; false if somebody else's are there.
func (p *pulledRequest) collect(d *drive.Drive, below string) (ours bool, err error) {
	dir := path.Join(p.dir, below)
	f, err := durable.OpenDir(d.Root(), dir)
	if err != nil {
		return false, d.PullDamage("opening", dir, err)
	}
	defer f.Close()
	const most = 1024
	entries, err := f.ReadDir(most)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, d.PullDamage("reading the directory", dir, err)
	}
	var files []string
	for _, e := range entries {
		name := path.Join(below, e.Name())
		switch {
		case e.IsDir() && name == layout.GenerationDir:
			p.pairs = true
		case e.Type().IsRegular() && layout.OfRequest(name):
			files = append(files, path.Join(dir, e.Name()))
		default:
			return false, nil
		}
	}
	p.files = append(files, p.files...)
	return len(entries) < most, nil
}

// remove removes it, and makes that durable.
func (p *pulledRequest) remove(s *session) error {
	root := s.d.Root()
	for _, file := range p.files {
		if err := s.remove("unlink", root, file); err != nil {
			return err
		}
	}
	dirs := []string{p.dir}
	if p.pairs {
		dirs = []string{path.Join(p.dir, layout.GenerationDir), p.dir}
	}
	for _, dir := range dirs {
		if err := s.syncDir(dir); err != nil {
			return err
		}
		if err := s.remove("rmdir", root, dir); err != nil {
			return err
		}
	}
	return s.syncDir(layout.ClientsDir)
}

// removePulledRequests removes what first requests left whose drives were pulled, but for what this
// process may not remove: where files have owners, no clusters are shared. name is the directory of
// the client that is about to be written, "" for none, which has to go; with own it has lost what
// was there. Nothing may have been allocated.
func removePulledRequests(d *drive.Drive, s *session, name string, own bool) error {
	names, _, err := d.ClientNames()
	if err != nil {
		return d.PullDamage("reading", layout.ClientsDir, err)
	}
	for _, n := range names {
		p, err := findPulled(d, n, own && n == name)
		if err == nil && p != nil {
			err = p.remove(s)
		}
		if err != nil && (n == name || !errors.Is(err, fs.ErrPermission)) {
			return d.PullDamage("removing", drive.ClientDir(n), err)
		}
	}
	return nil
}
