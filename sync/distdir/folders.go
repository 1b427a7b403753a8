package distdir

import (
	"context"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/listing"
)

const (
	layoutName  = "layout.conf"
	maxLayout   = 64 << 10 // bytes of layout.conf that are read
	maxDepth    = 4        // folders below each other: Portage's mirrors have one or two
	inAFolder   = "in a folder of a mirror's tree (layout.conf), where emerge does not look: DISTDIR is flat"
	hashDigits  = "0123456789abcdef"
	longestHash = 32 // digits in the name of a folder
)

// addFolders names what lies in the folders of a mirror's tree.
func (s *Scan) addFolders(ctx context.Context, d *Dir, fd int, names []string) error {
	names = slices.DeleteFunc(names, func(name string) bool { return !isBucket(name) })
	if len(names) == 0 {
		return nil
	}
	if !d.isTree() {
		for _, name := range names {
			s.Hidden = append(s.Hidden, Problem{Name: name, Reason: Folder})
		}
		return nil
	}
	w := folders{scan: s}
	for _, name := range names {
		if err := w.enter(ctx, fd, name, name, 1); err != nil {
			return err
		}
	}
	return nil
}

// isBucket reports whether a folder has the name of one in a mirror's tree: digits of a hash.
func isBucket(name string) bool {
	return len(name) <= longestHash && strings.Trim(name, hashDigits) == ""
}

// isTree reports whether layout.conf tells of folders by hash (GLEP 75).
func (d *Dir) isTree() bool {
	f, _, err := d.OpenFile(layoutName)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLayout))
	return err == nil && (strings.Contains(string(text), "filename-hash") ||
		strings.Contains(string(text), "content-hash"))
}

// folders is a walk through the folders of a tree.
type folders struct {
	scan  *Scan
	names int
	dirs  listing.Reader
}

func (w *folders) enter(ctx context.Context, parent int, name, path string, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fd, err := listing.Open(parent, name, unix.O_DIRECTORY)
	if err != nil {
		return nil // what cannot be read is nothing that could be missed
	}
	defer unix.Close(fd)
	found, err := w.dirs.Names(fd, MaxNames-w.names)
	if err != nil {
		return err
	}
	w.names += len(found)
	for _, e := range found {
		if e.Lstat(fd) != nil {
			continue
		}
		below := path + "/" + e.Name()
		switch {
		case e.IsDir() && depth < maxDepth && isBucket(e.Name()):
			if err := w.enter(ctx, fd, e.Name(), below, depth+1); err != nil {
				return err
			}
		case e.IsRegular() && e.Size() > 0 && CheckName(e.Name()) == nil:
			w.scan.Ignored = append(w.scan.Ignored, Problem{Name: below, Reason: inAFolder,
				Size: e.Size()})
		}
	}
	return nil
}
