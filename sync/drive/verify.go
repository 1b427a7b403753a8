package drive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pipeline"
)

// VerifyOptions states how much at once. The zero value works.
type VerifyOptions struct {
	Workers int // files read at the same time; 0: 2
	// is passed the bytes that were read; called from several goroutines
	Progress func(path string, bytes int64)
	// Only are listed files, below ORIGIN: nothing but these, and the other parts of theirs, is
	// looked at, and nothing else is reported. nil: everything.
	Only map[string]bool
}

// Bad is a file that is not what was signed.
type Bad struct {
	Path   string // below ORIGIN
	Reason string
	// Forbidden: nothing is known of it but that this user may not read it
	Forbidden bool
}

// Report is what Verify found, in disjoint lists, each sorted by path.
type Report struct {
	Files int
	Bytes int64
	Bad   []Bad // damaged, missing, unreadable
	// derived files that are not of this generation; the next export renews them
	Stale []string
	// files that the list does not have, and nobody uses; the next export removes them
	Undeclared []string
	// Unreadable are directories that could not be looked through: most likely
	// left by a pull. Nothing that the list has is in them, or it is in Bad.
	Unreadable []Bad
	Copies     []CopyState // that are not valid
	More       bool        // there are more undeclared files than were listed
}

// Verify reads every listed file back, from the medium where the kernel lets
// it, and compares; at the end it looks for files that the list does not have.
// The error is ctx's, or a *GoneError; damage is in the report.
func (g *Generation) Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Progress == nil {
		o.Progress = func(string, int64) {}
	}
	v := &verifier{g: g, o: o}
	if err := v.readAll(ctx); err != nil {
		return nil, err
	}
	if o.Only != nil {
		v.sort()
		return &v.report, nil
	}
	if err := v.entries(); err != nil {
		return nil, err
	}
	if g.Other.Err != nil {
		v.report.Copies = append(v.report.Copies, g.Other)
	}
	if err := v.undeclared(ctx); err != nil {
		return nil, err
	}
	v.sort()
	return &v.report, nil
}

func (v *verifier) sort() {
	slices.SortFunc(v.report.Bad, func(a, b Bad) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(v.report.Undeclared)
}

type verifier struct {
	g      *Generation
	o      VerifyOptions
	report Report
	lock   sync.Mutex
	listed map[string]bool
}

// tasks are the payload, whole files even when in parts, and then the rest of
// the list.
func (v *verifier) tasks() []layout.Item {
	jobs := slices.Clone(v.g.items)
	payload := make(map[string]bool)
	for _, it := range jobs {
		for _, f := range it.Stored {
			payload[f.Path] = true
		}
	}
	v.listed = make(map[string]bool, len(v.g.Signed.Files))
	for _, f := range v.g.Signed.Files {
		v.listed[f.Path] = true
		if !payload[f.Path] {
			jobs = append(jobs, layout.Item{Path: f.Path, Size: f.Size, Sum: f.Sum,
				Stored: []manifest.File{f}})
		}
	}
	if only := v.o.Only; only != nil {
		jobs = slices.DeleteFunc(jobs, func(it layout.Item) bool {
			return !slices.ContainsFunc(it.Stored, func(f manifest.File) bool {
				return only[f.Path]
			})
		})
	}
	tasks := make([]layout.Item, len(jobs))
	for i, at := range pipeline.LargeFirst(len(jobs), func(i int) int64 { return jobs[i].Size }) {
		tasks[i] = jobs[at]
	}
	return tasks
}

func (v *verifier) readAll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan layout.Item)
	var group sync.WaitGroup
	for range v.o.Workers {
		group.Go(func() {
			buf := make([]byte, 256<<10)
			for it := range queue {
				if err := v.read(ctx, it, buf); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, it := range v.tasks() {
		select {
		case queue <- it:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	group.Wait()
	return context.Cause(ctx)
}

// read compares one file. Damage goes into the report, the end of everything
// is returned.
func (v *verifier) read(ctx context.Context, it layout.Item, buf []byte) error {
	r := v.g.openItem(it)
	r.fresh = true
	defer r.Close()
	var size int64
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := r.Read(buf)
		size += int64(n)
		v.o.Progress(it.Stored[0].Path, int64(n))
		if errors.Is(err, io.EOF) {
			v.count(it, size, nil)
			return nil
		}
		var damaged *DamagedError
		switch {
		case errors.As(err, &damaged):
			v.count(it, size, damaged)
			return nil
		case err != nil && Unanswered(err):
			return err
		case err != nil:
			v.count(it, size, &DamagedError{Path: it.Stored[0].Path, Reason: err.Error()})
			return nil
		}
	}
}

func (v *verifier) count(it layout.Item, size int64, damaged *DamagedError) {
	v.lock.Lock()
	defer v.lock.Unlock()
	v.report.Files += len(it.Stored)
	v.report.Bytes += size
	switch {
	case damaged == nil:
	case it.Stored[0].Path == layout.PackagesFile:
		v.report.Stale = append(v.report.Stale, layout.PackagesFile)
	default:
		v.report.Bad = append(v.report.Bad, Bad{Path: where(it, damaged), Reason: damaged.Reason,
			Forbidden: damaged.Forbidden()})
	}
}

// where names the stored file if it is known, else the first one.
func where(it layout.Item, damaged *DamagedError) string {
	for _, f := range it.Stored {
		if f.Path == damaged.Path {
			return f.Path
		}
	}
	return it.Stored[0].Path
}

// InTheWay lists the files of an origin that can have one name only, and whose name something else
// has: a directory or a link, which is a person's. No export writes them before it is moved away.
func InTheWay(d *Drive, dir string) (names []string) {
	for _, name := range []string{layout.ManifestFile, layout.NextManifestFile,
		layout.PackagesFile, layout.LayoutFile} {
		fi, err := d.root.Lstat(path.Join(dir, name))
		if err == nil && !fi.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	return names
}

// entries looks whether the catalogue has an entry of each package: without one
// no client can take it. A catalogue that cannot be read is in the report.
func (v *verifier) entries() error {
	catalogue, err := v.g.Catalogue()
	switch {
	case err != nil && Unanswered(err):
		return err
	case err != nil:
		return nil
	}
	for _, it := range layout.WithoutEntry(catalogue, v.g.Packages()) {
		v.report.Bad = append(v.report.Bad, Bad{Path: it.Stored[0].Path,
			Reason: "the catalogue has no entry of it, and no client can take it"})
	}
	return nil
}

// MaxUndeclared bounds the list of undeclared files.
const MaxUndeclared = 10_000

// undeclared looks for files that the list does not have. It comes last: a directory that a pull
// left half made can turn the drive read-only when it is read.
func (v *verifier) undeclared(ctx context.Context) error {
	walk := Walk{Drive: v.g.drive.Mounted, Root: v.g.root, Visit: func(f Found) error {
		switch {
		case len(v.report.Undeclared) >= MaxUndeclared:
			v.report.More = true
			return fs.SkipAll
		case !f.Below && f.Path != layout.ManifestFile && f.Path != layout.NextManifestFile &&
			!v.listed[f.Path]:
			v.report.Undeclared = append(v.report.Undeclared, f.Path)
		}
		return nil
	}, Unreadable: func(dir string, err error) error {
		if !Unanswered(err) {
			v.report.Unreadable = append(v.report.Unreadable, Bad{Path: dir, Reason: err.Error()})
			err = nil
		}
		return err
	}}
	return walk.Run(ctx)
}
