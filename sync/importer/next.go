package importer

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// noteFit tells how the origins do not fit this machine, but for what the forecast has told.
func noteFit(op *operation, f *forecast.Forecast) {
	for _, in := range op.origins {
		if in.catalogue == nil {
			continue
		}
		o := &forecast.Offer{Record: in.gen.Record}
		for _, it := range in.gen.Packages() {
			if entry, ok := in.entries[it.Path]; ok {
				o.Packages = append(o.Packages, in.candidate(it.Path, entry))
			}
		}
		fit := op.outlook.judge.Fit(o)
		for _, line := range fit.Other {
			op.note("%s", line)
		}
		for _, m := range fit.Masked {
			if m.Topic == "use" && len(f.OtherUse) > 0 {
				continue // the forecast tells it of those that would be installed
			}
			op.note("origin %q: %s; the lines: pkgsneak doctor %s", in.Plan.Origin, m.String(),
				fault.Quote(in.at))
		}
	}
}

// predict works out what emerge can do when this import is done, or would be.
func predict(ctx context.Context, op *operation) (*forecast.Forecast, error) {
	candidates, here := candidatesOf(op)
	in := forecast.Input{Candidates: candidates, GateOptions: op.outlook.o,
		Distdir: op.m.DISTDIR}
	for _, origin := range op.origins {
		for path, entry := range origin.entries {
			if _, carried := origin.gen.Find(payload.Package, path); !carried &&
				!here[entry.CPV()] {
				in.Elsewhere = append(in.Elsewhere, entry)
			}
		}
	}
	if op.repos != nil && op.m.Settings != nil {
		here, _ := op.m.Settings.Repos()
		for _, t := range op.repos.trees {
			in.Trees = append(in.Trees, forecast.TreesOf(ctx, here, t.Step)...)
		}
	}
	return forecast.Make(op.outlook.machine, in)
}

// candidatesOf are the packages that PKGDIR has, or would have, by their CPVs too.
func candidatesOf(op *operation) (list []forecast.Candidate, here map[string]bool) {
	byPath := make(map[string]forecast.Candidate)
	if op.client.pkgdir != nil {
		if x, err := op.client.pkgdir.IndexShared(op.entryAt); err == nil {
			for _, e := range x.Entries {
				byPath[e.Path()] = forecast.Candidate{Entry: pkgindex.Rebase(e, x.Header,
					pkgindex.Header{})}
			}
		}
	}
	for _, in := range op.origins {
		for path, row := range in.imports[payload.Package] {
			if c, found := byPath[row.Local]; found {
				entry := c.Entry
				c = in.candidate(path, entry)
				byPath[row.Local] = c
			}
		}
		if !op.o.Pretend {
			continue
		}
		for _, d := range in.tasks {
			if d.kind == payload.Package {
				byPath[d.local] = in.candidate(d.path, d.entry)
			}
		}
	}
	here = make(map[string]bool, len(byPath))
	for _, path := range slices.Sorted(keys(byPath)) {
		list = append(list, byPath[path])
		here[byPath[path].Entry.CPV()] = true
	}
	return list, here
}

// entryAt is the entry of the first origin that has a package at a path: PKGDIR has most of them at
// the same place, and both indices are in memory.
func (op *operation) entryAt(path string) pkgindex.Entry {
	for _, in := range op.origins {
		if e, found := in.entries[path]; found {
			return e
		}
	}
	return pkgindex.Entry{}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

const (
	excludePrefix = "exclude-"
	keptExcludes  = 3
)

// saveExclude writes the names that emerge has to exclude to a file in the state directory, and
// keeps the last few such files.
func saveExclude(op *operation, f *forecast.Forecast) (string, error) {
	var serial int64
	for _, in := range op.origins {
		serial = max(serial, in.Plan.Serial)
	}
	file := filepath.Join(op.m.StateDir, excludePrefix+strconv.FormatInt(serial, 10))
	if err := f.SaveExclude(file, op.m.Now(), op.m.Hook); err != nil {
		return "", err
	}
	return file, removeOldExcludes(op.m.StateDir)
}

// removeOldExcludes removes all but the newest lists.
func removeOldExcludes(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var serials []int64
	for _, e := range names {
		text, ours := strings.CutPrefix(e.Name(), excludePrefix)
		if n, err := strconv.ParseInt(text, 10, 64); ours && err == nil && n >= 0 &&
			text == strconv.FormatInt(n, 10) && e.Type().IsRegular() {
			serials = append(serials, n)
		}
	}
	slices.Sort(serials)
	for _, n := range serials[:max(0, len(serials)-keptExcludes)] {
		if err := root.Remove(excludePrefix + strconv.FormatInt(n, 10)); err != nil {
			return err
		}
	}
	return nil
}

// advise tells what to type now, and what will not work as hoped.
func (op *operation) advise(ctx context.Context) {
	if op.outlook.machine == nil {
		return
	}
	f, err := predict(ctx, op)
	if err != nil {
		op.note("%v", err)
		return
	}
	r := op.report
	switch given := op.o.ExcludeFile; {
	case given != "" && len(f.Exclude) > 0 && f.Line("") != "":
		if err := f.SaveExclude(given, op.m.Now(), op.m.Hook); err != nil {
			op.note("the list of names to exclude cannot be written to %q: %v", given, err)
		} else {
			r.ExcludeFile = given
		}
	case given == "" && f.NeedsFile() && !op.o.Pretend:
		if r.ExcludeFile, err = saveExclude(op, f); err != nil {
			op.note("the list of names to exclude cannot be written: %v", err)
		}
	}
	r.Outlook, r.Forecast = f, f.Document(r.ExcludeFile)
	for _, s := range f.Before {
		if s.Line != "" {
			r.Next = append(r.Next, s.Line)
		}
	}
	if line := f.Line(r.ExcludeFile); line != "" {
		r.Next = append(r.Next, line)
	}
	noteFit(op, f)
}
