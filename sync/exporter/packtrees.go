package exporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/progress"
)

// UnknownRepoError reports that a repository was asked for that is not here.
type UnknownRepoError struct {
	Name string
	Have []string
}

func (e *UnknownRepoError) Error() string {
	return fmt.Sprintf("export: there is no ebuild repository %q on this machine", e.Name)
}

// Class is fault.Usage.
func (e *UnknownRepoError) Class() fault.Class { return fault.Usage }

// Hints name those that are here.
func (e *UnknownRepoError) Hints(string) []string {
	if len(e.Have) == 0 {
		return []string{"this machine has no repository: look at repos.conf, or leave --repos out"}
	}
	return []string{"name some of those that are here: " + strings.Join(e.Have, ",")}
}

// compareTrees decides which repositories are packed: those of which the drive has none, or another
// one.
func (x *exporter) compareTrees(ctx context.Context) (err error) {
	x.trees = &trees{carried: committedTrees(x)}
	x.next.trees = x.trees
	if x.trees.notes, err = ebuilds.ReadNotes(x.m.StateDir, x.m.Hook); err != nil {
		return err
	}
	wanted, err := chosenRepos(x)
	if err != nil {
		return err
	}
	for _, r := range wanted {
		if err := planTree(ctx, x, r); err != nil {
			return err
		}
	}
	for _, name := range sortedNames(x.trees.carried) {
		if !slices.ContainsFunc(wanted, func(r portage.Repo) bool { return r.Name == name }) {
			t := x.trees.carried[name]
			x.trees.changed = true
			x.report.Plan.Trees = append(x.report.Plan.Trees, &TreePlan{Name: name,
				Action: TreeRemove, Bytes: t.Bytes, Count: t.Count, Timestamp: t.Timestamp})
		}
	}
	return nil
}

func sortedNames(m map[string]*layout.Tree) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// committedTrees are those that the generation on the drive carries, according to its record.
func committedTrees(x *exporter) map[string]*layout.Tree {
	carried := make(map[string]*layout.Tree)
	if x.committed == nil {
		return carried
	}
	for _, r := range x.committed.Record.Repositories {
		if r.Tree == nil {
			continue
		}
		if it, ok := x.committed.Find(payload.Repository, r.Tree.File); ok &&
			!slices.Contains(x.broken.paths, it.Stored[0].Path) {
			x.next.current[payload.Key{Kind: payload.Repository, Path: it.Path}] = &it
			tree := *r.Tree
			carried[r.Name] = &tree
		}
	}
	return carried
}

// chosenRepos are the repositories that the drive shall carry.
func chosenRepos(x *exporter) ([]portage.Repo, error) {
	if x.o.Repos == NoRepos {
		return nil, nil
	}
	here, err := x.m.Settings.Repos()
	if err != nil {
		return nil, err
	}
	if x.o.Repos == "" {
		return here[:min(len(here), layout.MaxRepositories)], nil
	}
	var chosen []portage.Repo
	for _, name := range strings.FieldsFunc(x.o.Repos, func(r rune) bool {
		return r == ',' || r == ' '
	}) {
		i := slices.IndexFunc(here, func(r portage.Repo) bool { return r.Called(name) })
		if i < 0 {
			e := &UnknownRepoError{Name: name}
			for _, r := range here {
				e.Have = append(e.Have, r.Name)
			}
			return nil, e
		}
		if !slices.ContainsFunc(chosen, func(r portage.Repo) bool {
			return r.Name == here[i].Name
		}) {
			chosen = append(chosen, here[i])
		}
	}
	return chosen, nil
}

