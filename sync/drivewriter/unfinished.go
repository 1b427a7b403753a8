package drivewriter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
)

// UnfinishedError reports that something on the drive was left unfinished, so that nothing may be
// allocated beside it: on FAT it may share clusters with whatever is written next, which would be
// damaged when it is removed.
type UnfinishedError struct {
	Path string // below TreeDir
	Err  error  // why it cannot be read, nil for a leftover
}

func (e *UnfinishedError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%q on the drive cannot be read (%v): nothing may be added to the drive before it is repaired", e.Path, e.Err)
	}
	return fmt.Sprintf("an operation on the drive was not finished and left %q: nothing may be added before it is removed", e.Path)
}

// Unwrap returns the reason.
func (e *UnfinishedError) Unwrap() error { return e.Err }

// Class is that of a drive that does not hold what it should.
func (e *UnfinishedError) Class() fault.Class { return fault.Failing }

// Hints gives the ways out.
func (e *UnfinishedError) Hints(drive string) []string {
	hints := []string{"on the machine that exports to this drive: pkgsneak export " + drive +
		"   (it removes what was left)",
		"or take another drive; or write a file, and carry that: pkgsneak request --file FILE"}
	if e.Err == nil && strings.HasPrefix(e.Path, layout.ClientsDir+"/") {
		hints = slices.Insert(hints, 1, "or on the client that left it: pkgsneak request "+drive)
	}
	return hints
}

// checkFinished looks for what an unfinished operation left anywhere in the tree: files with names
// of the layout that the newest readable list of their directory does not name, whoever signed it.
// It opens nothing for writing. The error is an *UnfinishedError, or the drive's.
func checkFinished(ctx context.Context, d *drive.Drive) error {
	origins, err := d.Origins()
	if err != nil {
		return unfinished(d, layout.TreeDir, err)
	}
	offered, err := d.Keys()
	if err != nil {
		return unfinished(d, layout.KeysDir, err)
	}
	var ring manifest.Ring
	for _, o := range offered {
		if o.Key != nil {
			ring = append(ring, o.Key)
		}
	}
	for _, dir := range origins {
		best, _ := d.PastCopies(dir, ring)
		if err := checkDir(ctx, d, dir, best); err != nil {
			return err
		}
	}
	names, _, err := d.ClientNames()
	if err != nil {
		return unfinished(d, layout.ClientsDir, err)
	}
	for _, name := range names {
		garbage, err := clientGarbage(d, name)
		switch {
		case err != nil:
			return unfinished(d, drive.ClientDir(name), err)
		case len(garbage) > 0:
			return &UnfinishedError{Path: path.Join(drive.ClientDir(name), garbage[0])}
		}
	}
	return nil
}

// unfinished is the error of what cannot be read, or the drive's if it is not there any more.
func unfinished(d *drive.Drive, name string, err error) error {
	switch {
	case drive.Unanswered(err):
		return err
	case drive.Failing(err):
		return d.PullDamage("reading", name, fault.Bare(err))
	}
	return &UnfinishedError{Path: name, Err: fault.Bare(err)}
}

// checkDir looks through the directory of an origin.
func checkDir(ctx context.Context, d *drive.Drive, dir string, best drive.ManifestCopy) error {
	if best.Signed == nil {
		if drive.Unanswered(best.State.Err) {
			return best.State.Err
		}
		files, err := drive.HasFiles(d, dir)
		switch {
		case err != nil:
			return unfinished(d, dir, err)
		case files:
			return &UnfinishedError{Path: dir,
				Err: errors.New("neither copy of its manifest tells what belongs there")}
		}
		return nil
	}
	root, err := d.Root().OpenRoot(dir)
	if err != nil {
		return unfinished(d, dir, err)
	}
	defer root.Close()
	listed := make(map[string]bool, len(best.Signed.Files))
	for _, f := range best.Signed.Files {
		listed[layout.FoldName(f.Path)] = true
	}
	walk := drive.Walk{Drive: d.Mounted, Root: root, Visit: func(f drive.Found) error {
		switch {
		case f.Below, listed[layout.FoldName(f.Path)], slices.Contains([]string{
			layout.ManifestFile, layout.NextManifestFile, layout.PackagesFile}, f.Path):
		case layout.MadeHere(f.Path):
			return &UnfinishedError{Path: path.Join(dir, f.Path)}
		}
		return nil
	}, Unreadable: func(at string, err error) error {
		return unfinished(d, path.Join(dir, at), err)
	}}
	return walk.Run(ctx)
}

