package drive

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"

	"pkgsneak/manifest"
)

// State is what may be left to do on a drive although its generation is the one that is wanted.
type State struct {
	Slots    bool     // both slots hold the generation
	Packages bool     // packages/Packages is the generation's
	Absent   []string // listed files that are not there, below ORIGIN, sorted
}

// Whole says whether nothing is left to do.
func (s State) Whole() bool { return s.Slots && s.Packages && len(s.Absent) == 0 }

// State looks whether the generation is finished and all its files are there. It reads names and packages/Packages, but no payload: Verify does.
func (g *Generation) State(ctx context.Context) (State, error) {
	s := State{Slots: g.Slot == Slot && g.Other.Serial == g.Serial()}
	var err error
	if s.Absent, err = g.absent(ctx); err != nil {
		return State{}, err
	}
	s.Packages, err = g.packagesMatch(ctx)
	return s, err
}

// absent reads each directory that has listed files once: on a FAT a stat for each file would take minutes.
func (g *Generation) absent(ctx context.Context) ([]string, error) {
	byDir := make(map[string][]string)
	for _, f := range g.Signed.Files {
		dir := path.Dir(f.Path)
		byDir[dir] = append(byDir[dir], f.Path)
	}
	var absent []string
	for dir, listed := range byDir {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		there, err := g.names(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range listed {
			if !there[foldName(path.Base(name))] {
				absent = append(absent, name)
			}
		}
	}
	slices.Sort(absent)
	return absent, nil
}

// names returns the names in a directory, folded; none if it cannot be read on a drive that is there.
func (g *Generation) names(dir string) (map[string]bool, error) {
	entries, err := g.drive.readDir(g.root, dir, 10_000_000)
	if err != nil && vanished(err) {
		return nil, err
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		names[foldName(e.Name())] = true
	}
	return names, nil
}

// packagesMatch compares the derived index with the signed list.
func (g *Generation) packagesMatch(ctx context.Context) (bool, error) {
	f, ok := g.Signed.Find(PackagesFile)
	if !ok {
		return true, nil
	}
	r := g.openItem(Item{Path: PackagesFile, Size: f.Size, Sum: f.Sum, Stored: []manifest.File{f}})
	defer r.Close()
	_, err := io.Copy(io.Discard, contextReader{ctx, r})
	var damaged *DamagedError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &damaged) && !vanished(err):
		return false, nil
	}
	return false, err
}

// contextReader asks ctx before each read.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
