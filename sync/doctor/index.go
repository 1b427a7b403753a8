package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
)

// The limits, in files and in bytes, of what is read to be sure about an index; more differences
// than that are told as they look.
const (
	mostRead      = 50
	mostReadBytes = 512 << 20
)

// indexState tells whether the index matches PKGDIR.
func (e *commonRules) indexState(ctx context.Context) error {
	if e.dir == nil {
		return e.leftOut(ctx, nil)
	}
	scan, err := e.dir.Scan(ctx)
	if err == nil {
		err = e.dir.FindCopies(ctx, scan, nil)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		e.unknown("packages in %q: %v", e.m.PKGDIR, err)
		return nil
	}
	missed := e.dir.Missed(scan, e.listed())
	links := e.behindLinks(missed)
	if err := e.leftOut(ctx, missed); err != nil {
		return err
	}
	if len(scan.Files) == 0 && e.index == nil {
		return nil
	}
	f := Finding{Topic: "index", Weight: Wrong,
		Why: "emaint reads what is missing; emerge with pkgdir-index-trusted (the default) sees what is in the index and nothing else",
		Fix: []Fix{run("pkgsneak index")}}
	if len(links) > 0 {
		f.Fix = []Fix{{Do: "not before the links in PKGDIR are directories, because it drops the entries behind them: run", Lines: []string{"pkgsneak index"}}}
	}
	if e.trusts() {
		f.Weight = Broken
	}
	switch {
	case errors.Is(e.indexErr, fs.ErrNotExist):
		f.What = fmt.Sprintf("%q has %s and no index", e.m.PKGDIR,
			plural(len(scan.Files), "package"))
	case errors.Is(e.indexErr, fs.ErrPermission):
		e.unknown("the index: %v", e.indexErr)
		return nil
	case e.indexErr != nil:
		f.What = fmt.Sprintf("the index of %q cannot be read: %v", e.m.PKGDIR, e.indexErr)
	case !e.index.Header.Supported():
		f.What = fmt.Sprintf("the index of %q has no VERSION: 0: Portage takes it for empty",
			e.m.PKGDIR)
	default:
		return e.indexFits(ctx, scan, missed, links, f)
	}
	e.tell(f)
	return nil
}

// trusts tells whether emerge believes the index without looking: the default since Portage 3.0.52.
func (e *commonRules) trusts() bool {
	on, known := e.s.HasFeature("pkgdir-index-trusted")
	return on || !known
}

// listed are the paths of the index.
func (e *commonRules) listed() iter.Seq[string] {
	return func(yield func(string) bool) {
		if e.index == nil || !e.index.Header.Supported() {
			return
		}
		for _, entry := range e.index.Entries {
			if !yield(entry.Path()) {
				return
			}
		}
	}
}

// indexFits compares the index with the files. Only if few files differ are they read, as emaint
// would. Entries behind links are told elsewhere.
func (e *commonRules) indexFits(ctx context.Context, scan *pkgdir.Scan, missed []pkgdir.Missed,
	links []string, f Finding) error {
	missing, stale, bytes := compareIndex(scan, e.index)
	if len(missing) <= mostRead && bytes <= mostReadBytes {
		o := pkgdir.Options{Now: e.now}
		if on, known := e.s.HasFeature("compress-index"); known {
			o.CompressIndex = &on
		}
		check, err := e.dir.Check(ctx, o)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			e.unknown("the index: %v", err)
			return nil
		}
		e.unreadable(check.Invalid, missed)
		missing, stale = paths(check.Missing), paths(check.Stale)
		if len(missing)+len(stale) == 0 && len(check.Index) > 0 {
			f.Weight, f.What, f.Why = Note, strings.Join(check.Index,
				"; "), "emaint complains; emerge does not mind"
			if _, err := e.dir.Lstat("Packages.gz"); err == nil {
				f.Weight, f.Why = Wrong,
					"a machine that uses this PKGDIR as binhost reads Packages.gz first, and that is another one"
			}
			e.tell(f)
			return nil
		}
	}
	stale = withoutLinked(stale, links)
	switch {
	case len(missing) > 0 && len(stale) > 0:
		f.What = fmt.Sprintf("%s in %q not in the index as they are, and %s without a file",
			plural(len(missing), "package"), e.m.PKGDIR, entries(len(stale)))
	case len(missing) > 0:
		f.What = fmt.Sprintf("%s in %q not in the index as they are",
			plural(len(missing), "package"), e.m.PKGDIR)
	case len(stale) > 0:
		f.What, f.Weight = fmt.Sprintf("the index of %q has %s without a file", e.m.PKGDIR,
			entries(len(stale))), Wrong
		f.Why = "emerge plans with packages that are gone, and stops when it needs one"
	default:
		return nil
	}
	f.Names = append(missing, stale...)
	e.tell(f)
	return nil
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func paths(list []pkgdir.Problem) []string {
	var p []string
	for _, x := range list {
		p = append(p, x.Path)
	}
	return p
}

// compareIndex lists files that no entry describes by size and time, the entries whose file is
// gone, and the bytes of the former.
func compareIndex(scan *pkgdir.Scan, index *pkgindex.Index) (missing, stale []string, bytes int64) {
	byPath := make(map[string]pkgindex.Entry, len(index.Entries))
	for _, e := range index.Entries {
		byPath[e.Path()] = e
	}
	type alike struct { // to Portage one package, under whatever names
		base        string
		size, mtime int64
	}
	listed := make(map[alike]bool, len(index.Entries))
	for _, e := range index.Entries {
		size, _ := e.Size()
		mtime, _ := e.MTime()
		listed[alike{path.Base(e.Path()), size, mtime}] = true
	}
	for _, f := range scan.Files {
		e, ok := byPath[f.Path]
		if !ok && listed[alike{path.Base(f.Path), f.Info.Size(), f.Info.ModTime().Unix()}] {
			continue // moved, or a duplicate: told as an entry without a file, or not at all
		}
		delete(byPath, f.Path)
		size, _ := e.Size()
		mtime, _ := e.MTime()
		if ok && size == f.Info.Size() && mtime == f.Info.ModTime().Unix() {
			continue
		}
		missing = append(missing, f.Path)
		bytes += f.Info.Size()
	}
	for p := range byPath {
		stale = append(stale, p)
	}
	slices.Sort(stale)
	return missing, stale, bytes
}
