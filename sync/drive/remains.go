package drive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/layout"
)

// Remains are the payload files in the directory of an origin of ours whose last generation cannot
// be read: its record is damaged, both copies of its manifest are, or its key was revoked since. No
// list tells what they are, but what they hold can be compared with what an export would write.
type Remains struct {
	Dir string // the origin's, below layout.TreeDir
	Why error  // what cannot be read
	// sorted by path; the digest is that of the signed list, zero where there is none
	Files []manifest.File

	drive *Drive
}

// FindRemains looks for them; nil where the directory holds no generation of ours, or a whole one.
func FindRemains(d *Drive, dir string, ring manifest.Ring, now time.Time) (*Remains, error) {
	if info, err := d.root.Lstat(dir); errors.Is(err, fs.ErrNotExist) && d.Present() ||
		err == nil && !info.IsDir() {
		return nil, nil
	}
	as, best, other, err := d.StandingOf(dir, ring, now)
	if err != nil || as != Committed && as != Broken {
		return nil, err
	}
	r := &Remains{Dir: dir, drive: d, Why: d.worse(dir, best, other)}
	if as == Committed {
		g, err := d.FromCopies(dir, best, other)
		if err == nil {
			g.Close()
			return nil, nil
		}
		r.Why = err
	}
	if err := r.walk(best.Signed); err != nil {
		return nil, err
	}
	slices.SortFunc(r.Files, func(a, b manifest.File) int {
		return strings.Compare(a.Path, b.Path)
	})
	return r, nil
}

// walk finds the files of the layout; with a list, only what it has, in the size that it states.
func (r *Remains) walk(list *manifest.Signed) error {
	root, err := r.drive.root.OpenRoot(r.Dir)
	if err != nil {
		return r.drive.Classify("opening", r.Dir, err)
	}
	defer root.Close()
	// A directory that cannot be read is left to the session, which finds out and tells what to do.
	walk := Walk{Drive: r.drive.Mounted, Root: root, Status: true, Visit: func(e Found) error {
		if e.Below && !layout.OfLayout(e.Path) {
			return fs.SkipDir
		}
		if !e.IsRegular() || !layout.MadeHere(e.Path) {
			return nil
		}
		f := manifest.File{Path: e.Path, Size: e.Size()}
		if list != nil {
			if listed, ok := list.Find(e.Path); !ok || listed.Size != f.Size {
				return nil
			}
			f, _ = list.Find(e.Path)
		}
		if _, _, payload := layout.KindOf(e.Path); payload {
			r.Files = append(r.Files, f)
		}
		return nil
	}, Unreadable: unlessVanished}
	return walk.Run(context.Background())
}

// Read reads files one after the other from the medium itself and returns them with their digests,
// and the digest of all of them joined.
func (r *Remains) Read(ctx context.Context, names []string) (files []manifest.File,
	whole manifest.Digest, err error) {
	root, err := r.drive.root.OpenRoot(r.Dir)
	if err != nil {
		return nil, whole, r.drive.Classify("opening", r.Dir, err)
	}
	defer root.Close()
	joined, buf := digest.New(digest.BLAKE2B), AlignedBuffer()
	for _, name := range names {
		f, err := OpenMedium(root, name)
		if err != nil {
			return nil, whole, r.drive.Classify("reading", name, err)
		}
		sums, err := digest.Reader(ctx, io.TeeReader(f, joined), digest.BLAKE2B, buf)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, whole, r.drive.Classify("reading", name, err)
		}
		files = append(files, manifest.File{Path: name, Size: sums.Size, Sum: sums.Blake2b})
	}
	return files, joined.Sum().Blake2b, nil
}