// planTree decides about one repository. One that cannot be read is left out and named.
func planTree(ctx context.Context, x *exporter, r portage.Repo) error {
	x.w.Tell(progress.Event{Phase: progress.PhaseScan, Path: r.Location})
	j := &treeJob{repo: r, dir: x.m.Settings.HostPath(r.Location)}
	s, err := ebuilds.OpenSource(ctx, r, j.dir)
	if err != nil {
		return leaveTree(ctx, x.Plan, r.Name, err)
	}
	defer s.Close()
	j.seal = s.Seal()
	j.plan = &TreePlan{Name: r.Name, Action: TreePack, Bytes: s.Bytes(), Count: s.Count(),
		Timestamp: r.Timestamp}
	noteTree(x, r, s)
	digest := x.trees.notes.Packed(j.dir, j.seal)
	held := x.trees.carried[r.Name]
	if digest == "" && held != nil && !x.o.Pretend {
		if digest, err = s.Digest(ctx, packing(x.Plan, s, progress.PhaseCheck)); err != nil {
			return leaveTree(ctx, x.Plan, r.Name, err)
		}
	}
	if digest != "" {
		x.trees.packed = append(x.trees.packed, ebuilds.Packed{Name: r.Name, Location: j.dir,
			Seal: j.seal, Digest: digest})
	}
	if held != nil && held.Digest == digest {
		j.plan.Action = TreeKeep
	} else {
		x.trees.changed = true
	}
	x.trees.jobs = append(x.trees.jobs, j)
	x.report.Plan.Trees = append(x.report.Plan.Trees, j.plan)
	return nil
}

// noteTree tells what is odd about a repository that is carried.
func noteTree(x *exporter, r portage.Repo, s *ebuilds.Source) {
	if x.host != nil && x.host.header != nil {
		built := builtFrom(x.host.header.Get("REPO_REVISIONS"), r.Name)
		if built != "" && r.Revision != "" && built != r.Revision {
			x.report.Notices = append(x.report.Notices, fmt.Sprintf(
				"the repository %q is another one than the newest packages were built from (%.12s, not %.12q): of what differs there is no package, and a client with this tree would compile it; to build it: emerge -auDN --buildpkg @world", r.Name, r.Revision, built))
		}
	}
	if !r.HasCache() {
		x.report.Notices = append(x.report.Notices, fmt.Sprintf(
			"the repository %q has no metadata/md5-cache: each client sources every ebuild of it; here: egencache --update --repo %s", r.Name, r.Name))
	}
	if left := s.LeftOut(); len(left) > 0 {
		x.report.Notices = append(x.report.Notices,
			fmt.Sprintf("of the repository %q %d files are not carried, as %s", r.Name,
				len(left), left[0]))
	}
}

// builtFrom is the revision of a repository from which the newest packages of an index were built:
// REPO_REVISIONS in its header, which Portage keeps from 3.0.64 on, {"gentoo": "COMMIT"}; "" where
// it is not there.
func builtFrom(revisions, repo string) string {
	var by map[string]string
	if json.Unmarshal([]byte(revisions), &by) != nil {
		return ""
	}
	return by[repo]
}

// leaveTree leaves a repository out: the drive keeps the one that it has.
func leaveTree(ctx context.Context, p *Plan, name string, why error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	it := payload.Item{Kind: payload.Repository, Path: name, Reason: fault.Text(why)}
	p.report.LeftOut = append(p.report.LeftOut, it)
	p.report.Plan.LeftOut = append(p.report.Plan.LeftOut, it)
	return nil
}

// packing tells how far a repository is.
func packing(p *Plan, s *ebuilds.Source, phase progress.Phase) func(int, int64) {
	return func(files int, bytes int64) {
		p.w.Tell(progress.Event{Phase: phase, Done: bytes, Total: s.Bytes(), Files: files,
			FilesTotal: s.Files()})
	}
}

// putTrees packs what has changed, and puts it on the drive. A repository that cannot be packed, or
// for which there is no room, is left out and named; the drive keeps the older one.
func (p *Plan) putTrees(ctx context.Context, w *drivewriter.Writer) error {
	for _, t := range p.report.Plan.Trees {
		if t.Action == TreeRemove {
			dropTree(p, t.Name)
		}
	}
	for _, j := range p.trees.jobs {
		if j.plan.Action != TreePack {
			continue
		}
		if err := putTree(ctx, p, w, j); err != nil {
			return err
		}
	}
	return nil
}

