package drive

import (
	"context"
	"errors"
	"io"
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pipeline"
)

// State is what may be left to do on a drive although its generation is the one that is wanted.
type State struct {
	BothCopies bool // both manifest copies hold the generation
	Packages   bool // packages/Packages is the generation's
	// listed files that are not there or have another size, below ORIGIN, sorted
	Absent []string
	// those of the listed files that are no payload and are not there or damaged, below ORIGIN,
	// sorted
	Own      []string
	Leftover bool // a pulled run left files that the generation does not list
	// files that are neither listed nor leftovers: somebody else's, at most MaxUndeclared
	Others []string
}

// Whole reports whether nothing is left to do.
func (s State) Whole() bool {
	return s.BothCopies && s.Packages && len(s.Absent)+len(s.Own) == 0 && !s.Leftover
}

// State looks whether the generation is finished and all its files are there. It reads names,
// sizes, packages/Packages and layout.conf, but no payload: Verify does.
func (g *Generation) State(ctx context.Context) (State, error) {
	s := State{BothCopies: g.File == layout.ManifestFile && g.Other.Serial == g.Serial()}
	missing := make(map[string]manifest.File, len(g.Signed.Files)) // by folded path
	for _, f := range g.Signed.Files {
		missing[layout.FoldName(f.Path)] = f
	}
	look := survey{g: g, missing: missing}
	if err := look.run(ctx); err != nil {
		return State{}, err
	}
	s.Leftover, s.Others = look.leftover, look.others
	for _, f := range missing {
		s.Absent = append(s.Absent, f.Path)
	}
	slices.Sort(s.Absent)
	for _, name := range s.Absent {
		if _, _, payload := layout.KindOf(name); !payload && name != layout.PackagesFile {
			s.Own = append(s.Own, name)
		}
	}
	right, err := g.matches(ctx, layout.LayoutFile)
	if err != nil {
		return s, err
	}
	if _, found := slices.BinarySearch(s.Own, layout.LayoutFile); !right && !found {
		s.Own = append(s.Own, layout.LayoutFile)
		slices.Sort(s.Own)
	}
	s.Packages, err = g.matches(ctx, layout.PackagesFile)
	return s, err
}

// survey is a walk through what the drive has of a generation, each directory once.
type survey struct {
	g        *Generation
	missing  map[string]manifest.File // by folded path; what is there is taken out
	leftover bool                     // there is what a pulled run left
	others   []string                 // there is something else
}

// run walks. A directory that cannot be read on a drive that is there has no names.
func (k *survey) run(ctx context.Context) error {
	walk := Walk{Drive: k.g.drive.Mounted, Root: k.g.root, Status: true, Visit: k.visit,
		Unreadable: unlessVanished}
	return walk.Run(ctx)
}

func (k *survey) visit(e Found) error {
	folded := layout.FoldName(e.Path)
	switch f, listed := k.missing[folded]; {
	case listed && !e.IsDir():
		if e.IsRegular() && e.Size() == f.Size {
			delete(k.missing, folded)
		}
	case e.Below, e.Path == layout.ManifestFile, e.Path == layout.NextManifestFile:
	case layout.MadeHere(e.Path):
		k.leftover = true
	case len(k.others) < MaxUndeclared:
		k.others = append(k.others, e.Path)
	}
	return nil
}

// matches compares one of the generation's own files with the signed list; one that is not listed
// does.
func (g *Generation) matches(ctx context.Context, name string) (bool, error) {
	f, ok := g.Signed.Find(name)
	if !ok {
		return true, nil
	}
	r := g.openItem(layout.Item{Path: name, Size: f.Size, Sum: f.Sum, Stored: []manifest.File{f}})
	defer r.Close()
	_, err := io.Copy(io.Discard, pipeline.Reader{Ctx: ctx, R: r})
	var damaged *DamagedError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &damaged) && !Unanswered(err):
		return false, nil
	}
	return false, err
}
