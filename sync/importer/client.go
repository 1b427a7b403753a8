package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/distdir"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/state"
)

// client is this machine's PKGDIR and DISTDIR, with what is remembered of the digests in them. A
// directory that does not exist yet is nil: everything is absent there.
type client struct {
	pkgdir    *pkgdir.Dir
	distdir   *distdir.Dir
	packages  *state.Cache
	distfiles *state.Cache
	locks     map[payload.Kind]*durable.Lock // held until the end
	links     string                         // DISTDIR: links in it are followed, as Portage does
	blocked   map[payload.Kind]string        // why nothing can be brought in, "" if it can
	w         progress.Watcher
}

func (c *client) close() {
	for _, l := range c.locks {
		l.Release() // the file is unlinked or it is not; the lock itself ends with the process
	}
	if c.pkgdir != nil {
		c.pkgdir.Close()
	}
	if c.distdir != nil {
		c.distdir.Close()
	}
}

// store is the directory of a kind; nil if it is not there.
func (c *client) store(kind payload.Kind) *durable.Store {
	switch {
	case kind == payload.Package && c.pkgdir != nil:
		return c.pkgdir.Store
	case kind == payload.Distfile && c.distdir != nil:
		return c.distdir.Store
	}
	return nil
}

// has reports whether the directory of a kind is there.
func (c *client) has(kind payload.Kind) bool { return c.store(kind) != nil }

// clearStaging removes everything that is staged.
func (c *client) clearStaging() error {
	var errs []error
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		if s := c.store(kind); s != nil && c.blocked[kind] == "" {
			errs = append(errs, s.Staging().Clear())
		}
	}
	return errors.Join(errs...)
}

// statFile is a place on the client and its status.
type statFile struct {
	clientFile
	info fs.FileInfo
}

// isLink reports whether a symbolic link has the place: a person's, or Portage's to a file of
// PORTAGE_RO_DISTDIRS. It is no origin's.
func (l statFile) isLink() bool { return l.info != nil && l.info.Mode()&fs.ModeSymlink != 0 }

// lookUp finds out what lies at a place. Contents are read only if their size could make them one
// of the wanted, and only if they are not remembered.
func (c *client) lookUp(ctx context.Context, kind payload.Kind, local string,
	sizes ...int64) (statFile, error) {
	l := statFile{clientFile: clientFile{Local: local}}
	fi, err := c.lstat(kind, local)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	// a directory on the way is a link that leads out, or none; the name is too long
	case err != nil:
		return l, &leftOutError{reason: "its place here cannot be looked at: " + fault.Bare(err).Error()}
	}
	l.Exists, l.info, l.Size = true, fi, fi.Size()
	if l.isLink() && kind == payload.Distfile {
		return c.lookUpLink(ctx, l, sizes)
	}
	if !fi.Mode().IsRegular() {
		return l, nil
	}
	for _, size := range sizes {
		if size == fi.Size() {
			l.Sum, err = c.digestOf(ctx, kind, local, fi)
			return l, err
		}
	}
	return l, nil
}

// lookUpLink finds out what a link in DISTDIR leads to, wherever that lies: Portage follows it. One
// that leads to nothing is no file, and may be replaced, as Portage itself does. Nothing is
// remembered of the contents, which can change while the link stays as it is.
func (c *client) lookUpLink(ctx context.Context, l statFile, sizes []int64) (statFile, error) {
	name := filepath.Join(c.links, l.Local)
	fi, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		l.clientFile = clientFile{Local: l.Local}
		return l, nil
	}
	if err != nil || !fi.Mode().IsRegular() {
		return l, nil
	}
	if l.Size = fi.Size(); !slices.Contains(sizes, l.Size) {
		return l, nil
	}
	c.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: l.Local})
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return l, nil // it cannot be told from any other file
	}
	defer f.Close()
	sums, err := digest.Reader(ctx, io.LimitReader(f, l.Size+1), digest.BLAKE2B, nil)
	if ctx.Err() != nil {
		return l, context.Cause(ctx)
	}
	if err == nil && durable.CheckUnchanged(f, fi) == nil {
		l.Sum = sums.Blake2b
	}
	return l, nil
}

func (c *client) lstat(kind payload.Kind, local string) (fs.FileInfo, error) {
	switch {
	case kind == payload.Package && c.pkgdir != nil:
		return c.pkgdir.Lstat(local)
	case kind == payload.Distfile && c.distdir != nil:
		return c.distdir.Lstat(local)
	}
	return nil, fs.ErrNotExist
}

func (c *client) cache(kind payload.Kind) *state.Cache {
	if kind == payload.Package {
		return c.packages
	}
	return c.distfiles
}

// digestOf returns the BLAKE2B of a local file, from memory or by reading it.
func (c *client) digestOf(ctx context.Context, kind payload.Kind, local string,
	fi fs.FileInfo) (manifest.Digest, error) {
	cache := c.cache(kind)
	if sums, set, ok := cache.Lookup(local, fi); ok && set&digest.BLAKE2B != 0 {
		return sums.Blake2b, nil
	}
	c.w.Tell(progress.Event{Phase: progress.PhaseCheck, Path: local})
	f, now, err := c.store(kind).OpenFile(local)
	if err != nil {
		// what cannot be read is not known to be anybody's: it is local
		return manifest.Digest{}, nil
	}
	defer f.Close()
	sums, err := digest.Reader(ctx, f, digest.BLAKE2B, nil)
	if ctx.Err() != nil {
		return manifest.Digest{}, context.Cause(ctx)
	}
	if err != nil || durable.CheckUnchanged(f, now) != nil {
		return manifest.Digest{}, nil
	}
	cache.Put(local, now, sums, digest.BLAKE2B)
	return sums.Blake2b, nil
}

// checkEntry refuses an entry that cannot be the package's: what the index states is what Portage
// compares the file with.
func checkEntry(e pkgindex.Entry, ok bool, signed int64) error {
	size, known := e.Size()
	mtime, hasTime := e.MTime()
	switch {
	case !ok:
		return &leftOutError{reason: "the catalogue has no entry for it"}
	case !known || size != signed:
		return &leftOutError{reason: "the catalogue gives another size"}
	case hasTime && !pkgindex.ValidMTime(mtime):
		return &leftOutError{reason: fmt.Sprintf("the catalogue gives the impossible MTIME %d",
			mtime)}
	}
	return nil
}

// elsewhere returns local if it is not the path that one would expect.
func elsewhere(local, path string) string {
	if local == path {
		return ""
	}
	return local
}