// clientGarbage returns the files of a client's directory, below it, that a request which was not
// finished left. Where no list is valid nobody can tell, and nothing is garbage: see
// removePulledRequests.
func clientGarbage(d *drive.Drive, name string) ([]string, error) {
	key, err := d.ClientKey(name)
	if err != nil {
		if drive.Unanswered(err) || drive.Failing(err) {
			return nil, err
		}
		return nil, nil
	}
	best, other := pastClient(d, name, key)
	if best.Signed == nil {
		return nil, nil
	}
	files, err := clientFiles(d, name)
	if err != nil {
		return nil, err
	}
	return unlisted(files, listedPairs(best, other)), nil
}

// listedPairs are the pairs that the valid ones of some lists of a client name, each once.
func listedPairs(copies ...drive.ManifestCopy) (pairs []int) {
	for _, c := range copies {
		if c.Signed == nil {
			continue
		}
		if n, _ := layout.PairOf(c.Signed); !slices.Contains(pairs, n) {
			pairs = append(pairs, n)
		}
	}
	return pairs
}

// unlisted returns those of a client's files that belong to none of the listed pairs. Where there
// is one list, and no pair but the first two, these stay: they were made, and flushed, before it,
// and the next request is written there.
func unlisted(files []string, listed []int) []string {
	if len(listed) == 1 && highestPair(files) <= 2 {
		listed = []int{1, 2}
	}
	var left []string
	for _, file := range files {
		if n, _ := layout.RequestPair(file); !slices.Contains(listed, n) {
			left = append(left, file)
		}
	}
	return left
}

// highestPair is the highest number of the pairs that files belong to, 0 if there are none.
func highestPair(files []string) (highest int) {
	for _, file := range files {
		n, _ := layout.RequestPair(file)
		highest = max(highest, n)
	}
	return highest
}

// pastClient reads both copies, whether the key is still good or not.
func pastClient(d *drive.Drive, name string, key *manifest.PublicKey) (best,
	other drive.ManifestCopy) {
	best, other, _ = d.ClientCopies(name, manifest.Ring{key}, key.Created())
	return best, other
}

// clientFiles are the files of pairs in a client's directory, below it, sorted. A directory or a
// link with such a name is a person's, and so is whatever else has the name of their directory.
func clientFiles(d *drive.Drive, name string) ([]string, error) {
	dir := path.Join(drive.ClientDir(name), layout.GenerationDir)
	if info, err := d.Root().Lstat(dir); err == nil && !info.IsDir() {
		return nil, nil
	}
	f, err := durable.OpenDir(d.Root(), dir)
	if errors.Is(err, fs.ErrNotExist) && d.Present() {
		return nil, nil
	}
	if err != nil {
		return nil, d.Classify("reading the directory", dir, err)
	}
	defer f.Close()
	const most = 1024
	entries, err := f.ReadDir(most)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, d.Classify("reading the directory", dir, err)
	}
	var files []string
	for _, e := range entries {
		file := layout.GenerationDir + "/" + e.Name()
		_, ofPair := layout.RequestPair(file)
		if e.Type().IsRegular() && (ofPair || layout.IsPlaceholder(e.Name())) {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return files, nil
}

// collectClientGarbage removes what clientGarbage finds in all directories of clients, and what
// first requests left whose drives were pulled, and makes that durable. It is for an export, before
// it allocates anything.
func collectClientGarbage(d *drive.Drive, s *session) error {
	if err := removePulledRequests(d, s, "", false); err != nil {
		return err
	}
	names, _, err := d.ClientNames()
	if err != nil {
		return d.PullDamage("reading", layout.ClientsDir, err)
	}
	for _, name := range names {
		garbage, err := clientGarbage(d, name)
		if err != nil {
			return d.PullDamage("reading", drive.ClientDir(name), err)
		}
		if len(garbage) == 0 {
			continue
		}
		root, err := d.Root().OpenRoot(drive.ClientDir(name))
		if err != nil {
			return d.PullDamage("opening", drive.ClientDir(name), err)
		}
		err = removeIn(s, root, garbage)
		if err := errors.Join(err, root.Close()); err != nil {
			return d.PullDamage("removing from", drive.ClientDir(name), err)
		}
	}
	return nil
}

// removeIn removes files of a client's pairs and syncs their directory.
func removeIn(s *session, root *os.Root, files []string) error {
	for _, file := range files {
		if err := s.remove("unlink", root, file); err != nil {
			return err
		}
	}
	return s.sync("fsync", layout.GenerationDir, func() error {
		return durable.SyncDir(root, layout.GenerationDir)
	})
}