// dropTree takes the older archive of a repository out of what the next commit lists.
func dropTree(p *Plan, name string) {
	if old := p.trees.carried[name]; old != nil {
		delete(p.next.current, payload.Key{Kind: payload.Repository, Path: old.File})
		delete(p.trees.carried, name)
	}
}

// putTree packs one repository into a file without a name, and copies that to the drive: how long
// it is has to be known before anything is allocated there.
func putTree(ctx context.Context, p *Plan, w *drivewriter.Writer, j *treeJob) error {
	file, err := os.CreateTemp(p.m.StateDir, ".pack-")
	if err != nil {
		return fmt.Errorf("packing the repository %q: %w", j.plan.Name, err)
	}
	defer file.Close()
	if err := os.Remove(file.Name()); err != nil {
		return err
	}
	tree, err := packTree(ctx, p, j, file)
	if err != nil {
		return leaveTree(ctx, p, j.plan.Name, err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := treeFits(p, size); err != nil {
		return leaveTree(ctx, p, j.plan.Name, err)
	}
	tree.File = layout.ArchiveName(j.plan.Name, max(p.m.Now().Unix(), w.Last()+1))
	if layout.CheckArchive(tree.File) != "" {
		tree.File = layout.ArchiveName(j.plan.Name, w.Last()+1)
	}
	put, err := w.Put(ctx, drivewriter.NewFile{Kind: payload.Repository,
		Path: tree.File, Size: size},
		func(dst io.Writer) error {
			if _, err := file.Seek(0, io.SeekStart); err != nil {
				return &sourceError{err}
			}
			_, err := io.Copy(dst, file)
			return err
		})
	var mine *sourceError
	switch {
	case errors.As(err, &mine):
		return leaveTree(ctx, p, j.plan.Name, mine.err)
	case err != nil:
		return err
	}
	dropTree(p, j.plan.Name)
	p.next.current[payload.Key{Kind: payload.Repository, Path: tree.File}] = &put
	p.trees.carried[j.plan.Name] = &tree
	p.report.Trees = append(p.report.Trees, j.plan)
	j.plan.Packed = size
	p.trees.packed = append(slices.DeleteFunc(p.trees.packed, func(o ebuilds.Packed) bool {
		return o.Location == j.dir
	}),
		ebuilds.Packed{Name: j.plan.Name, Location: j.dir, Seal: j.seal, Digest: tree.Digest})
	return nil
}

// packTree packs a repository as it is now.
func packTree(ctx context.Context, p *Plan, j *treeJob, to io.Writer) (layout.Tree, error) {
	s, err := ebuilds.OpenSource(ctx, j.repo, j.dir)
	if err != nil {
		return layout.Tree{}, err
	}
	defer s.Close()
	j.seal = s.Seal()
	return s.Pack(ctx, to, packing(p, s, progress.PhasePack))
}

// treeFits compares an archive with what is free on the drive, and with what one file can hold.
func treeFits(p *Plan, size int64) error {
	room, err := p.drive.Space()
	if err != nil {
		return err
	}
	limit := int64(layout.MaxArchive)
	if p.o.PartSize > 0 {
		limit = min(limit, p.o.PartSize)
	}
	if size > limit {
		return fmt.Errorf("packed it has %d bytes, and one file holds %d", size, limit)
	}
	// the manifest copies have their room by now
	if need := room.Need(size) + room.Need(1024*perFile); need > room.Free {
		return fmt.Errorf("no room on the drive: it needs %s and %s are free; without: --repos %s", fault.Size(need), fault.Size(room.Free), NoRepos)
	}
	return nil
}
